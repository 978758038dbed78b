"""The metrics of two audits beside each other: of the given model and of the model that a remedy made."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from audit.core.evidence import Evidence, Metric
from audit.report import text
from audit.report.blocks import Cell, Column, Grid
from audit.report.source import Source, where_text
from audit.report.tables import COMMON, INTERVAL, cut, records_of

TOP = 8
"""Features per method, besides the protected ones."""

OF_DATA = frozenset({"base_rate", "majority_accuracy", "rows_in_training", "features_in_training"})
"""Metrics of performance that no model changes."""

COMPARISON = "before_after"
"""The evidence, and its table, that has the differences of pairs."""

LEAD = 2
"""Lines up to this turn say what the remedy was for and what it cost; they have a table of their own."""

OF_SETS = ("coverage", "mean_changed", "mean_distance", "mean_cost", "cost")
COUNTS = frozenset({"rows", "count", "instances", "features", "levels", "background rows"})


@dataclass(frozen=True)
class Value:
    """A number with its interval.

    Attributes:
        scale: what it is measured on; numbers of two scales are not compared.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    level: float = 0.95
    scale: str = ""


@dataclass(frozen=True)
class Line:
    """One row: the same number of both models, or the reason why there is none.

    Attributes:
        change: the difference of pairs, where there are any; `pairs` says of what.
        turn: where it stands: 0 of protected features, 1 the cost of recourse, 2 accuracy, 3 everything else.
    """

    what: str
    form: str = "number"
    before: Value | None = None
    after: Value | None = None
    reason: str = ""
    change: Value | None = None
    pairs: str = ""
    turn: int = LEAD + 1


def before_after(source: Source, name: str) -> Iterator[Grid]:
    """What the remedy was for and what it cost, then all that both audits measured; nothing where no task ran again."""
    paired = _paired(source, name)
    lines = [*_attributions(paired)]
    lines += [line for record in sorted(source.again(name), key=_turn) for line in _lines(source, record, paired)]
    lines.sort(key=lambda line: line.turn)
    for caption, note, chosen in (
        ("What the remedy was for, and its price", "", [line for line in lines if line.turn <= LEAD]),
        ("The given and the remedied model", NOTE, [line for line in lines if line.turn > LEAD]),
    ):
        if chosen:
            rows = tuple(_cells(line) for line in chosen)
            yield cut(source, Grid(caption, HEAD, rows, note or HOW, name="before-after"))


HEAD = (
    Column("What"),
    Column("Given model"),
    Column("Remedied model"),
    Column("Difference"),
    Column("Compared on"),
)

HOW = (
    f"In brackets: {INTERVAL}s. The difference is remedied minus given; that of shares is in percentage points (pp). "
    "Where rows or seeds are named, it is of pairs: the same row was asked of both models, or each seed was set "
    "against the given model. Other differences are of two separate estimates and have no interval; the last "
    "column then says how the two intervals lie."
)

NOTE = (
    "As above. That intervals overlap does not show that nothing differs, and that they are apart does not show which "
    "model is to be preferred. A set for unfavourable rows holds the rows that each model itself decides so. "
    "Frequency: share of counterfactuals in which the feature changes. Contribution: its mean absolute Shapley value. "
    f"Each method shows the {TOP} features with the largest values."
)


def _paired(source: Source, name: str) -> dict[tuple[str, str, str], Any]:
    """The differences of pairs by task, quantity and feature."""
    record = source.record(f"{COMPARISON}@{name}")
    frame = source.table(record, COMPARISON) if record is not None else None
    if frame is None:
        return {}
    return {(str(row["task"]), str(row["quantity"]), str(row["feature"])): row for row in records_of(frame)}


def _of_pairs(row: Any, name: str) -> Value:
    return Value(text.finite(row[name]), text.finite(row[f"{name}_low"]), text.finite(row[f"{name}_high"]))


def _with_pairs(line: Line, row: Any) -> Line:
    """The line with the difference of its pairs, if there are any."""
    if row is None:
        return line
    return replace(line, change=_of_pairs(row, "difference"), pairs=f"{text.count(row['n'])} {row['unit']}")


def _attributions(paired: Mapping[tuple[str, str, str], Any]) -> Iterator[Line]:
    """The share of the attributions on features that may not change."""
    row = paired.get(("remedy", "protected_share", ""))
    if row is not None:
        what = "Features that may not change: share of the integrated gradients, mean over seeds"
        line = Line(what, "percent", _of_pairs(row, "before"), _of_pairs(row, "after"), turn=0)
        yield _with_pairs(line, row)


def _turn(record: Evidence) -> int:
    """Performance, counterfactuals and the rankings of features, then the rest in the order of the plan."""
    if record.id.startswith("counterfactuals."):
        return 1
    return {"performance": 0, "flex": 2, "shap": 3}.get(record.kind, 4)


def protected_first(source: Source, features: Sequence[str]) -> list[str]:
    """The features with the protected ones in front, otherwise in their order."""
    protected = set(source.facts("data", "protected") or ())
    return sorted(features, key=lambda feature: feature not in protected)


def overlap(before: Value, after: Value) -> str:
    """Whether two intervals have a point in common, in words."""
    if before.low is None or before.high is None or after.low is None or after.high is None:
        return text.ABSENT
    if before.level != after.level:
        return text.ABSENT
    return "intervals overlap" if before.low <= after.high and after.low <= before.high else "apart"


def spanned(value: Any, low: Any, high: Any, form: str, *, change: bool = False) -> Cell:
    """A value with its interval in one cell, which breaks before the bracket and nowhere else."""
    if text.finite(value) is None:
        return Cell(text.ABSENT)
    show = partial(text.change, form=form) if change else text.FORMATS[form]
    if text.finite(low) is None or text.finite(high) is None:
        return Cell(show(value))
    ends = [show(end).removesuffix("\u00a0pp").removesuffix("\u00a0%") for end in (low, high)]
    return Cell(f"{show(value)} ({ends[0]}\u00a0to\u00a0{ends[1]})")


def _cells(line: Line) -> tuple[Cell, ...]:
    before, after = line.before or Value(None), line.after or Value(None)
    comparable = before.scale == after.scale
    change = line.change
    if change is None and comparable and before.value is not None and after.value is not None:
        change = Value(after.value - before.value)
    change = change or Value(None)
    lie = overlap(before, after) if comparable else f"not comparable: {before.scale}, {after.scale}"
    return (
        Cell(line.what),
        spanned(before.value, before.low, before.high, line.form),
        spanned(after.value, after.low, after.high, line.form),
        spanned(change.value, change.low, change.high, line.form, change=True),
        Cell(line.reason or line.pairs or lie),
    )


def _lines(source: Source, after: Evidence, paired: Mapping[tuple[str, str, str], Any]) -> Iterator[Line]:
    """The rows of one task that was run again."""
    task = after.id.partition("@")[0]
    before = source.record(task)
    if before is None or task == "sample":
        return
    failed = next((record for record in (before, after) if record.status != "ok"), None)
    if failed is not None:
        whose = "given" if failed is before else "remedied"
        why = f"{text.words(failed.status)} for the {whose} model: {failed.message or 'no reason was recorded'}"
        yield Line(_title(source, before), reason=why)
    elif before.kind == "flex":
        yield from _by_feature(source, before, _frequencies(before), _frequencies(after), "frequency", paired)
    elif before.kind == "shap":
        yield from _by_feature(source, before, _sizes(source, before), _sizes(source, after), "mean_abs", paired)
    else:
        yield from _costs(source, before, paired)
        yield from _headlines(source, before, after, paired)


def _costs(source: Source, record: Evidence, paired: Mapping[tuple[str, str, str], Any]) -> Iterator[Line]:
    """The cost of a set of counterfactuals, on the rows for which both models have one."""
    row = paired.get((record.id, "mean_cost", ""))
    if row is not None:
        recourse = source.settings(record).get("constraints") == "policy"
        what = f"{_title(source, record)}: cost, the sum of scaled changes, of rows that both have one for"
        line = Line(what, "number", _of_pairs(row, "before"), _of_pairs(row, "after"))
        yield replace(_with_pairs(line, row), turn=1 if recourse else LEAD + 1)


def _title(source: Source, record: Evidence) -> str:
    if record.id.startswith("counterfactuals."):
        return f"Set “{record.id.partition('.')[2]}”"
    title = source.words(record).title
    return title if record.id == record.kind else f"{title} ({record.id})"


def _headlines(
    source: Source, before: Evidence, after: Evidence, paired: Mapping[tuple[str, str, str], Any]
) -> Iterator[Line]:
    """The metrics of the model itself on the whole sample, its outcomes and its groups."""
    wording = source.words(before)
    found = {_place(metric): metric for metric in after.metrics}
    for metric in before.metrics:
        if not _compared(before, metric):
            continue
        other = found.get(_place(metric))
        where = metric.where.model_copy(update={"data": None, "model": None})
        place = where_text(metric.model_copy(update={"where": where})) if where != type(where)() else ""
        reason = "" if other is not None else "the audit of the remedied model has no such number"
        protected = metric.where.by in set(source.facts("data", "protected") or ())
        owner = "" if before.id == "performance" else f"{_title(source, before)}: "
        told = f"{owner}{wording.label(metric.name)}" + (f", {place}" if place else "")
        form = wording.form(metric.name, metric.unit)
        line = Line(told, form, _value(metric), None if other is None else _value(other), reason)
        row = None if place or reason else paired.get((before.id, metric.name, ""))
        turn = 2 if row is not None and metric.name == "accuracy" else LEAD + 1
        yield replace(_with_pairs(line, row), turn=0 if protected else turn)


def _compared(record: Evidence, metric: Metric) -> bool:
    where = metric.where
    if where.feature or where.region or where.variant or metric.name in COMMON | OF_DATA:
        return False
    if record.id.startswith("counterfactuals."):
        return metric.name in OF_SETS
    if record.kind == "performance":
        return "challenger" not in metric.name
    return metric.unit not in COUNTS


def _place(metric: Metric) -> tuple[str, str]:
    return metric.name, metric.where.model_copy(update={"model": None}).model_dump_json()


def _value(metric: Metric) -> Value:
    return Value(metric.value, metric.low, metric.high, metric.level)


def _frequencies(record: Evidence) -> dict[str, Value]:
    """How often each feature changes, over all predictions and regions."""
    found = {}
    for metric in record.metrics:
        where = metric.where
        if metric.name == "frequency" and where.feature and not (where.region or where.outcome or where.group):
            found[where.feature] = _value(metric)
    return found


def _sizes(source: Source, record: Evidence) -> dict[str, Value]:
    """The mean absolute contribution of each feature, with the scale that its explainer answers on."""
    frame = source.table(record, "shap_global")
    if frame is None or not {"feature", "mean_abs"} <= set(frame.columns):
        return {}
    explained = [note for note in record.notes if note.code in {"linear", "tree", "permutation"}]
    scale = text.words(str(explained[0].args.get("space", "probability"))) if explained else ""
    finite = text.finite
    return {
        str(row["feature"]): Value(
            finite(row["mean_abs"]), finite(row.get("low")), finite(row.get("high")), scale=scale
        )
        for row in records_of(frame)
    }


def _by_feature(
    source: Source,
    record: Evidence,
    before: dict[str, Value],
    after: dict[str, Value],
    name: str,
    paired: Mapping[tuple[str, str, str], Any],
) -> Iterator[Line]:
    """Protected features, then those with the largest value in either audit."""
    protected = set(source.facts("data", "protected") or ())

    def size(feature: str) -> float:
        return max((found[feature].value or 0.0) for found in (before, after) if feature in found)

    features = sorted(dict.fromkeys([*before, *after]), key=lambda feature: (-size(feature), feature))
    shown = [f for f in features if f in protected] + [f for f in features if f not in protected][:TOP]
    label = {"frequency": "frequency", "mean_abs": "contribution"}[name]
    form = "percent" if name == "frequency" else "number"
    for feature in shown:
        missing = [whose for whose, found in (("given", before), ("remedied", after)) if feature not in found]
        reason = f"the audit of the {missing[0]} model has no such number" if missing else ""
        mark = " (protected)" if feature in protected else ""
        what = f"{feature}{mark}: {label} ({record.id})"
        line = Line(what, form, before.get(feature), after.get(feature), reason)
        row = None if reason else paired.get((record.id, name, feature))
        yield replace(_with_pairs(line, row), turn=0 if feature in protected else LEAD + 1)
