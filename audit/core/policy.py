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
from audit.core.labels import label_of
from audit.core.schema import Feature, FeatureSchema, Level
from audit.core.table import Floats, decode_column

Bools = NDArray[np.bool_]
Change = Literal["immutable", "any", "increase", "decrease"]
Kind = Literal["immutable", "direction", "bounds", "integer", "step", "level", "transition", "missing", "rule"]

STEP_TOLERANCE = 1e-6
"""A change counts as a whole number of steps if it is this close to one, in steps."""

MOST_OPTIONS = 10_000
"""Values of one feature that are listed at most."""


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
            whole=np.array([_whole(f.kind, f.integer, _stated_whole(rule)) for f, rule in pairs], dtype=bool),
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

        Features are projected one by one; rules across features are not: see `obeys`.
        """
        columns = [self.reach(j, x[:, j], target[:, j]) for j in range(len(self.schema))]
        return np.column_stack(columns) if columns else np.empty(x.shape)

    def reach(self, j: int, x: Floats, target: Floats) -> Floats:
        """The allowed values of feature j nearest to `target`, from present values x; the shapes broadcast.

        The present value is always allowed, and is kept where nothing that is allowed is nearer. Of levels without
        an order none is near another: the target itself, or the present value.
        """
        if self.movable[j] and self._free(j, target):
            return np.broadcast_to(target, np.broadcast_shapes(x.shape, target.shape))
        x, target = np.broadcast_arrays(x, target)
        if not self.movable[j]:
            return x
        value = self._nearest(j, x, target) if self.schema.features[j].ordered else target
        with np.errstate(invalid="ignore"):
            keep = np.abs(value - target) >= np.abs(x - target) if self.schema.features[j].ordered else target == x
        for _, mask in self._broken_at(j, x, value):
            keep = keep | mask
        return np.where(keep, x, value)

    def _free(self, j: int, target: Floats) -> bool:
        """Whether every one of the targets can be reached from anywhere."""
        if not (self.up[j] and self.down[j]) or self.step[j] > 0 or j in self.transitions:
            return False
        missing = np.isnan(target)
        outside = (target < self.low[j]) | (target > self.high[j]) | (self.whole[j] & (target != np.rint(target)))
        return not (outside & ~missing).any() and (bool(self.to_missing[j]) or not missing.any())

    def _nearest(self, j: int, x: Floats, target: Floats) -> Floats:
        """Of an ordered feature, the value nearest to `target`; what it breaks after all is not yet sorted out."""
        if j in self.transitions:
            return self._nearest_level(j, x, target)
        value = target
        with np.errstate(invalid="ignore"):
            low, high = self.low[j], self.high[j]
            if self.whole[j]:
                value, low, high = np.rint(value), np.ceil(low), np.floor(high)
            value = np.clip(value, low, high)
            if self.step[j] > 0:
                step = self.step[j]
                least, most = self._steps_within(j, x)
                count = np.clip(np.rint((value - x) / step), least, np.maximum(least, most))
                value = _snap(x + count * step, low, high, step)
        return np.asarray(value)

    def _steps_within(self, j: int, x: Floats) -> tuple[Floats, Floats]:
        """The smallest and the largest number of steps from x that stay within the bounds."""
        least = np.ceil((self.low[j] - x) / self.step[j] - STEP_TOLERANCE)
        most = np.floor((self.high[j] - x) / self.step[j] + STEP_TOLERANCE)
        return least, most

    def _nearest_level(self, j: int, x: Floats, target: Floats) -> Floats:
        value = np.array(x)
        for source in np.unique(x[~np.isnan(x)]):
            options = self.options(j, float(source))
            here = (x == source) & ~np.isnan(target)
            if options is not None:
                value[here] = options[np.abs(target[here][:, None] - options).argmin(axis=1)]
        return value

    def options(self, j: int, x: float, limit: int = MOST_OPTIONS) -> Floats | None:
        """All values that feature j may take from the present value x, x itself among them.

        None where they are not finitely many, or more than `limit`.
        """
        candidates = self._candidates(j, x, limit)
        if candidates is None:
            return None
        if self.to_missing[j]:
            candidates = np.append(candidates, np.nan)
        here = np.full(len(candidates), x)
        fine = changed(here, candidates)
        for _, mask in self._broken_at(j, here, candidates):
            fine &= ~mask
        return np.concatenate([[x], candidates[fine]])

    def _candidates(self, j: int, x: float, limit: int) -> Floats | None:
        """Values among which are all that feature j may change to, apart from missing; None: not so many."""
        low, high = float(self.low[j]), float(self.high[j])
        low = low if self.down[j] else max(low, x)
        high = high if self.up[j] else min(high, x)
        levels = len(self.schema.features[j].levels)
        tied = self.step[j] > 0 or not (self.up[j] and self.down[j])
        if not self.movable[j] or (not levels and not low <= high) or (np.isnan(x) and tied):
            return np.empty(0)
        if levels:
            return np.arange(levels, dtype=np.float64) if levels <= limit else None
        if self.step[j] > 0:
            least, most = self._steps_within(j, np.array(x))
            counts = _whole_numbers(float(least), float(most), limit)
            return None if counts is None else _snap(x + counts * self.step[j], low, high, self.step[j])
        if self.whole[j]:
            return _whole_numbers(float(np.ceil(low)), float(np.floor(high)), limit)
        return np.array([low]) if low == high else None

    def obeys(self, codes: Floats) -> Bools:
        """Whether each row breaks no rule across features; shape (m,)."""
        fine = np.ones(len(codes), dtype=bool)
        for _, broken in self._rules_broken(codes):
            fine &= ~broken
        return fine

    def allowed(self, x: Floats, x2: Floats) -> Bools:
        """Whether the way from each row x to x2 breaks nothing; shape (m,)."""
        fine = self.obeys(x2)
        for j in range(len(self.schema)):
            for _, mask in self._broken_at(j, x[:, j], x2[:, j]):
                fine &= ~mask
        return fine

    def violations(self, x: Floats, x2: Floats) -> list[Violation]:
        """Everything that the ways from rows x to x2, both (m, d), break, by row."""
        found = [
            Violation(int(i), kind, name)
            for j, name in enumerate(self.schema.names)
            for kind, mask in self._broken_at(j, x[:, j], x2[:, j])
            for i in np.flatnonzero(mask)
        ]
        for rule, broken in self._rules_broken(x2):
            found += [Violation(int(i), "rule", rule.text) for i in np.flatnonzero(broken)]
        return sorted(found, key=lambda violation: violation.row)

    def frozen(self) -> bool:
        """Whether no feature may change at all."""
        return not self.movable.any()

    def _broken_at(self, j: int, x: Floats, x2: Floats) -> Iterator[tuple[Kind, Bools]]:
        """For each kind of constraint on feature j, where the way from x to x2, of one shape, breaks it."""
        feature = self.schema.features[j]
        moved = changed(x, x2)
        if not self.movable[j]:
            yield "immutable", moved
            return
        gone, came = moved & np.isnan(x2), moved & np.isnan(x)
        valued = moved & ~gone
        if not self.to_missing[j]:
            yield "missing", gone
        with np.errstate(invalid="ignore"):
            if not (self.up[j] and self.down[j]):
                wrong_way = ((x2 > x) & (not self.up[j])) | ((x2 < x) & (not self.down[j])) | came
                yield "direction", valued & wrong_way
            if feature.kind != "numeric":
                yield "level", valued & ~_is_level(feature, x2)
            elif self.whole[j]:
                yield "integer", valued & (x2 != np.rint(x2))
            yield "bounds", valued & ((x2 < self.low[j]) | (x2 > self.high[j]))
            if self.step[j] > 0:
                steps = (x2 - x) / self.step[j]
                yield "step", valued & ((np.abs(steps - np.rint(steps)) > STEP_TOLERANCE) | came)
        if j in self.transitions:
            yield "transition", valued & ~self._transition_allowed(j, x, x2)

    def _transition_allowed(self, j: int, x: Floats, x2: Floats) -> Bools:
        """Whether level x may become level x2; what is no level is not for this rule to judge."""
        feature, matrix = self.schema.features[j], self.transitions[j]
        fine = ~np.isnan(x)
        known = _is_level(feature, x) & _is_level(feature, x2)
        fine[known] = matrix[x[known].astype(np.int64), x2[known].astype(np.int64)]
        return fine

    def _rules_broken(self, codes: Floats) -> Iterator[tuple[Expression, Bools]]:
        for rule in self.rules:
            columns: dict[str, pd.Series[Any]] = {}
            for name in rule.names:
                j = self.schema.index(name)
                feature = self.schema.features[j]
                known = (
                    np.where(_is_level(feature, codes[:, j]), codes[:, j], np.nan) if feature.levels else codes[:, j]
                )
                columns[name] = pd.Series(decode_column(feature, known))
            yield rule, rule.evaluate(columns, len(codes)).false


def _is_level(feature: Feature, codes: Floats) -> Bools:
    """Whether each code is the position of a level."""
    return np.asarray((codes >= 0) & (codes < len(feature.levels)) & (codes == np.rint(codes)))


def _snap(values: Floats, low: float, high: float, step: float) -> Floats:
    """The values, those that rounding has put just outside the bounds moved onto them."""
    inside = np.clip(values, low, high)
    return np.where(np.abs(inside - values) <= STEP_TOLERANCE * step, inside, values)


def _whole_numbers(first: float, last: float, limit: int) -> Floats | None:
    """The whole numbers from first to last; None where they are more than `limit`."""
    return np.arange(first, last + 1, dtype=np.float64) if last - first < limit else None


def _stated_whole(rule: FeatureRule) -> bool | None:
    """Whether the spec says that new values are whole: a step that is not whole says that they are not."""
    fractional = rule.step is not None and rule.step != round(rule.step)
    return False if rule.integer is None and fractional else rule.integer


def _whole(kind: str, in_data: bool, in_spec: bool | None) -> bool:
    """Levels are whole by nature; numbers where the spec says so, or else where the data are."""
    if kind != "numeric":
        return True
    return in_data if in_spec is None else in_spec


def _transition_matrix(levels: tuple[Level, ...], transitions: Mapping[str, tuple[Level, ...]]) -> Bools:
    """Whether each level may become each other; keys and levels meet as text, `true` for True as YAML writes it."""
    reach = {source: set(map(label_of, targets)) for source, targets in transitions.items()}
    names = [label_of(level) for level in levels]
    rows = [[b == a or b in reach.get(a, set()) for b in names] for a in names]
    return np.array(rows, dtype=bool)
