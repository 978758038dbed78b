"""What changed between two audits: numbers with their uncertainty, gates, findings."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from statistics import NormalDist
from typing import Literal

from audit.core.base import Frozen
from audit.core.evidence import Evidence, Metric, Where
from audit.core.finding import Finding, Gate, Interval, Outcome, judge_gate

Word = Literal["changed", "within noise", "new", "gone", "same"]

ALMOST = 1e-12
"""Numbers that differ by less, relative to their size, are the same: the last digits depend on the machine."""

SERIOUS = frozenset({"major", "critical"})


class Difference(Frozen):
    """New less old.

    Attributes:
        low, high: the interval, at the level of the two it is made of.
        exact: neither number has an interval with any width, so the difference is taken as known.
    """

    value: float
    low: float
    high: float
    exact: bool = False


class MetricChange(Frozen):
    """One number in both audits, or in one of them.

    Attributes:
        task: the evidence that it belongs to.
        paired: both were measured on the same rows; None where that is not known.
    """

    task: str
    name: str
    where: Where
    unit: str
    old: Interval | None
    new: Interval | None
    difference: Difference | None
    word: Word
    paired: bool | None = None


class GateChange(Frozen):
    """One gate, judged on the evidence of both audits.

    Attributes:
        asked: by which of the two specs.
        old, new: the outcomes.
        worse: the number moved away from the bar by more than noise.
        waived: a waiver of the new audit covers it, so that it is no regression.
    """

    id: str
    gate: Gate
    asked: Literal["both", "old", "new"]
    old: Outcome
    new: Outcome
    old_measured: Interval | None
    new_measured: Interval | None
    difference: Difference | None
    word: Word
    worse: bool
    waived: bool

    @property
    def lost(self) -> bool:
        """Whether it was a pass and is none any more."""
        return self.old == "pass" and self.new != "pass"


class FindingChange(Frozen):
    """A finding that one of the two audits raised and the other did not.

    Attributes:
        why: of one that was closed: `corrected`, `not asked`, or `not tested`; of one that was opened: `new` or
            `more severe`.
    """

    word: Literal["opened", "closed"]
    why: Literal["new", "more severe", "corrected", "not asked", "not tested"]
    finding: Finding

    @property
    def serious(self) -> bool:
        """Whether it was opened with severity major or more, and no waiver covers it."""
        return self.word == "opened" and self.finding.severity in SERIOUS and self.finding.waiver is None


def compare(old: Interval | None, new: Interval | None) -> tuple[Difference | None, Word]:
    """The difference of two estimates and the word for it.

    The interval of the difference adds the distances from each estimate to its ends in squares (Zou and Donner 2008),
    which for symmetric intervals is the rule of standard errors for two independent estimates. Where both were measured
    on the same rows their errors go together as a rule, and the interval is then too wide rather than too narrow.
    """
    if old is None or new is None:
        word: Word = "same" if old is new else "gone" if new is None else "new"
        return None, word
    value = new.value - old.value
    if abs(value) <= ALMOST * max(1.0, abs(old.value), abs(new.value)):
        value = 0.0
    below = math.hypot(max(new.value - new.low, 0.0), max(old.high - old.value, 0.0))
    above = math.hypot(max(new.high - new.value, 0.0), max(old.value - old.low, 0.0))
    difference = Difference(value=value, low=value - below, high=value + above, exact=below == above == 0.0)
    if value == 0.0:
        return difference, "same" if _alike(old, new) else "within noise"
    return difference, "changed" if difference.low > 0 or difference.high < 0 else "within noise"


def _alike(old: Interval, new: Interval) -> bool:
    pairs = [(old.low, new.low), (old.high, new.high)]
    return all(abs(a - b) <= ALMOST * max(1.0, abs(a), abs(b)) for a, b in pairs)


def at_95(metric: Metric) -> Interval | None:
    """A metric as an interval of 95 %, or None where it is undefined; without an interval it is taken as known."""
    if metric.value is None:
        return None
    value = metric.value
    normal = NormalDist()
    factor = normal.inv_cdf(0.975) / normal.inv_cdf((1 + metric.level) / 2)
    low = value if metric.low is None else value - factor * (value - metric.low)
    high = value if metric.high is None else value + factor * (metric.high - value)
    return Interval(value=value, low=low, high=high, n=metric.n)


def metric_changes(
    old: Iterable[Evidence], new: Iterable[Evidence], paired: dict[str | None, bool | None]
) -> list[MetricChange]:
    """Every number of the two audits, those of the new one first, in their order.

    Args:
        paired: whether the rows are the same, by what the number was measured on (`Where.data`).
    """
    before, after = _numbers(old), _numbers(new)
    changes = []
    for key in dict.fromkeys([*after, *before]):
        task, name, where, _ = key
        pair = [at_95(side[key]) if key in side else None for side in (before, after)]
        difference, word = compare(*pair)
        changes.append(
            MetricChange(
                task=task,
                name=name,
                where=where,
                unit=(after.get(key) or before[key]).unit,
                old=pair[0],
                new=pair[1],
                difference=difference,
                word=word,
                paired=paired.get(where.data),
            )
        )
    return changes


def _numbers(records: Iterable[Evidence]) -> dict[tuple[str, str, Where, int], Metric]:
    """The metrics of usable evidence by what they measure; the number tells apart what is measured twice."""
    found: dict[tuple[str, str, Where, int], Metric] = {}
    seen: Counter[tuple[str, str, Where]] = Counter()
    for record in records:
        for metric in record.metrics if record.status == "ok" else ():
            key = (record.id, metric.name, metric.where)
            found[*key, seen[key]] = metric
            seen[key] += 1
    return found


def gate_changes(
    old: tuple[Sequence[Evidence], Sequence[Finding]], new: tuple[Sequence[Evidence], Sequence[Finding]]
) -> list[GateChange]:
    """Every gate of either spec, judged on the evidence of both audits by the same function."""
    asked = [{f.id: f.gate for f in findings if f.gate is not None} for _, findings in (old, new)]
    waived = {finding.id for finding in new[1] if finding.waiver is not None}
    changes = []
    for name, gate in {**asked[1], **asked[0]}.items():
        before, after = judge_gate(gate, old[0]), judge_gate(gate, new[0])
        difference, word = compare(before.measured, after.measured)
        changes.append(
            GateChange(
                id=name,
                gate=gate,
                asked="both" if name in asked[0] and name in asked[1] else _only(name, asked),
                old=before.outcome or "no_evidence",
                new=after.outcome or "no_evidence",
                old_measured=before.measured,
                new_measured=after.measured,
                difference=difference,
                word=word,
                worse=_worse(gate, difference, word),
                waived=name in waived,
            )
        )
    return changes


def _only(name: str, asked: Sequence[dict[str, Gate]]) -> Literal["old", "new"]:
    return "old" if name in asked[0] else "new"


def _worse(gate: Gate, difference: Difference | None, word: Word) -> bool:
    """Whether a number changed to the wrong side: down where at least is asked, up where at most is."""
    if difference is None or word != "changed":
        return False
    return difference.value < 0 if gate.at_least is not None else difference.value > 0


def finding_changes(
    old: Sequence[Finding], new: Sequence[Finding], evidence: Sequence[Evidence]
) -> Iterator[FindingChange]:
    """Findings that were opened, then those that were closed.

    Args:
        evidence: of the new audit; what rests on evidence that is not there was not corrected.
    """
    before = {finding.id: finding for finding in old if finding.outcome != "pass"}
    after = {finding.id: finding for finding in new if finding.outcome != "pass"}
    for name, finding in after.items():
        if name not in before:
            yield FindingChange(word="opened", why="new", finding=finding)
        elif finding.severity in SERIOUS and before[name].severity not in SERIOUS:
            yield FindingChange(word="opened", why="more severe", finding=finding)
    usable = {record.id for record in evidence if record.status == "ok"}
    asked = {finding.id for finding in new}
    for name, finding in before.items():
        if name not in after:
            untested = any(source not in usable for source in finding.evidence)
            dropped = finding.gate is not None and name not in asked
            why: Literal["not tested", "not asked", "corrected"] = (
                "not asked" if dropped else "not tested" if untested else "corrected"
            )
            yield FindingChange(word="closed", why=why, finding=finding)
