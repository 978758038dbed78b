"""What makes a counterfactual cheaper: features set back, values moved back towards the row."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from audit.core.counterfactuals import changed
from audit.core.model import Ints
from audit.core.neighbours import by_owner, rank, run_starts
from audit.core.table import Floats
from audit.search.cheapest.beam import States, Trials, lowest, promising
from audit.search.cheapest.hunt import Bools, Hunt
from audit.search.cheapest.moves import Grid, Moves
from audit.search.cheapest.prices import LEAST


class Flips(NamedTuple):
    """Rows that flip, not yet kept: nothing that is asked for meanwhile depends on what is known.

    Attributes:
        found: their queries, shape (m,), codes, shape (m, d), and log-odds, shape (m,), in the order of asking.
    """

    found: list[tuple[Ints, Floats, Floats]]

    def ask(self, hunt: Hunt, which: Ints, codes: Floats) -> tuple[Floats, Bools]:
        """As `Hunt.ask`; what flips is kept later."""
        lifts, fine = hunt.judge(which, codes)
        self.found.append((which[fine], codes[fine], lifts[fine]))
        return lifts, fine

    def keep(self, hunt: Hunt) -> None:
        """Keeps all."""
        if self.found:
            which, codes, lifts = (np.concatenate(part) for part in zip(*self.found, strict=True))
            hunt.keep(which, codes, lifts)


def sparsify(hunt: Hunt, which: Ints, goals: Floats, passes: int = 3) -> None:
    """Sets back as many features of the goals (m, d), which flip, as group testing finds; keeps what still flips.

    Each feature is set back alone; in the order of what that costs in log-odds for what it saves, the longest run of
    features that can be set back together is found by halving. What is left is treated again.
    """
    near = hunt.admitted(which, goals)
    flips = Flips([(which[near], goals[near], np.zeros(int(near.sum())))])
    state = goals.copy()
    live = np.arange(len(goals))
    for _ in range(passes):
        left = changed(hunt.rows[which[live]], state[live])
        live = live[left.sum(axis=1) > 1]
        if not len(live):
            break
        back = _longest_run(hunt, flips, which[live], state[live])
        shorter = changed(back, state[live]).any(axis=1)
        state[live] = back
        live = live[shorter]
    flips.keep(hunt)


def _longest_run(hunt: Hunt, flips: Flips, which: Ints, state: Floats) -> Floats:
    """The states with the longest run of features set back that group testing finds, shape (m, d)."""
    x = hunt.rows[which]
    left = changed(x, state)
    lane, feature = np.nonzero(left)
    codes = state[lane]
    codes[np.arange(len(lane)), feature] = x[lane, feature]
    lifts, fine = flips.ask(hunt, which[lane], codes)
    saved = np.maximum(hunt.prices.parts(x, state), LEAST)
    top = np.full(len(x), -np.inf)
    np.maximum.at(top, lane, lifts)
    order_key = np.full(left.shape, np.inf)
    order_key[lane, feature] = (top[lane] - lifts) / saved[lane, feature]
    # Features in the order in which they are set back; those that did not differ come last and stay.
    place = np.argsort(np.argsort(order_key, axis=1, kind="stable"), axis=1, kind="stable")
    works, fails = np.zeros(len(x), dtype=np.int64), left.sum(axis=1)
    single = np.zeros(left.shape, dtype=bool)
    single[lane, feature] = fine
    works[(single & (place == 0)).any(axis=1)] = 1
    while len(open_ := np.flatnonzero(fails - works > 1)):
        middle = (works[open_] + fails[open_]) // 2
        tried = np.where(place[open_] < middle[:, None], x[open_], state[open_])
        _, fine = flips.ask(hunt, which[open_], tried)
        works[open_[fine]] = middle[fine]
        fails[open_[~fine]] = middle[~fine]
    return np.asarray(np.where(place < works[:, None], x, state))


def best_states(hunt: Hunt, moves: Moves, most: int) -> States:
    """The best counterfactuals of each query as states."""
    which, slot = hunt.lanes(most)
    return _as_states(hunt, moves, which, hunt.codes[which, slot], hunt.lifts[which, slot])


def _as_states(hunt: Hunt, moves: Moves, which: Ints, codes: Floats, lifts: Floats) -> States:
    """Rows that the model has answered for as states; a change gains what the dearest move that costs no more does."""
    parts = hunt.prices.parts(hunt.rows[which], codes)
    gains = np.zeros(parts.shape)
    lane, feature = np.nonzero(parts > 0)
    gains[lane, feature] = moves.gain_within(which[lane], feature, parts[lane, feature])
    return States(which, codes, parts.sum(axis=1), lifts, parts, gains)


def revert(hunt: Hunt, moves: Moves, most: int, width: int) -> States:
    """The best counterfactuals with one feature set back, and as they are: states to go on from."""
    which, slot = hunt.lanes(most)
    codes, x = hunt.codes[which, slot], hunt.rows[which]
    lane, feature = np.nonzero(changed(x, codes))
    back = codes[lane]
    back[np.arange(len(lane)), feature] = x[lane, feature]
    fresh = np.flatnonzero(changed(x[lane], back).any(axis=1))
    fresh = fresh[hunt.unseen(which[lane[fresh]], back[fresh])]
    owner, rest = which[lane[fresh]], back[fresh]
    lifts, fine = hunt.ask(owner, rest)
    which, slot = hunt.lanes(most)
    owner = np.concatenate([owner[~fine], which])
    rest = np.concatenate([rest[~fine], hunt.codes[which, slot]])
    lifts = np.concatenate([lifts[~fine], hunt.lifts[which, slot]])
    states = _as_states(hunt, moves, owner, rest, lifts)
    return states.take(promising(hunt, moves, Trials(owner, rest, states.cost, lifts), width))


def trade(hunt: Hunt, moves: Moves, most: int, tried: int) -> None:
    """Less of one feature for more of another: pairs of moves that would make the best counterfactuals cheaper.

    Each changed feature is given each other value of the table, or its own back. With that goes the move of another
    feature that gains most of those that keep the whole cheaper than what is known: if that does not flip, no cheaper
    one will, as a rule. The `tried` pairs of each counterfactual that should be furthest beyond the flip are asked for.
    """
    best = best_states(hunt, moves, most)
    less = _less(hunt, moves, best)
    which = best.which[less.lane]
    option, to, cheapest, dearest = moves.groups(which)
    base, bound = less.cost[option] - best.parts[less.lane[option], to], hunt.bound[which[option]]
    fits = np.flatnonzero((base + moves.cost[cheapest] < bound) & (to != less.feature[option]))
    option, to = option[fits], to[fits]
    # Of one feature, what costs more gains more.
    second = moves.dearest(cheapest[fits], dearest[fits], base[fits], bound[fits])
    lift = less.lift[option] - best.gains[less.lane[option], to] + moves.gain[second]
    chosen = lowest(-lift, option)
    owner = less.lane[option[chosen]]
    order = by_owner(-lift[chosen], owner)
    chosen = chosen[order[rank(owner[order]) < tried]]
    option, second = option[chosen], second[chosen]
    every, codes = np.arange(len(option)), best.codes[less.lane[option]]
    codes[every, less.feature[option]] = less.value[option]
    codes[every, moves.feature[second]] = moves.value[second]
    fresh = hunt.unseen(which[option], codes)
    hunt.ask(which[option[fresh]], codes[fresh])


class Less(NamedTuple):
    """States of which one changed feature has another value, or its own back.

    Attributes:
        lane: shape (m,), the state.
        feature: shape (m,), the feature.
        value: shape (m,), its code.
        cost: shape (m,), of the whole.
        lift: shape (m,), of the whole, as far as that is known.
    """

    lane: Ints
    feature: Ints
    value: Floats
    cost: Floats
    lift: Floats


def _less(hunt: Hunt, moves: Moves, best: States) -> Less:
    """Each state with one changed feature at each other value of the table, and at its own."""
    lane, feature = np.nonzero(best.parts > 0)
    pair, move = moves.of_features(best.which[lane], feature)
    part, lost = best.parts[lane, feature], best.gains[lane, feature]
    given = Less(
        lane[pair], feature[pair], moves.value[move],
        best.cost[lane[pair]] + (moves.cost[move] - part[pair]),
        best.lift[lane[pair]] + (moves.gain[move] - lost[pair]),
    )  # fmt: skip
    back = Less(lane, feature, hunt.rows[best.which[lane], feature], best.cost[lane] - part, best.lift[lane] - lost)
    both = Less(*(np.concatenate(parts) for parts in zip(given, back, strict=True)))
    # With nothing left, the second move would be a single one, and was asked for with the others.
    left = (best.parts > 0).sum(axis=1)[both.lane] > 1
    left[: len(move)] |= moves.cost[move] > 0
    return Less(*(part[left] for part in both))


def shrink(hunt: Hunt, grid: Grid, most: int, tolerance: float, features: int = 4) -> None:
    """Moves the values of the cheapest counterfactuals towards their rows as far as they still flip, by halving.

    Args:
        most: counterfactuals of each query that are treated.
        tolerance: what is left open, as a share of the cost of the counterfactual.
        features: features of each that are treated at most, those that cost most first.
    """
    which, slot = hunt.lanes(most)
    which, slot = which[~hunt.short[which, slot]], slot[~hunt.short[which, slot]]
    if not len(which):
        return
    state, total = hunt.codes[which, slot].copy(), hunt.costs[which, slot]
    ordered = np.array([f.ordered and f.scale > 0 for f in hunt.prices.schema.features])
    x = hunt.rows[which]
    usable = changed(x, state) & ordered & ~np.isnan(x) & ~np.isnan(state)
    sizes = np.where(usable, np.abs(state - x) / hunt.prices.scale * hunt.prices.weights, -1.0)
    order = np.argsort(-sizes, axis=1, kind="stable")[:, :features]
    count = np.minimum((sizes > 0).sum(axis=1), features)
    order[np.arange(order.shape[1]) >= count[:, None]] = -1
    _halve(hunt, grid, (which, state), order[:, : int(count.max())], tolerance * total)
    hunt.short[:, :most] = True


def _halve(hunt: Hunt, grid: Grid, lanes: tuple[Ints, Floats], order: Ints, close: Floats) -> None:
    """Moves the features of each lane back towards the row, one after the other; all lanes are asked for together.

    Args:
        lanes: the query, shape (m,), and the row, shape (m, d), of each.
        order: shape (m, k), the features of each lane; -1 behind the last.
        close: shape (m,), a feature is left where less cost than this is at stake.
    """
    which, state = lanes
    flips = Flips([])
    unit = hunt.prices.weights / hunt.prices.scale
    order = np.concatenate([order, np.full((len(order), 1), -1)], axis=1)
    turn, feature, x = np.zeros(len(which), dtype=np.int64), order[:, 0].copy(), hunt.rows[which]
    fails, works = x[np.arange(len(x)), feature], state[np.arange(len(x)), feature]
    while len(live := np.flatnonzero(feature >= 0)):
        middle = _between(grid, feature[live], x[live], fails[live], works[live])
        going = (middle - fails[live]) * (works[live] - middle) > 0
        going &= np.abs(works[live] - fails[live]) * unit[feature[live]] > close[live]
        at, tried, done = live[going], middle[going], live[~going]
        codes = state[at]
        codes[np.arange(len(at)), feature[at]] = tried
        _, fine = flips.ask(hunt, which[at], codes)
        works[at[fine]], fails[at[~fine]] = tried[fine], tried[~fine]
        state[at[fine]] = codes[fine]
        turn[done] += 1
        feature[done] = order[done, turn[done]]
        fails[done], works[done] = x[done, feature[done]], state[done, feature[done]]
    flips.keep(hunt)


def _between(grid: Grid, feature: Ints, x: Floats, fails: Floats, works: Floats) -> Floats:
    """For rows x (m, d), each with a feature (m,), an allowed value about half way between two of it; shape (m,)."""
    middle = np.empty(len(feature))
    order = np.argsort(feature, kind="stable")
    for start, stop in pairwise([*run_starts(feature[order]).tolist(), len(order)]):
        part = order[start:stop]
        j = int(feature[part[0]])
        middle[part] = grid.between(j, x[part, j], fails[part], works[part])
    return middle
