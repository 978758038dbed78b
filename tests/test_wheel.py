"""The wheel works away from the checkout: built, installed where the source is out of reach, and run."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest


def done(*words: str | Path, cwd: Path) -> str:
    """What a command prints; it must succeed."""
    result = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        stdin=subprocess.DEVNULL,
    )
    assert result.returncode == 0, f"{words}\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    done(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=root)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def home(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel and the other packages, without the link to the source."""
    folder = tmp_path_factory.mktemp("home")
    done(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    done(
        sys.executable, "-m", "pip", "--python", python, "install", "-q", "--disable-pip-version-check",
        "--no-deps", "--no-index", wheel, cwd=folder,
    )  # fmt: skip
    # A folder that a .pth file names is searched, but the .pth files inside it (the editable install) are not read.
    site = Path(done(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    others = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "others.pth").write_text("\n".join(sorted(others)) + "\n", encoding="utf-8")
    return folder


def test_the_wheel_holds_what_the_program_needs(wheel: Path, root: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert wheel.name.startswith("auditspec-")
    for needed in ("audit/specs/spec.schema.json", "audit/examples/german_credit/spec.yaml", "audit/cli/main.py"):
        assert needed in names
    tracked = done("git", "ls-files", "templates", "specs", "examples", cwd=root).split("\n")
    assert {f"audit/{name}" for name in tracked if name} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_wheel_holds_nothing_else(wheel: Path) -> None:
    strange = [
        name
        for name in zipfile.ZipFile(wheel).namelist()
        if "__pycache__" in name or name.startswith("tests") or not name.startswith(("audit/", "auditspec-"))
    ]
    assert strange == []


def test_the_source_is_out_of_reach(home: Path, root: Path) -> None:
    code = "import audit, sys, audit.resources as r; print(audit.__file__, r.folder('templates'), *sys.path, sep='\\n')"
    lines = done(home / "venv" / "bin" / "python", "-c", code, cwd=home).splitlines()
    assert all(Path(line).is_relative_to(home) for line in lines[:2])
    assert str(root) not in lines


@pytest.mark.parametrize("script", ["audit", "auditspec"])
def test_both_commands_are_installed(home: Path, script: str) -> None:
    from audit import __version__

    assert __version__ in done(home / "venv" / "bin" / script, "--version", cwd=home)


def test_an_example_runs_from_the_wheel(home: Path) -> None:
    script = home / "venv" / "bin" / "audit"
    done(script, "init", "first", "--example", "breast_cancer", cwd=home)
    done(script, "run", "first/spec.yaml", "-o", "bundle", cwd=home)
    assert (home / "bundle" / "report.html").stat().st_size > 50_000
    done(script, "verify", "bundle", cwd=home)
