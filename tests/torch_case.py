"""A small network and its twins in files of every kind."""

import io
import json
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from audit.core.model import Allow, Source
from audit.core.network import Mlp, Network
from audit.models.torch_child.archive import entries
from audit.models.torch_child.serve import Served, looked_at
from audit.models.torch_module import TorchAdapter
from audit.models.torch_module.program import Program
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


def opened(form: str, data: bytes, *, gives: str = "unsaid", outputs: int = 2) -> Served:
    return looked_at({"form": form, "inputs": 4, "outputs": outputs, "gives": gives}, data)()


FORMS = pytest.mark.parametrize(("form", "saved"), [("script", scripted), ("exported", exported)])
