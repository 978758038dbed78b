"""The layouts of feature importance: FLEX, SHAP and their agreement."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from audit.core.evidence import Evidence
from audit.report import text
from audit.report.blocks import Block, Cell, Column, Grid, Heading
from audit.report.cases import cases
from audit.report.figures import Bar, Spread, bars, shade, shorten, spreads
from audit.report.source import Source
from audit.report.tables import generic_table, limit, metric_table, records_of
from audit.report.topics import ROWS_ONLY, Placed, heading, placed, purpose, remarks

FIGURE_FEATURES = 20
HEAT_FEATURES = 25
HEAT_REGIONS = 8
SMALL_REGION = 20
"""Regions with fewer covered rows are greyed: their frequencies are too uncertain to compare."""


def flex(source: Source, record: Evidence) -> Iterator[Placed]:
    """Global ranking in S8, regions in S9, a few cases in S10."""
    yield from heading(source, record, "S8")
    yield from purpose(source, record, "S8")
    yield from remarks(source, record, "S8")
    pooled, split = _global(source, record)
    if pooled is not None:
        yield from placed("S8", _ranking(source, record, pooled), _ranking_table(source, record, pooled))
    if split is not None:
        yield from placed("S8", _by_prediction(source, record, split))
    if pooled is not None:
        yield from placed("S8", _magnitude(source, pooled), _magnitude_table(source, pooled))
    yield from placed("S8", _sweep(source, record), _overall(source, record))
    drawn = {"flex_global", "flex_regional", "flex_sweep", "flex_coverage", "flex_stability", *ROWS_ONLY}
    for table in record.tables:
        if table.name not in drawn:
            yield from placed("S8", generic_table(source, record, table.name))
    regional = source.table(record, "flex_regional")
    if regional is not None and {"region", "feature", "frequency"} <= set(regional.columns):
        yield "S9", Heading(f"{source.words(record).title} by region", anchor=f"S9-{record.id}")
        yield from placed("S9", *_regions(source, record, regional))
    yield from placed("S8" if regional is None else "S9", _coverage(source, record))
    yield from cases(source, record)


def _overall(source: Source, record: Evidence) -> Grid | None:
    """The metrics of the whole sample; regions have S9."""
    whole = record.model_copy(update={"metrics": tuple(m for m in record.metrics if m.where.region is None)})
    return metric_table(source, whole)


def _global(source: Source, record: Evidence) -> tuple[pd.DataFrame | None, pd.DataFrame | None]:
    """The rows pooled over predictions, by rank, and those of each prediction."""
    frame = source.table(record, "flex_global")
    if frame is None or not {"feature", "frequency"} <= set(frame.columns):
        return None, None
    if "prediction" not in frame:
        return _sorted(frame), None
    pooled, split = frame[frame["prediction"].isna()], frame[frame["prediction"].notna()]
    return (_sorted(pooled) if len(pooled) else None), (split if len(split) else None)


def _sorted(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sort_values(["frequency", "feature"], ascending=[False, True], kind="stable", na_position="last")


def _ranking(source: Source, record: Evidence, pooled: pd.DataFrame) -> Block:
    rows = records_of(pooled)[:FIGURE_FEATURES]
    items = [
        Bar(
            source.show(row["feature"]),
            text.finite(row["frequency"]),
            text.finite(row.get("low")),
            text.finite(row.get("high")),
            text.percent(row["frequency"]),
        )
        for row in rows
    ]
    numbers = "; ".join(
        f"{r['feature']} {text.percent(r['frequency'])} ({text.interval(r.get('low'), r.get('high'), 'percent')})"
        for r in rows
    )
    left = len(pooled) - len(rows)
    more = f" The first {len(rows)} of {len(pooled)} features." if left > 0 else ""
    caption = f"How often a feature changes in a counterfactual, with 95\u00a0% intervals.{more}"
    title = f"Share of counterfactuals in which each feature changes: {numbers}."
    axis = "Share of counterfactuals (1 = all)"
    return bars(f"flex-{record.id}", title, caption, items, axis=axis, top=1.0)


def _ranking_table(source: Source, record: Evidence, pooled: pd.DataFrame) -> Grid:
    stable = _stability(source, record)
    wording = source.words(record)
    columns = [
        Column("Feature"),
        Column("Rank", numeric=True),
        Column("Frequency", numeric=True, meaning=wording.meaning("flex_global", "frequency")),
        Column("95\u00a0% interval", numeric=True),
        Column("Rows", numeric=True),
    ]
    if stable:
        columns.append(
            Column("Rank stability", numeric=True, meaning="share of resamples in which its rank is at least as high")
        )
    rows = []
    for row in records_of(pooled)[: limit(source)]:
        cells = [Cell(str(row["feature"])), Cell(rank_text(row.get("rank")), "number")]
        cells += [Cell(text.percent(row["frequency"]), "number")]
        cells += [Cell(text.interval(row.get("low"), row.get("high"), "percent"), "number")]
        cells += [Cell(text.count(row.get("n")), "number")]
        if stable:
            cells.append(Cell(stable.get(str(row["feature"]), text.ABSENT), "number"))
        rows.append(tuple(cells))
    return Grid(wording.caption("flex_global"), tuple(columns), tuple(rows), _flags(pooled), name="flex_global")


def rank_text(value: Any) -> str:
    """A rank; equal values share their mean rank."""
    rank = text.finite(value)
    return text.ABSENT if rank is None else f"{rank:g}"


def _flags(frame: pd.DataFrame) -> str:
    """Why some features have no number."""
    if "status" not in frame:
        return ""
    odd = frame[~frame["status"].astype(str).isin(["ok", "", "nan", "None"])]
    if not len(odd):
        return ""
    told = [f"{text.words(str(s))}: {', '.join(map(str, g['feature']))}" for s, g in odd.groupby("status", sort=True)]
    return "Marked features: " + "; ".join(told) + "."


def _stability(source: Source, record: Evidence) -> dict[str, str]:
    frame = source.table(record, "flex_stability")
    if frame is None or not {"feature", "top", "probability"} <= set(frame.columns):
        return {}
    best = frame.sort_values("probability", kind="stable").groupby("feature").last()
    rows = zip(best.index, best["probability"], best["top"], strict=True)
    return {str(f): f"{text.percent(p)} in top {text.count(t)}" for f, p, t in rows}


def _by_prediction(source: Source, record: Evidence, split: pd.DataFrame) -> Grid:
    """Frequencies beside each other for each predicted outcome."""
    predictions = list(dict.fromkeys(map(str, split["prediction"])))
    values = _pivot(split.assign(prediction=split["prediction"].astype(str)), "prediction")
    features = values.max(axis=1).sort_values(ascending=False, kind="stable").index[:HEAT_FEATURES]
    columns = (Column("Feature"), *(Column(f"From “{p}”", numeric=True) for p in predictions))
    peak = _peak(values)
    rows = tuple((Cell(str(f)), *(_heat(values.loc[f, p], peak) for p in predictions)) for f in features)
    note = f"Flips away from different outcomes are different questions. {SHADES}{_first(len(features), len(values))}"
    return Grid("Frequency by the outcome that is left", columns, rows, note, heat=True, name="by_prediction")


SHADES = "Shades run from 0 to the largest value of the table."


def _first(shown: int, total: int) -> str:
    return f" The first {shown} of {total} features; the bundle holds all." if shown < total else ""


def _peak(values: pd.DataFrame) -> float:
    return text.finite(values.max().max()) or 1.0


def _pivot(frame: pd.DataFrame, by: str) -> pd.DataFrame:
    return frame.pivot_table(index="feature", columns=by, values="frequency", aggfunc="first", sort=False, dropna=False)


def _heat(value: Any, peak: float, *, small: bool = False) -> Cell:
    x = text.finite(value)
    if x is None or small:
        return Cell(text.percent(x), "faint")
    return Cell(text.percent(x), "number", shade=shade(x, peak))


def _magnitude(source: Source, pooled: pd.DataFrame) -> Block | None:
    if not {"changes_p10", "changes_p50", "changes_p90"} <= set(pooled.columns):
        return None
    rows = [r for r in records_of(pooled) if text.finite(r["changes_p50"]) is not None][:FIGURE_FEATURES]
    if not rows:
        return None
    items = [
        Spread(
            source.show(r["feature"]),
            text.finite(r["changes_p10"]),
            text.finite(r["changes_p50"]),
            text.finite(r["changes_p90"]),
            _direction(r.get("increase_share")),
        )
        for r in rows
    ]
    numbers = "; ".join(f"{r['feature']} median {text.number(r['changes_p50'])}" for r in rows)
    title = f"Size of the changes as a share of the range of each feature: {numbers}."
    caption = "Where a feature changes: median and middle 80\u00a0% of the change, as a share of the feature's range."
    return spreads("magnitude", title, caption, items, axis="Signed change (1 = the whole range)")


def _direction(share: Any) -> str:
    x = text.finite(share)
    return "" if x is None else f"{text.percent(x)} up"


def _magnitude_table(source: Source, pooled: pd.DataFrame) -> Grid | None:
    names = {"changes_p10": "10\u00a0%", "changes_p50": "Median", "changes_p90": "90\u00a0%"}
    if not set(names) <= set(pooled.columns):
        return None
    columns = [Column("Feature"), *(Column(label, numeric=True) for label in names.values())]
    columns.append(Column("Increases", numeric=True, meaning="share of its changes that are increases"))
    rows = [
        (
            Cell(str(row["feature"])),
            *(Cell(text.number(row[name]), "number") for name in names),
            Cell(text.percent(row.get("increase_share")), "number"),
        )
        for row in records_of(pooled)
        if text.finite(row["changes_p50"]) is not None
    ]
    note = "Features whose changes have no size (categories, yes or no) are not listed."
    return Grid(
        "Size and direction of the changes", tuple(columns), tuple(rows[: limit(source)]), note, name="magnitude"
    )


def _sweep(source: Source, record: Evidence) -> Grid | None:
    frame = source.table(record, "flex_sweep")
    if frame is None or not {"min_change", "feature", "frequency"} <= set(frame.columns):
        return None
    values = _pivot(frame, "min_change")
    thresholds = sorted(values.columns)
    order = values[thresholds[0]].sort_values(ascending=False, kind="stable").index[:HEAT_FEATURES]
    peak = _peak(values)
    rows = tuple((Cell(str(f)), *(_heat(values.loc[f, t], peak) for t in thresholds)) for f in order)
    columns = (Column("Feature"), *(Column(f"> {text.percent(t)}", numeric=True) for t in thresholds))
    note = (
        "A change counts where it is larger than the threshold, as a share of the feature's range; categories have no "
        f"size. {SHADES}{_first(len(order), len(values))}"
    )
    return Grid("Frequency under larger thresholds for a change", columns, rows, note, heat=True, name="flex_sweep")


def _regions(source: Source, record: Evidence, regional: pd.DataFrame) -> Iterator[Block]:
    """Heat maps of at most eight regions each; regions with few rows are greyed."""
    regional = _pooled(regional)
    sizes = regional.groupby("region", sort=False)["n"].max().to_dict() if "n" in regional else {}
    values = _pivot(regional, "region")
    order = values.max(axis=1).sort_values(ascending=False, kind="stable").index[:HEAT_FEATURES]
    names, peak = list(values.columns), _peak(values)
    for start in range(0, len(names), HEAT_REGIONS):
        shown = names[start : start + HEAT_REGIONS]
        small = {name: (text.finite(sizes.get(name)) or 0) < SMALL_REGION for name in shown}
        heads = (Column(f"{shorten(str(n), 60)} (n = {text.count(sizes.get(n))})", numeric=True) for n in shown)
        rows = tuple((Cell(str(f)), *(_heat(values.loc[f, n], peak, small=small[n]) for n in shown)) for f in order)
        grey = f" Grey: fewer than {SMALL_REGION} rows, too few to compare." if any(small.values()) else ""
        note = SHADES + grey + _first(len(order), len(values))
        yield Grid(
            source.words(record).caption("flex_regional"),
            (Column("Feature"), *heads),
            rows,
            note,
            heat=True,
            name="flex_regional",
        )


def _coverage(source: Source, record: Evidence) -> Grid | None:
    return generic_table(source, record, "flex_coverage", keep=_pooled)


def _pooled(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows over all predictions, where the table has such rows."""
    if "prediction" not in frame or not frame["prediction"].isna().any():
        return frame
    return frame[frame["prediction"].isna()].drop(columns="prediction")
