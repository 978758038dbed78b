"""Specs that we ship hold no dead key: peers.md G5."""

import copy
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from audit.core.base import canonical_json
from audit.core.errors import SpecError
from audit.core.schema import Feature, FeatureSchema
from audit.resources import folder
from audit.spec.compile import compile_plan
from audit.spec.document import read_document
from audit.spec.facts import spec_facts
from audit.spec.load import Loaded, load_spec

SHIPPED = [*sorted(folder("specs").glob("*.yaml")), *sorted(folder("examples").glob("*/spec.yaml"))]

NO_EFFECT = {
    ("run", "workers"): "processes change no result; a test of the engine holds them to it",
    ("spec_version",): "the version of the language; another one is refused or migrated",
}


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def leaves(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else None
    if items is None:
        yield path
        return
    for key, value in items:
        yield from leaves(value, (*path, key))


def another(value: Any) -> Any:
    """A value of the same type that differs."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * 0.9 + 0.01
    return f"{value}x"


def trace(loaded: Loaded) -> bytes:
    """All that the spec has an effect on: the plan, what the report is told, what is judged."""
    spec = loaded.spec
    names = spec.model.features or tuple(spec.mutability.features) or ("x",)
    schema = FeatureSchema(features=tuple(Feature(name=name, kind="numeric", high=1.0) for name in names))
    contents = {
        "model": digest(spec.model.model_dump(mode="json")),
        "data": digest(spec.data.model_dump(mode="json", exclude={"sample"})),
    }
    return canonical_json(
        [
            compile_plan(spec, contents, lambda name: "1").model_dump(mode="json"),
            spec_facts(spec, schema),
            [gate.model_dump(mode="json") for gate in spec.gates],
            spec.report.model_dump(mode="json"),
        ]
    )


def digest(value: Any) -> str:
    return hashlib.sha256(canonical_json(value)).hexdigest()


def test_there_are_starters_and_examples():
    assert len([path for path in SHIPPED if path.parent.name == "specs"]) >= 2
    assert len([path for path in SHIPPED if path.parent.name != "specs"]) >= 2


@pytest.mark.parametrize("path", SHIPPED, ids=name_of)
def test_shipped_spec_is_valid(path):
    assert load_spec(path).spec.audit.id


@pytest.mark.parametrize("path", [path for path in SHIPPED if path.parent.name == "specs"], ids=name_of)
def test_editors_find_the_schema(path):
    first = path.read_text(encoding="utf-8").splitlines()[0]
    marker, _, target = first.partition("$schema=")
    assert marker == "# yaml-language-server: "
    assert (path.parent / target).resolve() == (folder("specs") / "spec.schema.json").resolve()


@pytest.mark.parametrize("path", SHIPPED, ids=name_of)
def test_every_value_has_an_effect(path, tmp_path):
    dead = dead_keys(path.read_bytes(), tmp_path)
    assert dead == []


def dead_keys(content: bytes, tmp_path: Path) -> list[str]:
    """The keys whose values change nothing; a value that is refused when it changes is read, too."""
    data = read_document(content, "spec.yaml").data
    file = tmp_path / "spec.yaml"
    file.write_text(json.dumps(data), encoding="utf-8")
    before = trace(load_spec(file))
    dead = []
    for path in leaves(data):
        if path in NO_EFFECT:
            continue
        mutated = copy.deepcopy(data)
        inside = mutated
        for step in path[:-1]:
            inside = inside[step]
        inside[path[-1]] = another(inside[path[-1]])
        file.write_text(json.dumps(mutated), encoding="utf-8")
        try:
            after = trace(load_spec(file))
        except SpecError:
            continue
        if after == before:
            dead.append(".".join(map(str, path)))
    return dead
