"""What a change costs, and how far a row is from the flip."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from audit.core.counterfactuals import changed
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
        """What each feature adds to the cost, shape (m, d): `core/counterfactuals.change`, for all features at once."""
        sizes = np.abs(codes - x) / self.scale
        sizes[:, ~self.ordered] = 1.0
        gone = np.isnan(sizes)
        if gone.any():
            sizes[gone] = 1.0
        return np.where(changed(x, codes), sizes * self.weights + self.per_change, 0.0)

    @cached_property
    def ordered(self) -> NDArray[np.bool_]:
        """Whether a change has a size, shape (d,)."""
        return np.array([feature.ordered for feature in self.schema.features], dtype=bool)

    @cached_property
    def scale(self) -> Floats:
        """The change that counts as 1, shape (d,); infinite for an ordered feature without a range."""
        return np.array([f.scale if f.scale > 0 else np.inf for f in self.schema.features])


def lever_keys(moved: NDArray[np.bool_]) -> Floats:
    """The same numbers for the same set of features, shape (m, d / 32), from what has moved, shape (m, d)."""
    packed = np.packbits(moved, axis=1)
    words = np.zeros((len(moved), -(-packed.shape[1] // 4) * 4), dtype=np.uint8)
    words[:, : packed.shape[1]] = packed
    return words.view(np.uint32).astype(np.float64)


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
