"""What people wrote for the report: the opinion and the narrative, read and checked before the work."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from pydantic import JsonValue

from audit.bundle import Bundle
from audit.core.base import sha256
from audit.core.errors import SpecError
from audit.core.evidence import Note
from audit.engine.files import Steps, existing, said
from audit.engine.look import Kept, read_look
from audit.report.markdown import Read, read
from audit.report.narrative import wrong
from audit.report.source import Source
from audit.spec.check import task_ids
from audit.spec.load import Loaded
from audit.spec.messages import unknown

LARGEST = 256 * 1024
"""Bytes of a text: more than anybody reads of one section."""

LISTED = 20


@dataclass(frozen=True)
class Text:
    """A Markdown file, word for word, under the name that the spec has for it."""

    file: str
    text: str


@dataclass(frozen=True)
class Texts:
    """All texts that the spec names.

    Attributes:
        narrative: by the section that each stands in.
        look: the template of the report, where it is not that of this tool.
    """

    opinion: Text | None
    narrative: Mapping[str, Text]
    look: Kept | None = None

    @property
    def all(self) -> tuple[Text, ...]:
        """Each of them once."""
        return tuple(dict.fromkeys([*([self.opinion] if self.opinion else []), *self.narrative.values()]))

    def facts(self) -> dict[str, Any]:
        """Narrative and template as the manifest holds them, so that the report needs the bundle only."""
        told = {
            section: {"file": given.file, "sha256": sha256(given.text.encode("utf-8")), "text": given.text}
            for section, given in self.narrative.items()
        }
        return {"narrative": told, "template": self.look.facts() if self.look else None}

    def notes(self) -> tuple[Note, ...]:
        """A note for each text or template in which numbers were typed that no evidence stands behind."""
        found = [(given.file, read(given.text).typed) for given in self.all]
        if self.look is not None:
            found += [(f"{self.look.folder}/{name}", typed) for name, typed in self.look.typed().items()]
        notes = []
        for file, remarks in found:
            typed = [f"{remark.text} (line {remark.line})" for remark in remarks]
            if typed:
                args: dict[str, JsonValue] = {"file": file, "count": len(typed), "numbers": list(typed[:LISTED])}
                notes.append(Note(code="typed_numbers", severity="info", args=args))
        return tuple(notes)

    def check(self, bundle: Bundle) -> None:
        """Refuses a reference to what the evidence of this bundle does not hold.

        Raises:
            SpecError: with file and line, and the nearest names.
        """
        source = Source(bundle)
        problems = [line for given in self.all for line in wrong(source, _base(given.file), given.text)]
        if problems:
            raise SpecError(problems)


def read_texts(loaded: Loaded) -> Texts:
    """The texts of a spec, checked as far as that can be done before anything is measured.

    Raises:
        SpecError: a file is missing or no text, holds HTML, or refers to what the spec does not ask for.
    """
    report = loaded.spec.report
    opinion = None
    if report.opinion is not None and report.opinion.text is not None:
        opinion = _read(loaded, ("report", "opinion", "text"), report.opinion.text)
    narrative = {s: _read(loaded, ("report", "narrative", s), name) for s, name in report.narrative.items()}
    texts = Texts(opinion, narrative)
    problems = [line for given in texts.all for line in _problems(loaded, given)]
    if problems:
        raise SpecError(problems)
    return replace(texts, look=read_look(loaded))


def _read(loaded: Loaded, steps: Steps, name: str) -> Text:
    path = existing(loaded, steps, name, beside=True)
    if path.stat().st_size > LARGEST:
        text = f"{name} has {path.stat().st_size} bytes; a text has at most {LARGEST}"
        raise SpecError(said(loaded, steps, text))
    content = path.read_bytes()
    try:
        return Text(name, content.decode("utf-8-sig").replace("\r\n", "\n"))
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise SpecError(f"{_base(name)}:{line}: not UTF-8 text; save the file as UTF-8") from error


def _problems(loaded: Loaded, given: Text) -> Iterator[str]:
    content = read(given.text)
    lines = [(remark.line, remark.text) for remark in content.wrong]
    lines += _references(loaded, content)
    yield from (f"{_base(given.file)}:{line}: {sentence}" for line, sentence in sorted(lines))


def _references(loaded: Loaded, content: Read) -> Iterator[tuple[int, str]]:
    """References to methods and gates that the spec does not have; metrics are known once they are measured."""
    tasks = ["sample", *task_ids(loaded.spec)]
    gates = [name for gate in loaded.spec.gates for name in (gate.metric, gate.id)]
    for line, reference in content.references.values():
        task = reference.name.rpartition(".")[0]
        if reference.call == "metric" and task not in tasks:
            yield line, f"{reference.name!r}: {unknown('method', task, tasks)}"
        if reference.call == "gate" and reference.name not in gates:
            yield line, unknown("gate", reference.name, gates)


def _base(name: str) -> str:
    return PurePath(name).name
