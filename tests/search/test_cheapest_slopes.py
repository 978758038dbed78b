"""`cheapest` on models with a gradient: the features that it looks at are those that a closed form names."""

import os
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from test_gradient import ORDER, RULES, curved, inputs_of, mixed

from audit.core.counterfactuals import Found
from audit.core.infer import ColumnInfo
from audit.core.method import Inputs
from audit.core.neighbours import Asked, Queries
from audit.core.network import Mlp, Network, Prepare
from audit.search.cheapest import Cheapest
from audit.search.cheapest.hunt import Hunt
from audit.search.cheapest.prices import Prices, lift
from audit.search.cheapest.slopes import Slopes
from audit.testing import search_set, toy_context, toy_inputs, toy_table


def hunt_of(inputs: Inputs) -> Hunt:
    assert inputs.sample is not None
    x, before = inputs.sample.table.codes, inputs.decision.outcome(inputs.sample.scores)
    asked = Asked(toy_context(inputs).model, np.zeros(len(x), dtype=np.int64))
    queries = Queries(x, before, inputs.policy, inputs.decision, asked)
    return Hunt(queries, np.arange(len(x)), Prices(inputs.schema, np.ones(len(inputs.schema)), 0.0), 1)


def all_moves(inputs: Inputs, hunt: Hunt) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Every row with each feature at each of up to six values of the data, and what that costs."""
    tables = [np.unique(inputs.reference.codes[:, j])[:6] for j in range(len(inputs.schema))]
    found = [(i, j, v) for i in range(len(hunt.rows)) for j, t in enumerate(tables) for v in t if v != hunt.rows[i, j]]
    which, feature, value = (np.array(part) for part in zip(*found, strict=True))
    return which, feature, value, np.full(len(which), 0.5)


def moved(hunt: Hunt, moves: tuple[np.ndarray, ...]) -> np.ndarray:
    codes = hunt.rows[moves[0]]
    codes[np.arange(len(codes)), moves[1]] = moves[2]
    return codes


def linear(classes: tuple[str, ...], seed: int) -> Network:
    """One layer from inputs to logits over the features of `mixed`: every gain is a sum of weights."""
    table = toy_table(mixed(), ORDER)
    prepare, shape = Prepare.fit(table.schema, table), Mlp(hidden=())
    return Network(shape.build(len(prepare.groups), len(classes), seed), shape, prepare, classes)


def test_the_gain_along_the_slope_is_the_gain_of_a_linear_network() -> None:
    """To float32 of the inputs; of numbers, ranks, truth values and levels, for rows of either outcome."""
    for seed in range(4):
        inputs = toy_inputs(mixed(30), linear(("no", "yes"), seed), columns=ORDER)
        hunt = hunt_of(inputs)
        moves = all_moves(inputs, hunt)
        slopes = Slopes.of(toy_context(inputs))
        assert slopes is not None
        slope = slopes._mean(hunt)
        told = np.empty(len(moves[0]))
        for j in range(len(inputs.schema)):
            own = moves[1] == j
            told[own] = slopes._gain(hunt, slope, j, moves[0][own], moves[2][own])
        P = hunt.queries.asked.each(moves[0], moved(hunt, moves))
        gain = lift(inputs.decision, P, hunt.before[moves[0]]) - hunt.start()[moves[0]]
        assert len(set(hunt.before)) == 2
        np.testing.assert_allclose(told, gain, atol=2e-5)


def test_it_takes_the_features_that_gain_most_for_what_they_cost() -> None:
    inputs = toy_inputs(mixed(20), linear(("no", "yes"), 1), columns=ORDER)
    hunt = hunt_of(inputs)
    moves = all_moves(inputs, hunt)
    slopes = Slopes.of(toy_context(inputs))
    assert slopes is not None
    chosen = slopes.best(2)(hunt, moves)
    P = hunt.queries.asked.each(moves[0], moved(hunt, moves))
    gain = lift(inputs.decision, P, hunt.before[moves[0]]) - hunt.start()[moves[0]]
    for i in range(len(hunt.rows)):
        best = {j: gain[(moves[0] == i) & (moves[1] == j)].max() for j in set(moves[1][moves[0] == i].tolist())}
        wanted = {j for j in sorted(best, key=lambda j: -best[j])[:2] if best[j] > 0}
        assert set(moves[1][chosen][moves[0][chosen] == i].tolist()) == wanted
    assert len(slopes.best(6)(hunt, moves)) == len(moves[0])


def test_several_outcomes_have_the_slope_of_the_nearest_other() -> None:
    inputs = toy_inputs(mixed(30), linear(("a", "b", "c"), 2), columns=ORDER, favourable=())
    hunt = hunt_of(inputs)
    slopes = Slopes.of(toy_context(inputs))
    assert slopes is not None
    slope = slopes._mean(hunt)
    module = slopes.network.module  # type: ignore[attr-defined]
    weights = module[0].weight.detach().numpy()
    P = np.array(inputs.scores)
    for i, own in enumerate(hunt.before):
        P[i, own] = -1
        np.testing.assert_allclose(slope[i], weights[P[i].argmax()] - weights[own], atol=1e-6)


def many(d: int, n: int) -> Inputs:
    """Numbers, of which a network of one hidden layer makes something."""
    rng = np.random.default_rng(d)
    frame = pd.DataFrame(rng.normal(size=(n, d)), columns=[f"x{j}" for j in range(d)])
    table = toy_table(frame)
    shape = Mlp(hidden=(16,), activation="tanh")
    prepare = Prepare.fit(table.schema, table)
    module = shape.build(d, 2, 3)
    with torch.no_grad():
        for weight in module.parameters():
            weight.mul_(1.5)
    return toy_inputs(frame, Network(module, shape, prepare, ("no", "yes")))


def run(inputs: Inputs, effort: str) -> tuple[Found, float, int]:
    assert inputs.sample is not None
    ctx = toy_context(inputs)
    before, asked = inputs.decision.outcome(inputs.sample.scores), ctx.model.rows
    found = Cheapest(effort=effort).generate(ctx, inputs.sample.table, before)  # type: ignore[arg-type]
    spent = ctx.model.rows - asked
    assert found.evaluated.sum() + found.shared == spent
    prices = Prices(inputs.schema, np.ones(len(inputs.schema)), 0.02)
    return found, float(prices.of(inputs.sample.table.codes[found.row], found.codes).mean()), spent


def test_it_asks_for_far_fewer_rows_at_the_same_cost(figure: Callable[..., None]) -> None:
    inputs = many(40, 40)
    assert inputs.model is not None
    blind = replace(inputs.model.model, capabilities=frozenset({"predict"}))  # type: ignore[type-var]
    for effort in ("fast", "quality") if os.environ.get("AUDIT_ACCEPT") else ("fast",):
        with_slopes, cost, spent = run(inputs, effort)
        frame = pd.DataFrame(inputs.evaluate.codes, columns=list(inputs.schema.names))
        without, plain, all_of_them = run(toy_inputs(frame, blind), effort)
        assert len(with_slopes.row) == len(without.row) == 40
        figure(f"cheapest, {effort}: rows asked for with a gradient, of those without", spent / all_of_them, "d = 40")
        figure(f"cheapest, {effort}: cost with a gradient over that without", cost / plain - 1, "d = 40")
        assert spent < 0.6 * all_of_them
        assert cost < 1.01 * plain


def test_constraints_hold_with_slopes() -> None:
    frame = mixed(80)
    inputs = toy_inputs(frame, curved(frame), columns=ORDER, features=RULES)
    found, result = search_set(Cheapest(constraints="policy", per_row=2), inputs)
    metrics = {m.name: m.value for m in result.metrics}
    assert (metrics["violations"], metrics["discarded"]) == (0, 0)
    assert len(found.row) > 80


def test_no_slopes_without_a_gradient_or_with_levels_in_another_order() -> None:
    inputs = inputs_of(pd.DataFrame({"a": [0.0, 1.0, 3.0], "b": [1.0, 0.0, 2.0]}), {"a": 1.0, "b": 1.0}, -2.0)
    assert inputs.model is not None
    assert Slopes.of(toy_context(inputs)) is not None
    blind = replace(inputs.model.model, capabilities=frozenset({"predict"}))  # type: ignore[type-var]
    frame = pd.DataFrame(inputs.evaluate.codes, columns=["a", "b"])
    assert Slopes.of(toy_context(toy_inputs(frame, blind))) is None
    assert Slopes.of(toy_context(toy_inputs(frame, lambda f: f["a"] * 0.1))) is None
    other = toy_inputs(
        mixed(20), linear(("no", "yes"), 0), columns={"savings": ColumnInfo(order=("mid", "low", "high"))}
    )
    assert Slopes.of(toy_context(other)) is None
