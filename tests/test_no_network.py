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
