"""The data, models and runs on which CID is measured: shared by its tests and by its study."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
from worded import assert_worded

from audit.core import pool
from audit.core.evidence import Note, Result
from audit.core.method import Inputs, Sample
from audit.core.plan import Part
from audit.methods import cid
from audit.methods.cid import Cid
from audit.methods.shapley import Shap
from audit.models.scikit import FittedModel
from audit.testing import ToyModel, toy_context, toy_inputs


@dataclass(frozen=True)
class Case:
    """A model and its data.

    Attributes:
        rows: before and after equal rows were removed.
        accuracy, majority: shares of the test rows: decided rightly, and of the more frequent class.
    """

    name: str
    inputs: Inputs
    rows: tuple[int, int]
    accuracy: float
    majority: float


def distinct(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows without repeats, the class among them (choice CID-05)."""
    return frame.drop_duplicates(ignore_index=True)


def case(name: str, frame: pd.DataFrame, y: np.ndarray, estimator: Any, *, repeats_stay: bool = False) -> Case:
    """Removes equal rows, then splits 80/20 by class with seed 42 and fits; every test row may be explained."""
    from sklearn.model_selection import train_test_split

    whole = frame.reset_index(drop=True).assign(target=np.where(y, "yes", "no"))
    kept = whole if repeats_stay else distinct(whole)
    train, test = train_test_split(kept, test_size=0.2, stratify=kept["target"], random_state=42)
    train, test = train.reset_index(drop=True), test.reset_index(drop=True)
    columns = list(frame.columns)
    estimator.fit(train[columns], train["target"])
    model = FittedModel(estimator, ("no", "yes"), tuple(columns))
    inputs = toy_inputs(test, model, target="target", names=columns, train=train)
    predicted = inputs.decision.outcome(inputs.scores)
    actual = (test["target"] == "yes").to_numpy()
    majority = max(float(actual.mean()), 1 - float(actual.mean()))
    return Case(name, inputs, (len(whole), len(kept)), float((predicted == actual).mean()), majority)


def logistic() -> Any:
    """A logistic regression on standardised columns."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def forest() -> Any:
    """A random forest of 100 trees with seed 42."""
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(n_estimators=100, random_state=42)


def diabetes_like(estimator: Any, name: str = "diabetes-like") -> Case:
    """scikit-learn's diabetes progression data, 442 x 10, unscaled; the class: progression above its median."""
    from sklearn.datasets import load_diabetes

    frame, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    return case(name, frame, (y > y.median()).to_numpy(), estimator)


def breast_cancer(estimator: Any, name: str = "breast cancer") -> Case:
    """scikit-learn's breast-cancer data, 569 x 30."""
    from sklearn.datasets import load_breast_cancer

    frame, y = load_breast_cancer(return_X_y=True, as_frame=True)
    return case(name, frame, (y == 1).to_numpy(), estimator)


def synthetic(estimator: Any, name: str = "synthetic", rows: int = 768, d: int = 8, **options: Any) -> Case:
    """scikit-learn's make_classification with 4 informative columns of d, in the size of the Pima data by default."""
    from sklearn.datasets import make_classification

    X, y = make_classification(rows, d, n_informative=4, n_redundant=2, random_state=42)
    return case(name, pd.DataFrame(X, columns=[f"x{j}" for j in range(d)]), y == 1, estimator, **options)


def explained(inputs: Inputs, background: int = 100) -> Inputs:
    """The inputs with SHAP values of every audited row."""
    found = Shap(rows=10_000, background=background).run(toy_context(replace(inputs, results={})), Part(index=0))
    return replace(inputs, results={**inputs.results, "shap": found})


def run(inputs: Inputs, seed: int = 0, **settings: Any) -> Result:
    """CID; all that it says has words."""
    method = Cid.model_validate(settings)
    result = method.run(toy_context(inputs, seed), Part(index=0))
    assert_worded("cid", result)
    return result


@contextmanager
def opposite_class() -> Iterator[None]:
    """Inside it C- comes from the opposite class, like C+ (defect CID-03): a second draw stands in for it."""

    def draw(model: Any, policy: Any, rows: Any, law: pool.Law, rng: np.random.Generator, tick: Any) -> list[pool.Pool]:
        first, second = (pool.draw_pools(model, policy, rows, law, one, tick) for one in rng.spawn(2))
        return [
            a._replace(minus=b.plus, minus_sizes=b.plus_sizes) for a, b in zip(first, second, strict=True)
        ]  # fmt: skip

    with patch.object(cid, "draw_pools", draw):
        yield


def faithful(result: Result) -> pd.DataFrame:
    """The table of faithfulness, by attribution."""
    return result.tables["cid_faithfulness"].set_index("attribution")


def overall(result: Result) -> pd.DataFrame:
    """The global table, by feature."""
    return result.tables["cid_global"].set_index("feature")


def notes(result: Result) -> dict[str, Note]:
    """The notes, by code."""
    return {note.code: note for note in result.notes}


def whole(n: int = 40, **options: Any) -> Inputs:
    """Whole numbers a, b and c in 0..9; yes from a of 5 on."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({name: rng.integers(0, 10, n) for name in "abc"})
    frame.iloc[0], frame.iloc[1] = 0, 9
    return toy_inputs(frame, lambda f: np.where(f["a"] >= 5, 0.8, 0.2), **options)


def local(result: Result, instance: str) -> pd.DataFrame:
    """The local values of a row, by feature."""
    table = result.tables["cid_local"]
    return table[table["instance"] == instance].set_index("feature")


def only(inputs: Inputs, rows: Any, drawn: Any = None) -> Sample:
    """A sample of some of the audited rows."""
    sample = inputs.sample
    rows = np.asarray(rows)
    flags = np.ones(len(rows), dtype=bool) if drawn is None else np.asarray(drawn)
    return Sample(sample.table.take(rows), sample.rows[rows], flags, sample.scores[rows])


def three_classes() -> Inputs:
    """Three classes that each rest on one of five features; none is favourable."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.random((60, 5)), columns=list("abcde"))

    def score(rows):
        raw = rows[["a", "b", "c"]].to_numpy() ** 4 + 0.01
        return raw / raw.sum(axis=1, keepdims=True)

    return toy_inputs(frame, ToyModel(score, ("x", "y", "z")), favourable=())
