"""The table of single moves: for each query, values of one feature that cost less than the best counterfactual."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from audit.core.counterfactuals import change_of, changed
from audit.core.model import Ints
from audit.core.policy import Policy
from audit.core.table import Floats
from audit.search.cheapest.hunt import Hunt
from audit.search.cheapest.prices import LEAST, Prices

VALUES = 4096
"""Values of one feature that are held at most to choose moves from; beyond, every so many of the sorted ones."""


class Moves(NamedTuple):
    """Single moves of each of n queries: of F features at most P each, by rising cost and rising gain.

    Attributes:
        features: shape (F,), the features that move.
        value: shape (n, F, P), the new code.
        cost: shape (n, F, P), what the move costs; infinite where there is none.
        gain: shape (n, F, P), by how much it raises the log-odds of a flip, from the row as it is.
        rate: shape (n,), the best gain per cost.
        start: shape (n,), log-odds of the row as it is.
    """

    features: Ints
    value: Floats
    cost: Floats
    gain: Floats
    rate: Floats
    start: Floats


@dataclass(frozen=True)
class Grid:
    """Where each feature may be worth looking.

    Attributes:
        values: for each of d features its candidate codes, ascending; empty where it cannot change.
    """

    policy: Policy
    values: Sequence[Floats]

    @classmethod
    def of(cls, policy: Policy, reference: Floats, splits: Sequence[Floats | None]) -> "Grid":
        """From the rows of the reference (m, d), or the splits of a model of trees where they are known."""
        columns = [cls._column(policy, j, reference[:, j], splits[j]) for j in range(len(policy.schema))]
        return cls(policy, columns)

    @staticmethod
    def _column(policy: Policy, j: int, column: Floats, splits: Floats | None) -> Floats:
        feature = policy.schema.features[j]
        if not policy.movable[j]:
            return np.empty(0)
        if feature.levels:
            return np.arange(len(feature.levels), dtype=np.float64)
        values = np.unique(column[np.isfinite(column)] if splits is None else splits)
        values = np.unique(np.append(values, [end for end in (policy.low[j], policy.high[j]) if np.isfinite(end)]))
        if len(values) > VALUES:
            values = values[np.unique(np.linspace(0, len(values) - 1, VALUES).astype(np.int64))]
        return np.asarray(values)

    def moves(self, j: int, prices: Prices, x: Floats, bound: Floats, size: int) -> tuple[Floats, Floats]:
        """Moves of feature j from its values x (n,) that cost less than `bound` (n,).

        Args:
            size: values of an ordered feature that are looked at for each row; of others all levels are.

        Returns:
            The new value and its cost, infinite where it is no move; shape (n, m) both.
        """
        feature, values = self.policy.schema.features[j], self.values[j]
        if not len(values):
            return np.empty((len(x), 0)), np.empty((len(x), 0))
        if feature.ordered and len(values) > size:
            target = self._within(j, x, (bound - prices.per_change) / prices.weights[j], size)
        else:
            target = np.broadcast_to(values, (len(x), len(values)))
        if self.policy.to_missing[j]:
            target = np.concatenate([target, np.full((len(x), 1), np.nan)], axis=1)
        here = np.broadcast_to(x[:, None], target.shape)
        value = np.array(self.policy.reach(j, here, target))
        cost = change_of(feature, here, value) * prices.weights[j] + prices.per_change
        useless = ~changed(here, value) | (cost >= bound[:, None])
        # Targets ascend, so that equal values stand side by side.
        useless[:, 1:] |= ~changed(value[:, 1:], value[:, :-1])
        cost[useless] = np.inf
        return value, cost

    def _within(self, j: int, x: Floats, reach: Floats, size: int) -> Floats:
        """For each row `size` of the values, spread evenly over the places within reach of x, shape (n, size)."""
        values, scale = self.values[j], self.policy.schema.features[j].scale
        room = np.where(np.isnan(x) | (scale <= 0), np.inf, np.maximum(reach, 0) * scale)
        here = np.where(np.isnan(x), 0.0, x)
        low = np.where(self.policy.down[j] | np.isnan(x), here - room, here)
        high = np.where(self.policy.up[j] | np.isnan(x), here + room, here)
        start = np.searchsorted(values, low)
        stop = np.maximum(np.searchsorted(values, high, side="right"), start + 1)
        steps = np.linspace(0, 1, size)
        place = start[:, None] + np.rint(steps * (stop - 1 - start)[:, None]).astype(np.int64)
        return np.asarray(values[np.minimum(place, len(values) - 1)])


def single_moves(hunt: Hunt, grid: Grid, size: int) -> Moves:
    """The moves of all queries of the hunt that are worth their cost, asked for in one call.

    Args:
        size: values of an ordered feature that are looked at for each query.
    """
    n, d = hunt.rows.shape
    tables = [grid.moves(j, hunt.prices, hunt.rows[:, j], hunt.bound, size) for j in range(d)]
    features = np.array([j for j in range(d) if np.isfinite(tables[j][1]).any()], dtype=np.int64)
    places = [np.nonzero(np.isfinite(tables[j][1])) for j in features]
    which = np.concatenate([np.arange(n), *(at[0] for at in places)])
    codes = hunt.rows[which]
    ends = np.cumsum([n, *(len(at[0]) for at in places)])
    for j, at, start, stop in zip(features, places, ends[:-1], ends[1:], strict=True):
        codes[start:stop, j] = tables[j][0][at]
    lifts, _ = hunt.ask(which, codes)
    hunt.unseen(which, codes)
    shape = (n, len(features), size + 1)
    moves = Moves(
        features, np.zeros(shape), np.full(shape, np.inf), np.full(shape, -np.inf), np.full(n, LEAST), lifts[:n]
    )
    for f, (j, at, start, stop) in enumerate(zip(features, places, ends[:-1], ends[1:], strict=True)):
        gain = np.full(tables[j][1].shape, -np.inf)
        gain[at] = lifts[start:stop] - moves.start[at[0]]
        _enter(moves, f, tables[j], gain, hunt.bound)
    with np.errstate(invalid="ignore"):
        rates = np.where(np.isfinite(moves.cost), moves.gain / np.maximum(moves.cost, LEAST), LEAST)
    np.maximum(moves.rate, rates.max(axis=(1, 2), initial=LEAST), out=moves.rate)
    return moves


def _enter(moves: Moves, f: int, table: tuple[Floats, Floats], gain: Floats, bound: Floats) -> None:
    """Enters those moves of a feature to which no other that costs less, or the same, gains as much."""
    value, cost = table
    size = moves.cost.shape[2]
    order = np.argsort(cost, axis=1, kind="stable")
    value, cost, gain = (np.take_along_axis(part, order, axis=1) for part in (value, cost, gain))
    best = np.maximum.accumulate(np.maximum(gain, 0.0), axis=1)
    worth = cost < bound[:, None]
    worth[:, :1] &= gain[:, :1] > 0
    worth[:, 1:] &= gain[:, 1:] > best[:, :-1]
    order = np.argsort(~worth, axis=1, kind="stable")[:, :size]
    m = order.shape[1]
    kept = np.take_along_axis(worth, order, axis=1)
    moves.value[:, f, :m] = np.take_along_axis(value, order, axis=1)
    moves.cost[:, f, :m] = np.where(kept, np.take_along_axis(cost, order, axis=1), np.inf)
    moves.gain[:, f, :m] = np.where(kept, np.take_along_axis(gain, order, axis=1), -np.inf)
