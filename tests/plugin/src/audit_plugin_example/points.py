"""A scorecard that stands in the spec: points for numeric columns, and a logistic link."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from audit.core.model import Adapter, Capability, Native, Source
from audit.core.table import Floats


@dataclass(frozen=True)
class Points:
    """The scorecard as a model."""

    points: dict[str, float]
    start: float
    classes: tuple[str, ...]
    capabilities: frozenset[Capability] = frozenset({"predict"})

    def predict(self, frame: pd.DataFrame) -> Floats:
        """Shape (n, 2)."""
        total = self.start + sum(weight * frame[name].to_numpy(float) for name, weight in self.points.items())
        p = 1 / (1 + np.exp(-np.asarray(total)))
        return np.column_stack([1 - p, p])

    def native(self) -> Native | None:
        """Nothing to look into."""
        return None


class PointsAdapter(Adapter):
    """Points for each unit of numeric columns.

    Attributes:
        points: by column.
        start: points before any column.
        classes: the class without and the class with points.
    """

    kind: Literal["points"] = "points"
    points: dict[str, float] = {"a": 1.0}
    start: float = 0.0
    classes: tuple[str, str] = ("no", "yes")

    def load(self, source: Source) -> Points:
        return Points(self.points, self.start, self.classes)
