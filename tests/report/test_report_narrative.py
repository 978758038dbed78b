"""Texts of people: numbers only by reference, so that prose cannot disagree with evidence."""

import re
import time
from contextlib import suppress
from html import unescape
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_case import HOSTILE, credit_case

from audit.bundle import Bundle
from audit.report import render
from audit.report.blocks import Said
from audit.report.markdown import drawn, read, typed_numbers
from audit.report.narrative import wrong
from audit.report.reference import WrongReferenceError, parse, say
from audit.report.source import Source
from audit.report.typed import typed_in_template


@pytest.fixture(scope="module")
def credit(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return credit_case(tmp_path_factory.mktemp("credit"))


@pytest.fixture(scope="module")
def source(credit: Bundle) -> Source:
    return Source(credit)


# Of the case: AUC 0.821 with 0.781 to 0.859, accuracy 0.7333 with 0.6804 to 0.7801 on 300 rows, a gate of 0.80 on it.
@pytest.mark.parametrize(
    ("written", "text", "href"),
    [
        ('metric("performance.auc")', "0.821", "#S7"),
        ('metric("performance.auc", interval=True)', "0.821 (95\u00a0% interval 0.781 to 0.859)", "#S7"),
        ('metric("performance.auc", show="low")', "0.781", "#S7"),
        ('metric("performance.accuracy")', "73.3\u00a0%", "#S7"),
        ('metric("performance.accuracy", show="interval")', "68.0\u00a0% to 78.0\u00a0%", "#S7"),
        ('metric("performance.accuracy", format="number")', "0.733", "#S7"),
        ('metric("performance.accuracy", show="n")', "300", "#S7"),
        ('metric("performance.accuracy", show="label")', "Accuracy", "#S7"),
        ("metric('flex.coverage', data='sample')", "95.0\u00a0%", "#S8"),
    ],
)
def test_a_metric_is_said_in_its_own_form(source: Source, written: str, text: str, href: str) -> None:
    assert say(source, parse(written)) == Said(text, href)


def test_gates_and_findings_are_said_as_they_are_judged(source: Source) -> None:
    """Four gates stand on the accuracy, one of them on its gap by sex; the one on the AUC is alone."""
    assert say(source, parse('gate("performance.auc")')) == Said("PASS", "#gates")
    required = say(source, parse('gate("performance.auc", show="required")')).text
    assert required.startswith("≥ 0.")
    (finding,) = [f for f in source.findings if f.code == "low_skill"]
    assert say(source, parse(f'finding("{finding.id}")')) == Said(finding.id, f"#{finding.id}")
    assert say(source, parse(f'finding("{finding.id}", show="severity")')).text == "major"
    with pytest.raises(WrongReferenceError, match="4 gates; name one: G-"):
        say(source, parse('gate("performance.accuracy")'))
    assert say(source, parse('gate("performance.accuracy", by="sex", show="required")')).text == "≤ 5.0\u00a0%"


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ('metric("performance.acu")', "'performance' has no metric 'acu'; did you mean 'auc'"),
        ('metric("perf.auc")', "unknown metric 'perf.auc'; did you mean 'performance.auc'"),
        ('metric("auc")', "unknown metric 'auc'"),
        ('metric("performance.accuracy", region="x")', "was not measured for region='x'"),
        ('metric("performance.accuracy", by="sex")', "there is by='sex', group='female'; or by='sex', group='male'"),
        ('gate("performance.au")', "no gate on 'performance.au'; did you mean 'performance.auc'"),
        ('finding("F-000000")', "no finding 'F-000000' in this audit"),
    ],
)
def test_what_leads_nowhere_is_refused_with_the_nearest_names(source: Source, written: str, message: str) -> None:
    with pytest.raises(WrongReferenceError, match=re.escape(message)):
        say(source, parse(written))


def test_a_metric_of_a_task_that_failed_is_said_to_be_not_measured(source: Source) -> None:
    """A method in error is no mistake of the author: the text stays and says so."""
    failed = next(record for record in source.records if record.status == "error")
    assert say(source, parse(f'metric("{failed.id}.anything")')).text == "not measured (error)"


HOSTILE_EXPRESSIONS = [
    '__import__("os").system("id")', "().__class__.__mro__[1].__subclasses__()", 'metric.__globals__["os"]', "7*7", "",
    'metric("a.b" + "c")', 'metric(name="a.b")', 'metric("a.b", "c")', "metric(*x)", 'metric("a.b", **x)', "metric(1)",
    'metric(f"{x}")', 'metric("a.b").__class__', 'lambda: metric("a.b")', '[metric("a.b") for x in y]', "metric",
    "(" * 250 + ")" * 250, "-" * 299, 'metric("' + "a" * 400 + '")', "metric(\x00)", 'metric("a.b", show="__class__")',
    'metric("a.b", format="{0}")', 'metric("a.b", interval="yes", interval=True)', 'open("/x")', "config.items()",
    'metric("a.b", show=True)', 'gate("a.b", interval=True)', 'finding("F", show="n")', 'metric("a.b")|attr("x")',
]  # fmt: skip


@pytest.mark.parametrize("written", HOSTILE_EXPRESSIONS)
def test_nothing_else_is_an_expression(written: str) -> None:
    with pytest.raises(WrongReferenceError):
        parse(written)


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(written: str) -> None:
    with suppress(WrongReferenceError):
        parse(written)
    read(f"{{{{ {written} }}}}")


def test_html_and_statements_are_refused_with_their_lines(source: Source) -> None:
    text = 'One\ntwo <b>bold</b>\n\n{% include "x" %}\n\n<script>alert(1)</script>\n\n{{ metric("performance.acu") }}\n'
    found = wrong(source, "scope.md", text)
    assert [line.split(": ")[0] for line in found] == ["scope.md:2", "scope.md:4", "scope.md:6", "scope.md:8"]
    assert "<b>: HTML is not allowed" in found[0]
    assert "<script>" in found[2]
    assert wrong(source, "a.md", "`<b>` and p < 0.05 > 0 are text, and so is `{{ x }}`\n\n    {% code %}\n") == []


@pytest.mark.parametrize(
    ("told", "typed"),
    [
        ("The AUC was 0.82 on 300 rows, 35 % of them women", ["0.82", "300", "35 %"]),
        ("Loans of up to 1,000 or 2.500,00", ["1,000", "2.500,00"]),
        ("Article 22(1) and Articles 13 and 14 of Regulation (EU) 2016/679, § 31, Annex IV 4", []),
        ("12 CFR 1002.9(a)(2), 15 U.S.C. 1691, SR 11-7, SR 26-2, SS1/23, ISO/IEC 42001, PS6/23", []),
        ("On 2026-11-01, 1 March 2026, March 1, 2026, in 2024/25, from 1973 to 1975, in Q4", []),
        ("Section 4.2, section S7, step 3, version 1.4.2, the 2nd line, G-3FA2C1, sex2", []),
        ("At the level 0.75 the section performance 0.9 shows", ["0.75", "0.9"]),
        ("Twelve rows", []),
    ],
)
def test_numbers_that_are_no_dates_citations_or_names_are_typed(told: str, typed: list[str]) -> None:
    assert typed_numbers(told) == typed


@pytest.mark.parametrize("text", ["a" * 200_000, "1," * 100_000, "a." * 100_000, "section 1" + ", 1" * 60_000])
def test_a_text_of_one_long_word_is_read_like_any_other(text: str) -> None:
    """By CPU time: with repetitions without bound the first took minutes."""
    start = time.process_time()
    typed_numbers(text)
    assert time.process_time() - start < 10


def test_typed_numbers_carry_their_line_and_code_hides_none() -> None:
    text = "# Head 7\n\nfirst\nsecond 0.5\n\n- share 12 %\n- `0.9`\n\n| a |\n|---|\n| 44 |\n\n1. one\n2. two\n"
    assert [(r.line, r.text) for r in read(text).typed] == [(1, "7"), (4, "0.5"), (6, "12 %"), (7, "0.9"), (11, "44")]
    text = "one\n\n```\nAUC\n0.91\n```\n\n    0.92\n\nand `a 0.93` 0.94\n"
    assert [(r.line, r.text) for r in read(text).typed] == [(5, "0.91"), (8, "0.92"), (10, "0.93"), (10, "0.94")]


@pytest.mark.parametrize(
    ("source", "typed"),
    [
        ("<p>AUC 0.9</p>\n<p>\n12&nbsp;% of &#48;&#46;&#55;</p>", [(1, "0.9"), (3, "12\u00a0%"), (3, "0.7")]),
        ('<h3>S7, Article 22</h3><p><a href="#S7">{{ metric("performance.auc", group="under 25") }}</a></p>', []),
        ("{# 0.9 #}<p>{{ report.title }} {{ 0.9 }}\n{{ 'AUC ' ~ \"0.8\" }}</p>", [(1, "0.9"), (2, "0.8")]),
        ("{% set x = 0.9 %}{% for i in range(3) %}{% if i > 2 %}5{% endif %}{% endfor %}", [(1, "0.9"), (1, "5")]),
        ('{% raw %}{{ 7 }}{% endraw %}\n{{ metric("a.b", group="(9") }} {{ (3) }}', [(1, "7"), (2, "3")]),
        ("{% macro m(x) %}\n<p>{{ x }} of 300</p>{% endmacro %}", [(2, "300")]),
    ],
)
def test_numbers_typed_in_a_template_are_found_where_they_are_printed(
    source: str, typed: list[tuple[int, str]]
) -> None:
    assert [(remark.line, remark.text) for remark in typed_in_template(source)] == typed


def test_a_label_with_markup_is_text_in_the_drawn_paragraph() -> None:
    said = {'finding("F")': Said(f"{HOSTILE} *no emphasis* `no code`", "#F")}
    html = drawn('See {{ finding("F") }} and {{ 7*7 }}.', said, None)
    assert "<b" not in html
    assert "<em>" not in html
    assert "<code>" not in html
    assert "‹U+202E›" in html
    assert "{{ 7*7 }}." in html
    assert unescape(html).count(HOSTILE.replace("\u202e", "‹U+202E›")) == 1


def narrated(root: Path, **texts: str) -> Bundle:
    """The credit case with texts of the organisation."""
    bundle = credit_case(root)
    manifest = bundle.manifest()
    told = {section: {"file": f"{section}.md", "sha256": "0" * 64, "text": text} for section, text in texts.items()}
    bundle.write_manifest(manifest.model_copy(update={"facts": manifest.facts | {"narrative": told}}))
    return bundle


def test_a_text_stands_first_in_its_section_and_hides_nothing(tmp_path: Path) -> None:
    link = 'AUC {{ metric("performance.auc") }}'
    bundle = narrated(tmp_path, S2=link, S15="We *retrained* nothing.", S18="Watched each month.")
    render(bundle, ["html"])
    page = (bundle.root / "report.html").read_text("utf-8")
    sections = {name: page.split(f'<h2 id="{name}">')[1].split("</section>")[0] for name in ("S2", "S15", "S18")}
    assert 'AUC <a class="from" href="#S7">0.821</a>' in sections["S2"]
    assert sections["S2"].index("In the organisation") < sections["S2"].index("Purpose of the audit")
    assert "see the organisation&#39;s words above" in sections["S2"]
    assert "needs input from the organisation" not in sections["S2"]
    assert "<em>retrained</em>" in sections["S15"]
    assert "Not tested" in sections["S15"], "what was not tested stays not tested"
    assert "Needs input" not in sections["S18"]
    contents = page.split('<nav class="contents"')[1].split("</nav>")[0]
    assert 'href="#S18">Monitoring plan' in contents
    assert re.search(r'href="#S18">[^<]*</a> <span class="nothing">', contents) is None


def test_the_text_is_drawn_from_the_bundle_alone_and_follows_it(tmp_path: Path) -> None:
    """The number in the prose is that of the evidence that stands there now."""
    bundle = narrated(tmp_path, S2='{{ metric("performance.auc") }}')
    path = next((bundle.root / "evidence").glob("*/evidence.json"))
    for path in (bundle.root / "evidence").glob("*/evidence.json"):
        path.write_text(path.read_text("utf-8").replace("0.821", "0.765"), encoding="utf-8")
    render(bundle, ["html"])
    page = (bundle.root / "report.html").read_text("utf-8")
    assert '<a class="from" href="#S7">0.765</a>' in page
