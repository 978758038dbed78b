"""The beam: combinations of moves, of all queries at once, in the order of what they promise to cost."""

from typing import NamedTuple

import numpy as np

from audit.core.counterfactuals import changed
from audit.core.model import Ints
from audit.core.neighbours import distinct, first, rank
from audit.core.table import Floats
from audit.search.cheapest.hunt import Hunt
from audit.search.cheapest.moves import Moves

ALIKE = 2
"""States of one query that change the same features at most, so that the beam does not fill with near-copies."""


class States(NamedTuple):
    """At most W rows on the way for each of n queries, the most promising first.

    Attributes:
        codes: shape (n, W, d).
        cost: shape (n, W), infinite where there is no state.
        lift: shape (n, W), log-odds of a flip, as the model has answered.
        parts: shape (n, W, d), what each feature costs.
        gains: shape (n, W, d), what the change of each feature gains alone, as far as that is known.
    """

    codes: Floats
    cost: Floats
    lift: Floats
    parts: Floats
    gains: Floats


class Rows(NamedTuple):
    """Rows on the way, of any queries: as States, with the query in front; shapes (m,) and (m, d)."""

    which: Ints
    codes: Floats
    cost: Floats
    lift: Floats
    parts: Floats
    gains: Floats

    def take(self, chosen: Ints) -> "Rows":
        """The chosen ones."""
        return Rows(
            self.which[chosen], self.codes[chosen], self.cost[chosen],
            self.lift[chosen], self.parts[chosen], self.gains[chosen],
        )  # fmt: skip


def singles(hunt: Hunt, moves: Moves, width: int) -> States:
    """The states after one move, which the model has answered for: of each feature the most promising, and the best."""
    n, f, _ = moves.cost.shape
    with np.errstate(invalid="ignore"):
        missing = np.maximum(-(moves.start[:, None, None] + moves.gain), 0.0)
        score = np.where(np.isfinite(moves.cost), moves.cost + missing / moves.rate[:, None, None], np.inf)
    if not f:
        return states_of(hunt, _rows(hunt, moves, np.empty((3, 0), dtype=np.int64)), moves, width)
    promising = score.argmin(axis=2)
    highest = np.where(np.isfinite(moves.cost), moves.gain, -np.inf).argmax(axis=2)
    which, feature = (np.concatenate([part.ravel()] * 2) for part in np.indices((n, f)))
    place = np.concatenate([promising.ravel(), highest.ravel()])
    real = np.isfinite(moves.cost[which, feature, place])
    real[n * f :] &= (promising != highest).ravel()
    return states_of(hunt, _rows(hunt, moves, np.stack([which, feature, place])[:, real]), moves, width)


def _rows(hunt: Hunt, moves: Moves, at: Ints) -> Rows:
    """The rows after one move."""
    which, f, p = at
    feature, every = moves.features[f], np.arange(len(which))
    codes, parts, gains = (
        hunt.rows[which],
        np.zeros((len(which), hunt.rows.shape[1])),
        np.zeros((len(which), hunt.rows.shape[1])),
    )
    codes[every, feature] = moves.value[which, f, p]
    parts[every, feature] = moves.cost[which, f, p]
    gains[every, feature] = moves.gain[which, f, p]
    return Rows(which, codes, moves.cost[which, f, p], moves.start[which] + moves.gain[which, f, p], parts, gains)


def expand(hunt: Hunt, moves: Moves, states: States, width: int, *, bold: bool = False) -> States:
    """The states after one move more, which may replace another of the same feature.

    For each state and feature the move that promises most, by cost plus what is then missing at the best rate, and
    the cheapest that should flip, or where it is bold the one that gains most of those that cost less than the bound.
    Of both kinds `width` are asked for, and of all `width` go on.
    """
    if not states.cost.size or not moves.cost.size:
        return states
    cost = (states.cost[:, :, None] - states.parts[:, :, moves.features])[..., None] + moves.cost[:, None]
    lift = (states.lift[:, :, None] - states.gains[:, :, moves.features])[..., None] + moves.gain[:, None]
    same = ~changed(states.codes[:, :, moves.features, None], moves.value[:, None])
    bound = hunt.bound[:, None, None, None]
    cost[same | ~(cost < bound)] = np.inf
    missing = np.maximum(-lift, 0.0)
    score = cost + missing / moves.rate[:, None, None, None]
    score[~(score < bound)] = np.inf
    closing = np.where(np.isfinite(cost), -lift, np.inf) if bold else np.where(missing > 0, np.inf, cost)
    chosen = [_best_of_each(table, width) for table in (closing, score)]
    at = np.concatenate(chosen, axis=1)
    rows = _children(moves, states, at, cost[tuple(at)])
    rows = rows.take(hunt.unseen(rows.which, rows.codes))
    lifts, fine = hunt.ask(rows.which, rows.codes)
    return states_of(hunt, rows._replace(lift=lifts).take(np.flatnonzero(~fine)), moves, width)


def _best_of_each(table: Floats, most: int) -> Ints:
    """Of each state and feature the lowest entry of a table (n, W, F, P), of these the `most` lowest of each query.

    Returns:
        Their places in the table, shape (4, m).
    """
    n, w, f, _ = table.shape
    place = table.argmin(axis=3)
    low = np.take_along_axis(table, place[..., None], axis=3).reshape(n, w * f)
    pick = first(low, min(most, w * f))
    which, column = np.nonzero(np.isfinite(np.take_along_axis(low, pick, axis=1)))
    pair = pick[which, column]
    state, feature = pair // f, pair % f
    return np.stack([which, state, feature, place[which, state, feature]])


def _children(moves: Moves, states: States, at: Ints, cost: Floats) -> Rows:
    which, state, f, place = at
    every, feature = np.arange(len(which)), moves.features[f]
    codes, parts, gains = (table[which, state] for table in (states.codes, states.parts, states.gains))
    codes[every, feature] = moves.value[which, f, place]
    parts[every, feature] = moves.cost[which, f, place]
    gains[every, feature] = moves.gain[which, f, place]
    return Rows(which, codes, cost, np.zeros(len(which)), parts, gains)


def states_of(hunt: Hunt, rows: Rows, moves: Moves, width: int, *, least: bool = True) -> States:
    """The `width` most promising of some rows of each query, of each set of features `ALIKE` at most."""
    score = rows.cost + np.maximum(-rows.lift, 0.0) / moves.rate[rows.which]
    order = np.lexsort((score, rows.which))
    rows = rows.take(order[score[order] < hunt.bound[rows.which[order]]] if least else order)
    levers = changed(hunt.rows[rows.which], rows.codes).astype(np.float64)
    _, group = distinct(rows.which, levers)
    by_group = np.argsort(group, kind="stable")
    alike = np.empty(len(group), dtype=np.int64)
    alike[by_group] = rank(group[by_group])
    rows = rows.take(np.flatnonzero(alike < ALIKE))
    place = rank(rows.which)
    rows, place = rows.take(np.flatnonzero(place < width)), place[place < width]
    n, d = hunt.rows.shape
    states = States(
        np.repeat(hunt.rows[:, None, :], width, axis=1), np.full((n, width), np.inf), np.zeros((n, width)),
        np.zeros((n, width, d)), np.zeros((n, width, d)),
    )  # fmt: skip
    for table, part in zip(states, rows[1:], strict=True):
        table[rows.which, place] = part
    return states
