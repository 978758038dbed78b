"""The models that every search is measured on, and the counter that stands before them.

A model takes rows of codes, shape (n, d), and answers P(favourable), shape (n,). Whatever library asks, the same
function answers, and counts rows, calls and seconds. Needs NumPy, and LightGBM where the model is one.
"""

import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from search_data import SEED, Task

KINDS = ("lightgbm", "mlp")
TREES, LEAVES = 100, 31
HIDDEN = (64, 32)
MLP_ROWS = 40_000
"""Rows that the MLP is shown in all, if that is more than ten times the training rows."""
FAVOURABLE_WEIGHT = {"caravan": 6.0}
"""Training weight of the favourable class where hardly any row would be favourable without."""


class Scores(Protocol):
    """P(favourable) of rows of columns, shape (n, m)."""

    def __call__(self, columns: np.ndarray) -> np.ndarray: ...


def columns_of(features: tuple[dict[str, Any], ...]) -> list[tuple[int, int | None]]:
    """For each column that the model is given the feature and, for a category, the level that it stands for."""
    return [(j, k) for j, f in enumerate(features) for k in (range(f["levels"]) if f["levels"] else (None,))]


class OneHot:
    """Rows of codes to the columns that the model is given: numbers as they are, one column per level."""

    def __init__(self, features: tuple[dict[str, Any], ...]) -> None:
        pairs = columns_of(features)
        self.width = len(pairs)
        self.numbers = [(i, j) for i, (j, k) in enumerate(pairs) if k is None]
        first = {j: i for i, (j, k) in enumerate(pairs) if k == 0}
        self.at = np.array([i for i, _ in self.numbers], dtype=np.int64)
        self.taken = np.array([j for _, j in self.numbers], dtype=np.int64)
        self.levels = np.array(sorted(first), dtype=np.int64)
        self.start = np.array([first[j] for j in sorted(first)], dtype=np.int64)

    def __call__(self, codes: np.ndarray) -> np.ndarray:
        """Shape (n, width)."""
        out = np.zeros((len(codes), self.width))
        out[:, self.at] = codes[:, self.taken]
        if len(self.levels):
            place = self.start + codes[:, self.levels].astype(np.int64)
            out[np.arange(len(codes))[:, None], place] = 1.0
        return out


class Served:
    """A model behind a counter.

    Attributes:
        rows, calls, wall, cpu: rows and calls answered, and the seconds that it took.
        splits: of trees, the split thresholds by column; empty for other models.
    """

    def __init__(self, features: tuple[dict[str, Any], ...], scores: Scores) -> None:
        self.encode = OneHot(features)
        self.scores = scores
        self.splits: dict[int, list[float]] = {}
        self.reset()

    def reset(self) -> None:
        """Sets the counter to nothing."""
        self.rows = self.calls = 0
        self.wall = self.cpu = 0.0

    def __call__(self, rows: Any, read: Callable[[Any], np.ndarray] = np.asarray) -> np.ndarray:
        """P(favourable) of rows, shape (n,); `read` makes codes of what the library hands over, on the model's time."""
        wall, cpu = time.perf_counter(), time.process_time()
        answer = self.scores(self.encode(read(rows)))
        self.cpu += time.process_time() - cpu
        self.wall += time.perf_counter() - wall
        self.rows += len(rows)
        self.calls += 1
        return answer


def fit(task: Task, kind: str, path: Path) -> None:
    """Fits a model on the training rows and writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    X, y = OneHot(task.features)(task.X[task.train]), task.y[task.train]
    weight = np.where(y == 1, FAVOURABLE_WEIGHT.get(task.name, 1.0), 1.0)
    _fit_trees(X, y, weight, path) if kind == "lightgbm" else _fit_mlp(X, y, weight, path)


def _fit_trees(X: np.ndarray, y: np.ndarray, weight: np.ndarray, path: Path) -> None:
    import lightgbm

    settings = {"objective": "binary", "num_leaves": LEAVES, "seed": SEED, "deterministic": True, "verbosity": -1}
    data = lightgbm.Dataset(X, y, weight=weight)
    lightgbm.train(settings | {"num_threads": 1, "force_row_wise": True}, data, num_boost_round=TREES).save_model(path)


def _fit_mlp(X: np.ndarray, y: np.ndarray, weight: np.ndarray, path: Path) -> None:
    from sklearn.neural_network import MLPClassifier

    mean, sd = X.mean(axis=0), X.std(axis=0)
    sd[sd == 0] = 1.0
    model = MLPClassifier(HIDDEN, random_state=SEED, max_iter=max(10, MLP_ROWS // len(X)), alpha=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged: it is not meant to
        model.fit((X - mean) / sd, y, sample_weight=weight)
    layers = [array.astype(np.float32) for pair in zip(model.coefs_, model.intercepts_, strict=True) for array in pair]
    names = [f"{part}{i}" for i in range(len(model.coefs_)) for part in ("w", "b")]
    np.savez(path, mean=mean, sd=sd, **dict(zip(names, layers, strict=True)))


def load(task: Task, kind: str, path: Path, threads: int) -> Served:
    """The model behind its counter."""
    if kind == "mlp":
        return Served(task.features, _Mlp(path))
    trees = _Trees(path, threads)
    served = Served(task.features, trees)
    served.splits = trees.splits()
    return served


class _Trees:
    def __init__(self, path: Path, threads: int) -> None:
        import lightgbm

        self.booster = lightgbm.Booster(model_file=str(path))
        self.threads = threads

    def __call__(self, columns: np.ndarray) -> np.ndarray:
        return np.asarray(self.booster.predict(columns, num_threads=self.threads))

    def splits(self) -> dict[int, list[float]]:
        """The split thresholds by column, ascending."""
        found: dict[int, set[float]] = {}
        stack = [tree["tree_structure"] for tree in self.booster.dump_model()["tree_info"]]
        while stack:
            node = stack.pop()
            if "split_feature" in node:
                found.setdefault(node["split_feature"], set()).add(float(node["threshold"]))
                stack += [node["left_child"], node["right_child"]]
        return {column: sorted(values) for column, values in sorted(found.items())}


class _Mlp:
    """A multilayer perceptron in single precision, computed with NumPy."""

    def __init__(self, path: Path) -> None:
        with np.load(path) as file:
            self.mean, self.sd = file["mean"], file["sd"]
            self.layers = [(file[f"w{i}"], file[f"b{i}"]) for i in range(len(HIDDEN) + 1)]

    def __call__(self, columns: np.ndarray) -> np.ndarray:
        state = ((columns - self.mean) / self.sd).astype(np.float32)
        for weight, bias in self.layers[:-1]:
            state = np.maximum(state @ weight + bias, np.float32(0))
        weight, bias = self.layers[-1]
        logit = (state @ weight + bias)[:, 0]
        return np.asarray(1 / (1 + np.exp(-logit)), dtype=np.float64)


def queries(task: Task, models: dict[str, Served], rows: int) -> np.ndarray:
    """Positions of the first rows that no model was fitted on, that every model denies, with the worse true class.

    Rows outside the bounds of the training rows are passed over: some libraries refuse them.
    """
    low, high = (np.array([f[end] for f in task.features]) for end in ("low", "high"))
    inside = ((low <= task.X) & (high >= task.X)).all(axis=1)
    chosen = np.flatnonzero(~task.train & inside)
    if task.name != "german":
        chosen = chosen[task.y[chosen] == 0]
    for model in models.values():
        chosen = chosen[model(task.X[chosen]) < 0.5]
    return chosen[:rows]


def write_facts(path: Path, facts: dict[str, Any]) -> None:
    """Writes facts as JSON."""
    path.write_text(json.dumps(facts, indent=1), encoding="utf-8")
