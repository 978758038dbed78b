"""Which steps before a model look at one column at a time, and which of them leave numbers in their order."""

from collections.abc import Sequence
from typing import Any

import numpy as np

STRAIGHT = frozenset({"StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler", "SimpleImputer"})
"""Steps that leave a number where it is, or move and stretch all numbers alike."""

LEVELS = frozenset({"OneHotEncoder", "OrdinalEncoder"})
"""Steps that look at the level and at nothing else."""


class UnreadableError(Exception):
    """The inside of a model is not what a solver can take; the message says why."""


def straight(before: Any, names: Sequence[str]) -> frozenset[str]:
    """The columns that the steps before a model move and stretch at most.

    Raises:
        UnreadableError: a step that is not known to look at one column at a time.
    """
    if before is None or isinstance(before, str):
        return frozenset(names)
    kind = type(before).__name__
    if not type(before).__module__.startswith("sklearn."):
        raise UnreadableError(f"the step {kind} before the model is not known")
    if kind == "Pipeline":
        found = frozenset(names)
        for _, step in before.steps:
            found &= straight(step, names)
        return found
    if kind == "ColumnTransformer":
        found = frozenset(names)
        for _, step, columns in before.transformers_:
            given = _named(columns, names)
            found -= given - straight(step, tuple(given))
        return found
    if kind in LEVELS:
        return frozenset()
    if kind == "FunctionTransformer" and before.func is None:
        return frozenset(names)
    if kind not in STRAIGHT or getattr(before, "clip", False):
        raise UnreadableError(f"the step {kind} before the model is not one that this search can take in")
    return frozenset(names)


def _named(columns: Any, names: Sequence[str]) -> frozenset[str]:
    """The names of the columns of one part of a ColumnTransformer."""
    given = [columns] if isinstance(columns, str | int) else columns
    if isinstance(given, slice):
        return frozenset(names[given])
    plain = np.asarray(given)
    if plain.dtype == bool:
        return frozenset(name for name, chosen in zip(names, plain, strict=True) if chosen)
    return frozenset(name if isinstance(name, str) else names[int(name)] for name in plain.tolist())
