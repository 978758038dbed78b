"""An audit of pictures from end to end: the same flow as an audit of features, without features."""

import json

import numpy as np
import pytest
import yaml
from credit_case import command
from safetensors.torch import save_file

from audit.core.convolution import Cnn

SPEC = {
    "spec_version": 1,
    "audit": {"id": "squares", "title": "Squares"},
    "model": {"kind": "image_network", "path": "m.safetensors", "channels": 1, "classes": ["a", "b"],
              "architecture": {"widths": [4, 4]}},
    "data": {"train": "train.npz", "evaluate": "evaluate.npz", "evaluate_is": "held_out",
             "target": {"column": "label"}, "images": {"channels": "grey"}, "sample": {"rows": 20}},
    "regions": [{"name": "first", "where": "label == 'a'"}],
    "methods": [{"kind": "performance"}, {"kind": "shap"}],
    "report": {"formats": ["html"]},
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 255, (60, 8, 8), dtype=np.uint8), np.where(np.arange(60) % 2, "a", "b")
    np.savez(tmp_path / "train.npz", images=images[:33], labels=labels[:33])
    np.savez(tmp_path / "evaluate.npz", images=images[30:], labels=labels[30:])  # three of them in both
    save_file(Cnn(widths=(4, 4)).build(1, 2, 1).state_dict(), tmp_path / "m.safetensors")
    return tmp_path


def run(folder, spec):
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    return command("run", folder / "spec.yaml", "-o", folder / "out", "-q")


def test_pictures_are_audited_and_what_needs_features_says_so(folder):
    done = run(folder, SPEC)
    assert done.returncode == 0, done.stderr
    results = json.loads((folder / "out" / "results.json").read_text(encoding="utf-8"))
    evidence = {record["id"]: record for record in results["evidence"]}
    assert evidence["performance"]["status"] == "ok"
    assert evidence["shap"]["status"] == "not_applicable"
    assert evidence["shap"]["message"] == "this looks at features, and the audit is of images"
    metrics = {m["name"]: m["value"] for m in evidence["performance"]["metrics"]}
    assert metrics["rows_in_training"] == 3
    (rows,) = (m["value"] for m in evidence["sample"]["metrics"] if m["name"] == "evaluated_rows")
    assert rows == 30
    assert "rows_in_training" in {finding["code"] for finding in results["findings"]}


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"mutability": {"features": {"x": {"change": "any"}}}}, 2, "the audit is of images (`data.images`)"),
        ({"counterfactuals": {"f": {"search": "nearest"}}}, 2, "have no features; remove it"),
        ({"regions": [{"name": "r", "around": 3, "nearest": 5}]}, 2, "images have no distance here"),
        ({"model": SPEC["model"] | {"features": ["x"]}}, 2, "have no features; remove it"),
        ({"data": SPEC["data"] | {"images": {"mean": [0.1, 0.2]}}}, 2, "one for each of 3 channels, or one"),
        ({"data": SPEC["data"] | {"images": {"channels": "rgb"}}}, 3, "size and channels must be those"),
        ({"data": {k: v for k, v in SPEC["data"].items() if k != "images"}}, 3, "is not a known kind of file"),
    ],
)
def test_what_cannot_be_meant_is_said(folder, change, code, said):
    done = run(folder, SPEC | change)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
