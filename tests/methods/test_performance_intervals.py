"""Intervals of performance over simulated samples; what moves them; what they cost."""

import time

import numpy as np
import pytest
from performance_case import known, metric, people, run
from sklearn import metrics as oracle

from audit.core.scoring import auc, auc_interval
from audit.testing import toy_inputs


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
    """Over 20 samples of 300 rows, for scores that can be taken at their word and scores too sure of themselves.

    15 or more hits have probability above 0.999.
    """

    def score(frame):
        logit = frame["x"] + (frame["level"] == "a")
        return (1 / (1 + np.exp(-distortion * logit))).to_numpy()

    big = people(100_000, seed=99)
    truth = metric(run(toy_inputs(big, score, target="y"), bootstrap=100), "calibration_error").value
    hits = 0
    for seed in range(20):
        inputs = toy_inputs(people(300, seed=seed), score, target="y")
        found = metric(run(inputs, seed=seed, bootstrap=300), "calibration_error")
        hits += found.low <= truth <= found.high
    assert hits >= 15, (hits, truth)


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
        for _ in range(4):
            start = time.process_time()
            run(inputs)
            times.append(time.process_time() - start)
        return min(times)

    seconds(200)  # imports
    small, large = seconds(3000), seconds(6000)
    assert large <= 2.6 * small, (small, large)
