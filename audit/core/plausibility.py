"""How far rows lie from the real ones: plausibility beside proximity."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.core.counterfactuals import change_of
from audit.core.neighbours import blocks
from audit.core.schema import FeatureSchema
from audit.core.table import Floats, Table

REFERENCE_ROWS = 2_000
"""Real rows that are looked at; more cost more and change the distances little."""


@dataclass(frozen=True)
class Support:
    """Real rows, and how far each lies from its own neighbours.

    Attributes:
        table: n real rows.
        neighbours: how many of them a row is compared with.
        usual: shape (n,), ascending; the distance of each real row to its `neighbours`-th nearest other one.
    """

    table: Table
    neighbours: int
    usual: Floats

    @classmethod
    def of(cls, reference: Table, neighbours: int, rows: int = REFERENCE_ROWS, seed: int = 0) -> "Support":
        """The support of real rows, of which at most `rows` are drawn, the same for every question about them.

        Raises:
            ValueError: there are not more rows than neighbours.
        """
        n = len(reference)
        if n <= neighbours:
            raise ValueError(f"{n} real rows cannot each have {neighbours} others")
        chosen = np.arange(n)
        if n > rows:
            chosen = np.sort(np.random.default_rng([seed, n]).choice(n, rows, replace=False))
        table = reference.take(chosen)
        own = np.arange(len(table))
        _, usual = _distances(table.schema, table.codes, table.codes, own, neighbours)
        return cls(table, neighbours, np.sort(usual))

    def distances(self, codes: Floats, own: NDArray[np.int64] | None = None) -> tuple[Floats, Floats]:
        """Gower distances of rows (m, d) to their nearest and their `neighbours`-th nearest real row, each (m,).

        Args:
            own: shape (m,), the position of the real row that each row was made from, which does not count; -1: none.
        """
        own = np.full(len(codes), -1, dtype=np.int64) if own is None else own
        return _distances(self.table.schema, codes, self.table.codes, own, self.neighbours)

    def bar(self, share: float) -> float:
        """The distance to the `neighbours`-th nearest row that `share` of the real rows do not exceed."""
        position = int(np.ceil(share * len(self.usual))) - 1
        return float(self.usual[max(position, 0)])


def _distances(
    schema: FeatureSchema, codes: Floats, real: Floats, own: NDArray[np.int64], neighbours: int
) -> tuple[Floats, Floats]:
    nearest, farther = np.empty(len(codes)), np.empty(len(codes))
    for block in blocks(np.arange(len(codes)), len(real)):
        total = np.zeros((len(codes[block]), len(real)))
        for j, feature in enumerate(schema.features):
            total += change_of(feature, codes[block, j][:, None], real[:, j][None, :])
        mine = np.flatnonzero(own[block] >= 0)
        total[mine, own[block][mine]] = np.inf
        first = np.partition(total, neighbours - 1, axis=1)[:, :neighbours]
        nearest[block], farther[block] = first.min(axis=1), first[:, neighbours - 1]
    d = max(len(schema), 1)
    return nearest / d, farther / d
