"""The crosswalk: every row is dated and sourced, only what was verified says so, and no word says that a law is met."""

import re
from datetime import date, timedelta
from html import unescape
from typing import get_args

import pytest
import yaml
from report_case import credit_case, empty_case
from test_report_html import Reader

from audit.report import render
from audit.report.crosswalk import ANSWERS, Answer, LawStatus, Requirement, answer, as_of, instruments
from audit.report.layout import outline
from audit.resources import folder

ROWS = [(one, row) for one in instruments() for row in one.rows]
IDS = [f"{one.instrument} {row.clause} {i}" for i, (one, row) in enumerate(ROWS)]

BANNED = re.compile(r"complian|conform|\bPASS\b|\bFAIL\b|satisf|fulfil|guarantee", re.IGNORECASE)

UNVERIFIED = re.compile(
    r"2023-03|paragraph \d|C-634|SCHUFA|four reasons|Art\. 27\b|A\.\d+\.\d|\bMAP\b|\bMANAGE\b|MEASURE (?!2\.9\b)"
    r"|OJ L|Regulation \(EU\) 20|Principle \d\.\d"
)
"""What may not ship before a primary source has been read (report.md, 2.3)."""


def test_there_is_a_file_for_each_instrument():
    assert {one.instrument for one in instruments()} == {
        "sr-26-2", "sr-11-7", "reg-b", "fcra", "eu-ai-act", "gdpr", "uk-gdpr", "pra-ss1-23", "nyc-ll144",
        "co-sb26-189", "co-reg-10-1-1", "naic-bulletin", "nist-ai-rmf", "iso-42001",
    }  # fmt: skip
    for path in (folder("templates") / "crosswalk").glob("*.yaml"):
        assert yaml.safe_load(path.read_text("utf-8"))["instrument"] == path.stem
    assert len(ROWS) > 40


@pytest.mark.parametrize(("one", "row"), ROWS, ids=IDS)
def test_every_row_has_status_dates_source_and_check(one, row):
    assert row.status in get_args(LawStatus)
    assert row.dates
    assert row.source
    assert row.checked == date(2026, 11, 22)
    assert row.how in {"primary", "secondary"}
    known = {entry.id for _, entries in outline() for entry in entries}
    assert set(row.sections) <= known
    assert row.sections or row.organisation or row.status == "withdrawn"
    if row.status in {"withdrawn", "deferred", "historical"}:
        assert any(isinstance(one.day, date) for one in row.dates)


def test_only_what_was_read_at_the_source_says_so():
    """The OCC bulletin and the page of the Attorney General of Colorado, and no other (report.md, 2.3)."""
    assert {one.instrument for one in instruments() if one.how == "primary"} == {"sr-26-2", "sr-11-7", "co-sb26-189"}
    primary = {one.instrument for one, row in ROWS if row.how == "primary"}
    assert primary == {"sr-26-2", "co-sb26-189"}  # of SR 11-7 only the rescission was read
    assert all("occ.gov" in row.source or "coag.gov" in row.source for _, row in ROWS if row.how == "primary")


@pytest.mark.parametrize("path", sorted((folder("templates") / "crosswalk").glob("*.yaml")), ids=lambda p: p.stem)
def test_no_banned_word_and_nothing_unverified_in_the_data(path):
    content = path.read_text("utf-8")
    assert BANNED.search(content) is None
    assert UNVERIFIED.search(content) is None


def test_no_clause_of_the_american_guidance_in_force_has_a_number():
    assert {row.clause for one, row in ROWS if one.instrument == "sr-26-2"} == {"topic"}


ROW = Requirement(
    clause="c", title="t", status="in force", dates=(), source="s", checked=date(2026, 11, 22), how="secondary",
    sections=("S7", "S13"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "shown", "expected"),
    [
        ({}, {}, ("not assessed", ())),
        ({}, {"S7": ["performance"]}, ("partial", ("performance",))),
        ({}, {"S7": ["performance"], "S13": ["fairness"]}, ("evidence provided", ("performance", "fairness"))),
        ({}, {"S8": ["flex"]}, ("not assessed", ())),
        ({"organisation": "x"}, {"S7": ["p"], "S13": ["f"]}, ("partial", ("p", "f"))),
        ({"organisation": "x"}, {}, ("not assessed", ())),
        ({"organisation": "x", "sections": ()}, {}, ("needs organisation input", ())),
        ({"organisation": "x", "sections": ("S18",)}, {}, ("needs organisation input", ())),
        ({"sections": ("S2", "S7")}, {"S2": ["spec"], "S7": ["p"]}, ("partial", ("spec", "p"))),
        ({"sections": ("S7", "S12")}, {"S7": ["p"]}, ("evidence provided", ("p",))),
        ({"sections": ("S7", "F")}, {"S7": ["p"]}, ("evidence provided", ("p",))),
        ({"sections": ("S7", "F")}, {"S7": ["p"], "F": ["r"]}, ("evidence provided", ("p", "r"))),
        ({"sections": ("S7", "S12")}, {"S7": ["p"], "S12": ["i"]}, ("evidence provided", ("p", "i"))),
        ({"status": "withdrawn"}, {"S7": ["p"], "S13": ["f"]}, ("not applicable", ())),
    ],
)
def test_the_status_of_a_row(changed, shown, expected):
    assert answer(ROW.model_copy(update=changed), shown) == expected


def section(bundle):
    render(bundle, ["html"])
    content = (bundle.root / "report.html").read_text("utf-8")
    return content.split('<h2 id="S20">')[1].split("</section>")[0]


def rows_of(content):
    """The cells of each row that stands beside a law."""
    tables = [t for t in re.findall(r"<table.*?</table>", content, re.DOTALL) if "Where evidence stands" in t]
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for t in tables for row in t.split("<tr>")[2:]]
    return [[unescape(re.sub("<[^>]+>", "", cell)) for cell in row] for row in rows]


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    bundle = credit_case(tmp_path_factory.mktemp("credit"))
    return bundle, section(bundle)


def test_statuses_come_from_the_closed_list_and_those_that_claim_evidence_name_it(shown):
    bundle, content = shown
    rows = rows_of(content)
    assert len(rows) == len(ROWS)
    known = {record.id for record in bundle.records() if record.status == "ok"} | {"manifest", "spec", "results"}
    words = {word.capitalize(): word for word in ANSWERS}
    for _, _, evidence, status, _ in rows:
        claims = words[status] in {"evidence provided", "partial"}
        assert set(evidence.split(", ")) <= known if claims else evidence == "–"
    assert set(get_args(Answer)) == set(ANSWERS)
    assert {words[row[3]] for row in rows} == set(ANSWERS)


def test_every_section_that_is_named_is_led_to(shown):
    bundle, content = shown
    links = re.findall(r'<a href="#([^"]+)">([^<]+)</a>', content)
    ids = set(re.findall(r'id="([^"]+)"', (bundle.root / "report.html").read_text("utf-8")))
    assert {target for target, _ in links} <= ids
    named = {name for row in rows_of(content) for name in row[1].split(", ")} - {"–"}
    assert {name for _, name in links} == named
    assert all(target == name.replace("appendix F", "appendix-F") for target, name in links)


def test_the_section_says_how_each_text_was_checked_and_never_that_it_is_met(shown):
    told = Reader("<p>" + shown[1]).text
    for one in instruments():
        assert one.title in told
        assert f"Source: {one.source}; checked 2026-11-22, {one.how}." in told
    assert BANNED.search(told) is None
    assert UNVERIFIED.search(told) is None
    assert "not legal advice" in told


def test_the_date_of_the_sources_stands_in_the_record_of_the_report(shown):
    content = (shown[0].root / "report.html").read_text("utf-8")
    assert f"sources as checked by {as_of()}" in content.split('<h2 id="S0">')[1].split("</section>")[0]
    assert as_of() == "2026-11-22"


def test_an_audit_without_evidence_claims_none(tmp_path):
    statuses = {row[3] for row in rows_of(section(empty_case(tmp_path)))}
    assert statuses <= {"Not assessed", "Needs organisation input", "Not applicable"}


def with_facts(root, *, day="2026-11-01", **facts):
    bundle = credit_case(root, as_of=day)
    manifest = bundle.manifest()
    bundle.write_manifest(manifest.model_copy(update={"facts": manifest.facts | facts}))
    return section(bundle)


def test_the_spec_chooses_what_is_shown(tmp_path):
    content = with_facts(tmp_path / "a", crosswalk=["gdpr", "reg-b"])
    assert "General Data Protection Regulation" in content
    assert "EU AI Act" not in content
    assert len(rows_of(content)) == 6
    nothing = with_facts(tmp_path / "b", crosswalk=[])
    assert "the spec leaves the crosswalk" in nothing
    assert rows_of(nothing) == []


@pytest.mark.parametrize(("days", "old"), [(183, False), (184, True)])
def test_sources_that_are_old_are_said_to_be(tmp_path, days, old):
    day = date(2026, 11, 22) + timedelta(days=days)
    assert ("check them again" in with_facts(tmp_path, day=day.isoformat(), crosswalk=["gdpr"])) is old
