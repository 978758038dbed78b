"""`audit init` for data and a network."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from audit.cli import init, validate
from audit.core.errors import ModelError, SpecError
from audit.core.network import Mlp, hidden_of
from audit.models.torch_module import save_network
from audit.spec.load import load_spec
from audit.testing import toy_network, toy_table


def call(command, *arguments: object) -> str:
    result = CliRunner().invoke(command, list(map(str, arguments)), standalone_mode=False)
    if result.exception:
        raise result.exception
    return result.output


def people() -> pd.DataFrame:
    homes = ["own", "rent"] * 10
    return pd.DataFrame({"id": range(20), "age": range(20, 40), "home": homes, "paid": ["yes", "no"] * 10})


def started(folder: Path, model: str) -> Path:
    people().to_csv(folder / "people.csv", index=False)
    more = ["--target", "paid", "--favourable", "yes"]
    call(init.command, folder / "mine", "--from", folder / "people.csv", "--model", folder / model, *more)
    return folder / "mine" / "spec.yaml"


def test_a_network_of_ours_needs_nothing_more(tmp_path: Path) -> None:
    network = toy_network(toy_table(people()[["age", "home"]]), {"age": 1.0}, 30.0)
    save_network(tmp_path / "net.safetensors", network)
    spec = started(tmp_path, "net.safetensors")
    assert "It is valid as it stands" in spec.read_text(encoding="utf-8")
    assert "data and model fit it" in call(validate.command, spec)
    assert load_spec(spec).spec.model.kind == "torch"
    assert load_spec(spec).spec.model.features == ("age", "home")


def test_weights_of_others_are_described_as_far_as_they_show(tmp_path: Path) -> None:
    save_file(Mlp(hidden=(7, 5)).build(3, 2, 0).state_dict(), tmp_path / "net.safetensors")
    spec = started(tmp_path, "net.safetensors")
    text = spec.read_text(encoding="utf-8")
    assert "Fill in `model`" in text
    loaded = load_spec(spec).spec.model
    assert loaded.architecture == {"kind": "mlp", "hidden": [7, 5], "activation": "relu"}
    assert loaded.classes == ("no", "yes")
    with pytest.raises(ModelError, match="does not say how features become inputs"):
        call(validate.command, spec)
    spec.write_text(text.replace("  # preprocessing: standardise", "  preprocessing: none"), encoding="utf-8")
    assert "data and model fit it" in call(validate.command, spec)


def test_a_program_is_its_own_architecture(tmp_path: Path) -> None:
    (tmp_path / "net.pt2").write_bytes(b"not opened by init")
    text = started(tmp_path, "net.pt2").read_text(encoding="utf-8")
    assert "kind: torch" in text
    assert "# gives: logits" in text
    assert "architecture" not in text


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.safetensors").write_bytes(b"nonsense" * 4)
    with pytest.raises(SpecError, match=r"audit init --model .*no safetensors"):
        started(tmp_path, "net.safetensors")


def test_hidden_units_show_only_in_the_weights_of_a_perceptron(tmp_path: Path) -> None:
    def hidden(module: torch.nn.Module) -> tuple[int, ...] | None:
        save_file(module.state_dict(), tmp_path / "some.safetensors")
        return hidden_of((tmp_path / "some.safetensors").read_bytes())

    assert hidden(Mlp(hidden=()).build(3, 2, 0)) == ()
    assert hidden(Mlp(hidden=(4,)).build(3, 2, 0)) == (4,)
    assert hidden(torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))) is None
    assert hidden(torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(5, 2))) is None
    assert hidden(torch.nn.Linear(3, 2)) is None
