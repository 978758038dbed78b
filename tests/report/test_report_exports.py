"""Findings for machines: the structure that the public schemas ask for, and the same verdicts as the exit code.

`check_sarif` and `check_junit` hold the parts of the SARIF 2.1.0 schema of OASIS and of Jenkins' junit-10.xsd that
these files use; unknown keys are refused as the schemas refuse them.
"""

import json
import xml.etree.ElementTree as ET
from datetime import date

import pytest
from report_case import HOSTILE, credit_case, empty_case

from audit.bundle import Bundle, pretty_json
from audit.core.finding import Finding, Gate
from audit.core.waive import waive
from audit.core.waiver import Waiver
from audit.engine.contradictions import contradictions
from audit.engine.run import exit_code
from audit.report import export
from audit.report.exports import verdict
from audit.report.lines import gate_lines

KEYS = {
    "log": {"$schema", "version", "runs"},
    "run": {"tool", "automationDetails", "originalUriBaseIds", "invocations", "columnKind", "results"},
    "driver": {"name", "version", "rules"},
    "rule": {"id", "shortDescription"},
    "result": {
        "ruleId", "ruleIndex", "kind", "level", "message", "locations", "relatedLocations", "partialFingerprints",
        "properties", "suppressions",
    },
    "suppression": {"kind", "status", "justification"},
}  # fmt: skip
KINDS = {"notApplicable", "pass", "fail", "review", "open", "informational"}
LEVELS = {"none", "note", "warning", "error"}
COUNTS = ("tests", "failures", "errors", "skipped")


def check_sarif(log):
    assert set(log) <= KEYS["log"]
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    assert set(run) <= KEYS["run"]
    driver = run["tool"]["driver"]
    assert set(driver) <= KEYS["driver"]
    rules = driver["rules"]
    assert all(set(rule) <= KEYS["rule"] and rule["shortDescription"]["text"] for rule in rules)
    assert len({rule["id"] for rule in rules}) == len(rules)
    assert isinstance(run["automationDetails"]["id"], str)
    assert {type(invocation["executionSuccessful"]) for invocation in run["invocations"]} == {bool}
    for result in run["results"]:
        check_result(result, rules, run["originalUriBaseIds"])


def check_result(result, rules, bases):
    assert set(result) <= KEYS["result"]
    assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
    assert result["kind"] in KINDS
    assert result["level"] in LEVELS
    assert (result["level"] == "none") == (result["kind"] != "fail")  # 3.27.10 of the standard
    assert result["message"]["text"]
    for location in result["locations"] + result["relatedLocations"]:
        place = location["physicalLocation"]
        assert place["artifactLocation"]["uri"]
        assert place["artifactLocation"].get("uriBaseId", "BUNDLE") in bases
        assert place.get("region", {"startLine": 1})["startLine"] >= 1
    assert all(isinstance(value, str) for value in result["partialFingerprints"].values())
    for suppression in result.get("suppressions", []):
        assert set(suppression) <= KEYS["suppression"]
        assert suppression["kind"] in {"inSource", "external"}
        assert suppression["status"] in {"accepted", "underReview", "rejected"}


def check_junit(root):
    assert root.tag == "testsuites"
    assert set(root.attrib) <= {"name", "tests", "failures", "errors"}
    counted = dict.fromkeys(COUNTS, 0)
    for suite in root:
        assert suite.tag == "testsuite"
        assert set(suite.attrib) == {"name", *COUNTS}
        kinds = [child.tag for case in suite for child in case]
        found = {
            "tests": len(suite),
            "failures": kinds.count("failure"),
            "errors": kinds.count("error"),
            "skipped": kinds.count("skipped"),
        }
        assert {key: int(suite.attrib[key]) for key in COUNTS} == found
        counted = {key: counted[key] + found[key] for key in COUNTS}
        for case in suite:
            assert case.tag == "testcase"
            assert set(case.attrib) == {"name", "classname"}
            assert [child.tag for child in case] in ([], ["failure"], ["error"], ["skipped"])
            assert all(set(child.attrib) == {"type", "message"} for child in case)
    assert {key: int(value) for key, value in root.attrib.items() if key != "name"} == {
        key: counted[key] for key in ("tests", "failures", "errors")
    }


def exported(bundle):
    assert export(bundle) == ["findings.junit.xml", "findings.sarif"]
    log = json.loads((bundle.root / "findings.sarif").read_bytes())
    root = ET.fromstring((bundle.root / "findings.junit.xml").read_bytes())
    return log, root


@pytest.fixture(scope="module")
def credit(tmp_path_factory):
    bundle = credit_case(tmp_path_factory.mktemp("credit"))
    return bundle, *exported(bundle)


def test_both_files_have_the_structure_of_their_schemas(credit, tmp_path):
    for _, log, root in (credit, (None, *exported(empty_case(tmp_path)))):
        check_sarif(log)
        check_junit(root)


def test_one_case_and_one_result_for_each_gate_and_each_finding(credit):
    bundle, log, root = credit
    ids = [finding.id for finding in bundle.findings()]
    assert [result["partialFingerprints"]["auditFinding/v1"] for result in log["runs"][0]["results"]] == ids
    gates, others, tasks = ([case.attrib["name"].split()[0] for case in suite] for suite in root)
    assert sorted(gates + others) == sorted(ids)
    assert all(name.startswith("G-") for name in gates)
    assert len(gates) == 8
    assert tasks == []


def test_the_verdicts_are_those_of_the_gates(credit):
    _, log, root = credit
    told = {case.attrib["name"].split()[0]: [child.tag for child in case] for case in root.iter("testcase")}
    expected = {"pass": [], "fail": ["failure"], "unsure": ["skipped"], "no_evidence": ["error"]}
    levels = {"pass": "none", "fail": "error", "unsure": "none", "no_evidence": "none"}
    for result in log["runs"][0]["results"]:
        outcome = result["properties"]["outcome"]
        if outcome is not None:
            assert told[result["properties"]["id"]] == expected[outcome]
            assert result["level"] == levels[outcome]
    assert {r["properties"]["outcome"] for r in log["runs"][0]["results"]} == {None, *expected}


def test_evidence_is_linked_to_its_file_in_the_bundle(credit):
    bundle, log, _ = credit
    linked = [place for result in log["runs"][0]["results"] for place in result["relatedLocations"]]
    assert len(linked) >= 9
    for place in linked:
        uri = place["physicalLocation"]["artifactLocation"]["uri"]
        assert json.loads((bundle.root / uri).read_bytes())["id"] == place["message"]["text"]


def test_hostile_text_is_only_text(credit):
    bundle, _, _ = credit
    for name in ("findings.junit.xml", "findings.sarif"):
        content = (bundle.root / name).read_text("utf-8")
        assert "\u202e" not in content
        assert "‹U+202E›" in content
    assert "<b onmouseover" not in (bundle.root / "findings.junit.xml").read_text("utf-8")
    assert HOSTILE.split(">", maxsplit=1)[0] in (bundle.root / "findings.sarif").read_text("utf-8")


def test_the_same_bundle_gives_the_same_bytes_and_keeps_its_id(credit, tmp_path):
    bundle, _, _ = credit
    again = credit_case(tmp_path)
    export(again)
    for name in ("findings.junit.xml", "findings.sarif"):
        assert (again.root / name).read_bytes() == (bundle.root / name).read_bytes()
        assert bundle.manifest().report_id in (bundle.root / name).read_text("utf-8")
    before = again.manifest().report_id
    assert again.write_manifest(again.manifest()).report_id == before
    assert {"findings.junit.xml", "findings.sarif"} <= set(again.manifest().files)


def test_a_waiver_is_a_suppression_and_skips_its_case(tmp_path):
    bundle = credit_case(tmp_path)
    failed = next(f for f in bundle.findings() if f.outcome == "fail")
    waiver = Waiver(finding=failed.id, reason="known", approved_by="Committee", until=date(2026, 12, 31))
    settled = waive(bundle.findings(), [waiver], date(2026, 11, 1))
    content = bundle.results() | {"findings": [finding.model_dump(mode="json") for finding in settled]}
    bundle.write("results.json", pretty_json(content))
    log, root = exported(bundle)
    check_sarif(log)
    check_junit(root)
    (result,) = [r for r in log["runs"][0]["results"] if "suppressions" in r]
    assert result["properties"]["id"] == failed.id
    assert result["level"] == "error"  # what was found does not change
    assert result["suppressions"][0]["justification"] == "known (approved by Committee, until 2026-12-31)"
    (case,) = [case for case in root.iter("testcase") if case.attrib["name"].startswith(failed.id)]
    assert case[0].tag == "skipped"
    assert "Until 2026-12-31, approved by Committee: known." in case[0].text


def finding(outcome=None, code="gate", **gate):
    asked = Gate(metric="a.b", at_least=0.0, **gate) if code == "gate" else None
    return Finding(id="G-000000", code=code, severity="major", outcome=outcome, gate=asked)


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (finding("pass"), 0),
        (finding("unsure"), 0),
        (finding("unsure", on_unsure="fail"), 1),
        (finding("fail"), 1),
        (finding("no_evidence"), 5),
        (finding(code="said"), 0),
        (finding("fail", code="waiver_expired"), 1),
    ],
)
def test_a_build_server_and_the_exit_code_say_the_same(found, code):
    assert exit_code([], [found]) == code
    assert {"pass": 0, "skipped": 0, "failure": 1, "error": 5}[verdict(found)] == code


SPEC = """\
audit: {id: a}
gates:
  - metric: performance.auc
    at_least: 1          # a whole number

  - {metric: performance.accuracy, at_most: 0.5, severity: critical}
  - {metric: performance.rate, by: sex, gap_at_most: 0.1}
  - {metric: nonsense}
"""


def test_a_gate_is_found_at_its_line():
    gates = [
        Gate(metric="performance.auc", at_least=1.0),
        Gate(metric="performance.accuracy", at_most=0.5),
        Gate(metric="performance.rate", by="sex", gap_at_most=0.1),
    ]
    assert gate_lines(SPEC) == {gate.id: line for gate, line in zip(gates, (3, 6, 7), strict=True)}


@pytest.mark.parametrize("spec", ["", "- a", "gates: 3", "gates: [x, {metric: 1}]", "a: [", "gates: [{1: 2}]"])
def test_a_spec_without_readable_gates_has_no_lines(spec):
    assert gate_lines(spec) == {}


def test_evidence_that_was_altered_is_noticed_by_the_id(tmp_path):
    bundle = credit_case(tmp_path)
    export(bundle)
    bundle.write_manifest(bundle.manifest())
    text = (bundle.root / "findings.sarif").read_text("utf-8")
    bundle.write("findings.sarif", text.replace(bundle.manifest().report_id, "AR-0000000000").encode())
    assert Bundle(bundle.root).altered() != []
    assert any(line.startswith("findings.sarif: does not bear the id") for line in contradictions(bundle))
