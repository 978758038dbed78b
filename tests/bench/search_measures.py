"""What counterfactuals are worth, read from the numbers alone: nothing here knows the searches or the package.

Rows and counterfactuals are arrays of codes, shape (m, d); features are those of `search_data.Task`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Features = Sequence[dict[str, Any]]
KINDS = ("not flipped", "immutable", "direction", "bounds", "not whole", "no level", "missing")
BLOCK = 50


def sizes(features: Features, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The scaled change of each feature: |b - a| / range of a number, 0 or 1 of a category; the shapes broadcast."""
    columns = []
    for j, feature in enumerate(features):
        x, z = a[..., j], b[..., j]
        reach = feature["high"] - feature["low"]
        if feature["levels"]:
            columns.append(np.asarray(x != z, dtype=np.float64))
        else:
            columns.append(np.abs(z - x) / reach if reach > 0 else np.zeros(np.broadcast_shapes(x.shape, z.shape)))
    return np.stack(columns, axis=-1)


def gower(features: Features, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The mean scaled change over all d features, shape (m,)."""
    return np.asarray(sizes(features, a, b).mean(axis=-1))


def spreads(reference: np.ndarray) -> np.ndarray:
    """Median absolute deviation of each column; its standard deviation where that is 0, and 1 where both are."""
    mad = np.median(np.abs(reference - np.median(reference, axis=0)), axis=0)
    spread = np.where(mad > 0, mad, reference.std(axis=0))
    return np.where(spread > 0, spread, 1.0)


def mad_l1(features: Features, spread: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Sum of |b - a| / spread over numbers, plus the number of categories that change; shape (m,)."""
    leveled = np.array([bool(f["levels"]) for f in features])
    return np.asarray(np.where(leveled, a != b, np.abs(b - a) / spread).sum(axis=-1))


def nearest(features: Features, reference: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Gower distance from each counterfactual to the nearest row of the reference, shape (m,)."""
    best = np.full(len(b), np.inf)
    for start in range(0, len(b), BLOCK):
        part = b[start : start + BLOCK]
        total = np.zeros((len(part), len(reference)))
        for j, feature in enumerate(features):
            total += sizes([feature], part[:, None, j : j + 1], reference[None, :, j : j + 1])[..., 0]
        best[start : start + BLOCK] = total.min(axis=1) / len(features)
    return best


def broken(features: Features, a: np.ndarray, b: np.ndarray, scores: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Which of KINDS each way from a to b breaks, shape (m, len(KINDS)).

    A counterfactual has flipped where the model says at least 0.5 both when it is asked for that row alone and when
    it is asked for all in reverse order.
    """
    out = np.zeros((len(b), len(KINDS)), dtype=bool)
    missing = np.isnan(b).any(axis=1)
    out[:, KINDS.index("missing")] = missing
    for j, feature in enumerate(features):
        x, z = a[:, j], b[:, j]
        moved = (x != z) & ~np.isnan(z)
        out[:, KINDS.index("immutable")] |= moved & (feature["change"] == "immutable")
        out[:, KINDS.index("direction")] |= moved & (feature["change"] == "increase") & (z < x)
        whole = z == np.rint(z)
        if feature["levels"]:
            out[:, KINDS.index("no level")] |= moved & ~(whole & (z >= 0) & (z < feature["levels"]))
        else:
            out[:, KINDS.index("not whole")] |= moved & ~whole & (not feature.get("real"))
            out[:, KINDS.index("bounds")] |= moved & ((z < feature["low"]) | (z > feature["high"]))
    readable = np.flatnonzero(~missing & ~out[:, KINDS.index("no level")])
    if len(readable):
        together = scores(b[readable][::-1])[::-1]
        alone = np.array([scores(row[None])[0] for row in b[readable]])
        out[readable, KINDS.index("not flipped")] = np.minimum(together, alone) < 0.5
    return out


def gap(measured: np.ndarray, proved: np.ndarray) -> dict[str, float]:
    """How far distances lie above proved optima of the same rows, both (m,).

    Returns:
        `mean`: ratio of the means minus 1; `median`: of the ratios row by row, minus 1; `within`: share of rows
        within 1 % of the optimum.
    """
    ratio = measured / proved
    return {
        "mean": float(measured.mean() / proved.mean() - 1),
        "median": float(np.median(ratio) - 1),
        "within": float((ratio <= 1.01).mean()),
    }


def common(solved: dict[str, np.ndarray]) -> np.ndarray:
    """Positions that every method solved; each entry is shape (n,), True where it did, for the n rows it was asked."""
    n = min(map(len, solved.values()))
    return np.flatnonzero(np.all([entry[:n] for entry in solved.values()], axis=0))


def verdict(value: float | None, limit: float, side: str, n: int | None = None, least: int = 0) -> str:
    """`met`, `not met`, or `not measured` where there is no value or it rests on fewer rows than `least`.

    Args:
        side: `least` where the value must be the limit or more, `most` where it must be the limit or less.
    """
    if value is None or (n is not None and n < least):
        return "not measured"
    return "met" if (value >= limit if side == "least" else value <= limit) else "not met"
