"""Model files that mean harm."""
# ruff: noqa: E501 - cases read best as one line each

import io
import json
import pickle
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import credit_case
import joblib
import numpy as np
from hostile_case import HARMLESS, Case, Stage, cases, zipped

D = len(credit_case.FEATURES)


class Runs:
    """What leaves the marker when it is unpickled."""

    def __init__(self, code: str) -> None:
        self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (self.code,)


def model(kind: str, name: str, content: Callable[[Stage], bytes] | bytes, **settings: Any) -> Callable[[Stage], None]:
    """The good audit with another model file."""

    def make(stage: Stage) -> None:
        features = {} if kind == "image_onnx" else {"features": credit_case.FEATURES}
        rule = {"decision": {"score": "p(favourable)", "at_least": 0.5}}
        stage.spec()
        spec = {**_spec(stage), "model": {"kind": kind, "path": name, **features, **rule, **settings}}
        stage.write("spec.yaml", json.dumps(spec))
        stage.write(name, content(stage) if callable(content) else content)

    return make


def _spec(stage: Stage) -> dict[str, Any]:
    import yaml

    found: dict[str, Any] = yaml.safe_load(stage.read("spec.yaml"))
    return found


def entries(stage: Stage) -> dict[str, bytes]:
    """What stands in the good skops file."""
    import zipfile

    with zipfile.ZipFile(io.BytesIO(stage.read("model.skops"))) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def schema(edit: Callable[[dict[str, Any], Stage], Any]) -> Callable[[Stage], None]:
    """The good model with another description of what is in it."""

    def content(stage: Stage) -> bytes:
        found = entries(stage)
        given = json.loads(found["schema.json"])
        replaced = edit(given, stage)
        found["schema.json"] = json.dumps(given if replaced is None else replaced).encode()
        return zipped(found)

    return model("sklearn", "model.skops", content)


def array(stage: Stage, data: bytes) -> bytes:
    """The good model with other bytes in place of its first array."""
    found = entries(stage)
    name = next(name for name in found if name.endswith(".npy"))
    return zipped({**found, name: data})


def npy(header: str, body: bytes = b"") -> bytes:
    """An array file with a header of one's own."""
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text)) + text + body


def objects(stage: Stage) -> bytes:
    """An array of objects that run when they are read."""
    buffer = io.BytesIO()
    np.save(buffer, np.array([Runs(stage.code)], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def foreign(module: str, name: str) -> Callable[[dict[str, Any], Stage], None]:
    """Names another type as that of the whole model."""
    return lambda given, stage: given.update(__module__=module, __class__=name)


def method(given: dict[str, Any], stage: Stage) -> None:
    """Calls a method of an object while it is read."""
    inner = dict(given)
    given.clear()
    given.update(
        __class__="partial", __module__="functools", __loader__="PartialNode", __id__=1,
        content={"func": {"__class__": "system", "__module__": "os", "__loader__": "TypeNode", "__id__": 2},
                 "args": inner, "kwds": inner, "namespace": inner},
        protocol=given.get("protocol", 2), _skops_version="0.16",
    )  # fmt: skip


def deep(stage: Stage) -> bytes:
    """A description 100,000 lists deep."""
    return zipped({**entries(stage), "schema.json": b"[" * 100_000 + b"]" * 100_000})


@lru_cache
def zeros() -> bytes:
    """An array of 300 MiB, which the archive holds in a third of one."""
    return npy("{'descr': '<f8', 'fortran_order': False, 'shape': (39321600,), }") + bytes(300 * 2**20)


def bomb(stage: Stage) -> bytes:
    """The good model with zeros in the place of an array, and an entry that nobody asks for."""
    found = entries(stage)
    name = next(name for name in found if name.endswith(".npy"))
    return zipped({**found, name: zeros(), "other.npy": b""})


SKOPS = cases(
    "skops",
    {
        "a pickle under another name": (model("sklearn", "model.skops", lambda s: pickle.dumps(Runs(s.code))), "no skops file"),
        "a pickle": (model("sklearn", "model.pkl", lambda s: pickle.dumps(Runs(s.code))), "allow-pickle"),
        "a pickle of joblib": (model("sklearn", "model.joblib", lambda s: _joblib(Runs(s.code))), "allow-pickle"),
        "a type that runs programs": (schema(foreign("os", "system")), "does not trust|no skops"),
        "a type that evaluates": (schema(foreign("builtins", "eval")), "does not trust|no skops"),
        "a type of a module beside the spec": (schema(foreign("evil", "Evil")), "does not trust|no skops"),
        "a call in the place of an estimator": (schema(method), "does not trust|no skops"),
        "a reader of the pickle kind": (schema(lambda g, s: g.update(__loader__="JsonNode", content="{}")), "model"),
        "an unknown reader": (schema(lambda g, s: g.update(__loader__="os.system")), "no skops|cannot be"),
        "a description that is a number": (schema(lambda g, s: [7]), "no skops"),
        "a description 100,000 lists deep": (model("sklearn", "model.skops", deep), "no skops|cannot be"),
        "an array of objects": (model("sklearn", "model.skops", lambda s: array(s, objects(s))), "cannot be|no skops"),
        "an array of a tebibyte": (
            model("sklearn", "model.skops", lambda s: array(s, npy(
                "{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776,), }"))), "cannot be|no skops|memory"),
        "an array whose header is code": (
            model("sklearn", "model.skops", lambda s: array(s, npy(
                "{'descr': __import__('os').system('touch MARKER'), 'shape': (1,)}"))), "cannot be|no skops"),
        "an array whose header is deep": (
            model("sklearn", "model.skops", lambda s: array(s, npy("(" * 9_000))), "cannot be|no skops"),
        "gibibytes of zeros in a small archive": (model("sklearn", "model.skops", bomb), "unpacks"),
        "an entry that leads out": (
            model("sklearn", "model.skops", lambda s: zipped({**entries(s), "../../evil.py": b"x"})), "", HARMLESS | {3}),
        "an archive of nothing": (model("sklearn", "model.skops", zipped({})), "no skops"),
        "a regressor's coefficients without end": (schema(lambda g, s: g.update(content={})), "cannot|no skops|holds"),
        "code that the spec names": (
            lambda stage: stage.spec(model={"kind": "function", "function": "evil:predict", "classes": ["bad", "good"]}) or (
                stage.write("evil.py", stage.code), None)[1], "allow-code|path"),
        "a program of Python that the spec names": (
            lambda stage: _only(stage, {"kind": "function", "function": "os:system", "classes": ["bad", "good"]}), "allow-code"),
        "a module beside the spec with the name of one of ours": (
            lambda stage: stage.spec() or ([stage.write(f"{name}.py", stage.code) for name in ("sklearn", "yaml", "lightgbm")]
            and None), "", HARMLESS),
        "another file under the pinned digest": (
            model("sklearn", "model.skops", lambda s: s.read("model.skops") + b" ", sha256="0" * 64), "was not opened"),
    },
)  # fmt: skip


def _joblib(value: Any) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(value, buffer)
    return buffer.getvalue()


def _only(stage: Stage, given: dict[str, Any]) -> None:
    stage.spec()
    stage.write("spec.yaml", json.dumps({**_spec(stage), "model": given}))


@lru_cache
def lightgbm_text() -> str:
    """A small good model of LightGBM, on one thread."""
    import lightgbm

    x, y = _drawn()
    data = lightgbm.Dataset(x, y, feature_name=list(credit_case.FEATURES))
    settings = {"objective": "binary", "num_threads": 1, "num_leaves": 4, "verbose": -1, "min_data_in_leaf": 5}
    return str(lightgbm.train(settings, data, 3).model_to_string())


@lru_cache
def xgboost_json() -> str:
    """A small good model of XGBoost, on one thread."""
    import xgboost

    x, y = _drawn()
    data = xgboost.DMatrix(x, y, feature_names=list(credit_case.FEATURES), nthread=1)
    booster = xgboost.train({"objective": "binary:logistic", "nthread": 1, "max_depth": 2}, data, 3)
    return bytes(booster.save_raw("json")).decode()


def _drawn() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, D))
    return x, (x[:, 0] > 0).astype(int)


def line(key: str, value: str, count: int = 1) -> Callable[[Stage], bytes]:
    """The good file of LightGBM with another value behind a key, the first times it stands."""

    def content(stage: Stage) -> bytes:
        lines, left = [], count
        for text in lightgbm_text().splitlines():
            changed = text.startswith(f"{key}=") and left > 0
            left -= changed
            lines.append(f"{key}={value}" if changed else text)
        return ("\n".join(lines) + "\n").encode()

    return content


def lightgbm(content: Callable[[Stage], bytes] | bytes) -> Callable[[Stage], None]:
    """A model of LightGBM of numbers."""
    return numbers(model("lightgbm", "model.txt", content, classes=["bad", "good"]))


def numbers(make: Callable[[Stage], None]) -> Callable[[Stage], None]:
    """With rows of numbers only."""

    def both(stage: Stage) -> None:
        make(stage)
        import pandas as pd

        for name in ("train.csv", "holdout.csv"):
            frame = pd.read_csv(stage.folder / name)
            frame["housing"], frame["gender"] = frame["housing"].str.len(), frame["gender"].str.len()
            frame.to_csv(stage.folder / name, index=False)

    return both


def tree(edit: Callable[[dict[str, Any]], Any]) -> Callable[[Stage], None]:
    """A model of XGBoost whose first tree was edited."""

    def content(stage: Stage) -> bytes:
        found = json.loads(xgboost_json())
        edit(found["learner"]["gradient_booster"]["model"]["trees"][0])
        return json.dumps(found).encode()

    return numbers(model("xgboost", "model.json", content, classes=["bad", "good"]))


def learner(edit: Callable[[dict[str, Any]], Any]) -> Callable[[Stage], None]:
    """A model of XGBoost of which something else was edited."""

    def content(stage: Stage) -> bytes:
        found = json.loads(xgboost_json())
        edit(found["learner"])
        return json.dumps(found).encode()

    return numbers(model("xgboost", "model.json", content, classes=["bad", "good"]))


BROKEN = (
    "cannot be|ended the process|memory|computing|no probabilit|broken tree|features|no model file|too early|trained"
)
TREES = cases(
    "trees",
    {
        "LightGBM: a tree that goes round in a circle": (lightgbm(line("left_child", "0 0 0")), BROKEN),
        "LightGBM: a child that is not there": (lightgbm(line("right_child", "99999999 7 -2")), BROKEN),
        "LightGBM: a leaf that is not there": (lightgbm(line("left_child", "-99999999 -1 -2")), BROKEN),
        "LightGBM: a feature that is not there": (lightgbm(line("split_feature", "99999999 0 1")), BROKEN),
        "LightGBM: two thousand million leaves": (lightgbm(line("num_leaves", "2000000000")), BROKEN),
        "LightGBM: minus one leaves": (lightgbm(line("num_leaves", "-1")), BROKEN),
        "LightGBM: trees of another size": (lightgbm(line("tree_sizes", "1 99999999999 3")), BROKEN, HARMLESS | {3}),
        "LightGBM: two thousand million features": (lightgbm(line("max_feature_idx", "2000000000")), BROKEN),
        "LightGBM: two thousand million classes": (lightgbm(line("num_class", "2000000000")), BROKEN, HARMLESS | {3}),
        "LightGBM: fewer thresholds than splits": (lightgbm(line("threshold", "1")), BROKEN),
        "LightGBM: sets of categories without an end": (
            lightgbm(line("decision_type", "1 1 1")), BROKEN),
        "LightGBM: an objective that is text without end": (lightgbm(line("objective", "x" * 10**6)), BROKEN),
        "LightGBM: bytes of another kind": (lightgbm(b"tree\n" + bytes(range(256)) * 99), BROKEN),
        "XGBoost: a tree that goes round in a circle": (tree(lambda t: t.update(left_children=[0] * len(t["left_children"]))), BROKEN),
        "XGBoost: a child that is not there": (
            tree(lambda t: t["right_children"].__setitem__(0, 99_999_999)), BROKEN),
        "XGBoost: a feature that is not there": (tree(lambda t: t["split_indices"].__setitem__(0, 99_999_999)), BROKEN),
        "XGBoost: fewer values than nodes": (tree(lambda t: t.update(split_conditions=[0.0])), BROKEN),
        "XGBoost: two thousand million nodes": (tree(lambda t: t["tree_param"].update(num_nodes="2000000000")), BROKEN),
        "XGBoost: minus one nodes": (tree(lambda t: t["tree_param"].update(num_nodes="-1")), BROKEN),
        "XGBoost: categories that are not there": (tree(lambda t: t.update(
            split_type=[1] * len(t["split_type"]), categories_nodes=[0], categories_segments=[10**9],
            categories_sizes=[10**9], categories=[])), BROKEN),
        "XGBoost: two thousand million features": (
            learner(lambda g: g["learner_model_param"].update(num_feature="2000000000")), BROKEN),
        "XGBoost: a base score that is no number": (
            learner(lambda g: g["learner_model_param"].update(base_score="[NaN]")), BROKEN + "|probabilit"),
        "XGBoost: 100,000 lists deep": (
            numbers(model("xgboost", "model.json", b'{"learner":' + b"[" * 100_000 + b"]" * 100_000 + b"}")), "no JSON|cannot"),
        "XGBoost: UBJSON of a tebibyte": (
            numbers(model("xgboost", "model.ubj", b"{L" + (7).to_bytes(8, "big") + b"learner[$d#L" + (2**40).to_bytes(8, "big"))),
            "too early"),
        "XGBoost: UBJSON 100,000 lists deep": (
            numbers(model("xgboost", "model.ubj", b"{L" + (7).to_bytes(8, "big") + b"learner" + b"[" * 100_000)), "too early"),
    },
)  # fmt: skip
ALL: list[Case] = [*SKOPS, *TREES]
