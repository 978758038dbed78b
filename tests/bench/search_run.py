"""Runs one cell of the comparison in a process of its own: one search, one data set, one model, one seed.

`python search_run.py CELL OUT` reads a JSON file and writes another. Each search is given what it can take of the
same policy, one row outside the measured ones to warm up on, and then the rows; what it makes of them is judged
elsewhere. Runs in the environment of the library.
"""

import json
import os
import resource
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from search_data import Task
from search_models import Served, columns_of, load

Answer = np.ndarray | None
Search = Callable[[np.ndarray], list[tuple[Answer, str]]]
"""Rows (n, d) to n counterfactuals, None where there is none, each with what is proven of it (`optimal` or nothing)."""

LONG_ENOUGH = 1.0
MOST_REPEATS = 20
LIBRARIES = {"dice": ("dice-ml",), "nice": ("NICEx",), "treecf": ("treecf",), "ours": ()}


class Peer:
    """One library on one task; `search` answers row after row, or all rows at once."""

    batched = False

    def __init__(self, task: Task, served: Served, cell: dict[str, Any]) -> None:
        self.task, self.served, self.cell = task, served, cell
        self.kind = cell["method"].split("-", 1)[1]
        self.reference = task.X[task.train]

    def search(self, rows: np.ndarray) -> list[tuple[Answer, str]]:
        """Counterfactuals of rows (n, d)."""
        return [self.one(row) for row in rows]

    def one(self, row: np.ndarray) -> tuple[Answer, str]:
        """The counterfactual of one row."""
        raise NotImplementedError


class Dice(Peer):
    """DiCE: features to vary and, row by row, the permitted range; one counterfactual."""

    def __init__(self, task: Task, served: Served, cell: dict[str, Any]) -> None:
        super().__init__(task, served, cell)
        import dice_ml
        import pandas as pd

        self.names = [f"f{j}" for j in range(len(task.features))]
        self.free = [n for n, f in zip(self.names, task.features, strict=True) if f["change"] != "immutable"]
        numbers = [n for n, f in zip(self.names, task.features, strict=True) if not f["levels"]]
        frame = self._frame(self.reference)
        frame["outcome"] = task.y[task.train]
        data = dice_ml.Data(dataframe=frame, continuous_features=numbers, outcome_name="outcome")
        model = dice_ml.Model(model=_Classifier(self), backend="sklearn")
        self.explainer = dice_ml.Dice(data, model, method=self.kind)
        self.pandas = pd
        np.random.seed(cell["seed"])  # noqa: NPY002 - what the library draws from

    def _frame(self, codes: np.ndarray) -> Any:
        import pandas as pd

        columns = {}
        for j, (name, feature) in enumerate(zip(self.names, self.task.features, strict=True)):
            whole = codes[:, j].astype(np.int64)
            columns[name] = whole.astype(str) if feature["levels"] else whole
        return pd.DataFrame(columns)

    def one(self, row: np.ndarray) -> tuple[Answer, str]:
        """The counterfactual that the library shows: the sparse one where it makes one."""
        permitted = {
            name: [int(row[j]) if f["change"] == "increase" else int(f["low"]), int(f["high"])]
            for j, (name, f) in enumerate(zip(self.names, self.task.features, strict=True))
            if not f["levels"] and f["change"] != "immutable"
        }
        extra = {"random_seed": self.cell["seed"]} if self.kind == "random" else {}
        try:
            answer = self.explainer.generate_counterfactuals(
                self._frame(row[None]),
                total_CFs=1,
                desired_class="opposite",
                features_to_vary=self.free,
                permitted_range=permitted,
                **extra,
            )
        except Exception as error:  # noqa: BLE001 - the library says in many ways that it found none
            return None, f"{type(error).__name__}"
        (example,) = answer.cf_examples_list
        frame = example.final_cfs_df_sparse if example.final_cfs_df_sparse is not None else example.final_cfs_df
        if frame is None or not len(frame):
            return None, ""
        return frame[self.names].iloc[0].astype(float).to_numpy(dtype=np.float64), ""


class _Classifier:
    """What DiCE calls: frames in, two columns of probabilities out."""

    classes_ = np.array([0, 1])

    def __init__(self, peer: Dice) -> None:
        self.peer = peer

    def predict_proba(self, frame: Any) -> np.ndarray:
        """Shape (n, 2)."""
        p = self.peer.served(frame, self._codes)
        return np.column_stack([1 - p, p])

    def _codes(self, frame: Any) -> np.ndarray:
        return np.column_stack([frame[name].to_numpy().astype(np.float64) for name in self.peer.names])

    def predict(self, frame: Any) -> np.ndarray:
        """Shape (n,)."""
        return (self.predict_proba(frame)[:, 1] >= 0.5).astype(np.int64)


class Nice(Peer):
    """NICE: takes no constraints at all."""

    def __init__(self, task: Task, served: Served, cell: dict[str, Any]) -> None:
        super().__init__(task, served, cell)
        from nice import NICE

        levels = [j for j, f in enumerate(task.features) if f["levels"]]
        self.explainer = NICE(
            X_train=self.reference.copy(),
            predict_fn=self._probabilities,
            y_train=task.y[task.train],
            cat_feat=levels,
            optimization=self.kind,
            justified_cf=True,
        )

    def _probabilities(self, codes: np.ndarray) -> np.ndarray:
        p = self.served(codes)
        return np.column_stack([1 - p, p])

    def one(self, row: np.ndarray) -> tuple[Answer, str]:
        """The counterfactual."""
        return np.asarray(self.explainer.explain(row[None].copy())[0], dtype=np.float64), ""


class Treecf(Peer):
    """treecf: the whole policy, Gower distance as its normalisers; reads the trees, so no row is evaluated."""

    def __init__(self, task: Task, served: Served, cell: dict[str, Any]) -> None:
        super().__init__(task, served, cell)
        import lightgbm
        import treecf

        booster = lightgbm.Booster(model_file=cell["model_path"])
        names, pairs = booster.feature_name(), columns_of(task.features)
        scale, constraints, whole = task.scale, [], {}
        for j, feature in enumerate(task.features):
            mine = [name for name, (i, _) in zip(names, pairs, strict=True) if i == j]
            if feature["levels"]:
                constraints.append(treecf.OneHot(tuple(mine)))
            elif feature["change"] != "immutable":
                constraints.append(treecf.Range(mine[0], feature["low"], feature["high"]))
                whole[mine[0]] = "integer"
            if feature["change"] == "immutable":
                constraints += [treecf.Freeze(name) for name in mine]
            elif feature["change"] == "increase":
                constraints.append(treecf.Monotone(mine[0], "increase"))
        # A change of level moves two columns by one each: together they cost 1.
        sigma = {name: 2.0 if k is not None else float(scale[j]) for name, (j, k) in zip(names, pairs, strict=True)}
        self.batched = self.kind == "genetic"
        self.target = treecf.Target.probability(op=">=", value=0.5)
        self.explainer = treecf.Explainer(booster, constraints=constraints, normalizers=sigma, value_policy=whole)
        self.pairs = pairs

    def _codes(self, columns: np.ndarray) -> np.ndarray:
        codes = np.zeros(len(self.task.features))
        for value, (j, k) in zip(columns, self.pairs, strict=True):
            codes[j] += value if k is None else k * value
        return codes

    def search(self, rows: np.ndarray) -> list[tuple[Answer, str]]:
        """All rows in one call for the genetic search, which its engine computes in parallel; else row by row."""
        if self.kind != "genetic":
            return super().search(rows)
        batch = self.explainer.explain_batch(self.served.encode(rows), self.target, seed=self.cell["seed"])
        answers: list[tuple[Answer, str]] = [(None, "")] * len(rows)
        for record in batch.records:
            if record.feasible:
                answers[int(record.id)] = (self._codes(record.x_cf), "")
        return answers

    def one(self, row: np.ndarray) -> tuple[Answer, str]:
        """The counterfactual of the exact search, with its proof."""
        answer = self.explainer.explain(
            self.served.encode(row[None])[0],
            self.target,
            backend="exact",
            time_budget_s=self.cell.get("row_budget_s", 30.0),
            seed=self.cell["seed"],
        )
        found = getattr(answer, "x_cf", None)
        return (None if found is None else self._codes(found)), str(answer.proof)


def peer(task: Task, served: Served, cell: dict[str, Any]) -> Peer:
    """The library that a cell names."""
    library = cell["method"].split("-", 1)[0]
    if library == "ours":
        from search_ours import Ours

        return Ours(task, served, cell)
    return {"dice": Dice, "nice": Nice, "treecf": Treecf}[library](task, served, cell)


def measure(cell: dict[str, Any]) -> dict[str, Any]:
    """What the search made of the rows, and what it cost; what ends soon is done again."""
    task = Task.read(Path(cell["task_path"]))
    served = load(task, cell["model"], Path(cell["model_path"]), cell["threads"])
    wall, cpu = time.perf_counter(), time.process_time()
    library = peer(task, served, cell)
    fit = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "rows": served.rows}
    library.search(task.X[cell["warm"]])
    served.reset()
    rows = task.X[cell["rows"]]
    load_before = os.getloadavg()[0]
    walls, cpus = [], []
    while not walls or (sum(walls) < LONG_ENOUGH and len(walls) < MOST_REPEATS):
        wall, cpu = time.perf_counter(), time.process_time()
        answers = attempt(library, rows, cell["budget_s"])
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return {
        "fit": fit,
        "wall": statistics.median(walls),
        "cpu": statistics.median(cpus),
        "repeats": len(walls),
        "rows_done": len(answers),
        "found": [None if codes is None else [float(v) for v in codes] for codes, _ in answers],
        "said": [said for _, said in answers],
        "model": {
            "rows": served.rows / len(walls),
            "calls": served.calls / len(walls),
            "share": served.cpu / sum(cpus),
        },
        "reads_trees": isinstance(library, Treecf),
        "load": [load_before, os.getloadavg()[0]],
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "versions": versions(cell["method"].split("-", 1)[0]),
    }


def attempt(library: Peer, rows: np.ndarray, budget: float) -> list[tuple[Answer, str]]:
    """What the search makes of the rows, of as many as it ends within the budget, in seconds."""
    if library.batched:
        return library.search(rows)
    answers: list[tuple[Answer, str]] = []
    begun = time.perf_counter()
    for row in rows:
        answers += library.search(row[None])
        if time.perf_counter() - begun > budget:
            break
    return answers


def versions(library: str) -> dict[str, str]:
    """The versions of the packages that matter here."""
    names = (*LIBRARIES[library], "lightgbm", "numpy", "pandas", "scikit-learn")
    return {"python": sys.version.split()[0]} | {name: metadata.version(name) for name in names}


def main() -> None:
    """Reads a cell, measures it, writes the result."""
    cell_path, out = map(Path, sys.argv[1:3])
    cell = json.loads(cell_path.read_text(encoding="utf-8"))
    os.environ["TQDM_DISABLE"] = "1"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the libraries warn of their own ways
        result = measure(cell)
    out.write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
