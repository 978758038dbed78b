"""Numbers that somebody typed into a template, in text that is printed as it stands or in what is written out."""

from collections.abc import Iterator, Sequence
from html import unescape

from audit.report.markdown import Remark, typed_numbers

CALLS = frozenset({"metric", "gate", "finding"})
"""References: what stands in their brackets names evidence."""


def typed_in_template(source: str) -> tuple[Remark, ...]:
    """The numbers in a template of Jinja, in the order in which they stand, with their lines.

    Static text counts, and what is written out (`{{ 0.9 }}`) or put into a name for it (`{% set x = 0.9 %}`), but not
    what a reference says. Comments are printed nowhere.
    """
    import jinja2

    found: list[Remark] = []
    inside: list[tuple[int, str, str]] = []
    for line, kind, text in jinja2.Environment(autoescape=True).lex(source):
        if kind == "data":
            found += _in_text(line, text)
        elif kind in {"variable_begin", "block_begin"}:
            inside = []
        elif kind in {"variable_end", "block_end"}:
            found += _written(inside, block=kind == "block_end")
        elif kind != "whitespace":
            inside.append((line, kind, text))
    return tuple(found)


def _written(tokens: Sequence[tuple[int, str, str]], *, block: bool) -> Iterator[Remark]:
    """The numbers in an expression that is written out; of statements, `set` alone writes what stands in it."""
    if block and not (tokens and tokens[0][2] == "set"):
        return
    depth = 0
    for i, (line, kind, text) in enumerate(tokens):
        if depth or (text == "(" and i and tokens[i - 1][2] in CALLS):
            depth += {"(": 1, ")": -1}.get(text, 0) if kind == "operator" else 0
        elif kind in {"integer", "float"}:
            yield Remark(line, text)
        elif kind == "string":
            yield from _in_text(line, text[1:-1])


def _in_text(first: int, text: str) -> Iterator[Remark]:
    for line, part in enumerate(text.split("\n"), start=first):
        yield from (Remark(line, number) for number in typed_numbers(unescape(part)))
