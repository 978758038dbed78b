"""Gates, and what is found by them."""

from collections.abc import Iterable, Sequence
from itertools import starmap
from statistics import NormalDist
from typing import Literal, Self

from pydantic import JsonValue, model_validator

from audit.core.base import Frozen, canonical_json, sha256
from audit.core.evidence import Evidence, Metric, Severity
from audit.core.waiver import Waiver

Outcome = Literal["pass", "unsure", "fail", "no_evidence"]


class Gate(Frozen):
    """A bar for one metric, set by the user's policy.

    Attributes:
        metric: `<evidence id>.<metric name>`.
        at_least, at_most: the bar; inclusive.
        by, gap_at_most: the largest difference allowed between the groups of a column.
        region, group, outcome, feature, variant, model: narrow the metric.
        min_n: groups with fewer rows do not enter a gap.
        on_unsure: what an interval that crosses the bar leads to.
        source: where the bar comes from (policy, section).
    """

    metric: str
    at_least: float | None = None
    at_most: float | None = None
    by: str | None = None
    gap_at_most: float | None = None
    region: str | None = None
    group: str | None = None
    outcome: str | None = None
    feature: str | None = None
    variant: str | None = None
    model: str | None = None
    min_n: int = 30
    severity: Severity = "major"
    on_unsure: Literal["warn", "fail"] = "warn"
    owner: str = ""
    text: str = ""
    source: str = ""

    @model_validator(mode="after")
    def _one_bar(self) -> Self:
        bars = [self.at_least, self.at_most, self.gap_at_most]
        if sum(bar is not None for bar in bars) != 1:
            raise ValueError("a gate has exactly one of `at_least`, `at_most` and `gap_at_most`")
        if (self.gap_at_most is None) != (self.by is None):
            raise ValueError("`by` names the groups for `gap_at_most`; give both or neither")
        if "." not in self.metric:
            raise ValueError(f"{self.metric!r} is not `<method id>.<metric>`, as in `performance.auc`")
        return self

    @property
    def id(self) -> str:
        """Stable across runs: the digest of what is asked and of the bar, not of the owner or the wording."""
        said = {"severity", "on_unsure", "owner", "text", "source", "min_n"}
        asked = self.model_dump(mode="json", exclude=said)
        return "G-" + sha256(canonical_json(asked))[:6].upper()


class Interval(Frozen):
    """An estimate with its interval, as a gate judges it."""

    value: float
    low: float
    high: float
    n: int | None = None


class Finding(Frozen):
    """Something that the reader must know: the outcome of a gate, or a note with a severity.

    Attributes:
        id: stable across runs.
        code: `gate`, or the code of the note, which names the sentence.
        outcome: of a gate; None for a note.
        evidence: ids of the evidence it rests on.
        measured: what was judged.
        waiver: the waiver that is in force for it.
    """

    id: str
    code: str
    severity: Severity
    outcome: Outcome | None = None
    evidence: tuple[str, ...] = ()
    gate: Gate | None = None
    measured: Interval | None = None
    args: dict[str, JsonValue] = {}
    waiver: Waiver | None = None

    @property
    def fails(self) -> bool:
        """Whether the run ends with exit code 1 for it."""
        if self.waiver is not None:
            return False
        unsure_fails = self.outcome == "unsure" and self.gate is not None and self.gate.on_unsure == "fail"
        return self.outcome == "fail" or unsure_fails


def judge(interval: Interval | None, *, at_least: float | None = None, at_most: float | None = None) -> Outcome:
    """The outcome of a bar: pass or fail only where the whole interval lies on one side of it.

    A gate and its mirror image agree: `judge(x, at_least=b)` equals `judge(-x, at_most=-b)`.
    """
    if interval is None:
        return "no_evidence"
    if at_least is not None:
        if interval.low >= at_least:
            return "pass"
        return "fail" if interval.high < at_least else "unsure"
    if at_most is None:
        raise ValueError("a bar is needed")
    if interval.high <= at_most:
        return "pass"
    return "fail" if interval.low > at_most else "unsure"


def judge_gate(gate: Gate, evidence: Iterable[Evidence]) -> Finding:
    """The finding of one gate over all evidence; a gate that nothing answers is `no_evidence`, never a pass."""
    source, _, name = gate.metric.rpartition(".")
    records = [record for record in evidence if record.id == source]
    usable = [record for record in records if record.status == "ok"]
    metrics = [m for record in usable for m in record.metrics if m.name == name and matches(gate, m)]
    measured = _gap(gate, metrics) if gate.by is not None else _single(metrics)
    bar = gate.gap_at_most if gate.by is not None else gate.at_most
    reason = "" if measured is not None else _why_nothing(gate, records)
    return Finding(
        id=gate.id,
        code="gate",
        severity=gate.severity,
        outcome=judge(measured, at_least=gate.at_least, at_most=bar),
        evidence=tuple(record.id for record in records),
        gate=gate,
        measured=measured,
        args={"reason": reason} if reason else {},
    )


def matches(gate: Gate, metric: Metric) -> bool:
    """Whether a gate asks for what a metric was measured on."""
    where = metric.where
    pairs = [(gate.region, where.region), (gate.outcome, where.outcome), (gate.by, where.by)]
    pairs += [(gate.feature, where.feature), (gate.variant, where.variant)]
    if gate.by is None:
        pairs.append((gate.group, where.group))
    if gate.model is not None:
        pairs.append((gate.model, where.model))
    return all(asked == given for asked, given in pairs)


def _single(metrics: Sequence[Metric]) -> Interval | None:
    """The one metric that is meant; a metric without an interval is a point that is known exactly."""
    if len(metrics) != 1 or metrics[0].value is None:
        return None
    (metric,) = metrics
    value = metrics[0].value
    low = value if metric.low is None else metric.low
    high = value if metric.high is None else metric.high
    return Interval(value=value, low=low, high=high, n=metric.n)


def _gap(gate: Gate, metrics: Sequence[Metric]) -> Interval | None:
    """Max minus min over the groups of at least `min_n`, with an interval that holds for all groups at once.

    Each group's interval is widened from its level to 1 - 0.05 / groups (Bonferroni), then the gap cannot be
    smaller than the largest lower minus the smallest upper end, nor larger than the reverse.
    """
    groups = [m for m in metrics if m.value is not None and (m.n or 0) >= gate.min_n]
    if len(groups) < 2:
        return None
    lows, values, highs = zip(*starmap(_widened, ((m, len(groups)) for m in groups)), strict=True)
    low = max(0.0, max(lows) - min(highs))
    return Interval(
        value=max(values) - min(values),
        low=low,
        high=max(highs) - min(lows),
        n=sum(m.n or 0 for m in groups),
    )


def _widened(metric: Metric, groups: int) -> tuple[float, float, float]:
    value = metric.value or 0.0
    if metric.low is None or metric.high is None:
        return value, value, value
    normal = NormalDist()
    factor = normal.inv_cdf(1 - 0.025 / groups) / normal.inv_cdf((1 + metric.level) / 2)
    factor = max(factor, 1.0)
    return value - factor * (value - metric.low), value, value + factor * (metric.high - value)


def _why_nothing(gate: Gate, records: Sequence[Evidence]) -> str:
    source, _, name = gate.metric.rpartition(".")
    if not records:
        return f"nothing in the audit is called {source!r}"
    (record, *_) = records
    if record.status != "ok":
        return f"{source} is {record.status.replace('_', ' ')}: {record.message}"
    if name not in {metric.name for metric in record.metrics}:
        return f"{source} has no metric {name!r}"
    return f"{name} was not measured on exactly what the gate asks for"


OpinionWord = Literal["unqualified", "qualified", "adverse", "disclaimer"]

STRENGTH: dict[str, int] = {"unqualified": 2, "qualified": 1, "adverse": 0, "disclaimer": 0}
"""How much an opinion claims; a word that claims more than the strongest one that the findings support is refused."""


def strongest_opinion(findings: Iterable[Finding]) -> tuple[OpinionWord, str]:
    """The strongest word that the findings support, and the rule that says so.

    Adverse and disclaimer are always open to the auditor; the rules below are ours (`report` 1.3). Waivers play no
    part: what is accepted was found all the same.
    """
    findings = list(findings)
    gates = [finding for finding in findings if finding.gate is not None]
    if not gates or all(gate.outcome == "no_evidence" for gate in gates):
        return "disclaimer", "no gate has evidence"
    short = [gate.id for gate in gates if gate.outcome != "pass"]
    if short:
        return "qualified", "not every gate is a pass: " + ", ".join(short)
    notes = [finding for finding in findings if finding.gate is None]
    critical = [finding.id for finding in notes if finding.severity == "critical" or finding.code == "method_error"]
    if critical:
        return "qualified", "critical findings or methods in error: " + ", ".join(critical)
    return "unqualified", "every gate is a pass, no finding is critical and no method is in error"


def note_findings(evidence: Iterable[Evidence]) -> list[Finding]:
    """A finding for each note that has a severity, and one for each task that ended in an error."""
    findings = []
    for record in evidence:
        if record.status == "error":
            args: dict[str, JsonValue] = {"method": record.id, "message": record.message}
            findings.append(_note_finding("method_error", "major", record.id, args, args))
        for note in record.notes:
            if note.severity is not None:
                subject: dict[str, JsonValue] = {k: v for k, v in note.args.items() if isinstance(v, str)}
                findings.append(_note_finding(note.code, note.severity, record.id, note.args, subject))
    return findings


def _note_finding(
    code: str, severity: Severity, source: str, args: dict[str, JsonValue], subject: dict[str, JsonValue]
) -> Finding:
    """The id is made of the code, the evidence and the texts among the arguments, so numbers do not move it."""
    stable = "F-" + sha256(canonical_json([code, source, subject]))[:6].upper()
    return Finding(id=stable, code=code, severity=severity, evidence=(source,), args=args)
