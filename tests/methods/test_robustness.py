"""Robustness: shares against the normal distribution, rounding against Python's own, one call for each step."""

import json
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
from worded import assert_worded

from audit.core.evidence import Result
from audit.core.jitter import noise, rounded, significant
from audit.core.method import Inputs, Refusal
from audit.core.plan import Part
from audit.methods.robustness import Robustness
from audit.testing import toy_context, toy_inputs, toy_table

PHI = np.vectorize(NormalDist().cdf)


def above(frame: pd.DataFrame) -> np.ndarray:
    """P(yes) is 0.75 where x + y is positive, else 0.25: decisions alone, so that their shares can be worked out."""
    return np.where(frame["x"] + frame["y"] > 0, 0.75, 0.25)


def audited(inputs: Inputs, **settings) -> Result:
    result = Robustness.model_validate_json(json.dumps(settings)).run(toy_context(inputs), Part(index=0))
    assert_worded("robustness", result)
    return result


def metric(result: Result, name: str, variant: str):
    (m,) = (m for m in result.metrics if m.name == name and m.where.variant == variant)
    return m


def points(n: int = 300) -> pd.DataFrame:
    frame = pd.DataFrame({"x": np.linspace(-1, 1, n), "y": 0.0})
    frame["far"] = np.linspace(-100, 100, n)
    return frame


def test_the_share_of_decisions_that_change_is_that_of_the_normal_distribution(figure):
    frame = points()
    inputs = toy_inputs(frame, above)
    result = audited(inputs, noise=[0.05, 0.2], draws=400, digits=0)
    for size in (0.05, 0.2):
        sd = frame["x"].std(ddof=0) * size
        chance = PHI(-np.abs(frame["x"]) / sd)
        found = metric(result, "changed_share", f"noise of {100 * size:g} % of the standard deviation")
        error = np.sqrt((chance * (1 - chance)).sum() / 400) / len(frame)
        assert abs(found.value - chance.mean()) < 4 * error
        assert found.low < found.value < found.high
        figure("decisions that change", found.value, f"noise {size:g} sd; exact {chance.mean():.4f}")
    assert inputs.model.rows == 300 * (1 + 2 * 400)


def test_noise_in_units_of_the_range():
    frame = points()
    result = audited(toy_inputs(frame, above), noise=[0.1], unit="range", draws=400, digits=0)
    chance = PHI(-np.abs(frame["x"]) / 0.2)
    found = metric(result, "changed_share", "noise of 10 % of the range")
    assert found.value == pytest.approx(chance.mean(), abs=0.006)


def test_what_the_model_does_not_look_at_changes_nothing_and_that_is_no_certainty():
    result = audited(toy_inputs(points(), above), keep=["x"])
    for m in result.metrics:
        if "significant" not in m.where.variant:
            assert (m.value, m.low) == (0, 0)
            # Wilson's upper end of 0 of 300, z^2 / (n + z^2); of means with Student's quantile, 299 degrees of freedom.
            z = 1.968 if m.name == "changed_share" else 1.96
            assert m.high == pytest.approx(z**2 / (300 + z**2), rel=1e-3)


def test_rounding_is_that_of_python():
    values = np.array([0.0, 1.0, 12345.0, -0.0678, 9.96, 250.0, np.nan, 1e-7, 123.456])
    table = toy_table(pd.DataFrame({"a": values, "b": ["u", "v", "u"] * 3}))
    for digits in (1, 2, 3):
        found = significant(table.schema, table.codes, digits)
        expected = [float(f"{v:.{digits - 1}e}") for v in values]
        np.testing.assert_allclose(found[:, 0], expected, rtol=1e-12)
        assert (found[:, 1] == table.codes[:, 1]).all()
    hundreds = rounded(table.schema, table.codes, {"a": 100})[:, 0]
    np.testing.assert_allclose(hundreds, [round(v / 100) * 100 if v == v else v for v in values])


def test_rounding_counts_the_decisions_that_it_changes():
    frame = pd.DataFrame({"amount": [1049.0, 1051.0, 980.0, 1500.0, 949.0, 1020.0]})
    inputs = toy_inputs(frame, lambda f: np.where(f["amount"] >= 1010, 0.75, 0.25))
    result = audited(inputs, noise=[], round={"amount": 100}, digits=2)
    # To 100: 1049 -> 1000 and 1020 -> 1000 change. To two digits the same.
    assert metric(result, "changed_share", "rounded as stated").value == pytest.approx(2 / 6)
    table = result.tables["robustness_decisions"].set_index("test")
    assert table.loc["rounded to 2 significant digits", "unfavourable_share"] == pytest.approx(2 / 6)
    assert table.loc["rounded to 2 significant digits", "favourable_share"] == 0
    scores = result.tables["robustness_scores"].query("test == 'rounded as stated' and quantile == 0.5").iloc[0]
    assert (scores["before"], scores["after"], scores["change"]) == (0.75, 0.25, -0.5)


def test_noise_keeps_whole_numbers_ranges_levels_and_what_is_missing():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"age": rng.integers(18, 80, 200), "pay": rng.gamma(2, size=200), "job": rng.choice(list("abc"), 200)}
    )
    frame.loc[:9, "pay"] = np.nan
    table = toy_table(frame)
    free = np.ones(table.codes.shape, dtype=bool)
    errors = noise(table, 200, 30, "sd", np.random.default_rng(1))
    still, moved = errors.on(table.codes, 1.0, 0.0, free), errors.on(table.codes, 1.0, 0.4, free)
    assert (still[..., 0] == np.rint(still[..., 0])).all()
    assert (still[..., 0] >= 18).all()
    assert (still[..., 0] <= frame["age"].max()).all()
    assert np.isnan(still[:, :10, 1]).all()
    assert not np.isnan(still[:, 10:, 1]).any()
    assert (still[..., 2] == table.codes[:, 2]).all()
    # A level that is drawn anew is another one with the chance that two rows differ.
    counts = np.bincount(table.codes[:, 2].astype(int)) / 200
    other = 0.4 * (1 - (counts**2).sum())
    assert (moved[..., 2] != table.codes[:, 2]).mean() == pytest.approx(other, abs=0.03)


def with_set(inputs: Inputs, rows: pd.DataFrame, instances: list[str]) -> Inputs:
    status = pd.DataFrame({"instance": instances, "status": "found"})
    tables = {"counterfactuals": rows.assign(instance=instances), "instance_status": status}
    return replace(inputs, results={"counterfactuals": Result(tables=tables)})


def test_counterfactuals_hold_as_often_as_the_normal_distribution_says():
    frame = points().assign(y=lambda f: np.linspace(-0.5, 0.5, len(f))[::-1])
    inputs = toy_inputs(frame, above)
    refused = frame[frame["x"] + frame["y"] <= 0]
    changed = refused.assign(x=0.1 - refused["y"])  # now x + y is 0.1
    second = refused.assign(x=9.0)  # a second one of each is not looked at
    both = pd.concat([changed, second]).sort_index(kind="stable")
    own = with_set(inputs, both, [i for i in map(str, refused.index) for _ in range(2)])
    result = audited(own, **{"from": "recourse"}, noise=[0.2], draws=200, digits=0)
    for what, column in (("changed values", "x"), ("values left as they are", "y")):
        found = metric(result, "counterfactuals_hold", f"noise of 20 % of the standard deviation, {what}")
        expected = PHI(0.1 / (0.2 * frame[column].std(ddof=0)))
        assert found.n == len(refused)
        assert found.value == pytest.approx(expected, abs=0.02)
    assert own.model.calls == 2


def test_only_rows_drawn_at_random_count():
    inputs = toy_inputs(points(), above)
    drawn = np.arange(300) < 120
    inputs = replace(inputs, sample=replace(inputs.sample, drawn=drawn))
    own = with_set(inputs, points().iloc[100:140], [str(i) for i in range(100, 140)])
    result = audited(own, **{"from": "recourse"})
    assert {m.n for m in result.metrics if m.name == "changed_share"} == {120}
    assert {m.n for m in result.metrics if m.name == "counterfactuals_hold"} == {20}


def test_what_cannot_be_tested_is_refused_or_said():
    inputs = toy_inputs(points().assign(home="own"), above)
    with pytest.raises(Refusal, match="'height' is no feature"):
        audited(inputs, keep=["height"])
    with pytest.raises(Refusal, match="'home', which has levels"):
        audited(inputs, round={"home": 10})
    with pytest.raises(Refusal, match="leave nothing to test"):
        audited(inputs, noise=[], digits=0)
    empty = with_set(inputs, points().assign(home="own").iloc[:0], [])
    assert "no_counterfactuals" in {n.code for n in audited(empty, **{"from": "recourse"}).notes}
    assert "seeds_untested" in {n.code for n in audited(inputs, seeds=0).notes}
