"""A function that builds the two halves of a network: never called unless allowed, probed like any other."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from credit_case import command
from safetensors.torch import save_file

from audit.core.base import sha256
from audit.core.convolution import Cnn
from audit.core.errors import ModelError
from audit.core.images import ImageScorer
from audit.core.model import Allow, ImageModel, Source
from audit.core.saliency import probe
from audit.models.image_function import ImageFunctionAdapter

CODE = """
from pathlib import Path
Path(__file__).with_name("was_imported").write_text("x")

def network(path):
    from safetensors.torch import load_file
    from audit.core.convolution import Cnn
    built = Cnn(widths=(4, 8)).build(1, 2, 0)
    built.load_state_dict(load_file(path))
    return built.train()

def modules(path):
    from torch import nn
    built = network(path)
    return nn.Sequential(built.features, nn.Dropout(0.5)).train(), built.head

def functions(path):
    import numpy as np
    import torch
    built = network(path).eval()
    def first(batch):
        assert isinstance(batch, np.ndarray)
        return built.features(torch.from_numpy(batch))
    return [first, lambda maps: built.head(torch.from_numpy(maps)).tolist()]

def alone():
    return (lambda x: x), (lambda maps: (maps ** 2).mean(axis=(2, 3))[:, [0, 0]] * [1, -1])

def one():
    return lambda x: x

def three():
    return 1, 2, 3

def failing():
    raise OSError("no such disk")
"""


@pytest.fixture
def folder(tmp_path, request, monkeypatch):
    name = "halves_" + sha256(request.node.name.encode())[:8]
    (tmp_path / f"{name}.py").write_text(CODE)
    save_file(Cnn(widths=(4, 8)).build(1, 2, 5).state_dict(), tmp_path / "m.safetensors")
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path, name


def load(folder, function, *, code=True, **settings):
    place, name = folder
    given = {"function": f"{name}:{function}", "classes": ["no", "yes"], **settings}
    adapter = ImageFunctionAdapter.model_validate_json(json.dumps(given))
    path = None if adapter.file is None else str(place / adapter.file)
    return adapter.load(Source(path, str(place), Allow(code=code), pd.DataFrame(), ()))


def expected(place):
    from safetensors.torch import load_file

    network = Cnn(widths=(4, 8)).build(1, 2, 0)
    network.load_state_dict(load_file(place / "m.safetensors"))
    return network.eval()


WEIGHTS = {"path": "m.safetensors"}


@pytest.mark.parametrize("function", ["modules", "functions"])
def test_the_two_halves_are_the_network_in_evaluation_mode(folder, function):
    model = load(folder, function, weights=WEIGHTS)
    assert isinstance(model, ImageModel)
    x = np.random.default_rng(0).random((5, 1, 12, 12), dtype=np.float32)
    maps = model.features(x)
    assert maps.shape == (5, 8, 6, 6)
    with torch.no_grad():
        truth = expected(folder[0])(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(model.head(maps), truth, atol=1e-6)
    np.testing.assert_array_equal(model.features(x), maps), "dropout is off"
    assert probe(ImageScorer(model).logits, maps, np.random.default_rng(0)).linear
    assert model.digest == sha256(CODE.encode())


def test_a_head_that_is_not_linear_is_found_out(folder):
    model = load(folder, "alone")
    maps = np.random.default_rng(0).random((3, 1, 4, 4), dtype=np.float32)
    assert not probe(ImageScorer(model).logits, maps, np.random.default_rng(0)).linear


def test_nothing_runs_unless_code_is_allowed(folder):
    with pytest.raises(ModelError, match="--allow-code"):
        load(folder, "alone", code=False)
    assert not (folder[0] / "was_imported").exists()


def test_neither_other_code_nor_other_weights_are_used(folder):
    with pytest.raises(ModelError, match=r"model\.sha256: .* it was not imported"):
        load(folder, "alone", sha256="0" * 64)
    assert not (folder[0] / "was_imported").exists()
    with pytest.raises(ModelError, match=r"model\.weights\.sha256: m\.safetensors has the digest"):
        load(folder, "modules", weights=WEIGHTS | {"sha256": "0" * 64})
    pinned = {"sha256": sha256((folder[0] / "m.safetensors").read_bytes()).upper()}
    assert load(folder, "modules", weights=WEIGHTS | pinned).classes == ("no", "yes")


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("one", r"returned a function; it has to return \(features, head\)"),
        ("three", "returned 3 values"),
        ("failing", "failed: OSError: no such disk"),
        ("nothing", "has no 'nothing'; it has"),
    ],
)
def test_what_is_no_pair_of_halves_is_said(folder, function, said):
    with pytest.raises(ModelError, match=said):
        load(folder, function)


def test_an_audit_runs_on_it_with_allow_code_and_not_without(folder):
    place, name = folder
    images = np.random.default_rng(0).integers(0, 255, (40, 8, 8), dtype=np.uint8)
    network = expected(place)
    with torch.no_grad():
        z = network(torch.from_numpy(images.astype(np.float32)[:, None] / 255)).numpy()
        lead = z[:, 1] - z[:, 0]
        network.head[-1].bias[0] += float(np.median(lead))  # half of them are read as each class
    save_file(network.state_dict(), place / "m.safetensors")
    read = lead > np.median(lead)
    labels = np.where(read ^ (np.arange(40) % 4 == 0), "yes", "no")
    np.savez(place / "evaluate.npz", images=images, labels=labels)
    spec = {
        "spec_version": 1, "audit": {"id": "squares", "title": "Squares"},
        "model": {"kind": "image_function", "function": f"{name}:modules", "weights": WEIGHTS,
                  "classes": ["no", "yes"]},
        "data": {"evaluate": "evaluate.npz", "target": {"column": "label"}, "sample": {"rows": 40},
                 "images": {"channels": "grey", "parts": {"boxes": {"top": [0, 0, 0.5, 1]}}}},
        "methods": [{"kind": "saliency_partition", "mending": {"m": 3}}],
        "report": {"formats": ["html"]},
    }  # fmt: skip
    (place / "spec.yaml").write_text(json.dumps(spec), encoding="utf-8")
    refused = command("run", place / "spec.yaml", "-o", place / "out", "-q")
    assert (refused.returncode, "--allow-code" in refused.stderr) == (3, True)
    done = command("run", place / "spec.yaml", "-o", place / "out", "-q", "--allow-code")
    assert done.returncode == 0, done.stderr
    results = json.loads((place / "out" / "results.json").read_text(encoding="utf-8"))
    (record,) = (r for r in results["evidence"] if r["id"] == "saliency_partition")
    assert record["status"] == "ok"
    assert {m["where"]["feature"] for m in record["metrics"] if m["name"] == "part_frequency"} >= {"top"}
    assert "linear_head" in {note["code"] for note in record["notes"]}
    inputs = json.loads((place / "out" / "manifest.json").read_text(encoding="utf-8"))["inputs"]
    assert [(i["role"], i["name"]) for i in inputs if i["role"] == "model"] == [("model", "m.safetensors")]
