"""The plain view model: what a report says, without saying how it is drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from audit.report.figures import Figure

SHORT_CODE = 17
"""A code with fewer characters stays on one line."""

Tone = Literal["pass", "warn", "fail", "none", "plain"]


@dataclass(frozen=True)
class Badge:
    """A status: a word, a mark and a tone; never the colour alone."""

    word: str
    mark: str
    tone: Tone


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        look: how it is set; `code` is monospaced, `faint` is for groups too small to judge.
        shade: 0 to 9 in a heat map, else None.
        sort: what the script sorts by, where the text will not do.
        links: the parts of a text that lists things, each with where it leads; empty where it leads nowhere.
    """

    text: str
    look: Literal["text", "number", "code", "faint"] = "text"
    badge: Badge | None = None
    shade: int | None = None
    href: str = ""
    sort: str = ""
    links: tuple[tuple[str, str], ...] = ()

    @property
    def classes(self) -> str:
        """The classes that it is drawn with."""
        if self.look == "code":
            return "code short" if len(self.text) < SHORT_CODE else "code"
        if self.shade is not None:
            return f"{self.look} h{self.shade}"
        return "" if self.look == "text" else self.look

    @property
    def simple(self) -> bool:
        """Whether it is its text and no more."""
        return self.badge is None and not self.href and not self.sort and not self.links and self.look != "code"


@dataclass(frozen=True)
class Column:
    """A column of a table, with what its numbers mean."""

    label: str
    numeric: bool = False
    meaning: str = ""


@dataclass(frozen=True)
class Grid:
    """A table; the first column heads its row.

    Attributes:
        note: what the reader must know of it: what was left out, what the intervals cover.
        tool: the table can be sorted and filtered on screen.
        heat: cells are shaded.
    """

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    tool: bool = False
    heat: bool = False
    name: str = ""

    @property
    def widths(self) -> tuple[int, ...]:
        """The width of each column on paper in per cent, so that nobody must try them out."""
        return column_widths([column.label for column in self.columns], self.rows)


@dataclass(frozen=True)
class Fact:
    """A label with what is known."""

    label: str
    text: str
    look: Literal["text", "code"] = "text"


@dataclass(frozen=True)
class Facts:
    """A list of facts."""

    items: tuple[Fact, ...]


@dataclass(frozen=True)
class Para:
    """A paragraph; a `callout` has a status, `quote` is the words of a person."""

    text: str
    look: Literal["text", "lead", "small"] = "text"


@dataclass(frozen=True)
class Callout:
    """Something that must not be read over."""

    title: str
    text: str
    badge: Badge


@dataclass(frozen=True)
class Said:
    """What a reference in a text says, and the anchor of its evidence; empty where there is none."""

    text: str
    href: str = ""


@dataclass(frozen=True)
class Prose:
    """A person's text in Markdown, and what each reference in it says."""

    markdown: str
    said: Mapping[str, Said] = field(default_factory=dict)


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Code:
    """A text verbatim, with its line numbers."""

    caption: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Heading:
    """A heading inside a section."""

    text: str
    anchor: str = ""
    badge: Badge | None = None


@dataclass(frozen=True)
class GateView:
    """A gate with its outcome in words; `waived` says until when and by whom it is accepted."""

    id: str
    label: str
    scope: str
    required: str
    measured: str
    interval: str
    n: str
    badge: Badge
    severity: str
    reason: str
    owner: str = ""
    source: str = ""
    waived: str = ""


@dataclass(frozen=True)
class FindingView:
    """A finding in words.

    Attributes:
        waived: until when, by whom and why it is accepted.
        links: each piece of evidence with the anchor of the section that shows it.
    """

    id: str
    severity: str
    badge: Badge
    title: str
    text: str
    action: str
    owner: str
    evidence: tuple[str, ...]
    gate: bool
    fails: bool
    anchor: str = ""
    waived: str = ""
    links: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class FindingCards:
    """Findings, one under the other."""

    items: tuple[FindingView, ...]


@dataclass(frozen=True)
class GateStrip:
    """Gates as tiles; `more` were left out."""

    items: tuple[GateView, ...]
    more: int = 0


@dataclass(frozen=True)
class Fragment:
    """HTML of a template of the organisation, read and written anew by `markup`; `name` says whose it is."""

    markup: str
    name: str


@dataclass(frozen=True)
class Look:
    """A look of the organisation's own; all HTML in it is that of `logo` and `markup`.

    Attributes:
        style, paged_style: CSS of its colours, for screens and for paper.
        places: what it adds, or puts in place of a line, by place.
        sections: id, title, the section before, and content of each section of its own.
    """

    name: str
    logo: str
    style: str
    paged_style: str
    places: Mapping[str, str]
    sections: tuple[tuple[str, str, str, str], ...]


Block = Fragment | Grid | Facts | Para | Callout | Prose | Bullets | Code | Heading | FindingCards | GateStrip | Figure


@dataclass(frozen=True)
class Section:
    """A section by its stable id.

    Attributes:
        id: S0 to S21, M1 and so on for a method that names no section of ours, A to C and F for an appendix.
        absent: why there is nothing to say; empty where there are blocks.
    """

    id: str
    title: str
    blocks: tuple[Block, ...] = ()
    absent: str = ""

    @property
    def anchor(self) -> str:
        """The anchor of its heading."""
        return f"appendix-{self.id}" if len(self.id) == 1 else self.id


@dataclass(frozen=True)
class Portion:
    """Sections that belong together, in reading order."""

    title: str
    sections: tuple[Section, ...]


@dataclass(frozen=True)
class Cover:
    """The first page."""

    kicker: str
    title: str
    subtitle: str
    opinion_label: str
    opinion: str
    opinion_text: str
    tone: Tone
    strip: GateStrip
    facts: tuple[Fact, ...]
    foot: str


@dataclass(frozen=True)
class Report:
    """All that a report says.

    Attributes:
        portions: the one list that both the contents and the headings are made of.
        look: the look of the organisation, where the spec names one.
    """

    id: str
    title: str
    as_of: str
    payload: str
    tool: str
    cover: Cover
    portions: tuple[Portion, ...] = ()
    look: Look | None = None
    badges: Sequence[Badge] = field(default_factory=tuple)

    @property
    def sections(self) -> tuple[Section, ...]:
        """All sections in reading order."""
        return tuple(section for portion in self.portions for section in portion.sections)


LINE = 108.0
"""Characters of the size of a table that stand on one line of a page."""

WIDEST = 260
"""A text longer than this takes no more room from the others."""

LONGEST = 30.0
"""A word longer than this may be broken."""


def column_widths(labels: Sequence[str], rows: Sequence[Sequence[Cell]]) -> tuple[int, ...]:
    """Widths in per cent: each column its longest word, the rest of the line by what the columns would like."""
    least, wish = [], []
    for i, label in enumerate(labels):
        column = [row[i] for row in rows]
        words = [1.1 * len(word) for word in label.split(" ")]
        least.append(min(max([*words, *map(_least, column)]), LONGEST) + 3)
        lengths = sorted(len(cell.text) for cell in column) or [0]
        usual = lengths[int(0.9 * (len(lengths) - 1))]  # one long text among short ones may take its lines
        wish.append(max(least[-1], min(max(usual, 1.1 * len(label)), WIDEST) + 3.0))
    room = LINE - sum(least)
    more = [w - low for w, low in zip(wish, least, strict=True)]
    if room > sum(more):
        least = wish
    elif room > 0:
        least = [low + room * m / sum(more) for low, m in zip(least, more, strict=True)]
    exact = [100 * low / sum(least) for low in least]
    return tuple(max(1, int(width)) for width in exact)


def _least(cell: Cell) -> float:
    if cell.badge:
        return len(cell.text) * 1.15 + 4
    if cell.look == "number":
        return float(len(cell.text))
    if cell.look == "code":
        return 1.1 * min(len(cell.text), 16)
    return float(max((len(word) for word in cell.text.split(" ")), default=0))
