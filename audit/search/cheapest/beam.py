"""The beam: combinations of moves, of all queries at once, in the order of what they promise to cost."""

from typing import NamedTuple

import numpy as np

from audit.core.counterfactuals import changed
from audit.core.model import Ints
from audit.core.neighbours import by_owner, rank, row_keys, run_starts
from audit.core.table import Floats
from audit.search.cheapest.hunt import Hunt
from audit.search.cheapest.moves import Moves
from audit.search.cheapest.prices import lever_keys

ALIKE = 2
"""States of one query that change the same features at most, so that the beam does not fill with near-copies."""


class States(NamedTuple):
    """m rows on the way, by query.

    Attributes:
        which: shape (m,), the query.
        codes: shape (m, d).
        cost: shape (m,).
        lift: shape (m,), log-odds of a flip, as the model has answered.
        parts: shape (m, d), what each feature costs.
        gains: shape (m, d), what the change of each feature gains alone, as far as that is known.
    """

    which: Ints
    codes: Floats
    cost: Floats
    lift: Floats
    parts: Floats
    gains: Floats

    def take(self, chosen: Ints) -> "States":
        """The chosen ones."""
        return States(
            self.which[chosen], self.codes[chosen], self.cost[chosen],
            self.lift[chosen], self.parts[chosen], self.gains[chosen],
        )  # fmt: skip

    def moved(self, moves: Moves, state: Ints, move: Ints) -> "States":
        """The rows after a move more each, which may replace another of its feature; their lift is not yet known."""
        after, feature = self.take(state), moves.feature[move]
        every = np.arange(len(state))
        after.cost[:] += moves.cost[move] - after.parts[every, feature]
        after.codes[every, feature] = moves.value[move]
        after.parts[every, feature] = moves.cost[move]
        after.gains[every, feature] = moves.gain[move]
        return after

    def codes_after(self, moves: Moves, state: Ints, move: Ints) -> Floats:
        """The codes of `moved` alone."""
        codes = self.codes[state]
        codes[np.arange(len(state)), moves.feature[move]] = moves.value[move]
        return codes


class Trials(NamedTuple):
    """m rows that the model has answered for, of which some become states; as in `States`."""

    which: Ints
    codes: Floats
    cost: Floats
    lift: Floats


def singles(hunt: Hunt, moves: Moves, width: int) -> States:
    """The states after one move, which the model has answered for: of each feature the most promising, and the best."""
    score = moves.cost + np.maximum(-(moves.start[moves.which] + moves.gain), 0.0) / moves.rate[moves.which]
    d = hunt.rows.shape[1]
    group = moves.which * d + moves.feature
    chosen = np.unique(np.concatenate([lowest(score, group), lowest(-moves.gain, group)]))
    n = len(hunt.rows)
    root = States(np.arange(n), hunt.rows, np.zeros(n), moves.start, np.zeros((n, d)), np.zeros((n, d)))
    which, codes = moves.which[chosen], root.codes_after(moves, moves.which[chosen], chosen)
    lift = moves.start[which] + moves.gain[chosen]
    some = promising(hunt, moves, Trials(which, codes, moves.cost[chosen], lift), width, np.arange(len(chosen)))
    return root.moved(moves, which[some], chosen[some])._replace(lift=lift[some])


def expand(hunt: Hunt, moves: Moves, states: States, width: int, *, bold: bool = False) -> States:
    """The states after one move more, which may replace another of the same feature.

    For each state and feature the move that promises most, by cost plus what is then missing at the best rate, and
    the cheapest that should flip, or where it is bold the one that gains most of those that cost less than the bound.
    Of both kinds `width` are asked for, and of all `width` go on.
    """
    state, move = moves.of_queries(states.which)
    place = state * states.codes.shape[1] + moves.feature[move]
    base = states.cost[:, None] - states.parts
    # A state of one feature, replaced, is another single move, and was asked for with the others.
    alone = (states.parts > 0).sum(axis=1) == 1
    base[alone[:, None] & (states.parts > 0)] = np.inf
    bound = hunt.bound[states.which][state]
    cost = base.ravel()[place] + moves.cost[move]
    fits = np.flatnonzero(cost < bound)
    fits = fits[changed(states.codes.ravel()[place[fits]], moves.value[move[fits]])]
    state, move, place, cost = state[fits], move[fits], place[fits], cost[fits]
    which = states.which[state]
    lift = (states.lift[:, None] - states.gains).ravel()[place] + moves.gain[move]
    score = cost + np.maximum(-lift, 0.0) / moves.rate[which]
    score[~(score < bound[fits])] = np.inf
    closing = -lift if bold else np.where(lift >= 0, cost, np.inf)
    chosen = np.concatenate([_lowest_of_each(table, place, which, width) for table in (closing, score)])
    state, move, which = state[chosen], move[chosen], which[chosen]
    codes = states.codes_after(moves, state, move)
    fresh = hunt.unseen(which, codes)
    state, move, which, codes = state[fresh], move[fresh], which[fresh], codes[fresh]
    lifts, fine = hunt.ask(which, codes)
    cost = states.cost[state] + (moves.cost[move] - states.parts[state, moves.feature[move]])
    some = promising(hunt, moves, Trials(which, codes, cost, lifts), width, np.flatnonzero(~fine))
    return states.moved(moves, state[some], move[some])._replace(lift=lifts[some])


def _lowest_of_each(table: Floats, group: Ints, which: Ints, most: int) -> Ints:
    """Of each group the lowest finite entry of a table (m,), of these the `most` lowest of each query."""
    finite = np.flatnonzero(np.isfinite(table))
    low = finite[lowest(table[finite], group[finite])]
    low = low[by_owner(table[low], which[low])]
    return np.asarray(low[rank(which[low]) < most])


def lowest(table: Floats, group: Ints) -> Ints:
    """The position of the lowest entry of each group, the first of equal ones; groups stand together."""
    if not len(table):
        return np.empty(0, dtype=np.int64)
    starts = run_starts(group)
    low = np.minimum.reduceat(table, starts)
    equal = np.flatnonzero(table == np.repeat(low, np.diff(np.append(starts, len(table)))))
    return np.asarray(equal[run_starts(group[equal])])


def promising(hunt: Hunt, moves: Moves, trials: Trials, width: int, open_: Ints | None = None) -> Ints:
    """The positions of the `width` most promising rows of each query, of each set of features `ALIKE` at most.

    Args:
        open_: positions of the rows among which it chooses those that promise to cost less than what is known; of
            all, whatever they promise to cost, where absent.
    """
    score = trials.cost + np.maximum(-trials.lift, 0.0) / moves.rate[trials.which]
    if open_ is None:
        order = by_owner(score, trials.which)
    else:
        open_ = open_[score[open_] < hunt.bound[trials.which[open_]]]
        order = open_[by_owner(score[open_], trials.which[open_])]
    which = trials.which[order]
    keys = row_keys(which, lever_keys(changed(hunt.rows[which], trials.codes[order])))
    by_key = np.argsort(keys, kind="stable")
    alike = np.empty(len(keys), dtype=np.int64)
    alike[by_key] = rank(keys[by_key])
    few = np.flatnonzero(alike < ALIKE)
    return np.asarray(order[few[rank(which[few]) < width]])
