"""Random changes around a row: what they may change, what they are labelled, and how many features they change."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.core.counterfactuals import changed
from audit.core.expression import parse
from audit.core.infer import ColumnInfo
from audit.core.model import Scorer
from audit.core.policy import FeatureRule, Policy
from audit.core.pool import Law, Pool, draw_pools, span
from audit.testing import (
    Stumps,
    ToyModel,
    conditions,
    conformance_inputs,
    draw_codes,
    feature_rules,
    schemas,
    toy_inputs,
)


def pools(inputs: Any, law: Law, rows: Any = None, policy: Policy | None = None, seed: int = 0) -> list[Pool]:
    codes = inputs.evaluate.codes if rows is None else np.asarray(rows, dtype=float)
    chosen = inputs.policy.domain() if policy is None else policy
    return draw_pools(inputs.model, chosen, codes, law, np.random.default_rng(seed))


def three_classes():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.random(90), "b": rng.random(90), "c": rng.integers(0, 5, 90)})

    def score(rows):
        raw = np.column_stack([rows["a"], rows["b"], 0.1 + rows["c"] / 8])
        return raw / raw.sum(axis=1, keepdims=True)

    return toy_inputs(frame, ToyModel(score, ("x", "y", "z")), favourable=())


def test_c_minus_has_the_predicted_class_for_every_class():
    inputs = three_classes()
    before = inputs.decision.outcome(inputs.scores)
    assert set(before) == {0, 1, 2}
    for outcome, found in zip(before, pools(inputs, Law(60, 200, 600)), strict=True):
        plus, minus = (inputs.decision.outcome(inputs.model.probabilities(side)) for side in (found.plus, found.minus))
        assert len(plus)
        assert (minus == outcome).all()
        assert (plus != outcome).all()
        assert found.mismatched or np.array_equal(np.bincount(found.plus_sizes), np.bincount(found.minus_sizes))


def test_a_flip_towards_one_class():
    inputs = three_classes()
    before = inputs.decision.outcome(inputs.scores)
    rows = inputs.evaluate.codes[before != 1]
    for found in pools(inputs, Law(40, 400, 800, towards=1), rows):
        assert (inputs.decision.outcome(inputs.model.probabilities(found.plus)) == 1).all()


def test_sizes_are_the_numbers_of_changed_features_and_match():
    inputs = conformance_inputs()
    exact = 0
    for x, found in zip(inputs.evaluate.codes, pools(inputs, Law(100, 100, 1000)), strict=True):
        for rows, sizes in ((found.plus, found.plus_sizes), (found.minus, found.minus_sizes)):
            assert np.array_equal(changed(x[None], rows).sum(axis=1), sizes)
            assert (np.diff(sizes) >= 0).all()
        if not found.mismatched:
            assert np.array_equal(found.plus_sizes, found.minus_sizes)
            exact += len(found.plus) > 0
    assert exact > 10


@settings(max_examples=40)
@given(schemas(min_features=2), st.integers(0, 10_000), st.data())
def test_random_changes_keep_the_constraints(schema, seed, data):
    rng = np.random.default_rng(seed)
    model = Stumps.draw(schema, rng)
    texts = data.draw(conditions(schema))
    rules = tuple(parse(text, schema.names) for text in texts)
    policy = Policy.build(schema, data.draw(feature_rules(schema)), rules=rules)
    decision = toy_inputs(pd.DataFrame({"a": [0.0, 1.0]}), lambda f: f["a"]).decision
    rows = draw_codes(schema, 4, rng)
    for used in (policy, policy.domain()):
        scorer = Scorer(model, schema, decision)
        for x, found in zip(rows, draw_pools(scorer, used, rows, Law(10, 30, 60), rng), strict=True):
            points = np.concatenate([found.plus, found.minus])
            here = np.tile(x, (len(points), 1))
            assert used.allowed(here, points).all()
            moved = changed(here, points)
            assert not (moved & np.isnan(points)).any()
            assert set(np.flatnonzero(moved.any(axis=0))) <= set(found.movable)
            for j, feature in enumerate(schema.features):
                inside = ~moved[:, j] | ((points[:, j] >= feature.low) & (points[:, j] <= feature.high))
                assert inside.all()


def test_where_no_single_change_keeps_the_outcome_the_next_size_stands_in():
    frame = pd.DataFrame({"a": [False, True, False, True], "b": [False, False, True, True]})
    inputs = toy_inputs(frame, lambda f: np.where(f["a"] ^ f["b"], 0.9, 0.1))
    (found,) = pools(inputs, Law(20, 50, 100), [[0, 0]])
    assert found.plus_sizes.tolist() == [1] * 20
    assert found.minus_sizes.tolist() == [2] * 20
    assert found.minus.tolist() == [[1, 1]] * 20
    assert found.mismatched == 20


def test_where_every_change_flips_there_is_nothing_to_compare_with():
    inputs = toy_inputs(pd.DataFrame({"a": [0, 1], "b": [0, 1]}), lambda f: np.where(f["a"] + f["b"] > 0, 0.9, 0.1))
    (found,) = pools(inputs, Law(20, 50, 100), [[0, 0]])
    assert (len(found.plus), len(found.minus), found.mismatched) == (20, 0, 20)


def test_a_constant_model_is_given_up_after_the_first_look():
    inputs = conformance_inputs(lambda f: np.full(len(f), 0.25))
    spent = inputs.model.rows
    found = pools(inputs, Law(100, 300, 3000), inputs.evaluate.codes[:5])
    assert [len(one.plus) for one in found] == [0] * 5
    assert inputs.model.rows - spent <= 5 * (1 + 300 * len(inputs.schema))


def test_a_label_that_shows_is_waited_for_up_to_the_most():
    # One value in 200 flips, so that 20 flips take about 4000 rows; no size 2 is needed.
    frame = pd.DataFrame({"a": np.arange(201.0)})
    inputs = toy_inputs(frame, lambda f: np.where(f["a"] == 200, 0.9, 0.1))
    (enough,) = pools(inputs, Law(20, 2000, 20_000), [[0.0]])
    (few,) = pools(inputs, Law(20, 1000, 1000), [[0.0]])
    assert len(enough.plus) == 20
    assert 0 < len(few.plus) < 20


def test_every_set_of_features_and_every_value_is_as_likely():
    frame = pd.DataFrame({"a": range(5), "b": range(5), "c": list("vwxyz"), "d": range(5)})
    inputs = toy_inputs(frame, lambda f: np.full(len(f), 0.25))
    policy, x = inputs.policy.domain(), np.array([0.0, 1.0, 2.0, 4.0])
    drawn: list[np.ndarray] = []
    keep = inputs.model.model.score
    inputs.model.model.__dict__["score"] = lambda f: (drawn.append(inputs_codes(inputs, f)), keep(f))[1]
    draw_pools(inputs.model, policy, x[None], Law(4000, 4000, 4000), np.random.default_rng(0))
    rows = np.concatenate(drawn[1:])
    moved = rows != x
    pairs = moved[moved.sum(axis=1) == 2]
    shares = [pairs[:, [i, j]].all(axis=1).mean() for i in range(4) for j in range(i + 1, 4)]
    # Six pairs; the standard error of a share of 1/6 over 4000 rows is .006.
    np.testing.assert_allclose(shares, 1 / 6, atol=0.024)
    for j, value in enumerate(x):
        values, counts = np.unique(rows[moved[:, j], j], return_counts=True)
        assert values.tolist() == [v for v in range(5) if v != value]
        np.testing.assert_allclose(counts / counts.sum(), 1 / 4, atol=0.03)


def inputs_codes(inputs, frame):
    from audit.core.table import encode

    return encode(inputs.schema, frame)


def test_spans():
    frame = pd.DataFrame({"whole": [1, 4, 9], "real": [0.0, 2.5, 5.0], "one": [3, 3, 3], "level": ["l", "m", "h"]})
    inputs = toy_inputs(
        frame,
        lambda f: np.full(len(f), 0.25),
        columns={"level": ColumnInfo(order=("l", "m", "h"))},
        features={
            "whole": FeatureRule(change="increase", max=20),
            "real": FeatureRule(change="decrease"),
            "level": FeatureRule(change="decrease"),
        },
    )
    policy, domain = inputs.policy, inputs.policy.domain()
    assert span(policy, 0, 6.0).listed.tolist() == [7, 8, 9], "a policy wider than the data does not widen the range"
    assert span(policy, 0, 9.0) is None
    assert span(policy, 1, 2.0) == (0.0, 2.0, None)
    assert span(policy, 1, 0.0) is None
    assert span(domain, 1, 2.0) == (0.0, 5.0, None)
    assert span(domain, 2, 3.0) is None
    assert span(policy, 2, 3.0) is None
    assert span(policy, 3, 1.0).listed.tolist() == [0]
    assert span(domain, 3, 1.0).listed.tolist() == [0, 2]


def test_the_same_seed_gives_the_same_whatever_is_drawn_beside():
    inputs = conformance_inputs()
    every = pools(inputs, Law(30, 100, 300))
    again = pools(inputs, Law(30, 100, 300))
    alone = pools(inputs, Law(30, 100, 300), inputs.evaluate.codes[:1])
    for a, b in [*zip(every, again, strict=True), (every[0], alone[0])]:
        np.testing.assert_array_equal(a.plus, b.plus)
        np.testing.assert_array_equal(a.minus, b.minus)


def test_no_rows():
    inputs = conformance_inputs()
    assert pools(inputs, Law(30, 100, 300), np.empty((0, len(inputs.schema)))) == []


@pytest.mark.parametrize("number", [1, 70])
def test_the_model_is_asked_for_all_instances_at_once(number):
    inputs = conformance_inputs(rows=80)
    calls = inputs.model.calls
    pools(inputs, Law(20, 20, 40), inputs.evaluate.codes[:number])
    # At most two rounds for each of six sizes, in blocks of 64 instances, and one question for the outcomes.
    assert inputs.model.calls - calls <= 1 + 2 * 5 * (1 + number // 64)
