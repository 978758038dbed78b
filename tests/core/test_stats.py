"""Intervals, resampling and rank correlation against tables, hand calculation and scipy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats as oracle

from audit.core import stats


@pytest.mark.parametrize(
    ("share", "low", "high"),
    [(0.3, 0.1078, 0.6032), (1.0, 0.7225, 1.0), (0.0, 0.0, 0.2775)],
)
def test_wilson_matches_the_published_table(share: float, low: float, high: float) -> None:
    # Source: methods/flex, section 7, n = 10.
    assert stats.wilson(share, 10) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


@given(
    st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.8, 0.95, 0.99])
)
def test_wilson_matches_scipy(trial: tuple[int, int], level: float) -> None:
    k, n = trial
    expected = oracle.binomtest(k, n).proportion_ci(level, "wilson")
    low, high = stats.wilson(k / n, n, level)
    assert (low, high) == (pytest.approx(expected.low, abs=1e-12), pytest.approx(expected.high, abs=1e-12))
    assert low <= k / n <= high


def test_wilson_of_nothing_is_undefined() -> None:
    low, high = stats.wilson(np.array([0.5, np.nan]), np.array([0, 0]))
    assert np.isnan([low, high]).all()


def test_resamples_draw_every_row_equally_often() -> None:
    counts = np.concatenate(list(stats.resamples(7, 4_000, np.random.default_rng(1))))
    assert counts.shape == (4_000, 7)
    assert (counts.sum(axis=1) == 7).all()
    # Each count is binomial(7, 1/7): mean 1, variance 6/7; the mean of 4,000 has a standard error of 0.015.
    assert counts.mean(axis=0) == pytest.approx(np.ones(7), abs=0.07)
    assert counts.var(axis=0) == pytest.approx(np.full(7, 6 / 7), abs=0.1)


def test_resamples_come_in_blocks_that_fit_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(stats.resamples(10, 25, np.random.default_rng(3))))
    monkeypatch.setattr(stats, "RESAMPLE_BLOCK", 100)
    blocks = list(stats.resamples(10, 25, np.random.default_rng(3)))
    assert [len(block) for block in blocks] == [10, 10, 5]
    assert np.array_equal(np.concatenate(blocks), whole)


def test_bootstrap_means_have_the_known_standard_error() -> None:
    rng = np.random.default_rng(5)
    values = rng.normal(size=(400, 2))
    means = stats.bootstrap_means(values, np.ones(400), 4_000, rng)
    assert means.mean(axis=0) == pytest.approx(values.mean(axis=0), abs=0.005)
    assert means.std(axis=0) == pytest.approx(values.std(axis=0) / 20, rel=0.06)


def test_bootstrap_means_respect_weights() -> None:
    values, weights = np.array([[0.0], [1.0], [5.0]]), np.array([1.0, 3.0, 0.0])
    means = stats.bootstrap_means(values, weights, 500, np.random.default_rng(0))
    # The third row has no weight; a resample of it alone (1 in 27) has no mean.
    assert np.nanmax(means) <= 1.0
    assert 0 < np.isnan(means).sum() < 60


def test_a_percentile_interval_leaves_out_what_is_undefined() -> None:
    replicates = np.column_stack([np.arange(101.0), np.full(101, np.nan)])
    replicates[0, 0] = np.nan  # 1 to 100 remain
    low, high = stats.percentile_interval(replicates, 0.9)
    assert (low[0], high[0]) == (pytest.approx(5.95), pytest.approx(95.05))
    assert np.isnan([low[1], high[1]]).all()


@given(arrays(np.float64, (7, 3), elements=st.one_of(st.just(np.nan), st.floats(-5, 5))), st.floats(0, 1))
def test_quantiles_match_numpy(values: np.ndarray, level: float) -> None:
    (got,) = stats.quantiles(values, (level,))
    for j in range(3):
        known = values[~np.isnan(values[:, j]), j]
        expected = np.quantile(known, level) if len(known) else np.nan
        assert got[j] == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_quantiles_of_no_rows_are_undefined() -> None:
    assert np.isnan(stats.quantiles(np.empty((0, 2)), (0.1, 0.9))).all()


small = st.integers(1, 8).flatmap(lambda d: arrays(np.float64, (4, d), elements=st.sampled_from([0.0, 0.1, 0.3, 0.7])))


@given(small)
def test_average_ranks_match_scipy(values: np.ndarray) -> None:
    assert np.array_equal(stats.average_ranks(values), oracle.rankdata(-values, axis=1))


def test_average_ranks_tie_what_differs_by_rounding_only() -> None:
    assert stats.average_ranks(np.array([0.1 + 0.2, 0.3, 0.5])).tolist() == [2.5, 2.5, 1.0]


def test_what_is_missing_has_no_rank() -> None:
    ranks = stats.average_ranks(np.array([0.2, np.nan, 0.9, np.nan]))
    assert ranks == pytest.approx([2, np.nan, 1, np.nan], nan_ok=True)


def test_rank_stability_counts_by_hand() -> None:
    replicates = np.array([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0], [3.0, 1.0, 1.0], [9.0, 2.0, 1.0]])
    assert stats.rank_stability(replicates, 1).tolist() == [0.75, 0.0, 0.25]
    # In the third row two features share places 2 and 3 (rank 2.5), so that neither is among the first two.
    assert stats.rank_stability(replicates, 2).tolist() == [0.75, 0.75, 0.25]


pairs = st.integers(2, 9).flatmap(
    lambda d: st.tuples(*[arrays(np.float64, (3, d), elements=st.sampled_from([0.0, 0.25, 0.5, 2.0]))] * 2)
)


@settings(max_examples=60)
@given(pairs)
def test_rank_correlations_match_scipy(pair: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = pair
    tau, rho = stats.kendall(a, b), stats.spearman(a, b)
    for i in range(3):
        if np.ptp(a[i]) == 0 or np.ptp(b[i]) == 0:
            assert np.isnan([tau[i], rho[i]]).all()
        else:
            assert tau[i] == pytest.approx(oracle.kendalltau(a[i], b[i]).statistic, abs=1e-12)
            assert rho[i] == pytest.approx(oracle.spearmanr(a[i], b[i]).statistic, abs=1e-12)
