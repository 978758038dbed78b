"""Whole audits of one network in files of three kinds: the same counterfactuals, the same ranking.

The random numbers of a search depend on the digest of the model, so only searches without them can be compared here;
those with random starts are compared in `test_torch_programs.py`.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import save_file
from torch_case import exported, people, scripted

from audit.core.evidence import Evidence
from audit.engine.run import Options, run
from audit.testing import toy_network, toy_table

SPEC = """
spec_version: 1
audit: {id: torch, title: A network, owner: Model Risk, purpose: A test, as_of: 2026-11-01}
model: MODEL
data: {train: train.csv, evaluate: people.csv, target: {column: paid, favourable: ["yes"]}, sample: {rows: 60}}
mutability:
  features:
    amount: {change: increase, why: test, owner: test, approved: 2026-01-01}
    home: {change: any, why: test, owner: test, approved: 2026-01-01}
counterfactuals:
  typical: {search: ecco, for: unfavourable, constraints: policy}
  flips: {search: generic, per_row: 1}
methods: [METHODS]
report: {formats: [html]}
run: {workers: WORKERS}
"""
WEIGHTS = "architecture: {hidden: [], activation: relu}, "


def audited(folder: Path, file: str, more: str = "", workers: int = 1) -> tuple[dict[str, Evidence], Path]:
    """The evidence of an audit of the network in this file by its id, and the bundle."""
    for name, n, seed in (("people", 60, 5), ("train", 200, 6)):
        frame = people(n, seed)
        frame.assign(paid=np.where(frame["amount"] > 1000, "yes", "no")).to_csv(folder / f"{name}.csv", index=False)
    model = f"{{kind: torch, path: {file}, {more}preprocessing: standardise, features: [age, amount, home], "
    training = "" if file.endswith("safetensors") else ", {kind: counterfactual_training, start: given}"
    spec = SPEC.replace("MODEL", model + 'classes: ["no", "yes"]}').replace("WORKERS", str(workers))
    spec = spec.replace("METHODS", "{kind: flex, from: flips}" + training)
    (folder / "spec.yaml").write_text(spec, encoding="utf-8")
    out = folder / f"out-{file}-{workers}"
    return {record.id: record for record in run(folder / "spec.yaml", out, Options()).evidence}, out


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audits")
    net = toy_network(toy_table(people(200, 6)), {"amount": 0.004, "age": 0.02, "home": {"own": 1.0}}, -5.3).module
    save_file(net.state_dict(), folder / "net.safetensors")
    (folder / "net.pt2").write_bytes(exported(net))
    (folder / "net.ts").write_bytes(scripted(net))
    return folder


@pytest.fixture(scope="module")
def expected(folder: Path) -> tuple[dict[str, Evidence], Path]:
    """The audit of the weights."""
    return audited(folder, "net.safetensors", WEIGHTS)


FILES = [("net.pt2", 1), *([("net.ts", 1), ("net.pt2", 2)] if os.environ.get("AUDIT_ACCEPT") else [])]


@pytest.fixture(scope="module", params=FILES, ids=str)
def program(folder: Path, request: pytest.FixtureRequest) -> tuple[dict[str, Evidence], Path]:
    """The audit of the same network as a program."""
    file, workers = request.param
    return audited(folder, file, workers=workers)


def test_a_program_has_the_counterfactuals_of_its_twin(
    expected: tuple[dict[str, Evidence], Path], program: tuple[dict[str, Evidence], Path]
) -> None:
    (theirs, left), (ours, right) = expected, program
    compared = 0
    for name in ("counterfactuals.typical", "counterfactuals.flips"):
        assert ours[name].status == theirs[name].status == "ok", ours[name].message
        for a, b in zip(theirs[name].tables, ours[name].tables, strict=True):
            assert a.name == b.name
            first, second = pd.read_parquet(left / a.path), pd.read_parquet(right / b.path)
            pd.testing.assert_frame_equal(first, second, rtol=0, atol=1e-6)
            compared += len(first)
    assert compared > 50
    ranks = [
        pd.read_parquet(out / next(t.path for t in found["flex"].tables if t.name == "flex_global"))
        for found, out in (expected, program)
    ]
    pd.testing.assert_frame_equal(*(table[["feature", "frequency"]] for table in ranks), rtol=0, atol=1e-12)
    coverage = {m.name: m.value for m in ours["counterfactuals.typical"].metrics}["coverage"]
    assert coverage == 1.0


def test_a_program_is_not_trained_and_the_audit_says_what_to_give(
    program: tuple[dict[str, Evidence], Path],
) -> None:
    record = program[0]["counterfactual_training"]
    assert record.status == "refused"
    assert "can be asked, not trained: give their weights as safetensors with `architecture`" in record.message
