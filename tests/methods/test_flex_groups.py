"""FLEX by group: regions, intervals, places, the skill of the model, choices."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from flex_case import THREE, flex, frequencies, frozen, given, hand, metric, notes, regional, searched

from audit.core.method import Inputs
from audit.testing import toy_inputs


def regions(*members: tuple[str, str, float]) -> pd.DataFrame:
    table = pd.DataFrame(members, columns=["region", "instance", "weight"])
    return table.assign(distance=0.0)


def test_regions_by_hand_with_weights() -> None:
    member = regions(("one", "1", 1.0), ("two", "1", 1.0), ("two", "2", 0.25), ("two", "3", 1.0))
    inputs = given(hand(3, regions=member), {"1": [(1.0, 0.0, "b")], "2": [(1.0, 0.5, "a")]})
    result = flex(inputs)
    assert regional(result, "one").tolist() == [1.0, 0.0, 1.0]
    assert regional(result, "two").tolist() == pytest.approx([1.0, 0.2, 0.8])
    assert metric(result, "frequency", region="two", feature="b") == pytest.approx(0.2)
    assert metric(result, "coverage", region="two") == pytest.approx(2 / 3)
    assert notes(result)["small_regions"].args["regions"] == "one (1), two (2)"


def test_only_drawn_rows_count_globally_but_all_members_count_in_their_region() -> None:
    inputs = given(
        hand(2, regions=regions(("near", "1", 1.0), ("near", "2", 1.0))), {"1": [(1.0, 0.0, "b")], "2": THREE}
    )
    assert inputs.sample is not None
    inputs = replace(inputs, sample=replace(inputs.sample, drawn=np.array([True, False])))
    result = flex(inputs)
    assert frequencies(result)["c"] == 1.0
    assert regional(result, "near")["c"] == pytest.approx((1 + 2 / 3) / 2)
    assert set(result.tables["flex_local"]["instance"]) == {"1", "2"}


def test_regions_can_be_chosen_and_clusters_go_by_their_name() -> None:
    member = regions(("segment 1", "1", 1.0), ("segment 2", "2", 1.0), ("young", "1", 1.0))
    inputs = given(hand(2, regions=member), {"1": THREE, "2": THREE})

    def names(chosen: object) -> list[str]:
        return flex(inputs, regions=chosen).tables["flex_regional"]["region"].unique().tolist()

    assert names("all") == ["segment 1", "segment 2", "young"]
    assert names("none") == []
    assert names(["segment"]) == ["segment 1", "segment 2"]
    assert names(["young"]) == ["young"]


def test_a_region_without_rows_is_undefined_not_absent() -> None:
    result = flex(given(hand(2, regions=regions(("one", "1", 1.0))), {"1": THREE, "2": THREE}), regions=["empty"])
    table = result.tables["flex_regional"]
    assert table["status"].tolist() == ["undefined"] * 3
    assert table["frequency"].isna().all()
    assert metric(result, "coverage", region="empty") is None


def test_intervals_are_near_those_of_a_plain_bootstrap_over_instances() -> None:
    rng = np.random.default_rng(0)
    found = {str(i + 1): [(1.0, float(b), "a") for b in rng.integers(0, 2, 10) * (i % 2)] for i in range(60)}
    inputs = given(hand(60), found)
    table = flex(inputs).tables["flex_global"].set_index("feature").loc["b"].iloc[0]
    L = np.array([np.mean([row[1] > 0 for row in found[str(i + 1)]]) for i in range(60)])
    means = [rng.choice(L, 60).mean() for _ in range(4000)]
    assert [table["low"], table["high"]] == pytest.approx(np.quantile(means, [0.025, 0.975]).tolist(), abs=0.015)
    # A binomial interval over the 600 counterfactuals would be much too narrow.
    p = L.mean()
    assert table["high"] - table["low"] > 1.4 * 2 * 1.96 * np.sqrt(p * (1 - p) / 600)


def test_intervals_say_what_they_do_not_cover() -> None:
    result = flex(given(hand(3), {"1": THREE, "2": THREE, "3": THREE}), bootstrap=50)
    (found,) = (
        m for m in result.metrics if m.name == "frequency" and m.where.feature == "a" and m.where.outcome is None
    )
    covers = "Wilson with an effective sample size, 95 %, over instances; does not cover the choice of generator"
    assert found.interval == covers


def test_one_instance_has_no_interval() -> None:
    result = flex(given(hand(), {"1": THREE}))
    assert result.tables["flex_global"][["low", "high"]].isna().all(axis=None)
    assert {m.interval for m in result.metrics if m.name == "frequency"} == {""}
    assert not len(result.tables["flex_stability"])


def test_rank_stability_is_sure_where_instances_agree() -> None:
    always = {str(i + 1): [(1.0, 0.0, "a"), (1.0, 0.5, "a"), (1.0, 0.5, "b"), (1.0, 0.7, "b")] for i in range(12)}
    stable = flex(given(hand(12), always)).tables["flex_stability"].set_index("feature")
    assert stable["top"].to_dict() == {"a": 1, "b": 2, "c": 3}
    assert stable["probability"].tolist() == [1.0, 1.0, 1.0]


def test_rank_stability_by_binomial() -> None:
    # b changes in 2 of 3 instances, c in 1 of 3; b leads c unless at most 1 of 3 draws hits one of the first two.
    found = {"1": [(1.0, 0.5, "a")], "2": [(1.0, 0.5, "a")], "3": [(1.0, 0.0, "b")]}
    stable = flex(given(hand(3), found), bootstrap=20_000).tables["flex_stability"].set_index("feature")
    assert stable.loc["b", "top"] == 2
    assert stable.loc["b", "probability"] == pytest.approx(20 / 27, abs=0.015)


def target_inputs(right: int) -> Inputs:
    """20 rows of each class; the model decides `right` of each rightly."""
    actual = np.repeat([0, 1], 20)
    wrong = np.tile(np.arange(20) >= right, 2)
    frame = pd.DataFrame({"a": np.abs(actual - wrong).astype(float), "b": np.arange(40.0)})
    frame["y"] = np.where(actual, "yes", "no")
    return searched(toy_inputs(frame, lambda f: f["a"], target="y"), per_row=2)


def test_a_model_without_skill_gets_a_warning_and_no_ranking_sentence() -> None:
    result = flex(target_inputs(10))
    note = notes(result)["no_skill"]
    assert note.severity == "major"
    assert note.args == {"balanced_accuracy": 0.5, "bar": 0.55, "rows": 40}
    assert "top_feature" not in notes(result)
    assert "frequency" in {m.name for m in result.metrics}


def test_a_model_with_skill_gets_the_sentence() -> None:
    result = flex(target_inputs(11))
    assert "no_skill" not in notes(result)
    assert notes(result)["top_feature"].args["feature"] == "a"
    (skill,) = (m for m in result.metrics if m.name == "balanced_accuracy")
    assert skill.value == pytest.approx(0.55)


def test_without_true_classes_the_skill_is_unknown() -> None:
    assert "skill_unknown" in notes(flex(given(hand(), {"1": THREE})))


def test_a_shared_first_place_gets_no_sentence() -> None:
    assert "top_feature" not in notes(flex(given(hand(), {"1": THREE})))


def test_the_generator_is_always_named() -> None:
    args = notes(flex(frozen("domain")))["generator"].args
    assert {"name": "flips", "search": "nearest", "per_row": 10, "constraints": "domain"}.items() <= args.items()
    assert args["evaluated_rows"] > 0


def test_choices_that_the_user_changed_are_marked() -> None:
    result = flex(frozen("domain"), min_change=0.1, scale="std", aggregation="pooled", bootstrap=0)
    table = result.tables["choices"].set_index("id")
    changed = table[table["changed"]]
    assert changed.index.tolist() == ["FLEX-01", "FLEX-02", "FLEX-05", "FLEX-09"]
    assert changed["value"].tolist() == ["std", "0.1", "40", "pooled"]
    assert table.loc["FLEX-12", "value"] == "nearest"
