"""The public names: what they are, where they live, and that a user can work with them alone."""

import ast
import importlib
from pathlib import Path

import pytest

import audit


def test_the_public_names_are_these() -> None:
    # A name that is added or taken away here is a promise made or broken: say so in CHANGELOG.md.
    assert sorted(audit.__all__) == [
        "Adapter",
        "AuditError",
        "Generator",
        "Method",
        "Metric",
        "Note",
        "Options",
        "Result",
        "Table",
        "load_spec",
        "render",
        "run",
        "verify",
    ]


@pytest.mark.parametrize("name", audit.__all__)
def test_a_public_name_is_there_and_described(name: str) -> None:
    value = getattr(audit, name)
    assert value.__doc__
    assert name in dir(audit)


def test_a_public_name_is_the_object_of_its_module() -> None:
    for name, home in audit._HOME.items():
        assert getattr(audit, name) is getattr(importlib.import_module(home), name)


def test_type_checkers_see_what_is_imported_later(root: Path) -> None:
    tree = ast.parse((root / "audit" / "__init__.py").read_text(encoding="utf-8"))
    seen = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module != "audit.bundle"
        for alias in node.names
        if node.module and node.module.startswith("audit.")
    }
    assert seen == audit._HOME


def test_another_name_is_refused_as_python_does() -> None:
    with pytest.raises(AttributeError, match="'audit' has no attribute 'Pipeline'"):
        audit.Pipeline  # noqa: B018


def test_the_version_is_that_of_the_distribution() -> None:
    from importlib.metadata import version

    assert audit.__version__ == version("auditspec")
