"""How well some columns tell another one: predictions for rows that the predictor has not seen."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from audit.core.answers import Answers, Estimate, ranking, shares
from audit.core.model import Ints
from audit.core.schema import FeatureSchema
from audit.core.table import Floats

FOLDS = 5
DEPTH = 4
DEPTH_ALONE = 2
"""Of the tree over a single feature."""

LEAF = 5
"""Rows that a leaf of the shallow tree holds at least."""


def design(schema: FeatureSchema, codes: Floats) -> tuple[Floats, Ints]:
    """Rows as numbers, shape (n, m), and the feature that each of the m columns was made of.

    Ordered features are scaled to mean 0 and deviation 1, the median in place of what is missing; other features have
    a column for each level that occurs; a feature with missing values has a column that says so.
    """
    columns, owner = [], []
    for j, feature in enumerate(schema.features):
        own, missing = codes[:, j], np.isnan(codes[:, j])
        parts = [] if not missing.any() else [missing.astype(np.float64)]
        if feature.ordered and not missing.all():
            known = np.where(missing, np.median(own[~missing]), own)
            spread = known.std()
            parts.append((known - known.mean()) / (spread if spread > 0 else 1.0))
        elif not feature.ordered:
            parts += [(own == level).astype(np.float64) for level in np.unique(own[~missing])]
        columns += parts
        owner += [j] * len(parts)
    matrix = np.column_stack(columns) if columns else np.empty((len(codes), 0))
    return matrix, np.array(owner, dtype=np.int64)


def out_of_fold(predictor: str, X: Floats, y: Ints, classes: int, depth: int = DEPTH) -> tuple[Floats, bool]:
    """Probabilities of each class for each row, shape (n, classes), from a predictor trained on other folds.

    Classes weigh the same however frequent they are. The second answer says whether every fit converged.

    Args:
        predictor: `logistic regression` or `tree`.
        y: shape (n,), positions of classes; each occurs at least twice.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold
    from sklearn.tree import DecisionTreeClassifier

    folds = min(FOLDS, int(np.bincount(y, minlength=classes).min()))
    P, settled = np.zeros((len(y), classes)), True
    for train, test in StratifiedKFold(folds, shuffle=True, random_state=0).split(X, y):
        model: Any = (
            LogisticRegression(max_iter=300, class_weight="balanced")
            if predictor == "logistic regression"
            else DecisionTreeClassifier(max_depth=depth, min_samples_leaf=LEAF, class_weight="balanced", random_state=0)
        )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(X[train], y[train])
        settled &= not any("converge" in str(warning.message) for warning in caught)
        P[np.ix_(test, model.classes_)] = model.predict_proba(X[test])
    return P, settled


@dataclass(frozen=True)
class Told:
    """How well some features tell the groups of a column.

    Attributes:
        features: `all`, `mutable`, or the name of one.
        area: the AUC; with more than two groups the mean of one against the rest.
        balanced: the mean over groups of the share of their rows that are told rightly.
        baseline: what one answer for all rows would give.
    """

    column: str
    features: str
    predictor: str
    area: Estimate
    balanced: Estimate
    baseline: float
    settled: bool


def tell(column: str, features: str, predictor: str, X: Floats, y: Ints, names: tuple[str, ...]) -> Told:
    """How well a predictor over X, shape (n, m), tells the groups y, shape (n,), on rows that it has not seen."""
    depth = DEPTH if features in {"all", "mutable"} else DEPTH_ALONE
    P, settled = out_of_fold(predictor, X, y, len(names), depth)
    answers = Answers(y, P.argmax(axis=1), P, names)
    (balanced,) = shares(answers, favourable=False)["balanced_accuracy"]
    return Told(column, features, predictor, ranking(answers), balanced, 1 / len(names), settled)
