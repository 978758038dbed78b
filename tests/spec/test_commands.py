"""validate, schema, explain, list and init, as they are called."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner
from test_starters import dead_keys

from audit.cli import explain, init, list_kinds, schema, validate
from audit.core.errors import SpecError
from audit.core.method import GENERATORS, METHODS
from audit.core.model import ADAPTERS
from audit.resources import folder
from audit.spec.load import load_spec

EXAMPLES = folder("examples")


def call(command, *arguments):
    """What the command prints; what it raises."""
    result = CliRunner().invoke(command, [str(a) for a in arguments], standalone_mode=False, catch_exceptions=False)
    assert result.return_value in {0, None}
    return result.output


def test_list_names_what_is_installed():
    output = call(list_kinds.command)
    for registry in (METHODS, GENERATORS, ADAPTERS):
        for kind in registry.classes():
            assert f"  {kind} " in output
    assert "  nearest " not in call(list_kinds.command, "methods"), "a search is no method"
    rows = json.loads(call(list_kinds.command, "searches", "--json"))
    assert [row["kind"] for row in rows] == list(GENERATORS.classes())
    assert rows[0]["from"] == "audit"


@pytest.mark.parametrize("registry", [METHODS, GENERATORS, ADAPTERS], ids=lambda r: r.noun)
def test_explain_names_every_setting(registry):
    for kind, cls in registry.classes().items():
        output = call(explain.command, kind)
        for name, field in cls.model_fields.items():
            assert f"  {field.alias or name}: " in output
        assert "Attributes:" not in output


def test_explain_tells_of_a_method_what_its_words_tell():
    output = call(explain.command, "flex")
    words = yaml.safe_load((folder("templates") / "words" / "flex.yaml").read_text(encoding="utf-8"))
    assert words["title"] in output
    assert " ".join(words["purpose"].split())[:60] in " ".join(output.split())
    assert "from: a text; required" in output
    assert "flex_global" in output


def test_explain_a_section_and_what_is_unknown():
    assert "score_tolerance: a number above 0; default 1e-06" in call(explain.command, "data")
    assert "change:" not in call(explain.command, "mutability").split("Settings:")[0]
    with pytest.raises(SpecError, match="did you mean 'nearest'"):
        call(explain.command, "nearst")


def test_schema_to_a_file(tmp_path):
    assert call(schema.command, "-o", tmp_path / "s.json") == ""
    assert json.loads((tmp_path / "s.json").read_text()) == json.loads(call(schema.command))


def test_validate_the_smallest_example_with_its_data():
    spec = EXAMPLES / "breast_cancer" / "spec.yaml"
    assert call(validate.command, spec) == "spec.yaml: valid; data and model fit it\n"
    assert "not looked at (--spec-only)" in call(validate.command, spec, "--spec-only")
    found = json.loads(call(validate.command, spec, "--json"))
    assert (found["valid"], found["data_checked"], found["absent"]) == (True, True, [])


def test_validate_names_the_row_that_breaks_its_own_rule():
    output = call(validate.command, EXAMPLES / "german_credit" / "spec.yaml")
    assert "note: 1 of 300 evaluation rows break the rule amount >= 25 * duration. Ids: 250." in output


def test_validate_without_data(tmp_path):
    (tmp_path / "spec.yaml").write_bytes((folder("specs") / "smallest.yaml").read_bytes())
    output = call(validate.command, tmp_path / "spec.yaml")
    assert "were not looked at (not there: holdout.csv, train.csv, model.skops)" in output
    (tmp_path / "train.csv").write_text("a\n1\n")
    with pytest.raises(SpecError, match=r"spec\.yaml:\d+: data\.evaluate: there is no file 'holdout\.csv'"):
        call(validate.command, tmp_path / "spec.yaml")


def test_init_copies_an_example_that_runs_from_its_folder(tmp_path):
    output = call(init.command, tmp_path / "german", "--example", "german_credit")
    assert "next: audit validate" in output
    assert "data and model fit it" in call(validate.command, tmp_path / "german" / "spec.yaml")
    first = (tmp_path / "german" / "spec.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=spec.schema.json"
    assert json.loads((tmp_path / "german" / "spec.schema.json").read_text(encoding="utf-8"))["title"] == "audit spec"
    for name in ("train.csv", "holdout.csv", "model.skops", "opinion.md"):
        assert (tmp_path / "german" / name).read_bytes() == (EXAMPLES / "german_credit" / name).read_bytes()


def test_init_never_overwrites(tmp_path):
    (tmp_path / "spec.yaml").write_text("mine")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SpecError, match=r"spec\.yaml is already there"):
        call(init.command, tmp_path, "--example", "german_credit")
    assert (tmp_path / "spec.yaml").read_text() == "mine"
    assert sorted(tmp_path.iterdir()) == before, "all or nothing"


SCAFFOLDS = {
    "german_credit": ("holdout.csv", "model.skops", ["--target", "outcome", "--favourable", "good"]),
    "breast_cancer": ("holdout.parquet", "model.skops", []),
}


@pytest.mark.parametrize("name", SCAFFOLDS)
def test_scaffold_for_data_and_a_model(tmp_path, name):
    data, model, more = SCAFFOLDS[name]
    root = EXAMPLES / name
    call(init.command, tmp_path / "mine", "--from", root / data, "--model", root / model, *more)
    spec = tmp_path / "mine" / "spec.yaml"
    assert call(validate.command, spec).endswith("spec.yaml: valid; data and model fit it\n")
    loaded = load_spec(spec).spec
    assert loaded.mutability.default == "immutable"
    assert {rule.change for rule in loaded.mutability.features.values()} == {"immutable"}
    assert list(loaded.mutability.features) == list(loaded.model.features)
    assert (tmp_path / "mine" / data).read_bytes() == (root / data).read_bytes()
    assert dead_keys(spec.read_bytes(), tmp_path) == []


def test_scaffold_for_stored_scores(tmp_path):
    source = EXAMPLES / "german_credit" / "holdout.csv"
    arguments = ["--from", source, "--score", "score_in_system", "--target", "outcome", "--favourable", "good"]
    call(init.command, tmp_path / "scores", *arguments)
    spec = tmp_path / "scores" / "spec.yaml"
    assert "data and model fit it" in call(validate.command, spec)
    loaded = load_spec(spec).spec
    assert (loaded.model.kind, loaded.data.id, loaded.counterfactuals) == ("predictions", "applicant_id", {})
    assert "score_in_system" not in loaded.model.features


def test_scaffold_quotes_names_that_yaml_would_read_otherwise(tmp_path):
    odd = ["no", "a: b", "#c", "1", "with space", "true", "ünïcode", 'quo"te', "- dash", "{x}", "p"]
    frame = pd.DataFrame({name: [0.25, 0.5, 0.75] for name in odd} | {"class": ["yes", "no", "yes"]})
    frame.to_csv(tmp_path / "my data.csv", index=False)
    arguments = ["--score", "p", "--target", "class", "--favourable", "yes"]
    call(init.command, tmp_path / "out", "--from", tmp_path / "my data.csv", *arguments)
    loaded = load_spec(tmp_path / "out" / "spec.yaml").spec
    assert list(loaded.model.features) == odd[:-1]
    assert list(loaded.mutability.features) == odd[:-1]
    assert loaded.data.target.favourable == ("yes",)
    assert "data and model fit it" in call(validate.command, tmp_path / "out" / "spec.yaml")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "give either --example (breast_cancer, digits, dogs, german_credit"),
        (["--example", "german"], "did you mean 'german_credit'?"),
        (["--example", "german_credit", "--target", "x"], "belong to --from"),
        (["--from", "d.csv"], "give either --model FILE"),
        (["--from", "none.csv", "--model", "m.skops"], "--from none.csv: cannot be read"),
        (["--from", "d.csv", "--model", "none.skops"], "--model none.skops: cannot be read"),
        (["--from", "d.csv", "--score", "p"], "name it by --target and --favourable"),
        (["--from", "d.csv", "--score", "p", "--target", "yy", "--favourable", "a"], "unknown column 'yy'"),
        (
            ["--from", "d.csv", "--score", "p", "--target", "y", "--favourable", "zz"],
            "unknown class 'zz'; there are a, b",
        ),
        (["--from", "d.csv", "--score", "pp", "--target", "y", "--favourable", "a"], "unknown column 'pp'"),
        (["--from", "d.txt", "--model", "d.csv"], "use .csv, .csv.gz or .parquet"),
        (["--from", "empty.csv", "--model", "d.csv"], "cannot be read"),
    ],
)
def test_init_that_cannot_be(tmp_path, monkeypatch, arguments, expected):
    monkeypatch.chdir(tmp_path)
    Path("d.csv").write_text("x,y,p\n1,a,0.5\n2,b,0.6\n")
    Path("d.txt").write_text("x\n")
    Path("empty.csv").write_text("")
    with pytest.raises(SpecError) as caught:
        call(init.command, "new", *arguments)
    assert expected in str(caught.value)
    assert len(caught.value.problems) == 1
    assert not Path("new").exists()
