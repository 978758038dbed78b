"""Texts of people in the report: the auditor's opinion, and what the organisation says of a section."""

from collections.abc import Iterator

from audit.report.blocks import Block, Heading, Para, Prose, Said
from audit.report.markdown import read
from audit.report.reference import LEFT_OUT, WrongReferenceError, say
from audit.report.source import Source

HEADING = "In the organisation's words"


def prose(source: Source, markdown: str) -> Prose:
    """A text with what its references say; one that leads nowhere is shown as it was written."""
    said: dict[str, Said] = {}
    for written, (_, reference) in read(markdown).references.items():
        try:
            said[written] = say(source, reference)
        except WrongReferenceError:
            if source.facts("shared"):
                said[written] = LEFT_OUT
    return Prose(markdown, said)


def told(source: Source, section: str) -> Iterator[Block]:
    """What the organisation says of a section; nothing where the spec names no text for it."""
    entry = source.facts("narrative", section)
    if not entry:
        return
    yield Heading(HEADING, anchor=f"{section}-narrative")
    yield prose(source, str(entry.get("text") or ""))
    yield Para(
        f"Text of the organisation ({entry.get('file')}). A number that is a link comes from the evidence; any other "
        "is the author's own statement and was not checked.",
        "small",
    )


def wrong(source: Source, file: str, markdown: str) -> list[str]:
    """What is wrong with a text against this evidence, each with file and line."""
    content = read(markdown)
    found = [(remark.line, remark.text) for remark in content.wrong]
    for line, reference in content.references.values():
        try:
            say(source, reference)
        except WrongReferenceError as error:
            found.append((line, str(error)))
    return [f"{file}:{line}: {sentence}" for line, sentence in sorted(found)]
