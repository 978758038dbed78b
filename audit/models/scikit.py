"""Models fitted with scikit-learn: any estimator or Pipeline with `predict_proba`."""

import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from audit.core.errors import ModelError
from audit.core.labels import class_labels
from audit.core.model import Allow, Capability, Native, Source
from audit.core.refit import refitted
from audit.core.table import Floats
from audit.core.tree_file import is_tree
from audit.models import FileAdapter, refuse_bomb

PICKLED = frozenset({".pkl", ".pickle", ".joblib"})
LINEAR = frozenset({"LogisticRegression", "LogisticRegressionCV", "SGDClassifier"})
TREES = frozenset(
    {
        "DecisionTreeClassifier",
        "ExtraTreeClassifier",
        "RandomForestClassifier",
        "ExtraTreesClassifier",
        "GradientBoostingClassifier",
        "HistGradientBoostingClassifier",
    }
)


@dataclass(frozen=True)
class FittedModel:
    """A fitted classifier.

    Attributes:
        names: the columns that it was fitted on, in order; None where it was fitted on a plain array.
        notes: what scikit-learn warned of while the file was read, as text: above all another version of it.
    """

    estimator: Any
    classes: tuple[str, ...]
    names: tuple[str, ...] | None
    notes: tuple[str, ...] = ()

    @property
    def capabilities(self) -> frozenset[Capability]:
        """It answers for any row; `native` where the last step is linear or made of trees."""
        return frozenset({"predict"} if self.native() is None else {"predict", "native"})

    def predict(self, frame: pd.DataFrame) -> Floats:
        """Probabilities of shape (n, C).

        Raises:
            ModelError: the columns are not those that the model was fitted on.
        """
        return np.asarray(self.estimator.predict_proba(self._input(frame)), dtype=np.float64)

    def native(self) -> Native | None:
        """The last step and what comes before it, where an explainer can read the last step."""
        before, last = _split(self.estimator)
        form = _form(last)
        if form is None:
            return None

        def transform(frame: pd.DataFrame) -> Floats:
            given = self._input(frame)
            return _dense(given if before is None else before.transform(given))

        return Native(form=form, estimator=last, transform=transform, before=before)

    def thresholds(self, name: str) -> Floats | None:
        """Where trees split on a feature that reaches them as it is, shape (k, 2); see `core/model.Thresholds`."""
        before, last = _split(self.estimator)
        if _form(last) != "trees" or self.names is None or name not in self.names:
            return None
        column = _column(before, self.names, name)
        return None if column is None else _splits(last, column)

    def refitted(self, frame: pd.DataFrame, labels: "pd.Series[Any]", seed: int) -> "FittedModel":
        """Fitted anew with another seed; see `core/model.Refits`."""
        return replace(self, estimator=refitted(self.estimator, self._input(frame), labels, seed), notes=())

    def _input(self, frame: pd.DataFrame) -> Any:
        if self.names is None:
            return frame.to_numpy()
        _refuse_other_features(self.names, tuple(map(str, frame.columns)))
        return frame


class SklearnAdapter(FileAdapter):
    """A model file of scikit-learn: `.skops`, or a pickle where the person who starts the run allows it."""

    kind: Literal["sklearn"] = "sklearn"

    uses: ClassVar[tuple[str, ...]] = ("scikit-learn", "skops")
    inside: ClassVar[bool] = True

    def parsers(self) -> tuple[str, ...]:
        """What reads .skops; a pickle runs code, which whoever starts the run has allowed, and runs it once."""
        return ("skops.io",) if Path(self.path).suffix.lower() == ".skops" else ()

    def load(self, source: Source) -> FittedModel:
        """The fitted model; nothing in the file is opened before its digest was compared."""
        data = self.content(source)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            estimator = _open(self.path, data, source.allow)
        classes = _classes(self.path, estimator)
        names = getattr(estimator, "feature_names_in_", None)
        known = None if names is None else tuple(map(str, names))
        if known is not None and self.features is not None:
            _refuse_other_features(known, self.features)
        _run_on_one_thread(estimator)
        _refuse_broken_trees(self.path, estimator)
        notes = tuple(dict.fromkeys(str(warning.message) for warning in caught))
        return FittedModel(estimator, classes, known, notes)


def _open(path: str, data: bytes, allow: Allow) -> Any:
    suffix = Path(path).suffix.lower()
    if suffix == ".skops":
        return _open_skops(path, data, allow.types)
    if suffix in PICKLED:
        return _open_pickle(path, data, allowed=allow.pickle)
    raise ModelError(
        f"model.path: {path} ends in {suffix or 'nothing'!r}; a model of scikit-learn is a .skops file, "
        "or with --allow-pickle a .pkl, .pickle or .joblib file"
    )


def _open_skops(path: str, data: bytes, trusted: tuple[str, ...]) -> Any:
    import skops.io

    refuse_bomb(path, data)
    try:
        untrusted = sorted(set(skops.io.get_untrusted_types(data=data)) - set(trusted))
    except Exception as error:  # the file is foreign: whatever its reader raises is a fault of the file
        raise ModelError(f"model.path: {path} is no skops file: {type(error).__name__}: {error}") from error
    if untrusted:
        options = " ".join(f"--trust {name}" for name in untrusted)
        raise ModelError(
            f"model.path: {path} holds types that skops does not trust: {', '.join(untrusted)}. "
            f"If you know them and trust them, run again with {options}"
        )
    try:
        return skops.io.loads(data, trusted=list(trusted))
    except Exception as error:  # as above
        raise ModelError(f"model.path: {path} cannot be loaded: {type(error).__name__}: {error}") from error


def _open_pickle(path: str, data: bytes, *, allowed: bool) -> Any:
    """The object in a pickle. The only place of the project where a pickle can run any code."""
    if not allowed:
        raise ModelError(
            f"model.path: {path} is a pickle, which can run any code when it is opened, so it was not opened. "
            "Save the model with skops.io.dump, or run again with --allow-pickle if you know where it comes from."
        )
    import joblib

    try:
        return joblib.load(io.BytesIO(data))
    except Exception as error:  # the file is foreign: whatever it raises is a fault of the file
        raise ModelError(f"model.path: {path} cannot be unpickled: {type(error).__name__}: {error}") from error


def _classes(path: str, estimator: Any) -> tuple[str, ...]:
    """The class labels of a fitted classifier with probabilities; anything else is refused with what to do."""
    what = f"model.path: {path} holds a {type(estimator).__name__}"
    if getattr(estimator, "_estimator_type", None) == "regressor" or _is_regressor(estimator):
        raise ModelError(
            f"{what}, a regressor; version 1 audits classifiers only; audit the decision that is made from it instead, "
            "as a model of `kind: function`"
        )
    if not hasattr(estimator, "predict_proba"):
        raise ModelError(
            f"{what} without predict_proba; save a classifier that gives probabilities "
            "(for an SVC or a hinge loss, wrap it in CalibratedClassifierCV and fit that)"
        )
    found = getattr(estimator, "classes_", None)
    if found is None:
        raise ModelError(f"{what} that is not fitted; fit it before it is saved")
    if isinstance(found, list):
        raise ModelError(f"{what} with {len(found)} outputs; audit a model with one output, one at a time")
    try:
        return class_labels(found)
    except ValueError as error:
        raise ModelError(f"{what}: {error}") from error


def _is_regressor(estimator: Any) -> bool:
    from sklearn.base import BaseEstimator, is_regressor

    return isinstance(estimator, BaseEstimator) and bool(is_regressor(estimator))


def _refuse_other_features(fitted: tuple[str, ...], given: tuple[str, ...]) -> None:
    """Passes only the very columns that the model was fitted on, in that order."""
    if fitted == given:
        return
    missing = [name for name in fitted if name not in given]
    extra = [name for name in given if name not in fitted]
    parts = [f"missing: {', '.join(missing)}"] if missing else []
    parts += [f"unknown to the model: {', '.join(extra)}"] if extra else []
    parts += [] if parts else ["the order differs"]
    raise ModelError(
        f"model.features: not what the model was fitted on ({'; '.join(parts)}); "
        f"list exactly these, in this order: {', '.join(fitted)}"
    )


def _run_on_one_thread(estimator: Any) -> None:
    """Sets `n_jobs` to 1 wherever it stands: results and their cost must not depend on the machine."""
    for part in _parts(estimator, set()):
        if getattr(part, "n_jobs", 1) != 1:
            part.n_jobs = 1


def _parts(value: Any, seen: set[int]) -> Iterator[Any]:
    """Every estimator inside a fitted one; its fitted copies too, which `set_params` does not reach."""
    from sklearn.base import BaseEstimator

    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, BaseEstimator):
        yield value
        inside = list(vars(value).values())
    elif isinstance(value, dict):
        inside = list(value.values())
    elif isinstance(value, list | tuple):
        inside = list(value)
    elif isinstance(value, np.ndarray) and value.dtype == object:
        inside = list(value.ravel())
    else:
        return
    for item in inside:
        yield from _parts(item, seen)


def _refuse_broken_trees(path: str, estimator: Any) -> None:
    """Refuses trees that lead outside of themselves or of their features: they are walked without looking."""
    for part in _parts(estimator, set()):
        for left, right, leaf, feature in _trees(part):
            most = getattr(part, "n_features_in_", None) or 0
            split = feature[~leaf]
            if not is_tree(left, right, leaf) or (len(split) and not 0 <= split.min() <= split.max() < most):
                raise ModelError(f"model.path: {path} holds a broken tree; save the model again")


def _trees(part: Any) -> Iterator[tuple[Any, ...]]:
    """Of every tree of an estimator the left and right children, which nodes are leaves, and the features."""
    trees: Any = getattr(part, "tree_", None)
    if hasattr(trees, "children_left"):
        left = np.asarray(trees.children_left)
        yield left, np.asarray(trees.children_right), left == -1, np.asarray(trees.feature)
    for stage in getattr(part, "_predictors", None) or ():
        for tree in stage:
            nodes = tree.nodes
            left, right = (nodes[side].astype(np.int64) for side in ("left", "right"))
            yield left, right, nodes["is_leaf"].astype(bool), nodes["feature_idx"].astype(np.int64)


def _split(estimator: Any) -> tuple[Any, Any]:
    """The fitted transform, or None, and the last step."""
    from sklearn.pipeline import Pipeline

    if isinstance(estimator, Pipeline):
        return (estimator[:-1] if len(estimator) > 1 else None), estimator[-1]
    return None, estimator


def _form(last: Any) -> Literal["linear", "trees"] | None:
    """What an explainer can read; by exact class, for a subclass may predict in its own way."""
    kind = type(last)
    if not kind.__module__.startswith("sklearn."):
        return None
    if kind.__name__ in LINEAR:
        return "linear"
    # Trees that split on sets of categories cannot be read by the explainers.
    if kind.__name__ in TREES and getattr(last, "is_categorical_", None) is None:
        return "trees"
    return None


def _column(before: Any, names: tuple[str, ...], name: str) -> int | None:
    """The column of the matrix that the last step is given in which a feature stands unchanged, and nowhere else."""
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import FunctionTransformer

    if before is None:
        return names.index(name)
    if isinstance(before, Pipeline):
        return _column(before[0], names, name) if len(before) == 1 else None
    if type(before) is not ColumnTransformer:
        return None
    places: list[int | None] = []
    for label, step, columns in before.transformers_:
        taken = np.asarray(names, dtype=object)[_positions(columns, names)].tolist()
        if name in taken and step != "drop":
            plain = step == "passthrough" or (type(step) is FunctionTransformer and step.func is None)
            places.append(before.output_indices_[label].start + taken.index(name) if plain else None)
    return places[0] if len(places) == 1 else None


def _positions(columns: Any, names: tuple[str, ...]) -> Any:
    """Positions of columns that are given by name or by position, one or several, as a slice or a mask."""
    if isinstance(columns, str):
        return [names.index(columns)]
    if isinstance(columns, slice):
        return columns
    found = list(np.atleast_1d(np.asarray(columns, dtype=object)))
    if found and all(isinstance(column, bool | np.bool_) for column in found):
        return [i for i, taken in enumerate(found) if taken]
    return [names.index(column) if isinstance(column, str) else int(column) for column in found]


def _splits(trees: Any, column: int) -> Floats:
    """The values on both sides of every split on a column, shape (k, 2)."""
    if hasattr(trees, "_predictors"):
        nodes = [tree.nodes for stage in trees._predictors for tree in stage]  # noqa: SLF001 - stored nowhere else
        cuts = [part["num_threshold"][(part["feature_idx"] == column) & (part["is_leaf"] == 0)] for part in nodes]
        below = np.unique(np.concatenate(cuts)).astype(np.float64)
        below = below[np.isfinite(below)]
        return np.column_stack([below, np.nextafter(below, np.inf)])
    fitted = np.ravel(trees.estimators_) if hasattr(trees, "estimators_") else [trees]
    cuts = [one.tree_.threshold[one.tree_.feature == column] for one in fitted]
    exact = np.unique(np.concatenate(cuts))
    # Values are compared in single precision.
    single = exact.astype(np.float32)
    single = np.unique(np.where(single > exact, np.nextafter(single, np.float32(-np.inf)), single))
    return np.column_stack([single, np.nextafter(single, np.float32(np.inf))]).astype(np.float64)


def _dense(matrix: Any) -> Floats:
    """A float64 array of shape (n, m) from what a transform gave: array, frame or sparse matrix."""
    plain = matrix.toarray() if hasattr(matrix, "toarray") else matrix
    return np.asarray(plain, dtype=np.float64)
