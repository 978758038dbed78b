"""The cheapest way to a gain to which each feature adds its own part: branch and bound over features."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from audit.core.table import Floats

SLACK = 1e-12
"""Costs that differ by less are the same."""


class Way(NamedTuple):
    """One way for a feature to change: to one of several values, or anywhere between two of them.

    Attributes:
        cost, gain, value: shape (k,), ascending in cost and in gain.
        between: every point between the first value and the last, k being 2, can be had at its share of both.
    """

    cost: Floats
    gain: Floats
    value: Floats
    between: bool = False


class Best(NamedTuple):
    """What was found.

    Attributes:
        values: shape (d,), the value of each lever; None where nothing was found.
        cost: of these; infinite without.
        settled: nothing is cheaper, or there is nothing at all.
    """

    values: Floats | None
    cost: float
    settled: bool


class _State(NamedTuple):
    """What is left open for a lever: all of its ways (`way` -1), or the places `first` to `last` of one."""

    way: int
    first: int
    last: int


OPEN = _State(-1, 0, -1)


class _Hull(NamedTuple):
    """The points of a lever that no mixture of others beats, cheapest first.

    Attributes:
        place: the way and the place in it of each.
    """

    cost: Floats
    gain: Floats
    place: tuple[tuple[int, int], ...]


@dataclass
class _Problem:
    levers: Sequence[Sequence[Way]]
    need: float
    cost: float = np.inf
    values: Floats | None = None
    hulls: dict[tuple[int, _State], _Hull] = field(default_factory=dict)

    def hull(self, lever: int, state: _State) -> _Hull:
        key = (lever, state)
        if key not in self.hulls:
            self.hulls[key] = _hull(self.levers[lever], state)
        return self.hulls[key]

    def offer(self, cost: float, values: Floats) -> None:
        """Keeps an answer that is cheaper than those before."""
        if cost < self.cost - SLACK:
            self.cost, self.values = cost, values


class _Relaxed(NamedTuple):
    """The cheapest mixture of points.

    Attributes:
        bound: its cost, which no answer under these states beats; infinite where the gain cannot be reached.
        at: of each lever the point of its hull up to which it goes.
        part: the lever that goes on to its next point by a share only, and the gain that it must reach; lever -1: none.
    """

    bound: float
    at: list[int]
    part: tuple[int, float]


def cheapest(levers: Sequence[Sequence[Way]], need: float, nodes: int) -> Best:
    """The values of least cost whose gains sum to at least `need`.

    Args:
        levers: of each feature the ways that it may go; the first place of the first way is to stay as it is.
        nodes: relaxations that are solved at most.
    """
    problem = _Problem(levers, need)
    heap: list[tuple[float, int, tuple[_State, ...]]] = []
    made = 0

    def add(states: tuple[_State, ...]) -> None:
        nonlocal made
        made += 1
        relaxed = _relax(problem, states)
        if relaxed.bound >= problem.cost - SLACK:
            return
        if not _complete(problem, states, relaxed):
            heapq.heappush(heap, (relaxed.bound, made, states))

    add((OPEN,) * len(levers))
    while heap and made < nodes:
        bound, _, states = heapq.heappop(heap)
        if bound >= problem.cost - SLACK:
            heap.clear()
            break
        lever, wanted = _relax(problem, states).part
        for state in _split(levers[lever], states[lever], wanted):
            add((*states[:lever], state, *states[lever + 1 :]))
    open_bound = min((entry[0] for entry in heap), default=np.inf)
    return Best(problem.values, problem.cost, settled=open_bound >= problem.cost - SLACK)


def _relax(problem: _Problem, states: Sequence[_State]) -> _Relaxed:
    """The cheapest mixture of the points that the states leave open."""
    hulls = [problem.hull(lever, state) for lever, state in enumerate(states)]
    cost = sum(float(hull.cost[0]) for hull in hulls)
    gain = sum(float(hull.gain[0]) for hull in hulls)
    at = [0] * len(hulls)
    steps = [
        (dc / dg, lever, k, dc, dg)
        for lever, hull in enumerate(hulls)
        for k, (dc, dg) in enumerate(zip(np.diff(hull.cost).tolist(), np.diff(hull.gain).tolist(), strict=True))
    ]
    for rate, lever, k, dc, dg in sorted(steps):
        if gain >= problem.need:
            break
        if gain + dg > problem.need:
            missing = problem.need - gain
            return _Relaxed(cost + rate * missing, at, (lever, float(hulls[lever].gain[k]) + missing))
        at[lever], cost, gain = k + 1, cost + dc, gain + dg
    return _Relaxed(cost if gain >= problem.need else np.inf, at, (-1, 0.0))


def _complete(problem: _Problem, states: Sequence[_State], relaxed: _Relaxed) -> bool:
    """Offers an answer made of the mixture; True where that is as cheap, so that nothing is left to look at."""
    lever, wanted = relaxed.part
    values, cost = np.empty(len(states)), 0.0
    for j, state in enumerate(states):
        hull = problem.hull(j, state)
        way, place = hull.place[relaxed.at[j]]
        values[j] = problem.levers[j][way].value[place]
        cost += float(hull.cost[relaxed.at[j]])
    if lever < 0:
        problem.offer(cost, values)
        return True
    cost -= float(problem.hull(lever, states[lever]).cost[relaxed.at[lever]])
    reached, value = _reach(problem.levers[lever], states[lever], wanted)
    values[lever] = value
    problem.offer(cost + reached, values)
    return cost + reached <= relaxed.bound + SLACK


def _reach(ways: Sequence[Way], state: _State, wanted: float) -> tuple[float, float]:
    """The least cost at which a lever reaches a gain, and the value."""
    best = (np.inf, np.nan)
    for index, way in enumerate(ways):
        if state.way not in {-1, index} or not len(way.cost):
            continue
        first, last = (state.first, state.last) if state.way == index else (0, len(way.cost) - 1)
        place = first + int(np.searchsorted(way.gain[first : last + 1], wanted, side="left"))
        if place > last:
            continue
        cost, value = float(way.cost[place]), float(way.value[place])
        if way.between and place == 1:
            share = (wanted - way.gain[0]) / (way.gain[1] - way.gain[0])
            cost = float(way.cost[0] + share * (way.cost[1] - way.cost[0]))
            value = float(way.value[0] + share * (way.value[1] - way.value[0]))
        best = min(best, (cost, value))
    return best


def _split(ways: Sequence[Way], state: _State, wanted: float) -> list[_State]:
    """States that together leave open what `state` does, and none of which allows the same mixture."""
    if state.way < 0 and len(ways) > 1:
        return [_State(index, 0, len(way.cost) - 1) for index, way in enumerate(ways)]
    (index,) = (0,) if state.way < 0 else (state.way,)
    way = ways[index]
    first, last = (state.first, state.last) if state.way >= 0 else (0, len(way.cost) - 1)
    below = first + int(np.searchsorted(way.gain[first : last + 1], wanted, side="left")) - 1
    return [_State(index, first, below), _State(index, below + 1, last)]


def _hull(ways: Sequence[Way], state: _State) -> _Hull:
    """The lower convex hull of the points that a state leaves open."""
    points = [
        (float(way.cost[k]), -float(way.gain[k]), index, k)
        for index, way in enumerate(ways)
        if state.way in {-1, index}
        for k in (range(state.first, state.last + 1) if state.way == index else range(len(way.cost)))
    ]
    kept: list[tuple[float, float, int, int]] = []
    for cost, loss, index, k in sorted(points):
        if kept and -loss <= kept[-1][1]:
            continue
        while len(kept) > 1 and _above(kept[-2], kept[-1], (cost, -loss)):
            kept.pop()
        kept.append((cost, -loss, index, k))
    costs, gains = np.array([point[0] for point in kept]), np.array([point[1] for point in kept])
    return _Hull(costs, gains, tuple((index, k) for _, _, index, k in kept))


def _above(a: tuple[float, float, int, int], b: tuple[float, float, int, int], c: tuple[float, float]) -> bool:
    """Whether going from a to c costs no more than by b, per gain."""
    return (b[0] - a[0]) * (c[1] - a[1]) >= (c[0] - a[0]) * (b[1] - a[1])
