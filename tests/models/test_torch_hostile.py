"""Program files that are damaged or mean harm: each ends in a message, none in a hang."""

import io
import json
import signal
import subprocess
import sys
import threading
import time
import warnings
import weakref
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_case import FORMS, changed, edited, exported, module, opened, scripted

from audit.core.errors import ModelError
from audit.models.torch_child import archive
from audit.models.torch_child.archive import RefusedError, entries, script
from audit.models.torch_child.exported import read
from audit.models.torch_module.program import Child, Limits


def test_pickles_in_an_exported_program_are_refused_unopened(tmp_path: Path) -> None:
    data = exported(module())
    for folder, kind in (("weights", "weights"), ("constants", "constants")):
        name = f"data/{folder}/model_{folder}_config.json"
        config = json.loads(entries(data)[name])
        meta = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
        config["config"]["0.bias"] = meta
        with pytest.raises(RefusedError, match=f"of its {kind} as a pickle"):
            read(changed(data, {name: json.dumps(config).encode()}))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("torch.serialization.os.system", "only operators of torch.ops.aten"),
        ("torch.ops.higher_order.cond", "only operators of torch.ops.aten"),
        ("torch.ops.aten.linear.default.__class__", "only operators of torch.ops.aten"),
        ("#custom:thing", "only operators of torch.ops.aten"),
        ("torch.ops.aten.from_file.default", "which opens a file"),
        ("torch.ops.aten.__class__.__init__", "does not have"),
        ("torch.ops.aten.linear.nothing", "does not have"),
    ],
)
def test_a_graph_names_nothing_but_operators(target: str, message: str) -> None:
    data = edited(exported(module()), lambda p: p["graph_module"]["graph"]["nodes"][0].update(target=target))
    with pytest.raises(RefusedError, match=message):
        opened("exported", data)


def test_a_graph_that_is_damaged_is_refused() -> None:
    data = exported(module())
    for edit, message in [
        (lambda p: p["schema_version"].update(major=9), "has schema 9, and 8 is read"),
        (lambda p: p.pop("graph_module"), "is damaged"),
        (lambda p: p["graph_module"]["signature"]["input_specs"].clear(), "has 0 inputs"),
        (lambda p: p["graph_module"]["signature"]["input_specs"].append({"token": {}}), "takes a token"),
        (
            lambda p: p["graph_module"]["signature"]["output_specs"].append({"buffer_mutation": {}}),
            "changes its own buffers",
        ),
        (lambda p: p["graph_module"]["graph"].update(custom_obj_values={"a": {}}), "custom objects"),
    ]:
        with pytest.raises(RefusedError, match=message):
            read(edited(data, edit))


@FORMS
def test_a_file_that_was_cut_off_or_is_none_is_refused(form: str, saved) -> None:
    data = saved(module())
    for size in (0, 10, len(data) // 2, len(data) - 10):
        with pytest.raises(RefusedError, match="damaged"):
            opened(form, data[:size])
    other = exported(module()) if form == "script" else scripted(module())
    with pytest.raises(RefusedError, match=r"is no TorchScript|holds no exported program"):
        opened(form, other)


def test_an_archive_that_unpacks_to_too_much_or_shows_two_faces_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb, twice = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("net/constants.pkl", b"")
        file.writestr("net/data/0", bytes(3_000_000))
    monkeypatch.setattr(archive, "MOST_BYTES", 2_000_000)
    assert len(bomb.getvalue()) < 10_000
    with pytest.raises(RefusedError, match="unpacks to 3,000,000 bytes"):
        entries(bomb.getvalue())
    with warnings.catch_warnings(), zipfile.ZipFile(twice, "w") as file:
        warnings.simplefilter("ignore", UserWarning)
        file.writestr("net/constants.pkl", b"")
        file.writestr("net/constants.pkl", b"other")
    with pytest.raises(RefusedError, match="two entries of one name"):
        entries(twice.getvalue())


class Reads(torch.nn.Module):
    """Opens a file."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :2] + torch.from_file("secret", False, 2, dtype=torch.float32)


class Writes(torch.nn.Module):
    """Writes a file."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.save(x, "stolen")
        return x[:, :2]


class Prints(torch.nn.Module):
    """Names the file operators in a text only."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        print("it may save a row")  # noqa: T201 - it is TorchScript
        return x[:, :2]


def test_a_script_that_names_files_or_what_is_not_torchs_is_refused() -> None:
    for net, name in ((Reads(), "from_file"), (Writes(), "save")):
        with pytest.raises(RefusedError, match=f"names {name} in code/"):
            script(scripted(net))
    assert script(scripted(Prints()))
    clean = scripted(module())
    assert script(b"#!/bin/sh" + clean).startswith(b"PK"), "written anew, without what stood around it"
    name = next(name for name in entries(clean) if name.startswith("code/") and name.endswith(".py"))
    for line in (b"torch.classes.c10d.TCPStore", b"ops.symm_mem.get_remote_tensors(x)", b"ops . c10d . send(x)"):
        with pytest.raises(RefusedError, match="from outside torch"):
            script(changed(clean, {name: line}))
    with pytest.raises(RefusedError, match=r"names torch.classes in data.pkl"):
        script(changed(clean, {"data.pkl": b"c__torch__.torch.classes.c10d\nTCPStore\n"}))


def test_no_file_and_no_connection_can_be_opened_once_the_doors_are_closed(tmp_path: Path) -> None:
    code = """
import socket, sys
from pathlib import Path
from audit.models.torch_child.serve import close_doors
held = open(sys.argv[1], "wb")
close_doors(2**28)
found = []
for name, act in {"read": lambda: Path("/dev/null").open(), "socket": socket.socket, "take": lambda: bytearray(2**30),
                  "write": lambda: (held.write(b"x"), held.flush())}.items():
    try:
        act()
    except (OSError, MemoryError):
        found.append(name)
print(*found)
"""
    words = [sys.executable, "-c", "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)" + code]
    done = subprocess.run([*words, str(tmp_path / "held")], capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout.split() == ["read", "socket", "take", "write"]


class Trap(torch.nn.Module):
    """Answers like a network until a number is large: then it takes all memory, or never ends."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        largest = float(x.max())
        if largest > 2000.0:
            while largest > 0.0:
                largest = largest + 1.0
        if largest > 1000.0:
            return x[:, :2] + torch.zeros([300000000]).sum()
        return x[:, :2] * 2


class Loop(torch.nn.Module):
    """Never ends when it is loaded."""

    @torch.jit.export
    def __getstate__(self) -> tuple[int, bool]:
        return (1, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[int, bool]) -> None:
        n = state[0]
        self.training = state[1]
        while n > 0:
            n = n + 1 - n // 1000

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :2]


def test_a_program_that_takes_all_memory_fails_and_one_that_never_answers_is_ended() -> None:
    child = Child("trap.ts", scripted(Trap()), "script", (4, 2), None, Limits(memory=2**29))
    rows = np.ones((3, 4))
    with pytest.raises(ModelError, match=r"trap\.ts: the program failed: .*(memory|alloc)"):
        child.logits(rows * 1500)
    np.testing.assert_array_equal(child.logits(rows), rows[:, :2] * 2)
    child.limits = replace(child.limits, call=0.5)
    with pytest.raises(ModelError, match=r"trap\.ts took longer than 0\.5 s for an answer, and was ended"):
        child.logits(rows * 1e9)
    assert child._process.returncode == -signal.SIGKILL
    with pytest.raises(ModelError, match="ended before it was asked"):
        child.logits(rows)


def test_a_program_that_never_ends_loading_is_ended() -> None:
    with pytest.raises(ModelError, match=r"took longer than 0\.5 s for loading the program, and was ended"):
        Child("loop.ts", scripted(Loop()), "script", (4, 2), None, Limits(load=0.5))


@pytest.mark.parametrize("thread", [False, True])
def test_the_process_ends_with_the_one_that_started_it(thread: bool) -> None:
    """It is killed from outside, and so cannot tidy up."""
    code = """
import threading, time
from audit.models.torch_module.program import _started
def start():
    process, connection = _started()
    print(process.pid, flush=True)
    time.sleep(600)
START
"""
    start = "threading.Thread(target=start).start()" if thread else "start()"
    words = [sys.executable, "-c", code.replace("START", start)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.kill()
    until = time.monotonic() + 60
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.02)
    assert not alive(pid)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be noticed does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_process_that_was_killed_is_an_error_of_the_model() -> None:
    from audit.models.torch_module import program

    process, connection = program._started()
    child = object.__new__(Child)
    child.path, child.limits, child.inputs, child.outputs = "net.ts", Limits(), 4, 2
    child._process, child._connection, child._lock = process, connection, threading.Lock()
    child._end = weakref.finalize(child, program._ended, process, connection)
    process.terminate()
    process.wait()
    with pytest.raises(ModelError, match=r"the process of net\.ts ended"):
        child.logits(np.ones((1, 4)))
