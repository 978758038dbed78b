"""From a YAML file to a Spec; every problem at once, each with its line."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from audit.core.errors import SpecError
from audit.spec import document as yaml_document
from audit.spec.check import check
from audit.spec.messages import Problem, problems_of, unknown
from audit.spec.migrations import migrate
from audit.spec.model import Spec
from audit.spec.schema import spec_schema

Steps = tuple[str | int, ...]


@dataclass(frozen=True)
class Loaded:
    """A spec and where it came from.

    Attributes:
        text: the file, verbatim.
        overrides: `--set key=value` as given.
        lines: the line of each key and list item of the file, by its path.
        data: the same as plain values, with the overrides.
        replaced: the override that each replaced value came from, by its path.
    """

    spec: Spec
    text: str
    path: Path
    overrides: tuple[str, ...] = ()
    lines: Mapping[Steps, int] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    replaced: Mapping[Steps, str] = field(default_factory=dict)

    def at(self, *steps: str | int) -> str:
        """Where a key stands, as `spec.yaml:14`; the nearest parent where it is absent, or the override."""
        return place(self.path.name, steps, self.lines, self.replaced)

    def line_of(self, problem: Problem) -> str:
        """A problem as one line: where, which key, what."""
        return _shown(self.path.name, problem, self.data, self.lines, self.replaced)

    def file(self, relative: str) -> Path:
        """The path of a file that the spec names, relative to the spec."""
        return self.path.parent / relative


def place(name: str, steps: Steps, lines: Mapping[Steps, int], replaced: Mapping[Steps, str]) -> str:
    """File and line of the deepest of the steps that is there, or the override that it came from."""
    for end in range(len(steps), -1, -1):
        if steps[:end] in replaced:
            return f"--set {replaced[steps[:end]]}"
        if steps[:end] in lines:
            return f"{name}:{max(lines[steps[:end]], 1) if end else 1}"
    return f"{name}:1"


def load_spec(path: Path, overrides: Sequence[str] = (), content: bytes | None = None) -> Loaded:
    """The spec in a file, with the values of `overrides` in place of those of the file.

    Args:
        overrides: texts such as `run.seed=8`; list entries are named by id, kind or name, or counted from 1.
        content: the text of the file, where it is not to be read: that of a bundle, which holds its spec.

    Raises:
        SpecError: it cannot be read, or anything in it is wrong; all problems at once.
    """
    path = Path(path)
    content = _read(path) if content is None else content
    document = yaml_document.read_document(content, path.name)
    if not isinstance(document.data, dict):
        found = "nothing" if document.data is None else "no mapping"
        raise SpecError(f"{path.name}:1: found {found}; a spec starts with `spec_version: 1`, see `audit init`")
    data = migrate(document.data, f"{path.name}:{document.lines.get(('spec_version',), 1)}")
    replaced: dict[Steps, str] = {}
    wrong = [text for override in overrides if (text := _override(data, override, replaced))]
    written = [f"{path.name}:{line}: {text}" for line, text in document.problems]
    spec, problems = _validate(data)
    shown = [_shown(path.name, problem, data, document.lines, replaced) for problem in problems]
    everything = [*wrong, *written, *shown]
    if everything or spec is None:
        raise SpecError(sorted(dict.fromkeys(everything), key=_line))
    text = content.decode("utf-8-sig")
    return Loaded(spec, text, path, tuple(overrides), document.lines, data, replaced)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = "is a folder; name the spec in it" if path.is_dir() else f"cannot be read: {error.strerror}"
        raise SpecError(f"{path.name}:1: {reason}") from error


def _line(problem: str) -> int:
    """For sorting: the line that a problem names; overrides first."""
    start = problem.split(": ", 1)[0].rsplit(":", 1)[-1]
    return int(start) if start.isdigit() else 0


def _shown(name: str, problem: Problem, data: Any, lines: Mapping[Steps, int], replaced: Mapping[Steps, str]) -> str:
    key = dotted(data, problem.path)
    where = place(name, problem.path, lines, replaced)
    return f"{where}: {key}: {problem.text}" if key else f"{where}: {problem.text}"


def dotted(data: Any, path: Steps) -> str:
    """A path as text, as `--set` takes it; entries of lists by id, kind or name, or else counted from 1."""
    words: list[str] = []
    for step in path:
        inside = data[step] if _holds(data, step) else None
        words.append(_entry_name(data, inside, step) if isinstance(step, int) else step)
        data = inside
    return ".".join(words)


def _holds(data: Any, step: str | int) -> bool:
    if isinstance(step, int):
        return isinstance(data, list) and step < len(data)
    return isinstance(data, dict) and step in data


def _entry_name(siblings: Any, entry: Any, step: int) -> str:
    """The name of a list entry, if it has one that no sibling shares."""
    name = _own_name(entry)
    unique = isinstance(siblings, list) and [_own_name(other) for other in siblings].count(name) == 1
    return name if name and unique else str(step + 1)


def _own_name(entry: Any) -> str:
    if isinstance(entry, dict):
        for key in ("id", "kind", "name"):
            if isinstance(entry.get(key), str):
                return str(entry[key])
    return ""


def _override(data: dict[str, Any], override: str, replaced: dict[Steps, str]) -> str:
    """Puts the value of an override into the data; what is wrong with it, or an empty text."""
    key, equals, text = override.partition("=")
    words = key.strip().split(".")
    if not equals or not all(words):
        return f"--set {override}: write it as key=value, for example run.seed=8"
    try:
        value = yaml_document.read_scalar(text)
    except ValueError as error:
        return f"--set {override}: {error}"
    inside: Any = data
    path: list[str | int] = []
    for word in words[:-1]:
        step = _step(inside, word)
        if step is None:
            return f"--set {override}: {unknown('key', word, _names(inside))}"
        if isinstance(inside, dict) and inside.get(step) is None:
            inside[str(step)] = {}
            replaced[*path, step] = override
        path.append(step)
        inside = inside[step]
    last = _step(inside, words[-1])
    if last is None:
        return f"--set {override}: {unknown('key', words[-1], _names(inside))}"
    inside[last] = value
    replaced[*path, last] = override
    return ""


def _step(inside: Any, word: str) -> str | int | None:
    """The key or position that a word of an override means; None where nothing can be there."""
    if isinstance(inside, dict):
        return word
    if not isinstance(inside, list):
        return None
    names = _names(inside)
    return names.index(word) if word in names else None


def _names(inside: Any) -> list[str]:
    if isinstance(inside, list):
        return [_entry_name(inside, entry, i) for i, entry in enumerate(inside)]
    return []


def _validate(data: dict[str, Any]) -> tuple[Spec | None, list[Problem]]:
    """The spec, or what is wrong; sections that are sound are checked although others are not."""
    try:
        spec = Spec.model_validate_json(json.dumps(data))
    except ValidationError as error:
        problems = problems_of(error, data, spec_schema())
        broken = {str(problem.path[0]) for problem in problems if problem.path}
        return None, problems + check(_partial(data, broken), data, broken)
    return spec, check(spec, data, set())


def _partial(data: Mapping[str, Any], broken: set[str]) -> Spec:
    """The sections that are sound, as they are read; the others are absent."""
    values = {}
    for name, info in Spec.model_fields.items():
        if name in data and name not in broken:
            adapter: TypeAdapter[Any] = TypeAdapter(_annotation(info))
            values[name] = adapter.validate_json(json.dumps(data[name]))
    return Spec.model_construct(**values)


def _annotation(info: Any) -> Any:
    """The type of a field with its constraints and markers."""
    annotation = info.annotation
    for mark in info.metadata:
        annotation = Annotated[annotation, mark]
    return annotation
