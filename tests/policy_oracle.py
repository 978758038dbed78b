"""An independent reading of the policy: plain Python over values, row by row, with SQLite for rules across features.

It shares no code with `audit/core/policy.py`: it starts from what the spec says, not from arrays.
"""

import math
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from audit.core.policy import FeatureRule
from audit.core.schema import Feature, FeatureSchema

Row = dict[str, Any]
STRANGE = object()


def values(schema: FeatureSchema, codes: np.ndarray) -> list[Row]:
    """Rows of values from codes; None is missing, STRANGE is a code that is no level."""
    return [{f.name: _value(f, float(c)) for f, c in zip(schema.features, row, strict=True)} for row in codes]


def _value(feature: Feature, code: float) -> Any:
    if math.isnan(code):
        return None
    if feature.kind == "numeric":
        return code
    return feature.levels[int(code)] if code in range(len(feature.levels)) else STRANGE


class Law:
    """What the spec says, as a judge of single ways from a row to another."""

    def __init__(
        self,
        schema: FeatureSchema,
        rules: Mapping[str, FeatureRule],
        texts: Sequence[str] = (),
        *,
        domain: bool = False,
        default: str = "immutable",
    ) -> None:
        self.schema, self.rules, self.texts, self.domain, self.default = schema, rules, texts, domain, default
        self.database = sqlite3.connect(":memory:")
        self.texts_seen: dict[tuple[str, tuple[Any, ...]], bool] = {}

    def breaks(self, before: Row, after: Row) -> set[tuple[str, str]]:
        """Every (kind, feature or rule) that the way from `before` to `after` breaks."""
        broken = {
            (kind, f.name)
            for f in self.schema.features
            if not _same(before[f.name], after[f.name])
            for kind in self._feature(f, before[f.name], after[f.name])
        }
        return broken | {("rule", text) for text in self.texts if self._false(text, after)}

    def _feature(self, f: Feature, old: Any, new: Any) -> list[str]:
        rule = self.rules.get(f.name, FeatureRule(change=self.default))
        if self.domain:
            rule = FeatureRule(change="any")
        if rule.change == "immutable":
            return ["immutable"]
        if new is None:
            return [] if self.domain and f.missing else ["missing"]
        if f.kind == "numeric":
            return self._number(f, rule, old, new)
        if new is STRANGE:
            return ["level"] + (["direction"] if rule.change != "any" and old is None else [])
        broken = []
        place = list(f.levels).index
        if place(new) > f.high:
            broken.append("bounds")
        if _wrong_way(rule.change, None if old is None else place(old), place(new)):
            broken.append("direction")
        if rule.transitions is not None:
            reachable = [] if old is None else [str(level) for level in rule.transitions.get(str(old), ())]
            if str(new) not in reachable:
                broken.append("transition")
        return broken

    def _number(self, f: Feature, rule: FeatureRule, old: Any, new: float) -> list[str]:
        broken = []
        low = f.low if rule.min is None else rule.min
        high = f.high if rule.max is None else rule.max
        if not low <= new <= high:
            broken.append("bounds")
        if _wrong_way(rule.change, old, new):
            broken.append("direction")
        if self.whole(f, rule) and new != math.floor(new):
            broken.append("integer")
        if rule.step is not None and (old is None or _off_grid((new - old) / rule.step)):
            broken.append("step")
        return broken

    @staticmethod
    def whole(f: Feature, rule: FeatureRule) -> bool:
        """Whether new values are whole: as the spec says; by its step; else as the data are."""
        if rule.integer is not None:
            return rule.integer
        if rule.step is not None and rule.step % 1:
            return False
        return f.integer

    def _false(self, text: str, row: Row) -> bool:
        """Whether the rule is false (not unknown) of the row, by SQL; what is no level is unknown."""
        key = (text, tuple(None if v is STRANGE else v for v in row.values()))
        if key not in self.texts_seen:
            columns = ", ".join(f"? AS `{name}`" for name in row)
            query = f"SELECT ({text}) FROM (SELECT {columns})"
            (answer,) = self.database.execute(query, key[1]).fetchone()
            self.texts_seen[key] = answer == 0
        return self.texts_seen[key]


def _same(a: Any, b: Any) -> bool:
    return (a is None and b is None) or (a is not None and b is not None and a == b)


def _wrong_way(change: str, old: Any, new: Any) -> bool:
    if change == "any":
        return False
    if old is None:
        return True
    return new < old if change == "increase" else new > old


def _off_grid(steps: float) -> bool:
    return abs(steps - round(steps)) > 1e-6
