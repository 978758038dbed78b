"""Nothing is fetched: scaffold, run and report work on a machine without a network (peers.md, G18)."""

import subprocess
import sys

import pytest
from example_case import Audited

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


@pytest.mark.xdist_group("german_credit")
def test_an_audit_needs_no_network(german_credit: Audited) -> None:
    assert german_credit.init.returncode == 0, german_credit.init.stderr
    assert german_credit.run.returncode == 0, german_credit.run.stdout + german_credit.run.stderr
    assert (german_credit.out / "report.html").stat().st_size > 100_000
    assert (german_credit.out / "report.pdf").read_bytes().startswith(b"%PDF-")
    assert german_credit.seconds < 60


@pytest.mark.xdist_group("german_credit")
def test_the_report_asks_a_browser_for_nothing(german_credit: Audited) -> None:
    page = (german_credit.out / "report.html").read_text(encoding="utf-8").lower()
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
