"""Two bundles side by side: the spec, the inputs, every number with its uncertainty, gates and findings."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Self

import yaml
from pydantic import JsonValue

from audit.bundle import Bundle
from audit.core.base import Frozen, sha256
from audit.core.compare import (
    FindingChange,
    GateChange,
    MetricChange,
    finding_changes,
    gate_changes,
    metric_changes,
)
from audit.core.errors import BundleError
from audit.core.finding import judge_gate
from audit.core.manifest import Manifest
from audit.report.judged import OUTCOMES, finding_view, gate_form, gate_view
from audit.report.source import Source
from audit.report.text import words

CHANGES = "changes.json"
"""The file of a bundle that holds what changed since the previous audit, where one was given."""

NAMES = ("id", "name", "finding", "metric", "kind", "search")
"""Keys that an entry of a list goes by; the first that it has."""

PLACES = ("by", "region", "group", "outcome", "feature", "variant", "model")
"""Keys that tell entries of one name apart."""


MOST_VALUES = 50_000
"""A spec with more values is refused by every run, so that one of a bundle was made by somebody else."""


class Change(Frozen):
    """A value that differs, as text; None where it is absent."""

    what: str
    old: str | None
    new: str | None


class Side(Frozen):
    """Which audit it is."""

    report_id: str
    audit: str
    as_of: str | None
    spec: str


class MetricLine(MetricChange):
    """A number with its label and the form that it is written in."""

    label: str
    form: str


class GateLine(GateChange):
    """A gate in words; `form` is how its numbers are written."""

    label: str
    required: str
    form: str


class FindingLine(FindingChange):
    """A finding in the words of the audit that raised it."""

    title: str
    text: str


class Diff(Frozen):
    """All that differs between two audits.

    Attributes:
        spec: keys of the spec, with what the command line puts in their place.
        inputs: files by their role, with their digests.
        packages: versions, that of the tool included.
        tasks: evidence whose status differs.
        metrics: every number, those that are the same included.
        regressions: the reasons for exit code 1; empty where there is none.
    """

    format: Literal[1] = 1
    old: Side
    new: Side
    spec: tuple[Change, ...]
    inputs: tuple[Change, ...]
    packages: tuple[Change, ...]
    tasks: tuple[Change, ...]
    metrics: tuple[MetricLine, ...]
    gates: tuple[GateLine, ...]
    findings: tuple[FindingLine, ...]
    regressions: tuple[str, ...]

    def undated(self) -> Self:
        """The same without the id of the new report, which cannot rest on a file that says what it is."""
        return self.model_copy(update={"new": self.new.model_copy(update={"report_id": ""})})

    @property
    def nothing(self) -> bool:
        """Whether the two audits say the same."""
        lists = (self.spec, self.inputs, self.packages, self.tasks, self.findings)
        same = all(metric.word == "same" for metric in self.metrics)
        same = same and all(gate.word == "same" and gate.old == gate.new for gate in self.gates)
        return same and not any(lists)


def diff(old: Bundle, new: Bundle) -> Diff:
    """What differs between two bundles.

    Raises:
        BundleError: one of them is no bundle, or was altered.
    """
    for bundle in (old, new):
        altered = bundle.altered()
        if altered:
            raise BundleError([f"{bundle.root}: {line}" for line in altered])
    before, after = Source(old), Source(new)
    gates = tuple(_gates(before, after))
    findings = tuple(_findings(before, after))
    return Diff(
        old=_side(before.manifest),
        new=_side(after.manifest),
        spec=tuple(_changes(_spec(before.manifest), _spec(after.manifest))),
        inputs=tuple(_changes(_inputs(before.manifest), _inputs(after.manifest))),
        packages=tuple(_changes(_packages(before.manifest), _packages(after.manifest))),
        tasks=tuple(_changes({r.id: r.status for r in before.records}, {r.id: r.status for r in after.records})),
        metrics=tuple(_metrics(before, after)),
        gates=gates,
        findings=findings,
        regressions=tuple(_regressions(gates, findings)),
    )


def _metrics(old: Source, new: Source) -> Iterator[MetricLine]:
    words = {record.id: source.words(record) for source in (old, new) for record in source.records}
    for change in metric_changes(old.records, new.records, _paired(old, new)):
        wording = words[change.task]
        yield MetricLine(**dict(change), label=wording.label(change.name), form=wording.form(change.name, change.unit))


def _gates(old: Source, new: Source) -> Iterator[GateLine]:
    for change in gate_changes((old.records, old.findings), (new.records, new.findings)):
        source = old if change.asked == "old" else new
        view = gate_view(source, judge_gate(change.gate, source.records))
        label = ", ".join(part for part in (view.label, view.scope.lower()) if part)
        yield GateLine(**dict(change), label=label, required=view.required, form=gate_form(source, change.gate))


def _findings(old: Source, new: Source) -> Iterator[FindingLine]:
    for change in finding_changes(old.findings, new.findings, new.records):
        view = finding_view(new if change.word == "opened" else old, change.finding)
        yield FindingLine(**dict(change), title=view.title, text=view.text)


def _regressions(gates: Sequence[GateChange], findings: Sequence[FindingChange]) -> Iterator[str]:
    """The reasons for exit code 1, one sentence each."""
    for gate in gates:
        if gate.lost and not gate.waived:
            more = ", and its number got worse by more than noise" if gate.worse else ""
            yield f"{gate.id} ({gate.gate.metric}) was a PASS and is now {OUTCOMES[gate.new].word}{more}."
        elif gate.worse and not gate.waived:
            yield f"{gate.id} ({gate.gate.metric}) got worse by more than noise."
    told = {gate.id for gate in gates if gate.lost}
    for change in findings:
        if change.serious and change.finding.id not in told:
            became = "was opened" if change.why == "new" else "became more severe"
            yield f"{change.finding.id} ({words(change.finding.code)}) {became}, severity {change.finding.severity}."


def _side(manifest: Manifest) -> Side:
    audit = manifest.facts.get("audit")
    name = str(audit.get("id") or "") if isinstance(audit, Mapping) else ""
    return Side(report_id=manifest.report_id, audit=name, as_of=manifest.as_of, spec=manifest.spec_name)


def _changes(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Change]:
    """What differs, in the order of the new side; then what is only in the old one."""
    for what in dict.fromkeys([*new, *old]):
        if old.get(what) != new.get(what):
            yield Change(what=what, old=old.get(what), new=new.get(what))


def _inputs(manifest: Manifest) -> dict[str, str]:
    """Name, rows and digest of each file, by its role."""
    told: dict[str, str] = {}
    for record in manifest.inputs:
        rows = f", {record.rows} rows" if record.rows is not None else ""
        role = record.role if record.role not in told else f"{record.role} {record.name}"
        told[role] = f"{record.name}{rows}, sha256 {record.sha256}"
    return told


def _packages(manifest: Manifest) -> dict[str, str]:
    tool = {str(manifest.tool.get("name", "tool")): str(manifest.tool.get("version", ""))}
    return tool | dict(sorted(manifest.packages.items()))


def _spec(manifest: Manifest) -> dict[str, str]:
    """The values of a spec by their dotted keys, with those of the command line in place of those of the file."""
    data, lost = {}, []
    try:
        if manifest.spec:
            data = yaml.safe_load(manifest.spec)
            _size(data, {})
        lost = [override for override in manifest.overrides if not _overridden(data, override)]
        _size(data, {})
    except (yaml.YAMLError, ValueError, TypeError, LookupError, RecursionError):  # it may be of a stranger
        return {"the text, which is no spec": f"sha256 {sha256(manifest.spec.encode('utf-8'))}"}
    told = dict(_flat("", data))
    if manifest.as_of:
        told["audit.as_of"] = manifest.as_of
    for override in lost:
        key, _, value = override.partition("=")
        told[f"--set {key}"] = value
    return told


def _size(value: Any, known: dict[int, int]) -> int:
    """How many values there are in plain data, those that aliases repeat counted each time.

    Raises:
        ValueError: there are more than a spec has, or one lies in itself.
    """
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        known[id(value)] = MOST_VALUES  # until it is counted: one that lies in itself is too large
        known[id(value)] = 1 + sum(
            _size(item, known) for item in (value.values() if isinstance(value, dict) else value)
        )
    if known[id(value)] >= MOST_VALUES:
        raise ValueError("larger than a spec")
    return known[id(value)]


def _overridden(data: Any, override: str) -> bool:
    """Puts the value of an override into the data of a spec; False where its place is not found."""
    key, _, given = override.partition("=")
    *path, last = key.strip().split(".")
    inside = data
    for word in path:
        inside = _inside(inside, word)
    value = yaml.safe_load(given)
    if isinstance(inside, dict):
        inside[last] = value
        return True
    place = _position(inside, last) if isinstance(inside, list) else None
    if place is None:
        return False
    inside[place] = value
    return True


def _inside(data: Any, word: str) -> Any:
    """The part of a spec that a word of an override names; a mapping that is not there yet is made."""
    if isinstance(data, dict):
        if data.get(word) is None:
            data[word] = {}
        return data[word]
    place = _position(data, word) if isinstance(data, list) else None
    return None if place is None else data[place]


def _position(entries: list[Any], word: str) -> int | None:
    """Where the entry of a list stands that goes by a word, or by its number from 1."""
    named = [str(_first_name(item)) if isinstance(item, dict) else "" for item in entries]
    if word in named:
        return named.index(word)
    return int(word) - 1 if word.isdigit() and 1 <= int(word) <= len(entries) else None


def _first_name(item: Mapping[str, Any]) -> Any:
    return next((item[key] for key in ("id", "kind", "name") if item.get(key)), "")


def _flat(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """Each value that holds no other, with its dotted key; entries of a list go by their name where they have one."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _flat(f"{path}.{key}" if path else str(key), item)
        return
    if isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        for name, item in zip(_names(value), value, strict=True):
            yield from _flat(f"{path}[{name}]", item)
        return
    yield path, _shown(value)


def _names(items: list[Mapping[str, Any]]) -> list[str]:
    """A name for each entry that stays when entries move, or its position where names do not tell entries apart."""
    named = [_name(item) for item in items]
    told_apart = all(named) and len(set(named)) == len(named)
    return named if told_apart else [str(position) for position in range(1, len(items) + 1)]


def _name(item: Mapping[str, Any]) -> str:
    own = next((str(item[key]) for key in NAMES if key in item), "")
    return " ".join([own, *(f"{key} {item[key]}" for key in PLACES if own and key in item)])


def _shown(value: JsonValue) -> str:
    if isinstance(value, list):
        return ", ".join(_shown(item) for item in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _paired(old: Source, new: Source) -> dict[str | None, bool | None]:
    """Whether numbers were measured on the same rows, by what they were measured on."""
    digests = [{record.role: record.sha256 for record in side.manifest.inputs} for side in (old, new)]
    told: dict[str | None, bool | None] = {None: None}
    for role in ("train", "evaluate"):
        known = all(role in side for side in digests)
        told[role] = digests[0][role] == digests[1][role] if known else None
    drawn = [_sample(side) for side in (old, new)]
    told["sample"] = told["evaluate"] and drawn[0] == drawn[1] if all(drawn) else None
    return told


def _sample(source: Source) -> set[str]:
    """The ids of the rows that were audited."""
    record = source.record("sample")
    table = source.table(record, "sample") if record is not None else None
    return set() if table is None else set(map(str, table["instance"]))
