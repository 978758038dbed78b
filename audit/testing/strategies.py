"""Random schemas, policies, rows and models for property tests; the strategies need hypothesis."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.core.model import Capability, Native
from audit.core.policy import FeatureRule
from audit.core.schema import Feature, FeatureSchema
from audit.core.table import Floats, encode

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


def schemas(min_features: int = 1, max_features: int = 5) -> "SearchStrategy[FeatureSchema]":
    """Small schemas of every kind of feature, called f0, f1, ...; some are constant, some hold missing values."""
    from hypothesis import strategies as st

    levels = st.sampled_from([("a",), ("a", "b"), ("a", "b", "c"), ("low", "mid", "high", "top"), (1, 2, 3)])

    def feature(name: str) -> "SearchStrategy[Feature]":
        missing = st.booleans()
        whole = st.builds(
            lambda low, span, gap: Feature(
                name=name, kind="numeric", low=float(low), high=float(low + span), integer=True, missing=gap
            ),
            st.integers(-3, 3), st.integers(0, 6), missing,
        )  # fmt: skip
        real = st.builds(
            lambda low, span, gap: Feature(name=name, kind="numeric", low=low, high=low + span, missing=gap),
            st.sampled_from([-2.5, 0.0, 0.1]), st.sampled_from([0.5, 1.0, 4.75]), missing,
        )  # fmt: skip
        leveled = st.builds(
            lambda kind, values, gap: Feature(
                name=name, kind=kind, levels=values, high=len(values) - 1.0, integer=True, missing=gap
            ),
            st.sampled_from(["ordinal", "categorical"]), levels, missing,
        )  # fmt: skip
        boolean = st.builds(
            lambda gap: Feature(name=name, kind="boolean", levels=(False, True), high=1.0, integer=True, missing=gap),
            missing,
        )
        return st.one_of(whole, real, leveled, boolean)

    def whole_schema(d: int) -> "SearchStrategy[FeatureSchema]":
        return st.tuples(*(feature(f"f{j}") for j in range(d))).map(lambda fs: FeatureSchema(features=fs))

    return st.integers(min_features, max_features).flatmap(whole_schema)


def feature_rules(schema: FeatureSchema) -> "SearchStrategy[dict[str, FeatureRule]]":
    """Mutability of some of the features; the others are left to the default."""
    from hypothesis import strategies as st

    def rule(feature: Feature) -> "SearchStrategy[FeatureRule | None]":
        ways = ["any", "immutable"] if feature.kind == "categorical" else ["any", "immutable", "increase", "decrease"]
        change = st.sampled_from(ways)
        if feature.kind == "numeric":
            some = st.one_of(
                st.none(),
                st.sampled_from([feature.low, feature.low + 1, feature.low + 1.5, feature.high + 2, feature.low - 1.5]),
            )
            drawn = st.builds(
                lambda way, ends, step, whole: FeatureRule(
                    change=way, min=_end(ends, min), max=_end(ends[::-1], max), step=step, integer=whole
                ),
                change, st.tuples(some, some), st.sampled_from([None, None, 0.5, 1.0, 2.0, 0.1]),
                st.sampled_from([None, None, False, True]),
            )  # fmt: skip
            return st.one_of(st.none(), drawn)
        targets = st.sets(st.sampled_from(feature.levels)).map(lambda chosen: tuple(sorted(chosen, key=str)))
        table = st.dictionaries(st.sampled_from([str(level) for level in feature.levels]), targets)
        transitions = st.none() if feature.kind == "boolean" else st.one_of(st.none(), table)
        return st.one_of(
            st.none(), st.builds(lambda way, to: FeatureRule(change=way, transitions=to), change, transitions)
        )

    pairs = [st.tuples(st.just(feature.name), rule(feature)) for feature in schema.features]
    return st.tuples(*pairs).map(lambda drawn: {name: rule for name, rule in drawn if rule is not None})


def _end(ends: tuple[float | None, float | None], first: Callable[[float, float], float]) -> float | None:
    """One end of a pair of bounds that are in order."""
    a, b = ends
    return first(a, b) if a is not None and b is not None else a


def conditions(schema: FeatureSchema) -> "SearchStrategy[tuple[str, ...]]":
    """Up to two rules across features, as texts that are SQL as well."""
    from hypothesis import strategies as st

    numbers = [f.name for f in schema.features if f.kind == "numeric"]
    texts = [(f.name, level) for f in schema.features for level in f.levels if isinstance(level, str)]
    offers = [f"{a} <= {b} + {c}" for a in numbers for b in numbers if a != b for c in (0, 2)]
    offers += [f"not ({a} > 1 and {b} == '{level}')" for a in numbers for b, level in texts]
    offers += [f"{a} == '{x}' or {b} != '{y}'" for a, x in texts for b, y in texts if a < b]
    return st.lists(st.sampled_from(offers), max_size=2, unique=True).map(tuple) if offers else st.just(())


def draw_codes(schema: FeatureSchema, n: int, rng: np.random.Generator, beyond: float = 0.0) -> Floats:
    """Rows of codes, shape (n, d); missing where the schema allows it; a share `beyond` the range of the data."""
    columns = []
    for feature in schema.features:
        column = rng.uniform(feature.low, feature.high, n)
        if feature.kind == "numeric":
            away = rng.random(n) < beyond
            column = np.where(away, column + rng.choice([-4.0, 4.0], n), column)
        column = np.rint(column) if feature.integer else np.round(column * 4) / 4
        column = column if feature.kind == "numeric" else np.clip(column, 0, len(feature.levels) - 1)
        if feature.missing:
            column[rng.random(n) < 0.15] = np.nan
        columns.append(column)
    return np.column_stack(columns)


@dataclass(frozen=True)
class Stumps:
    """A model that adds a weight for every code above a cut; its scores are exact whatever the batch.

    Attributes:
        columns, cuts: shape (s,); weights: shape (s, C - 1), whole numbers.
    """

    schema: FeatureSchema
    columns: NDArray[np.int64]
    cuts: Floats
    weights: Floats
    classes: tuple[str, ...] = ("no", "yes")
    capabilities: frozenset[Capability] = frozenset({"predict"})

    @classmethod
    def draw(
        cls, schema: FeatureSchema, rng: np.random.Generator, classes: tuple[str, ...] = ("no", "yes")
    ) -> "Stumps":
        """A random one."""
        columns = np.repeat(np.arange(len(schema)), 3)
        low = np.array([f.low for f in schema.features])[columns]
        high = np.array([f.high for f in schema.features])[columns]
        weights = rng.integers(-4, 5, (len(columns), len(classes) - 1)).astype(np.float64)
        return cls(schema, columns, rng.uniform(low - 0.1, high), weights, classes)

    def predict(self, frame: pd.DataFrame) -> Floats:
        """Shape (n, C)."""
        above = encode(self.schema, frame)[:, self.columns] > self.cuts
        odds = np.exp2(np.column_stack([np.zeros(len(frame)), above @ self.weights - 0.5]))
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))

    def native(self) -> Native | None:
        """A toy keeps its inside to itself."""
        return None
