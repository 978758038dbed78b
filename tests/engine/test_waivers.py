"""Waivers in a whole audit: from the spec to the exit code, the report and the check of the bundle."""

import json
from datetime import date
from html import unescape

import credit_case
import pytest
import yaml

from audit.bundle import Bundle, pretty_json
from audit.core.errors import SpecError
from audit.core.finding import Gate
from audit.engine.contradictions import contradictions
from audit.engine.run import Options, run

GATE = {"metric": "performance.auc", "at_most": 0.01}
ID = Gate(**GATE).id
WAIVER = {"finding": ID, "reason": "known since spring", "approved_by": "Risk Committee", "until": date(2026, 12, 31)}


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """Runs the case with one gate that fails and these waivers; what was computed once is kept."""
    root = tmp_path_factory.mktemp("waivers")
    spec = yaml.safe_load(yaml.safe_dump(credit_case.SPEC))
    spec |= {"methods": [{"kind": "performance"}], "gates": [GATE], "counterfactuals": {}, "regions": []}
    path = credit_case.make(root / "case", n=120, spec=spec)

    def audit(*waivers, as_of="2026-11-01", opinion=None):
        changed = yaml.safe_load(path.read_text()) | {"waivers": list(waivers)}
        changed["report"] = {"formats": ["html"]} | ({"opinion": {"word": opinion, "by": "A"}} if opinion else {})
        changed["audit"].pop("as_of", None)
        path.write_text(yaml.safe_dump(changed, sort_keys=False))
        return run(path, root / "out", Options(as_of=date.fromisoformat(as_of) if as_of else None))

    return audit


def said(outcome):
    return (outcome.out / "report.html").read_text("utf-8")


def section(outcome, name):
    return unescape(said(outcome).split(f'<h2 id="{name}">')[1].split("<section")[0])


def test_a_waived_failure_is_shown_with_reason_and_expiry_and_the_run_ends_with_0(audited):
    assert audited().exit_code == 1
    outcome = audited(WAIVER)
    assert outcome.exit_code == 0
    (finding,) = [f for f in outcome.findings if f.id == ID]
    assert (finding.outcome, finding.fails) == ("fail", False)
    register = section(outcome, "S17")
    for words in ("Waived.", "Until 2026-12-31, approved by Risk Committee: known since spring.", "IN FORCE"):
        assert words in register
    assert "Fails the audit" not in register
    gates = section(outcome, "S1")
    assert "Waived until 2026-12-31 by Risk Committee" in gates
    assert "FAIL" in gates
    assert "WAIVED" not in gates  # no result word of its own


def test_an_expired_waiver_ends_the_run_with_1_and_says_so(audited):
    outcome = audited(WAIVER, as_of="2027-01-01")
    assert outcome.exit_code == 1
    assert {f.code for f in outcome.findings if f.fails} == {"gate", "waiver_expired"}
    assert "held until 2026-12-31; the audit is as of 2027-01-01" in section(outcome, "S17")
    assert "EXPIRED" in section(outcome, "S17")


def test_without_a_date_a_waiver_cannot_be_judged_and_that_is_said(audited):
    outcome = audited(WAIVER, as_of=None)
    assert outcome.exit_code == 1
    assert "A waiver cannot be judged, because the audit has no date" in section(outcome, "S17")
    assert "NOT JUDGED" in section(outcome, "S17")


def test_a_waiver_that_names_nothing_is_reported(audited):
    outcome = audited(WAIVER, {**WAIVER, "finding": "F-ABCDEF"})
    assert outcome.exit_code == 0
    assert "The waiver of F-ABCDEF" in section(outcome, "S17")
    assert "NO FINDING" in section(outcome, "S17")


def test_a_waiver_makes_no_opinion_stronger_and_the_rule_is_printed(audited):
    outcome = audited(WAIVER, opinion="unqualified")
    opinion = json.loads((outcome.out / "results.json").read_text())["opinion"]
    assert (opinion["status"], opinion["strongest"]) == ("refused", "qualified")
    assert outcome.exit_code == 1
    assert "Waivers play no part in it" in section(outcome, "S0")
    assert "A waiver that has expired fails the audit" in section(outcome, "S0")
    issued = audited(WAIVER, opinion="qualified")
    assert issued.exit_code == 0
    assert f"The strongest word that the findings support is qualified: not every gate is a pass: {ID}." in section(
        issued, "S1"
    )


def test_a_waiver_that_the_spec_does_not_hold_is_noticed(audited):
    outcome = audited(WAIVER)
    bundle = Bundle(outcome.out)
    assert contradictions(bundle) == []
    results = bundle.results()
    results["findings"][0]["waiver"]["until"] = "2030-12-31"
    bundle.write("results.json", pretty_json(results))
    assert any("waived does not follow" in line for line in contradictions(bundle))


@pytest.mark.parametrize(
    ("waivers", "says"),
    [
        ([WAIVER, WAIVER], "stands here for the second time"),
        ([{**WAIVER, "finding": "auc"}], "six hexadecimal digits in capitals"),
        ([{key: value for key, value in WAIVER.items() if key != "until"}], "until"),
        ([{**WAIVER, "untill": 1}], "until"),
        ([{**WAIVER, "until": "soon"}], "date"),
        ([{**WAIVER, "reason": ""}], "reason"),
    ],
)
def test_a_wrong_waiver_is_refused_with_its_line(audited, waivers, says):
    with pytest.raises(SpecError) as caught:
        audited(*waivers)
    assert any(says in problem and "spec.yaml:" in problem for problem in caught.value.problems), caught.value.problems
