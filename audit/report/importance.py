"""The layouts of feature importance: FLEX, SHAP and their agreement."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from audit.core.evidence import Evidence
from audit.report import text
from audit.report.blocks import Block, Cell, Column, Grid, Heading, Para
from audit.report.figures import Bar, Spread, bars, shade, shorten, spreads
from audit.report.source import Source
from audit.report.tables import cut, generic_table, limit, metric_table, records_of
from audit.report.topics import ROWS_ONLY, Placed, heading, placed, purpose, remarks

FIGURE_FEATURES = 20
HEAT_FEATURES = 25
HEAT_REGIONS = 8
SMALL_REGION = 20
"""Regions with fewer covered rows are greyed: their frequencies are too uncertain to compare."""
CASES = 3
CASE_FEATURES = 8


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
    yield from placed("S9", _coverage(source, record))
    yield from _cases(source, record)


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
        f"{r['feature']} {text.percent(r['frequency'])} (interval {text.interval(r.get('low'), r.get('high'), 'percent')})"
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
        cells = [Cell(str(row["feature"])), Cell(_rank(row.get("rank")), "number")]
        cells += [Cell(text.percent(row["frequency"]), "number")]
        cells += [Cell(text.interval(row.get("low"), row.get("high"), "percent"), "number")]
        cells += [Cell(text.count(row.get("n")), "number")]
        if stable:
            cells.append(Cell(stable.get(str(row["feature"]), text.ABSENT), "number"))
        rows.append(tuple(cells))
    return Grid(wording.caption("flex_global"), tuple(columns), tuple(rows), _flags(pooled), name="flex_global")


def _rank(value: Any) -> str:
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
    rows = tuple((Cell(str(f)), *(_heat(values.at[f, p], peak) for p in predictions)) for f in features)
    note = f"A flip away from one outcome and a flip away from another are different questions. {SHADES}"
    return Grid("Frequency by the outcome that is left", columns, rows, note, heat=True, name="by_prediction")


SHADES = "Shades run from 0 to the largest value of the table."


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
    caption = "Size and direction where a feature changes: median and the middle 80\u00a0%, as a share of the feature's range."
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
    rows = tuple((Cell(str(f)), *(_heat(values.at[f, t], peak) for t in thresholds)) for f in order)
    columns = (Column("Feature"), *(Column(f"> {text.percent(t)}", numeric=True) for t in thresholds))
    note = (
        "A change counts where it is larger than the threshold, as a share of the feature's range; categories have no "
        f"size. {SHADES}"
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
        rows = tuple((Cell(str(f)), *(_heat(values.at[f, n], peak, small=small[n]) for n in shown)) for f in order)
        grey = f" Grey: fewer than {SMALL_REGION} rows, too few to compare." if any(small.values()) else ""
        note = SHADES + grey
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


def _cases(source: Source, record: Evidence) -> Iterator[Placed]:
    """A few cases: how often each feature changes, and one counterfactual with its values before and after."""
    local = source.table(record, "flex_local")
    if local is None or not {"instance", "feature", "frequency"} <= set(local.columns):
        return
    known = local[local["frequency"].notna()]
    chosen = list(dict.fromkeys(known["instance"]))[:CASES]
    if not chosen:
        return
    yield "S10", Heading(f"{source.words(record).title}: cases", anchor=f"S10-{record.id}")
    yield (
        "S10",
        Para(
            f"The first {len(chosen)} audited rows that have a counterfactual, in the order of the sample, as examples; "
            "all others are in the bundle. These describe the model. They are not advice to a person."
        ),
    )
    for instance in chosen:
        yield "S10", _case(source, record, known[known["instance"] == instance], str(instance))


def _case(source: Source, record: Evidence, local: pd.DataFrame, instance: str) -> Grid:
    before, after, outcome = _example(source, record, instance)
    rows = []
    for row in records_of(_sorted(local))[:CASE_FEATURES]:
        name = str(row["feature"])
        rows.append(
            (
                Cell(name),
                Cell(text.percent(row["frequency"]), "number", shade=shade(text.finite(row["frequency"]), 1.0)),
                Cell(text.interval(row.get("low"), row.get("high"), "percent"), "number"),
                Cell(text.plain(before.get(name)), "number"),
                Cell(_after(before, after, name), "number"),
            )
        )
    columns = (
        Column("Feature"),
        Column("Frequency", numeric=True),
        Column("95\u00a0% interval", numeric=True),
        Column("Value", numeric=True),
        Column("Nearest counterfactual", numeric=True),
    )
    n = text.finite(local["n"].max()) if "n" in local else None
    note = f"{text.count(n)} counterfactuals." if n is not None else ""
    return Grid(f"Case {instance}{outcome}", columns, tuple(rows), note, heat=True, name=f"case-{instance}")


def _after(before: dict[str, Any], after: dict[str, Any], name: str) -> str:
    if not after:
        return text.ABSENT
    old, new = text.plain(before.get(name)), text.plain(after.get(name))
    return "same" if old == new else new


def _example(source: Source, record: Evidence, instance: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    """The row, its first counterfactual and its outcome, as far as the bundle has them."""
    sampled = source.record("sample")
    before = _row(source.table(sampled, "instances") if sampled else None, instance)
    drawn = _row(source.table(sampled, "sample") if sampled else None, instance)
    given = str(source.settings(record).get("from") or source.settings(record).get("from_") or "")
    made = source.record(f"counterfactuals.{given}")
    after = _row(source.table(made, "counterfactuals") if made else None, instance)
    outcome = f": outcome {drawn['outcome']}, score {text.number(drawn.get('score'))}" if "outcome" in drawn else ""
    if after:
        outcome += f", {text.number(after.get('score_after'))} after the nearest counterfactual"
    return before, after, outcome


def _row(frame: pd.DataFrame | None, instance: str) -> dict[str, Any]:
    if frame is None or "instance" not in frame:
        return {}
    found = frame[frame["instance"].astype(str) == instance]
    return {str(k): v for k, v in found.iloc[0].to_dict().items()} if len(found) else {}


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
    pairs = [f"{a} and {b}" for a, b in zip(frame[names[0]], frame[names[1]], strict=True)]
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
    rows = tuple((Cell(str(f)), *(Cell(_rank(ranks.at[f, m]), "number") for m in methods)) for f in ranks.index)
    columns = (Column("Feature"), *(Column(f"Rank by {m}", numeric=True) for m in methods))
    return cut(source, Grid(source.words(record).caption("agreement_ranks"), columns, rows, name="ranks"))
