"""Networks that are programs: twins of a known network, and files that mean harm."""

import io
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings
import weakref
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from audit.core.errors import ModelError
from audit.core.model import Allow, Source
from audit.core.network import Mlp, Network
from audit.models.torch_child import archive
from audit.models.torch_child.archive import RefusedError, entries, script
from audit.models.torch_child.exported import read
from audit.models.torch_child.serve import Served, has_gradient, looked_at
from audit.models.torch_module import TorchAdapter
from audit.models.torch_module.program import Child, Limits, Program, form_of
from audit.testing import toy_table

SCALED = {"age": {"mean": 40.0, "sd": 10.0}, "amount": {"mean": 1000.0, "sd": 300.0}}


def people(n: int = 60, seed: int = 5) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {"age": rng.integers(18, 80, n), "amount": rng.normal(1000, 300, n), "home": rng.choice(["own", "rent"], n)}
    )


def module() -> torch.nn.Module:
    return Mlp(hidden=(6,), activation="tanh").build(4, 2, 3).eval()


def scripted(net: torch.nn.Module) -> bytes:
    answer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch no longer wants new ones; banks have old ones
        torch.jit.save(torch.jit.script(net), answer)
    return answer.getvalue()


def exported(net: torch.nn.Module, *, rows: int = 3, fixed: bool = False, inputs: int = 4) -> bytes:
    shapes = None if fixed else ({0: torch.export.Dim("rows", min=1, max=4096)},)
    program = torch.export.export(net, (torch.zeros(rows, inputs),), dynamic_shapes=shapes)
    answer = io.BytesIO()
    torch.export.save(program, answer)
    return answer.getvalue()


class Spy:
    """Makes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def changed(data: bytes, content: dict[str, bytes]) -> bytes:
    """An archive with other contents in some of its entries."""
    answer = io.BytesIO()
    with zipfile.ZipFile(answer, "w") as archive:
        for name, old in entries(data).items():
            archive.writestr(f"net/{name}", content.get(name, old))
    return answer.getvalue()


def edited(data: bytes, edit) -> bytes:
    """An exported program with another graph."""
    graph = json.loads(entries(data)["models/model.json"])
    edit(graph)
    return changed(data, {"models/model.json": json.dumps(graph).encode()})


def load(path: Path, *, pickled: bool = False, **settings) -> Network | Program:
    settings = {"preprocessing": SCALED, "classes": ["no", "yes"], **settings}
    adapter = TorchAdapter.model_validate_json(json.dumps({"kind": "torch", "path": path.name, **settings}))
    schema = toy_table(people()).schema
    return adapter.load(Source(str(path), str(path.parent), Allow(pickle=pickled), people(), ("yes",), None, schema))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One network in three files."""
    folder = tmp_path_factory.mktemp("twins")
    save_file(module().state_dict(), folder / "net.safetensors")
    (folder / "net.ts").write_bytes(scripted(module()))
    evil = pickle.dumps(Spy(folder / "ran"))
    (folder / "net.pt2").write_bytes(changed(exported(module()), {"data/sample_inputs/model.pt": evil}))
    return folder


@pytest.fixture(scope="module")
def network(folder: Path) -> Network:
    return load(folder / "net.safetensors", architecture={"hidden": [6], "activation": "tanh"})


@pytest.fixture(scope="module", params=["net.ts", "net.pt2"])
def program(folder: Path, request: pytest.FixtureRequest) -> Iterator[Program]:
    program = load(folder / request.param)
    yield program
    program.child.close()


def test_a_program_answers_as_its_twin_of_safetensors(network: Network, program: Program) -> None:
    frame = people(300, seed=9)
    assert program.child.wide
    assert program.capabilities == {"predict", "gradient"}
    assert program.notes == ()
    np.testing.assert_allclose(program.predict(frame), network.predict(frame), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(program.predict(frame)[7:8], program.predict(frame[7:8]))


def test_a_program_has_the_gradients_of_its_twin(network: Network, program: Program) -> None:
    points = torch.from_numpy(np.random.default_rng(2).normal(size=(40, 4)))
    slopes = torch.from_numpy(np.random.default_rng(3).normal(size=(40, 2)))
    found, expected = (
        torch.autograd.grad(model.logits()(x), x, grad_outputs=slopes)[0]
        for model in (program, network)
        for x in [points.clone().requires_grad_()]
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_pickled_sample_inputs_are_not_opened(folder: Path, program: Program) -> None:
    """The exported twin holds a pickle that makes a file when it is opened."""
    assert len(program.predict(people())) == 60
    assert not (folder / "ran").exists()


def test_ctrl_c_does_not_reach_the_process_and_an_error_does_not_end_it(program: Program) -> None:
    process = program.child._process
    os.kill(process.pid, signal.SIGINT)
    with pytest.raises(ModelError, match="the program failed: RuntimeError"):
        program.child._asked(b"F" + b"\0" * 24, (1, 2))
    assert len(program.predict(people())) == 60
    assert process.poll() is None


def opened(form: str, data: bytes, *, gives: str = "unsaid", outputs: int = 2) -> Served:
    return looked_at({"form": form, "inputs": 4, "outputs": outputs, "gives": gives}, data)()


FORMS = pytest.mark.parametrize(("form", "saved"), [("script", scripted), ("exported", exported)])


def test_what_a_file_holds_decides_and_its_name_where_it_must() -> None:
    weights = io.BytesIO()
    torch.save(module().state_dict(), weights)
    assert form_of(".pt", scripted(module())) == "script"
    assert form_of(".pt", exported(module())) == "exported"
    assert form_of(".pt", weights.getvalue()) is None
    assert form_of(".pth", b"nonsense") is None
    assert form_of(".ts", b"nonsense") == "script"
    assert form_of(".pt2", b"nonsense") == "exported"


def test_a_program_is_not_described_twice(folder: Path) -> None:
    with pytest.raises(ModelError, match="leave `architecture` out"):
        load(folder / "net.ts", architecture={"hidden": [6]})
    with pytest.raises(ModelError, match=r"model\.gives: it is for programs"):
        load(folder / "net.safetensors", architecture={"hidden": [6]}, gives="logits")
    with pytest.raises(ModelError, match="the file was not opened"):
        load(folder / "net.ts", sha256="0" * 64)


@FORMS
def test_probabilities_are_recognised_and_read_where_the_spec_says_so(form: str, saved) -> None:
    net, x = module(), torch.randn((9, 4), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    data = saved(torch.nn.Sequential(net, torch.nn.Softmax(dim=1)))
    with pytest.raises(RefusedError, match="may give probabilities or logits"):
        opened(form, data)
    expected = torch.softmax(net.double()(x), dim=1)
    torch.testing.assert_close(torch.softmax(opened(form, data, gives="probabilities").logits(x), dim=1), expected)
    with pytest.raises(RefusedError, match="do not sum to 1"):
        opened(form, saved(module()), gives="probabilities")


@FORMS
def test_one_output_stands_for_the_second_of_two_classes(form: str, saved) -> None:
    x = torch.randn((9, 4), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for last in (torch.nn.Linear(4, 1), torch.nn.Sequential(torch.nn.Linear(4, 1), torch.nn.Flatten(0))):
        net = torch.nn.Sequential(last)
        expected = torch.sigmoid(net.double()(x).reshape(-1))
        net = net.float()
        torch.testing.assert_close(torch.softmax(opened(form, saved(net)).logits(x), dim=1)[:, 1], expected)
        sure = saved(torch.nn.Sequential(net, torch.nn.Sigmoid()))
        with pytest.raises(RefusedError, match="may give"):
            opened(form, sure)
        found = torch.softmax(opened(form, sure, gives="probabilities").logits(x), dim=1)[:, 1]
        torch.testing.assert_close(found, expected)
        with pytest.raises(RefusedError, match="one column for each of `classes`"):
            opened(form, saved(net), outputs=3)


class Noisy(torch.nn.Module):
    """Draws a number for each row."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :2] + torch.rand_like(x[:, :2])


class Crowd(torch.nn.Module):
    """Answers a row by how it stands among the others, as a batch norm in training does."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - x.mean(dim=0))[:, :2]


class Pair(torch.nn.Module):
    """Gives two tensors."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x[:, :2], x[:, 2:]


class Stepped(torch.nn.Module):
    """Has no gradient."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return x[:, :2] * 3


def test_answers_that_cannot_be_relied_on_are_refused() -> None:
    for net, message in {Noisy(): "differently each time", Crowd(): "when others stand beside it"}.items():
        for form, saved in (("script", scripted), ("exported", exported)):
            with pytest.raises(RefusedError, match=message):
                opened(form, saved(net))
    with pytest.raises(RefusedError, match="answers with a tuple"):
        opened("script", scripted(Pair()))
    with pytest.raises(RefusedError, match="1 inputs and 2 outputs"):
        opened("exported", exported(Pair()))
    assert not has_gradient(opened("script", scripted(Stepped())))
    assert has_gradient(opened("script", scripted(module())))
    broken = module()
    with torch.no_grad():
        broken[0].weight[0, 0] = torch.nan
    for form, saved in (("script", scripted), ("exported", exported)):
        with pytest.raises(RefusedError, match="NaN or infinite"):
            opened(form, saved(broken))
    with pytest.raises(RefusedError, match="takes rows of 5 inputs, and the features make 4"):
        opened("exported", exported(torch.nn.Linear(5, 2), inputs=5))


class Rich(torch.nn.Module):
    """Buffers, a constant, a cut in several parts, sizes at run time, a type of number, and a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(4)
        self.register_buffer("shift", torch.tensor([0.1, 0.2, 0.3, 0.4]), persistent=False)
        self.head = torch.nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = torch.split(self.norm(x) + self.shift, [1, 3], dim=1)
        whole = torch.cat([first.to(torch.float32), torch.nn.functional.gelu(second)], dim=1)
        whole = whole.reshape(x.shape[0] * 2, 2).reshape(x.shape[0], 4) + torch.tensor([1.0, 2.0, 3.0, 4.0])
        high, _ = whole.max(dim=1, keepdim=True)
        return torch.nn.functional.dropout(self.head(whole - high), 0.5, training=self.training)


def test_a_program_of_many_operators_means_what_the_module_means() -> None:
    net = Rich()
    net(torch.randn((50, 4), generator=torch.Generator().manual_seed(1)))
    net.eval()
    x = torch.randn((33, 4), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for data, most in ((exported(net), 4096), (exported(net, rows=8, fixed=True), 8)):
        served = opened("exported", data)
        assert served.wide
        assert served.most == most
        torch.testing.assert_close(served.logits(x).float(), net(x.float()), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(served.logits(x)[11:12], served.logits(x[11:12]), rtol=0, atol=1e-12)
    with pytest.raises(RefusedError, match="differently each time"):
        opened("exported", exported(Rich().train()))


def test_what_cannot_compute_in_float64_is_asked_in_calls_of_one_size() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        answer = io.BytesIO()
        torch.jit.save(torch.jit.freeze(torch.jit.script(module())), answer)
    served = opened("script", answer.getvalue())
    assert not served.wide
    x = torch.randn((300, 4), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    torch.testing.assert_close(served.logits(x), module().double()(x), rtol=1e-5, atol=1e-5)
    assert torch.equal(served.logits(x)[290:291], served.logits(x[290:291]))


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
    name = next(name for name in entries(clean) if name.endswith("container.py"))
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
            return x[:, :2] + torch.zeros([10000000000000]).sum()
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
    child = Child("trap.ts", scripted(Trap()), "script", (4, 2), None)
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
