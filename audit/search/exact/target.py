"""What a change must reach, and what a solver answers."""

from typing import NamedTuple

import numpy as np

from audit.core.model import ACCEPT, Decision
from audit.core.table import Floats

EDGE = 1e-9
"""Probabilities nearer to 0 or 1 are out of reach of log-odds that mean anything."""


class Goal(NamedTuple):
    """A probability of the second class to reach.

    Attributes:
        rises: it must be at least as large as `at`, or else at most.
        at: where the outcome flips.
        beyond: how much further it must go to flip for sure.
        slack: rounding of the model in the units of a solver.
    """

    rises: bool
    at: float
    beyond: float
    slack: float = 1e-9

    def probability(self, *, sure: bool) -> float:
        """The probability to reach, beyond rounding for sure, or before it for none to be missed."""
        step = self.beyond if sure else 0.0
        return self.at + step if self.rises else self.at - step

    def reachable(self) -> bool:
        """Whether there are log-odds for it."""
        return EDGE < self.probability(sure=True) < 1 - EDGE and EDGE < self.at < 1 - EDGE

    def odds(self, *, sure: bool) -> float:
        """The log-odds to reach; `slack` beyond where it must be sure."""
        p = self.probability(sure=sure)
        way = (1 if self.rises else -1) * (self.slack if sure else 0.0)
        return float(np.log(p / (1 - p))) + way


class Answer(NamedTuple):
    """What a solver says of a row.

    Attributes:
        codes: shape (d,), or None.
        optimal: no cheaper change exists, rules across features apart.
        infeasible: no change exists at all, even without the rules.
        reason: why there is neither an answer nor a proof.
    """

    codes: Floats | None
    optimal: bool = False
    infeasible: bool = False
    reason: str = ""


def goal_of(decision: Decision, before: int) -> Goal:
    """What the probability of the second of two classes must reach for a row to leave an outcome."""
    if not decision.favourable:
        return Goal(rises=before == 0, at=0.5, beyond=ACCEPT / 2)
    second = decision.favourable[0] == decision.classes[1]
    at = decision.at_least if second else 1 - decision.at_least
    return Goal(rises=(before == 0) == second, at=at, beyond=ACCEPT)
