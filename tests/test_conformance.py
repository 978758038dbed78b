"""Every registered method, search and adapter keeps its contract; what is installed or dropped in joins by itself."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from audit.core.counterfactuals import Found
from audit.core.method import GENERATORS, METHODS, Generator, Refusal
from audit.core.model import ADAPTERS, Allow, Source
from audit.search.nearest import Nearest
from audit.testing import check_adapter, check_generator, check_image_adapter, check_method, toy_network, toy_table


@pytest.mark.parametrize("kind", sorted(set(GENERATORS.classes()) - {"given", "dice"}))
def test_search(kind: str) -> None:
    """`given` searches nothing, and `dice` is not installed; what they do is tested with them."""
    check_generator(GENERATORS.classes()[kind])


QUICK: dict[str, dict[str, Any]] = {
    "counterfactual_training": {
        "seeds": 2,
        "training": {"epochs": 5, "counterfactuals": 40},
        "compare": ["fgsm_rs"],
        "evaluation": {"runs": 2, "rows": 10, "energy": [0.5], "steps": 20},
        "attack_eps": [0.0, 0.1],
        "attribution_rounds": 2,
    },
    "recourse": {"from": "recourse"},
    "regions_found": {"on": "flex", "min_rows": 10},
}
"""Settings of methods that train: their defaults take minutes, and the contract is the same."""


COMPARISON = "before_after"
"""It compares two audits, and has its own tests: one audit alone is refused."""


def test_one_audit_alone_is_not_compared() -> None:
    with pytest.raises(Refusal, match="there is no remedied model to compare with; name a remedy"):
        check_method(METHODS.classes()[COMPARISON])


@pytest.mark.parametrize("kind", [kind for kind in METHODS.classes() if kind != COMPARISON])
def test_method(kind: str) -> None:
    assert check_method(METHODS.classes()[kind], **QUICK.get(kind, {})).status == "ok"


def data() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=40), "b": rng.choice(["x", "y"], 40)})
    return frame.assign(p=1 / (1 + np.exp(-frame["a"])))


def function(folder: Path) -> dict[str, Any]:
    (folder / "conforming_function.py").write_text("def score(frame):\n    return (frame['a'] > 0) * 0.5 + 0.25\n")
    return {"function": "conforming_function:score", "classes": ["no", "yes"]}


def sklearn(folder: Path) -> dict[str, Any]:
    import skops.io
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    encoder = make_column_transformer((OneHotEncoder(), ["b"]), remainder="passthrough")
    model = make_pipeline(encoder, LogisticRegression()).fit(data()[["a", "b"]], np.where(data()["a"] > 0, "yes", "no"))
    skops.io.dump(model, folder / "model.skops")
    return {"path": str(folder / "model.skops")}


def torch(folder: Path) -> dict[str, Any]:
    from audit.models.torch_module import save_network

    save_network(folder / "model.safetensors", toy_network(toy_table(data()[["a", "b"]]), {"a": 1.0, "b": {"x": 2.0}}))
    return {"path": str(folder / "model.safetensors")}


def lightgbm(folder: Path) -> dict[str, Any]:
    import lightgbm

    model = lightgbm.LGBMClassifier(n_estimators=5, n_jobs=1, verbose=-1)
    model.fit(data()[["a", "b"]].astype({"b": "category"}), data()["a"] > 0).booster_.save_model(folder / "model.txt")
    return {"path": str(folder / "model.txt"), "classes": ["no", "yes"]}


def xgboost(folder: Path) -> dict[str, Any]:
    import xgboost

    model = xgboost.XGBClassifier(n_estimators=5, n_jobs=1, enable_categorical=True)
    model.fit(data()[["a", "b"]].astype({"b": "category"}), data()["a"] > 0).save_model(folder / "model.json")
    return {"path": str(folder / "model.json"), "classes": ["no", "yes"]}


def image_network(folder: Path) -> dict[str, Any]:
    from safetensors.torch import save_file

    from audit.core.convolution import Cnn

    save_file(Cnn(widths=(4, 8)).build(1, 2, 0).state_dict(), folder / "model.safetensors")
    shape = {"architecture": {"widths": [4, 8]}, "channels": 1}
    return {"path": str(folder / "model.safetensors"), "classes": ["no", "yes"], **shape}


def image_onnx(folder: Path) -> dict[str, Any]:
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["maps"]),
        helper.make_node("GlobalAveragePool", ["maps"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["logits"]),
    ]
    sides = {"x": ["n", 1, "h", "w"], "logits": ["n", 2]}
    x, logits = (helper.make_tensor_value_info(name, TensorProto.FLOAT, side) for name, side in sides.items())
    kernel = numpy_helper.from_array(np.random.default_rng(0).random((2, 1, 3, 3), dtype=np.float32), "kernel")
    graph = helper.make_graph(nodes, "pictures", [x], [logits], [kernel])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return {"path": str(folder / "model.onnx"), "cut": "maps", "classes": ["no", "yes"]}


def image_programs(folder: Path) -> dict[str, Any]:
    import warnings

    import torch
    from torch import nn

    from audit.core.base import sha256

    halves = {"features.ts": nn.Conv2d(1, 2, 3), "head.ts": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())}
    for name, half in halves.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch wants no new files of this kind
            torch.jit.save(torch.jit.script(half.eval()), folder / name)
    head = {"path": "head.ts", "sha256": sha256((folder / "head.ts").read_bytes())}
    return {"path": str(folder / "features.ts"), "head": head, "classes": ["no", "yes"]}


def image_function(folder: Path) -> dict[str, Any]:
    (folder / "conforming_halves.py").write_text(
        "def halves():\n"
        "    cells = lambda x: x.reshape(len(x), 1, x.shape[2] // 2, 2, -1, 2).max(axis=(3, 5)).repeat(2, axis=1)\n"
        "    return cells, lambda maps: maps.mean(axis=(2, 3)) * [1.0, -1.0]\n"
    )
    return {"function": "conforming_halves:halves", "classes": ["no", "yes"]}


SETTINGS = {
    "torch": torch,
    "image_network": image_network,
    "image_programs": image_programs,
    "image_onnx": image_onnx,
    "image_function": image_function,
    "function": function,
    "sklearn": sklearn,
    "predictions": lambda folder: {"column": "p"},
    "lightgbm": lightgbm,
    "xgboost": xgboost,
}
"""What an adapter needs to be loaded; an adapter that is not here is loaded without settings."""


@pytest.mark.parametrize("kind", ADAPTERS.classes())
def test_adapter(kind: str, tmp_path: Path) -> None:
    settings = {"kind": kind, **SETTINGS.get(kind, lambda folder: {})(tmp_path)}
    adapter = ADAPTERS.classes()[kind].model_validate_json(json.dumps(settings))
    labels = np.where(data()["a"] > 0, "yes", "no")
    source = Source(
        path=settings.get("path"),
        folder=str(tmp_path),
        allow=Allow(code=True),
        evaluate=data().assign(y=labels),
        favourable=("yes",),
        target="y",
    )
    if kind.startswith("image_"):
        batch = np.random.default_rng(0).random((5, 1, 12, 12), dtype=np.float32)
        check_image_adapter(adapter, source, batch)
        return
    # Stored scores are read from the data; a model is given its features only.
    check_adapter(adapter, source, data() if kind == "predictions" else data()[["a", "b"]])


FAULTS = {
    "not counted": (
        lambda f: Found(f.row, f.codes, f.proven, f.reasons, f.evaluated * 0, f.shared),
        "not what was asked",
    ),
    "nothing found": (
        lambda f: Found(f.row[:0], f.codes[:0], f.proven, f.reasons, f.evaluated, f.shared),
        "nothing was",
    ),
    "out of range": (
        lambda f: Found(f.row, f.codes + 0.5, f.proven, f.reasons, f.evaluated, f.shared),
        "invalid: ",
    ),
    "backwards": (
        lambda f: Found(f.row[::-1], f.codes[::-1], f.proven, f.reasons, f.evaluated, f.shared),
        "must not fall",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_suite_notices_a_faulty_search(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil, message = FAULTS[fault]
    good = Nearest.generate
    monkeypatch.setattr(Nearest, "generate", lambda self, ctx, rows, before: spoil(good(self, ctx, rows, before)))
    with pytest.raises((AssertionError, ValueError), match=message):
        check_generator(Nearest)


def test_a_search_that_is_not_registered_does_not_conform() -> None:
    with pytest.raises(AssertionError, match="not in the registry"):
        check_generator(Generator)
