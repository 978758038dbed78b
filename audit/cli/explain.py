"""`audit explain`."""

import inspect
import textwrap
from collections.abc import Iterator
from typing import Any

import click

WIDTH = 100
WORDED = ("purpose", "mechanism", "risk", "strengths", "limitations")


@click.command("explain")
@click.argument("kind")
def command(kind: str) -> int:
    """Explain KIND: a method, search, model adapter or section of the spec, with its settings.

    `audit list` names the kinds.
    """
    from audit.core.errors import SpecError
    from audit.core.method import GENERATORS, METHODS
    from audit.core.model import ADAPTERS
    from audit.spec.messages import unknown
    from audit.spec.schema import SECTIONS

    registries = (METHODS, GENERATORS, ADAPTERS)
    found = [(registry, registry.classes()[kind]) for registry in registries if kind in registry.classes()]
    if not found and kind not in SECTIONS:
        kinds = [name for registry in registries for name in registry.classes()]
        raise SpecError(f"audit explain: {unknown('kind', kind, [*kinds, *SECTIONS])}")
    blocks = ["\n".join(_member(registry, cls, kind)) for registry, cls in found]
    if kind in SECTIONS:
        blocks.append("\n".join(_settings(f"{kind}: a section of the spec", SECTIONS[kind])))
    click.echo("\n\n".join(blocks))
    return 0


def _member(registry: Any, cls: Any, kind: str) -> Iterator[str]:
    """The lines about one method, search or adapter."""
    from audit.spec.schema import origin

    words = _words(kind)
    title = f" - {words['title']}" if "title" in words else ""
    yield from _settings(f"{kind}: {registry.noun}{title} (from {origin(registry, cls)})", cls)
    for name, value in (("Needs", getattr(cls, "needs", ())), ("Libraries", getattr(cls, "uses", ()))):
        if value:
            yield f"\n{name}: {', '.join(sorted(value))}"
    if getattr(cls, "cites", ()):
        yield "\nCites:"
        yield from (f"  {cite}" for cite in cls.cites)
    yield from _sections(cls)
    if words.get("tables"):
        yield "\nTables of its evidence:"
        yield from (f"  {name}: {table.get('caption', '')}" for name, table in words["tables"].items())
    for name in WORDED:
        if words.get(name):
            yield f"\n{name.capitalize()}:"
            yield _indented(str(words[name]))


def _settings(title: str, cls: Any) -> Iterator[str]:
    """The title, what it is, and a line for each key."""
    from audit.spec.schema import class_schema, expected, resolve, summary

    root = class_schema(cls)
    yield f"{title}\n\n{_indented(summary(cls))}\n\nSettings:"
    required = root.get("required", [])
    for name, given in root.get("properties", {}).items():
        schema = resolve(root, given)
        default = "required" if name in required else f"default {_plain(schema.get('default'))}"
        yield f"  {name}: {expected(root, schema)}; {default}"
        if schema.get("description"):
            yield textwrap.indent(textwrap.fill(schema["description"], WIDTH - 8), " " * 8)


def _sections(cls: Any) -> Iterator[str]:
    """What the docstring says behind its first paragraph and its attributes."""
    _, _, rest = (inspect.getdoc(cls) or "").partition("\n\n")
    kept, skip = [], False
    for line in rest.splitlines():
        skip = line == "Attributes:" or (skip and (not line or line.startswith(" ")))
        if not skip:
            kept.append(line)
    text = "\n".join(kept).strip()
    if text:
        yield f"\n{text}"


def _words(kind: str) -> dict[str, Any]:
    """The wording of a kind, where templates have it."""
    import yaml

    from audit.resources import folder

    path = folder("templates") / "words" / f"{kind}.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
    return content if isinstance(content, dict) else {}


def _indented(text: str) -> str:
    return textwrap.indent(textwrap.fill(" ".join(text.split()), WIDTH - 2), "  ")


def _plain(value: Any) -> str:
    """A default as the spec writes it."""
    import json

    return "none" if value is None else json.dumps(value, ensure_ascii=False)
