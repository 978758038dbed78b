"""A model behind a Python function, for what no other adapter can read."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from audit.core.errors import ModelError
from audit.core.labels import model_classes
from audit.core.model import Capability, Native, Source
from audit.core.table import Floats
from audit.models import CodeAdapter

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


class FunctionAdapter(CodeAdapter):
    """`package.module:callable`; runs code, so the person who starts the run must allow it."""

    kind: Literal["function"] = "function"
    classes: tuple[str | bool | int | float, ...]

    def load(self, source: Source) -> FunctionModel:
        """The function; the folder of the spec is searched after everything that is installed."""
        call, digest = self.code(source)
        return FunctionModel(self.function, call, model_classes(self.classes), digest)
