"""Contradictions inside the policy, as far as they show without the data."""

import math
from collections.abc import Iterator
from typing import Any

from audit.core.expression import ExpressionError, parse
from audit.core.infer import ColumnInfo
from audit.core.labels import label_of
from audit.core.policy import FeatureRule
from audit.core.schema import Level
from audit.spec.messages import Path, Problem, nearest, unknown
from audit.spec.model import Spec

NUMERIC_KEYS = ("min", "max", "step", "integer")


def check_columns(spec: Spec, data: Any) -> Iterator[Problem]:
    """What `data.columns` says of a column, and whether `mutability` says otherwise."""
    for name, info in spec.data.columns.items():
        path: Path = ("data", "columns", name)
        yield from _order(info.order, path)
        rule = spec.mutability.features.get(name)
        if info.order is not None and info.kind not in {None, "ordinal"}:
            yield Problem((*path, "kind"), f"found {info.kind!r}, but an `order` makes it ordinal; remove one of them")
        if info.kind == "ordinal" and info.order is None and (rule is None or rule.order is None):
            yield Problem((*path, "kind"), "an ordinal column needs `order`, its levels from lowest to highest; add it")
        if rule is not None:
            yield from _agreement(name, info, rule)


def _agreement(name: str, info: ColumnInfo, rule: FeatureRule) -> Iterator[Problem]:
    path: Path = ("mutability", "features", name)
    if info.order is not None and rule.order is not None and info.order != rule.order:
        yield Problem((*path, "order"), f"differs from `data.columns.{name}.order`; keep one of them")
    if info.unit and rule.unit and info.unit != rule.unit:
        yield Problem((*path, "unit"), f"{rule.unit!r} differs from {info.unit!r} in `data.columns`; keep one of them")
    if rule.order is not None and info.kind not in {None, "ordinal"}:
        yield Problem((*path, "order"), f"an order makes it ordinal, but `data.columns` says {info.kind!r}; change one")
    leveled = info.kind not in {None, "numeric"} or info.order is not None
    for key in NUMERIC_KEYS:
        if leveled and rule.order is None and getattr(rule, key) is not None:
            yield Problem((*path, key), f"`{key}` is for numbers, but `data.columns` gives it levels; remove it")


def check_mutability(spec: Spec, data: Any) -> Iterator[Problem]:
    """Rules of single features, and rules across features."""
    known = spec.model.features
    apart = {spec.data.id, spec.data.production_score, spec.data.target and spec.data.target.column}
    for name, rule in spec.mutability.features.items():
        path: Path = ("mutability", "features", name)
        if known is not None and name not in known:
            yield Problem(path, unknown("feature", name, known))
        elif known is None and name in apart:
            yield Problem(path, f"{name!r} is no feature: the model is not given it; remove the rule")
        yield from _rule(rule, path)
    seen: set[str] = set()
    for i, text in enumerate(spec.mutability.rules):
        path = ("mutability", "rules", i)
        try:
            names = parse(text, known).names
        except ExpressionError as error:
            yield Problem(path, str(error))
            continue
        if not names:
            yield Problem(path, f"{text!r} names no feature; remove it")
        if text in seen:
            yield Problem(path, f"{text!r} stands here for the second time; remove it")
        seen.add(text)


def _rule(rule: FeatureRule, path: Path) -> Iterator[Problem]:
    """Contradictions within the rule of one feature."""
    if rule.change == "immutable":
        for key in (*NUMERIC_KEYS, "transitions"):
            if getattr(rule, key) is not None:
                yield Problem((*path, key), f"`{key}` says how it changes, but it is immutable; remove one of the two")
        yield from _order(rule.order, path)
        return
    yield from _numbers(rule, path)
    yield from _order(rule.order, path)
    leveled = "order" if rule.order is not None else "transitions" if rule.transitions is not None else ""
    for key in NUMERIC_KEYS:
        if leveled and getattr(rule, key) is not None:
            yield Problem((*path, key), f"`{key}` is for numbers and `{leveled}` is for levels; remove one of the two")
    if rule.transitions is not None:
        yield from _transitions(rule, path)


def _numbers(rule: FeatureRule, path: Path) -> Iterator[Problem]:
    low = -math.inf if rule.min is None else rule.min
    high = math.inf if rule.max is None else rule.max
    if low > high:
        yield Problem((*path, "min"), f"min {low:g} is above max {high:g}, so no value is allowed; correct one")
    elif rule.integer and math.isfinite(low) and math.isfinite(high) and math.ceil(low) > math.floor(high):
        yield Problem((*path, "integer"), f"no whole number lies between min {low:g} and max {high:g}; correct one")
    if rule.step is not None and rule.step <= 0:
        yield Problem((*path, "step"), f"found {rule.step:g}; a step is above 0")
    elif rule.step is not None and rule.integer and rule.step != round(rule.step):
        yield Problem((*path, "step"), f"steps of {rule.step:g} are not whole, as `integer` asks; change one")
    elif rule.step is not None and rule.step > high - low:
        yield Problem((*path, "step"), f"{rule.step:g} is wider than from min {low:g} to max {high:g}; correct one")


def _order(order: tuple[Level, ...] | None, path: Path) -> Iterator[Problem]:
    if order is None:
        return
    if len(order) < 2:
        yield Problem((*path, "order"), f"{len(order)} level; at least 2 are needed, from lowest to highest")
    texts = [label_of(level) for level in order]
    for i, text in enumerate(texts):
        if text in texts[:i]:
            yield Problem((*path, "order", i), f"level {text!r} stands here for the second time; remove it")


def _transitions(rule: FeatureRule, path: Path) -> Iterator[Problem]:
    """Transitions lead somewhere, between levels of the order, and in the direction of the change."""
    path = (*path, "transitions")
    transitions = rule.transitions or {}
    if not any(set(map(label_of, targets)) - {source} for source, targets in transitions.items()):
        yield Problem(path, "no level can be left, so nothing can change; name levels, or write `change: immutable`")
    if rule.order is None:
        if rule.change != "any":
            text = f"`{rule.change}` needs an `order` of the levels; add it, or write `any`"
            yield Problem((*path[:-1], "change"), text)
        return
    rank = {label_of(level): i for i, level in enumerate(rule.order)}
    for source, targets in transitions.items():
        if source not in rank:
            yield Problem((*path, source), _no_level(source, list(rank)))
        for i, target in enumerate(map(label_of, targets)):
            if target not in rank:
                yield Problem((*path, source, i), _no_level(target, list(rank)))
            elif source in rank and _against(rule.change, rank[target] - rank[source]):
                text = f"from {source!r} to {target!r} is no {rule.change}; remove it, or write `change: any`"
                yield Problem((*path, source, i), text)


def _no_level(name: str, known: list[str]) -> str:
    close = nearest(name, known)
    return f"level {name!r} is not in `order`; " + (
        f"did you mean {close!r}?" if close else f"it has {', '.join(known)}"
    )


def _against(change: str, difference: int) -> bool:
    return (change == "increase" and difference < 0) or (change == "decrease" and difference > 0)
