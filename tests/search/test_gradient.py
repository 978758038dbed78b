"""The searches by gradient against closed forms on linear networks, themselves row by row, and their constraints."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from audit.core.counterfactuals import Found
from audit.core.infer import ColumnInfo
from audit.core.method import GENERATORS, Generator, Inputs
from audit.core.model import Decision
from audit.core.network import Mlp, Network, Prepare
from audit.core.policy import FeatureRule
from audit.search.gradient import Ecco, Generic
from audit.search.gradient.rows import MARGIN, UNREACHED, UNREAL, threshold
from audit.search.gradient.space import Space
from audit.testing import search_set, toy_context, toy_inputs, toy_network, toy_table

ANY = FeatureRule(change="any")
KINDS = ("generic", "ecco", "revise")


def numbers(n: int = 40, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"a": rng.normal(0.1, 1.0, n), "b": rng.normal(5, 2, n), "c": rng.normal(-1, 0.5, n)})


def inputs_of(frame: pd.DataFrame, weights: Mapping[str, Any], bias: float = 0.0, **settings: Any) -> Inputs:
    """Inputs over a linear network, whose P(yes) is the logistic function of bias + sum of weight times value."""
    columns = settings.pop("columns", None)
    return toy_inputs(frame, toy_network(toy_table(frame, columns), weights, bias), columns=columns, **settings)


def search(generator: Generator, inputs: Inputs, rows: slice = slice(None)) -> Found:
    assert inputs.sample is not None
    before = inputs.decision.outcome(inputs.sample.scores)
    return generator.generate(toy_context(inputs), inputs.sample.table.take(rows), before[rows])


def mixed(n: int = 80, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "income": rng.normal(30, 10, n),
            "credits": rng.integers(0, 9, n),
            "housing": rng.choice(["free", "own", "rent"], n),
            "savings": rng.choice(["low", "mid", "high"], n),
            "guarantor": rng.random(n) < 0.5,
            "age": rng.normal(40, 12, n),
        }
    )


ORDER = {"savings": ColumnInfo(order=("low", "mid", "high"))}
RULES = {
    "income": FeatureRule(change="increase"),
    "credits": FeatureRule(change="decrease"),
    "housing": ANY,
    "savings": FeatureRule(change="increase"),
    "guarantor": ANY,
}


def curved(frame: pd.DataFrame, seed: int = 4) -> Network:
    """A network of one hidden layer that leans on every feature of `mixed`."""
    table = toy_table(frame, ORDER)
    prepare, shape = Prepare.fit(table.schema, table), Mlp(hidden=(8,), activation="tanh")
    module = shape.build(len(prepare.groups), 2, seed)
    with torch.no_grad():
        for weight in module.parameters():
            weight.mul_(2.5)
    return Network(module, shape, prepare, ("no", "yes"))


def sigmoid(z: float) -> float:
    return float(1 / (1 + np.exp(-z)))


def descended(z: float, slope: float, tau: float, energy: Callable[[int, float], float], steps: int = 50) -> float:
    """The logit at the end of a path towards `yes` on a linear network whose squared weights sum to `slope`."""
    for t in range(steps):
        if sigmoid(z) >= tau:
            break
        z += 0.1 * slope * (1 - sigmoid(z) + energy(t + 1, z))
    return z


def fading(t: int, z: float) -> float:
    """By hand: how fast 5 phi(t) (E + 0.001 E^2) falls with the logit; E = -z, phi(t) = 0.2 (2 + t)^-0.9 for T = 50."""
    return 5 * 0.2 * (2 + t) ** -0.9 * (1 - 0.002 * z)


@pytest.mark.parametrize(
    ("generator", "energy"), [(Generic(lam1=0, domain=50), lambda t, z: 0.0), (Ecco(lam1=0, domain=50), fading)]
)
def test_ends_on_a_linear_network_in_closed_form(generator: Generator, energy: Callable[[int, float], float]) -> None:
    """All rows move along the weights, as far as the logit alone says."""
    frame, weights = numbers(), {"a": 1.5, "b": -0.4, "c": 0.8}
    wide = dict.fromkeys("abc", FeatureRule(change="any", min=-99, max=99))
    inputs = inputs_of(frame, weights, -1.5, features=wide)
    found = search(generator.model_copy(update={"constraints": "policy"}), inputs)
    no = np.flatnonzero(inputs.scores[:, 1] < 0.5)
    assert len(no) > 10
    assert set(no) <= set(found.row)
    sd = frame.std(ddof=0).to_numpy()
    w = np.array(list(weights.values())) * sd
    for i in no:
        start = frame.iloc[i].to_numpy()
        z = start @ np.array(list(weights.values())) - 1.5
        end = descended(z, w @ w, 0.5 + MARGIN, energy)
        expected = start + sd * w * (end - z) / (w @ w)
        np.testing.assert_allclose(found.codes[found.row == i][0], expected, atol=2e-5)


def test_the_cost_of_a_change_pulls_back_by_its_weight() -> None:
    """One feature, one step: 0.1 ((1 - p) w - lam1 sign(0)), then from the second step on 0.1 ((1 - p) w - lam1)."""
    frame = pd.DataFrame({"a": [-1.5, 0.5, -1.5, 0.5]})  # mean -0.5, sd 1
    inputs = inputs_of(frame, {"a": 1.0}, 1.25, sample_rows=[0])
    x = -1.5
    for t in range(50):
        if sigmoid(x + 1.25) >= 0.5 + MARGIN:
            break
        x += 0.1 * (1 - sigmoid(x + 1.25) - (0.2 if t else 0.0))
    found = search(Generic(lam1=0.2), inputs)
    np.testing.assert_allclose(found.codes, [[x]], atol=1e-6)


def test_the_decision_says_when_a_row_stops() -> None:
    assert threshold(Decision(("no", "yes"), ("yes",), 0.8), 1) == pytest.approx(0.8001)
    assert threshold(Decision(("no", "yes"), ("yes",), 0.8), 0) == pytest.approx(0.2001)
    assert threshold(Decision(("a", "b", "c")), 2) == pytest.approx(0.5001)
    assert threshold(Decision(("no", "yes"), ("yes",), 1.0), 1) < 1
    frame = numbers()
    wide = dict.fromkeys("abc", FeatureRule(change="any", min=-99, max=99))
    inputs = inputs_of(frame, {"a": 2.0, "b": 1.0}, -5.5, features=wide)
    given = {"decision": Decision(("no", "yes"), ("yes",), 0.8)}
    strict = Inputs(**{**vars(inputs), **given})
    strict.model.decision = given["decision"]  # type: ignore[union-attr]
    assert strict.model is not None
    found = search(Generic(), strict)
    p = strict.model.probabilities(found.codes)[:, 1]
    before = strict.decision.outcome(strict.scores)[found.row]
    assert {0, 1} == set(before)
    assert (p[before == 0] >= 0.8).all()
    assert (p[before == 1] < 0.8).all()
    assert (p[before == 1] > 0.6).all()  # and not on the far side of one half, where nothing asks them to be
    late = search(Generic(tau=0.95, domain=50, constraints="policy"), strict)
    up = strict.decision.outcome(strict.scores)[late.row] == 0
    assert (strict.model.probabilities(late.codes[up])[:, 1] >= 0.95 - 1e-6).all()


@pytest.mark.parametrize("kind", KINDS)
def test_what_may_not_change_keeps_every_bit_and_directions_and_bounds_hold(kind: str) -> None:
    frame = mixed()
    inputs = toy_inputs(frame, curved(frame), columns=ORDER, features=RULES)
    found, result = search_set(GENERATORS.classes()[kind](per_row=3, constraints="policy"), inputs)
    assert inputs.sample is not None
    x, x2 = inputs.sample.table.codes[found.row], found.codes
    assert len(found.row) >= 10
    assert x2[:, 5].tobytes() == x[:, 5].tobytes()
    assert (x2[:, 0] >= x[:, 0]).all()
    assert (x2[:, 1] <= x[:, 1]).all()
    assert (x2[:, 3] >= x[:, 3]).all()
    assert (x2[:, 0] > x[:, 0]).any()
    low, high = inputs.policy.low, inputs.policy.high
    moved = x2 != x
    assert (((x2 >= low) & (x2 <= high)) | ~moved).all()
    assert inputs.policy.allowed(x, x2).all()
    assert inputs.model is not None
    after = inputs.decision.outcome(inputs.model.probabilities(x2))
    assert (after != inputs.decision.outcome(inputs.scores)[found.row]).all()
    discarded = result.tables["discarded"].set_index("reason")["count"]
    assert discarded.drop("duplicate").sum() == 0


def test_a_direction_that_is_closed_leaves_the_work_to_the_others() -> None:
    """`a` would have to rise and may only fall, so `b` alone moves: from 5.5 by the whole distance of the logit."""
    frame = pd.DataFrame({"a": [0.0, 2.0, 1.0, 3.0], "b": [5.5, 1.5, 9.5, 5.5]})
    rules = {"a": FeatureRule(change="decrease"), "b": ANY}
    inputs = inputs_of(frame, {"a": 1.0, "b": 1.0}, -6.5, features=rules, sample_rows=[0])
    found = search(Generic(lam1=0, constraints="policy"), inputs)
    assert found.codes[0, 0] == 0.0
    sd = frame["b"].std(ddof=0)
    expected = 5.5 + descended(-1.0, sd * sd, 0.5 + MARGIN, lambda t, z: 0.0) + 1
    assert found.codes[0, 1] == pytest.approx(expected, abs=1e-5)


def test_the_domain_is_so_many_deviations_or_the_range_within_the_constraints() -> None:
    """Values -1, 1, -1, 1, 4: mean 0.8, sd sqrt(3.36); 2 sd reach beyond the range below, and short of 4.9 above."""
    frame = pd.DataFrame({"a": [-1.0, 1.0, -1.0, 1.0, 4.0], "h": ["x", "y", "x", "y", "y"]})
    wide = {"a": FeatureRule(change="any", min=-50, max=50), "h": ANY}
    inputs = inputs_of(frame, {"a": 1.0}, features=wide)
    sd = np.sqrt(3.36)

    def ends(policy: Any, domain: float) -> list[float]:
        _, _, low, high = Space.of(toy_context(inputs), policy).bounds(domain)
        assert low[1:].tolist() == [0, 0]
        assert high[1:].tolist() == [1, 1]
        return [float(low[0]) * sd + 0.8, float(high[0]) * sd + 0.8]

    assert ends(inputs.policy, 2) == pytest.approx([0.8 - 2 * sd, 0.8 + 2 * sd], abs=1e-6)
    assert ends(inputs.policy, 1.5) == pytest.approx([0.8 - 1.5 * sd, 4.0], abs=1e-6)
    assert ends(inputs.policy.domain(), 2) == pytest.approx([-1, 4], abs=1e-6)


def test_no_end_leaves_the_domain() -> None:
    """The row needs a = 5.25 to flip; the domain ends at 0.3 + 2 sd = 3.97, with 3 sd at 5.8."""
    frame = pd.DataFrame({"a": [-1.5, 0.5, -1.5, 0.5, 3.5]})
    wide = {"a": FeatureRule(change="any", min=-50, max=50)}
    inputs = inputs_of(frame, {"a": 4.0}, -21.0, features=wide, sample_rows=[4])
    near = search(Generic(constraints="policy"), inputs)
    assert len(near.row) == 0
    assert near.reasons == [UNREACHED]
    far = search(Generic(constraints="policy", domain=3), inputs)
    assert 5.25 <= far.codes[0, 0] <= 0.3 + 3 * np.sqrt(3.36)


LEVELS = pd.DataFrame({"h": ["a", "b", "c", "a"]})


@pytest.mark.parametrize(
    ("one_hot", "weights", "rate", "expected"),
    [
        # Only the column of c answers: it reaches its end 1, where a is as large, and a stays.
        ("relaxed", {"c": 3.0}, 0.1, None),
        # The column of a falls as that of c rises: they cross.
        ("relaxed", {"a": -3.0, "c": 3.0}, 0.1, 2.0),
        # No step of 0.1 x 3 (1 - p) crosses, and each is taken back.
        ("snap_each_step", {"a": -3.0, "c": 3.0}, 0.1, None),
        # A step of 0.3 x 3 x 0.98 does.
        ("snap_each_step", {"a": -3.0, "c": 3.0}, 0.3, 2.0),
        # Without a domain c passes 1.06 at tau 0.9, and is the largest in the end.
        ("snap_at_end", {"c": 3.0}, 0.1, 2.0),
    ],
)
def test_modes_of_one_hot_columns_by_hand(one_hot: Any, weights: dict[str, float], rate: float, expected: Any) -> None:
    inputs = inputs_of(LEVELS, {"h": weights}, -1.0, sample_rows=[0])
    found = search(Generic(lam1=0, one_hot=one_hot, rate=rate), inputs)
    assert found.codes.tolist() == ([] if expected is None else [[expected]])
    assert found.reasons[0] == ("" if expected is not None else UNREACHED if one_hot == "snap_each_step" else UNREAL)


def test_rounding_that_takes_a_flip_back_is_searched_again_firmer() -> None:
    """a + b > 1.5 of whole numbers: the first path ends near 0.8, 0.8; rounded this is 1, 1, or it goes further."""
    frame = pd.DataFrame({"a": [0, 1, 2, 3, 4], "b": [0, 1, 2, 3, 4]})
    inputs = inputs_of(frame, {"a": 1.0, "b": 0.9}, -2.2, sample_rows=[0])
    found = search(Generic(), inputs)
    assert len(found.row) == 1
    assert (found.codes == np.rint(found.codes)).all()
    a, b = found.codes[0]
    assert a + 0.9 * b >= 2.2


def test_rules_across_features_hold() -> None:
    frame = numbers()
    free = inputs_of(frame, {"a": 1.0, "b": 0.5}, -2.5)
    bound = inputs_of(frame, {"a": 1.0, "b": 0.5}, -2.5, rules=["a + b <= 5"])
    loose, tight = search(Generic(), free), search(Generic(), bound)
    assert (loose.codes[:, 0] + loose.codes[:, 1] > 5).any()
    assert len(tight.row) > 0
    assert (tight.codes[:, 0] + tight.codes[:, 1] <= 5).all()
    missed = sorted(set(range(40)) - set(tight.row.tolist()))
    assert missed
    assert {tight.reasons[i] for i in missed} <= {UNREAL, UNREACHED}
    assert UNREAL in {tight.reasons[i] for i in missed}
