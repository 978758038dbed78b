"""A whole audit: what it writes, how it ends, what it keeps from an earlier run."""

import json
import shutil

import credit_case
import numpy as np
import pandas as pd
import pytest
import yaml

from audit.bundle import Bundle
from audit.core.errors import AuditError, DataError, ModelError, SpecError
from audit.engine.run import Options, run

CONTRACT = {
    "instances": ["instance", *credit_case.FEATURES],
    "counterfactuals": [
        "instance", "k", "score_before", "score_after", "distance", "cost", "n_changed", "verified",
        *credit_case.FEATURES,
    ],
    "instance_status": ["instance", "status", "reason", "evaluated_rows"],
}  # fmt: skip
FLEX = {
    "feature", "frequency", "low", "high", "n", "rank",
    "changes_p10", "changes_p50", "changes_p90", "increase_share", "status",
}  # fmt: skip


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return credit_case.make(tmp_path_factory.mktemp("case"))


@pytest.fixture(scope="module")
def whole(case, tmp_path_factory):
    return run(case, tmp_path_factory.mktemp("whole") / "out")


@pytest.fixture
def changed(case, tmp_path):
    """A copy of the case whose spec, and files, can be changed."""

    def change(edit=None, name="changed"):
        folder = tmp_path / name
        shutil.copytree(case.parent, folder)
        path = folder / "spec.yaml"
        spec = yaml.safe_load(path.read_text())
        if edit is not None:
            edit(spec, folder)
            path.write_text(yaml.safe_dump(spec, sort_keys=False))
        return path

    return change


def results(outcome):
    return json.loads((outcome.out / "results.json").read_text())


def tables(outcome, task):
    bundle = Bundle(outcome.out)
    (record,) = (record for record in outcome.evidence if record.id == task)
    return bundle.result(record).tables


def test_every_task_is_ok_and_the_exit_code_is_that_of_the_gates(whole):
    statuses = {record.id: record.status for record in whole.evidence}
    assert statuses == dict.fromkeys(
        [
            "spec",
            "sample",
            "counterfactuals.flips",
            "counterfactuals.recourse",
            "performance",
            "flex",
            "shap",
            "agreement",
        ],
        "ok",
    )
    (gate,) = (finding for finding in whole.findings if finding.gate)
    assert whole.exit_code == {"pass": 0, "unsure": 0, "fail": 1}[gate.outcome]


def test_results_keep_the_stable_contract(whole):
    content = results(whole)
    assert set(content) == {"format", "audit", "opinion", "evidence", "findings"}
    for entry in content["evidence"]:
        assert {"id", "kind", "status", "message", "metrics", "tables", "artefacts"} <= set(entry)
        for metric in entry["metrics"]:
            assert {"name", "value", "low", "high", "level", "interval", "unit", "n", "where"} <= set(metric)
        for table in entry["tables"]:
            frame = pd.read_parquet(whole.out / table["path"])
            assert (len(frame), list(frame.columns)) == (table["rows"], table["columns"])


@pytest.mark.parametrize(
    ("task", "table"),
    [
        ("sample", "instances"),
        ("counterfactuals.flips", "counterfactuals"),
        ("counterfactuals.flips", "instance_status"),
    ],
)
def test_tables_that_others_read_have_the_columns_of_the_contract(whole, task, table):
    assert list(tables(whole, task)[table].columns) == CONTRACT[table]


@pytest.mark.parametrize(
    ("table", "more"),
    [("flex_global", {"prediction"}), ("flex_regional", {"region"}), ("flex_local", {"instance"})],
)
def test_flex_tables_have_the_columns_of_the_contract(whole, table, more):
    columns = set(tables(whole, "flex")[table].columns)
    assert FLEX | more <= columns
    if table == "flex_global":
        assert tables(whole, "flex")[table]["prediction"].isna().any()


def test_the_neighbours_of_a_region_join_the_sample_but_are_not_drawn(whole):
    sample, regions = tables(whole, "sample")["sample"], tables(whole, "sample")["regions"]
    assert sample["drawn"].sum() == 60
    near = set(regions.loc[regions["region"] == "near", "instance"])
    assert len(near) == 12
    assert near <= set(sample["instance"])


def test_every_file_is_in_the_manifest(whole):
    assert Bundle(whole.out).altered() == []
    recorded = set(Bundle(whole.out).manifest().files)
    assert recorded | {"manifest.json", "run.json"} == set(Bundle(whole.out).files())


def test_a_second_run_computes_nothing_and_changes_nothing(case, whole, monkeypatch):
    before = credit_case.contents(whole.out)

    def forbidden(*_):
        raise AssertionError("a task was run again")

    monkeypatch.setattr("audit.engine.schedule.merge_parts", forbidden)
    monkeypatch.setattr("audit.engine.run.draw", forbidden)
    assert run(case, whole.out).exit_code == whole.exit_code
    assert credit_case.contents(whole.out) == before


def test_a_changed_spec_in_the_same_folder_leaves_no_stale_evidence(case, changed, tmp_path):
    out = tmp_path / "out"
    run(case, out, Options(overrides=("methods=[{kind: performance}]", "run.seed=9")))
    fresh = run(case, tmp_path / "fresh")
    again = run(case, out)
    assert credit_case.contents(again.out) == credit_case.contents(fresh.out)


def test_only_runs_what_is_named_and_what_it_reads(case, tmp_path):
    outcome = run(case, tmp_path / "out", Options(only=("flex",)))
    statuses = {record.id: record.status for record in outcome.evidence}
    assert statuses["flex"] == statuses["counterfactuals.flips"] == "ok"
    assert statuses["performance"] == statuses["counterfactuals.recourse"] == "incomplete"
    assert outcome.exit_code == 5
    whole = run(case, tmp_path / "out")
    assert {record.status for record in whole.evidence} == {"ok"}


def test_a_failing_method_becomes_a_finding_and_the_rest_goes_on(case, tmp_path, monkeypatch, capsys):
    from audit.methods.performance import Performance

    def broken(self, ctx, part):
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(Performance, "run", broken)
    outcome = run(case, tmp_path / "out")
    statuses = {record.id: record.status for record in outcome.evidence}
    assert statuses["performance"] == "error"
    assert statuses["flex"] == "ok"
    assert [f.code for f in outcome.findings if f.code == "method_error"] == ["method_error"]
    assert outcome.exit_code == 3
    assert "planted" in capsys.readouterr().err
    monkeypatch.undo()
    assert {r.status for r in run(case, tmp_path / "out").evidence} == {"ok"}


def test_a_gate_without_evidence_ends_with_5_and_a_failing_one_with_1(changed, tmp_path):
    def gate(**bar):
        return lambda spec, folder: spec.update(gates=[bar])

    failing = run(changed(gate(metric="performance.auc", at_most=0.01), "a"), tmp_path / "out-a")
    assert failing.exit_code == 1
    nothing = run(changed(gate(metric="performance.nothing", at_least=0.0), "b"), tmp_path / "out-b")
    assert nothing.exit_code == 5


def test_stored_scores_alone_leave_out_what_needs_a_model_and_say_why(changed, tmp_path):
    def edit(spec, folder):
        frame = pd.read_csv(folder / "holdout.csv")
        frame["score"] = 0.2 + 0.6 * (frame["income"] > frame["income"].median())
        frame.to_csv(folder / "holdout.csv", index=False)
        spec["model"] = {
            "kind": "predictions",
            "column": "score",
            "decision": {"score": "p(favourable)", "at_least": 0.5},
        }
        spec["gates"] = []

    outcome = run(changed(edit), tmp_path / "out")
    records = {record.id: record for record in outcome.evidence}
    assert records["performance"].status == "ok"
    for name in ("counterfactuals.flips", "flex", "shap"):
        assert records[name].status == "not_applicable"
        assert "no model" in records[name].message
    assert outcome.exit_code == 0


def test_recourse_without_a_favourable_class_is_not_applicable_and_the_rest_goes_on(changed, tmp_path):
    def edit(spec, folder):
        del spec["data"]["target"]["favourable"], spec["model"]["decision"]

    outcome = run(changed(edit), tmp_path / "out")
    records = {record.id: record for record in outcome.evidence}
    assert records["counterfactuals.recourse"].status == "not_applicable"
    assert "no class is favourable" in records["counterfactuals.recourse"].message
    assert records["flex"].status == "ok"
    assert set(tables(outcome, "flex")["flex_global"]["prediction"].dropna()) == {"bad", "good"}


def test_stale_scores_of_the_system_in_use_are_a_finding(changed, tmp_path):
    def edit(spec, folder):
        from skops.io import load

        frame = pd.read_csv(folder / "holdout.csv")
        model = load(folder / "model.skops")
        frame["stored"] = model.predict_proba(frame[credit_case.FEATURES])[:, list(model.classes_).index("good")]
        frame.loc[[3, 5, 8], "stored"] += 0.1
        frame.to_csv(folder / "holdout.csv", index=False)
        spec["data"]["production_score"] = "stored"

    outcome = run(changed(edit), tmp_path / "out")
    (finding,) = (finding for finding in outcome.findings if finding.code == "score_mismatch")
    assert (finding.args["count"], finding.args["rows"]) == (3, 240)
    assert finding.args["largest"] == pytest.approx(0.1, abs=1e-9)


def test_a_region_without_an_audited_row_is_said_and_leaves_the_others_alone(changed, tmp_path):
    def edit(spec, folder):
        frame = pd.read_csv(folder / "holdout.csv")
        most = frame["income"].max()
        # A class of one row among 240 has no share in a sample of 8, whichever rows are drawn.
        frame["outcome"] = np.where(frame["income"] < most, "good", "bad")
        frame.to_csv(folder / "holdout.csv", index=False)
        spec["data"]["sample"] = {"rows": 8, "stratify": "target"}
        spec["regions"] = [
            {"name": "near", "around": int(frame["id"].iloc[0]), "nearest": 12},
            {"name": "richest", "where": f"income >= {most}"},
            {"name": "nobody", "where": f"income > {most}"},
        ]

    outcome = run(changed(edit), tmp_path / "out")
    said = {f.args["region"]: f.code for f in outcome.findings if f.code in {"empty_region", "region_empty"}}
    assert said == {"richest": "empty_region", "nobody": "region_empty"}
    assert "near" in set(tables(outcome, "flex")["flex_regional"]["region"])


def test_changed_code_of_a_function_model_changes_what_is_computed(changed, tmp_path):
    code = "def score(frame):\n    return ({} * frame['income'] / frame['income'].max()).clip(0.01, 0.99)\n"

    def edit(spec, folder):
        (folder / "scorer_of_case.py").write_text(code.format("0.5"))
        spec["model"] = {"kind": "function", "function": "scorer_of_case:score", "classes": ["bad", "good"]}

    path = changed(edit)
    with pytest.raises(AuditError, match="--allow-code"):
        run(path, tmp_path / "out")
    keys = []
    for weight in ("0.5", "0.9"):
        (path.parent / "scorer_of_case.py").write_text(code.format(weight))
        done = credit_case.command("run", path, "-o", tmp_path / "out", "-q", "--allow-code")
        assert done.returncode in {0, 1}, done.stderr
        keys.append(Bundle(tmp_path / "out").manifest().plan["sample"].key)
    assert keys[0] != keys[1]


def edit_holdout(change):
    def edit(spec, folder):
        frame = pd.read_csv(folder / "holdout.csv")
        change(frame).to_csv(folder / "holdout.csv", index=False)

    return edit


def constant_model(spec, folder):
    from sklearn.dummy import DummyClassifier
    from skops.io import dump

    frame = pd.read_csv(folder / "train.csv")
    dump(DummyClassifier(strategy="prior").fit(frame[credit_case.FEATURES], frame["outcome"]), folder / "model.skops")


@pytest.mark.parametrize(
    ("edit", "error", "says"),
    [
        (
            edit_holdout(lambda f: f.assign(outcome=f["outcome"].where(f.index > 3))),
            DataError,
            "missing in 4 of 240 rows",
        ),
        (edit_holdout(lambda f: f.assign(outcome="good")), DataError, "one class only"),
        (edit_holdout(lambda f: f.assign(outcome="maybe")), DataError, "no class of the model"),
        (edit_holdout(lambda f: f.assign(id=1)), DataError, "is not unique"),
        (edit_holdout(lambda f: f.drop(columns="income")), SpecError, "no column 'income'"),
        (edit_holdout(lambda f: f.iloc[:0]), DataError, "has no rows"),
        (constant_model, ModelError, "the same scores"),
        (lambda spec, folder: (folder / "holdout.csv").unlink(), SpecError, "there is no file 'holdout.csv'"),
        (lambda spec, folder: (folder / "holdout.csv").write_bytes(b"\x00\xff\x00"), DataError, "cannot be read"),
        (lambda spec, folder: (folder / "model.skops").write_bytes(b"nothing"), ModelError, "model.skops"),
        (lambda spec, folder: spec["data"]["target"].update(favourable=["great"]), SpecError, "no class of the model"),
        (lambda spec, folder: spec["model"]["features"].__setitem__(0, "agee"), SpecError, "did you mean 'age'"),
        (lambda spec, folder: spec["regions"][1].update(around="nobody"), AuditError, "nobody"),
    ],
)
def test_data_and_models_that_cannot_be_audited_end_in_one_message_with_its_line(changed, tmp_path, edit, error, says):
    path = changed(edit)
    with pytest.raises(error) as caught:
        run(path, tmp_path / "out")
    (problem,) = caught.value.problems
    assert says in problem
    assert problem.startswith("spec.yaml:")
    assert caught.value.exit_code in {2, 3}


def test_a_folder_that_is_no_bundle_or_another_audits_is_left_alone(case, changed, whole, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("keep")
    with pytest.raises(SpecError, match="no bundle"):
        run(case, tmp_path / "mine")
    other = changed(lambda spec, folder: spec["audit"].update(id="other"))
    with pytest.raises(SpecError, match="holds the audit 'credit-case'"):
        run(other, whole.out)


def test_an_opinion_stronger_than_the_gates_is_refused(changed, tmp_path):
    def edit(spec, folder):
        spec["gates"] = [{"metric": "performance.auc", "at_most": 0.01}]
        spec["report"]["opinion"] = {"word": "unqualified", "by": "A. Validator"}

    outcome = run(changed(edit), tmp_path / "out")
    opinion = results(outcome)["opinion"]
    assert (opinion["status"], opinion["strongest"]) == ("refused", "qualified")
    assert "opinion_refused" in {finding.code for finding in outcome.findings}
    assert outcome.exit_code == 1
