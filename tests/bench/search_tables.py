"""What the results of the cells say, as tables of numbers; no words."""

import json
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from search_data import Task
from search_measures import KINDS, broken, common, gap, gower, mad_l1, nearest, spreads
from search_models import Served, load

FAST, FAST0, QUALITY0 = "ours-fast", "ours-fast0", "ours-quality0"
EXACT = "treecf-exact"


@dataclass
class Cell:
    """One result, with its counterfactuals judged.

    Attributes:
        rows: shape (m,), place among the queries of each counterfactual.
        codes: shape (m, d).
        kinds: shape (m, len(KINDS)), what each breaks.
        measures: by name, one number per counterfactual.
    """

    result: dict[str, Any]
    rows: np.ndarray
    codes: np.ndarray
    kinds: np.ndarray
    measures: dict[str, np.ndarray]

    @property
    def flipped(self) -> np.ndarray:
        """Whether each counterfactual has the favourable outcome when it is asked for again; shape (m,)."""
        return np.asarray(~self.kinds[:, 0] & ~self.kinds[:, KINDS.index("missing")])

    @property
    def solved(self) -> np.ndarray:
        """Which of the rows that were asked for have a counterfactual that flips; shape (n,)."""
        out = np.zeros(len(self.result["cell"]["rows"]), dtype=bool)
        out[self.rows[self.flipped]] = True
        return out


@dataclass
class Group:
    """All cells of one data set and one model.

    Attributes:
        cells: by search and seed; `turns` are the repetitions of our fast search, by seed.
    """

    data: str
    model: str
    task: Task
    cells: dict[tuple[str, int], Cell] = field(default_factory=dict)
    turns: dict[int, list[dict[str, Any]]] = field(default_factory=dict)

    def methods(self) -> list[str]:
        """The searches, in the order in which they were met first."""
        return list(dict.fromkeys(method for method, _ in self.cells))

    def of(self, method: str) -> list[Cell]:
        """The cells of a search, by seed."""
        return [cell for (name, _), cell in sorted(self.cells.items(), key=lambda item: item[0][1]) if name == method]


class Judge:
    """Judges counterfactuals of one data set with a model that no search has touched."""

    def __init__(self, task: Task, served: Served) -> None:
        self.task, self.served = task, served
        self.reference = task.X[task.train]
        self.spread = spreads(self.reference)

    def judge(self, result: dict[str, Any]) -> Cell:
        """The cell of a result."""
        given = [(i, codes) for i, codes in enumerate(result["found"]) if codes is not None]
        rows = np.array([i for i, _ in given], dtype=np.int64)
        d = len(self.task.features)
        codes = np.array([codes for _, codes in given], dtype=np.float64).reshape(-1, d)
        x = self.task.X[np.array(result["cell"]["rows"], dtype=np.int64)[rows]]
        features = self.task.features
        measures = {
            "changed": (x != codes).sum(axis=1).astype(np.float64),
            "gower": gower(features, x, codes),
            "mad": mad_l1(features, self.spread, x, codes),
            "nearest": nearest(features, self.reference, codes),
        }
        return Cell(result, rows, codes, broken(features, x, codes, self.served), measures)


def groups(cache: Path, kept: list[str]) -> list[Group]:
    """The groups of the results that are there."""
    found: dict[tuple[str, str], Group] = {}
    judges: dict[tuple[str, str], Judge] = {}
    for result in read(cache, kept):
        cell = result["cell"]
        key = (cell["data"], cell["model"])
        if key not in found:
            task = Task.read(Path(cell["task_path"]))
            found[key] = Group(*key, task)
            judges[key] = Judge(task, load(task, cell["model"], Path(cell["model_path"]), 1))
        if "turn" in cell:
            found[key].turns.setdefault(cell["seed"], []).append(result)
        else:
            found[key].cells[cell["method"], cell["seed"]] = judges[key].judge(result)
    return list(found.values())


def read(cache: Path, kept: list[str]) -> Iterator[dict[str, Any]]:
    """The results of cells, in the order of the run."""
    for name in kept:
        path = cache / "results" / f"{name}.json"
        if path.exists() and not name.startswith("scale"):
            yield json.loads(path.read_text(encoding="utf-8"))


def scales(cache: Path, kept: list[str]) -> dict[str, dict[str, Any]]:
    """The answers on scale, by question."""
    paths = [cache / "results" / f"{name}.json" for name in kept if name.startswith("scale")]
    return {path.name.split("-")[1]: json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()}


def trees_of(groups: list[Group], data: str) -> Group | None:
    """The group of a data set with LightGBM."""
    return next((group for group in groups if (group.data, group.model) == (data, "lightgbm")), None)


def main_group(groups: list[Group]) -> Group | None:
    """The group whose ratios are asked for: census with LightGBM."""
    return trees_of(groups, "census")


def per_row(result: dict[str, Any], what: str) -> float:
    """Milliseconds of `wall` or `cpu` per row that was asked for."""
    return float(1000 * result[what] / max(result["rows_done"], 1))


def cost(cells: list[Cell]) -> dict[str, Any]:
    """What a search costs, over its seeds: medians, per counterfactual that flips; None where there is none."""
    found = [int(cell.flipped.sum()) for cell in cells]
    done = [cell.result["rows_done"] for cell in cells]

    def middle(values: list[float]) -> float | None:
        usable = [value / n for value, n in zip(values, found, strict=True) if n]
        return statistics.median(usable) if usable else None

    walls = [1000 * cell.result["wall"] / n for cell, n in zip(cells, found, strict=True) if n]
    return {
        "seeds": len(cells),
        "done": sum(done),
        "flipped": sum(found),
        "given": sum(len(cell.rows) for cell in cells),
        "wall": middle([1000 * cell.result["wall"] for cell in cells]),
        "wall_low": min(walls, default=None),
        "wall_high": max(walls, default=None),
        "cpu": middle([1000 * cell.result["cpu"] for cell in cells]),
        "fit": statistics.median(cell.result["fit"]["cpu"] for cell in cells),
        "rows": middle([cell.result["model"]["rows"] for cell in cells]),
        "calls": middle([cell.result["model"]["calls"] for cell in cells]),
        "share": statistics.median(cell.result["model"]["share"] for cell in cells),
        "reads_trees": cells[0].result["reads_trees"],
        "peak": max(cell.result["peak_mb"] for cell in cells),
    }


def violations(cells: list[Cell]) -> dict[str, int]:
    """How many counterfactuals of a search break each kind of rule, over its seeds; `any`: at least one."""
    kinds = np.concatenate([cell.kinds for cell in cells])
    return dict(zip(KINDS, map(int, kinds.sum(axis=0)), strict=True)) | {"any": int(kinds.any(axis=1).sum())}


def quality(group: Group, methods: list[str], rows: np.ndarray) -> dict[str, dict[str, float]]:
    """Mean measures of each search on the given rows, over its seeds."""
    out = {}
    for method in methods:
        values: dict[str, list[float]] = {}
        for cell in group.of(method):
            chosen = np.isin(cell.rows, rows) & cell.flipped
            for name, numbers in cell.measures.items():
                values.setdefault(name, []).extend(numbers[chosen])
        out[method] = {name: float(np.mean(numbers)) for name, numbers in values.items() if numbers}
    return out


def solved_by_all(group: Group, methods: list[str]) -> np.ndarray:
    """Places of the rows that every one of the searches solved, in every seed."""
    return common({f"{m} {i}": cell.solved for m in methods for i, cell in enumerate(group.of(m))})


def ratios(group: Group, peer: str) -> dict[str, Any]:
    """How many times our fast search's wall and CPU a peer takes per row asked for: by seed, and the median.

    The fast search stands for the median of its runs of the same seed, of which one came right before each peer.
    """
    out: dict[str, Any] = {"wall": [], "cpu": [], "rows": 0}
    for seed in sorted({seed for _, seed in group.cells}):
        ours, theirs = group.cells.get((FAST, seed)), group.cells.get((peer, seed))
        if ours is None or theirs is None:
            continue
        for what in ("wall", "cpu"):
            own = [per_row(result, what) for result in (ours.result, *group.turns.get(seed, []))]
            out[what].append(per_row(theirs.result, what) / statistics.median(own))
        out["rows"] = max(out["rows"], min(theirs.result["rows_done"], ours.result["rows_done"]))
    for what in ("wall", "cpu"):
        out[f"{what}_median"] = statistics.median(out[what]) if out[what] else None
    return out


def gaps(group: Group) -> dict[str, dict[str, Any]]:
    """For each search how far it lies above the optimum, over the rows of the first seed that were proved."""
    exact = group.cells.get((EXACT, 0))
    if exact is None:
        return {}
    proved = np.array([said == "optimal" for said in exact.result["said"]])
    proved = proved & exact.solved[: len(proved)]
    best = np.full(max(len(cell.solved) for cell in group.cells.values()), np.nan)
    best[exact.rows] = exact.measures["gower"]
    out: dict[str, dict[str, Any]] = {
        "": {"proved": int(proved.sum()), "asked": len(proved), "gower": float(np.nanmean(best))}
    }
    for method in group.methods():
        cells = group.of(method)
        values, optima, hit, broke = [], [], [], 0
        for cell in cells:
            fine = ~cell.kinds.any(axis=1)
            place = cell.rows[fine]
            far = cell.measures["gower"][fine]
            chosen = np.isin(place, np.flatnonzero(proved))
            values.extend(far[chosen])
            optima.extend(best[place[chosen]])
            hit.append(chosen.sum() / max(proved.sum(), 1))
            broke += int((~fine).sum())
        if values:
            model_rows = cost(cells)["rows"]
            out[method] = gap(np.array(values), np.array(optima)) | {
                "found": float(np.mean(hit)),
                "n": len(values),
                "model_rows": model_rows,
            }
    return out
