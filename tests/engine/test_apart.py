"""Model files are opened in a confined process: good ones answer as ever, others end in one message."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import credit_case
import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from audit.confinement import MACHINES, confine, limit
from audit.core.errors import ModelError
from audit.core.infer import infer_schema
from audit.core.model import Allow, Capability, Decision, Model, Scorer, Source
from audit.core.table import Floats, encode
from audit.engine.answers import packed, unpacked
from audit.engine.apart import Child, Limits, Served, load_apart
from audit.models.scikit import FittedModel, SklearnAdapter

LIMITS = Limits(computing=1, load=60.0, call=60.0, memory=2**29)


def frame(n: int = 200) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"age": rng.integers(19, 70, n).astype(float), "income": rng.normal(3000, 900, n)})


def source(content: bytes, rows: pd.DataFrame) -> Source:
    schema = infer_schema(rows, tuple(rows.columns), {})
    return Source(None, ".", Allow(), rows, (), schema=schema, content=content)


def fitted(model: Any) -> tuple[SklearnAdapter, Source]:
    rows = frame()
    data = skops.io.dumps(model.fit(rows, rows["age"] > 40))
    return SklearnAdapter(path="model.skops"), source(data, rows)


@dataclass(frozen=True)
class Deed:
    """What an adapter is to `load_apart`, with a reader that does what it should not; it is in no registry."""

    deed: str
    target: str = ""
    when: Literal["load", "predict"] = "load"
    file: str = "deed.bin"
    inside: bool = False
    gives_text: bool = False

    def parsers(self) -> tuple[str, ...]:
        """Something that is there."""
        return ("json",)

    @property
    def parsed(self) -> str:
        """Its file."""
        return f"model.path: {self.file}"

    def first(self, source: Source) -> Model:
        """The deed."""
        return self.load(source)

    def load(self, source: Source) -> Model:
        """The deed."""
        if self.when == "load":
            DEEDS[self.deed](self.target)
        return Doing(self.deed, self.target)


class Doing:
    """A model that does the deed when it is asked."""

    classes = ("no", "yes")
    capabilities: frozenset[Capability] = frozenset({"predict"})

    def __init__(self, deed: str, target: str) -> None:
        self.deed, self.target = deed, target

    def predict(self, frame: pd.DataFrame) -> Floats:
        """Half and half, after the deed."""
        DEEDS[self.deed](self.target)
        return np.full((len(frame), 2), 0.5)

    def native(self) -> None:
        """Nothing."""


def apart(deed: Any, rows: pd.DataFrame) -> None:
    load_apart(deed, source(b"", rows), LIMITS, copy=True)


def crash(_: str) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def hang(_: str) -> None:
    while True:
        pass


def swallow(_: str) -> None:
    held = []
    while True:
        held.append(bytes(2**26))


def connect(_: str) -> None:
    socket.socket()


DEEDS: dict[str, Callable[[str], Any]] = {
    "crash": crash,
    "hang": hang,
    "swallow": swallow,
    "leave": lambda _: os._exit(0),
    "connect": connect,
    "write": lambda target: Path(target).write_text("here"),
    "remove": lambda target: Path(target).unlink(),
    "run": lambda target: subprocess.run(["touch", target], check=True),
    "kill": lambda _: os.kill(os.getppid(), signal.SIGTERM),
    "nothing": lambda _: None,
}


@pytest.mark.parametrize("when", ["load", "predict"])
@pytest.mark.parametrize(
    ("deed", "message"),
    [
        ("crash", r"ended the process that opened it \(Segmentation fault\)"),
        ("hang", "took longer than 1 s of computing"),
        ("swallow", "needs more than 0 GiB of memory"),
        ("leave", "ended the process that opened it, and was stopped"),
    ],
)
def test_a_file_that_harms_its_process_is_one_message(deed: str, message: str, when: Any) -> None:
    with pytest.raises(ModelError, match=message) as raised:
        apart(Deed(deed, when=when), frame(5))
    assert len(raised.value.problems) == 1


@pytest.mark.skipif(os.uname().machine not in MACHINES or sys.platform != "linux", reason="the filter is for Linux")
@pytest.mark.parametrize("deed", ["connect", "write", "remove", "run", "kill"])
def test_a_confined_process_reaches_nothing_outside(deed: str, tmp_path: Path) -> None:
    target = tmp_path / "target"
    if deed == "remove":
        target.write_text("kept", encoding="utf-8")
    with pytest.raises(ModelError, match=r"Operation not permitted|Permission"):
        apart(Deed(deed, str(target)), frame(5))
    assert target.exists() == (deed == "remove")


@pytest.mark.parametrize("copy", [True, False])
@pytest.mark.parametrize("make", [LogisticRegression, GaussianNB])
def test_a_model_answers_as_it_does_without(make: Any, copy: bool) -> None:
    adapter, given = fitted(make())
    apart, here = load_apart(adapter, given, copy=copy), adapter.load(given)
    assert isinstance(apart, FittedModel if make is LogisticRegression else Served)
    assert given.schema is not None
    codes = encode(given.schema, given.evaluate)
    decision = Decision(here.classes)
    first, second = (Scorer(model, given.schema, decision).probabilities(codes) for model in (apart, here))
    assert np.array_equal(first, second)
    assert np.array_equal(apart.predict(given.evaluate), here.predict(given.evaluate))
    assert apart.classes == here.classes
    assert len(Scorer(apart, given.schema, decision).probabilities(codes[:0])) == 0


def test_what_the_reader_refuses_is_refused_in_its_own_words() -> None:
    adapter, given = fitted(GaussianNB())
    with pytest.raises(ModelError, match=r"model\.path: model\.skops is no skops file"):
        load_apart(adapter, source(b"PK nothing", given.evaluate), copy=True)


def test_a_served_model_fails_in_one_message_and_goes_on() -> None:
    adapter, given = fitted(GaussianNB())
    model = load_apart(adapter, given, copy=True)
    assert isinstance(model, Served)
    with pytest.raises(ModelError, match=r"the model failed on 3 rows: .* Check that"):
        model.child.asked(b"P", np.zeros((3, 1)))
    assert model.predict(given.evaluate).shape == (200, 2)
    model.child.close()
    with pytest.raises(ModelError, match="ended before it was asked"):
        model.predict(given.evaluate)


def test_the_process_ends_with_the_model() -> None:
    adapter, given = fitted(GaussianNB())
    model = load_apart(adapter, given, copy=True)
    assert isinstance(model, Served)
    process = model.child._process.pid
    assert process is not None
    del model
    for _ in range(200):
        if not Path(f"/proc/{process}").exists():
            break
        time.sleep(0.05)
    else:
        pytest.fail("it lives on")


def test_an_answer_of_another_size_is_no_array() -> None:
    good = packed(np.ones((2, 3)))
    assert unpacked(good).tolist() == [[1, 1, 1], [1, 1, 1]]
    sizes = [b"", good[:-1], good + b"x", good[:8] + (2**40).to_bytes(8, "little") + good[16:], b"\0" * 16, good[:20]]
    negative = good[:16] + (-2).to_bytes(8, "little", signed=True) + (-3).to_bytes(8, "little", signed=True) + good[32:]
    for data in [*sizes, negative]:
        with pytest.raises(ModelError, match="another size"):
            unpacked(data)


def test_threads_live_on_in_a_confined_process() -> None:
    process = os.fork()
    if not process:
        done = []
        limit(2**29)
        confine()
        thread = threading.Thread(target=lambda: done.append(1))
        thread.start()
        thread.join()
        os._exit(0 if done else 1)
    assert os.waitpid(process, 0)[1] == 0


def test_the_process_does_not_outlive_a_limit_of_the_answer() -> None:
    given = source(b"", frame(5))
    deed: Any = Deed(deed="nothing", when="predict")
    child = Child(deed, given, Limits(call=0.0), copy=True)
    assert child.opened().inside is False
    with pytest.raises(ModelError, match="took longer than 0 s to answer"):
        child.asked(b"P", np.zeros((1, 2)))
    assert child._process.exitcode is not None


def test_a_script_that_forgets_its_guard_is_told_so_at_once(tmp_path):
    spec = credit_case.make(tmp_path)
    script = tmp_path / "script.py"
    script.write_text(f"import audit\naudit.run({str(spec)!r}, {str(tmp_path / 'out')!r})\n")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 1
    assert 'below `if __name__ == "__main__":`' in done.stderr.splitlines()[-1]
