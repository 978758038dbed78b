"""The algebra of section 3.2 against brute force, and what a probe says of a head."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.core.images import softmax
from audit.core.saliency import (
    Batched,
    Closed,
    Probe,
    cells_of,
    contributions,
    dip_values,
    dips,
    exact_values,
    maps_of,
    payoff,
    permutation_values,
    probe,
)


class Linear:
    """A head that is linear in the mean over cells."""

    def __init__(self, seed=0, classes=3, d=5):
        rng = np.random.default_rng(seed)
        self.weight, self.bias = rng.normal(size=(classes, d)), rng.normal(size=classes)

    def __call__(self, maps):
        return maps.mean(axis=(2, 3), dtype=np.float64) @ self.weight.T + self.bias


def curved(maps):
    return np.tanh(maps.mean(axis=(2, 3), dtype=np.float64))


def token(maps):
    """Reads the first cell alone, as a class token does."""
    return maps[:, :, 0, 0].astype(np.float64) * 3


def placed(maps):
    """Linear, but not pooled: each cell has a weight of its own."""
    weight = np.arange(maps.shape[2] * maps.shape[3]).reshape(maps.shape[2:])
    return (maps * weight).mean(axis=(2, 3), dtype=np.float64)


def maps(n=4, size=(3, 3), d=5, seed=1):
    return np.random.default_rng(seed).random((n, d, *size)).astype(np.float32)


def found(head, given):
    return probe(head, given, np.random.default_rng(2))


def test_weights_of_a_dip():
    near = dips((7, 7), 0.8)[24].reshape(7, 7)
    assert near[3, 3] == 0
    np.testing.assert_allclose([near[3, 4], near[4, 4], near[3, 5]], [0.5422, 0.7904, 0.9561], atol=1e-4)
    assert dips((2, 5), 0.8).shape == (10, 10)


def test_cells_and_maps_are_each_others_inverse():
    given = maps(2, (3, 4))
    np.testing.assert_array_equal(maps_of(cells_of(given), (3, 4)), given)
    np.testing.assert_array_equal(cells_of(given)[1, 5], given[1, :, 1, 1])


def test_a_linear_pooled_head_is_found_with_its_weights():
    head = Linear(d=70)
    got = found(head, maps(d=70))
    assert got.linear
    np.testing.assert_allclose(got.weight, head.weight, atol=1e-6)
    np.testing.assert_allclose(got.bias, head.bias, atol=1e-9)
    assert got.unread == ()
    assert got.gap < 1e-6


@pytest.mark.parametrize("head", [curved, token, placed])
def test_other_heads_are_not_taken_for_one(head):
    got = found(head, maps())
    assert not got.linear
    assert got.weight is None
    expected = {curved: 0, token: 8, placed: 1}[head]
    assert len(got.unread) == expected


def state(head, own, pool):
    return Closed(cells_of(own)[0], contributions(pool, found(head, maps()), 9), found(head, maps()))


def test_closed_form_is_the_head_on_edited_maps():
    head, own = Linear(), maps(1, seed=5)
    pool = cells_of(maps(3, seed=6)).reshape(-1, 5)
    closed, real = state(head, own, pool), Batched(cells_of(own)[0], pool, (3, 3), head)
    keep = dips((3, 3), 0.8)
    np.testing.assert_allclose(closed.logits(), real.logits(), atol=1e-5)
    np.testing.assert_allclose(closed.masked(keep), real.masked(keep), atol=1e-5)
    every = np.arange(len(pool))
    np.testing.assert_allclose(closed.swapped(4, every), real.swapped(4, every), atol=1e-5)
    for one in (closed, real):
        one.swap(4, 7)
        one.swap(0, 11)
        one.swap(4, -1)
    np.testing.assert_allclose(closed.logits(), real.logits(), atol=1e-5)
    np.testing.assert_allclose(closed.masked(keep), real.masked(keep), atol=1e-5)


@pytest.mark.parametrize("classes", [2, 3, 40])
@pytest.mark.parametrize("seed", range(8))
def test_the_lead_after_a_swap_is_over_the_best_other_class(seed, classes):
    """Classes that cannot lead are left out; some that lead for a single candidate must stay."""
    rng = np.random.default_rng(seed)
    weight, own = rng.normal(size=(classes, 5)) * 4, maps(1, seed=seed)
    near = rng.normal(size=classes) * 0.2 - weight @ own[0].mean(axis=(1, 2))  # so that several classes may lead
    head = Probe(linear=True, weight=weight, bias=near, unread=())
    pool = cells_of(maps(6, seed=seed + 100)).reshape(-1, 5)
    one = Closed(cells_of(own)[0], contributions(pool, head, 9), head)
    one.swap(2, 3)
    candidates, target, leaders = np.flatnonzero(rng.random(len(pool)) < 0.7), seed % classes, set()
    for cell in range(9):
        found_leads = one.leads(cell, candidates, target)
        for lead, z in zip(found_leads, one.swapped(cell, candidates), strict=True):
            rivals = {k: v for k, v in enumerate(z) if k != target}
            assert lead == pytest.approx(z[target] - max(rivals.values()), abs=1e-12)
            leaders.add(max(rivals, key=rivals.get))
    assert classes < 40 or len(leaders) >= 4


def shapley(head, own, kind, of, against):
    """Shapley values over all orders of the cells; absent cells are zero."""
    cells = cells_of(own)[0]
    count = len(cells)
    worth = {}
    for number in range(2**count):
        keep = np.array([(number >> i) & 1 for i in range(count)], dtype=np.float32)
        worth[number] = payoff(head(maps_of((cells * keep[:, None])[None], own.shape[2:])), kind, of, against)[0]
    total = np.zeros(count)
    orders = list(permutations(range(count)))
    for order in orders:
        number = 0
        for cell in order:
            total[cell] += worth[number | 1 << cell] - worth[number]
            number |= 1 << cell
    return total / len(orders)


@pytest.mark.parametrize("kind", ["logit", "margin"])
def test_exact_values_are_shapley_values_by_brute_force(kind):
    head, own = Linear(), maps(1, (2, 3), seed=8)
    closed = Closed(cells_of(own)[0], np.zeros((1, 3)), found(head, maps(size=(2, 3))))
    exact = exact_values(closed.parts, kind, 2, 0)
    np.testing.assert_allclose(exact, shapley(head, own, kind, 2, 0), atol=1e-5)
    drawn, error = permutation_values(closed, 6, kind, 2, 0, 3, np.random.default_rng(0))
    np.testing.assert_allclose(drawn, exact, atol=1e-5)
    assert error.max() < 1e-9, "an additive payoff has the same marginals in every order"
    if kind == "logit":
        assert exact.sum() == pytest.approx(closed.logits()[2] - closed.bias[2], rel=1e-5)


def test_exact_values_of_a_probability_are_refused():
    with pytest.raises(ValueError, match="additive payoffs only"):
        exact_values(np.zeros((4, 2)), "prob", 0, 1)


def test_drawn_orders_of_a_probability_share_out_all_of_it_and_settle():
    head, own = Linear(), maps(1, (2, 3), seed=9)
    closed = Closed(cells_of(own)[0], np.zeros((1, 3)), found(head, maps(size=(2, 3))))
    whole = softmax(closed.logits()[None])[0, 1] - softmax(closed.bias[None])[0, 1]
    few, error = permutation_values(closed, 6, "prob", 1, 0, 50, np.random.default_rng(0))
    many, smaller = permutation_values(closed, 6, "prob", 1, 0, 5000, np.random.default_rng(1))
    assert few.sum() == pytest.approx(whole, abs=1e-9)
    assert many.sum() == pytest.approx(whole, abs=1e-9)
    np.testing.assert_allclose(smaller / error, 0.1, rtol=0.4)
    np.testing.assert_allclose(many, shapley(head, own, "prob", 1, 0), atol=5 * smaller.max())


def test_cells_that_are_alike_share_alike_and_a_dummy_has_nothing():
    head, own = Linear(), maps(1, (2, 3), seed=10)
    own[:, :, 0, 0] = own[:, :, 1, 2]
    own[:, :, 1, 0] = 0
    for closed in (Closed(cells_of(own)[0], np.zeros((1, 3)), found(head, maps(size=(2, 3)))),):
        exact = exact_values(closed.parts, "logit", 1, 0)
        assert exact[0] == pytest.approx(exact[5])
        assert exact[3] == 0


@given(st.integers(0, 1000), st.sampled_from(["prob", "logit", "margin"]))
def test_dips_in_one_product_are_the_head_on_masked_maps(seed, kind):
    head, own = Linear(seed), maps(1, (2, 4), seed=seed)
    closed = Closed(cells_of(own)[0], np.zeros((1, 3)), found(head, maps(size=(2, 4), seed=seed)))
    keep = dips((2, 4), 0.8)
    expected = []
    for i in range(8):
        masked = own * keep[i].reshape(2, 4).astype(np.float32)
        expected.append(payoff(head(own), kind, 1, 2)[0] - payoff(head(masked), kind, 1, 2)[0])
    np.testing.assert_allclose(dip_values(closed, keep, kind, 1, 2), expected, atol=1e-4)


def test_a_probe_without_weights_has_no_closed_form():
    with pytest.raises(ValueError, match="not linear"):
        contributions(np.zeros((2, 5), dtype=np.float32), Probe(False, None, None, ()), 2)
