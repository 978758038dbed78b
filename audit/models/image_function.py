"""Classifiers of images behind a Python function that returns their two halves, for what no other adapter can read."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from audit.core.base import Frozen
from audit.core.errors import ModelError
from audit.core.labels import model_classes
from audit.core.model import Capability, Pixels, Source
from audit.core.network import run_on_one_thread
from audit.models import DIGEST, CodeAdapter, checked

Half = Callable[[Pixels], Any]


class Weights(Frozen):
    """A file that the function reads.

    Attributes:
        path: the file, relative to the spec; the function is called with where it lies.
        sha256: its digest; another one is refused before the function is called.
    """

    path: str
    sha256: str | None = Field(default=None, pattern=DIGEST)


class ImageFunctionAdapter(CodeAdapter):
    """A function that builds a network that looks at pictures, as (features, head).

    `features` maps pictures (b, channels, h, w), float32, to feature maps (b, d, h', w'); `head` maps those to logits
    (b, classes). Each is a module of torch, which is put into evaluation mode, or any callable on arrays of numpy.
    What the second makes of the first is the network. It runs code, so the person who starts the run must allow it.

    Attributes:
        weights: a file that the function is called with; left out, it is called with nothing.
        classes: the classes in the order of the logits.
    """

    kind: Literal["image_function"] = "image_function"
    weights: Weights | None = None
    classes: tuple[str | bool | int | float, ...] = Field(min_length=2)

    @property
    def file(self) -> str | None:
        """The file of the weights, if any."""
        return None if self.weights is None else self.weights.path

    def load(self, source: Source) -> "BuiltHalves":
        """The two halves that the function returns."""
        build, digest = self.code(source)
        classes = model_classes(self.classes)
        given = () if self.weights is None else (self._weights(self.weights, source),)
        try:
            halves = build(*given)
        except Exception as error:  # foreign code
            raise ModelError(f"model.function: {self.function} failed: {type(error).__name__}: {error}") from error
        if not isinstance(halves, tuple | list) or len(halves) != 2 or not all(callable(half) for half in halves):
            found = f"{len(halves)} values" if isinstance(halves, tuple | list) else f"a {type(halves).__name__}"
            raise ModelError(
                f"model.function: {self.function} returned {found}; it has to return (features, head), each a module "
                "of torch or a function from arrays to arrays"
            )
        first, second = (_half(half) for half in halves)
        return BuiltHalves(first, second, classes, digest)

    def _weights(self, weights: Weights, source: Source) -> str:
        """Where the file of the weights lies, its digest compared."""
        path = Path(source.path or Path(source.folder) / weights.path)
        try:
            data = path.read_bytes() if source.content is None else source.content
        except OSError as error:
            raise ModelError(f"model.weights.path: {weights.path} cannot be read: {error.strerror}") from error
        checked(data, weights.path, weights.sha256, "model.weights.sha256")
        return str(path)


@dataclass(frozen=True)
class BuiltHalves:
    """A network in two halves, as a function built them.

    Attributes:
        first, second: from arrays to arrays.
        digest: SHA-256 of the source file of the function.
    """

    first: Half
    second: Half
    classes: tuple[str, ...]
    digest: str
    capabilities: frozenset[Capability] = frozenset({"split"})

    def features(self, batch: Pixels) -> Pixels:
        """Feature maps (b, d, h, w)."""
        return _numbers(self.first(batch))

    def head(self, maps: Pixels) -> Pixels:
        """Logits (b, C)."""
        return _numbers(self.second(maps))


def _half(half: Any) -> Half:
    """The half as a function on arrays; a module of torch is put into evaluation mode and asked without gradients."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not isinstance(half, torch.nn.Module):
        return half  # type: ignore[no-any-return]
    run_on_one_thread()
    half.eval()

    def ask(given: Pixels) -> Any:
        with torch.no_grad():
            return half(torch.from_numpy(np.ascontiguousarray(given, dtype=np.float32)))

    return ask


def _numbers(answer: Any) -> Pixels:
    """An answer as an array; tensors of torch leave their gradients behind."""
    values = answer.detach().cpu().numpy() if hasattr(answer, "detach") else answer
    return np.asarray(values, dtype=np.float32)
