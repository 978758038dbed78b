"""What the scores of a trained network are compared with: Kernel SHAP, permutation importance, other seeds."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from audit.core.stats import average_ranks, spearman
from audit.core.table import Floats

Ints = NDArray[np.int64]
Predict = Callable[[Floats], Floats]

ENUMERATED = 5
"""Up to so many seeds, every resample of them is taken once; beyond, resamples are drawn."""


class KernelSizes(NamedTuple):
    """What the cost of Kernel SHAP is made of: model-evaluated rows are their product."""

    rows: int
    background: int
    nsamples: int


def kernel_sizes(rows: int, background: int, groups: int) -> KernelSizes:
    """The sizes with the coalitions that shap's default asks for: 2 G + 2048, or all of them where that is fewer."""
    every = 2**groups - 2 if groups <= 30 else 2**30
    return KernelSizes(rows, background, min(2 * groups + 2048, every))


def kernel_shap(predict: Predict, X: Floats, background: Floats, groups: Ints, seed: int) -> Floats:
    """Mean absolute Kernel SHAP value of each group of columns, shape (G,), over rows and the K outputs.

    No regularisation: shap's default sets all but ten features to 0, which would make ties of the rest.

    Args:
        predict: (n, m) to (n, K).
        X: the rows that are explained, shape (r, m).

    Reference: S. Lundberg, S.-I. Lee, NeurIPS 30 (2017), 4765-4774.
    """
    from shap import KernelExplainer
    from shap.utils._legacy import DenseData

    columns = [np.flatnonzero(groups == g) for g in range(int(groups.max()) + 1)]
    sizes = kernel_sizes(len(X), len(background), len(columns))
    with _global_numbers(seed):
        explainer = KernelExplainer(predict, DenseData(background, [str(g) for g in range(len(columns))], columns))
        values = explainer.shap_values(X, nsamples=sizes.nsamples, l1_reg=False, silent=True)
    return np.asarray(np.abs(np.asarray(values, dtype=np.float64).reshape(len(X), len(columns), -1)).mean(axis=(0, 2)))


@contextmanager
def _global_numbers(seed: int) -> Iterator[None]:
    """shap draws from numpy's global generator and takes no other: it is seeded, and put back as it was."""
    before = np.random.get_state()  # noqa: NPY002 - see above
    np.random.seed(seed)  # noqa: NPY002 - see above
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002 - see above


def permutation_importance(
    right: Callable[[Floats], float], X: Floats, groups: Ints, repeats: int, rng: np.random.Generator
) -> Floats:
    """Mean loss of `right` when the columns of a group are shuffled together over the rows, shape (G,).

    Args:
        right: share of right answers for inputs of the shape of X.

    Reference: L. Breiman, Machine Learning 45 (2001), 5-32.
    """
    whole = right(X)
    losses = np.zeros(int(groups.max()) + 1)
    for g in range(len(losses)):
        own = groups == g
        for _ in range(repeats):
            shuffled = X.copy()
            shuffled[:, own] = X[rng.permutation(len(X))][:, own]
            losses[g] += (whole - right(shuffled)) / repeats
    return losses


def t_interval(values: Floats, level: float = 0.95) -> tuple[Floats, Floats]:
    """Student's interval of the mean over the first axis, as (low, high); NaN where there are fewer than two."""
    from scipy.stats import t

    n = len(values)
    if n < 2:
        nothing = np.full(values.shape[1:], np.nan)
        return nothing, nothing
    half = t.ppf((1 + level) / 2, n - 1) * values.std(axis=0, ddof=1) / sqrt(n)
    return values.mean(axis=0) - half, values.mean(axis=0) + half


def seed_agreement(w: Floats) -> float:
    """Mean Spearman correlation of all pairs of rows of w, shape (seeds, G); NaN where there is no pair."""
    first, second = np.triu_indices(len(w), k=1)
    return float(np.mean(spearman(w[first], w[second]))) if len(first) else float("nan")


def rank_stability(w: Floats, resamples: int = 1000) -> Floats:
    """Share of resamples of the seeds, shape (seeds, G), in which each feature keeps its rank by mean w; (G,)."""
    seeds = len(w)
    if seeds <= ENUMERATED:
        drawn = np.array(list(product(range(seeds), repeat=seeds)))
    else:
        drawn = np.random.default_rng(0).integers(0, seeds, size=(resamples, seeds))
    ranks = average_ranks(w[drawn].mean(axis=1))
    return np.asarray((ranks == average_ranks(w.mean(axis=0))).mean(axis=0))


def correlated_groups(X: Floats, groups: Ints, bar: float) -> list[tuple[int, int, float]]:
    """Pairs of groups with a pair of columns whose absolute correlation exceeds the bar, the largest first.

    Columns that are constant in X, shape (n, m), correlate with nothing.
    """
    Z = X - X.mean(axis=0)
    length = np.sqrt((Z**2).sum(axis=0))
    Z = Z / np.where(length > 0, length, 1.0)
    r = np.abs(Z.T @ Z)
    found: dict[tuple[int, int], float] = {}
    for a, b in zip(*np.nonzero(np.triu(r > bar, k=1)), strict=True):
        pair = (int(min(groups[a], groups[b])), int(max(groups[a], groups[b])))
        if pair[0] != pair[1]:
            found[pair] = max(found.get(pair, 0.0), float(min(r[a, b], 1.0)))
    return sorted(((a, b, value) for (a, b), value in found.items()), key=lambda one: (-one[2], one[:2]))
