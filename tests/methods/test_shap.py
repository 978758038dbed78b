"""Shapley values against hand formulas, brute force over all coalitions, and the package shap."""

import math
import time
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from audit.core.method import Refusal
from audit.core.plan import Part
from audit.core.shapley import column_sources, draw_orders, shapley_values
from audit.core.table import decode
from audit.methods.shapley import Shap
from audit.models.scikit import FittedModel
from audit.testing import ToyModel, toy_context, toy_inputs


def run(inputs, seed=0, **settings):
    return Shap(**settings).run(toy_context(inputs, seed), Part(index=0))


def wide(result):
    """Local values: rows by instance, columns by feature; one score."""
    return result.tables["shap_local"].pivot_table(index="instance", columns="feature", values="value")


def metric(result, name):
    return [m.value for m in result.metrics if m.name == name]


def how(result):
    (note,) = [n for n in result.notes if n.code in {"linear", "tree", "permutation"}]
    return note


def codes(result):
    return {n.code for n in result.notes}


def fitted(model, X, y):
    model.fit(X, y)
    names = getattr(model, "feature_names_in_", None)
    classes = tuple(map(str, model.classes_))
    return FittedModel(model, classes, None if names is None else tuple(names))


def people(n=120, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"age": rng.integers(18, 80, n), "amount": rng.normal(0, 1, n), "home": rng.choice(["own", "rent", "free"], n)}
    )
    score = 0.05 * (frame["age"] - 45) + frame["amount"] + 1.5 * (frame["home"] == "own")
    return frame, np.where(score + rng.logistic(size=n) > 0, "yes", "no")


def encoded(last):
    columns = ColumnTransformer([("n", StandardScaler(), ["age", "amount"]), ("l", OneHotEncoder(), ["home"])])
    return make_pipeline(columns, last)


def brute_force(score, row, background):
    """Shapley values by the formula over all coalitions; every mean over the background is taken one row at a time."""
    d = len(row)

    def worth(known):
        return np.mean([score(np.array([row[j] if j in known else b[j] for j in range(d)])) for b in background])

    values = np.zeros(d)
    for j in range(d):
        others = [k for k in range(d) if k != j]
        for size in range(d):
            for known in combinations(others, size):
                weight = math.factorial(size) * math.factorial(d - size - 1) / math.factorial(d)
                values[j] += weight * (worth({*known, j}) - worth(set(known)))
    return values


# The arithmetic


def test_a_hand_calculated_product():
    # f = x1 x2 + x3, background at the origin: the product is shared in halves, x3 has its own.
    values, base = shapley_values(
        lambda rows: (rows[:, 0] * rows[:, 1] + rows[:, 2])[:, None],
        np.array([[2.0, 3.0, 5.0]]),
        np.zeros((1, 3)),
        draw_orders(3, 5, np.random.default_rng(0)),
    )
    np.testing.assert_allclose(values[0, :, 0], [3, 3, 5], atol=1e-12)
    assert base.tolist() == [0]


def test_three_features_are_exact_by_brute_force():
    rng = np.random.default_rng(1)
    rows, background = rng.normal(size=(4, 3)), rng.normal(size=(7, 3))

    def score(x):
        return x[..., 0] * x[..., 1] * x[..., 2] + np.sin(x[..., 0]) - x[..., 1] ** 2

    orders = draw_orders(3, 5, rng)
    assert len(orders) == 6
    values, base = shapley_values(lambda x: score(x)[:, None], rows, background, orders)
    for row, found in zip(rows, values[:, :, 0], strict=True):
        np.testing.assert_allclose(found, brute_force(score, row, background), atol=1e-12)
        assert base[0] + found.sum() == pytest.approx(score(row), abs=1e-12)


def test_one_drawn_order_and_its_reverse_are_exact_for_pairs():
    rng = np.random.default_rng(2)
    rows, background = rng.normal(size=(3, 5)), rng.normal(size=(4, 5))

    def score(x):
        return x[..., 0] * x[..., 3] + x[..., 1] * x[..., 2] - x[..., 4] * x[..., 0]

    values, _ = shapley_values(lambda x: score(x)[:, None], rows, background, draw_orders(5, 1, rng))
    for row, found in zip(rows, values[:, :, 0], strict=True):
        np.testing.assert_allclose(found, brute_force(score, row, background), atol=1e-12)


def test_drawn_orders_come_near_the_truth_beyond_pairs():
    rng = np.random.default_rng(3)
    rows, background = rng.normal(size=(3, 5)), rng.normal(size=(4, 5))

    def score(x):
        return np.tanh(x.sum(axis=-1))

    orders = draw_orders(5, 1000, rng)
    values, _ = shapley_values(lambda x: score(x)[:, None], rows, background, orders)
    for row, found in zip(rows, values[:, :, 0], strict=True):
        np.testing.assert_allclose(found, brute_force(score, row, background), atol=0.02)


def test_many_coalitions_are_asked_in_blocks(monkeypatch):
    monkeypatch.setattr("audit.core.shapley.BLOCK_ROWS", 10)
    test_three_features_are_exact_by_brute_force()


def test_the_source_of_each_column_is_found():
    frame, _ = people(40)
    inputs = toy_inputs(frame, lambda f: np.full(len(f), 0.5))
    columns = ColumnTransformer(
        [("l", OneHotEncoder(), ["home"]), ("n", StandardScaler(), ["amount", "age"]), ("c", "passthrough", ["age"])]
    ).fit(frame)
    sources = column_sources(lambda c: columns.transform(decode(inputs.schema, c)), inputs.evaluate.codes)
    assert sources is not None
    assert sources.tolist() == [2, 2, 2, 1, 0, 0]


@pytest.mark.parametrize(
    "mix",
    [
        lambda c: np.column_stack([c[:, 0], c[:, 0] * c[:, 1]]),
        lambda c: c / np.linalg.norm(c, axis=1, keepdims=True),
        lambda c: np.column_stack([c[:, 0], np.arange(len(c)) % 12]),  # moves with no feature
    ],
)
def test_columns_of_several_features_or_of_none_have_no_source(mix):
    assert column_sources(mix, np.random.default_rng(0).normal(size=(12, 2))) is None


def test_a_missing_value_that_is_imputed_still_has_its_source():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=30), "b": rng.normal(size=30)})
    frame.loc[::5, "a"] = np.nan
    inputs = toy_inputs(frame, lambda f: np.full(len(f), 0.5))
    imputer = SimpleImputer(add_indicator=True).fit(frame)
    sources = column_sources(lambda c: imputer.transform(decode(inputs.schema, c)), inputs.evaluate.codes)
    assert sources is not None
    assert sources.tolist() == [0, 1, 0]


# The explainers


def test_linear_values_are_coefficient_times_distance_from_the_mean():
    rng = np.random.default_rng(4)
    X = pd.DataFrame(rng.normal(size=(80, 3)), columns=list("abc"))
    y = np.where(X["a"] - 2 * X["b"] + rng.logistic(size=80) > 0, "yes", "no")
    model = fitted(LogisticRegression(), X, y)
    result = run(toy_inputs(X, model), background=80)
    mean = X.mean()  # the background is all 80 rows
    expected = (X - mean) * model.estimator.coef_[0]
    expected.index = expected.index.astype(str)
    pd.testing.assert_frame_equal(wide(result), expected.loc[wide(result).index], check_names=False, atol=1e-10)
    assert how(result).code == "linear"
    assert how(result).args["space"] == "log_odds"
    assert metric(result, "base") == pytest.approx([mean @ model.estimator.coef_[0] + model.estimator.intercept_[0]])
    assert metric(result, "additivity_error")[0] < 1e-9


def test_the_sign_follows_the_favourable_class():
    frame, y = people()
    model = fitted(encoded(LogisticRegression()), frame, y)
    first, second = (run(toy_inputs(frame, model, favourable=(f,))) for f in ("no", "yes"))
    np.testing.assert_allclose(wide(first), -wide(second), atol=1e-12)
    neither = run(toy_inputs(frame, model, favourable=()))
    np.testing.assert_allclose(wide(neither), wide(second), atol=1e-12)
    assert set(neither.tables["shap_local"]["outcome"]) == {"yes"}


def test_one_hot_columns_are_one_feature():
    frame, y = people()
    model = fitted(encoded(LogisticRegression()), frame, y)
    result = run(toy_inputs(frame, model), background=120)
    assert result.tables["shap_global"]["feature"].tolist().count("home") == 1
    assert set(result.tables["shap_global"]["feature"]) == {"age", "amount", "home"}
    # By hand: the value of a level is its coefficient less the mean coefficient of the background.
    names = model.estimator[0].get_feature_names_out()
    coefficient = dict(zip(names, model.estimator[-1].coef_[0], strict=True))
    level = frame["home"].map(lambda home: coefficient[f"l__home_{home}"])
    expected = level - level.mean()
    found = wide(result)["home"]
    np.testing.assert_allclose(found, expected.iloc[found.index.astype(int)], atol=1e-10)


def test_trees_against_brute_force_on_a_tree_of_depth_two():
    rng = np.random.default_rng(5)
    X = pd.DataFrame(rng.normal(size=(200, 3)).astype(np.float32).astype(float), columns=list("abc"))
    y = np.where((X["a"] > 0) & (X["b"] > 0), "yes", "no")
    model = fitted(DecisionTreeClassifier(max_depth=2, random_state=0), X, y)
    assert model.estimator.get_depth() == 2
    result = run(toy_inputs(X, model), rows=6, background=9)
    background = X.iloc[result.tables["shap_background"]["instance"].astype(int)].to_numpy()

    def score(x):
        return model.estimator.predict_proba(pd.DataFrame(x[None], columns=list("abc")))[0, 1]

    for instance, found in wide(result).iterrows():
        expected = brute_force(score, X.iloc[int(instance)].to_numpy(), background)
        np.testing.assert_allclose(found, expected, atol=1e-9)
    assert how(result).code == "tree"
    assert how(result).args["space"] == "probability"


def test_any_model_against_brute_force_over_frames_with_levels():
    frame, _ = people(30)

    def score(f):
        steep = np.where(f["home"] == "own", 2.0, -1.0) * f["amount"] * (f["age"] - 45) / 20
        return np.asarray(1 / (1 + np.exp(-steep)))

    result = run(toy_inputs(frame, score), rows=5, background=8)
    background = frame.iloc[result.tables["shap_background"]["instance"].astype(int)].to_numpy()

    def one(x):
        return score(pd.DataFrame([list(x)], columns=frame.columns).astype({"age": float, "amount": float}))[0]

    for instance, found in wide(result).iterrows():
        row = frame.iloc[int(instance)].to_numpy()
        expected = brute_force_of_objects(one, row, background)
        np.testing.assert_allclose(found[list(frame.columns)].to_numpy(float), expected, atol=1e-12)
    assert how(result).code == "permutation"
    assert how(result).args["exact"] is True


def brute_force_of_objects(score, row, background):
    def mixed(x):
        return score(np.array(x, dtype=object))

    d = len(row)

    def worth(known):
        return np.mean([mixed([row[j] if j in known else b[j] for j in range(d)]) for b in background])

    values = np.zeros(d)
    for j in range(d):
        for size in range(d):
            for known in combinations([k for k in range(d) if k != j], size):
                weight = math.factorial(size) * math.factorial(d - size - 1) / math.factorial(d)
                values[j] += weight * (worth({*known, j}) - worth(set(known)))
    return values


def test_the_estimate_agrees_with_the_kernel_explainer_of_shap():
    import shap

    rng = np.random.default_rng(6)
    X = pd.DataFrame(rng.normal(size=(60, 5)), columns=list("abcde"))
    score = lambda f: np.asarray(1 / (1 + np.exp(-f["a"] * f["b"] - f["c"] + f["d"] * f["e"])))  # noqa: E731 - a toy
    result = run(toy_inputs(X, score), rows=4, background=10, permutations=1000)
    background = X.iloc[result.tables["shap_background"]["instance"].astype(int)].to_numpy()
    found = wide(result)
    rows = X.iloc[found.index.astype(int)].to_numpy()
    # With five features the kernel explainer goes through every coalition, so it is exact.
    kernel = shap.KernelExplainer(lambda x: score(pd.DataFrame(x, columns=list("abcde"))), background)
    np.testing.assert_allclose(found, kernel.shap_values(rows, silent=True), atol=0.01)


@pytest.mark.parametrize(
    ("last", "explainer", "space"),
    [
        (LogisticRegression(), "linear", "log_odds"),
        (SGDClassifier(loss="log_loss", random_state=0), "linear", "log_odds"),
        (RandomForestClassifier(20, random_state=0), "tree", "probability"),
        (ExtraTreesClassifier(20, random_state=0), "tree", "probability"),
        (DecisionTreeClassifier(max_depth=4, random_state=0), "tree", "probability"),
        (GradientBoostingClassifier(n_estimators=20, random_state=0), "tree", "log_odds"),
        (HistGradientBoostingClassifier(max_iter=10), "tree", "log_odds"),
    ],
)
@pytest.mark.parametrize("several", [False, True])
def test_each_native_model_adds_up_to_its_score(last, explainer, space, several):
    frame, y = people(150)
    if several:
        y = np.where(frame["amount"] > 0.8, "maybe", y)
    model = fitted(encoded(last), frame, y)
    result = run(toy_inputs(frame, model, favourable=() if several else ("yes",)), rows=40)
    if several and isinstance(last, GradientBoostingClassifier):
        assert how(result).code == "permutation"
        (note,) = [n for n in result.notes if n.code == "fell_back"]
        assert "more than two classes" in note.args["reason"]
    else:
        assert how(result).code == explainer
        assert how(result).args["space"] == space
        assert "fell_back" not in codes(result)
    assert metric(result, "additivity_error")[0] <= 1e-5
    outcomes = {"maybe", "no", "yes"} if several else {"favourable"}
    assert set(result.tables["shap_local"]["outcome"]) == outcomes
    sizes = result.tables["shap_local"].assign(size=lambda t: t["value"].abs()).groupby("feature")["size"].mean()
    table = result.tables["shap_global"].set_index("feature")["mean_abs"]
    pd.testing.assert_series_equal(table.sort_index(), sizes.sort_index(), check_names=False, check_index_type=False)


def test_probabilities_of_several_favourable_classes_add_up_to_one_score():
    frame, y = people(150)
    y = np.where(frame["amount"] > 0.8, "maybe", y)
    model = fitted(encoded(RandomForestClassifier(20, random_state=0)), frame, y)
    inputs = toy_inputs(frame, model, favourable=("maybe", "yes"))
    result = run(inputs, rows=40)
    assert set(result.tables["shap_local"]["outcome"]) == {"favourable"}
    found = wide(result)
    score = inputs.decision.score(inputs.scores)[found.index.astype(int)]
    np.testing.assert_allclose(found.sum(axis=1) + metric(result, "base")[0], score, atol=1e-6)


def test_a_model_that_mixes_features_is_asked_instead_and_says_so():
    frame, y = people()
    X = frame[["age", "amount"]].astype(float)
    model = fitted(make_pipeline(StandardScaler(), PCA(2), LogisticRegression()), X, y)
    result = run(toy_inputs(X, model), rows=10)
    assert how(result).code == "permutation"
    (note,) = [n for n in result.notes if n.code == "fell_back"]
    assert "mixes several features" in note.args["reason"]
    with pytest.raises(Refusal, match="mixes several features"):
        run(toy_inputs(X, model), explainer="linear")


def test_an_explainer_of_another_form_is_refused_and_permutation_always_fits():
    frame, y = people()
    model = fitted(encoded(LogisticRegression()), frame, y)
    with pytest.raises(Refusal, match="tree explainer does not fit"):
        run(toy_inputs(frame, model), explainer="tree")
    asked = run(toy_inputs(frame, model), explainer="permutation", rows=10)
    assert how(asked).code == "permutation"
    voting = fitted(encoded(VotingClassifier([("a", LogisticRegression())], voting="soft")), frame, y)
    assert how(run(toy_inputs(frame, voting), rows=10)).code == "permutation"


@dataclass(frozen=True)
class Liar:
    """A model whose scores are not those of its inside."""

    inner: Any
    classes: tuple[str, ...] = ("no", "yes")
    capabilities: frozenset[str] = frozenset({"predict", "native"})

    def predict(self, frame):
        return self.inner.predict(frame)[:, ::-1]

    def native(self):
        return self.inner.native()


def test_an_inside_that_is_not_the_model_is_not_explained():
    frame, y = people()
    result = run(toy_inputs(frame, Liar(fitted(encoded(LogisticRegression()), frame, y))), rows=10)
    assert how(result).code == "permutation"
    assert "does not give the scores" in next(n.args["reason"] for n in result.notes if n.code == "fell_back")


def test_a_model_that_answers_by_chance_is_found_out():
    rng = np.random.default_rng(0)
    frame, _ = people(30)
    result = run(toy_inputs(frame, lambda f: rng.random(len(f))), rows=10)
    (note,) = [n for n in result.notes if n.code == "not_additive"]
    assert note.severity == "major"


# What is reported


@pytest.mark.parametrize(
    "last", [RandomForestClassifier(5, random_state=0), HistGradientBoostingClassifier(max_iter=9)]
)
def test_values_right_beside_a_threshold_take_the_right_branch(last):
    """The package shap keeps thresholds as float32; rows are put on both sides of each, as near as can be."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"a": rng.normal(20_000_000, 1_000, 200), "b": rng.normal(size=200)})
    model = last.fit(X.to_numpy(), np.where((X["a"] > 20_000_000) ^ (X["b"] > 0), "yes", "no"))
    kind = np.float32 if isinstance(last, RandomForestClassifier) else np.float64
    if isinstance(last, RandomForestClassifier):
        cuts = np.concatenate([t.tree_.threshold[t.tree_.feature == 0] for t in model.estimators_])
    else:
        nodes = np.concatenate([p[0].nodes for p in model._predictors])
        cuts = nodes["num_threshold"][(nodes["is_leaf"] == 0) & (nodes["feature_idx"] == 0)]
    near = kind(cuts)
    beside = np.concatenate([np.nextafter(near, kind(-np.inf)), near, np.nextafter(near, kind(np.inf))]).astype(float)
    frame = pd.DataFrame({"a": beside, "b": rng.normal(size=len(beside))})
    result = run(toy_inputs(frame, FittedModel(model, ("no", "yes"), None)), rows=1000, background=1000)
    assert how(result).code == "tree"
    assert metric(result, "additivity_error")[0] < 1e-6


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
