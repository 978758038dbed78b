"""Networks over feature space: weights from a seed, inputs from codes and back, and one file that holds all."""

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.core.errors import DataError, ModelError
from audit.core.network import FORMAT, About, Mlp, Network, Prepare, about, fill, weights_of
from audit.core.schema import Feature, FeatureSchema
from audit.core.table import Table

NAN = float("nan")
SCHEMA = FeatureSchema(
    features=(
        Feature(name="income", kind="numeric", low=1, high=5),
        Feature(name="home", kind="categorical", levels=("free", "own", "rent"), high=2),
        Feature(name="guarantor", kind="boolean", levels=(False, True), high=1),
        Feature(name="savings", kind="ordinal", levels=("low", "mid", "high"), high=2),
        Feature(name="branch", kind="numeric", low=7, high=7),
    )
)
CODES = np.array([[1.0, 0, 0, 0, 7], [3.0, 2, 1, 2, 7], [5.0, 1, 1, 2, 7], [3.0, 2, 0, 0, 7]])


def table(codes: np.ndarray = CODES) -> Table:
    return Table(SCHEMA, codes, tuple(map(str, range(len(codes)))))


def prepare() -> Prepare:
    return Prepare.fit(SCHEMA, table())


def network(shape: Mlp | None = None, seed: int = 1) -> Network:
    shape = shape or Mlp(hidden=(4,))
    return Network(shape.build(7, 3, seed), shape, prepare(), ("a", "b", "c"))


def weights(module: torch.nn.Module) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in module.state_dict().items()}


def test_weights_follow_from_the_seed_alone_and_torch_is_left_as_it_was() -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    one = weights(Mlp(hidden=(8, 4)).build(5, 2, 11))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    again, other = weights(Mlp(hidden=(8, 4)).build(5, 2, 11)), weights(Mlp(hidden=(8, 4)).build(5, 2, 12))
    assert {name: w.shape for name, w in one.items()} == {
        "0.weight": (8, 5), "0.bias": (8,), "2.weight": (4, 8), "2.bias": (4,), "4.weight": (2, 4), "4.bias": (2,),
    }  # fmt: skip
    assert all(np.array_equal(one[name], again[name]) for name in one)
    assert not np.array_equal(one["0.weight"], other["0.weight"])


@pytest.mark.parametrize(("init", "bound", "bias"), [("glorot", math.sqrt(6 / 500), 0.0), ("torch", 0.05, 0.05)])
def test_initial_weights_are_uniform_within_the_published_bounds(init: Any, bound: float, bias: float) -> None:
    """Glorot: sqrt(6 / (inputs + outputs)) for 400 and 100; torch: 1 / sqrt(400)."""
    first = weights(Mlp(hidden=(100,), init=init).build(400, 2, 0))
    assert np.abs(first["0.weight"]).max() == pytest.approx(bound, rel=1e-3)
    assert first["0.weight"].std() == pytest.approx(bound / math.sqrt(3), rel=0.01)
    assert np.abs(first["0.bias"]).max() == pytest.approx(bias, rel=0.05)


@pytest.mark.parametrize(
    ("activation", "f"),
    [
        ("relu", lambda z: max(z, 0.0)),
        ("tanh", math.tanh),
        ("gelu", lambda z: z * (1 + math.erf(z / math.sqrt(2))) / 2),
    ],
)
def test_the_answer_by_hand(activation: Any, f: Any) -> None:
    module = Mlp(hidden=(2,), activation=activation).build(1, 2, 0)
    given_weights = {
        "0.weight": torch.tensor([[1.0], [-2.0]]), "0.bias": torch.tensor([0.5, 0.25]),
        "2.weight": torch.tensor([[1.0, 1.0], [2.0, -1.0]]), "2.bias": torch.tensor([0.0, 1.0]),
    }  # fmt: skip
    fill(module, given_weights)
    h = [f(0.5 * x) for x in (2.0, -1.5)]  # 0.5 + 0.5 = 1, and 0.25 - 1 = -0.75
    expected = [h[0] + h[1], 2 * h[0] - h[1] + 1]
    assert module(torch.tensor([[0.5]])).tolist()[0] == pytest.approx(expected, abs=1e-6)


def test_without_hidden_layers_it_is_linear() -> None:
    module = Mlp(hidden=()).build(3, 2, 0)
    W = module.state_dict()["0.weight"]
    x = torch.tensor([[1.0, 2.0, 3.0]])
    torch.testing.assert_close(module(x), x @ W.T)


def test_inputs_by_hand() -> None:
    """Income 1, 3, 5, 3: mean 3, sd sqrt(2); savings 0, 2, 2, 0: mean 1, sd 1; a constant is only centred."""
    p, s = prepare(), math.sqrt(2)
    assert p.groups.tolist() == [0, 1, 1, 1, 2, 3, 4]
    assert p.one_hot == (slice(1, 4),)
    expected = [
        [-2 / s, 1, 0, 0, 0, -1, 0],
        [0, 0, 0, 1, 1, 1, 0],
        [2 / s, 0, 1, 0, 1, 1, 0],
        [0, 0, 0, 1, 0, -1, 0],
    ]
    np.testing.assert_allclose(p.matrix(CODES), expected, atol=1e-7)
    assert p.matrix(CODES).dtype == np.float32
    assert p.matrix(CODES[:0]).shape == (0, 7)


def test_inputs_become_the_nearest_codes() -> None:
    points = np.array([[1 / math.sqrt(2), 0.2, 0.1, 0.3, 0.49, -3.0, 0.5], [0, 0.5, 0.5, 0, 0.51, 0.6, 0]])
    expected = [[4, 2, 0, 0, 7.5], [3, 0, 1, 2, 7]]
    np.testing.assert_allclose(prepare().codes(points), expected, atol=1e-12)


def test_features_that_did_not_move_keep_their_codes_bit_by_bit() -> None:
    p, origin = prepare(), CODES[[0]].copy()
    origin[0, 0] = 0.1 + 0.2
    points = p.matrix(origin)
    assert p.codes(points)[0, 0] != origin[0, 0]  # scaling to and fro rounds
    assert p.codes(points, origin).tolist() == origin.tolist()
    points[0, 3] = 2.0
    assert p.codes(points, origin).tolist() == [[0.1 + 0.2, 2, 0, 0, 7]]


def test_bounds_of_codes_become_bounds_of_inputs() -> None:
    low, high = prepare().limits(np.array([1, 0, 0, 0, 6.0]), np.array([5, 2, 1, 2, 8.0]))
    s = math.sqrt(2)
    np.testing.assert_allclose(low, [-2 / s, 0, 0, 0, 0, -1, -1], atol=1e-6)
    np.testing.assert_allclose(high, [2 / s, 1, 1, 1, 1, 1, 1], atol=1e-6)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(0, 2), st.integers(0, 1), st.integers(0, 2)), min_size=1))
def test_codes_survive_the_way_there_and_back(rows: list[tuple[float, int, int, int]]) -> None:
    codes = np.array([[*row, 7.0] for row in rows])
    p = Prepare.fit(SCHEMA, table(codes))
    back = p.codes(p.matrix(codes))
    assert back[:, 1:4].tolist() == codes[:, 1:4].tolist()
    np.testing.assert_allclose(back[:, 0], codes[:, 0], atol=1e-6 * (1 + 4 * np.abs(codes[:, 0]).max()))
    assert p.codes(p.matrix(codes), codes).tolist() == codes.tolist()
    assert Prepare.model_validate_json(p.model_dump_json()) == p


def test_missing_values_and_no_rows_are_refused() -> None:
    gaps = CODES.copy()
    gaps[1:3, 3] = NAN
    with pytest.raises(DataError, match=r"'savings' has 2 missing of 4 values.*model\.features"):
        Prepare.fit(SCHEMA, table(gaps))
    with pytest.raises(DataError, match="'savings' has 2 missing"):
        prepare().matrix(gaps)
    with pytest.raises(DataError, match="no training row"):
        Prepare.fit(SCHEMA, table(CODES[:0]))


def test_probabilities_by_hand_and_in_any_batch() -> None:
    net = network()
    w = {name: tensor.astype(np.float64) for name, tensor in weights(net.module).items()}
    X = prepare().matrix(CODES).astype(np.float64)
    logits = np.maximum(X @ w["0.weight"].T + w["0.bias"], 0) @ w["2.weight"].T + w["2.bias"]
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(net.predict(table().frame()), expected, atol=1e-12)
    many = np.tile(CODES, (300, 1))
    np.testing.assert_allclose(net.probabilities(many)[:4], expected, atol=1e-12)
    assert net.predict(table(CODES[:0]).frame()).shape == (0, 3)


def test_a_network_is_asked_in_evaluation_mode() -> None:
    module = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.BatchNorm1d(7), torch.nn.Linear(7, 2)).train()
    net = Network(module, Mlp(), prepare(), ("a", "b"))
    first = net.probabilities(CODES)
    assert first.tolist() == net.probabilities(CODES).tolist()
    np.testing.assert_allclose(net.probabilities(CODES[:1]), first[:1], atol=1e-12)


def test_a_file_holds_the_whole_network_and_equal_networks_give_equal_bytes() -> None:
    net = network()
    data = net.packed()
    assert {network().packed() for _ in range(5)} == {data}
    inside = about(data)
    assert inside == About(architecture={"kind": "mlp", "hidden": [4], "activation": "relu", "init": "glorot"},
                           prepare=prepare(), classes=("a", "b", "c"))  # fmt: skip
    assert inside is not None
    copy = Network(
        fill(Mlp(hidden=(4,)).build(7, 3, 99), weights_of(data)), Mlp(hidden=(4,)), inside.prepare, inside.classes
    )
    assert copy.packed() == data
    assert copy.digest == net.digest
    assert copy.predict(table().frame()).tolist() == net.predict(table().frame()).tolist()
    others = [network(seed=2), network(Mlp(hidden=(4,), activation="tanh"))]
    assert len({net.digest, *(other.digest for other in others)}) == 3


def test_metadata_of_others_say_nothing_and_damaged_ones_are_refused() -> None:
    from safetensors.torch import save

    assert about(save({"w": torch.zeros(1)})) is None
    assert about(save({"w": torch.zeros(1)}, {"format": "pt"})) is None
    for text in ("", "{}", json.dumps({"architecture": {}, "classes": ["a", "b"]})):
        with pytest.raises(ModelError, match="metadata of the network are damaged"):
            about(save({"w": torch.zeros(1)}, {FORMAT: text}))
    for junk in (b"", b"12345678", b"\xff" * 40):
        with pytest.raises(ModelError, match="no safetensors"):
            about(junk)


def test_weights_must_be_those_of_the_architecture() -> None:
    given_weights = dict(Mlp(hidden=(4,)).build(7, 3, 0).state_dict())
    module = Mlp(hidden=(4,)).build(7, 3, 1)
    with pytest.raises(ModelError, match=r"2\.bias is missing; the file holds 0\.bias, 0\.weight, 2\.weight"):
        fill(module, {name: w for name, w in given_weights.items() if name != "2.bias"})
    with pytest.raises(ModelError, match=r"0\.weight has shape \(4, 6\), expected \(4, 7\)"):
        fill(module, {**given_weights, "0.weight": torch.zeros(4, 6)})
    with pytest.raises(ModelError, match=r"4\.bias is not in the architecture"):
        fill(module, {**given_weights, "4.bias": torch.zeros(3)})
    with pytest.raises(ModelError, match="NaN or infinity"):
        fill(module, {**given_weights, "2.bias": torch.tensor([0.0, torch.inf, 0.0])})
