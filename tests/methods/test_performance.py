"""Performance against hand calculation and scikit-learn."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
from performance_case import codes, known, metric, note, people, run
from sklearn import metrics as oracle

from audit.core.model import Decision
from audit.core.scoring import auc, roc_points
from audit.methods.performance import Name, Performance
from audit.testing import ToyModel, toy_inputs

SCORES = [0.9, 0.8, 0.8, 0.3, 0.6, 0.55, 0.1, 0.3]
TRUTHS = ["yes", "yes", "no", "no", "yes", "no", "no", "yes"]


@pytest.fixture
def hand():
    """Eight rows; with threshold 0.5: 3 hits, 1 miss, 2 false alarms, 2 rightly refused."""
    frame = pd.DataFrame({"s": SCORES, "y": TRUTHS})
    return run(toy_inputs(frame, lambda f: f["s"].to_numpy(), target="y"))


def test_shares_by_hand(hand):
    for name, value in [
        ("accuracy", 5 / 8),
        ("balanced_accuracy", (3 / 4 + 2 / 4) / 2),
        ("precision", 3 / 5),
        ("recall", 3 / 4),
        ("f1", 2 * 0.6 * 0.75 / (0.6 + 0.75)),
        ("base_rate", 4 / 8),
        ("selection_rate", 5 / 8),
        ("majority_accuracy", 4 / 8),
    ]:
        assert metric(hand, name).value == pytest.approx(value, abs=1e-12), name
    assert metric(hand, "precision").n == 5
    assert metric(hand, "recall").n == 4
    expected = {("favourable", "favourable"): 3, ("favourable", "unfavourable"): 1}
    expected |= {("unfavourable", "favourable"): 2, ("unfavourable", "unfavourable"): 2}
    table = hand.tables["confusion"]
    assert {(r.actual, r.predicted): r.n for r in table.itertuples()} == expected


def test_brier_and_log_loss_by_hand(hand):
    # (0.1² + 0.2² + 0.8² + 0.3² + 0.4² + 0.55² + 0.1² + 0.7²) / 8
    assert metric(hand, "brier").value == pytest.approx(1.7425 / 8, abs=1e-12)
    right = [0.9, 0.8, 0.2, 0.7, 0.6, 0.45, 0.9, 0.3]
    assert metric(hand, "log_loss").value == pytest.approx(-sum(map(math.log, right)) / 8, abs=1e-12)


def test_calibration_by_hand(hand):
    # bins of 0.1: [.1,.2): .1/no · [.3,.4): .3,.3/no,yes · [.5,.6): .55/no · [.6,.7): .6/yes · [.8,.9): .8,.8 · .9/yes
    table = hand.tables["calibration"].round(9)
    assert table["bin_low"].tolist() == [0.1, 0.3, 0.5, 0.6, 0.8, 0.9]
    assert table["mean_score"].tolist() == [0.1, 0.3, 0.55, 0.6, 0.8, 0.9]
    assert table["observed"].tolist() == [0, 0.5, 0, 1, 0.5, 1]
    assert table["n"].tolist() == [1, 2, 1, 1, 2, 1]
    error = (0.1 + 2 * 0.2 + 0.55 + 0.4 + 2 * 0.3 + 0.1) / 8
    assert metric(hand, "calibration_error").value == pytest.approx(error, abs=1e-12)


def test_auc_is_the_share_of_ordered_pairs(hand):
    pairs = product(
        [s for s, t in zip(SCORES, TRUTHS, strict=True) if t == "yes"],
        [s for s, t in zip(SCORES, TRUTHS, strict=True) if t == "no"],
    )
    share = np.mean([1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs])
    assert metric(hand, "auc").value == pytest.approx(share, abs=1e-12)


def test_no_error_on_few_rows_is_no_certainty():
    frame = pd.DataFrame({"s": [0.1, 0.2, 0.3, 0.7, 0.8, 0.9], "y": ["no"] * 3 + ["yes"] * 3})
    result = run(toy_inputs(frame, lambda f: f["s"].to_numpy(), target="y"))
    for name in ("auc", "accuracy", "balanced_accuracy", "precision", "recall", "f1"):
        found = metric(result, name)
        assert found.value == 1.0
        assert found.low is not None
        assert found.low < 0.8, name


def test_every_metric_has_an_interval_around_it_its_rows_and_its_data(hand):
    for found in hand.metrics:
        assert found.where.data == "evaluate"
        assert found.unit == "rows"
        if found.value is not None:
            assert found.n
            assert found.low <= found.value <= found.high, found.name
            assert found.interval


def test_roc_ends_in_the_corners_and_is_thin():
    frame = people(3000)
    result = run(toy_inputs(frame, known, target="y"))
    table = result.tables["roc"]
    assert len(table) <= 200
    assert table[["fpr", "tpr"]].iloc[0].tolist() == [0, 0]
    assert table[["fpr", "tpr"]].iloc[-1].tolist() == [1, 1]
    assert math.isnan(table["threshold"].iloc[0])
    middle = table.iloc[len(table) // 2]
    passed, truth = known(frame) >= middle["threshold"], (frame["y"] == "yes").to_numpy()
    assert middle["tpr"] == pytest.approx(passed[truth].mean(), abs=1e-12)
    assert middle["fpr"] == pytest.approx(passed[~truth].mean(), abs=1e-12)
    full = roc_points(truth, known(frame), most=10_000)
    assert np.trapezoid(full[:, 2], full[:, 1]) == pytest.approx(auc(truth, known(frame)), abs=1e-12)


def test_thresholds_show_the_one_in_use():
    frame = people(200)
    inputs = toy_inputs(frame, known, target="y")
    inputs = replace(inputs, decision=Decision(inputs.decision.classes, ("yes",), 0.37))
    result = run(inputs)
    (row,) = [r for r in result.tables["thresholds"].itertuples() if r.threshold == 0.37]
    assert row.accuracy == pytest.approx(metric(result, "accuracy").value, abs=1e-12)
    assert row.selection_rate == pytest.approx(metric(result, "selection_rate").value, abs=1e-12)
    assert row.tpr == pytest.approx(metric(result, "recall").value, abs=1e-12)


def test_several_classes_against_scikit_learn():
    rng = np.random.default_rng(2)
    frame = pd.DataFrame({"x": rng.normal(size=300), "w": rng.normal(size=300)})

    def scores(f):
        logits = np.column_stack([f["x"], f["w"], 0 * f["x"]])
        return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)

    P = scores(frame)
    y = np.array([rng.choice(["a", "b", "c"], p=p) for p in P])
    model = ToyModel(scores, classes=("a", "b", "c"))
    result = run(toy_inputs(frame.assign(y=y), model, target="y", favourable=()))
    given = np.array(["a", "b", "c"])[P.argmax(axis=1)]
    assert metric(result, "auc").value == pytest.approx(
        oracle.roc_auc_score(y, P, multi_class="ovr", average="macro"), abs=1e-12
    )
    assert metric(result, "accuracy").value == pytest.approx(oracle.accuracy_score(y, given))
    assert metric(result, "balanced_accuracy").value == pytest.approx(oracle.balanced_accuracy_score(y, given))
    assert metric(result, "log_loss").value == pytest.approx(oracle.log_loss(y, P))
    assert metric(result, "brier").value == pytest.approx(((P - pd.get_dummies(y)) ** 2).sum(axis=1).mean())
    for k, label in enumerate("abc"):
        expected = oracle.precision_recall_fscore_support(y, given, labels=[label], average=None)
        for name, value in zip(("precision", "recall", "f1"), expected[:3], strict=True):
            assert metric(result, name, outcome=label).value == pytest.approx(value[0]), (name, k)
    assert set(result.tables["roc"]["outcome"]) == {"a", "b", "c"}
    assert "thresholds" not in result.tables


def test_the_favourable_classes_of_several_are_one_outcome():
    frame = pd.DataFrame({"a": [0.5, 0.2, 0.1], "b": [0.3, 0.2, 0.1], "y": ["a", "b", "c"]})
    model = ToyModel(lambda f: np.column_stack([f["a"], f["b"], 1 - f["a"] - f["b"]]), classes=("a", "b", "c"))
    result = run(toy_inputs(frame, model, target="y", favourable=("a", "b")))
    # p(favourable) is 0.8, 0.4, 0.2: right, wrong, right
    assert metric(result, "accuracy").value == pytest.approx(2 / 3)
    assert metric(result, "brier").value == pytest.approx((0.2**2 + 0.6**2 + 0.2**2) / 3)


def test_two_classes_without_a_favourable_one_have_the_same_auc():
    frame = people(200)
    with_one, without = (run(toy_inputs(frame, known, target="y", favourable=f)) for f in (("yes",), ()))
    for name in ("auc", "accuracy", "brier", "log_loss", "calibration_error"):
        assert metric(with_one, name).value == pytest.approx(metric(without, name).value, abs=1e-12)


def test_one_outcome_leaves_the_auc_undefined_and_says_so():
    frame = pd.DataFrame({"s": [0.9, 0.4, 0.7], "y": ["yes"] * 3})
    result = run(
        toy_inputs(frame, lambda f: f["s"].to_numpy(), target="y", train=people(50).rename(columns={"x": "s"}))
    )
    for name in ("auc", "balanced_accuracy", "auc_over_challenger"):
        assert metric(result, name).value is None
    assert metric(result, "accuracy").value == pytest.approx(2 / 3)
    assert note(result, "one_outcome").args == {"outcome": "favourable"}
    assert {"auc", "balanced_accuracy"} <= {n.args["metric"] for n in result.notes if n.code == "undefined"}
    assert result.tables["roc"].empty


def test_a_model_that_selects_nobody_has_no_precision():
    frame = people(100)
    result = run(toy_inputs(frame, lambda f: known(f) * 0.4, target="y"))
    assert metric(result, "precision").value is None
    assert metric(result, "recall").value == 0
    (reason,) = [n.args["reason"] for n in result.notes if n.code == "undefined" and n.args["metric"] == "precision"]
    assert reason == "no row was given this outcome"


def test_every_requested_metric_is_shown_and_no_other():
    wanted = ("auc", "f1")
    result = run(toy_inputs(people(80), known, target="y"), metrics=wanted)
    assert tuple(m.name for m in result.metrics) == wanted
    everything = {m.name for m in run(toy_inputs(people(80), known, target="y")).metrics}
    assert everything == set(Name.__args__)
    with pytest.raises(ValueError, match="metrics"):
        Performance(metrics=("roc_auc",))


def test_a_certain_error_has_a_finite_log_loss():
    frame = pd.DataFrame({"s": [1.0, 0.0, 1.0, 0.0], "y": ["no", "no", "yes", "yes"]})
    result = run(toy_inputs(frame, lambda f: f["s"].to_numpy(), target="y"))
    assert metric(result, "log_loss").value == pytest.approx(-math.log(1e-15) / 2)


# What the reader must hear


def test_a_model_without_skill_is_said_to_have_none():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"s": rng.random(200), "y": rng.choice(["yes", "no"], 200)})
    result = run(toy_inputs(frame, lambda f: f["s"].to_numpy(), target="y"))
    assert note(result, "no_skill").severity == "major"
    assert "no_skill" not in codes(run(toy_inputs(people(400), known, target="y")))


def test_accuracy_below_the_most_frequent_outcome_is_said():
    frame = pd.DataFrame({"s": [0.9] * 30 + [0.6] * 70, "y": ["yes"] * 30 + ["no"] * 70})
    result = run(toy_inputs(frame, lambda f: f["s"].to_numpy(), target="y"))
    assert note(result, "below_majority").args == {"accuracy": 0.3, "majority": 0.7}
