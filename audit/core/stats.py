"""Intervals, resampling over rows, ranks and rank correlation; numpy alone."""

from collections.abc import Iterator
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from audit.core.table import Floats

RESAMPLE_BLOCK = 4_000_000
"""Drawn row numbers that are held at once, so that memory stays flat however many rows there are."""

TIE = 12
"""Values that agree to so many decimals are tied: sums of the same numbers in another order differ beyond that."""


BAND = "Wilson with an effective sample size, 95 %"
"""What `mean_band` is called beside a number."""


def wilson(share: Floats | float, n: Floats | NDArray[np.int64] | float, level: float = 0.95) -> tuple[Floats, Floats]:
    """Wilson's interval of a share of n independent trials, as (low, high); NaN where n is 0.

    Reference: E. B. Wilson, Journal of the American Statistical Association 22 (1927), 209-212.
    """
    return _wilson(share, n, NormalDist().inv_cdf((1 + level) / 2))


def _wilson(share: Floats | float, n: Floats | NDArray[np.int64] | float, z: Floats | float) -> tuple[Floats, Floats]:
    p, size = np.asarray(share, dtype=np.float64), np.asarray(n, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        weight = z * z / size
        middle = (p + weight / 2) / (1 + weight)
        half = z / (1 + weight) * np.sqrt(p * (1 - p) / size + weight / (4 * size))
        low, high = np.maximum(middle - half, 0.0), np.minimum(middle + half, 1.0)
    # At the ends the exact bound is the end itself; rounding must not leave the estimate outside its interval.
    none = ~(size > 0)
    low, high = np.where(p <= 0, 0.0, low), np.where(p >= 1, 1.0, high)
    return np.where(none, np.nan, low), np.where(none, np.nan, high)


def mean_band(
    values: Floats, low: Floats | float, high: Floats | float, weights: Floats | None = None, level: float = 0.95
) -> tuple[Floats, Floats]:
    """The interval of the mean of each column of values (n, d) that lie between known bounds, as (low, high), (d,).

    Wilson's interval on the scale of the bounds, for as many rows as a share with this mean and this standard error
    would rest on, with Student's quantile. Of shares of 0 and 1 that is Wilson's own. It leans as the values do, and it
    has a width where all rows agree, where a resample has none: what one sample in two does not meet is not ruled out.
    NaN for fewer than two rows.

    Args:
        low, high: what a value cannot be below or above, numbers or shape (d,); a value seen beyond them moves them.
        weights: shape (n,), not negative; equal where absent.

    Reference: E. L. Korn, B. I. Graubard, Survey Methodology 24 (1998), 193-201 (shares with an effective sample size);
    C. Franco, R. J. A. Little, T. A. Louis, E. V. Slud, Journal of Survey Statistics and Methodology 7 (2019), 334-364.
    """
    from scipy.special import stdtrit

    n, d = values.shape
    weight = np.ones(n) if weights is None else weights
    total = weight.sum()
    kish = float(total**2 / (weight**2).sum()) if total > 0 else 0.0
    if n < 2 or kish <= 1:
        return np.full(d, np.nan), np.full(d, np.nan)
    floor, ceiling = np.minimum(low, values.min(axis=0)), np.maximum(high, values.max(axis=0))
    width = np.where(ceiling > floor, ceiling - floor, 1.0)
    scaled = (values - floor) / width
    p = np.clip(weight @ scaled / total, 0.0, 1.0)
    variance = weight**2 @ (scaled - p) ** 2 / total**2
    alike = variance < 1e-18
    plain = np.where(alike, kish, p * (1 - p) / np.where(alike, 1.0, variance))
    # A variance is divided by n - 1; of values at the bounds alone the estimate with n is that of Wilson's interval.
    effective = np.where(plain > kish, np.maximum(kish, plain * (kish - 1) / kish), plain)
    ends = _wilson(p, effective, float(stdtrit(max(kish - 1, 1.0), (1 + level) / 2)))
    least, most = (floor + end * width for end in ends)
    return np.where(ceiling > floor, least, floor), np.where(ceiling > floor, most, floor)


def resamples(n: int, repeats: int, rng: np.random.Generator) -> Iterator[Floats]:
    """How often each of n rows is drawn in each of `repeats` bootstrap resamples, in blocks of shape (b, n)."""
    block = max(1, RESAMPLE_BLOCK // max(n, 1))
    for start in range(0, repeats, block):
        size = min(block, repeats - start)
        drawn = rng.integers(0, n, size=(size, n)) + np.arange(size)[:, None] * n
        yield np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)


def bootstrap_means(values: Floats, weights: Floats, repeats: int, rng: np.random.Generator) -> Floats:
    """Weighted means of each column in bootstrap resamples of the rows, shape (repeats, d).

    A row stands for an instance with all that was measured on it, so that dependence inside an instance is kept
    (cluster bootstrap). All columns share the resamples: ranks can be taken within each.

    Args:
        values: shape (n, d), no NaN; n at least 1.
        weights: shape (n,), not negative; a resample without weight gives NaN.
    """
    weighted = np.column_stack([values * weights[:, None], weights])
    sums = np.concatenate([counts @ weighted for counts in resamples(len(values), repeats, rng)])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[:, :-1] / sums[:, -1:])


def percentile_interval(replicates: Floats, level: float = 0.95) -> tuple[Floats, Floats]:
    """The central `level` of bootstrap replicates, shape (repeats, ...), as (low, high).

    Replicates that are undefined are left out; where none is defined, the interval is NaN.
    """
    tail = (1 - level) / 2
    low, high = quantiles(replicates, (tail, 1 - tail))
    return low, high


def quantiles(values: Floats, levels: tuple[float, ...]) -> Floats:
    """Quantiles along the first axis of what is not NaN, linear between order statistics; shape (levels, ...).

    NaN where a column has no value. One sort for all columns, which numpy's NaN-aware quantile does column by column.
    """
    if not len(values):
        return np.full((len(levels), *values.shape[1:]), np.nan)
    ordered = np.sort(values, axis=0)  # NaN last
    known = (~np.isnan(values)).sum(axis=0)
    answers = []
    for level in levels:
        position = level * (np.maximum(known, 1) - 1)
        below = np.floor(position).astype(np.int64)
        above = np.minimum(below + 1, np.maximum(known, 1) - 1)
        a = np.take_along_axis(ordered, below[None], axis=0)[0]
        b = np.take_along_axis(ordered, above[None], axis=0)[0]
        answers.append(a + (b - a) * (position - below))
    return np.stack(answers)


def average_ranks(values: Floats) -> Floats:
    """Ranks within each row, 1 for the largest value; ties share the mean of their ranks. Shape as `values`.

    Values that agree to `TIE` decimals are tied. NaN has no rank.
    """
    table = np.atleast_2d(np.round(values, TIE))
    order = np.argsort(-table, axis=1, kind="stable")  # NaN last
    ordered = np.take_along_axis(table, order, axis=1)
    place = np.broadcast_to(np.arange(table.shape[1]), table.shape)
    fresh = np.ones(table.shape, dtype=bool)
    fresh[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    last = np.ones(table.shape, dtype=bool)
    last[:, :-1] = fresh[:, 1:]
    start = np.maximum.accumulate(np.where(fresh, place, 0), axis=1)
    end = np.minimum.accumulate(np.where(last, place, table.shape[1])[:, ::-1], axis=1)[:, ::-1]
    ranks = np.empty(table.shape)
    np.put_along_axis(ranks, order, (start + end) / 2 + 1, axis=1)
    ranks[np.isnan(table)] = np.nan
    return ranks.reshape(values.shape)


def mean_interval(values: Floats, low: float, high: float) -> tuple[Floats, Floats, Floats, Floats]:
    """Mean, sd, and the mean minus and plus 2 sd / sqrt(n) within the bounds, over the first axis of what is not NaN.

    The interval is NaN where n is less than 2, the mean where there is no value.
    """
    n = (~np.isnan(values)).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nansum(values, axis=0) / n
        sd = np.sqrt(np.nansum((values - mean) ** 2, axis=0) / np.where(n > 1, n - 1, np.nan))
        half = 2 * sd / np.sqrt(n)
    return mean, sd, np.clip(mean - half, low, high), np.clip(mean + half, low, high)


def rank_stability(replicates: Floats, top: int) -> Floats:
    """The share of bootstrap replicates, shape (repeats, d), in which each column is among the first `top`; (d,)."""
    return np.asarray((average_ranks(replicates) <= top).mean(axis=0))


def kendall(a: Floats, b: Floats) -> Floats:
    """Kendall's tau-b of the rows of a and b, both (..., d); NaN where one of them is constant or d < 2.

    Reference: M. G. Kendall, Biometrika 33 (1945), 239-251.
    """
    first, second = _pair_signs(a), _pair_signs(b)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(
            (first * second).sum(axis=-1) / np.sqrt(np.abs(first).sum(axis=-1) * np.abs(second).sum(axis=-1))
        )


def _pair_signs(values: Floats) -> Floats:
    """Signs of the differences of all pairs of the last axis, shape (..., d (d - 1) / 2)."""
    rounded = np.round(values, TIE)
    i, j = np.triu_indices(values.shape[-1], k=1)
    return np.asarray(np.sign(rounded[..., i] - rounded[..., j]))


def spearman(a: Floats, b: Floats) -> Floats:
    """Spearman's rho of the rows of a and b, both (..., d): the correlation of average ranks; NaN as in `kendall`."""
    first, second = average_ranks(a), average_ranks(b)
    first = first - first.mean(axis=-1, keepdims=True)
    second = second - second.mean(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((first * second).sum(axis=-1) / np.sqrt((first**2).sum(axis=-1) * (second**2).sum(axis=-1)))
