"""The objective of counterfactual training against hand calculation and against autograd."""

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is an optional package")

from audit.core.ct_objective import (  # noqa: E402 - after the check that torch is there
    Tuples,
    Weights,
    epoch_of,
    loss_and_slope,
    project,
    shares,
    terms,
)


def of(*rows: list[float]) -> Any:
    return torch.tensor(rows, dtype=torch.float64)


X, Y = of([1, 0], [0, 1]), torch.tensor([0, 1])
ONE = Tuples(
    x_ce=of([0.5, 1]),
    x_plus=of([0, 2]),
    x_ae=of([0.9, 0.1]),
    y_plus=torch.tensor([1]),
    y_ae=torch.tensor([0]),
    mature=torch.tensor([True]),
)
"""The analytic case: the logits are the row itself."""


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (Weights(div=0, reg=0, adv=0), 0.313262),
        (Weights(), 0.406037),
        (Weights(cls=1, div=1, reg=0, adv=0), 0.313262 - 1),
        (Weights(cls=1, div=0, reg=1, adv=0), 0.313262 + 5),
        (Weights(cls=1, div=0, reg=0, adv=1), 0.313262 + 0.371101),
    ],
)
def test_the_analytic_case(weights: Weights, expected: float) -> None:
    (update,) = epoch_of(X, Y, ONE, weights, 2).updates
    loss, _ = loss_and_slope(update.x, update)
    assert float(loss) == pytest.approx(expected, abs=1e-5)


def test_the_logged_terms_are_those_of_the_analytic_case() -> None:
    epoch = epoch_of(X, Y, ONE, Weights(), 2)
    found = terms(epoch.whole.x, epoch, Weights())
    assert found == {"div": pytest.approx(-1), "reg": pytest.approx(5), "adv": pytest.approx(0.371101, abs=1e-6)}
    assert terms(epoch.whole.x, epoch, Weights().of("adversarial"))["div"] is None


def drawn(n: int, q: int, m: int, k: int, seed: int) -> tuple[Any, Any, Tuples]:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n + 3 * q, m, generator=g, dtype=torch.float64)
    y = torch.randint(0, k, (n + 2 * q,), generator=g)
    mature = torch.rand(q, generator=g) < 0.6
    x_ce, x_plus = torch.where(mature[:, None], x[n : n + q], x[n + q : n + 2 * q]), x[n + q : n + 2 * q]
    return x[:n], y[:n], Tuples(x_ce, x_plus, x[n + 2 * q :], y[n : n + q], y[n + q :], mature)


@pytest.mark.parametrize("objective", ["adversarial", "energy", "full"])
@pytest.mark.parametrize(("n", "q", "size"), [(12, 6, 4), (13, 7, 4), (5, 5, 2)])
def test_loss_and_gradient_are_those_of_the_formula(objective: Any, n: int, q: int, size: int) -> None:
    """Section 3.1 written down with torch's own losses and its autograd, batch by batch."""
    x, y, t = drawn(n, q, 3, 4, seed=n)
    weights = Weights(cls=1.5, div=0.7, reg=0.2, adv=0.4).of(objective)
    matrix = torch.randn(3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    epoch = epoch_of(x, y, t, weights, size)
    ranges = shares(q, len(epoch.updates))
    for i, (update, (a, b)) in enumerate(zip(epoch.updates, ranges, strict=True)):
        W = matrix.clone().requires_grad_()
        rows = slice(size * i, size * (i + 1))
        ce = torch.nn.functional.cross_entropy
        energy_plus = -(t.x_plus[a:b] @ W).gather(1, t.y_plus[a:b, None])
        energy_ce = -(t.x_ce[a:b] @ W).gather(1, t.y_plus[a:b, None])
        loss = weights.cls * ce(x[rows] @ W, y[rows])
        loss = loss + weights.div * (energy_plus - energy_ce).mean()
        loss = loss + weights.reg * (energy_plus**2 + energy_ce**2).mean()
        loss = loss + weights.adv * ce(t.x_ae[a:b] @ W, t.y_ae[a:b])
        (expected,) = torch.autograd.grad(loss, W)
        value, slope = loss_and_slope(update.x @ matrix, update)
        torch.testing.assert_close(value, loss.detach(), atol=1e-12, rtol=0)
        torch.testing.assert_close(update.x.T @ slope, expected, atol=1e-12, rtol=0)


def test_each_row_and_each_tuple_is_in_one_update() -> None:
    x, y, t = drawn(13, 7, 3, 4, seed=0)
    epoch = epoch_of(x, y, t, Weights(), 4)
    assert [u.sizes for u in epoch.updates] == [(4, 1, 1, 1), (4, 2, 2, 2), (4, 2, 2, 2), (1, 2, 2, 2)]
    assert len(epoch.whole.x) == 13 + 3 * 7
    first = epoch.updates[0]
    assert torch.equal(first.x[:4], x[:4])
    assert torch.equal(first.x[4:], torch.cat([t.x_ae[:1], t.x_ce[:1], t.x_plus[:1]]))
    assert epoch_of(x, y, t, Weights().of("adversarial"), 4).updates[0].sizes == (4, 1)
    assert epoch_of(x, y, t, Weights().of("energy"), 4).updates[0].sizes == (4, 1, 1)


def test_the_contrast_pulls_a_linear_model_along_the_difference() -> None:
    """The gradient of div for row y+ of the weights is x_CE - x+, and 0 where a feature is protected."""
    weights = Weights(cls=1, div=1, reg=0, adv=0)
    still = torch.tensor([False, True])
    for free, expected in ((torch.tensor([True, True]), [0.5, -1.0]), (still, [0.0, -1.0])):
        x_plus = project(ONE.x_plus, ONE.x_ce, free, free)
        moved = Tuples(ONE.x_ce, x_plus, ONE.x_ae, ONE.y_plus, ONE.y_ae, ONE.mature)
        (update,) = epoch_of(X, Y, moved, weights, 2).updates
        _, slope = loss_and_slope(update.x, update)
        tuples = slope[2:].T @ update.x[2:]  # the rows of the batch are the first two
        assert tuples[1].tolist() == pytest.approx(expected, abs=1e-6)
        assert tuples[0].tolist() == [0.0, 0.0]


def test_an_immature_row_contrasts_nothing() -> None:
    same = Tuples(ONE.x_plus, ONE.x_plus, ONE.x_ae, ONE.y_plus, ONE.y_ae, torch.tensor([False]))
    weights = Weights(div=3, reg=0, adv=0)
    (update,) = epoch_of(X, Y, same, weights, 2).updates
    f = update.x + torch.randn(update.x.shape, dtype=torch.float64)  # even where a network rounds equal rows apart
    loss, slope = loss_and_slope(f, update)
    (plain,) = epoch_of(X, Y, same, Weights(div=0, reg=0, adv=0), 2).updates
    alone, _ = loss_and_slope(f[:2], plain)
    assert float(loss) == float(alone)
    assert not slope[2:].any()
    ridge = Weights(div=0, reg=1, adv=0)
    (update,) = epoch_of(X, Y, same, ridge, 2).updates
    assert float(loss_and_slope(update.x, update)[0] - alone_loss()) == pytest.approx(8)  # x+ counts twice: 4 + 4


def alone_loss() -> Any:
    (plain,) = epoch_of(X, Y, ONE, Weights(div=0, reg=0, adv=0), 2).updates
    return loss_and_slope(plain.x, plain)[0]


def test_true_rows_are_moved_only_as_far_as_the_policy_lets_them() -> None:
    x_plus, x_ce = of([1, 1, 1, 1], [-1, -1, -1, -1]), of([0, 0, 0, 0], [0, 0, 0, 0])
    down = torch.tensor([True, False, False, True])
    up = torch.tensor([True, False, True, False])
    # any, none, only up: the larger, only down: the smaller
    assert project(x_plus, x_ce, down, up).tolist() == [[1, 0, 1, 0], [-1, 0, 0, -1]]


def test_objectives_switch_terms_off() -> None:
    w = Weights()
    assert w.of("vanilla") == Weights(div=0, reg=0, adv=0)
    assert w.of("adversarial") == Weights(div=0, reg=0)
    assert w.of("energy") == Weights(adv=0)
    assert w.of("full") == w
