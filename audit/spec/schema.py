"""The JSON Schema of the spec, for editors and for messages, with the texts of the docstrings."""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from audit.core.base import Frozen
from audit.core.finding import Gate
from audit.core.method import GENERATORS, METHODS
from audit.core.model import ADAPTERS
from audit.core.region import Region
from audit.core.registry import Registry
from audit.core.waiver import FINDING_ID, Waiver
from audit.spec.model import ID, NAME, AuditInfo, DataSpec, Mutability, ReportSpec, RunSpec, Spec

Schema = dict[str, Any]

SHA256 = "^[0-9a-fA-F]{64}$"

TAGS: dict[Registry[Any], str] = {ADAPTERS: "kind", GENERATORS: "search", METHODS: "kind"}

_ATTRIBUTE = re.compile(r"^ {4}(?P<names>\w+(?:, \w+)*): (?P<text>.*)$")


PATTERNS = {
    ID: " that starts with a letter or digit and goes on with these, or with . _ -",
    NAME: " that starts with a letter and goes on with letters, digits, _ or -",
    FINDING_ID: " that is G- or F- and six hexadecimal digits in capitals, as the report prints it",
    SHA256: " of 64 hexadecimal digits",
}
"""What a pattern asks for, in words."""


def summary(cls: type) -> str:
    """The first paragraph of the docstring of a class, in one line."""
    return " ".join((inspect.getdoc(cls) or "").split("\n\n", maxsplit=1)[0].split())


def attributes(cls: type) -> dict[str, str]:
    """What the `Attributes:` sections of a class and its parents say of each field."""
    found: dict[str, str] = {}
    for parent in (base for base in reversed(cls.__mro__) if issubclass(base, Frozen)):
        doc = inspect.cleandoc(parent.__dict__.get("__doc__") or "")
        _, _, section = doc.partition("Attributes:\n")
        names: list[str] = []
        for line in section.splitlines():
            if line and not line.startswith(" "):
                break
            match = _ATTRIBUTE.match(line)
            if match:
                names = match["names"].split(", ")
                found |= dict.fromkeys(names, match["text"])
            elif line.strip():
                found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return found


class _Documented(GenerateJsonSchema):
    """Adds the texts of docstrings, and leaves out titles that only repeat the key."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Keys are their own titles."""
        return False

    def model_schema(self, schema: Any) -> JsonSchemaValue:
        """The schema of one class, with what its docstring says."""
        result = super().model_schema(schema)
        cls: type[BaseModel] = schema["cls"]
        result["description"] = summary(cls)
        texts = attributes(cls)
        for name, info in cls.model_fields.items():
            prop = result.get("properties", {}).get(info.alias or name)
            text = texts.get(name) or texts.get(name.rstrip("_"))
            if prop is not None and text:
                prop.setdefault("description", text[0].upper() + text[1:])
        for registry, tag in TAGS.items():
            if tag in cls.model_fields and cls in registry.classes().values():
                result["required"] = sorted({tag, *result.get("required", [])})
        return result

    def tagged_union_schema(self, schema: Any) -> JsonSchemaValue:
        """One of several kinds; the constant of each says which, so editors need no `discriminator`."""
        result = super().tagged_union_schema(schema)
        result.pop("discriminator", None)
        return result


def spec_schema(*, built_in: bool = False) -> Schema:
    """The JSON Schema of a spec.

    Args:
        built_in: leave out what installed plug-ins add.
    """
    installed = tuple(cls for registry in TAGS for cls in registry.classes().values())
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **_generated(installed), "title": "audit spec"}
    if built_in:
        foreign = {c.__name__ for registry in TAGS for c in registry.classes().values() if not _built_in(registry, c)}
        schema = _without(schema, {f"#/$defs/{name}" for name in foreign})
        schema["$defs"] = {name: value for name, value in schema["$defs"].items() if name not in foreign}
    return schema


@cache
def _generated(installed: tuple[type, ...]) -> Schema:
    """The schema with these classes installed; nobody changes it."""
    schema: Schema = Spec.model_json_schema(schema_generator=_Documented)
    return schema


def _built_in(registry: Registry[Any], cls: type) -> bool:
    return cls.__module__.startswith(f"{registry.package}.")


def origin(registry: Registry[Any], cls: type) -> str:
    """Who a class comes from: `audit`, or the top package of a plug-in."""
    return "audit" if _built_in(registry, cls) else cls.__module__.partition(".")[0]


def _without(value: Any, refs: set[str]) -> Any:
    """The schema without members of unions that point at one of `refs`."""
    if isinstance(value, Mapping):
        return {key: _without(child, refs) for key, child in value.items()}
    if isinstance(value, list):
        kept = [child for child in value if not (isinstance(child, Mapping) and child.get("$ref") in refs)]
        return [_without(child, refs) for child in kept]
    return value


SECTIONS: dict[str, type[BaseModel]] = {
    "audit": AuditInfo,
    "data": DataSpec,
    "mutability": Mutability,
    "regions": Region,
    "gates": Gate,
    "waivers": Waiver,
    "report": ReportSpec,
    "run": RunSpec,
}
"""The sections of the spec that are no choice among kinds."""


def class_schema(cls: type[BaseModel]) -> Schema:
    """The JSON Schema of one method, search, adapter or section."""
    return cls.model_json_schema(schema_generator=_Documented)


def resolve(root: Schema, schema: Schema) -> Schema:
    """The schema behind a `$ref`; keys beside the reference, such as its description, win."""
    seen = schema
    while "$ref" in seen:
        target = root["$defs"][seen["$ref"].rsplit("/", 1)[-1]]
        seen = {**target, **{key: value for key, value in seen.items() if key != "$ref"}}
    return seen


def tag_of(root: Schema, member: Schema) -> tuple[str, tuple[str, ...]]:
    """The key by which a member of a union is chosen, and its values."""
    properties = resolve(root, member).get("properties", {})
    for key in ("search", "kind"):
        prop = properties.get(key, {})
        if "const" in prop or "enum" in prop:
            return key, tuple(prop.get("enum", [prop.get("const")]))
    return "", ()


def at_path(root: Schema, data: Any, path: Sequence[str | int]) -> Schema:
    """The schema of the value at `path` of `data`; empty where nothing is known about it."""
    schema = _narrowed(root, resolve(root, root), data)
    for step in path:
        if isinstance(step, int):
            inner = schema.get("items", {})
        else:
            inner = schema.get("properties", {}).get(step)
            if inner is None:
                extra = schema.get("additionalProperties", schema.get("patternProperties", {}))
                inner = extra if isinstance(extra, dict) else {}
                if "patternProperties" in schema:
                    inner = next(iter(schema["patternProperties"].values()))
        data = _child(data, step)
        schema = _narrowed(root, resolve(root, inner), data)
    return schema


def _child(data: Any, step: str | int) -> Any:
    try:
        return data[step]
    except (KeyError, IndexError, TypeError):
        return None


def _narrowed(root: Schema, schema: Schema, data: Any) -> Schema:
    """The branch of a union that the data mean, where they show it."""
    if "oneOf" in schema and isinstance(data, Mapping):
        for member in schema["oneOf"]:
            key, values = tag_of(root, member)
            if key and data.get(key) in values:
                return resolve(root, member)
    if "anyOf" in schema:
        wanted = "object" if isinstance(data, Mapping) else "array" if isinstance(data, list) else ""
        fitting = [b for b in (resolve(root, branch) for branch in schema["anyOf"]) if b.get("type") == wanted]
        if len(fitting) == 1:
            return fitting[0]
    return schema


def expected(root: Schema, schema: Schema) -> str:
    """What is allowed at a place, in a few words."""
    schema = resolve(root, schema)
    branches = schema.get("anyOf") or schema.get("oneOf")
    if branches:
        tags = [value for branch in branches for value in tag_of(root, branch)[1]]
        if tags:
            key = tag_of(root, branches[0])[0]
            return f"a mapping with `{key}`, one of {', '.join(tags)}"
        words = dict.fromkeys(expected(root, branch) for branch in branches)
        dull = {"nothing", "a whole number"} if "a number" in words else {"nothing"}
        return " or ".join(word for word in words if word not in dull)
    if "const" in schema or "enum" in schema:
        return " or ".join(map(_shown, schema.get("enum", [schema.get("const")])))
    return _type_words(root, schema)


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, str) else str(value)


def _type_words(root: Schema, schema: Schema) -> str:
    kind = schema.get("type")
    if kind == "array":
        entry = expected(root, schema["items"]) if schema.get("items") else "any value"
        return f"a list {'of at least one entry, each' if schema.get('minItems') else 'whose entries are each'} {entry}"
    if kind == "object":
        keys = list(schema.get("properties", {}))
        return f"a mapping with the keys {', '.join(keys)}" if keys else "a mapping of names to values"
    if kind == "string":
        if schema.get("format") == "date":
            return "a date such as 2026-11-01"
        return ("a text that is not empty" if schema.get("minLength") else "a text") + _pattern(schema)
    plain = {"integer": "a whole number", "number": "a number", "boolean": "true or false", "null": "nothing"}
    return plain.get(str(kind), "another value") + "".join(_bounds(schema))


def _pattern(schema: Schema) -> str:
    pattern = schema.get("pattern")
    return PATTERNS.get(pattern, f" that matches {pattern}") if isinstance(pattern, str) else ""


def _bounds(schema: Schema) -> Iterator[str]:
    for key, words in (
        ("minimum", "of at least"),
        ("exclusiveMinimum", "above"),
        ("maximum", "and at most"),
        ("exclusiveMaximum", "and below"),
    ):
        if key in schema:
            yield f" {words} {schema[key]}"
