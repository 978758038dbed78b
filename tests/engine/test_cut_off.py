"""A confined process is refused every call that leads out of it, has no file of ours, and cannot say what we do."""

import ctypes
import errno
import fcntl
import gzip
import json
import os
import platform
import pty
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import credit_case
import folder_case
import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from audit.cli import init
from audit.cli.main import main
from audit.confinement import (
    ALLOW,
    CLONE,
    EQUAL,
    IOCTL,
    LOAD,
    MACHINES,
    NOT_THESE,
    REFUSED,
    RETURN,
    SENDTO,
    UNCONFINED,
    UNKNOWN,
    _set_filter,
    _step,
    confine,
)
from audit.conversation import TooLongError, receive
from audit.core.errors import ModelError
from audit.core.infer import infer_schema
from audit.core.model import Allow, Source
from audit.engine.answers import found, told, unpacked
from audit.engine.apart import Child, Limits, _close_others
from audit.models.scikit import SklearnAdapter

LINUX = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in MACHINES, reason="the filter is for Linux"
)
COLUMN = MACHINES[platform.machine()][0] if platform.machine() in MACHINES else 0


def in_child(do: Callable[[], list[str]]) -> list[str]:
    """What a copy of this process says that has done something."""
    ours, theirs = os.pipe()
    process = os.fork()
    if not process:
        try:
            said = do()
        except BaseException as error:  # noqa: BLE001 - it is told
            said = [repr(error)]
        os.write(theirs, json.dumps(said).encode())
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as file:
        found: list[str] = json.loads(file.read())
    os.waitpid(process, 0)
    return found


def allowed(calls: dict[str, tuple[int, ...]]) -> list[str]:
    """The calls that a confined copy of this process is not refused, by number and arguments."""

    def do() -> list[str]:
        libc = ctypes.CDLL(None, use_errno=True)
        confine()
        found = []
        for name, (number, *arguments) in calls.items():
            ctypes.set_errno(0)
            given = [ctypes.c_long(a) for a in (*arguments, *[-1] * (6 - len(arguments)))]
            if libc.syscall(ctypes.c_long(number), *given) != -1 or ctypes.get_errno() != errno.EPERM:
                found.append(f"{name}: {errno.errorcode.get(ctypes.get_errno(), 'done')}")
        return found

    return in_child(do)


@LINUX
def test_every_call_of_the_list_is_refused() -> None:
    calls = {name: (numbers[COLUMN],) for name, numbers in REFUSED.items() if numbers[COLUMN] is not None}
    assert len(calls) > 120
    assert {"rt_sigqueueinfo", "rt_tgsigqueueinfo", "socketpair", "sendmsg", "mq_unlink", "setpriority"} <= set(calls)
    assert allowed(calls) == []  # type: ignore[arg-type]


@LINUX
def test_calls_are_refused_by_what_they_ask_for() -> None:
    calls = {f"ioctl {request:#x}": (IOCTL[COLUMN], -1, request) for request in (0x5412, 0x541C, 0x540E, 0x8901)}
    for name, (numbers, argument, requests) in NOT_THESE.items():
        for request in requests:
            calls[f"{name} {request}"] = (numbers[COLUMN], *[-1] * argument, request)
    for address in (8, 2**40):
        calls[f"sendto {address}"] = (SENDTO[COLUMN], -1, 0, 0, 0, address, 0)
    calls |= {f"clone {flags:#x}": (CLONE[COLUMN], flags) for flags in (17, 0x10010000, 0x40010000)}
    assert allowed(calls) == []
    fine = {"ioctl": (IOCTL[COLUMN], -1, 0x5421), "fcntl": (NOT_THESE["fcntl"][0][COLUMN], -1, 3)}
    assert allowed({**fine, "sendto": (SENDTO[COLUMN], -1, 0, 0, 0, 0, 0)}) == [
        "ioctl: EBADF", "fcntl: EBADF", "sendto: EBADF"
    ]  # fmt: skip


@LINUX
def test_nobody_types_into_the_terminal() -> None:
    process, terminal = pty.fork()
    if not process:
        try:
            confine()
            fcntl.ioctl(os.open("/dev/tty", os.O_RDONLY), 0x5412, b"x")
        except OSError as error:
            os._exit(error.errno)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == errno.EPERM
    os.close(terminal)


def without_filters() -> None:
    """From here on the kernel answers as one that knows no filter of system calls."""
    setting = MACHINES[platform.machine()][2]
    _set_filter([_step(LOAD, 0), _step(EQUAL, setting, 0, 1), _step(RETURN, UNKNOWN), _step(RETURN, ALLOW)], setting)


@LINUX
@pytest.mark.parametrize("foreign", ["model", "template"])
def test_a_kernel_that_knows_no_filter_opens_nothing_foreign(tmp_path: Path, foreign: str) -> None:
    spec = credit_case.make(tmp_path / "case", n=60, spec=folder_case.SPEC)
    line: list[str | Path] = ["run", spec, "-q", "-o", tmp_path / "out"]
    if foreign == "template":
        brand = spec.parent / "brand"
        brand.mkdir()
        (brand / "template.yaml").write_text("name: Bank\nblocks: {S7.start: note.j2}\n")
        (brand / "note.j2").write_text("<p>ours</p>")
        assert credit_case.command(*line, "--set", "report.template=brand").returncode == 0
        line = ["render", tmp_path / "out", "--format", "html"]
    before = folder_case.tree(tmp_path / "out")
    done = subprocess.run(
        [sys.executable, "-m", "audit", *line],
        preexec_fn=without_filters,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, UNCONFINED in done.stderr) == (3, True), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert folder_case.tree(tmp_path / "out") == before


def test_all_files_but_one_are_closed() -> None:
    def do() -> list[str]:
        pairs = [os.pipe() for _ in range(3)]
        told = os.dup(kept)
        _close_others(told)
        gone = []
        for number in (n for pair in pairs for n in pair):
            try:
                os.fstat(number)
            except OSError:
                gone.append(str(number))
        os.write(told, json.dumps(gone).encode())
        os._exit(0)

    ours, kept = os.pipe()
    process = os.fork()
    if not process:
        do()
    os.waitpid(process, 0)
    assert len(json.loads(os.read(ours, 4096))) == 6


def given(model: Any) -> tuple[SklearnAdapter, Source]:
    rows = pd.DataFrame({"age": np.arange(40.0), "income": np.arange(40.0) % 7})
    data = skops.io.dumps(model.fit(rows, rows["age"] > 20))
    schema = infer_schema(rows, ("age", "income"), {})
    return SklearnAdapter(path="m.skops"), Source(None, ".", Allow(), rows, (), schema=schema, content=data)


@pytest.mark.parametrize("copy", [True, False])
def test_the_file_does_not_decide_where_it_is_opened(copy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter, source = given(GaussianNB())
    child = Child(adapter, source, Limits(), copy=copy)
    child._inside = False
    monkeypatch.setattr("audit.engine.apart.receive", lambda *_: answer(inside=True))
    child._source = None
    with pytest.raises(ModelError, match="an answer that it cannot give"):
        child.opened()
    child.close()


def answer(**said: Any) -> bytes:
    return json.dumps({"inside": False, "images": False, "classes": [], "notes": [], "names": None} | said).encode()


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"1", b"\xff", b"{}", b"[" * 100_000, answer(classes=[1]), answer(notes="x"), b'{"refused": 3}',
     b'{"read": 1}'],
)  # fmt: skip
def test_an_answer_of_another_form_is_one_message(data: bytes) -> None:
    with pytest.raises(ModelError, match="an answer that it cannot give") as raised:
        found(data)
    assert len(raised.value.problems) == 1
    assert len(told(data)) == 1


def test_an_answer_has_a_most() -> None:
    with pytest.raises(ModelError, match="another size"):
        unpacked(np.array([8, 2], dtype="<i8").tobytes() + b"x" * 12)
    ours, theirs = socket.socketpair()
    theirs.sendall(struct.pack("<Q", 2**62))
    with pytest.raises(TooLongError):
        receive(ours, 5, 1000)
    theirs.sendall(struct.pack("<Q", 2**62))
    with pytest.raises(TooLongError):
        receive(ours, 5)
    ours.close()
    theirs.close()


def test_init_opens_no_model_file_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, source = given(LogisticRegression())
    (tmp_path / "m.skops").write_bytes(source.content or b"")
    here, load = os.getpid(), SklearnAdapter.load

    def only_there(self: SklearnAdapter, source: Source) -> Any:
        assert os.getpid() != here, "it was opened here"
        return load(self, source)

    monkeypatch.setattr(SklearnAdapter, "load", only_there)
    assert init._known_features(tmp_path / "m.skops", source.content or b"", source.evaluate) == ("age", "income")


def ran(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["audit", *words])
    with pytest.raises(SystemExit) as left:
        main()
    return int(str(left.value.code))


def test_mistakes_of_the_command_line_are_one_message(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    (tmp_path / "afile").write_text("x", encoding="utf-8")
    for words in (
        ("schema", "-o", str(tmp_path / "nowhere" / "x.json")),
        ("init", str(tmp_path / "afile" / "sub"), "--example", "german_credit"),
    ):
        assert ran(monkeypatch, *words) == 3
        said = capsys.readouterr().err
        assert "cannot be written" in said
        assert len(said.splitlines()) == 1


@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(b"a,b\n1,2\n" * 99)[:-12], b""])
def test_a_broken_archive_is_one_message(content: bytes, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    file = tmp_path / "x.csv.gz"
    file.write_bytes(content)
    words = ("--score", "a", "--target", "b", "--favourable", "1")
    assert ran(monkeypatch, "init", str(tmp_path / "new"), "--from", str(file), *words) == 2
    said = capsys.readouterr().err
    assert "cannot be read" in said
    assert len(said.splitlines()) == 1


def test_the_end_of_a_file_is_no_interruption(monkeypatch: Any, capsys: Any) -> None:
    def end(*_: Any, **__: Any) -> None:
        raise EOFError("a file of ours")

    monkeypatch.setattr("audit.spec.schema.spec_schema", end)
    assert ran(monkeypatch, "schema") == 3
    assert "interrupted" not in capsys.readouterr().err
