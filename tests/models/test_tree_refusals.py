"""Files and settings that the adapters of XGBoost and LightGBM must refuse, with a reason."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import lightgbm as lgb
import pytest
import xgboost as xgb
from tree_case import KINDS, fit, labels, load, people, save, trained_on

from audit.core.base import sha256
from audit.core.errors import ModelError
from audit.models import lightgbm_file, xgboost_file


@pytest.mark.parametrize("kind", KINDS)
def test_files_that_are_not_models(kind: str, tmp_path: Path) -> None:
    path = save(kind, fit(kind, trained_on(people()), labels(people(), 2)), tmp_path)
    whole = path.read_bytes()
    with pytest.raises(ModelError, match=f"has the digest {sha256(whole)}, but the spec pins"):
        load(kind, path, sha256="0" * 64)
    assert load(kind, path, sha256=sha256(whole).upper()).classes == ("0", "1")
    for spoilt in (b"", b"garbage", whole[: len(whole) // 2], whole[:-60], b"{}", b"\xff\xfe"):
        path.write_bytes(spoilt)
        with pytest.raises(ModelError, match=r"no model file|ends too early|no JSON|no UBJSON"):
            load(kind, path)
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        load(kind, tmp_path / "nowhere.json")


def test_spoilt_ubj_ends_in_a_message(tmp_path: Path) -> None:
    """XGBoost itself ends the process on some of these; so this is tried in another one."""
    path = save("xgboost", fit("xgboost", trained_on(people(120)), labels(people(120), 2)), tmp_path, ".ubj")
    code = """
import sys
from pathlib import Path
from audit.core.errors import ModelError
from audit.models.xgboost_file import XgboostAdapter
from audit.core.model import Allow, Source
import pandas as pd
path = Path(sys.argv[1])
whole = path.read_bytes()
for stop in [0, 1, 2, *range(3, len(whole), 997), len(whole) - 1]:
    path.write_bytes(whole[:stop])
    try:
        XgboostAdapter(path=str(path)).load(Source(str(path), ".", Allow(), pd.DataFrame(), ()))
    except ModelError as error:
        assert "ends too early" in str(error), error
    else:
        raise SystemExit(f"{stop} of {len(whole)} bytes were read")
path.write_bytes(whole)
XgboostAdapter(path=str(path)).load(Source(str(path), ".", Allow(), pd.DataFrame(), ()))
"""
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("kind", KINDS)
def test_models_that_are_no_classifiers(kind: str, tmp_path: Path) -> None:
    frame = people()
    regressor = (
        lgb.LGBMRegressor(n_estimators=2, verbose=-1) if kind == "lightgbm" else xgb.XGBRegressor(n_estimators=2)
    )
    plain = frame[["age", "amount"]]
    path = save(kind, regressor.fit(plain, frame["job"]), tmp_path)
    with pytest.raises(ModelError, match=r"no probabilities of classes|gives no probabilities"):
        load(kind, path, plain)


def test_multiclassova_is_refused(tmp_path: Path) -> None:
    plain = people()[["age", "amount"]]
    model = lgb.LGBMClassifier(n_estimators=2, objective="multiclassova", verbose=-1).fit(plain, labels(people(), 3))
    with pytest.raises(ModelError, match="do not sum to 1; train with multiclass"):
        load("lightgbm", save("lightgbm", model, tmp_path), plain)


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_spec_says_must_fit_the_file(kind: str, tmp_path: Path) -> None:
    frame = people()
    path = save(kind, fit(kind, trained_on(frame), labels(frame, 2)), tmp_path)
    assert load(kind, path, classes=["bad", "good"]).classes == ("bad", "good")
    with pytest.raises(ModelError, match=r"model.classes: 3 classes for a model of 2"):
        load(kind, path, classes=["a", "b", "c"])
    with pytest.raises(ModelError, match=r"model.classes: two classes share a name"):
        load(kind, path, classes=["a", "a"])
    with pytest.raises(ModelError, match="the file holds the categories of 'home'"):
        load(kind, path, categories={"home": ["own"]})
    with pytest.raises(ModelError, match="the model has no feature 'hame'"):
        load(kind, path, categories={"hame": ["own"]})
    with pytest.raises(ModelError, match="names a level twice"):
        load(kind, path, categories={"job": [3, 3]})
    with pytest.raises(ModelError, match=r"not what the model was trained on .missing: guarantor"):
        load(kind, path, frame[["age", "amount", "home", "job"]])
    with pytest.raises(ModelError, match=r"the order differs.; list exactly these, in this order: age, amount"):
        load(kind, path, features=["amount", "age", "home", "job", "guarantor"])


@pytest.mark.parametrize(("kind", "module"), [("lightgbm", lightgbm_file), ("xgboost", xgboost_file)])
def test_a_library_that_is_not_installed(kind: str, module: Any, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=rf"{kind} is not installed here; install it with pip install 'auditspec\["):
        load(kind, tmp_path / "model.json")
