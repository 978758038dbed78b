"""Distances between samples against closed forms, scipy, and what a distance must be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import gaussian_kde

from audit.core.overlap import (
    CELLS,
    GRID,
    MEASURE,
    POINTS,
    by_level,
    density,
    jaccard,
    mixed,
    scott,
    smoothed,
    trapezoid,
)

UNIFORM = np.full(POINTS, 1 / 1.2)
SAMPLES = st.lists(st.floats(0, 1).map(lambda v: round(v, 3)), min_size=2, max_size=12)


def steps(grid):
    """The two densities of Example 3.1."""
    return np.where(grid <= 2, 1 / 2, 0.0), np.where(grid <= 2, 19 / 40, 1 / 60)


def test_example_3_1_in_closed_form():
    # Both are constant on [0, 2] and on (2, 5], so two cells are exact.
    p, q = np.array([1 / 2, 0]), np.array([19 / 40, 1 / 60])
    assert jaccard(p, q, np.array([2.0, 3.0])) == pytest.approx(2 / 21, abs=1e-12)


@pytest.mark.parametrize(("points", "tolerance"), [(1000, 1e-4), (500_000, 1e-6)])
def test_example_3_1_on_a_grid(points, tolerance):
    grid = np.linspace(0, 5, points)
    assert jaccard(*steps(grid), trapezoid(grid)) == pytest.approx(2 / 21, abs=tolerance)


def test_mixed_measure_of_one_density_and_two_masses():
    p, q = np.append(0.2, 0.8 * UNIFORM), np.append(0.6, 0.4 * UNIFORM)
    assert jaccard(p, q, MEASURE) == pytest.approx(1 - 0.6 / 1.4, abs=1e-12)
    moved = [0.1, 0.35, 0.6, 0.95]
    plus = np.array([0.5] * 2 + moved * 2)
    minus = np.array([0.5] * 6 + moved)
    found = mixed(plus, minus, 0.5, bandwidth=0.1)
    assert found.distance == pytest.approx(0.571429, abs=1e-6)
    assert found.unchanged == (0.2, 0.6)


def test_all_changed_against_none_and_none_against_none():
    still, moved = np.full(20, 0.4), np.linspace(0.5, 1, 20)
    for pair, shares in (((moved, still), (0, 1)), ((still, moved), (1, 0))):
        found = mixed(*pair, 0.4)
        assert found.distance == pytest.approx(1, abs=1e-12)
        assert found.unchanged == shares
    assert mixed(still, still, 0.4) == (0, (1, 1), "")


def test_frequencies_and_sets():
    plus, minus = np.array([0.0, 0, 1, 1]), np.array([0.0, 1, 2, 2])
    assert by_level(plus, minus, 0.0, "frequency_jaccard").distance == pytest.approx(2 / 3, abs=1e-12)
    assert by_level(plus, minus, 0.0, "set").distance == pytest.approx(1 / 3, abs=1e-12)
    assert by_level(plus, minus, 0.0, "set").unchanged == (0.5, 0.25)


def test_missing_is_a_level():
    plus, minus = np.array([np.nan, np.nan, 1, 1]), np.array([np.nan, 1, 1, 1])
    found = by_level(plus, minus, np.nan, "frequency_jaccard")
    assert found.distance == pytest.approx(1 - (0.25 + 0.5) / (0.5 + 0.75), abs=1e-12)
    assert found.unchanged == (0.5, 0.25)


def test_a_missing_present_value_has_a_mass_of_its_own():
    plus, minus = np.array([np.nan, np.nan, 0.2, 0.8]), np.array([np.nan, 0.2, 0.8, 0.5])
    assert mixed(plus, minus, np.nan).unchanged == (0.5, 0.25)
    assert mixed(plus, minus, np.nan).distance > 0
    of_the_paper = smoothed(plus, minus, np.nan)
    assert np.isnan(of_the_paper.distance)
    assert of_the_paper.flag == "missing value"


@given(SAMPLES)
def test_identical_samples_have_no_distance(values):
    sample = np.array(values)
    for x in (sample[0], 0.5):
        assert mixed(sample, sample[::-1], x).distance == pytest.approx(0, abs=1e-9)
        assert smoothed(sample, sample[::-1], x).distance == pytest.approx(0, abs=1e-9)
        assert by_level(sample, sample[::-1], x, "frequency_jaccard").distance == pytest.approx(0, abs=1e-12)


def test_far_apart_samples_have_distance_one():
    rng = np.random.default_rng(0)
    low, high = rng.uniform(0.0, 0.01, 50), rng.uniform(0.99, 1.0, 50)
    assert mixed(low, high, 0.5).distance == pytest.approx(1, abs=1e-3)
    assert smoothed(low, high, 0.5).distance == pytest.approx(1, abs=1e-3)


@given(SAMPLES, SAMPLES, st.sampled_from([0.0, 0.25, 0.5, 1.0]))
def test_symmetric_and_between_zero_and_one(a, b, x):
    plus, minus = np.array([x, *a]), np.array([x, *b])
    for compare in (mixed, smoothed):
        there, back = compare(plus, minus, x), compare(minus, plus, x)
        assert there.distance == pytest.approx(back.distance, abs=1e-12)
        assert -1e-12 <= there.distance <= 1 + 1e-12
        assert there.unchanged == back.unchanged[::-1]


@given(st.integers(0, 10_000))
def test_the_triangle_inequality_on_one_grid(seed):
    rng = np.random.default_rng(seed)
    p, q, r = rng.random((3, 30)) * (rng.random((3, 30)) < 0.7)
    weight = trapezoid(np.sort(rng.random(30)))
    assert jaccard(p, r, weight) <= jaccard(p, q, weight) + jaccard(q, r, weight) + 1e-12
    assert jaccard(p, q, weight) == pytest.approx(jaccard(q, p, weight), abs=1e-12)


def test_mixed_without_unchanged_values_is_the_jaccard_distance_of_the_densities():
    rng = np.random.default_rng(1)
    plus, minus = rng.beta(2, 5, 50), rng.beta(4, 3, 50)
    p, q = gaussian_kde(plus)(GRID), gaussian_kde(minus)(GRID)
    p, q = p / np.trapezoid(p, GRID), q / np.trapezoid(q, GRID)
    expected = 1 - np.trapezoid(np.minimum(p, q), GRID) / np.trapezoid(np.maximum(p, q), GRID)
    found = mixed(plus, minus, 2.0)
    assert found.unchanged == (0, 0)
    assert found.distance == pytest.approx(expected, abs=1e-9)


def test_the_distance_of_the_paper_against_scipy():
    rng = np.random.default_rng(2)
    plus, minus = rng.normal(0.3, 0.1, 50), rng.normal(0.5, 0.2, 50)
    grid = np.linspace(min(plus.min(), minus.min()), max(plus.max(), minus.max()), 1000)
    p, q = gaussian_kde(plus)(grid), gaussian_kde(minus)(grid)
    expected = 1 - np.trapezoid(np.minimum(p, q), grid) / np.trapezoid(np.maximum(p, q), grid)
    assert smoothed(plus, minus, 0.0).distance == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("plus", "minus", "distance", "flag"),
    [
        ([0.2] * 3, [0.2] * 3, 0, "both sides constant"),
        ([0.2] * 3, [0.4] * 3, 1, "both sides constant"),
        ([0.2] * 3, [0.1, 0.4, 0.9], 0, "one side constant"),
        ([0.1, 0.4, 0.9], [0.2] * 3, 0, "one side constant"),
    ],
)
def test_the_degenerate_rule_of_the_paper(plus, minus, distance, flag):
    found = smoothed(np.array(plus), np.array(minus), 0.2)
    assert (found.distance, found.flag) == (distance, flag)


def test_few_changed_values_are_flagged_and_have_a_fixed_width():
    plus, minus = np.array([0.5, 0.5, 0.2, 0.2]), np.array([0.5, 0.5, 0.8, 0.8])
    found = mixed(plus, minus, 0.5)
    assert found.flag == "few changed values"
    bell = np.exp(-0.5 * ((GRID - 0.2) / 0.05) ** 2), np.exp(-0.5 * ((GRID - 0.8) / 0.05) ** 2)
    p, q = (0.5 * b / np.trapezoid(b, GRID) for b in bell)
    expected = 1 - (0.5 + np.trapezoid(np.minimum(p, q), GRID)) / (0.5 + np.trapezoid(np.maximum(p, q), GRID))
    assert found.distance == pytest.approx(expected, abs=1e-12)
    assert not mixed(np.array([0.5, 0.1, 0.2]), np.array([0.5, 0.8, 0.9]), 0.5).flag


def test_a_sample_tighter_than_the_grid_is_not_lost_between_two_points():
    between = (GRID[500] + GRID[501]) / 2
    plus = between + np.array([-1e-6, 0.0, 1e-6])
    found = mixed(plus, plus + 0.3, 0.0)
    assert found.distance == pytest.approx(1, abs=1e-9)
    assert not found.flag


@pytest.mark.parametrize("kernel", ["gaussian", "epanechnikov", "exponential"])
def test_kernels_integrate_to_one_and_have_their_shape(kernel):
    values = np.array([0.4, 0.6])
    heights = density(values, GRID, 0.05, kernel)
    assert heights @ CELLS == pytest.approx(1, abs=1e-3)
    at = {"gaussian": np.exp(-0.5) / np.sqrt(2 * np.pi), "epanechnikov": 0.0, "exponential": np.exp(-1) / 2}
    (one,) = density(np.array([0.0]), np.array([0.05]), 0.05, kernel)
    assert one == pytest.approx(at[kernel] / 0.05, abs=1e-12)


def test_scotts_bandwidth_is_that_of_scipy():
    values = np.random.default_rng(3).normal(size=50)
    assert scott(values) == pytest.approx(np.sqrt(gaussian_kde(values).covariance[0, 0]), rel=1e-12)
