"""The adapter of DiCE: what it asks, what it says where DiCE is not installed, and its answers where it is."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from audit.core.method import Refusal
from audit.core.model import Decision
from audit.core.policy import FeatureRule
from audit.search import dice
from audit.search.dice import Dice, _centred
from audit.search.verify import INVALID
from audit.testing import ToyModel, conformance_inputs, search_set, toy_context, toy_inputs


def refused(inputs: Any) -> Refusal:
    assert inputs.sample is not None
    before = inputs.decision.outcome(inputs.sample.scores)
    with pytest.raises(Refusal) as caught:
        Dice().generate(toy_context(inputs), inputs.sample.table, before)
    return caught.value


def test_without_the_library_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dice, "find_spec", lambda name: None)
    error = refused(conformance_inputs())
    assert error.status == "refused"
    assert str(error) == "DiCE is not installed here; install it with pip install 'auditspec[dice]'"


def test_more_than_two_outcomes_are_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dice, "find_spec", lambda name: name)
    frame = pd.DataFrame({"a": [0.0, 1.0, 2.0]})
    model = ToyModel(lambda f: np.eye(3)[f["a"].to_numpy().astype(int)], ("a", "b", "c"))
    inputs = toy_inputs(frame, model, favourable=())
    assert refused(inputs).status == "not_applicable"


@pytest.mark.parametrize("at", [0.1, 0.5, 0.8])
def test_the_threshold_moves_to_one_half(at: float) -> None:
    """By hand: 0, at / 2, at and 1 become 0, .25, .5 and 1; just below stays below."""
    scores = np.array([0.0, at / 2, at, 1.0, at - 1e-9])
    P = np.column_stack([1 - scores, scores])
    moved = _centred(Decision(("no", "yes"), ("yes",), at), P)
    np.testing.assert_allclose(moved[:4], [0, 0.25, 0.5, 1])
    assert moved[4] < 0.5


# DiCE raises warnings of its own; an error made of one would only be counted as a row without an answer.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", ["random", "kdtree", "genetic"])
def test_its_answers_are_checked_and_come_again(method: str) -> None:
    """Rows 1, 2 and 3 can flip by a higher income or fewer credits; no allowed change flips row 0."""
    rules = {"income": FeatureRule(change="increase"), "credits": FeatureRule(change="any")}
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"income": rng.uniform(10, 90, 40), "credits": rng.integers(0, 9, 40)})
    found, results = [], []
    for _ in range(2):
        inputs = toy_inputs(
            frame,
            lambda f: (f["income"] - 4 * f["credits"] > 20) * 0.8 + 0.1,
            features=rules,
            sample_rows=list(range(4)),
        )
        answer, result = search_set(Dice(method=method, constraints="policy", per_row=2, calls=300), inputs)
        found.append(answer.codes)
        results.append(result)
        assert inputs.model is not None
        assert answer.evaluated.sum() + answer.shared + len(answer.row) == inputs.model.rows
    np.testing.assert_array_equal(*found)
    table = results[0].tables["discarded"].set_index("reason")["count"]
    assert len(results[0].tables["counterfactuals"]) >= 4
    assert table[list(INVALID)].drop("not_flipped").sum() == 0
    status = results[0].tables["instance_status"].set_index("instance")
    assert status.loc["0", "status"] == "not_found"
    if method == "genetic":
        assert status.loc["0", "reason"] == "DiCE was stopped after 300 calls of the model"
