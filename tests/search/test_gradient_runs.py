"""The searches by gradient as runs: batches, seeds, counts, several outcomes, refusals, and REVISE's autoencoder."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from test_gradient import KINDS, ORDER, RULES, curved, inputs_of, mixed, numbers, search

from audit.core.errors import ModelError
from audit.core.method import GENERATORS, Inputs
from audit.core.network import Mlp, Network, Prepare
from audit.core.policy import FeatureRule
from audit.report.words import say
from audit.search.gradient import Ecco, Generic, Revise
from audit.search.gradient.rows import UNREACHED, Search
from audit.search.gradient.space import Space
from audit.search.gradient.vae import VaeSettings, fit_vae
from audit.testing import ToyModel, search_set, toy_context, toy_inputs, toy_network, toy_table


def whole() -> Inputs:
    frame = mixed()
    return toy_inputs(frame, curved(frame), columns=ORDER, features=RULES)


MODES: list[Any] = [
    *((kind, {"one_hot": mode}) for kind in (Generic, Ecco) for mode in ("relaxed", "snap_each_step", "snap_at_end")),
    (Revise, {}),
]


@pytest.mark.parametrize(("kind", "settings"), MODES)
def test_all_rows_at_once_are_each_row_alone(kind: Any, settings: dict[str, Any]) -> None:
    generator = kind(per_row=2, constraints="policy", **settings)
    inputs = whole()
    together = search(generator, inputs)
    assert len(together.row)
    for i in range(0, 80, 11):
        alone = search(generator, inputs, slice(i, i + 1))
        np.testing.assert_allclose(alone.codes, together.codes[together.row == i], atol=1e-6)
        assert alone.evaluated[0] == together.evaluated[i]
        assert alone.reasons[0] == together.reasons[i]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_again_whatever_torch_was_left_with(kind: str) -> None:
    generator = GENERATORS.classes()[kind](per_row=3)
    torch.manual_seed(1)
    one = search(generator, whole())
    torch.manual_seed(2)
    state = torch.get_rng_state()
    two = search(generator, whole())
    assert torch.equal(torch.get_rng_state(), state)
    assert one.codes.tobytes() == two.codes.tobytes()
    assert one.evaluated.tolist() == two.evaluated.tolist()


@pytest.mark.parametrize(("kind", "settings"), MODES)
def test_every_row_that_the_network_answered_for_is_counted(kind: Any, settings: dict[str, Any]) -> None:
    """Counted where it happens: in the first layer of the network."""
    inputs = whole()
    assert inputs.model is not None
    network = inputs.model.model
    assert isinstance(network, Network)
    answered: list[int] = []
    network.module.register_forward_hook(lambda module, given, answer: answered.append(len(given[0])))
    before = inputs.model.rows
    found = search(kind(per_row=2, **settings), inputs)
    assert sum(answered) == inputs.model.rows - before == found.evaluated.sum() + found.shared
    assert (found.evaluated >= 2).all()


def test_paths_cost_one_row_for_each_step_and_one_for_the_last_look() -> None:
    """P(yes) rises from 0.269 by known steps; a path of s steps asks s + 1 times, its end once more."""
    frame = pd.DataFrame({"a": [-1.5, 0.5, -1.5, 0.5]})  # mean -0.5, sd 1
    inputs = inputs_of(frame, {"a": 1.0}, 0.5, sample_rows=[0])
    x, steps = -1.0, 0
    while x < 0.0004:  # logit of 0.5001
        x, steps = x + 0.1 / (1 + np.exp(x)), steps + 1
    found = search(Generic(lam1=0), inputs)
    assert found.evaluated.tolist() == [steps + 2]
    assert found.shared == 0


def test_more_than_one_per_row_start_elsewhere_and_the_first_does_not() -> None:
    inputs = whole()
    one, three = search(Generic(), inputs), search(Generic(per_row=3), inputs)
    for i, codes in zip(one.row, one.codes, strict=True):
        mine = three.codes[three.row == i]
        assert (mine == codes).all(axis=1).any()
    assert np.bincount(three.row).max() == 3
    assert len(np.unique(three.codes[three.row == one.row[0]], axis=0)) == 3
    assert (np.diff(three.row) >= 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_constant_network_has_no_counterfactuals(kind: str) -> None:
    inputs = inputs_of(numbers(), {}, -1.0)
    found = search(GENERATORS.classes()[kind](per_row=2), inputs)
    assert len(found.row) == 0
    assert not found.proven.any()
    assert set(found.reasons) == {UNREACHED}
    # 50 steps and the last look, once: what was not reached is not searched again to be firmer. The end of a shifted
    # start, and what an autoencoder makes of a row, are other rows, which are asked for once more.
    assert set(found.evaluated) == ({104} if kind == "revise" else {103})


@pytest.mark.parametrize("kind", KINDS)
def test_where_nothing_may_change_it_is_proven_without_asking(kind: str) -> None:
    held = dict.fromkeys("abc", FeatureRule(change="immutable"))
    inputs = inputs_of(numbers(), {"a": 1.0}, features=held)
    found = search(GENERATORS.classes()[kind](constraints="policy"), inputs)
    assert found.proven.all()
    assert found.evaluated.sum() + found.shared == 0
    assert set(found.reasons) == {"the constraints leave nothing to change"}
    _, result = search_set(GENERATORS.classes()[kind](constraints="policy"), inputs)
    assert set(result.tables["instance_status"]["status"]) == {"infeasible"}


def three(frame: pd.DataFrame) -> Network:
    table = toy_table(frame)
    module = Mlp(hidden=()).build(3, 3, 8)
    with torch.no_grad():
        module[0].weight.mul_(2)
    return Network(module, Mlp(hidden=()), Prepare.fit(table.schema, table), ("x", "y", "z"))


def test_any_other_class_is_a_flip_and_each_is_tried_the_likelier_first() -> None:
    frame = numbers(60)
    inputs = toy_inputs(frame, three(frame), favourable=())
    assert inputs.model is not None
    before = inputs.scores.argmax(axis=1)
    assert set(before) == {0, 1, 2}
    one, two = search(Generic(), inputs), search(Generic(per_row=2), inputs)
    after = inputs.model.probabilities(one.codes).argmax(axis=1)
    others = np.where(np.arange(3) == before[:, None], -1, inputs.scores)
    assert len(one.row) > 50
    assert (after == others.argmax(axis=1)[one.row]).mean() > 0.9
    reached = inputs.model.probabilities(two.codes).argmax(axis=1)
    assert (reached != before[two.row]).all()
    pairs = [set(reached[two.row == i]) for i in range(60) if (two.row == i).sum() == 2]
    assert len(pairs) > 20
    assert sum(len(pair) == 2 for pair in pairs) > 0.9 * len(pairs)


def test_several_favourable_classes_count_together() -> None:
    """No single one of y and z need be likely: their sum is what the decision is made from."""
    frame = numbers(60)
    inputs = toy_inputs(frame, three(frame), favourable=("y", "z"))
    assert inputs.model is not None
    found = search(Generic(), inputs)
    P = inputs.model.probabilities(found.codes)
    before = inputs.decision.outcome(inputs.scores)[found.row]
    assert (before == 0).sum() > 10
    assert (before == 1).sum() > 10
    assert ((P[:, 1] + P[:, 2] >= 0.5) == (before == 0)).all()
    assert (np.abs(P[:, 0] - 0.5) < 0.2).all()  # stopped where the sum flips, not where one class is likely
    assert (P[before == 0].max(axis=1) < 0.5).any()


def test_energy_leads_to_where_the_network_is_surer() -> None:
    inputs = inputs_of(numbers(), {"a": 1.0, "b": 0.5}, -2.5)
    assert inputs.model is not None
    no = np.flatnonzero(inputs.scores[:, 1] < 0.5)
    plain, led = (search(g, inputs) for g in (Generic(steps=5, tau=0.99), Ecco(steps=5, tau=0.99)))
    both = np.intersect1d(np.intersect1d(plain.row, led.row), no)
    assert len(both)
    p, q = (inputs.model.probabilities(f.codes[np.isin(f.row, both)])[:, 1] for f in (plain, led))
    assert (q > p).all()


def test_the_audit_may_order_levels_as_the_network_does_not() -> None:
    """Savings have an order for the network, and none for an audit that is not told: high, low, mid by name."""
    frame = mixed()
    network = toy_network(toy_table(frame, ORDER), {"housing": {"own": 6.0}, "savings": 2.0, "income": 0.05}, -5.0)
    told, untold = toy_inputs(frame, network, columns=ORDER), toy_inputs(frame, network)
    assert untold.schema["savings"].levels == ("high", "low", "mid")
    assert untold.schema["savings"].kind == "categorical"
    one, other = search(Generic(), told), search(Generic(), untold)
    assert len(one.row) > 40
    both = np.intersect1d(one.row, other.row)
    assert len(both) > 40
    ranks = np.array([2, 0, 1])[other.codes[np.isin(other.row, both), 3].astype(int)]
    np.testing.assert_array_equal(ranks, one.codes[np.isin(one.row, both), 3])


def test_a_model_that_is_no_network_is_refused() -> None:
    promise = ToyModel(lambda f: (f["a"] > 0) * 0.8 + 0.1, capabilities=frozenset({"predict", "gradient"}))
    with pytest.raises(ModelError, match="needs a Network, and the model is a ToyModel"):
        search(Generic(), toy_inputs(numbers(), promise))
    renamed = toy_inputs(numbers(), toy_network(toy_table(numbers()), {"a": 1.0}))
    assert renamed.model is not None
    renamed.model.model = toy_network(toy_table(numbers().rename(columns={"a": "z"})), {})
    with pytest.raises(ModelError, match="other features"):
        search(Generic(), renamed)


def test_choices_name_what_was_changed() -> None:
    for kind in KINDS:
        assert not GENERATORS.classes()[kind]().choices()["changed"].any()
    latent = Revise(vae=VaeSettings(latent=3, kl=0.1)).choices().set_index("id")
    assert latent.index[latent["changed"]].tolist() == ["REVISE-01", "REVISE-02"]
    changed = Ecco(rate=0.25, tau=0.75, domain=3, one_hot="snap_at_end").choices().set_index("id")
    assert changed.index[changed["changed"]].tolist() == ["GRADIENT-01", "GRADIENT-02", "GRADIENT-10", "GRADIENT-11"]
    assert changed.loc["GRADIENT-02", "value"] == "at 0.75, or 0.0001 beyond the threshold if later"


def test_revise_says_that_its_search_does_not_hold_features_fixed() -> None:
    inputs = whole()
    (note,) = Revise(constraints="policy").notes(inputs)
    assert note.args == {"immutable": 1, "features": 6}
    assert say(note, "revise").text.startswith("1 of 6 features may not change")
    assert Revise().notes(inputs) == ()
    assert Generic(constraints="policy").notes(inputs) == ()
    _, result = search_set(Revise(constraints="policy"), inputs)
    assert "latent_mutability" in {n.code for n in result.notes}


def test_the_autoencoder_learns_where_the_rows_lie_and_depends_on_its_seed_alone() -> None:
    """Three columns of one hidden number: two latent numbers give back most of the variance, no latent number none."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(300, 1))
    points = torch.from_numpy(hidden @ np.array([[1.0, -1.0, 0.5]]) + rng.normal(0, 0.05, (300, 3)))
    vae = fit_vae(points, VaeSettings())
    back = vae.decode(vae.encode(points))
    assert float(((back - points) ** 2).mean() / points.var()) < 0.1
    one, again, other, few = (fit_vae(points, VaeSettings(epochs=2, **s)) for s in ({}, {}, {"seed": 1}, {"rows": 100}))
    assert torch.equal(again.encode(points), one.encode(points))
    assert not torch.equal(other.encode(points), one.encode(points))
    assert not torch.equal(few.encode(points), one.encode(points))
    assert few.encode(points).shape == (300, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_words_of_every_search(kind: str, root: Any) -> None:
    words = yaml.safe_load((root / "templates" / "words" / f"{kind}.yaml").read_text("utf-8"))
    assert {"kind", "title", "section", "purpose", "mechanism", "risk", "strengths", "limitations"} <= set(words)


def test_random_starts_keep_to_the_constraints() -> None:
    """A shift of all columns by 0.3 up: what may only fall, or not change, stays; numbers end at their bounds."""
    inputs = whole()
    space = Space.of(toy_context(inputs), inputs.policy)
    assert inputs.sample is not None
    codes = inputs.sample.table.codes
    points = space.points(codes)
    moved = Search(toy_context(inputs), space, codes, np.zeros(80, dtype=np.int64)).shifted(points, np.full(8, 0.3))
    income, debts, housing, savings, guarantor, age = 0, 1, slice(2, 5), 5, 6, 7
    assert torch.equal(moved[:, [debts, age]], points[:, [debts, age]])
    top = points[:, income].max()
    torch.testing.assert_close(moved[:, income], torch.clamp(points[:, income] + 0.3, max=float(top)))
    torch.testing.assert_close(moved[:, housing], torch.clamp(points[:, housing] + 0.3, max=1.0))
    torch.testing.assert_close(moved[:, guarantor], torch.clamp(points[:, guarantor] + 0.3, max=1.0))
    assert (moved[:, savings] >= points[:, savings]).all()
    assert (moved[:, savings] > points[:, savings]).any()
