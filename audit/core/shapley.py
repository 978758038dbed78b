"""Shapley values of any function of rows, by orderings of the features; numpy alone."""

import math
from collections.abc import Callable, Iterable
from itertools import permutations as orderings

import numpy as np
from numpy.typing import NDArray

from audit.core.model import BLOCK_ROWS
from audit.core.table import Floats

Score = Callable[[Floats], Floats]
Order = tuple[int, ...]
Coalition = frozenset[int]

EDGE = 1e-9
"""How near a probability may come to 0 and 1 before its log odds stop growing."""


def draw_orders(d: int, pairs: int, rng: np.random.Generator) -> list[Order]:
    """Orders of d features: `pairs` drawn ones, each with its reverse, or all of them where that is no more."""
    if d < 10 and math.factorial(d) <= 2 * pairs:
        return list(orderings(range(d)))
    drawn = [tuple(int(j) for j in rng.permutation(d)) for _ in range(pairs)]
    return [order for one in drawn for order in (one, one[::-1])]


def coalitions(orders: Iterable[Order]) -> list[Coalition]:
    """Every set of features that comes first in one of the orders, smallest first; the empty and the full set too."""
    found = {frozenset(order[:size]) for order in orders for size in range(len(order) + 1)}
    return sorted(found, key=lambda members: (len(members), sorted(members)))


def shapley_values(
    score: Score,
    rows: Floats,
    background: Floats,
    orders: list[Order],
    tick: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Floats, Floats]:
    """Shapley values, shape (n, d, K), and what is scored without any feature known, shape (K,).

    The worth of a set of features is the mean score over the background rows with these features set to those of the
    row. With all orders the values are exact; a drawn order and its reverse are exact for pairwise interactions, and
    the values of a row always sum to its score less that of the background.

    Args:
        score: codes of shape (m, d) to scores of shape (m, K).
        rows: shape (n, d).
        background: shape (b, d).

    Reference: E. Strumbelj, I. Kononenko, Knowledge and Information Systems 41 (2014), 647-665.
    """
    n, d = rows.shape
    base = score(background).mean(axis=0)
    full = score(rows)
    worth = {frozenset[int](): np.broadcast_to(base, full.shape), frozenset(range(d)): full}
    between = [members for members in coalitions(orders) if 0 < len(members) < d]
    step = max(1, BLOCK_ROWS // (n * len(background)))
    for start in range(0, len(between), step):
        chosen = between[start : start + step]
        mixed = np.concatenate([_mixed(rows, background, members) for members in chosen])
        means = score(mixed).reshape(len(chosen), n, len(background), -1).mean(axis=2)
        worth |= dict(zip(chosen, means, strict=True))
        tick(min(start + step, len(between)), len(between))
    values = np.zeros((n, d, full.shape[1]))
    for order in orders:
        for place, j in enumerate(order):
            values[:, j] += worth[frozenset(order[: place + 1])] - worth[frozenset(order[:place])]
    return values / len(orders), base


def log_odds(p: Floats) -> Floats:
    """The log odds of probabilities; those of 0 and 1 would be infinite, and are those of `EDGE` beside them."""
    inside = np.clip(p, EDGE, 1 - EDGE)
    return np.asarray(np.log(inside) - np.log1p(-inside))


def _mixed(rows: Floats, background: Floats, members: Coalition) -> Floats:
    """Every background row with the member features of every row, shape (n b, d)."""
    mixed = np.tile(background, (len(rows), 1))
    known = sorted(members)
    mixed[:, known] = np.repeat(rows[:, known], len(background), axis=0)
    return mixed


def column_sources(transform: Callable[[Floats], Floats], codes: Floats, most: int = 16) -> NDArray[np.int64] | None:
    """The feature that each column of a transform comes from, shape (m,); -1 for a column that is constant here.

    Found by trying: one feature at a time takes up to `most` of its other values in every row, and the columns that
    move are its own. None where a column moves with two features, or varies and moves with none.

    Args:
        transform: codes of shape (n, d) to a matrix of shape (n, m).
        codes: the rows that will be explained and those of the background.
    """
    before = transform(codes)
    sources = np.full(before.shape[1], -1)
    for j in range(codes.shape[1]):
        values = np.unique(codes[:, j])
        tried = values[np.unique(np.linspace(0, len(values) - 1, min(most, len(values))).round().astype(np.int64))]
        changed = np.tile(codes, (len(tried) + 1, 1))
        changed[:, j] = np.concatenate([np.repeat(tried, len(codes)), np.roll(codes[:, j], 1)])
        moved = _differs(transform(changed), np.tile(before, (len(tried) + 1, 1))).any(axis=0)
        if (sources[moved] >= 0).any():
            return None
        sources[moved] = j
    unexplained = _differs(before, np.broadcast_to(before[:1], before.shape)).any(axis=0) & (sources < 0)
    return None if unexplained.any() else sources


def _differs(a: Floats, b: Floats) -> NDArray[np.bool_]:
    """Where two matrices differ by more than rounding; a missing value differs from any other."""
    return ~np.isclose(a, b, rtol=1e-12, atol=1e-12, equal_nan=True)
