"""Misread pictures one by one, and as a list: the part of the layout of a saliency partition that has pictures."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from audit.core.evidence import Evidence
from audit.report import text
from audit.report.blocks import Block, Cell, Column, Grid, Heading, Para
from audit.report.figures import Figure
from audit.report.panels import Said
from audit.report.pictures import PATCHES_SHOWN, Misread, Place, Swap, misread_figure, opened
from audit.report.source import Source
from audit.report.tables import records_of

SECTION = "S12"
PRINTED_PICTURES = 6
"""Misread pictures that are drawn on paper; on screen are all that the audit kept."""

LISTED_PICTURES = 20
"""Misread pictures that are listed, on paper and on screen."""

REGION = 0.5
"""From here on a cell belongs to the dominant or to the kept ones, where the largest contribution is 1."""

STATUS = {"converged": "Mended", "not_converged": "Not mended", "no_reference": "Without reference"}

Row = Mapping[str, Any]


def size_of(source: Source, record: Evidence) -> tuple[int, int]:
    """Height and width of the pictures in cells; zeros where they are not known."""
    head = source.table(record, "saliency_head")
    return (0, 0) if head is None else (int(head["cells_high"].iloc[0]), int(head["cells_wide"].iloc[0]))


def status_text(status: Any) -> str:
    """What became of a picture, in a word or two."""
    return STATUS.get(str(status), text.sentence(text.words(str(status))))


def cell_text(place: Place) -> str:
    """Where a cell lies, counted from 1."""
    return f"row {int(place[0]) + 1}, column {int(place[1]) + 1}"


def one_by_one(source: Source, record: Evidence, images: pd.DataFrame) -> Iterator[Block]:
    """Misread pictures one by one, in the order of the sample."""
    kept = sum(1 for artefact in record.artefacts if artefact.name.startswith("picture_"))
    if not kept:
        return
    shown = min(kept, PRINTED_PICTURES) if source.paged else kept
    yield Heading("Misread pictures, one by one", anchor=f"{SECTION}-{record.id}-pictures")
    rest = f" report.html shows {kept}." if shown < kept else ""
    yield Para(
        f"The first {text.count(shown)} of {text.count(len(images))} misread pictures, in the order of the "
        "sample; they "
        f"were not chosen.{rest} Dominant cells count for the true class once the picture is mended, and "
        "counted less for "
        "the wrong class before; kept cells count for both. A cell is drawn as such from half of the largest "
        "contribution "
        "on. Below each picture, left of each arrow, is the swapped cell with the cells around it; right of "
        "the arrow is "
        "the cell that took its place, with its own."
    )
    edits, cells = source.table(record, "saliency_edits"), source.table(record, "saliency_cells")
    size = size_of(source, record)
    for number, row in enumerate(records_of(images.head(shown))):
        steps = _of(edits, row["instance"])
        yield Heading(f"Picture {row['instance']}: {row['true']}, read as {row['predicted']}")
        figure = _figure(source, record, number, row, steps, _of(cells, row["instance"]), size)
        if figure is not None:
            yield figure
        if steps:
            yield _log(row, steps)


def _of(frame: pd.DataFrame | None, instance: str) -> list[Row]:
    return [] if frame is None else records_of(frame[frame["instance"] == instance])


def _figure(
    source: Source, record: Evidence, number: int, row: Row, steps: list[Row], cells: list[Row], size: tuple[int, int]
) -> Figure | None:
    """The drawing of a misread picture, with its alt text from the evidence."""
    picture = opened(source.artefact(record, f"picture_{number}"))
    if picture is None:
        return None
    order = {reference: k for k, reference in enumerate(dict.fromkeys(step["reference"] for step in steps))}
    swaps = tuple(
        Swap(
            int(step["step"]),
            (int(step["row"]), int(step["column"])),
            source.show(step["reference"]),
            (int(step["reference_row"]), int(step["reference_column"])),
            opened(source.artefact(record, f"reference_{number}_{order[step['reference']]}")),
        )
        for step in steps
    )
    parts = {
        name: frozenset(_above(cells, column)) for name, column in (("Dominant", "dominant"), ("Kept", "invariant"))
    }
    told = _ending(row)
    title = [f"Picture {row['instance']}. {told}"]
    title += [
        f"{name} cells: {'; '.join(map(cell_text, sorted(some))) or 'none'}." for name, some in parts.items() if cells
    ]
    title += [
        f"Step {s['step']}: {cell_text((s['row'], s['column']))}{_of_part(s)} swapped for "
        f"{cell_text((s['reference_row'], s['reference_column']))} of picture {s['reference']}, "
        f"likeness {text.number(s['cosine'])}."
        for s in steps
    ]
    lines = (
        f"True class: {row['true']}",
        f"Read as: {row['predicted']}",
        status_text(row["status"]),
    )
    shown = tuple(source.show(line) for line in lines)
    view = Misread(picture, size if 0 not in size else (1, 1), parts["Dominant"], parts["Kept"], swaps, shown)
    return misread_figure(Said(f"picture-{number}", " ".join(title), told), view)


def _of_part(step: Row) -> str:
    """The named part that a swapped cell belongs to, in brackets."""
    return f" ({step['part']})" if isinstance(step.get("part"), str) else ""


def _above(cells: list[Row], column: str) -> Iterator[Place]:
    return ((int(cell["row"]), int(cell["column"])) for cell in cells if cell[column] >= REGION)


def _ending(row: Row) -> str:
    """What became of a picture, in a sentence or two."""
    if row["status"] == "no_reference":
        return (
            f"True class {row['true']}, read as {row['predicted']}. The model reads no reference picture of the "
            "true class "
            "rightly, so nothing could be swapped in."
        )
    n = int(row["edits"])
    count = f"{text.count(n)} {'swap' if n == 1 else 'swaps'}"
    what = f"Mended by {count}" if row["status"] == "converged" else f"Not mended by {count}"
    return (
        f"True class {row['true']}, read as {row['predicted']}. {what}: the probability of {row['true']} goes from "
        f"{text.percent(row['p_target_before'])} to {text.percent(row['p_target_after'])}, that of "
        f"{row['predicted']} from {text.percent(row['p_class_before'])} to {text.percent(row['p_class_after'])}."
    )


def _log(row: Row, steps: list[Row]) -> Grid:
    """The swaps of a picture, step by step."""
    rows = tuple(
        (
            Cell(text.count(step["step"])),
            Cell(f"{cell_text((step['row'], step['column']))}{_of_part(step)}"),
            Cell(f"{cell_text((step['reference_row'], step['reference_column']))} of {step['reference']}"),
            *(Cell(text.number(step["cosine"]), "number"),),
            *(Cell(text.percent(step[name]), "number") for name in ("p_class", "p_target")),
        )
        for step in steps[:PATCHES_SHOWN]
    )
    columns = (
        Column("Step"),
        Column("Cell"),
        Column("Swapped for"),
        Column("Likeness", numeric=True),
        Column(f"P({row['predicted']}), then", numeric=True),
        Column(f"P({row['true']}), then", numeric=True),
    )
    more = len(steps) - len(rows)
    note = f"The first {len(rows)} of {len(steps)} swaps; the bundle holds the rest." if more > 0 else ""
    return Grid(f"Swaps of picture {row['instance']}", columns, rows, note, name="swaps")


def listed(source: Source, record: Evidence, images: pd.DataFrame) -> Grid:
    """The misread pictures as a list."""
    wording = source.words(record)
    rows = tuple(
        (
            Cell(text.plain(row["instance"])),
            Cell(text.plain(row["true"])),
            Cell(text.plain(row["predicted"])),
            Cell(status_text(row["status"])),
            Cell(text.count(row["edits"]), "number"),
            Cell(text.number(row.get("cosine")), "number"),
            *(Cell(_step(row, name), "number") for name in ("p_class", "p_target")),
        )
        for row in records_of(images.head(LISTED_PICTURES))
    )
    columns = (
        Column("Picture"),
        Column("True class"),
        Column("Read as"),
        Column("Status"),
        Column("Swaps", numeric=True),
        Column("Likeness", numeric=True),
        Column("P(wrong class)", numeric=True),
        Column("P(true class)", numeric=True),
    )
    note = "P: before and after the swaps."
    if len(images) > LISTED_PICTURES:
        note += f" The first {LISTED_PICTURES} of {text.count(len(images))} pictures."
    folder = source.path(record, "saliency_images").rpartition("/")[0]
    note += f" Every picture, swap and cell, and the areas of every picture, are in the bundle: {folder}."
    return Grid(wording.caption("saliency_images"), columns, rows, note, name="saliency_images")


def _step(row: Row, name: str) -> str:
    before, after = row.get(f"{name}_before"), row.get(f"{name}_after")
    return text.ABSENT if text.finite(before) is None else f"{text.percent(before)} → {text.percent(after)}"
