"""The regulatory crosswalk: dated data on laws and guidance, and which evidence of this audit speaks to what.

It says where evidence is, never that a requirement is met.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from functools import cache
from typing import Any, Literal

import yaml

from audit.core.base import Frozen
from audit.report import text
from audit.report.blocks import Block, Cell, Column, Grid, Heading, Para
from audit.report.source import Source
from audit.resources import folder

LawStatus = Literal["in force", "withdrawn", "repealed", "deferred", "historical"]
Answer = Literal["evidence provided", "partial", "needs organisation input", "not applicable", "not assessed"]

ANSWERS: dict[Answer, str] = {
    "evidence provided": "Every section named holds evidence. Whether it suffices is for the reader.",
    "partial": "Some of the sections named hold evidence, or the organisation must add to it.",
    "needs organisation input": "A tool cannot supply it.",
    "not applicable": "The text is withdrawn or repealed.",
    "not assessed": "No section named holds evidence in this audit.",
}
"""The only words that may stand beside a law, and when. They are no verdicts, so they have neither mark nor colour."""

MEANINGS = {
    "in force": "adopted, and not withdrawn when it was checked",
    "deferred": "adopted, but its duties begin at a later date",
    "historical": "no longer in force; shown because policies still cite it",
    "withdrawn": "taken back",
    "repealed": "no longer law",
}
STATED: dict[str, tuple[str, ...]] = {
    "S0": ("manifest",),
    "S1": ("results",),
    "S2": ("spec",),
    "S3": ("manifest",),
    "S4": ("manifest",),
    "S5": ("spec",),
    "S6": ("manifest",),
    "S16": ("manifest",),
    "S17": ("results",),
    "S21": ("manifest",),
}
"""Sections that are drawn from the record of the audit itself, with the file of the bundle that holds it."""

OPEN = frozenset({"S0", "S2", "S3", "S4", "S16", "S18"})
"""Sections of which a part always needs the organisation."""

THEIRS = frozenset({"S18"})
"""Sections that only the organisation can fill."""

OPTIONAL = frozenset({"S12", "S15", "F"})
"""Sections for images and for remedies, and the sheets for single people: they count where they hold evidence, and are
not missed where they do not."""

SHEETS = "F"

STALE = 183
"""Days after which sources should be checked again."""


class LawDate(Frozen):
    """A date of an instrument; `day` is a day, a year as text, or None where no date was checked."""

    what: str
    day: date | str | None


class Requirement(Frozen):
    """One clause or topic, with the standing of its text, who checked it how and when, and where evidence would be.

    Attributes:
        how: `primary` only where the primary source itself was read.
        organisation: what a tool cannot supply.
    """

    clause: str
    title: str
    status: LawStatus
    dates: tuple[LawDate, ...]
    source: str
    checked: date
    how: Literal["primary", "secondary"]
    sections: tuple[str, ...]
    organisation: str = ""
    limit: str = ""


class Instrument(Frozen):
    """A law, rule or standard, with the clauses that this report can speak to."""

    instrument: str
    title: str
    status: LawStatus
    dates: tuple[LawDate, ...]
    source: str
    checked: date
    how: Literal["primary", "secondary"]
    note: str = ""
    rows: tuple[Requirement, ...]


@cache
def instruments() -> tuple[Instrument, ...]:
    """All instruments, by their id."""
    paths = sorted((folder("templates") / "crosswalk").glob("*.yaml"))
    return tuple(_instrument(yaml.safe_load(path.read_text("utf-8"))) for path in paths)


def _instrument(content: dict[str, Any]) -> Instrument:
    """An instrument whose rows inherit what they do not state."""
    shared = {key: content[key] for key in ("status", "dates", "source", "checked", "how")}
    rows = tuple(Requirement.model_validate(_tuples({**shared, **row})) for row in content["rows"])
    return Instrument.model_validate(_tuples({**content, "rows": rows}))


def _tuples(content: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in content.items()}


def as_of() -> str:
    """The day on which the oldest of the sources was checked."""
    return min(one.checked for one in instruments()).isoformat()


def answer(row: Requirement, shown: Mapping[str, Sequence[str]]) -> tuple[Answer, tuple[str, ...]]:
    """The status of a row in an audit, and the evidence behind it.

    Args:
        shown: the evidence that each section holds.
    """
    if row.status in {"withdrawn", "repealed"}:
        return "not applicable", ()
    asked = [name for name in row.sections if name not in OPTIONAL or shown.get(name)]
    held = [name for name in asked if shown.get(name)]
    evidence = tuple(dict.fromkeys(one for name in held for one in shown[name]))
    if not held:
        return "needs organisation input" if row.organisation and set(asked) <= THEIRS else "not assessed", ()
    whole = len(held) == len(asked) and not row.organisation and not OPEN & set(asked)
    return "evidence provided" if whole else "partial", evidence


def crosswalk(source: Source, placed: Mapping[str, Sequence[str]]) -> Iterator[Block]:
    """S20: what each text asks, where evidence stands, and what it rests on.

    Args:
        placed: the ids of usable evidence by the section that shows it.
    """
    chosen = _chosen(source)
    if not chosen:
        return
    shown = _shown(source, placed)
    yield Para(
        "This section says where evidence stands for which topic of which text. It does not say that a text applies to "
        "the organisation or that it is met, and it is not legal advice. Bars come from the spec, never from a law."
    )
    yield Para(_dated(source))
    rows = tuple((Cell(text.sentence(word)), Cell(said)) for word, said in ANSWERS.items())
    yield Grid("Statuses", (Column("Status"), Column("It is printed when")), rows, name="crosswalk-statuses")
    for one in chosen:
        yield Heading(one.title, anchor=f"law-{one.instrument}")
        yield Para(_standing(one))
        yield _rows(one, shown)


def _chosen(source: Source) -> tuple[Instrument, ...]:
    """The instruments that the spec asks for, or all of them."""
    asked = source.facts("crosswalk")
    return tuple(one for one in instruments() if asked is None or one.instrument in asked)


def _shown(source: Source, placed: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """The evidence that each section holds; those drawn from the record of the audit name its file."""
    shown = {section: tuple(dict.fromkeys(names)) for section, names in placed.items()}
    if source.manifest.spec:
        for section, files in STATED.items():
            if section != "S17" or source.findings:
                shown[section] = (*files, *shown.get(section, ()))
    sheets = [
        record
        for record in source.given
        if any(table.name == "recourse_sheets" and table.rows for table in record.tables)
    ]
    if sheets:
        shown[SHEETS] = tuple(record.id for record in sheets)
    return shown


def _dated(source: Source) -> str:
    said = f"State of the sources as checked by {as_of()}. "
    day = source.manifest.as_of
    if day and (date.fromisoformat(day) - date.fromisoformat(as_of())).days > STALE:
        said += f"That is more than six months before the date of this audit, {day}: check them again. "
    meanings = "; ".join(f"{status}: {meaning}" for status, meaning in MEANINGS.items())
    return f"{said}Status of a text: {meanings}. Secondary: only pages about the text were read, not the text itself."


def _standing(one: Instrument) -> str:
    """Status, dates, source and check of an instrument in one line."""
    standing = f"{text.sentence(one.status)}; {_dates(one.dates)}."
    return f"{standing} Source: {one.source}; checked {one.checked}, {one.how}. {one.note}".strip()


def _dates(dates: Sequence[LawDate]) -> str:
    return "; ".join(f"{d.what}: {d.day}" if d.day is not None else "no date was checked" for d in dates)


def _rows(one: Instrument, shown: Mapping[str, Sequence[str]]) -> Grid:
    rows = []
    for row in one.rows:
        status, evidence = answer(row, shown)
        rows.append(
            (
                Cell(f"{row.clause}: {row.title}"),
                _places(row.sections, shown),
                Cell(", ".join(evidence) or text.ABSENT),
                Cell(text.sentence(status)),
                Cell(_limits(one, row) or text.ABSENT),
            )
        )
    labels = ("Clause", "Sections", "Evidence", "Status", "Limit")
    caption = f"Where evidence stands: {one.instrument}"
    return Grid(caption, tuple(map(Column, labels)), tuple(rows), name=f"crosswalk-{one.instrument}")


def _places(sections: Sequence[str], shown: Mapping[str, Sequence[str]]) -> Cell:
    """The sections, each leading to itself; the sheets for single people stand in appendix F, where there are any."""
    named = [name for name in sections if name != SHEETS or shown.get(name)]
    links = tuple((f"appendix {name}", f"#appendix-{name}") if name == SHEETS else (name, f"#{name}") for name in named)
    return Cell(", ".join(name for name, _ in links) or text.ABSENT, links=links)


def _limits(one: Instrument, row: Requirement) -> str:
    """What a tool cannot supply, what limits the row, and its standing where that is not that of the instrument."""
    parts = [f"Needs organisation input: {row.organisation}" if row.organisation else "", row.limit]
    if (row.status, row.dates, row.source) != (one.status, one.dates, one.source):
        parts.append(f"{text.sentence(row.status)}; {_dates(row.dates)}. Source: {row.source}")
    if (row.checked, row.how) != (one.checked, one.how):
        parts.append(f"Checked {row.checked}, {row.how}")
    return ". ".join(part for part in parts if part)
