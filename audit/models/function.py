"""A model behind a Python function, for what no other adapter can read."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from audit.core.base import sha256
from audit.core.errors import ModelError
from audit.core.labels import model_classes
from audit.core.model import Adapter, Capability, Native, Source
from audit.core.table import Floats

SUM_TOLERANCE = 1e-6
"""How far the probabilities of a row may sum from 1."""


@dataclass(frozen=True)
class FunctionModel:
    """A function from rows to probabilities.

    Attributes:
        call: takes a frame in feature space; answers with P(second class), shape (n,), or with shape (n, C).
        digest: SHA-256 of the source file of the function; of nothing that this file imports.
    """

    name: str
    call: Callable[[pd.DataFrame], Any]
    classes: tuple[str, ...]
    digest: str
    capabilities: frozenset[Capability] = frozenset({"predict"})

    def predict(self, frame: pd.DataFrame) -> Floats:
        """Probabilities of shape (n, C).

        Raises:
            ModelError: the shape is another, or the probabilities of a row do not sum to 1.
        """
        answer = np.asarray(self.call(frame), dtype=np.float64)
        n, size = len(frame), len(self.classes)
        if answer.shape == (n,) and size == 2:
            return np.column_stack([1 - answer, answer])
        if answer.shape != (n, size):
            alternative = f" or ({n},)" if size == 2 else ""
            raise ModelError(
                f"model.function: {self.name} answered {n} rows with shape {answer.shape}; "
                f"expected ({n}, {size}){alternative}, one column per class"
            )
        off = np.abs(answer.sum(axis=1) - 1)
        if off.max(initial=0.0) > SUM_TOLERANCE:
            raise ModelError(
                f"model.function: {self.name} answered {int((off > SUM_TOLERANCE).sum())} of {n} rows with "
                "probabilities that do not sum to 1; give one column per class, summing to 1 in each row"
            )
        return answer

    def native(self) -> Native | None:
        """A function keeps its inside to itself."""
        return None


class FunctionAdapter(Adapter):
    """`package.module:callable`; runs code, so the person who starts the run must allow it."""

    kind: Literal["function"] = "function"
    function: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")
    classes: tuple[str | bool | int | float, ...]
    sha256: str | None = Field(default=None, pattern="^[0-9a-fA-F]{64}$")

    @property
    def expected_sha256(self) -> str | None:
        """The digest of the source file of the function that the spec pins, in lower case."""
        return self.sha256 and self.sha256.lower()

    def load(self, source: Source) -> FunctionModel:
        """The function; the folder of the spec is searched after everything that is installed."""
        if not source.allow.code:
            raise ModelError(
                f"model.function: {self.function} is code, so it was not imported. "
                "Run again with --allow-code if you know where it comes from."
            )
        classes = model_classes(self.classes)
        module, _, name = self.function.partition(":")
        if source.folder not in sys.path:
            sys.path.append(source.folder)
        digest = self._digest(module)
        return FunctionModel(self.function, self._import(module, name), classes, digest)

    def _digest(self, module: str) -> str:
        """SHA-256 of the source file, compared with the pinned one before the module runs."""
        try:
            spec = importlib.util.find_spec(module)
        except Exception as error:  # the parent package is foreign code
            raise ModelError(f"model.function: {module} cannot be found: {type(error).__name__}: {error}") from error
        if spec is None:
            raise ModelError(
                f"model.function: there is no module {module!r}; install its package, or put it beside the spec"
            )
        path = Path(spec.origin) if spec.origin else None
        found = sha256(path.read_bytes()) if path and path.is_file() else ""
        if self.expected_sha256 is not None and found != self.expected_sha256:
            raise ModelError(
                f"model.sha256: {module} has the digest {found or '(no file)'}, but the spec pins "
                f"{self.expected_sha256}; it was not imported. Use the code that was approved, or change the digest."
            )
        return found

    def _import(self, module: str, name: str) -> Callable[[pd.DataFrame], Any]:
        try:
            value: Any = importlib.import_module(module)
        except Exception as error:  # foreign code
            raise ModelError(f"model.function: {module} cannot be imported: {type(error).__name__}: {error}") from error
        for step in name.split("."):
            if not hasattr(value, step):
                known = ", ".join(n for n, f in inspect.getmembers(value, callable) if not n.startswith("_"))
                raise ModelError(f"model.function: {module} has no {name!r}; it has {known or 'no functions'}")
            value = getattr(value, step)
        if not callable(value):
            raise ModelError(f"model.function: {self.function} is a {type(value).__name__}, not a function")
        call: Callable[[pd.DataFrame], Any] = value
        return call
