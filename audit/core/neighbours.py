"""What searches by neighbours share: reference rows of another outcome, moved to what the constraints allow."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from audit.core.counterfactuals import change_of, changed, distance
from audit.core.method import Context
from audit.core.model import Decision, Ints, Scorer
from audit.core.policy import Policy
from audit.core.table import Floats

Bools = NDArray[np.bool_]

CELLS = 2_000_000
"""Numbers that a block holds at most in one array, so that memory stays flat however many rows there are."""

NO_FLIP = "no row of the reference data flips the outcome within the constraints"
NO_POOL = "no row of the reference data has another outcome"


@dataclass
class Asked:
    """The model, asked for rows that belong to queries.

    Attributes:
        rows: shape (n,), rows that the model evaluated for each query.
    """

    model: Scorer
    rows: Ints

    def probabilities(self, query: Ints, codes: Floats) -> Floats:
        """Class probabilities, shape (m, C), of rows (m, d) of the queries (m,); equal ones are asked for once."""
        first, place = distinct(query, codes)
        return self.each(query[first], codes[first])[place]

    def each(self, query: Ints, codes: Floats) -> Floats:
        """Class probabilities, shape (m, C), of rows that are known to differ."""
        self.rows += np.bincount(query, minlength=len(self.rows))
        return self.model.probabilities(codes)

    def count(self, query: Ints) -> None:
        """Counts a row for each of the queries, which was asked for something other than probabilities."""
        self.rows += np.bincount(query, minlength=len(self.rows))
        self.model.rows += len(query)
        self.model.calls += 1


class Trial(NamedTuple):
    """What trying every allowed combination of values of a query gave.

    Attributes:
        flips: shape (m, d), the combinations that flip, the nearest first; empty where nothing was tried.
        proof: why the query has no counterfactual, where that is proven.
    """

    flips: Floats
    proof: str | None = None


@dataclass
class Queries:
    """The rows of a part for which a search looks.

    Attributes:
        rows: shape (n, d).
        before: shape (n,), their outcomes.
    """

    rows: Floats
    before: Ints
    policy: Policy
    decision: Decision
    asked: Asked

    def distances(self, block: Ints, pool: Floats, weights: Floats | None = None) -> Floats:
        """Gower distance from each query to the projection of each row of the pool; infinite where it is itself.

        Args:
            weights: shape (d,), what a change of each feature counts; 1 where absent.
        """
        total = np.zeros((len(block), len(pool)))
        for j, feature in enumerate(self.policy.schema.features):
            if not self.policy.movable[j]:
                continue
            # Columns repeat values; every pair of distinct ones is projected once.
            x, x_place = np.unique(self.rows[block, j], return_inverse=True)
            target, target_place = np.unique(pool[:, j], return_inverse=True)
            sizes = change_of(feature, x[:, None], self.policy.reach(j, x[:, None], target[None, :]))
            sizes = sizes if weights is None else sizes * weights[j]
            total += sizes.take(x_place, axis=0).take(target_place, axis=1)
        total[total == 0] = np.inf
        return total / max(len(self.policy.schema), 1)

    def goals(self, queries: Ints, neighbours: Floats) -> tuple[Ints, Floats]:
        """Which projected neighbours (b, m, d) of the queries (b,) flip and break no rule, as (position, codes)."""
        b, m, d = neighbours.shape
        which = np.repeat(np.arange(b), m)
        wanted = neighbours.reshape(-1, d)
        x = self.rows[queries[which]]
        goal = self.policy.project(x, wanted)
        unseen = np.zeros(len(goal), dtype=bool)
        unseen[first_of_equal(row_keys(which, goal))] = True
        fit = unseen & changed(x, goal).any(axis=1) & self.policy.obeys(goal)
        # A neighbour that the projection leaves as it is was scored with the reference.
        doubt = np.flatnonzero(fit & changed(wanted, goal).any(axis=1))
        if len(doubt):
            query = queries[which[doubt]]
            P = self.asked.each(query, goal[doubt])
            fit[doubt] = self.decision.flipped(P, self.before[query])
        return which[fit], goal[fit]

    def try_all(self, query: int, limit: int) -> Trial:
        """Tries every allowed combination of values of a query, where there are at most `limit`."""
        x = self.rows[query]
        combinations = self._combinations(x, limit)
        if combinations is None:
            return Trial(np.empty((0, len(x))))
        ways = combinations[changed(np.broadcast_to(x, combinations.shape), combinations).any(axis=1)]
        lawful = ways[self.policy.obeys(ways)]
        owner = np.full(len(lawful), query)
        P, before = self.asked.probabilities(owner, lawful), self.before[owner]
        flips = lawful[self.decision.flipped(P, before)]
        order = distance(self.policy.schema, np.broadcast_to(x, flips.shape), flips)
        proven = not len(flips) and (self.decision.outcome(P) == before).all()
        return Trial(flips[order.argsort(kind="stable")], _proof(len(ways), len(lawful)) if proven else None)

    def _combinations(self, x: Floats, limit: int) -> Floats | None:
        """Every combination of values that the features may take one by one; None: more than `limit`."""
        options: list[Floats] = []
        size = 1
        for j, value in enumerate(x):
            values = self.policy.options(j, float(value), limit)
            if values is None or (size := size * len(values)) > limit:
                return None
            options.append(values)
        return np.stack(np.meshgrid(*options, indexing="ij"), axis=-1).reshape(-1, len(x))


def chosen_rows(n: int, limit: int, seed: int) -> Ints:
    """Positions of at most `limit` of n rows, in order, drawn with their own seed: every part draws the same."""
    if n <= limit:
        return np.arange(n)
    rng = np.random.default_rng([seed, n])
    return np.sort(rng.choice(n, limit, replace=False))


def unlike_pools(ctx: Context, chosen: Ints, outcomes: Ints) -> Iterator[tuple[int, Floats]]:
    """For each outcome the distinct ones of the chosen rows of the reference that have another, shape (m, d)."""
    inputs = ctx.inputs
    codes = inputs.reference.codes[chosen]
    # Without training data the reference is the evaluation data, which were scored before.
    P = ctx.model.probabilities(codes) if inputs.train is not None else inputs.scores[chosen]
    for outcome in np.unique(outcomes):
        unlike = codes[inputs.decision.flipped(P, np.full(len(codes), outcome))]
        yield int(outcome), unlike[np.sort(distinct(np.zeros(len(unlike), dtype=np.int64), unlike)[0])]


def _proof(ways: int, lawful: int) -> str:
    """The reason why a row whose combinations were all tried has no counterfactual."""
    if not ways:
        return "the constraints let no feature of this row change"
    if not lawful:
        return "every allowed change of this row breaks a rule across features"
    return "every allowed combination of values was tried, and all keep the outcome"


def blocks(items: Ints, width: int) -> Iterator[Ints]:
    """The items in blocks that hold about CELLS numbers, at `width` numbers each."""
    size = max(1, CELLS // max(width, 1))
    for start in range(0, len(items), size):
        yield items[start : start + size]


def rank(owner: Ints | NDArray[np.uint64]) -> Ints:
    """For each entry its position among those of the same owner, who stand together."""
    starts = run_starts(owner)
    return np.asarray(np.arange(len(owner)) - np.repeat(starts, np.diff(np.append(starts, len(owner)))))


def run_starts(owner: Ints | NDArray[np.uint64]) -> Ints:
    """Where a run of equal entries starts."""
    new = np.ones(len(owner), dtype=bool)
    np.not_equal(owner[1:], owner[:-1], out=new[1:])
    return np.flatnonzero(new)


def by_owner(values: Floats, owner: Ints) -> Ints:
    """The order by owner, and of each owner by value, equal ones as they stood: `np.lexsort((values, owner))`.

    Each owner is a line of a table that is sorted line by line, which costs less; few values of each are sorted.
    """
    if not len(owner):
        return np.empty(0, dtype=np.int64)
    # Owners mostly ascend, or do so in a few runs.
    order = np.argsort(owner, kind="stable") if (owner[1:] < owner[:-1]).any() else np.arange(len(owner))
    starts = run_starts(owner[order])
    sizes = np.diff(np.append(starts, len(order)))
    width = int(sizes.max())
    if width * len(starts) > 4 * len(order) + CELLS // 100:
        return np.lexsort((values, owner))
    table = np.full((len(starts), width), np.inf)
    taken = np.arange(width) < sizes[:, None]
    table[taken] = values[order]
    inside = table.argsort(axis=1, kind="stable")
    return np.asarray(order[(inside + starts[:, None])[taken]])


def first(distances: Floats, m: int) -> Ints:
    """The positions of the m smallest of each row, shape (b, m), in order; ties by position."""
    width = distances.shape[1]
    if m >= width:
        return distances.argsort(axis=1, kind="stable")
    bar = np.partition(distances, m - 1, axis=1)[:, m - 1 : m]
    below, tied = distances < bar, distances == bar
    room = m - below.sum(axis=1, keepdims=True)
    chosen = below | (tied & (tied.cumsum(axis=1) <= room))
    columns = np.nonzero(chosen)[1].reshape(-1, m)
    order = np.take_along_axis(distances, columns, axis=1).argsort(axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1)


def distinct(owner: Ints, codes: Floats) -> tuple[Ints, Ints]:
    """The first of equal rows of one owner, and for each row the place of its like among them.

    Rows are compared by a hash of 64 bits; where two different rows should share one, no row is taken for another.
    """
    _, first, place = np.unique(row_keys(owner, codes), return_index=True, return_inverse=True)
    if changed(codes[first][place], codes).any() or (owner[first][place] != owner).any():
        return np.arange(len(codes)), np.arange(len(codes))
    return first, place


def first_of_equal(keys: NDArray[np.uint64]) -> Ints:
    """The positions of those keys that no equal one precedes, in no order."""
    if not len(keys):
        return np.empty(0, dtype=np.int64)
    # The sort that keeps no order among equals is much the fastest.
    order = np.argsort(keys)
    return np.asarray(np.minimum.reduceat(order, run_starts(keys[order])))


def row_keys(owner: Ints, codes: Floats) -> NDArray[np.uint64]:
    """A hash of 64 bits of each row (m, d) and its owner, shape (m,)."""
    # Column by column, so that each is read where it lies; adding 0 makes one of both zeros.
    columns = np.add(codes.T, 0.0, order="C").view(np.uint64)
    key = owner.astype(np.uint64)
    for word in columns:
        key ^= word
        np.right_shift(word, np.uint64(32), out=word)
        key ^= word
        key *= np.uint64(0x9E3779B97F4A7C15)
        np.right_shift(key, np.uint64(29), out=word)
        key ^= word
    return key
