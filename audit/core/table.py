"""Rows of features: numbers for the search, frames for the model."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.core.schema import Feature, FeatureSchema, Level

Floats = NDArray[np.float64]


def encode_column(feature: Feature, values: "pd.Series[Any]") -> Floats:
    """Codes of one column, shape (n,): the number itself, or the position of the level; missing is NaN.

    Raises:
        ValueError: a value that is neither missing nor a known level; the message names up to three.
    """
    if feature.kind == "numeric":
        return np.asarray(pd.to_numeric(values), dtype=np.float64)
    position = {level: float(code) for code, level in enumerate(feature.levels)}
    codes = np.array([position.get(value, np.nan) for value in values], dtype=np.float64)
    unknown = np.isnan(codes) & values.notna().to_numpy()
    if unknown.any():
        shown = ", ".join(repr(value) for value in sorted(set(values[unknown].astype(str)))[:3])
        raise ValueError(f"column {feature.name!r} holds {shown}, not among its {len(feature.levels)} levels")
    return codes


def decode_column(feature: Feature, codes: Floats) -> NDArray[Any]:
    """Values of one column from its codes, as the model was trained on them; shape (n,)."""
    missing = np.isnan(codes)
    if feature.kind == "numeric":
        if feature.integer and not feature.missing and not missing.any():
            whole = np.rint(codes)
            if np.array_equal(whole, codes):
                return whole.astype(np.int64)
        return codes.copy()
    levels = _level_array(feature.levels)
    if not missing.any():
        return levels[codes.astype(np.int64)]
    values = levels.astype(object)[np.where(missing, 0, codes).astype(np.int64)]
    values[missing] = np.nan
    return values


def _level_array(levels: tuple[Level, ...]) -> NDArray[Any]:
    """The levels as an array of the plainest dtype that keeps them: bool, int, float or object."""
    kinds = {type(level) for level in levels}
    dtype: type = kinds.pop() if len(kinds) == 1 else object
    return np.array(levels, dtype=object if dtype is str else dtype)


@dataclass(frozen=True)
class Table:
    """Rows with their ids.

    Attributes:
        schema: the features, d of them.
        codes: shape (n, d), float64; numeric values as they are, levels by position, missing as NaN.
        ids: n instance ids, as text.
        extra: n rows of columns that the model is not given (target, protected groups, stored scores).
    """

    schema: FeatureSchema
    codes: Floats
    ids: tuple[str, ...]
    extra: pd.DataFrame = field(default_factory=pd.DataFrame)

    def __len__(self) -> int:
        return len(self.codes)

    def frame(self) -> pd.DataFrame:
        """The rows in feature space, as the model is given them."""
        return decode(self.schema, self.codes)

    def take(self, rows: Sequence[int] | NDArray[np.int64] | slice) -> "Table":
        """The chosen rows, in the order asked for."""
        where = np.arange(len(self))[rows]
        extra = self.extra.iloc[where].reset_index(drop=True) if len(self.extra.columns) else self.extra
        return Table(self.schema, self.codes[where], tuple(self.ids[i] for i in where), extra)

    def column(self, name: str) -> "pd.Series[Any]":
        """A column by name, a feature or an extra one.

        Raises:
            KeyError: there is no such column.
        """
        if name in self.schema.names:
            j = self.schema.index(name)
            return pd.Series(decode_column(self.schema.features[j], self.codes[:, j]), name=name)
        return self.extra[name]


def decode(schema: FeatureSchema, codes: Floats) -> pd.DataFrame:
    """A frame in feature space from codes of shape (n, d)."""
    columns = {f.name: decode_column(f, codes[:, j]) for j, f in enumerate(schema.features)}
    # The columns are nobody else's, and pandas takes long to copy them.
    return pd.DataFrame(columns, copy=False)


def joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The tables one below the other; empty ones say nothing of the types of their columns."""
    full = [table for table in tables if len(table)]
    if full:
        return pd.concat(full, ignore_index=True)
    return tables[0] if tables else pd.DataFrame()


def encode(schema: FeatureSchema, frame: pd.DataFrame) -> Floats:
    """Codes of shape (n, d) from a frame that has every feature as a column.

    Raises:
        ValueError: a value is not among the levels of its feature.
        KeyError: a feature is not among the columns.
    """
    columns = [encode_column(feature, frame[feature.name]) for feature in schema.features]
    return np.column_stack(columns) if columns else np.empty((len(frame), 0))
