"""What a column is: its kind, its levels, its range."""

from functools import cached_property
from typing import Literal

from audit.core.base import Frozen

Kind = Literal["numeric", "ordinal", "categorical", "boolean"]
Level = str | bool | int | float


class Feature(Frozen):
    """One column that the model is given.

    Attributes:
        levels: ordinal, categorical and boolean: the values, in order; empty for numeric.
        low, high: numeric: the range in the reference data (the training data where the spec gives it);
            otherwise 0 and the number of levels minus one. Both are in codes, so `high - low` scales a change.
        integer: every value in the reference data is whole.
        missing: the reference data hold missing values in this column.
        title: what people call it; empty where the spec does not say.
        reason_text: how it is worded as a reason of a decision; empty where the spec does not say.
    """

    name: str
    kind: Kind
    levels: tuple[Level, ...] = ()
    low: float = 0.0
    high: float = 0.0
    integer: bool = False
    missing: bool = False
    unit: str = ""
    title: str = ""
    reason_text: str = ""

    @property
    def ordered(self) -> bool:
        """Whether a difference of two codes has a size (numeric and ordinal)."""
        return self.kind in {"numeric", "ordinal"}

    @property
    def scale(self) -> float:
        """The change that counts as 1: the range (numeric), levels - 1 (ordinal), 1 otherwise."""
        return self.high - self.low if self.ordered else 1.0

    @property
    def constant(self) -> bool:
        """Whether the reference data hold a single value, so that nothing can be learnt from a change."""
        return self.high <= self.low and not self.missing


class FeatureSchema(Frozen):
    """The features in the order in which the model is given them."""

    features: tuple[Feature, ...]

    def __len__(self) -> int:
        return len(self.features)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The column names, in order."""
        return tuple(feature.name for feature in self.features)

    def index(self, name: str) -> int:
        """The position of a feature.

        Raises:
            KeyError: there is no such feature.
        """
        try:
            return self.names.index(name)
        except ValueError:
            raise KeyError(name) from None

    def __getitem__(self, name: str) -> Feature:
        return self.features[self.index(name)]
