"""The layouts of decisions by group, of the quality of the data and of small errors of the inputs."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from audit.core.evidence import Evidence
from audit.report import text
from audit.report.blocks import Cell, Column, Grid
from audit.report.source import Source
from audit.report.tables import generic_table, metric_table
from audit.report.topics import Placed, heading, placed, purpose, remarks

ORDER = {
    "S13": ("fairness_flips", "fairness_gaps", "fairness_rates", "fairness_proxies", "fairness_proxy_features"),
    "S4": ("data_values", "data_alone", "data_columns", "data_labels", "data_drift", "data_unseen", "data_missing"),
    "S14": ("robustness_decisions", "robustness_counterfactuals", "robustness_seeds", "robustness_scores"),
}
"""Tables in the order in which they are read; others follow."""

HIDDEN = frozenset({"choices"})

BEST = 5
"""Single features that are shown for each protected column; the bundle holds the rest."""


def _best(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.groupby("column", sort=False).head(BEST).reset_index(drop=True)


KEPT = {"fairness_proxy_features": _best}


def groups(source: Source, record: Evidence) -> Iterator[Placed]:
    """Flips, gaps and proxies as tables, and the rates of each group in one line."""
    yield from _tables(source, record, "S13")


def data(source: Source, record: Evidence) -> Iterator[Placed]:
    """The counts, then every look at the columns."""
    yield from _tables(source, record, "S4", with_metrics=True)


def robustness(source: Source, record: Evidence) -> Iterator[Placed]:
    """Decisions, counterfactuals, scores."""
    yield from _tables(source, record, "S14")


def _tables(source: Source, record: Evidence, section: str, *, with_metrics: bool = False) -> Iterator[Placed]:
    """Words and tables; the metrics too where the tables do not hold them."""
    yield from heading(source, record, section)
    yield from purpose(source, record, section)
    yield from remarks(source, record, section)
    if with_metrics:
        yield from placed(section, metric_table(source, record))
    names = [table.name for table in record.tables if table.name not in HIDDEN]
    order = ORDER[section]
    for name in sorted(names, key=lambda name: order.index(name) if name in order else len(order)):
        if name == "fairness_rates":
            yield from placed(section, _rates(source, record))
        else:
            yield from placed(section, generic_table(source, record, name, KEPT.get(name)))


def _rates(source: Source, record: Evidence) -> Grid | None:
    """One line for each group: every rate with its interval, and the rows that it is a share of."""
    frame = source.table(record, "fairness_rates")
    if frame is None:
        return None
    measures = list(dict.fromkeys(frame["measure"]))
    rows = []
    for (by, group), own in frame.groupby(["by", "group"], sort=False):
        lines = own.set_index("measure")
        rows.append((Cell(str(by)), Cell(str(group)), *(Cell(_told(lines.loc[m])) for m in measures)))
    columns = (Column("Column"), Column("Group"), *(Column(text.sentence(m)) for m in measures))
    note = "In each cell: share, 95\u00a0% interval (Wilson), rows that it is a share of."
    return Grid(source.words(record).caption("fairness_rates"), columns, tuple(rows), note, name="fairness_rates")


def _told(line: "pd.Series[Any]") -> str:
    if line["status"] != "ok":
        n = text.finite(line["n"])
        return str(line["status"]) if n is None else f"{line['status']}: {text.count(n)}"
    span = text.interval(line["low"], line["high"], "percent")
    return f"{text.percent(line['share'])} ({span}; {text.count(line['n'])})"
