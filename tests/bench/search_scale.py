"""How our searches scale: `python search_scale.py CELL OUT`, one question per process. Runs in `ours`."""

import cProfile
import json
import multiprocessing
import os
import pstats
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from search_data import Task
from search_measures import gower
from search_models import Served, load
from search_ours import generator_of, inputs_of, schema_of, table_of
from search_prepare import DIMENSIONS, model_path

from audit.core.method import Context
from audit.core.table import Table
from audit.search.verify import verify

PART_ROWS = 1000
"""Rows of a part: what the spec's `run.part_rows` is where nothing is said."""
WORKERS = 2
EVERY = 0.25
"""Seconds between two readings of memory."""


class Bench:
    """A task with its model, and searches of some of its denied rows."""

    def __init__(self, cache: Path, data: str) -> None:
        self.task = Task.read(cache / "tasks" / f"{data}.npz")
        self.served: Served = load(self.task, "lightgbm", model_path(cache, data, "lightgbm"), 1)
        self.train = table_of(schema_of(self.task), self.task.X[self.task.train], "t")
        self.denied = np.flatnonzero(self.served(self.task.X) < 0.5)

    def point(self, kind: str, n: int, train: Table | None = None, **settings: Any) -> dict[str, float]:
        """What n rows cost: milliseconds of wall and CPU, model rows and distance per counterfactual, and more."""
        # Rows in a fixed random order, so that every n has rows of the same kind.
        order = np.random.default_rng(0).permutation(self.denied)
        rows = self.task.X[np.resize(order, n)]
        inputs = inputs_of(self.task, self.served, rows, self.train if train is None else train)
        assert inputs.sample is not None
        generator = generator_of(kind, **settings)
        self.served.reset()
        wall, cpu = time.perf_counter(), time.process_time()
        ctx = Context(inputs, np.random.default_rng(0))
        found = generator.generate(ctx, inputs.sample.table, np.zeros(n, dtype=np.int64))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        count = max(len(found.row), 1)
        first = np.unique(found.row, return_index=True)[1]
        far = gower(self.task.features, rows[found.row[first]], found.codes[first])
        return {
            "n": n,
            "rows": len(first),
            "found": len(found.row),
            "wall_ms": 1000 * wall / count,
            "cpu_ms": 1000 * cpu / count,
            "model_rows": self.served.rows / count,
            "calls": self.served.calls / count,
            "gower": float(far.mean()) if len(far) else 0.0,
            "share": self.served.cpu / cpu,
        }


def curve_n(cache: Path) -> dict[str, Any]:
    """Cost with the number of rows."""
    bench = Bench(cache, "census")
    bench.point("fast", 50)
    sizes = {"nearest": (1, 10, 100, 1000, 10_000), "fast": (1, 10, 100, 1000, 10_000), "quality": (1, 10, 100, 1000)}
    return {kind: [bench.point(kind, n) for n in counts] for kind, counts in sizes.items()}


def curve_d(cache: Path) -> dict[str, Any]:
    """Cost with the number of features: made-up continuous data."""
    curves: dict[str, Any] = {"nearest": [], "fast": []}
    for d in DIMENSIONS:
        bench = Bench(cache, f"made{d}")
        bench.point("fast", 20)
        for kind, points in curves.items():
            points.append({"d": d} | bench.point(kind, 500))
    return curves


def curve_reference(cache: Path) -> dict[str, Any]:
    """Cost with the number of reference rows that are looked at."""
    bench = Bench(cache, "census")
    bench.point("fast", 50)
    sizes = (200, 1000, 4000, 16_000, len(bench.train))
    return {
        kind: [{"reference": r} | bench.point(kind, 1000, bench.train.take(slice(r)), reference_rows=r) for r in sizes]
        for kind in ("nearest", "fast")
    }


def curve_k(cache: Path) -> dict[str, Any]:
    """Cost with the number of counterfactuals per row."""
    bench = Bench(cache, "census")
    bench.point("fast", 50)
    return {kind: [{"k": k} | bench.point(kind, 500, per_row=k) for k in (1, 2, 5, 10)] for kind in ("nearest", "fast")}


def profile(cache: Path) -> dict[str, Any]:
    """Where the CPU goes at 1,000 rows: the share inside the model, and what the rest is made of."""
    bench = Bench(cache, "census")
    bench.point("fast", 50)
    shares = {kind: [bench.point(kind, 1000)["share"] for _ in range(3)] for kind in ("nearest", "fast", "quality")}
    profiler = cProfile.Profile(time.process_time)
    profiler.enable()
    bench.point("fast", 1000)
    profiler.disable()
    rows: list[dict[str, Any]] = []
    inside = 0.0
    stats = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    for (path, _, function), (_, calls, own, cumulative, _) in stats.items():
        if function == "__call__" and path.endswith("search_models.py") and cumulative > inside:
            inside = cumulative
        rows.append({"where": f"{Path(path).stem}.{function}".lstrip("~."), "calls": calls, "own": own})
    total = sum(row["own"] for row in rows)
    return {"shares": shares, "total": total, "inside": inside, "own": sorted(rows, key=lambda r: -r["own"])[:40]}


def run(cache: Path) -> dict[str, Any]:
    """All denied rows of census in parts, in two processes, each part searched and checked, as the engine does."""
    denied = Bench(cache, "census").denied
    starts = range(0, len(denied), PART_ROWS)
    memory = Memory()
    begun = time.perf_counter()
    context = multiprocessing.get_context("spawn")
    with memory, ProcessPoolExecutor(WORKERS, context, _prepare, (cache, denied)) as pool:
        parts = list(pool.map(_part, starts))
    wall = time.perf_counter() - begun
    totals = {key: sum(part[key] for part in parts) for key in parts[0]}
    return {"wall": wall, "rows": len(denied), "memory": memory.readings, "cores": os.cpu_count(), **totals}


_worker: dict[str, Any] = {}


def _prepare(cache: Path, denied: np.ndarray) -> None:
    bench = Bench(cache, "census")
    inputs = inputs_of(bench.task, bench.served, bench.task.X[denied], bench.train)
    _worker.update(bench=bench, inputs=inputs, generator=generator_of("fast"))


def _part(start: int) -> dict[str, float]:
    bench, inputs, generator = _worker["bench"], _worker["inputs"], _worker["generator"]
    positions = np.arange(start, min(start + PART_ROWS, len(inputs.sample)))
    rows = inputs.sample.table.take(positions)
    before = np.zeros(len(rows), dtype=np.int64)
    bench.served.reset()
    cpu = time.process_time()
    ctx = Context(replace(inputs), np.random.default_rng(start))
    found = generator.generate(ctx, rows, before)
    searched = time.process_time() - cpu
    result = verify(ctx, generator, rows, positions, before, found)
    return {
        "found": len(result.tables["counterfactuals"]),
        "discarded": int(result.tables["discarded"]["count"].sum()),
        "cpu": time.process_time() - cpu,
        "search_cpu": searched,
        "model_cpu": bench.served.cpu,
        "model_rows": bench.served.rows,
    }


class Memory:
    """Reads, again and again, the memory of this process and of those that it started, in MB.

    Attributes:
        readings: (seconds, all processes with shared pages counted once, the same with shared pages counted in each,
            the largest process).
    """

    def __init__(self) -> None:
        self.readings: list[tuple[float, float, float, float]] = []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.over.set()
        self.thread.join()

    def _watch(self) -> None:
        begun = time.perf_counter()
        while not self.over.wait(EVERY):
            pids = [os.getpid(), *(process.pid for process in multiprocessing.active_children())]
            sizes = [_memory(pid) for pid in pids]
            own, resident = [pss for pss, _ in sizes], [rss for _, rss in sizes]
            self.readings.append((time.perf_counter() - begun, sum(own), sum(resident), max(resident)))


def _memory(pid: int | None) -> tuple[float, float]:
    """Proportional and resident memory of a process in MB; 0 where it has ended."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return 0.0, 0.0
    fields = {line.split(":")[0]: line.split()[1] for line in text.splitlines()[1:]}
    return float(fields.get("Pss", 0)) / 1024, float(fields.get("Rss", 0)) / 1024


QUESTIONS = {"n": curve_n, "d": curve_d, "reference": curve_reference, "k": curve_k, "profile": profile, "run": run}


def main() -> None:
    """Answers the question of a cell."""
    cell = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    loads = [os.getloadavg()[0]]
    result = QUESTIONS[cell["what"]](Path(cell["cache"]))
    loads.append(os.getloadavg()[0])
    Path(sys.argv[2]).write_text(json.dumps(result | {"load": loads}), encoding="utf-8")


if __name__ == "__main__":
    main()
