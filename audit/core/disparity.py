"""Groups beside one another: which may be shown, how far apart they are, and corrections for many tests."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from audit.core.stats import mean_band, wilson
from audit.core.table import Floats

Counts = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Gap:
    """The largest difference between groups, with an interval that holds for all pairs at once.

    Attributes:
        lowest, highest: positions of the groups that it lies between.
    """

    value: float
    low: float
    high: float
    lowest: int
    highest: int


def suppressed(sizes: Counts, least: int) -> tuple[Bools, Bools]:
    """Which cells of a table of counts are too small to show, and which must go with them; shapes as `sizes`.

    A line (along any axis) whose total is known and that hides a single cell gives that cell away by subtraction, so
    its smallest other cell is hidden too, until no line hides just one. Empty cells hide nobody.
    """
    small = (sizes > 0) & (sizes < least)
    hidden = small.copy()
    while True:
        before = int(hidden.sum())
        for axis in range(sizes.ndim):
            lines, marks = np.moveaxis(sizes, axis, -1), np.moveaxis(hidden, axis, -1)
            for place in np.ndindex(lines.shape[:-1]):
                others = np.flatnonzero((lines[place] > 0) & ~marks[place])
                if marks[place].sum() == 1 and len(others):
                    marks[(*place, others[lines[place][others].argmin()])] = True
        if int(hidden.sum()) == before:
            return small, hidden & ~small


def share_gap(least: Floats, most: Floats, sizes: Counts, level: float = 0.95) -> Gap:
    """The gap between shares that are known to lie between `least` and `most`, all of shape (g,), g at least 2.

    The value is that of `least`. Pairs have Newcombe's hybrid score interval, widened by Bonferroni over pairs; where
    shares are known to lie between bounds, the interval holds wherever in them they lie.

    Reference: R. G. Newcombe, Statistics in Medicine 17 (1998), 873-890, method 10.
    """
    strict = 1 - (1 - level) / (len(sizes) * (len(sizes) - 1) / 2)
    low, high = wilson(least, sizes, strict)[0], wilson(most, sizes, strict)[1]

    def lower(i: int, j: int) -> float:
        return float(least[i] - most[j] - np.hypot(least[i] - low[i], high[j] - most[j]))

    pairs = [(lower(i, j), -lower(j, i)) for i, j in combinations(range(len(sizes)), 2)]
    return _gap(least, pairs)


def mean_gap(values: Sequence[Floats], low: float, high: float, level: float = 0.95) -> Gap:
    """The gap between the means of groups, at least 2, whose values (n,) lie between `low` and `high`.

    Pairs have the intervals of both means put together as Newcombe puts those of shares, widened by Bonferroni.

    Reference: G. Y. Zou, A. Donner, Statistics in Medicine 27 (2008), 1693-1702.
    """
    strict = 1 - (1 - level) / (len(values) * (len(values) - 1) / 2)
    means = np.array([own.mean() for own in values])
    bands = [mean_band(own[:, None], low, high, level=strict) for own in values]
    below = [mean - float(ends[0][0]) for mean, ends in zip(means, bands, strict=True)]
    above = [float(ends[1][0]) - mean for mean, ends in zip(means, bands, strict=True)]
    pairs = []
    for i, j in combinations(range(len(means)), 2):
        difference = float(means[i] - means[j])
        pairs.append((difference - np.hypot(below[i], above[j]), difference + np.hypot(above[i], below[j])))
    return _gap(means, pairs)


def _gap(values: Floats, pairs: Sequence[tuple[float, float]]) -> Gap:
    """The largest difference, between the largest that is certain for a pair and the largest that is possible."""
    lowest, highest = int(values.argmin()), int(values.argmax())
    value = float(values[highest] - values[lowest])
    low = max([0.0, *(max(low, -high) for low, high in pairs)])
    high = max(max(high, -low) for low, high in pairs)
    return Gap(value, min(low, value), max(high, value), lowest, highest)


def holm(p: Sequence[float]) -> list[float]:
    """P values that hold for all tests together, in the order given.

    Reference: S. Holm, Scandinavian Journal of Statistics 6 (1979), 65-70.
    """
    adjusted, worst = [0.0] * len(p), 0.0
    for place, i in enumerate(np.argsort(p, kind="stable")):
        worst = max(worst, min(1.0, p[i] * (len(p) - place)))
        adjusted[i] = worst
    return adjusted


def shares_differ(found: Counts, sizes: Counts, repeats: int, rng: np.random.Generator) -> tuple[str, float]:
    """The test of equal shares in groups, by name, and its p value; all of shape (g,), g at least 2.

    Chi-square where every expected count is at least 5; else Fisher's exact test for two groups, and for more the
    chi-square statistic over `repeats` shuffles of who belongs to which group.
    """
    from scipy import stats

    table = np.stack([found, sizes - found])
    total = table.sum(axis=1)
    if not total.all():
        return "none: all alike", 1.0
    expected = np.outer(total, sizes) / sizes.sum()
    if expected.min() >= 5:
        return "chi-square", float(stats.chi2_contingency(table, correction=False).pvalue)
    if len(sizes) == 2:
        return "Fisher's exact test", float(stats.fisher_exact(table).pvalue)
    draws = rng.multivariate_hypergeometric(sizes, int(total[0]), size=repeats)
    spread = ((draws - expected[0]) ** 2 / expected[0]).sum(axis=1)
    here = ((found - expected[0]) ** 2 / expected[0]).sum()
    beyond = int((spread >= here - 1e-12).sum())
    return f"chi-square over {repeats} shuffles", (beyond + 1) / (repeats + 1)


def costs_differ(costs: Sequence[Floats]) -> tuple[str, float]:
    """Whether the costs of groups come from one distribution: the test by name, and its p value."""
    from scipy import stats

    if np.ptp(np.concatenate(costs)) == 0:
        return "none: all alike", 1.0
    return "Kruskal-Wallis", float(stats.kruskal(*costs).pvalue)
