"""What the misread pictures of a sample say together: shares, confusions, and how often each cell must change."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pydantic import JsonValue

from audit.core.evidence import Metric, Note, Where
from audit.core.measures import mean_metric, share_metric
from audit.core.mending import Mending
from audit.core.method import Inputs
from audit.core.saliency_parts import part_frequencies
from audit.core.stats import wilson

Tables = Mapping[str, pd.DataFrame]
STATUSES = ("converged", "not_converged", "no_reference")
FEW_REFERENCES = 5
"""With fewer reference pictures the look-alikes are poor (section 5)."""


def saliency_tables(raw: Tables, inputs: Inputs, few: int) -> dict[str, pd.DataFrame]:
    """Confusions, statuses and frequencies of cells, from the tables of single pictures."""
    images = raw["saliency_images"]
    counts = {status: int((images["status"] == status).sum()) for status in STATUSES}
    tables = {
        "saliency_status": pd.DataFrame({"status": list(counts), "pictures": list(counts.values())}),
        "saliency_pairs": _pairs(images, few),
        "saliency_frequency": _frequencies(raw, inputs, few),
    }
    if len(raw.get("saliency_parts", ())):
        tables["saliency_part_frequency"] = _part_frequencies(raw, inputs, few)
    return tables


def _pairs(images: pd.DataFrame, few: int) -> pd.DataFrame:
    """One row for each confusion of at least `few` pictures, the most frequent first."""
    rows = []
    for (true, predicted), group in images.groupby(["true", "predicted"], sort=True):
        mended = group[group["status"] == "converged"]
        low, high = (float(x) for x in wilson(len(mended) / len(group), len(group)))
        rows.append(
            {
                "true": true,
                "predicted": predicted,
                "pictures": len(group),
                "mended": len(mended),
                "mended_share": len(mended) / len(group),
                "low": low,
                "high": high,
                "mean_edits": float(mended["edits"].mean()) if len(mended) else None,
                "mean_cosine": float(mended["cosine"].mean()) if len(mended) else None,
            }
        )
    table = pd.DataFrame(rows).sort_values(["pictures", "true", "predicted"], ascending=[False, True, True])
    return table[table["pictures"] >= few].reset_index(drop=True)


def _frequencies(raw: Tables, inputs: Inputs, few: int) -> pd.DataFrame:
    """How often a cell is among the swaps of a mended picture: over all, by confusion, and by region."""
    cells, frames = raw["saliency_cells"], []
    for group in _groups(raw["saliency_images"], inputs, few):
        own = cells[cells["instance"].isin(group.mended)]
        counted = own.groupby(["row", "column"], sort=True)["edited"].agg(["sum", "count"]).reset_index()
        share = (counted["sum"] / counted["count"]).to_numpy(dtype=np.float64)
        low, high = wilson(share, counted["count"].to_numpy(dtype=np.float64))
        frames.append(
            pd.DataFrame(
                {
                    **group.name,
                    "row": counted["row"],
                    "column": counted["column"],
                    "frequency": share,
                    "low": low,
                    "high": high,
                    "n": counted["count"],
                    "coverage": len(group.mended) / group.misread,
                }
            )
        )
    return pd.concat([_named(frame) for frame in frames], ignore_index=True) if frames else pd.DataFrame()


def _part_frequencies(raw: Tables, inputs: Inputs, few: int) -> pd.DataFrame:
    """How often each named part is among the swaps of a mended picture, over the same groups as the cells."""
    names = [] if inputs.images is None or inputs.images.evaluate.parts is None else inputs.images.evaluate.parts.names
    rows = [
        {**group.name, **row}
        for group in _groups(raw["saliency_images"], inputs, few)
        for row in part_frequencies(raw["saliency_parts"], names, group.mended, group.misread)
    ]
    return _named(pd.DataFrame(rows)) if rows else pd.DataFrame()


def _named(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with the names of its groups as text or None, also where all of them are empty."""
    names = {key: frame[key].astype(object).where(frame[key].notna(), None) for key in ("region", "true", "predicted")}
    return frame.assign(**names)


@dataclass(frozen=True)
class _Group:
    """Pictures that are counted together.

    Attributes:
        mended: the instances that were mended.
        misread: how many pictures of the group are misread, mended or not.
    """

    region: str | None
    true: str | None
    predicted: str | None
    mended: set[str]
    misread: int

    @property
    def name(self) -> dict[str, str | None]:
        return {"region": self.region, "true": self.true, "predicted": self.predicted}


def _groups(images: pd.DataFrame, inputs: Inputs, few: int) -> Iterator[_Group]:
    """The whole sample, then each confusion, then each region; those with fewer than `few` mended pictures are not."""
    mended, drawn = set(images.loc[images["status"] == "converged", "instance"]), _drawn(inputs)
    if drawn & mended:
        yield _Group(None, None, None, drawn & mended, len(drawn & set(images["instance"])))
    for (true, predicted), group in images.groupby(["true", "predicted"], sort=True):
        own = set(group["instance"]) & drawn
        if len(own & mended) >= few:
            yield _Group(None, str(true), str(predicted), own & mended, len(own))
    if len(inputs.regions):
        for region, group in inputs.regions.groupby("region", sort=False):
            own = set(group["instance"]) & set(images["instance"])
            if len(own & mended) >= few:
                yield _Group(str(region), None, None, own & mended, len(own))


def _drawn(inputs: Inputs) -> set[str]:
    if inputs.sample is None:
        return set()
    return set(inputs.sample.drawn_ids)


def saliency_metrics(raw: Tables, sampled: int) -> tuple[Metric, ...]:
    """Shares with all misread pictures in the denominator, means over the mended ones."""
    images, areas = raw["saliency_images"], raw["saliency_areas"]
    n = len(images)
    mended = images[images["status"] == "converged"]
    where = Where(data="sample")
    answer = [
        Metric(name="misread", value=float(n), unit="pictures", n=sampled, where=where),
        share_metric("flip_rate", len(mended), n, where, "misread pictures"),
    ]
    for name, column, unit in (
        ("edits", "edits", "cells"),
        ("edited_share", "edited_share", "share"),
        ("cosine", "cosine", ""),
        ("drop", "drop", "share"),
        ("compactness", "compactness", "percent"),
    ):
        values = mended[column].to_numpy(dtype=np.float64) if column in mended else np.empty(0)
        answer.append(mean_metric(name, values, unit, where, "pictures"))
    if len(areas):
        for (kind, score), group in areas.groupby(["map", "score"], sort=True):
            at = where.model_copy(update={"variant": f"{kind}, {score}"})
            both = ("insertion", "deletion")
            answer += [mean_metric(name, group[name].to_numpy(dtype=np.float64), "", at, "pictures") for name in both]
    return tuple(answer)


def saliency_notes(raw: Tables, head: pd.DataFrame, mending: Mending, metrics: tuple[Metric, ...]) -> tuple[Note, ...]:
    """What the reader must know of this run."""
    images = raw["saliency_images"]
    by_name = {metric.name: metric for metric in metrics}
    counts = {status: int((images["status"] == status).sum()) for status in STATUSES}
    args: dict[str, JsonValue] = {
        "misread": len(images),
        "mended": counts["converged"],
        "failed": counts["not_converged"],
        "no_reference": counts["no_reference"],
        "edits": by_name["edits"].value,
        "contribution": mending.contribution,
        "payoff": mending.payoff,
    }
    notes = [Note(code="summary", args=args)]
    linear = bool(head["linear_after_pooling"].iloc[0])
    code = "linear_head" if linear else "other_head"
    notes.append(Note(code=code, args={"gap": float(head["gap"].iloc[0]), "unread": int(head["unread_cells"].iloc[0])}))
    if counts["no_reference"]:
        lost = sorted(set(images.loc[images["status"] == "no_reference", "true"]))
        notes.append(
            Note(code="no_reference", severity="minor", args={"count": counts["no_reference"], "classes": lost})
        )
    if counts["not_converged"]:
        notes.append(
            Note(code="not_mended", severity="minor", args={"count": counts["not_converged"], "misread": len(images)})
        )
    poor = int(((images["references"] > 0) & (images["references"] < FEW_REFERENCES)).sum())
    if poor:
        notes.append(Note(code="few_references", severity="info", args={"count": poor, "fewer": FEW_REFERENCES}))
    return (*notes, *_edge_notes(images, head, mending))


def _edge_notes(images: pd.DataFrame, head: pd.DataFrame, mending: Mending) -> list[Note]:
    """What happened at the edges: a bound on swaps that can bind, candidates of zeros, and a head that disagrees."""
    notes = []
    cells = int(head["cells_high"].iloc[0]) * int(head["cells_wide"].iloc[0])
    if mending.max_iter < cells:
        notes.append(Note(code="swaps_limited", args={"most": mending.max_iter, "cells": cells}))
    if "empty_candidates" in images and images["empty_candidates"].max() > 0:
        most = int(images["empty_candidates"].max())
        count = int((images["empty_candidates"] > 0).sum())
        notes.append(Note(code="empty_candidates", args={"count": count, "most": most}))
    apart = int(images["agrees"].eq(False).sum()) if "agrees" in images else 0
    if apart:
        args: dict[str, JsonValue] = {"count": apart, "gap": float(images["gap"].max())}
        notes.append(Note(code="disagrees", severity="minor", args=args))
    return notes
