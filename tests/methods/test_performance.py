"""Performance against hand calculation, brute force over pairs, scikit-learn, and simulation."""

import math
import time
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as oracle

from audit.core.model import Decision
from audit.core.plan import Part
from audit.core.scoring import auc, auc_interval, auc_parts, newcombe, roc_points
from audit.methods.performance import Name, Performance
from audit.testing import ToyModel, toy_context, toy_inputs


def run(inputs, seed=0, **settings):
    return Performance(**settings).run(toy_context(inputs, seed), Part(index=0))


def metric(result, name, variant=None, outcome=None):
    (found,) = [
        m for m in result.metrics if m.name == name and m.where.variant == variant and m.where.outcome == outcome
    ]
    return found


def note(result, code):
    (found,) = [n for n in result.notes if n.code == code]
    return found


def codes(result):
    return {n.code for n in result.notes}


def people(n, seed=0, signal=1.0):
    """Rows whose outcome follows `x` and `level` by a known probability; `z` is noise."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"x": rng.normal(size=n), "z": rng.normal(size=n), "level": rng.choice(["a", "b", "c"], n)})
    p = 1 / (1 + np.exp(-signal * (frame["x"] + (frame["level"] == "a"))))
    return frame.assign(y=np.where(rng.random(n) < p, "yes", "no"))


def known(frame):
    return (1 / (1 + np.exp(-(frame["x"] + (frame["level"] == "a"))))).to_numpy()


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


@pytest.mark.parametrize("seed", range(5))
def test_auc_against_all_pairs_with_many_ties(seed):
    rng = np.random.default_rng(seed)
    score, truth = rng.integers(0, 6, 60) / 5, rng.random(60) < 0.3
    gap = score[truth][:, None] - score[~truth][None, :]
    assert auc(truth, score) == pytest.approx(((gap > 0) + 0.5 * (gap == 0)).mean(), abs=1e-12)


def test_delong_variance_against_the_formula_over_pairs():
    rng = np.random.default_rng(3)
    truth = rng.random(40) < 0.5
    a, b = rng.normal(size=40) + truth, rng.normal(size=40) + truth

    def components(score):
        gap = score[truth][:, None] - score[~truth][None, :]
        wins = (gap > 0) + 0.5 * (gap == 0)
        return wins.mean(axis=1), wins.mean(axis=0)

    (a1, a0), (b1, b0) = components(a), components(b)
    single = a1.var(ddof=1) / len(a1) + a0.var(ddof=1) / len(a0)
    paired = (a1 - b1).var(ddof=1) / len(a1) + (a0 - b0).var(ddof=1) / len(a0)
    assert (auc_parts(truth, a) ** 2).sum() == pytest.approx(single, rel=1e-12)
    assert ((auc_parts(truth, a) - auc_parts(truth, b)) ** 2).sum() == pytest.approx(paired, rel=1e-12)


def test_newcombe_solves_its_equation_and_mirrors():
    value, m, n = 0.9, 12, 30
    low, high = newcombe(value, m, n)

    def spread(x):
        size = (m + n) / 2 - 1
        return math.sqrt(x * (1 - x) / (m * n) * (1 + size * (1 - x) / (2 - x) + size * x / (1 + x)))

    assert value - low == pytest.approx(1.959964 * spread(low), rel=1e-5)
    assert high - value == pytest.approx(1.959964 * spread(high), rel=1e-5)
    assert newcombe(1 - value, m, n) == pytest.approx((1 - high, 1 - low), abs=1e-9)
    low, high = newcombe(1.0, 5, 5)
    assert high == pytest.approx(1, abs=1e-9)
    assert 0.5 < low < 0.9


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


# What the model was trained on


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


# The challenger


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


# Intervals, order, cost


def test_intervals_cover_the_truth():
    """95 % intervals over 40 simulated samples of 150 rows; 33 or more hits have probability above 0.999."""
    big = people(200_000, seed=99)
    p, truth = known(big), (big["y"] == "yes").to_numpy()
    truths = {
        "auc": auc(truth, p),
        "accuracy": ((p >= 0.5) == truth).mean(),
        "brier": ((p - truth) ** 2).mean(),
        "recall": (p[truth] >= 0.5).mean(),
        "f1": oracle.f1_score(truth, p >= 0.5),
        "balanced_accuracy": oracle.balanced_accuracy_score(truth, p >= 0.5),
        "log_loss": oracle.log_loss(truth, p),
    }
    hits = dict.fromkeys(truths, 0)
    for seed in range(40):
        result = run(toy_inputs(people(150, seed=seed), known, target="y"), seed=seed, bootstrap=300)
        for name, value in truths.items():
            found = metric(result, name)
            hits[name] += found.low <= value <= found.high
    assert min(hits.values()) >= 33, hits


@pytest.mark.parametrize("distortion", [1.0, 2.5])
def test_intervals_of_the_calibration_error_cover_the_truth(distortion):
    """As above, for scores that can be taken at their word and for scores that are too sure of themselves."""

    def score(frame):
        logit = frame["x"] + (frame["level"] == "a")
        return (1 / (1 + np.exp(-distortion * logit))).to_numpy()

    big = people(100_000, seed=99)
    truth = metric(run(toy_inputs(big, score, target="y"), bootstrap=100), "calibration_error").value
    hits = 0
    for seed in range(40):
        inputs = toy_inputs(people(300, seed=seed), score, target="y")
        found = metric(run(inputs, seed=seed, bootstrap=300), "calibration_error")
        hits += found.low <= truth <= found.high
    assert hits >= 33, (hits, truth)


def test_delong_is_narrower_with_more_rows_and_says_its_name():
    frame = people(400)
    truth = (frame["y"] == "yes").to_numpy()
    low, high, how = auc_interval(truth, known(frame))
    few = auc_interval(truth[:60], known(frame)[:60])
    assert high - low < few[1] - few[0]
    assert how.startswith("DeLong")
    assert metric(run(toy_inputs(frame, known, target="y")), "auc").interval == how


def test_the_seed_alone_moves_the_bootstrap():
    inputs = toy_inputs(people(200), known, target="y", train=people(200, seed=1))
    assert run(inputs).metrics == run(inputs).metrics
    assert metric(run(inputs, seed=1), "brier").low != metric(run(inputs), "brier").low
    assert metric(run(inputs, seed=1), "auc") == metric(run(inputs), "auc")


def test_twice_the_rows_cost_at_most_about_twice_the_time():
    def seconds(n):
        inputs = toy_inputs(people(n), known, target="y", train=people(n, seed=1))
        times = []
        for _ in range(5):
            start = time.process_time()
            run(inputs)
            times.append(time.process_time() - start)
        return min(times)

    seconds(200)  # imports
    small, large = seconds(4000), seconds(8000)
    assert large <= 2.6 * small, (small, large)
