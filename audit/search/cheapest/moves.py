"""The table of single moves: for each query, values of one feature that cost less than the best counterfactual."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from audit.core.counterfactuals import change_of, changed
from audit.core.model import Ints, Scorer
from audit.core.neighbours import by_owner
from audit.core.policy import Policy
from audit.core.table import Floats
from audit.search.cheapest.hunt import Hunt
from audit.search.cheapest.prices import LEAST, Prices, lift

Bools = NDArray[np.bool_]

PROBED = 128
"""Values of one feature at which the probes are asked for."""

EVEN = 0.2
"""What each value counts at least, as a share of the mean change from one value to the next."""

VALUES = 4096
"""Values of one feature that are held at most to choose moves from; beyond, every so many of the sorted ones."""


class Moves(NamedTuple):
    """M single moves of n queries, by query and feature, of each feature by rising cost and rising gain.

    Attributes:
        which: shape (M,), the query.
        feature: shape (M,), the feature that moves.
        value: shape (M,), its new code.
        cost: shape (M,), what the move costs.
        gain: shape (M,), by how much it raises the log-odds of a flip, from the row as it is.
        first: shape (n * d + 1,), where the moves of each query and feature begin.
        rate: shape (n,), the best gain per cost.
        start: shape (n,), log-odds of the row as it is.
    """

    which: Ints
    feature: Ints
    value: Floats
    cost: Floats
    gain: Floats
    first: Ints
    rate: Floats
    start: Floats

    def of_queries(self, which: Ints) -> tuple[Ints, Ints]:
        """All moves of some queries (m,): positions in `which`, and of the moves."""
        d = (len(self.first) - 1) // max(len(self.rate), 1)
        return _ranges(self.first[which * d], self.first[(which + 1) * d])

    def of_features(self, which: Ints, feature: Ints) -> tuple[Ints, Ints]:
        """All moves of some queries and features (m,): positions in `which`, and of the moves."""
        d = (len(self.first) - 1) // max(len(self.rate), 1)
        return _ranges(self.first[which * d + feature], self.first[which * d + feature + 1])

    def groups(self, which: Ints) -> tuple[Ints, Ints, Ints, Ints]:
        """All features with moves of some queries (m,): position in `which`, the feature, its first and last move."""
        d = (len(self.first) - 1) // max(len(self.rate), 1)
        some = np.flatnonzero(np.diff(self.first))
        begin = np.searchsorted(some, np.arange(len(self.rate) + 1) * d)
        owner, place = _ranges(begin[which], begin[which + 1])
        group = some[place]
        return owner, group % d, self.first[group], self.first[group + 1] - 1

    def gain_within(self, which: Ints, feature: Ints, cost: Floats) -> Floats:
        """What the dearest move of some queries and features (m,) gains that costs no more; 0 where there is none."""
        if not len(self.cost):
            return np.zeros(len(which))
        d = (len(self.first) - 1) // max(len(self.rate), 1)
        begin, end = self.first[which * d + feature], self.first[which * d + feature + 1]
        low, high = begin, end
        while (low < high).any():
            middle = (low + high) // 2
            fits = (middle < high) & (self.cost[np.minimum(middle, len(self.cost) - 1)] <= cost)
            low, high = np.where(fits, middle + 1, low), np.where(fits, high, middle)
        return np.where(low > begin, self.gain[np.maximum(low - 1, 0)], 0.0)

    def dearest(self, first: Ints, last: Ints, base: Floats, bound: Floats) -> Ints:
        """Of each group of moves, `first` to `last`, the dearest with base + cost < bound, as the first has it."""
        while (first < last).any():
            middle = (first + last + 1) // 2
            fits = base + self.cost[middle] < bound
            first, last = np.where(fits, middle, first), np.where(fits, last, middle - 1)
        return first


def _ranges(start: Ints, stop: Ints) -> tuple[Ints, Ints]:
    """The numbers of some ranges one after the other, with the range that each belongs to in front."""
    sizes = stop - start
    owner = np.repeat(np.arange(len(start)), sizes)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes) + start[owner]


Probed = Callable[[Sequence[Floats]], Sequence[Floats]]
"""From the values of each feature to how much the scores change up to each of them."""


@dataclass(frozen=True)
class Grid:
    """Where each feature may be worth looking.

    Attributes:
        columns: for each of d features its candidate codes, ascending; empty where it cannot change.
        jumps: for each of them as many numbers, how much the scores change up to each of its values, summed up.
        complete: shape (d,), whether the scores of the model are constant between neighbouring ones.
    """

    policy: Policy
    columns: Sequence[Floats]
    jumps: Sequence[Floats]
    complete: Bools

    @classmethod
    def of(cls, policy: Policy, reference: Floats, splits: Sequence[Floats | None], probed: Probed) -> "Grid":
        """From the rows of the reference (m, d), or the splits of a model, (k, 2) each, where it names them."""
        columns = [cls._column(policy, j, reference[:, j], splits[j]) for j in range(len(policy.schema))]
        known = [part is not None and len(column) < VALUES for part, column in zip(splits, columns, strict=True)]
        return cls(policy, columns, probed(columns), np.array(known, dtype=bool) & (policy.step == 0))

    @staticmethod
    def _column(policy: Policy, j: int, column: Floats, splits: Floats | None) -> Floats:
        feature = policy.schema.features[j]
        if not policy.movable[j]:
            return np.empty(0)
        if feature.levels:
            return np.arange(len(feature.levels), dtype=np.float64)
        if splits is None:
            values = np.unique(column[np.isfinite(column)])
        else:
            values = np.unique([np.floor(splits[:, 0]), np.ceil(splits[:, 1])] if policy.whole[j] else splits)
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
        feature, values = self.policy.schema.features[j], self.columns[j]
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

    def between(self, j: int, x: Floats, fails: Floats, works: Floats) -> Floats:
        """From present values x an allowed value about half way between two of feature j, or one of the two."""
        middle = (fails + works) / 2
        if self.complete[j]:
            values, low, high = self.columns[j], np.minimum(fails, works), np.maximum(fails, works)
            at = np.searchsorted(values, middle)
            # The next value up, or the next down, if that lies between the two.
            up, down = values[np.minimum(at, len(values) - 1)], values[np.maximum(at - 1, 0)]
            middle = np.where((low < down) & (down < high), down, works)
            middle = np.where((low < up) & (up < high), up, middle)
            if self.policy.low[j] <= middle.min(initial=np.inf) and middle.max(initial=-np.inf) <= self.policy.high[j]:
                return middle  # allowed, for it lies between two values that are
        return np.asarray(self.policy.reach(j, x, middle))

    def _within(self, j: int, x: Floats, reach: Floats, size: int) -> Floats:
        """For each row `size` of the values, spread evenly over the places within reach of x, shape (n, size)."""
        values, scale = self.columns[j], self.policy.schema.features[j].scale
        room = np.where(np.isnan(x) | (scale <= 0), np.inf, np.maximum(reach, 0) * scale)
        here = np.where(np.isnan(x), 0.0, x)
        low = np.where(self.policy.down[j] | np.isnan(x), here - room, here)
        high = np.where(self.policy.up[j] | np.isnan(x), here + room, here)
        start = np.searchsorted(values, low)
        stop = np.maximum(np.searchsorted(values, high, side="right"), start + 1)
        start, stop = np.minimum(start, len(values) - 1), np.minimum(stop, len(values))
        jumps = self.jumps[j]
        low, high = jumps[start], jumps[stop - 1]
        place = np.searchsorted(jumps, low[:, None] + np.linspace(0, 1, size) * (high - low)[:, None])
        # A jump lies between two values: on the way up the upper one is beyond it, on the way down the lower.
        place = place - (np.minimum(place, len(values) - 1) < np.searchsorted(values, here, side="right")[:, None])
        return np.asarray(values[np.clip(place, start[:, None], stop[:, None] - 1)])


Chosen = Callable[[Hunt, tuple[Ints, Ints, Floats, Floats]], Ints]
"""From moves (query, feature, value, cost) to the positions of those that are worth asking for."""


def single_moves(hunt: Hunt, grid: Grid, size: int, chosen: Chosen | None = None) -> Moves:
    """The moves of all queries of the hunt that are worth their cost, asked for in one call.

    Args:
        size: values of an ordered feature that are looked at for each query.
        chosen: leaves moves out beforehand; absent: all are asked for.
    """
    n, d = hunt.rows.shape
    which, feature, value, cost = asked = _table(hunt, grid, size)
    if chosen is not None:
        some = chosen(hunt, asked)
        which, feature, value, cost = which[some], feature[some], value[some], cost[some]
    start = hunt.start()
    codes = hunt.rows[which]
    codes[np.arange(len(codes)), feature] = value
    lifts, _ = hunt.ask(which, codes)
    gain = lifts - start[which]
    # What has become too dear since, or gains nothing over a cheaper move of the feature, is of no use.
    group = which * d + feature
    useful = np.flatnonzero((gain > 0) & (cost < hunt.bound[which]))
    order = useful[by_owner(cost[useful], group[useful])]
    order = order[_record(group[order], gain[order])]
    which, feature, value, cost, gain = which[order], feature[order], value[order], cost[order], gain[order]
    rate = np.full(n, LEAST)
    np.maximum.at(rate, which, gain / np.maximum(cost, LEAST))
    first = np.append(0, np.cumsum(np.bincount(group[order], minlength=n * d)))
    return Moves(which, feature, value, cost, gain, first, rate, start)


def _table(hunt: Hunt, grid: Grid, size: int) -> tuple[Ints, Ints, Floats, Floats]:
    """Query, feature, value and cost of all moves that cost less than the bound."""
    d = hunt.rows.shape[1]
    tables = [grid.moves(j, hunt.prices, hunt.rows[:, j], hunt.bound, size) for j in range(d)]
    places = [np.nonzero(np.isfinite(cost)) for _, cost in tables]
    feature = np.repeat(np.arange(d), [len(at[0]) for at in places])
    which = np.concatenate([at[0] for at in places])
    value = np.concatenate([table[0][at] for table, at in zip(tables, places, strict=True)])
    cost = np.concatenate([table[1][at] for table, at in zip(tables, places, strict=True)])
    return which, feature, value, cost


def _record(group: Ints, gain: Floats) -> Ints:
    """The positions at which a gain is higher than all before it of the same group; groups stand together."""
    if not len(group):
        return np.empty(0, dtype=np.int64)
    # Ranks are whole numbers: with the number of the group in front, no group meets the one before it.
    values, inverse = np.unique(gain, return_inverse=True)
    place = np.cumsum(np.diff(group, prepend=group[0]) > 0) * len(values) + inverse
    top = np.maximum.accumulate(place)
    return np.flatnonzero(np.concatenate([[True], place[1:] > top[:-1]]))


def jumps(scorer: Scorer, rows: Floats, values: Sequence[Floats]) -> list[Floats]:
    """How much the log-odds of some rows (k, d) change up to each value of each feature, summed up.

    Of many values some are asked for; what changes between two of these is spread evenly over the values between.
    Square roots are summed, so that small changes are not lost beside a large one, and a little is added for each
    value, so that none is passed over where nothing changes.
    """
    decision = scorer.decision
    before = decision.outcome(scorer.probabilities(rows))
    places = [np.unique(np.linspace(0, len(v) - 1, min(len(v), PROBED)).astype(np.int64)) for v in values]
    blocks = []
    for j, (column, at) in enumerate(zip(values, places, strict=True)):
        codes = np.repeat(rows[:, None, :], len(at), axis=1)
        codes[:, :, j] = column[at]
        blocks.append(codes.reshape(-1, rows.shape[1]))
    owner = np.concatenate([np.repeat(np.arange(len(rows)), len(at)) for at in places])
    lifts = lift(decision, scorer.probabilities(np.concatenate(blocks)), before[owner])
    parts = np.split(lifts, np.cumsum([len(block) for block in blocks])[:-1])
    return [_summed(at, part.reshape(len(rows), -1)) for at, part in zip(places, parts, strict=True)]


def _summed(places: Ints, lifts: Floats) -> Floats:
    """What changes up to each value, from log-odds (k, m) at m of their places."""
    if not len(places):
        return np.empty(0)
    gaps = np.diff(places)
    each = np.sqrt(np.append(0.0, np.repeat(np.abs(np.diff(lifts, axis=1)).mean(axis=0) / gaps, gaps)))
    return np.asarray(np.cumsum(each + EVEN * max(float(each.mean()), LEAST)))
