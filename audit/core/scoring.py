"""How well scores tell true outcomes apart, and how far they can be taken at their word; numpy alone."""

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from audit.core.table import Floats

Truths = NDArray[np.bool_]

FEWEST = 10
"""With fewer rows of one outcome, the normal approximation of an AUC is not used."""


def auc(truth: Truths, score: Floats) -> float | None:
    """The share of pairs of a true and a false row in which the true row scores higher, ties counting half.

    None where all rows are true or none is.
    """
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        return None
    return float(_wins(truth, score)[truth].mean())


def _wins(truth: Truths, score: Floats) -> Floats:
    """For each row, the share of rows of the other outcome that it is rightly ordered with, ties counting half."""
    won = np.empty(len(score))
    for side, sign in ((truth, 1.0), (~truth, -1.0)):
        others = np.sort(sign * score[~side])
        below = np.searchsorted(others, sign * score[side], side="left")
        upto = np.searchsorted(others, sign * score[side], side="right")
        won[side] = (below + upto) / (2 * len(others))
    return won


def auc_parts(truth: Truths, score: Floats) -> Floats:
    """What each row adds to the error of the AUC, shape (n,): the sum of squares is DeLong's variance.

    Differences and means of AUCs over the same rows have the differences and means of these parts.

    Reference: E. R. DeLong, D. M. DeLong, D. L. Clarke-Pearson, Biometrics 44 (1988), 837-845.
    """
    won = _wins(truth, score)
    parts = np.empty(len(score))
    for side in (truth, ~truth):
        size = int(side.sum())
        parts[side] = (won[side] - won[side].mean()) / np.sqrt(size * max(size - 1, 1))
    return parts


def auc_interval(truth: Truths, score: Floats, level: float = 0.95) -> tuple[float, float, str]:
    """The interval of an AUC, and how it was made: DeLong on the logit scale, or Newcombe's fifth method.

    Newcombe's serves where DeLong's variance cannot: no error among the rows, or few rows of one outcome.
    """
    value, error = auc(truth, score) or 0.0, float(np.sqrt((auc_parts(truth, score) ** 2).sum()))
    few = min(int(truth.sum()), int((~truth).sum())) < FEWEST
    if few or not 0 < value < 1 or error <= 0:
        low, high = newcombe(value, int(truth.sum()), int((~truth).sum()), level)
        return low, high, "Newcombe's method 5, over rows"
    return *_logit_interval(value, error, level), "DeLong on the logit scale, over rows"


def _logit_interval(value: float, error: float, level: float) -> tuple[float, float]:
    z = NormalDist().inv_cdf((1 + level) / 2)
    middle, half = np.log(value / (1 - value)), z * error / (value * (1 - value))
    return tuple(float(1 / (1 + np.exp(-end))) for end in (middle - half, middle + half))  # type: ignore[return-value]


def newcombe(value: float, positives: int, negatives: int, level: float = 0.95) -> tuple[float, float]:
    """The interval of an AUC from its value and the number of rows of each outcome alone.

    Reference: R. G. Newcombe, Statistics in Medicine 25 (2006), 559-573, method 5.
    """
    low = _newcombe_low(value, positives, negatives, level)
    return low, 1 - _newcombe_low(1 - value, positives, negatives, level)


def _newcombe_low(value: float, positives: int, negatives: int, level: float) -> float:
    """The smallest AUC that is not rejected, by bisection."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    size = (positives + negatives) / 2 - 1
    low, high = 0.0, value - 1e-12
    for _ in range(60):
        x = (low + high) / 2
        spread = x * (1 - x) / (positives * negatives) * (1 + size * (1 - x) / (2 - x) + size * x / (1 + x))
        low, high = (x, high) if value - x > z * np.sqrt(max(spread, 0.0)) else (low, x)
    return max(low, 0.0)


def roc_points(truth: Truths, score: Floats, most: int = 200) -> Floats:
    """Rows (threshold, false positive rate, true positive rate) for `score >= threshold`, falling; at most `most`.

    The first row, where nothing passes, has the threshold NaN.
    """
    order = np.argsort(-score, kind="stable")
    ordered, hits = score[order], truth[order]
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    tpr, fpr = np.cumsum(hits)[last] / hits.sum(), np.cumsum(~hits)[last] / (~hits).sum()
    points = np.vstack([[np.nan, 0.0, 0.0], np.column_stack([ordered[last], fpr, tpr])])
    kept = np.unique(np.linspace(0, len(points) - 1, min(most, len(points))).round().astype(np.int64))
    return np.asarray(points[kept])


def bin_edges(bins: int) -> Floats:
    """The edges of bins of equal width on [0, 1], each the nearest number to k / bins, as a reader writes it."""
    return np.asarray(np.arange(bins + 1) / bins)


def bin_of(score: Floats, bins: int) -> NDArray[np.int64]:
    """The number of the bin that each score falls in; a score on an edge is in the upper bin, 1 in the last."""
    return np.asarray(np.searchsorted(bin_edges(bins)[1:-1], score, side="right"), dtype=np.int64)
