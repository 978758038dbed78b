"""Gates and findings in words."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from audit.core.evidence import Note
from audit.core.finding import Finding, Gate
from audit.report import text
from audit.report.blocks import Badge, Cell, Column, FindingView, GateView, Grid
from audit.report.layout import section_of
from audit.report.source import Source
from audit.report.words import Words, phrase, say, words_of

OUTCOMES = {
    "pass": Badge("PASS", "✓", "pass"),
    "unsure": Badge("WARN", "!", "warn"),
    "fail": Badge("FAIL", "×", "fail"),
    "no_evidence": Badge("NOT TESTED", "–", "none"),
}
SEVERITIES = {
    "critical": Badge("CRITICAL", "×", "fail"),
    "major": Badge("MAJOR", "!", "warn"),
    "minor": Badge("MINOR", "·", "none"),
    "info": Badge("INFO", "·", "none"),
}
STATUSES = {
    "ok": Badge("OK", "✓", "plain"),
    "error": Badge("ERROR", "×", "fail"),
    "incomplete": Badge("INCOMPLETE", "!", "warn"),
    "refused": Badge("REFUSED", "–", "none"),
    "not_applicable": Badge("NOT APPLICABLE", "–", "none"),
}
OPINIONS = {
    "unqualified": Badge("UNQUALIFIED", "✓", "pass"),
    "qualified": Badge("QUALIFIED", "!", "warn"),
    "adverse": Badge("ADVERSE", "×", "fail"),
    "disclaimer": Badge("DISCLAIMER", "–", "none"),
}
_ORDER = {"critical": 0, "major": 1, "minor": 2, "info": 3}
_URGENCY = {"fail": 0, "unsure": 1, "no_evidence": 2, "pass": 3, None: 1}


@lru_cache(maxsize=4)
def judgements(source: Source) -> tuple[tuple[Gate, GateView], ...]:
    """All gates with their views, those that fail first."""
    found = [f for f in source.findings if f.gate is not None]
    found.sort(key=lambda f: (_URGENCY[f.outcome], _ORDER[f.severity]))
    return tuple((f.gate, gate_view(source, f)) for f in found if f.gate is not None)


def gates(source: Source) -> tuple[GateView, ...]:
    """The views of all gates, those that fail first."""
    return tuple(view for _, view in judgements(source))


@lru_cache(maxsize=4)
def findings(source: Source) -> tuple[FindingView, ...]:
    """Everything that asks for attention: gates that did not pass, and notes; the most serious first.

    Two gates that ask the same with different bars share an id, so that anchors are counted.
    """
    raised = [f for f in source.findings if f.outcome != "pass"]
    raised.sort(key=lambda f: (_ORDER[f.severity], _URGENCY[f.outcome], f.gate is None))
    seen: Counter[str] = Counter()
    views = []
    for finding in raised:
        seen[finding.id] += 1
        anchor = finding.id if seen[finding.id] == 1 else f"{finding.id}-{seen[finding.id]}"
        views.append(replace(finding_view(source, finding), anchor=anchor))
    return tuple(views)


def tally(views: Sequence[GateView]) -> str:
    """How many gates had each outcome, as a sentence."""
    counts = Counter(view.badge.word for view in views)
    parts = [f"{counts[badge.word]} {badge.word}" for badge in OUTCOMES.values()]
    return f"{len(views)} gate{'' if len(views) == 1 else 's'}: " + ", ".join(parts)


def gate_table(views: Sequence[GateView]) -> Grid:
    """The gates as a table."""
    columns = (
        Column("Gate"),
        Column("What is asked"),
        Column("Required", numeric=True),
        Column("Measured", numeric=True),
        Column("95\u00a0% interval", numeric=True),
        Column("n", numeric=True),
        Column("Result"),
    )
    rows = tuple(
        (
            Cell(view.id, "code"),
            Cell(". ".join(part for part in (view.label, view.scope, view.waived) if part)),
            Cell(view.required, "number"),
            Cell(view.measured, "number"),
            Cell(view.interval, "number"),
            Cell(view.n, "number"),
            Cell(view.badge.word, badge=view.badge),
        )
        for view in views
    )
    note = "A gate is judged on its whole interval, never on the estimate alone."
    return Grid("Each gate, those that fail first", columns, rows, note, name="gates")


def gate_view(source: Source, finding: Finding) -> GateView:
    """A gate with its outcome in words."""
    gate = finding.gate
    assert gate is not None
    wording, form = _wording(source, gate), gate_form(source, gate)
    show = text.FORMATS[form]
    measured = finding.measured
    return GateView(
        id=finding.id,
        label=_label(gate, wording),
        scope=_scope(gate),
        required=_required(gate, form),
        measured=show(measured.value) if measured else text.ABSENT,
        interval=text.interval(measured.low, measured.high, form) if measured else text.ABSENT,
        n=text.count(measured.n) if measured else text.ABSENT,
        badge=OUTCOMES[finding.outcome or "no_evidence"],
        severity=gate.severity,
        reason=text.plain(finding.args.get("reason")) if finding.args.get("reason") else "",
        owner=gate.owner,
        source=gate.source,
        waived=f"Waived until {finding.waiver.until} by {finding.waiver.approved_by}" if finding.waiver else "",
    )


def finding_view(source: Source, finding: Finding) -> FindingView:
    """A finding in words, that of a gate that passes too."""
    severity = SEVERITIES[finding.severity]
    if finding.gate is None:
        spoken = say(Note(code=finding.code, args=finding.args), _kind(source, finding))
        title = text.sentence(spoken.title)
        if any("@" in name for name in finding.evidence):
            title = f"Remedied model: {title}"
        return FindingView(
            finding.id, finding.severity, severity, title, spoken.text, spoken.action, "",
            finding.evidence, gate=False, fails=finding.fails, waived=_waived(finding), links=_links(source, finding),
        )  # fmt: skip
    view = gate_view(source, finding)
    spoken = phrase(
        "gate",
        finding.outcome or "no_evidence",
        label=view.label,
        scope=view.scope,
        required=view.required,
        measured=view.measured,
        interval=view.interval,
        n=view.n,
        reason=view.reason,
        on_unsure=finding.gate.on_unsure,
        text=finding.gate.text,
    )
    return FindingView(
        finding.id, finding.severity, view.badge, spoken.title, spoken.text, spoken.action, view.owner,
        finding.evidence, gate=True, fails=finding.fails, waived=_waived(finding), links=_links(source, finding),
    )  # fmt: skip


def _links(source: Source, finding: Finding) -> tuple[tuple[str, str], ...]:
    """Each piece of evidence with the section that shows it."""
    return tuple((name, shown_in(source, name)) for name in finding.evidence)


def shown_in(source: Source, task: str) -> str:
    """The anchor of the section that shows a piece of evidence; empty where that is a section of its own kind."""
    record = source.record(task)
    section = "" if record is None else "S15" if "@" in task else section_of(source.words(record))
    return f"#{section}" if section.startswith("S") and section[1:].isdigit() else ""


def _waived(finding: Finding) -> str:
    """Until when, by whom and why a finding is accepted, as a sentence; empty where it is not."""
    if finding.waiver is None:
        return ""
    args = {key: str(value) for key, value in finding.waiver.model_dump(mode="json").items()}
    return phrase("waiver", "in_force", **args).text


def _kind(source: Source, finding: Finding) -> str:
    record = source.record(finding.evidence[0]) if finding.evidence else None
    if record is None:
        return ""
    return "sample" if record.id == "sample" else record.kind


def gate_form(source: Source, gate: Gate) -> str:
    """The form in which the numbers of a gate are written."""
    return _wording(source, gate).form(gate.metric.rpartition(".")[2])


def _wording(source: Source, gate: Gate) -> Words:
    task = gate.metric.rpartition(".")[0]
    record = source.record(task)
    return source.words(record) if record else words_of(task)


def _label(gate: Gate, wording: Words) -> str:
    task, _, name = gate.metric.rpartition(".")
    label = wording.label(name)
    return f"{label}: gap by {gate.by}" if gate.by else f"{label} ({task})" if task != wording.kind else label


def _scope(gate: Gate) -> str:
    parts = [f"groups of at least {gate.min_n} rows"] if gate.by else []
    parts += [
        f"{name} {getattr(gate, name)}" for name in ("region", "group", "outcome", "model") if getattr(gate, name)
    ]
    return text.sentence(", ".join(parts))


def _required(gate: Gate, form: str) -> str:
    show = text.FORMATS[form]
    if gate.at_least is not None:
        return f"≥ {show(gate.at_least)}"
    bar = gate.gap_at_most if gate.by else gate.at_most
    return f"≤ {show(bar)}"
