"""Networks that are programs: twins of a known network, and what is tried before one is believed."""

import io
import os
import pickle
import signal
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch_case import FORMS, Spy, changed, exported, load, module, opened, people, scripted

from audit.core.errors import ModelError
from audit.core.network import Mlp, Network
from audit.models.torch_child.archive import RefusedError
from audit.models.torch_child.serve import has_gradient
from audit.models.torch_module import program as program_module
from audit.models.torch_module.program import Program, form_of
from audit.search.gradient import Ecco, Generic, Revise
from audit.testing import toy_inputs
from audit.testing.conformance import search_set


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


@pytest.mark.parametrize("search", [Generic, Ecco, Revise])
def test_a_program_has_the_counterfactuals_of_its_twin(network: Network, program: Program, search: type) -> None:
    """With random starts, all rows and several each; the random numbers are the same for both."""
    settings = {"per_row": 3, "constraints": "domain"} | ({"vae": {"epochs": 15}} if search is Revise else {})
    theirs, ours = (
        search_set(search.model_validate(settings), toy_inputs(people(80), model, sample_rows=range(30)))[0]
        for model in (network, program)
    )
    np.testing.assert_array_equal(ours.row, theirs.row)
    np.testing.assert_allclose(ours.codes, theirs.codes, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(ours.evaluated, theirs.evaluated)
    assert len(ours.row) > 20


def test_pickled_sample_inputs_are_not_opened(folder: Path, program: Program) -> None:
    """The exported twin holds a pickle that makes a file when it is opened."""
    assert len(program.predict(people())) == 60
    assert not (folder / "ran").exists()


def test_the_process_keeps_its_doors_closed(program: Program) -> None:
    limits = Path(f"/proc/{program.child._process.pid}/limits").read_text().splitlines()
    hard = {line[:25].strip(): line.split()[-2] for line in limits[1:]}
    assert hard["Max open files"] == hard["Max file size"] == hard["Max core file size"] == "0"
    assert int(hard["Max address space"]) < 2**40


def test_ctrl_c_does_not_reach_the_process_and_an_error_does_not_end_it(program: Program) -> None:
    process = program.child._process
    os.kill(process.pid, signal.SIGINT)
    with pytest.raises(ModelError, match="the program failed: RuntimeError"):
        program.child._asked(b"F" + b"\0" * 24, (1, 2))
    assert len(program.predict(people())) == 60
    assert process.poll() is None


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
    line = Mlp(hidden=()).build(4, 1, 3)
    for last in (line, torch.nn.Sequential(line, torch.nn.Flatten(0))):
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


LIES = {
    "no JSON": (b"x", "cannot be read during starting torch"),
    "no mapping": (b"[1]", "cannot be read during starting torch"),
    "too deep": (b"[" * 200_000, "cannot be read during starting torch"),
    "no text": (b"\xff", "cannot be read during starting torch"),
}


@pytest.mark.parametrize("kind", LIES)
def test_a_process_that_was_taken_over_is_not_believed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Its second answer is a lie."""
    answer, said = LIES[kind]
    answers = iter([b"{}", answer])
    monkeypatch.setattr(program_module, "receive", lambda *_: next(answers))
    with pytest.raises(ModelError, match=said):
        load(folder / "net.ts")


def test_a_process_that_claims_to_say_more_than_it_may_is_ended(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program.child, "limits", replace(program.child.limits, memory=100))
    with pytest.raises(ModelError, match="gave more than it may hold for an answer"):
        program.child.logits(np.zeros((50, program.child.inputs)))
