"""The generator `nearest` against cases worked out by hand, brute force, and itself row by row."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from audit.core.counterfactuals import Found, changed, distance
from audit.core.method import Inputs
from audit.core.policy import FeatureRule
from audit.search.nearest import Nearest
from audit.testing import toy_context, toy_inputs

NAN = float("nan")
ANY = FeatureRule(change="any")


def search(inputs: Inputs, **settings: Any) -> Found:
    assert inputs.sample is not None
    before = inputs.decision.outcome(inputs.sample.scores)
    return Nearest(**settings).generate(toy_context(inputs), inputs.sample.table, before)


def applicants(n: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "income": rng.integers(10, 90, n).astype(float) + rng.integers(0, 4, n) / 4,
            "credits": rng.integers(0, 9, n),
            "housing": rng.choice(["free", "own", "rent"], n),
            "savings": rng.choice(["low", "mid", "high"], n),
            "guarantor": rng.random(n) < 0.5,
        }
    )
    frame.loc[rng.random(n) < 0.1, "savings"] = None
    return frame


def additive(frame: pd.DataFrame) -> np.ndarray:
    """Sums of quarters: exact in floating point, so that batches cannot differ."""
    points = np.floor(frame["income"]) / 64 - frame["credits"] / 16 + (frame["housing"] == "own") / 4
    points = points + (frame["savings"] == "high") / 4 + frame["guarantor"] / 8 - 0.5
    return np.asarray(0.5 + points / 4, dtype=np.float64).clip(0, 1)


def test_two_features_that_must_move_together_are_found() -> None:
    """Fault G3 of the closest peer: one feature at a time finds nothing here."""
    frame = pd.DataFrame({"a": [0, 1, 0, 1], "b": [0, 0, 1, 1], "c": [0, 0, 0, 1]})
    inputs = toy_inputs(frame, lambda f: ((f["a"] == 1) & (f["b"] == 1)) * 0.8 + 0.1, sample_rows=[0])
    found = search(inputs)
    assert found.row.tolist() == [0]
    assert found.codes.tolist() == [[1, 1, 0]]


def test_greedy_copying_by_hand() -> None:
    """x = (0, 0, 0), neighbour (1, 1, 1); scores .1 + .2a + .3b + .25c: b first, then c flips; a stays."""
    frame = pd.DataFrame({"a": [0.0, 1.0], "b": [0.0, 1.0], "c": [0.0, 1.0]})
    inputs = toy_inputs(frame, lambda f: 0.1 + 0.2 * f["a"] + 0.3 * f["b"] + 0.25 * f["c"], sample_rows=[0])
    found = search(inputs)
    assert found.codes.tolist() == [[0, 1, 1]]
    # Step 1: three single copies; step 2: two; the pair flips after two of them.
    assert found.evaluated.tolist() == [5]


def test_a_flip_that_breaks_a_rule_is_passed_by() -> None:
    """a alone flips, but a without b is against the rule; copying goes on until both have moved."""
    frame = pd.DataFrame({"a": [0, 1, 0], "b": [0, 1, 0], "c": [0, 1, 1]})
    inputs = toy_inputs(frame, lambda f: 0.2 + 0.6 * f["a"] - 0.1 * f["b"], rules=["a <= b"], sample_rows=[0])
    found = search(inputs)
    assert found.row.tolist() == [0]
    assert found.codes[0, :2].tolist() == [1, 1]


def test_neighbours_that_become_one_make_room_for_others() -> None:
    """b is immutable and a whole: the first three neighbours are projected on a = 6, the fourth on 7."""
    frame = pd.DataFrame({"a": [0, 6, 6, 6, 7], "b": [0.0, 0.1, 0.2, 0.3, 0.4]})
    inputs = toy_inputs(frame, lambda f: (f["a"] > 5) * 0.8 + 0.1, features={"a": ANY}, sample_rows=[0])
    assert search(inputs, per_row=2, constraints="policy", proof_rows=0).codes.tolist() == [[6, 0], [7, 0]]


def test_a_hair_beyond_the_threshold_is_neither_a_flip_nor_a_proof() -> None:
    frame = pd.DataFrame({"a": [0, 1]})
    inputs = toy_inputs(frame, lambda f: np.where(f["a"] == 1, 0.5 - 5e-7, 0.9), sample_rows=[0])
    found = search(inputs)
    assert len(found.row) == 0
    assert not found.proven[0]


def test_several_neighbours_best_first_without_duplicates() -> None:
    frame = pd.DataFrame({"a": [0.0, 6.0, 8.0, 10.0, 6.0], "b": [0.0, 1.0, 2.0, 3.0, 9.0]})
    inputs = toy_inputs(frame, lambda f: (f["a"] > 5) * 0.8 + 0.1, sample_rows=[0])
    found = search(inputs, per_row=10)
    assert found.codes.tolist() == [[6, 0], [8, 0], [10, 0]]
    assert search(inputs, per_row=2).codes.tolist() == [[6, 0], [8, 0]]


def test_batched_equals_row_by_row() -> None:
    frame, train = applicants(60, 1), applicants(300, 2)
    everything = toy_inputs(frame, additive, train=train, features={"income": ANY, "credits": ANY, "savings": ANY})
    for constraints in ("domain", "policy"):
        batched = search(everything, constraints=constraints, reference_rows=100)
        for i in range(len(frame)):
            one = toy_inputs(
                frame, additive, train=train, sample_rows=[i],
                features={"income": ANY, "credits": ANY, "savings": ANY},
            )  # fmt: skip
            alone = search(one, constraints=constraints, reference_rows=100)
            np.testing.assert_array_equal(batched.codes[batched.row == i], alone.codes)
            assert batched.evaluated[i] == alone.evaluated[0]
            assert (batched.reasons[i], batched.proven[i]) == (alone.reasons[0], alone.proven[0])


def sklearn_inputs(estimator: Any, rows: list[int] | None) -> Inputs:
    from sklearn.compose import make_column_transformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    train = applicants(400, 3)
    train["savings"] = train["savings"].fillna("none")
    y = additive(train) + np.random.default_rng(4).normal(0, 0.05, len(train)) > 0.5
    encoder = make_column_transformer(
        (StandardScaler(), ["income", "credits"]), (OneHotEncoder(), ["housing", "savings", "guarantor"])
    )
    model = make_pipeline(encoder, estimator).fit(train, y)
    return toy_inputs(train, lambda f: model.predict_proba(f)[:, 1], sample_rows=rows)


@pytest.mark.parametrize("kind", ["forest", "logistic"])
def test_batched_equals_row_by_row_for_real_models(kind: str) -> None:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    def estimator() -> Any:
        return RandomForestClassifier(20, random_state=0) if kind == "forest" else LogisticRegression()

    rows = list(range(12))
    batched = search(sklearn_inputs(estimator(), rows))
    for i in rows:
        alone = search(sklearn_inputs(estimator(), [i]))
        tolerance = 0 if kind == "forest" else 1e-6
        np.testing.assert_allclose(batched.codes[batched.row == i], alone.codes, rtol=0, atol=tolerance)


def test_every_answer_flips_and_is_counted() -> None:
    frame, train = applicants(80, 5), applicants(500, 6)
    inputs = toy_inputs(frame, additive, train=train)
    assert inputs.sample is not None
    assert inputs.model is not None
    found = search(inputs, reference_rows=200)
    assert found.evaluated.sum() + found.shared == inputs.model.rows
    assert found.shared >= 200
    before = inputs.decision.outcome(inputs.sample.scores)[found.row]
    assert (inputs.decision.outcome(inputs.model.probabilities(found.codes)) != before).all()
    x = inputs.sample.table.codes[found.row]
    assert changed(x, found.codes).any(axis=1).all()
    keys = list(zip(found.row, distance(inputs.schema, x, found.codes), strict=True))
    assert keys == sorted(keys)
    assert np.bincount(found.row).max() <= 10


def test_without_constraints_any_unlike_reference_row_is_enough() -> None:
    """One single row of 3,000 has another outcome; the first 100 that are looked at do not hold it."""
    train = pd.DataFrame({"a": np.arange(3000) % 2 / 4, "b": np.arange(3000) % 7})
    train.loc[1234, "a"] = 5.0
    frame = pd.DataFrame({"a": [0.0, 0.0], "b": [1, 6]})
    inputs = toy_inputs(frame, lambda f: (f["a"] > 4) * 0.8 + 0.1, train=train)
    found = search(inputs, reference_rows=100)
    assert found.row.tolist() == [0, 1]
    assert found.codes[:, 0].tolist() == [5, 5]


def test_a_constant_model_gives_no_counterfactual_and_no_crash() -> None:
    inputs = toy_inputs(applicants(30), lambda f: np.full(len(f), 0.7))
    found = search(inputs)
    assert len(found.row) == 0
    assert not found.proven.any()
    assert set(found.reasons) == {"no row of the reference data has another outcome"}


def test_no_rows_are_no_problem() -> None:
    found = search(toy_inputs(applicants(30), additive, sample_rows=[]))
    assert found.codes.shape == (0, 5)
    assert len(found.evaluated) == len(found.reasons) == len(found.proven) == 0


def test_missing_is_a_value_like_others() -> None:
    """Only a missing value flips, and under the domain it may be copied; a policy does not let values go missing."""
    frame = pd.DataFrame({"a": [1.0, 2.0, NAN], "b": [0.0, 1.0, 2.0]})
    score = lambda f: f["a"].isna() * 0.8 + 0.1  # noqa: E731
    open_ = search(toy_inputs(frame, score, sample_rows=[0]))
    np.testing.assert_array_equal(open_.codes, [[NAN, 0]])
    closed = search(toy_inputs(frame, score, sample_rows=[0]), constraints="policy")
    assert len(closed.row) == 0
    back = search(toy_inputs(frame, score, sample_rows=[2]), constraints="policy")
    assert not np.isnan(back.codes).any()
    assert len(back.row)


def test_many_classes_without_favourable_flip_to_any_other() -> None:
    frame = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0]})

    class Three:
        classes = ("x", "y", "z")
        capabilities = frozenset({"predict"})

        def predict(self, rows: pd.DataFrame) -> np.ndarray:
            odds = np.column_stack([rows["a"] < 0.5, (rows["a"] > 0.5) & (rows["a"] < 1.5), rows["a"] > 1.5])
            return odds * 0.7 + 0.1

        def native(self) -> None:
            return None

    inputs = toy_inputs(frame, Three(), favourable=(), sample_rows=[0, 2])
    found = search(inputs)
    assert {(int(i), float(c)) for i, c in zip(found.row, found.codes[:, 0], strict=True)} == {
        (0, 1.0), (0, 2.0), (0, 3.0), (1, 0.0), (1, 1.0),
    }  # fmt: skip


def test_infeasible_is_said_where_it_is_proven_and_only_there() -> None:
    frame = pd.DataFrame({"a": [0, 1, 2, 3], "b": [0, 0, 1, 1], "c": [0.0, 1.0, 2.5, 3.0]})
    score = lambda f: ((f["a"] >= 2) & (f["b"] == 1)) * 0.8 + 0.1  # noqa: E731

    def status(features: dict[str, FeatureRule], row: int = 0, **more: Any) -> tuple[bool, str]:
        found = search(toy_inputs(frame, score, features=features, sample_rows=[row]), constraints="policy", **more)
        assert len(found.row) == 0
        return bool(found.proven[0]), found.reasons[0]

    assert status({}) == (True, "the constraints let no feature of this row change")
    tried = (True, "every allowed combination of values was tried, and all keep the outcome")
    assert status({"a": ANY}) == tried
    assert status({"a": FeatureRule(change="increase", max=1), "b": ANY}) == tried
    # c can take any real value, so that nothing can be proven by trying.
    assert status({"a": ANY, "c": ANY})[0] is False
    assert status({"a": ANY}, proof_rows=3)[0] is False


def test_trying_everything_finds_what_the_neighbours_do_not_show() -> None:
    """No reference row has a = 2, the only value that flips; trying all whole numbers finds it."""
    frame = pd.DataFrame({"a": [0, 4, 1, 3]})
    inputs = toy_inputs(frame, lambda f: (f["a"] == 2) * 0.8 + 0.1, sample_rows=[0])
    assert search(inputs).codes.tolist() == [[2]]


def test_rules_alone_can_prove_that_there_is_none() -> None:
    frame = pd.DataFrame({"a": [0, 1], "b": [5, 5]})
    inputs = toy_inputs(
        frame, lambda f: f["a"] * 0.8 + 0.1, features={"a": ANY}, rules=["a == 0 or b > 9"], sample_rows=[0]
    )
    found = search(inputs, constraints="policy")
    assert found.proven.tolist() == [True]
    assert found.reasons[0] == "every allowed change of this row breaks a rule across features"


def test_changing_one_rule_of_the_policy_changes_the_result() -> None:
    frame = applicants(40, 7)
    rules = {"income": FeatureRule(change="increase"), "credits": ANY, "housing": ANY}
    one = search(toy_inputs(frame, additive, features=rules), constraints="policy")
    other = search(
        toy_inputs(frame, additive, features=rules | {"credits": FeatureRule(change="immutable")}), constraints="policy"
    )
    assert (one.codes[:, 1] != frame["credits"].to_numpy()[one.row]).any()
    assert (other.codes[:, 1] == frame["credits"].to_numpy()[other.row]).all()
    assert {*map(tuple, np.column_stack([one.row, np.nan_to_num(one.codes)]))} != {
        *map(tuple, np.column_stack([other.row, np.nan_to_num(other.codes)]))
    }


def test_the_same_settings_have_the_same_digest_and_others_another() -> None:
    assert Nearest().digest() == Nearest(per_row=10).digest()
    assert len({Nearest().digest(), Nearest(per_row=3).digest(), Nearest(constraints="policy").digest()}) == 3


def test_time_is_linear_in_rows_and_well_below_a_second() -> None:
    import time

    train = applicants(2000, 8)

    def seconds(n: int) -> float:
        inputs = toy_inputs(applicants(n, 9), additive, train=train)
        start = time.process_time()
        assert len(search(inputs).row) > 5 * n
        return time.process_time() - start

    seconds(50)
    small, large = seconds(600), seconds(2400)
    assert small < 1
    assert large < 8 * max(small, 0.05)
