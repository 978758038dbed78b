"""What the misread pictures of a sample say together: shares, confusions, and how often each cell must change."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from pydantic import JsonValue

from audit.core.evidence import Metric, Note, Where
from audit.core.mending import Mending
from audit.core.method import Inputs
from audit.core.stats import wilson
from audit.core.table import Floats

Tables = Mapping[str, pd.DataFrame]
STATUSES = ("converged", "not_converged", "no_reference")
FEW_REFERENCES = 5
"""With fewer reference pictures the look-alikes are poor (section 5)."""


def saliency_tables(raw: Tables, inputs: Inputs, few: int) -> dict[str, pd.DataFrame]:
    """Confusions, statuses and frequencies of cells, from the tables of single pictures."""
    images = raw["saliency_images"]
    counts = {status: int((images["status"] == status).sum()) for status in STATUSES}
    return {
        "saliency_status": pd.DataFrame({"status": list(counts), "pictures": list(counts.values())}),
        "saliency_pairs": _pairs(images, few),
        "saliency_frequency": _frequencies(raw, inputs, few),
    }


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
    images, cells = raw["saliency_images"], raw["saliency_cells"]
    mended = set(images.loc[images["status"] == "converged", "instance"])
    if not mended:
        return pd.DataFrame()
    frames = []
    for region, true, predicted, chosen in _groups(images, inputs, mended, few):
        own = cells[cells["instance"].isin(chosen)]
        counted = own.groupby(["row", "column"], sort=True)["edited"].agg(["sum", "count"]).reset_index()
        share = (counted["sum"] / counted["count"]).to_numpy(dtype=np.float64)
        low, high = wilson(share, counted["count"].to_numpy(dtype=np.float64))
        frames.append(
            pd.DataFrame(
                {
                    "region": region,
                    "true": true,
                    "predicted": predicted,
                    "row": counted["row"],
                    "column": counted["column"],
                    "frequency": share,
                    "low": low,
                    "high": high,
                    "n": counted["count"],
                }
            )
        )
    return pd.concat(
        [f.astype(dict.fromkeys(("region", "true", "predicted"), object)) for f in frames], ignore_index=True
    )


def _groups(
    images: pd.DataFrame, inputs: Inputs, mended: set[str], few: int
) -> Iterator[tuple[str | None, str | None, str | None, set[str]]]:
    """The pictures that are counted together: (region, true, predicted, instances), all of them mended."""
    drawn = _drawn(inputs) & mended
    if drawn:
        yield None, None, None, drawn
    for (true, predicted), group in images.groupby(["true", "predicted"], sort=True):
        chosen = set(group["instance"]) & drawn
        if len(chosen) >= few:
            yield None, str(true), str(predicted), chosen
    if len(inputs.regions):
        for region, group in inputs.regions.groupby("region", sort=False):
            chosen = set(group["instance"]) & mended
            if len(chosen) >= few:
                yield str(region), None, None, chosen


def _drawn(inputs: Inputs) -> set[str]:
    if inputs.sample is None:
        return set()
    return {i for i, drawn in zip(inputs.sample.table.ids, inputs.sample.drawn, strict=True) if drawn}


def saliency_metrics(raw: Tables, sampled: int) -> tuple[Metric, ...]:
    """Shares with all misread pictures in the denominator, means over the mended ones."""
    images, areas = raw["saliency_images"], raw["saliency_areas"]
    n = len(images)
    mended = images[images["status"] == "converged"]
    where = Where(data="sample")
    low, high = (float(x) for x in wilson(len(mended) / n, n))
    answer = [
        Metric(name="misread", value=float(n), unit="pictures", n=sampled, where=where),
        Metric(
            name="flip_rate",
            value=len(mended) / n,
            low=low,
            high=high,
            interval="Wilson, 95 %, over misread pictures",
            unit="share",
            n=n,
            where=where,
        ),
    ]
    for name, column, unit in (
        ("edits", "edits", "cells"),
        ("edited_share", "edited_share", "share"),
        ("cosine", "cosine", ""),
        ("drop", "drop", "share"),
        ("compactness", "compactness", "percent"),
    ):
        values = mended[column].to_numpy(dtype=np.float64) if column in mended else np.empty(0)
        answer.append(_mean(name, values, unit, where))
    if len(areas):
        for (kind, score), group in areas.groupby(["map", "score"], sort=True):
            at = where.model_copy(update={"variant": f"{kind}, {score}"})
            both = ("insertion", "deletion")
            answer += [_mean(name, group[name].to_numpy(dtype=np.float64), "", at) for name in both]
    return tuple(answer)


def _mean(name: str, values: Floats, unit: str, where: Where) -> Metric:
    """The mean over pictures with its normal interval; undefined without any."""
    n = len(values)
    if not n:
        return Metric(name=name, value=None, unit=unit, n=0, where=where)
    middle = float(values.mean())
    if n == 1:
        return Metric(name=name, value=middle, unit=unit, n=1, where=where)
    half = 1.96 * float(values.std(ddof=1)) / n**0.5
    return Metric(
        name=name, value=middle, low=middle - half, high=middle + half, interval="normal, 95 %, over pictures",
        unit=unit, n=n, where=where,
    )  # fmt: skip


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
    return tuple(notes)
