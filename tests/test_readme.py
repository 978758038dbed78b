"""What the README shows works, and what it names exists (peers.md, G5 and G22)."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from audit.cli.main import COMMANDS
from audit.core.method import GENERATORS, METHODS
from audit.core.model import ADAPTERS
from audit.core.plan import Part
from audit.testing import toy_context, toy_inputs


@pytest.fixture(scope="module")
def text(root: Path) -> str:
    """The README."""
    return (root / "README.md").read_text(encoding="utf-8")


def block(text: str, language: str) -> str:
    """The first code block of a language."""
    (_, found, *_) = re.split(rf"^```{language}\n(.*?)^```$", text, maxsplit=1, flags=re.DOTALL | re.MULTILINE)
    return found


def test_the_spec_is_valid(text: str, root: Path, tmp_path: Path) -> None:
    from audit.spec.load import load_spec

    folder = tmp_path / "german_credit"
    shutil.copytree(root / "examples" / "german_credit", folder)
    (folder / "readme.yaml").write_text(block(text, "yaml"), encoding="utf-8")
    assert load_spec(folder / "readme.yaml").spec.audit.id == "german-credit-2026q4"


def test_the_spec_is_the_example_shortened(text: str, root: Path) -> None:
    shown = yaml.safe_load(block(text, "yaml"))
    whole = yaml.safe_load((root / "examples/german_credit/spec.yaml").read_text(encoding="utf-8"))
    for section in ("model", "data", "counterfactuals"):
        assert {key: whole[section][key] for key in shown[section]} == shown[section]


def test_the_plug_in_runs(text: str) -> None:
    space: dict[str, object] = {"__name__": "readme_plugin"}
    exec(compile(block(text, "python"), "README.md", "exec"), space)
    method = METHODS._classes.pop("approval_rate")
    frame = pd.DataFrame({"x": [0.1, 0.6, 0.7, 0.9]})
    inputs = toy_inputs(frame, lambda rows: np.asarray(rows["x"]))
    result = method(kind="approval_rate").run(toy_context(inputs), Part(index=0))
    assert [(m.name, m.value, m.n) for m in result.metrics] == [("rate", 0.75, 4)]


def test_what_it_names_exists(text: str) -> None:
    listed = text.split("## What exists in this version")[1].split("Not in this version", maxsplit=1)[0]
    rows = {cells[1].strip(): cells[2] for line in listed.splitlines() if len(cells := line.split("|")) == 4}
    assert re.findall(r"`(\w+)`", rows["commands"]) == list(COMMANDS)
    named = set(re.findall(r"`(\w+)`", rows["methods"] + rows["counterfactual search"]))
    built_in = {
        kind
        for registry in (METHODS, GENERATORS)
        for kind, cls in registry.classes().items()
        if cls.__module__.startswith("audit.")
    }
    assert named == built_in
    assert {"sklearn", "function", "predictions"} <= set(ADAPTERS.classes())


def test_the_files_it_names_exist(text: str, root: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", text) + re.findall(r"`((?:docs|examples|tests)/[\w/.]+)`", text)
    assert len(targets) > 3
    assert [target for target in targets if not (root / target).exists()] == []
