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


def score_ends(p: float, n: float, rows: float) -> list[float]:
    """Where a share mu is Student's quantile of its standard errors away from p, found by bisection."""
    from scipy.optimize import brentq

    t = oracle.t.ppf(0.975, rows - 1)

    def beyond(mu: float) -> float:
        return float((p - mu) ** 2 - t**2 * mu * (1 - mu) / n)

    return [brentq(beyond, 1e-12, p), brentq(beyond, p, 1 - 1e-12)]


def band(values: list[float], low: float, high: float, **given: object) -> list[float]:
    ends = stats.mean_band(np.array(values)[:, None], low, high, **given)  # type: ignore[arg-type]
    return [float(end[0]) for end in ends]


def test_the_band_of_yes_and_no_is_wilsons_with_students_quantile() -> None:
    assert band([1, 1, 1, 0, 0, 0, 0, 0, 0, 0], 0, 1) == pytest.approx(score_ends(0.3, 10, 10))
    everyone = stats.mean_band((np.arange(100_000) % 4 == 0).astype(float)[:, None], 0, 1)
    assert [float(end[0]) for end in everyone] == pytest.approx([float(x) for x in stats.wilson(0.25, 100_000)])


def test_the_band_rests_on_as_many_rows_as_the_standard_error_says() -> None:
    """0.1, 0.3, 0.3, 0.5: mean 0.3, variance 0.08 / 3, of the mean a quarter of it: 0.21 over 0.02 / 3 is 31.5 rows."""
    expected = score_ends(0.3, 31.5, 4)
    assert band([0.1, 0.3, 0.3, 0.5], 0, 1) == pytest.approx(expected)
    # The same on a scale from 2 to 12.
    assert band([3, 5, 5, 7], 2, 12) == pytest.approx([2 + 10 * end for end in expected])


def test_a_band_has_a_width_where_all_rows_agree() -> None:
    low, high = band([0.0] * 20, 0, 1)
    t = oracle.t.ppf(0.975, 19)
    assert low == 0
    assert high == pytest.approx(t**2 / (20 + t**2))
    assert band([1.0] * 20, 0, 1) == pytest.approx([1 - high, 1])
    assert band([0.5] * 20, 0, 1) == pytest.approx(score_ends(0.5, 20, 20))


def test_bands_of_nothing_and_of_values_beyond_the_bounds() -> None:
    assert np.isnan(band([0.4], 0, 1)).all()
    assert np.isnan(band([0.4, 0.5], 0, 1, weights=np.array([1.0, 0.0]))).all()
    assert band([1.0, 1.0, 1.0], 1, 1) == [1, 1]
    assert band([0.0, 1.0, 3.0], 0, 2) == band([0.0, 1.0, 3.0], 0, 3)


def test_a_row_of_weight_two_is_no_two_rows() -> None:
    """Weights 2, 1, 1 are worth 16 / 6 rows; the variance of the mean is the sum of squared weighted residuals."""
    values, weights = np.array([1.0, 0.0, 0.0]), np.array([2.0, 1.0, 1.0])
    rows, variance = 16 / 6, (4 * 0.25 + 0.25 + 0.25) / 16
    found = band([1, 0, 0], 0, 1, weights=weights)
    assert found == pytest.approx(score_ends(0.5, 0.25 / variance, rows), rel=1e-9)
    assert band([1, 0, 0], 0, 1, weights=3 * np.ones(3)) == pytest.approx(band([1, 0, 0], 0, 1))
    assert np.average(values, weights=weights) == 0.5


@given(arrays(np.float64, st.integers(2, 30), elements=st.floats(0, 1)))
def test_a_band_holds_its_mean_and_mirrors(values: np.ndarray) -> None:
    low, high = band(list(values), 0, 1)
    assert 0 <= low <= values.mean() + 1e-9
    assert values.mean() - 1e-9 <= high <= 1
    assert band(list(1 - values), 0, 1) == pytest.approx([1 - high, 1 - low], abs=1e-6)


@pytest.mark.parametrize("rare", [0.01, 0.05, 0.3])
def test_bands_cover_means_of_rare_values(rare: float) -> None:
    """Of 100 rows a share `rare` has 0.2 or 0.4, the others nothing; 2,000 draws.

    As Wilson's, the interval covers 93 to 97 % as the share goes; the normal one covers 63 % of these where 1 in 100 is
    not nothing. 2,000 draws have a standard error of half a point.
    """
    rng = np.random.default_rng(8)
    held = 0
    for _ in range(2_000):
        values = np.where(rng.random(100) < rare, rng.choice([0.2, 0.4], 100), 0.0)
        low, high = band(list(values), 0, 1)
        held += low <= 0.3 * rare <= high
    assert 0.92 < held / 2_000 < 0.98


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
