# ruff: noqa: E501 - hostile templates read best as they are
"""Templates of strangers: what they may do is shown, what they may not is one message with file and line."""

import base64
import os
import re
from html import unescape
from pathlib import Path
from typing import Any

import page
import pytest
from hypothesis import given
from hypothesis import strategies as st
from look_case import FILES, look_case, png, settings
from report_case import HOSTILE, credit_case

from audit.bundle import Bundle
from audit.core.errors import SpecError
from audit.report import render
from audit.report.logo import WrongLogoError, logo
from audit.report.markup import WrongMarkupError, cleaned
from audit.report.template import SPECIMEN, Colours, Palette, Settings, contrast, draw, faint
from audit.report.text import visible

ALL = bool(os.environ.get("AUDIT_ACCEPT"))


def filled(template: str, **others: str) -> str:
    """What a template at the place `cover` writes."""
    one = Settings.model_validate_json('{"name": "A", "blocks": {"cover": "a.j2"}}')
    files = {f"{name}.j2": text.encode() for name, text in {"a": template, **others}.items()}
    return draw(one, files, SPECIMEN, None).places["cover"]


# Each would do something that a template must not; the number is the line on which it is met.
ESCAPES = {
    "a shell by cycler": ("<p>{{ cycler.__init__.__globals__.os.popen('id').read() }}</p>", 1),
    "a shell by lipsum": ("<p>\n{{ lipsum.__globals__['os'].popen('id').read() }}</p>", 2),
    "a shell by our function": ("<p>{{ metric.__globals__['sys'].modules['os'].system('id') }}</p>", 1),
    "all classes": ("<p>\n\n{{ ''.__class__.__mro__[1].__subclasses__() }}</p>", 3),
    "classes by attr": ("<p>{{ (report | attr('__class__')).__base__ }}</p>", 1),
    "classes by map": ("<p>{{ [report] | map(attribute='__class__') | join }}</p>", 1),
    "classes by format": ("<p>{{ '{0.__class__}'.format(report) }}</p>", 1),
    "classes by format_map": ("<p>{{ '{a.__class__}'.format_map({'a': 1}) }}</p>", 1),
    "the template itself": ("<p>{{ self.__init__.__globals__ }}</p>", 1),
    "a generator's frame": ("<p>{{ (report.gates | map('upper')).gi_frame.f_globals }}</p>", 1),
    "a namespace": ("<p>{{ namespace.__init__.__globals__ }}</p>", 1),
    "a mutation": ("<p>{{ report.update({'id': 'x'}) }}</p>", 1),
    "a mutated list": ("<p>{{ report.gates.append(1) }}</p>", 1),
    "an emptied list": ("<p>{{ report.findings.clear() }}</p>", 1),
    "a huge range": ("<p>\n{% for i in range(10**9) %}x{% endfor %}</p>", 2),
    "ten gigabytes": ("<p>\n{{ 'a' * 10**10 }}</p>", 2),
    "ten gigabytes by filter": ("<p>{{ 'a' | center(10**10) }}</p>", 1),
    "a long output": ("<p>{% for i in range(99999) %}{{ 'abcdefghij' }}{% endfor %}</p>", 1),
    "a file": ("{% include '/etc/passwd' %}", 1),
    "a file above": ("\n{% include '../spec.yaml' %}", 2),
    "a file of ours": ("{% extends 'report.j2' %}", 1),
    "a module": ("{% import 'os' as os %}", 1),
    "a codec, which is a file of Python": ("<p>{{ 'x'.encode('idna') }}</p>", 1),
    "itself": ("{% include 'a.j2' %}", 1),
    "a macro that calls itself": ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", 1),
    "chance": ("<p>{{ [1, 2] | random }}</p>", 1),
    "unescaped text": ("{{ '<script>alert(1)</script>' | safe }}", 1),
    "escaping switched off": ("{% autoescape false %}<p>{{ '<script>' }}</p>{% endautoescape %}", 1),
    "a name that is not there": ("<p>a</p>\n<p>{{ report.titel }}</p>", 2),
    "a typo": ("<p>a</p>\n\n{% fro x in y %}", 3),
    "an open block": ("{% if report %}\n<p>a</p>", 2),
    "a number divided by none": ("<p>{{ 1 / 0 }}</p>", 1),
    "an expression as a metric": ("<p>a</p>\n<p>{{ metric('a.b', show='__class__') }}</p>", 2),
    "a metric that is no text": ("<p>{{ metric(report) }}</p>", 1),
}
SLOW = {
    "an endless loop": ("<p>\n{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}</p>", 2),
}
SLOWER = {"a power that takes hours": ("<p>\n{{ 7 ** (10 ** 9) }}</p>", 1)}


@pytest.mark.parametrize(
    ("template", "line"), (cases := {**ESCAPES, **SLOW, **(SLOWER if ALL else {})}).values(), ids=cases
)
def test_what_a_template_must_not_do_is_one_message_with_file_and_line(template: str, line: int) -> None:
    with pytest.raises(SpecError) as caught:
        filled(template)
    (problem,) = caught.value.problems
    assert problem.startswith(f"a.j2:{line}: "), problem
    assert "Traceback" not in problem
    assert str(Path.home()) not in problem
    assert ".py" not in problem


def test_the_line_is_that_of_the_file_that_was_included() -> None:
    with pytest.raises(SpecError, match=r"^b\.j2:3: 'dict object' has no attribute 'titel'"):
        filled("<p>a</p>\n{% include 'b.j2' %}", b="\n\n<p>{{ report.titel }}</p>")


def test_text_of_the_audit_is_text() -> None:
    hostile = {**SPECIMEN, "title": HOSTILE + "</p><script>alert(1)</script>"}
    one = Settings.model_validate_json('{"name": "A", "blocks": {"cover": "a.j2"}}')
    shown = draw(one, {"a.j2": b"<p>{{ report.title }}</p>"}, hostile, None).places["cover"]
    assert shown.count("<") == 2
    assert unescape(shown) == f"<p>{visible(hostile['title'])}</p>"


MARKUP = {
    "script": "<script>alert(1)</script>", "style": "<style>p{}</style>", "style attribute": "<p style='color:red'>a</p>",
    "handler": "<p onclick='x()'>a</p>", "picture": "<p><img src='http://x/y.png'></p>", "frame": "<iframe src='x'></iframe>",
    "link out": "<p><a href='http://x'>a</a></p>", "script link": "<p><a href='javascript:alert(1)'>a</a></p>",
    "data link": "<p><a href='data:text/html,x'>a</a></p>", "form": "<form><input></form>", "base": "<base href='http://x'>",
    "meta": "<meta http-equiv='refresh' content='0;url=http://x'>", "svg": "<svg><use href='#a'/></svg>", "math": "<math></math>",
    "object": "<object data='x'></object>", "link": "<link rel='stylesheet' href='x'>", "template": "<template></template>",
    "heading of ours": "<h2 id='S1'>a</h2>", "id": "<p id='S1'>a</p>", "class of ours": "<p class='badge pass'>a</p>",
    "comment": "<p>a</p><!-- b -->", "declaration": "<!DOCTYPE html><p>a</p>", "instruction": "<?php x ?><p>a</p>", "cdata": "<p><![CDATA[x]]></p>",
    "end of ours": "<p>a</p></section>", "crossed": "<p><em><strong>a</em></strong></p>", "open": "<p>a", "paragraph in paragraph": "<p>a<p>b</p></p>",
    "loose text": "a", "loose text after": "<p>a</p>b", "text in a list": "<ul>a<li>b</li></ul>", "item alone": "<li>a</li>",
    "table without caption": "<table><tbody><tr><td>a</td></tr></tbody></table>", "head without scope": "<table><caption>c</caption><tbody><tr><th>a</th></tr></tbody></table>",
    "empty list": "<ul></ul>", "rows alone": "<table><tr><td>a</td></tr></table>", "two bodies": "<table><caption>c</caption><tbody><tr><td>a</td></tr></tbody><tbody><tr><td>a</td></tr></tbody></table>",
    "body before caption": "<table><tbody><tr><td>a</td></tr></tbody><caption>c</caption></table>", "link in link": "<p><a href='#a'><a href='#b'>x</a></a></p>",
    "self-closed": "<p/>a", "deep": "<ul><li>" * 30, "half a tag": "<p>a</p><p", "upper case": "<P><SCRIPT>x</SCRIPT></P>", "null": "<scr\x00ipt>x</scr\x00ipt>",
    "noscript": "<noscript><p title='</noscript><img src=x>'></noscript>", "textarea": "<textarea><p></textarea>", "title": "<title>x</title>", "plaintext": "<plaintext>",
}  # fmt: skip


@pytest.mark.parametrize("markup", MARKUP.values(), ids=MARKUP)
def test_markup_that_is_not_on_the_list_is_refused(markup: str) -> None:
    with pytest.raises(WrongMarkupError):
        cleaned(markup, "block", str)


@given(st.text(alphabet="<>/=\"' !-?&;pabultdhr\n#", max_size=60))
def test_whatever_comes_out_is_the_same_when_read_again(markup: str) -> None:
    """What is accepted is whole and harmless: reading it once more changes nothing."""
    from html import escape

    try:
        once = cleaned(markup, "block", escape)
    except WrongMarkupError:
        return
    assert cleaned(once, "block", escape) == once
    assert set(re.findall(r"<(\w+)", once)) <= {"p", "ul", "dl", "a", "br", "table", "td", "th", "tr", "dt", "dd"}


NS = 'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 10 10"'
SVGS = {
    "script": f"<svg {NS}>\n<script>alert(1)</script></svg>", "handler": f"<svg {NS}>\n<path onload='x()' d='M0 0'/></svg>",
    "style": f"<svg {NS}>\n<style>*{{fill:url(http://x)}}</style></svg>", "style attribute": f"<svg {NS}>\n<path style='fill:red'/></svg>",
    "picture": f"<svg {NS}>\n<image href='http://x/y.png'/></svg>", "use": f"<svg {NS}>\n<use href='#a'/></svg>",
    "foreign": f"<svg {NS}>\n<foreignObject><p>a</p></foreignObject></svg>", "link": f"<svg {NS}>\n<a href='http://x'><path/></a></svg>",
    "animation": f"<svg {NS}>\n<set attributeName='href' to='x'/></svg>", "text in our fonts": f"<svg {NS}>\n<text>a</text></svg>",
    "fill from outside": f"<svg {NS}>\n<path fill='url(http://x/#a)'/></svg>", "fill of a file": f"<svg {NS}>\n<path fill='url(file:///etc/passwd#a)'/></svg>",
    "escaped url": f"<svg {NS}>\n<path fill='u\\72l(http://x)'/></svg>", "xlink": f"<svg {NS} xmlns:xlink='http://www.w3.org/1999/xlink'>\n<linearGradient xlink:href='http://x'/></svg>",
    "filter": f"<svg {NS}>\n<filter id='a'/></svg>", "mask of a file": f"<svg {NS}>\n<path mask='url(#a)'/></svg>",
    "other names": "<html>\n</html>", "no names": "<svg viewBox='0 0 1 1'/>", "svg in svg": f"<svg {NS}>\n<svg/></svg>", "no box": "<svg xmlns='http://www.w3.org/2000/svg'/>",
    "not closed": f"<svg {NS}>\n<path>", "instruction": f"<?xml-stylesheet href='http://x'?>\n<svg {NS}/>",
    "entity": f"<!DOCTYPE svg [<!ENTITY a SYSTEM 'file:///etc/passwd'>]>\n<svg {NS}><title>&a;</title></svg>",
    "entity bomb": "<!DOCTYPE svg [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;&a;'>]>\n" + f"<svg {NS}><title>&b;</title></svg>",
    "many": f"<svg {NS}>" + "<path/>" * 6000 + "</svg>", "gradient that paper does not show": f"<svg {NS}>\n<linearGradient id='a'/></svg>",
    "no end of a box": f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 1{'0' * 320} 1'/>",
    "deeper than is drawn": f"<svg {NS}>" + "<g>" * 60 + "</g>" * 60 + "</svg>",
    "an event in a name": f"<svg {NS}>\n<path id='a\" onload=\"x'/></svg>",
}  # fmt: skip


@pytest.mark.parametrize("svg", SVGS.values(), ids=SVGS)
def test_an_svg_that_could_do_more_than_be_seen_is_refused(svg: str) -> None:
    with pytest.raises(WrongLogoError):
        logo("logo.svg", svg.encode(), "a")


def test_a_box_of_any_shape_has_a_size() -> None:
    for box in (f"0 0 1{'0' * 307} .0000001", f"0 0 .0000001 1{'0' * 307}"):
        assert 'height="56"' in logo("logo.svg", f"<svg {NS.replace('0 0 10 10', box)}/>".encode(), "a").markup


def test_an_svg_is_written_anew() -> None:
    shown = logo("logo.svg", FILES["logo.svg"], 'Bank "<b>"').markup
    assert shown.startswith(
        '<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="logo-title" viewBox="0 0 240 60"'
    )
    assert '<title id="logo-title">Bank &quot;&lt;b&gt;&quot;</title>' in shown
    assert 'id="logo-a"' in shown
    assert 'fill="url(#logo-a)"' in shown
    assert "not this" not in shown
    with pytest.raises(WrongLogoError) as caught:
        logo("logo.svg", SVGS["script"].encode(), "a")
    assert caught.value.line == 2


def test_a_png_keeps_its_pixels_and_loses_the_rest() -> None:
    from look_case import chunk

    secret = chunk(b"tEXt", b"Author\x00A. Person") + chunk(b"eXIf", b"MM\x00*")
    assert logo("a.png", png(more=secret), "A").markup == logo("a.png", png(), "A").markup
    assert 'width="112" height="56"' in logo("a.png", png(), "A").markup


PNGS = {
    "no png": b"GIF89a", "cut": png()[:-20], "damaged": png().replace(b"IDAT", b"IDAX"), "too wide": png(width=5000, data=b""),
    "a bomb": png(data=b"\x00" * 10_000_000), "too short": png(data=b"\x00" * 10), "a palette of nothing": png(colour=7),
    "html": b"<script>alert(1)</script>", "too large": png() + b"\x00" * 300_000,
}  # fmt: skip


@pytest.mark.parametrize("data", PNGS.values(), ids=PNGS)
def test_a_png_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(WrongLogoError):
        logo("logo.png", data, "a")


def test_a_logo_of_another_kind_is_refused() -> None:
    with pytest.raises(WrongLogoError, match="neither"):
        logo("logo.gif", b"GIF89a", "a")


def test_contrast_is_that_of_the_recommendation() -> None:
    """The grey #767676 is the lightest that passes on white: 4.54."""
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert contrast("#767676", "#FFFFFF") == pytest.approx(4.54, abs=0.005)
    assert contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.005)


def test_colours_that_cannot_be_read_are_refused() -> None:
    assert faint(Colours()) == [], "ours can"
    assert [path for path, _ in faint(Colours(light=Palette(brand="#F0A000")))] == [("light", "brand")]
    assert [path for path, _ in faint(Colours(dark=Palette(muted="#555555")))] == [("dark", "muted")]
    assert ("light", "ground") in [path for path, _ in faint(Colours(light=Palette(ground="#777777")))]
    with pytest.raises(SpecError, match=r"template\.yaml:1: colours\.light\.ink: ink #CCCCCC on"):
        draw(Settings(name="A", colours=Colours(light=Palette(ink="#CCCCCC"))), {}, SPECIMEN, None)


@pytest.mark.parametrize("colour", ["red", "#12345", "#12345G", "#fff;}*{}", "url(x)", "var(--ink)", "#123456 "])
def test_a_colour_is_six_digits(colour: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        Palette(brand=colour)


@pytest.fixture(scope="module")
def dressed(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    bundle = look_case(tmp_path_factory.mktemp("look"))
    render(bundle, ["html", "pdf"])
    return bundle


def test_the_look_adds_and_hides_nothing(dressed: Bundle, tmp_path: Path) -> None:
    plain = credit_case(tmp_path)
    render(plain, ["html"])
    ours, theirs = ((bundle.root / "report.html").read_text("utf-8") for bundle in (plain, dressed))
    for kept in (
        r'<h2 id="([\w-]+)"',
        r'<article class="finding \w+" id="([\w-]+)"',
        r"<caption>(.*?)</caption>",
        r'class="tile (\w+)',
    ):
        left = [found for found in re.findall(kept, ours) if found not in re.findall(kept, theirs)]
        assert left == []
    register = ours.split('<h2 id="appendix-C">')[1].split("</section>")[0]
    assert register in theirs
    assert theirs.count("Added by the template of Harbour Bank.") == 7
    assert theirs.index('<h2 id="S1">') < theirs.index('<h2 id="X1">') < theirs.index('<h2 id="S17">')
    assert '<a href="#X1">Approvals</a>' in theirs
    assert "Not tested" in theirs.split('<h2 id="S12">')[1].split("</section>")[0]
    approvals = theirs.split('<h2 id="X1">')[1].split("</section>")[0]
    assert '<a class="from" href="#S7">0.821</a>' in approvals
    assert "Rows: ‹U+202E›" in approvals
    assert "&lt;AR-" in theirs


def test_colours_hold_on_screens_of_both_kinds(dressed: Bundle) -> None:
    style = (dressed.root / "report.html").read_text("utf-8").split("<style>")[1].split("</style>")[0]
    assert style.count(":root {") == 4
    light, dark = style.split(":root {")[3:]
    assert light.startswith(" --brand: #5B1A4C; --ink: #1B1420; --muted: #5A4F5E; }")
    assert dark.startswith(" --brand: #E2A9D3; --ink: #E6EBF0; --muted: #A4B1BE; }"), (
        "dark screens keep what is not named"
    )


def test_the_same_bytes_each_time(dressed: Bundle, tmp_path: Path) -> None:
    again = look_case(tmp_path)
    names = ["report.html", "report.pdf"] if ALL else ["report.html"]
    render(again, ["html", "pdf"] if ALL else ["html"])
    for name in names:
        assert (again.root / name).read_bytes() == (dressed.root / name).read_bytes()


@pytest.mark.parametrize("profile", ["PDF_A_3A", "PDF_UA_1"])
def test_the_pdf_stays_archivable_and_accessible(dressed: Bundle, profile: str) -> None:
    report = page.validate_pdf_bytes(
        (dressed.root / "report.pdf").read_bytes(), profile=getattr(page.ValidationProfile, profile)
    )
    assert [str(f) for f in report.failures if f.rule_id != "PDFA3A-STREAM-LENGTH-001"] == []


def test_settings_hold_what_the_file_says() -> None:
    assert settings().fill == ("kicker.j2", "foot.j2", "cover.j2", "committee.j2", "approvals.j2")


def test_a_bundle_to_hand_out_says_what_was_left_out(tmp_path: Path) -> None:
    """There a number may be missing that text and template refer to: it is said, and the report is drawn."""
    bundle = look_case(tmp_path)
    manifest = bundle.manifest()
    told = {"S2": {"file": "s.md", "sha256": "0" * 64, "text": 'Brier {{ metric("performance.gone") }}.'}}
    template: Any = manifest.facts["template"]
    files = template["files"] | {"committee.j2": {"base64": base64.b64encode(b'<p>{{ metric("a.b") }}</p>').decode()}}
    facts: Any = manifest.facts | {"narrative": told, "template": template | {"files": files}}
    bundle.write_manifest(manifest.model_copy(update={"facts": facts}))
    with pytest.raises(SpecError, match=r"^committee\.j2:1: unknown metric 'a\.b'"):
        render(bundle, ["html"])
    shared = {"of": "AR-0", "tables": 1, "files": 1, "numbers": 1, "min_n": 10}
    bundle.write_manifest(manifest.model_copy(update={"facts": facts | {"shared": shared}}))
    render(bundle, ["html"])
    page = (bundle.root / "report.html").read_text("utf-8")
    assert 'Brier <span class="from">left out</span>.' in page
    assert '<p><span class="from">left out</span></p>' in page
