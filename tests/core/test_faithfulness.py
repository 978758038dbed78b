"""The score as features are taken away, worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from audit.core.faithfulness import faithfulness_table, ranked, removal_curves, removal_table, shared_top, stand_ins
from audit.core.infer import ColumnInfo
from audit.testing import toy_table

MASKS = np.array([0.0, 0.0, 0.0])


def linear(codes, owner):
    """.1 + .4 a + .2 b - .1 c."""
    return 0.1 + codes @ np.array([0.4, 0.2, -0.1])


def test_curves_by_hand():
    rows = np.array([[1.0, 1.0, 1.0]])
    ((curve, backwards),) = removal_curves(linear, rows, [[np.array([0, 1, 2]), np.array([2, 1, 0])]], MASKS)
    np.testing.assert_allclose(curve, [[0, 0.4, 0.6, 0.5], [0.5, 0.1, -0.1, 0]], atol=1e-12)
    np.testing.assert_allclose(backwards, [[0, -0.1, 0.1, 0.5], [0.5, 0.6, 0.4, 0]], atol=1e-12)
    # The mean is over L + 1 = 4 terms (choice CID-04).
    table = faithfulness_table(["own", "other"], [[np.array([0, 1, 2]), np.array([2, 1, 0])]], [[curve, backwards]], 1)
    own, other = table.to_dict("records")
    assert own["comprehensiveness"] == pytest.approx(1.5 / 4)
    assert own["sufficiency"] == pytest.approx(0.5 / 4)
    assert other["comprehensiveness"] == pytest.approx(0.5 / 4)
    assert other["agreement"] == 0
    assert own["chance"] == pytest.approx(1 / 3)
    assert np.isnan(own["agreement"])
    assert np.isnan(own["comprehensiveness_low"]), "one row has no interval"


def test_the_first_term_is_exactly_zero_and_all_lie_within_one():
    rng = np.random.default_rng(0)
    rows, masks = rng.random((20, 5)), rng.random(5)
    weights = rng.normal(size=5)
    orders = [[rng.permutation(5), rng.permutation(5)[:3]] for _ in rows]
    curves = removal_curves(lambda codes, owner: 1 / (1 + np.exp(-9 * codes @ weights)), rows, orders, masks)
    for several in curves:
        for curve in several:
            assert curve[0, 0] == 0
            assert curve[1, -1] == 0
            assert (np.abs(curve) <= 1).all()


def test_features_that_are_not_ranked_stay():
    rows = np.array([[1.0, 1.0, 1.0]])
    ((curve,),) = removal_curves(linear, rows, [[np.array([1, 0])]], MASKS)
    np.testing.assert_allclose(curve, [[0, 0.2, 0.6], [0.6, 0.4, 0]], atol=1e-12)


def test_each_row_is_scored_as_its_own():
    rows = np.array([[1.0, 0, 0], [0.0, 1, 0]])
    orders = [[np.array([0])], [np.array([1])]]
    first, second = removal_curves(lambda codes, owner: owner + codes.sum(axis=1) / 10, rows, orders, MASKS)
    np.testing.assert_allclose(first[0], [[0, 0.1], [0.1, 0]])
    np.testing.assert_allclose(second[0], [[0, 0.1], [0.1, 0]])
    assert removal_curves(linear, np.empty((0, 3)), [], MASKS) == []


def test_the_random_ranking_is_a_mean_over_its_orders_and_intervals_are_over_rows():
    rows = np.array([[1.0, 1, 1], [2.0, 2, 2]])
    first, second, third = np.array([0, 1, 2]), np.array([2, 1, 0]), np.array([1, 0, 2])
    orders = [[first, second, third]] * 2
    table = faithfulness_table(
        ["own", "random", "random"], orders, removal_curves(linear, rows, orders, MASKS), 2
    ).set_index("attribution")
    # By hand for row 1: (0 - .1 + .1 + .5) / 4 and (0 + .2 + .6 + .5) / 4; row 2 has twice that.
    ones = (0.125 + 0.325) / 2
    found = table.loc["random"]
    assert found["comprehensiveness"] == pytest.approx(1.5 * ones)
    sd = np.std([ones, 2 * ones], ddof=1)
    assert found["comprehensiveness_high"] == pytest.approx(1.5 * ones + 2 * sd / np.sqrt(2))
    assert found["agreement"] == pytest.approx((0.5 + 1) / 2)
    assert found["chance"] == pytest.approx(2 / 3)


def test_the_agreement_is_hidden_where_k_is_d():
    orders = [[np.array([0, 1, 2])] * 2]
    table = faithfulness_table(["own", "other"], orders, removal_curves(linear, np.ones((1, 3)), orders, MASKS), 3)
    assert table["agreement"].isna().all()
    assert table["chance"].isna().all()


def test_the_removal_table():
    orders = [[np.array([0, 1, 2])], [np.array([1])]]
    curves = removal_curves(linear, np.ones((2, 3)), orders, MASKS)
    table = removal_table(["own"], curves)
    assert table["features"].tolist() == [0, 1, 2, 3]
    assert table["n"].tolist() == [2, 2, 1, 1]
    np.testing.assert_allclose(table["removed"], [0, (0.4 + 0.2) / 2, 0.6, 0.5])
    np.testing.assert_allclose(table["kept_only"], [(0.5 + 0.2) / 2, (0.1 + 0) / 2, -0.1, 0])


def test_shared_top():
    assert shared_top(np.array([3, 1, 0, 2]), np.array([1, 2, 3, 0]), 2) == 0.5
    assert shared_top(np.array([3, 1, 0, 2]), np.array([1, 3, 2, 0]), 2) == 1


def test_ties_fall_by_chance_and_sizes_do_not():
    sizes = np.array([0.1, 0.3, 0.3 + 1e-15, 0.9])
    orders = [ranked(sizes, np.array([0, 1, 2, 3]), np.random.default_rng(seed)).tolist() for seed in range(40)]
    assert {tuple(order) for order in orders} == {(3, 1, 2, 0), (3, 2, 1, 0)}
    assert ranked(sizes, np.array([0, 3]), np.random.default_rng(0)).tolist() == [3, 0]


def test_stand_ins_are_means_and_most_frequent_levels():
    frame = pd.DataFrame(
        {
            "x": [1.0, 2.0, 6.0, np.nan],
            "o": ["low", "high", "high", None],
            "c": ["b", "a", "b", None],
            "t": [True, False, False, False],
        }
    )
    table = toy_table(frame, {"o": ColumnInfo(order=("low", "mid", "high"))})
    levels = [feature.levels for feature in table.schema.features]
    expected = [3.0, levels[1].index("high"), levels[2].index("b"), levels[3].index(False)]
    assert stand_ins(table).tolist() == expected
