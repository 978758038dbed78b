"""Whether a ranking of features says what the score of a row rests on: the score as features are taken away."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from audit.core.model import Ints
from audit.core.stats import mean_interval
from audit.core.table import Floats, Table


def stand_ins(reference: Table) -> Floats:
    """The value that stands for a removed feature, shape (d,): the mean of numbers, else the most frequent level.

    Missing values are left out; a column without values has none.
    """
    values = np.full(len(reference.schema), np.nan)
    for j, feature in enumerate(reference.schema.features):
        known = reference.codes[~np.isnan(reference.codes[:, j]), j]
        if len(known):
            values[j] = known.mean() if feature.kind == "numeric" else np.bincount(known.astype(np.int64)).argmax()
    return values


def ranked(sizes: Floats, features: Ints, rng: np.random.Generator) -> Ints:
    """The features by falling size; ties in random order, so that no ranking gains by the order of the columns."""
    shuffled = rng.permutation(features)
    return np.asarray(shuffled[np.argsort(-np.round(sizes[shuffled], 12), kind="stable")])


def shared_top(first: Ints, second: Ints, k: int) -> float:
    """Feature Agreement at k: the share of the first k of one ranking that are among the first k of the other."""
    return len(np.intersect1d(first[:k], second[:k])) / k


def removal_curves(
    score: Callable[[Floats, Ints], Floats], rows: Floats, orders: Sequence[Sequence[Ints]], masks: Floats
) -> list[list[Floats]]:
    """By row and ranking of it, what the score loses, shape (2, L + 1), for l = 0..L of the L features it ranks.

    First: the l first features removed. Second: all ranked features removed but the l first. The means over l are
    comprehensiveness (higher is better) and sufficiency (lower is better).

    Args:
        score: codes (m, d) and the row (m,) that each belongs to, to the probability of that row's outcome, (m,).
        rows: shape (n, d).
        orders: for each row its rankings: positions of features, the most important first.
        masks: shape (d,), what stands for a removed feature.

    Reference: `methods/cid` 3.7.
    """
    pieces, owner = [], []
    for i, (x, several) in enumerate(zip(rows, orders, strict=True)):
        for order in several:
            pieces.append(_removed(x, order, masks))
            owner.append(np.full(len(pieces[-1]), i))
    scores = score(np.concatenate(pieces), np.concatenate(owner)) if pieces else np.empty(0)
    values = iter(np.split(scores, np.cumsum([len(piece) for piece in pieces])[:-1]) if pieces else [])
    curves = []
    for several in orders:
        halves = [next(values).reshape(2, -1) for _ in several]
        curves.append([half[0, 0] - half for half in halves])
    return curves


def _removed(x: Floats, order: Ints, masks: Floats) -> Floats:
    """A row without its first l features, then with nothing of the ranked ones but these; shape (2 (L + 1), d)."""
    L = len(order)
    rows = np.tile(x, (2 * (L + 1), 1))
    for place, j in enumerate(order):
        rows[place + 1 : L + 1, j] = masks[j]
        rows[L + 1 : L + 2 + place, j] = masks[j]
    return rows


def faithfulness_table(
    labels: Sequence[str], orders: Sequence[Sequence[Ints]], curves: Sequence[Sequence[Floats]], top: int
) -> pd.DataFrame:
    """One row per ranking: means over instances with their intervals; random rankings are averaged per instance."""
    rows = []
    chances = [top / len(several[0]) for several in orders if len(several[0]) > top]
    for label in dict.fromkeys(labels):
        own = [k for k, name in enumerate(labels) if name == label]
        means = [np.mean([several[k].mean(axis=1) for k in own], axis=0) for several in curves]
        losses = np.array(means).reshape(-1, 2)
        agree = np.array([_agreement(several, own, top) for several in orders], dtype=np.float64)
        row: dict[str, Any] = {"attribution": label, "n": len(curves)}
        measured = {"comprehensiveness": losses[:, 0], "sufficiency": losses[:, 1], "agreement": agree}
        if label == labels[0]:
            measured["agreement"] = np.full(len(agree), np.nan)
        for name, values in measured.items():
            mean, _, low, high = mean_interval(values, 0 if name == "agreement" else -1, 1)
            row |= {name: float(mean), f"{name}_low": float(low), f"{name}_high": float(high)}
        rows.append(row | {"k": top, "chance": float(np.mean(chances)) if chances else np.nan})
    return pd.DataFrame(rows)


def _agreement(several: Sequence[Ints], own: Sequence[int], top: int) -> float:
    """What the first ranking of a row shares with some others on average; NaN where it ranks no more than `top`."""
    if len(several[0]) <= top:
        return float("nan")
    return float(np.mean([shared_top(several[0], several[k], top) for k in own]))


def removal_table(labels: Sequence[str], curves: Sequence[Sequence[Floats]]) -> pd.DataFrame:
    """Mean losses by number of features, over the instances that rank so many."""
    rows = []
    for label in dict.fromkeys(labels):
        own = [several[k] for several in curves for k, name in enumerate(labels) if name == label]
        for size in range(max((curve.shape[1] for curve in own), default=0)):
            there = np.array([curve[:, size] for curve in own if curve.shape[1] > size])
            removed, kept_only = there.mean(axis=0)
            n = sum(several[0].shape[1] > size for several in curves)
            rows.append((label, size, n, float(removed), float(kept_only)))
    return pd.DataFrame(rows, columns=["attribution", "features", "n", "removed", "kept_only"])
