"""Stored scores in place of a model: what needs a model is then not applicable."""

from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from pydantic import model_validator

from audit.core.errors import ModelError
from audit.core.labels import class_labels, label_of, model_classes
from audit.core.model import Adapter, Capability, Native, Source
from audit.core.table import Floats

SUM_TOLERANCE = 0.01
"""How far stored probabilities of a row may sum from 1: files keep two or three decimals."""


@dataclass(frozen=True)
class StoredModel:
    """Columns of probabilities.

    Attributes:
        columns: one column per class, in the order of `classes`; None for the class that has the rest.
    """

    classes: tuple[str, ...]
    columns: tuple[str | None, ...]
    capabilities: frozenset[Capability] = field(default_factory=frozenset)

    def stored(self, frame: pd.DataFrame) -> Floats:
        """Probabilities of the rows of the evaluation file, shape (n, C).

        Raises:
            ModelError: a column is missing, or holds something else than probabilities.
        """
        given = {name: _probabilities(frame, name) for name in self.columns if name is not None}
        total = np.sum(list(given.values()), axis=0)
        if None in self.columns:
            return np.column_stack([1 - total if name is None else given[name] for name in self.columns])
        off = np.abs(total - 1) > SUM_TOLERANCE
        if off.any():
            raise ModelError(
                f"model.columns: the scores of {_rows(off)} do not sum to 1 within {SUM_TOLERANCE}; "
                "give one column of probabilities for every class"
            )
        return np.column_stack([given[name] for name in self.columns if name is not None])

    def predict(self, frame: pd.DataFrame) -> Floats:
        """Nothing: there is no model, and `capabilities` says so."""
        raise ModelError("model: there are stored scores only, which cannot answer for other rows; give a model")

    def native(self) -> Native | None:
        """There is no inside."""
        return None


class PredictionsAdapter(Adapter):
    """Scores in the evaluation data: one column with p(favourable), or one column for each class."""

    kind: Literal["predictions"] = "predictions"
    column: str | None = None
    columns: dict[str, str] | None = None
    classes: tuple[str | bool | int | float, ...] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.column is None) == (self.columns is None):
            raise ValueError(
                "give `column` (p(favourable), two classes) or `columns` (one for each class), and not both"
            )
        if self.columns is not None and self.classes is not None:
            raise ValueError("`columns` names the classes already; leave `classes` out")
        return self

    def columns_read(self) -> tuple[str, ...]:
        """The columns of scores."""
        return tuple(self.columns.values()) if self.columns is not None else (self.column or "",)

    def load(self, source: Source) -> StoredModel:
        """The stored scores, checked."""
        model = self._many(self.columns) if self.columns is not None else self._one(source)
        model.stored(source.evaluate)
        return model

    def _many(self, columns: dict[str, str]) -> StoredModel:
        try:
            return StoredModel(class_labels(columns), tuple(columns.values()))
        except ValueError as error:
            raise ModelError(f"model.columns: {error}") from error

    def _one(self, source: Source) -> StoredModel:
        if len(source.favourable) != 1:
            raise ModelError(
                "model.column: a column of p(favourable) needs `data.target.favourable` with exactly one class; "
                f"it has {len(source.favourable)}. For more, give `columns` with one column for each class."
            )
        (favourable,) = source.favourable
        classes = model_classes(self._labels(source, favourable))
        if len(classes) != 2 or favourable not in classes:
            raise ModelError(
                f"model.column: p({favourable}) in one column serves two classes of which {favourable!r} is one, "
                f"but there are {', '.join(classes)}; give `columns` with one column for each class"
            )
        return StoredModel(classes, tuple(self.column if label == favourable else None for label in classes))

    def _labels(self, source: Source, favourable: str) -> list[Any]:
        """The two classes: as the spec says, as the target column holds them, or without a name for the other."""
        if self.classes is not None:
            return list(self.classes)
        if source.target is None or source.target not in source.evaluate.columns:
            return [f"not {favourable}", favourable]
        return sorted({label_of(value) for value in source.evaluate[source.target].dropna()})


def _probabilities(frame: pd.DataFrame, name: str) -> Floats:
    if name not in frame.columns:
        raise ModelError(f"model: the evaluation data have no column {name!r}; their columns are {_shown(frame)}")
    values = np.asarray(pd.to_numeric(frame[name], errors="coerce"), dtype=np.float64)
    bad = ~((values >= 0) & (values <= 1))
    if bad.any():
        raise ModelError(
            f"model: column {name!r} holds no probability between 0 and 1 in {_rows(bad)}; "
            "correct these scores, or leave the rows out"
        )
    return values


def _rows(bad: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> str:
    """How many rows, and the first few, counted from 1."""
    first = ", ".join(str(i + 1) for i in np.flatnonzero(bad)[:3])
    return f"{int(bad.sum())} of {len(bad)} rows (first: row {first})"


def _shown(frame: pd.DataFrame) -> str:
    return ", ".join(str(name) for name in frame.columns[:12])
