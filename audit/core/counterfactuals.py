"""The one table that every generator writes and every consumer reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.core.schema import Feature, FeatureSchema
from audit.core.table import Floats, Table, decode, encode

SearchStatus = Literal["found", "infeasible", "not_found", "refused", "not_applicable"]

COLUMNS = ("instance", "k", "score_before", "score_after", "distance", "cost", "n_changed", "verified")
STATUS_COLUMNS = ("instance", "status", "reason", "evaluated_rows")

OPTIMAL = "proved: no allowed change is nearer"
"""The reason of a row in `instance_status` whose first counterfactual is proven to be the nearest there is."""


@dataclass(frozen=True)
class Found:
    """What a generator answers for n rows, before anyone checked it.

    Attributes:
        row: shape (m,), the position among the n rows that each counterfactual belongs to, ascending.
        codes: shape (m, d), the counterfactuals; of one row, the best first. Duplicates are dropped later.
        proven: shape (n,); True where it is proven that no counterfactual exists.
        reasons: n texts; why a row has none, or an empty text.
        evaluated: shape (n,), model-evaluated rows spent on each row alone.
        shared: rows that were evaluated once for all of them (the reference); `evaluated.sum() + shared` is what
            the model counted.
    """

    row: NDArray[np.int64]
    codes: Floats
    proven: NDArray[np.bool_]
    reasons: Sequence[str]
    evaluated: NDArray[np.int64]
    shared: int = 0
    optimal: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Counterfactuals:
    """Verified counterfactuals of a sample, in codes.

    Attributes:
        row: shape (m,), position in the sample.
        codes: shape (m, d).
        status: n statuses of the sample rows.
    """

    row: NDArray[np.int64]
    codes: Floats
    status: NDArray[Any]

    @classmethod
    def from_tables(cls, sample: Table, found: pd.DataFrame, status: pd.DataFrame) -> "Counterfactuals":
        """Reads tables `counterfactuals` and `instance_status` for the rows of `sample`.

        Rows of instances that are not in the sample are passed over.

        Raises:
            ValueError: a value is not among the levels of its feature.
        """
        position = {instance: i for i, instance in enumerate(sample.ids)}
        rows = np.array([position.get(i, -1) for i in found["instance"]], dtype=np.int64)
        kept = rows >= 0
        codes = encode(sample.schema, found.loc[kept])
        by_instance = dict(zip(status["instance"], status["status"], strict=True))
        states = np.array([by_instance.get(i, "not_applicable") for i in sample.ids], dtype=object)
        return cls(rows[kept], codes, states)


def distance(schema: FeatureSchema, a: Floats, b: Floats) -> Floats:
    """Gower distance between rows a and b, both (m, d): the mean over features of `change`; shape (m,)."""
    return np.asarray(change(schema, a, b).mean(axis=1))


def change(schema: FeatureSchema, a: Floats, b: Floats) -> Floats:
    """Scaled change of each feature, shape (m, d).

    |b - a| / range for numeric, |rank difference| / (levels - 1) for ordinal, 0 or 1 for categorical and boolean;
    missing against missing is 0, missing against a value is 1; an ordered feature without a range gives 0.
    Reference: `methods/flex` 3.1.
    """
    columns = [change_of(feature, a[:, j], b[:, j]) for j, feature in enumerate(schema.features)]
    return np.column_stack(columns) if columns else np.zeros(a.shape)


def change_of(feature: Feature, a: Floats, b: Floats) -> Floats:
    """Scaled change of one feature, as in `change`; the shapes broadcast."""
    if feature.ordered:
        size = np.abs(b - a) / feature.scale if feature.scale > 0 else np.zeros(np.broadcast_shapes(a.shape, b.shape))
    else:
        size = np.asarray(a != b, dtype=np.float64)
    missing_a, missing_b = np.isnan(a), np.isnan(b)
    if missing_a.any() or missing_b.any():
        size = np.where(missing_a | missing_b, missing_a ^ missing_b, size)
    return np.asarray(size, dtype=np.float64)


def changed(a: Floats, b: Floats) -> NDArray[np.bool_]:
    """Which features differ, shape (m, d); missing equals missing."""
    differ, missing = a != b, np.isnan(a)
    return np.asarray(differ & ~(missing & np.isnan(b)) if missing.any() else differ)


def to_frame(schema: FeatureSchema, columns: dict[str, Any], codes: Floats) -> pd.DataFrame:
    """A table of the bundle: the given columns, then one column per feature, in feature space."""
    return pd.concat([pd.DataFrame(columns), decode(schema, codes)], axis=1)
