"""What a change costs, and how far a row is from the flip."""

from dataclasses import dataclass

import numpy as np

from audit.core.counterfactuals import change, changed
from audit.core.model import Decision, Ints
from audit.core.schema import FeatureSchema
from audit.core.table import Floats

LEAST = 1e-12
"""Probabilities are kept this far from 0 and 1 where their logarithm is taken, and costs from 0 where one divides."""


@dataclass(frozen=True)
class Prices:
    """The cost of a change: its size times the weight of the feature, and a fixed part for each feature that changes.

    Attributes:
        weights: shape (d,), above 0.
        per_change: cost of changing a feature at all.
    """

    schema: FeatureSchema
    weights: Floats
    per_change: float

    def of(self, x: Floats, codes: Floats) -> Floats:
        """The cost of the way from each row of x to that of codes, both (m, d); shape (m,)."""
        return np.asarray(self.parts(x, codes).sum(axis=1))

    def parts(self, x: Floats, codes: Floats) -> Floats:
        """What each feature adds to the cost, shape (m, d)."""
        return change(self.schema, x, codes) * self.weights + self.per_change * changed(x, codes)


def lift(decision: Decision, P: Floats, before: Ints) -> Floats:
    """How far each row is beyond the flip of outcome `before`, in log-odds; shape (n,); below 0 before the flip."""
    if decision.favourable:
        distance = _logit(decision.score(P)) - _logit(np.array(decision.at_least))
        return np.asarray(np.where(before == 1, -distance, distance))
    rows = np.arange(len(P))
    logs = np.log(np.clip(P, LEAST, 1.0))
    stay = logs[rows, before]
    logs[rows, before] = -np.inf
    return np.asarray(logs.max(axis=1) - stay)


def _logit(p: Floats) -> Floats:
    safe = np.clip(p, LEAST, 1 - LEAST)
    return np.asarray(np.log(safe) - np.log1p(-safe))
