"""Which section a piece of evidence belongs to, and why a section is empty."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import yaml

from audit.report import text
from audit.report.blocks import Block, Fragment, Look, Para, Portion, Section
from audit.report.source import Source
from audit.report.words import Words, kinds_of, words_of
from audit.resources import folder

OTHERS = "Results"
"""The portion where evidence goes whose kind names no section of ours: a section of its own, called after the kind."""


@dataclass(frozen=True)
class Outline:
    """A section as `sections.yaml` lists it."""

    id: str
    title: str
    absent: str


@cache
def outline() -> tuple[tuple[str, tuple[Outline, ...]], ...]:
    """Portions in reading order, each with its sections."""
    content = yaml.safe_load((folder("templates") / "report" / "sections.yaml").read_text("utf-8"))
    return tuple(
        (p["title"], tuple(Outline(s["id"], s["title"], s.get("absent", "")) for s in p["sections"])) for p in content
    )


def portions(
    source: Source, blocks: Mapping[str, Sequence[Block]], told: Mapping[str, Sequence[Block]]
) -> tuple[Portion, ...]:
    """The sections with what they say; within a portion those with nothing to say come last, in one line each.

    Args:
        told: what people say of a section; it stands first, and takes the place of nothing that was or was not tested.
    """
    known = {entry.id for _, outlines in outline() for entry in outlines}
    built = []
    for title, outlines in outline():
        sections = [
            _section(source, entry, tuple(blocks.get(entry.id, ())), tuple(told.get(entry.id, ())))
            for entry in outlines
        ]
        if title == OTHERS:
            others = [(kind, tuple(b)) for kind, b in blocks.items() if kind not in known]
            sections += [Section(f"M{i}", words_of(kind).title, b) for i, (kind, b) in enumerate(others, start=1)]
        sections.sort(key=lambda section: not section.blocks)
        built.append(Portion(title, tuple(sections)))
    return tuple(built)


def dressed(portions: Sequence[Portion], look: Look) -> tuple[Portion, ...]:
    """The portions with what a template adds to them; what was there stays."""
    ours: dict[str, list[Section]] = {}
    for id_, title, after, markup in look.sections:
        ours.setdefault(after, []).append(Section(id_, title, (Fragment(markup, look.name),)))
    built = []
    for portion in portions:
        sections: list[Section] = []
        for section in portion.sections:
            sections += [_framed(section, look), *ours.get(section.id, ())]
        built.append(replace(portion, sections=tuple(sections)))
    return tuple(built)


def _framed(section: Section, look: Look) -> Section:
    before, after = (
        tuple(Fragment(look.places[place], look.name) for place in (f"{section.id}.{end}",) if place in look.places)
        for end in ("start", "end")
    )
    if not before + after:
        return section
    return replace(section, blocks=before + (section.blocks or (Para(section.absent),)) + after, absent="")


def section_of(wording: Words) -> str:
    """The section of a kind: as its file says, or one of its own under the name of the kind."""
    known = {entry.id for _, outlines in outline() for entry in outlines}
    return wording.section if wording.section in known else wording.kind


def _section(source: Source, entry: Outline, blocks: tuple[Block, ...], told: tuple[Block, ...]) -> Section:
    if told and not blocks and entry.absent != "organisation":
        blocks = (Para(_absent(source, entry)),)
    whole = told + blocks
    return Section(entry.id, entry.title, whole, "" if whole else _absent(source, entry))


def _absent(source: Source, entry: Outline) -> str:
    """The reason in one sentence: not in the spec, not in this version, or not for a tool to know."""
    if entry.absent == "organisation":
        return "Needs input from the organisation: the tool cannot know it, and the spec does not say it."
    kinds = kinds_of(entry.id)
    if kinds:
        offered = ", ".join(words_of(kind).title for kind in kinds)
        return f"Not tested: the spec asks for no method of this section. This version offers: {offered}."
    if entry.absent == "later":
        return "Not tested: not yet available in this version."
    return entry.absent or text.sentence("not tested: the spec does not ask for it.")
