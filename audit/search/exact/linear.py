"""Cheapest changes under a linear model, where log-odds are a sum to which each feature adds its own part."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from audit.core.counterfactuals import change_of
from audit.core.model import Native
from audit.core.policy import Policy
from audit.core.schema import Feature, FeatureSchema
from audit.core.shapley import column_sources
from audit.core.table import Floats, decode
from audit.search.exact.knapsack import Way, cheapest
from audit.search.exact.steps import UnreadableError, straight
from audit.search.exact.target import Answer, Goal

MOST_VALUES = 200_000
"""Values of one feature that are listed at most."""


@dataclass(frozen=True)
class Linear:
    """Log-odds as a sum over features.

    Attributes:
        odds: rows of codes to log-odds of the second class.
        slope: by feature position, of numbers: log-odds for each unit.
        level: by feature position: log-odds of each level, or of a number at 0; missing last.
    """

    schema: FeatureSchema
    policy: Policy
    odds: Callable[[Floats], Floats]
    slope: Mapping[int, float]
    level: Mapping[int, Floats]
    nodes: int

    def solve(self, x: Floats, goal: Goal) -> Answer:
        """The cheapest allowed change of a row that reaches the goal, apart from rules across features."""
        sign = 1.0 if goal.rises else -1.0
        levers = [self._ways(j, float(value), sign) for j, value in enumerate(x)]
        start = float(self.odds(x[None])[0])
        need = sign * (goal.odds(sure=True) - start)
        best = cheapest(levers, need, self.nodes)
        if best.values is not None:
            return Answer(best.values, optimal=best.settled)
        least = sign * (goal.odds(sure=False) - start)
        reach = sum(max(float(way.gain[-1]) for way in ways) for ways in levers)
        return Answer(None, infeasible=reach < least - goal.slack)

    def _ways(self, j: int, x: float, sign: float) -> tuple[Way, ...]:
        """The ways that a feature may go."""
        feature = self.schema.features[j]
        stay = Way(np.zeros(1), np.zeros(1), np.array([x]))
        if not self.policy.movable[j]:
            return (stay,)
        options = self.policy.options(j, x, MOST_VALUES)
        if options is not None:
            gains = sign * (self._part(j, options) - self._part(j, np.array([x])))
            return (_better(change_of(feature, np.full(len(options), x), options), gains, options),)
        if self.policy.whole[j] or self.policy.step[j] > 0:
            raise UnreadableError(f"{feature.name} has more than {MOST_VALUES} values to choose from")
        return (stay, *self._between(j, feature, x, sign))

    def _between(self, j: int, feature: Feature, x: float, sign: float) -> list[Way]:
        """The ways of a number that may take any value between two: to the end that gains, or to be missing."""
        low, high = float(self.policy.low[j]), float(self.policy.high[j])
        ends = [low if self.policy.down[j] else max(low, x), high if self.policy.up[j] else min(high, x)]
        if not np.isnan(x):
            inside = low <= x <= high
            ends = [min(x, ends[0]), max(x, ends[1])] if inside else ends
        reachable = ends[0] <= ends[1] and (not np.isnan(x) or bool(self.policy.up[j] and self.policy.down[j]))
        end = ends[1] if sign * self.slope[j] > 0 else ends[0]
        start = x if not np.isnan(x) and ends[0] <= x <= ends[1] else (ends[0] if end == ends[1] else ends[1])
        ways = []
        if reachable:
            pair = np.array([start, end])
            gains = sign * (self._part(j, pair) - self._part(j, np.array([x])))
            costs = change_of(feature, np.full(2, x), pair)
            if costs[1] > costs[0] and gains[1] > gains[0]:
                ways.append(Way(costs, gains, pair, between=True))
            else:
                ways += [Way(costs[[k]], gains[[k]], pair[[k]]) for k in (0, 1)]
        if self.policy.to_missing[j] and not np.isnan(x):
            gone = np.array([np.nan])
            gain = sign * (self._part(j, gone) - self._part(j, np.array([x])))
            ways.append(Way(change_of(feature, np.array([x]), gone), gain, gone))
        return ways

    def _part(self, j: int, values: Floats) -> Floats:
        """What the values of a feature add to the log-odds."""
        table = self.level[j]
        if j not in self.slope:
            return np.asarray(table[np.where(np.isnan(values), -1, values).astype(np.int64)])
        return np.asarray(np.where(np.isnan(values), table[-1], table[0] + self.slope[j] * values))


def _better(cost: Floats, gain: Floats, value: Floats) -> Way:
    """The way through those values that no other beats in both; the first of them is the present one."""
    order = np.lexsort((np.arange(len(cost)), -gain, cost))
    cost, gain, value = cost[order], gain[order], value[order]
    best = np.maximum.accumulate(gain)
    kept = np.concatenate([[True], gain[1:] > best[:-1]])
    return Way(cost[kept], gain[kept], value[kept])


def linear(native: Native, policy: Policy, rows: Floats, p: Floats | None, nodes: int) -> Linear:
    """The linear model as a sum over features.

    Args:
        rows: shape (n, d), codes; `p`, shape (n,), is what the model says of the second class.

    Raises:
        UnreadableError: the model is not the logistic one, or mixes features before it is linear.
    """
    schema = policy.schema
    even = straight(native.before, schema.names)
    bent = [f.name for f in schema.features if f.kind == "numeric" and f.name not in even]
    if bent:
        raise UnreadableError(f"the number {bent[0]} is treated as levels before the model")

    def odds(codes: Floats) -> Floats:
        given = native.transform(decode(schema, codes))
        return np.asarray(native.estimator.decision_function(given), dtype=np.float64).reshape(-1)

    if column_sources(lambda codes: native.transform(decode(schema, codes)), rows) is None:
        raise UnreadableError("the model mixes several features in one column before its last step")
    if p is not None and np.abs(1 / (1 + np.exp(-odds(rows))) - p).max() > 1e-9:
        raise UnreadableError("the scores are not those of its log-odds")
    slope, level = {}, {}
    for j, feature in enumerate(schema.features):
        probes = np.array([*range(max(len(feature.levels), 2)), np.nan], dtype=np.float64)
        if not feature.levels:
            width = feature.scale or 1.0
            probes = np.array([feature.low, feature.low + width, np.nan])
        tried = np.repeat(rows[:1], len(probes), axis=0)
        tried[:, j] = np.where(probes < len(feature.levels), probes, np.nan) if feature.levels else probes
        if not policy.to_missing[j] and not np.isnan(rows[:, j]).any():
            tried[-1, j] = tried[0, j]
        found = odds(tried)
        if feature.levels:
            level[j] = np.append(found[: len(feature.levels)], found[-1])
        else:
            slope[j] = float(found[1] - found[0]) / width
            level[j] = np.array([float(found[0]) - slope[j] * feature.low, float(found[-1])])
    return Linear(schema, policy, odds, slope, level, nodes)
