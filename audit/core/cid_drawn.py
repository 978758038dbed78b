"""What the figures of CID are drawn from: its distances by repeat, and the distributions that it compares."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from audit.core.cid_tables import Local, global_table
from audit.core.model import Ints
from audit.core.overlap import Kernel, changed_density, trapezoid
from audit.core.schema import Feature, FeatureSchema
from audit.core.table import Floats

DRAWN = 6
"""The first features by distance, whose distributions are kept."""

GRID = np.linspace(-0.1, 1.1, 97)
"""Where densities are kept, in units of the range: coarser than where they are compared."""

CELLS = trapezoid(GRID)

Smooth = tuple[float | None, Kernel]
"""Bandwidth and kernel."""

COLUMNS = ("outcome", "feature", "place", "at", "level", "plus", "minus", "unchanged_plus", "unchanged_minus")


def repeats_table(local: Local, schema: FeatureSchema) -> pd.DataFrame:
    """Distance by feature and repeat, mean over the instances that have every repeat; empty if there is none."""
    whole = local.by_repeat[local.repeats == local.by_repeat.shape[2]]
    rows = []
    for j, name in enumerate(schema.names):
        known = whole[:, j][~np.isnan(whole[:, j]).any(axis=1)]
        if len(known) and not local.constant[j]:
            rows += [(name, r, float(value), len(known)) for r, value in enumerate(known.mean(axis=0))]
    return pd.DataFrame(rows, columns=["feature", "repeat", "value", "n"])


def densities_table(
    local: Local, schema: FeatureSchema, outcomes: Sequence[str], bandwidth: float | None, kernel: Kernel
) -> pd.DataFrame:
    """The distributions of the first features in C+ and C-, mean over the covered instances of each outcome.

    Outcomes apart, because a feature may have to rise to leave the one and to fall to leave the other. Numbers that
    keep their value are left out of the densities whatever the measure is: they would show the values of persons.
    """
    overall = global_table(local, schema)
    names = overall.loc[overall["status"] == "ok", "feature"][:DRAWN]
    frames = []
    for outcome in np.unique(local.before[local.covered]):
        for name in names:
            j = schema.index(name)
            own = local.covered & (local.before == outcome) & ~np.isnan(local.value[:, j])
            rows = np.flatnonzero(own & local.movable[:, j])
            if len(rows):
                frame = pd.DataFrame(_places(local, rows, j, schema.features[j], (bandwidth, kernel)))
                still = local.unchanged[rows, j].mean(axis=0)
                frame["outcome"], frame["feature"] = outcomes[outcome], name
                frame["unchanged_plus"], frame["unchanged_minus"] = float(still[0]), float(still[1])
                frame["distance"], frame["n"] = float(local.value[rows, j].mean()), len(rows)
                frames.append(frame)
    columns = [*COLUMNS, "distance", "n"]
    return pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)


def _places(local: Local, rows: Ints, j: int, feature: Feature, smooth: Smooth) -> Iterator[dict[str, object]]:
    """Points of a density, or levels, with what stands there in C+ and C-."""
    if feature.kind == "numeric":
        sides = [_density(local, rows, j, feature, smooth, side) for side in (0, 1)]
        for place, (u, plus, minus) in enumerate(zip(GRID, *sides, strict=True)):
            at = feature.low + u * feature.scale
            yield {"place": place, "at": at, "level": None, "plus": float(plus), "minus": float(minus)}
        return
    codes = [np.nan] * feature.missing + list(range(len(feature.levels)))
    for place, code in enumerate(codes):
        label = "missing" if np.isnan(code) else str(feature.levels[int(code)])
        shares = [float(np.mean([_share(local.pools[i][side][:, j], code) for i in rows])) for side in (0, 1)]
        yield {"place": place, "at": np.nan, "level": label, "plus": shares[0], "minus": shares[1]}


def _density(local: Local, rows: Ints, j: int, feature: Feature, smooth: Smooth, side: int) -> Floats:
    """The mean density of a set (0: C+, 1: C-) over instances, shape (g,)."""
    found = []
    for i in rows:
        values = (local.pools[i][side][:, j] - feature.low) / feature.scale
        x = float(local.codes[i, j] - feature.low) / feature.scale
        found.append(changed_density(values, x, GRID, CELLS, *smooth)[1])
    return np.asarray(np.mean(found, axis=0))


def _share(values: Floats, code: float) -> float:
    return float((np.isnan(values) if np.isnan(code) else values == code).mean())
