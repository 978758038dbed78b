"""Makes the tasks, fits the models and chooses the rows: `python search_prepare.py CACHE`. Runs in `ours`."""

import json
import sys
from pathlib import Path

import numpy as np
from search_data import DATA, Task, make
from search_models import KINDS, Served, fit, load, queries

ROWS = {"census lightgbm": 1000}
"""Rows that are measured at most; 100 where nothing is said."""
DIMENSIONS = (10, 30, 100)
"""Features of the made-up tasks for the curve of cost with d."""


def model_path(cache: Path, data: str, kind: str) -> Path:
    """Where a model lies."""
    return cache / "models" / f"{data}.{'txt' if kind == 'lightgbm' else 'npz'}"


def made_up(d: int) -> Task:
    """Rows of d continuous features, of which a noisy sum of products of pairs is the class."""
    rng = np.random.default_rng(d)
    X = rng.normal(size=(6000, d))
    score = X @ rng.normal(size=d) + sum(X[:, j] * X[:, j - 1] for j in range(1, d)) / 2
    y = (score + rng.normal(size=len(X)) > 0).astype(np.int64)
    train = np.arange(len(X)) < 4000
    low, high = X[train].min(axis=0), X[train].max(axis=0)
    features = tuple(
        {"name": f"x{j}", "levels": 0, "low": float(low[j]), "high": float(high[j]), "change": "any", "real": True}
        for j in range(d)
    )
    return Task(f"made{d}", features, X, y, train)


def prepare(cache: Path) -> None:
    """Writes tasks, models and `queries.json`: by data and model one row to warm up on, then the measured ones."""
    chosen = {}
    tasks = [make(name, cache) for name in DATA] + [made_up(d) for d in DIMENSIONS]
    for task in tasks:
        task.save(cache / "tasks" / f"{task.name}.npz")
        models: dict[str, Served] = {}
        for kind in KINDS if task.name in DATA else KINDS[:1]:
            path = model_path(cache, task.name, kind)
            fit(task, kind, path)
            models[kind] = load(task, kind, path, 1)
        for kind, model in models.items():
            # German credit is too small for rows that both models deny.
            asked = {kind: model} if task.name == "german" else models
            name = f"{task.name} {kind}"
            chosen[name] = [int(i) for i in queries(task, asked, ROWS.get(name, 100) + 1)]
    (cache / "queries.json").write_text(json.dumps(chosen), encoding="utf-8")


if __name__ == "__main__":
    prepare(Path(sys.argv[1]))
