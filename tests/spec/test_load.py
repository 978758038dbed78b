"""Reading a spec: values, lines, overrides, versions."""

import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from audit.core.errors import SpecError
from audit.spec.document import read_document, read_scalar
from audit.spec.load import load_spec
from audit.spec.migrations import MIGRATIONS, migrate
from audit.spec.model import SPEC_VERSION

pytestmark = pytest.mark.usefixtures("toys")


def test_the_spec_of_the_design_is_read_as_it_is_written(load, example):
    spec = load(example).spec
    assert spec.audit.as_of == date(2026, 11, 1)
    assert spec.model.features == ("age", "sex", "amount", "duration", "savings", "existing_credits", "housing")
    assert spec.model.decision.at_least == 0.5
    assert spec.data.target.favourable == ("good",)
    assert spec.mutability.features["amount"].approved == date(2026, 3, 1)
    assert spec.mutability.features["savings"].order == ("<100", "100-500", "500-1000", ">1000")
    assert spec.regions[1].around == 17
    assert spec.counterfactuals["recourse"].effort == "fast"
    assert spec.counterfactuals["recourse"].for_ == "unfavourable"
    assert [method.task_id for method in spec.methods][1] == "flex"
    assert spec.gates[1].gap_at_most == 0.05
    assert spec.report.opinion.word == "qualified"
    assert (spec.run.seed, spec.run.workers, spec.run.part_rows) == (7, 2, 1000)


def test_what_is_left_out_has_the_defaults_of_the_design(load):
    spec = load(
        "spec_version: 1\naudit: {id: a, title: b}\nmodel: {kind: sklearn, path: m}\n"
        "data: {evaluate: e.csv}\nmethods: [{kind: performance}]\n"
    ).spec
    assert spec.mutability.default == "immutable"
    assert (spec.data.sample.rows, spec.data.sample.stratify) == (300, "decision")
    assert spec.data.score_tolerance == 1e-6
    assert (spec.run.seed, spec.run.workers, spec.run.part_rows) == (0, 1, 1000)
    assert spec.report.formats == ("html", "pdf")
    assert spec.report.opinion is None
    assert spec.audit.as_of is None


def test_union_of_one_member(load, example):
    """There is one adapter only among the toys, and it is chosen and checked like one of many."""
    assert load(example).spec.model.kind == "sklearn"
    with pytest.raises(SpecError, match="there are sklearn"):
        load(example.replace("kind: sklearn", "kind: other"))


def test_lines(load, example):
    loaded = load(example)
    assert loaded.at() == "spec.yaml:1"
    assert loaded.at("model", "path") == "spec.yaml:5"
    assert loaded.at("mutability", "features", "savings", "order", 2) == "spec.yaml:22"
    assert loaded.at("methods", 3) == "spec.yaml:34"
    assert loaded.at("methods", 3, "id") == "spec.yaml:34", "the nearest parent where the key is absent"
    assert loaded.at("data", "columns", "amount") == "spec.yaml:9"
    assert loaded.at("nowhere") == "spec.yaml:1"
    assert loaded.file("model.skops") == loaded.path.parent / "model.skops"


def test_overrides(load, example):
    loaded = load(
        example, "run.seed=8", "methods.flex.min_change=1e-3", "methods.reasons.top=2", "data.train=null",
        "mutability.features.age={change: increase, max: 70}", "regions.young applicants.where=age < 30",
        "audit.as_of=2027-01-02", "report.opinion=null",
    )  # fmt: skip
    spec = loaded.spec
    assert spec.run.seed == 8
    assert spec.methods[1].min_change == 0.001
    assert spec.methods[4].top == 2
    assert spec.data.train is None
    assert spec.mutability.features["age"].max == 70
    assert spec.regions[0].where == "age < 30"
    assert spec.audit.as_of == date(2027, 1, 2)
    assert loaded.at("run", "seed") == "--set run.seed=8"
    assert loaded.at("mutability", "features", "age", "max").startswith("--set mutability.features.age=")
    assert loaded.text == example


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("run.seed", "write it as key=value"),
        ("=3", "write it as key=value"),
        ("run..seed=3", "write it as key=value"),
        ("run.sede=3", "run.sede: unknown key; did you mean 'seed'?"),
        ("run.seed=x", "run.seed: found the text 'x'; allowed: a whole number"),
        ("run.seed=[", "not YAML"),
        ("run.seed=!!python/name:os.system x", "tag"),
        ("methods.flx.top=3", "did you mean 'flex'?"),
        ("methods.9.top=3", "unknown key '9'"),
        ("run.seed.deeper=3", "unknown key 'deeper'"),
        ("mutability.features.agee.change=any", "did you mean 'age'?"),
        ("spec_version=3", "spec_version"),
        ("counterfactuals.flips.search=exact", "not in this version"),
    ],
)
def test_wrong_overrides_name_themselves(load, example, override, expected):
    with pytest.raises(SpecError) as caught:
        load(example, override)
    assert [p for p in caught.value.problems if p.startswith(f"--set {override}: ") and expected in p], caught.value


def test_scalars_are_those_of_yaml_1_2():
    assert read_scalar("no") == "no"
    assert read_scalar("on") == "on"
    assert read_scalar("1e-6") == 1e-6
    assert read_scalar("1_000") == "1_000"
    assert read_scalar("12:30") == "12:30"
    assert read_scalar("010") == 10
    assert read_scalar("2026-11-01") == "2026-11-01"
    assert read_scalar("~") is None
    assert read_scalar("") is None
    assert read_scalar("'3'") == "3"
    assert read_scalar("True") is True
    assert read_scalar("[1, 2.5, a]") == [1, 2.5, "a"]


def test_a_number_of_many_digits_is_no_crash():
    with pytest.raises(ValueError, match="no finite number"):
        read_scalar("9" * 5000)


def test_keys_are_text_and_anchors_are_written_out():
    document = read_document(b"a: &x {1: b, true: c}\nd: *x\n", "spec.yaml")
    assert document.data == {"a": {"1": "b", "true": "c"}, "d": {"1": "b", "true": "c"}}
    assert document.lines[("d", "1")] == 1


def test_a_file_with_windows_line_ends_and_a_mark_is_read(load, example):
    loaded = load(b"\xef\xbb\xbf" + example.replace("\n", "\r\n").encode())
    assert loaded.at("run", "seed") == "spec.yaml:41"


VERSION_0 = """\
spec_version: 0
audit: {id: a, title: b}
model: {kind: sklearn, path: m.skops, threshold: 0.6}
data: {evaluate: e.csv, target: {column: y, favourable: [good]}}
methods: [{kind: performance}]
seed: 5
"""


def test_version_0_is_migrated(load):
    loaded = load(VERSION_0)
    assert loaded.spec.spec_version == SPEC_VERSION
    assert loaded.spec.model.decision.at_least == 0.6
    assert loaded.spec.run.seed == 5
    assert loaded.text == VERSION_0


def test_migration_never_drops_a_value(load):
    with pytest.raises(SpecError) as caught:
        load(VERSION_0 + "run: {seed: 6}\n")
    assert caught.value.problems == ("spec.yaml:6: seed: unknown key here; it belongs to `run`",)


def test_migration_leaves_its_input_alone():
    old = {"spec_version": 0, "seed": 3, "model": {"threshold": 0.4}}
    assert migrate(old, "x:1")["run"] == {"seed": 3}
    assert old == {"spec_version": 0, "seed": 3, "model": {"threshold": 0.4}}
    assert set(MIGRATIONS) == set(range(SPEC_VERSION)), "one step from each older version"


def test_mistakes_of_an_old_spec_still_have_their_line(load):
    with pytest.raises(SpecError) as caught:
        load(VERSION_0.replace("threshold: 0.6", "threshold: x"))
    (problem,) = caught.value.problems
    assert problem.startswith("spec.yaml:3: model.decision.at_least: ")


IMPORTS = """
import sys
import audit.cli.main, audit.spec.load, audit.spec.compile, audit.spec.facts, audit.spec.schema, audit.cli.validate
import audit.cli.schema, audit.cli.explain, audit.cli.list_kinds, audit.cli.init
heavy = {"sklearn", "scipy", "shap", "torch", "matplotlib", "jinja2", "weasyprint", "skops"}
members = ("audit.methods", "audit.search", "audit.models")
print(sorted(heavy & set(sys.modules)), [name for name in sys.modules if name.startswith(members)])
"""


def test_importing_the_spec_imports_neither_methods_nor_heavy_libraries():
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] []"


def test_loading_a_spec_imports_no_heavy_library():
    spec = Path(__file__).parents[2] / "specs" / "smallest.yaml"
    code = (
        "import sys, pathlib; from audit.spec.load import load_spec; load_spec(pathlib.Path(sys.argv[1]));"
        "print(sorted({'sklearn', 'scipy', 'shap', 'torch', 'matplotlib', 'jinja2', 'skops'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(spec)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_relative_path_names_the_file_only(tmp_path, monkeypatch, example):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "my.yaml").write_text(example.replace("seed: 7", "seed: x"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match=r"^my\.yaml:41: run\.seed"):
        load_spec(Path("deep/my.yaml"))
