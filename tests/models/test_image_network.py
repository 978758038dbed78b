"""Networks that look at pictures: cut in two, and loaded from weights and an architecture."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from image_nets import Tokens
from safetensors.torch import save_file
from torch import nn

from audit.core import architecture
from audit.core.base import sha256
from audit.core.convolution import Cnn, ImageArchitecture, split
from audit.core.errors import ModelError
from audit.core.model import Allow, ImageModel, Source
from audit.core.network import Architecture
from audit.models.image_network import GROUP, ImageNetworkAdapter


class Shortcut(nn.Module):
    """Two convolutions with a shortcut around the second."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.sum, self.drop, self.last = nn.ReLU(), nn.Dropout(0.5), nn.Linear(4, 3)

    def forward(self, x):
        y = self.first(x)
        maps = self.sum(self.second(y) + y)
        return self.last(self.drop(maps).mean((2, 3)))


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 2, 3)

    def forward(self, x):
        return self.first(x).mean((2, 3)) if x.sum() > 0 else x.mean((2, 3))


def pictures(n=5, size=12):
    return torch.from_numpy(np.random.default_rng(0).normal(size=(n, 1, size, size)).astype(np.float32))


@pytest.mark.parametrize("cut", ["first", "sum", "drop"])
def test_head_of_features_is_the_network(cut):
    network, x = Shortcut().eval(), pictures()
    features, head = split(network, cut)
    assert features(x).ndim == 4
    torch.testing.assert_close(head(features(x)), network(x), rtol=0, atol=0)


def test_a_container_can_be_the_cut():
    network = Cnn().build(1, 10, 0).eval()
    features, head = split(network, "features")
    x = pictures(2, 28)
    assert features(x).shape == (2, 64, 7, 7)
    torch.testing.assert_close(head(features(x)), network(x), rtol=0, atol=0)
    assert not any("Conv" in type(m).__name__ for m in head.modules()), "the head carries no convolution along"


def test_what_cannot_be_cut_is_refused_with_the_reason():
    with pytest.raises(ModelError, match="reads more than its output, as in a network with a shortcut"):
        split(Shortcut(), "second")
    with pytest.raises(ModelError, match="there is no module 'secnd'; there are"):
        split(Shortcut(), "secnd")
    with pytest.raises(ModelError, match="cannot be cut, because its code depends on its input"):
        split(Branching(), "first")


def test_the_seed_alone_decides_the_weights():
    first, second, other = (Cnn(widths=(4, 8)).build(3, 2, seed).state_dict() for seed in (1, 1, 2))
    torch.manual_seed(5)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def source(path):
    return Source(str(path), str(path.parent), Allow(), pd.DataFrame(), ())


def test_weights_become_two_halves(tmp_path):
    network = Cnn(widths=(4, 8)).build(3, 2, 3).eval()
    save_file(network.state_dict(), tmp_path / "m.safetensors")
    settings = {"path": "m.safetensors", "architecture": {"widths": [4, 8]}, "classes": ["cat", "dog"]}
    model = ImageNetworkAdapter.model_validate_json(json.dumps(settings)).load(source(tmp_path / "m.safetensors"))
    assert isinstance(model, ImageModel)
    assert model.classes == ("cat", "dog")
    x = np.random.default_rng(1).normal(size=(4, 3, 16, 16)).astype(np.float32)
    maps = model.features(x)
    assert maps.shape == (4, 8, 8, 8)
    expected = network(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(model.head(maps), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"path": "m.pt"}, "ends in '.pt'; save the weights with safetensors"),
        ({"sha256": sha256(b"other")}, "but the spec pins"),
        ({"architecture": {"kind": "resnet"}}, "'resnet' is not known; there are cnn"),
        ({"architecture": {"widths": [4]}}, "the weights do not fit the architecture"),
        ({"architecture": {"kernel": 4}}, "model.architecture.kernel"),
        ({"classes": ["a", "b", "c"]}, "the weights do not fit"),
        ({"classes": ["a", "a"]}, "two classes share a name"),
        ({"cut": "body"}, "there is no module 'body'"),
    ],
)
def test_wrong_settings_are_said(tmp_path, change, said):
    save_file(Cnn(widths=(4, 8)).build(3, 2, 3).state_dict(), tmp_path / "m.safetensors")
    settings = {"path": "m.safetensors", "architecture": {"widths": [4, 8]}, "classes": ["cat", "dog"]} | change
    with pytest.raises(ModelError, match=said):
        ImageNetworkAdapter.model_validate_json(json.dumps(settings)).load(source(tmp_path / "m.safetensors"))


class Offered(ImageArchitecture):
    """An architecture as a package would offer it."""

    size: int = 12

    def build(self, channels, classes, seed):
        assert channels == 3, "pictures in colour"
        return Tokens("mean", d=self.size, classes=classes)


class Entry:
    """Stands for an entry point."""

    def __init__(self, name, value):
        self.name, self.value = name, value

    def load(self):
        return self.value


def test_an_installed_package_can_offer_an_architecture(tmp_path, monkeypatch):
    offered = [Entry("tokens", Offered), Entry("odd", Architecture)]
    monkeypatch.setattr(architecture, "entry_points", lambda group: offered if group == GROUP else [])
    network = Tokens("mean", d=8, classes=2).eval()
    save_file(network.state_dict(), tmp_path / "m.safetensors")

    def load(**settings):
        given = {"path": "m.safetensors", "classes": ["cat", "dog"], "cut": "maps"} | settings
        return ImageNetworkAdapter.model_validate_json(json.dumps(given)).load(source(tmp_path / "m.safetensors"))

    model = load(architecture={"kind": "tokens", "size": 8})
    x = np.random.default_rng(1).normal(size=(4, 3, 16, 16)).astype(np.float32)
    assert model.features(x).shape == (4, 8, 4, 4)
    expected = network(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(model.head(model.features(x)), expected, atol=1e-6)
    with pytest.raises(ModelError, match="'odd' is no ImageArchitecture"):
        load(architecture={"kind": "odd"})
    with pytest.raises(ModelError, match="cannot be built: AssertionError: pictures in colour"):
        load(architecture={"kind": "tokens"}, channels=1)
    with pytest.raises(ModelError, match="there are cnn, odd, tokens"):
        load(architecture={"kind": "resnet"})
