"""What differs between two audits, as blocks of a page and as lines of text."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache

import yaml
from pydantic import ValidationError

from audit.bundle import first_fault
from audit.core.compare import Difference, MetricChange, Word
from audit.core.errors import BundleError
from audit.core.evidence import Metric
from audit.core.finding import Interval
from audit.report import text
from audit.report.blocks import Badge, Block, Bullets, Callout, Cell, Column, Grid, Heading, Para, Section
from audit.report.diff import CHANGES, Change, Diff, FindingLine, GateLine, MetricLine
from audit.report.judged import OUTCOMES, SEVERITIES
from audit.report.source import Source, where_text
from audit.report.tables import cut
from audit.resources import folder

WORDS: dict[Word, Badge] = {
    "changed": Badge("CHANGED", "≠", "warn"),
    "within noise": Badge("WITHIN NOISE", "≈", "none"),
    "new": Badge("NEW", "+", "plain"),
    "gone": Badge("GONE", "–", "none"),
    "same": Badge("SAME", "=", "plain"),
}
WHY = {
    "new": "not found before",
    "more severe": "its severity rose",
    "corrected": "no longer found",
    "not asked": "the new spec does not ask for it, so nothing says that it was corrected",
    "not tested": "its evidence is not in the new audit, so nothing says that it was corrected",
}
ASKED = {"both": "", "old": " (asked by the old spec only)", "new": " (asked by the new spec only)"}
PAIRED = {True: "same rows", False: "other rows", None: "rows not compared"}
WORSE = Badge("WORSE", "×", "fail")
NOT_WORSE = Badge("NOT WORSE", "·", "plain")


@cache
def rules() -> tuple[str, ...]:
    """What the words and the exit code rest on, as every comparison prints it."""
    return tuple(yaml.safe_load((folder("templates") / "report" / "diff.yaml").read_text("utf-8"))["rules"])


def sections(diff: Diff) -> Iterator[Section]:
    """The page in sections."""
    yield Section("D1", "In short", tuple(_short(diff)))
    yield Section("D2", "What was compared", tuple(_compared(diff)))
    gates = (_gate_grid(diff.gates),) if diff.gates else ()
    yield Section("D3", "Gates", gates, "" if gates else "Neither spec sets a gate.")
    found = tuple(_finding_blocks(diff.findings))
    yield Section("D4", "Findings opened and closed", found, "" if found else "No finding was opened or closed.")
    yield Section("D5", "Numbers", tuple(_number_blocks(diff)))
    yield Section("D6", "Rules", (Bullets(rules()),))


def previous(source: Source) -> Iterator[Block]:
    """S19: what changed since the previous audit, where one was given."""
    if not source.bundle.has(CHANGES):
        return
    try:
        diff = Diff.model_validate_json(source.bundle.read(CHANGES))
    except ValidationError as error:
        path = source.bundle.root / CHANGES
        raise BundleError(f"{path}: not as audit writes it: {first_fault(error)}") from error
    for section in sections(diff):
        if section.id != "D1":
            yield Heading(section.title, anchor=f"changes-{section.id}")
        if section.absent:
            yield Para(section.absent)
        yield from (cut(source, block) if isinstance(block, Grid) else block for block in section.blocks)


def verdict(diff: Diff) -> str:
    """The answer in one sentence."""
    if diff.regressions:
        count = len(diff.regressions)
        return f"The new audit is worse in {count} respect{'' if count == 1 else 's'} that the rules count."
    return "No change." if diff.nothing else "There are changes; by the rules none of them is a regression."


def counts(diff: Diff) -> str:
    """How many numbers have each word."""
    numbers = Counter(metric.word for metric in diff.metrics)
    told = ", ".join(f"{numbers[word]} {word}" for word in WORDS)
    return f"{len(diff.metrics)} numbers: {told}."


def _short(diff: Diff) -> Iterator[Block]:
    yield Callout(verdict(diff), counts(diff), WORSE if diff.regressions else NOT_WORSE)
    if diff.regressions:
        yield Bullets(diff.regressions)
    opened = sum(change.word == "opened" for change in diff.findings)
    yield Para(
        f"Findings: {opened} opened, {len(diff.findings) - opened} closed. Keys of the spec that differ: "
        f"{len(diff.spec)}; inputs: {len(diff.inputs)}; versions of packages: {len(diff.packages)}."
    )


def _compared(diff: Diff) -> Iterator[Block]:
    unstated = "not stated"
    pairs = [("Report", "report_id", "this report"), ("Audit", "audit", unstated), ("As of", "as_of", unstated)]
    pairs += [("Spec", "spec", unstated)]
    rows = tuple(
        (Cell(label), *(Cell(str(getattr(side, key) or missing), "code") for side in (diff.old, diff.new)))
        for label, key, missing in pairs
    )
    yield Grid("The two audits", (Column("What"), Column("Old"), Column("New")), rows, name="sides")
    if diff.old.audit != diff.new.audit:
        yield Para("The two bundles are of different audits. The comparison is shown all the same.")
    lists = (
        ("Spec", "key", diff.spec),
        ("Inputs", "input", diff.inputs),
        ("Versions", "package", diff.packages),
        ("Status of the evidence", "piece of evidence", diff.tasks),
    )
    for title, noun, changes in lists:
        yield Heading(title, anchor=f"diff-{title.split(' ', maxsplit=1)[0].lower()}")
        yield _change_grid(title, changes) if changes else Para(f"No {noun} differs.")


def _change_grid(title: str, changes: Sequence[Change]) -> Grid:
    rows = tuple((Cell(c.what, "code"), Cell(_text(c.old)), Cell(_text(c.new))) for c in changes)
    return Grid(f"{title}: what differs", (Column("What"), Column("Old"), Column("New")), rows, name=title.lower())


def _text(value: str | None) -> str:
    """A value; of a digest the first 16 figures, the JSON has all."""
    return "absent" if value is None else re.sub(r"\b([0-9a-f]{16})[0-9a-f]{48}\b", r"\1…", value) or "empty"


def _gate_grid(gates: Sequence[GateLine]) -> Grid:
    labels = ("Gate", "What is asked", "Required", *ESTIMATES, "Old result", "New result")
    rows = tuple(
        (
            Cell(gate.id, "code"),
            Cell(_asked(gate)),
            Cell(gate.required, "number"),
            *_estimates(gate.old_measured, gate.new_measured, gate.difference, gate.form),
            _badge(OUTCOMES[gate.old]),
            _badge(OUTCOMES[gate.new]),
        )
        for gate in gates
    )
    columns = tuple(Column(label, numeric=label in NUMERIC) for label in labels)
    note = "Both audits are judged by the bar that stands here. A gap carries an interval for all groups at once."
    return Grid("Each gate on both audits", columns, rows, note, name="gates")


def _asked(gate: GateLine) -> str:
    """What a gate asks, by whom, and whether it is worse or waived."""
    said = [gate.label + ASKED[gate.asked]]
    said += ["Worse by more than noise"] if gate.worse else []
    return ". ".join([*said, "Waived"] if gate.waived else said)


def _finding_blocks(findings: Sequence[FindingLine]) -> Iterator[Block]:
    for word in ("opened", "closed"):
        rows = tuple(
            (
                Cell(change.finding.id, "code"),
                _badge(SEVERITIES[change.finding.severity]),
                Cell(f"{change.title}. {change.text}" if change.text else change.title),
                Cell(text.sentence(WHY[change.why]) + (" (waived)" if change.finding.waiver else "")),
            )
            for change in findings
            if change.word == word
        )
        if rows:
            columns = (Column("Finding"), Column("Severity"), Column("What"), Column("Why"))
            yield Grid(f"Findings that were {word}", columns, rows, name=word)


def _number_blocks(diff: Diff) -> Iterator[Block]:
    yield Para(counts(diff))
    moved = [metric for metric in diff.metrics if metric.word in {"changed", "new", "gone"}]
    still = [metric for metric in diff.metrics if metric.word == "within noise"]
    for caption, metrics in (("Numbers that changed, came or went", moved), ("Numbers within noise", still)):
        if metrics:
            yield _metric_grid(caption, metrics)


def _metric_grid(caption: str, metrics: Iterable[MetricLine]) -> Grid:
    labels = ("Number", "Measured on", *ESTIMATES, "Result")
    rows = tuple(
        (
            Cell(f"{metric.task}: {metric.label}"),
            Cell(f"{_where(metric)}; {PAIRED[metric.paired]}"),
            *_estimates(metric.old, metric.new, metric.difference, metric.form),
            _badge(WORDS[metric.word]),
        )
        for metric in metrics
    )
    columns = tuple(Column(label, numeric=label in NUMERIC) for label in labels)
    return Grid(
        caption, columns, rows, "The interval is that of the difference, at 95 %.", tool=True, name=caption.lower()
    )


ESTIMATES = ("Old", "New", "Difference", "Its interval")
NUMERIC = frozenset({"Required", *ESTIMATES})


def _estimates(
    old: Interval | None, new: Interval | None, difference: Difference | None, form: str
) -> tuple[Cell, ...]:
    """The cells under `ESTIMATES`."""
    value, interval = text.ABSENT, text.ABSENT
    if difference is not None:
        value = text.change(difference.value, form)
        interval = "known" if difference.exact else _between(difference, form)
    shown = [text.FORMATS[form](side.value) if side else text.ABSENT for side in (old, new)]
    return tuple(Cell(said, "number") for said in (*shown, value, interval))


def _between(difference: Difference, form: str) -> str:
    return f"{text.change(difference.low, form)} to {text.change(difference.high, form)}"


def _badge(badge: Badge) -> Cell:
    return Cell(badge.word, badge=badge)


def _where(change: MetricChange) -> str:
    return where_text(Metric(name=change.name, value=None, where=change.where))


def _estimate(measured: Interval | None, form: str) -> str:
    if measured is None:
        return text.ABSENT
    shown = text.FORMATS[form](measured.value)
    alone = measured.low == measured.high
    return shown if alone else f"{shown} ({text.interval(measured.low, measured.high, form)})"


def _difference(difference: Difference, form: str) -> str:
    shown = text.change(difference.value, form)
    return f"{shown} (taken as known)" if difference.exact else f"{shown} ({_between(difference, form)})"


def lines(diff: Diff) -> Iterator[str]:
    """What differs, as lines for a terminal; numbers within noise are only counted."""
    yield f"old {diff.old.report_id} as of {diff.old.as_of or 'no date'}"
    yield f"new {diff.new.report_id} as of {diff.new.as_of or 'no date'}"
    lists = (("spec", diff.spec), ("input", diff.inputs), ("package", diff.packages), ("evidence", diff.tasks))
    for noun, changes in lists:
        yield from (f"≠ {noun} {c.what}: {_text(c.old)} → {_text(c.new)}" for c in changes)
    for gate in diff.gates:
        if gate.old != gate.new or gate.word != "same":
            mark = WORSE.mark if gate.worse or gate.lost else WORDS[gate.word].mark
            results = f"{OUTCOMES[gate.old].word} → {OUTCOMES[gate.new].word}"
            measured = f"{_estimate(gate.old_measured, gate.form)} → {_estimate(gate.new_measured, gate.form)}"
            told = f"{gate.label} {gate.required}{ASKED[gate.asked]}: {results}; {measured}; {gate.word}"
            yield f"{mark} gate {gate.id} {told}{'; waived' if gate.waived else ''}"
    for change in diff.findings:
        mark = "+" if change.word == "opened" else "–"
        waived = "; waived" if change.finding.waiver else ""
        told = f"{change.finding.id} {change.finding.severity}: {change.title} ({WHY[change.why]}{waived})"
        yield f"{mark} finding {change.word} {told}"
    for metric in diff.metrics:
        if metric.word in {"changed", "new", "gone"}:
            measured = f"{_estimate(metric.old, metric.form)} → {_estimate(metric.new, metric.form)}"
            difference = f"; {_difference(metric.difference, metric.form)}" if metric.difference else ""
            told = f"{metric.task}: {metric.label}, {_where(metric)}: {measured}{difference}; {metric.word}"
            yield f"{WORDS[metric.word].mark} {told}"
    yield counts(diff)
    yield from (f"worse: {reason}" for reason in diff.regressions)
