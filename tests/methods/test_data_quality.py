"""Data quality: planted duplicates, leaks, drift and gaps are counted and named; clean data raise nothing."""

import json
import os

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from worded import assert_worded

from audit.core.drift import drift, row_numbers, share_difference
from audit.core.evidence import Result
from audit.core.method import Refusal
from audit.core.plan import Part
from audit.core.schema import Feature
from audit.methods.data_quality import DataQuality
from audit.testing import toy_context, toy_inputs


def clean(n: int, seed: int) -> pd.DataFrame:
    """Rows whose outcome leans on one number; nothing else is wrong with them."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"income": rng.normal(size=n), "debt": rng.gamma(2.0, size=n)})
    frame["home"] = rng.choice(["own", "rent", "free"], n)
    frame["sex"] = rng.choice(["f", "m"], n)
    return frame.assign(paid=np.where(rng.random(n) < 1 / (1 + np.exp(-frame["income"])), "yes", "no"))


def looked(evaluate: pd.DataFrame, train: pd.DataFrame | None, **settings) -> Result:
    inputs = toy_inputs(
        evaluate, lambda f: np.linspace(0.2, 0.8, len(f)), target="paid", protected=("sex",), train=train
    )
    result = DataQuality.model_validate_json(json.dumps(settings)).run(toy_context(inputs), Part(index=0))
    assert_worded("data", result)
    return result


def value(result: Result, name: str, **where: str):
    (m,) = (m for m in result.metrics if m.name == name and all(getattr(m.where, k) == v for k, v in where.items()))
    return m.value


def raised(result: Result) -> list[tuple]:
    return [(n.code, n.args.get("column"), n.severity) for n in result.notes if n.severity]


def test_clean_data_raise_nothing():
    result = looked(clean(400, 1), clean(800, 2))
    assert raised(result) == []
    assert value(result, "leaking") == value(result, "in_training") == value(result, "constant_columns") == 0
    assert {"duplicates", "best_column", "drift"} == {n.code for n in result.notes}


def test_duplicates_are_counted_within_and_across_with_and_without_the_target():
    train, evaluate = clean(300, 2), clean(100, 1)
    other = train.iloc[10:17].assign(paid=lambda f: np.where(f["paid"] == "yes", "no", "yes"))
    evaluate = pd.concat([evaluate, train.iloc[:10], other, evaluate.iloc[:4], evaluate.iloc[:3]], ignore_index=True)
    evaluate.loc[len(evaluate) - 1, "paid"] = "other class"
    result = looked(evaluate, train)
    assert value(result, "in_training") == 17
    assert value(result, "in_training_same_target") == 10
    assert value(result, "duplicates", data="evaluate") == 7
    assert value(result, "duplicates_same_target") == 6
    assert value(result, "duplicates", data="train") == 0
    assert ("in_training", None, "minor") in raised(result)
    half = looked(train.iloc[:100].reset_index(drop=True), train)
    assert ("in_training", None, "major") in raised(half)


def test_missing_equals_missing_and_minus_zero_is_zero():
    a = np.array([[np.nan, 0.0], [1.0, 2.0], [np.nan, -0.0]])
    ours, theirs = row_numbers(a, np.array([[-np.nan, 0.0], [1.0, np.nan]]))
    assert ours[0] == ours[2] == theirs[0]
    assert len({ours[0], ours[1], theirs[1]}) == 3


def test_a_value_that_decides_the_class_is_named_as_leaking():
    train, evaluate = clean(800, 2), clean(400, 1)
    for frame, seed in ((train, 3), (evaluate, 4)):
        closed = (frame["paid"] == "no") & (np.random.default_rng(seed).random(len(frame)) < 0.5)
        frame["account"] = np.where(closed, "closed", np.random.default_rng(seed + 9).choice(["a", "b"], len(frame)))
    result = looked(evaluate, train)
    (note,) = (n for n in result.notes if n.code == "leaking_value")
    closed = int((train["account"] == "closed").sum())
    assert (note.severity, note.args["column"], note.args["value"], note.args["outcome"], note.args["n"]) == (
        "major", "account", "closed", "unfavourable", closed,
    )  # fmt: skip
    assert note.args["data"] == "train"
    # Values that 20 rows share: three of `account` and three of `home`.
    tested = len(result.tables["data_values"])
    assert tested == 6
    z = stats.norm.ppf(1 - 0.05 / tested / 2)
    assert note.args["low"] == pytest.approx(closed / (closed + z**2))
    assert value(result, "leaking") == 1
    # The column as a whole is not above the bar: half of the outcomes are hidden in the other values.
    assert "leaking_column" not in {n.code for n in result.notes}
    numbers = {"closed": -999.0, "a": 1.5, "b": 2.5}
    codes = looked(
        evaluate.assign(account=evaluate["account"].map(numbers)), train.assign(account=train["account"].map(numbers))
    )
    (note,) = (n for n in codes.notes if n.code == "leaking_value")
    assert note.args["value"] == "-999"


@pytest.mark.parametrize("shape", ["up", "down", "both ends"])
def test_a_column_that_decides_the_class_is_named_as_leaking_whatever_its_shape(shape):
    train, evaluate = clean(800, 2), clean(400, 1)
    for frame in (train, evaluate):
        good = (frame["paid"] == "yes").to_numpy()
        noise = np.random.default_rng(5).normal(size=len(frame))
        side = {"up": 2.0 * good, "down": -2.0 * good, "both ends": 3.0 * good * np.sign(noise)}[shape]
        frame["late"] = side + 0.4 * noise
    result = looked(evaluate, train)
    assert [n.args["column"] for n in result.notes if n.code == "leaking_column"] == ["late"]
    assert result.tables["data_alone"]["column"].iloc[0] == "late"
    higher = looked(evaluate, train, leak_auc=0.9999)
    assert "leaking_column" not in {n.code for n in higher.notes}
    bar = higher.tables["choices"].set_index("id").loc["DATA-02"]
    assert bar["changed"]
    assert "0.9999" in bar["value"]


def test_a_name_for_every_row_and_a_rare_outcome_are_no_leaks():
    train, evaluate = clean(600, 2), clean(300, 1)
    for frame, start in ((train, 0), (evaluate, 1000)):
        frame["name"] = [f"p{start + i}" for i in range(len(frame))]
        frame["paid"] = np.where(np.random.default_rng(start).random(len(frame)) < 0.98, "yes", "no")
    result = looked(evaluate, train)
    assert value(result, "leaking") == 0


def test_constant_and_near_constant_columns():
    train, evaluate = clean(200, 2), clean(100, 1)
    for frame in (train, evaluate):
        frame["one"], frame["rare"] = 7.0, np.where(np.arange(len(frame)) == 3, "x", "y")
    result = looked(evaluate, train)
    assert raised(result) == [("constant", "one", "minor"), ("near_constant", "rare", "minor")]
    assert value(result, "constant_columns") == 2
    assert result.tables["data_columns"].set_index("column").loc["rare", "frequency"] == 199 / 200


def test_the_index_is_that_of_its_definition_and_the_tests_those_of_scipy():
    rng = np.random.default_rng(0)
    before, after = rng.normal(size=500), rng.normal(0.8, 1, size=300)
    found = drift(Feature(name="a", kind="numeric", low=-4, high=4), before, after)
    edges = np.quantile(before, np.arange(1, 10) / 10, method="inverted_cdf")
    p, q = (np.array([np.sum(np.searchsorted(edges, x) == b) for b in range(10)]) for x in (before, after))
    p, q = (p + 0.5) / (p + 0.5).sum(), (q + 0.5) / (q + 0.5).sum()
    assert found.index == pytest.approx(((q - p) * np.log(q / p)).sum())
    assert found.low < found.index < found.high
    expected = stats.ks_2samp(before, after, method="asymp")
    assert (found.effect, found.p) == (expected.statistic, expected.pvalue)
    levels = Feature(name="b", kind="categorical", levels=("x", "y", "z"), high=2)
    table = np.array([[60, 30, 10], [20, 50, 30]])
    found = drift(levels, *(np.repeat([0.0, 1.0, 2.0], row) for row in table))
    expected = stats.chi2_contingency(table, correction=False)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.effect == pytest.approx(stats.contingency.association(table, "cramer"))


def test_equal_distributions_have_an_index_of_0_and_an_interval_that_is_no_point():
    levels = Feature(name="b", kind="categorical", levels=("x", "y"), high=1)
    rows = np.repeat([0.0, 1.0], 50)
    found = drift(levels, rows, rows)
    assert (found.index, found.low, found.effect, found.p) == (0, 0, 0, 1)
    # 1 degree of freedom, at the mean of 1: P(X <= 1) is 0.025 for a centre of 8.76; 50 is 1 / (1/100 + 1/100).
    assert found.high == pytest.approx(8.76 / 50, abs=0.01)
    assert found.noise == pytest.approx(1 / 50)


def test_the_interval_of_the_index_covers_the_truth():
    """Two shifted normals: the truth is the index of the same bins on 400,000 rows."""
    feature = Feature(name="a", kind="numeric", low=-5, high=5)
    seeds = 200 if os.environ.get("AUDIT_ACCEPT") else 60
    rng = np.random.default_rng(7)
    # The bins are quantiles of the training rows, so the truth moves a little with them: long training data.
    truth = drift(feature, rng.normal(size=400_000), rng.normal(0.4, 1, 400_000)).index
    inside = 0
    for seed in range(seeds):
        own = np.random.default_rng([8, seed])
        found = drift(feature, own.normal(size=1000), own.normal(0.4, 1, 600))
        inside += found.low <= truth <= found.high
    assert inside / seeds > 0.88


def test_a_column_that_moved_is_named_and_others_are_not():
    train, evaluate = clean(1000, 2), clean(500, 1)
    evaluate["debt"] = evaluate["debt"] + 2
    result = looked(evaluate, train)
    assert raised(result) == [("moved", "debt", "minor")]
    table = result.tables["data_drift"]
    assert table["column"].iloc[0] == "debt"
    assert (table["p_holm"] < 0.05).tolist() == [True, False, False]
    assert table["p_holm"].iloc[0] == pytest.approx(3 * table["p"].iloc[0])


def test_labels_shift_and_unseen_values():
    train, evaluate = clean(400, 2), clean(200, 1)
    evaluate.loc[:4, "home"] = "boat"
    evaluate.loc[5, "income"] = 99.0
    result = looked(evaluate, train)
    assert value(result, "unseen_levels") == 5 / 200
    assert ("unseen", "home", "minor") in raised(result)
    unseen = result.tables["data_unseen"].set_index("column")
    for name in ("income", "debt"):
        beyond = ~evaluate[name].between(train[name].min(), train[name].max())
        assert unseen["rows"].get(name, 0) == beyond.sum()
    assert unseen.loc["home", "rows"] == 5
    assert unseen.loc["home", "values"] == "boat"
    shift = (evaluate["paid"] == "yes").mean() - (train["paid"] == "yes").mean()
    assert value(result, "prevalence_shift") == pytest.approx(shift)


def test_newcombe_by_the_numbers_of_his_paper():
    """Table II of the paper, case (a): 56/70 less 48/80 is 0.2, from 0.0524 to 0.3339 by method 10."""
    difference, low, high = share_difference((48, 80), (56, 70))
    assert (round(difference, 4), round(low, 4), round(high, 4)) == (0.2, 0.0524, 0.3339)


def test_missing_values_by_group_by_hand():
    evaluate = clean(200, 1)
    women = np.flatnonzero(evaluate["sex"] == "f")
    evaluate.loc[women[:20], "debt"] = np.nan
    evaluate.loc[len(evaluate) - 3 :, "sex"] = "x"
    result = looked(evaluate, clean(300, 2))
    missing = result.tables["data_missing"].set_index("group")
    n = int((evaluate["sex"] == "f").sum())
    assert missing.loc["f", ["n", "missing", "share"]].tolist() == [n, 20, 20 / n]
    assert missing.loc["m", "missing"] == 0
    assert missing.loc["x", "status"] == "suppressed"
    assert np.isnan(missing.loc["x", "n"])
    gap = result.tables["data_missing_gaps"].iloc[0]
    assert gap["gap"] == pytest.approx(20 / n)
    assert gap["p_holm"] < 0.001


def test_without_training_rows_or_truth_the_rest_is_said_and_what_is_not_tested():
    result = looked(clean(200, 1), None)
    assert raised(result) == [("no_train", None, "minor")]
    assert result.tables["data_alone"]["data"].unique().tolist() == ["evaluate"]
    assert "data_drift" not in result.tables
    inputs = toy_inputs(clean(100, 1).drop(columns="paid"), lambda f: np.linspace(0.2, 0.8, len(f)))
    result = DataQuality().run(toy_context(inputs), Part(index=0))
    assert_worded("data", result)
    assert "leaks_untested" in {n.code for n in result.notes}
    with pytest.raises(Refusal, match="'height'"):
        looked(clean(50, 1), None, by=["height"])


def test_no_model_is_asked():
    inputs = toy_inputs(clean(60, 1), lambda f: np.linspace(0.2, 0.8, len(f)), target="paid", train=clean(80, 2))
    DataQuality().run(toy_context(inputs), Part(index=0))
    assert inputs.model.rows == 0
