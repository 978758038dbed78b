"""What the data say against a spec."""
# ruff: noqa: E501 - cases read best as one line each

from pathlib import Path

import pandas as pd
import pytest
import yaml

from audit.core.errors import SpecError
from audit.core.infer import ColumnInfo
from audit.core.policy import Policy
from audit.resources import folder
from audit.spec.check import check_data
from audit.testing import toy_table

pytestmark = pytest.mark.usefixtures("toys")

HEAD = """\
spec_version: 1
audit: {id: a, title: b}
model: {kind: sklearn, path: m.skops}
data: {evaluate: e.csv, target: {column: outcome}, sample: {rows: 4}}
methods: [{kind: performance}]
"""


def frame():
    return pd.DataFrame(
        {
            "age": [20, 30, 40, 50, 60],
            "amount": [100.0, 200.0, 300.5, None, 500.0],
            "housing": ["rent", "own", "rent", "free", "own"],
            "savings": ["low", "mid", "high", "low", "mid"],
            "member": [True, False, True, True, False],
            "outcome": ["good", "bad", "good", "good", "bad"],
        }
    )


@pytest.fixture
def ask(load):
    """The notes on a spec that goes on with these lines."""

    def action(text):
        table = toy_table(frame(), {"savings": ColumnInfo(order=("low", "mid", "high"))}, extra=("outcome",))
        return check_data(load(HEAD + text), table.schema, table, None)

    return action


def policy(rule):
    return f"mutability:\n  features:\n    {rule}\n"


def test_a_policy_that_fits_says_nothing(ask):
    assert ask(policy("age: {change: increase, min: 20, max: 60, integer: true, step: 1}")) == []
    assert ask(policy("housing: {change: any, transitions: {rent: [own], free: [rent, own]}}")) == []
    assert ask(policy("member: {change: increase}")) == []
    assert ask(policy("member: {change: any, transitions: {false: [true]}}")) == []
    assert (
        ask("regions: [{name: a, where: \"age < 35 and outcome == 'good'\"}, {name: b, around: 3, nearest: 5}]\n") == []
    )


def test_rows_outside_bounds_are_named_by_id(ask):
    (note,) = ask(policy("age: {change: any, min: 30, max: 50}"))
    assert (note.code, note.severity) == ("rows_outside_bounds", "minor")
    assert note.args == {"subject": "age", "rule": "min 30 max 50", "count": 2, "rows": 5, "ids": ["0", "4"]}


def test_rows_that_are_not_whole(ask):
    (note,) = ask(policy("amount: {change: any, integer: true}"))
    assert (note.code, note.args["ids"], note.args["count"]) == ("rows_not_whole", ["2"], 1)


def test_what_is_unknown_breaks_no_rule(ask):
    # 100 <= 150 · 200 <= 250 · 300.5 <= 350 · unknown · 500 <= 550: nothing is broken
    assert ask('mutability: {rules: ["amount <= 10 * age - 50"]}\n') == []


def test_rows_that_break_a_rule(ask):
    (note,) = ask('mutability: {rules: ["amount < 300 or age > 45"]}\n')
    assert (note.code, note.severity) == ("rows_break_rule", "minor")
    assert note.args["ids"] == ["2"]
    assert note.args["subject"] == "amount < 300 or age > 45"


def test_a_bound_beyond_the_data_is_information(ask):
    (note,) = ask(policy("age: {change: any, min: 20, max: 70}"))
    assert (note.code, note.severity) == ("bound_beyond_data", None)
    assert note.args == {"feature": "age", "bound": "max", "value": 70.0, "low": 20.0, "high": 60.0}


def test_a_region_without_rows(ask):
    (note,) = ask("regions: [{name: a, where: \"housing == 'rented'\"}]\n")
    assert (note.code, note.args["region"]) == ("region_empty", "a")


PROBLEMS = {
    policy("aeg: {change: any}"): "spec.yaml:8: mutability.features.aeg: unknown feature 'aeg'; did you mean 'age'?",
    policy("outcome: {change: any}"): "is no feature",
    policy("housing: {change: any, min: 3}"): "`min` is for numbers, but the data make 'housing' categorical",
    policy("savings: {change: any, step: 1}"): "`step` is for numbers, but the data make 'savings' ordinal",
    policy("housing: {change: increase}"): "`increase` needs an order, but 'housing' is categorical",
    policy("age: {change: any, transitions: {20: [30]}}"): "transitions are for levels, but 'age' is numeric",
    policy("housing: {change: any, transitions: {rnet: [own]}}"): "unknown level 'rnet'; did you mean 'rent'?",
    policy("housing: {change: any, transitions: {rent: [onw]}}"): "unknown level 'onw'; did you mean 'own'?",
    policy("member: {change: any, transitions: {yes: [true]}}"): "unknown level 'yes'; there are false, true",
    policy("age: {change: any, min: 61}"): "every row of the evaluation data breaks it (first: 0, 1, 2)",
    'mutability: {rules: ["age > 100"]}\n': "every row of the evaluation data breaks it",
    'mutability: {rules: ["agee > 100"]}\n': "no column 'agee'; did you mean 'age'?",
    'mutability: {rules: ["outcome == 1"]}\n': "no column 'outcome'",
    "mutability: {rules: [\"age == 'x'\"]}\n": "a text with a number",
    'mutability: {rules: ["housing + 1 > 2"]}\n': "calculates with a text",
    'mutability: {rules: ["age + 1"]}\n': "a condition is needed",
    'regions: [{name: a, where: "aeg > 3"}]\n': "spec.yaml:6: regions.a.where: ",
    "regions: [{name: a, where: housing}]\n": "a condition is needed",
    "regions: [{name: a, around: 9, nearest: 2}]\n": "unknown id '9'; there are 0, 1, 2, 3, 4",
    "regions: [{name: a, around: 1, nearest: 6}]\n": "found 6; there are only 5 rows",
    "regions: [{name: a, clusters: 5}]\n": "found 5; there are only 4 rows",
    "gates: [{metric: performance.auc, by: hosing, gap_at_most: 0.1}]\n": "unknown column 'hosing'; did you mean 'housing'?",
}  # fmt: skip


@pytest.mark.parametrize("text", PROBLEMS)
def test_what_cannot_be_meant(ask, text):
    with pytest.raises(SpecError) as caught:
        ask(text)
    (problem,) = caught.value.problems
    assert problem.startswith("spec.yaml:")
    assert PROBLEMS[text] in problem


def test_all_problems_at_once(ask):
    with pytest.raises(SpecError) as caught:
        ask(
            policy("housing: {change: increase, step: 1}")
            + '  rules: ["x > 1"]\nregions: [{name: a, around: 9, nearest: 2}]\n'
        )
    assert [problem.split(": ")[0] for problem in caught.value.problems] == [
        "spec.yaml:8", "spec.yaml:8", "spec.yaml:9", "spec.yaml:10"
    ]  # fmt: skip


def test_each_note_has_its_words(ask, load, example):
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    from audit.core.schema import Feature, FeatureSchema
    from audit.spec.facts import spec_notes

    words = yaml.safe_load(Path(folder("templates") / "words" / "spec.yaml").read_text(encoding="utf-8"))["notes"]
    schema = FeatureSchema(features=(Feature(name="age", kind="numeric"),))
    notes = [
        *spec_notes(load(example.replace("default: immutable", "default: any")).spec, schema),
        *ask(policy("age: {change: any, min: 30, max: 70}")), *ask(policy("amount: {change: any, integer: true}")),
        *ask('mutability: {rules: ["amount < 300 or age > 45"]}\n'), *ask('regions: [{name: a, where: "age < 3"}]\n'),
    ]  # fmt: skip
    assert {note.code for note in notes} <= set(words), "the engine adds notes of its own"
    sandbox = SandboxedEnvironment(undefined=StrictUndefined)
    for note in notes:
        sentence = sandbox.from_string(words[note.code]["text"]).render(note.args)
        assert sentence.endswith(".")
        assert words[note.code]["title"]
        assert note.severity is None or words[note.code]["action"]


def test_truth_values_in_transitions_mean_what_they_say(load):
    """`false: [true]` lets False become True, and nothing else."""
    rules = load(HEAD + policy("member: {change: any, transitions: {false: [true]}}")).spec.mutability.features
    schema = toy_table(frame()[["member"]]).schema
    built = Policy.build(schema, rules)
    assert built.transitions[0].tolist() == [[True, True], [False, True]]
