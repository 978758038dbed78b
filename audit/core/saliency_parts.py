"""Named parts of pictures: which cells make them up, and how often one must change for a picture to be mended."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import JsonValue

from audit.core.evidence import Metric, Note, Where
from audit.core.images import REST
from audit.core.model import Ints
from audit.core.stats import wilson

Rows = list[dict[str, Any]]


def part_shares(labels: Ints, size: tuple[int, int], parts: int) -> NDArray[np.float64]:
    """The share of each cell that each part covers, shape (P, 1 + parts); column 0 is what has no name.

    Args:
        labels: label map of the picture, shape (height, width).
        size: height and width in cells.
    """
    row, column = (
        ((2 * np.arange(length) + 1) * count // (2 * length)) for length, count in zip(labels.shape, size, strict=True)
    )
    cell = row[:, None] * size[1] + column
    count = size[0] * size[1]
    found = np.bincount((cell * (parts + 1) + labels).ravel(), minlength=count * (parts + 1))
    area = found.reshape(count, parts + 1).astype(np.float64)
    area[area.sum(axis=1) == 0, 0] = 1.0  # a picture of fewer pixels than cells
    return np.asarray(area / area.sum(axis=1, keepdims=True))


def part_cells(shares: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which cells make up each part, shape (P, 1 + parts), from `part_shares`.

    A cell belongs to what covers most of it; of equals, to the first named. A part that covers most of no cell, yet is
    in the picture, also has the cell that holds most of it, so that small parts are not lost.
    """
    named_first = np.roll(shares, -1, axis=1)
    owner = (named_first.argmax(axis=1) + 1) % shares.shape[1]
    member = np.zeros(shares.shape, dtype=bool)
    member[np.arange(len(shares)), owner] = True
    for part in range(1, shares.shape[1]):
        if not member[:, part].any() and shares[:, part].any():
            member[int(shares[:, part].argmax()), part] = True
    return member


def part_names(member: NDArray[np.bool_], names: Sequence[str]) -> list[str]:
    """The part of each cell in words; those of a cell with two are joined by "and"."""
    known = (*names, REST)
    order = np.roll(member, -1, axis=1)
    return [" and ".join(known[k] for k in np.flatnonzero(row)) for row in order]


def part_rows(instance: str, member: NDArray[np.bool_], names: Sequence[str], edited: Collection[int]) -> Rows:
    """One row for each part that is in a picture: its cells, how many are swapped, and how often chance would."""
    swapped = np.isin(np.arange(len(member)), list(edited))
    rows: Rows = []
    for k, name in enumerate((REST, *names)):
        cells = int(member[:, k].sum())
        if cells:
            rows.append(
                {
                    "instance": instance,
                    "part": name,
                    "cells": cells,
                    "swapped": int((member[:, k] & swapped).sum()),
                    "share_of_cells": cells / len(member),
                    "chance": chance_of(cells, len(member), int(swapped.sum())),
                }
            )
    return rows


def chance_of(cells: int, count: int, swaps: int) -> float:
    """The probability that some of `cells` are among `swaps` cells drawn from `count` without looking."""
    missed = 1.0
    for drawn in range(swaps):
        missed *= max(count - cells - drawn, 0) / (count - drawn)
    return 1.0 - missed


def part_frequencies(parts: pd.DataFrame, names: Sequence[str], chosen: Collection[str], misread: int) -> Rows:
    """How often each part changes among the chosen mended pictures that hold it, with what chance would give.

    Args:
        parts: rows of `part_rows`.
        misread: pictures of the group, mended or not, of which `chosen` are the mended ones.
    """
    own = parts[parts["instance"].isin(chosen)]
    rows: Rows = []
    for name in (*names, REST):
        held = own[own["part"] == name]
        if not len(held):
            continue
        share = float((held["swapped"] > 0).mean())
        low, high = (float(x) for x in wilson(share, len(held)))
        rows.append(
            {
                "part": name,
                "frequency": share,
                "low": low,
                "high": high,
                "chance": float(held["chance"].mean()),
                "share_of_cells": float(held["share_of_cells"].mean()),
                "n": len(held),
                "coverage": len(chosen) / misread if misread else None,
            }
        )
    return rows


def part_metrics(frequencies: pd.DataFrame) -> tuple[Metric, ...]:
    """How often each named part changes: of the whole sample, by confusion (as variant) and by region."""
    answer = []
    for row in frequencies.to_dict("records") if len(frequencies) else ():
        confusion = None if row["true"] is None else f"{row['true']} read as {row['predicted']}"
        where = Where(data="sample", region=row["region"], variant=confusion, feature=row["part"])
        answer.append(
            Metric(
                name="part_frequency",
                value=row["frequency"],
                low=row["low"],
                high=row["high"],
                interval="Wilson, 95 %, over mended pictures that hold the part",
                unit="share",
                n=int(row["n"]),
                where=where,
            )
        )
    return tuple(answer)


def part_notes(frequencies: pd.DataFrame) -> tuple[Note, ...]:
    """The part of the whole sample that lies furthest above chance, if the interval of any is above chance."""
    whole = frequencies[frequencies["region"].isna() & frequencies["true"].isna()] if len(frequencies) else frequencies
    if not len(whole):
        return ()
    most = whole.iloc[int((whole["low"] - whole["chance"]).to_numpy().argmax())]
    if most["low"] <= most["chance"]:
        return (Note(code="parts_by_chance", args={"parts": len(whole)}),)
    args: dict[str, JsonValue] = {key: float(most[key]) for key in ("frequency", "low", "high", "chance")}
    return (Note(code="parts", args={**args, "part": str(most["part"]), "n": int(most["n"])}),)
