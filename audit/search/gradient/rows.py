"""The rows of a part on their way: where they start, what becomes of their ends, and what it cost."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from audit.core.counterfactuals import Found, changed, distance
from audit.core.method import Context
from audit.core.model import Decision, Ints
from audit.core.table import Floats
from audit.search.gradient.space import Space

if TYPE_CHECKING:
    from torch import Tensor

Paths = Callable[["Tensor", "Tensor", float], tuple["Tensor", "Tensor", "Tensor"]]
"""Points (n, m), their targets (n,) and tau to ends (n, m), whether tau was reached (n,), and rows evaluated (n,)."""

MARGIN = 1e-4
"""A path goes this far beyond the threshold: the way from inputs back to features rounds."""

FIRMER = (0.75, 0.9, 0.99)
"""Where an end no longer flips the outcome as values of the features, the row is searched again to be this sure."""

UNREACHED = "the other outcome was not reached within the steps"
UNREAL = "the other outcome was reached, but not as values that the constraints allow"


@dataclass
class Search:
    """The search for all rows of a part.

    Attributes:
        rows: shape (n, d), codes.
        before: shape (n,), their outcomes.
        spent: shape (n,), rows evaluated for each.
        pieces: what was found, as (row, codes).
        reasons: why a row has none.
    """

    ctx: Context
    space: Space
    rows: Floats
    before: Ints
    spent: Ints = field(init=False)
    begun: int = field(init=False)
    pieces: list[tuple[Ints, Floats]] = field(default_factory=list)
    reasons: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.spent = np.zeros(len(self.rows), dtype=np.int64)
        self.begun = self.ctx.model.rows

    @property
    def answered(self) -> int:
        """Counterfactuals so far."""
        return sum(len(row) for row, _ in self.pieces)

    def attempts(self, wanted: int, spread: float) -> Iterator[tuple[Ints, Floats]]:
        """Targets (n,) and a shift of the start (m,), the same for all rows, so that no row depends on another.

        Every other outcome is a target in turn, the most probable one first; then all again from a shifted start.
        """
        others = self._others()
        m = len(self.space.network.prepare.groups)
        for k in range(wanted):
            turn, place = divmod(k, others.shape[1])
            if place == 0:
                shift = self.ctx.rng.uniform(-spread, spread, m) if turn else np.zeros(m)
            yield others[:, place], shift

    def _others(self) -> Ints:
        """The outcomes that a row can move to, shape (n, O - 1)."""
        outcomes = len(self.ctx.inputs.decision.outcomes)
        if outcomes == 2:
            return 1 - self.before[:, None]
        P = self._probabilities(np.arange(len(self.rows)), self.rows)
        P[np.arange(len(P)), self.before] = -np.inf
        return np.argsort(-P, axis=1, kind="stable")[:, :-1]

    def follow(self, paths: Paths, target: Ints, shift: Floats, tau: float | None) -> None:
        """One path for each row, with its end as values of the features where these flip the outcome."""
        for outcome in np.unique(target):
            needed = threshold(self.ctx.inputs.decision, int(outcome))
            first = needed if tau is None else max(tau, needed)
            left = np.flatnonzero(target == outcome)
            for firm in (first, *(f for f in FIRMER if f > first)):
                if len(left):
                    left = self._step(paths, left, int(outcome), shift, firm)

    def _step(self, paths: Paths, left: Ints, outcome: int, shift: Floats, tau: float) -> Ints:
        """Follows the paths of the rows `left`; returns those for which it is worth going further."""
        import torch

        start = self.shifted(self.space.points(self.rows[left]), shift)
        end, reached, cost = paths(start, torch.full((len(left),), outcome), tau)
        self.spent[left] += cost.numpy()
        x = self.rows[left]
        codes = self.space.policy.project(x, self.space.codes(end, x))
        fit = changed(x, codes).any(axis=1) & self.space.policy.obeys(codes)
        P = self._probabilities(left[fit], codes[fit])
        fit[fit] = self.ctx.inputs.decision.flipped(P, self.before[left[fit]])
        self.pieces.append((left[fit], codes[fit]))
        further: NDArray[np.bool_] = reached.numpy()
        for i, stopped in zip(left[~fit].tolist(), further[~fit].tolist(), strict=True):
            if stopped or i not in self.reasons:
                self.reasons[i] = UNREAL if stopped else UNREACHED
        return left[~fit & further]

    def shifted(self, points: "Tensor", shift: Floats) -> "Tensor":
        """The points moved by the shift, where and as far as the constraints let them."""
        import torch

        if not shift.any():
            return points
        down, up, low, high = self.space.bounds(0.0)
        step = torch.from_numpy(shift)
        step = torch.where(torch.where(step > 0, up, down), step, 0.0)
        moved = torch.minimum(torch.maximum(points + step, low), high)
        return torch.where(step != 0, moved, points)

    def _probabilities(self, row: Ints, codes: Floats) -> Floats:
        self.spent += np.bincount(row, minlength=len(self.spent))
        return self.ctx.model.probabilities(codes)

    def nothing(self, reason: str) -> Found:
        """The answer where it is plain, before any search, that no row has a counterfactual."""
        n, d = self.rows.shape
        empty = np.empty(0, dtype=np.int64)
        return Found(empty, np.empty((0, d)), np.ones(n, dtype=bool), [reason] * n, self.spent)

    def found(self) -> Found:
        """Everything that was found, of each row the nearest first."""
        n, d = self.rows.shape
        row = np.concatenate([r for r, _ in self.pieces]) if self.pieces else np.empty(0, dtype=np.int64)
        codes = np.concatenate([c for _, c in self.pieces]) if self.pieces else np.empty((0, d))
        far = distance(self.space.schema, self.rows[row], codes)
        order = np.lexsort((far, row))
        hit = np.bincount(row, minlength=n) > 0
        reasons = ["" if hit[i] else self.reasons.get(i, "") for i in range(n)]
        shared = self.ctx.model.rows - self.begun - int(self.spent.sum())
        return Found(row[order], codes[order], np.zeros(n, dtype=bool), reasons, self.spent, shared)


def threshold(decision: Decision, outcome: int) -> float:
    """The probability of an outcome from which a row has it for sure."""
    needed = 0.5
    if decision.favourable:
        needed = decision.at_least if outcome == 1 else 1 - decision.at_least
    return min(needed + MARGIN, 1 - 1e-9)
