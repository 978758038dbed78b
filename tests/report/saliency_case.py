"""A bundle with misread pictures to draw reports from; every number in it is made up."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from audit.bundle import Bundle, pretty_json
from audit.core.evidence import Artefact, Metric, Note, Result, Where
from audit.core.manifest import Manifest
from audit.core.plan import Plan, Task

HIGH, WIDE = 3, 4
"""Cells of a picture, from top to bottom and from left to right."""

KEPT, MISREAD = 8, 30
"""Pictures that the bundle holds as pictures, and all misread ones."""

HOSTILE = "<img src=x onerror=alert(1)>/9.png"
CLASSES = ("cat", "<b>dog</b>")


def picture(start: int, side: int = 6) -> "np.ndarray[Any, Any]":
    """A grey picture of cells of that side, in which no two neighbours are alike."""
    count = HIGH * WIDE * side**2
    return ((start + 7 * np.arange(count)) % 251).astype(np.uint8).reshape(HIGH * side, WIDE * side)


def png(pixels: "np.ndarray[Any, Any]") -> Artefact:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return Artefact(buffer.getvalue(), "image/png")


def name(i: int) -> str:
    """The name of a misread picture; that of the first means harm."""
    return HOSTILE if i == 0 else f"p{i}"


def steps(i: int) -> int:
    """Picture 0 takes 10 swaps, picture 2 has no reference, all others take 2."""
    return {0: 10, 2: 0}.get(i, 2)


def status(i: int) -> str:
    return {1: "not_converged", 2: "no_reference"}.get(i, "converged")


def image_rows() -> list[dict[str, Any]]:
    rows = []
    for i in range(MISREAD):
        row = {"instance": name(i), "true": CLASSES[0], "predicted": CLASSES[1], "status": status(i), "edits": steps(i),
               "references": 0 if i == 2 else 4 if i == 3 else 20}  # fmt: skip
        if i != 2:
            row |= {
                "cosine": 0.5,
                "p_class_before": 0.8,
                "p_class_after": 0.25,
                "p_target_before": 0.1,
                "p_target_after": 0.625,
            }
        rows.append(row)
    return rows


def edit_rows() -> list[dict[str, Any]]:
    return [
        {"instance": name(i), "step": k + 1, "row": k // WIDE, "column": k % WIDE,
         "reference": f"folder/reference{k // 2}.png", "reference_row": 0,
         "reference_column": 3, "cosine": 0.5, "p_class": 0.75, "p_target": 0.125, "margin": -1.0}
        for i in range(MISREAD)
        for k in range(steps(i))
    ]  # fmt: skip


def cell_rows() -> list[dict[str, Any]]:
    """The first two cells of the last row are dominant, the one before the last is kept; one is just below half."""
    return [
        {"instance": name(i), "row": c // WIDE, "column": c % WIDE, "dominant": {8: 1.0, 9: 0.5, 7: 0.49}.get(c, 0.0),
         "invariant": 0.75 if c == 10 else 0.0, "edited": c < steps(i)}
        for i in range(MISREAD)
        if i != 2
        for c in range(HIGH * WIDE)
    ]  # fmt: skip


def frequency_rows() -> list[dict[str, Any]]:
    groups = [(None, None, None), (None, *CLASSES), (None, *reversed(CLASSES)), *((k, None, None) for k in "abc")]
    groups += [(None, *CLASSES[:1], "fox")]
    return [
        {"region": region, "true": true, "predicted": predicted, "row": c // WIDE, "column": c % WIDE,
         "frequency": 1.0 if c == 5 else 0.25 if c == 6 else 0.0, "low": 0.2, "high": 0.3,
         "n": {"c": 9, "fox": 12}.get(region or predicted, 8) if region or true else 28}
        for region, true, predicted in groups
        for c in range(HIGH * WIDE)
    ]  # fmt: skip


def part_frequency_rows() -> list[dict[str, Any]]:
    """Two parts of the whole sample, of one confusion and of one region; the second is the one above chance."""
    row = {"low": 0.25, "high": 0.5, "chance": 0.5, "share_of_cells": 0.125, "n": 8, "coverage": 0.75}
    groups = [(None, None, None), (None, *CLASSES), ("a", None, None)]
    return [
        {"region": region, "true": true, "predicted": predicted, "part": part, "frequency": share, **row}
        for region, true, predicted in groups
        for part, share in (("<i>ear</i>", 0.375), ("tail", 0.875))
    ]


def saliency_case(root: Path, *, side: int = 6, parts: bool = False) -> Bundle:
    """A bundle in which 30 pictures are misread; `side` is that of a cell, in pixels; with named parts, if any."""
    artefacts = {f"picture_{i}": png(picture(i, side)) for i in range(KEPT)}
    artefacts |= {f"reference_{i}_{k}": png(picture(100 + k, side)) for i in range(KEPT) for k in range(5)}
    areas = {("dip", "p_class"): (0.75, 0.125), ("random", "p_class"): (0.5, 0.25), ("dip", "lead"): (0.375, -0.25)}
    metrics = [Metric(name="misread", value=30.0, unit="pictures", n=100, where=Where(data="sample"))]
    metrics += [
        Metric(name=which, value=value, low=value - 0.0625, high=value + 0.0625, interval="normal", n=29,
               where=Where(data="sample", variant=f"{order}, {score}"))
        for (order, score), values in areas.items()
        for which, value in zip(("insertion", "deletion"), values, strict=True)
    ]  # fmt: skip
    status_rows = {"converged": 28, "not_converged": 1, "no_reference": 1}
    tables = {
        "saliency_images": pd.DataFrame(image_rows()),
        "saliency_edits": pd.DataFrame(edit_rows()),
        "saliency_cells": pd.DataFrame(cell_rows()),
        "saliency_frequency": pd.DataFrame(frequency_rows()),
        "saliency_areas": pd.DataFrame({"instance": ["only in the bundle"], "map": ["dip"]}),
        "saliency_head": pd.DataFrame({"cells_high": [HIGH], "cells_wide": [WIDE]}),
        "saliency_status": pd.DataFrame({"status": [*status_rows], "pictures": [*status_rows.values()]}),
    }
    if parts:
        tables["saliency_part_frequency"] = pd.DataFrame(part_frequency_rows())
        tables["saliency_edits"]["part"] = ["tail", None] * (len(tables["saliency_edits"]) // 2)
    note = Note(code="not_mended", severity="minor", args={"count": 1, "misread": 30})
    bundle = Bundle(root)
    settings = {"mending": {"m": 10.0}}
    task = Task(
        id="saliency_partition", family="method", kind="saliency_partition", settings=settings, rev=1, uses={},
        reads={}, seed=7, part_rows=100,
    )  # fmt: skip
    result = Result(metrics=tuple(metrics), tables=tables, artefacts=artefacts, notes=(note,))
    record = bundle.put(task.id, task.kind, task.key, result)
    content = {"audit": {}, "opinion": {}, "evidence": [record.model_dump(mode="json")], "findings": []}
    bundle.write("results.json", pretty_json({"format": 1, **content}))
    bundle.write_manifest(
        Manifest(
            tool={"name": "auditspec", "version": "0.1.0"}, spec_name="spec.yaml", spec="", as_of="2026-11-01", seed=7,
            inputs=(), packages={}, cites=(), facts={}, plan=Plan(tasks=(task,)),
        )
    )  # fmt: skip
    return bundle
