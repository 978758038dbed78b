"""Waivers: what they cover, until when, and that they make nothing better than it is."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from audit.core.finding import Finding, Gate, Interval, strongest_opinion
from audit.core.waive import FOUND, standing, unwaived, waive
from audit.core.waiver import Waiver

DAY = date(2026, 11, 1)
STRENGTH = {"disclaimer": 0, "qualified": 1, "unqualified": 2}


def gate(outcome, metric="performance.auc", **more):
    asked = Gate(metric=metric, at_least=0.7, **more)
    measured = None if outcome == "no_evidence" else Interval(value=0.6, low=0.5, high=0.65, n=100)
    return Finding(
        id=asked.id, code="gate", severity="major", outcome=outcome, gate=asked, measured=measured, evidence=("p",)
    )


def note(code="said", severity="major", number="F-00A1B2"):
    return Finding(id=number, code=code, severity=severity, evidence=("p",))


def waiver(finding, until=DAY):
    return Waiver(finding=finding, reason="known", approved_by="Risk Committee", until=until)


def test_a_waived_failure_keeps_its_outcome_and_fails_no_more():
    failed = gate("fail")
    (settled,) = waive([failed], [waiver(failed.id)], DAY)
    assert failed.fails
    assert not settled.fails
    assert (settled.outcome, settled.severity, settled.waiver) == ("fail", "major", waiver(failed.id))


@pytest.mark.parametrize(("days", "holds"), [(-400, True), (-1, True), (0, True), (1, False), (365, False)])
def test_a_waiver_holds_up_to_and_including_its_last_day(days, holds):
    failed = gate("fail")
    settled = waive([failed], [waiver(failed.id)], DAY + timedelta(days=days))
    assert [f.code for f in settled] == (["gate"] if holds else ["gate", "waiver_expired"])
    assert any(f.fails for f in settled) is not holds


def test_an_expired_waiver_fails_the_run_even_where_nothing_is_left_to_waive():
    passed = gate("pass")
    settled = waive([passed], [waiver(passed.id)], DAY + timedelta(days=1))
    assert [(f.code, f.fails) for f in settled] == [("gate", False), ("waiver_expired", True)]


def test_without_a_date_no_waiver_holds_and_the_failure_stands():
    failed = gate("fail")
    settled = waive([failed], [waiver(failed.id)], None)
    assert [(f.code, f.fails, f.waiver) for f in settled] == [("gate", True, None), ("waiver_undated", False, None)]


@pytest.mark.parametrize(
    ("finding", "code"),
    [
        (gate("no_evidence"), "waiver_refused"),
        (note("method_error"), "waiver_refused"),
        (gate("pass"), "waiver_without_finding"),
        (note(number="F-FFFFFF"), None),
    ],
)
def test_what_can_be_waived(finding, code):
    settled = waive([finding], [waiver(finding.id)], DAY)
    assert [f.code for f in settled[1:]] == ([code] if code else [])
    assert (settled[0].waiver is not None) is (code is None)
    assert standing(waiver(finding.id), settled) == (code or "in_force")


def test_an_unsure_gate_that_counts_as_a_failure_can_be_waived():
    unsure = gate("unsure", on_unsure="fail")
    assert unsure.fails
    assert not waive([unsure], [waiver(unsure.id)], DAY)[0].fails


def test_a_waiver_covers_the_finding_it_names_and_no_other():
    named, other = gate("fail"), gate("fail", metric="performance.accuracy")
    settled = waive([named, other], [waiver(named.id)], DAY)
    assert [f.fails for f in settled] == [False, True]


@pytest.mark.parametrize("wrong", ["AUC", "G-12", "g-00A1B2", "F-OPINION", "G-00A1B2 "])
def test_a_waiver_names_an_id_as_the_report_prints_it(wrong):
    with pytest.raises(ValidationError):
        waiver(wrong)


@pytest.mark.parametrize("empty", ["reason", "approved_by"])
def test_a_waiver_states_its_reason_and_who_approves_it(empty):
    with pytest.raises(ValidationError):
        Waiver(**{"finding": "F-00A1B2", "reason": "r", "approved_by": "b", "until": DAY, empty: ""})


outcomes = st.sampled_from(["pass", "unsure", "fail", "no_evidence"])
severities = st.sampled_from(["info", "minor", "major", "critical"])
codes = st.sampled_from(["said", "method_error"])


@st.composite
def audits(draw):
    """Findings and waivers of some of them."""
    gates = [gate(o, metric=f"m.x{i}") for i, o in enumerate(draw(st.lists(outcomes, max_size=4)))]
    pairs = draw(st.lists(st.tuples(codes, severities), max_size=3))
    notes = [note(c, s, number=f"F-00000{i}") for i, (c, s) in enumerate(pairs)]
    findings = [*gates, *notes]
    named = draw(st.lists(st.sampled_from([f.id for f in findings] or ["F-ABCDEF"]), unique=True, max_size=4))
    return findings, [waiver(i, DAY + timedelta(days=draw(st.integers(-2, 2)))) for i in named]


@given(audits(), st.sampled_from([None, DAY]))
def test_a_waiver_never_makes_an_opinion_stronger_nor_hides_what_was_found(audit, as_of):
    findings, waivers = audit
    settled = waive(findings, waivers, as_of)
    assert STRENGTH[strongest_opinion(settled)[0]] <= STRENGTH[strongest_opinion(findings)[0]]
    kept = settled[: len(findings)]
    assert [(f.id, f.outcome, f.severity) for f in kept] == [(f.id, f.outcome, f.severity) for f in findings]
    assert unwaived(settled) == findings
    assert waive(unwaived(settled), waivers, as_of) == settled


@given(audits())
def test_each_waiver_is_in_force_or_is_a_finding(audit):
    findings, waivers = audit
    settled = waive(findings, waivers, DAY)
    for one in waivers:
        held = any(f.waiver == one for f in settled)
        assert held is (standing(one, settled) == "in_force")
        assert held or standing(one, settled) in FOUND
