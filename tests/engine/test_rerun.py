"""`audit verify --rerun`: the numbers of a bundle, computed again elsewhere and compared one by one."""

import json
import shutil

import credit_case
import pandas as pd
import pytest

from audit.bundle import Bundle, parquet_bytes, pretty_json
from audit.engine.rerun import Again, compute_again
from audit.engine.run import run

SPEC = credit_case.SPEC | {"methods": [{"kind": "performance"}, {"kind": "flex", "from": "flips"}]}


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A folder with a spec, and the bundle of it."""
    folder = tmp_path_factory.mktemp("rerun")
    run(credit_case.make(folder / "case", n=120, spec=SPEC), folder / "out")
    return folder


@pytest.fixture
def bundle(case, tmp_path):
    return Bundle(shutil.copytree(case / "out", tmp_path / "out"))


def again(bundle, place, *, tolerance=1e-9):
    said = []
    return compute_again(bundle, place, Again(tolerance=tolerance), said.append), said


def test_the_same_files_give_the_same_numbers_and_nothing_is_written(case, bundle, figure):
    before = credit_case.contents(bundle.root)
    found, said = again(bundle, case / "case")
    assert (found.problems, said) == ((), [])
    assert found.evidence == len(bundle.records()) - 1  # the spec is no task
    cells = sum(len(bundle.table(table)) for record in bundle.records() for table in record.tables)
    assert found.comparison.equal > cells
    assert (found.comparison.close, found.comparison.count) == (0, 0)
    assert credit_case.contents(bundle.root) == before
    figure("numbers computed again, all equal", found.comparison.equal, "credit case; 0 within the tolerance")


def forged(bundle, change):
    """Changes a number in evidence and results, as a forger who knows the format."""
    record = next(r for r in bundle.records() if r.id == "performance")
    path = bundle.root / "evidence" / record.key / "evidence.json"
    content = json.loads(path.read_bytes())
    change(content)
    path.write_bytes(pretty_json(content))


def test_a_number_that_was_changed_is_named_with_both_values(case, bundle):
    def change(content):
        metric = next(m for m in content["metrics"] if m["name"] == "accuracy")
        metric["value"] = 0.123

    forged(bundle, change)
    found, _ = again(bundle, case / "case")
    assert found.comparison.count == 1
    (line,) = found.problems
    assert line.startswith("performance: metric accuracy")
    assert "recorded 0.123, computed 0." in line
    assert " of it apart" in line


def test_noise_is_within_the_tolerance_and_more_is_not(case, bundle):
    def change(content):
        metric = next(m for m in content["metrics"] if m["name"] == "accuracy")
        metric["value"] *= 1 + 3e-10

    forged(bundle, change)
    found, _ = again(bundle, case / "case")
    assert (found.comparison.close, found.problems) == (1, ())
    assert "1 within 1e-09 of each other (at most 3.0e-10)" in next(found.lines())
    found, _ = again(bundle, case / "case", tolerance=1e-11)
    assert found.comparison.count == 1


def test_a_cell_of_a_table_is_named(case, bundle):
    record = next(r for r in bundle.records() if r.id == "counterfactuals.flips")
    table = next(t for t in record.tables if t.name == "counterfactuals")
    frame = bundle.table(table)
    frame.loc[4, "distance"] += 0.25
    (bundle.root / table.path).write_bytes(parquet_bytes(frame))
    found, _ = again(bundle, case / "case")
    (one,) = found.comparison.different
    assert (one.evidence, one.where) == (
        "counterfactuals.flips",
        "table counterfactuals, row 5, column distance",
    )
    assert one.recorded - one.found == pytest.approx(0.25)


@pytest.mark.parametrize("name", ["train.csv", "holdout.csv", "model.skops"])
def test_other_inputs_are_named_and_nothing_is_computed(case, bundle, tmp_path, name):
    folder = shutil.copytree(case / "case", tmp_path / "case")
    with (folder / name).open("ab") as file:
        file.write(b"\n")
    found, _ = again(bundle, folder)
    (line,) = found.problems
    assert line.startswith(f"{name}: is not the file that was audited")
    assert line.endswith("nothing was computed")
    assert found.comparison.equal == 0


def test_other_versions_and_another_spec_are_said_first_and_do_not_hinder(case, bundle, tmp_path):
    manifest = json.loads((bundle.root / "manifest.json").read_bytes())
    manifest["packages"]["scipy"], manifest["platform"] = "0.1", "Plan9 vax"
    (bundle.root / "manifest.json").write_bytes(pretty_json(manifest))
    folder = shutil.copytree(case / "case", tmp_path / "case")
    path = folder / "spec.yaml"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:5], "# a remark", *lines[5:]]) + "\n")
    found, said = again(bundle, path)
    assert said[0] == "rerun: spec.yaml is not the spec of the bundle (line 6 on); that of the bundle is computed"
    assert any(line.startswith("rerun: scipy 0.1 there, ") for line in said)
    assert any(line.startswith("rerun: Plan9 vax there, ") for line in said)
    assert found.problems == ()


def test_the_spec_itself_is_not_needed_only_the_files_beside_it(case, bundle, tmp_path):
    folder = shutil.copytree(case / "case", tmp_path / "case")
    (folder / "spec.yaml").unlink()
    found, said = again(bundle, folder)
    assert (found.problems, said) == ((), [])


def test_the_command_says_equal_with_0_and_different_with_4(case, bundle):
    done = credit_case.command("verify", bundle.root, "--rerun", case / "case" / "spec.yaml", "--workers", 2, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["problems"], told["rerun"]["different"]) == ([], 0)
    assert told["rerun"]["equal"] > 100
    record = next(r for r in bundle.records() if r.id == "flex")
    table = next(t for t in record.tables if len(bundle.table(t).select_dtypes("number").columns))
    frame: pd.DataFrame = bundle.table(table)
    name = frame.select_dtypes("float").columns[0]
    frame.loc[0, name] = 7.5
    (bundle.root / table.path).write_bytes(parquet_bytes(frame))
    content = json.loads((bundle.root / "evidence" / record.key / "evidence.json").read_bytes())
    for entry in content["tables"]:
        if entry["path"] == table.path:
            entry["sha256"] = bundle.digests()[table.path]
    (bundle.root / "evidence" / record.key / "evidence.json").write_bytes(pretty_json(content))
    results = bundle.results()
    results["evidence"] = [content if e["id"] == "flex" else e for e in results["evidence"]]
    bundle.write("results.json", pretty_json(results))
    bundle.write_manifest(bundle.manifest())
    assert credit_case.command("render", bundle.root, "--format", "html").returncode == 0
    assert credit_case.command("verify", bundle.root).returncode == 0, "forged whole: only computing it again can tell"
    done = credit_case.command("verify", bundle.root, "--rerun", case / "case")
    assert done.returncode == 4
    assert f"flex: table {table.name}, row 1, column {name}: recorded 7.5, computed " in done.stderr
