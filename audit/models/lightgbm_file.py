"""Models of LightGBM from the text file that LightGBM writes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from audit.core.errors import ModelError
from audit.core.model import Capability, CodeScores, Native, Source
from audit.core.schema import FeatureSchema, Level
from audit.core.table import Floats
from audit.core.tree_file import Columns, columns, is_tree, labels, pairs, whole
from audit.models import FileAdapter

OBJECTIVES = frozenset({"binary", "multiclass", "softmax", "cross_entropy", "xentropy"})
ZERO = float(np.float32(1e-35))
"""LightGBM takes what is no larger for zero, and writes splits at zero as this."""


@dataclass(frozen=True)
class LightgbmModel:
    """A booster of LightGBM.

    Attributes:
        booster: a `lightgbm.Booster`.
        columns: how rows become its matrix.
        text: the file.
        notes: what a reader must know of how the file fits the data.
    """

    booster: Any
    classes: tuple[str, ...]
    columns: Columns
    text: str
    notes: tuple[str, ...] = ()
    capabilities: frozenset[Capability] = frozenset({"predict", "native"})

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
        return whole(self.booster.predict(matrix, num_threads=1))

    def native(self) -> Native:
        """The booster and the codes that it is given."""
        return Native(form="booster", estimator=self.booster, transform=self.columns.matrix)

    def thresholds(self, name: str) -> Floats | None:
        """The splits on a feature, as `core.model.Thresholds` says; None for one that the model splits by category."""
        if name not in self.columns.names or name in self.columns.codes:
            return None
        return self._splits.get(self.columns.names.index(name), np.empty((0, 2)))

    @cached_property
    def _splits(self) -> dict[int, Floats | None]:
        """By position of the feature; None where a split is by category."""
        features = _numbers(self.text, "split_feature").astype(np.int64)
        cuts, kinds = _numbers(self.text, "threshold"), _numbers(self.text, "decision_type").astype(np.int64)
        found: dict[int, Floats | None] = {}
        for j in np.unique(features):
            own = features == j
            found[int(j)] = None if (kinds[own] & 1).any() else _neighbours(cuts[own])
        return found


class LightgbmAdapter(FileAdapter):
    """A model file of LightGBM: the text that `Booster.save_model` writes, for two classes or more.

    Categories of a pandas column stand in the file. Where the model was trained on codes, `categories` says which
    level has which code. The file holds no names of classes.

    Attributes:
        classes: the classes in the order of the outputs; absent: 0, 1 and so on.
        categories: by feature the levels in the order of their codes, where the file does not hold them.
    """

    kind: Literal["lightgbm"] = "lightgbm"
    classes: tuple[str | bool | int | float, ...] | None = None
    categories: dict[str, tuple[Level, ...]] | None = None

    uses: ClassVar[tuple[str, ...]] = ("lightgbm",)
    inside: ClassVar[bool] = True

    def parsers(self) -> tuple[str, ...]:
        """What reads the file."""
        return ("lightgbm",)

    def load(self, source: Source) -> LightgbmModel:
        """The model; nothing in the file is opened before its digest was compared."""
        if find_spec("lightgbm") is None:
            raise ModelError(
                "model.kind: lightgbm is not installed here; install it with pip install 'auditspec[lightgbm]'"
            )
        data = self.content(source)
        text = _text(self.path, data)
        _refuse_broken_trees(self.path, text)
        booster = _open(self.path, text)
        count = _classes(self.path, text, booster)
        names = _names(booster, source.schema, self.features)
        inside = _categories(self.path, text, booster, names, source.schema)
        fitted = columns(names, inside, self.categories)
        if self.features is not None:
            fitted.refuse_other(self.features)
        strange = [] if source.schema is None else fitted.unknown(source.schema)
        said = f"{self.path} was not trained on these levels and takes them for missing values: {'; '.join(strange)}"
        return LightgbmModel(booster, labels(self.classes, count), fitted, text, (said,) if strange else ())


def _text(path: str, data: bytes) -> str:
    """The text of a file that is one of LightGBM and is whole: LightGBM itself reads on over what is missing."""
    text = data.decode("utf-8", errors="replace")
    if not text.startswith("tree\n"):
        raise ModelError(f"model.path: {path} is no model file of LightGBM; save it with Booster.save_model")
    if "\nend of trees\n" not in text or "\nend of parameters\n" not in text:
        raise ModelError(f"model.path: {path} ends too early; copy the file again")
    return text


def _refuse_broken_trees(path: str, text: str) -> None:
    """Refuses trees that lead outside of themselves or of the features: LightGBM reads and walks them without looking.

    Leaves are negative: -1 is the first of them.
    """
    head, *trees = text.partition("\nend of trees\n")[0].split("\nTree=")
    try:
        most = int(_line(head, "max_feature_idx"))
        named = len(_line(head, "feature_names").split(" ")) == most + 1
        whole = named and all(_is_whole(tree, most) for tree in trees)
    except (ValueError, OverflowError):
        whole = False
    if not whole:
        raise ModelError(f"model.path: {path} holds a broken tree, or another number of features; save the model again")


def _is_whole(tree: str, most: int) -> bool:
    """Whether the text of a tree has as many entries as it says, and makes a tree of features up to `most`."""
    leaves = int(_line(tree, "num_leaves"))
    values = len(_line(tree, "leaf_value").split())
    if leaves == 1:
        return values == 1
    left, right, features, cuts, kinds = (
        np.array(_line(tree, key).split(), dtype=np.float64)
        for key in ("left_child", "right_child", "split_feature", "threshold", "decision_type")
    )
    sizes = {len(part) for part in (left, right, features, cuts, kinds)}
    if leaves < 1 or values != leaves or sizes != {leaves - 1} or not 0 <= features.min() <= features.max() <= most:
        return False
    if min(left.min(), right.min()) < -leaves or max(left.max(), right.max()) > leaves - 2:
        return False
    nodes = [np.where(side < 0, leaves - 2 - side, side).astype(np.int64) for side in (left, right)]
    filled = [np.concatenate([side, np.zeros(leaves, dtype=np.int64)]) for side in nodes]
    leaf = np.arange(2 * leaves - 1) >= leaves - 1
    return is_tree(filled[0], filled[1], leaf) and _has_categories(tree, cuts[(kinds.astype(np.int64) & 1) == 1])


def _has_categories(tree: str, places: Floats) -> bool:
    """Whether the sets of categories that splits name are there."""
    bounds = np.array(_line(tree, "cat_boundaries").split(), dtype=np.int64)
    words = len(_line(tree, "cat_threshold").split())
    if not len(places):
        return True
    named = len(bounds) > 1 and bool((places >= 0).all() and (places < len(bounds) - 1).all())
    return named and bounds[0] == 0 and bool((np.diff(bounds) >= 0).all()) and bounds[-1] == words


def _open(path: str, text: str) -> Any:
    import lightgbm

    try:
        return lightgbm.Booster(model_str=text)
    except Exception as error:  # the file is foreign: whatever its reader raises is a fault of the file
        raise ModelError(f"model.path: {path} cannot be loaded: {type(error).__name__}: {error}") from error


def _classes(path: str, text: str, booster: Any) -> int:
    """The number of classes of a model of probabilities; anything else is refused with what to do."""
    (objective, *_) = _line(text, "objective").split() or [""]
    if objective == "multiclassova":
        raise ModelError(
            f"model.path: {path} was trained with multiclassova, whose scores do not sum to 1; train with multiclass"
        )
    if objective not in OBJECTIVES:
        raise ModelError(
            f"model.path: {path} was trained with the objective {objective or 'of a function'!r}, "
            "which gives no probabilities of classes; version 1 audits classifiers (binary, multiclass)"
        )
    return max(2, int(booster.num_model_per_iteration()))


def _names(booster: Any, schema: FeatureSchema | None, features: tuple[str, ...] | None) -> tuple[str, ...]:
    """The features of the file; where it was trained on a plain array or writes spaces otherwise, those of the data."""
    inside = tuple(booster.feature_name())
    given = features or (schema.names if schema is not None else None)
    if given is None or len(given) != len(inside):
        return inside
    plain = all(name == f"Column_{j}" for j, name in enumerate(inside))
    return given if plain or tuple("_".join(name.split(" ")) for name in given) == inside else inside


def _categories(
    path: str, text: str, booster: Any, names: Sequence[str], schema: FeatureSchema | None
) -> dict[str, list[Level]]:
    """The categories of the pandas columns that the model was trained on, by feature.

    The file lists them in the order of the columns and does not name these. A column with one level has no trace in
    the file; such columns are told by the text that the data hold in them.
    """
    lists = booster.pandas_categorical or []
    infos = _line(text, "feature_infos").split(" ")
    sure = [j for j, info in enumerate(infos) if info != "none" and not info.startswith("[")]
    held = {f.name for f in schema.features if any(isinstance(v, str) for v in f.levels)} if schema else set()
    likely = [j for j, name in enumerate(names) if j in sure or (infos[j] == "none" and name in held)]
    for positions in (sure, likely):
        if len(positions) == len(lists):
            return {names[j]: list(levels) for j, levels in zip(positions, lists, strict=True)}
    if not lists:
        return {}
    raise ModelError(
        f"model.path: {path} holds the categories of {len(lists)} columns, and {len(sure)} of its features are "
        "categorical, so it cannot be told whose they are; train without columns that hold one level only"
    )


def _line(text: str, key: str) -> str:
    """What the first line `key=` holds."""
    return next((line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{key}=")), "")


def _numbers(text: str, key: str) -> Floats:
    """The numbers of all lines `key=`, one after the other."""
    start = f"{key}="
    words = [word for line in text.splitlines() if line.startswith(start) for word in line[len(start) :].split()]
    return np.array(words, dtype=np.float64)


def _neighbours(cuts: Floats) -> Floats:
    """The values on either side of each split `x <= cut`; what LightGBM takes for zero lies on one side."""
    at_zero = np.abs(cuts) < 1e-30
    low = np.where(at_zero, np.where(cuts >= 0, ZERO, np.nextafter(-ZERO, -np.inf)), cuts)
    high = np.where(at_zero & (cuts < 0), -ZERO, np.nextafter(low, np.inf))
    return pairs(low, high)
