"""Groups beside one another: what is hidden, how far apart they are, and many tests at once; by hand and by formula."""

from math import comb, factorial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.core.disparity import holm, mean_gap, share_gap, shares_differ, suppressed


def both(sizes, least):
    small, too = suppressed(np.array(sizes), least)
    return small.astype(int).tolist(), too.astype(int).tolist()


@pytest.mark.parametrize(
    ("sizes", "small", "too"),
    [
        ([12, 30, 50], [0, 0, 0], [0, 0, 0]),
        ([4, 30, 50], [1, 0, 0], [0, 1, 0]),  # 84 less 50 and 30 would give the 4 away
        ([4, 5, 50], [1, 1, 0], [0, 0, 0]),
        ([4, 50], [1, 0], [0, 1]),
        ([0, 30, 50], [0, 0, 0], [0, 0, 0]),
        ([10, 30], [0, 0], [0, 0]),
        ([9, 0], [1, 0], [0, 0]),
    ],
)
def test_one_hidden_group_takes_another_with_it(sizes, small, too):
    assert both(sizes, 10) == (small, too)


def test_a_hidden_cell_takes_one_of_its_row_its_column_and_so_of_a_square():
    small, too = both([[4, 20, 30], [25, 21, 40], [50, 60, 70]], 10)
    assert small == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert too == [[0, 1, 0], [1, 1, 0], [0, 0, 0]]


@given(st.lists(st.lists(st.integers(0, 40), min_size=3, max_size=3), min_size=2, max_size=4), st.integers(1, 20))
def test_no_line_hides_a_single_cell_beside_others(rows, least):
    sizes = np.array(rows)
    small, too = suppressed(sizes, least)
    hidden = small | too
    assert (small == ((sizes > 0) & (sizes < least))).all()
    assert not (too & (sizes == 0)).any()
    for lines, marks in ((sizes, hidden), (sizes.T, hidden.T)):
        for line, mark in zip(lines, marks, strict=True):
            assert mark.sum() != 1 or (line > 0).sum() == 1


def test_the_gap_of_two_shares_is_newcombes_published_example():
    """56 of 70 and 48 of 80: 0.2, from 0.0524 to 0.3339 (Newcombe 1998, table II, method 10)."""
    shares, sizes = np.array([56 / 70, 48 / 80]), np.array([70, 80])
    gap = share_gap(shares, shares, sizes)
    assert (gap.value, gap.lowest, gap.highest) == (pytest.approx(0.2), 1, 0)
    assert (gap.low, gap.high) == (pytest.approx(0.0524, abs=5e-5), pytest.approx(0.3339, abs=5e-5))


def test_a_difference_that_may_be_nothing_starts_at_zero():
    shares, sizes = np.array([0.5, 0.52]), np.array([50, 50])
    gap = share_gap(shares, shares, sizes)
    assert gap.low == 0
    assert gap.high > gap.value == pytest.approx(0.02)


def test_what_is_unknown_widens_the_gap_both_ways():
    sizes = np.array([100, 100])
    known = share_gap(np.array([0.6, 0.9]), np.array([0.6, 0.9]), sizes)
    open_ = share_gap(np.array([0.6, 0.9]), np.array([0.85, 0.95]), sizes)
    assert open_.low == 0 < known.low  # 0.85 and 0.90 may be alike
    assert open_.high > known.high
    assert open_.value == known.value == pytest.approx(0.3)


def test_more_groups_widen_every_pair():
    two = share_gap(np.array([0.4, 0.8]), np.array([0.4, 0.8]), np.array([60, 60]))
    three = share_gap(np.array([0.4, 0.6, 0.8]), np.array([0.4, 0.6, 0.8]), np.array([60, 60, 60]))
    assert three.low < two.low < two.high < three.high
    assert (three.lowest, three.highest) == (0, 2)


def test_the_gap_of_means_puts_their_intervals_together():
    """Of shares of 0 and 1 that is Newcombe's gap, but for Student's quantile, which 400 rows hardly tell apart."""
    groups = [np.repeat([1.0, 0.0], [240, 160]), np.repeat([1.0, 0.0], [120, 280])]
    shares, sizes = np.array([0.6, 0.3]), np.array([400, 400])
    gap, like = mean_gap(groups, 0, 1), share_gap(shares, shares, sizes)
    assert (gap.value, gap.lowest, gap.highest) == (pytest.approx(0.3), 1, 0)
    assert (gap.low, gap.high) == (pytest.approx(like.low, abs=5e-4), pytest.approx(like.high, abs=5e-4))


def test_the_gap_of_means_grows_with_the_number_of_groups():
    rng = np.random.default_rng(2)
    groups = [rng.random(40) + shift for shift in (0.0, 0.5, 1.0)]
    two, three = mean_gap([groups[0], groups[2]], 0, 3), mean_gap(groups, 0, 3)
    assert three.low < two.low < two.value == three.value < two.high < three.high
    alike = mean_gap([groups[0], groups[0]], 0, 3)
    assert (alike.value, alike.low) == (0, 0)
    assert alike.high > 0


def test_holm_by_hand():
    # 0.01 x 4, 0.02 x 3 and not below, 0.03 x 2 and not below, 0.9 x 1.
    assert holm([0.9, 0.01, 0.03, 0.02]) == pytest.approx([0.9, 0.04, 0.06, 0.06])
    assert holm([]) == []
    assert holm([0.6, 0.7]) == [1.0, 1.0]


def test_chi_square_by_hand():
    """20 of 50 and 30 of 50: four times 5 * 5 / 25, so 4.0 on one degree of freedom."""
    name, p = shares_differ(np.array([20, 30]), np.array([50, 50]), 100, np.random.default_rng(0))
    assert (name, p) == ("chi-square", pytest.approx(0.0455, abs=5e-5))


def test_fisher_by_counting_tables():
    """The lady tasting tea: 3 of 4 and 1 of 4; as or less likely are 3, 4, 0 and 1 right cups."""
    name, p = shares_differ(np.array([3, 1]), np.array([4, 4]), 100, np.random.default_rng(0))
    extreme = sum(comb(4, k) * comb(4, 4 - k) for k in (0, 1, 3, 4))
    assert (name, p) == ("Fisher's exact test", pytest.approx(extreme / comb(8, 4)))


def test_shuffles_agree_with_all_ways_to_share_out():
    found, sizes = np.array([3, 0, 1]), np.array([3, 3, 2])
    expected = found.sum() * sizes / sizes.sum()
    here = ((found - expected) ** 2 / expected).sum()
    ways = beyond = 0
    for a in range(4):
        for b in range(4):
            c = 4 - a - b
            if 0 <= c <= 2:
                weight = comb(3, a) * comb(3, b) * comb(2, c)
                ways += weight
                beyond += weight * (((np.array([a, b, c]) - expected) ** 2 / expected).sum() >= here - 1e-12)
    assert ways == factorial(8) // factorial(4) ** 2
    name, p = shares_differ(found, sizes, 20_000, np.random.default_rng(0))
    assert name == "chi-square over 20000 shuffles"
    assert p == pytest.approx(beyond / ways, abs=0.01)


def test_shares_that_are_all_alike_are_not_tested():
    rng = np.random.default_rng(0)
    assert shares_differ(np.array([5, 7]), np.array([5, 7]), 10, rng) == ("none: all alike", 1.0)
