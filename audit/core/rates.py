"""What decisions do to groups: rates from counts, their ratios, and where rows belong."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.core.disparity import Gap
from audit.core.labels import label_of
from audit.core.model import Ints
from audit.core.stats import wilson
from audit.core.table import Floats

MISSING = "missing"
"""The group of rows without a value."""

JOIN = " x "
"""Between the columns, and between the groups, of an intersection."""

Bools = NDArray[np.bool_]

OF_OUTCOMES = ("base_rate", "true_positive_rate", "false_positive_rate", "predictive_value")
RATES = ("selection_rate", *OF_OUTCOMES)


@dataclass(frozen=True)
class Grouping:
    """Which group each of n rows belongs to.

    Attributes:
        by: the column, or the columns of an intersection.
        names: the g groups that occur.
        of: shape (n,), positions in `names`.
    """

    by: str
    names: tuple[str, ...]
    of: Ints

    @property
    def sizes(self) -> Ints:
        """Rows of each group, shape (g,)."""
        return np.bincount(self.of, minlength=len(self.names)).astype(np.int64)


def grouping(columns: "Sequence[pd.Series[Any]]") -> Grouping:
    """The groups of one column, or the combinations that occur of several; in alphabetical order."""
    levels, codes = [], []
    for column in columns:
        positions, values = pd.factorize(column, use_na_sentinel=False)
        labels = np.array([MISSING if pd.isna(value) else label_of(value) for value in values], dtype=object)
        own, place = np.unique(labels.astype(str), return_inverse=True)
        levels.append(own)
        codes.append(place[positions])
    flat = np.ravel_multi_index(tuple(codes), tuple(len(own) for own in levels))
    occurring, of = np.unique(flat, return_inverse=True)
    places = np.unravel_index(occurring, tuple(len(own) for own in levels))
    parts = zip(*(own[place] for own, place in zip(levels, places, strict=True)), strict=True)
    names = tuple(JOIN.join(map(str, part)) for part in parts)
    return Grouping(JOIN.join(str(c.name) for c in columns), names, of.astype(np.int64))


def hits_and_trials(groups: Grouping, given: Bools, actual: Bools | None) -> dict[str, tuple[Ints, Ints]]:
    """By rate, favourable cases and the rows that they are counted among, each of shape (g,).

    Args:
        given, actual: whether each row was given, and truly has, a favourable outcome; None: the truth is not known.
    """
    g = len(groups.names)

    def counted(rows: Bools) -> Ints:
        return np.bincount(groups.of[rows], minlength=g).astype(np.int64)

    everyone = np.ones(len(given), dtype=bool)
    found = {"selection_rate": (counted(given), counted(everyone))}
    if actual is None:
        return found
    both = counted(given & actual)
    return found | {
        "base_rate": (counted(actual), counted(everyone)),
        "true_positive_rate": (both, counted(actual)),
        "false_positive_rate": (counted(given & ~actual), counted(~actual)),
        "predictive_value": (both, counted(given)),
    }


def share_ratio(hits: Ints, trials: Ints, level: float = 0.95) -> Gap | None:
    """The smallest share over the largest, with an interval for all pairs at once; None where every share is 0.

    Pairs have hybrid score intervals on the log scale (from Wilson's), widened by Bonferroni over pairs. The ends are
    those of the pair that differs most for certain, and of the pair that may differ most.

    Args:
        hits, trials: shape (g,), g at least 2, trials at least 1.

    Reference: G. Y. Zou, A. Donner, Statistics in Medicine 27 (2008), 1693-1702.
    """
    share = hits / trials
    if not hits.any():
        return None
    strict = 1 - (1 - level) / (len(hits) * (len(hits) - 1) / 2)
    low, high = wilson(share, trials, strict)
    pairs = [_log_ratio(share, low, high, i, j) for i, j in combinations(range(len(hits)), 2)]
    nearest = max(0.0, *(max(below, -above) for below, above in pairs))
    farthest = max(max(above, -below) for below, above in pairs)
    lowest, highest = int(share.argmin()), int(share.argmax())
    value = float(share[lowest] / share[highest])
    ends = float(np.exp(-farthest)), float(np.exp(-nearest))
    return Gap(value, min(ends[0], value), max(ends[1], value), lowest, highest)


def _log_ratio(share: Floats, low: Floats, high: Floats, i: int, j: int) -> tuple[float, float]:
    """The interval of the logarithm of share i over share j; a share of 0 leaves its end open."""
    if share[i] == 0 or share[j] == 0:
        below = np.log(low[i] / high[j]) if low[i] > 0 else -np.inf
        return float(below), float(np.log(high[i] / low[j])) if low[j] > 0 else np.inf
    middle = np.log(share[i] / share[j])
    down = np.hypot(np.log(share[i] / low[i]), np.log(high[j] / share[j]))
    up = np.hypot(np.log(high[i] / share[i]), np.log(share[j] / low[j]))
    return float(middle - down), float(middle + up)
