"""Networks of torch: weights with an architecture, or a program that runs in a process of its own."""

import io
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from audit.core.architecture import architecture_of
from audit.core.base import Frozen, sha256
from audit.core.errors import DataError, ModelError
from audit.core.labels import model_classes
from audit.core.model import Allow, Source
from audit.core.network import About, Architecture, Mlp, Network, Prepare, about, fill, run_on_one_thread, weights_of
from audit.core.schema import FeatureSchema
from audit.core.table import Table, encode
from audit.models import FileAdapter
from audit.models.torch_module.pictures import ImageProgramsAdapter as ImageProgramsAdapter  # found through this module
from audit.models.torch_module.program import Child, Form, Program, form_of
from audit.models.torch_module.transformer import Transformer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor
    from torch.nn import Module

PICKLED = frozenset({".pt", ".pth", ".bin", ".ckpt"})
PROGRAMS = frozenset({".pt2", ".ts", ".jit", ".torchscript"})
"""Beside these, `.pt` and `.pth` files may be TorchScript; what they hold tells."""

GROUP = "audit.architectures"


class Scaling(Frozen):
    """How one numeric or ordinal feature was scaled in training: (value - mean) / sd.

    Attributes:
        mean: what is taken off.
        sd: what is divided by.
    """

    mean: float
    sd: float = Field(gt=0)


class TorchAdapter(FileAdapter):
    """A network of torch: a `.safetensors` file, or a program: TorchScript (.pt, .ts) or an exported one (.pt2).

    A file that audit has written holds its architecture, its scaling and its classes, and needs nothing else. For any
    other file they stand in the spec. A program runs in a process of its own and can be asked, not trained; it has no
    `architecture`. Pickled weights are read where the person who starts the run allows it.

    Attributes:
        architecture: `kind: mlp` with `hidden`, `activation`, or a kind that an installed package offers.
        preprocessing: how features become inputs: `standardise` takes means and deviations from the training data,
            `none` gives numbers as they are, or mean and sd of each number. Categories become one column per level.
        transformer: in place of `preprocessing`: `{path: prepare.skops}`, a fitted transformer of scikit-learn whose
            scaling, categories and order of columns are read.
        classes: the classes in the order of the outputs.
        gives: what a program gives: `logits`, or `probabilities` where a softmax or sigmoid is its last step.
    """

    kind: Literal["torch"] = "torch"
    architecture: dict[str, Any] | None = None
    preprocessing: Literal["standardise", "none"] | dict[str, Scaling] | None = None
    transformer: Transformer | None = None
    classes: tuple[str | bool | int | float, ...] | None = None
    gives: Literal["logits", "probabilities"] | None = None

    uses: ClassVar[tuple[str, ...]] = ("torch", "safetensors")
    gives_text: ClassVar[bool] = True

    def parsers(self) -> tuple[str, ...]:
        """What reads the transformer; weights are numbers, and a program has a process of its own."""
        return () if self.transformer is None else ("skops.io",)

    @property
    def parsed(self) -> str:
        """The transformer, as a message begins."""
        return super().parsed if self.transformer is None else f"model.transformer: {self.transformer.path}"

    def first(self, source: Source) -> Network | Program | str:
        """The numbers of the transformer."""
        return self.load(source) if self.transformer is None else self.transformer.text(source)

    def load(self, source: Source) -> Network | Program:
        """The network; nothing in the file is opened before its digest was compared."""
        if find_spec("torch") is None or find_spec("safetensors") is None:
            raise ModelError("model.kind: torch is not installed here; install it with pip install 'auditspec[torch]'")
        data = self.content(source)
        suffix = Path(self.path).suffix.lower()
        form = form_of(suffix, data) if suffix in PROGRAMS | PICKLED else None
        if form is not None:
            return self._program(form, data, source)
        if self.gives is not None:
            raise ModelError("model.gives: it is for programs; the outputs of an architecture are logits. Leave it out")
        if suffix in PICKLED:
            inside, weights = None, _unpickled(self.path, data, source.allow)
        elif suffix == ".safetensors":
            inside, weights = _said(self.path, about, data), _said(self.path, weights_of, data)
        else:
            raise ModelError(f"model.path: {self.path} {_no_file(suffix)}")
        shape = self._shape(inside)
        prepare = self._prepare(inside, source)
        self._refuse_other_features(prepare)
        classes = self._classes(inside)
        module = _built(shape, len(prepare.groups), len(classes))
        run_on_one_thread()
        try:
            return Network(fill(module, weights), shape, prepare, classes)
        except ModelError as error:
            raise ModelError(f"model.path: {self.path}: {error}") from error

    def _program(self, form: Form, data: bytes, source: Source) -> Program:
        """The program in a process of its own."""
        if self.architecture is not None:
            raise ModelError(
                f"model.architecture: {self.path} is a program, which is its own architecture; leave `architecture` out"
            )
        prepare, classes = self._prepare(None, source), self._classes(None)
        run_on_one_thread()
        child = Child(self.path, data, form, (len(prepare.groups), len(classes)), self.gives)
        return Program(child, prepare, classes, sha256(data), self.gives)

    def _shape(self, inside: About | None) -> Architecture:
        given = inside.architecture if inside is not None else self.architecture
        if given is None:
            raise ModelError(
                f"model.architecture: {self.path} does not say what network its weights belong to; "
                "give it, for example {kind: mlp, hidden: [32]}"
            )
        shape = shape_of(given)
        if inside is not None and self.architecture is not None and shape_of(self.architecture) != shape:
            raise ModelError(
                f"model.architecture: {self.path} holds {_plain(shape)}, and the spec says "
                f"{_plain(shape_of(self.architecture))}; leave `architecture` out, or name the right file"
            )
        return shape

    def _prepare(self, inside: About | None, source: Source) -> Prepare:
        """How features become inputs: as the file says, or else as the spec says."""
        if inside is not None:
            for name in ("preprocessing", "transformer"):
                if getattr(self, name) is not None:
                    raise ModelError(f"model.{name}: {self.path} holds how its inputs are made; leave `{name}` out")
            return inside.prepare
        if self.transformer is not None:
            if self.preprocessing is not None:
                raise ModelError("model.transformer: it says how inputs are made; leave `preprocessing` out")
            return self.transformer.prepare(source)
        if self.preprocessing is None:
            raise ModelError(
                f"model.preprocessing: {self.path} does not say how features become inputs; "
                "give `standardise`, `none`, mean and sd of each number, or a `transformer`"
            )
        if source.schema is None:
            raise ModelError("model.preprocessing: the features are not known here; save the network with audit")
        if self.preprocessing == "standardise":
            if source.train is None:
                raise ModelError("model.preprocessing: standardise needs the training data; give `data.train`")
            return _fitted(source.schema, source.train)
        d = len(source.schema)
        plain = Prepare(features=source.schema, mean=(0.0,) * d, sd=(1.0,) * d)
        return plain if self.preprocessing == "none" else _scaled(plain, self.preprocessing)

    def _classes(self, inside: About | None) -> tuple[str, ...]:
        given = None if self.classes is None else model_classes(self.classes)
        if inside is None:
            if given is None:
                raise ModelError(
                    f"model.classes: {self.path} does not name its classes; list them in the order of the outputs"
                )
            return given
        if given is not None and given != inside.classes:
            raise ModelError(
                f"model.classes: {self.path} has {', '.join(inside.classes)}, and the spec says {', '.join(given)}; "
                "leave `classes` out"
            )
        return inside.classes

    def _refuse_other_features(self, prepare: Prepare) -> None:
        known = prepare.features.names
        if self.features is not None and self.features != known:
            raise ModelError(
                f"model.features: the network was trained on {', '.join(known)}, and the spec lists "
                f"{', '.join(self.features)}; list exactly what it was trained on, in that order"
            )


def shape_of(settings: "Mapping[str, Any]") -> Architecture:
    """The architecture that settings with a `kind` describe: ours, or one that an installed package offers.

    Raises:
        ModelError: the kind is not known, or its settings are wrong.
    """
    return architecture_of(settings, {"mlp": Mlp}, GROUP, Architecture)


def save_network(path: Path | str, network: Network) -> str:
    """Writes the network with its architecture, scaling and classes as one file; returns its SHA-256."""
    data = network.packed()
    Path(path).write_bytes(data)
    return sha256(data)


def _no_file(suffix: str) -> str:
    return (
        f"ends in {suffix or 'nothing'!r}; a network is a .safetensors, .pt2, .ts or .pt file; "
        "save the weights with safetensors and name the architecture in the spec"
    )


def _unpickled(path: str, data: bytes, allow: Allow) -> "dict[str, Tensor]":
    """The weights in a pickle, read by torch's restricted reader, where the person who starts the run allows it."""
    if not allow.pickle:
        raise ModelError(
            f"model.path: {path} is a pickle, so it was not opened. Save the weights with safetensors, "
            "or run again with --allow-pickle if you know where it comes from."
        )
    import torch

    try:
        weights = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # the file is foreign: whatever it raises is a fault of the file
        raise ModelError(
            f"model.path: {path} holds more than weights, or cannot be read ({type(error).__name__}); "
            "save `module.state_dict()` with safetensors"
        ) from error
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise ModelError(f"model.path: {path} is no state_dict; save `module.state_dict()` with safetensors")
    return weights


def _said(path: str, read: Any, data: bytes) -> Any:
    """What a reader finds in the file, its message with the path in front."""
    try:
        return read(data)
    except ModelError as error:
        raise ModelError(f"model.path: {path}: {error}") from error


def _built(shape: Architecture, inputs: int, outputs: int) -> "Module":
    try:
        return shape.build(inputs, outputs, 0)
    except Exception as error:  # a builder may be foreign code
        raise ModelError(f"model.architecture: cannot be built: {type(error).__name__}: {error}") from error


def _fitted(schema: FeatureSchema, train: pd.DataFrame) -> Prepare:
    codes = encode(schema, train)
    try:
        return Prepare.fit(schema, Table(schema, codes, tuple(map(str, range(len(codes))))))
    except DataError as error:
        raise ModelError(f"model.preprocessing: {error}") from error


def _scaled(plain: Prepare, given: dict[str, Scaling]) -> Prepare:
    """The scaling that the spec states, for exactly the numbers and ranks among the features."""
    ordered = [f.name for f in plain.features.features if f.ordered]
    if set(given) != set(ordered):
        raise ModelError(
            f"model.preprocessing: mean and sd are needed for exactly {', '.join(ordered) or 'no feature'}; "
            f"they are given for {', '.join(given)}"
        )
    mean = np.array([given[n].mean if n in given else 0.0 for n in plain.features.names])
    sd = np.array([given[n].sd if n in given else 1.0 for n in plain.features.names])
    return Prepare(features=plain.features, mean=tuple(mean.tolist()), sd=tuple(sd.tolist()))


def _plain(shape: Architecture) -> str:
    return ", ".join(f"{key} {value}" for key, value in shape.model_dump(mode="json").items())
