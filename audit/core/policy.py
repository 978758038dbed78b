"""What may change and how: per feature, and across features."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.core.base import Frozen
from audit.core.counterfactuals import changed
from audit.core.expression import Expression
from audit.core.schema import FeatureSchema, Level
from audit.core.table import Floats, decode_column

Bools = NDArray[np.bool_]
Change = Literal["immutable", "any", "increase", "decrease"]
Kind = Literal["immutable", "direction", "bounds", "integer", "step", "level", "transition", "missing", "rule"]

STEP_TOLERANCE = 1e-6
"""A change counts as a whole number of steps if it is this close to one, in steps."""


class FeatureRule(Frozen):
    """What the spec says of one feature under `mutability.features`.

    Attributes:
        change: the direction in which a person can move it.
        min, max: bounds of the new value; where absent, those of the reference data.
        step: a change is a whole multiple of it, counted from the present value.
        integer: new values are whole.
        order: the levels from lowest to highest; makes the feature ordinal.
        transitions: from a level to the levels that can be reached from it; a level not named cannot be left.
        why, owner, approved: who stands behind the rule; what is missing becomes a finding.
    """

    change: Change
    min: float | None = None
    max: float | None = None
    step: float | None = None
    integer: bool | None = None
    order: tuple[Level, ...] | None = None
    transitions: dict[str, tuple[Level, ...]] | None = None
    unit: str = ""
    why: str = ""
    owner: str = ""
    approved: date | None = None


@dataclass(frozen=True)
class Violation:
    """One broken constraint.

    Attributes:
        row: position among the rows that were checked.
        subject: the feature, or the text of the rule.
    """

    row: int
    kind: Kind
    subject: str


@dataclass(frozen=True)
class Policy:
    """Constraints on the way from a row to its counterfactual, over the d features of a schema.

    Attributes:
        movable: shape (d,); False: the feature keeps its value.
        up, down: shape (d,); whether codes may rise, and fall.
        low, high: shape (d,); bounds of new codes.
        whole: shape (d,); new codes are whole numbers.
        step: shape (d,); 0 where any size of change will do.
        to_missing: shape (d,); whether a value may become missing.
        transitions: by feature position, shape (levels, levels): whether a level may become another.
        rules: conditions that a counterfactual must not break; unknown (missing values) does not break them.
    """

    schema: FeatureSchema
    movable: Bools
    up: Bools
    down: Bools
    low: Floats
    high: Floats
    whole: Bools
    step: Floats
    to_missing: Bools
    transitions: Mapping[int, Bools]
    rules: tuple[Expression, ...]

    @classmethod
    def build(
        cls,
        schema: FeatureSchema,
        features: Mapping[str, FeatureRule],
        default: Literal["immutable", "any"] = "immutable",
        rules: tuple[Expression, ...] = (),
    ) -> "Policy":
        """The policy of a spec; `check` of the spec has already refused what makes no sense."""
        given = [features.get(f.name, FeatureRule(change=default)) for f in schema.features]
        pairs = list(zip(schema.features, given, strict=True))
        return cls(
            schema=schema,
            movable=np.array([rule.change != "immutable" for rule in given], dtype=bool),
            up=np.array([rule.change != "decrease" for rule in given], dtype=bool),
            down=np.array([rule.change != "increase" for rule in given], dtype=bool),
            low=np.array([f.low if rule.min is None else rule.min for f, rule in pairs], dtype=np.float64),
            high=np.array([f.high if rule.max is None else rule.max for f, rule in pairs], dtype=np.float64),
            whole=np.array([_whole(f.kind, f.integer, rule.integer) for f, rule in pairs], dtype=bool),
            step=np.array([rule.step or 0.0 for rule in given]),
            to_missing=np.zeros(len(schema), dtype=bool),
            transitions={
                j: _transition_matrix(f.levels, rule.transitions)
                for j, (f, rule) in enumerate(pairs)
                if rule.transitions is not None
            },
            rules=rules,
        )

    def domain(self) -> "Policy":
        """The same without mutability: types, levels, bounds of the data and coherence rules only."""
        d, features = len(self.schema), self.schema.features
        return replace(
            self,
            movable=np.ones(d, dtype=bool),
            up=np.ones(d, dtype=bool),
            down=np.ones(d, dtype=bool),
            low=np.array([f.low for f in features], dtype=np.float64),
            high=np.array([f.high for f in features], dtype=np.float64),
            whole=np.array([_whole(f.kind, f.integer, None) for f in features], dtype=bool),
            step=np.zeros(d),
            to_missing=np.array([f.missing for f in features], dtype=bool),
            transitions={},
        )

    def project(self, x: Floats, target: Floats) -> Floats:
        """For each feature the allowed value nearest to `target`, from rows x; shape (m, d).

        Features are projected one by one; rules across features are not: see `obeys`. A feature from which nothing
        but the present value can be reached keeps it.
        """
        there = np.where(np.isnan(target) & ~self.to_missing, x, target)
        moved = np.where(~self.up, np.fmin(there, x), np.where(~self.down, np.fmax(there, x), there))
        moved = np.where(np.isnan(there), there, moved)
        lowest = np.where(self.whole, np.ceil(self.low), self.low)
        highest = np.where(self.whole, np.floor(self.high), self.high)
        moved = np.where(self.whole, np.rint(moved), moved)
        moved = np.clip(moved, lowest, np.maximum(lowest, highest))
        moved = self._on_steps(x, moved)
        wrong = np.zeros(x.shape, dtype=bool)
        for _, mask in self._broken(x, moved):
            wrong |= mask
        return np.where(wrong | ~changed(x, there), x, moved)

    def _on_steps(self, x: Floats, moved: Floats) -> Floats:
        """The nearest whole number of steps from x that stays within the bounds."""
        if not self.step.any():
            return moved
        step = np.where(self.step > 0, self.step, 1.0)
        most = np.floor((self.high - x) / step + STEP_TOLERANCE)
        least = np.ceil((self.low - x) / step - STEP_TOLERANCE)
        count = np.clip(np.rint((moved - x) / step), least, np.maximum(least, most))
        return np.where((self.step > 0) & ~np.isnan(x), x + count * step, moved)

    def obeys(self, codes: Floats) -> Bools:
        """Whether each row breaks no rule across features; shape (m,)."""
        fine = np.ones(len(codes), dtype=bool)
        for _, broken in self._rules_broken(codes):
            fine &= ~broken
        return fine

    def allowed(self, x: Floats, x2: Floats) -> Bools:
        """Whether the way from each row x to x2 breaks nothing; shape (m,)."""
        fine = self.obeys(x2)
        for _, mask in self._broken(x, x2):
            fine &= ~mask.any(axis=1)
        return fine

    def violations(self, x: Floats, x2: Floats) -> list[Violation]:
        """Everything that the ways from rows x to x2, both (m, d), break."""
        names = self.schema.names
        found = [Violation(int(i), kind, names[j]) for kind, mask in self._broken(x, x2) for i, j in np.argwhere(mask)]
        for rule, broken in self._rules_broken(x2):
            found += [Violation(int(i), "rule", rule.text) for i in np.flatnonzero(broken)]
        return found

    def frozen(self) -> bool:
        """Whether no feature may change at all."""
        return not self.movable.any()

    def _broken(self, x: Floats, x2: Floats) -> Iterator[tuple[Kind, Bools]]:
        """For each kind of constraint on a single feature, where it is broken; masks of shape (m, d)."""
        moved = changed(x, x2)
        gone, came = moved & np.isnan(x2), moved & np.isnan(x)
        valued = moved & ~gone
        leveled = np.array([f.kind != "numeric" for f in self.schema.features], dtype=bool)
        yield "immutable", moved & ~self.movable
        yield "missing", gone & ~self.to_missing
        with np.errstate(invalid="ignore"):
            one_way = ~(self.up & self.down)
            wrong_way = ((x2 > x) & ~self.up) | ((x2 < x) & ~self.down) | (came & one_way)
            yield "direction", valued & self.movable & wrong_way
            outside = (x2 < self.low) | (x2 > self.high)
            yield "level", valued & leveled & ((x2 < 0) | (x2 > self._top()) | (x2 != np.rint(x2)))
            yield "bounds", valued & outside
            yield "integer", valued & self.whole & (x2 != np.rint(x2))
            steps = (x2 - x) / np.where(self.step > 0, self.step, 1.0)
            off = np.abs(steps - np.rint(steps)) > STEP_TOLERANCE
            yield "step", valued & (self.step > 0) & (off | came)
        yield "transition", self._transitions_broken(x, x2, valued)

    def _top(self) -> Floats:
        return np.array([len(f.levels) - 1.0 if f.levels else np.inf for f in self.schema.features])

    def _transitions_broken(self, x: Floats, x2: Floats, valued: Bools) -> Bools:
        broken = np.zeros(x.shape, dtype=bool)
        for j, matrix in self.transitions.items():
            rows = np.flatnonzero(valued[:, j] & ~np.isnan(x[:, j]))
            inside = (x2[rows, j] >= 0) & (x2[rows, j] < len(matrix)) & (x2[rows, j] == np.rint(x2[rows, j]))
            rows = rows[inside]
            broken[rows, j] = ~matrix[x[rows, j].astype(int), x2[rows, j].astype(int)]
            broken[valued[:, j] & np.isnan(x[:, j]), j] = True
        return broken

    def _rules_broken(self, codes: Floats) -> Iterator[tuple[Expression, Bools]]:
        for rule in self.rules:
            columns: dict[str, pd.Series[Any]] = {}
            for name in rule.names:
                j = self.schema.index(name)
                columns[name] = pd.Series(decode_column(self.schema.features[j], codes[:, j]))
            yield rule, rule.evaluate(columns, len(codes)).false


def _whole(kind: str, in_data: bool, in_spec: bool | None) -> bool:
    """Levels are whole by nature; numbers where the spec says so, or else where the data are."""
    if kind != "numeric":
        return True
    return in_data if in_spec is None else in_spec


def _transition_matrix(levels: tuple[Level, ...], transitions: Mapping[str, tuple[Level, ...]]) -> Bools:
    reach = {source: set(map(str, targets)) for source, targets in transitions.items()}
    rows = [[str(b) == str(a) or str(b) in reach.get(str(a), set()) for b in levels] for a in levels]
    return np.array(rows, dtype=bool)
