"""A package that adds a method, a search and an adapter takes part everywhere, without a change elsewhere."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

KINDS = {"methods": "base_rate", "search": "copycat", "models": "points"}


@pytest.fixture(scope="module")
def site(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the plug-in installed from its source, as pip lays it out."""
    target = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source") / "plugin"
    # A copy, because a build writes beside its source.
    shutil.copytree(root / "tests" / "plugin", source)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*pip, "--target", str(target), str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


def python(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": paths},
    )


def answer(site: Path, code: str) -> str:
    done = python(site, "-c", code)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_found_through_the_same_door_as_the_built_in_ones(site: Path) -> None:
    code = """
import json
from audit.core.method import GENERATORS, METHODS
from audit.core.model import ADAPTERS
print(json.dumps({r.package: sorted(r.classes()) for r in (METHODS, GENERATORS, ADAPTERS)}))
"""
    found = json.loads(answer(site, code))
    for package, kind in KINDS.items():
        assert kind in found[f"audit.{package}"]
    assert "nearest" in found["audit.search"]


def test_it_is_in_the_schema_and_in_validation(site: Path) -> None:
    code = "import json; from audit.spec.schema import spec_schema; print(json.dumps(spec_schema()))"
    schema = json.loads(answer(site, code))
    for name, keys in {"BaseRate": {"by"}, "Copycat": {"tries"}, "PointsAdapter": {"points", "start"}}.items():
        assert keys <= set(schema["$defs"][name]["properties"])
    without = json.loads(answer(site, code.replace("spec_schema()", "spec_schema(built_in=True)")))
    assert not {"BaseRate", "Copycat", "PointsAdapter"} & set(without["$defs"])


def test_it_passes_the_conformance_suite(site: Path) -> None:
    code = """
import pandas as pd
from audit.core.method import GENERATORS, METHODS
from audit.core.model import ADAPTERS, Allow, Source
from audit.testing import check_adapter, check_generator, check_method
check_generator(GENERATORS.classes()["copycat"])
print(check_method(METHODS.classes()["base_rate"], by="housing").tables["base_rate"]["n"].sum())
frame = pd.DataFrame({"a": [0.0, 1.0, -2.0]})
adapter = ADAPTERS.classes()["points"](start=-0.5)
print(check_adapter(adapter, Source(None, ".", Allow(), frame, ("yes",)), frame).classes)
"""
    assert "('no', 'yes')" in answer(site, code)


SPEC = {
    "spec_version": 1,
    "audit": {"id": "plugin", "title": "An audit by a plug-in", "as_of": "2026-11-01"},
    "model": {"kind": "points", "points": {"a": 1.0, "b": -0.5}, "start": -1.0, "features": ["a", "b"]},
    "data": {
        "evaluate": "rows.csv", "id": "id", "target": {"column": "y", "favourable": ["yes"]}, "sample": {"rows": 30},
    },
    "mutability": {"default": "immutable", "features": {"a": {"change": "increase"}}},
    "counterfactuals": {"flips": {"search": "copycat", "per_row": 2, "tries": 40}},
    "methods": [{"kind": "base_rate"}, {"kind": "flex", "from": "flips"}],
    "gates": [],
    "report": {"formats": ["html"]},
    "run": {"seed": 1, "workers": 1, "part_rows": 20},
}  # fmt: skip


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audit")
    rows = pd.DataFrame({"id": range(40), "a": [i % 7 / 2 for i in range(40)], "b": [i % 5 for i in range(40)]})
    rows["y"] = ["yes" if a - b / 2 > 1 else "no" for a, b in zip(rows["a"], rows["b"], strict=True)]
    rows.to_csv(folder / "rows.csv", index=False)
    (folder / "spec.yaml").write_text(yaml.safe_dump(SPEC, sort_keys=False), encoding="utf-8")
    return folder / "spec.yaml"


def test_a_whole_audit_uses_it(site: Path, spec: Path) -> None:
    out = spec.parent / "out"
    done = python(site, "-m", "audit", "run", str(spec), "-o", str(out), "-q")
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((out / "results.json").read_text("utf-8"))
    evidence = {record["id"]: record for record in results["evidence"]}
    assert evidence["base_rate"]["status"] == "ok"
    assert evidence["counterfactuals.flips"]["kind"] == "copycat"
    metrics = {m["name"]: m["value"] for m in evidence["counterfactuals.flips"]["metrics"]}
    assert metrics["violations"] == 0
    assert metrics["counterfactuals"] > 0
    (table,) = [t for t in evidence["base_rate"]["tables"] if t["name"] == "base_rate"]
    rates = pd.read_parquet(out / table["path"])
    assert rates["share"].sum() == pytest.approx(1)
    assert "Base rate" in (out / "report.html").read_text("utf-8")


def test_a_frozen_run_is_held_to_its_code(site: Path, spec: Path, tmp_path: Path) -> None:
    """A lock names the package with the digest of its code; another line in it is refused before it is used."""
    ours = Path(shutil.copytree(site, tmp_path / "site"))
    here = Path(shutil.copytree(spec.parent, tmp_path / "audit", ignore=shutil.ignore_patterns("out"))) / spec.name
    assert python(ours, "-m", "audit", "lock", str(here)).returncode == 0
    lock = json.loads(here.with_suffix(".lock").read_text("utf-8"))
    assert list(lock["plugins"]) == ["audit-plugin-example"]
    assert lock["plugins"]["audit-plugin-example"]["version"] == lock["packages"]["audit-plugin-example"]
    held = python(ours, "-m", "audit", "validate", "--frozen", str(here))
    assert held.returncode == 0, held.stdout + held.stderr
    method = ours / "audit_plugin_example" / "base_rate.py"
    method.write_text(method.read_text("utf-8") + "\n# another line\n", encoding="utf-8")
    for words in (("validate", "--frozen", str(here)), ("run", "--frozen", str(here), "-o", str(tmp_path / "out"))):
        refused = python(ours, "-m", "audit", *words)
        said = refused.stdout + refused.stderr
        assert refused.returncode == 2, said
        assert "spec.lock: plug-in audit-plugin-example: locked 1.0.0 (" in said, said
        assert "install the locked one" in said
    assert not (tmp_path / "out").exists()


def test_its_kinds_are_offered_and_unknown_keys_are_refused(site: Path, spec: Path) -> None:
    listed = python(site, "-m", "audit", "list")
    assert listed.returncode == 0
    for kind in KINDS.values():
        assert kind in listed.stdout
    wrong = spec.parent / "wrong.yaml"
    wrong.write_text(spec.read_text("utf-8").replace("tries:", "trys:"), encoding="utf-8")
    done = python(site, "-m", "audit", "validate", str(wrong))
    assert done.returncode == 2
    assert "tries" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_without_it_the_spec_is_refused_and_says_what_there_is(spec: Path, tmp_path: Path) -> None:
    done = python(tmp_path, "-m", "audit", "validate", str(spec))
    assert done.returncode == 2
    assert "copycat" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_broken_plug_in_is_named_by_its_distribution(tmp_path: Path, spec: Path) -> None:
    info = tmp_path / "broken_thing-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-thing\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[audit.methods]\nodd = broken_thing:Odd\n", encoding="utf-8")
    (tmp_path / "broken_thing.py").write_text("import a_module_that_is_not_there\n", encoding="utf-8")
    done = python(tmp_path, "-m", "audit", "validate", str(spec))
    said = done.stdout + done.stderr
    assert done.returncode == 2
    assert "plug-in broken-thing" in said
    assert "a_module_that_is_not_there" in said
    assert "Traceback" not in said


def test_two_classes_of_one_kind_are_an_error(tmp_path: Path, spec: Path) -> None:
    info = tmp_path / "twin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: twin\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[audit.search]\nnearest = twin:Nearest\n", encoding="utf-8")
    (tmp_path / "twin.py").write_text(
        "from typing import Literal\nfrom audit.core.method import Generator\n"
        "class Nearest(Generator):\n    search: Literal['nearest'] = 'nearest'\n",
        encoding="utf-8",
    )
    done = python(tmp_path, "-m", "audit", "validate", str(spec))
    said = done.stdout + done.stderr
    assert done.returncode == 2
    assert "twin" in said
    assert "nearest" in said
    assert "Traceback" not in said
