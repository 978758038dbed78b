"""Whether a single column, or a single value of one, almost decides an outcome."""

from dataclasses import dataclass

import numpy as np

from audit.core.answers import Estimate
from audit.core.drift import bins_of
from audit.core.model import Ints
from audit.core.schema import Feature
from audit.core.scoring import Truths, auc, auc_interval
from audit.core.stats import wilson
from audit.core.table import Floats

FOLDS = 5
BINS = 50
"""Quantiles that a number is cut into before its values are looked at for what they say of the outcome."""

EASIER = 4
"""A value decides only where exceptions are rarer by this factor than among all rows."""


def alone(feature: Feature, codes: Floats, truth: Truths, folds: Ints) -> Estimate:
    """How well one column orders rows by an outcome, whatever the shape of the dependence.

    The score of a row is the share of the outcome among the rows of the other folds in its bin, drawn to the overall
    share by the weight of one row. Where the column tells nothing, the AUC tends to lie below 0.5: a bin that has more
    of the outcome in one fold has less in the others.

    Args:
        folds: shape (n,), the fold of each row.
    """
    place, score = bins_of(feature, codes, codes, BINS), np.empty(len(codes))
    size = int(place.max()) + 1
    for fold in range(FOLDS):
        test = folds == fold
        hits = np.bincount(place[~test], weights=truth[~test], minlength=size)
        n = np.bincount(place[~test], minlength=size)
        score[test] = ((hits + truth[~test].mean()) / (n + 1))[place[test]] if (~test).any() else 0.5
    value = auc(truth, score)
    if value is None:
        return Estimate(None, n=len(codes))
    return Estimate(value, *auc_interval(truth, score), len(codes))


@dataclass(frozen=True)
class Purity:
    """The share of one outcome among the rows with one value, with an interval that holds for all values at once."""

    feature: str
    code: float
    outcome: int
    n: int
    share: float
    low: float
    high: float
    decides: bool


def purities(
    features: tuple[Feature, ...], codes: Floats, actual: Ints, outcomes: int, rows: int, bar: float
) -> list[Purity]:
    """What every value that at least `rows` rows share says of the outcome; the most certain first.

    A value decides where the lower end of its share is above `bar`, and the exceptions that are still possible are
    rarer by the factor `EASIER` than among all rows. The code of missing is NaN.
    """
    base = np.bincount(actual, minlength=outcomes) / len(actual)
    found = []
    for j, feature in enumerate(features):
        values, place = np.unique(codes[:, j], return_inverse=True)
        table = np.bincount(place * outcomes + actual, minlength=len(values) * outcomes).reshape(-1, outcomes)
        n = table.sum(axis=1)
        kept = np.flatnonzero((n >= rows) & (n < len(actual)))
        found += [
            (feature.name, float(values[v]), int(table[v].argmax()), int(n[v]), int(table[v].max())) for v in kept
        ]
    level = 1 - 0.05 / max(len(found), 1)
    answers = []
    for name, code, outcome, n, hits in found:
        low, high = (float(x) for x in wilson(hits / n, n, level))
        decides = low > bar and (1 - low) * EASIER < 1 - base[outcome]
        answers.append(Purity(name, code, outcome, n, hits / n, low, high, bool(decides)))
    return sorted(answers, key=lambda p: (-p.decides, -p.low, p.feature, str(p.code)))
