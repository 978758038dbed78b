"""Each explainer against hand formulas, brute force, and the package shap."""

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from shap_case import brute_force, codes, encoded, fitted, how, metric, people, run, wide
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from audit.core.method import Refusal
from audit.models.scikit import FittedModel
from audit.testing import toy_inputs


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
