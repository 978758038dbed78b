"""The method: what is learnt, by whom, and what is said of it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scores_runs import frame, inputs, labelled, metric, note, run, values

from audit.core.scores_inputs import Split
from audit.methods import scores_activation
from audit.methods.scores_activation import ScoresActivation


@pytest.fixture(scope="module")
def surrogate():
    return run(inputs(), seeds=3, null_permutations=3)


def test_one_part_for_each_seed_and_merged_in_any_case(surrogate):
    parts = ScoresActivation(seeds=3).parts(inputs(), 7)
    assert [(part.index, part.seed) for part in parts] == [(0, 0), (1, 1), (2, 2)]
    seeds = surrogate.tables["scores_seeds"]
    assert seeds["seed"].tolist() == [0, 1, 2]
    assert (seeds["n_train"] == 144).all()
    assert (seeds["n_validation"] == 16).all()
    assert (seeds["n_test"] == 40).all()
    assert seeds["accuracy"].nunique() + seeds["kept"].nunique() > 2, "the seeds are all alike"


def test_the_ranking_of_a_surrogate(surrogate):
    table = surrogate.tables["scores_global"]
    assert table["feature"].iloc[0] == "a"
    assert table["value"].sum() == pytest.approx(1, abs=1e-6)
    assert table["rank"].tolist() == [1, 2, 3, 4, 5]
    assert set(table["network"]) == {f"surrogate, fidelity {metric(surrogate, 'fidelity').value:.2f}"}
    assert (table["n"] == 144).all()
    path = surrogate.tables["scores_trajectory"]
    start = path[path["epoch"] == 0]
    np.testing.assert_allclose(start["value"], 0.2, atol=1e-7)
    np.testing.assert_allclose(path.groupby(["seed", "epoch"])["value"].sum(), 1, atol=1e-6)
    kept = surrogate.tables["scores_seeds"].set_index("seed")["kept"]
    last = path[path["epoch"] == path["seed"].map(kept)].pivot_table(index="seed", columns="feature", values="value")
    for feature, mean in values(surrogate).items():
        assert mean == pytest.approx(last[feature].mean())
        assert values(surrogate, "sd")[feature] == pytest.approx(last[feature].std())
        assert metric(surrogate, "weight", feature=feature).value == pytest.approx(mean)


def test_categories_have_one_weight_whatever_their_number(surrogate):
    assert set(values(surrogate).index) == {"a", "b", "c", "d", "e"}
    many = frame()
    many["c"] = np.random.default_rng(1).choice([f"level {i}" for i in range(12)], len(many))
    assert set(values(run(inputs(many))).index) == {"a", "b", "c", "d", "e"}


def test_statuses_follow_the_null_band(surrogate):
    null = surrogate.tables["scores_null"]
    assert len(null) == 3 * 5
    bar = float(np.quantile(null["value"], 0.95))
    assert metric(surrogate, "null_95").value == pytest.approx(bar)
    assert metric(surrogate, "null_max").value == pytest.approx(null["value"].max())
    expected = {feature: "ok" if w > bar else "noise" for feature, w in values(surrogate).items()}
    assert dict(values(surrogate, "status")) == expected
    assert metric(surrogate, "features_above_noise").value == list(expected.values()).count("ok")
    assert note(surrogate, "noise").args["features"].split(", ") == [f for f in "abcde" if expected[f] == "noise"]
    assert note(surrogate, "top_feature").args["feature"] == "a"


def test_what_must_always_be_said(surrogate):
    own = run(inputs(labelled(), target="paid"), mode="train", scale="d")
    for result, label in ((surrogate, "surrogate"), (own, "own_network")):
        for code in ("identifiability", "standardised", "scale", "source", label):
            assert note(result, code) is not None, code
    assert note(surrogate, "scale").args["scale"] == "none"
    assert note(own, "scale").args["scale"] == "d"
    assert note(own, "surrogate") is None
    assert [m for m in own.metrics if m.name == "fidelity"] == []
    assert set(own.tables["scores_global"]["network"]) == {"trained on true classes"}
    assert note(surrogate, "surrogate").args["fidelity"] == metric(surrogate, "fidelity").value


def test_the_same_again_to_the_last_bit():
    first, second = run(inputs()), run(inputs())
    for name, table in first.tables.items():
        pd.testing.assert_frame_equal(table, second.tables[name])
    assert first.metrics == second.metrics


def test_quality_on_held_out_rows_by_an_independent_hand(monkeypatch):
    """Fidelity, accuracy and the gain over the twin, from what the networks answer for the rows held out."""
    from sklearn.metrics import accuracy_score, r2_score

    kept = []
    train = scores_activation.train

    def spy(rows, members, *rest):
        runs = train(rows, members, *rest)
        test = np.setdiff1d(np.arange(len(rows.X)), np.concatenate([rows.fit, rows.valid]))
        kept.append((members[0].Y[test], *(one.predict(rows.X[test]) for one in runs[:2])))
        return runs

    monkeypatch.setattr(scores_activation, "train", spy)
    given = inputs()
    given = replace(given, decision=replace(given.decision, at_least=0.7))
    result = run(given)
    seeds = result.tables["scores_seeds"]
    for row, (Y, P, Q) in zip(seeds.itertuples(), kept, strict=True):
        truth = Y[:, 1] >= 0.7
        assert row.fidelity == pytest.approx(r2_score(Y[:, 1], P[:, 1]))
        assert row.accuracy == pytest.approx(accuracy_score(truth, P[:, 1] >= 0.7))
        assert row.accuracy_twin == pytest.approx(accuracy_score(truth, Q[:, 1] >= 0.7))
        assert row.delta == pytest.approx(100 * (row.accuracy - row.accuracy_twin))
        assert row.delta_relative == pytest.approx(100 * (row.accuracy / row.accuracy_twin - 1))
    assert metric(result, "fidelity").value == pytest.approx(seeds["fidelity"].mean())
    assert metric(result, "accuracy").value == pytest.approx(seeds["accuracy"].mean())
    assert metric(result, "delta").value == pytest.approx(seeds["delta"].mean())


def test_twins_and_nulls_are_what_they_should_be(monkeypatch):
    seen = []
    train = scores_activation.train

    def spy(rows, members, *rest):
        seen.append((rows, members))
        return train(rows, members, *rest)

    monkeypatch.setattr(scores_activation, "train", spy)
    run(inputs(labelled(), target="paid"), mode="train", seeds=2, null_permutations=3)
    assert [len(members) for _, members in seen] == [4, 3], "nulls 0 and 2 go with seed 0, null 1 with seed 1"
    for rows, (layer, twin, *nulls) in seen:
        assert (layer.seed, layer.layer, twin.layer) == (twin.seed, True, False)
        assert twin.Y is layer.Y
        known = np.concatenate([rows.fit, rows.valid])
        held_out = np.setdiff1d(np.arange(len(rows.X)), known)
        for null in nulls:
            assert null.follows == 0
            assert null.layer
            np.testing.assert_array_equal(null.Y[known].sum(axis=0), layer.Y[known].sum(axis=0))
            np.testing.assert_array_equal(null.Y[held_out], layer.Y[held_out])
            assert (null.Y[known] != layer.Y[known]).any()
    starts = {member.seed for _, members in seen for member in members}
    assert len(starts) == 5, "each seed and each null run has a start of its own, and a twin that of its seed"


def test_rows_held_out_change_no_weight(monkeypatch):
    splits = []
    draw = Split.draw
    monkeypatch.setattr(Split, "draw", lambda *a, **k: splits.append(draw(*a, **k)) or splits[-1])
    rows = labelled()
    before = run(inputs(rows, target="paid"), mode="train", seeds=1)
    (split,) = splits
    assert sorted(np.concatenate([split.fit, split.valid, split.test])) == list(range(200))
    other = rows.copy()
    other.loc[split.test, "a"] = rows.loc[split.test, "a"] * 1000 + 5
    other.loc[split.test, "b"] = np.nan
    other.loc[split.test, "paid"] = np.where(rows.loc[split.test, "paid"] == "yes", "no", "yes")
    after = run(inputs(other, target="paid"), mode="train", seeds=1)
    pd.testing.assert_frame_equal(before.tables["scores_trajectory"], after.tables["scores_trajectory"])
    other.loc[split.fit[0], "a"] *= 1000
    changed = run(inputs(other, target="paid"), mode="train", seeds=1)
    assert not changed.tables["scores_trajectory"]["value"].equals(before.tables["scores_trajectory"]["value"])
