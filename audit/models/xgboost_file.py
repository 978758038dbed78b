"""Models of XGBoost from the files that XGBoost writes: .json and .ubj."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from audit.core.errors import ModelError
from audit.core.model import Capability, CodeScores, Native, Source
from audit.core.schema import FeatureSchema, Level
from audit.core.table import Floats
from audit.core.tree_file import Columns, columns, is_tree, labels, pairs, whole
from audit.models import FileAdapter

OBJECTIVES = frozenset({"binary:logistic", "multi:softprob"})
SIZES = {b"Z": 0, b"N": 0, b"T": 0, b"F": 0, b"i": 1, b"U": 1, b"C": 1, b"I": 2, b"l": 4, b"d": 4, b"L": 8, b"D": 8}
"""Bytes of the values of the UBJSON format, by their type."""


@dataclass(frozen=True)
class XgboostModel:
    """A booster of XGBoost.

    Attributes:
        booster: an `xgboost.Booster`, cut to its best iteration where training stopped early.
        columns: how rows become its matrix.
        learner: the file as XGBoost writes it in JSON, the part `learner`.
    """

    booster: Any
    classes: tuple[str, ...]
    columns: Columns
    learner: Mapping[str, Any]

    @property
    def capabilities(self) -> frozenset[Capability]:
        """It answers for any row; `native` where it is made of trees."""
        return frozenset({"predict", "native"} if self.learner["gradient_booster"]["name"] == "gbtree" else {"predict"})

    def predict(self, frame: pd.DataFrame) -> Floats:
        """Probabilities of shape (n, C), on one thread.

        Raises:
            ModelError: the columns are not those that the model was trained on.
        """
        return self._scores(self.columns.matrix(frame))

    def of_codes(self, schema: FeatureSchema) -> CodeScores | None:
        """As `core.model.Coded` says."""
        coder = self.columns.coder(schema)
        return None if coder is None else lambda codes: self._scores(coder(codes))

    def _scores(self, matrix: Floats) -> Floats:
        from xgboost import DMatrix

        if not len(matrix):
            return np.empty((0, len(self.classes)))
        kinds, names = self.booster.feature_types, self.booster.feature_names
        rows = DMatrix(matrix, feature_types=kinds, feature_names=names, enable_categorical=True, nthread=1)
        return whole(self.booster.predict(rows))

    def native(self) -> Native | None:
        """The booster and the codes that it is given, where it is made of trees."""
        if "native" not in self.capabilities:
            return None
        return Native(form="booster", estimator=self.booster, transform=self.columns.matrix)

    def thresholds(self, name: str) -> Floats | None:
        """The splits on a feature, as `core.model.Thresholds` says; None for one that the model splits by category."""
        if "native" not in self.capabilities or name not in self.columns.names or name in self.columns.codes:
            return None
        return self._splits.get(self.columns.names.index(name), np.empty((0, 2)))

    @cached_property
    def _splits(self) -> dict[int, Floats | None]:
        """By position of the feature; None where a split is by category."""
        cuts: dict[int, list[float]] = {}
        by_category: set[int] = set()
        for tree in self.learner["gradient_booster"]["model"]["trees"]:
            kinds = tree.get("split_type") or [0] * len(tree["left_children"])
            nodes = zip(tree["left_children"], tree["split_indices"], tree["split_conditions"], kinds, strict=True)
            for left, feature, cut, kind in nodes:
                if left != -1:
                    cuts.setdefault(feature, []).append(cut)
                    by_category |= {feature} if kind else set()
        return {j: None if j in by_category else _neighbours(np.array(values)) for j, values in cuts.items()}


class XgboostAdapter(FileAdapter):
    """A model file of XGBoost, `.json` or `.ubj`, for two classes or more.

    Categories of a pandas column stand in files of XGBoost 3.1 and later. For an earlier file, or a model trained on
    codes, `categories` says which level has which code. The file holds no names of classes.

    Attributes:
        classes: the classes in the order of the outputs; absent: 0, 1 and so on.
        categories: by feature the levels in the order of their codes, where the file does not hold them.
    """

    kind: Literal["xgboost"] = "xgboost"
    classes: tuple[str | bool | int | float, ...] | None = None
    categories: dict[str, tuple[Level, ...]] | None = None

    uses: ClassVar[tuple[str, ...]] = ("xgboost",)
    inside: ClassVar[bool] = True

    def parsers(self) -> tuple[str, ...]:
        """What reads the file."""
        return ("xgboost",)

    def load(self, source: Source) -> XgboostModel:
        """The model; nothing in the file is opened before its digest was compared."""
        if find_spec("xgboost") is None:
            raise ModelError(
                "model.kind: xgboost is not installed here; install it with pip install 'auditspec[xgboost]'"
            )
        data = self.content(source)
        _refuse_broken(self.path, data)
        booster = _open(self.path, data)
        names = _names(booster, source.schema, self.features)
        inside = _categories(self.path, booster, names)
        booster = _cut(booster)
        learner = json.loads(bytes(booster.save_raw("json")))["learner"]
        _refuse_broken_trees(self.path, learner)
        count = _classes(self.path, learner)
        fitted = columns(names, inside, self.categories)
        if self.features is not None:
            fitted.refuse_other(self.features)
        if source.schema is not None and (strange := fitted.unknown(source.schema)):
            raise ModelError(
                f"model: {self.path} was not trained on these levels, and XGBoost does not answer for others: "
                f"{'; '.join(strange)}; leave those rows out"
            )
        return XgboostModel(booster, labels(self.classes, count), fitted, learner)


def _refuse_broken(path: str, data: bytes) -> None:
    """Refuses what is no whole file of XGBoost: its own reader ends the process on some of these."""
    suffix = Path(path).suffix.lower()
    if suffix not in {".json", ".ubj"}:
        raise ModelError(
            f"model.path: {path} ends in {suffix or 'nothing'!r}; a model of XGBoost is a .json or .ubj file, "
            "as Booster.save_model writes it"
        )
    if suffix == ".json":
        try:
            found = json.loads(data)
        except ValueError as error:
            raise ModelError(f"model.path: {path} is no JSON, or ends too early; copy the file again") from error
        if not isinstance(found, dict) or "learner" not in found:
            raise ModelError(f"model.path: {path} is no model file of XGBoost; save it with Booster.save_model")
    elif not data.startswith(b"{L") or not _is_whole(data):
        raise ModelError(f"model.path: {path} is no UBJSON of XGBoost, or ends too early; copy the file again")


def _is_whole(data: bytes) -> bool:
    """Whether the bytes are one value of UBJSON and nothing else."""
    try:
        return _after_value(data, 0) == len(data)
    except (IndexError, KeyError, RecursionError):
        return False


def _after_value(data: bytes, at: int) -> int:
    """The position after the value that starts here, its type first."""
    kind, at = data[at : at + 1], at + 1
    if kind == b"S":
        return _after_text(data, at)
    if kind in {b"[", b"{"}:
        return _after_many(data, at, named=kind == b"{")
    return _within(data, at + SIZES[kind])


def _after_many(data: bytes, at: int, *, named: bool) -> int:
    """The position after the members of an array or object; their type and number may stand first."""
    kind, count = b"", -1
    if data[at : at + 1] == b"$":
        kind, at = data[at + 1 : at + 2], at + 2
    if data[at : at + 1] == b"#":
        count, at = _whole_number(data, at + 1)
        if kind and not named and kind != b"S":
            return _within(data, at + count * SIZES[kind])
    end = b"}" if named else b"]"
    while count != 0 and (count > 0 or data[at : at + 1] != end):
        at = _after_text(data, at) if named else at
        at = _after_value(data, at)
        count -= 1
    return at if count == 0 else _within(data, at + 1)


def _after_text(data: bytes, at: int) -> int:
    length, at = _whole_number(data, at)
    return _within(data, at + length)


def _whole_number(data: bytes, at: int) -> tuple[int, int]:
    """A whole number with its type, and the position after it."""
    size = SIZES[data[at : at + 1]]
    found = int.from_bytes(data[at + 1 : _within(data, at + 1 + size)], "big", signed=data[at : at + 1] != b"U")
    if found < 0:
        raise IndexError(at)
    return found, at + 1 + size


def _within(data: bytes, at: int) -> int:
    if at > len(data):
        raise IndexError(at)
    return at


def _open(path: str, data: bytes) -> Any:
    import xgboost

    try:
        booster = xgboost.Booster()
        booster.load_model(bytearray(data))
    except Exception as error:  # the file is foreign: whatever its reader raises is a fault of the file
        first = str(error).splitlines()[0]
        raise ModelError(f"model.path: {path} cannot be loaded: {type(error).__name__}: {first}") from error
    return booster


def _refuse_broken_trees(path: str, learner: Mapping[str, Any]) -> None:
    """Refuses trees that lead outside of themselves or of the features: XGBoost walks them without looking."""
    features = int(learner["learner_model_param"]["num_feature"])
    trees = learner["gradient_booster"].get("model", {}).get("trees", ())
    for i, tree in enumerate(trees):
        left, right = (np.asarray(tree[f"{side}_children"], dtype=np.int64) for side in ("left", "right"))
        split = np.asarray(tree["split_indices"], dtype=np.int64)
        leaf = left == -1
        kinds = np.asarray(tree.get("split_type") or [0] * len(left))
        sized = len(split) == len(tree["split_conditions"]) == len(kinds) == len(left)
        if not sized or not is_tree(left, right, leaf) or (split[~leaf] >= features).any() or (split < 0).any():
            raise ModelError(f"model.path: {path} holds a broken tree, its tree {i + 1}; save the model again")


def _cut(booster: Any) -> Any:
    """The booster up to its best iteration, as XGBClassifier predicts; it no longer knows its categories."""
    best = booster.attr("best_iteration")
    if best is not None and int(best) + 1 < booster.num_boosted_rounds():
        booster = booster[: int(best) + 1]
    booster.set_param({"nthread": 1})
    return booster


def _classes(path: str, learner: Mapping[str, Any]) -> int:
    """The number of classes of a model of probabilities; anything else is refused with what to do."""
    objective = str(learner["objective"]["name"])
    if objective not in OBJECTIVES:
        raise ModelError(
            f"model.path: {path} was trained with the objective {objective!r}, which gives no probabilities of "
            "classes; version 1 audits classifiers (binary:logistic, multi:softprob)"
        )
    return max(2, int(learner["learner_model_param"]["num_class"]))


def _names(booster: Any, schema: FeatureSchema | None, features: tuple[str, ...] | None) -> tuple[str, ...]:
    """The features of the file; where it was trained on a plain array, those of the data."""
    given = features or (schema.names if schema is not None else None)
    if booster.feature_names is not None:
        return tuple(booster.feature_names)
    count = int(booster.num_features())
    return given if given is not None and len(given) == count else tuple(f"f{j}" for j in range(count))


def _categories(path: str, booster: Any, names: Sequence[str]) -> dict[str, list[Level]]:
    """The categories that the file holds, by feature."""
    read = getattr(booster, "get_categories", None)
    if read is None:
        return {}
    try:
        found = read(export_to_arrow=True).to_arrow()
    except Exception as error:  # foreign: an encoding that arrow cannot take
        raise ModelError(f"model.path: the categories of {path} cannot be read: {error}") from error
    return {name: levels.to_pylist() for name, (_, levels) in zip(names, found, strict=True) if levels is not None}


def _neighbours(cuts: Floats) -> Floats:
    """The values on either side of each split `x < cut`, which XGBoost compares in float32."""
    single = cuts.astype(np.float32)
    return pairs(np.nextafter(single, np.float32(-np.inf)).astype(np.float64), single.astype(np.float64))
