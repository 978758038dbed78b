"""A number in prose by the name of its evidence, so that prose cannot disagree with evidence.

Three calls are known, and nothing else is an expression: `metric("performance.auc")`, `gate("performance.auc")` and
`finding("F-3FA2C1")`. They are read by Python's own grammar and looked up; nothing is ever evaluated.
"""

import ast
import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from audit.core.evidence import Evidence, Metric, Where
from audit.report import text
from audit.report.blocks import Said
from audit.report.judged import findings, judgements, shown_in
from audit.report.source import Source

LONGEST = 300
"""Characters of a reference; a longer one is not meant to be one."""

PLACES = tuple(Where.model_fields)
EXACT = ("region", "outcome", "by", "group", "feature", "variant")
"""What a metric is measured on, and which of it must be none where the reference is silent, as for a gate."""

SHOWN = {
    "metric": ("value", "interval", "low", "high", "n", "label"),
    "gate": ("word", "required", "measured", "interval", "n", "label"),
    "finding": ("id", "title", "severity"),
}
"""What may be shown of each; the first where the reference does not say."""

OPTIONS = {
    "metric": (*PLACES, "interval", "format", "show"),
    "gate": ("region", "group", "outcome", "by", "feature", "variant", "model", "show"),
    "finding": ("show",),
}


LEFT_OUT = Said("left out")
"""What is said of a number that a bundle to hand out does not hold."""


class WrongReferenceError(ValueError):
    """A reference that leads nowhere; the message says what there is."""


@dataclass(frozen=True)
class Reference:
    """A reference as it was written: which call, of what, and how it is narrowed and shown."""

    call: str
    name: str
    options: Mapping[str, str | bool]


def parse(written: str) -> Reference:
    """The reference in a text.

    Raises:
        WrongReferenceError: it is anything else.
    """
    how = 'write metric("<method>.<metric>"), gate("<method>.<metric>") or finding("<id>")'
    if len(written) > LONGEST:
        raise WrongReferenceError(f"longer than {LONGEST} characters; {how}")
    try:
        tree = ast.parse(written.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise WrongReferenceError(f"{_short(written)} cannot be read; {how}") from error
    if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name) or tree.func.id not in SHOWN:
        called = tree.func.id if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) else ""
        raise WrongReferenceError(f"{_short(written)} is none of the three that are known{_like(called, SHOWN)}; {how}")
    call = tree.func.id
    if len(tree.args) != 1 or not isinstance(name := _constant(tree.args[0]), str):
        raise WrongReferenceError(f"{call}() takes one name in quotes; {how}")
    options: dict[str, str | bool] = {}
    for keyword in tree.keywords:
        value = _constant(keyword.value)
        if keyword.arg not in OPTIONS[call]:
            known = ", ".join(OPTIONS[call])
            raise WrongReferenceError(
                f"{call}() knows no {keyword.arg!r}{_like(str(keyword.arg), OPTIONS[call])}; allowed: {known}"
            )
        if not isinstance(value, bool if keyword.arg == "interval" else str):
            wanted = "True or False" if keyword.arg == "interval" else "a text in quotes"
            raise WrongReferenceError(f"{call}(): {keyword.arg}= takes {wanted}")
        options[keyword.arg] = value
    _choice(call, "show", options.get("show"), SHOWN[call])
    _choice(call, "format", options.get("format"), tuple(text.FORMATS))
    return Reference(call, name, options)


def _choice(call: str, key: str, value: object, allowed: Sequence[str]) -> None:
    if value is not None and value not in allowed:
        raise WrongReferenceError(f"{call}(): {key}={value!r} is not known; allowed: {', '.join(allowed)}")


def _constant(node: ast.expr) -> object:
    return node.value if isinstance(node, ast.Constant) else None


def _short(written: str) -> str:
    return repr(written if len(written) <= 60 else written[:57] + "...")


def _like(name: str, known: Iterable[str]) -> str:
    """A hint at the names that are most like this one; empty where none is."""
    close = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""


def say(source: Source, reference: Reference) -> Said:
    """What a reference says of this evidence.

    Raises:
        WrongReferenceError: there is no such evidence, or more than one of it.
    """
    return {"metric": _metric, "gate": _gate, "finding": _finding}[reference.call](source, reference)


def _metric(source: Source, asked: Reference) -> Said:
    task, _, name = asked.name.rpartition(".")
    record = source.record(task)
    if record is None:
        known = [f"{r.id}.{m}" for r in source.given for m in dict.fromkeys(m.name for m in r.metrics)]
        hint = _like(asked.name, known) or f"; there are {', '.join(r.id for r in source.given if r.metrics)}"
        raise WrongReferenceError(f"unknown metric {asked.name!r}{hint}")
    href = shown_in(source, task)
    if record.status != "ok":
        return Said(f"not measured ({text.words(record.status)})", href)
    found = _one(record, name, asked)
    wording = source.words(record)
    form = str(asked.options.get("format") or wording.form(name, found.unit))
    shown = text.FORMATS[form]
    ends = text.interval(found.low, found.high, form)
    values = {
        "value": shown(found.value) if found.value is not None else "not measured",
        "interval": ends,
        "low": shown(found.low),
        "high": shown(found.high),
        "n": text.count(found.n),
        "label": wording.label(name),
    }
    told = values[str(asked.options.get("show") or "value")]
    if asked.options.get("interval") is True and ends != text.ABSENT:
        told += f" ({100 * found.level:g}\u00a0% interval {ends})"
    return Said(told, href)


def _one(record: Evidence, name: str, asked: Reference) -> Metric:
    """The one metric that is meant."""
    named = [metric for metric in record.metrics if metric.name == name]
    if not named:
        known = list(dict.fromkeys(metric.name for metric in record.metrics))
        hint = _like(name, known) or (f"; there are {', '.join(known[:12])}" if known else "; it has none")
        raise WrongReferenceError(f"{record.id!r} has no metric {name!r}{hint}")
    asks = {key: asked.options[key] for key in PLACES if key in asked.options}
    wanted = {**dict.fromkeys(EXACT), **asks}
    found = [m for m in named if all(getattr(m.where, key) == value for key, value in wanted.items())]
    if len(found) == 1:
        return found[0]
    if found:
        told = _told_apart(found, set(asks))
        raise WrongReferenceError(f"{asked.name!r} is {len(found)} numbers; say which: {told}")
    keys = ", ".join(f"{key}={value!r}" for key, value in asks.items()) or "the whole audit"
    near = [m for m in named if all(getattr(m.where, key) == value for key, value in asks.items())]
    there = _told_apart(near or named, set())
    raise WrongReferenceError(f"{asked.name!r} was not measured for {keys}; there is {there}")


def _told_apart(metrics: Sequence[Metric], said: set[str]) -> str:
    """What tells the metrics apart, as options that could be written."""
    ways = []
    shared = {key for key in PLACES if key not in EXACT and len({getattr(m.where, key) for m in metrics}) == 1}
    for metric in metrics:
        place = {key: getattr(metric.where, key) for key in PLACES if key not in said | shared}
        ways.append(", ".join(f"{key}={value!r}" for key, value in place.items() if value is not None))
    listed = list(dict.fromkeys(way for way in ways if way))
    return "; or ".join(listed[:4]) + ("; ..." if len(listed) > 4 else "")


def _gate(source: Source, asked: Reference) -> Said:
    judged = judgements(source)
    narrow = {key: value for key, value in asked.options.items() if key != "show"}
    found = [
        view
        for gate, view in judged
        if asked.name in {gate.metric, view.id} and all(getattr(gate, key) == value for key, value in narrow.items())
    ]
    if not found:
        known = [name for gate, view in judged for name in (gate.metric, view.id)]
        there = f"; there are gates on {', '.join(dict.fromkeys(gate.metric for gate, _ in judged))}"
        raise WrongReferenceError(f"no gate on {asked.name!r}{_like(asked.name, known) or there * bool(judged)}")
    if len(found) > 1:
        raise WrongReferenceError(f"{asked.name!r} has {len(found)} gates; name one: {', '.join(v.id for v in found)}")
    (view,) = found
    values = {"word": view.badge.word, "required": view.required, "measured": view.measured, "label": view.label}
    values |= {"interval": view.interval, "n": view.n}
    return Said(values[str(asked.options.get("show") or "word")], "#gates")


def _finding(source: Source, asked: Reference) -> Said:
    raised = {view.id: view for view in reversed(findings(source))}
    view = raised.get(asked.name)
    if view is None:
        hint = _like(asked.name, raised) or (f"; there are {', '.join(raised)}" if raised else "; nothing was found")
        raise WrongReferenceError(f"no finding {asked.name!r} in this audit{hint}")
    values: dict[str, Any] = {"id": view.id, "title": view.title, "severity": view.severity}
    return Said(str(values[str(asked.options.get("show") or "id")]), f"#{view.anchor}")
