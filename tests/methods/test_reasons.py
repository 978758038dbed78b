"""Principal reasons by hand: places, ties, directions, and that nothing is left out."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from worded import assert_worded

from audit.core.counterfactuals import to_frame
from audit.core.evidence import Note, Result
from audit.core.infer import ColumnInfo
from audit.core.method import Refusal
from audit.core.plan import Part
from audit.core.policy import FeatureRule
from audit.core.table import encode
from audit.methods.reasons import Reasons
from audit.search.nearest import Nearest
from audit.testing import search_set, toy_context, toy_inputs

FRAME = pd.DataFrame(
    {
        "income": [10, 20, 30, 90],
        "age": [20, 30, 40, 50],
        "housing": ["rent", "rent", "own", "own"],
        "sex": ["f", "m", "f", "m"],
    }
)
COLUMNS = {"income": ColumnInfo(unit="EUR", title="monthly income", reason_text="Income")}


def inputs_of(**settings):
    policy = {"income": FeatureRule(change="increase")}
    names = list(FRAME.columns)
    given = {"protected": ("sex",), "names": names, "columns": COLUMNS, "features": policy, **settings}
    return toy_inputs(FRAME, lambda f: np.where(f["income"] >= 50, 0.9, 0.1), **given)


def flips(inputs, changes, constraints="domain"):
    """A set by hand: for each instance its counterfactuals, as what changes in each."""
    rows = [(instance, k, own) for instance, sets in changes.items() for k, own in enumerate(sets)]
    frame = pd.concat([FRAME.iloc[[int(i)]].assign(**own) for i, _, own in rows], ignore_index=True)
    columns = {"instance": [i for i, *_ in rows], "k": [k + 1 for _, k, _ in rows]}
    status = ["found" if i in changes else "not_found" for i in inputs.sample.table.ids]
    states = pd.DataFrame({"instance": inputs.sample.table.ids, "status": status, "reason": "", "evaluated_rows": 0})
    note = Note(code="search", args={"search": "hand", "constraints": constraints})
    tables = {
        "counterfactuals": to_frame(inputs.schema, columns, encode(inputs.schema, frame)),
        "instance_status": states,
    }
    return Result(tables=tables, notes=(note,))


CHANGES = {
    "0": [{"income": 60}, {"income": 55, "sex": "m"}, {"age": 50, "sex": "m"}, {"income": 90, "housing": "own"}],
    "1": [{"age": 20}, {"income": 70}],
}


def reasons(inputs=None, changes=None, shap=None, constraints="domain", **settings):
    inputs = inputs or inputs_of()
    results = {"counterfactuals": flips(inputs, changes or CHANGES, constraints)}
    if shap is not None:
        results["shap"] = Result(tables={"shap_local": shap})
        settings["beside"] = "shap"
    method = Reasons.model_validate({"from": "flips", **settings})
    return method.run(toy_context(replace(inputs, results=results)), Part(index=0))


def test_places_and_frequencies_by_hand():
    table = reasons().tables["reasons"]
    own = table[table["instance"] == "0"]
    # Income changes in 3 of 4, sex in 2, age and housing in 1 each: age in the third and housing in the fourth nearest.
    assert own["feature"].tolist() == ["income", "sex", "age", "housing"]
    assert own["frequency"].tolist() == [0.75, 0.5, 0.25, 0.25]
    assert own["rank"].tolist() == [1, 2, 3, 4]
    assert own["tied"].tolist() == [False, False, True, True]
    assert own["direction"].tolist() == ["too low", "another value", "too low", "another value"]
    assert own["towards"].tolist() == ["", "m", "", "own"]
    assert own["text"].tolist() == ["Income", "sex", "age", "housing"]
    assert own["protected"].tolist() == [False, True, False, False]
    assert own["changeable"].tolist() == [True, False, False, False]
    assert (own["n"] == 4).all()
    # Wilson's interval of 3 of 4.
    assert own.iloc[0][["low", "high"]].tolist() == pytest.approx([0.3006, 0.9544], abs=1e-4)
    other = table[table["instance"] == "1"]
    # Both change in one of two; the nearer counterfactual changes age, and lowers it.
    assert other["feature"].tolist() == ["age", "income"]
    assert other["direction"].tolist() == ["too high", "too low"]


def test_at_most_top_reasons_and_a_tie_at_the_end_is_said():
    result = reasons(top=3)
    assert result.tables["reasons"].groupby("instance").size().to_dict() == {"0": 3, "1": 2}
    (note,) = [n for n in result.notes if n.code == "tied_at_the_end"]
    assert note.args["count"] == 1
    assert "tied_at_the_end" not in {n.code for n in reasons(top=4).notes}


def test_how_often_each_feature_is_a_reason():
    result = reasons()
    summary = result.tables["reasons_summary"].set_index("feature")
    assert summary["share"].to_dict() == {"income": 1.0, "age": 1.0, "sex": 0.5, "housing": 0.5}
    assert summary["first_share"].to_dict() == {"income": 0.5, "age": 0.5, "sex": 0.0, "housing": 0.0}
    assert (summary["n"] == 2).all()
    by_name = {m.name: m for m in result.metrics if m.where.feature is None}
    assert (by_name["coverage"].value, by_name["coverage"].n) == (2 / 3, 3)
    assert by_name["protected_share"].value == 0.5
    assert by_name["immutable_share"].value == 1.0


def test_a_protected_and_an_immutable_reason_are_findings():
    notes = {n.code: n for n in reasons().notes}
    assert notes["protected_reason"].severity == "major"
    assert notes["protected_reason"].args == {"feature": "sex", "count": 1, "decisions": 2, "first": 0}
    assert notes["immutable_reasons"].severity == "minor"
    assert notes["immutable_reasons"].args["features"] == ["age", "housing"]
    assert notes["immutable_reasons"].args["count"] == 2


def test_a_model_that_relies_on_a_protected_feature_names_it_first():
    """Peers' reason codes drop protected attributes and so hide the true reason (peers.md, G21)."""
    frame = pd.DataFrame({"sex": ["f", "m"] * 10, "income": np.repeat(np.arange(10), 2)})
    inputs = toy_inputs(
        frame, lambda f: np.where(f["sex"] == "m", 0.9, 0.1), protected=("sex",), names=["sex", "income"], features={}
    )
    found = search_set(Nearest.model_validate({"search": "nearest", "per_row": 5}), inputs)[1]
    method = Reasons.model_validate({"from": "flips"})
    result = method.run(toy_context(replace(inputs, results={"counterfactuals": found})), Part(index=0))
    first = result.tables["reasons"][result.tables["reasons"]["rank"] == 1]
    assert len(first) == 10
    assert set(first["feature"]) == {"sex"}
    (note,) = [n for n in result.notes if n.code == "protected_reason"]
    assert (note.severity, note.args["first"]) == ("major", 10)


def test_rows_that_joined_for_a_region_have_reasons_but_do_not_count():
    inputs = inputs_of()
    inputs = replace(inputs, sample=replace(inputs.sample, drawn=np.array([False, True, True, True])))
    result = reasons(inputs)
    assert set(result.tables["reasons"]["instance"]) == {"0", "1"}
    assert (result.tables["reasons_summary"]["n"] == 1).all()
    assert {n.code for n in result.notes} >= {"protected_reason"}


def test_regions_have_shares_of_their_own():
    region = pd.DataFrame({"region": "young", "instance": ["0", "3"], "distance": 0.0, "weight": 1.0})
    summary = reasons(inputs_of(regions=region)).tables["reasons_summary"]
    own = summary[summary["region"] == "young"].set_index("feature")
    assert own["share"].to_dict() == {"income": 1.0, "sex": 1.0, "age": 1.0, "housing": 1.0}
    assert (own["n"] == 1).all()


def shap(values):
    rows = [(i, f, "favourable", v) for i, own in values.items() for f, v in own.items()]
    return pd.DataFrame(rows, columns=["instance", "feature", "outcome", "value"])


def test_the_place_by_shap_is_among_what_lowers_the_score():
    values = shap(
        {
            "0": {"income": -0.3, "age": -0.4, "housing": 0.2, "sex": -0.1},
            "1": {"income": -0.3, "age": 0.1, "housing": -0.2, "sex": 0.0},
        }
    )
    result = reasons(shap=values, top=2)
    table = result.tables["reasons"]
    # Of 0: age first, income second, sex third, and housing speaks for the person. Of 1: income, then housing.
    assert table["feature"].tolist() == ["income", "sex", "age", "income"]
    assert [None if np.isnan(r) else r for r in table["shap_rank"]] == [2.0, 3.0, None, 1.0]
    (overlap,) = [m for m in result.metrics if m.name == "shap_overlap"]
    assert (overlap.value, overlap.n) == (0.5, 2)
    assert overlap.low <= 0.5 <= overlap.high


def test_a_set_under_the_policy_is_refused():
    with pytest.raises(Refusal, match="would hide every reason"):
        reasons(constraints="policy")


def test_without_a_favourable_class_nothing_is_adverse():
    with pytest.raises(Refusal, match="no decision is adverse"):
        reasons(inputs_of(favourable=()))


def test_everything_is_worded():
    assert_worded("reasons", reasons(shap=shap({"0": dict.fromkeys(FRAME.columns, -0.1)}), top=3))
