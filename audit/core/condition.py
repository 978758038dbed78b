"""Conditions in the language of `core/expression`, written from the values of features that a region leaves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.core.expression import needs_quotes
from audit.core.schema import Feature, Level
from audit.core.table import Floats

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

ORDINAL_TEXT = 500
"""Characters of all levels together; of an ordinal feature with more, no condition could be read."""


@dataclass(frozen=True)
class Cells:
    """The values of a feature in n rows, as the smallest pieces that a condition can tell apart.

    Attributes:
        values: numeric: the distinct values, ascending; otherwise the codes of all levels. The last cell after them
            is that of missing values.
        of_row: shape (n,), the cell of each row.
    """

    feature: Feature
    values: Floats
    of_row: Ints

    @property
    def missing(self) -> int:
        """The cell of missing values."""
        return len(self.values)

    @classmethod
    def of(cls, feature: Feature, codes: Floats) -> "Cells":
        """The cells of one column of codes, shape (n,)."""
        known = ~np.isnan(codes)
        if feature.kind == "numeric":
            values = np.unique(codes[known])
            places = np.searchsorted(values, np.where(known, codes, 0.0))
        else:
            values = np.arange(len(feature.levels), dtype=np.float64)
            places = np.where(known, codes, 0.0).astype(np.int64)
        return cls(feature, values, np.where(known, places, len(values)).astype(np.int64))

    def columns(self) -> list[Floats]:
        """What a tree may part rows by: a value for each cell, each of shape (cells + 1,).

        An ordered feature is one column of places, missing lowest; others have one for each level that rows have, as 1
        against all other cells.
        """
        if self.feature.ordered:
            places = np.arange(self.missing + 1, dtype=np.float64)
            places[-1] = -1.0
            return [places]
        present = np.unique(self.of_row)
        own = np.eye(self.missing + 1)[present]
        # Two levels are told apart by one of them.
        return list(own[1:] if len(present) == 2 else own)


def is_writable(feature: Feature) -> bool:
    """Whether conditions on a feature can be written: its name and levels can be quoted and are of one type."""
    if "`" in feature.name or "\n" in feature.name:
        return False
    levels = feature.levels
    if feature.kind == "ordinal" and sum(len(str(level)) for level in levels) > ORDINAL_TEXT:
        return False
    if any(isinstance(level, str) for level in levels):
        return all(isinstance(v, str) and "\n" not in v and not {"'", '"'} <= set(v) for v in levels)
    return len({isinstance(level, bool) for level in levels}) <= 1


def written(cells: Sequence[Cells], left: Mapping[int, Bools]) -> str:
    """The condition that holds for rows whose cells are all left; empty where every row is.

    Args:
        left: by position in `cells`, which of its cells the region keeps, shape (cells + 1,), missing last.
    """
    parts = [_feature(cells[j], kept) for j, kept in left.items() if not kept.all()]
    return " and ".join(part for part in parts if part)


def _feature(cells: Cells, kept: Bools) -> str:
    name = f"`{cells.feature.name}`" if needs_quotes(cells.feature.name) else cells.feature.name
    known, with_missing = kept[:-1], bool(kept[-1])
    if not known.any():
        return f"{name} is missing"
    may_miss = bool((cells.of_row == cells.missing).any()) or cells.feature.missing
    if known.all():
        return f"{name} is not missing" if may_miss and not with_missing else ""
    text = _between(name, cells, known) if cells.feature.kind == "numeric" else _among(name, cells, known)
    return f"({text} or {name} is missing)" if may_miss and with_missing else text


def _between(name: str, cells: Cells, known: Bools) -> str:
    """An interval of numbers; what is kept has no gap."""
    inside = np.flatnonzero(known)
    first, last = int(inside[0]), int(inside[-1])
    bounds = []
    if first > 0:
        bounds.append(f"{name} > {_number(_cut(cells, first - 1))}")
    if last < len(known) - 1:
        bounds.append(f"{name} <= {_number(_cut(cells, last))}")
    return " and ".join(bounds)


def _cut(cells: Cells, place: int) -> float:
    """The roundest number from a value up to, and without, the next one."""
    low, high = float(cells.values[place]), float(cells.values[place + 1])
    middle = low + (high - low) / 2
    middle = float(np.floor(middle)) if cells.feature.integer else middle
    rounded = (round(middle, digits) for digits in range(-15, 17))
    return next((number for number in rounded if low <= number < high), low)


def _among(name: str, cells: Cells, known: Bools) -> str:
    """A set of levels: those that are kept, or those that are not, whichever are fewer."""
    levels = cells.feature.levels
    kept, left_out = ([levels[i] for i in np.flatnonzero(mask)] for mask in (known, ~known))
    chosen, signs = (kept, ("==", "in")) if len(kept) <= len(left_out) else (left_out, ("!=", "not in"))
    if len(chosen) == 1:
        return f"{name} {signs[0]} {_literal(chosen[0])}"
    return f"{name} {signs[1]} [{', '.join(map(_literal, chosen))}]"


def _literal(level: Level) -> str:
    if isinstance(level, bool):
        return str(level).lower()
    if isinstance(level, str):
        return f'"{level}"' if "'" in level else f"'{level}'"
    return _number(float(level))


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)
