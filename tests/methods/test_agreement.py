"""Agreement of rankings: coefficients by hand and by scipy, intervals, regions, refusals."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from scipy.stats import kendalltau, spearmanr

from audit.core.evidence import Result
from audit.core.method import Inputs, Refusal
from audit.core.plan import Part
from audit.methods.agreement import Agreement
from audit.testing import toy_context, toy_inputs

FEATURES = list("abcde")


def flex_result(values: list[float | None], *, n: int = 6, local: pd.DataFrame | None = None, **status: str) -> Result:
    """Global frequencies as `flex` publishes them: pooled rows, and rows of an outcome that must be passed over."""
    size = len(values)
    table = pd.DataFrame(
        {
            "prediction": pd.Series([None] * size + ["favourable"] * size, dtype=object),
            "feature": FEATURES[:size] * 2,
            "frequency": [*values, *[0.123 * j for j in range(size)]],
            "n": n,
            "status": [status.get(f, "ok") for f in FEATURES[:size]] * 2,
        }
    )
    sweep = pd.DataFrame({"min_change": 0.0, "feature": FEATURES[:size], "frequency": 9.0})
    tables = {"flex_sweep": sweep, "flex_global": table}
    return Result(tables=tables if local is None else {**tables, "flex_local": local})


def shap_result(values: list[float], local: pd.DataFrame | None = None, names: list[str] | None = None) -> Result:
    table = pd.DataFrame({"feature": names or FEATURES[: len(values)], "mean_abs": values, "n": 6})
    return Result(tables={"shap_global": table} if local is None else {"shap_global": table, "shap_local": local})


def local(values: np.ndarray, column: str, first: int = 0) -> pd.DataFrame:
    n, d = values.shape
    return pd.DataFrame(
        {
            "instance": np.repeat([str(i + first) for i in range(n)], d),
            "feature": FEATURES[:d] * n,
            column: values.ravel(),
        }
    )


def inputs_with(results: dict[str, Result], rows: int = 6, constant: str = "") -> Inputs:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({name: rng.normal(size=rows) if name != constant else np.zeros(rows) for name in FEATURES})
    return replace(toy_inputs(frame, lambda f: np.full(len(f), 0.5)), results=results)


def agreement(inputs: Inputs, *of: str, bootstrap: int = 500) -> Result:
    return Agreement.model_validate({"of": of, "bootstrap": bootstrap}).run(toy_context(inputs), Part(index=0))


def test_kendall_and_spearman_by_hand() -> None:
    # Orders 1 2 3 4 and 1 2 4 3: one of 6 pairs is discordant, tau = 4/6; rho = 1 - 6 * 2 / (4 * 15) = 0.8.
    results = {"flex": flex_result([0.9, 0.5, 0.3, 0.1]), "shap": shap_result([9.0, 5.0, 1.0, 3.0])}
    result = agreement(inputs_with(results), "flex", "shap")
    (row,) = result.tables["agreement"].to_dict("records")
    assert row["tau_b"] == pytest.approx(2 / 3)
    assert row["spearman"] == pytest.approx(0.8)
    assert (row["features"], row["n_first"], row["n_second"], row["n_common"]) == (4, 6, 6, 0)
    assert {m.name: m.value for m in result.metrics} == {
        "kendall_tau_b": pytest.approx(2 / 3),
        "spearman_rho": pytest.approx(0.8),
    }
    assert {m.low for m in result.metrics} == {None}
    assert [note.code for note in result.notes] == ["no_interval"]


def test_ties_as_in_scipy() -> None:
    a, b = [0.9, 0.1, 0.1, 0.0, 0.0], [3.0, 1.0, 2.0, 0.5, 0.5]
    result = agreement(inputs_with({"x": flex_result(a), "y": shap_result(b)}), "x", "y")
    (row,) = result.tables["agreement"].to_dict("records")
    assert row["tau_b"] == pytest.approx(kendalltau(a, b).statistic)
    assert row["spearman"] == pytest.approx(spearmanr(a, b).statistic)


def test_features_are_matched_by_name() -> None:
    results = {"flex": flex_result([0.9, 0.5, 0.3, 0.1]), "shap": shap_result([1.0, 3.0, 5.0, 9.0], names=list("dcba"))}
    (row,) = agreement(inputs_with(results), "flex", "shap").tables["agreement"].to_dict("records")
    assert row["tau_b"] == 1.0


def test_constant_and_immutable_features_are_left_out() -> None:
    first = flex_result([0.9, 0.5, 0.3, 0.0, None], d="constant", e="immutable")
    results = {"flex": first, "shap": shap_result([5.0, 4.0, 3.0, 9.0, 8.0])}
    (row,) = agreement(inputs_with(results), "flex", "shap").tables["agreement"].to_dict("records")
    assert (row["features"], row["tau_b"]) == (3, 1.0)


def test_what_the_schema_knows_to_be_constant_is_left_out() -> None:
    results = {"flex": flex_result([0.9, 0.5, 0.3, 0.1]), "shap": shap_result([5.0, 4.0, 3.0, 9.0])}
    (row,) = agreement(inputs_with(results, constant="d"), "flex", "shap").tables["agreement"].to_dict("records")
    assert (row["features"], row["tau_b"]) == (3, 1.0)


def both(rows: int, noise: float, first: int = 0) -> dict[str, Result]:
    rng = np.random.default_rng(1)
    base = np.array([0.9, 0.7, 0.5, 0.3, 0.1])
    a, b = (base + noise * rng.normal(size=(rows, 5)) for _ in range(2))
    signs = np.where(rng.random((rows, 5)) < 0.5, -1, 1)  # SHAP values have signs; sizes are compared
    return {
        "flex": flex_result(list(np.abs(a).mean(axis=0)), n=rows, local=local(np.abs(a), "frequency")),
        "shap": shap_result(list(np.abs(b).mean(axis=0)), local=local(b * signs, "value", first)),
    }


def test_the_interval_is_that_of_a_plain_bootstrap() -> None:
    results = both(30, 0.8)
    result = agreement(inputs_with(results, rows=30), "flex", "shap", bootstrap=3000)
    row = result.tables["agreement"].iloc[0]
    a, b = (
        t.assign(v=t.iloc[:, 2].abs()).pivot_table(index="instance", columns="feature", values="v").to_numpy()
        for t in (results["flex"].tables["flex_local"], results["shap"].tables["shap_local"])
    )
    rng = np.random.default_rng(5)
    taus = []
    for _ in range(1500):
        drawn = rng.integers(0, 30, 30)
        taus.append(kendalltau(a[drawn].mean(axis=0), b[drawn].mean(axis=0)).statistic)
    low, high = np.quantile(taus, [0.025, 0.975])
    assert row["tau_b_low"] == pytest.approx(min(low, row["tau_b"]), abs=0.21)  # tau moves in steps of 0.2
    assert row["tau_b_high"] == pytest.approx(max(high, row["tau_b"]), abs=0.21)
    assert row["tau_b_low"] < row["tau_b"] <= row["tau_b_high"]
    assert row["n_common"] == 30
    assert result.metrics[0].interval == "bootstrap over common instances, 3000 resamples"


def test_clear_rankings_agree_for_sure() -> None:
    row = agreement(inputs_with(both(40, 0.01), rows=40), "flex", "shap").tables["agreement"].iloc[0]
    assert row[["tau_b", "tau_b_low", "tau_b_high", "spearman_low", "spearman_high"]].tolist() == [1.0] * 5


def test_the_interval_holds_the_value_even_if_common_instances_speak_otherwise() -> None:
    values = np.tile([0.9, 0.5, 0.1], (8, 1))
    results = {
        "flex": flex_result([0.1, 0.5, 0.9], n=50, local=local(values, "frequency")),
        "shap": shap_result([0.9, 0.5, 0.1], local=local(values, "value")),
    }
    row = agreement(inputs_with(results, rows=8), "flex", "shap").tables["agreement"].iloc[0]
    assert row[["tau_b", "tau_b_low", "tau_b_high"]].tolist() == [-1.0, -1.0, 1.0]


def test_only_drawn_instances_that_both_looked_at_are_resampled() -> None:
    inputs = inputs_with(both(6, 0.1, first=2), rows=8)  # flex: 0 to 5, shap: 2 to 7
    assert inputs.sample is not None
    drawn = np.array([True] * 5 + [False] * 3)
    inputs = replace(inputs, sample=replace(inputs.sample, drawn=drawn))
    assert agreement(inputs, "flex", "shap").tables["agreement"]["n_common"].iloc[0] == 3  # 2, 3 and 4


def test_an_instance_without_a_score_is_not_common() -> None:
    results = both(6, 0.1)
    results["flex"].tables["flex_local"].loc[lambda t: t["instance"] == "3", "frequency"] = np.nan
    assert agreement(inputs_with(results), "flex", "shap").tables["agreement"]["n_common"].iloc[0] == 5


def test_regions_by_hand() -> None:
    values = np.tile([0.9, 0.5, 0.1], (12, 1))
    other = values.copy()
    other[6:] = other[6:, ::-1]
    results = {
        "flex": flex_result([0.9, 0.5, 0.1], n=12, local=local(values, "frequency")),
        "shap": shap_result([0.9, 0.5, 0.1], local=local(other, "value")),
    }
    inputs = inputs_with(results, rows=12)
    names = ["first"] * 6 + ["second"] * 6 + ["small"] * 4 + ["weighted"] * 12
    instances = [str(i) for i in [*range(12), *range(4), *range(12)]]
    region = pd.DataFrame({"region": names, "instance": instances, "weight": [1.0] * 22 + [0.5] * 6})
    table = agreement(replace(inputs, regions=region), "flex", "shap").tables["agreement"].set_index("region")
    assert table.loc["first", "tau_b"] == 1.0
    assert table.loc["second", "tau_b"] == -1.0
    assert table.loc["second", ["n_first", "n_second", "n_common"]].tolist() == [6, 6, 6]
    assert table.loc[None, ["n_first", "n_second", "n_common"]].tolist() == [12, 6, 12]
    assert "small" not in table.index
    assert table.loc["weighted", "tau_b"] == 1.0  # with equal weights both orders of `shap` cancel


def test_three_attributions_make_three_named_pairs() -> None:
    results = {
        "one": flex_result([0.9, 0.5, 0.3]),
        "two": flex_result([0.3, 0.5, 0.9]),
        "shap": shap_result([3.0, 2.0, 1.0]),
    }
    result = agreement(inputs_with(results), "one", "two", "shap")
    assert result.tables["agreement"]["tau_b"].tolist() == [-1.0, 1.0, -1.0]
    assert {m.where.variant for m in result.metrics} == {"one / two", "one / shap", "two / shap"}
    ranks = result.tables["agreement_ranks"]
    assert ranks[ranks["method"] == "two"]["rank"].tolist() == [3, 2, 1]


def test_different_numbers_of_instances_are_said() -> None:
    result = agreement(inputs_with({"x": flex_result([0.9, 0.5, 0.3], n=100), "y": shap_result([3, 2, 1])}), "x", "y")
    (note,) = (n for n in result.notes if n.code == "different_instances")
    assert note.args == {"first": "x", "second": "y", "n_first": 100, "n_second": 6}


def test_a_constant_ranking_has_no_correlation() -> None:
    result = agreement(inputs_with({"x": flex_result([0.5, 0.5, 0.5]), "y": shap_result([3, 2, 1])}), "x", "y")
    assert [m.value for m in result.metrics] == [None, None]


def test_too_few_features_are_refused() -> None:
    inputs = inputs_with({"x": flex_result([0.9, 0.5]), "y": shap_result([3, 2])})
    with pytest.raises(Refusal, match="have 2 features in common") as caught:
        agreement(inputs, "x", "y")
    assert caught.value.status == "not_applicable"


def test_what_ranks_no_features_is_refused() -> None:
    inputs = inputs_with({"x": flex_result([0.9, 0.5, 0.1]), "performance": Result()})
    with pytest.raises(Refusal, match="'performance' ranks no features"):
        agreement(inputs, "x", "performance")


@pytest.mark.parametrize(("of", "said"), [(("flex",), "at least 2"), (("flex", "flex"), "names a method twice")])
def test_settings_that_make_no_sense_are_refused(of: tuple[str, ...], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Agreement(of=of)


def test_it_reads_the_tasks_that_it_compares() -> None:
    assert Agreement(of=("flex", "shap")).reads() == {"flex": "flex", "shap": "shap"}
