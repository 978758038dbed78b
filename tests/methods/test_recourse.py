"""Recourse by hand and on a planted population: who can, who cannot, what is unknown, and what may not be shown."""

import json
import os
from dataclasses import replace

import numpy as np
import pandas as pd
import planted
import pytest
from worded import assert_worded

from audit.core.evidence import Evidence, Note, Result
from audit.core.finding import Gate, judge_gate
from audit.core.method import GENERATORS, Refusal
from audit.core.plan import Part
from audit.core.stats import wilson
from audit.methods.reasons import Reasons
from audit.methods.recourse import Recourse
from audit.testing import search_set, toy_context, toy_inputs

SEEDS = 300 if os.environ.get("AUDIT_ACCEPT") else 20


def people(groups):
    """Inputs and a set by hand: for each group its statuses, or the costs of those who have a way; all are refused."""
    rows = [(group, answer) for group, answers in groups.items() for answer in answers]
    n = len(rows)
    frame = pd.DataFrame({"a": np.arange(float(n)), "sex": [group for group, _ in rows]})
    inputs = toy_inputs(frame, lambda f: np.full(len(f), 0.2), protected=("sex",))
    status = [answer if isinstance(answer, str) else "found" for _, answer in rows]
    costs = [(str(i), 1, float(cost), 1) for i, (_, cost) in enumerate(rows) if not isinstance(cost, str)]
    found = pd.DataFrame(costs, columns=["instance", "k", "cost", "n_changed"])
    states = pd.DataFrame({"instance": inputs.sample.table.ids, "status": status})
    return inputs, found, states


def recourse(groups, constraints="policy", change=lambda inputs: inputs, **settings):
    inputs, found, states = people(groups)
    note = Note(code="search", args={"constraints": constraints, "for": "unfavourable"})
    made = Result(tables={"counterfactuals": found, "instance_status": states}, notes=(note,))
    method = Recourse.model_validate_json(json.dumps({"from": "recourse", **settings}))
    return method.run(toy_context(change(replace(inputs, results={"counterfactuals": made}))), Part(index=0))


def metric(result, name, group=None, variant=None):
    (found,) = [m for m in result.metrics if (m.name, m.where.group, m.where.variant) == (name, group, variant)]
    return found


TWO = {
    "f": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, *["infeasible"] * 3, *["not_found"] * 3],
    "m": [0.2] * 10 + ["infeasible"] * 2,
}


def test_rates_and_bounds_by_hand():
    result = recourse(TWO)
    rows = result.tables["recourse_groups"].set_index("group")
    assert rows.loc["f", ["n", "found", "infeasible", "not_found"]].tolist() == [12, 6, 3, 3]
    assert rows.loc["f", ["found_rate", "at_most", "no_recourse_rate"]].tolist() == [0.5, 0.75, 0.25]
    low, high = float(wilson(6 / 12, 12)[0]), float(wilson(9 / 12, 12)[1])
    feasible = metric(result, "feasible_rate", "f")
    assert (feasible.value, feasible.low, feasible.high, feasible.n) == (
        0.5,
        pytest.approx(low),
        pytest.approx(high),
        12,
    )
    found = metric(result, "found_rate", "f")
    assert found.high == pytest.approx(float(wilson(0.5, 12)[1]))
    assert found.high < feasible.high
    assert metric(result, "unknown_rate", "f").value == 0.25
    assert metric(result, "no_recourse_rate", "m").value == pytest.approx(2 / 12)
    whole = metric(result, "feasible_rate")
    assert (whole.value, whole.n) == (16 / 24, 24)


def test_costs_by_hand():
    result = recourse(TWO, min_group=5)
    costs = result.tables["recourse_costs"].set_index("group")
    assert costs.loc["f", ["n", "mean_cost", "p50", "p10", "p90"]].tolist() == pytest.approx(
        [6, 0.35, 0.35, 0.15, 0.55]
    )
    cost = metric(result, "mean_cost", "f")
    assert cost.low < 0.35 < cost.high
    # All ways of the men cost 0.2, and what others pay is not known for certain.
    alike = metric(result, "mean_cost", "m")
    assert alike.value == pytest.approx(0.2)
    assert alike.low < alike.value < alike.high
    assert metric(result, "mean_changed", "m").value == 1


def test_the_cheapest_of_several_ways_counts():
    inputs, found, states = people({"f": [0.5] * 10})
    more = pd.concat([found, found.assign(k=2, cost=0.3, n_changed=4)], ignore_index=True)
    note = Note(code="search", args={"constraints": "policy"})
    made = Result(tables={"counterfactuals": more, "instance_status": states}, notes=(note,))
    method = Recourse.model_validate({"from": "recourse"})
    result = method.run(toy_context(replace(inputs, results={"counterfactuals": made})), Part(index=0))
    assert metric(result, "mean_cost", "f").value == pytest.approx(0.3)
    assert metric(result, "mean_changed", "f").value == 4


def test_weights_make_a_change_dearer():
    """On a range of 0 to 10: 5 of `a` cost 0.5, 8 of `b` cost 0.8; with `a` ten times as dear, `b` is cheaper."""
    frame = pd.DataFrame({"a": [0.0, 10.0] + [0.0] * 10, "b": [0.0, 10.0] + [0.0] * 10})
    inputs = toy_inputs(frame, lambda f: np.where(f["a"] + f["b"] > 15, 0.9, 0.1))
    ids = [str(i) for i in range(12) if i != 1]
    both = [pd.DataFrame({"instance": ids, "k": 1, "a": 5.0, "b": 0.0, "cost": 0.5, "n_changed": 1})]
    both.append(pd.DataFrame({"instance": ids, "k": 2, "a": 0.0, "b": 8.0, "cost": 0.8, "n_changed": 1}))
    states = pd.DataFrame({"instance": inputs.sample.table.ids, "status": "found"})
    note = Note(code="search", args={"constraints": "policy"})
    made = Result(tables={"counterfactuals": pd.concat(both), "instance_status": states}, notes=(note,))
    inputs = replace(inputs, results={"counterfactuals": made})
    for weights, cost, first in (({}, 0.5, 1), ({"a": 10.0}, 0.8, 2), ({"b": 0.5}, 0.4, 2)):
        method = Recourse.model_validate({"from": "recourse", "weights": weights, "sheets": 1})
        result = method.run(toy_context(inputs), Part(index=0))
        assert metric(result, "mean_cost").value == pytest.approx(cost)
        assert result.tables["recourse_ways"]["k"].iloc[0] == first
    with pytest.raises(Refusal, match="`weights` names 'c', which is no feature"):
        Recourse.model_validate({"from": "recourse", "weights": {"c": 2.0}}).run(toy_context(inputs), Part(index=0))


def test_too_few_with_a_way_have_no_cost():
    result = recourse(TWO, min_group=8)
    costs = result.tables["recourse_costs"].set_index("group")
    assert costs.loc["f", "status"] == "few"
    assert costs.loc["m", "status"] == "ok"
    assert "f" not in {m.where.group for m in result.metrics if m.name == "mean_cost"}


def test_gaps_and_tests():
    groups = {"f": [0.1] * 20 + ["infeasible"] * 30, "m": [0.9] * 45 + ["infeasible"] * 5}
    result = recourse(groups)
    gaps = result.tables["recourse_gaps"].set_index("measure")
    assert gaps.loc["feasible_rate", ["gap", "lowest", "highest"]].tolist() == [pytest.approx(0.5), "f", "m"]
    # Of 100 people 65 have a way: (20 - 32.5)^2 twice over 32.5 and twice over 17.5.
    statistic = 2 * 12.5**2 * (1 / 32.5 + 1 / 17.5)
    from scipy.stats import chi2

    assert gaps.loc["feasible_rate", "test"] == "chi-square"
    assert gaps.loc["feasible_rate", "p"] == pytest.approx(chi2.sf(statistic, 1))
    assert gaps.loc["mean_cost", "gap"] == pytest.approx(0.8)
    smaller, larger = sorted(gaps["p"])
    assert sorted(gaps["p_holm"]) == pytest.approx([2 * smaller, max(2 * smaller, larger)], rel=1e-9, abs=0)
    codes = {note.code: note.severity for note in result.notes}
    assert codes["feasible_rate_differs"] == "major"
    assert codes["mean_cost_differs"] == "minor"
    assert metric(result, "feasible_rate_gap", variant="sex").value == pytest.approx(0.5)


def test_what_is_unknown_leaves_the_gap_open():
    proven = recourse({"f": [0.1] * 50 + ["infeasible"] * 50, "m": [0.1] * 100})
    unknown = recourse({"f": [0.1] * 50 + ["not_found"] * 50, "m": [0.1] * 100})
    gaps = [metric(result, "feasible_rate_gap", variant="sex") for result in (proven, unknown)]
    assert [gap.value for gap in gaps] == [0.5, 0.5]
    assert gaps[0].low > 0.3
    assert gaps[1].low == 0


def test_no_difference_is_no_finding():
    alike = recourse({"f": [0.1, 0.2] * 10, "m": [0.1, 0.2] * 10})
    assert not {"feasible_rate_differs", "mean_cost_differs"} & {note.code for note in alike.notes}
    assert alike.tables["recourse_gaps"]["lowest"].isna().all()


def gate(result, **bar):
    record = Evidence(id="recourse", kind="recourse", key="k", status="ok", metrics=result.metrics)
    return judge_gate(Gate(metric="recourse.feasible_rate", by="sex", **bar), [record]).outcome


def test_gates_on_gaps_see_the_groups():
    apart = recourse({"f": [0.1] * 100 + ["infeasible"] * 300, "m": [0.1] * 380 + ["infeasible"] * 20})
    assert gate(apart, gap_at_most=0.05) == "fail"
    alike = recourse({"f": [0.1] * 2000, "m": [0.1] * 2000})
    assert gate(alike, gap_at_most=0.05) == "pass"


def test_what_is_unknown_keeps_a_gate_from_passing_and_from_failing():
    """Nothing was found for the same share of both groups, but for one of them it is not proven."""
    groups = {"f": [0.1] * 1600 + ["not_found"] * 400, "m": [0.1] * 1600 + ["infeasible"] * 400}
    assert gate(recourse(groups), gap_at_most=0.1) == "unsure"
    assert gate(recourse({g: [0.1] * 1600 + ["infeasible"] * 400 for g in "fm"}), gap_at_most=0.1) == "pass"
    lost = {"f": ["not_found"] * 2000, "m": [0.1] * 2000}
    assert gate(recourse(lost), gap_at_most=0.1) == "unsure"


def numbers_of(result, group):
    """All that metrics, gaps and tables of groups say of a group, as text."""
    told = [m.model_dump_json() for m in result.metrics if m.where.group == group]
    for name in ("recourse_groups", "recourse_costs"):
        own = result.tables[name]
        told += [
            str(value)
            for value in own[own["group"] == group].drop(columns=["by", "group", "status"]).to_numpy().ravel()
        ]
    gaps = result.tables["recourse_gaps"]
    return [one for one in told if one != "nan"] + gaps[
        (gaps["lowest"] == group) | (gaps["highest"] == group)
    ].index.tolist()


def test_small_groups_are_hidden_and_so_is_what_would_give_them_away():
    result = recourse({"f": [0.3] * 9, "m": [0.1] * 30, "x": [0.2] * 20})
    rows = result.tables["recourse_groups"].set_index("group")
    assert rows["status"].reindex(["f", "m", "x"]).tolist() == ["suppressed", "ok", "suppressed too"]
    assert numbers_of(result, "f") == []
    assert numbers_of(result, "x") == []
    assert numbers_of(result, "m") != []
    assert len(result.tables["recourse_gaps"]) == 0
    (note,) = [n for n in result.notes if n.code == "suppressed"]
    assert note.args == {"groups": ["sex = f", "sex = x"], "least": 10, "too": 1}
    assert "suppressed" not in {n.code for n in recourse({"f": [0.3] * 10, "m": [0.1] * 30}).notes}


def test_intersections_are_counted_and_hidden():
    def with_age(inputs):
        table = inputs.sample.table
        age = ["old" if i % 5 == 0 else "young" for i in range(len(table))]
        grown = replace(table, extra=table.extra.assign(age=age))
        return replace(inputs, evaluate=grown, sample=replace(inputs.sample, table=grown))

    groups = {"f": [0.3] * 20, "m": [0.1] * 80}
    result = recourse(groups, change=with_age, by=["sex", "age"], min_group=5)
    cells = result.tables["recourse_groups"].query("by == 'sex x age'").set_index("group")
    # Four of 20 and 16 of 80 are old; hiding 4 takes one more of its row and of its column, and then the fourth.
    assert set(cells.index) == {"f x old", "f x young", "m x old", "m x young"}
    assert cells["status"].to_dict() == {
        "f x old": "suppressed",
        "f x young": "suppressed too",
        "m x old": "suppressed too",
        "m x young": "suppressed too",
    }  # fmt: skip
    shown = recourse(groups, change=with_age, by=["sex", "age"], min_group=4)
    assert shown.tables["recourse_groups"].query("by == 'sex x age'")["n"].tolist() == [4, 16, 16, 64]
    assert "sex x age" not in set(
        recourse(groups, change=with_age, by=["sex", "age"], intersections=False).tables["recourse_groups"]["by"]
    )


def test_missing_groups_are_a_group():
    result = recourse({"f": [0.3] * 12, None: [0.1] * 12})
    assert set(result.tables["recourse_groups"]["group"].dropna()) == {"f", "missing"}


def test_only_refused_people_who_were_asked_count():
    groups = {"f": [0.1] * 12 + ["not_applicable"] * 3}
    assert metric(recourse(groups), "feasible_rate", "f").n == 12

    def some_drawn(inputs):
        return replace(inputs, sample=replace(inputs.sample, drawn=np.arange(15) < 10))

    assert metric(recourse(groups, change=some_drawn), "feasible_rate", "f").n == 10


def test_sheets_show_both_people_with_a_way_and_without():
    groups = {"f": ["infeasible", 0.1, 0.2, "not_found", *[0.3] * 8]}
    assert recourse(groups, sheets=3).tables["recourse_sheets"]["instance"].tolist() == ["1", "0", "2"]
    assert recourse(groups, sheets=0).tables["recourse_sheets"]["instance"].tolist() == []
    assert recourse(groups, sheets=[7, "3"]).tables["recourse_sheets"]["instance"].tolist() == ["7", "3"]
    with pytest.raises(Refusal, match="`sheets` names '99', who is not among the audited rows that were refused"):
        recourse(groups, sheets=["99"])


def test_findings_of_people_without_recourse_and_of_unknowns():
    codes = {n.code: n for n in recourse(TWO).notes}
    assert codes["population"].args == {"people": 24, "found": 16, "infeasible": 5, "not_found": 3, "set": "recourse"}
    assert codes["no_recourse"].severity == "minor"
    assert (codes["no_recourse"].args["count"], codes["unknown_recourse"].args["count"]) == (5, 3)
    assert {n.code for n in recourse({"f": [0.1] * 20}).notes} == {"population"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"constraints": "domain"}, "is not searched under the policy"),
        ({"by": ["shoe_size"]}, "`by` names 'shoe_size', and the data have no such column"),
        ({"change": lambda i: replace(i, decision=replace(i.decision, favourable=()))}, "nobody was refused"),
    ],
)
def test_questions_without_an_honest_answer_are_refused(settings, message):
    with pytest.raises(Refusal, match=message):
        recourse(TWO, **settings)


def test_everything_is_worded():
    assert_worded("recourse", recourse(TWO | {"x": [0.1] * 3}))
    assert_worded("recourse", recourse({"f": [0.1] * 20 + ["infeasible"] * 30, "m": [0.9] * 45 + ["infeasible"] * 5}))


# A planted population: the truth is counted on 100,000 fresh people.


def measured(seed, n=400):
    """Estimates of one draw, by name, and the feature that is most often a reason in each region."""
    inputs = planted.population(n, seed)
    answers = []
    for method, made in ((Recourse, planted.ways(inputs)), (Reasons, planted.flips(inputs))):
        one = method.model_validate({"from": "made"})
        answers.append(one.run(toy_context(planted.with_sets(inputs, made), seed), Part(index=0)))
    found = {}
    for m in (*answers[0].metrics, *answers[1].metrics):
        found[" ".join(part for part in (m.name, m.where.feature, m.where.group, m.where.region) if part)] = m
    summary = answers[1].tables["reasons_summary"]
    return found, {region: own.iloc[0]["feature"] for region, own in summary.groupby("region")}


def test_intervals_cover_the_planted_truth_and_the_drivers_are_named(figure):
    truth = planted.truth()
    draws = [measured(seed) for seed in range(SEEDS)]
    for name, value in truth.items():
        covered = np.mean([found[name].low <= value <= found[name].high for found, _ in draws])
        width = np.mean([found[name].high - found[name].low for found, _ in draws])
        figure(f"coverage of {name}", float(covered), f"{SEEDS} seeds, 400 people, mean width {width:.3f}")
        assert covered >= (0.93 if SEEDS == 300 else 0.8), (
            name
        )  # of 20 seeds, fewer than 16 covered has odds of 1 in 400
    named = np.mean([leading == planted.DRIVERS for _, leading in draws])
    figure("planted drivers named first in both regions", float(named), f"{SEEDS} seeds, 400 people")
    assert named >= 0.95


def test_nobody_locked_out_is_given_a_way_and_all_others_are():
    found, _ = measured(1, 300)
    refused = planted.draw(300, 1)[lambda f: planted.score(f) < 0.5]
    assert found["no_recourse_rate"].value == pytest.approx(refused["locked"].mean())
    assert found["feasible_rate"].value == pytest.approx(1 - refused["locked"].mean())


def test_the_search_finds_the_planted_ways():
    """`cheapest` beside the formula: the same people, the same cost."""
    inputs = planted.population(60, 3)
    settings = {
        "search": "cheapest",
        "for": "unfavourable",
        "constraints": "policy",
        "per_change": 0.0,
        "proof_rows": 20_000,
    }
    made = search_set(GENERATORS.classes()["cheapest"].model_validate(settings), inputs)[1]
    known = planted.ways(inputs)
    for name, column in (("instance_status", "status"), ("counterfactuals", "cost")):
        one, other = (r.tables[name].set_index("instance")[column] for r in (made, known))
        if column == "status":
            assert one.to_dict() == other.to_dict()
        else:
            best = one.groupby("instance").min()
            assert best.to_dict() == pytest.approx(other.to_dict(), abs=0.021)  # a grid of whole numbers, halved to 2 %
