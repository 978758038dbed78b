"""CID against an oracle that knows nothing of it, its edge cases, and what it says of them."""

from dataclasses import replace

import cid_case as cc
import numpy as np
import pandas as pd
import pytest
from scipy.stats import gaussian_kde

from audit.core.infer import ColumnInfo
from audit.core.method import Refusal
from audit.core.policy import FeatureRule
from audit.core.pool import draw_pools
from audit.methods import cid
from audit.testing import conformance_inputs, toy_inputs

QUICK = {"m": 20, "repeats": 4, "instances": 10}


def test_a_distance_known_in_closed_form():
    # From a = 0 one change flips where a becomes 5 to 9. Of the single changes that keep: a 4/9, b and c 9/9 each.
    result = cc.run(cc.whole(sample_rows=[0]), m=1000, repeats=10, draws=10_000)
    found = cc.local(result, "0")
    share = (4 / 9) / (4 / 9 + 2)
    assert found.loc["a", "unchanged_plus"] == 0
    assert found.loc["a", "unchanged_minus"] == pytest.approx(1 - share, abs=0.01)
    # b: in C+ all unchanged, in C- a share of 1 / (4/9 + 2) changed: 1 - (1 - s) / (1 + s).
    moved = 1 / (4 / 9 + 2)
    assert found.loc["b", "unchanged_plus"] == 1
    assert found.loc["b", "value"] == pytest.approx(1 - (1 - moved) / (1 + moved), abs=0.01)
    assert found["rank"].tolist()[0] == 1


@pytest.mark.parametrize("measure", ["mixed", "kde"])
def test_against_an_oracle(measure, monkeypatch):
    """The definition, feature by feature and repeat by repeat, with scipy's densities and raw units."""
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"x": rng.normal(50, 10, 80), "y": rng.normal(0, 0.01, 80), "z": rng.choice(list("uvw"), 80)})
    inputs = toy_inputs(
        frame, lambda f: 1 / (1 + np.exp(-(f["x"] - 50) / 5 - 100 * f["y"] - (f["z"] == "u"))), sample_rows=range(8)
    )
    kept = []

    def watched(*args):
        kept.extend(draw_pools(*args))
        return kept

    monkeypatch.setattr(cid, "draw_pools", watched)
    result = cc.run(inputs, measure=measure, m=30, repeats=3)
    for i, pool in enumerate(kept):
        found = cc.local(result, str(i))
        for j, name in enumerate(frame.columns):
            expected = [oracle(measure, inputs, j, i, pool.plus[r::3, j], pool.minus[r::3, j]) for r in range(3)]
            assert found.loc[name, "value"] == pytest.approx(np.mean(expected), abs=1e-9)
            assert found.loc[name, "sd"] == pytest.approx(np.std(expected, ddof=1), abs=1e-9)
    assert len(kept) == 8


def oracle(measure, inputs, j, i, plus, minus):
    feature, x = inputs.schema.features[j], inputs.evaluate.codes[i, j]
    if feature.kind == "categorical":
        counts = [[np.mean(values == level) for level in range(3)] for values in (plus, minus)]
        return 1 - np.minimum(*counts).sum() / np.maximum(*counts).sum()
    if measure == "kde":
        if np.ptp(plus) == 0 or np.ptp(minus) == 0:
            return float(np.ptp(plus) == 0 and np.ptp(minus) == 0 and plus[0] != minus[0])
        grid = np.linspace(min(plus.min(), minus.min()), max(plus.max(), minus.max()), 1000)
        p, q = gaussian_kde(plus)(grid), gaussian_kde(minus)(grid)
        return 1 - np.trapezoid(np.minimum(p, q), grid) / np.trapezoid(np.maximum(p, q), grid)
    w = feature.high - feature.low
    grid = np.linspace(feature.low - 0.1 * w, feature.high + 0.1 * w, 1000)
    parts = []
    for values in (plus, minus):
        moved = values[values != x]
        p = np.zeros(1000)
        if len(moved) == 1:
            p = np.exp(-0.5 * ((grid - moved[0]) / (0.05 * w)) ** 2)
        elif len(moved):
            p = gaussian_kde(moved)(grid)
        total = np.trapezoid(p, grid)
        parts.append((np.mean(values == x), np.mean(values != x) * p / (total or 1)))
    (a, p), (b, q) = parts
    return 1 - (min(a, b) + np.trapezoid(np.minimum(p, q), grid)) / (max(a, b) + np.trapezoid(np.maximum(p, q), grid))


def test_a_change_of_units_changes_nothing():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(rng.random((60, 3)), columns=list("abc"))
    moved = frame.assign(a=frame["a"] * 1e-3 + 2000, b=-40 + 1e6 * frame["b"])

    def score(f):
        return 1 / (1 + np.exp(-8 * (f["a"] + f["b"] * f["c"] - 0.7)))

    plain = cc.run(toy_inputs(frame, score), **QUICK)
    other = cc.run(
        toy_inputs(moved, lambda f: score(f.assign(a=(f["a"] - 2000) * 1e3, b=(f["b"] + 40) / 1e6))), **QUICK
    )
    # Intervals of ranges are drawn from in the same place, so that rounding alone sets the rows apart.
    np.testing.assert_allclose(
        plain.tables["cid_local"]["value"], other.tables["cid_local"]["value"], atol=1e-6, rtol=0
    )


def test_the_same_seed_gives_the_same_and_another_another():
    first, second, third = (cc.run(conformance_inputs(), seed=seed, **QUICK) for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(first.tables["cid_global"], second.tables["cid_global"])
    assert not first.tables["cid_global"].equals(third.tables["cid_global"])


def test_what_is_not_computable():
    every = toy_inputs(pd.DataFrame({"a": [0, 1], "b": [0, 1]}), lambda f: np.where(f["a"] + f["b"] > 0, 0.9, 0.1))
    constant = conformance_inputs(lambda f: np.full(len(f), 0.25))
    for inputs in (replace(every, sample=cc.only(every, [0])), constant):
        result = cc.run(inputs, **QUICK, draws=50)
        assert result.status == "refused"
        assert result.message.startswith("not computable")
        (coverage,) = [m for m in result.metrics if m.name == "coverage"]
        assert coverage.value == 0
        assert "size_mismatch" not in cc.notes(result)
        assert set(result.tables) == {"choices"}
        assert cc.notes(result)["low_coverage"].severity == "minor"


def test_uncovered_rows_are_left_out_and_counted():
    # From a = 9 only a below 5 flips; from a = 0, b = 0 under this model nothing does.
    frame = pd.DataFrame({"a": [9, 8, 0, 0], "b": [0, 1, 0, 1]})
    inputs = toy_inputs(frame, lambda f: np.where((f["a"] >= 5) & (f["b"] < 2), 0.8, 0.2), sample_rows=[0, 1])
    rule = {"a": FeatureRule(change="increase"), "b": FeatureRule(change="any")}
    blocked = toy_inputs(
        frame, lambda f: np.where((f["a"] >= 5) & (f["b"] < 2), 0.8, 0.2), features=rule, sample_rows=[0, 2]
    )
    assert cc.overall(cc.run(inputs, **QUICK))["n"].tolist() == [2, 2]
    result = cc.run(blocked, **QUICK, constraints="policy", draws=100)
    (coverage,) = [m for m in result.metrics if m.name == "coverage"]
    assert (coverage.value, coverage.n) == (0.5, 2)
    assert set(cc.local(result, "0")["status"]) == {"undefined", "immutable"}
    assert cc.local(result, "0")["value"].isna().all()
    assert cc.local(result, "2")["status"].tolist() == ["ok", "ok"]
    assert cc.overall(result)["n"].tolist() == [1, 1]


def test_constant_and_immutable_features():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"a": rng.random(40), "b": rng.random(40), "c": rng.random(40), "one": 3.0, "kept": rng.random(40)}
    )
    rules = {name: FeatureRule(change="any") for name in ("a", "b", "c", "one")}
    inputs = toy_inputs(frame, lambda f: (f["a"] + f["b"] + f["kept"]) / 3, features=rules)
    free, bound = (cc.run(inputs, **QUICK, constraints=c) for c in ("domain", "policy"))
    for result in (free, bound):
        row = cc.overall(result).loc["one"]
        assert (row["value"], row["status"]) == (0, "constant")
        assert np.isnan(row["rank"])
        assert cc.notes(result)["constant_features"].args["features"] == "one"
    assert cc.overall(free).loc["kept", "status"] == "ok"
    kept = cc.overall(bound).loc["kept"]
    assert kept["status"] == "immutable"
    assert np.isnan(kept["value"])
    assert np.isnan(kept["rank"])
    assert cc.notes(bound)["immutable_features"].args["features"] == "kept"
    assert {m.where.feature for m in bound.metrics if m.name == "distance"} == {"a", "b", "c"}
    own = bound.tables["cid_local"]
    assert own.loc[own["feature"] == "kept", "value"].isna().all()


def test_no_feature_may_vary():
    inputs = cc.whole(features={})
    with pytest.raises(Refusal, match="no feature is allowed to vary"):
        cc.run(inputs, constraints="policy")


def test_missing_values():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"a": rng.random(40), "b": rng.random(40), "c": rng.choice(["u", "v"], 40), "d": rng.random(40)}
    )
    frame.loc[:3, "b"] = np.nan
    frame.loc[2:5, "c"] = None
    inputs = toy_inputs(
        frame, lambda f: (f["a"] + f["b"].fillna(0.2) + 0.3 * (f["c"] == "u")) / 2.3, sample_rows=range(8)
    )
    result = cc.run(inputs, **QUICK, top=2)
    assert result.tables["cid_local"]["value"].notna().all()
    of_the_paper = cc.run(inputs, **QUICK, measure="kde", top=2)
    for i in range(8):
        row = cc.local(of_the_paper, str(i)).loc["b"]
        told = "missing value" in row["flags"]
        assert told == (np.isnan(row["value"])) == (row["status"] == "undefined")
        assert told <= (i <= 3)
    assert cc.local(of_the_paper, "0").loc["b", "flags"] == "missing value"
    assert "missing value (4 of 4)" in cc.overall(of_the_paper).loc["b", "flags"]
    nobody = cc.run(replace(inputs, sample=cc.only(inputs, [0, 1])), **QUICK, measure="kde")
    assert not nobody.tables["cid_faithfulness"]["n"].any()
    assert not [m for m in nobody.metrics if m.name in {"comprehensiveness", "agreement", "chance"}]
    assert "no_faithfulness" in cc.notes(nobody)
    assert "agreement_hidden" not in cc.notes(nobody)
    assert "no_faithfulness" not in cc.notes(of_the_paper)


def test_the_degenerate_rule_is_flagged_in_the_mode_of_the_paper():
    result = cc.run(cc.whole(sample_rows=[0]), m=20, repeats=5, measure="kde")
    found = cc.local(result, "0")
    # b is unchanged in all of C+, so that it is constant there.
    assert found.loc["b", "value"] == 0
    assert "one side constant" in found.loc["b", "flags"]
    assert "b" in cc.notes(result)["flagged_features"].args["features"]


def test_few_points_make_fewer_repeats():
    frame = pd.DataFrame({"a": np.arange(201.0)})
    inputs = toy_inputs(frame, lambda f: np.where(f["a"] == 200, 0.9, 0.1), sample_rows=[0])
    result = cc.run(inputs, m=20, repeats=10, draws=1000)
    row = cc.local(result, "0").loc["a"]
    assert row["n_plus"] == row["n_minus"]
    assert row["repeats"] == row["n_plus"] // 20
    assert row["repeats"] < 10
    assert cc.notes(result)["fewer_repeats"].args["count"] == 1


def test_sizes_that_do_not_match_are_a_finding():
    frame = pd.DataFrame({"a": [False, True, False, True], "b": [False, False, True, True]})
    inputs = toy_inputs(frame, lambda f: np.where(f["a"] ^ f["b"], 0.9, 0.1), sample_rows=[0])
    result = cc.run(inputs, **QUICK, draws=50)
    note = cc.notes(result)["size_mismatch"]
    assert note.severity == "info"
    assert note.args == {"points": 80, "of": 80, "rows": 1, "share": 1.0}
    # In C+ a is changed in half of the points, in C- in all: 1 - min(.5, 1) / (.5 + 1), a categorical feature.
    assert cc.local(result, "0").loc["a", "value"] == pytest.approx(1 - 0.5 / 1.5, abs=0.1)
    assert not [n for n in cc.run(conformance_inputs(), **QUICK).notes if n.code == "size_mismatch"]


def test_ranks_whose_intervals_overlap_are_unstable():
    result = cc.run(cc.three_classes(), **QUICK)
    table = result.tables["cid_global"]
    for _, row in table.iterrows():
        rest = table[table["feature"] != row["feature"]]
        overlaps = ((rest["low"] <= row["high"]) & (rest["high"] >= row["low"])).any()
        assert ("rank unstable" in row["flags"]) == overlaps
    assert table["rank"].tolist() == [1, 2, 3, 4, 5]


def test_global_means_and_intervals():
    result = cc.run(cc.three_classes(), **QUICK)
    own = result.tables["cid_local"].pivot_table(index="instance", columns="feature", values="value")
    for feature, row in cc.overall(result).iterrows():
        half = 2 * own[feature].std() / np.sqrt(10)
        expected = [own[feature].mean(), own[feature].std(), own[feature].mean() - half, own[feature].mean() + half]
        np.testing.assert_allclose(
            row[["value", "sd", "low", "high"]].astype(float), np.clip(expected, 0, 1), atol=1e-12
        )


def test_one_row_and_one_repeat_have_no_interval():
    result = cc.run(cc.whole(sample_rows=[0]), m=20, repeats=1)
    assert result.tables["cid_local"][["sd", "low", "high"]].isna().all(axis=None)
    assert cc.overall(result)[["sd", "low", "high"]].isna().all(axis=None)
    assert all(m.low is None and not m.interval for m in result.metrics if m.name == "distance")


def test_ordered_levels_are_levels():
    frame = pd.DataFrame({"o": ["l", "m", "h"] * 10, "b": [True, False] * 15, "x": np.linspace(0, 1, 30)})
    inputs = toy_inputs(
        frame,
        lambda f: np.where((f["o"] == "h") | (f["x"] > 0.7), 0.9, 0.1),
        columns={"o": ColumnInfo(order=("l", "m", "h"))},
        sample_rows=[0],
    )
    found = cc.local(cc.run(inputs, m=1000, repeats=10, draws=10_000, top=1), "0")
    # From (l, True, 0): flips: h (1/2 of changes of o) and x > .7 (.3 of changes of x), so 5/8 and 3/8 of C+.
    # Keeps: m (1/2), any b (1), x <= .7 (.7): shares 5/22, 10/22, 7/22 of C-.
    plus = {"l": 3 / 8, "m": 0, "h": 5 / 8}
    minus = {"l": 17 / 22, "m": 5 / 22, "h": 0}
    low, high = (sum(pick(plus[v], minus[v]) for v in "lmh") for pick in (min, max))
    assert found.loc["o", "value"] == pytest.approx(1 - low / high, abs=0.01)
    assert found.loc["b", "value"] == pytest.approx(1 - (12 / 22) / (1 + 10 / 22), abs=0.01)
