"""The layouts of principal reasons and of recourse by group."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from audit.core.evidence import Evidence
from audit.report import text
from audit.report.blocks import Cell, Column, Grid
from audit.report.figures import Bar, Figure, bars
from audit.report.source import Source
from audit.report.tables import cut, generic_table, metric_table, records_of
from audit.report.topics import ROWS_ONLY, Placed, heading, placed, purpose, remarks

CASES = 3
NAMED = 3
"""Reasons of a region that are named in its row."""

NO_SHAP = "No place by SHAP: this case is not among the rows that it explains."

EVERYONE = "Everyone"
JOIN = " x "
HIDDEN = {
    "suppressed": "Not shown, too few people",
    "suppressed too": "Not shown, because a hidden group could be found by subtraction",
}
"""Groups without numbers, by status, and what is said of them."""


def reasons(source: Source, record: Evidence) -> Iterator[Placed]:
    """How often each feature is a principal reason, in all and by region, and the reasons of a few people."""
    section = "S10"
    yield from heading(source, record, section)
    yield from purpose(source, record, section)
    yield from remarks(source, record, section)
    yield from placed(section, metric_table(source, record, "Principal reasons: metrics"))
    frame = source.table(record, "reasons_summary")
    if frame is not None and {"region", "feature", "share", "n"} <= set(frame.columns):
        yield from placed(section, _often(source, record, frame[frame["region"].isna()]))
        yield from placed("S9", _by_region(record, frame[frame["region"].notna()]))
    yield from ((section, grid) for grid in _cases(source, record))
    for table in record.tables:
        if table.name not in {*ROWS_ONLY, "reasons_summary"}:
            yield from placed(section, generic_table(source, record, table.name))


def _often(source: Source, record: Evidence, frame: pd.DataFrame) -> Grid | None:
    rows = tuple(
        (
            Cell(str(row["feature"])),
            Cell(text.sentence(str(row["text"]))),
            Cell(text.percent(row["share"]), "number"),
            Cell(text.interval(row["low"], row["high"], "percent"), "number"),
            Cell(text.percent(row["first_share"]), "number"),
            Cell(_standing(row)),
        )
        for row in records_of(frame)
        if row["share"] > 0
    )
    never = [str(name) for name in frame.loc[frame["share"] == 0, "feature"]]
    n = text.finite(frame["n"].max()) if len(frame) else None
    note = f"Of {text.count(n)} adverse decisions with reasons."
    if never:
        note += f" Never a principal reason: {', '.join(never)}."
    columns = (
        Column("Feature"),
        Column("Wording"),
        Column("Share of decisions", numeric=True),
        Column("95\u00a0% interval", numeric=True),
        Column("First reason", numeric=True),
        Column("Standing"),
    )
    grid = Grid(source.words(record).caption("reasons_summary"), columns, rows, note, name="reasons_summary")
    return cut(source, grid, source.path(record, "reasons_summary")) if rows else None


def _standing(row: Mapping[str, Any]) -> str:
    """Whether a feature is protected, and whether a person can change it."""
    movable = "can be changed" if row.get("changeable") else "cannot be changed"
    return f"protected, {movable}" if row.get("protected") else movable


def _by_region(record: Evidence, frame: pd.DataFrame) -> Grid | None:
    rows = []
    for name, own in frame.groupby("region", sort=False):
        leading = own[own["share"] > 0].head(NAMED)
        told = ", ".join(f"{r['feature']} ({text.percent(r['share'])})" for r in records_of(leading))
        rows.append((Cell(str(name)), Cell(text.count(own["n"].max()), "number"), Cell(told or text.ABSENT)))
    columns = (Column("Region"), Column("Adverse decisions", numeric=True), Column("Most frequent principal reasons"))
    caption = "Principal reasons by region"
    note = "Share of the adverse decisions of the region; intervals are in the register of all numbers."
    return Grid(caption, columns, tuple(rows), note, name="reasons_by_region") if rows else None


def _cases(source: Source, record: Evidence) -> Iterator[Grid]:
    """The reasons of the people with a sheet, or of the first few."""
    frame = source.table(record, "reasons")
    if frame is None or not {"instance", "rank", "feature", "frequency"} <= set(frame.columns):
        return
    named = [str(i) for made in source.of_kind("recourse") for i in _instances(source, made)]
    there = list(dict.fromkeys(frame["instance"].astype(str)))
    chosen = [i for i in dict.fromkeys(named) if i in there] or there
    for instance in chosen[:CASES]:
        own = frame[frame["instance"].astype(str) == instance]
        beside = own["shap_rank"].notna().any()
        note = "" if beside or frame["shap_rank"].isna().all() else NO_SHAP
        rows = tuple(
            (
                Cell(text.count(row["rank"]), "number"),
                Cell(text.sentence(str(row["text"]))),
                Cell(f"{row['direction']}{f', as {t}' if (t := str(row['towards'] or '')) else ''}"),
                Cell(text.percent(row["frequency"]), "number"),
                Cell(text.interval(row["low"], row["high"], "percent"), "number"),
                *([Cell(text.count(row["shap_rank"]), "number")] if beside else []),
            )
            for row in records_of(own)
        )
        columns = [Column("Place", numeric=True), Column("Reason"), Column("Present value")]
        columns += [Column("Share of counterfactuals", numeric=True), Column("95\u00a0% interval", numeric=True)]
        columns += [Column("Place by SHAP", numeric=True)] if beside else []
        yield Grid(f"Case {instance}: principal reasons", tuple(columns), rows, note, name=f"reasons-{instance}")


def _instances(source: Source, record: Evidence) -> list[str]:
    frame = source.table(record, "recourse_sheets")
    return [] if frame is None or "instance" not in frame else [str(i) for i in frame["instance"]]


def recourse(source: Source, record: Evidence) -> Iterator[Placed]:
    """Who can change the decision, what it costs, and how far groups are apart."""
    section = "S11"
    yield from heading(source, record, section)
    yield from purpose(source, record, section)
    yield from remarks(source, record, section)
    drawn = {"recourse_groups": _groups, "recourse_costs": _costs, "recourse_gaps": _gaps}
    for name, draw in drawn.items():
        frame = source.table(record, name)
        if frame is not None and "by" in frame:
            grid = draw(source.words(record).caption(name), records_of(frame))
            yield section, cut(source, grid, source.path(record, name))
            yield from placed(section, _figure(record, name, frame))
    for table in record.tables:
        if table.name not in {*ROWS_ONLY, *drawn}:
            yield from placed(section, generic_table(source, record, table.name))


def _name(row: Mapping[str, Any]) -> str:
    """A group with what it is a group of; an intersection names its values alone."""
    if not isinstance(row["by"], str):
        return EVERYONE
    return str(row["group"]) if JOIN in row["by"] else f"{row['by']}: {row['group']}"


def _shown(table: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [row for row in table if row["status"] not in HIDDEN]


def _hidden(table: list[Mapping[str, Any]]) -> str:
    """Which groups are not shown, and why; empty where all are."""
    names = [", ".join(_name(row) for row in table if row["status"] == status) for status in HIDDEN]
    pairs = zip(HIDDEN.values(), names, strict=True)
    return "".join(f" {why}: {named}." for why, named in pairs if named)


BARS = {
    "recourse_groups": (
        "Share of refused people with a way", "found_rate", "feasible_rate_low", "feasible_rate_high", "percent",
        "The line is the 95\u00a0% interval; it reaches up to where the share would be if all not known had a way.",
    ),
    "recourse_costs": (
        "Mean cost of the cheapest way", "mean_cost", "mean_cost_low", "mean_cost_high", "number",
        "Of those who have a way. The line is the 95\u00a0% interval; 1 is the whole range of one feature.",
    ),
}  # fmt: skip
"""What is drawn by group: what it is, its columns, how it is written, and what the drawing shows."""


def _figure(record: Evidence, name: str, frame: pd.DataFrame) -> Figure | None:
    """A table by group as bars with intervals, everyone first; None where there is no group beside everyone."""
    what, value, low, high, form, caption = BARS.get(name, ("",) * 6)
    if not what or not {value, low, high} <= set(frame.columns):
        return None
    known = frame[frame["status"] == "ok"].dropna(subset=[value])
    if len(known) < 2:
        return None
    items = [
        Bar(_name(row), row[value], text.finite(row[low]), text.finite(row[high]), text.FORMATS[form](row[value]))
        for row in records_of(known)
    ]
    numbers = ", ".join(f"{item.label} {item.shown}" for item in items)
    top = 1.0 if form == "percent" else None
    return bars(f"{name}-{record.id}", f"{what}: {numbers}.", f"{what}. {caption}", items, axis=what, top=top)


def _groups(caption: str, table: list[Mapping[str, Any]]) -> Grid:
    rows = []
    for row in _shown(table):
        numbers = [text.count(row[name]) for name in ("n", "found", "infeasible", "not_found")]
        numbers += [text.percent(row["found_rate"]), text.percent(row["at_most"])]
        numbers.append(text.interval(row["feasible_rate_low"], row["feasible_rate_high"], "percent"))
        rows.append((Cell(_name(row)), *(Cell(value, "number") for value in numbers)))
    labels = ("People", "Way found", "Proven none", "Not known", "Share with a way", "At most", "95\u00a0% interval")
    columns = (Column("Group"), *(Column(label, numeric=True) for label in labels))
    note = (
        "Proven none: no change that the policy allows turns the decision. Not known: nothing found, nothing proven. "
        "At most: if all not known had a way; the interval (Wilson) holds whatever is true."
    )
    return Grid(caption, columns, tuple(rows), note + _hidden(table), name="recourse_groups")


def _costs(caption: str, table: list[Mapping[str, Any]]) -> Grid:
    rows = []
    for row in _shown(table):
        few = row["status"] == "few"
        shown = [text.count(row["n"]), "too few" if few else text.number(row["mean_cost"])]
        shown.append(text.interval(row["mean_cost_low"], row["mean_cost_high"]))
        shown += [text.number(row[name]) for name in ("p10", "p50", "p90", "mean_changed")]
        shown.append(text.interval(row["mean_changed_low"], row["mean_changed_high"]))
        rows.append((Cell(_name(row)), *(Cell(value, "number") for value in shown)))
    labels = ["People with a way", "Mean cost", "95\u00a0% interval", "10\u00a0%", "Median", "90\u00a0%"]
    labels += ["Features changed", "95\u00a0% interval"]
    columns = (Column("Group"), *(Column(label, numeric=True) for label in labels))
    note = "Cost: the sum of scaled changes of the cheapest way found; 1 is the whole range of one feature."
    return Grid(caption, columns, tuple(rows), note + _hidden(table), name="recourse_costs")


MEASURES = {"feasible_rate": ("Share with a way", "percent"), "mean_cost": ("Mean cost", "number")}


def _gaps(caption: str, table: list[Mapping[str, Any]]) -> Grid:
    rows = []
    for row in table:
        label, form = MEASURES.get(str(row["measure"]), (str(row["measure"]), "number"))
        apart = f"{row['lowest']} and {row['highest']}" if isinstance(row["lowest"], str) else "all alike"
        numbers = [text.FORMATS[form](row["gap"]), text.interval(row["low"], row["high"], form)]
        cells = [Cell(value, "number") for value in numbers]
        cells += [Cell(apart), Cell(text.sentence(str(row["test"]))), Cell(text.number(row["p_holm"]), "number")]
        rows.append((Cell(str(row["by"])), Cell(label), Cell(text.count(row["groups"]), "number"), *cells))
    columns = (
        Column("Groups of"),
        Column("Compared"),
        Column("Groups", numeric=True),
        Column("Gap", numeric=True),
        Column("95\u00a0% interval", numeric=True),
        Column("Between"),
        Column("Test"),
        Column("p, corrected", numeric=True),
    )
    note = "Intervals hold for all pairs of groups at once. P is corrected by Holm over all rows, hidden groups apart."
    return Grid(caption, columns, tuple(rows), note, name="recourse_gaps")
