"""What native files of tree libraries have in common: columns of numbers, categories by code, neighbours of a split."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.core.errors import ModelError
from audit.core.labels import label_of, model_classes
from audit.core.schema import FeatureSchema, Level
from audit.core.table import Floats

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Columns:
    """How rows in feature space become the matrix that a model was trained on.

    Attributes:
        names: the features, in order.
        codes: of the features that the model knows as categories: code by the text of the level.
    """

    names: tuple[str, ...]
    codes: Mapping[str, Mapping[str, int]]

    def matrix(self, frame: pd.DataFrame) -> Floats:
        """Shape (n, d), missing as NaN; a level that the model has not been trained on is missing too.

        Raises:
            ModelError: other columns than those of the model, or text in a column that is a number to it.
        """
        self.refuse_other(tuple(map(str, frame.columns)))
        filled = np.empty((len(frame), len(self.names)))
        for j, name in enumerate(self.names):
            filled[:, j] = self._column(name, frame[name])
        return filled

    def _column(self, name: str, values: "pd.Series[Any]") -> Floats:
        known = self.codes.get(name)
        if known is None and values.dtype != object:
            return np.asarray(values, dtype=np.float64)
        place, found = pd.factorize(np.asarray(values))
        try:
            if known is None:
                table = [float(value) for value in found]
            else:
                table = [known.get(label_of(value), np.nan) for value in found]
        except ValueError as error:
            raise ModelError(f"model: {_text(name)}") from error
        return np.asarray([*table, np.nan])[place]

    def coder(self, schema: FeatureSchema) -> "Coder | None":
        """What makes the same matrix of codes as `matrix` of their frame; None where that cannot be said beforehand."""
        if schema.names != self.names:
            return None
        tables = {}
        for j, feature in enumerate(schema.features):
            known = self.codes.get(feature.name)
            if not feature.levels and known is None:
                continue
            numbers = _numbers(feature.levels, known)
            if numbers is None:
                return None
            tables[j] = numbers
        return Coder(tables)

    def refuse_other(self, given: tuple[str, ...]) -> None:
        """Passes only the very columns that the model was trained on, in that order."""
        if self.names == given:
            return
        missing = [name for name in self.names if name not in given]
        extra = [name for name in given if name not in self.names]
        parts = [f"missing: {', '.join(missing)}"] if missing else []
        parts += [f"unknown to the model: {', '.join(extra)}"] if extra else []
        parts += [] if parts else ["the order differs"]
        raise ModelError(
            f"model.features: not what the model was trained on ({'; '.join(parts)}); "
            f"list exactly these, in this order: {', '.join(self.names)}"
        )

    def unknown(self, schema: FeatureSchema) -> list[str]:
        """Levels in the data that the model was not trained on, as `feature: levels`.

        Raises:
            ModelError: a feature holds text, and the model has no categories for it; or other features than the model.
        """
        self.refuse_other(schema.names)
        said = []
        for feature in schema.features:
            known = self.codes.get(feature.name)
            if known is None and any(isinstance(level, str) for level in feature.levels):
                raise ModelError(f"model: {_text(feature.name)}")
            strange = [
                label_of(level) for level in feature.levels if known is not None and label_of(level) not in known
            ]
            said += [f"{feature.name}: {', '.join(strange)}"] if strange else []
        return said


@dataclass(frozen=True)
class Coder:
    """How rows of codes become the matrix that a model was trained on.

    Attributes:
        tables: by position of each feature with levels, what the matrix holds for each level.
    """

    tables: Mapping[int, Floats]

    def __call__(self, codes: Floats) -> Floats:
        """Shape (n, d), missing as NaN."""
        filled = np.array(codes, dtype=np.float64, order="C")
        for j, table in self.tables.items():
            missing = np.isnan(codes[:, j])
            filled[:, j] = table[np.where(missing, 0, codes[:, j]).astype(np.int64)]
            filled[missing, j] = np.nan
        return filled


def _numbers(levels: tuple[Level, ...], known: Mapping[str, int] | None) -> Floats | None:
    """What stands for each level in the matrix; None for levels of several types, which a frame may mix up."""
    kinds = {type(level) for level in levels}
    if len(kinds) != 1 or (known is None and kinds == {str}):
        return None
    try:
        plain = [float(v) if known is None else known.get(label_of(v), np.nan) for v in levels]
    except ValueError:
        return None
    return np.array(plain, dtype=np.float64)


def _text(name: str) -> str:
    return (
        f"column {name!r} holds text, and the file does not say which code stands for which level; "
        f"give them in the order of their codes: `categories: {{{name}: [...]}}`"
    )


def columns(
    names: Sequence[str],
    inside: Mapping[str, Iterable[Level]],
    given: Mapping[str, Sequence[Level]] | None,
) -> Columns:
    """How the features of a file become its columns.

    Args:
        names: the features of the model.
        inside: the categories that the file itself holds, in the order of their codes.
        given: those that the spec states for features of which the file holds none.

    Raises:
        ModelError: the spec names a feature that the model has not, or whose categories stand in the file.
    """
    codes = {name: {label_of(level): code for code, level in enumerate(levels)} for name, levels in inside.items()}
    for name, levels in (given or {}).items():
        if name not in names:
            raise ModelError(f"model.categories: the model has no feature {name!r}; it has {', '.join(names)}")
        if name in inside:
            raise ModelError(f"model.categories: the file holds the categories of {name!r}; leave {name!r} out")
        codes[name] = {label_of(level): code for code, level in enumerate(levels)}
        if len(codes[name]) < len(levels):
            raise ModelError(f"model.categories: {name!r} names a level twice; a code stands for one level")
    return Columns(tuple(names), codes)


def labels(given: Sequence[Level] | None, count: int) -> tuple[str, ...]:
    """The class labels of a model whose file holds none: as the spec says, or the numbers of the outputs.

    Raises:
        ModelError: not one for each of the `count` outputs.
    """
    if given is None:
        return tuple(map(str, range(count)))
    found = model_classes(given)
    if len(found) != count:
        raise ModelError(
            f"model.classes: {len(found)} classes for a model of {count}; list them in the order of its outputs"
        )
    return found


def whole(P: Any) -> Floats:
    """Probabilities of shape (n, C), of which rows sum to 1: from one column of the second class, or from all."""
    plain: Floats = np.asarray(P, dtype=np.float64)
    return np.column_stack([1 - plain, plain]) if plain.ndim == 1 else plain


def pairs(low: Floats, high: Floats) -> Floats:
    """Neighbours of splits, shape (k, 2), ascending and distinct."""
    stacked = np.column_stack([low, high]).astype(np.float64).reshape(-1, 2)
    return np.unique(stacked, axis=0)


def is_tree(left: Ints, right: Ints, leaf: Bools) -> bool:
    """Whether nodes make a tree: from the first of them every walk ends in a leaf, and none leads outside.

    Libraries walk from node to node without looking: a child that is not there is read from foreign memory, and a
    circle has no end.

    Args:
        left, right: the child of each node, shape (n,); of leaves they are not looked at.
        leaf: which nodes are leaves, shape (n,).
    """
    n = len(leaf)
    if not len(left) == len(right) == n > 0:
        return False
    children = np.concatenate([left[~leaf], right[~leaf]])
    if len(children) and not 0 <= children.min() <= children.max() < n:
        return False
    at, seen = np.zeros(1, dtype=np.int64), 0
    while len(at) and seen <= n:
        seen += len(at)
        inner = at[~leaf[at]]
        at = np.concatenate([left[inner], right[inner]])
    return seen <= n
