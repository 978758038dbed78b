"""YAML as plain data, with the line of every key.

The scalars are those of YAML 1.2: `yes`, `no`, `on` and `off` are text, `1e-6` is a number, and a date stays text
until the spec asks for a date. Nothing but text, numbers, true, false, null, lists and mappings is made of a file.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from audit.core.errors import SpecError

MAX_BYTES = 512 * 1024
MAX_DEPTH = 30
MAX_NODES = 50_000
MAX_DIGITS = 300

Path = tuple[str | int, ...]

_CORE = "tag:yaml.org,2002:"
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
"""What escapes in quotes can write and no file can hold as text."""

_NULL = re.compile(r"^(?:~|null|Null|NULL|)$")
_BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_INT = re.compile(r"^[-+]?[0-9]+$")
_FLOAT = re.compile(
    r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$"
)


@dataclass
class Document:
    """A YAML file that was read.

    Attributes:
        data: plain values.
        lines: the line, from 1, of each key and list item, by its path.
        problems: what is wrong although it could be read, as (line, sentence).
    """

    data: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[tuple[int, str]] = field(default_factory=list)
    nodes: int = 0


class _Stop(Exception):  # noqa: N818 - not an error by itself: becomes one with the name of the file
    """Reading on would cost too much."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line


class _Loader(yaml.SafeLoader):
    """Composes nodes; makes no objects."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """One node; refuses what is nested too deep before Python's stack does."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _Stop(self.get_mark().line + 1, f"nested deeper than {MAX_DEPTH}; a spec needs no more than 8")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", _NULL, ["~", "n", "N", ""]),
    ("bool", _BOOL, list("tTfF")),
    ("int", _INT, list("-+0123456789")),
    ("float", _FLOAT, list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(f"{_CORE}{_tag}", _pattern, _first)


def read_document(content: bytes, name: str) -> Document:
    """The document in a file.

    Raises:
        SpecError: it is no YAML, or so large or deep that it is no spec.
    """
    if len(content) > MAX_BYTES:
        raise SpecError(f"{name}:1: {len(content)} bytes; a spec has at most {MAX_BYTES}. Is this the right file?")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise SpecError(f"{name}:{line}: not UTF-8 text; save the file as UTF-8") from error
    document = Document()
    try:
        node = _compose(text)
        if node is not None:
            document.data = _plain(document, node, (), 0)
    except _Stop as stop:
        raise SpecError(f"{name}:{stop.line}: {stop}") from stop
    except yaml.YAMLError as error:
        raise SpecError(f"{name}:{_line(error, text)}: not YAML: {_sentence(error)}") from error
    return document


def read_scalar(text: str) -> Any:
    """A value as it may stand behind `--set key=`.

    Raises:
        ValueError: the text is no YAML value.
    """
    document = Document()
    try:
        node = _compose(text)
        value = None if node is None else _plain(document, node, (), 0)
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {_sentence(error)}") from error
    except _Stop as stop:
        raise ValueError(str(stop)) from stop
    if document.problems:
        raise ValueError(document.problems[0][1])
    return value


def _compose(text: str) -> Any:
    loader = _Loader(text)
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


def _plain(document: Document, node: Any, path: Path, depth: int) -> Any:
    """The plain value of a node; aliases are written out, within bounds."""
    line = node.start_mark.line + 1
    document.nodes += 1
    if document.nodes > MAX_NODES or depth > MAX_DEPTH:
        raise _Stop(line, "too large once its aliases are written out; write the spec without them")
    document.lines.setdefault(path, line)
    if isinstance(node, yaml.MappingNode) and node.tag == f"{_CORE}map":
        return dict(_items(document, node, path, depth))
    if isinstance(node, yaml.SequenceNode) and node.tag == f"{_CORE}seq":
        return [_plain(document, child, (*path, i), depth + 1) for i, child in enumerate(node.value)]
    if isinstance(node, yaml.ScalarNode):
        return _scalar(document, node, line)
    document.problems.append((line, f"the tag {_shown(node.tag)} is not allowed; remove it"))
    return None


def _items(document: Document, node: Any, path: Path, depth: int) -> Iterator[tuple[str, Any]]:
    """The entries of a mapping; a second entry of the same name is a problem and is passed over."""
    seen: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            text = "a list or mapping stands where a key is needed; put texts with { or [ in quotes"
            document.problems.append((line, text))
        elif key.value == "<<" and key.style is None:
            document.problems.append((line, "the merge key '<<' is not part of this language; write the keys out"))
        elif _NO_TEXT.search(key.value):
            document.problems.append((line, "a key holds a NUL or half a character; write it without"))
        elif key.value in seen:
            text = f"key {key.value!r} stands here for the second time, first in line {seen[key.value]}; remove one"
            document.problems.append((line, text))
        else:
            seen[key.value] = line
            document.lines[*path, key.value] = line
            yield key.value, _plain(document, value, (*path, key.value), depth + 1)


def _scalar(document: Document, node: Any, line: int) -> Any:
    """Text, a number, true, false or null."""
    tag, text = node.tag.removeprefix(_CORE), node.value
    if _NO_TEXT.search(text):
        document.problems.append((line, "the text holds a NUL or half a character; write it without"))
        return None
    if tag == "str":
        return text
    if tag == "bool" and _BOOL.match(text):
        return text.lower() == "true"
    if tag in {"int", "float"} and _FLOAT.match(text):
        return _number(document, text, line)
    if tag != "null" or not _NULL.match(text):
        document.problems.append((line, f"the tag {_shown(node.tag)} is not allowed here; remove it"))
    return None


def _number(document: Document, text: str, line: int) -> int | float:
    """A whole number as int, any other as float; what is not finite is a problem."""
    if _INT.match(text) and len(text) <= MAX_DIGITS:
        return int(text)
    number = float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    if not math.isfinite(number):
        document.problems.append((line, f"{text[:40]!r} is no finite number; write a number"))
        return 0.0
    return number


def _shown(tag: str) -> str:
    return repr(tag.replace(_CORE, "!!")[:60])


def _line(error: yaml.YAMLError, text: str) -> int:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        return mark.line + 1 if mark is not None else 1
    position = getattr(error, "position", 0)
    return text[: position if isinstance(position, int) else 0].count("\n") + 1


def _sentence(error: yaml.YAMLError) -> str:
    """What the parser says, in one line."""
    if isinstance(error, yaml.MarkedYAMLError):
        said = ", ".join(part for part in (error.context, error.problem) if part)
        return f"{' '.join(said.split())}; check indentation, colons, quotes and brackets"
    return f"it holds a character that is not allowed ({getattr(error, 'reason', 'unreadable')})"
