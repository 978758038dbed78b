"""A neural network over feature space: its architecture, how codes become its inputs, and both as one file.

torch is imported inside functions: reading a spec must not wait for it.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from audit.core.base import Frozen, canonical_json, sha256
from audit.core.errors import DataError, ModelError
from audit.core.model import Capability, Native
from audit.core.schema import Feature, FeatureSchema
from audit.core.table import Floats, Table, encode

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats32 = NDArray[np.float32]

FORMAT = "audit-network-1"
"""The one key in the metadata of a file of ours: safetensors writes several in no fixed order."""


class Architecture(Frozen):
    """The shape of a network, which must compute in float64 as well as in float32.

    Plug-ins name a class derived from it in the entry points `audit.architectures`, under its kind.
    """

    kind: str

    def build(self, d: int, k: int, seed: int) -> "Module":
        """A module from (n, d) float32 to (n, k) logits, whose weights depend on `seed` alone."""
        raise NotImplementedError


class Mlp(Architecture):
    """A multi-layer perceptron.

    Attributes:
        hidden: units of each hidden layer; none: a linear model.
        init: `glorot`: uniform after Glorot, biases 0; `torch`: torch's own, uniform within 1 / sqrt(inputs).
    """

    kind: Literal["mlp"] = "mlp"
    hidden: tuple[int, ...] = (32,)
    activation: Literal["relu", "tanh", "gelu"] = "relu"
    init: Literal["glorot", "torch"] = "glorot"

    def build(self, d: int, k: int, seed: int) -> "Module":
        """Linear layers with the activation between them."""
        from torch import Generator, nn

        generator = Generator().manual_seed(seed)
        activation = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}[self.activation]
        sizes = (d, *self.hidden, k)
        layers: list[Module] = []
        for inputs, outputs in pairwise(sizes):
            # A layer on `meta` draws nothing: the global state of torch is not ours to move.
            layer = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
            if self.init == "glorot":
                nn.init.xavier_uniform_(layer.weight, generator=generator)
                nn.init.zeros_(layer.bias)
            else:
                bound = inputs**-0.5
                nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
                nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
            layers += [layer, activation()]
        return nn.Sequential(*layers[:-1])


class Prepare(Frozen):
    """How codes in feature space become the m inputs of a network, and back.

    A numeric or ordinal feature is one column of z-scores, a boolean one column of 0 and 1, a categorical feature one
    column per level, of which one is 1.

    Attributes:
        features: the d features, as they were in training.
        mean, sd: d numbers; 0 and 1 where nothing is scaled.
        layout: the features in the order of their columns, by number; None: as they stand in `features`.
    """

    features: FeatureSchema
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    layout: tuple[int, ...] | None = None

    @classmethod
    def fit(cls, schema: FeatureSchema, table: Table) -> Self:
        """The scaling of these rows; a constant column is only centred.

        Raises:
            DataError: there is no row, or a value is missing.
        """
        if not len(table):
            raise DataError("the network's inputs cannot be scaled: there is no training row. Give `data.train` rows.")
        _refuse_missing(schema, table.codes)
        ordered = np.array([feature.ordered for feature in schema.features], dtype=bool)
        mean, sd = table.codes.mean(axis=0), table.codes.std(axis=0)
        sd = np.where(sd > 0, sd, 1.0)
        return cls(
            features=schema,
            mean=tuple(np.where(ordered, mean, 0.0).tolist()),
            sd=tuple(np.where(ordered, sd, 1.0).tolist()),
        )

    @cached_property
    def groups(self) -> Ints:
        """The source feature of each column, shape (m,)."""
        order = np.array(self._order, dtype=np.int64)
        return np.repeat(order, [_width(self.features.features[j]) for j in order])

    @cached_property
    def one_hot(self) -> tuple[slice, ...]:
        """The columns of each categorical feature."""
        return tuple(
            slice(int(start), int(start) + _width(feature))
            for feature, start in zip(self.features.features, self._starts, strict=True)
            if feature.kind == "categorical"
        )

    @cached_property
    def _starts(self) -> Ints:
        """The first column of each feature, shape (d,)."""
        widths = [_width(self.features.features[j]) for j in self._order]
        starts = np.empty(len(widths), dtype=np.int64)
        starts[list(self._order)] = np.cumsum([0, *widths])[:-1]
        return starts

    @property
    def _order(self) -> tuple[int, ...]:
        return tuple(range(len(self.features))) if self.layout is None else self.layout

    def matrix(self, codes: Floats) -> Floats32:
        """The inputs, shape (n, m), of rows of codes, shape (n, d).

        Raises:
            DataError: a value is missing.
        """
        return self.scaled(codes).astype(np.float32)

    def scaled(self, codes: Floats) -> Floats:
        """The inputs as `matrix` gives them, before they are rounded to float32."""
        _refuse_missing(self.features, codes)
        columns: list[Floats] = []
        for j in self._order:
            feature = self.features.features[j]
            if feature.kind == "categorical":
                columns.append((codes[:, [j]] == np.arange(_width(feature))).astype(np.float64))
            else:
                columns.append((codes[:, [j]] - self.mean[j]) / self.sd[j])
        return np.hstack(columns) if columns else np.empty((len(codes), 0))

    def codes(self, matrix: NDArray[Any], origin: Floats | None = None) -> Floats:
        """The codes, shape (n, d), nearest to inputs of shape (n, m): ranks are rounded, the largest level wins.

        Args:
            origin: codes, shape (n, d), that are kept where the inputs are those of them: scaling to and fro rounds.
        """
        inputs = np.asarray(matrix, dtype=np.float64)
        answer = np.empty((len(inputs), len(self.features)))
        for j, feature in enumerate(self.features.features):
            first = self._starts[j]
            if feature.kind == "categorical":
                answer[:, j] = inputs[:, first : first + _width(feature)].argmax(axis=1)
                continue
            value = inputs[:, first] * self.sd[j] + self.mean[j]
            answer[:, j] = value if feature.kind == "numeric" else np.clip(np.rint(value), 0, len(feature.levels) - 1)
        if origin is None:
            return answer
        moved = self.matrix(origin) != np.asarray(matrix, dtype=np.float32)
        still = np.column_stack([~moved[:, self.groups == j].any(axis=1) for j in range(len(self.features))])
        return np.where(still, origin, answer) if len(self.features) else answer

    def limits(self, low: Floats, high: Floats) -> tuple[Floats32, Floats32]:
        """The bounds of the columns, both (m,), that go with bounds of the codes, both (d,)."""
        mean, sd = np.array(self.mean), np.array(self.sd)
        level = np.array([feature.kind == "categorical" for feature in self.features.features], dtype=bool)
        ends = (np.where(level, 0.0, (low - mean) / sd), np.where(level, 1.0, (high - mean) / sd))
        below, above = (end[self.groups].astype(np.float32) for end in ends)
        return below, above


def _width(feature: Feature) -> int:
    """Columns that a feature has in the inputs."""
    return len(feature.levels) if feature.kind == "categorical" else 1


def _refuse_missing(schema: FeatureSchema, codes: Floats) -> None:
    gaps = np.isnan(codes).sum(axis=0)
    if gaps.any():
        j = int(gaps.argmax())
        raise DataError(
            f"column {schema.names[j]!r} has {gaps[j]} missing of {len(codes)} values; a network cannot be given them. "
            "Fill them in the data, or leave the column out of `model.features`."
        )


class Differentiable:
    """A model over the inputs of a preparation, with logits that have a gradient: what searches by gradient ask.

    Attributes:
        prepare: how codes become inputs.
        classes: the C class labels, as text.
    """

    prepare: Prepare
    classes: tuple[str, ...]

    def logits(self) -> "Callable[[Tensor], Tensor]":
        """A function from inputs (n, m) to logits (n, C), both float64, that autograd can follow."""
        raise NotImplementedError

    def predict(self, frame: pd.DataFrame) -> Floats:
        """Probabilities of shape (n, C): the softmax of the logits.

        Raises:
            ModelError: the columns are not the features of the network, a value is missing, or it is no known level.
        """
        expected, given = self.prepare.features.names, tuple(map(str, frame.columns))
        if given != expected:
            raise ModelError(
                f"model.features: the network was trained on {', '.join(expected)}, and is given {', '.join(given)}. "
                "List exactly what it was trained on, in that order."
            )
        try:
            return self.probabilities(encode(self.prepare.features, frame))
        except (DataError, ValueError) as error:
            raise ModelError(f"the network cannot be asked: {error}") from error

    def probabilities(self, codes: Floats) -> Floats:
        """Probabilities, shape (n, C), of codes of the network's own features, shape (n, d)."""
        import torch

        with torch.no_grad():
            logits = self.logits()(torch.from_numpy(self.prepare.matrix(codes).astype(np.float64)))
            return np.asarray(torch.softmax(logits, dim=1).numpy(), dtype=np.float64)

    def native(self) -> Native | None:
        """Nothing: what explainers of trees and linear models read is not here."""
        return None


@dataclass(frozen=True)
class Network(Differentiable):
    """A network with all that is needed to ask it and to train it: it is a `Model`.

    Attributes:
        module: (n, m) float32 to (n, C) logits, in evaluation mode.
        architecture: its shape.
        classes: the C class labels, as text.
    """

    module: "Module"
    architecture: Architecture
    prepare: Prepare
    classes: tuple[str, ...]
    capabilities: frozenset[Capability] = frozenset({"predict", "gradient"})

    def __post_init__(self) -> None:
        self.module.eval()

    def logits(self) -> "Callable[[Tensor], Tensor]":
        """Inputs (n, m) to logits (n, C), both float64: float32 would round by the number of rows in a batch."""
        from torch.func import functional_call

        state = {name: t.detach().double() if t.is_floating_point() else t for name, t in self._state()}
        return lambda x: functional_call(self.module, state, (x,))

    def _state(self) -> "list[tuple[str, Tensor]]":
        return [*self.module.named_parameters(), *self.module.named_buffers()]

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the network as a file: preparation and classes are part of what it answers."""
        return sha256(self.packed())

    def packed(self) -> bytes:
        """The network as one safetensors file, which `unpacked` reads; equal networks give equal bytes."""
        from safetensors.torch import save

        about = {
            "architecture": self.architecture.model_dump(mode="json"),
            "prepare": self.prepare.model_dump(mode="json", exclude_none=True),
            "classes": list(self.classes),
        }
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.module.state_dict().items()}
        return save(weights, {FORMAT: canonical_json(about).decode()})


class About(Frozen):
    """What the metadata of a file say about its network.

    Attributes:
        architecture: `kind` and its settings.
    """

    architecture: dict[str, Any]
    prepare: Prepare
    classes: tuple[str, ...] = Field(min_length=2)


def metadata(data: bytes) -> dict[str, str]:
    """The texts in the header of a safetensors file; empty where there are none.

    Raises:
        ModelError: these are no safetensors.
    """
    return dict(_header(data).get("__metadata__", {}))


def hidden_of(data: bytes) -> tuple[int, ...] | None:
    """The hidden units of the one perceptron that a file of plain weights fits; None where it fits none.

    Raises:
        ModelError: these are no safetensors.
    """
    shapes = {name: tuple(entry["shape"]) for name, entry in _header(data).items() if name != "__metadata__"}
    layers = sorted(int(name.split(".")[0]) for name in shapes if re.fullmatch(r"\d+\.weight", name))
    sizes = [shapes[f"{i}.weight"] for i in layers]
    expected = {f"{2 * i}.{part}" for i in range(len(layers)) for part in ("weight", "bias")}
    chained = all(len(s) == 2 for s in sizes) and all(a[0] == b[1] for a, b in pairwise(sizes))
    return tuple(s[0] for s in sizes[:-1]) if sizes and chained and set(shapes) == expected else None


def _header(data: bytes) -> dict[str, Any]:
    size = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8 : 8 + size])
        return dict(header)
    except (ValueError, TypeError, RecursionError) as error:
        raise ModelError("no safetensors: the header cannot be read. Save the weights with safetensors.") from error


def about(data: bytes) -> About | None:
    """What a file that `Network.packed` wrote says about its network; None where it says nothing.

    Raises:
        ModelError: these are no safetensors, or the metadata are damaged.
    """
    texts = metadata(data)
    if FORMAT not in texts:
        return None
    try:
        return About.model_validate_json(texts[FORMAT])
    except ValidationError as error:
        raise ModelError(
            f"the metadata of the network are damaged: {error.errors()[0]['msg']}. Save it again."
        ) from error


def weights_of(data: bytes) -> "dict[str, Tensor]":
    """The tensors of a safetensors file by name.

    Raises:
        ModelError: the file cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(data)
    except SafetensorError as error:
        raise ModelError(f"the weights cannot be read: {error}. Save them again with safetensors.") from error


def fill(module: "Module", weights: "Mapping[str, Tensor]") -> "Module":
    """The module with these weights in it.

    Raises:
        ModelError: they are not the tensors of the module, or hold NaN or infinity.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if found != expected:
        raise ModelError(f"the weights do not fit the architecture: {_difference(expected, found)}")
    broken = [name for name, tensor in weights.items() if not _finite(tensor)]
    if broken:
        raise ModelError(f"the weights hold NaN or infinity in {', '.join(sorted(broken)[:3])}. Train the model again.")
    module.load_state_dict(weights)
    return module


def _finite(tensor: "Tensor") -> bool:
    return bool(tensor.isfinite().all())


CHECK = "Check `model.architecture`, and that features, channels and classes are those of the training."


def _difference(expected: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]]) -> str:
    """The first tensor that is missing, of another shape, or too many."""
    for name, shape in expected.items():
        if name not in found:
            return f"{name} is missing; the file holds {', '.join(sorted(found)) or 'nothing'}."
        if found[name] != shape:
            return f"{name} has shape {found[name]}, expected {shape}. {CHECK}"
    return f"{', '.join(sorted(set(found) - set(expected)))} is not in the architecture. {CHECK}"


def run_on_one_thread() -> None:
    """Results and their cost must not depend on the machine; the engine's limit misses torch until it is imported."""
    import torch

    torch.set_num_threads(1)


@contextmanager
def one_thread() -> Iterator[None]:
    """torch on one thread: more make small networks slower, and a limit that was set before its import is void."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
