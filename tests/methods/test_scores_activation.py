"""The method: what is learnt, what is refused, what is said of each edge case, and what others read of it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scores_case import raw
from worded import assert_worded

from audit.core.evidence import Result
from audit.core.method import METHODS, Refusal
from audit.core.network import Mlp
from audit.core.plan import Part
from audit.core.scores_inputs import Split
from audit.methods import scores_activation
from audit.methods.agreement import Agreement
from audit.methods.scores_activation import ScoresActivation
from audit.testing import ToyModel, toy_context, toy_inputs

QUICK = {"seeds": 2, "null_permutations": 2, "epochs": 15, "shap_rows": 5, "shap_background": 20, "lr": 5e-3}


def frame(n=200, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "a": rng.normal(0, 10, n),
            "b": rng.normal(5, 1, n),
            "c": rng.choice(["x", "y", "z"], n),
            "d": rng.random(n) < 0.5,
            "e": rng.normal(size=n),
        }
    )


def score(rows):
    return 1 / (1 + np.exp(-(rows["a"].clip(-90, 90) / 5 + 1.5 * (rows["c"] == "x") + 0.5 * rows["d"] - 0.5)))


def inputs(rows=None, model=score, **settings):
    rows = frame() if rows is None else rows
    return toy_inputs(rows, model, **settings)


def labelled(n=200, seed=0):
    rows = frame(n, seed)
    return rows.assign(paid=np.where(score(rows) > np.random.default_rng(seed).random(n), "yes", "no"))


def run(given, **settings):
    """A run over all parts, as the engine does it."""
    method = ScoresActivation.model_validate({**QUICK, **settings})
    partials = [method.run(toy_context(given), part) for part in method.parts(given, 100)]
    result = method.merge(given, partials)
    assert_worded("scores_activation", result)
    return result


def values(result, column="value", table="scores_global"):
    return result.tables[table].set_index("feature")[column]


def metric(result, name, **where):
    found = [m for m in result.metrics if m.name == name and all(getattr(m.where, k) == v for k, v in where.items())]
    assert len(found) == 1, (name, found)
    return found[0]


def note(result, code):
    found = [n for n in result.notes if n.code == code]
    assert len(found) <= 1
    return found[0] if found else None


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


def test_which_rows_are_learnt_from():
    train = frame(150, seed=5)
    with_train = inputs(train=train)
    before = with_train.model.rows
    result = run(with_train)
    assert with_train.model.rows - before == 2 * 150, "each seed asks for the training rows"
    assert (result.tables["scores_seeds"]["n_train"] == 108).all()
    assert metric(result, "accuracy").where.data == "train"
    alone = inputs()
    before = alone.model.rows
    assert metric(run(alone), "accuracy").where.data == "evaluate"
    assert alone.model.rows == before, "the scores of the evaluation rows are known"
    stored = run(replace(with_train, model=None))
    assert metric(stored, "accuracy").where.data == "evaluate"
    assert (stored.tables["scores_seeds"]["n_train"] == 144).all()
    few = run(inputs(), rows=100)
    assert (few.tables["scores_seeds"]["n_train"] == 72).all()


def test_a_model_that_no_network_can_follow_has_no_ranking():
    wild = inputs(model=lambda rows: (np.sin(rows["a"] * 1e4) + 1) / 2)
    result = run(wild)
    fidelity = metric(result, "fidelity").value
    assert result.status == "refused"
    assert fidelity < 0.7
    assert f"is {fidelity:.2f}, and at least 0.7 is needed" in result.message
    assert set(result.tables) == {"scores_seeds", "choices"}
    assert [m for m in result.metrics if m.name in {"weight", "spearman_rho"}] == []
    assert run(wild, min_fidelity=-10).status == "ok"


def test_a_model_whose_held_out_scores_do_not_vary_has_no_fidelity():
    result = run(inputs(model=lambda rows: np.full(len(rows), 0.25)))
    assert result.status == "refused"
    assert metric(result, "fidelity").value is None
    assert "not defined" in result.message


@pytest.mark.parametrize(
    ("given", "settings", "message"),
    [
        (inputs, {"mode": "train"}, "gives none"),
        (lambda: inputs(labelled().assign(paid="yes"), target="paid"), {"mode": "train"}, "fewer than two outcomes"),
        (lambda: inputs(frame(49)), {}, "49 rows to learn from; at least 50"),
        (lambda: inputs(frame()[["c"]].assign(c="x"), lambda r: np.linspace(0, 1, len(r))), {}, "no feature varies"),
        (inputs, {"groups": {"g": ("a", "nobody")}}, "names no feature: nobody"),
        (inputs, {"groups": {"g": ("a", "b"), "h": ("b", "e")}}, "lists twice: b"),
        (inputs, {"groups": {"e": ("a", "b")}}, "name of another feature: e"),
        (inputs, {"truth": ("a", "nobody")}, "`truth` names nothing that is scored: nobody"),
        (inputs, {"truth": ("a",), "groups": {"g": ("a", "b")}}, "nothing that is scored: a"),
    ],
)
def test_refusals(given, settings, message):
    with pytest.raises(Refusal, match=message):
        run(given(), **settings)


def test_rows_without_a_class_are_left_out():
    rows = labelled()
    given = inputs(rows, target="paid")
    extra = given.evaluate.extra.copy()
    extra.loc[:49, "paid"] = None
    given = replace(given, evaluate=replace(given.evaluate, extra=extra))
    result = run(given, mode="train")
    assert (result.tables["scores_seeds"][["n_train", "n_validation", "n_test"]].sum(axis=1) == 150).all()


def test_several_classes_without_a_favourable_one():
    rows = frame()

    def three(given):
        z = np.column_stack([given["a"] / 5, given["e"], 0 * given["a"]])
        return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)

    model = ToyModel(three, classes=("p", "q", "r"))
    result = run(toy_inputs(rows, model, favourable=()), epochs=40)
    assert result.status == "ok"
    assert list(result.tables["scores_global"]["feature"][:2]) == ["a", "e"]
    shown = result.tables["scores_compared"].set_index("feature")
    assert shown["kernel_shap"].idxmax() == "a"


def test_one_feature_is_not_ranked():
    result = run(inputs(frame()[["a"]], lambda rows: 1 / (1 + np.exp(-rows["a"] / 5))))
    assert result.status == "ok"
    assert values(result).tolist() == [1.0]
    assert values(result, "status").tolist() == ["single"]
    assert values(result, "rank").isna().all()
    assert note(result, "single_feature").args == {"feature": "a"}
    assert note(result, "top_feature") is None


def test_weights_that_are_too_alike_rank_nothing():
    result = run(inputs(), lr_scores=1e-9, min_fidelity=-10)
    assert values(result, "rank").isna().all()
    assert set(values(result, "status")) == {"no_ranking"}
    assert note(result, "no_ranking").severity == "minor"
    assert note(result, "top_feature") is None
    assert metric(result, "features_above_noise").value is None
    assert metric(result, "seed_agreement").value is None
    assert metric(result, "spearman_rho", variant="kernel_shap").value is None


def test_constant_columns_are_dropped_and_listed():
    result = run(inputs(frame().assign(k=3.0, l="same")))
    table = result.tables["scores_global"].set_index("feature")
    assert table.loc[["k", "l"], "status"].tolist() == ["constant", "constant"]
    assert table.loc[["k", "l"], ["value", "rank"]].isna().all(axis=None)
    assert table["value"].sum() == pytest.approx(1, abs=1e-6)
    assert note(result, "constant_features").args == {"features": "k, l", "count": 2}
    assert "k" not in set(result.tables["scores_trajectory"]["feature"])


def test_missing_values_are_imputed_and_said():
    rows = frame()
    rows.loc[:30, "a"] = np.nan
    rows.loc[10:20, "c"] = None
    result = run(inputs(rows, lambda r: score(r.fillna({"a": 0.0}))))
    assert note(result, "imputed").args == {"features": "a, c", "count": 2}
    assert note(run(inputs()), "imputed") is None


def test_copies_are_flagged_unless_they_share_a_group():
    rows = frame()
    rows["twin"] = -2 * rows["a"] + 1
    result = run(inputs(rows), min_fidelity=-10)
    pairs = result.tables["scores_pairs"]
    assert pairs[["first", "second"]].to_numpy().tolist() == [["a", "twin"]]
    assert pairs["correlation"].tolist() == pytest.approx([1.0])
    assert note(result, "correlated").severity == "minor"
    grouped = run(inputs(rows), groups={"both": ("a", "twin")}, truth=("both", "c"))
    assert set(values(grouped).index) == {"both", "b", "c", "d", "e"}
    assert len(grouped.tables["scores_pairs"]) == 0
    assert note(grouped, "correlated") is None
    assert metric(grouped, "recovery").value in {0.5, 1.0}


def test_a_seed_that_fails_is_listed_and_left_out(monkeypatch, surrogate):
    train, calls = scores_activation.train, []

    def failing(*given):
        calls.append(1)
        runs = train(*given)
        return [replace(runs[0], failed=True), *runs[1:]] if len(calls) == 2 else runs

    monkeypatch.setattr(scores_activation, "train", failing)
    result = run(inputs(), seeds=3, null_permutations=3)
    seeds = result.tables["scores_seeds"]
    assert seeds["status"].tolist() == ["ok", "failed", "ok"]
    assert seeds["accuracy"].isna().tolist() == [False, True, False]
    assert note(result, "failed_seeds").args == {"seeds": "1", "count": 1, "of": 3}
    assert metric(result, "accuracy").n == 2
    path = surrogate.tables["scores_trajectory"]
    kept = surrogate.tables["scores_seeds"].set_index("seed")["kept"]
    own = path[(path["epoch"] == path["seed"].map(kept)) & (path["seed"] != 1)]
    for feature, mean in own.groupby("feature")["value"].mean().items():
        assert values(result)[feature] == pytest.approx(mean)


def test_all_seeds_failing_is_a_refusal(monkeypatch):
    train = scores_activation.train
    monkeypatch.setattr(scores_activation, "train", lambda *a: [replace(one, failed=True) for one in train(*a)])
    result = run(inputs())
    assert result.status == "refused"
    assert "not finite in any of the 2 seeds" in result.message
    assert set(result.tables) == {"scores_seeds", "choices"}


def test_no_null_runs_no_verdict_on_noise():
    result = run(inputs(), null_permutations=0)
    assert metric(result, "null_95").value is None
    assert metric(result, "features_above_noise").value is None
    assert set(values(result, "status")) == {"untested"}
    assert note(result, "no_null") is not None
    assert note(result, "top_feature") is None
    assert len(result.tables["scores_null"]) == 0


def test_one_seed_has_no_interval():
    result = run(inputs(), seeds=1)
    assert metric(result, "accuracy").low is None
    assert values(result, "low").isna().all()
    assert metric(result, "seed_agreement").value is None


def test_kernel_shap_explains_as_many_networks_as_asked_for():
    table = run(inputs(), shap_seeds=2).tables["scores_agreement"].set_index("comparator")
    assert table.loc["kernel_shap", ["networks", "rows", "background", "nsamples"]].tolist() == [2, 5, 20, 30]
    assert table.loc["permutation", "networks"] == 2
    none = run(inputs(), shap_seeds=0)
    assert none.tables["scores_agreement"]["comparator"].tolist() == ["permutation"]
    assert none.tables["scores_compared"]["kernel_shap"].isna().all()


def test_choices_that_were_changed_are_marked():
    table = run(inputs(), scale="d", patience=0, body=Mlp(hidden=(8,))).tables["choices"].set_index("id")
    assert list(table.index) == [f"SA-{i:02d}" for i in range(1, 17)]
    # The quick settings of this file change the rate (SA-05), the epochs (SA-09) and Kernel SHAP (SA-13).
    assert set(table.index[table["changed"]]) == {"SA-04", "SA-05", "SA-09", "SA-13", "SA-14"}
    assert table.loc["SA-04", "value"] == "d"
    assert "our bar" in table.loc["SA-16", "why"]
    default = ScoresActivation()._chosen()
    assert {c.id: c.default for c in scores_activation.CHOICES} | default == {
        c.id: c.default for c in scores_activation.CHOICES
    }


def agreement(first: Result, second: Result, given) -> Result:
    both = replace(given, results={"one": first, "two": second})
    return Agreement(of=("one", "two"), bootstrap=0).run(toy_context(both), Part(index=0))


def test_agreement_reads_the_ranking(surrogate):
    given = inputs()
    shap = METHODS.classes()["shap"](explainer="permutation", rows=20, background=10).run(
        toy_context(given), Part(index=0)
    )
    result = agreement(surrogate, shap, given)
    ranks = result.tables["agreement_ranks"]
    own = ranks[ranks["method"] == "one"].set_index("feature")
    assert own["value"].to_dict() == pytest.approx(values(surrogate).to_dict())
    assert own.loc["a", "rank"] == 1
    (rho,) = [m.value for m in result.metrics if m.name == "spearman_rho"]
    assert rho > 0.5


def test_agreement_refuses_what_ranks_nothing(surrogate):
    given = inputs()
    flat = run(given, lr_scores=1e-9, min_fidelity=-10)
    with pytest.raises(Refusal, match="'one' ranks no features"):
        agreement(flat, surrogate, given)


def test_the_informative_features_come_first():
    X, y = raw(400, 8, 1)
    rows = pd.DataFrame(X, columns=[f"f{j}" for j in range(8)]).assign(y=np.where(y == 1, "yes", "no"))
    given = inputs(rows, lambda r: np.full(len(r), 0.5), target="y")
    result = run(given, mode="train", epochs=50, lr=1e-3, truth=tuple(f"f{j}" for j in range(5)))
    assert metric(result, "recovery").value == 1
