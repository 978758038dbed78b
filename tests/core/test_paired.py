"""Differences of pairs: counted by hand, and an interval that knows of the pairs."""

import numpy as np
import pandas as pd
import pytest

from audit.core.evidence import Result
from audit.core.model import Decision
from audit.core.paired import Pairs, by_feature, differences, right, searches

RNG = 7


def rng() -> np.random.Generator:
    return np.random.default_rng(RNG)


def test_means_and_difference_are_those_of_the_columns() -> None:
    before, after = np.array([[1.0, 4.0], [3.0, 4.0]]), np.array([[2.0, 4.0], [6.0, 4.0]])
    found = differences(Pairs("flex", "frequency", before, after, ("a", "b")), 200, rng()).set_index("feature")
    assert found["before"].tolist() == [2, 4]
    assert found["after"].tolist() == [4, 4]
    assert found["difference"].tolist() == [2, 0]
    assert found["n"].tolist() == [2, 2]
    # Two rows whose differences are 1 and 3: a resample holds one of them twice, or both.
    assert (found.loc["a", "difference_low"], found.loc["a", "difference_high"]) == (1, 3)
    assert (found.loc["b", "difference_low"], found.loc["b", "difference_high"]) == (0, 0)


def test_what_makes_a_row_hard_for_both_cancels_out() -> None:
    """Rows differ a hundred times more than the models do; only the pairs can tell the models apart."""
    rows = np.random.default_rng(1).normal(0, 10, (400, 1))
    after = rows - 0.5 + np.random.default_rng(2).normal(0, 0.1, (400, 1))
    (found,) = differences(Pairs("p", "q", rows, after), 2000, rng()).to_dict("records")
    # The normal interval of the mean difference: 0.1 / sqrt(400) either side.
    half = 1.96 * float((after - rows).std(ddof=1)) / 20
    assert found["difference_low"] == pytest.approx(found["difference"] - half, abs=0.002)
    assert found["difference_high"] == pytest.approx(found["difference"] + half, abs=0.002)
    assert found["difference_high"] < 0
    assert found["before_high"] - found["before_low"] > 1.5


def test_one_row_has_no_interval_and_none_has_no_line() -> None:
    (found,) = differences(Pairs("p", "q", np.ones((1, 1)), np.zeros((1, 1))), 200, rng()).to_dict("records")
    assert found["difference"] == -1
    assert np.isnan(found["difference_low"])
    assert differences(Pairs("p", "q", np.ones((0, 1)), np.ones((0, 1))), 200, rng()).empty


def test_accuracy_is_of_the_same_rows_whatever_the_order_of_the_classes() -> None:
    decision = Decision(("bad", "good"), ("good",), 0.5)
    labels = pd.Series(["good", "bad", "good"])
    before = pd.DataFrame({"bad": [0.1, 0.1, 0.9], "good": [0.9, 0.9, 0.1]})
    after = pd.DataFrame({"good": [0.9, 0.1, 0.9], "bad": [0.1, 0.9, 0.1]})
    pairs = right(decision, labels, before, after)
    assert pairs.before[:, 0].tolist() == [1, 0, 0]
    assert pairs.after[:, 0].tolist() == [1, 1, 1]


def found(rows: list[tuple[str, float]]) -> Result:
    frame = pd.DataFrame(rows, columns=["instance", "cost"]).assign(distance=0.5, n_changed=2)
    return Result(tables={"counterfactuals": frame})


def test_searches_are_compared_on_drawn_rows_that_both_found_for() -> None:
    before = found([("a", 1.0), ("a", 3.0), ("b", 5.0), ("c", 9.0), ("d", 1.0)])
    after = found([("b", 4.0), ("a", 1.0), ("e", 2.0), ("d", 1.0)])
    cost, *_ = searches("counterfactuals.recourse", before, after, frozenset("abce"))
    assert cost.quantity == "mean_cost"
    assert cost.before[:, 0].tolist() == [2, 5]  # c and e are of one model only, d was not drawn
    assert cost.after[:, 0].tolist() == [1, 4]


def test_sizes_are_of_instances_that_both_explained() -> None:
    before = pd.DataFrame({"instance": ["a", "a", "b", "b"], "feature": ["x", "y"] * 2, "value": [-1.0, 2.0, 3.0, 4.0]})
    after = pd.DataFrame({"instance": ["c", "c", "b", "b"], "feature": ["x", "y"] * 2, "value": [9.0, 9.0, 1.0, -4.0]})
    pairs = by_feature("shap", "mean_abs", [before, after], "value", frozenset("abc"))
    assert pairs.features == ("x", "y")
    assert pairs.before.tolist() == [[3, 4]]
    assert pairs.after.tolist() == [[1, 4]]


def test_a_row_that_one_model_has_no_frequency_for_is_left_out() -> None:
    before = pd.DataFrame({"instance": ["a", "b"], "feature": "x", "frequency": [0.5, np.nan]})
    after = pd.DataFrame({"instance": ["a", "b"], "feature": "x", "frequency": [0.25, 0.5]})
    pairs = by_feature("flex", "frequency", [before, after], "frequency", frozenset("ab"))
    assert (pairs.before.tolist(), pairs.after.tolist()) == ([[0.5]], [[0.25]])
