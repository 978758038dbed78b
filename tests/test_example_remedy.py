"""The worked remedy: what its report says of before and after, counted again without audit."""

import runpy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from example_case import ROOT, Audited
from test_examples import results, table

torch = pytest.importorskip("torch", reason="torch is an optional package")

FEATURES = ["age_band", "utilisation", "savings", "instalment_share", "buffer_days"]
AGE_BANDS = ["18-25", "26-35", "36-45", "46-55", "56-65", "over 65"]


def test_the_script_makes_the_files_that_are_there(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    shutil.copy(ROOT / "examples/remedy/make_model.py", tmp_path)
    runpy.run_path(str(tmp_path / "make_model.py"))["main"]()
    for file in ("train.csv", "holdout.csv"):
        pd.testing.assert_frame_equal(pd.read_csv(tmp_path / file), pd.read_csv(ROOT / "examples/remedy" / file))
    made, kept = (load_file(folder / "model.safetensors") for folder in (tmp_path, ROOT / "examples/remedy"))
    assert made.keys() == kept.keys()
    for name, tensor in made.items():
        torch.testing.assert_close(tensor, kept[name], rtol=1e-4, atol=1e-5)


def right(weights: Path, audited: Audited) -> np.ndarray:
    """Whether a network of the example is right about each held-out applicant, by numpy alone."""
    from safetensors.numpy import load_file

    train, holdout = (pd.read_csv(audited.folder / f"{part}.csv") for part in ("train", "holdout"))
    for frame in (train, holdout):
        frame["age_band"] = frame["age_band"].map(AGE_BANDS.index)
    mean, sd = train[FEATURES].mean(), train[FEATURES].std(ddof=0)
    net = load_file(weights)
    hidden = np.maximum(((holdout[FEATURES] - mean) / sd).to_numpy() @ net["0.weight"].T + net["0.bias"], 0)
    logits = hidden @ net["2.weight"].T + net["2.bias"]
    return (logits.argmax(axis=1) == (holdout["outcome"] == "good")).to_numpy()


def remedied_weights(audited: Audited) -> Path:
    (record,) = [r for r in results(audited)["evidence"] if r["id"] == "remedies.ct"]
    (artefact,) = record["artefacts"]
    return audited.out / artefact["path"]


def metric(audited: Audited, evidence: str, name: str, **where: str) -> dict[str, Any]:
    (record,) = [r for r in results(audited)["evidence"] if r["id"] == evidence]
    found = [m for m in record["metrics"] if m["name"] == name and m["where"].items() >= where.items()]
    (one,) = [m for m in found if not (m["where"]["outcome"] or m["where"]["region"])]
    return one


def test_the_accuracies_are_those_of_the_two_files(remedy: Audited) -> None:
    before, after = right(remedy.folder / "model.safetensors", remedy), right(remedied_weights(remedy), remedy)
    for evidence, answers in (("performance", before), ("performance@ct", after)):
        (record,) = [r for r in results(remedy)["evidence"] if r["id"] == evidence]
        overall = [m for m in record["metrics"] if m["name"] == "accuracy" and not m["where"]["variant"]]
        assert [m["value"] for m in overall] == [pytest.approx(answers.mean(), abs=1e-12)]


def test_the_price_is_the_difference_of_the_two_files(remedy: Audited) -> None:
    before, after = right(remedy.folder / "model.safetensors", remedy), right(remedied_weights(remedy), remedy)
    price = metric(remedy, "before_after@ct", "accuracy_change")
    assert price["value"] == pytest.approx(after.mean() - before.mean(), abs=1e-12)
    assert price["n"] == len(before) == 600
    share = metric(remedy, "before_after@ct", "protected_share_change")
    assert share["value"] < 0
    cost = metric(remedy, "before_after@ct", "mean_cost_change", variant="counterfactuals.recourse")
    assert cost["high"] < 0


def test_the_age_weighs_less_and_the_way_out_is_nearer(remedy: Audited) -> None:
    """What README.md of the example promises; the difference of cost has its interval of pairs in the test above."""
    twin = metric(remedy, "remedies.ct", "protected_share", model="twin")
    remedied = metric(remedy, "remedies.ct", "protected_share", model="remedied")
    assert remedied["value"] < twin["value"]
    before, after = (metric(remedy, name, "frequency", feature="age_band") for name in ("flex", "flex@ct"))
    assert after["high"] < before["low"]
    before, after = (metric(remedy, f"counterfactuals.recourse{e}", "mean_distance") for e in ("", "@ct"))
    assert after["value"] < before["value"]


def test_no_way_out_changes_the_age(remedy: Audited) -> None:
    for evidence, sample in (("counterfactuals.recourse", "sample"), ("counterfactuals.recourse@ct", "sample@ct")):
        found = table(remedy, evidence, "counterfactuals")
        instances = table(remedy, sample, "instances").set_index("instance").loc[found["instance"]]
        assert len(found) > 100
        assert (found["age_band"].to_numpy() == instances["age_band"].to_numpy()).all()


def test_both_reports_are_there(remedy: Audited) -> None:
    assert (remedy.out / "report.pdf").read_bytes().startswith(b"%PDF-")
    assert "The given and the remedied model" in (remedy.out / "report.html").read_text(encoding="utf-8")
