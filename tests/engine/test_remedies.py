"""A remedy makes a model, and the whole audit is run again on it, on the same rows."""

import copy

import credit_case
import numpy as np
import pytest

from audit.bundle import Bundle
from audit.core.errors import SpecError
from audit.engine.run import Options, run

REMEDY = {
    "kind": "counterfactual_training",
    "id": "ct",
    "seeds": 2,
    "training": {"epochs": 12},
    "compare": [],
    "attribution_rounds": 2,
}
SPEC = copy.deepcopy(credit_case.SPEC) | {"remedies": [REMEDY]}
SPEC["methods"] = [{"kind": "performance"}, {"kind": "flex", "from": "flips"}]
SPEC["gates"] = [{"metric": "performance@ct.auc", "at_least": 0.5}]


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return credit_case.make(tmp_path_factory.mktemp("case"), spec=SPEC)


@pytest.fixture(scope="module")
def outcome(case, tmp_path_factory):
    return run(case, tmp_path_factory.mktemp("remedied") / "out")


def record(outcome, task):
    (found,) = (record for record in outcome.evidence if record.id == task)
    return found


def test_every_task_of_the_given_model_is_run_again(outcome):
    ids = {r.id: r.status for r in outcome.evidence}
    given = ["sample", "counterfactuals.flips", "counterfactuals.recourse", "performance", "flex"]
    again = [f"{task}@ct" for task in given]
    assert ids == dict.fromkeys(["spec", *given, "remedies.ct", *again, "before_after@ct"], "ok")


def test_the_two_audits_are_compared_on_the_rows_that_both_were_asked_about(outcome):
    """Accuracy and cost counted once more, from the tables of the two audits."""
    bundle = Bundle(outcome.out)
    found = bundle.result(record(outcome, "before_after@ct")).tables["before_after"].set_index(["task", "quantity"])
    tables = [bundle.result(record(outcome, task)).tables for task in ("sample", "sample@ct")]
    truth = credit_case.rows(240, seed=2)["outcome"] == "good"
    right = [((t["scores"]["good"] >= 0.5).to_numpy() == truth.to_numpy()) for t in tables]
    line = found.loc[[("performance", "accuracy")]].iloc[0]
    assert (line["n"], line["unit"]) == (240, "rows")
    assert line["before"] == right[0].mean()
    assert line["difference"] == pytest.approx(right[1].mean() - right[0].mean())
    sets = [bundle.result(record(outcome, f"counterfactuals.recourse{end}")).tables for end in ("", "@ct")]
    costs = [t["counterfactuals"].groupby("instance")["cost"].mean() for t in sets]
    drawn = tables[0]["sample"].loc[tables[0]["sample"]["drawn"], "instance"]
    both = [i for i in drawn if i in costs[0].index and i in costs[1].index]
    line = found.loc[[("counterfactuals.recourse", "mean_cost")]].iloc[0]
    assert line["n"] == len(both) > 5
    assert line["difference"] == pytest.approx((costs[1][both] - costs[0][both]).mean())
    # The given model is no network: it has no integrated gradients to compare.
    assert "protected_share" not in found.index.get_level_values("quantity")


def test_a_gate_can_ask_for_a_difference(outcome):
    (found,) = (m for m in record(outcome, "before_after@ct").metrics if m.name == "accuracy_change")
    assert found.low < found.value < found.high
    assert found.where.variant == "performance"


def test_both_audits_are_of_the_same_rows_and_of_different_scores(outcome):
    bundle = Bundle(outcome.out)
    before, after = (bundle.result(record(outcome, task)).tables for task in ("sample", "sample@ct"))
    drawn_before = before["sample"].loc[before["sample"]["drawn"], "instance"]
    drawn_after = after["sample"].loc[after["sample"]["drawn"], "instance"]
    assert sorted(drawn_before) == sorted(drawn_after)
    assert not np.allclose(before["scores"], after["scores"], atol=1e-3)


def test_the_model_is_in_the_bundle_and_its_scores_are_those_of_the_second_audit(outcome):
    from audit.core.model import ADAPTERS, Allow, Source

    bundle = Bundle(outcome.out)
    (artefact,) = record(outcome, "remedies.ct").artefacts
    assert artefact.path in bundle.manifest().files
    adapter = ADAPTERS.classes()["torch"].model_validate({"path": artefact.name})
    frame = bundle.result(record(outcome, "sample@ct")).tables["instances"]
    network = adapter.load(Source(str(bundle.root / artefact.path), "", Allow(), frame, ("good",)))
    tables = bundle.result(record(outcome, "sample@ct")).tables
    favourable = network.predict(frame[credit_case.FEATURES])[:, network.classes.index("good")]
    assert np.allclose(favourable, tables["sample"]["score"], atol=1e-6)


def test_metrics_say_whose_model_they_are_of_and_gates_can_ask(outcome):
    for r in outcome.evidence:
        if r.id == "remedies.ct":  # it judges several networks, and says which
            continue
        models = {metric.where.model for metric in r.metrics}
        assert (models == {"remedied"}) if "@" in r.id else ("remedied" not in models), r.id
    (gate,) = (finding for finding in outcome.findings if finding.gate)
    assert gate.evidence == ("performance@ct",)
    assert gate.outcome == "pass"


def test_workers_and_folders_do_not_matter(case, outcome, tmp_path):
    again = run(case, tmp_path / "out", Options(workers=2))
    assert credit_case.contents(again.out) == credit_case.contents(outcome.out)


@pytest.mark.parametrize(
    ("remedy", "says"),
    [
        ({"kind": "performance"}, "makes no model"),
        ({"kind": "counterfactual_trainin"}, "counterfactual_training"),
        ({"kind": "counterfactual_training", "seed": 3}, "did you mean 'seeds'"),
    ],
)
def test_what_is_no_remedy_is_refused(tmp_path, remedy, says):
    path = credit_case.make(tmp_path, spec=credit_case.SPEC | {"remedies": [remedy]})
    with pytest.raises(SpecError) as caught:
        run(path, tmp_path / "out")
    assert says in str(caught.value)
