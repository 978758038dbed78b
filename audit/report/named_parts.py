"""How often each named part of a picture must change, as a figure and as a table."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from audit.core.evidence import Evidence
from audit.report import text
from audit.report.blocks import Block, Cell, Column, Grid, Heading, Para
from audit.report.figures import Bar, bars
from audit.report.source import Source
from audit.report.tables import records_of

GROUPS = 6
"""Groups of pictures whose parts are listed; the bundle holds all."""


def groups_of(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The rows of each group of pictures: the whole sample, then regions, then confusions, most pictures first."""
    groups = frame.groupby(["region", "true", "predicted"], sort=False, dropna=False)
    parts = [(_name(key), part) for key, part in groups]

    def place(group: tuple[str, pd.DataFrame]) -> tuple[bool, bool, int]:
        first = group[1].iloc[0]
        return not pd.isna(first["true"]), not pd.isna(first["region"]), -int(group[1]["n"].max())

    return sorted(parts, key=place)


def _name(key: Any) -> str:
    region, true, predicted = key
    if not pd.isna(region):
        return f"Region {region}"
    return "Whole sample" if pd.isna(true) else f"{true} read as {predicted}"


def named_parts(source: Source, record: Evidence, section: str) -> Iterator[Block]:
    """The parts that must change, where the spec names any."""
    frame = source.table(record, "saliency_part_frequency")
    if frame is None or not len(frame):
        return
    groups = groups_of(frame)
    shown = groups[:GROUPS]
    more = f" {GROUPS} of {len(groups)} groups are listed; the bundle holds the rest." if len(groups) > GROUPS else ""
    yield Heading("How often each named part must change", anchor=f"{section}-{record.id}-parts")
    yield Para(
        "A part changes where at least one of its cells is swapped. A cell belongs to the part that covers most of it; "
        "a part that covers most of no cell has the cell that holds most of it. Chance is how often a part would "
        "change if as many cells of the picture were drawn without looking: large parts change often by chance. "
        f"Only mended pictures that hold the part are counted.{more}"
    )
    whole = [one for name, one in groups if name == "Whole sample"]
    if whole:
        yield _figure(records_of(whole[0]))
    yield _grid(source, record, shown)


def _figure(rows: list[Any]) -> Block:
    """Bars of the whole sample, the part furthest above chance first."""
    ordered = sorted(rows, key=lambda row: row["chance"] - row["frequency"])
    items = [
        Bar(row["part"], row["frequency"], row["low"], row["high"], text.percent(row["frequency"]), row["chance"])
        for row in ordered
    ]
    told = "; ".join(
        f"{row['part']} {text.percent(row['frequency'])} ({text.interval(row['low'], row['high'], 'percent')}), "
        f"by chance {text.percent(row['chance'])}"
        for row in ordered
    )
    title = f"Share of mended pictures in which each part changes, with 95\u00a0% intervals: {told}."
    caption = "Whole sample: share of mended pictures in which the part changes. Upright line across a bar: by chance."
    return bars("parts", title, caption, items, axis="Share of mended pictures that hold the part", top=1.0)


def _grid(source: Source, record: Evidence, groups: list[tuple[str, pd.DataFrame]]) -> Grid:
    rows = tuple(
        (
            Cell(name),
            Cell(text.plain(row["part"])),
            Cell(text.percent(row["frequency"]), "number"),
            Cell(text.interval(row["low"], row["high"], "percent"), "number"),
            Cell(text.percent(row["chance"]), "number"),
            Cell(text.percent(row["share_of_cells"]), "number"),
            Cell(text.count(row["n"]), "number"),
            Cell(text.percent(row["coverage"]), "number"),
        )
        for name, part in groups
        for row in records_of(part)
    )
    columns = (
        Column("Misread pictures"),
        Column("Part"),
        Column("Changes in", numeric=True),
        Column("95\u00a0% interval", numeric=True),
        Column("Chance", numeric=True),
        Column("Share of cells", numeric=True),
        Column("n", numeric=True),
        Column("Mended", numeric=True),
    )
    note = (
        "Intervals: Wilson, 95\u00a0%, over mended pictures, for each part on its own; among many parts some are high "
        "by chance. Mended: share of the misread pictures of the group that were mended, and so can count here."
    )
    return Grid(source.words(record).caption("saliency_part_frequency"), columns, rows, note, name="parts")
