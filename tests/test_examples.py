"""The worked examples find what their `expect.yaml` says, checked against programs that know nothing of audit."""

import hashlib
import json
import runpy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from example_case import ROOT, Audited

EXAMPLES = sorted(path.parent.name for path in (ROOT / "examples").glob("*/expect.yaml"))
MADE_HERE = {"digits"}
"""Examples whose model is made by their script on the machine that audits it: nothing to pin."""
SCORE_TOLERANCE = 1e-9
THRESHOLD = 0.6


def load(example: str, file: str) -> dict[str, Any]:
    """A YAML file of an example, read by PyYAML alone."""
    return yaml.safe_load((ROOT / "examples" / example / file).read_text(encoding="utf-8"))


def results(audited: Audited) -> dict[str, Any]:
    """The results of an audit as others read them."""
    return json.loads((audited.out / "results.json").read_text(encoding="utf-8"))


def table(audited: Audited, evidence: str, name: str) -> pd.DataFrame:
    """A table of the bundle, found through results.json."""
    (record,) = [record for record in results(audited)["evidence"] if record["id"] == evidence]
    (path,) = [entry["path"] for entry in record["tables"] if entry["name"] == name]
    return pd.read_parquet(audited.out / path)


@pytest.fixture(params=EXAMPLES)
def example(request: pytest.FixtureRequest) -> tuple[str, Audited, dict[str, Any]]:
    """Each example: its name, how its audit went, and what it must find."""
    return request.param, request.getfixturevalue(request.param), load(request.param, "expect.yaml")


@pytest.mark.parametrize("name", sorted({*EXAMPLES} - MADE_HERE))
def test_the_spec_pins_the_model_that_is_there(name: str) -> None:
    spec = load(name, "spec.yaml")
    model = (ROOT / "examples" / name / spec["model"]["path"]).read_bytes()
    assert spec["model"]["sha256"] == hashlib.sha256(model).hexdigest()


@pytest.mark.parametrize(
    ("name", "script", "files"),
    [
        ("german_credit", "make_model.py", ["train.csv", "holdout.csv"]),
        ("breast_cancer", "make_example.py", []),
    ],
)
def test_the_script_makes_the_model_that_is_there(name: str, script: str, files: list[str], tmp_path: Path) -> None:
    import skops.io

    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("*.skops", "*.parquet"))
    folder = tmp_path / "examples" / name
    runpy.run_path(str(folder / script))["main"]()
    made, kept = (skops.io.load(place / name / "model.skops") for place in (tmp_path / "examples", ROOT / "examples"))
    np.testing.assert_allclose(made[-1].coef_, kept[-1].coef_, rtol=1e-6, atol=1e-8)
    for file in files:
        pd.testing.assert_frame_equal(pd.read_csv(folder / file), pd.read_csv(ROOT / "examples" / name / file))
    once = (folder / "model.skops").read_bytes()
    runpy.run_path(str(folder / script))["main"]()
    assert (folder / "model.skops").read_bytes() == once


@pytest.mark.parametrize("name", [name for name in EXAMPLES if load(name, "spec.yaml")["model"]["kind"] == "sklearn"])
def test_the_model_needs_no_trust(name: str) -> None:
    import skops.io

    assert skops.io.get_untrusted_types(file=ROOT / "examples" / name / "model.skops") == []


def test_applicants_are_those_of_the_original_and_stand_on_one_side_only() -> None:
    train, holdout = (pd.read_csv(ROOT / "examples/german_credit" / f"{part}.csv") for part in ("train", "holdout"))
    ids = [*train["applicant_id"], *holdout["applicant_id"]]
    assert sorted(ids) == list(range(1, 1001))
    # The counts that UCI states: 700 good and 300 bad.
    assert (pd.concat([train, holdout])["outcome"] == "good").sum() == 700
    assert (holdout["outcome"] == "good").sum() == 210


def test_the_run_ends_as_expected(example: tuple[str, Audited, dict[str, Any]]) -> None:
    _, audited, expect = example
    assert audited.init.returncode == 0, audited.init.stderr
    assert audited.run.returncode == expect["exit_code"], audited.run.stdout + audited.run.stderr
    found = results(audited)
    statuses = {record["id"]: record["status"] for record in found["evidence"]}
    assert {name: statuses.get(name) for name in expect["evidence"]["ok"]} == dict.fromkeys(
        expect["evidence"]["ok"], "ok"
    )
    outcomes = {f["gate"]["metric"]: f["outcome"] for f in found["findings"] if f["code"] == "gate"}
    assert outcomes == {gate["metric"]: gate["outcome"] for gate in expect["gates"]}


def test_the_findings_are_those_expected(example: tuple[str, Audited, dict[str, Any]]) -> None:
    _, audited, expect = example
    notes = [finding for finding in results(audited)["findings"] if finding["code"] != "gate"]
    for wanted in expect["findings"]:
        matching = [f for f in notes if f["code"] == wanted["code"] and f["args"].items() >= wanted["args"].items()]
        assert [f["severity"] for f in matching] == [wanted["severity"]], wanted
    # Anything else of weight would be a surprise: it has to be explained in expect.yaml first.
    surprises = {f["code"] for f in notes if f["severity"] in {"major", "critical"}} - {
        w["code"] for w in expect["findings"]
    }
    assert surprises == set()


def test_a_whole_audit_with_its_pdf_needs_no_network_and_no_minute(german_credit: Audited) -> None:
    assert (german_credit.out / "report.html").stat().st_size > 100_000
    assert (german_credit.out / "report.pdf").read_bytes().startswith(b"%PDF-")
    assert german_credit.seconds < 60


def own_scores(audited: Audited, frame: pd.DataFrame, favourable: str) -> np.ndarray:
    """P(favourable) from the model file, without audit."""
    import skops.io

    model = skops.io.load(audited.folder / "model.skops")
    return model.predict_proba(frame[list(model.feature_names_in_)])[:, list(model.classes_).index(favourable)]


def test_the_area_under_the_curve_is_that_of_scikit_learn(german_credit: Audited) -> None:
    from sklearn.metrics import roc_auc_score

    holdout = pd.read_csv(german_credit.folder / "holdout.csv")
    expected = roc_auc_score(holdout["outcome"] == "good", own_scores(german_credit, holdout, "good"))
    (record,) = [r for r in results(german_credit)["evidence"] if r["id"] == "performance"]
    overall = [m for m in record["metrics"] if m["name"] == "auc" and m["where"] == judged_on_everything(m)]
    assert [m["value"] for m in overall] == [pytest.approx(expected, abs=1e-9)]
    assert overall[0]["n"] == 300


def judged_on_everything(metric: dict[str, Any]) -> dict[str, Any]:
    """The `where` of a metric over all evaluation rows."""
    return {name: "evaluate" if name == "data" else None for name in metric["where"]}


def test_the_shap_values_are_those_of_the_formula(german_credit: Audited) -> None:
    """For a score that is a sum over features, feature j has what its value adds to a background row, on average."""
    import skops.io

    model = skops.io.load(german_credit.folder / "model.skops")
    features = list(model.feature_names_in_)
    sign = 1 if model.classes_[1] == "good" else -1
    train = pd.read_csv(german_credit.folder / "train.csv").set_index("applicant_id")
    ids = table(german_credit, "shap", "shap_background")["instance"].astype(int)
    background = train.loc[ids, features].reset_index(drop=True)
    local = table(german_credit, "shap", "shap_local")
    local = local[local["outcome"] == "favourable"].pivot_table(index="instance", columns="feature", values="value")
    instances = table(german_credit, "sample", "instances").set_index("instance")
    for instance in local.index[:10]:
        swapped = [background.assign(**{name: instances.loc[instance, name]}) for name in features]
        moved = model.decision_function(pd.concat(swapped)).reshape(len(features), len(background))
        expected = sign * (moved - model.decision_function(background)).mean(axis=1)
        np.testing.assert_allclose(local.loc[instance, features], expected, atol=1e-9)


def test_the_stale_scores_are_named(german_credit: Audited) -> None:
    named = table(german_credit, "sample", "score_mismatches")
    assert sorted(named["instance"]) == sorted(load("german_credit", "expect.yaml")["stale"])
    # No other score of the file differs from the model's own.
    holdout = pd.read_csv(german_credit.folder / "holdout.csv")
    difference = np.abs(own_scores(german_credit, holdout, "good") - holdout["score_in_system"])
    assert sorted(holdout["applicant_id"][difference > SCORE_TOLERANCE].astype(str)) == sorted(named["instance"])


def test_the_features_that_must_lead_do(german_credit: Audited) -> None:
    for wanted in load("german_credit", "expect.yaml")["ranking"]:
        frame = table(german_credit, wanted["method"], wanted["table"])
        pooled = frame[frame["prediction"].isna()] if "prediction" in frame else frame
        pooled = pooled.sort_values("rank")
        first = set(pooled["feature"].head(wanted["among_first"]["rows"]))
        assert set(wanted["among_first"]["features"]) <= first


@pytest.mark.parametrize("name", ["flips", "recourse"])
def test_every_counterfactual_flips_the_decision(german_credit: Audited, name: str) -> None:
    found = table(german_credit, f"counterfactuals.{name}", "counterfactuals")
    assert len(found) > 100
    before = table(german_credit, "sample", "instances").set_index("instance").loc[found["instance"]]
    after_scores = own_scores(german_credit, found, "good")
    before_scores = own_scores(german_credit, before, "good")
    np.testing.assert_allclose(found["score_after"], after_scores, atol=SCORE_TOLERANCE)
    np.testing.assert_allclose(found["score_before"], before_scores, atol=SCORE_TOLERANCE)
    assert ((before_scores >= THRESHOLD) != (after_scores >= THRESHOLD)).all()
    if name == "recourse":
        assert (after_scores >= THRESHOLD).all()


def test_recourse_keeps_the_policy(german_credit: Audited) -> None:
    """The policy of spec.yaml, written out here once more by hand (peers.md, G1)."""
    after = table(german_credit, "counterfactuals.recourse", "counterfactuals").reset_index(drop=True)
    instances = table(german_credit, "sample", "instances").set_index("instance")
    before = instances.loc[after["instance"]].reset_index(drop=True)
    for feature in load("german_credit", "expect.yaml")["recourse"]["must_not_change"]:
        assert (after[feature] == before[feature]).all(), feature
    assert (after["amount"] >= 25 * after["duration"]).all()
    assert after["duration"].between(4, 72).all()
    assert (after["duration"] == after["duration"].round()).all()
    less = before["amount"] - after["amount"]
    assert (less >= 0).all()
    assert (less % 50 == 0).all()
    assert (after["amount"] >= 250).all()
    credits_less = before["existing_credits"] - after["existing_credits"]
    assert ((credits_less >= 0) & (after["existing_credits"] >= 1)).all()
    savings = ["unknown or none", "<100 DM", "100-500 DM", "500-1000 DM", ">=1000 DM"]
    assert (after["savings"].map(savings.index) >= before["savings"].map(savings.index)).all()
    ways = {("<0 DM", "0-200 DM"), ("<0 DM", ">=200 DM"), ("0-200 DM", ">=200 DM")}
    moved = after["checking_account"] != before["checking_account"]
    assert set(zip(before["checking_account"][moved], after["checking_account"][moved], strict=True)) <= ways
    debtors = after["other_debtors"] != before["other_debtors"]
    assert set(before["other_debtors"][debtors]) <= {"nobody"}
    assert set(after["other_debtors"][debtors]) <= {"guarantor"}


def best_of(audited: Audited, tried: list[pd.DataFrame], start: pd.DataFrame) -> pd.DataFrame:
    """For each person (by index) the row with the best score, of where they start and what was tried."""
    rows = pd.concat([start, *tried])
    ranked = rows.iloc[np.argsort(-own_scores(audited, rows, "good"), kind="stable")]
    return ranked[~ranked.index.duplicated()].sort_index()


def test_who_can_be_helped_is_found(german_credit: Audited) -> None:
    """The best score that the policy lets each refused applicant reach; it is a sum over features."""
    holdout = pd.read_csv(german_credit.folder / "holdout.csv")
    refused = holdout[own_scores(german_credit, holdout, "good") < THRESHOLD].reset_index(drop=True)
    savings = ["unknown or none", "<100 DM", "100-500 DM", "500-1000 DM", ">=1000 DM"]
    up = {"<0 DM": ["0-200 DM", ">=200 DM"], "0-200 DM": [">=200 DM"]}
    ways = {
        "checking_account": lambda row: up.get(row["checking_account"], []),
        "savings": lambda row: savings[savings.index(row["savings"]) :],
        "other_debtors": lambda row: ["guarantor"] if row["other_debtors"] == "nobody" else [],
        "existing_credits": lambda row: list(range(1, row["existing_credits"])),
    }
    best = refused
    for name, reach in ways.items():
        allowed = [reach(row) for row in best.to_dict("records")]
        values = sorted({value for own in allowed for value in own})
        tried = [best.assign(**{name: value})[[value in own for own in allowed]] for value in values]
        best = best_of(german_credit, tried, best)
    sizes = []
    for i, row in best.iterrows():
        amounts = range(row["amount"], 249, -50)
        pairs = [(a, d) for a in amounts for d in {4, row["duration"], min(72, a // 25)} if d >= 4 and a >= 25 * d]
        same = best.loc[[i] * len(pairs)]
        sizes.append(same.assign(amount=[a for a, _ in pairs], duration=[d for _, d in pairs]))
    best = best_of(german_credit, sizes, best)
    reachable = own_scores(german_credit, best, "good") >= THRESHOLD
    local = table(german_credit, "recourse", "recourse_local").set_index("instance")
    assert sorted(local.index) == sorted(refused["applicant_id"].astype(str))
    assert ((local.loc[refused["applicant_id"].astype(str), "status"] == "found").to_numpy() == reachable).all()


def test_groups_are_counted_as_pandas_counts_them(german_credit: Audited) -> None:
    holdout = pd.read_csv(german_credit.folder / "holdout.csv")
    refused = holdout[own_scores(german_credit, holdout, "good") < THRESHOLD]
    shown = table(german_credit, "recourse", "recourse_groups")
    for by in ("sex", "age_group"):
        counts = refused[by].value_counts()
        rows = shown[shown["by"] == by].set_index("group")
        assert set(rows.index) == set(counts.index)
        visible = rows[rows["status"] == "ok"]
        assert (visible["n"] == counts[visible.index]).all()
        assert (rows.loc[counts[counts < 10].index, "status"] == "suppressed").all()
        assert rows.loc[rows["status"] != "ok", ["n", "found", "found_rate"]].isna().all(axis=None)


def test_only_the_stain_moves(breast_cancer: Audited) -> None:
    after = table(breast_cancer, "counterfactuals.stain", "counterfactuals").reset_index(drop=True)
    before = (
        table(breast_cancer, "sample", "instances").set_index("instance").loc[after["instance"]].reset_index(drop=True)
    )
    free = ["mean texture", "worst texture"]
    fixed = [name for name in before.columns if name not in free]
    pd.testing.assert_frame_equal(after[fixed], before[fixed], check_dtype=False)
    assert (after["worst texture"] >= after["mean texture"]).all()


STAIN = ["mean texture", "worst texture"]


def flips_somewhere(audited: Audited, before: pd.DataFrame, offers: pd.DataFrame, unlike: bool) -> pd.Series:
    """Whether one or both textures of one of the offers flip each case without breaking the rule; by brute force.

    Args:
        unlike: only offers that the model puts on the other side than the case.
    """
    side, offered = (own_scores(audited, frame, "benign") >= 0.5 for frame in (before, offers))
    answers = []
    for (_, case), benign in zip(before.iterrows(), side, strict=True):
        usable = offers[offered != benign] if unlike else offers
        tries = []
        for columns in (STAIN, STAIN[:1], STAIN[1:]):
            tried = pd.DataFrame([case] * len(usable)).reset_index(drop=True)
            tried[columns] = usable[columns].to_numpy()
            tries.append(tried)
        tried = pd.concat(tries)
        allowed = (tried["worst texture"] >= tried["mean texture"]).to_numpy()
        answers.append(bool((((own_scores(audited, tried, "benign") >= 0.5) != benign) & allowed).any()))
    return pd.Series(answers, index=before.index)


def test_the_stain_flips_whom_it_can(breast_cancer: Audited) -> None:
    before = table(breast_cancer, "sample", "instances").set_index("instance")
    statuses = table(breast_cancer, "counterfactuals.stain", "instance_status").set_index("instance")["status"]
    found = statuses.loc[before.index] == "found"
    train = pd.read_parquet(breast_cancer.folder / "train.parquet")
    # `nearest` copies from training rows of the other side: it finds a way where one of them has one, and only there.
    assert (found == flips_somewhere(breast_cancer, before, train, unlike=True)).all()
    # No other texture flips a case that is called infeasible: a linear score is extreme in a corner of what is allowed.
    low, high = train[STAIN].min(), train[STAIN].max()
    corners = [(m, w) for m in (low.iloc[0], high.iloc[0]) for w in (low.iloc[1], high.iloc[1]) if w >= m]
    corners += [(m, m) for m in (max(low), min(high))]
    extremes = pd.concat([train.head(1)] * len(corners)).assign(
        **dict(zip(STAIN, zip(*corners, strict=True), strict=True))
    )
    possible = flips_somewhere(breast_cancer, before, extremes, unlike=False)
    assert not (found & ~possible).any()
    assert not ((statuses.loc[before.index] == "infeasible") & possible).any()


def test_the_smallest_example_is_small() -> None:
    assert len((ROOT / "examples/breast_cancer/spec.yaml").read_text(encoding="utf-8").splitlines()) < 40
