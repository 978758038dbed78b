"""Everything public says what it returns or decides; methods say what they assume, show and rest on."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from audit.core.base import Frozen
from audit.core.method import GENERATORS, METHODS, Generator, Method
from audit.core.model import Adapter

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / "audit").rglob("*.py"))
HOOKS = set().union(*(dir(contract) for contract in (Method, Generator, Adapter))) - set(dir(Frozen))
"""What a method, a generator or an adapter overrides; described once, in `core/method.py` and `core/model.py`."""
PARTS = ("Assumes", "Tables", "Reference")
Named = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def public(node: ast.AST, inside: str = "") -> Iterator[tuple[str, Named]]:
    """Public classes and functions with their dotted names; not what is nested in a function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Named) and not child.name.startswith("_"):
            yield f"{inside}{child.name}", child
            if isinstance(child, ast.ClassDef):
                yield from public(child, f"{inside}{child.name}.")


def is_given_by_the_contract(name: str, tree: ast.Module) -> bool:
    """Whether it is a hook or a protocol member, whose meaning stands where the contract is written."""
    owner, _, method = name.rpartition(".")
    classes = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    return bool(owner) and method in HOOKS and bool(classes[owner.rpartition(".")[2]].bases)


def missing(source: str) -> list[str]:
    """The public names of a file that have no docstring, or one whose first line is no sentence."""
    tree = ast.parse(source)
    names = [] if ast.get_docstring(tree) else ["the module"]
    for name, node in public(tree):
        text = ast.get_docstring(node)
        if text is None and not is_given_by_the_contract(name, tree) and not is_protocol_member(name, tree):
            names.append(name)
        if text is not None and not text.split("\n\n", maxsplit=1)[0].strip().endswith((".", ":", "?")):
            names.append(f"{name}: the first paragraph is no sentence")
    return names


def is_protocol_member(name: str, tree: ast.Module) -> bool:
    """Whether it belongs to a Protocol, which describes its members under *Attributes*."""
    owner = name.rpartition(".")[0]
    return any(
        isinstance(node, ast.ClassDef) and node.name == owner and any(ast.unparse(b) == "Protocol" for b in node.bases)
        for node in ast.walk(tree)
    )


@pytest.mark.parametrize("file", FILES, ids=[str(file.relative_to(ROOT)) for file in FILES])
def test_what_is_public_is_described(file: Path) -> None:
    assert missing(file.read_text(encoding="utf-8")) == []


def test_what_is_not_described_is_found() -> None:
    source = (
        'class A:\n    """Is a class."""\n    def f(self): ...\n    def _g(self): ...\ndef h():\n    """No stop"""\n'
    )
    assert missing(source) == ["the module", "A.f", "h: the first paragraph is no sentence"]


def test_there_are_methods_and_generators() -> None:
    assert {"performance", "flex", "shap", "agreement"} <= set(METHODS.classes())
    assert "nearest" in GENERATORS.classes()


@pytest.mark.parametrize(
    ("family", "part"),
    [("methods", part) for part in PARTS] + [("searches", part) for part in PARTS if part != "Tables"],
)
def test_methods_say_what_they_assume_show_and_rest_on(family: str, part: str) -> None:
    """The tables of a search are those of every search, described in `core/counterfactuals.py`."""
    registry = METHODS if family == "methods" else GENERATORS
    silent = [
        kind
        for kind, cls in registry.classes().items()
        if cls.__module__.startswith("audit.") and f"{part}:" not in (cls.__doc__ or "") + (module_doc(cls) or "")
    ]
    assert silent == []


def module_doc(cls: type) -> str | None:
    """The docstring of the module in which a class is defined."""
    return sys.modules[cls.__module__].__doc__
