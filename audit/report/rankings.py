"""The layouts of other rankings of features: SHAP, and the agreement of rankings."""

from collections.abc import Iterator

import pandas as pd

from audit.core.evidence import Evidence
from audit.report import text
from audit.report.blocks import Cell, Column, Grid
from audit.report.figures import Bar, bars
from audit.report.importance import FIGURE_FEATURES, rank_text
from audit.report.source import Source
from audit.report.tables import cut, generic_table, metric_table, records_of
from audit.report.topics import ROWS_ONLY, Placed, heading, placed, purpose, remarks


def shap(source: Source, record: Evidence) -> Iterator[Placed]:
    """Mean absolute contributions as bars, then the rest."""
    yield from heading(source, record, "S8")
    yield from purpose(source, record, "S8")
    yield from remarks(source, record, "S8")
    frame = source.table(record, "shap_global")
    if frame is not None and {"feature", "mean_abs"} <= set(frame.columns):
        frame = frame.sort_values(["mean_abs", "feature"], ascending=[False, True], kind="stable")
        rows = records_of(frame)[:FIGURE_FEATURES]
        items = [
            Bar(
                source.show(r["feature"]), text.finite(r["mean_abs"]), text.finite(r.get("low")),
                text.finite(r.get("high")), text.number(r["mean_abs"]),
            )
            for r in rows
        ]  # fmt: skip
        numbers = "; ".join(f"{r['feature']} {text.number(r['mean_abs'])}" for r in rows)
        caption = "Mean absolute contribution of each feature, with 95\u00a0% intervals."
        yield (
            "S8",
            bars("shap", f"Mean absolute contribution: {numbers}.", caption, items, axis="Mean absolute contribution"),
        )
    yield from placed("S8", metric_table(source, record))
    for table in record.tables:
        if table.name not in {*ROWS_ONLY, "shap_global", "shap_local"}:
            yield from placed("S8", generic_table(source, record, table.name))


def agreement(source: Source, record: Evidence) -> Iterator[Placed]:
    """How alike two rankings are: the table says it all."""
    yield from heading(source, record, "S8")
    yield from purpose(source, record, "S8")
    yield from remarks(source, record, "S8")
    yield from placed("S8", generic_table(source, record, "agreement", keep=_paired))
    yield from placed("S8", metric_table(source, record), _ranks(source, record))
    for table in record.tables:
        if table.name not in {*ROWS_ONLY, "agreement", "agreement_ranks"}:
            yield from placed("S8", generic_table(source, record, table.name))


def _paired(frame: pd.DataFrame) -> pd.DataFrame:
    """The two methods as one column, so that the table fits a page."""
    names = ("first", "second") if "first" in frame else ("a", "b")
    if not set(names) <= set(frame.columns):
        return frame
    pairs = [f"{a}\u00a0and\u00a0{b}" for a, b in zip(frame[names[0]], frame[names[1]], strict=True)]
    frame = frame.drop(columns=[*names, *({"n_first", "n_second"} & set(frame.columns))])
    frame.insert(0, "pair", pairs)
    return frame


def _ranks(source: Source, record: Evidence) -> Grid | None:
    """The rankings beside each other, by the first of them."""
    frame = source.table(record, "agreement_ranks")
    if frame is None or not {"feature", "method", "rank"} <= set(frame.columns):
        return None
    ranks = frame.pivot_table(index="feature", columns="method", values="rank", aggfunc="first", sort=False)
    methods = [*dict.fromkeys(map(str, frame["method"]))]
    ranks = ranks.sort_values(methods[0], kind="stable")[methods]
    rows = tuple((Cell(str(f)), *(Cell(rank_text(ranks.loc[f, m]), "number") for m in methods)) for f in ranks.index)
    columns = (Column("Feature"), *(Column(f"Rank by {m}", numeric=True) for m in methods))
    return cut(source, Grid(source.words(record).caption("agreement_ranks"), columns, rows, name="ranks"))
