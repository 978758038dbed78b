"""What makes a counterfactual cheaper: features set back, values moved back towards the row."""

import numpy as np

from audit.core.counterfactuals import change_of, changed
from audit.core.model import Ints
from audit.core.table import Floats
from audit.search.cheapest.beam import Rows, States, states_of
from audit.search.cheapest.hunt import Hunt
from audit.search.cheapest.moves import Moves
from audit.search.cheapest.prices import LEAST


def sparsify(hunt: Hunt, which: Ints, goals: Floats, passes: int = 3) -> None:
    """Sets back as many features of the goals (m, d), which flip, as group testing finds; keeps what still flips.

    Each feature is set back alone; in the order of what that costs in log-odds for what it saves, the longest run of
    features that can be set back together is found by halving. What is left is treated again.
    """
    hunt.keep(which, goals, np.zeros(len(goals)))
    state = goals.copy()
    live = np.arange(len(goals))
    for _ in range(passes):
        left = changed(hunt.rows[which[live]], state[live])
        live = live[left.sum(axis=1) > 1]
        if not len(live):
            return
        back = _longest_run(hunt, which[live], state[live])
        shorter = changed(back, state[live]).any(axis=1)
        state[live] = back
        live = live[shorter]


def _longest_run(hunt: Hunt, which: Ints, state: Floats) -> Floats:
    """The states with the longest run of features set back that group testing finds, shape (m, d)."""
    x = hunt.rows[which]
    left = changed(x, state)
    lane, feature = np.nonzero(left)
    codes = state[lane]
    codes[np.arange(len(lane)), feature] = x[lane, feature]
    lifts, fine = hunt.ask(which[lane], codes)
    saved = np.full(left.shape, np.inf)
    for j, schema_feature in enumerate(hunt.prices.schema.features):
        sizes = change_of(schema_feature, x[:, j], state[:, j]) * hunt.prices.weights[j] + hunt.prices.per_change
        saved[:, j] = np.maximum(sizes, LEAST)
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
        _, fine = hunt.ask(which[open_], tried)
        works[open_[fine]] = middle[fine]
        fails[open_[~fine]] = middle[~fine]
    return np.asarray(np.where(place < works[:, None], x, state))


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
    parts = hunt.prices.parts(hunt.rows[owner], rest)
    rows = Rows(owner, rest, parts.sum(axis=1), lifts, parts, _known(moves, owner, parts))
    return states_of(hunt, rows, moves, width, least=False)


def _known(moves: Moves, which: Ints, parts: Floats) -> Floats:
    """What the change of each feature gains alone: the gain of the dearest move that costs no more; shape (m, d)."""
    gains = np.zeros(parts.shape)
    for f, j in enumerate(moves.features):
        rows = np.flatnonzero(parts[:, j] > 0)
        within = moves.cost[which[rows], f] <= parts[rows, j, None]
        gains[rows, j] = np.where(within, moves.gain[which[rows], f], 0.0).max(axis=1, initial=0.0)
    return gains


def shrink(hunt: Hunt, most: int, tolerance: float, features: int = 4) -> None:
    """Moves the values of the cheapest counterfactuals towards their rows as far as they still flip, by halving.

    Args:
        most: counterfactuals of each query that are treated.
        tolerance: what is left open, as a share of the cost of the counterfactual.
        features: features of each that are treated at most, those that cost most first.
    """
    which, slot = hunt.lanes(most)
    if not len(which):
        return
    state, total = hunt.codes[which, slot].copy(), hunt.costs[which, slot]
    ordered = np.array([f.ordered and f.scale > 0 for f in hunt.prices.schema.features])
    x = hunt.rows[which]
    usable = changed(x, state) & ordered & ~np.isnan(x) & ~np.isnan(state)
    sizes = np.where(usable, np.abs(state - x) / _scales(hunt) * hunt.prices.weights, -1.0)
    order = np.argsort(-sizes, axis=1, kind="stable")[:, :features]
    for turn in range(order.shape[1]):
        feature = order[:, turn]
        lanes = np.flatnonzero(np.take_along_axis(sizes, feature[:, None], axis=1)[:, 0] > 0)
        if len(lanes):
            _halve(hunt, which, state, (lanes, feature[lanes]), tolerance * total[lanes])


def _scales(hunt: Hunt) -> Floats:
    return np.array([f.scale if f.scale > 0 else 1.0 for f in hunt.prices.schema.features])


def _halve(hunt: Hunt, which: Ints, state: Floats, at: tuple[Ints, Ints], close: Floats) -> None:
    """Moves one feature of each lane back towards the row, in place; stops where less than `close` is at stake."""
    lanes, feature = at
    x = hunt.rows[which[lanes], feature]
    fails, works = x.copy(), state[lanes, feature]
    unit = hunt.prices.weights[feature] / _scales(hunt)[feature]
    live = np.arange(len(lanes))
    while len(live):
        middle = _between(hunt, feature[live], x[live], fails[live], works[live])
        open_ = ((middle - fails[live]) * (works[live] - middle) > 0) & (
            np.abs(works[live] - fails[live]) * unit[live] > close[live]
        )
        live, middle = live[open_], middle[open_]
        codes = state[lanes[live]]
        codes[np.arange(len(live)), feature[live]] = middle
        _, fine = hunt.ask(which[lanes[live]], codes)
        works[live[fine]] = middle[fine]
        fails[live[~fine]] = middle[~fine]
    state[lanes, feature] = works


def _between(hunt: Hunt, feature: Ints, x: Floats, fails: Floats, works: Floats) -> Floats:
    """An allowed value about half way between two of each feature."""
    middle = (fails + works) / 2
    for j in np.unique(feature):
        own = feature == j
        middle[own] = hunt.queries.policy.reach(int(j), x[own], middle[own])
    return middle
