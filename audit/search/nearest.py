"""Counterfactuals by nearest unlike neighbours: FLEX's default generator, for all rows of a part at once."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from audit.core.choice import Choice, choices_table
from audit.core.counterfactuals import Found, change_of, changed, distance
from audit.core.method import Context, Generator
from audit.core.model import Decision, Ints, Scorer
from audit.core.policy import Policy
from audit.core.table import Floats, Table

Bools = NDArray[np.bool_]

CHOICES = (
    Choice(
        "NEAREST-01", "reference rows looked at first", "2000", "distances cost little more, and gain little, beyond"
    ),
    Choice("NEAREST-02", "counterfactuals per row", "10", "the original search gives one; FLEX counts over several"),
    Choice("NEAREST-03", "constraints on a neighbour", "projected", "each value moves to the nearest one allowed"),
    Choice(
        "NEAREST-04", "neighbours for rows with few", "200, then all", "a row is given up only when all have failed"
    ),
    Choice("NEAREST-05", "ties", "first row, first feature", "the result must not depend on how rows are batched"),
    Choice("NEAREST-06", "a flipped row that breaks a rule", "copying goes on", "a broken rule is no counterfactual"),
    Choice("NEAREST-07", "combinations tried for a proof", "5000", "infeasible is said only where it is proven"),
)

WIDE = 200
"""Neighbours that are tried where the first `per_row` do not give as many counterfactuals."""

CELLS = 2_000_000
"""Numbers that a block holds at most in one array, so that memory stays flat however many rows there are."""


class Nearest(Generator):
    """K nearest rows of the reference with another outcome, made allowed, then made as like the row as they can be.

    1. Reference rows with another outcome are projected on what the constraints allow for the row; the K nearest to
       the row, by Gower distance to their projection, that still have another outcome and break no rule are its goals.
    2. From the row, the one remaining differing feature that most raises P(not the present outcome) is copied from
       the goal, again and again, until the outcome flips and no rule across features is broken. Values are copied,
       never refined.
    3. Where nothing was found: up to 200 neighbours are tried, then every row of the reference. If that fails too and
       the row has at most `proof_rows` allowed combinations of values, all are tried, which finds a counterfactual
       or proves that there is none.

    Assumes: nothing of the model but its scores. Without constraints a counterfactual is found whenever a reference
    row has another outcome.

    Reference: `methods/flex` 3.2 (1); D. Brughmans, P. Leyman and D. Martens, NICE: an algorithm for nearest instance
    counterfactual explanations, Data Mining and Knowledge Discovery 38 (2024). The original gives one counterfactual.

    Attributes:
        reference_rows: so many rows of the reference are looked at first, drawn once with `reference_seed`, so that
            every part, and every row alone, meets the same neighbours; the others are looked at for misses only.
        proof_rows: the largest number of allowed combinations that is tried in full; 0: never.
    """

    search: Literal["nearest"] = "nearest"
    reference_rows: int = Field(default=2_000, ge=1)
    reference_seed: int = Field(default=0, ge=0)
    proof_rows: int = Field(default=5_000, ge=0)

    cites: ClassVar[tuple[str, ...]] = (
        "FLEX: Feature Importance from Layered Counterfactual Explanations, arXiv 2511.11891",
        "NICE: an algorithm for nearest instance counterfactual explanations, doi 10.1007/s10618-023-00930-y",
    )

    def choices(self) -> pd.DataFrame:
        values = {"NEAREST-01": self.reference_rows, "NEAREST-02": self.per_row, "NEAREST-07": self.proof_rows}
        return choices_table(CHOICES, {name: str(value) for name, value in values.items()})

    def generate(self, ctx: Context, rows: Table, before: Ints) -> Found:
        policy = self.constraint(ctx.inputs.policy)
        asked = _Asked(ctx.model, np.zeros(len(rows), dtype=np.int64))
        search = _Search(rows.codes, before, policy, ctx.inputs.decision, asked, self.per_row)
        spent = ctx.model.rows
        if len(rows):
            self._look(ctx, search)
        shared = ctx.model.rows - spent - int(asked.rows.sum())
        row, codes = search.best()
        hit = np.bincount(row, minlength=len(rows)) > 0
        reasons = [search.reasons.get(i, "") if not hit[i] else "" for i in range(len(rows))]
        proven = np.array([i in search.proven for i in range(len(rows))], dtype=bool)
        return Found(row, codes, proven & ~hit, reasons, asked.rows, shared)

    def _look(self, ctx: Context, search: "_Search") -> None:
        n = len(ctx.inputs.reference)
        chosen = self._chosen(n)
        self._look_among(ctx, search, chosen, np.arange(len(search.rows)))
        if len(chosen) < n and len(missed := search.missed()):
            self._look_among(ctx, search, np.arange(n), missed)
        for query in search.missed():
            search.try_all(int(query), self.proof_rows)

    def _look_among(self, ctx: Context, search: "_Search", chosen: Ints, queries: Ints) -> None:
        """Looks for counterfactuals of the queries among the chosen rows of the reference."""
        inputs = ctx.inputs
        codes = inputs.reference.codes[chosen]
        # Without training data the reference is the evaluation data, which were scored before.
        P = ctx.model.probabilities(codes) if inputs.train is not None else inputs.scores[chosen]
        for outcome in np.unique(search.before[queries]):
            unlike = codes[inputs.decision.flipped(P, np.full(len(codes), outcome))]
            pool = unlike[np.sort(_distinct(np.zeros(len(unlike), dtype=np.int64), unlike)[0])]
            for block in _blocks(queries[search.before[queries] == outcome], max(len(pool), search.width)):
                search.look(block, pool, (0, self.per_row, WIDE, len(pool)))
                ctx.tick(len(search.rows) - len(search.missed()), len(search.rows))

    def _chosen(self, n: int) -> Ints:
        if n <= self.reference_rows:
            return np.arange(n)
        rng = np.random.default_rng([self.reference_seed, n])
        return np.sort(rng.choice(n, self.reference_rows, replace=False))


@dataclass
class _Asked:
    """The model, asked for rows that belong to queries; equal rows of one query are asked for once.

    Attributes:
        rows: shape (n,), rows that the model evaluated for each query.
    """

    model: Scorer
    rows: Ints

    def probabilities(self, query: Ints, codes: Floats) -> Floats:
        """Class probabilities, shape (m, C), of rows (m, d) that belong to the queries (m,)."""
        first, place = _distinct(query, codes)
        self.rows += np.bincount(query[first], minlength=len(self.rows))
        return self.model.probabilities(codes[first])[place]


@dataclass
class _Search:
    """The search for all rows of a part.

    Attributes:
        rows: shape (n, d), the queries.
        before: shape (n,), their outcomes.
        wanted: counterfactuals wanted per query.
        found: pieces of (query, codes), each in the order of its goals.
        proven: the queries for which it is proven that there is no counterfactual.
        reasons: why a query has none.
    """

    rows: Floats
    before: Ints
    policy: Policy
    decision: Decision
    asked: _Asked
    wanted: int
    found: list[tuple[Ints, Floats]] = field(default_factory=list)
    proven: set[int] = field(default_factory=set)
    reasons: dict[int, str] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """Numbers that the greedy steps hold for one query at most."""
        return self.wanted * int(self.rows.shape[1]) ** 2

    def missed(self) -> Ints:
        """The queries that have no counterfactual yet."""
        hit = np.zeros(len(self.rows), dtype=bool)
        for query, _ in self.found:
            hit[query] = True
        return np.flatnonzero(~hit)

    def look(self, block: Ints, pool: Floats, stops: tuple[int, ...]) -> None:
        """Counterfactuals for a block of queries from their nearest rows of the pool, wider where they are few.

        Args:
            stops: how many neighbours are tried at first, where these were too few, and where these gave none.
        """
        if not len(pool):
            self.reasons.update(dict.fromkeys(map(int, block), "no row of the reference data has another outcome"))
            return
        distances = self._distances(block, pool)
        goals: list[tuple[Ints, Floats]] = []
        count = np.zeros(len(block), dtype=np.int64)
        for stage, (start, stop) in enumerate(pairwise(min(s, len(pool)) for s in stops)):
            short = np.flatnonzero(count < (self.wanted if stage < 2 else 1))
            if start == stop or not len(short):
                continue
            for part in _blocks(short, (stop - start) * self.rows.shape[1]):
                order = _first(distances[part], stop)[:, start:]
                which, codes = self._goals(block[part], pool[order])
                goals.append((block[part][which], codes))
                count[part] += np.bincount(which, minlength=len(part))
        self._settle(goals)

    def _distances(self, block: Ints, pool: Floats) -> Floats:
        """Gower distance from each query to the projection of each row of the pool; infinite where it is itself."""
        total = np.zeros((len(block), len(pool)))
        for j, feature in enumerate(self.policy.schema.features):
            if not self.policy.movable[j]:
                continue
            # Columns repeat values; every pair of distinct ones is projected once.
            x, x_place = np.unique(self.rows[block, j], return_inverse=True)
            target, target_place = np.unique(pool[:, j], return_inverse=True)
            sizes = change_of(feature, x[:, None], self.policy.reach(j, x[:, None], target[None, :]))
            total += sizes.take(x_place, axis=0).take(target_place, axis=1)
        total[total == 0] = np.inf
        return total / max(len(self.policy.schema), 1)

    def _goals(self, queries: Ints, neighbours: Floats) -> tuple[Ints, Floats]:
        """Which projected neighbours (b, m, d) of the queries (b,) flip and break no rule, as (position, codes)."""
        b, m, d = neighbours.shape
        which = np.repeat(np.arange(b), m)
        wanted = neighbours.reshape(-1, d)
        x = self.rows[queries[which]]
        goal = self.policy.project(x, wanted)
        unseen = np.zeros(len(goal), dtype=bool)
        unseen[_distinct(which, goal)[0]] = True
        fit = unseen & changed(x, goal).any(axis=1) & self.policy.obeys(goal)
        # A neighbour that the projection leaves as it is was scored with the reference.
        doubt = np.flatnonzero(fit & changed(wanted, goal).any(axis=1))
        if len(doubt):
            query = queries[which[doubt]]
            P = self.asked.probabilities(query, goal[doubt])
            fit[doubt] = self.decision.flipped(P, self.before[query])
        return which[fit], goal[fit]

    def _settle(self, goals: list[tuple[Ints, Floats]]) -> None:
        """Keeps the nearest goals of each query, as many as are wanted, and makes them sparse."""
        if not goals:
            return
        query = np.concatenate([q for q, _ in goals])
        codes = np.concatenate([c for _, c in goals])
        order = np.argsort(query, kind="stable")
        query, codes = query[order], codes[order]
        kept = np.sort(_distinct(query, codes)[0])
        kept = kept[_rank(query[kept]) < self.wanted]
        if len(kept):
            self.found.append((query[kept], self._sparse(query[kept], codes[kept])))

    def _sparse(self, query: Ints, goal: Floats) -> Floats:
        """Each goal with as few features changed as greedy copying from the query finds; shape (m, d)."""
        state = self.rows[query]
        left = changed(state, goal)
        answer = goal.copy()
        live = np.arange(len(goal))
        # Where one feature is left, copying it gives the goal, which is known to flip.
        while len(live := live[left[live].sum(axis=1) > 1]):
            pair, feature = np.nonzero(left[live])
            row = live[pair]
            tried = state[row]
            tried[np.arange(len(row)), feature] = goal[row, feature]
            P = self.asked.probabilities(query[row], tried)
            away = np.full((len(live), goal.shape[1]), -np.inf)
            away[pair, feature] = self.decision.away(P, self.before[query[row]])
            best = away.argmax(axis=1)
            state[live, best] = goal[live, best]
            left[live, best] = False
            chosen = np.flatnonzero(feature == best[pair])
            done = self.decision.flipped(P[chosen], self.before[query[live]]) & self.policy.obeys(state[live])
            answer[live[done]] = state[live[done]]
            live = live[~done]
        return answer

    def try_all(self, query: int, limit: int) -> None:
        """Tries every allowed combination of values of a query, where there are at most `limit`."""
        self.reasons.setdefault(query, "no row of the reference data flips the outcome within the constraints")
        combinations = self._combinations(self.rows[query], limit)
        if combinations is None:
            return
        x = np.broadcast_to(self.rows[query], combinations.shape)
        ways = combinations[changed(x, combinations).any(axis=1)]
        lawful = ways[self.policy.obeys(ways)]
        owner = np.full(len(lawful), query)
        P, before = self.asked.probabilities(owner, lawful), self.before[owner]
        flips = lawful[self.decision.flipped(P, before)]
        if len(flips):
            order = distance(self.policy.schema, np.broadcast_to(self.rows[query], flips.shape), flips)
            nearest = flips[order.argsort(kind="stable")]
            self._settle([(owner[: len(nearest)], nearest)])
        elif (self.decision.outcome(P) == before).all():
            self.proven.add(query)
            self.reasons[query] = _proof(len(ways), len(lawful))

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

    def best(self) -> tuple[Ints, Floats]:
        """The distinct counterfactuals as (query, codes), of each query the nearest first, as many as are wanted."""
        query = np.concatenate([np.empty(0, dtype=np.int64), *(q for q, _ in self.found)])
        codes = np.concatenate([np.empty((0, self.rows.shape[1])), *(c for _, c in self.found)])
        order = np.lexsort((distance(self.policy.schema, self.rows[query], codes), query))
        query, codes = query[order], codes[order]
        kept = np.sort(_distinct(query, codes)[0])
        kept = kept[_rank(query[kept]) < self.wanted]
        return query[kept], codes[kept]


def _proof(ways: int, lawful: int) -> str:
    """The reason why a row whose combinations were all tried has no counterfactual."""
    if not ways:
        return "the constraints let no feature of this row change"
    if not lawful:
        return "every allowed change of this row breaks a rule across features"
    return "every allowed combination of values was tried, and all keep the outcome"


def _blocks(items: Ints, width: int) -> Iterator[Ints]:
    """The items in blocks that hold about CELLS numbers, at `width` numbers each."""
    size = max(1, CELLS // max(width, 1))
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _rank(owner: Ints) -> Ints:
    """For each entry its position among those of the same owner, who stand together."""
    if not len(owner):
        return owner
    starts = np.flatnonzero(np.diff(owner, prepend=owner[0] - 1))
    return np.arange(len(owner)) - np.repeat(starts, np.diff(np.append(starts, len(owner))))


def _first(distances: Floats, m: int) -> Ints:
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


def _distinct(owner: Ints, codes: Floats) -> tuple[Ints, Ints]:
    """The first of equal rows of one owner, and for each row the place of its like among them.

    Rows are compared by a hash of 64 bits; where two different rows should share one, no row is taken for another.
    """
    bits = np.ascontiguousarray(codes + 0.0).view(np.uint64)
    key = owner.astype(np.uint64)
    for j in range(codes.shape[1]):
        key = (key ^ (bits[:, j] ^ (bits[:, j] >> np.uint64(32)))) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(29)
    _, first, place = np.unique(key, return_index=True, return_inverse=True)
    if changed(codes[first][place], codes).any() or (owner[first][place] != owner).any():
        return np.arange(len(codes)), np.arange(len(codes))
    return first, place
