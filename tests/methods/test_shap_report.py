"""What the Shapley values are reported with: rows, background, intervals, order and cost."""

import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from shap_case import encoded, fitted, how, metric, people, run
from sklearn.ensemble import (
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression

from audit.core.method import Refusal
from audit.testing import ToyModel, toy_inputs


def test_the_table_is_ranked_and_its_intervals_hold_the_value():
    frame, y = people()
    table = run(toy_inputs(frame, fitted(encoded(LogisticRegression()), frame, y))).tables["shap_global"]
    assert table["rank"].tolist() == [1, 2, 3]
    assert table["mean_abs"].is_monotonic_decreasing
    assert ((table["low"] < table["mean_abs"]) & (table["mean_abs"] < table["high"])).all()
    assert (table["n"] == 100).all()


def test_intervals_cover_the_value_of_all_rows():
    """20 draws of 60 rows of 1,500: at least 16 of 20 intervals of each feature hold the mean over all rows."""
    frame, y = people(1500)
    model = fitted(encoded(LogisticRegression()), frame, y)
    inputs = toy_inputs(frame, model, train=frame.iloc[:50].reset_index(drop=True))
    settings = {"background": 50, "bootstrap": 200}
    truth = run(inputs, rows=1500, **settings).tables["shap_global"].set_index("feature")["mean_abs"]
    hits = dict.fromkeys(truth.index, 0)
    for seed in range(20):
        table = run(inputs, seed=seed + 1, rows=60, **settings).tables["shap_global"].set_index("feature")
        for name in hits:
            hits[name] += table["low"][name] <= truth[name] <= table["high"][name]
    assert min(hits.values()) >= 16, hits


def test_only_drawn_rows_are_explained_and_the_background_comes_from_training():
    frame, y = people(40)
    model = fitted(encoded(LogisticRegression()), frame, y)
    inputs = toy_inputs(frame, model, train=people(25, seed=9)[0])
    drawn = np.arange(40) < 15
    result = run(replace(inputs, sample=replace(inputs.sample, drawn=drawn)))
    assert set(result.tables["shap_local"]["instance"]) == set(map(str, range(15)))
    assert metric(result, "explained_rows") == [15]
    assert metric(result, "background_rows") == [25]
    assert how(result).args["data"] == "training"
    with pytest.raises(Refusal, match="no audited row"):
        run(replace(inputs, sample=replace(inputs.sample, drawn=drawn & False)))


def test_what_the_model_is_asked_for_is_bounded_and_the_cut_is_told():
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 6)), columns=list("abcdef"))
    inputs = toy_inputs(X, lambda f: np.asarray(1 / (1 + np.exp(-f["a"] * f["b"]))))
    before = inputs.model.rows
    result = run(inputs, background=10, most_evaluated=5000)
    assert inputs.model.rows - before <= 5000
    (note,) = [n for n in result.notes if n.code == "fewer_rows"]
    assert note.args["rows"] == metric(result, "explained_rows")[0] < note.args["wanted"] == 50


def test_reading_the_model_asks_for_no_rows():
    frame, y = people()
    inputs = toy_inputs(frame, fitted(encoded(LogisticRegression()), frame, y))
    before = inputs.model.rows
    run(inputs)
    assert inputs.model.rows == before


def test_the_seed_alone_decides_and_global_randomness_is_left_alone():
    frame, y = people()
    for model in (ToyModel(lambda f: np.full(len(f), 0.5)), fitted(encoded(RandomForestClassifier(5)), frame, y)):
        inputs = toy_inputs(frame, model)
        np.random.seed(1)  # noqa: NPY002 - the state that must not move
        state = np.random.get_state()[1].copy()  # noqa: NPY002
        first = run(inputs, seed=3, rows=20)
        np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
        np.random.seed(2)  # noqa: NPY002
        second = run(inputs, seed=3, rows=20)
        pd.testing.assert_frame_equal(first.tables["shap_local"], second.tables["shap_local"])
        other = run(inputs, seed=4, rows=20)
        assert not other.tables["shap_local"]["instance"].equals(first.tables["shap_local"]["instance"])


def test_a_single_row_has_no_interval():
    frame, y = people()
    table = run(toy_inputs(frame, fitted(encoded(LogisticRegression()), frame, y)), rows=1).tables["shap_global"]
    assert table[["low", "high"]].isna().all(axis=None)


@pytest.mark.parametrize("explainer", ["auto", "permutation"])
def test_twice_the_rows_cost_at_most_about_twice_the_time(explainer):
    frame, y = people(1600)
    inputs = toy_inputs(frame, fitted(encoded(LogisticRegression()), frame, y))

    def seconds(rows):
        times = []
        for _ in range(4):
            start = time.process_time()
            run(inputs, rows=rows, explainer=explainer, background=20, permutations=3)
            times.append(time.process_time() - start)
        return min(times)

    seconds(20)  # imports
    small, large = seconds(800), seconds(1600)
    assert large <= 2.6 * small, (small, large)
