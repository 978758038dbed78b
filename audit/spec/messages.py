"""What validation found, as plain sentences."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from audit.core.method import GENERATORS, METHODS
from audit.core.model import ADAPTERS
from audit.spec.schema import Schema, at_path, expected, resolve

Path = tuple[str | int, ...]

LATER: Mapping[str, str] = {
    "run.engine": "work on clusters (dask, ray) comes in a later version; remove it, `run.workers` is for this machine",
    "run.address": "work on clusters (dask, ray) comes in a later version; remove it",
    "extends": "baselines come in a later version; write the keys out",
}
"""Keys of later versions, and what to do."""

LATER_KINDS = frozenset({
    "cheapest", "random", "given", "exact", "gradient", "xgboost", "lightgbm", "torch", "onnx", "fairness", "recourse",
    "reasons", "cid", "scores_activation", "saliency_partition", "counterfactual_training",
})  # fmt: skip
"""Kinds that the design names and that may not be built in yet."""


@dataclass(frozen=True)
class Problem:
    """Something that is wrong at a place of the spec."""

    path: Path
    text: str


def problems_of(error: ValidationError, data: Any, schema: Schema) -> list[Problem]:
    """One sentence for each place where validation failed, in the order of the spec."""
    found: dict[Path, Problem] = {}
    items = error.errors(include_url=False)
    for item in items:
        if item["type"] == "too_short" and any(_inside(other["loc"], item["loc"]) for other in items):
            continue  # entries are there, but wrong, and each of them is reported by itself
        path = _cleaned(item["loc"], data, keep_last=item["type"] == "missing")
        if item["type"].startswith("union_tag") and _tag(item) in item["input"]:
            path = (*path, _tag(item))
        if path not in found:
            found[path] = Problem(path, _sentence(item, path, data, schema))
    return list(found.values())


def _inside(loc: Sequence[str | int], outer: Sequence[str | int]) -> bool:
    return len(loc) > len(outer) and tuple(loc[: len(outer)]) == tuple(outer)


def _cleaned(loc: Sequence[str | int], data: Any, *, keep_last: bool) -> Path:
    """The path in the user's file: the location without the names of union branches."""
    path: list[str | int] = []
    for position, step in enumerate(loc):
        if _is_tag(loc, position):
            continue
        last = keep_last and position == len(loc) - 1
        if last or _has(data, step):
            path.append(step)
            data = None if last else data[step]
    return tuple(path)


def _is_tag(loc: Sequence[str | int], position: int) -> bool:
    """Whether a step names a member of a registry; such a name may also be a key of its settings."""
    return position == {"model": 1, "counterfactuals": 2, "methods": 2}.get(str(loc[0]))


def _has(data: Any, step: str | int) -> bool:
    if isinstance(step, int):
        return isinstance(data, list) and 0 <= step < len(data)
    return isinstance(data, Mapping) and step in data


def _sentence(item: Any, path: Path, data: Any, schema: Schema) -> str:
    kind, value = item["type"], item["input"]
    if kind == "missing":
        return _missing(path, data, schema)
    if kind == "extra_forbidden":
        return _unknown_key(path, value, data, schema)
    if kind in {"union_tag_invalid", "union_tag_not_found"}:
        return _unknown_kind(item, path)
    if item["loc"][-1] == "[key]":
        return (
            f"the name {value!r} does not start with a letter, or holds more than letters, digits, - and _; rename it"
        )
    if kind in {"value_error", "assertion_error"}:
        return str(item["ctx"]["error"])
    here = at_path(schema, data, path)
    allowed = expected(schema, here) if here else "another value"
    return f"found {shown(value)}; allowed: {allowed}{_hint(value, allowed, here)}"


def _missing(path: Path, data: Any, schema: Schema) -> str:
    here = at_path(schema, data, path)
    what = str(here.get("description", "")).rstrip(".")
    allowed = expected(schema, here) if here else ""
    words = f" ({what[0].lower()}{what[1:]})" if what and "properties" not in here else ""
    return f"required key is missing{words}; add it, with {allowed or 'a value'}"


def _unknown_key(path: Path, value: Any, data: Any, schema: Schema) -> str:
    name = str(path[-1])
    dotted = ".".join(str(step) for step in path)
    if dotted in LATER:
        return f"not in this version: {LATER[dotted]}"
    if isinstance(value, str) and value.lower() == "regression":
        return "regression is not in this version; only classes can be audited"
    known = list(at_path(schema, data, path[:-1]).get("properties", {}))
    close = nearest(name, known)
    if close:
        return f"unknown key; did you mean {close!r}?"
    for section, prop in schema.get("properties", {}).items():
        if name in resolve(schema, prop).get("properties", {}) and path[:-1] != (section,):
            return f"unknown key here; it belongs to `{section}`"
    return f"unknown key; allowed are {', '.join(known) or 'none'}"


def _tag(item: Any) -> str:
    """The key by which pydantic would have chosen: `kind` or `search`."""
    return str(item["ctx"]["discriminator"]).strip("'")


def _unknown_kind(item: Any, path: Path) -> str:
    """The message for a `kind` or `search` that is missing or that nobody has."""
    tag, given = _tag(item), item["input"]
    registry = ADAPTERS if path[:1] == ("model",) else GENERATORS if path[:1] == ("counterfactuals",) else METHODS
    known = ", ".join(registry.classes())
    if tag not in given:
        misspelt = nearest(tag, map(str, given))
        hint = f"; is {misspelt!r} meant to be it?" if misspelt else ""
        return f"required key `{tag}` is missing; allowed are {known}{hint}"
    name = given[tag]
    if not isinstance(name, str):
        return f"found {shown(name)}; allowed are {known}"
    if name in LATER_KINDS:
        return f"{registry.noun} {name!r} is not in this version; there are {known}"
    close = nearest(name, registry.classes())
    hint = f"; did you mean {close!r}? There are" if close else "; there are"
    return f"unknown {registry.noun} {name!r}{hint} {known}"


def _hint(value: Any, allowed: str, schema: Schema) -> str:
    """What to do, where it can be told from the value."""
    if value is None:
        return "; write one, or leave the key out if it is optional"
    if isinstance(value, str):
        return _text_hint(value, allowed, schema)
    if isinstance(value, bool | int | float) and "text" in allowed:
        return f'; write "{shown(value)}" in quotes'
    if not isinstance(value, list) and allowed.startswith("a list"):
        return "; write it in [ ]"
    return ""


def _text_hint(value: str, allowed: str, schema: Schema) -> str:
    close = nearest(value, [choice for choice in _choices(schema) if isinstance(choice, str)])
    if close:
        return f"; did you mean {close!r}?"
    if "number" in allowed and _numeric(value):
        return "; remove the quotes"
    return "; write it in [ ]" if allowed.startswith("a list") else ""


def _choices(schema: Schema) -> list[Any]:
    values = list(schema.get("enum", []))
    values += [schema["const"]] if "const" in schema else []
    for branch in schema.get("anyOf", []):
        values += _choices(branch)
    return values


def _numeric(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant."""
    names = list(known)
    folded = {candidate.casefold(): candidate for candidate in names}
    close = difflib.get_close_matches(name.casefold(), folded, n=1)
    return folded[close[0]] if close else None


def unknown(noun: str, name: str, known: Iterable[str]) -> str:
    """The message for a name that is not there."""
    names = list(known)
    close = nearest(name, names)
    if close:
        return f"unknown {noun} {name!r}; did you mean {close!r}?"
    if not names:
        return f"unknown {noun} {name!r}; there is none"
    return f"unknown {noun} {name!r}; there are {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}"


def shown(value: Any) -> str:
    """A value in a few words, on one line."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        text = value if len(value) <= 60 else value[:57] + "..."
        return f"the text {text!r}"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return str(value)[:40]
