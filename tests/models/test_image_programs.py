"""Classifiers of images as two programs, each in a process of its own."""

import io
import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch_case import Spy, changed, scripted

from audit.core.base import sha256
from audit.core.errors import ModelError
from audit.core.model import Allow, ImageModel, Source
from audit.models.torch_child.archive import RefusedError
from audit.models.torch_child.serve import looked_at
from audit.models.torch_module.pictures import ImageProgramsAdapter
from audit.testing import check_image_adapter

CLASSES = ["cat", "dog", "owl"]


def halves():
    """What image networks are made of: convolution, batch norm, pooling; then the mean over cells and a layer."""
    torch.manual_seed(0)
    first = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU6(), nn.MaxPool2d(2),
                          nn.Conv2d(6, 6, 3, groups=6), nn.SiLU())  # fmt: skip
    with torch.no_grad():
        first[1].running_mean += 0.3
    return first.eval(), nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(6, 3)).eval()


def exported(module, *shape, fixed=False):
    shapes = None if fixed else ({0: torch.export.Dim("b", min=1, max=512)},)
    answer = io.BytesIO()
    torch.export.save(torch.export.export(module, (torch.zeros(shape),), dynamic_shapes=shapes), answer)
    return answer.getvalue()


@pytest.fixture(scope="module")
def files():
    first, second = halves()
    return {
        "features.pt2": exported(first, 3, 3, 12, 12),
        "head.pt2": exported(second, 3, 6, 4, 4),
        "fixed.pt2": exported(first, 2, 3, 12, 12, fixed=True),
        "features.ts": scripted(first),
        "head.ts": scripted(second),
    }


def load(folder, files, first="features.pt2", second="head.pt2", **settings):
    for name in (first, second):
        (folder / name).write_bytes(files[name])
    said = {"path": first, "head": {"path": second, "sha256": sha256(files[second])}, "classes": CLASSES} | settings
    source = Source(str(folder / first), str(folder), Allow(), pd.DataFrame(), ())
    return ImageProgramsAdapter.model_validate_json(json.dumps(said)), source


def pictures(n=5):
    return np.random.default_rng(1).normal(size=(n, 3, 12, 12)).astype(np.float32)


def half(data, form):
    """The half as the process makes it, without the process."""
    return looked_at({"form": form, "tensors": True}, data)()


def answered(served, x):
    answer = served.answer(b"M" + np.array(x.shape, dtype="<i8").tobytes() + x.tobytes())
    rank = int.from_bytes(answer[:8], "little")
    sizes = np.frombuffer(answer[8 : 8 + 8 * rank], dtype="<i8")
    return np.frombuffer(answer[8 + 8 * rank :], dtype=np.float32).reshape(sizes)


@pytest.mark.parametrize(
    ("first", "second"), [("features.pt2", "head.pt2"), ("features.ts", "head.ts"), ("fixed.pt2", "head.ts")]
)
def test_the_two_halves_are_the_network(files, first, second):
    one, other = (half(files[name], "exported" if name.endswith("2") else "script") for name in (first, second))
    features, head = halves()
    with torch.no_grad():
        maps = features(torch.from_numpy(pictures()))
        np.testing.assert_allclose(answered(one, pictures()), maps.numpy(), atol=1e-5)
        np.testing.assert_allclose(answered(other, maps.numpy()), head(maps).numpy(), atol=1e-5)


def test_each_half_runs_in_a_process_of_its_own(tmp_path, files):
    """Pickled sample inputs stand in the file of the features; they are not opened."""
    evil = pickle.dumps(Spy(tmp_path / "ran"))
    first = changed(files["features.pt2"], {"data/sample_inputs/model.pt": evil})
    adapter, source = load(tmp_path, files | {"features.pt2": first}, second="head.ts")
    model = check_image_adapter(adapter, source, pictures())
    assert isinstance(model, ImageModel)
    features, head = halves()
    with torch.no_grad():
        expected = head(features(torch.from_numpy(pictures()))).numpy()
    np.testing.assert_allclose(model.head(model.features(pictures())), expected, atol=1e-5)
    assert not (tmp_path / "ran").exists()
    limits = Path(f"/proc/{model.first._process.pid}/limits").read_text().splitlines()
    assert next(line for line in limits if line.startswith("Max open files")).split()[-2] == "0"
    with pytest.raises(ModelError, match=r"features.pt2: the program failed: \w*Error"):
        model.features(np.zeros((2, 5, 12, 12), dtype=np.float32))
    assert model.features(pictures()).shape == (5, 6, 4, 4), "a question that fails does not end the process"


class Noisy(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x, 0.5, training=True)


class Beside(nn.Module):
    def forward(self, x):
        return x - x.mean(0, keepdim=True)


class Summed(nn.Module):
    def forward(self, x):
        return x.sum()


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (Noisy(), "answers the same pictures differently each time; save it after"),
        (Beside(), "answers a picture differently beside others; save it after"),
        (Summed(), "answers 5 pictures with shape"),
    ],
)
def test_a_program_that_cannot_be_relied_on_is_refused_at_the_first_pictures(module, said):
    with pytest.raises(RefusedError, match=said):
        answered(half(scripted(module), "script"), pictures())


def test_a_half_takes_four_dimensions():
    with pytest.raises(RefusedError, match="takes tensors of 2 dimensions"):
        half(exported(nn.Linear(4, 3), 2, 4), "exported")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sha256": sha256(b"other")}, "but the spec pins"),
        ({"head": {"path": "head.pt2", "sha256": sha256(b"other")}}, r"head.pt2 has the digest .* the spec pins"),
        ({"head": {"path": "none.pt2", "sha256": sha256(b"other")}}, "model.head: none.pt2 cannot be read"),
        ({"classes": ["a", "a"]}, "two classes share a name"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, files, settings, said):
    adapter, source = load(tmp_path, files, **settings)
    with pytest.raises(ModelError, match=said):
        adapter.load(source)


def test_weights_alone_are_no_program(tmp_path, files):
    weights = io.BytesIO()
    torch.save(halves()[0].state_dict(), weights)
    adapter, source = load(tmp_path, files | {"features.pt": weights.getvalue()}, "features.pt")
    with pytest.raises(ModelError, match=r"model.path: features.pt is no program; save it with torch.export.save"):
        adapter.load(source)
