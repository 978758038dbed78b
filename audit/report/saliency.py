"""The layout of a saliency partition: which pictures are misread, and what would mend them."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from audit.core.evidence import Evidence, Metric
from audit.report import text
from audit.report.blocks import Block, Bullets, Cell, Column, Grid, Heading, Para
from audit.report.heat import heat_map
from audit.report.misread import SECTION, cell_text, listed, one_by_one, size_of, status_text
from audit.report.named_parts import groups_of, named_parts
from audit.report.panels import Said
from audit.report.source import Source
from audit.report.tables import generic_table, interval_note, metric_table, records_of
from audit.report.topics import Placed, heading, placed, purpose, remarks

MAPS = 6
"""Maps of cells that are drawn."""

FIRST_CELLS = 3
"""Cells of each map that are listed with their intervals."""

FEW = 5
"""With fewer reference pictures the look-alikes are poor."""

AREAS = ("insertion", "deletion")

Row = Mapping[str, Any]


def saliency(source: Source, record: Evidence) -> Iterator[Placed]:
    """What it is, what it shows of all misread pictures, and then some of them one by one."""
    yield from heading(source, record, SECTION)
    yield from purpose(source, record, SECTION)
    yield from remarks(source, record, SECTION)
    images = source.table(record, "saliency_images")
    if images is None:
        return
    yield from placed(SECTION, Para("How to read this section:"), Bullets(_warnings(source, record, images)))
    yield from placed(SECTION, metric_table(source, record, skip=(*AREAS, "part_frequency")), _statuses(source, record))
    yield from placed(SECTION, generic_table(source, record, "saliency_pairs"), _areas(record))
    for block in (*named_parts(source, record, SECTION), *_maps(source, record), *one_by_one(source, record, images)):
        yield SECTION, block
    yield from placed(SECTION, listed(source, record, images))


def _warnings(source: Source, record: Evidence, images: pd.DataFrame) -> tuple[str, ...]:
    """What must be known before any picture is looked at."""
    high, wide = size_of(source, record)
    silent = "Where the paper is silent, the formulas are our own (choices in section S6)"
    return (
        "The counterfactual lives in the space of features. No picture is generated, and no picture looks like it.",
        f"The model sees a picture as {high} by {wide} cells. A cell depends on far more than its own square.",
        "A swap that mends a picture shows what suffices for this model, not what caused the error in the world.",
        "A dip is no Shapley value. For the logit as payoff, exact Shapley values are the class activation map.",
        _look_alikes(source, record, images, high * wide),
        _references(source, images),
        "A picture that equals the misread one byte for byte is never its reference. Near copies are not looked for.",
        f"{silent}. The figures cannot be compared with those of the paper.",
    )


def _look_alikes(source: Source, record: Evidence, images: pd.DataFrame, cells: int) -> str:
    """How many look-alikes of a cell are considered, and of how many."""
    m = text.finite((source.settings(record).get("mending") or {}).get("m"))
    candidates = cells * int(images["references"].max())
    if m is None or not candidates:
        return "How many look-alikes of a cell are considered is not known."
    if m < 1:
        return f"Of the cells of the references, {text.percent(m)} are considered for each swap, the most alike."
    most = text.percent(min(1.0, m / candidates))
    return (
        f"For each swap the {text.count(m)} most alike cells of the references are considered, {most} of "
        f"{text.count(candidates)} where there are most. With more references the same number is a stricter choice."
    )


def _references(source: Source, images: pd.DataFrame) -> str:
    """How many references there are, and where they come from."""
    counts = images.loc[images["references"] > 0, "references"]
    few = int((counts < FEW).sum())
    poor = f"For {text.count(few)} of them there are fewer than {FEW}, so the swaps are less alike." if few else ""
    return (
        f"References are {'training' if source.facts('data', 'train') else 'evaluation'} pictures of the true "
        "class that "
        f"the model reads rightly: {_between(counts)} for each misread picture. {poor}"
    ).strip()


def _between(values: "pd.Series[int]") -> str:
    if not len(values):
        return "none"
    low, high = int(values.min()), int(values.max())
    return text.count(low) if low == high else f"{text.count(low)} to {text.count(high)}"


def _statuses(source: Source, record: Evidence) -> Grid | None:
    frame = source.table(record, "saliency_status")
    if frame is None:
        return None
    total = int(frame["pictures"].sum())
    rows = tuple(
        (
            Cell(status_text(row["status"])),
            Cell(text.count(row["pictures"]), "number"),
            Cell(text.percent(row["pictures"] / total if total else None), "number"),
        )
        for row in records_of(frame)
    )
    columns = (Column("Status"), Column("Pictures", numeric=True), Column("Share of the misread", numeric=True))
    return Grid(source.words(record).caption("saliency_status"), columns, rows, name="saliency_status")


MEASURES = {"p_class": "P(wrong class)", "lead": "P(wrong class) − P(true class)"}
ORDERS = {"cam": "Class activation map", "random": "Random: chance"}


def _areas(record: Evidence) -> Grid | None:
    """Insertion and deletion of each order of the cells, the random one last."""
    found: dict[tuple[str, str, str], Metric] = {}
    for one in record.metrics:
        if one.name in AREAS and one.where.variant:
            order, _, score = one.where.variant.partition(", ")
            found[score, order, one.name] = one
    kinds = dict.fromkeys((score, order) for score, order, _ in found)
    rows = tuple(
        (
            Cell(MEASURES.get(score, score)),
            Cell(ORDERS.get(order, text.sentence(order))),
            *(cell for name in AREAS for cell in _with_interval(found.get((score, order, name)))),
        )
        for score, order in sorted(kinds, key=lambda kind: (kind[0] != "p_class", kind[1] == "random"))
    )
    if not rows:
        return None
    spans = (Column(label, numeric=True) for name in AREAS for label in (text.sentence(name), "95\u00a0% interval"))
    note = (
        f"Means over {_between(pd.Series([m.n for m in found.values()]))} pictures of the area under what is "
        "measured, "
        "while cells are added to an empty picture (insertion) or taken from the whole one (deletion), in the "
        "order of "
        "their contributions. An order that finds what carries the wrong class is above chance at insertion "
        "and below it "
        f"at deletion. {interval_note([*found.values()])}"
    )
    columns = (Column("What is measured"), Column("Order of the cells"), *spans)
    return Grid("Insertion and deletion over cells, with chance", columns, rows, note, name="areas")


def _with_interval(found: Metric | None) -> tuple[Cell, Cell]:
    if found is None:
        return Cell(text.ABSENT, "number"), Cell(text.ABSENT, "number")
    return Cell(text.number(found.value), "number"), Cell(text.interval(found.low, found.high), "number")


def _maps(source: Source, record: Evidence) -> Iterator[Block]:
    """How often each cell must change: over all, by confusion and by region."""
    frame = source.table(record, "saliency_frequency")
    if frame is None or 0 in (size := size_of(source, record)):
        return
    yield Heading("How often each cell must change", anchor=f"{SECTION}-{record.id}-maps")
    groups = groups_of(frame)
    peak = float(frame["frequency"].max())
    more = f" {MAPS} of {len(groups)} maps are shown; the bundle holds the rest." if len(groups) > MAPS else ""
    yield Para(
        "Each number is the share, in per cent, of mended pictures in which the cell is swapped. Rows and columns "
        "count from 1, at the top left; the tables of the bundle count from 0. Confusions and regions with few mended "
        f"pictures have no map. Regions stand before confusions, and those with more pictures first.{more}"
    )
    for i, (name, part) in enumerate(groups[:MAPS]):
        shares = {(int(a["row"]), int(a["column"])): float(a["frequency"]) for a in records_of(part)}
        n = text.count(part["n"].max())
        first = "; ".join(
            f"row {a['row'] + 1}, column {a['column'] + 1}: {text.percent(a['frequency'])} "
            f"({text.interval(a['low'], a['high'], 'percent')})"
            for a in _first(part)
        )
        title = f"How often each cell must change: {name}, {n} mended pictures. Most often, with 95\u00a0% intervals: "
        title += f"{first}."
        yield heat_map(Said(f"cells-{i}", title, f"{name}: {n} mended pictures."), shares, size, peak)
    yield _firsts(groups[:MAPS])


def _first(part: pd.DataFrame) -> list[Row]:
    """The cells of a map that change most often."""
    ordered = part.sort_values(["frequency", "row", "column"], ascending=[False, True, True], kind="stable")
    return records_of(ordered[ordered["frequency"] > 0].head(FIRST_CELLS))


def _firsts(groups: list[tuple[str, pd.DataFrame]]) -> Grid:
    rows = tuple(
        (
            Cell(name),
            Cell(cell_text((row["row"], row["column"]))),
            Cell(text.percent(row["frequency"]), "number"),
            Cell(text.interval(row["low"], row["high"], "percent"), "number"),
            Cell(text.count(row["n"]), "number"),
        )
        for name, part in groups
        for row in _first(part)
    )
    columns = (
        Column("Mended pictures"),
        Column("Cell"),
        Column("Share", numeric=True),
        Column("95\u00a0% interval", numeric=True),
        Column("n", numeric=True),
    )
    note = (
        f"At most {FIRST_CELLS} cells of each map. Intervals: Wilson, 95\u00a0%, over mended pictures, for each "
        "cell on its "
        "own; among many cells some are high by chance."
    )
    return Grid("Cells that must change most often", columns, rows, note, name="cells")
