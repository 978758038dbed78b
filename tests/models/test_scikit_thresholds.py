"""The splits of scikit-learn's trees: between two of them nothing changes, and at them something does."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from audit.core.model import Thresholds
from audit.models.scikit import FittedModel


def data() -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "a": rng.normal(0, 3, 300),
            "b": rng.integers(0, 9, 300),
            "c": rng.choice(["x", "y"], 300),
            "d": rng.random(300),
        }
    )
    return frame, (frame["a"] + frame["b"] / 2 * (frame["c"] == "x") + rng.normal(0, 1, 300) > 2).to_numpy()


def fitted(estimator: Any) -> FittedModel:
    from sklearn.compose import make_column_transformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    frame, y = data()
    steps = make_column_transformer(
        (OneHotEncoder(sparse_output=False), ["c"]), (StandardScaler(), ["d"]), remainder="passthrough"
    )
    model = make_pipeline(steps, estimator).fit(frame, y)
    return FittedModel(model, ("no", "yes"), tuple(frame.columns))


def kinds() -> dict[str, Any]:
    from sklearn import ensemble, tree

    return {
        "tree": tree.DecisionTreeClassifier(max_depth=6, random_state=0),
        "forest": ensemble.RandomForestClassifier(5, max_depth=6, random_state=0),
        "boosting": ensemble.GradientBoostingClassifier(n_estimators=8, random_state=0),
        "histogram": ensemble.HistGradientBoostingClassifier(max_iter=8, min_samples_leaf=5),
    }


@pytest.mark.parametrize("kind", ["tree", "forest", "boosting", "histogram"])
def test_between_splits_nothing_changes_and_at_each_something_does(kind: str) -> None:
    model, (frame, _) = fitted(kinds()[kind]), data()
    assert isinstance(model, Thresholds)
    for name in ("a", "b"):
        pairs = model.thresholds(name)
        assert pairs is not None
        assert len(pairs) > 3
        assert (np.diff(pairs.ravel()) >= 0).all()
        ends = np.concatenate([[-50.0], pairs.ravel(), [50.0]]).reshape(-1, 2)
        sides = [model.predict(frame.assign(**{name: end}))[:, 1] for end in ends.ravel()]
        for i, (low, high) in enumerate(ends):
            inside = model.predict(frame.assign(**{name: (low + high) / 2}))[:, 1]
            np.testing.assert_array_equal(inside, sides[2 * i])
            np.testing.assert_array_equal(inside, sides[2 * i + 1])
        jumps = [(sides[i] != sides[i + 1]).any() for i in range(1, len(sides) - 1, 2)]
        assert np.mean(jumps) > 0.8


def test_what_does_not_reach_the_trees_as_it_is_is_not_known() -> None:
    from sklearn.linear_model import LogisticRegression

    model = fitted(kinds()["tree"])
    assert model.thresholds("c") is None
    assert model.thresholds("d") is None
    assert model.thresholds("e") is None
    assert fitted(LogisticRegression()).thresholds("a") is None


def test_without_a_pipeline_and_without_splits() -> None:
    frame, y = data()
    numbers = frame[["a", "b", "d"]].assign(d=1.0)
    model = FittedModel(kinds()["tree"].fit(numbers, y), ("no", "yes"), tuple(numbers.columns))
    pairs, none = model.thresholds("a"), model.thresholds("d")
    assert pairs is not None
    assert none is not None
    assert len(pairs) > 3
    assert none.shape == (0, 2)
    assert FittedModel(kinds()["tree"].fit(numbers.to_numpy(), y), ("no", "yes"), None).thresholds("a") is None
