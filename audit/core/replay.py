"""Whether numbers that were computed again are the recorded ones."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from audit.core.evidence import Evidence, Metric, Note, Result

TOLERANCE = 1e-9
"""Relative difference of two numbers that counts as the noise of another processor or library."""

ABSOLUTE = 1e-12
"""Difference that counts as noise whatever the size of the numbers: scores and shares are of the order of 1."""

KEPT = 1000
"""Differences that are kept one by one; all are counted."""


@dataclass(frozen=True)
class Difference:
    """One value that came out different.

    Attributes:
        evidence: the id of the task.
        where: which metric, table and cell, or note.
        recorded, found: the value in the bundle, and the one that was computed.
        relative: the difference in relation to the larger of two numbers; None where they are none.
    """

    evidence: str
    where: str
    recorded: Any
    found: Any
    relative: float | None = None


@dataclass
class Comparison:
    """Counts of what was compared, and what came out different; filled as it goes.

    Attributes:
        equal: numbers that are the same to the last digit.
        close: numbers within the tolerance.
        largest: the largest relative difference within the tolerance.
        texts: other values that are the same.
        count: values that are different; the first of them stand in `different`.
    """

    tolerance: float = TOLERANCE
    equal: int = 0
    close: int = 0
    largest: float = 0.0
    texts: int = 0
    count: int = 0
    different: list[Difference] = field(default_factory=list)

    def evidence(self, recorded: Evidence, old: Result, new: Result) -> None:
        """Compares a task: status, metrics, tables cell by cell, artefacts byte by byte, and notes."""
        name = recorded.id
        self._value(name, "status", old.status, new.status)
        self._value(name, "message", old.message, new.message)
        self._metrics(name, old.metrics, new.metrics)
        for table in sorted({*old.tables, *new.tables}):
            if table not in old.tables or table not in new.tables:
                self._differ(name, f"table {table}", *_there(table in old.tables, table in new.tables))
            else:
                self._table(name, table, old.tables[table], new.tables[table])
        for artefact in sorted({*old.artefacts, *new.artefacts}):
            one, other = old.artefacts.get(artefact), new.artefacts.get(artefact)
            if one is None or other is None:
                self._differ(name, f"file {artefact}", *_there(one is not None, other is not None))
            elif one.data == other.data:
                self.texts += 1
            else:
                self._differ(name, f"file {artefact}", f"{len(one.data)} bytes", f"{len(other.data)} other bytes")
        self.notes(name, old.notes, new.notes)

    def notes(self, name: str, old: Sequence[Note], new: Sequence[Note]) -> None:
        """Compares notes in their order, arguments and all."""
        if len(old) != len(new):
            self._differ(name, "number of notes", len(old), len(new))
        for one, other in zip(old, new, strict=False):
            self._value(name, f"note {one.code}", one.model_dump(mode="json"), other.model_dump(mode="json"))

    def _metrics(self, name: str, old: Sequence[Metric], new: Sequence[Metric]) -> None:
        theirs, ours = _by_place(old), _by_place(new)
        for place in [*theirs, *(place for place in ours if place not in theirs)]:
            if place not in theirs or place not in ours:
                self._differ(name, f"metric {place}", *_there(place in theirs, place in ours))
                continue
            one, other = theirs[place].model_dump(mode="json"), ours[place].model_dump(mode="json")
            for key in one:
                self._value(name, f"metric {place}" + ("" if key == "value" else f", {key}"), one[key], other[key])

    def _value(self, name: str, where: str, old: Any, new: Any) -> None:
        """Compares two plain values; inside lists and mappings each on its own."""
        if isinstance(old, Mapping) and isinstance(new, Mapping) and old.keys() == new.keys():
            for key in old:
                self._value(name, f"{where}.{key}", old[key], new[key])
        elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
            for i, (one, other) in enumerate(zip(old, new, strict=True), 1):
                self._value(name, f"{where}.{i}", one, other)
        elif _number(old) and _number(new):
            self._numbers(name, lambda _: where, np.array([old], dtype=np.float64), np.array([new], dtype=np.float64))
        elif old == new:
            self.texts += 1
        else:
            self._differ(name, where, old, new)

    def _table(self, name: str, table: str, old: pd.DataFrame, new: pd.DataFrame) -> None:
        columns = [list(map(str, frame.columns)) for frame in (old, new)]
        if columns[0] != columns[1] or len(old) != len(new):
            one, other = (f"{len(f)} rows of {', '.join(held)}" for f, held in zip((old, new), columns, strict=True))
            self._differ(name, f"table {table}", one, other)
            return
        for column in columns[0]:
            series = (old[column], new[column])

            def where(row: int, column: str = column) -> str:
                return f"table {table}, row {row + 1}, column {column}"

            if all(pd.api.types.is_numeric_dtype(values.dtype) for values in series):
                before, after = (values.to_numpy(dtype=np.float64, na_value=np.nan) for values in series)
                self._numbers(name, where, before, after)
            else:
                self._texts(name, where, *series)

    def _numbers(self, name: str, where: Any, old: "np.ndarray[Any, Any]", new: "np.ndarray[Any, Any]") -> None:
        """Compares arrays of one shape; undefined equals undefined."""
        same = (old == new) | (np.isnan(old) & np.isnan(new))
        with np.errstate(invalid="ignore"):
            apart, size = np.abs(old - new), np.maximum(np.abs(old), np.abs(new))
            near = ~same & (apart <= np.maximum(self.tolerance * size, ABSOLUTE))
        self.equal += int(same.sum())
        self.close += int(near.sum())
        if near.any():
            self.largest = max(self.largest, float((apart[near] / size[near]).max()))
        for row in np.flatnonzero(~same & ~near):
            relative = float(apart[row] / size[row]) if np.isfinite(apart[row]) and size[row] else None
            self._differ(name, where(int(row)), _plain(old[row]), _plain(new[row]), relative)

    def _texts(self, name: str, where: Any, old: "pd.Series[Any]", new: "pd.Series[Any]") -> None:
        for row, (one, other) in enumerate(zip(old.tolist(), new.tolist(), strict=True)):
            if _text(one) == _text(other):
                self.texts += 1
            else:
                self._differ(name, where(row), _text(one), _text(other))

    def _differ(self, name: str, where: str, old: Any, new: Any, relative: float | None = None) -> None:
        self.count += 1
        if len(self.different) < KEPT:
            self.different.append(Difference(name, where, old, new, relative))


def _there(recorded: bool, found: bool) -> tuple[str, str]:
    return ("there" if recorded else "absent", "there" if found else "absent")


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plain(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)


def _text(value: Any) -> Any:
    """A cell as something that can be compared; all that is missing is alike."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple | dict):
        return json.dumps(value, sort_keys=True, default=str)
    return None if pd.isna(value) else value


def _by_place(metrics: Sequence[Metric]) -> dict[str, Metric]:
    """Metrics by name and place; a place that comes twice is counted."""
    found: dict[str, Metric] = {}
    for metric in metrics:
        place = ", ".join(f"{key} {value}" for key, value in metric.where.model_dump(mode="json").items() if value)
        base = f"{metric.name} ({place})" if place else metric.name
        name, number = base, 1
        while name in found:
            number += 1
            name = f"{base} #{number}"
        found[name] = metric
    return found
