"""The policy against an independent reading of it, and against counterfactuals worked out by hand."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_oracle import Law, values

from audit.core.expression import parse
from audit.core.infer import ColumnInfo, infer_schema
from audit.core.policy import FeatureRule, Policy
from audit.core.schema import Feature, FeatureSchema
from audit.testing import conditions, draw_codes, feature_rules, schemas

NAN = float("nan")
SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def cases(draw: Any, max_features: int = 4) -> tuple[FeatureSchema, dict[str, FeatureRule], tuple[str, ...], bool, int]:
    """A schema, its rules, rules across features, whether only the domain counts, a seed for rows."""
    schema = draw(schemas(1, max_features))
    return schema, draw(feature_rules(schema)), draw(conditions(schema)), draw(st.booleans()), draw(SEEDS)


def build(schema: FeatureSchema, rules: dict[str, FeatureRule], texts: tuple[str, ...], domain: bool) -> Policy:
    policy = Policy.build(schema, rules, rules=tuple(parse(text, schema.names) for text in texts))
    return policy.domain() if domain else policy


def strange_codes(schema: FeatureSchema, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows near x: kept, redrawn, beyond the range, off the grid, missing, or of no level."""
    other = draw_codes(schema, len(x), rng, beyond=0.2)
    other = np.where(rng.random(x.shape) < 0.3, x + rng.choice([-2, -1, -0.5, -0.1, 0.1, 0.5, 1, 2], x.shape), other)
    other = np.where(rng.random(x.shape) < 0.05, NAN, other)
    return np.where(rng.random(x.shape) < 0.35, x, other)


@given(cases())
@settings(max_examples=200)
def test_violations_are_those_of_an_independent_reading(case: Any) -> None:
    schema, rules, texts, domain, seed = case
    rng = np.random.default_rng(seed)
    x = draw_codes(schema, 12, rng, beyond=0.1)
    x2 = strange_codes(schema, x, rng)
    policy = build(schema, rules, texts, domain)
    law = Law(schema, rules, texts, domain=domain)
    found: list[set[tuple[str, str]]] = [set() for _ in x]
    for violation in policy.violations(x, x2):
        found[violation.row].add((violation.kind, violation.subject))
    for i, (old, new) in enumerate(zip(values(schema, x), values(schema, x2), strict=True)):
        expected = law.breaks(old, new)
        # What is no level breaks `level`; its place among the levels, and so its direction, has no meaning.
        strange = {name for kind, name in found[i] | expected if kind == "level"}
        assert {v for v in found[i] if v[1] not in strange} == {v for v in expected if v[1] not in strange}
        assert strange <= {name for kind, name in found[i] if kind == "level"}
    assert policy.allowed(x, x2).tolist() == [not broken for broken in found]


@given(cases())
@settings(max_examples=100)
def test_projection_is_the_nearest_allowed_value(case: Any) -> None:
    schema, rules, _, domain, seed = case
    rng = np.random.default_rng(seed)
    x, target = draw_codes(schema, 4, rng, beyond=0.2), draw_codes(schema, 4, rng, beyond=0.1)
    policy = build(schema, rules, (), domain)
    law = Law(schema, rules, domain=domain)
    projected = policy.project(x, target)
    for i in range(len(x)):
        for j, feature in enumerate(schema.features):
            options = reachable(law, schema, j, x[i])
            got, asked, start = projected[i, j], target[i, j], x[i, j]
            assert any(np.isclose(got, o, rtol=0, atol=1e-9, equal_nan=True) for o in options), (feature, start, got)
            if np.isnan(asked):
                assert np.isnan(got) if any(np.isnan(o) for o in options) else np.array_equal(got, start)
            elif feature.ordered and not np.isnan(got):
                nearest = min(abs(o - asked) for o in options if not np.isnan(o))
                assert abs(got - asked) == pytest.approx(nearest, abs=1e-9)
            elif not feature.ordered:
                possible = any(o == asked for o in options)
                assert got == asked if possible else np.array_equal(got, start, equal_nan=True)


def reachable(law: Law, schema: FeatureSchema, j: int, x: np.ndarray) -> list[float]:
    """All allowed values of a feature on a fine grid that holds every bound, step and level."""
    feature, start = schema.features[j], float(x[j])
    rule = law.rules.get(feature.name, FeatureRule(change="immutable"))
    grid = set(np.arange(-48, 48) / 4) | {feature.low, feature.high, start, NAN}
    grid |= {bound for bound in (rule.min, rule.max) if bound is not None}
    if rule.step and not np.isnan(start):
        grid |= {start + k * rule.step for k in range(-120, 121)}
    before = values(schema, x[None])[0]
    fine = []
    for candidate in grid:
        row = x.copy()
        row[j] = candidate
        if not law.breaks(before, values(schema, row[None])[0]):
            fine.append(float(candidate))
    return fine


@given(cases())
@settings(max_examples=80)
def test_options_are_all_allowed_values_of_a_finite_feature(case: Any) -> None:
    schema, rules, _, domain, seed = case
    x = draw_codes(schema, 3, np.random.default_rng(seed), beyond=0.2)
    policy, law = build(schema, rules, (), domain), Law(schema, rules, domain=domain)
    for row in x:
        for j in range(len(schema)):
            options = policy.options(j, float(row[j]))
            if options is None:  # a range of real numbers: the grid alone must hold several of them
                assert len(set(map(key, reachable(law, schema, j, row)))) > 1
                continue
            expected = reachable(law, schema, j, row)
            assert set(map(key, options)) == set(map(key, expected))


def key(value: float) -> float:
    return -1e9 if np.isnan(value) else round(value, 7)


def credit() -> FeatureSchema:
    frame = pd.DataFrame(
        {
            "amount": [250.5, 5000.0],
            "duration": [4, 72],
            "savings": ["low", "high"],
            "housing": ["own", "rent"],
            "owner": [True, False],
            "income": [0.0, NAN],
        }
    )
    return infer_schema(frame, list(frame.columns), {"savings": ColumnInfo(order=("low", "mid", "high"))})


RULES = {
    "amount": FeatureRule(change="decrease", min=300.0, step=50.0),
    "duration": FeatureRule(change="any", min=6, max=60),
    "savings": FeatureRule(change="increase"),
    "housing": FeatureRule(change="any", transitions={"rent": ("own",)}),
    "income": FeatureRule(change="any"),
}
START = np.array([[1000.0, 24, 0, 1, 1, 10.0]])


@pytest.mark.parametrize(
    ("feature", "code", "kind"),
    [
        ("owner", 0, "immutable"),
        ("amount", 1050, "direction"),
        ("amount", 250, "bounds"),
        ("amount", 975, "step"),
        ("duration", 61, "bounds"),
        ("duration", 5, "bounds"),
        ("duration", 24.5, "integer"),
        ("duration", NAN, "missing"),
        ("savings", 3, "level"),
        ("savings", 0.5, "level"),
        ("savings", -1, "level"),
        ("income", -1, "bounds"),
    ],
)
def test_each_kind_of_violation_is_named(feature: str, code: float, kind: str) -> None:
    policy = Policy.build(credit(), RULES)
    changed = START.copy()
    changed[0, credit().index(feature)] = code
    assert (kind, feature) in {(v.kind, v.subject) for v in policy.violations(START, changed)}
    assert not policy.allowed(START, changed).any()


def test_transitions_and_directions_of_levels() -> None:
    policy, schema = Policy.build(credit(), RULES), credit()
    down = np.array([[1000.0, 24, 2, 1, 1, 10.0]])
    lower = down.copy()
    lower[0, 2] = 1
    assert [(v.kind, v.subject) for v in policy.violations(down, lower)] == [("direction", "savings")]
    own = START.copy()
    own[0, schema.index("housing")] = 0
    assert policy.violations(START, own) == []
    assert [(v.kind, v.subject) for v in policy.violations(own, START)] == [("transition", "housing")]


def test_rules_across_features_bind_the_result_and_unknown_does_not_break_them() -> None:
    schema = credit()
    text = "duration <= 72 - 2 * income"
    policy = Policy.build(schema, RULES, rules=(parse(text, schema.names),))
    longer = START.copy()
    longer[0, 1] = 53
    assert [(v.kind, v.subject) for v in policy.violations(START, longer)] == [("rule", text)]
    unknown = longer.copy()
    unknown[0, 5] = NAN
    assert policy.obeys(np.vstack([START, longer, unknown])).tolist() == [True, False, True]


def test_domain_forgets_mutability_and_keeps_the_data() -> None:
    schema = credit()
    domain = Policy.build(schema, RULES, rules=(parse("duration < 70", schema.names),)).domain()
    free = np.array([[5000.0, 69, 2, 0, 0, NAN]])
    assert domain.violations(START, free) == []
    beyond = np.array([[5000.5, 71, 0, 1, 1, 10.0]])
    kinds = {(v.kind, v.subject) for v in domain.violations(START, beyond)}
    assert kinds == {("bounds", "amount"), ("rule", "duration < 70")}


def test_a_row_beyond_the_bounds_may_stay_and_projection_never_moves_it_the_wrong_way() -> None:
    schema = FeatureSchema(features=(Feature(name="a", kind="numeric", low=0, high=10),))
    policy = Policy.build(schema, {"a": FeatureRule(change="increase")})
    x = np.array([[12.0], [4.0]])
    assert policy.violations(x, x) == []
    assert policy.project(x, np.array([[5.0], [3.0]])).tolist() == [[12.0], [4.0]]
    free = Policy.build(schema, {"a": FeatureRule(change="any")})
    assert free.project(x, np.array([[20.0], [20.0]])).tolist() == [[12.0], [10.0]]


def test_decimal_steps_reach_their_bound() -> None:
    schema = FeatureSchema(features=(Feature(name="a", kind="numeric", low=0.1, high=0.9),))
    policy = Policy.build(schema, {"a": FeatureRule(change="any", step=0.1)})
    x = np.array([[0.5], [0.5], [0.5]])
    projected = policy.project(x, np.array([[0.1], [0.9], [0.44]]))
    assert projected[:, 0] == pytest.approx([0.1, 0.9, 0.4], abs=1e-12)
    assert policy.violations(x, projected) == []


def test_a_frozen_policy_says_so() -> None:
    assert Policy.build(credit(), {}).frozen()
    assert not Policy.build(credit(), RULES).frozen()


def test_an_ordinal_feature_goes_to_the_nearest_level_that_can_be_reached() -> None:
    schema = FeatureSchema(
        features=(Feature(name="s", kind="ordinal", levels=("a", "b", "c", "d"), high=3, integer=True),)
    )
    policy = Policy.build(schema, {"s": FeatureRule(change="any", transitions={"a": ("b",), "d": ("a",)})})
    projected = policy.project(np.array([[0.0], [3.0], [1.0]]), np.array([[3.0], [1.0], [2.0]]))
    assert projected[:, 0].tolist() == [1.0, 0.0, 1.0]


def test_whole_values_respect_bounds_that_are_not_whole() -> None:
    schema = FeatureSchema(features=(Feature(name="n", kind="numeric", low=0, high=9, integer=True),))
    policy = Policy.build(schema, {"n": FeatureRule(change="any", min=2.5, max=6.5)})
    projected = policy.project(np.array([[5.0], [5.0]]), np.array([[1.0], [9.0]]))
    assert projected[:, 0].tolist() == [3.0, 6.0]
