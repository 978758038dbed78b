"""The state of a search over all rows of a block: what was asked, and the best that was found."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from audit.core.counterfactuals import changed
from audit.core.model import Ints
from audit.core.neighbours import Queries, by_owner, first_of_equal, rank, row_keys
from audit.core.table import Floats
from audit.search.cheapest.plausible import Bound
from audit.search.cheapest.prices import Prices, lever_keys, lift

Bools = NDArray[np.bool_]

SPARE = 3
"""Counterfactuals that are kept beyond those wanted, for the case that one does not pass the last check."""


@dataclass
class Hunt:
    """The cheapest counterfactuals of n queries so far, at most one for each set of features that change.

    Attributes:
        block: shape (n,), the queries, as positions among those of the part.
        wanted: counterfactuals wanted per query.
        codes: shape (n, wanted + SPARE, d), the cheapest first.
        costs: shape (n, wanted + SPARE), infinite where there is none.
        lifts: shape (n, wanted + SPARE), how far each is beyond the flip, in log-odds, as far as that is known.
        short: shape (n, wanted + SPARE), whether its values were moved back towards the row as far as they go.
        known: shape (n,), what `start` has found; empty before.
        active: shape (n,), queries whose counterfactuals are worth treating again.
        seen: hashes of the combinations that were asked for.
        near: how far from the real rows a counterfactual may lie; None: as far as it likes.
        refused: shape (n,), queries of which something that flips lies farther away than that.
    """

    queries: Queries
    block: Ints
    prices: Prices
    wanted: int
    near: Bound | None = None
    rows: Floats = field(init=False)
    before: Ints = field(init=False)
    codes: Floats = field(init=False)
    costs: Floats = field(init=False)
    lifts: Floats = field(init=False)
    short: Bools = field(init=False)
    active: Bools = field(init=False)
    known: Floats = field(default_factory=lambda: np.empty(0))
    seen: NDArray[np.uint64] = field(init=False)
    refused: Bools = field(init=False)

    def __post_init__(self) -> None:
        self.rows, self.before = self.queries.rows[self.block], self.queries.before[self.block]
        slots = self.wanted + SPARE
        self.codes = np.repeat(self.rows[:, None, :], slots, axis=1)
        self.costs = np.full((len(self.block), slots), np.inf)
        self.lifts = np.zeros(self.costs.shape)
        self.short = np.zeros(self.costs.shape, dtype=bool)
        self.active = np.ones(len(self.block), dtype=bool)
        self.seen = np.empty(0, dtype=np.uint64)
        self.refused = np.zeros(len(self.block), dtype=bool)

    @property
    def bound(self) -> Floats:
        """The cost from which on a counterfactual of each query is of no use, shape (n,)."""
        return self.costs[:, self.wanted - 1]

    def ask(self, which: Ints, codes: Floats) -> tuple[Floats, Bools]:
        """How far rows (m, d) of the queries (m,) are beyond the flip, and which flip lawfully; these it keeps."""
        lifts, fine = self.judge(which, codes)
        self.keep(which[fine], codes[fine], lifts[fine])
        return lifts, fine

    def judge(self, which: Ints, codes: Floats) -> tuple[Floats, Bools]:
        """As `ask`, but nothing is kept."""
        if not len(which):
            return np.empty(0), np.empty(0, dtype=bool)
        P = self.queries.asked.each(self.block[which], codes)
        before = self.before[which]
        fine = self.queries.decision.flipped(P, before)
        flips = np.flatnonzero(fine)
        real = changed(self.rows[which[flips]], codes[flips]).any(axis=1)
        fine[flips] = real & self.queries.policy.obeys(codes[flips])
        fine[fine] = self.admitted(which[fine], codes[fine])
        return lift(self.queries.decision, P, before), fine

    def admitted(self, which: Ints, codes: Floats) -> Bools:
        """Which of the rows (m, d) of the queries (m,), all of which flip, lie near enough to the real rows."""
        if self.near is None:
            return np.ones(len(which), dtype=bool)
        near = self.near.admits(self.block[which], codes)
        self.refused[which[~near]] = True
        return near

    def start(self) -> Floats:
        """How far the rows are from the flip as they are, shape (n,); asked for once."""
        if not len(self.known):
            self.known, _ = self.ask(np.arange(len(self.rows)), self.rows)
        return self.known

    def unseen(self, which: Ints, codes: Floats) -> Ints:
        """The positions of those rows that were not named here before, the first of equal ones, in order."""
        every = row_keys(which, codes)
        first = first_of_equal(every)
        keys = every[first]
        place = np.minimum(np.searchsorted(self.seen, keys), max(len(self.seen) - 1, 0))
        new = self.seen[place] != keys if len(self.seen) else np.ones(len(keys), dtype=bool)
        self.seen = np.sort(np.concatenate([self.seen, keys[new]]), kind="stable")
        return np.sort(first[new])

    def keep(self, which: Ints, codes: Floats, lifts: Floats) -> None:
        """Keeps counterfactuals (m, d) of the queries (m,) that are cheaper than what is known."""
        costs = self.prices.of(self.rows[which], codes)
        useful = costs < self.costs[which, -1]
        which, codes, costs, lifts = which[useful], codes[useful], costs[useful], lifts[useful]
        if not len(which):
            return
        touched = np.unique(which)
        old, slot = np.nonzero(np.isfinite(self.costs[touched]))
        which = np.concatenate([touched[old], which])
        codes = np.concatenate([self.codes[touched[old], slot], codes])
        costs = np.concatenate([self.costs[touched[old], slot], costs])
        lifts = np.concatenate([self.lifts[touched[old], slot], lifts])
        short = np.concatenate([self.short[touched[old], slot], np.zeros(len(lifts) - len(old), dtype=bool)])
        # What was there first stays first among equals.
        order = by_owner(costs, which)
        which, codes, costs, lifts = which[order], codes[order], costs[order], lifts[order]
        levers = lever_keys(changed(self.rows[which], codes))
        kept = np.sort(first_of_equal(row_keys(which, levers)))
        place = rank(which[kept])
        kept, place = kept[place < self.costs.shape[1]], place[place < self.costs.shape[1]]
        self.costs[touched] = np.inf
        self.costs[which[kept], place] = costs[kept]
        self.codes[which[kept], place] = codes[kept]
        self.lifts[which[kept], place] = lifts[kept]
        self.short[which[kept], place] = short[order][kept]

    def lanes(self, most: int) -> tuple[Ints, Ints]:
        """The counterfactuals that are known, the `most` cheapest of each active query, as (query, slot)."""
        which, slot = np.nonzero(np.isfinite(self.costs[:, :most]) & self.active[:, None])
        return which.astype(np.int64), slot.astype(np.int64)

    def missed(self) -> Ints:
        """The queries, as positions in the block, without a counterfactual."""
        return np.flatnonzero(np.isinf(self.costs[:, 0]))
