"""What all tests share: where the checkout lies, and how to start the command line as a user does."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

# The same cases on every machine and in every run; time limits are for the tests that are about time.
settings.register_profile("audit", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("audit")

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def cli() -> Cli:
    """Starts `audit` in a process of its own: cli("run", spec, "-o", out, cwd=folder)."""

    def start(
        *words: str | Path, cwd: Path = ROOT, env: Mapping[str, str] | None = None, timeout: float = 300
    ) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", "from audit.cli.main import main; main()", *map(str, words)]
        return subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    return start


Figure = Callable[..., None]


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Figure:
    """Keeps a measured figure for docs/acceptance.md: figure("what", value, "in what setting, against what limit")."""
    target = os.environ.get("AUDIT_FIGURES")

    def keep(what: str, value: float | str, setting: str = "") -> None:
        if target:
            line = {"test": request.node.nodeid, "what": what, "value": value, "setting": setting}
            with Path(target).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    return keep
