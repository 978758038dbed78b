"""The last resort: mixtures of real rows, for rows that no single real row shows the way."""

from dataclasses import dataclass

import numpy as np

from audit.core.model import Ints
from audit.core.neighbours import Bools, by_owner, rank
from audit.core.table import Floats
from audit.search.cheapest.hunt import Hunt

MIXTURES = 2_000
"""Mixtures that are tried for a row."""

NO_MIXTURE = f"neither a row of the reference data nor any of {MIXTURES} mixtures of them flips the outcome lawfully"


@dataclass(frozen=True)
class Mixtures:
    """The same draws for every query, so that what is found does not depend on how rows are batched.

    Attributes:
        values: shape (m, d), each value that of some row of the reference.
        own: shape (m, d), where the query keeps its own value.
    """

    values: Floats
    own: Bools

    @classmethod
    def draw(cls, reference: Floats, seed: int) -> "Mixtures":
        """From rows of the reference (k, d); from few features of another row to nearly all."""
        k, d = reference.shape
        rng = np.random.default_rng([seed, k, d])
        values = reference[rng.integers(0, k, (MIXTURES, d)), np.arange(d)]
        return cls(values, rng.random((MIXTURES, d)) < rng.random((MIXTURES, 1)))

    def flips(self, hunt: Hunt, most: int) -> tuple[Ints, Floats]:
        """The `most` cheapest of each query that flip lawfully, projected on what it may change: (query, codes)."""
        m, d = self.values.shape
        which = np.repeat(np.arange(len(hunt.rows)), m)
        wanted = np.where(self.own, hunt.rows[:, None, :], self.values).reshape(-1, d)
        codes = hunt.queries.policy.project(hunt.rows[which], wanted)
        fresh = hunt.unseen(which, codes)
        which, codes = which[fresh], codes[fresh]
        _, fine = hunt.judge(which, codes)
        which, codes = which[fine], codes[fine]
        order = by_owner(hunt.prices.of(hunt.rows[which], codes), which)
        order = order[rank(which[order]) < most]
        return which[order], codes[order]
