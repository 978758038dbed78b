"""A person's Markdown: what may stand in it, which numbers it types by hand, and how it is drawn.

Paragraphs, lists, tables, emphasis, code and references to evidence; no HTML, no links or pictures of theirs, and
headings as bold lines, since the report numbers its own.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from audit.report.blocks import Said
from audit.report.reference import Reference, WrongReferenceError, parse
from audit.report.text import visible

CODE = ("code_inline", "code_block", "fence")
"""What is printed as it is typed; its numbers are numbers."""

OFF = ["image", "link", "autolink", "reference", "entity"]

CITED = (
    r"(?:articles?|arts?\.?|sections?|secs?\.?|§+|clauses?|annex(?:es)?|chapters?|paragraphs?|paras?\.?|pages?|p\.|pp\.|"
    r"versions?|regulations?|directives?|circulars?|bulletins?|standards?|tables?|figures?|"
    r"appendix|appendices|points?|items?|steps?|titles?|nos?\.?|cfr|usc|u\.s\.c\.|iso(?:/iec)?|ieee|"
    r"tiers?|schedules?|principles?|recitals?)"
)
MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
NUMBER = r"\d{1,99}(?:[.,\u00a0\u202f]\d{1,99}){0,9}"
"""Bounded, as all repetitions here: a text of one word must not take longer than one of many."""

PLACE = rf"{NUMBER}(?:[.(/:–-]\w{{1,99}}\)?){{0,9}}"
PASSED = re.compile(
    # Article 22(1), section 4.2
    rf"(?<!\w){CITED}\s*(?:[IVXLC]+\s+)?{PLACE}(?:\s{{0,9}}(?:,|and|or|to|–|-)\s{{0,9}}{PLACE}){{0,9}}"
    rf"|\b{NUMBER}\s+(?:cfr|usc|u\.s\.c\.|rcny)(?!\w)(?:\s*§*\s*{PLACE})?"  # 12 CFR 1002.9(a)(2)
    r"|\b\d{4}-\d{2}-\d{2}\b"
    rf"|\b\d{{1,2}}\s+{MONTH}(?:\s+\d{{4}})?|\b{MONTH}\s+\d{{1,2}}(?:,?\s+\d{{4}})?\b"
    r"|\bQ[1-4]\b|\b(?:19|20)\d\d(?:\s*[/–-]\s*\d{2,4})?\b"  # quarters, years
    r"|(?<!\w)[^\W\d_][\w.–-]{0,99}[/–-]?\d[\w./–-]{0,99}"  # names with digits: S7, SS1/23, ISO-42001, G-3FA2C1
    r"|\b(?:SR|SS|OCC|FIL|PS|CP)\s+\d[\d./–-]*"  # letters of supervisors
    r"|\b\d+/\d+(?:/\d+)?\b|\b\d+(?:st|nd|rd|th)\b",  # numbers of acts, ordinals
    re.IGNORECASE,
)
"""Numbers that are names and not measurements: dates, citations, sections, acts, ids."""


@dataclass(frozen=True)
class Remark:
    """Something about a line of a text."""

    line: int
    text: str


@dataclass(frozen=True)
class Read:
    """What a text holds.

    Attributes:
        wrong: what may not stand there.
        references: the references by how they are written, with the line where each stands first.
        typed: numbers that its author typed, and that are no dates, citations or names.
    """

    wrong: tuple[Remark, ...]
    references: Mapping[str, tuple[int, Reference]]
    typed: tuple[Remark, ...]


def read(markdown: str) -> Read:
    """What a text holds, line by line."""
    wrong, typed = [], []
    references: dict[str, tuple[int, Reference]] = {}
    for line, token in _lines(markdown):
        if token.type in {"html_inline", "html_block"}:
            tag = " ".join(token.content.split())[:40]
            if not tag.startswith("</"):
                wrong.append(Remark(line, f"{tag}: HTML is not allowed in a text; write Markdown, or put it in `code`"))
        elif token.type == "reference":
            try:
                references.setdefault(token.content, (line, parse(token.content)))
            except WrongReferenceError as error:
                wrong.append(Remark(line, str(error)))
        elif token.type in CODE:
            lines = enumerate(token.content.split("\n"), start=line + (token.type == "fence"))
            typed += [Remark(at, number) for at, part in lines for number in typed_numbers(part)]
        elif token.type == "text":
            if "{%" in token.content or "{#" in token.content or "{{" in token.content:
                wrong.append(
                    Remark(line, "only {{ metric(...) }}, {{ gate(...) }} and {{ finding(...) }} are known here")
                )
            typed += [Remark(line, number) for number in typed_numbers(token.content)]
    return Read(tuple(wrong), references, tuple(typed))


def typed_numbers(told: str) -> list[str]:
    """The numbers in a text that are no dates, citations, sections or ids."""
    left = PASSED.sub(lambda found: " " * len(found.group()), told)
    return [found.group().strip() for found in re.finditer(rf"{NUMBER}(?:[\s\u00a0]?%)?", left)]


def _lines(markdown: str) -> Iterator[tuple[int, Any]]:
    """Each piece of text and HTML, and each reference, with its line from 1."""
    for block in _reader(html=True).parse(markdown):
        line = (block.map[0] if block.map else 0) + 1
        if block.type in {"html_block", "code_block", "fence"}:
            yield line, block
        for token in block.children or ():
            yield line, token
            line += token.type in {"softbreak", "hardbreak"}
            line += token.content.count("\n") if token.type in {"code_inline", "html_inline"} else 0


def drawn(markdown: str, said: Mapping[str, Said], shown: frozenset[int] | None) -> str:
    """The text as HTML, references as links to their evidence; one that leads nowhere stays as it was written.

    Args:
        shown: the code points that can be drawn, None for all.
    """
    reader = _reader(html=False)
    tokens = reader.parse(markdown)
    for token in (inner for block in tokens for inner in (block, *(block.children or ()))):
        if token.type in {"text", "code_inline", "code_block", "fence"}:
            token.content = visible(token.content, shown)
            token.info = ""
        token.attrs = {}
    reader.add_render_rule("reference", lambda _, tokens, i, *__: _reference(tokens[i].content, said, shown))
    reader.add_render_rule("heading_open", lambda *_: '<p class="prose-head">')
    reader.add_render_rule("heading_close", lambda *_: "</p>\n")
    reader.add_render_rule(
        "table_open", lambda *_: '<div class="scroll" role="group" tabindex="0" aria-label="Table">\n<table>'
    )
    reader.add_render_rule("table_close", lambda *_: "</table></div>\n")
    reader.add_render_rule("th_open", lambda *_: '<th scope="col">')
    return str(reader.renderer.render(tokens, reader.options, {}))


def _reference(written: str, said: Mapping[str, Said], shown: frozenset[int] | None) -> str:
    told = said.get(written)
    if told is None:
        return escape(visible(f"{{{{ {written} }}}}", shown))
    content = escape(visible(told.text, shown))
    return (
        f'<a class="from" href="{escape(told.href)}">{content}</a>'
        if told.href
        else f'<span class="from">{content}</span>'
    )


def _reader(*, html: bool) -> Any:
    from markdown_it import MarkdownIt

    reader = MarkdownIt("commonmark", {"html": html}).enable("table").disable(OFF)
    reader.inline.ruler.before("escape", "reference_of_evidence", _find)
    return reader


def _find(state: Any, silent: bool) -> bool:
    """The rule of the reader that finds `{{ ... }}`."""
    end = state.src.find("}}", state.pos + 2)
    if not state.src.startswith("{{", state.pos) or end < 0:
        return False
    if not silent:
        state.push("reference", "", 0).content = " ".join(state.src[state.pos + 2 : end].split())
    state.pos = end + 2
    return True
