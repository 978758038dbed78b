"""Same spec, same bytes, for audits with pictures and with a remedy, and whatever order the parts are done in."""

import json
import os
import queue
import random
import shutil
import threading
from concurrent.futures import Future

import credit_case
import numpy as np
import pytest
import yaml

from audit.bundle import Bundle
from audit.core.model import Allow
from audit.engine.execute import run_part
from audit.engine.load import load_inputs
from audit.engine.progress import Quiet
from audit.engine.provenance import package_version
from audit.engine.run import Options, compute
from audit.engine.schedule import Schedule
from audit.spec.compile import compile_plan
from audit.spec.load import load_spec

ACCEPT = bool(os.environ.get("AUDIT_ACCEPT"))
FORMATS = ["html", "pdf"] if ACCEPT else ["html"]
CELLS = [("UTC", "0", 1), ("Pacific/Auckland", "1", 2)] + ([("Asia/Kolkata", "4711", 4)] if ACCEPT else [])
TREE = ("--trust", "sklearn.tree._tree.Tree")
SPEC = credit_case.SPEC | {"methods": [{"kind": "performance"}, {"kind": "flex", "from": "flips"}]}


@pytest.mark.parametrize("seed", range(20 if ACCEPT else 1))
def test_the_order_in_which_parts_are_done_changes_no_byte(tmp_path, seed):
    spec = credit_case.make(tmp_path / "case", n=120, spec=SPEC | {"run": {"seed": 3, "part_rows": 7}})
    loaded = load_spec(spec)
    loading = load_inputs(loaded, Allow())
    plan = compile_plan(loaded.spec, loading.contents, package_version)
    wanted = {task.id for task in plan.tasks}
    straight = Bundle(tmp_path / "straight")
    compute(straight, loaded, loading, plan, wanted, Options(), Quiet())
    shuffled = Bundle(shutil.copytree(tmp_path / "straight", tmp_path / "shuffled"))
    shuffled.prune({plan["sample"].key})
    order = Shuffled(random.Random(seed))
    Schedule(plan, loading.inputs, shuffled, Quiet(), order.submit).run(wanted)
    order.stop()
    assert order.moved > 3
    assert credit_case.contents(shuffled.root) == credit_case.contents(straight.root)


class Shuffled:
    """Computes parts in a thread, in an order that has nothing to do with that of their submission."""

    def __init__(self, rng):
        self.rng, self.waiting, self.moved = rng, queue.SimpleQueue(), 0
        self.thread = threading.Thread(target=self._work)
        self.thread.start()

    def submit(self, task, part, inputs):
        future = Future()
        self.waiting.put((future, task, part, inputs))
        return future

    def stop(self):
        self.waiting.put(None)
        self.thread.join()

    def _work(self):
        held = []
        while (job := self.waiting.get()) is not None:
            held.append(job)
            while not self.waiting.empty() and self.waiting.qsize() and (more := self.waiting.get()) is not None:
                held.append(more)
            self.rng.shuffle(held)
            self.moved += len(held) - 1
            for future, task, part, inputs in held:
                future.set_result(run_part(task, part, inputs, lambda done, total: None))
            held = []


def same(tmp_path, make, figure, what, *words):
    """Runs what `make` writes in every cell, each in a folder of its own, and compares the bundles.

    It is written once and copied: skops names the parts of a model by addresses, so a second file has other bytes.
    """
    made, found = make(tmp_path / "made"), []
    for number, (zone, seed, workers) in enumerate(CELLS):
        spec = shutil.copytree(made.parent, tmp_path / f"folder {number}") / made.name
        out = tmp_path / f"out-{number}"
        done = credit_case.command(
            "run", spec, "-o", out, "-q", "--workers", workers, *words, TZ=zone, PYTHONHASHSEED=seed
        )
        assert done.returncode in {0, 1}, done.stderr
        found.append(credit_case.contents(out))
    for other in found[1:]:
        assert sorted(other) == sorted(found[0])
        assert [name for name in other if other[name] != found[0][name]] == []
    figure(f"byte-identical bundles, {what}", len(found), ", ".join(FORMATS))
    return found[0]


def test_an_audit_of_pictures_gives_the_same_bytes(tmp_path, figure):
    pytest.importorskip("torch", reason="torch is an optional package")
    from safetensors.torch import save_file

    from audit.core.convolution import Cnn

    weights = Cnn(widths=(4, 4)).build(1, 2, 1).state_dict()

    def make(folder):
        folder.mkdir()
        rng = np.random.default_rng(0)
        images, labels = rng.integers(0, 255, (60, 8, 8), dtype=np.uint8), np.where(np.arange(60) % 2, "a", "b")
        np.savez(folder / "train.npz", images=images[:30], labels=labels[:30])
        np.savez(folder / "evaluate.npz", images=images[30:], labels=labels[30:])
        save_file(weights, folder / "m.safetensors")
        architecture = {"widths": [4, 4]}
        spec = {
            "spec_version": 1,
            "audit": {"id": "squares", "title": "Squares", "as_of": "2026-11-01"},
            "model": {"kind": "image_network", "path": "m.safetensors", "channels": 1, "classes": ["a", "b"],
                      "architecture": architecture},
            "data": {"train": "train.npz", "evaluate": "evaluate.npz", "target": {"column": "label"},
                     "images": {"channels": "grey"}, "sample": {"rows": 20}},
            "methods": [{"kind": "performance"}, {"kind": "saliency_partition"}],
            "report": {"formats": FORMATS},
            "run": {"seed": 3, "part_rows": 7},
        }  # fmt: skip
        (folder / "spec.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
        return folder / "spec.yaml"

    found = same(tmp_path, make, figure, "pictures")
    assert b"data:image/png;base64," in found["report.html"], "a report of pictures shows some"


@pytest.mark.skipif(not ACCEPT, reason="trains networks, in make accept only")
def test_an_audit_of_a_remedied_model_gives_the_same_bytes(tmp_path, figure):
    pytest.importorskip("torch", reason="torch is an optional package")
    remedy = {
        "kind": "counterfactual_training", "id": "ct", "seeds": 2, "training": {"epochs": 12}, "compare": [],
        "attribution_rounds": 2,
    }  # fmt: skip
    spec = SPEC | {"remedies": [remedy], "report": {"formats": FORMATS}}
    same(tmp_path, lambda folder: credit_case.make(folder, spec=spec), figure, "with a remedy")


@pytest.mark.skipif(not ACCEPT, reason="every method on a forest, three times, in make accept only")
def test_an_audit_of_a_forest_with_every_search_gives_the_same_bytes_and_numbers(tmp_path, figure):
    from sklearn.ensemble import RandomForestClassifier

    searches = {
        "flips": {"search": "nearest", "per_row": 4, "for": "each", "constraints": "domain"},
        "recourse": {"search": "cheapest", "per_row": 2, "for": "unfavourable", "constraints": "policy"},
        "drawn": {"search": "random", "per_row": 2, "for": "each", "constraints": "domain"},
        "proved": {"search": "exact", "for": "unfavourable", "constraints": "policy"},
    }
    kinds = [
        {"kind": "performance"}, {"kind": "data"}, {"kind": "flex", "from": "flips"}, {"kind": "shap", "rows": 20},
        {"kind": "agreement", "of": ["flex", "shap"]}, {"kind": "reasons", "from": "flips"},
        {"kind": "recourse", "from": "recourse"}, {"kind": "search_gap", "from": "recourse", "proof": "proved"},
        {"kind": "plausibility", "from": "recourse"}, {"kind": "fairness"}, {"kind": "robustness"},
        {"kind": "regions_found", "on": "flex"},
    ]  # fmt: skip
    forest = RandomForestClassifier(20, max_depth=4, random_state=0)
    spec = SPEC | {"counterfactuals": searches, "methods": kinds, "report": {"formats": FORMATS}}
    same(tmp_path, lambda folder: credit_case.make(folder, spec=spec, classifier=forest), figure, "a forest", *TREE)
    told = computed_again(tmp_path / "out-0", tmp_path / "made", "--trust-type", TREE[1])
    figure("numbers computed again, a forest", told["equal"], f"equal; {told['within_tolerance']} within the tolerance")


@pytest.mark.skipif(not ACCEPT, reason="each worked example three times, in make accept only")
@pytest.mark.parametrize("name", ["german_credit", "breast_cancer"])
def test_a_worked_example_gives_the_same_bytes(tmp_path, figure, name):
    def make(folder):
        assert credit_case.command("init", folder, "--example", name).returncode == 0
        return folder / "spec.yaml"

    same(tmp_path, make, figure, name)


@pytest.mark.skipif(not ACCEPT, reason="computes each worked example again, in make accept only")
@pytest.mark.parametrize("name", ["german_credit", "breast_cancer", "digits", "remedy"])
def test_a_worked_example_is_computed_again_with_equal_numbers(request, figure, name):
    example = request.getfixturevalue(name)
    told = computed_again(example.out, example.folder)
    figure(f"numbers computed again, {name}", told["equal"], f"equal; {told['within_tolerance']} within the tolerance")


def computed_again(bundle, place, *words):
    """What `verify --rerun` says of the numbers of a bundle, all of which must agree."""
    done = credit_case.command("verify", "--quick", bundle, "--rerun", place, "--json", "--workers", 2, *words)
    told = json.loads(done.stdout)
    assert (done.returncode, told["problems"], told["rerun"]["different"]) == (0, [], 0), done.stderr
    assert told["rerun"]["equal"] > 100
    return told["rerun"]
