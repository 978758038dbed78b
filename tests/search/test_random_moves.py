"""The generator `random`: allowed changes, whatever the batches, fewest features first, without preference."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from audit.core.counterfactuals import Found, changed
from audit.core.method import Inputs
from audit.core.policy import FeatureRule
from audit.search.random_moves import Random
from audit.testing import conformance_inputs, toy_context, toy_inputs

ANY = FeatureRule(change="any")


def search(inputs: Inputs, **settings: Any) -> Found:
    assert inputs.sample is not None
    before = inputs.decision.outcome(inputs.sample.scores)
    return Random(**settings).generate(toy_context(inputs), inputs.sample.table, before)


@pytest.mark.parametrize("constraints", ["domain", "policy"])
def test_every_change_is_allowed_and_flips(constraints: str) -> None:
    inputs = conformance_inputs()
    assert inputs.sample is not None
    assert inputs.model is not None
    found = search(inputs, constraints=constraints)
    policy = Random(constraints=constraints).constraint(inputs.policy)
    x = inputs.sample.table.codes[found.row]
    assert len(found.row) > 100
    assert policy.violations(x, found.codes) == []
    before = inputs.decision.outcome(inputs.sample.scores)[found.row]
    assert inputs.decision.flipped(inputs.model.probabilities(found.codes), before).all()
    assert found.evaluated.sum() + len(found.row) == inputs.model.rows


def test_batched_equals_row_by_row() -> None:
    inputs = conformance_inputs()
    assert inputs.sample is not None
    together, before = search(inputs), inputs.decision.outcome(inputs.sample.scores)
    for i in range(len(inputs.sample)):
        alone = Random().generate(toy_context(inputs), inputs.sample.table.take([i]), before[[i]])
        np.testing.assert_array_equal(alone.codes, together.codes[together.row == i])
        assert alone.evaluated[0] == together.evaluated[i]


def test_another_seed_draws_other_changes() -> None:
    inputs = conformance_inputs()
    one, again, other = search(inputs), search(inputs), search(inputs, draw_seed=1)
    np.testing.assert_array_equal(one.codes, again.codes)
    assert one.codes.shape != other.codes.shape or (one.codes != other.codes).any()


def test_one_feature_comes_before_two() -> None:
    """a alone flips in 1 of 4 values, b alone in 2: so single changes give them all, and pairs are not drawn."""
    frame = pd.DataFrame({"a": [0, 1, 2, 3, 4], "b": [0, 1, 2, 3, 4], "c": [0, 1, 2, 3, 4]})
    inputs = toy_inputs(frame, lambda f: ((f["a"] == 4) | (f["b"] > 2)) * 0.8 + 0.1, sample_rows=[0])
    found = search(inputs, per_row=3)
    assert sorted(found.codes.tolist()) == [[0, 3, 0], [0, 4, 0], [4, 0, 0]]
    # The 12 single changes are all that is asked for.
    assert found.evaluated.tolist() == [12]
    assert (changed(np.zeros((10, 3)), search(inputs, per_row=10).codes).sum(axis=1) <= 2).all()


def test_no_value_and_no_feature_is_preferred() -> None:
    """Each of 2 features and of 50 values flips: 2,000 rows are shared evenly, within 4 standard deviations."""
    frame = pd.DataFrame({"a": np.arange(51), "b": np.arange(51)})
    many = pd.DataFrame({"a": [25] * 2000, "b": [25] * 2000})
    inputs = toy_inputs(many, lambda f: ((f["a"] != 25) | (f["b"] != 25)) * 0.8 + 0.1, train=frame)
    found = search(inputs, per_row=1, draws=1)
    moved = changed(np.full((len(found.row), 2), 25.0), found.codes)
    assert len(found.row) == 2000
    assert (moved.sum(axis=1) == 1).all()
    share = moved[:, 0].sum()
    assert abs(share - 1000) < 4 * np.sqrt(2000 * 0.25)
    values, counts = np.unique(found.codes[moved[:, 0], 0], return_counts=True)
    assert len(values) == 50
    assert (np.abs(counts - share / 50) < 5 * np.sqrt(share / 50)).all()


def test_what_cannot_change_is_said() -> None:
    frame = pd.DataFrame({"a": [0.0, 1.0, 2.0], "b": [0.0, 1.0, 2.0]})
    still = FeatureRule(change="immutable")
    frozen = toy_inputs(frame, lambda f: (f["a"] > 1) * 0.8 + 0.1, features={"a": still})
    nothing = search(frozen, constraints="policy")
    assert nothing.proven.all()
    assert set(nothing.reasons) == {"the constraints leave nothing to change"}
    top = toy_inputs(
        frame, lambda f: (f["b"] > 1) * 0.8 + 0.1, features={"a": FeatureRule(change="increase")}, sample_rows=[2]
    )
    stuck = search(top, constraints="policy")
    assert not stuck.proven.any()
    assert stuck.reasons[0].startswith("the constraints let no feature of this row change")
    small = toy_inputs(frame, lambda f: (f["b"] > 1) * 0.8 + 0.1, features={"a": ANY}, sample_rows=[0])
    found = search(small, constraints="policy", draws=30)
    assert not found.proven.any()
    assert found.reasons == ["none of 2 random changes within the constraints flips the outcome"]


def test_choices_say_what_was_changed() -> None:
    table = Random(draws=50, draw_seed=3).choices().set_index("id")
    assert table.loc["RANDOM-01", ["value", "changed"]].tolist() == ["50", True]
    assert table.loc["RANDOM-05", "value"] == "3, with the id of the row"
    assert not Random().choices()["changed"].any()
