"""Contradictions between a spec and its data."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from audit.core.errors import SpecError
from audit.core.evidence import Note
from audit.core.expression import Expression, ExpressionError, Truth, parse
from audit.core.labels import label_of
from audit.core.policy import FeatureRule
from audit.core.region import Region
from audit.core.schema import Feature, FeatureSchema
from audit.core.table import Table
from audit.spec.check_policy import NUMERIC_KEYS
from audit.spec.messages import Path, Problem, unknown

if TYPE_CHECKING:
    from audit.spec.load import Loaded

Answer = Problem | Note

MOST_IDS = 20
"""Ids that a note names at most; it always gives the count."""


def check_data(loaded: "Loaded", schema: FeatureSchema, evaluate: Table, train: Table | None = None) -> list[Note]:
    """What the data say against the spec although the audit can go on: rows that break a rule, with their ids.

    A rule that every row breaks, an unknown column, level or id, and a rule of the wrong kind stop the audit.

    Raises:
        SpecError: the spec and the data cannot both be meant; all problems at once.
    """
    spec = loaded.spec
    answers: list[Answer] = []
    for name, rule in spec.mutability.features.items():
        path: Path = ("mutability", "features", name)
        if name not in schema.names:
            answers.append(Problem(path, unknown("feature", name, schema.names)))
            continue
        answers += _kind(schema[name], rule, path)
        answers += _bounds(schema[name], rule, path, evaluate)
    for i, text in enumerate(spec.mutability.rules):
        answers += _rule(text, ("mutability", "rules", i), evaluate)
    for i, region in enumerate(spec.regions):
        answers += _region(region, ("regions", i), evaluate, spec.data.sample.rows)
    columns = [*schema.names, *map(str, evaluate.extra.columns)]
    for i, gate in enumerate(spec.gates):
        if gate.by is not None and gate.by not in columns:
            answers.append(Problem(("gates", i, "by"), unknown("column", gate.by, columns)))
    problems = [answer for answer in answers if isinstance(answer, Problem)]
    if problems:
        raise SpecError([loaded.line_of(problem) for problem in problems])
    return [answer for answer in answers if isinstance(answer, Note)]


def _kind(feature: Feature, rule: FeatureRule, path: Path) -> Iterator[Answer]:
    """Whether the rule is one for this kind of feature."""
    if feature.kind != "numeric":
        for key in NUMERIC_KEYS:
            if getattr(rule, key) is not None:
                text = f"`{key}` is for numbers, but the data make {feature.name!r} {feature.kind}; remove it"
                yield Problem((*path, key), text)
    if feature.kind == "categorical" and rule.change in {"increase", "decrease"}:
        text = f"`{rule.change}` needs an order, but {feature.name!r} is categorical; add `order`, or write `any`"
        yield Problem((*path, "change"), text)
    yield from _transitions(feature, rule, path)


def _transitions(feature: Feature, rule: FeatureRule, path: Path) -> Iterator[Answer]:
    """Whether transitions name levels that the feature has."""
    if rule.transitions is None:
        return
    if feature.kind == "numeric":
        text = f"transitions are for levels, but {feature.name!r} is numeric; use `change`, `min`, `max` and `step`"
        yield Problem((*path, "transitions"), text)
        return
    levels = [label_of(level) for level in feature.levels]
    for source, targets in rule.transitions.items():
        if source not in levels:
            yield Problem((*path, "transitions", source), unknown("level", source, levels))
        for i, target in enumerate(map(label_of, targets)):
            if target not in levels:
                yield Problem((*path, "transitions", source, i), unknown("level", target, levels))


def _bounds(feature: Feature, rule: FeatureRule, path: Path, evaluate: Table) -> Iterator[Answer]:
    """Rows whose present value the rule would not allow as a new one; bounds that the data do not reach."""
    if feature.kind != "numeric" or rule.change == "immutable":
        return
    values = evaluate.codes[:, evaluate.schema.index(feature.name)]
    low = -np.inf if rule.min is None else rule.min
    high = np.inf if rule.max is None else rule.max
    with np.errstate(invalid="ignore"):
        outside = (values < low) | (values > high)
        broken = ~np.isnan(values) & (values != np.rint(values)) if rule.integer else np.zeros(len(values), dtype=bool)
    key = "max" if rule.min is None else "min"
    limits = f"{'' if rule.min is None else f'min {low:g}'} {'' if rule.max is None else f'max {high:g}'}".strip()
    yield from _broken_rows("rows_outside_bounds", feature.name, limits, outside, evaluate, (*path, key))
    yield from _broken_rows("rows_not_whole", feature.name, "integer", broken, evaluate, (*path, "integer"))
    beyond = [(k, v) for k, v in (("min", rule.min), ("max", rule.max)) if v is not None]
    for name, bound in beyond:
        if (name == "min" and bound < feature.low) or (name == "max" and bound > feature.high):
            args: dict[str, JsonValue] = {
                "feature": feature.name,
                "bound": name,
                "value": bound,
                "low": feature.low,
                "high": feature.high,
            }
            yield Note(code="bound_beyond_data", args=args)


def _broken_rows(
    code: str, subject: str, rule: str, broken: NDArray[np.bool_], evaluate: Table, path: Path
) -> Iterator[Answer]:
    """A problem where all rows break the rule, a note with ids where some do."""
    count = int(broken.sum())
    if not count:
        return
    ids = [evaluate.ids[i] for i in np.flatnonzero(broken)[:MOST_IDS]]
    if count == len(evaluate):
        shown = ", ".join(ids[:3])
        yield Problem(path, f"every row of the evaluation data breaks it (first: {shown}); correct the rule")
        return
    args: dict[str, JsonValue] = {
        "subject": subject,
        "rule": rule,
        "count": count,
        "rows": len(evaluate),
        "ids": list(ids),
    }
    yield Note(code=code, severity="minor", args=args)


def _rule(text: str, path: Path, evaluate: Table) -> Iterator[Answer]:
    """A rule across features: whether it can be asked, and the rows that break it."""
    answer = _truth(text, path, evaluate, evaluate.schema.names)
    if isinstance(answer, Problem):
        yield answer
        return
    yield from _broken_rows("rows_break_rule", text, text, answer.false, evaluate, path)


def _truth(text: str, path: Path, evaluate: Table, known: Iterable[str]) -> Truth | Problem:
    """What a condition says of each evaluation row."""
    try:
        expression: Expression = parse(text, tuple(known))
        return expression.evaluate({name: evaluate.column(name) for name in expression.names}, len(evaluate))
    except ExpressionError as error:
        return Problem(path, str(error))


def _region(region: Region, path: Path, evaluate: Table, sample_rows: int) -> Iterator[Answer]:
    """Whether the data have what a region asks for."""
    n = len(evaluate)
    if region.where is not None:
        known = [*evaluate.schema.names, *map(str, evaluate.extra.columns)]
        answer = _truth(region.where, (*path, "where"), evaluate, known)
        if isinstance(answer, Problem):
            yield answer
        elif not answer.true.any():
            yield Note(code="region_empty", severity="minor", args={"region": region.name, "where": region.where})
    if region.around is not None and label_of(region.around) not in evaluate.ids:
        yield Problem((*path, "around"), unknown("id", label_of(region.around), evaluate.ids))
    too_many: list[tuple[str, int | None, int]] = [
        ("nearest", region.nearest, n),
        ("clusters", region.clusters, min(n, sample_rows)),
    ]
    for key, wanted, there in too_many:
        if wanted is not None and wanted > there:
            yield Problem((*path, key), f"found {wanted}; there are only {there} rows to choose from")
