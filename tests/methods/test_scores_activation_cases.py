"""The method: where the rows come from, what is refused, each edge case, and what others read of the ranking."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scores_case import raw
from scores_runs import frame, inputs, labelled, metric, note, run, score, values

from audit.core.evidence import Result
from audit.core.method import METHODS, Refusal
from audit.core.network import Mlp
from audit.core.plan import Part
from audit.methods import scores_activation
from audit.methods.agreement import Agreement
from audit.methods.scores_activation import ScoresActivation
from audit.testing import ToyModel, toy_context, toy_inputs


@pytest.fixture(scope="module")
def surrogate():
    return run(inputs(), seeds=3, null_permutations=3)


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


def test_several_classes_without_a_favourable_one(monkeypatch):
    rows = frame()

    def three(given):
        z = np.column_stack([given["a"] / 5, given["e"], 0 * given["a"]])
        return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)

    model = ToyModel(three, classes=("p", "q", "r"))
    explained, kernel_shap = [], scores_activation.kernel_shap

    def spy(predict, X, *given):
        explained.append(predict(X).shape[1])
        return kernel_shap(predict, X, *given)

    monkeypatch.setattr(scores_activation, "kernel_shap", spy)
    run(inputs(), seeds=1)
    result = run(toy_inputs(rows, model, favourable=()), epochs=40)
    assert result.status == "ok"
    assert list(result.tables["scores_global"]["feature"][:2]) == ["a", "e"]
    assert explained == [1, 3], "one probability says all of two outcomes, and nothing less than each of three"
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
