"""The HTML that a template may write: a few elements, well nested, written anew from what was read.

What comes out holds no script, style, address or element that is not on the list, is valid, and can be read by a
screen reader: text stands in paragraphs, lists and tables only, and tables have captions and heads.
"""

import re
from collections.abc import Callable
from html import escape
from html.parser import HTMLParser
from typing import Literal

INLINE = frozenset({"strong", "em", "code", "a", "br", "span"})
FLOW = frozenset({"p", "ul", "ol", "dl", "table", "h3"})
INSIDE: dict[str, frozenset[str]] = {
    "block": FLOW,
    "inline": INLINE,
    "ul": frozenset({"li"}), "ol": frozenset({"li"}), "dl": frozenset({"dt", "dd"}),
    "table": frozenset({"caption", "thead", "tbody"}), "thead": frozenset({"tr"}), "tbody": frozenset({"tr"}),
    "tr": frozenset({"th", "td"}), "li": INLINE | {"ul", "ol"}, "br": frozenset(),
    "a": INLINE - {"a"},
}  # fmt: skip
"""What may stand directly in what; in all others, what stands in a line."""

TEXTLESS = frozenset({"block", "ul", "ol", "dl", "table", "thead", "tbody", "tr"})
CLASSES = frozenset({"note", "lead", "small", "number", "code", "signature"})
HREF = re.compile(r"#[A-Za-z0-9._-]{1,80}")
DEEPEST = 20


class WrongMarkupError(ValueError):
    """Markup that a template may not write.

    Attributes:
        hint: the element, attribute or text that is meant, to find its line in the template.
    """

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.hint = hint


def cleaned(markup: str, place: Literal["block", "inline"], show: Callable[[str], str]) -> str:
    """The markup, written anew.

    Args:
        place: whether paragraphs are wanted, or what stands in a line.
        show: how text becomes HTML.

    Raises:
        WrongMarkupError: it holds what is not allowed, or is not well nested.
    """
    reader = _Reader(place, show)
    reader.feed(markup)
    reader.close()
    return reader.whole()


class _Reader(HTMLParser):
    def __init__(self, place: str, show: Callable[[str], str]) -> None:
        super().__init__(convert_charrefs=True)
        self.open = [place]
        self.seen: list[set[str]] = [set()]
        self.parts: list[str] = []
        self.show = show

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        parent = self.open[-1]
        allowed = INSIDE.get(parent, INLINE)
        if tag not in allowed:
            where = {"block": "here", "inline": "in this line"}.get(parent, f"in <{parent}>")
            raise WrongMarkupError(f"<{tag}> cannot stand {where}; allowed: {_listed(allowed)}", tag)
        if len(self.open) > DEEPEST:
            raise WrongMarkupError(f"nested deeper than {DEEPEST}", tag)
        self._order(parent, tag)
        self.parts.append(f"<{tag}{''.join(self._attribute(tag, *pair) for pair in attrs)}>")
        if tag == "th" and not any(name == "scope" for name, _ in attrs):
            raise WrongMarkupError('<th> needs scope="col" or scope="row", for readers who hear the table', tag)
        if tag != "br":
            self.open.append(tag)
            self.seen.append(set())

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "br":
            raise WrongMarkupError(f"<{tag}/>: only <br/> closes itself", tag)
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if len(self.open) == 1 or self.open[-1] != tag:
            raise WrongMarkupError(f"</{tag}> closes nothing that is open", f"/{tag}")
        if tag in {"ul", "ol", "dl", "table", "tr", "tbody", "thead"} and not self.seen[-1]:
            raise WrongMarkupError(f"<{tag}> is empty", tag)
        if tag == "table" and not {"caption", "tbody"} <= self.seen[-1]:
            raise WrongMarkupError("<table> needs a <caption> first, and a <tbody>", tag)
        self.open.pop()
        self.seen.pop()
        self.parts.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if self.open[-1] not in TEXTLESS:
            self.parts.append(self.show(data))
        elif data.strip():
            inside = "a paragraph" if self.open[-1] == "block" else "a cell or an item"
            raise WrongMarkupError(
                f"text stands outside of {inside}: {' '.join(data.split())[:40]!r}", data.strip()[:20]
            )

    def handle_comment(self, data: str) -> None:
        raise WrongMarkupError("comments of HTML are not kept; write {# ... #}", "!--")

    def handle_decl(self, decl: str) -> None:
        raise WrongMarkupError("a template is a part of a page; remove the <!...>", "!")

    def unknown_decl(self, data: str) -> None:
        self.handle_decl(data)

    def handle_pi(self, data: str) -> None:
        raise WrongMarkupError("<?...> is not allowed", "?")

    def whole(self) -> str:
        """What was written, if all is closed."""
        if len(self.open) > 1:
            raise WrongMarkupError(f"<{self.open[-1]}> is not closed", self.open[-1])
        if self.rawdata:
            raise WrongMarkupError(f"cannot be read from {self.rawdata[:20]!r} on", self.rawdata[:20])
        return "".join(self.parts).strip()

    def _order(self, parent: str, tag: str) -> None:
        seen = self.seen[-1]
        if parent == "table" and (tag in seen or (tag != "caption" and "caption" not in seen) or "tbody" in seen):
            raise WrongMarkupError("a table is <caption>, <thead>, <tbody>, each once and in this order", tag)
        if parent == "dl" and tag == "dd" and "dt" not in seen:
            raise WrongMarkupError("<dd> needs a <dt> before it", tag)
        seen.add(tag)

    @staticmethod
    def _attribute(tag: str, name: str, value: str | None) -> str:
        value = value or ""
        if name == "class" and set(value.split()) <= CLASSES:
            return f' class="{escape(value)}"'
        if name == "href" and tag == "a" and HREF.fullmatch(value):
            return f' href="{escape(value)}"'
        if name == "scope" and tag == "th" and value in {"col", "row"}:
            return f' scope="{value}"'
        hints = {"class": f"classes are {_listed(CLASSES)}", "href": "a link leads into the report, as #S7"}
        hint = hints.get(name, "allowed are class, href on <a> and scope on <th>")
        raise WrongMarkupError(f"{name}={value[:40]!r} on <{tag}>: {hint}", name)


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"
