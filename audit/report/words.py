"""Wording: what the files in `templates/words/` say of a kind, a metric, a note."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import yaml

from audit.core.evidence import Metric, Note
from audit.report import text
from audit.resources import folder

GENERAL = ("gate", "sample", "spec", "opinion", "waiver", "method", "verify", "narrative")
"""Files of wording that belong to no method: their notes are looked up for any evidence."""

CARD = ("purpose", "mechanism", "risk", "strengths", "limitations")


@dataclass(frozen=True)
class Words:
    """The wording of one kind; what its file does not say is made of the names themselves."""

    kind: str
    known: bool
    title: str
    section: str = ""
    card: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, Any] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)

    def label(self, metric: str) -> str:
        """How a metric is called."""
        return str(_entry(self.metrics, metric).get("label") or text.sentence(text.words(metric)))

    def definition(self, metric: str) -> str:
        """What a metric means; empty where the file does not say."""
        return str(_entry(self.metrics, metric).get("definition") or "")

    def form(self, metric: str, unit: str = "") -> str:
        """How a metric is written: number, percent, count or ratio."""
        stated = _entry(self.metrics, metric).get("format")
        if stated in text.FORMATS:
            return str(stated)
        return "count" if unit in {"rows", "count", "features", "levels", "instances"} else "number"

    def show(self, metric: Metric) -> str:
        """The value of a metric in its own form."""
        return text.FORMATS[self.form(metric.name, metric.unit)](metric.value)

    def caption(self, table: str) -> str:
        """The caption of a table."""
        return str(_entry(self.tables, table).get("caption") or text.sentence(text.words(table)))

    def meaning(self, table: str, column: str) -> str:
        """What a column of a table holds; empty where the file does not say."""
        columns = _entry(self.tables, table).get("columns")
        return str(columns.get(column) or "") if isinstance(columns, dict) else ""


@dataclass(frozen=True)
class Sentence:
    """A note in words."""

    title: str
    text: str
    action: str


@cache
def words_of(kind: str) -> Words:
    """The wording of a kind, from its file where there is one."""
    path = folder("templates") / "words" / f"{kind}.yaml"
    if not (kind.replace("_", "").isalnum() and path.is_file()):
        return Words(kind, known=False, title=text.sentence(text.words(kind)))
    content = _read(path.read_text("utf-8"))
    return Words(
        kind,
        known=True,
        title=str(content.get("title") or text.sentence(text.words(kind))),
        section=str(content.get("section") or ""),
        card={part: str(content[part]).strip() for part in CARD if content.get(part)},
        metrics=_mapping(content.get("metrics")),
        tables=_mapping(content.get("tables")),
        notes=_mapping(content.get("notes")),
    )


def kinds_of(section: str) -> tuple[str, ...]:
    """The kinds whose evidence is shown in a section, by their files."""
    kinds = sorted(path.stem for path in (folder("templates") / "words").glob("*.yaml"))
    return tuple(kind for kind in kinds if kind not in {*GENERAL, "sample"} and words_of(kind).section == section)


def say(note: Note, kind: str = "") -> Sentence:
    """A note in the words of its kind, of a general file, or failing both of its code and arguments."""
    for source in (kind, *GENERAL) if kind else GENERAL:
        entry = words_of(source).notes.get(note.code) if source else None
        if isinstance(entry, dict):
            return _spoken(entry, note)
    return _unworded(note)


def phrase(file: str, code: str, **args: Any) -> Sentence:
    """A sentence of ours from a general file."""
    return say(Note(code=code, args=args), file)


def _spoken(entry: Mapping[str, Any], note: Note) -> Sentence:
    from jinja2 import TemplateError

    try:
        parts = [_filled(str(entry.get(part) or ""), note.args) for part in ("title", "text", "action")]
    except (TemplateError, TypeError, ValueError):
        plain = _unworded(note)
        return Sentence(_title(entry, note), plain.text, "")
    return Sentence(parts[0] or text.sentence(text.words(note.code)), parts[1], parts[2])


def _title(entry: Mapping[str, Any], note: Note) -> str:
    title = str(entry.get("title") or "")
    return title if title and "{" not in title else text.sentence(text.words(note.code))


def _unworded(note: Note) -> Sentence:
    shown = "; ".join(f"{text.words(name)}: {text.plain(value)}" for name, value in sorted(note.args.items()))
    return Sentence(text.sentence(text.words(note.code)), text.sentence(shown) + "." if shown else "", "")


def _filled(template: str, args: Mapping[str, Any]) -> str:
    if "{" not in template:
        return _one_line(template)
    return _one_line(_compiled(template).render(dict(args)))


def _one_line(told: str) -> str:
    """The text without the line breaks of its file; spaces that must not break stay."""
    return re.sub(r"[ \t\n]+", " ", told).strip(" ")


@cache
def _compiled(template: str) -> Any:
    return _sentences().from_string(template)


@cache
def _sentences() -> Any:
    """The sandbox that sentences are filled in; its output is plain text, escaped later like all other text."""
    from jinja2 import StrictUndefined, Undefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def shown(value: Any) -> Any:
        return value if isinstance(value, str | Undefined) else text.plain(value)

    sandbox = ImmutableSandboxedEnvironment(autoescape=False, undefined=StrictUndefined, finalize=shown)
    sandbox.filters.update(text.FORMATS | {"words": text.words, "plain": text.plain})
    return sandbox


def _read(content: str) -> dict[str, Any]:
    value = yaml.safe_load(content)
    return value if isinstance(value, dict) else {}


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _entry(mapping: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return _mapping(mapping.get(name))
