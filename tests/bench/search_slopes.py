"""What the gradient is worth to `cheapest`: `python search_slopes.py CELL OUT`, on MLPs, with it and without.

Runs in the environment of the product, for it needs torch. The same network answers both, in double precision.
"""

import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from search_data import Task
from search_measures import Features, sizes
from search_models import HIDDEN, fit, load
from search_ours import generator_of, inputs_of, schema_of, table_of
from search_prepare import model_path

from audit.core.method import Context, Inputs
from audit.core.model import Scorer
from audit.core.network import Mlp, Network, Prepare

ASKED = (("census", 500), ("german", 100), ("caravan", 200), ("made30", 200), ("made100", 60))
"""Tasks, and the denied rows of each."""
REPEATS = 2


def network_of(task: Task, path: Path) -> Network:
    """The MLP of a task as the audit reads networks: scaling is part of the first layer, and the first logit is 0."""
    schema = schema_of(task)
    d = len(schema)
    prepare = Prepare(features=schema, mean=(0.0,) * d, sd=(1.0,) * d)
    shape = Mlp(hidden=HIDDEN)
    module = shape.build(len(prepare.groups), 2, 0)
    with np.load(path) as file, torch.no_grad():
        layers = [(file[f"w{i}"].astype(np.float64), file[f"b{i}"].astype(np.float64)) for i in range(len(HIDDEN) + 1)]
        mean, sd = file["mean"], file["sd"]
        weight, bias = layers[0]
        layers[0] = (weight / sd[:, None], bias - (mean / sd) @ weight)
        weight, bias = layers[-1]
        layers[-1] = (np.hstack([np.zeros_like(weight), weight]), np.append(np.zeros_like(bias), bias))
        for linear, (weight, bias) in zip(list(module)[::2], layers, strict=True):  # type: ignore[call-overload]
            linear.weight.copy_(torch.from_numpy(weight.T))
            linear.bias.copy_(torch.from_numpy(bias))
    return Network(module, shape, prepare, ("no", "yes"))


def point(features: Features, inputs: Inputs, network: Network, effort: str) -> dict[str, float]:
    """What the rows cost with a network, per counterfactual: the least CPU of the repeats; the rest does not vary."""
    assert inputs.sample is not None
    generator, cpu = generator_of(effort), np.inf
    for _ in range(REPEATS):
        scorer = Scorer(network, inputs.schema, inputs.decision)
        ctx = Context(replace(inputs, model=scorer), np.random.default_rng(0))
        begun = time.process_time()
        found = generator.generate(ctx, inputs.sample.table, np.zeros(len(inputs.sample), dtype=np.int64))
        cpu = min(cpu, time.process_time() - begun)
    x = inputs.sample.table.codes[found.row]
    costs = sizes(features, x, found.codes).sum(axis=1) + generator.per_change * (x != found.codes).sum(axis=1)
    n = max(len(found.row), 1)
    return {"found": len(found.row), "model_rows": scorer.rows / n, "cpu_ms": 1000 * cpu / n, "cost": costs.mean()}


def compare(cache: Path, data: str, n: int, folder: Path) -> list[dict[str, Any]]:
    """One task: both efforts, with the gradient and without."""
    task = Task.read(cache / "tasks" / f"{data}.npz")
    path = model_path(cache, data, "mlp")
    if not path.exists():
        path = folder / f"{data}.npz"
        fit(task, "mlp", path)
    served, network = load(task, "mlp", path, 1), network_of(task, path)
    blind = replace(network, capabilities=frozenset({"predict"}))
    p = network.probabilities(task.X)[:, 1]
    assert np.abs(p - served(task.X)).max() < 1e-3, "the network is not the model"
    denied = np.random.default_rng(0).permutation(np.flatnonzero(p < 0.5))[:n]
    inputs = inputs_of(task, served, task.X[denied], table_of(schema_of(task), task.X[task.train], "t"))
    return [
        {"data": data, "d": len(task.features), "rows": len(denied), "effort": effort}
        | {
            "with": point(task.features, inputs, network, effort),
            "without": point(task.features, inputs, blind, effort),
        }
        for effort in ("fast", "quality")
    ]


def main() -> None:
    """Compares every task."""
    cell = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    loads = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory() as folder:
        points = [p for data, n in ASKED for p in compare(Path(cell["cache"]), data, n, Path(folder))]
    loads.append(os.getloadavg()[0])
    Path(sys.argv[2]).write_text(json.dumps({"points": points, "load": loads}), encoding="utf-8")


if __name__ == "__main__":
    main()
