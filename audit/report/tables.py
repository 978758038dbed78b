"""Tables of the bundle as tables of the report."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd

from audit.core.evidence import Evidence, Metric
from audit.report import text
from audit.report.blocks import Cell, Column, Grid
from audit.report.source import Source, where_text
from audit.report.words import Words

PRINTED_ROWS = 40
"""Rows of one table on paper."""

MEANINGS = 300
"""Meanings of metrics on paper; a plug-in may name thousands."""

SCREEN_ROWS = 200
"""Rows of one table on screen: a report shows aggregates, the bundle holds the rest."""

SHARES = frozenset(
    {"frequency", "increase_share", "coverage", "share", "fpr", "tpr", "probability", "observed", "feasible_rate"}
    | {"selection_rate", "accuracy", "balanced_accuracy", "mended_share", "missing_train", "missing_evaluate"}
    | {"share_gap", "share_change", "train_share", "evaluate_share"}
    | {"changed_share", "hold_share", "rows_share", "favourable_share", "unfavourable_share"}
)
"""Columns that hold shares wherever they occur."""

COUNTS = frozenset({"n", "covered", "rank", "instances", "changed", "missing", "to_favourable", "to_unfavourable"})
"""Columns that hold whole numbers wherever they occur."""

Show = Callable[[Any], str]


COMMON = frozenset({"evaluated_rows"})
"""Metrics that the engine adds to every kind; S6 shows them together."""


def metric_table(source: Source, record: Evidence, caption: str = "", skip: Collection[str] = ()) -> Grid | None:
    """The metrics of one piece of evidence, or None if it has none."""
    wording = source.words(record)
    found = [m for m in record.metrics if m.name not in COMMON and m.name not in skip and _headline(m)]
    if not found:
        return None
    placed = [where_text(m) for m in found]
    columns = [Column("Metric"), Column("Measured on")]
    columns += [Column("Estimate", numeric=True), Column("95\u00a0% interval", numeric=True), Column("n", numeric=True)]
    rows = [
        (
            Cell(wording.label(m.name)),
            Cell(where),
            Cell(wording.show(m), "number"),
            Cell(text.interval(m.low, m.high, wording.form(m.name, m.unit)), "number"),
            Cell(text.count(m.n), "number"),
        )
        for m, where in zip(found, placed, strict=True)
    ]
    return cut(source, Grid(caption or f"{wording.title}: metrics", tuple(columns), tuple(rows), interval_note(found)))


def _headline(metric: Metric) -> bool:
    """Whether it stands among the metrics of its section; what is measured per feature has tables of its own."""
    return metric.where.feature is None


def interval_note(found: Sequence[Metric]) -> str:
    """What the intervals of some metrics are, in one sentence."""
    kinds = sorted({m.interval for m in found if m.interval})
    levels = sorted({m.level for m in found if m.low is not None})
    note = ""
    if kinds:
        note = f"Intervals: {'; '.join(kinds)}."
    if levels and levels != [0.95]:
        note += f" Level: {', '.join(text.percent(level) for level in levels)}."
    if any(m.value is None for m in found):
        note += f" {text.ABSENT}: undefined on these rows."
    return note.strip()


def generic_table(
    source: Source, record: Evidence, name: str, keep: Callable[[pd.DataFrame], pd.DataFrame] | None = None
) -> Grid | None:
    """Any table as it stands, or the part of it that `keep` keeps, with the wording of its kind."""
    frame = source.table(record, name)
    if frame is None:
        return None
    frame = keep(frame) if keep else frame
    wording, most = source.words(record), limit(source)
    drawn = _with_intervals(frame.head(most))
    columns = tuple(Column(*_headed(wording, name, str(c), frame)) for c in drawn.columns)
    shows = [_show(str(c), drawn[c]) for c in drawn.columns]
    rows = tuple(
        tuple(_cell(value, show, column.numeric) for value, show, column in zip(row, shows, columns, strict=True))
        for row in drawn.itertuples(index=False, name=None)
    )
    place = source.path(record, name)
    copy = f"{record.id}.{name}.csv"
    if keep is None and any(file.name == copy for file in source.files):
        place = f"{place}, and attached to this file as {copy}"
    return Grid(wording.caption(name), columns, rows, _rest(len(frame), most, place), name=name)


INTERVAL = "95\u00a0% interval"
LABELS = {
    "n": "Rows",
    "auc": "AUC",
    "tau_b": "Kendall tau-b",
    "spearman": "Spearman rho",
    "mean_abs": "Mean absolute contribution",
}
WHOLE = {"region": "whole sample", "prediction": "all", "group": "all", "outcome": "all"}
"""What an empty place in these columns stands for."""


SHORT = 24
"""A meaning that is no longer than this is the label itself."""


def _headed(wording: Words, table: str, column: str, frame: pd.DataFrame) -> tuple[str, bool, str]:
    """Label of a column, whether it holds numbers, and its meaning where the label does not say it already."""
    meaning = wording.meaning(table, column).strip().rstrip(".")
    if column.endswith(INTERVAL):
        return column, True, ""
    numeric = _numeric(frame[column])
    if meaning and len(meaning) <= SHORT and ";" not in meaning:
        return meaning, numeric, ""
    return LABELS.get(column, text.sentence(text.words(column))), numeric, meaning


def _with_intervals(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with `low` and `high`, or `x_low` and `x_high`, as one column each."""
    frame = frame.rename(columns=str)
    for low in [name for name in frame.columns if name == "low" or name.endswith("_low")]:
        subject = low.removesuffix("low")
        high = f"{subject}high"
        if high not in frame or not (_numeric(frame[low]) and _numeric(frame[high])) or low == "bin_low":
            continue
        shares = {subject.strip("_")} & SHARES if subject else set(frame.columns) & SHARES
        form = "percent" if shares else "number"
        spans = [text.interval(a, b, form) for a, b in zip(frame[low], frame[high], strict=True)]
        place = list(frame.columns).index(low)
        frame = frame.drop(columns=[low, high])
        name = subject.strip("_")
        told = LABELS.get(name, text.sentence(text.words(name)))
        frame.insert(place, f"{told}: {INTERVAL}" if name else INTERVAL, spans)
    return frame


def cut(source: Source, grid: Grid, path: str = "") -> Grid:
    """The table with no more rows than this output shows, saying where the rest is."""
    most = limit(source)
    if len(grid.rows) <= most:
        return grid
    note = " ".join(part for part in (grid.note, _rest(len(grid.rows), most, path)) if part)
    return Grid(grid.caption, grid.columns, grid.rows[:most], note, grid.tool, grid.heat, grid.name)


def limit(source: Source) -> int:
    """How many rows of one table this output shows."""
    return PRINTED_ROWS if source.paged else SCREEN_ROWS


def definitions(source: Source) -> Grid | None:
    """What each metric of the report means; kinds that mean the same by it stand in one row."""
    seen: dict[tuple[str, str], tuple[Words, Metric]] = {}
    for record in source.records:
        wording = source.words(record)
        for metric in record.metrics:
            seen.setdefault((wording.kind, metric.name), (wording, metric))
    alike: dict[tuple[str, str, str], list[str]] = {}
    for wording, metric in seen.values():
        said = wording.definition(metric.name) or "The method gives no definition."
        alike.setdefault((wording.label(metric.name), said, metric.unit or text.ABSENT), []).append(wording.title)
    rows = tuple(
        (Cell(label), Cell("; ".join(dict.fromkeys(titles))), Cell(said), Cell(unit))
        for (label, said, unit), titles in alike.items()
    )
    columns = (Column("Metric"), Column("From"), Column("Meaning"), Column("Unit"))
    most = MEANINGS if source.paged else len(rows)
    note = _rest(len(rows), most, "")
    return Grid("Metrics and their meaning", columns, rows[:most], note, name="definitions") if rows else None


def records_of(frame: pd.DataFrame) -> list[Mapping[str, Any]]:
    """The rows of a table by column name."""
    names = [str(column) for column in frame.columns]
    return [dict(zip(names, row, strict=True)) for row in frame.itertuples(index=False, name=None)]


def _rest(rows: int, most: int, path: str) -> str:
    if rows <= most:
        return ""
    where = f"; the whole table is in the bundle: {path}" if path else ""
    return f"The first {text.count(most)} of {text.count(rows)} rows are shown{where}."


def _numeric(column: "pd.Series[Any]") -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _show(name: str, column: "pd.Series[Any]") -> Show:
    if not _numeric(column):
        whole = WHOLE.get(name)
        return text.plain if whole is None else partial(_plain_or, whole)
    if name in SHARES:
        return text.percent
    if pd.api.types.is_integer_dtype(column) or name in COUNTS:
        return text.count
    return text.number


def _plain_or(whole: str, value: Any) -> str:
    return whole if pd.isna(value) else text.plain(value)


def _cell(value: Any, show: Show, numeric: bool) -> Cell:
    return Cell(show(value), "number" if numeric else "text")
