"""The findings for machines: JUnit XML for build servers, SARIF 2.1.0 for code scanning and for GRC tools."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote
from xml.etree import ElementTree as ET

from audit.core.evidence import Evidence
from audit.core.finding import Finding
from audit.report.blocks import FindingView
from audit.report.judged import finding_view, gates
from audit.report.lines import gate_lines
from audit.report.source import Source
from audit.report.text import sentence, visible, words

Verdict = Literal["pass", "failure", "error", "skipped"]

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
NOTE_LEVELS = {"critical": "warning", "major": "warning", "minor": "note", "info": "note"}


def verdict(finding: Finding) -> Verdict:
    """What a build server is told: `failure` is what ends a run with 1, `error` what ends it with 3 or 5.

    What warns or is waived is `skipped`: neither a pass nor a failure, with its reason.
    """
    if finding.fails:
        return "failure"
    if finding.outcome == "no_evidence" or finding.code == "method_error":
        return "error"
    return "pass" if finding.outcome == "pass" else "skipped"


@dataclass(frozen=True)
class Case:
    """One test case: a gate, another finding, or a task that did not end."""

    name: str
    verdict: Verdict
    kind: str
    title: str
    text: str = ""


def junit(source: Source) -> bytes:
    """One test case for each gate and each finding, and one for each task that did not end; no times."""
    audit = str(source.facts("audit", "id") or "audit")
    suites = {
        "gates": [_case(source, finding) for finding in source.findings if finding.gate is not None],
        "findings": [_case(source, finding) for finding in source.findings if finding.gate is None],
        "tasks": [Case(r.id, "error", r.status, "The task did not end.", r.message) for r in _incomplete(source)],
    }
    root = ET.Element("testsuites", {"name": visible(f"{audit} {source.manifest.report_id}")})
    for name, cases in suites.items():
        suite = ET.SubElement(root, "testsuite", {"name": name, **_counts(cases)})
        for case in cases:
            node = ET.SubElement(
                suite, "testcase", {"classname": visible(f"{audit}.{name}"), "name": visible(case.name)}
            )
            if case.verdict != "pass":
                told = ET.SubElement(node, case.verdict, {"type": case.kind, "message": visible(case.title)})
                told.text = visible(case.text)
    every = [case for cases in suites.values() for case in cases]
    root.attrib.update({key: value for key, value in _counts(every).items() if key != "skipped"})
    ET.indent(root)
    body: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return body + b"\n"


def _case(source: Source, finding: Finding) -> Case:
    view = finding_view(source, finding)
    kind = finding.outcome or finding.code
    name = f"{finding.id} {_asked(source, finding)}"
    return Case(name, verdict(finding), kind, f"{view.badge.word}: {view.title}", _text(view))


def _asked(source: Source, finding: Finding) -> str:
    """What a gate asks, or the code of a note: the same from run to run, whatever the outcome."""
    gate = next((view for view in gates(source) if view.id == finding.id), None)
    if gate is None:
        return words(finding.code)
    return ", ".join(part for part in (f"{gate.label} {gate.required}", gate.scope.lower()) if part)


def _text(view: FindingView) -> str:
    """The sentences of a finding, and where its evidence lies."""
    waived = f"Waived. {view.waived}" if view.waived else ""
    evidence = f"Evidence: {', '.join(view.evidence) or 'the spec'}."
    parts = [part.rstrip() for part in (view.text, view.action, waived, evidence) if part.strip()]
    return " ".join(part if part.endswith((".", "!", "?")) else f"{part}." for part in parts)


def _counts(cases: Sequence[Case]) -> dict[str, str]:
    words: dict[str, Verdict] = {"failures": "failure", "errors": "error", "skipped": "skipped"}
    counts = {key: str(sum(case.verdict == word for case in cases)) for key, word in words.items()}
    return {"tests": str(len(cases)), **counts}


def _incomplete(source: Source) -> Iterator[Evidence]:
    return (record for record in source.records if record.status == "incomplete")


def sarif(source: Source) -> bytes:
    """The findings as a SARIF 2.1.0 log of one run, each at its line of the spec, with links to its evidence."""
    rules: dict[str, dict[str, Any]] = {}
    results = []
    lines = gate_lines(source.manifest.spec)
    for finding in source.findings:
        view = finding_view(source, finding)
        rule = finding.id if finding.gate is not None else finding.code
        rules.setdefault(rule, {"id": rule, "shortDescription": {"text": _plain(sentence(_asked(source, finding)))}})
        result = _result(source, finding, view, lines.get(finding.id, 1))
        results.append({"ruleId": rule, "ruleIndex": list(rules).index(rule), **result})
    manifest = source.manifest
    run = {
        "tool": {"driver": {**manifest.tool, "rules": list(rules.values())}},
        "automationDetails": {"id": f"{source.facts('audit', 'id') or 'audit'}/{manifest.report_id}"},
        "originalUriBaseIds": {"BUNDLE": {"description": {"text": "The folder of the bundle."}}},
        "invocations": [_invocation(source)],
        "columnKind": "unicodeCodePoints",
        "results": results,
    }
    log = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return (json.dumps(log, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")


def _result(source: Source, finding: Finding, view: FindingView, line: int) -> dict[str, Any]:
    kind, level = _kind(finding)
    result: dict[str, Any] = {
        "kind": kind,
        "level": level,
        "message": {"text": _plain(f"{view.title}. {_text(view)}")},
        "locations": [_location(quote(source.manifest.spec_name), line)],
        "relatedLocations": [
            _evidence(number, record)
            for number, name in enumerate(finding.evidence, start=1)
            if (record := source.record(name)) is not None
        ],
        "partialFingerprints": {"auditFinding/v1": finding.id},
        "properties": {
            "id": finding.id,
            "severity": finding.severity,
            "outcome": finding.outcome,
            "fails": finding.fails,
        },
    }
    if finding.waiver is not None:
        waiver = finding.waiver
        said = _plain(f"{waiver.reason} (approved by {waiver.approved_by}, until {waiver.until})")
        result["suppressions"] = [{"kind": "external", "status": "accepted", "justification": said}]
    return result


def _kind(finding: Finding) -> tuple[str, str]:
    """The kind and level of SARIF: `open` is its word for what the evidence does not decide."""
    if finding.fails or finding.outcome == "fail" or finding.code == "method_error":
        return "fail", "error"
    if finding.outcome == "pass":
        return "pass", "none"
    if finding.outcome is not None:
        return "open", "none"
    return "fail", NOTE_LEVELS[finding.severity]


def _location(uri: str, line: int) -> dict[str, Any]:
    return {"physicalLocation": {"artifactLocation": {"uri": uri}, "region": {"startLine": line}}}


def _evidence(number: int, record: Evidence) -> dict[str, Any]:
    place = {"uri": f"evidence/{quote(record.key)}/evidence.json", "uriBaseId": "BUNDLE"}
    return {
        "id": number,
        "message": {"text": _plain(record.id)},
        "physicalLocation": {"artifactLocation": place},
    }


def _invocation(source: Source) -> dict[str, Any]:
    """Whether all tasks ended, and which did not."""
    stuck = [record for record in source.records if record.status in {"error", "incomplete"}]
    told = [
        {"level": "error", "message": {"text": _plain(f"{r.id} is {r.status}: {r.message or 'no reason'}")}}
        for r in stuck
    ]
    return {"executionSuccessful": not stuck, "toolExecutionNotifications": told}


def _plain(text: str) -> str:
    """A text in which nothing hides and nothing reads as a link."""
    return visible(text).replace("](", "] (")
