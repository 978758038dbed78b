"""Cheapest changes under an ensemble of trees, with the proofs of treecf."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from audit.core.model import Native
from audit.core.policy import Policy
from audit.core.table import Floats
from audit.search.exact.forest import retold
from audit.search.exact.steps import UnreadableError
from audit.search.exact.target import Answer, Goal

MOST_OUTSIDE = 3
"""Numbers outside of their bounds that are tried both as they are and within them; with more there is no proof."""

FREE = 1e12
"""The range of a number whose changes count nothing."""

NEAR = 1e-3
"""Log-odds by which the solver's reading of a model may differ from the model; what it differs by is kept clear of."""


@dataclass(frozen=True)
class Trees:
    """An ensemble as treecf takes it.

    Attributes:
        ir: over features in codes.
        slack: what the scores of the ensemble and of the model differ by, in its own units.
        cache: what treecf has laid out of the ensemble.
    """

    policy: Policy
    ir: Any
    slack: float
    nodes: int
    cache: dict[str, Any]

    def solve(self, x: Floats, goal: Goal) -> Answer:
        """The cheapest allowed change of a row that reaches the goal, apart from rules across features."""
        best, cost, sure = None, np.inf, True
        for rules in self._cases(x):
            found = self._ask(x, rules, self._interval(goal, sure=True))
            sure &= found.stats["completed"] is True
            if found.x_cf is not None and found.distance < cost:
                best, cost = np.asarray(found.x_cf), found.distance
        complete = self._outside(x) <= MOST_OUTSIDE
        if best is not None:
            return Answer(best, optimal=sure and complete)
        if not sure:
            return Answer(None, reason=f"the solver came to no end within {self.nodes} nodes")
        none = complete and all(
            found.stats["completed"] is True and found.x_cf is None
            for found in (self._ask(x, rules, self._interval(goal, sure=False)) for rules in self._cases(x))
        )
        return Answer(None, infeasible=none)

    def _interval(self, goal: Goal, *, sure: bool) -> tuple[float, float]:
        """The scores of the ensemble that reach the goal: beyond rounding for sure, or before it to miss none."""
        way = 1.0 if goal.rises else -1.0
        p = goal.probability(sure=sure)
        score = float(np.log(p / (1 - p))) if self.ir.link.name == "SIGMOID" else p
        score += way * self.slack * (1 if sure else -1)
        return (score, np.inf) if goal.rises else (-np.inf, score)

    def _outside(self, x: Floats) -> int:
        return len(self._apart(x))

    def _apart(self, x: Floats) -> list[int]:
        """Numbers that are outside of the bounds of new values: the present value is allowed all the same."""
        with np.errstate(invalid="ignore"):
            apart = self.policy.movable & ((x < self.policy.low) | (x > self.policy.high))
        return [int(j) for j in np.flatnonzero(apart) if not self.policy.schema.features[j].levels]

    def _cases(self, x: Floats) -> Iterator[frozenset[int]]:
        """Sets of numbers to hold as they are: every set of those outside of their bounds, or all of many."""
        apart = self._apart(x)
        if len(apart) > MOST_OUTSIDE:
            yield frozenset(apart)
            return
        for held in product((True, False), repeat=len(apart)):
            yield frozenset(j for j, hold in zip(apart, held, strict=True) if hold)

    def _ask(self, x: Floats, held: frozenset[int], interval: tuple[float, float]) -> Any:
        """What treecf says of one row."""
        from treecf.backends.exact_rust import solve_exact_rust
        from treecf.constraints import compile_constraints

        rules, policies, scales = self._rules(x, held)
        compiled = compile_constraints(rules, self.ir.feature_names, self.ir.categorical)
        self.cache.pop("constraints", None)
        return solve_exact_rust(
            self.ir, x, interval, compiled, scales, np.ones(len(x)), 0.0,
            value_policies=policies, node_budget=self.nodes, time_budget_s=np.inf, cache=self.cache, search="refine",
        )  # fmt: skip

    def _rules(self, x: Floats, held: frozenset[int]) -> tuple[list[Any], dict[str, Any], Floats]:
        """The constraints of one row as treecf takes them, its steps and whole numbers, and the scales of changes."""
        rules: list[Any] = []
        policies: dict[str, Any] = {}
        scales = np.array([f.scale if f.scale > 0 else FREE for f in self.policy.schema.features])
        for j, feature in enumerate(self.policy.schema.features):
            name = self.ir.feature_names[j]
            if j in held or not self.policy.movable[j]:
                rules += self._still(name)
            elif feature.levels:
                rules += self._leveled(j, name, float(x[j]), scales[j])
                if feature.ordered:
                    policies[name] = "integer"
            else:
                rules += self._number(j, name, float(x[j]), scales[j])
                policy = self._grid(j, float(x[j]))
                if policy is not None:
                    policies[name] = policy
        return rules, policies, scales

    def _still(self, name: str) -> list[Any]:
        from treecf import Freeze

        return [Freeze(name)]

    def _leveled(self, j: int, name: str, x: float, scale: float) -> list[Any]:
        """The levels that can be had, and whether the value may go missing or come."""
        from treecf import AllowedCategories, AllowMissing, Range

        options = self.policy.options(j, x, len(self.policy.schema.features[j].levels) + 2)
        if options is None or len(options) < 2:
            return self._still(name)
        codes = options[~np.isnan(options)]
        if self.policy.schema.features[j].ordered:
            rules: list[Any] = [Range(name, float(codes.min()), float(codes.max()))]
        else:
            rules = [AllowedCategories(name, [int(code) for code in codes])]
        return rules + ([AllowMissing(name, scale)] if np.isnan(options).any() else [])

    def _number(self, j: int, name: str, x: float, scale: float) -> list[Any]:
        """Bounds and directions, and whether the value may go missing or come."""
        from treecf import AllowMissing, Range

        low, high = float(self.policy.low[j]), float(self.policy.high[j])
        free = bool(self.policy.up[j] and self.policy.down[j]) and not self.policy.step[j] > 0
        if np.isnan(x):
            return [Range(name, low, high), AllowMissing(name, scale)] if free and low <= high else self._still(name)
        low = low if self.policy.down[j] else max(low, x)
        high = high if self.policy.up[j] else min(high, x)
        if low > high:
            return self._still(name)
        return [Range(name, low, high)] + ([AllowMissing(name, scale)] if self.policy.to_missing[j] else [])

    def _grid(self, j: int, x: float) -> Any:
        """Whole numbers, or steps from the present value."""
        from treecf.api import Grid

        if self.policy.step[j] > 0 and not np.isnan(x):
            return Grid(step=float(self.policy.step[j]), anchor=x)
        return "integer" if self.policy.whole[j] else None


def trees(native: Native, policy: Policy, rows: Floats, p: Floats | None, nodes: int) -> Trees:
    """The trees of a model for the solver.

    Args:
        rows: shape (n, d), codes; `p`, shape (n,), is what the model says of the second class.

    Raises:
        UnreadableError: treecf is not installed, does not read the model, or reads another one.
    """
    from importlib.util import find_spec

    if find_spec("treecf") is None:
        raise UnreadableError("treecf is not installed here; install it with pip install 'auditspec[trees]'")
    from treecf.ir.evaluate import raw_score_batch

    ir = retold(native, policy, rows)
    gap = 0.0 if p is None else _gap(ir, raw_score_batch(ir, rows), p)
    if gap > NEAR:
        raise UnreadableError(f"the trees as treecf reads them give other scores, by up to {gap:.3g}")
    return Trees(policy, ir, 4 * gap + 1e-9, nodes, {})


def _gap(ir: Any, scores: Floats, p: Floats) -> float:
    """What scores of an ensemble and probabilities of the model differ by at most, in the units of the scores."""
    if ir.link.name != "SIGMOID":
        return float(np.abs(p - scores).max(initial=0.0))
    inside = (p > 1e-4) & (p < 1 - 1e-4)
    return float(np.abs(np.log(p[inside] / (1 - p[inside])) - scores[inside]).max(initial=0.0))
