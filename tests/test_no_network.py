"""Nothing is fetched: scaffold, run and report work on a machine without a network (peers.md, G18)."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import credit_case
import pytest
from example_case import Audited

HOSTILE = Path(__file__).resolve().parent / "hostile"
sys.path.insert(0, str(HOSTILE))
from hostile_kernel import KERNEL  # noqa: E402 - it lies in the folder of the hostile inputs

REACH = [
    "import socket; socket.create_connection(('127.0.0.1', 9), 1)",
    "import urllib.request; urllib.request.urlopen('http://localhost/')",
    "import socket; socket.getaddrinfo('localhost', 80)",
]


@pytest.mark.parametrize("statement", REACH)
def test_the_block_holds(offline: dict[str, str], statement: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", statement], env=offline, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert "the network was asked for" in done.stderr


def test_an_audit_needs_no_network(breast_cancer: Audited) -> None:
    assert breast_cancer.init.returncode == 0, breast_cancer.init.stderr
    assert breast_cancer.run.returncode == 0, breast_cancer.run.stdout + breast_cancer.run.stderr
    assert (breast_cancer.out / "report.html").stat().st_size > 100_000
    assert breast_cancer.seconds < 60


def test_the_report_asks_a_browser_for_nothing(breast_cancer: Audited) -> None:
    page = (breast_cancer.out / "report.html").read_text(encoding="utf-8").lower()
    for asking in (
        'src="http',
        "src='http",
        "url(http",
        "url('http",
        'url("http',
        "@import",
        "<link",
        "<script src",
        "<iframe",
    ):
        assert asking not in page


DEADLY = """
import os, sys
sys.path.insert(0, sys.argv.pop(1))
from hostile_kernel import die_of_network
die_of_network()
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
"""Starts a program under a filter that its processes inherit: who makes a socket to another machine dies."""


def deadly(*words: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-c", DEADLY, HOSTILE, *words]
    return subprocess.run([str(word) for word in line], capture_output=True, text=True, check=False, timeout=900)


@pytest.mark.skipif(not KERNEL, reason="the filter is for Linux on x86-64 and ARM64")
@pytest.mark.parametrize("statement", REACH[:2])
def test_the_kernel_ends_who_asks_for_another_machine(statement: str) -> None:
    by_child = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', {statement!r}]).returncode)"
    assert deadly("-c", statement).returncode == -signal.SIGSYS
    assert deadly("-c", by_child).returncode == -signal.SIGSYS % 256


@pytest.mark.skipif(not KERNEL, reason="the filter is for Linux on x86-64 and ARM64")
def test_a_whole_audit_lives_where_a_socket_is_death(tmp_path: Path, figure: Callable[..., None]) -> None:
    """Libraries in C and processes of the pool are held to it as well as Python is."""
    spec = credit_case.make(tmp_path / "credit")
    settings = ("--set", "report.formats=[html, pdf]", "--workers", 2)
    done = deadly("-m", "audit", "run", spec, "-o", tmp_path / "out", *settings)
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    assert (tmp_path / "out" / "report.pdf").stat().st_size > 10_000
    figure("audits that ran to the PDF with two workers where a socket to another machine ends the process", 1)


@pytest.mark.skipif(not os.environ.get("AUDIT_ACCEPT"), reason="make accept runs it: a network is trained for it")
@pytest.mark.skipif(not KERNEL, reason="the filter is for Linux on x86-64 and ARM64")
def test_an_audit_of_pictures_lives_there_too(digits: Audited, tmp_path: Path) -> None:
    done = deadly("-m", "audit", "run", digits.folder / "spec.yaml", "-o", tmp_path / "out", "--workers", 2)
    assert done.returncode in {0, 1, 5}, done.stdout + done.stderr


def test_no_library_that_talks_to_other_machines_is_needed(root: Path) -> None:
    declared = (root / "pyproject.toml").read_text(encoding="utf-8").lower()
    for name in ("dask", "ray", "distributed", "requests", "httpx", "aiohttp", "fsspec", "boto"):
        assert not re.search(rf'^\s*"?{name}[\w-]*\s*[><=~\["]', declared, re.MULTILINE), name
