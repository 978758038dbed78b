"""From a spec to a plan: what depends on what (peers.md G1, G15)."""

import json
import os
import subprocess
import sys

import pytest
import yaml
from design_spec import EXAMPLE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.core.errors import SpecError
from audit.core.schema import Feature, FeatureSchema
from audit.spec.compile import compile_plan
from audit.spec.facts import spec_facts
from audit.spec.load import load_spec

pytestmark = pytest.mark.usefixtures("toys")

CONTENTS = {"model": "m" * 64, "data": "d" * 64}
SETS = {"counterfactuals.flips", "counterfactuals.recourse"}
SCHEMA = FeatureSchema(
    features=tuple(
        Feature(name=name, kind="numeric", high=1.0)
        for name in ("age", "sex", "amount", "duration", "savings", "existing_credits", "housing")
    )
)


def plan(loaded, contents=CONTENTS):
    return compile_plan(loaded.spec, contents, lambda name: f"{name}-1")


def keys(loaded, contents=CONTENTS):
    return {task.id: task.key for task in plan(loaded, contents).tasks}


def moved(load, example, *replacements):
    """The ids of the tasks whose keys change."""
    text = example
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new, 1)
    before, after = keys(load(example)), keys(load(text))
    return {name for name in before if before[name] != after.get(name)}


def test_the_plan_of_the_design(load, example):
    tasks = {task.id: task for task in plan(load(example)).tasks}
    assert next(iter(tasks)) == "sample"
    assert {i: t.family for i, t in tasks.items() if t.family != "method"} == {
        "sample": "sample", "counterfactuals.flips": "counterfactuals", "counterfactuals.recourse": "counterfactuals"
    }  # fmt: skip
    after = {name: set(task.after()) for name, task in tasks.items()}
    assert after == {
        "sample": set(),
        "counterfactuals.flips": {"sample"},
        "counterfactuals.recourse": {"sample"},
        "performance": {"sample"},
        "flex": {"sample", "counterfactuals.flips"},
        "shap": {"sample"},
        "agreement": {"sample", "flex", "shap"},
        "reasons": {"sample", "counterfactuals.flips"},
        "recourse": {"sample", "counterfactuals.recourse"},
    }
    assert tasks["flex"].reads["from"].content == tasks["counterfactuals.flips"].key
    assert tasks["agreement"].reads["shap"].name == "shap"
    assert tasks["flex"].settings == {"kind": "flex", "from": "flips", "min_change": 0.0, "regions": "all"}
    assert tasks["shap"].uses == {"scikit-learn": "scikit-learn-1", "shap": "shap-1"}
    assert tasks["sample"].settings["sample"] == {"rows": 300, "stratify": "decision"}
    assert [region["name"] for region in tasks["sample"].settings["regions"]] == [
        "young applicants", "like applicant 17"
    ]  # fmt: skip
    assert {task.seed for task in tasks.values()} == {7}
    assert {task.part_rows for task in tasks.values()} == {1000}


def test_each_task_stands_after_those_that_it_reads_in_whatever_order_methods_are_listed(load, example):
    lines = example.splitlines(keepends=True)
    turned = [*lines[:30], *reversed(lines[30:36]), *lines[36:]]
    tasks = plan(load("".join(turned))).tasks
    seen = set()
    for task in tasks:
        assert set(task.after()) <= seen
        seen.add(task.id)
    assert keys(load("".join(turned))) == keys(load(example))


def test_changing_one_rule_changes_the_sets_and_what_reads_them(load, example):
    readers = {"flex", "agreement", "reasons", "recourse"}
    assert moved(load, example, ("min: 250", "min: 251")) == SETS | readers
    assert moved(load, example, ("72 - 2 *", "72 - 3 *")) == SETS | readers
    assert moved(load, example, ("default: immutable", "default: any")) == SETS | readers


def test_who_approved_a_rule_changes_no_number(load, example):
    assert moved(load, example, ("why: negotiable", "why: other"), ("owner: Credit", "owner: New")) == set()
    assert moved(load, example, ("approved: 2026-03-01", "approved: 2026-03-02"), ("unit: DM", "unit: EUR")) == set()


def test_an_order_makes_another_feature_of_it_for_everyone(load, example):
    assert moved(load, example, ('"<100", "100-500"', '"100-500", "<100"')) == set(keys(load(example)))


def test_seed_part_size_sample_and_regions_are_everyones(load, example):
    for change in (
        ("seed: 7", "seed: 8"), ("part_rows: 1000", "part_rows: 999"), ("rows: 300", "rows: 299"),
        ("age < 26", "age < 27"),
    ):  # fmt: skip
        assert moved(load, example, change) == set(keys(load(example)))


def test_what_is_only_shown_or_judged_changes_no_key(load, example):
    for change in (
        ("workers: 2", "workers: 1"), ("title: Retail", "title: Other"), ("at_least: 0.75", "at_least: 0.7"),
        ("word: qualified", "word: adverse"), ("formats: [html, pdf]", "formats: [html]"),
    ):  # fmt: skip
        assert moved(load, example, change) == set()


def test_a_setting_changes_its_task_and_what_reads_it(load, example):
    assert moved(load, example, ("min_change: 0.0", "min_change: 0.1")) == {"flex", "agreement"}
    assert moved(load, example, ("per_row: 3", "per_row: 4")) == {"counterfactuals.recourse", "recourse"}


def test_inputs_and_versions_are_in_every_key(load, example):
    loaded = load(example)
    for name in CONTENTS:
        other = keys(loaded, {**CONTENTS, name: "x" * 64})
        assert not set(other.values()) & set(keys(loaded).values())
    newer = compile_plan(loaded.spec, CONTENTS, lambda name: "2")
    assert all(newer[i].key != key for i, key in keys(loaded).items()), "the adapter's library is used by every task"


def test_an_id_renames_the_evidence_and_stays_out_of_the_settings(load, example):
    text = example.replace("{kind: shap}", "{kind: shap, id: other}").replace("[flex, shap]", "[flex, other]")
    task = plan(load(text))["other"]
    assert task.kind == "shap"
    assert "id" not in task.settings


def test_cycle_through_the_door_of_the_compiler(load, example):
    spec = load(example).spec
    methods = tuple(
        m.model_copy(update={"of": ("flex", "agreement")}) if m.kind == "agreement" else m for m in spec.methods
    )
    with pytest.raises(SpecError, match="agreement"):
        compile_plan(spec.model_copy(update={"methods": methods}), CONTENTS, str)


def shuffled(draw, value):
    """The same value with the keys of its mappings in another order; lists keep theirs."""
    if isinstance(value, dict):
        return {key: shuffled(draw, value[key]) for key in draw(st.permutations(list(value)))}
    return [shuffled(draw, item) for item in value] if isinstance(value, list) else value


@st.composite
def same_specs(draw):
    return shuffled(draw, yaml.load(EXAMPLE, yaml.BaseLoader)), draw(st.booleans())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(same=same_specs())
def test_key_order_and_layout_change_neither_plan_nor_facts(tmp_path, same):
    """G15: a spec is what it says, not how it is written."""
    data, flow = same
    text = yaml.dump(_typed(data), sort_keys=False, default_flow_style=flow, allow_unicode=True)
    paths = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    paths[0].write_text(EXAMPLE, encoding="utf-8")
    paths[1].write_text(text, encoding="utf-8")
    one, two = (load_spec(path) for path in paths)
    assert keys(one) == keys(two)
    assert plan(one).digest() == plan(two).digest()
    facts = [json.dumps(spec_facts(loaded.spec, SCHEMA), sort_keys=True) for loaded in (one, two)]
    assert facts[0] == facts[1]


def _typed(value):
    """Texts of a BaseLoader as the values that they spell."""
    if isinstance(value, dict):
        return {key: _typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_typed(item) for item in value]
    for convert in (int, float):
        try:
            return convert(value)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(value, value)


def test_hash_seed_and_locale_do_not_change_keys(tmp_path):
    code = (
        "import sys, pathlib; from audit.spec.load import load_spec; from audit.spec.compile import compile_plan;"
        "spec = load_spec(pathlib.Path(sys.argv[1])).spec;"
        "print([t.key for t in compile_plan(spec, {'model': 'm', 'data': 'd'}, str).tasks])"
    )
    path = tmp_path / "spec.yaml"
    path.write_text(
        "spec_version: 1\naudit: {id: a, title: b}\nmodel: {kind: sklearn, path: m.skops}\ndata: {evaluate: e.csv}\n"
        "counterfactuals: {b: {search: nearest}, a: {search: nearest}}\n"
        "methods: [{kind: flex, from: b}]\n"
    )
    found = set()
    for seed, locale in (("0", "C"), ("1", "C.UTF-8")):
        env = {**os.environ, "PYTHONHASHSEED": seed, "LC_ALL": locale}
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True, env=env
        )
        found.add(done.stdout)
    assert len(found) == 1
