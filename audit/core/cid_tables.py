"""The local and the global layer of CID's distances, and their tables."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.core.model import Ints
from audit.core.pool import Pool
from audit.core.schema import FeatureSchema
from audit.core.stats import average_ranks, mean_interval
from audit.core.table import Floats


@dataclass(frozen=True)
class Local:
    """Scores of n instances and d features, NaN where there is none.

    Attributes:
        ids: n instances.
        value, sd: shape (n, d), mean and standard deviation over repeats.
        unchanged: shape (n, d, 2), shares of C+ and C- with the present value.
        flags: shape (n, d), texts.
        repeats: shape (n,).
        before: shape (n,), outcomes.
        constant: shape (d,), features with one value.
        by_repeat: shape (n, d, repeats), the distances of which `value` is the mean.
    """

    ids: tuple[str, ...]
    codes: Floats
    pools: list[Pool]
    value: Floats
    sd: Floats
    unchanged: Floats
    flags: NDArray[Any]
    repeats: Ints
    before: Ints
    constant: NDArray[np.bool_]
    by_repeat: Floats

    @property
    def covered(self) -> NDArray[np.bool_]:
        """Instances with at least two points in both sets, shape (n,)."""
        return self.repeats > 0

    @property
    def used(self) -> list[Pool]:
        """The pools of covered instances."""
        return [pool for pool, covered in zip(self.pools, self.covered, strict=True) if covered]

    @property
    def movable(self) -> NDArray[np.bool_]:
        """Features that each instance could change, shape (n, d)."""
        mask = np.zeros(self.value.shape, dtype=bool)
        for i, pool in enumerate(self.pools):
            mask[i, pool.movable] = True
        return mask


def _unstable(value: Floats, low: Floats, high: Floats) -> NDArray[np.bool_]:
    """Whether the interval of each feature overlaps that of another, shape (d,)."""
    known = ~np.isnan(value) & ~np.isnan(low)
    apart = (low[:, None] > high) | (high[:, None] < low)
    return np.asarray(known & (~apart & known & ~np.eye(len(value), dtype=bool)).any(axis=1))


def _joined(*texts: str) -> str:
    return ", ".join(text for text in texts if text)


def global_table(local: Local, schema: FeatureSchema) -> pd.DataFrame:
    """Means over covered instances, the largest first."""
    value = local.value[local.covered]
    mean, sd, low, high = mean_interval(value, 0, 1)
    movable = local.movable.any(axis=0)
    n = (~np.isnan(value)).sum(axis=0)
    status = np.where(local.constant, "constant", np.where(~movable, "immutable", np.where(n == 0, "undefined", "ok")))
    ranks = np.where(status == "ok", mean, np.nan)
    unstable = _unstable(ranks, low, high)
    shares = mean_interval(local.unchanged[local.covered], 0, 1)[0]
    flags = []
    for j, shaky in enumerate(unstable):
        told = sorted({flag for cell in local.flags[local.covered, j] for flag in cell.split(", ")} - {""})
        counts = [sum(flag in cell for cell in local.flags[local.covered, j]) for flag in told]
        said = [f"{flag} ({count} of {n[j]})" for flag, count in zip(told, counts, strict=True)]
        flags.append(_joined(*said, "rank unstable" if shaky else ""))
    table = pd.DataFrame(
        {
            "feature": schema.names,
            "value": mean,
            "sd": sd,
            "low": low,
            "high": high,
            "n": n,
            "rank": average_ranks(ranks),
            "unchanged_plus": shares[:, 0],
            "unchanged_minus": shares[:, 1],
            "status": status,
            "flags": flags,
        }
    )
    return table.sort_values(["rank", "feature"], kind="stable", ignore_index=True)


def local_table(local: Local, schema: FeatureSchema) -> pd.DataFrame:
    """One row per instance and feature; intervals are over repeats."""
    n, d = local.value.shape
    with np.errstate(invalid="ignore", divide="ignore"):
        half = 2 * local.sd / np.sqrt(local.repeats)[:, None]
    low, high = np.clip(local.value - half, 0, 1), np.clip(local.value + half, 0, 1)
    plain = np.where(np.isnan(local.value), "undefined", "ok")
    status = np.where(local.constant, "constant", np.where(local.movable, plain, "immutable"))
    sizes = np.where(status == "ok", local.value, np.nan)
    unstable = [_unstable(*ends) for ends in zip(sizes, low, high, strict=True)]
    table: dict[str, Any] = {
        "instance": np.repeat(np.array(local.ids, dtype=object), d),
        "feature": np.tile(np.array(schema.names, dtype=object), n),
        "value": local.value,
        "sd": local.sd,
        "low": low,
        "high": high,
        "rank": average_ranks(sizes),
        "unchanged_plus": local.unchanged[:, :, 0],
        "unchanged_minus": local.unchanged[:, :, 1],
        "repeats": np.repeat(local.repeats, d),
        "n_plus": np.repeat([len(pool.plus) for pool in local.pools], d),
        "n_minus": np.repeat([len(pool.minus) for pool in local.pools], d),
        "status": status,
        "flags": [
            _joined(flag, "rank unstable" if shaky else "")
            for flag, shaky in zip(local.flags.ravel(), np.ravel(unstable), strict=True)
        ],
    }
    return pd.DataFrame({name: np.ravel(column) for name, column in table.items()})
