"""The arrows of the design hold, and lint fails for each of them when it is broken by hand."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# Contract of pyproject.toml, the file that breaks it, and the line that is added there.
BREACHES = [
    ("One direction, no way back", "core/base.py", "import audit.engine.run"),
    ("One direction, no way back", "bundle.py", "import audit.spec"),
    ("A report is rendered from the bundle alone", "report/__init__.py", "import audit.methods"),
    ("A report is rendered from the bundle alone", "report/__init__.py", "import audit.spec"),
    ("Methods do not know one another", "methods/breach_a.py", "import audit.methods.breach_b"),
    ("Generators do not know one another", "search/breach_a.py", "import audit.search.breach_b"),
    ("Adapters do not know one another", "models/breach_a.py", "import audit.models.breach_b"),
    ("The core, the methods and the search do no input or output", "core/base.py", "import os"),
    ("The core, the methods and the search do no input or output", "methods/breach_a.py", "import random"),
    ("The core, the methods and the search do no input or output", "search/breach_a.py", "import logging"),
    ("Methods and search see neither files nor models, only values", "methods/breach_a.py", "import audit.models"),
    ("Methods and search see neither files nor models, only values", "search/breach_a.py", "import audit.resources"),
]


def lint(folder: Path) -> "subprocess.CompletedProcess[str]":
    """Runs lint-imports on the package that lies in `folder`."""
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports_command as run; run()",
            "--config",
            "pyproject.toml",
            "--no-cache",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    """A copy of the package and of its contracts."""
    shutil.copytree(root / "audit", tmp_path / "audit", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "pyproject.toml", tmp_path)
    return tmp_path


def test_all_contracts_are_kept(copy: Path) -> None:
    done = lint(copy)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken" in done.stdout


@pytest.mark.parametrize(("contract", "file", "line"), BREACHES, ids=[f"{f}: {line}" for _, f, line in BREACHES])
def test_a_broken_contract_is_named(copy: Path, contract: str, file: str, line: str) -> None:
    breached = copy / "audit" / file
    old = breached.read_text(encoding="utf-8") if breached.exists() else ""
    breached.write_text(f"{old}\n{line}\n", encoding="utf-8")
    if "breach_b" in line:
        breached.with_name("breach_b.py").write_text('"""Another one."""\n', encoding="utf-8")
    done = lint(copy)
    assert done.returncode == 1, done.stdout + done.stderr
    (broken,) = [text for text in done.stdout.splitlines() if text.startswith(contract) and text.endswith("BROKEN")]
    assert broken


def test_a_module_in_no_layer_is_refused(copy: Path) -> None:
    (copy / "audit" / "stray.py").write_text('"""In no layer."""\n', encoding="utf-8")
    done = lint(copy)
    assert done.returncode == 1
    assert "stray" in done.stdout


def test_every_contract_has_a_breach(root: Path) -> None:
    import tomllib

    config = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    names = {contract["name"] for contract in config["tool"]["importlinter"]["contracts"]}
    tried = {name for name in names for contract, _, _ in BREACHES if name.startswith(contract)}
    assert names == tried
