"""The folder of a template: read without following anything out of it, checked, and tried before the work."""

import base64
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from audit.core.base import sha256
from audit.core.errors import SpecError
from audit.engine.files import Steps, followed, said
from audit.report.markdown import Remark, typed_numbers
from audit.report.template import SPECIMEN, Settings, allowed_places, draw, faint
from audit.report.text import visible
from audit.report.typed import typed_in_template
from audit.spec.check import report_sections
from audit.spec.document import Document, read_document
from audit.spec.load import Loaded, place
from audit.spec.messages import Problem, problems_of, unknown

HEAD = "template.yaml"
STEPS: Steps = ("report", "template")
SUFFIXES = (".j2", ".png", ".svg", ".yaml")
MOST_FILES = 40
LARGEST = 256 * 1024
LARGEST_ALL = 1024 * 1024


@dataclass(frozen=True)
class Kept:
    """A template as the bundle keeps it."""

    folder: str
    settings: Settings
    files: Mapping[str, bytes]

    def facts(self) -> dict[str, Any]:
        """All that the report needs, and the digest of each file."""
        files = {
            name: {"sha256": sha256(data), "base64": base64.b64encode(data).decode("ascii")}
            for name, data in sorted(self.files.items())
        }
        return {"folder": self.folder, "settings": self.settings.model_dump(mode="json"), "files": files}

    def typed(self) -> dict[str, tuple[Remark, ...]]:
        """The numbers that are typed in each template, and in the names and titles of the head."""
        lines = read_document(self.files[HEAD], HEAD).lines
        told: list[tuple[Steps, str]] = [(("name",), self.settings.name)]
        told += [(("logo", "alt"), self.settings.logo.alt)] if self.settings.logo else []
        told += [(("sections", i, "title"), extra.title) for i, extra in enumerate(self.settings.sections)]
        head = tuple(Remark(lines.get(steps, 1), number) for steps, text in told for number in typed_numbers(text))
        templates = [
            (name, data.decode("utf-8-sig")) for name, data in sorted(self.files.items()) if name.endswith(".j2")
        ]
        return {HEAD: head} | {name: typed_in_template(text) for name, text in templates}


def read_look(loaded: Loaded) -> Kept | None:
    """The template that a spec names, tried on a report without content; None for the look of this tool.

    Raises:
        SpecError: with file and line.
    """
    name = loaded.spec.report.template
    if name == "standard":
        return None
    files = _files(loaded, name)
    if HEAD not in files:
        raise SpecError(said(loaded, STEPS, f"the folder {name!r} holds no {HEAD}; see docs/templates.md"))
    document = read_document(files[HEAD], HEAD)
    settings = _settings(document)
    problems = [f"{_at(document, p)}: {p.text}" for p in _problems(settings, files)]
    if problems:
        raise SpecError(problems)
    draw(settings, files, SPECIMEN, None)
    return Kept(name, settings, files)


def _settings(document: Document) -> Settings:
    if document.problems:
        raise SpecError([f"{HEAD}:{line}: {text}" for line, text in document.problems])
    if not isinstance(document.data, dict):
        raise SpecError(f"{HEAD}:1: no mapping; it starts with `name: ...`, see docs/templates.md")
    try:
        return Settings.model_validate_json(json.dumps(document.data))
    except ValidationError as error:
        problems = problems_of(error, document.data, Settings.model_json_schema())
        raise SpecError([f"{_at(document, problem)}: {problem.text}" for problem in problems]) from error


def _at(document: Document, problem: Problem) -> str:
    where = place(HEAD, problem.path, document.lines, {})
    key = ".".join(str(step + 1 if isinstance(step, int) else step) for step in problem.path)
    return f"{where}: {key}" if key else where


def _problems(settings: Settings, files: Mapping[str, bytes]) -> Iterator[Problem]:
    """What is wrong between the settings, the folder and the report."""
    sections = report_sections()
    places = allowed_places(sections)
    for name in settings.blocks:
        if name not in places:
            yield Problem(("blocks", name), unknown("place", name, places))
    yield from _absent(settings, files)
    seen: set[str] = set()
    for i, extra in enumerate(settings.sections):
        if extra.after not in sections:
            yield Problem(("sections", i, "after"), unknown("section", extra.after, sections))
        if extra.id in seen:
            yield Problem(("sections", i, "id"), f"{extra.id!r} stands here for the second time; take another number")
        seen.add(extra.id)
    for path, text in faint(settings.colours):
        yield Problem(("colours", *path), text)


def _absent(settings: Settings, files: Mapping[str, bytes]) -> Iterator[Problem]:
    """Files that are named and not there, or of another kind than is needed."""
    templates, pictures = (".j2",), (".png", ".svg")
    named: list[tuple[Steps, str, tuple[str, ...]]] = [
        (("blocks", name), file, templates) for name, file in settings.blocks.items()
    ]
    named += [(("sections", i, "file"), extra.file, templates) for i, extra in enumerate(settings.sections)]
    named += [(("logo", "file"), settings.logo.file, pictures)] if settings.logo else []
    for path, file, suffixes in named:
        if not file.endswith(suffixes):
            yield Problem(path, f"found {file!r}; a file that ends in {' or '.join(suffixes)} is needed")
        elif file not in files:
            yield Problem(path, unknown("file", file, [name for name in files if name.endswith(suffixes)]))


def _files(loaded: Loaded, name: str) -> dict[str, bytes]:
    """The files of a folder, by name; nothing that is no plain file in it."""
    folder = followed(loaded, STEPS, name)
    if folder.is_symlink() or not folder.is_dir():
        found = "is a link" if folder.is_symlink() else "is a file" if folder.exists() else "is not there"
        raise SpecError(said(loaded, STEPS, f"{name!r} {found}; name `standard`, or a folder beside the spec"))
    names = sorted(entry.name for entry in os.scandir(folder) if not entry.name.startswith("."))
    if len(names) > MOST_FILES:
        raise SpecError(said(loaded, STEPS, f"{name!r} holds {len(names)} files; a template has at most {MOST_FILES}"))
    files = {one: _content(loaded, folder / one, visible(f"{name}/{one}")) for one in names}
    if sum(map(len, files.values())) > LARGEST_ALL:
        raise SpecError(said(loaded, STEPS, f"{name!r} is larger than {LARGEST_ALL} bytes in all"))
    return files


def _content(loaded: Loaded, path: Path, shown: str) -> bytes:
    """The bytes of a plain file; a link is not followed."""
    if path.suffix not in SUFFIXES:
        raise SpecError(said(loaded, STEPS, f"{shown} is none of {', '.join(SUFFIXES)}; keep it elsewhere"))
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        what = "is a link, which is not followed" if path.is_symlink() else f"cannot be read: {error.strerror}"
        raise SpecError(said(loaded, STEPS, f"{shown} {what}")) from error
    try:
        plain = stat.S_ISREG(os.fstat(descriptor).st_mode)
        content = _at_most(descriptor, LARGEST + 1) if plain else b""
    finally:
        os.close(descriptor)
    if not plain:
        raise SpecError(said(loaded, STEPS, f"{shown} is no plain file; a template is one folder without others"))
    if len(content) > LARGEST:
        raise SpecError(said(loaded, STEPS, f"{shown} is larger than {LARGEST} bytes"))
    if path.suffix == ".j2":
        try:
            content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content[: error.start].count(b"\n") + 1
            raise SpecError(f"{path.name}:{line}: not UTF-8 text; save the file as UTF-8") from error
    return content


def _at_most(descriptor: int, size: int) -> bytes:
    """The first bytes of an open file."""
    content = b""
    while len(content) < size and (more := os.read(descriptor, size - len(content))):
        content += more
    return content
