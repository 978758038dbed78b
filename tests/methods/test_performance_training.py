"""What performance says of the training data: rows shared with it, and a challenger trained on it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from performance_case import codes, known, metric, note, people, run
from sklearn import metrics as oracle

from audit.core.model import Decision
from audit.testing import ToyModel, toy_inputs


def test_overlap_is_counted_by_features_where_there_are_no_ids():
    frame = people(40)
    train = pd.concat([people(60, seed=1), frame.iloc[:7]], ignore_index=True)
    result = run(toy_inputs(frame, known, target="y", train=train))
    assert metric(result, "rows_in_training").value == 7
    found = note(result, "rows_in_training")
    assert found.severity == "major"
    assert found.args == {"count": 7, "rows": 40, "share": 7 / 40, "named": False}


def test_more_than_half_in_training_is_critical_and_none_is_silent():
    frame = people(40)
    leaky = run(toy_inputs(frame, known, target="y", train=frame))
    assert note(leaky, "rows_in_training").severity == "critical"
    half = run(toy_inputs(frame, known, target="y", train=frame.iloc[:20].reset_index(drop=True)))
    assert note(half, "rows_in_training").severity == "major"
    clean = run(toy_inputs(frame, known, target="y", train=people(60, seed=1)))
    assert "rows_in_training" not in codes(clean)
    assert metric(clean, "rows_in_training").value == 0


def test_with_ids_a_row_is_the_same_only_under_its_id():
    frame = people(10)
    inputs = toy_inputs(frame, known, target="y", train=frame)
    evaluate = replace(inputs.evaluate, ids=tuple(f"id {i}" for i in range(10)))
    train = replace(inputs.train, ids=tuple(f"id {i}" if i < 3 else f"other {i}" for i in range(10)))
    result = run(replace(inputs, evaluate=evaluate, train=train))
    assert metric(result, "rows_in_training").value == 3
    assert metric(result, "features_in_training").value == 10
    assert note(result, "rows_in_training").args["named"] is True
    renamed = replace(inputs.train, ids=tuple(f"other {i}" for i in range(10)))
    result = run(replace(inputs, evaluate=evaluate, train=renamed))
    assert metric(result, "rows_in_training").value == 0
    assert note(result, "features_in_training").args["count"] == 10


def test_missing_values_and_negative_zero_do_not_hide_a_row():
    frame = pd.DataFrame({"x": [np.nan, 0.0, 1.0], "y": ["no", "yes", "no"]})
    train = pd.DataFrame({"x": [np.nan, -0.0, 5.0], "y": ["no", "yes", "no"]})
    score = lambda f: np.full(len(f), 0.5)  # noqa: E731 - a toy
    assert metric(run(toy_inputs(frame, score, target="y", train=train)), "rows_in_training").value == 2


def test_without_training_data_the_overlap_is_unknown_not_zero():
    result = run(toy_inputs(people(40), known, target="y"))
    assert note(result, "overlap_unchecked").severity == "minor"
    assert "rows_in_training" not in {m.name for m in result.metrics}
    assert metric(result, "auc_over_challenger").value is None


def test_the_kind_of_evaluation_is_asked_for():
    inputs = toy_inputs(people(40), known, target="y")
    assert note(run(inputs), "kind_not_stated").severity == "info"
    assert "kind_not_stated" not in codes(run(replace(inputs, evaluate_is="held_out")))


def test_the_challenger_beats_a_model_that_ignores_the_signal_and_the_audited_model_is_not_asked():
    frame, train = people(600), people(600, seed=1)
    inputs = replace(toy_inputs(frame, lambda f: f["z"].rank(pct=True).to_numpy(), target="y", train=train), model=None)
    result = run(inputs)
    difference = metric(result, "auc_over_challenger")
    ours, theirs = metric(result, "auc"), metric(result, "auc", "challenger")
    assert difference.value == pytest.approx(ours.value - theirs.value, abs=1e-12)
    assert difference.high < 0
    assert theirs.value > 0.7
    assert note(result, "challenger_is_better").severity == "minor"
    assert {m.name for m in result.metrics if m.where.variant == "challenger"} == {
        "auc",
        "accuracy",
        "balanced_accuracy",
        "brier",
        "log_loss",
    }


def test_the_challenger_is_the_logistic_regression_of_scikit_learn_on_the_frames():
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    frame, train = people(200), people(300, seed=1)
    columns = ColumnTransformer([("n", StandardScaler(), ["x", "z"]), ("l", OneHotEncoder(), ["level"])])
    model = make_pipeline(columns, LogisticRegression(max_iter=1000)).fit(train.drop(columns="y"), train["y"])
    P = model.predict_proba(frame.drop(columns="y"))[:, 1]
    result = run(toy_inputs(frame, known, target="y", train=train))
    truth = (frame["y"] == "yes").to_numpy()
    assert metric(result, "auc", "challenger").value == pytest.approx(oracle.roc_auc_score(truth, P), abs=1e-9)
    assert metric(result, "brier", "challenger").value == pytest.approx(np.mean((P - truth) ** 2), abs=1e-6)


def test_the_challenger_decides_at_the_threshold_of_the_audit():
    frame, train = people(300), people(300, seed=1)
    inputs = toy_inputs(frame, known, target="y", train=train)
    at = {t: replace(inputs, decision=Decision(inputs.decision.classes, ("yes",), t)) for t in (0.0, 1.0)}
    assert metric(run(at[0.0]), "accuracy", "challenger").value == pytest.approx((frame["y"] == "yes").mean())
    assert metric(run(at[1.0]), "accuracy", "challenger").value == pytest.approx((frame["y"] == "no").mean())


def test_the_challenger_lives_with_missing_values_new_levels_and_several_classes():
    rng = np.random.default_rng(0)

    def rows(levels, n=90):
        frame = pd.DataFrame({"x": rng.normal(size=n), "level": rng.choice(levels, n)})
        return frame.assign(y=np.where(frame["x"] > 0.5, "a", np.where(frame["x"] < -0.5, "b", "c"))).mask(
            lambda f: (f.index.to_numpy() % 7 == 0)[:, None] & (np.array(f.columns) != "y")[None, :]
        )

    model = ToyModel(lambda f: np.full((len(f), 3), 1 / 3), classes=("a", "b", "c"))
    inputs = toy_inputs(rows(["u", "v", "new"]), model, target="y", train=rows(["u", "v"]), favourable=())
    assert metric(run(inputs), "auc", "challenger").value > 0.75


def test_no_challenger_has_its_reason():
    frame = people(30)
    train = people(30, seed=1).assign(y="yes")
    assert note(run(toy_inputs(frame, known, target="y", train=train)), "no_challenger").args["reason"] == (
        "the training rows have one outcome only"
    )
    off = run(toy_inputs(frame, known, target="y", train=people(30, seed=1)), challenger=False)
    assert not [m for m in off.metrics if m.where.variant]
