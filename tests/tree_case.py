"""Models of XGBoost and LightGBM in native files, and the rows that they were trained on."""

import json
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import xgboost as xgb

from audit.core.infer import infer_schema
from audit.core.model import ADAPTERS, Allow, Source

KINDS = ("lightgbm", "xgboost")
NAMES = ("age", "amount", "home", "job", "guarantor")
CASES = [(kind, classes) for kind in KINDS for classes in (2, 3)]


def people(n: int = 300, seed: int = 5) -> pd.DataFrame:
    """Whole numbers, numbers with missing values, text with missing values, whole numbers as levels, truth values."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 80, n),
            "amount": rng.normal(1000, 300, n),
            "home": rng.choice(["free", "own", "rent"], n),
            "job": rng.integers(3, 7, n),
            "guarantor": rng.random(n) < 0.4,
        }
    )
    frame.loc[rng.random(n) < 0.15, "amount"] = np.nan
    frame.loc[rng.random(n) < 0.15, "home"] = None
    return frame


def labels(frame: pd.DataFrame, classes: int) -> np.ndarray:
    points = frame["amount"].fillna(1200) / 300 + (frame["home"] == "own") + frame["job"] % 2 + frame["guarantor"]
    return np.digitize(points, np.quantile(points, np.arange(1, classes) / classes))


def trained_on(frame: pd.DataFrame) -> pd.DataFrame:
    """As a user prepares it for these libraries: text as pandas categories, of which the order is his."""
    levels = ["rent", "free", "own"]
    return frame.assign(home=pd.Categorical(frame["home"].where(frame["home"].isin(levels)), levels))


def fit(kind: str, frame: pd.DataFrame, y: np.ndarray, **settings: Any) -> Any:
    if kind == "lightgbm":
        return lgb.LGBMClassifier(n_estimators=12, num_leaves=7, n_jobs=1, verbose=-1, **settings).fit(frame, y)
    return xgb.XGBClassifier(n_estimators=12, max_depth=3, n_jobs=1, enable_categorical=True, **settings).fit(frame, y)


def save(kind: str, model: Any, folder: Path, suffix: str = "") -> Path:
    path = folder / f"model{suffix or {'lightgbm': '.txt', 'xgboost': '.json'}[kind]}"
    (model.booster_ if kind == "lightgbm" else model).save_model(path)
    return path


def source(path: Path, frame: pd.DataFrame | None = None) -> Source:
    frame = people() if frame is None else frame
    schema = infer_schema(frame, tuple(frame.columns), {}, others=[])
    return Source(str(path), str(path.parent), Allow(), frame, ("1",), None, schema)


def load(kind: str, path: Path, frame: pd.DataFrame | None = None, **settings: Any) -> Any:
    given = json.dumps({"kind": kind, "path": path.name, **settings})
    return ADAPTERS.classes()[kind].model_validate_json(given).load(source(path, frame))
