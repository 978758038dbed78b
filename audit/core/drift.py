"""Two sets of rows beside one another: which rows are alike, and how far a column has moved."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from audit.core.model import Ints
from audit.core.schema import Feature
from audit.core.stats import wilson
from audit.core.table import Floats

BINS = 10
"""Bins of a number in the stability index: quantiles of the training rows."""

EXPECTED = 5
"""Levels with fewer expected rows are put together before a chi-square test."""


def row_numbers(*codes: Floats) -> tuple[Ints, ...]:
    """A number for each row of each block, shape (n,), the same where rows are alike; missing equals missing."""
    together = np.concatenate(codes)
    plain = np.ascontiguousarray(np.where(np.isnan(together), np.nan, together) + 0.0)  # one NaN, no negative zero
    if not plain.shape[1]:
        numbers = np.zeros(len(plain), dtype=np.int64)
    else:
        whole = plain.view(np.dtype((np.void, plain.dtype.itemsize * plain.shape[1]))).ravel()
        numbers = np.unique(whole, return_inverse=True)[1].astype(np.int64)
    return tuple(np.split(numbers, np.cumsum([len(block) for block in codes])[:-1]))


def bins_of(feature: Feature, reference: Floats, codes: Floats, most: int = BINS) -> Ints:
    """The bin of each code, shape (n,): its level, or its quantile in the reference; missing is the first bin."""
    known = np.unique(reference[~np.isnan(reference)])
    if feature.levels:
        place = np.nan_to_num(codes).astype(np.int64)
    else:
        if len(known) > most:
            known = np.unique(
                np.quantile(reference[~np.isnan(reference)], np.arange(1, most + 1) / most, method="inverted_cdf")
            )
        place = np.searchsorted(known[:-1], codes, side="left")
    return np.where(np.isnan(codes), 0, place + 1).astype(np.int64)


@dataclass(frozen=True)
class Drift:
    """How far a column has moved from one set of rows to another.

    Attributes:
        index: the population stability index, with its interval.
        noise: the index that equal distributions have on average with so many rows.
        effect: the distance of Kolmogorov and Smirnov (numbers), or Cramér's V (levels).
        p: of the test that goes with `effect`, before any correction.
    """

    index: float
    low: float
    high: float
    noise: float
    test: str
    effect: float
    p: float


def drift(feature: Feature, before: Floats, after: Floats) -> Drift:
    """The drift of one column from codes `before`, shape (n,), to codes `after`, shape (m,).

    Reference: B. Yurdakul, J. Naranjo, Journal of Risk Model Validation 14 (2020) (the index and its distribution).
    """
    old, new = bins_of(feature, before, before), bins_of(feature, before, after)
    size = int(max(old.max(), new.max())) + 1
    counts = np.stack([np.bincount(x, minlength=size) for x in (old, new)]).astype(np.float64)
    counts = counts[:, counts.sum(axis=0) > 0]
    value = float(_index(counts[0], counts[1]))
    low, high = _index_interval(value, counts.shape[1], 1 / (1 / len(before) + 1 / len(after)))
    noise = (counts.shape[1] - 1) * (1 / len(before) + 1 / len(after))
    test, effect, p = _moved(feature, before, after, counts)
    return Drift(value, low, high, noise, test, effect, p)


def _index_interval(value: float, bins: int, size: float, level: float = 0.95) -> tuple[float, float]:
    """The interval of an index: the distances between distributions under which it is not unlikely.

    Times `size`, the index follows about a noncentral chi-square distribution with bins - 1 degrees of freedom. One
    below what noise alone gives on average says no more than that average does.
    """
    from scipy import optimize, stats

    degrees, tail = bins - 1, (1 - level) / 2
    if not degrees:
        return 0.0, 0.0

    def centre(x: float, probability: float) -> float:
        if stats.chi2.cdf(x, degrees) <= probability:
            return 0.0
        most = 4 * x + 40
        return float(optimize.brentq(lambda c: stats.ncx2.cdf(x, degrees, c) - probability, 1e-12, most))

    x = value * size
    low, high = centre(x, 1 - tail) / size, centre(max(x, degrees), tail) / size
    return min(low, value), max(high, value)


def _index(old: Floats, new: Floats) -> Any:
    """The index of counts in bins (last axis); half a row is added to each bin, so that empty bins have an end."""
    p, q = ((x + 0.5) / (x + 0.5).sum(axis=-1, keepdims=True) for x in (old, new))
    return ((q - p) * np.log(q / p)).sum(axis=-1)


def _moved(feature: Feature, before: Floats, after: Floats, counts: Floats) -> tuple[str, float, float]:
    """The test by name, its effect size and its p value."""
    from scipy import stats

    known = before[~np.isnan(before)], after[~np.isnan(after)]
    if not feature.levels and min(map(len, known)):
        found = stats.ks_2samp(*known, method="asymp")
        return "Kolmogorov-Smirnov", float(found.statistic), float(found.pvalue)
    rare = np.outer(counts.sum(axis=1), counts.sum(axis=0)).min(axis=0) / counts.sum() < EXPECTED
    merged = np.column_stack([counts[:, ~rare], counts[:, rare].sum(axis=1)]) if rare.any() else counts
    merged = merged[:, merged.sum(axis=0) > 0]
    if merged.shape[1] < 2:
        return "none: one value", 0.0, 1.0
    found = stats.chi2_contingency(merged, correction=False)
    return "chi-square", float(np.sqrt(found.statistic / merged.sum())), float(found.pvalue)


def share_difference(first: tuple[int, int], second: tuple[int, int]) -> tuple[float, float, float]:
    """The second share less the first with its 95 % interval; each share is (hits, rows).

    Reference: R. G. Newcombe, Statistics in Medicine 17 (1998), 873-890, method 10.
    """
    (a, n), (b, m) = first, second
    p, q = a / n, b / m
    (low_p, high_p), (low_q, high_q) = wilson(p, n), wilson(q, m)
    down, up = np.hypot(q - low_q, high_p - p), np.hypot(high_q - q, p - low_p)
    return q - p, float(q - p - down), float(q - p + up)
