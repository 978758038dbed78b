"""The torch adapter: what it opens, what it refuses, and that it answers as the network itself does."""

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from audit.core import architecture
from audit.core.base import sha256
from audit.core.errors import ModelError
from audit.core.evidence import Evidence
from audit.core.model import Allow, Decision, Scorer, Source
from audit.core.network import Architecture, Mlp, Network, Prepare
from audit.engine.run import Options, run
from audit.models import torch_module
from audit.models.torch_module import TorchAdapter, save_network, shape_of
from audit.testing import toy_network, toy_table

NAMES = ("age", "amount", "home")
SCALED = {"age": {"mean": 40.0, "sd": 10.0}, "amount": {"mean": 1000.0, "sd": 300.0}}


def people(n: int = 60, seed: int = 5) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {"age": rng.integers(18, 80, n), "amount": rng.normal(1000, 300, n), "home": rng.choice(["own", "rent"], n)}
    )


def network(hidden: tuple[int, ...] = (5,)) -> Network:
    table = toy_table(people())
    return Network(
        Mlp(hidden=hidden).build(4, 2, 3), Mlp(hidden=hidden), Prepare.fit(table.schema, table), ("no", "yes")
    )


def adapter(**settings) -> TorchAdapter:
    return TorchAdapter.model_validate_json(json.dumps({"kind": "torch", **settings}))


def load(path: Path, *, pickled: bool = False, train: pd.DataFrame | None = None, **settings) -> Network:
    schema = toy_table(people()).schema
    source = Source(str(path), str(path.parent), Allow(pickle=pickled), people(), ("yes",), None, schema, train)
    return adapter(path=path.name, **settings).load(source)


def by_hand(module: torch.nn.Module, frame: pd.DataFrame, mean: tuple[float, float], sd: tuple[float, float]):
    """P(second class) in float64, with inputs laid out by hand: age, amount, own, rent."""
    X = np.column_stack(
        [
            (frame["age"] - mean[0]) / sd[0],
            (frame["amount"] - mean[1]) / sd[1],
            frame["home"] == "own",
            frame["home"] == "rent",
        ]
    )
    weight = {name: tensor.double().numpy() for name, tensor in module.state_dict().items()}
    hidden = np.maximum(X @ weight["0.weight"].T + weight["0.bias"], 0)
    logits = hidden @ weight["2.weight"].T + weight["2.bias"]
    return (1 + np.tanh((logits[:, 1] - logits[:, 0]) / 2)) / 2


def test_a_file_of_ours_needs_no_settings_and_answers_as_the_network(tmp_path: Path) -> None:
    net, frame = network(), people(seed=9)
    digest = save_network(tmp_path / "model.safetensors", net)
    loaded = load(tmp_path / "model.safetensors", sha256=digest.upper(), features=NAMES)
    age, amount = people()["age"], people()["amount"]
    expected = by_hand(net.module, frame, (age.mean(), amount.mean()), (age.std(ddof=0), amount.std(ddof=0)))
    np.testing.assert_allclose(loaded.predict(frame)[:, 1], expected, atol=1e-6)
    assert loaded.classes == ("no", "yes")
    assert loaded.capabilities == {"predict", "gradient"}
    assert loaded.native() is None
    assert loaded.digest == digest
    table = toy_table(people())
    scorer = Scorer(loaded, table.schema, Decision(loaded.classes, ("yes",)))
    np.testing.assert_allclose(scorer.probabilities(table.codes), loaded.predict(people()), atol=1e-12)


def test_weights_of_others_are_read_with_what_the_spec_says(tmp_path: Path) -> None:
    net, frame = network(), people(seed=9)
    save_file(net.module.state_dict(), tmp_path / "model.safetensors")
    settings = {"architecture": {"kind": "mlp", "hidden": [5]}, "classes": ["no", "yes"]}
    stated = load(tmp_path / "model.safetensors", preprocessing=SCALED, **settings)
    expected = by_hand(net.module, frame, (40, 1000), (10, 300))
    np.testing.assert_allclose(stated.predict(frame)[:, 1], expected, atol=1e-6)
    plain = load(tmp_path / "model.safetensors", preprocessing="none", **settings)
    np.testing.assert_allclose(plain.predict(frame)[:, 1], by_hand(net.module, frame, (0, 0), (1, 1)), atol=1e-6)
    train = people(30, seed=1)
    scaled = load(tmp_path / "model.safetensors", preprocessing="standardise", train=train, **settings)
    mean, sd = train[["age", "amount"]].mean(), train[["age", "amount"]].std(ddof=0)
    expected = by_hand(net.module, frame, tuple(mean), tuple(sd))
    np.testing.assert_allclose(scaled.predict(frame)[:, 1], expected, atol=1e-6)
    assert len({stated.digest, plain.digest, scaled.digest}) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "model.architecture: .* give it, for example"),
        ({"architecture": {"hidden": [5]}}, "does not say how features become inputs"),
        ({"architecture": {"hidden": [5]}, "preprocessing": "none"}, "list them in the order of the outputs"),
        ({"architecture": {"hidden": [5]}, "preprocessing": "standardise"}, "give `data.train`"),
        ({"architecture": {"hidden": [5]}, "preprocessing": {"age": SCALED["age"]}}, "exactly age, amount"),
        (
            {"architecture": {"hidden": [7]}, "preprocessing": "none", "classes": ["no", "yes"]},
            r"0.weight has shape \(5, 4\), expected \(7, 4\)",
        ),
        (
            {"architecture": {"hidden": []}, "preprocessing": "none", "classes": ["no", "yes"]},
            r"0.weight has shape \(5, 4\), expected \(2, 4\)",
        ),
        (
            {"architecture": {"hidden": [5, 5]}, "preprocessing": "none", "classes": ["no", "yes"]},
            r"2.weight has shape \(2, 5\), expected \(5, 5\)",
        ),
        (
            {"architecture": {"hidden": [5]}, "preprocessing": "none", "classes": ["a", "b", "c"]},
            r"2.weight has shape \(2, 5\), expected \(3, 5\)",
        ),
        ({"architecture": {"kind": "resnet"}}, "'resnet' is not known; there are mlp"),
        ({"architecture": {"hiden": [5]}}, "model.architecture.hiden"),
        ({"architecture": {"hidden": ["five"]}}, "model.architecture.hidden.0"),
    ],
)
def test_what_does_not_fit_is_said_in_one_sentence(tmp_path: Path, settings: dict, message: str) -> None:
    save_file(network().module.state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=message) as caught:
        load(tmp_path / "model.safetensors", **settings)
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"features": ("amount", "age", "home")}, "in that order"),
        ({"classes": ["yes", "no"]}, "has no, yes, and the spec says yes, no"),
        ({"architecture": {"hidden": [9]}}, "leave `architecture` out"),
        ({"preprocessing": "none"}, "leave `preprocessing` out"),
        ({"transformer": {"path": "prepare.skops"}}, "leave `transformer` out"),
        ({"sha256": "0" * 64}, "the file was not opened"),
    ],
)
def test_a_file_of_ours_is_not_contradicted(tmp_path: Path, settings: dict, message: str) -> None:
    save_network(tmp_path / "model.safetensors", network())
    with pytest.raises(ModelError, match=message):
        load(tmp_path / "model.safetensors", **settings)


def test_the_digest_is_compared_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_network(tmp_path / "model.safetensors", network())
    monkeypatch.setattr(torch_module, "about", lambda data: pytest.fail("the file was opened"))
    with pytest.raises(ModelError, match=sha256((tmp_path / "model.safetensors").read_bytes())):
        load(tmp_path / "model.safetensors", sha256="f" * 64)


def test_pickled_weights_are_opened_only_where_allowed_and_never_run_code(tmp_path: Path) -> None:
    net = network()
    settings = {"architecture": {"hidden": [5]}, "preprocessing": SCALED, "classes": ["no", "yes"]}
    torch.save(net.module.state_dict(), tmp_path / "model.pt")
    with pytest.raises(ModelError, match="--allow-pickle"):
        load(tmp_path / "model.pt", **settings)
    loaded = load(tmp_path / "model.pt", pickled=True, **settings)
    np.testing.assert_allclose(
        loaded.predict(people())[:, 1], by_hand(net.module, people(), (40, 1000), (10, 300)), atol=1e-6
    )
    ran = tmp_path / "ran"

    class Spy:
        def __reduce__(self):
            return (Path.touch, (ran,))

    torch.save({"0.weight": Spy()}, tmp_path / "evil.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps({"0.weight": Spy()}))
    torch.save(net.module, tmp_path / "whole.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    more = "more than weights"
    for name, message in {"evil": more, "plain": more, "whole": more, "list": "state_dict"}.items():
        with pytest.raises(ModelError, match=message):
            load(tmp_path / f"{name}.pt", pickled=True, **settings)
    assert not ran.exists()


def test_files_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"x" * 40)
    with pytest.raises(ModelError, match=r"ends in '\.onnx'"):
        load(tmp_path / "model.onnx")
    (tmp_path / "model.safetensors").write_bytes(b"nonsense" * 9)
    with pytest.raises(ModelError, match="no safetensors"):
        load(tmp_path / "model.safetensors")
    whole = network().packed()
    (tmp_path / "model.safetensors").write_bytes(whole[:-4])
    with pytest.raises(ModelError, match="weights cannot be read"):
        load(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").write_bytes(whole.replace(b'\\"sd\\"', b'\\"ds\\"'))
    with pytest.raises(ModelError, match="metadata of the network are damaged"):
        load(tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="cannot be read"):
        load(tmp_path / "none.safetensors")


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    net = network()
    with torch.no_grad():
        net.module[0].weight[0, 0] = torch.nan
    save_network(tmp_path / "model.safetensors", net)
    with pytest.raises(ModelError, match=r"NaN or infinity in 0\.weight"):
        load(tmp_path / "model.safetensors")


def test_rows_that_the_network_does_not_know_are_errors_of_the_model(tmp_path: Path) -> None:
    save_network(tmp_path / "model.safetensors", network())
    loaded = load(tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="was trained on age, amount, home"):
        loaded.predict(people()[["amount", "age", "home"]])
    with pytest.raises(ModelError, match="holds 'castle'"):
        loaded.predict(people().assign(home="castle"))
    with pytest.raises(ModelError, match="'amount' has 60 missing of 60"):
        loaded.predict(people().assign(amount=np.nan))


class Doubled(Architecture):
    """An architecture as a package would offer it: one hidden layer of twice the inputs."""

    def build(self, d: int, k: int, seed: int) -> torch.nn.Module:
        return Mlp(hidden=(2 * d,)).build(d, k, seed)


class Entry:
    """Stands for an entry point."""

    def __init__(self, name: str, value: object) -> None:
        self.name, self.value = name, value

    def load(self) -> object:
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


def test_an_installed_package_can_offer_an_architecture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offered = [Entry("doubled", Doubled), Entry("broken", ImportError("no such thing")), Entry("odd", Prepare)]
    monkeypatch.setattr(architecture, "entry_points", lambda group: offered if group == "audit.architectures" else [])
    module = Doubled(kind="doubled").build(4, 2, 0)
    save_file(module.state_dict(), tmp_path / "model.safetensors")
    settings = {"preprocessing": "none", "classes": ["no", "yes"]}
    loaded = load(tmp_path / "model.safetensors", architecture={"kind": "doubled"}, **settings)
    np.testing.assert_allclose(loaded.predict(people())[:, 1], by_hand(module, people(), (0, 0), (1, 1)), atol=1e-6)
    with pytest.raises(ModelError, match="'broken' cannot be loaded: ImportError: no such thing"):
        shape_of({"kind": "broken"})
    with pytest.raises(ModelError, match="there are broken, doubled, mlp, odd"):
        shape_of({"kind": "resnet"})


def test_it_computes_on_one_thread(tmp_path: Path) -> None:
    save_network(tmp_path / "model.safetensors", network())
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        load(tmp_path / "model.safetensors")
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_without_torch_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_network(tmp_path / "model.safetensors", network())
    monkeypatch.setattr(torch_module, "find_spec", lambda name: None if name == "torch" else name)
    with pytest.raises(ModelError, match=r"pip install 'auditspec\[torch\]'"):
        load(tmp_path / "model.safetensors")


SPEC = """
spec_version: 1
audit: {id: torch, title: A network, owner: Model Risk, purpose: A test, as_of: 2026-11-01}
model: MODEL
data: {evaluate: people.csv, target: {column: paid, favourable: ["yes"]}, sample: {rows: 30}}
mutability: {features: {amount: {change: increase, why: test, owner: test, approved: 2026-01-01}}}
counterfactuals:
  typical: {search: ecco, for: unfavourable, constraints: policy}
  flips: {search: generic, per_row: 2}
methods: [{kind: flex, from: flips}]
report: {formats: [html]}
"""


def audited(folder: Path, model: str) -> dict[str, Evidence]:
    """The evidence of an audit of `people` with this model, by its id."""
    frame = people()
    frame.assign(paid=np.where(frame["amount"] > 1000, "yes", "no")).to_csv(folder / "people.csv", index=False)
    (folder / "spec.yaml").write_text(SPEC.replace("MODEL", model))
    outcome = run(folder / "spec.yaml", folder / "out", Options(allow=Allow(code=True)))
    return {record.id: record for record in outcome.evidence}


def test_an_audit_of_a_network_searches_by_gradient_and_ranks_features(tmp_path: Path) -> None:
    """P(yes) rises with the amount alone: every unfavourable row can raise it, and FLEX ranks it first."""
    table = toy_table(people())
    save_network(tmp_path / "model.safetensors", toy_network(table, {"amount": 0.01}, -10.0))
    found = audited(tmp_path, "{kind: torch, path: model.safetensors, features: [age, amount, home]}")
    assert {record.status for record in found.values()} == {"ok"}
    coverage = {m.name: m.value for m in found["counterfactuals.typical"].metrics}
    assert coverage["coverage"] == 1.0
    assert coverage["mean_changed"] == 1.0
    assert coverage["violations"] == 0.0
    flex = pd.read_parquet(tmp_path / "out" / next(t.path for t in found["flex"].tables if t.name == "flex_global"))
    ranked = flex.sort_values("frequency", ascending=False)
    assert ranked["feature"].iloc[0] == "amount"


def test_a_model_without_gradients_gives_no_search_by_gradient_and_the_audit_goes_on(tmp_path: Path) -> None:
    (tmp_path / "scored_by_amount.py").write_text(
        "def score(frame):\n    return (frame['amount'] > 1000) * 0.5 + 0.25\n"
    )
    found = audited(tmp_path, '{kind: function, function: "scored_by_amount:score", classes: ["no", "yes"]}')
    assert found["counterfactuals.flips"].status == "not_applicable"
    assert "gradient of the model" in found["counterfactuals.flips"].message
