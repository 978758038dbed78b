"""What the report is told of a spec."""

import json

import pytest

from audit.core.schema import Feature, FeatureSchema
from audit.spec.facts import region_text, spec_facts, spec_notes

pytestmark = pytest.mark.usefixtures("toys")

NAMES = ("age", "sex", "amount", "duration", "savings", "existing_credits", "housing")
SCHEMA = FeatureSchema(features=tuple(Feature(name=name, kind="numeric", high=1.0) for name in NAMES))


def test_the_facts_of_the_design(load, example):
    facts = spec_facts(load(example).spec, SCHEMA)
    assert json.loads(json.dumps(facts)) == facts, "plain data"
    assert set(facts) == {"audit", "data", "policy", "regions", "counterfactuals", "methods", "report"}
    assert facts["audit"] == {
        "id": "german-credit-2026q4", "title": "Retail credit scorecard", "owner": "Model Risk",
        "purpose": "Annual validation", "as_of": "2026-11-01",
    }  # fmt: skip
    assert facts["data"] == {
        "train": "train.parquet", "evaluate": "holdout.parquet", "evaluate_is": None, "id": "applicant_id",
        "target": {"column": "outcome", "favourable": ["good"]}, "protected": ["sex", "age_group"],
        "production_score": "score_in_system", "score_tolerance": 1e-6,
        "sample": {"rows": 300, "stratify": "decision"},
    }  # fmt: skip
    assert facts["policy"]["default"] == "immutable"
    assert facts["policy"]["rules"] == ["duration <= 72 - 2 * existing_credits"]
    features = {feature["feature"]: feature for feature in facts["policy"]["features"]}
    assert list(features) == list(NAMES)
    assert features["amount"] == {
        "feature": "amount", "stated": True, "change": "decrease", "min": 250.0, "max": None, "step": 50.0,
        "integer": None, "order": None, "transitions": None, "unit": "DM", "why": "negotiable",
        "owner": "Credit Policy", "approved": "2026-03-01",
    }  # fmt: skip
    assert features["age"]["stated"] is False
    assert features["age"]["change"] == "immutable"
    assert features["savings"]["order"] == ["<100", "100-500", "500-1000", ">1000"]
    assert facts["regions"][0] == {"name": "young applicants", "text": "age < 26"}
    assert facts["regions"][1]["text"] == "the 50 rows nearest to 17, with the same outcome"
    assert facts["counterfactuals"]["recourse"] == {
        "search": "cheapest", "per_row": 3, "for": "unfavourable", "constraints": "policy", "effort": "fast"
    }  # fmt: skip
    assert facts["methods"][1] == {
        "id": "flex", "kind": "flex",
        "settings": {"kind": "flex", "from": "flips", "min_change": 0.0, "regions": "all"},
    }  # fmt: skip
    assert facts["report"] == {"formats": ["html", "pdf"], "pdf": "a-3a", "template": "standard"}


def test_units_and_orders_of_data_columns_are_shown_with_the_policy(load, example):
    text = example.replace("  sample:", "  columns: {age: {unit: years}, housing: {order: [rent, own]}}\n  sample:")
    features = {f["feature"]: f for f in spec_facts(load(text).spec, SCHEMA)["policy"]["features"]}
    assert features["age"]["unit"] == "years"
    assert features["housing"]["order"] == ["rent", "own"]


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        ("around: 3, radius: 0.25", "all rows within Gower distance 0.25 of 3, with the same outcome"),
        ("around: 3, radius: 0.25, same_outcome: false", "all rows within Gower distance 0.25 of 3"),
        ("around: a, nearest: 5, weights: gaussian, bandwidth: 0.1",
         "the 5 rows nearest to a, with the same outcome, weighted by distance (bandwidth 0.1)"),
        ("clusters: 3", "3 clusters of the sample"),
    ],
)  # fmt: skip
def test_regions_in_words(load, example, region, expected):
    spec = load(example.replace("around: 17, nearest: 50", region)).spec
    assert region_text(spec.regions[1]) == expected


def test_a_rule_that_nobody_stands_behind_is_a_note(load, example):
    notes = spec_notes(load(example).spec, SCHEMA)
    unowned = {note.args["feature"]: note.args["missing"] for note in notes if note.code == "rule_unowned"}
    assert unowned == {"duration": ["why", "owner", "approved"], "savings": ["why", "owner", "approved"]}
    assert all(note.severity == "minor" for note in notes if note.code == "rule_unowned")
    (coverage,) = (note for note in notes if note.code == "policy_coverage")
    assert (coverage.args["stated"], coverage.args["features"], coverage.severity) == (3, 7, None)
    assert not [note for note in notes if note.code == "policy_default_any"]
    freed = spec_notes(load(example.replace("default: immutable", "default: any")).spec, SCHEMA)
    (default_any,) = (note for note in freed if note.code == "policy_default_any")
    assert default_any.args["silent"] == ["age", "sex", "existing_credits", "housing"]


def test_an_importance_ranking_that_rests_on_one_search_is_a_finding_until_another_is_compared(load, example):
    def alone(text: str) -> list[object]:
        return [note.args["method"] for note in spec_notes(load(text).spec, SCHEMA) if note.code == "lone_generator"]

    second = "  - {kind: flex, id: second, from: recourse}\n  - {kind: flex, id: same, from: flips}\n"
    assert alone(example) == ["flex"]
    named = example.replace("kind: flex,", "kind: flex, id: flex,", 1)
    both = named.replace("methods:\n", "methods:\n" + second, 1)
    assert alone(both) == ["second", "same", "flex"]
    assert alone(both.replace("of: [flex, shap]", "of: [flex, same]")) == ["second", "same", "flex"]
    assert alone(both.replace("of: [flex, shap]", "of: [flex, second]")) == ["same"]
