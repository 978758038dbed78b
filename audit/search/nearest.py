"""Counterfactuals by nearest unlike neighbours: FLEX's default generator, for all rows of a part at once."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from audit.core.choice import Choice, choices_table
from audit.core.counterfactuals import Found, changed, distance
from audit.core.method import Context, Generator
from audit.core.model import Ints
from audit.core.neighbours import (
    NO_FLIP,
    NO_POOL,
    Asked,
    Queries,
    blocks,
    chosen_rows,
    distinct,
    first,
    rank,
    unlike_pools,
)
from audit.core.table import Floats, Table

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
        asked = Asked(ctx.model, np.zeros(len(rows), dtype=np.int64))
        search = _Search(Queries(rows.codes, before, policy, ctx.inputs.decision, asked), self.per_row)
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
        chosen = chosen_rows(n, self.reference_rows, self.reference_seed)
        self._look_among(ctx, search, chosen, np.arange(len(search.queries.rows)))
        if len(chosen) < n and len(missed := search.missed()):
            self._look_among(ctx, search, np.arange(n), missed)
        for query in search.missed():
            search.try_all(int(query), self.proof_rows)

    def _look_among(self, ctx: Context, search: "_Search", chosen: Ints, queries: Ints) -> None:
        """Looks for counterfactuals of the queries among the chosen rows of the reference."""
        before = search.queries.before[queries]
        for outcome, pool in unlike_pools(ctx, chosen, before):
            for block in blocks(queries[before == outcome], max(len(pool), search.width)):
                search.look(block, pool, (0, self.per_row, WIDE, len(pool)))
                ctx.tick(len(search.queries.rows) - len(search.missed()), len(search.queries.rows))


@dataclass
class _Search:
    """The search for all rows of a part.

    Attributes:
        wanted: counterfactuals wanted per query.
        found: pieces of (query, codes), each in the order of its goals.
        proven: the queries for which it is proven that there is no counterfactual.
        reasons: why a query has none.
    """

    queries: Queries
    wanted: int
    found: list[tuple[Ints, Floats]] = field(default_factory=list)
    proven: set[int] = field(default_factory=set)
    reasons: dict[int, str] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """Numbers that the greedy steps hold for one query at most."""
        return self.wanted * int(self.queries.rows.shape[1]) ** 2

    def missed(self) -> Ints:
        """The queries that have no counterfactual yet."""
        hit = np.zeros(len(self.queries.rows), dtype=bool)
        for query, _ in self.found:
            hit[query] = True
        return np.flatnonzero(~hit)

    def look(self, block: Ints, pool: Floats, stops: tuple[int, ...]) -> None:
        """Counterfactuals for a block of queries from their nearest rows of the pool, wider where they are few.

        Args:
            stops: how many neighbours are tried at first, where these were too few, and where these gave none.
        """
        if not len(pool):
            self.reasons.update(dict.fromkeys(map(int, block), NO_POOL))
            return
        distances = self.queries.distances(block, pool)
        goals: list[tuple[Ints, Floats]] = []
        count = np.zeros(len(block), dtype=np.int64)
        for stage, (start, stop) in enumerate(pairwise(min(s, len(pool)) for s in stops)):
            short = np.flatnonzero(count < (self.wanted if stage < 2 else 1))
            if start == stop or not len(short):
                continue
            for part in blocks(short, (stop - start) * self.queries.rows.shape[1]):
                order = first(distances[part], stop)[:, start:]
                which, codes = self.queries.goals(block[part], pool[order])
                goals.append((block[part][which], codes))
                count[part] += np.bincount(which, minlength=len(part))
        self._settle(goals)

    def _settle(self, goals: list[tuple[Ints, Floats]]) -> None:
        """Keeps the nearest goals of each query, as many as are wanted, and makes them sparse."""
        if not goals:
            return
        query = np.concatenate([q for q, _ in goals])
        codes = np.concatenate([c for _, c in goals])
        order = np.argsort(query, kind="stable")
        query, codes = query[order], codes[order]
        kept = np.sort(distinct(query, codes)[0])
        kept = kept[rank(query[kept]) < self.wanted]
        if len(kept):
            self.found.append((query[kept], self._sparse(query[kept], codes[kept])))

    def _sparse(self, query: Ints, goal: Floats) -> Floats:
        """Each goal with as few features changed as greedy copying from the query finds; shape (m, d)."""
        state = self.queries.rows[query]
        left = changed(state, goal)
        answer = goal.copy()
        live = np.arange(len(goal))
        # Where one feature is left, copying it gives the goal, which is known to flip.
        while len(live := live[left[live].sum(axis=1) > 1]):
            pair, feature = np.nonzero(left[live])
            row = live[pair]
            tried = state[row]
            tried[np.arange(len(row)), feature] = goal[row, feature]
            P = self.queries.asked.probabilities(query[row], tried)
            away = np.full((len(live), goal.shape[1]), -np.inf)
            away[pair, feature] = self.queries.decision.away(P, self.queries.before[query[row]])
            best = away.argmax(axis=1)
            state[live, best] = goal[live, best]
            left[live, best] = False
            chosen = np.flatnonzero(feature == best[pair])
            flips = self.queries.decision.flipped(P[chosen], self.queries.before[query[live]])
            done = flips & self.queries.policy.obeys(state[live])
            answer[live[done]] = state[live[done]]
            live = live[~done]
        return answer

    def try_all(self, query: int, limit: int) -> None:
        """Tries every allowed combination of values of a query, where there are at most `limit`."""
        self.reasons.setdefault(query, NO_FLIP)
        trial = self.queries.try_all(query, limit)
        if len(trial.flips):
            self._settle([(np.full(len(trial.flips), query), trial.flips)])
        elif trial.proof is not None:
            self.proven.add(query)
            self.reasons[query] = trial.proof

    def best(self) -> tuple[Ints, Floats]:
        """The distinct counterfactuals as (query, codes), of each query the nearest first, as many as are wanted."""
        query = np.concatenate([np.empty(0, dtype=np.int64), *(q for q, _ in self.found)])
        codes = np.concatenate([np.empty((0, self.queries.rows.shape[1])), *(c for _, c in self.found)])
        order = np.lexsort((distance(self.queries.policy.schema, self.queries.rows[query], codes), query))
        query, codes = query[order], codes[order]
        kept = np.sort(distinct(query, codes)[0])
        kept = kept[rank(query[kept]) < self.wanted]
        return query[kept], codes[kept]
