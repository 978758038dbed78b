"""Which findings are waived, and what is wrong with the waivers."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date

from pydantic import JsonValue

from audit.core.base import canonical_json, sha256
from audit.core.evidence import Severity
from audit.core.finding import Finding, Outcome
from audit.core.waiver import Waiver

FOUND: Mapping[str, Severity] = {
    "waiver_expired": "major",
    "waiver_undated": "major",
    "waiver_refused": "major",
    "waiver_without_finding": "minor",
}
"""What can be wrong with a waiver, each a finding of its own."""

NEVER = {"method_error": "a method that ended in an error found nothing that could be accepted"}
"""Findings that no waiver covers, by code, and why. That of a refused opinion has no id that a waiver could name."""


def waive(findings: Sequence[Finding], waivers: Sequence[Waiver], as_of: date | None) -> list[Finding]:
    """The findings with the waivers that are in force, then a finding for each waiver that is not as it should be.

    A waiver is in force from any day up to and including its last, where the finding it names was raised and may be
    waived. Without a date no waiver is in force. One that has expired fails the run, whatever became of its finding.
    """
    raised = {finding.id: finding for finding in findings if finding.outcome != "pass"}
    holding = {
        waiver.finding: waiver
        for waiver in waivers
        if as_of is not None and as_of <= waiver.until and not _objection(raised.get(waiver.finding))
    }
    settled = [
        finding.model_copy(update={"waiver": holding.get(finding.id)}) if finding.outcome != "pass" else finding
        for finding in findings
    ]
    return [*settled, *(said for waiver in waivers for said in _wrong(waiver, raised.get(waiver.finding), as_of))]


def standing(waiver: Waiver, findings: Sequence[Finding]) -> str:
    """What became of a waiver in findings that were waived: `in_force`, or the code of what is wrong with it."""
    for finding in findings:
        if finding.code in FOUND and finding.args.get("finding") == waiver.finding:
            return finding.code
    return "in_force"


def unwaived(findings: Sequence[Finding]) -> list[Finding]:
    """The findings as they were before waivers were looked at."""
    return [finding.model_copy(update={"waiver": None}) for finding in findings if finding.code not in FOUND]


def _objection(finding: Finding | None) -> str:
    """Why a finding that was raised may not be waived; empty where it may."""
    if finding is None:
        return "nothing of this id was found"
    if finding.outcome == "no_evidence":
        return "the gate was not tested, and what is unknown cannot be accepted"
    return NEVER.get(finding.code, "")


def _wrong(waiver: Waiver, finding: Finding | None, as_of: date | None) -> Iterator[Finding]:
    """At most one finding: the first thing that is wrong with a waiver."""
    args: dict[str, JsonValue] = {
        "finding": waiver.finding,
        "approved_by": waiver.approved_by,
        "until": waiver.until.isoformat(),
        "as_of": as_of.isoformat() if as_of else "",
    }
    if as_of is None:
        yield _said("waiver_undated", args)
    elif as_of > waiver.until:
        yield _said("waiver_expired", args)
    elif finding is None:
        yield _said("waiver_without_finding", args)
    elif _objection(finding):
        yield _said("waiver_refused", {**args, "reason": _objection(finding)})


def _said(code: str, args: dict[str, JsonValue]) -> Finding:
    """A finding on a waiver; its id is made of what is wrong and of the finding that the waiver names."""
    stable = "F-" + sha256(canonical_json([code, "waiver", args["finding"]]))[:6].upper()
    outcome: Outcome | None = "fail" if code == "waiver_expired" else None
    return Finding(id=stable, code=code, severity=FOUND[code], outcome=outcome, args=args)
