"""Tables as CSV that no spreadsheet takes for a program."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from typing import Any

import pandas as pd

from audit.core.evidence import Metric
from audit.core.finding import Gate
from audit.report.judged import judgements
from audit.report.source import Source
from audit.report.text import finite

RISKY = ("=", "+", "-", "@", "\t", "\r", "\n", *"\uff1d\uff0b\uff0d\uff20")
"""What a cell begins with that a spreadsheet may compute; the full-width forms are read as the narrow ones by some."""

REGISTER = (
    *("evidence", "metric", "data", "region", "by", "group", "outcome", "feature", "variant", "model"),
    *("value", "low", "high", "level", "interval", "n", "unit", "gate", "required", "result"),
)
"""The columns of the register."""


def harmless(value: Any) -> str:
    """A cell: a number stays a number; text that a spreadsheet may compute has an apostrophe before it."""
    if value is None or value is pd.NA or value != value:  # noqa: PLR0124 - NaN alone differs from itself
        return ""
    if not isinstance(value, str | bytes) and finite(value) is not None:
        return repr(value.item()) if hasattr(value, "item") else str(value)
    text = str(value).replace("\x00", "")  # first: what it hides may be risky
    return f"'{text}" if text.startswith(RISKY) and not _number(text) else text


def table_csv(frame: pd.DataFrame) -> bytes:
    """A table with its column names."""
    return _csv([str(name) for name in frame.columns], frame.itertuples(index=False, name=None))


def register_csv(source: Source) -> bytes:
    """Every number of the audit with its place, its interval and the gates that judge it."""
    return _csv(REGISTER, _register(source))


def _register(source: Source) -> Iterator[Sequence[Any]]:
    judged: dict[str, list[tuple[Gate, Any]]] = {}
    for gate, view in judgements(source):
        judged.setdefault(gate.metric, []).append((gate, view))
    for record in source.records:
        for metric in record.metrics:
            place = metric.where
            told = [(g, v) for g, v in judged.get(f"{record.id}.{metric.name}", ()) if _judges(g, metric)]
            yield (
                *(
                    record.id,
                    metric.name,
                    place.data,
                    place.region,
                    place.by,
                    place.group,
                    place.outcome,
                    place.feature,
                ),
                *(place.variant, place.model, metric.value, metric.low, metric.high),
                *(metric.level if metric.low is not None else None, metric.interval, metric.n, metric.unit),
                *("; ".join(item) for item in _told(told)),
            )


def _told(judged: Sequence[tuple[Gate, Any]]) -> tuple[list[str], list[str], list[str]]:
    return [g.id for g, _ in judged], [v.required for _, v in judged], [v.badge.word for _, v in judged]


def _judges(gate: Gate, metric: Metric) -> bool:
    place = metric.where
    asked = (gate.region, gate.group, gate.outcome, gate.feature, gate.variant)
    found = (place.region, place.group, place.outcome, place.feature, place.variant)
    return gate.by is None and asked == found and gate.model in (None, place.model)


def _csv(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([harmless(name) for name in head])
    writer.writerows([harmless(cell) for cell in row] for row in rows)
    return text.getvalue().encode("utf-8", "backslashreplace")


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return not any(char.isspace() for char in text)
