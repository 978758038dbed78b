"""The generator `cheapest` against cases worked out by hand, and itself row by row."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from test_nearest import additive, applicants, sklearn_inputs

from audit.core.counterfactuals import Found, changed
from audit.core.infer import ColumnInfo
from audit.core.method import Inputs, Refusal
from audit.core.model import Scorer
from audit.core.neighbours import Asked, Queries
from audit.core.policy import FeatureRule
from audit.search import cheapest
from audit.search.cheapest import EFFORTS, Cheapest
from audit.search.cheapest.hunt import Hunt
from audit.search.cheapest.moves import Grid, single_moves
from audit.search.cheapest.polish import sparsify, trade
from audit.search.cheapest.prices import Prices
from audit.testing import ToyModel, toy_context, toy_inputs

NAN = float("nan")
ANY = FeatureRule(change="any")
IMMUTABLE = FeatureRule(change="immutable")


def search(inputs: Inputs, **settings: Any) -> Found:
    assert inputs.sample is not None
    before = inputs.decision.outcome(inputs.sample.scores)
    return Cheapest(**settings).generate(toy_context(inputs), inputs.sample.table, before)


def costs(inputs: Inputs, found: Found, per_change: float = 0.02) -> np.ndarray:
    assert inputs.sample is not None
    d = len(inputs.schema)
    return Prices(inputs.schema, np.ones(d), per_change).of(inputs.sample.table.codes[found.row], found.codes)


def two_ways(**more: Any) -> Inputs:
    """a has to go 8 of 10, or b and c 3 of 10 each."""
    frame = pd.DataFrame({"a": [0, 10, 0, 5], "b": [0, 0, 10, 5], "c": [0, 0, 10, 4]})
    return toy_inputs(
        frame, lambda f: ((f["a"] >= 8) | ((f["b"] >= 3) & (f["c"] >= 3))) * 0.8 + 0.1, sample_rows=[0], **more
    )


def test_the_cheaper_of_two_ways_by_hand() -> None:
    """0.8 + 0.02 for a; 0.3 + 0.3 + 2 * 0.02 for b and c."""
    for effort in ("fast", "quality"):
        assert search(two_ways(), effort=effort).codes.tolist() == [[0, 3, 3]]


def test_a_price_for_each_change_turns_to_one_feature() -> None:
    """0.8 + 0.3 for a; 0.6 + 0.6 for b and c."""
    assert search(two_ways(), per_change=0.3).codes.tolist() == [[8, 0, 0]]


def test_weights_turn_to_what_counts_less() -> None:
    """0.5 * 0.8 + 0.02 for a; 0.6 + 0.04 for b and c."""
    assert search(two_ways(), weights={"a": 0.5}).codes.tolist() == [[8, 0, 0]]
    assert search(two_ways(), weights={"a": 0.9}).codes.tolist() == [[0, 3, 3]]


def test_a_weight_for_no_feature_is_refused() -> None:
    with pytest.raises(Refusal, match=r"weights: 'amount' is not a feature; the features are a, b, c"):
        search(two_ways(), weights={"amount": 2.0})


def test_further_ones_change_other_features_each() -> None:
    found = search(two_ways(), per_row=5)
    levers = [tuple(row) for row in changed(np.zeros((1, 3)), found.codes).tolist()]
    assert len(set(levers)) == len(levers)
    assert found.codes[0].tolist() == [0, 3, 3]
    assert [8, 0, 0] in found.codes.tolist()
    assert (np.diff(costs(two_ways(), found)) >= 0).all()


def test_values_stop_at_the_first_that_flips() -> None:
    """The reference knows 0 and 90 only; whole numbers, steps of 5, real numbers and a lower bound of 40."""
    whole = pd.DataFrame({"a": [0, 90], "b": [1, 1]})

    def best(frame: pd.DataFrame, cut: float = 37, **rule: Any) -> float:
        inputs = toy_inputs(
            frame, lambda f: (f["a"] >= cut) * 0.8 + 0.1,
            features={"a": FeatureRule(change="any", **rule)}, sample_rows=[0],
        )  # fmt: skip
        return float(search(inputs, constraints="policy", effort="quality", proof_rows=0).codes[0, 0])

    assert best(whole) == 37
    assert best(whole, step=5.0) == 40
    assert best(whole, min=45.0) == 45
    real = best(pd.DataFrame({"a": [0.5, 90.25], "b": [1, 1]}), cut=37.125)
    assert 37.125 <= real < 37.125 * 1.002


def test_a_value_falls_as_well_as_it_rises() -> None:
    frame = pd.DataFrame({"a": [90, 0], "b": [1, 1]})
    inputs = toy_inputs(frame, lambda f: (f["a"] <= 52) * 0.8 + 0.1, sample_rows=[0])
    assert search(inputs, proof_rows=0).codes.tolist() == [[52, 1]]


def test_levels_in_order_stop_at_the_first_that_flips() -> None:
    levels = ("e", "d", "c", "b", "a")
    frame = pd.DataFrame({"grade": [*"edcba"], "x": [0, 0, 0, 0, 0]})
    place = {level: i for i, level in enumerate(levels)}
    inputs = toy_inputs(
        frame, lambda f: (f["grade"].map(place) >= 2) * 0.8 + 0.1,
        columns={"grade": ColumnInfo(kind="ordinal", order=levels)},
        features={"grade": FeatureRule(change="increase")}, sample_rows=[0, 3],
    )  # fmt: skip
    found = search(inputs, constraints="policy", proof_rows=0)
    assert [inputs.schema.features[0].levels[int(code)] for code in found.codes[:, 0]] == ["c"]
    assert found.row.tolist() == [0]


def test_a_way_that_breaks_a_rule_is_passed_by() -> None:
    found = search(two_ways(rules=["b <= 2 or a >= 1"]))
    assert found.codes.tolist() == [[1, 3, 3]]
    assert search(two_ways(rules=["b <= 2"])).codes.tolist() == [[8, 0, 0]]


def test_two_features_that_gain_nothing_alone_are_set_back_to_what_is_needed() -> None:
    frame = pd.DataFrame({"a": [0, 1, 0, 1], "b": [0, 0, 1, 1], "c": [0, 0, 0, 1]})
    inputs = toy_inputs(frame, lambda f: ((f["a"] == 1) & (f["b"] == 1)) * 0.8 + 0.1, sample_rows=[0])
    assert search(inputs, proof_rows=0).codes.tolist() == [[1, 1, 0]]


def test_missing_is_a_value_like_others() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0, NAN], "b": [0.0, 1.0, 2.0]})
    score = lambda f: f["a"].isna() * 0.8 + 0.1  # noqa: E731
    np.testing.assert_array_equal(search(toy_inputs(frame, score, sample_rows=[0])).codes, [[NAN, 0]])
    assert len(search(toy_inputs(frame, score, sample_rows=[0]), constraints="policy").row) == 0
    back = search(toy_inputs(frame, score, sample_rows=[2]), constraints="policy")
    assert len(back.row) == 1
    assert not np.isnan(back.codes).any()


@dataclass(frozen=True)
class Three:
    classes: tuple[str, ...] = ("x", "y", "z")
    capabilities: frozenset[Any] = frozenset({"predict"})

    def predict(self, rows: pd.DataFrame) -> np.ndarray:
        odds = np.column_stack([rows["a"] < 15, (rows["a"] >= 15) & (rows["a"] < 31), rows["a"] >= 31])
        return odds * 0.7 + 0.1

    def native(self) -> None:
        return None


def test_many_classes_flip_to_any_other() -> None:
    inputs = toy_inputs(pd.DataFrame({"a": [0, 20, 60, 100]}), Three(), favourable=(), sample_rows=[0, 1, 2])
    assert search(inputs, proof_rows=0).codes[:, 0].tolist() == [15, 14, 30]


def test_many_classes_towards_some() -> None:
    inputs = toy_inputs(pd.DataFrame({"a": [0, 20, 60, 100]}), Three(), favourable=("z",), sample_rows=[0, 1, 2])
    assert search(inputs, proof_rows=0).codes[:, 0].tolist() == [31, 31, 30]


def test_batched_equals_row_by_row_and_other_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    frame, train = applicants(40, 1), applicants(300, 2)
    features = {"income": ANY, "credits": ANY, "savings": ANY}
    for constraints, effort in (("domain", "fast"), ("policy", "quality")):
        asked = {"constraints": constraints, "effort": effort, "per_row": 3, "reference_rows": 100}
        batched = search(toy_inputs(frame, additive, train=train, features=features), **asked)
        with monkeypatch.context() as patched:
            patched.setitem(cheapest.EFFORTS, effort, EFFORTS[effort]._replace(chunk=7))
            chunked = search(toy_inputs(frame, additive, train=train, features=features), **asked)
        np.testing.assert_array_equal(batched.codes, chunked.codes)
        np.testing.assert_array_equal(batched.evaluated, chunked.evaluated)
        for i in range(0, len(frame), 4):
            one = toy_inputs(frame, additive, train=train, sample_rows=[i], features=features)
            alone = search(one, **asked)
            np.testing.assert_array_equal(batched.codes[batched.row == i], alone.codes)
            assert batched.evaluated[i] == alone.evaluated[0]
            assert (batched.reasons[i], batched.proven[i]) == (alone.reasons[0], alone.proven[0])


def test_every_answer_flips_and_is_counted() -> None:
    inputs = toy_inputs(applicants(80, 5), additive, train=applicants(500, 6))
    assert inputs.sample is not None
    assert inputs.model is not None
    found = search(inputs, reference_rows=200, per_row=3)
    assert found.evaluated.sum() + found.shared == inputs.model.rows
    before = inputs.decision.outcome(inputs.sample.scores)[found.row]
    assert (inputs.decision.outcome(inputs.model.probabilities(found.codes)) != before).all()
    keys = list(zip(found.row, costs(inputs, found), strict=True))
    assert keys == sorted(keys)
    assert np.bincount(found.row).max() == 3


def test_a_higher_price_for_a_change_means_fewer_changes() -> None:
    from sklearn.ensemble import RandomForestClassifier

    inputs = sklearn_inputs(RandomForestClassifier(20, random_state=0), list(range(60)))
    assert inputs.sample is not None
    mean = []
    for price in (0.0, 0.1, 1.0):
        found = search(inputs, per_change=price, effort="quality")
        mean.append(changed(inputs.sample.table.codes[found.row], found.codes).sum(axis=1).mean())
    assert mean[0] >= mean[1] >= mean[2]
    assert mean[0] > mean[2]


def test_quality_costs_no_more_than_fast() -> None:
    from sklearn.ensemble import RandomForestClassifier

    inputs = sklearn_inputs(RandomForestClassifier(20, random_state=0), list(range(60)))
    mean = {effort: costs(inputs, search(inputs, effort=effort)).mean() for effort in ("fast", "quality")}
    assert mean["quality"] <= mean["fast"]


@dataclass(frozen=True)
class Trembling(ToyModel):
    """A model of single precision whose scores depend, by less than one rounding, on how many rows it is given."""

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        z = (frame["a"].to_numpy() / 7 + frame["b"].to_numpy() / 11 - 4).astype(np.float32)
        p = (1 / (1 + np.exp(-z))).astype(np.float32)
        return np.column_stack([1 - p, p]) + np.array([-1, 1]) * (3e-8 if len(frame) % 2 else -3e-8)


def test_nothing_is_accepted_that_other_batches_put_below_the_threshold() -> None:
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"a": rng.uniform(0, 60, 200), "b": rng.uniform(0, 60, 200)})
    model = Trembling(lambda f: f["a"])
    inputs = toy_inputs(frame, model, favourable=("yes",))
    assert inputs.sample is not None
    found = search(inputs, effort="quality", per_change=0.0)
    before = inputs.decision.outcome(inputs.sample.scores)
    assert len(found.row) == 200
    for size in (1, 2, 7, 200):
        for start in range(0, len(found.row), size):
            part = slice(start, start + size)
            P = Scorer(model, inputs.schema, inputs.decision).probabilities(found.codes[part])
            assert (inputs.decision.outcome(P) != before[found.row[part]]).all()


@dataclass(frozen=True)
class Fickle(ToyModel):
    """Changing a alone flips only among many rows; b flips always."""

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        p = 0.1 + 0.8 * ((frame["b"] >= 5) | ((frame["a"] >= 1) & (len(frame) > 4))).to_numpy()
        return np.column_stack([1 - p, p])


def test_what_does_not_flip_again_gives_way_to_the_next() -> None:
    frame = pd.DataFrame({"a": [0, 4, 8, 3, 4, 1], "b": [0, 8, 8, 8, 7, 8]})
    inputs = toy_inputs(frame, Fickle(lambda f: f["a"]), sample_rows=[0])
    assert search(inputs, proof_rows=0).codes.tolist() == [[0, 5]]


@dataclass(frozen=True)
class Split(ToyModel):
    """It tells where it splits."""

    def thresholds(self, name: str) -> np.ndarray | None:
        t = 37.123456789
        return np.array([[t, np.nextafter(t, np.inf)]]) if name == "a" else None


def test_splits_that_the_model_names_are_met_exactly() -> None:
    frame = pd.DataFrame({"a": [0.5, 90.25], "b": [1.5, 1.25]})
    score = lambda f: (f["a"] > 37.123456789) * 0.8 + 0.1  # noqa: E731
    beyond = np.nextafter(37.123456789, np.inf)
    assert search(toy_inputs(frame, Split(score), sample_rows=[0])).codes[0, 0] == beyond
    assert search(toy_inputs(frame, Split(score), sample_rows=[1])).codes[0, 0] == 37.123456789
    assert search(toy_inputs(frame, score, sample_rows=[0])).codes[0, 0] > beyond


def test_splits_of_whole_numbers_are_rounded_outwards() -> None:
    frame = pd.DataFrame({"a": [0, 90], "b": [1.5, 1.25]})

    @dataclass(frozen=True)
    class Half(ToyModel):
        def thresholds(self, name: str) -> np.ndarray | None:
            return np.array([[37.5, np.nextafter(37.5, 99)], [61.5, np.nextafter(61.5, 99)]]) if name == "a" else None

    score = lambda f: (f["a"] > 37.5) * 0.2 + (f["a"] > 61.5) * 0.2 + 0.2  # noqa: E731
    assert search(toy_inputs(frame, Half(score), sample_rows=[0])).codes[0, 0] == 62
    assert search(toy_inputs(frame, Half(score), sample_rows=[1])).codes[0, 0] == 61


def test_no_unlike_row_is_needed_where_a_move_shows_the_way() -> None:
    """No row of the reference flips, but a and b at their highest do, each of which was seen."""
    frame = pd.DataFrame({"a": [0.0, 4.0, 0.5], "b": [0.0, 0.5, 4.0]})
    inputs = toy_inputs(frame, lambda f: f["a"] / 10 + f["b"] / 10, sample_rows=[0])
    found = search(inputs)
    assert found.row.tolist() == [0]
    assert 5.0 <= found.codes.sum() < 5.2


def test_infeasible_is_said_where_it_is_proven_and_only_there() -> None:
    frame = pd.DataFrame({"a": [0, 1, 2, 3], "b": [0, 0, 1, 1], "c": [0.0, 1.0, 2.5, 3.0]})
    score = lambda f: ((f["a"] >= 2) & (f["b"] == 1)) * 0.8 + 0.1  # noqa: E731

    def status(features: dict[str, FeatureRule], **more: Any) -> tuple[bool, str]:
        found = search(toy_inputs(frame, score, features=features, sample_rows=[0]), constraints="policy", **more)
        assert len(found.row) == 0
        return bool(found.proven[0]), found.reasons[0]

    assert status({}) == (True, "the constraints let no feature of this row change")
    assert status({"a": ANY}) == (True, "every allowed combination of values was tried, and all keep the outcome")
    assert status({"a": ANY, "c": ANY})[0] is False
    assert status({"a": ANY}, proof_rows=3)[0] is False


def test_trying_everything_finds_what_nothing_shows() -> None:
    """Only a = 2 and b = 2 together flip, and neither the reference nor any single move leads there."""
    frame = pd.DataFrame({"a": [0, 4, 1, 3], "b": [0, 4, 3, 1]})
    inputs = toy_inputs(frame, lambda f: ((f["a"] == 2) & (f["b"] == 2)) * 0.8 + 0.1, sample_rows=[0])
    assert search(inputs).codes.tolist() == [[2, 2]]
    assert len(search(inputs, proof_rows=0).row) == 0


def test_one_unlike_row_among_those_not_looked_at_first_is_found() -> None:
    """a and b gain nothing alone, so that no move shows the way: only the one row of 3,000 does."""
    train = pd.DataFrame({"a": np.arange(3000) % 2 / 4, "b": np.arange(3000) % 7 / 4})
    train.loc[1234] = [5.0, 9.5]
    frame = pd.DataFrame({"a": [0.0, 0.0], "b": [0.25, 1.5]})
    inputs = toy_inputs(frame, lambda f: ((f["a"] == 5) & (f["b"] == 9.5)) * 0.8 + 0.1, train=train)
    found = search(inputs, reference_rows=100)
    assert found.codes.tolist() == [[5.0, 9.5], [5.0, 9.5]]


def test_a_constant_model_and_no_rows_are_no_problem() -> None:
    found = search(toy_inputs(applicants(30), lambda f: np.full(len(f), 0.7)), per_row=2)
    assert len(found.row) == 0
    assert not found.proven.any()
    assert set(found.reasons) == {"no row of the reference data has another outcome"}
    assert search(toy_inputs(applicants(30), additive, sample_rows=[])).codes.shape == (0, 5)


def hunting(inputs: Inputs) -> Hunt:
    assert inputs.model is not None
    rows = inputs.evaluate.codes[:1]
    asked = Asked(inputs.model, np.zeros(1, dtype=np.int64))
    queries = Queries(rows, np.zeros(1, dtype=np.int64), inputs.policy.domain(), inputs.decision, asked)
    return Hunt(queries, np.zeros(1, dtype=np.int64), Prices(inputs.schema, np.ones(rows.shape[1]), 0.02), 1)


def test_group_testing_asks_for_few_rows_where_there_are_many_features() -> None:
    """Of 64 features that differ, two are needed: each alone once, and runs by halving, in two passes at most."""
    d = 64
    frame = pd.DataFrame({f"x{j}": [0, 1] for j in range(d)})
    inputs = toy_inputs(frame, lambda f: ((f["x3"] == 1) & (f["x40"] == 1)) * 0.8 + 0.1, sample_rows=[0])
    assert inputs.model is not None
    rows, hunt = inputs.evaluate.codes, hunting(inputs)
    sparsify(hunt, np.zeros(1, dtype=np.int64), rows[1:])
    assert np.flatnonzero(changed(rows[:1], hunt.codes[:, 0])[0]).tolist() == [3, 40]
    assert hunt.queries.asked.rows.sum() <= d + 7 + 2 * (2 + 1)


def test_less_of_one_feature_is_traded_for_more_of_another() -> None:
    """a + 2 b must reach 60: a = 60 costs 0.62; 40 and 10, or better 0 and 30, cost less."""
    frame = pd.DataFrame({"a": np.arange(0, 101, 10), "b": np.arange(0, 101, 10)})
    inputs = toy_inputs(frame, lambda f: 1 / (1 + np.exp(-(f["a"] + 2 * f["b"] - 59.5) / 10)))
    hunt = hunting(inputs)
    first = np.zeros(1, dtype=np.int64)
    hunt.keep(first, np.array([[60.0, 0.0]]), np.array([0.05]))
    policy = inputs.policy.domain()
    grid = Grid.of(
        policy, inputs.evaluate.codes, [None] * 2, lambda columns: [np.arange(len(v)) * 1.0 for v in columns]
    )
    moves = single_moves(hunt, grid, 11)
    hunt.costs[:], hunt.codes[0, 0], hunt.costs[0, 0] = np.inf, [60.0, 0.0], 0.62
    trade(hunt, moves, 1, 4)
    assert hunt.costs[0, 0] < 0.62
    a, b = hunt.codes[0, 0]
    assert a > 0
    assert b > 0
    assert a + 2 * b >= 60


def test_the_settings_are_in_the_digest_and_the_choices() -> None:
    variants = [
        Cheapest(), Cheapest(per_row=2), Cheapest(effort="quality"), Cheapest(per_change=0.1),
        Cheapest(weights={"a": 2.0}), Cheapest(reference_rows=5), Cheapest(proof_rows=0),
        Cheapest(plausible=0.95),
    ]  # fmt: skip
    assert len({generator.digest() for generator in variants}) == len(variants)
    for generator in variants[1:]:
        follows = generator.effort == "quality"  # how many features a slope ranks goes with the effort
        assert generator.choices()["changed"].sum() == 1 + follows
    assert not Cheapest().choices()["changed"].any()


def test_what_every_search_says_is_worded_alike(root: Any) -> None:
    words = {
        kind: yaml.safe_load((root / "templates" / "words" / f"{kind}.yaml").read_text("utf-8"))
        for kind in ("verify", "cheapest")
    }
    for part in ("metrics", "notes"):
        assert words["verify"][part] == words["cheapest"][part]
    assert words["verify"]["tables"].items() <= words["cheapest"]["tables"].items()


def test_a_frozen_policy_is_a_proof() -> None:
    inputs = toy_inputs(applicants(20), additive, train=applicants(50, 2), features={"income": IMMUTABLE})
    found = search(inputs, constraints="policy")
    assert len(found.row) == 0
    assert found.proven.all()
