"""AUC and its errors against brute force over pairs."""

import math

import numpy as np
import pytest

from audit.core.scoring import auc, auc_parts, newcombe


@pytest.mark.parametrize("seed", range(5))
def test_auc_against_all_pairs_with_many_ties(seed):
    rng = np.random.default_rng(seed)
    score, truth = rng.integers(0, 6, 60) / 5, rng.random(60) < 0.3
    gap = score[truth][:, None] - score[~truth][None, :]
    assert auc(truth, score) == pytest.approx(((gap > 0) + 0.5 * (gap == 0)).mean(), abs=1e-12)


def test_delong_variance_against_the_formula_over_pairs():
    rng = np.random.default_rng(3)
    truth = rng.random(40) < 0.5
    a, b = rng.normal(size=40) + truth, rng.normal(size=40) + truth

    def components(score):
        gap = score[truth][:, None] - score[~truth][None, :]
        wins = (gap > 0) + 0.5 * (gap == 0)
        return wins.mean(axis=1), wins.mean(axis=0)

    (a1, a0), (b1, b0) = components(a), components(b)
    single = a1.var(ddof=1) / len(a1) + a0.var(ddof=1) / len(a0)
    paired = (a1 - b1).var(ddof=1) / len(a1) + (a0 - b0).var(ddof=1) / len(a0)
    assert (auc_parts(truth, a) ** 2).sum() == pytest.approx(single, rel=1e-12)
    assert ((auc_parts(truth, a) - auc_parts(truth, b)) ** 2).sum() == pytest.approx(paired, rel=1e-12)


def test_newcombe_solves_its_equation_and_mirrors():
    value, m, n = 0.9, 12, 30
    low, high = newcombe(value, m, n)

    def spread(x):
        size = (m + n) / 2 - 1
        return math.sqrt(x * (1 - x) / (m * n) * (1 + size * (1 - x) / (2 - x) + size * x / (1 + x)))

    assert value - low == pytest.approx(1.959964 * spread(low), rel=1e-5)
    assert high - value == pytest.approx(1.959964 * spread(high), rel=1e-5)
    assert newcombe(1 - value, m, n) == pytest.approx((1 - high, 1 - low), abs=1e-9)
    low, high = newcombe(1.0, 5, 5)
    assert high == pytest.approx(1, abs=1e-9)
    assert 0.5 < low < 0.9
