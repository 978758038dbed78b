"""Toys and the conformance suite, for our tests and for people who write plug-ins."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from audit.core.infer import ColumnInfo, infer_schema
from audit.core.model import Capability, Native
from audit.core.table import Floats, Table, encode


@dataclass(frozen=True)
class ToyModel:
    """A binary model from a function: frame in feature space to P(second class), shape (n,)."""

    score: Callable[[pd.DataFrame], Floats]
    classes: tuple[str, ...] = ("no", "yes")
    capabilities: frozenset[Capability] = frozenset({"predict"})

    def predict(self, frame: pd.DataFrame) -> Floats:
        """Shape (n, 2)."""
        p = np.asarray(self.score(frame), dtype=np.float64)
        return np.column_stack([1 - p, p])

    def native(self) -> Native | None:
        """A toy keeps its inside to itself."""
        return None


def toy_table(frame: pd.DataFrame, columns: dict[str, ColumnInfo] | None = None, extra: tuple[str, ...] = ()) -> Table:
    """A Table of all columns of the frame but the `extra` ones; ids are the row numbers."""
    names = [name for name in frame.columns if name not in extra]
    schema = infer_schema(frame, names, columns)
    return Table(schema, encode(schema, frame), tuple(map(str, range(len(frame)))), frame[list(extra)])
