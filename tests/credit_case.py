"""A small credit audit that is made on the spot: 6 features, a logistic regression, as many rows as asked for."""

import io
import os
import re
import subprocess
import sys
import zipfile
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

FEATURES = ["age", "income", "debt", "years", "housing", "gender"]

SPEC = {
    "spec_version": 1,
    "audit": {"id": "credit-case", "title": "Credit case", "as_of": "2026-11-01"},
    "model": {
        "kind": "sklearn",
        "path": "model.skops",
        "features": FEATURES,
        "decision": {"score": "p(favourable)", "at_least": 0.5},
    },
    "data": {
        "train": "train.csv",
        "evaluate": "holdout.csv",
        "id": "id",
        "target": {"column": "outcome", "favourable": ["good"]},
        "protected": ["gender"],
        "sample": {"rows": 60, "stratify": "decision"},
    },
    "mutability": {
        "default": "immutable",
        "features": {
            "income": {"change": "increase", "why": "a raise", "owner": "Policy", "approved": "2026-01-01"},
            "debt": {"change": "decrease", "min": 0, "why": "repay", "owner": "Policy", "approved": "2026-01-01"},
        },
        "rules": ["debt <= 3 * income"],
    },
    "regions": [{"name": "young", "where": "age < 30"}, {"name": "near", "around": 1, "nearest": 12}],
    "counterfactuals": {
        "flips": {"search": "nearest", "per_row": 4, "for": "each", "constraints": "domain"},
        "recourse": {"search": "nearest", "per_row": 2, "for": "unfavourable", "constraints": "policy"},
    },
    "methods": [
        {"kind": "performance"},
        {"kind": "flex", "from": "flips"},
        {"kind": "shap", "rows": 20, "background": 20},
        {"kind": "agreement", "of": ["flex", "shap"]},
    ],
    "gates": [{"metric": "performance.auc", "at_least": 0.6}],
    "report": {"formats": ["html"]},
    "run": {"seed": 3, "workers": 1, "part_rows": 25},
}


def rows(n: int, seed: int) -> pd.DataFrame:
    """Applicants whose outcome leans on income, debt and gender."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "id": np.arange(n) + 1,
            "age": rng.integers(19, 75, n),
            "income": rng.gamma(4.0, 900.0, n).round(2),
            "debt": rng.gamma(2.0, 900.0, n).round(2),
            "years": rng.integers(0, 30, n),
            "housing": rng.choice(["own", "rent", "free"], n, p=[0.5, 0.4, 0.1]),
            "gender": rng.choice(["female", "male"], n),
        }
    )
    frame["debt"] = np.minimum(frame["debt"], 3 * frame["income"]).round(2)
    logit = 0.0009 * (frame["income"] - frame["debt"]) + 0.6 * (frame["gender"] == "male") - 1.4
    frame["outcome"] = np.where(rng.random(n) < 1 / (1 + np.exp(-logit)), "good", "bad")
    return frame


def make(folder: Path, n: int = 240, spec: dict | None = None, classifier: Any = None) -> Path:
    """Writes data, model and spec into `folder`; returns the path of the spec.

    The model is a logistic regression, or the classifier that is given, of scaled numbers and levels in columns.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler
    from skops.io import dumps

    folder.mkdir(parents=True, exist_ok=True)
    train, holdout = rows(2 * n, seed=1), rows(n, seed=2)
    holdout["id"] += 10 * n
    prepare = ColumnTransformer(
        [("n", StandardScaler(), FEATURES[:4]), ("c", OneHotEncoder(handle_unknown="ignore"), FEATURES[4:])]
    )
    last = LogisticRegression(max_iter=500) if classifier is None else classifier
    model = Pipeline([("prepare", prepare), ("model", last)])
    model.fit(train[FEATURES], train["outcome"])
    (folder / "model.skops").write_bytes(settled(dumps(model)))
    train.to_csv(folder / "train.csv", index=False)
    holdout.to_csv(folder / "holdout.csv", index=False)
    spec = yaml.safe_load(yaml.safe_dump(spec or SPEC))
    for region in spec.get("regions", []):
        if "around" in region:
            region["around"] = int(holdout["id"].iloc[0])
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    return path


def settled(data: bytes) -> bytes:
    """A skops file whose bytes are the same in every process; its own hold addresses of memory and the time.

    The rows that an audit draws hang on the digest of its model.
    """
    numbers: dict[str, str] = {}
    following = map(str, count(1))

    def number(found: re.Match[str]) -> str:
        return numbers.setdefault(found[0], next(following))

    kept = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as given, zipfile.ZipFile(kept, "w") as made:
        schema = re.sub(r'(?<="__id__": )\d+', number, given.read("schema.json").decode())
        made.writestr(zipfile.ZipInfo("schema.json"), re.sub(r'(?<=")\d+(?=\.npy")', number, schema))
        for name in given.namelist():
            if name.endswith(".npy"):
                made.writestr(zipfile.ZipInfo(f"{numbers[name.removesuffix('.npy')]}.npy"), given.read(name))
    return kept.getvalue()


def command(*words: object, **env: str) -> subprocess.CompletedProcess[str]:
    """`audit ...` in a process of its own."""
    line = [sys.executable, "-m", "audit", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, env={**os.environ, **env}, check=False, timeout=600)


def contents(out: Path) -> dict[str, bytes]:
    """Every file of a bundle but run.json, which is free to differ."""
    return {
        p.relative_to(out).as_posix(): p.read_bytes()
        for p in sorted(out.rglob("*"))
        if p.is_file() and p.name != "run.json"
    }
