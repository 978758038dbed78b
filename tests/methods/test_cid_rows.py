"""Which rows CID explains, what it compares itself with on them, and what its settings say."""

from dataclasses import replace

import cid_case as cc
import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from audit.core.evidence import Result
from audit.core.method import Refusal
from audit.core.plan import Part
from audit.methods.agreement import Agreement
from audit.testing import conformance_inputs, toy_context, toy_inputs

QUICK = {"m": 20, "repeats": 4, "instances": 10}


def test_equal_rows_count_once_and_are_counted():
    inputs = cc.whole()
    again = replace(inputs, sample=cc.only(inputs, [0, 1, 2, 3, 0, 1, 2]))
    result = cc.run(again, **QUICK)
    assert cc.notes(result)["duplicates"].args == {"before": 7, "after": 4, "removed": 3}
    assert result.tables["cid_local"]["instance"].nunique() == 4
    assert "duplicates" not in cc.notes(cc.run(replace(inputs, sample=cc.only(inputs, [0, 1, 2, 3])), **QUICK))


def test_rows_that_are_in_the_training_data_are_told():
    frame = pd.DataFrame({"a": [0.1, 0.9, 0.4], "b": [0.1, 0.2, np.nan], "c": [1.0, 2, 3]})
    train = pd.concat([frame.iloc[1:], pd.DataFrame({"a": [0.0, 1.0], "b": [0.0, 1.0], "c": [0.0, 4.0]})])
    inputs = toy_inputs(frame, lambda f: f["a"], train=train.reset_index(drop=True))
    assert cc.notes(cc.run(inputs, **QUICK))["in_training"].args == {"count": 2, "rows": 3}


def test_rows_that_joined_are_not_explained():
    inputs = cc.whole()
    inputs = replace(inputs, sample=cc.only(inputs, range(10), [True] * 4 + [False] * 6))
    assert set(cc.run(inputs, **QUICK).tables["cid_local"]["instance"]) == {"0", "1", "2", "3"}
    nobody = replace(inputs, sample=cc.only(inputs, range(3), [False] * 3))
    with pytest.raises(Refusal, match="no audited row"):
        cc.run(nobody)


def test_several_classes():
    inputs = cc.three_classes()
    result = cc.run(inputs, **QUICK)
    assert cc.notes(result)["setup"].args["outcomes"] == 3
    assert set(cc.overall(result).index[:3]) == {"a", "b", "c"}
    towards = cc.run(inputs, **(QUICK | {"instances": 60}), towards="y")
    outcome = inputs.decision.outcome(inputs.scores)
    assert set(towards.tables["cid_local"]["instance"]) == {str(i) for i in np.flatnonzero(outcome != 1)}
    assert cc.overall(towards).index[0] == "b"
    with pytest.raises(Refusal, match="there are x, y, z"):
        cc.run(inputs, towards="w")


def test_the_chance_line_is_always_there_unless_agreement_is_by_construction():
    for settings, chance in (({}, 4 / 5), ({"top": 2}, 2 / 5), ({"top": 5}, None), ({"top": 9}, None)):
        result = cc.run(cc.three_classes(), **QUICK, **settings)
        found = [m.value for m in result.metrics if m.name == "chance"]
        assert found == ([] if chance is None else [pytest.approx(chance)])
        assert bool([m for m in result.metrics if m.name == "agreement"]) == (chance is not None)
        assert ("agreement_hidden" in cc.notes(result)) == (chance is None)


def test_other_rankings_on_the_same_rows():
    inputs = cc.explained(cc.three_classes())
    result = cc.run(inputs, **QUICK, top=2, against=("shap",))
    table = cc.faithful(result)
    assert list(table.index) == ["cid", "change frequency", "shap", "random ranking"]
    assert set(table["n"]) == {10}
    assert table.loc["random ranking", "agreement"] == pytest.approx(0.4, abs=0.1)
    assert table.loc["shap", "comprehensiveness"] > table.loc["random ranking", "comprehensiveness"]
    assert {m.where.variant for m in result.metrics if m.name == "sufficiency"} == set(table.index)


def test_rows_that_the_rival_explains_come_first():
    inputs = cc.three_classes()
    some = [str(i) for i in range(40, 52)]
    values = pd.DataFrame([(i, f, 0.5) for i in some for f in "abcde"], columns=["instance", "feature", "frequency"])
    bare = Result(tables={"other_global": pd.DataFrame({"feature": list("abcde")})})
    inputs = replace(inputs, results={"other": Result(tables={"other_local": values}), "bare": bare})
    result = cc.run(inputs, **QUICK, against=("other", "bare"))
    assert set(result.tables["cid_local"]["instance"]) <= set(some)
    assert cc.notes(result)["not_comparable"].args == {"name": "bare"}
    assert "other" in cc.faithful(result).index
    partly = values[values["feature"] != "a"]
    inputs = replace(inputs, results={"other": Result(tables={"other_local": partly})})
    result = cc.run(inputs, **QUICK, against=("other",))
    assert cc.notes(result)["no_common_rows"].args == {"name": "other"}
    assert "other" not in cc.faithful(result).index


def test_agreement_takes_part_in_it():
    inputs = cc.explained(cc.three_classes())
    inputs = replace(inputs, results={**inputs.results, "cid": cc.run(inputs, **QUICK)})
    result = Agreement(of=("cid", "shap")).run(toy_context(inputs), Part(index=0))
    row = result.tables["agreement"].iloc[0]
    assert (row["features"], row["n_first"], row["n_common"]) == (5, 10, 10)
    assert row["tau_b"] > 0.3


def test_what_the_settings_refuse():
    for wrong, word in (
        ({"kernel": "epanechnikov"}, "needs a `bandwidth`"),
        ({"measure": "cdf"}, "mixed"),
        ({"m": 1}, "greater than or equal to 2"),
        ({"against": ("shap", "shap")}, "twice"),
    ):
        with pytest.raises(ValidationError, match=word):
            cc.Cid.model_validate(wrong)


def test_choices_say_what_was_changed():
    result = cc.run(
        conformance_inputs(),
        **QUICK,
        measure="kde",
        categorical="set",
        kernel="exponential",
        bandwidth=0.1,
    )
    table = result.tables["choices"].set_index("id")
    assert set(table.index[table["changed"]]) == {"CID-01", "CID-06", "CID-07", "CID-18"}
    plain = cc.run(conformance_inputs(), m=20, instances=4).tables["choices"]
    assert not plain["changed"].any()
    assert [f"CID-{k:02d}" for k in range(1, 16)] == plain["id"].tolist()[:15]
