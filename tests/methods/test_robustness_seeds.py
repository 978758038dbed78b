"""Fitting again under other seeds, against scikit-learn asked by hand."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from worded import assert_worded

from audit.core import refits
from audit.core.errors import ModelError
from audit.core.evidence import Result
from audit.core.method import Inputs
from audit.core.plan import Part
from audit.core.refits import under_other_seeds
from audit.methods.robustness import Robustness
from audit.models.scikit import FittedModel
from audit.testing import toy_context, toy_inputs

FEATURES = ["x", "y", "z"]


def rows(n: int, seed: int) -> pd.DataFrame:
    """A target that x and y hardly tell, so that the seed of a forest matters."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(n, 3)), columns=FEATURES)
    return frame.assign(paid=np.where(frame["x"] + rng.normal(size=n) > 0, "yes", "no"))


def inputs_of(estimator, train: pd.DataFrame | None = None) -> Inputs:
    train = rows(80, 1) if train is None else train
    fitted = estimator.fit(train[FEATURES], train["paid"])
    model = FittedModel(fitted, tuple(fitted.classes_), tuple(FEATURES))
    return toy_inputs(rows(60, 2), model, target="paid", train=train)


def forest(seed: int = 0) -> RandomForestClassifier:
    return RandomForestClassifier(n_estimators=4, max_depth=4, random_state=seed)


def said(result: Result) -> str:
    (note,) = (n for n in result.notes if n.code == "seeds_not_applicable")
    return str(note.args["reason"])


def test_decisions_and_counterfactuals_of_models_fitted_by_hand():
    inputs, train, frame = inputs_of(forest()), rows(80, 1), rows(60, 2)
    drawn = np.arange(60) < 50
    inputs = replace(inputs, sample=replace(inputs.sample, drawn=drawn))
    people, moved = np.array([3, 7, 20]), inputs.sample.table.codes[[3, 7, 20]] + [2.0, 0.0, 0.0]
    result = under_other_seeds(toy_context(inputs, 5), 3, people, moved)

    seeds = toy_context(inputs, 5).rng.integers(0, 2**31, 3)
    fits = [forest(int(seed)).fit(train[FEATURES], train["paid"]) for seed in seeds]
    was = inputs.model.model.estimator.predict_proba(frame[FEATURES])[:, 1] >= 0.5
    own = np.array([fit.predict_proba(frame[FEATURES])[:, 1] >= 0.5 for fit in fits])[:, :50]
    ways = pd.DataFrame(moved, columns=FEATURES)
    hold = np.array([(fit.predict_proba(ways)[:, 1] >= 0.5) != was[people] for fit in fits])

    table = result.tables["robustness_seeds"]
    assert table["changed_share"].tolist() == (own != was[:50]).mean(axis=1).tolist()
    assert table["hold_share"].tolist() == hold.mean(axis=1).tolist()
    assert (table["n"].unique().tolist(), table["people"].unique().tolist()) == ([50], [3])
    value = {m.name: m.value for m in result.metrics}
    assert value["seeds_changed_share"] == pytest.approx((own != was[:50]).mean())
    assert value["seeds_split_share"] == pytest.approx((own != own[0]).any(axis=0).mean())
    assert value["seeds_counterfactuals_hold"] == pytest.approx(hold.mean())
    assert 0 < value["seeds_changed_share"] < 1


def test_a_fit_without_chance_changes_nothing():
    estimator = make_pipeline(StandardScaler(), LogisticRegression())
    result = Robustness(seeds=3).run(toy_context(inputs_of(estimator)), Part(index=0))
    assert_worded("robustness", result)
    value = {m.name: m for m in result.metrics}
    assert (value["seeds_changed_share"].value, value["seeds_split_share"].value) == (0, 0)
    assert 0 < value["seeds_changed_share"].high < 0.1  # of 60 rows; no certainty
    assert "seeds_counterfactuals_hold" not in value


def test_every_seed_inside_a_pipeline_is_another_and_the_given_model_stays():
    estimator = make_pipeline(StandardScaler(), forest(7))
    inputs = inputs_of(estimator)
    before = inputs.model.probabilities(inputs.evaluate.codes)
    found = inputs.model.model.refitted(rows(80, 1)[FEATURES], rows(80, 1)["paid"], 11)
    by_hand = clone(estimator).set_params(randomforestclassifier__random_state=11)
    by_hand.fit(rows(80, 1)[FEATURES], rows(80, 1)["paid"])
    frame = rows(60, 2)[FEATURES]
    assert np.array_equal(found.predict(frame), by_hand.predict_proba(frame))
    assert np.array_equal(inputs.model.probabilities(inputs.evaluate.codes), before)


def test_classes_that_are_numbers_are_fitted_as_numbers():
    train = rows(80, 1)
    fitted = forest().fit(train[FEATURES], (train["paid"] == "yes").astype(int))
    model = FittedModel(fitted, ("0", "1"), tuple(FEATURES))
    again = model.refitted(train[FEATURES], (train["paid"] == "yes").astype(int).astype(str), 0)
    assert np.array_equal(again.estimator.classes_, [0, 1])
    assert np.array_equal(again.predict(train[FEATURES]), model.predict(train[FEATURES]))


def test_where_it_cannot_be_fitted_again_the_reason_is_said(monkeypatch):
    nobody = np.empty(0, dtype=np.int64), np.empty((0, 3))

    def asked(inputs: Inputs) -> str:
        result = Robustness(seeds=2).run(toy_context(inputs), Part(index=0))
        assert_worded("robustness", result)
        assert not [m for m in result.metrics if m.name.startswith("seeds")]
        assert "robustness_seeds" not in result.tables
        return said(result)

    formula = toy_inputs(rows(60, 2), lambda f: (f["x"] > 0) * 0.6 + 0.2, target="paid", train=rows(80, 1))
    assert "does not say how it was fitted" in asked(formula)
    whole = inputs_of(forest())
    assert "no training rows" in asked(replace(whole, train=None))
    assert "no training rows" in asked(replace(whole, target=None))
    assert "no `random_state`" in asked(inputs_of(GaussianNB()))
    other = rows(80, 1).assign(paid=lambda f: f["paid"].where(f.index > 3, "maybe"))
    assert "'maybe', which the model does not know" in asked(replace(whole, train=inputs_of(forest(), other).train))
    monkeypatch.setattr(refits, "REFIT_ROWS", 70)
    assert "80 training rows, more than the 70" in said(under_other_seeds(toy_context(whole), 2, *nobody))


def test_what_the_estimator_raises_becomes_the_reason():
    class Moody(RandomForestClassifier):
        def fit(self, X, y, sample_weight=None):
            if sample_weight is None:
                raise ValueError("weights, please")
            return super().fit(X, y, sample_weight)

    train = rows(80, 1)
    fitted = Moody(n_estimators=2).fit(train[FEATURES], train["paid"], np.ones(80))
    with pytest.raises(ModelError, match="fitting it again failed: ValueError: weights, please"):
        FittedModel(fitted, ("no", "yes"), tuple(FEATURES)).refitted(train[FEATURES], train["paid"], 1)


def test_settings_of_seeds():
    settings = {"seeds": 0, "noise": [0.1]}
    result = Robustness.model_validate_json(json.dumps(settings)).run(toy_context(inputs_of(forest())), Part(index=0))
    assert {n.code for n in result.notes} == {"decisions", "seeds_untested"}
    assert result.tables["choices"].set_index("id").loc["ROBUST-07", "value"] == "not tested"
