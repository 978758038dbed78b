"""The JSON Schema of the spec: committed, readable, and of one mind with validation."""

import json
from typing import Any

import pytest

from audit.resources import folder
from audit.spec.model import DataSpec
from audit.spec.schema import at_path, attributes, expected, resolve, spec_schema, summary

SECTIONS = {
    "audit spec", "AuditInfo", "DataSpec", "Target", "SampleSpec", "Mutability", "Opinion", "ReportSpec", "RunSpec",
}  # fmt: skip

COMMITTED = folder("specs") / "spec.schema.json"


def test_the_committed_schema_is_the_one_that_the_code_gives():
    """If this fails: audit schema --built-in -o specs/spec.schema.json."""
    text = json.dumps(spec_schema(built_in=True), indent=2, ensure_ascii=False) + "\n"
    assert COMMITTED.read_text(encoding="utf-8") == text


def test_every_key_of_the_sections_has_a_description():
    schema = spec_schema(built_in=True)
    bare = [
        f"{name}.{key}"
        for name, definition in {"spec": schema, **schema["$defs"]}.items()
        if definition.get("title") in SECTIONS
        for key, prop in definition["properties"].items()
        if not prop.get("description")
    ]
    assert bare == []


def test_kinds_are_one_of_by_a_constant():
    schema = spec_schema(built_in=True)
    for place, tag in (
        (schema["properties"]["methods"]["items"], "kind"),
        (schema["properties"]["model"], "kind"),
        (next(iter(schema["properties"]["counterfactuals"]["patternProperties"].values())), "search"),
    ):
        kinds = []
        for member in place["oneOf"]:
            definition = resolve(schema, member)
            assert tag in definition["required"]
            assert definition["additionalProperties"] is False
            assert definition["description"]
            kinds.append(definition["properties"][tag]["const"])
        assert len(set(kinds)) == len(kinds) > 0


def test_every_reference_leads_somewhere():
    schema = spec_schema(built_in=True)
    text = json.dumps(schema)
    used = {part.split('"')[0] for part in text.split("#/$defs/")[1:]}
    assert used == set(schema["$defs"])


def test_plug_ins_are_left_out_of_the_built_in_schema(toys):
    """The toys of these tests are no built-ins."""
    assert "Flex" in spec_schema()["$defs"]
    assert "Flex" not in spec_schema(built_in=True)["$defs"]


def test_texts_come_from_the_docstrings():
    texts = attributes(DataSpec)
    assert set(texts) == set(DataSpec.model_fields)
    assert texts["id"] == "the column that names a row; without it rows are numbered from 0."
    assert summary(DataSpec) == "The data, as files relative to the spec (.csv, .csv.gz or .parquet)."


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (("run", "seed"), "a whole number of at least 0 and below 9223372036854775808"),
        (("audit", "as_of"), "a date such as 2026-11-01"),
        (("data", "sample", "stratify"), "'decision' or 'target' or 'none'"),
        (("mutability", "features", "x", "integer"), "true or false"),
        (("data", "protected"), "a list whose entries are each a text that is not empty"),
        (("mutability", "features", "x", "step"), "a number"),
    ],
)
def test_what_is_allowed_in_words(path, words):
    schema = spec_schema(built_in=True)
    assert expected(schema, at_path(schema, {}, path)) == words


def test_the_schema_accepts_what_validation_accepts(toys, example):
    """A small checker of the keywords that the schema uses, on the spec of the design."""
    import yaml

    schema = spec_schema()
    data = yaml.load(
        example.replace("2026-11-01", "'2026-11-01'").replace("2026-03-01", "'2026-03-01'"), yaml.SafeLoader
    )
    assert list(_wrong(schema, schema, data, ())) == []
    data["run"]["sede"] = 3
    data["methods"][1]["min_change"] = "x"
    assert sorted(_wrong(schema, schema, data, ())) == [("methods",), ("run", "sede")]


def _wrong(root: Any, schema: Any, value: Any, path: Any) -> Any:
    schema = resolve(root, schema)
    if "oneOf" in schema or "anyOf" in schema:
        fits = [not list(_wrong(root, branch, value, path)) for branch in schema.get("oneOf", schema.get("anyOf"))]
        if not any(fits) or ("oneOf" in schema and sum(fits) != 1):
            yield path[:1]
        return
    types = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool,
             "null": type(None)}  # fmt: skip
    allowed = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if ("type" in schema and not isinstance(value, types[schema["type"]])) or (allowed and value not in allowed):
        yield path
        return
    if isinstance(value, dict):
        yield from ((*path, key) for key in schema.get("required", []) if key not in value)
        for key, item in value.items():
            inner = schema.get("properties", {}).get(key) or next(
                iter(schema.get("patternProperties", {}).values()), None
            )
            inner = inner or schema.get("additionalProperties")
            if inner is False:
                yield (*path, key)
            elif isinstance(inner, dict):
                yield from _wrong(root, inner, item, (*path, key))
    if isinstance(value, list):
        for i, item in enumerate(value):
            yield from _wrong(root, schema.get("items", {}), item, (*path, i))
