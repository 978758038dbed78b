"""A bound on how far counterfactuals may lie from the real rows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.core.method import Inputs, Refusal
from audit.core.model import Ints
from audit.core.plausibility import Support
from audit.core.table import Floats

NEIGHBOURS = 10
"""Which nearest real row decides: the one that the method `plausibility` looks at where nothing is said."""

IMPLAUSIBLE = "what flips the outcome lies farther from the real rows than the bound on plausibility allows"


@dataclass(frozen=True)
class Bound:
    """How far counterfactuals of n rows may lie from their `NEIGHBOURS`-th nearest real row.

    Attributes:
        support: the real rows.
        bar: the farthest that is allowed, a Gower distance.
        own: shape (n,), the position of each row among the real rows, where it does not count; -1: it is none.
    """

    support: Support
    bar: float
    own: Ints

    @classmethod
    def of(cls, inputs: Inputs, share: float, ids: tuple[str, ...]) -> "Bound":
        """The distance that `share` of the real rows do not exceed among each other, for rows with these ids.

        Raises:
            Refusal: there are too few real rows.
        """
        if len(inputs.reference) <= NEIGHBOURS:
            raise Refusal(
                f"plausible: {len(inputs.reference)} real rows are too few to look at {NEIGHBOURS} neighbours of each; "
                "give `data.train`, or leave `plausible` out"
            )
        support = Support.of(inputs.reference, NEIGHBOURS)
        place = {} if inputs.train is not None else {name: i for i, name in enumerate(support.table.ids)}
        return cls(support, support.bar(share), np.array([place.get(name, -1) for name in ids], dtype=np.int64))

    def admits(self, query: Ints, codes: Floats) -> NDArray[np.bool_]:
        """Whether rows (m, d), made from the rows `query` (m,), are near enough, shape (m,)."""
        _, neighbour = self.support.distances(codes, self.own[query])
        return np.asarray(neighbour <= self.bar)
