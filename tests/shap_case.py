"""Runs of the Shapley values, models for them, and brute force over all coalitions."""

import math
from itertools import combinations

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from worded import assert_worded

from audit.core.plan import Part
from audit.methods.shapley import Shap
from audit.models.scikit import FittedModel
from audit.testing import toy_context


def run(inputs, seed=0, **settings):
    result = Shap(**settings).run(toy_context(inputs, seed), Part(index=0))
    assert_worded("shap", result)
    return result


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
