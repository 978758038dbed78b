"""Counterfactuals that cost as little as a search over combinations of changes finds, for all rows at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np
import pandas as pd
from pydantic import Field

from audit.core.choice import Choice, choices_table
from audit.core.counterfactuals import Found
from audit.core.method import Context, Generator, Refusal
from audit.core.model import Ints, Thresholds
from audit.core.neighbours import NO_FLIP, NO_POOL, Asked, Queries, blocks, chosen_rows, first, rank, unlike_pools
from audit.core.policy import Policy
from audit.core.schema import FeatureSchema
from audit.core.table import Floats, Table
from audit.search.cheapest.beam import expand, singles
from audit.search.cheapest.hunt import Hunt
from audit.search.cheapest.mixtures import MIXTURES, NO_MIXTURE, Mixtures
from audit.search.cheapest.moves import Grid, jumps, single_moves
from audit.search.cheapest.plausible import IMPLAUSIBLE, Bound
from audit.search.cheapest.polish import revert, shrink, sparsify, trade
from audit.search.cheapest.prices import Prices
from audit.search.cheapest.slopes import Slopes

NUMBERS = 20_000_000
"""Numbers that the single moves of all rows of a chunk hold at most."""

PROBES = 4
"""Rows of the reference on which it is tried out where the scores change as one feature does."""

NEIGHBOURS = 6
"""Neighbours that are asked for at first; the nearest that flip are where the search starts."""

WIDE = 200
"""Neighbours that are asked for where the first give no start."""

CHOICES = (
    Choice("CHEAPEST-01", "cost", "sum of scaled changes", "Gower's distance times the number of features"),
    Choice("CHEAPEST-02", "cost of changing a feature at all", "0.02", "fewer features for hardly longer ways"),
    Choice("CHEAPEST-03", "effort", "fast", "quality asks for about twice as many rows for a few percent of cost"),
    Choice("CHEAPEST-04", "counterfactuals per row", "1", "further ones change another set of features each"),
    Choice("CHEAPEST-05", "reference rows looked at first", "1000", "they bound the cost; more hardly change the end"),
    Choice("CHEAPEST-06", "values that moves are chosen from", "data, or splits", "splits where the model names them"),
    Choice("CHEAPEST-07", "ties", "first found", "the result must not depend on how rows are batched"),
    Choice("CHEAPEST-08", "combinations tried for a proof", "5000", "infeasible is said only where it is proven"),
    Choice("CHEAPEST-09", "bound on plausibility", "none", "proximity first; the method `plausibility` measures it"),
    Choice("CHEAPEST-10", "mixtures of reference rows tried for a miss", str(MIXTURES), "some ways no one row shows"),
    Choice("CHEAPEST-11", "features looked at, of a model with a gradient", "10", "the best by it; quality takes 16"),
)


class Effort(NamedTuple):
    """How much is looked at.

    Attributes:
        chunk: rows that are searched together: enough for large batches, few enough for flat memory.
        goals: neighbours that are made sparse for each row.
        per_feature: values of one feature in the table of moves.
        features: features of a row in that table, those that promise most by the gradient; where there is none, all.
        width: states of the beam.
        depth: features that change at most in the beam.
        swaps: times that the counterfactuals are treated again: features set back, others in their place, trades.
        bold: steps of the beam from there.
        trades: pairs of moves, less of one feature for more of another, tried for each.
        extra: counterfactuals of each row that are treated beyond those wanted: a dearer one may end up cheaper.
        rounds: times that table, beam and polish are gone through; each is finer, for the bound has fallen.
        tolerance: what halving leaves open, as a share of the cost.
    """

    chunk: int
    goals: int
    per_feature: int
    features: int
    width: int
    depth: int
    swaps: int
    bold: int
    trades: int
    extra: int
    rounds: int
    tolerance: float


EFFORTS = {
    "fast": Effort(
        chunk=1000,
        goals=2,
        per_feature=14,
        features=10,
        width=8,
        depth=4,
        swaps=2,
        bold=1,
        trades=5,
        extra=2,
        rounds=2,
        tolerance=0.02,
    ),
    "quality": Effort(
        chunk=1000,
        goals=3,
        per_feature=48,
        features=16,
        width=32,
        depth=5,
        swaps=2,
        bold=2,
        trades=32,
        extra=3,
        rounds=2,
        tolerance=0.001,
    ),
}


class Cheapest(Generator):
    """The cheapest counterfactuals that a search over combinations of single moves finds.

    Cost is the sum of the scaled changes, each times the weight of its feature, and `per_change` for each feature
    that changes.

    1. Reference rows with another outcome are projected on what the constraints allow for the row; the nearest that
       flips is made sparse by group testing. Its cost bounds what is looked at from then on.
    2. A table of single moves: values of one feature that cost less than the bound, each asked for once. Where the
       model names its splits these are the values, otherwise those of the data; more of them are taken where the
       scores of a few rows of the reference change most. Where the model has a gradient, the features that promise
       most by it are looked at, and no others.
    3. A beam over combinations of moves, in the order of their cost plus what they lack in log-odds at the best rate.
    4. Features are set back one by one, other moves are tried in their place, less of one feature is traded for more
       of another, and values are moved back towards the row by halving, as long as the outcome stays flipped. Table,
       beam and this are gone through twice: the second time the bound is lower, and the table is finer.
    5. Rows without any: every row of the reference; where the allowed combinations are few, all of them, which finds
       a counterfactual or proves that there is none; and else mixtures of the rows of the reference.

    Further counterfactuals of a row each change another set of features.

    Assumes: nothing of the model but its scores. Nothing is proven of the cost: a cheaper one may exist.

    Reference: D. Brughmans, P. Leyman and D. Martens, NICE (2024) for the start; the rest is ours.

    Attributes:
        effort: `quality` looks at more values, combinations and rounds than `fast`.
        per_change: cost of changing a feature at all; higher values give fewer changes.
        weights: by feature, what its change counts; 1 where it is not named.
        reference_rows: so many rows of the reference are looked at first, drawn once with `reference_seed`; the
            others for misses only.
        proof_rows: the largest number of allowed combinations that is tried in full; 0: never.
        plausible: a counterfactual lies no farther from its 10th nearest real row than this share of the real rows
            from theirs; the row that it was made from does not count. Absent: it may lie anywhere.
    """

    search: Literal["cheapest"] = "cheapest"
    per_row: int = Field(default=1, ge=1)
    effort: Literal["fast", "quality"] = "fast"
    per_change: float = Field(default=0.02, ge=0)
    weights: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    reference_rows: int = Field(default=1_000, ge=1)
    reference_seed: int = Field(default=0, ge=0)
    proof_rows: int = Field(default=5_000, ge=0)
    plausible: float | None = Field(default=None, gt=0, le=1)

    cites: ClassVar[tuple[str, ...]] = (
        "NICE: an algorithm for nearest instance counterfactual explanations, doi 10.1007/s10618-023-00930-y",
    )

    def choices(self) -> pd.DataFrame:
        values = {
            "CHEAPEST-01": "weighted sum of scaled changes" if self.weights else CHOICES[0].default,
            "CHEAPEST-02": f"{self.per_change:g}",
            "CHEAPEST-03": self.effort,
            "CHEAPEST-04": str(self.per_row),
            "CHEAPEST-05": str(self.reference_rows),
            "CHEAPEST-08": str(self.proof_rows),
            "CHEAPEST-11": str(EFFORTS[self.effort].features),
            "CHEAPEST-09": "none" if self.plausible is None else f"{self.plausible * 100:g} % of real rows",
        }
        return choices_table(CHOICES, values)

    def generate(self, ctx: Context, rows: Table, before: Ints) -> Found:
        policy = self.constraint(ctx.inputs.policy)
        asked = Asked(ctx.model, np.zeros(len(rows), dtype=np.int64))
        spent = ctx.model.rows
        search = _Search(
            Queries(rows.codes, before, policy, ctx.inputs.decision, asked),
            Prices(policy.schema, self._weights(policy.schema), self.per_change),
            self._grid(ctx, policy),
            EFFORTS[self.effort],
            self.per_row,
            None if self.plausible is None else Bound.of(ctx.inputs, self.plausible, rows.ids),
            Slopes.of(ctx),
        )
        if len(rows):
            self._search(ctx, search)
        return search.found(ctx.model.rows - spent - int(asked.rows.sum()))

    def _grid(self, ctx: Context, policy: Policy) -> Grid:
        reference = ctx.inputs.reference.codes
        probes = reference[chosen_rows(len(reference), PROBES, self.reference_seed)]
        return Grid.of(policy, reference, _splits(ctx, policy), lambda values: jumps(ctx.model, probes, values))

    def _weights(self, schema: FeatureSchema) -> Floats:
        if unknown := [name for name in self.weights if name not in schema.names]:
            raise Refusal(f"weights: {unknown[0]!r} is not a feature; the features are {', '.join(schema.names)}")
        return np.array([self.weights.get(name, 1.0) for name in schema.names])

    def _search(self, ctx: Context, search: "_Search") -> None:
        n = len(ctx.inputs.reference)
        chosen = chosen_rows(n, self.reference_rows, self.reference_seed)
        self._among(ctx, search, chosen, np.arange(len(search.queries.rows)))
        if len(chosen) < n and len(missed := search.missed()):
            self._among(ctx, search, np.arange(n), missed)
        for query in search.missed():
            search.try_all(int(query), self.proof_rows)
        missed = np.array([i for i in search.missed() if i not in search.proven], dtype=np.int64)
        if len(missed) and not search.queries.policy.frozen():
            drawn = Mixtures.draw(ctx.inputs.reference.codes, self.reference_seed)
            for part in blocks(missed, drawn.own.size):
                search.mix(part, drawn)

    def _among(self, ctx: Context, search: "_Search", chosen: Ints, queries: Ints) -> None:
        """Searches for the queries, from the chosen rows of the reference."""
        pools = dict(unlike_pools(ctx, chosen, search.queries.before[queries]))
        for start in range(0, len(queries), search.chunk):
            search.treat(queries[start : start + search.chunk], pools)
            ctx.tick(start, len(search.queries.rows))


def _splits(ctx: Context, policy: Policy) -> list[Floats | None]:
    """For each feature the values on both sides of the splits of the model, where they are known."""
    model = ctx.model.model
    if not isinstance(model, Thresholds):
        return [None] * len(policy.schema)
    return [model.thresholds(f.name) if f.kind == "numeric" else None for f in policy.schema.features]


@dataclass
class _Search:
    """The search for all rows of a part.

    Attributes:
        near: how far from the real rows a counterfactual may lie; None: as far as it likes.
        slopes: the gradient of the model, where it has one.
        pieces: (query, codes) of what was found, those of a query together, the cheapest first.
        reasons: why a query has none.
        proven: the queries for which it is proven that there is none.
    """

    queries: Queries
    prices: Prices
    grid: Grid
    effort: Effort
    wanted: int
    near: Bound | None = None
    slopes: Slopes | None = None
    pieces: list[tuple[Ints, Floats]] = field(default_factory=list)
    reasons: dict[int, str] = field(default_factory=dict)
    proven: set[int] = field(default_factory=set)

    @property
    def chunk(self) -> int:
        """Rows that are treated together: fewer where a row has many moves, features or counterfactuals."""
        d = len(self.grid.columns)
        moves = sum(min(len(values), self.effort.per_feature) for values in self.grid.columns)
        return max(min(self.effort.chunk * 3 // (self.wanted + 2), NUMBERS // max(moves * d, 1)), 20)

    def treat(self, block: Ints, pools: Mapping[int, Floats]) -> None:
        """Searches for a block of queries."""
        hunt = Hunt(self.queries, block, self.prices, self.wanted, self.near)
        for outcome, pool in pools.items():
            own = np.flatnonzero(hunt.before == outcome)
            if not len(pool):
                self.reasons.update(dict.fromkeys(map(int, block[own]), NO_POOL))
                continue
            for part in blocks(own, len(pool)):
                self._start(hunt, part, pool)
        for _ in range(self.effort.rounds):
            self._round(hunt)
        self.reasons.update(dict.fromkeys(map(int, block[hunt.refused]), IMPLAUSIBLE))
        self._settle(hunt)

    def _start(self, hunt: Hunt, part: Ints, pool: Floats) -> None:
        """Starts from the nearest rows of the pool that flip, projected and made sparse."""
        distances = self.queries.distances(hunt.block[part], pool, self.prices.weights)
        count = np.zeros(len(part), dtype=np.int64)
        goals: list[tuple[Ints, Floats]] = []
        for start, stop in pairwise((0, NEIGHBOURS, WIDE, len(pool))):
            few = np.flatnonzero(count == 0)
            if start >= len(pool) or not len(few):
                break
            for some in blocks(few, (stop - start) * self.queries.rows.shape[1]):
                order = first(distances[some], min(stop, len(pool)))[:, start:]
                which, codes = self.queries.goals(hunt.block[part[some]], pool[order])
                count[some] += np.bincount(which, minlength=len(some))
                kept = rank(which) < max(self.effort.goals, self.wanted)
                goals.append((part[some[which[kept]]], codes[kept]))
        which, codes = (np.concatenate(piece) for piece in zip(*goals, strict=True))
        sparsify(hunt, which, codes)

    def _round(self, hunt: Hunt) -> None:
        """The table of moves, the beam over it, and what makes its results cheaper."""
        effort, wanted = self.effort, self.wanted
        width, lanes = effort.width + wanted - 1, wanted + effort.extra
        chosen = None if self.slopes is None else self.slopes.best(effort.features)
        moves = single_moves(hunt, self.grid, effort.per_feature, chosen)
        states = singles(hunt, moves, width)
        for _ in range(effort.depth - 1):
            states = expand(hunt, moves, states, width)
        shrink(hunt, self.grid, lanes, effort.tolerance)
        for _ in range(effort.swaps):
            known = hunt.costs.copy()
            states = revert(hunt, moves, lanes, width)
            for _ in range(effort.bold):
                states = expand(hunt, moves, states, width, bold=True)
            trade(hunt, moves, lanes, effort.trades)
            shrink(hunt, self.grid, lanes, effort.tolerance)
            hunt.active = (hunt.costs != known).any(axis=1)
        hunt.active[:] = True

    def _settle(self, hunt: Hunt) -> None:
        """Asks for the best once more, in another order and in other batches, and takes what still flips."""
        which, slot = hunt.lanes(hunt.costs.shape[1])
        codes = hunt.codes[which, slot]
        query = hunt.block[which]
        P = self.queries.asked.probabilities(query[::-1], codes[::-1])[::-1]
        fine = np.flatnonzero(self.queries.decision.flipped(P, self.queries.before[query]))
        fine = fine[rank(query[fine]) < self.wanted]
        self.pieces.append((query[fine], codes[fine]))

    def missed(self) -> Ints:
        """The queries that have no counterfactual yet."""
        hit = np.zeros(len(self.queries.rows), dtype=bool)
        for query, _ in self.pieces:
            hit[query] = True
        return np.flatnonzero(~hit)

    def try_all(self, query: int, limit: int) -> None:
        """Tries every allowed combination of values of a query, where there are at most `limit`."""
        self.reasons.setdefault(query, NO_FLIP)
        trial = self.queries.try_all(query, limit)
        if len(trial.flips):
            hunt = Hunt(self.queries, np.array([query]), self.prices, self.wanted, self.near)
            which = np.zeros(len(trial.flips), dtype=np.int64)
            near = hunt.admitted(which, trial.flips)
            hunt.keep(which[near], trial.flips[near], np.zeros(int(near.sum())))
            self._settle(hunt)
            if not near.any():
                self.reasons[query] = IMPLAUSIBLE
        elif trial.proof is not None:
            self.proven.add(query)
            self.reasons[query] = trial.proof

    def mix(self, block: Ints, drawn: Mixtures) -> None:
        """Searches once more for queries that have none, from mixtures of real rows that flip."""
        trial = Hunt(self.queries, block, self.prices, self.wanted, self.near)
        which, codes = drawn.flips(trial, max(self.effort.goals, self.wanted))
        hit, place = np.unique(which, return_inverse=True)
        self.reasons.update({int(i): NO_MIXTURE for i in block if self.reasons.get(int(i), NO_FLIP) == NO_FLIP})
        self.reasons.update(dict.fromkeys(map(int, block[trial.refused]), IMPLAUSIBLE))
        if len(hit):
            hunt = Hunt(self.queries, block[hit], self.prices, self.wanted, self.near)
            sparsify(hunt, place, codes)
            for _ in range(self.effort.rounds):
                self._round(hunt)
            self._settle(hunt)

    def found(self, shared: int) -> Found:
        """What was found, in the order of the queries."""
        n, d = self.queries.rows.shape
        query = np.concatenate([np.empty(0, dtype=np.int64), *(q for q, _ in self.pieces)])
        codes = np.concatenate([np.empty((0, d)), *(c for _, c in self.pieces)])
        order = np.argsort(query, kind="stable")
        hit = np.bincount(query, minlength=n) > 0
        reasons = ["" if hit[i] else self.reasons.get(i, NO_FLIP) for i in range(n)]
        proven = np.array([i in self.proven for i in range(n)], dtype=bool)
        return Found(query[order], codes[order], proven, reasons, self.queries.asked.rows, shared)
