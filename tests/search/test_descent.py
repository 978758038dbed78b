"""The batched gradient search against one row at a time, against hand calculation, and its promises."""

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is an optional package")
from torch import Tensor  # noqa: E402 - after the check that it is there

from audit.search.gradient.descent import Descent, descend, offset, phi  # noqa: E402


def network(m: int = 3, k: int = 3, seed: int = 0) -> Any:
    """A small network in double precision, so that batches agree to the last digits."""
    generator = torch.Generator().manual_seed(seed)
    net = torch.nn.Sequential(torch.nn.Linear(m, 8), torch.nn.ReLU(), torch.nn.Linear(8, k)).double()
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator, dtype=torch.float64))
    return net


def settings(m: int = 3, **changed: Any) -> dict[str, Any]:
    yes = torch.ones(m, dtype=torch.bool)
    wide = torch.full((m,), 2.5, dtype=torch.float64)
    given = dict(tau=0.8, steps=30, rate=0.1, lam1=0.001, lam2=5.0, down=yes, up=yes, low=-wide, high=wide, eps=0.3)
    return given | changed


def rows(n: int = 60, m: int = 3, k: int = 3, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, m, generator=generator, dtype=torch.float64)
    return x, torch.randint(0, k, (n,), generator=generator)


def one_row(net: Any, x0: Tensor, y: int, s: dict[str, Any]) -> tuple[Tensor, bool, int, Tensor, list[Tensor]]:
    """The published rules written down for one row, with autograd for the whole objective."""
    b = max(1, round(s["steps"] / 25))
    x, steps, path = x0.clone(), 0, [x0.clone()]
    while True:
        if torch.softmax(net(x[None]), 1)[0, y] >= s["tau"]:
            mature = steps > 0
            break
        if steps == s["steps"]:
            mature = False
            break
        v = x.clone().requires_grad_()
        f = net(v[None])[0]
        energy = -f[y]
        weight = s["lam2"] * (b / 10) * (b + steps + 1) ** -0.9
        loss = -torch.log_softmax(f, 0)[y] + s["lam1"] * (v - x0).abs().sum() + weight * (energy + 1e-3 * energy**2)
        (gradient,) = torch.autograd.grad(loss, v)
        for j in range(len(x)):
            if not s["up"][j] and not s["down"][j]:
                continue
            delta = -s["rate"] * gradient[j]
            if not s["up"][j]:
                delta = delta.clamp(max=0)
            if not s["down"][j]:
                delta = delta.clamp(min=0)
            there = (x[j] + delta).clamp(s["low"][j], s["high"][j])
            there = there if s["down"][j] else torch.maximum(there, x[j])
            x[j] = there if s["up"][j] else torch.minimum(there, x[j])
        steps += 1
        path.append(x.clone())
    near = [point for point in path if (point - x0).abs().max() <= s["eps"]]
    return x, mature, steps, near[-1], path


MASKS = {
    "free": ([True] * 3, [True] * 3),
    "one immutable": ([False, True, True], [False, True, True]),
    "directions": ([True, False, True], [False, True, True]),
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("lam2", [0.0, 5.0])
def test_a_batch_equals_one_row_at_a_time(mask: str, lam2: float) -> None:
    net, (x, y) = network(), rows()
    down, up = (torch.tensor(part) for part in MASKS[mask])
    s = settings(down=down, up=up, lam2=lam2)
    found = descend(net, x, y, **s)
    alone = [one_row(net, x[i], int(y[i]), s) for i in range(len(x))]
    torch.testing.assert_close(found.end, torch.stack([a[0] for a in alone]), atol=1e-6, rtol=0)
    torch.testing.assert_close(found.nascent, torch.stack([a[3] for a in alone]), atol=1e-6, rtol=0)
    assert found.mature.tolist() == [a[1] for a in alone]
    assert found.steps_done.tolist() == [a[2] for a in alone]
    # The case is worth something only if rows differ in how they end.
    assert {0, 30} < set(found.steps_done.tolist())
    assert 0 < int(found.mature.sum()) < len(x)
    for end, nascent, a in zip(found.end, found.nascent, alone, strict=True):
        assert min(float((nascent - point).abs().max()) for point in a[4]) <= 1e-6, "not on the path"
        assert min(float((end - point).abs().max()) for point in a[4]) <= 1e-6


def test_the_fading_of_the_energy() -> None:
    assert (offset(30), offset(50), offset(12), offset(5)) == (1, 2, 1, 1)
    assert phi(1, offset(30)) == pytest.approx(0.05359, abs=1e-5)
    assert phi(30, offset(30)) == pytest.approx(0.00455, abs=1e-5)
    assert phi(1, offset(50)) == pytest.approx(0.07441, abs=1e-5)
    assert phi(1, round(12 / 25)) == 0


def test_one_step_by_hand() -> None:
    """Logits are the row itself: the gradient by (x0, x1) for target 1 is softmax minus (0, 1), and the energy's."""
    x, y = torch.tensor([[1.0, 0.0]], dtype=torch.float64), torch.tensor([1])
    found = descend(lambda v: v, x, y, **settings(2, steps=1, tau=0.9, lam1=0.0, lam2=0.0, eps=0.05))
    p0 = 0.7310585786300049
    assert found.end[0].tolist() == pytest.approx([1 - 0.1 * p0, 0.1 * p0], abs=1e-12)
    assert found.nascent[0].tolist() == [1.0, 0.0], "the step is larger than eps"
    energy = descend(lambda v: v, x, y, **settings(2, steps=1, tau=0.9, lam1=0.0, eps=0.5))
    # b = 1, phi(1) = 0.1 * 2^-0.9; at x1 = 0 the slope of E + 0.001 E^2 by x1 is -1
    assert energy.end[0].tolist() == pytest.approx([1 - 0.1 * p0, 0.1 * p0 + 0.5 * 0.1 * 2**-0.9], abs=1e-12)
    assert torch.equal(energy.end, energy.nascent)


def test_a_row_that_is_there_already_does_not_search() -> None:
    x, y = torch.tensor([[0.0, 3.0], [3.0, 0.0]], dtype=torch.float64), torch.tensor([1, 1])
    found = descend(lambda v: v, x, y, **settings(2, high=torch.full((2,), 9.0, dtype=torch.float64), steps=200))
    assert found.steps_done[0] == 0
    assert found.mature.tolist() == [False, True]
    assert torch.equal(found.end[0], x[0])
    assert torch.equal(found.nascent[0], x[0])


def test_the_last_step_is_judged_as_well() -> None:
    x, y = torch.tensor([[0.05, 0.0]], dtype=torch.float64), torch.tensor([1])
    found = descend(lambda v: v, x, y, **settings(2, tau=0.5, steps=1, lam2=0.0))
    assert (bool(found.mature[0]), int(found.steps_done[0])) == (True, 1)


def promises(found: Descent, x: Tensor, s: dict[str, Any]) -> None:
    change = found.end - x
    assert bool((change[:, ~s["up"]] <= 0).all())
    assert bool((change[:, ~s["down"]] >= 0).all())
    still = ~s["up"] & ~s["down"]
    assert torch.equal(found.end[:, still], x[:, still])
    assert torch.equal(found.nascent[:, still], x[:, still])
    inside = (found.end >= s["low"]) & (found.end <= s["high"])
    assert bool(inside[:, ~still].all())
    assert float((found.nascent - x).abs().max()) <= s["eps"] + 1e-6


@pytest.mark.parametrize("seed", range(8))
def test_what_may_not_change_does_not(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    up, down = (torch.rand(3, generator=generator) < 0.6 for _ in range(2))
    x, y = rows(200, seed=seed)
    x = x.float().clamp(-2, 2)
    bound = torch.full((3,), 2.0)
    s = settings(down=down, up=up, low=-bound, high=bound, rate=1.0, eps=0.5)
    promises(descend(network(seed=seed).float(), x, y, **s), x, s)


def test_an_immutable_column_outside_the_domain_stays() -> None:
    x, y = torch.tensor([[5.0, 0.0]], dtype=torch.float64), torch.tensor([1])
    mask = torch.tensor([False, True])
    found = descend(lambda v: v, x, y, **settings(2, down=mask, up=mask))
    assert found.end[0, 0] == 5.0
    assert found.end[0, 1] > 0


def test_a_start_outside_the_domain_is_not_led_back_against_its_direction() -> None:
    x, y = torch.tensor([[5.0, 0.0], [-5.0, 0.0]], dtype=torch.float64), torch.tensor([0, 0])
    yes, no = torch.tensor([True, True]), torch.tensor([False, True])
    rising = descend(lambda v: -v, x, torch.tensor([0, 1]), **settings(2, down=no, up=yes, steps=1)).end[:, 0]
    assert rising[0] == 5.0
    assert rising[1] == -2.5
    falling = descend(lambda v: v, x, y, **settings(2, down=yes, up=no, tau=0.999)).end[:, 0]
    assert falling.tolist() == [2.5, -5.0]
    assert descend(lambda v: -v, x, y, **settings(2)).end[0, 0] <= 2.5


def test_parameters_are_left_alone() -> None:
    net, (x, y) = network(), rows()
    before = [p.detach().clone() for p in net.parameters()]
    found = descend(net, x, y, **settings())
    assert all(torch.equal(a, b) and b.grad is None for a, b in zip(before, net.parameters(), strict=True))
    assert not found.end.requires_grad
    assert not found.nascent.requires_grad


def test_an_undefined_step_is_not_taken() -> None:
    def broken(v: Tensor) -> Tensor:
        bad = torch.sqrt(v[:, :1] - v[:, :1].detach())  # value 0, gradient infinite; times 0 it is NaN
        return torch.cat([v[:, 1:2] + 0 * bad, -v[:, 1:2]], dim=1)

    x, y = torch.tensor([[0.0, 0.5]], dtype=torch.float64), torch.tensor([1])
    found = descend(broken, x, y, **settings(2, steps=5, lam1=0.0, tau=0.99))
    assert found.end[0, 0] == 0
    assert found.end[0, 1] < 0.5
    assert found.nan_steps.tolist() == [5]


def leaning(v: Tensor) -> Tensor:
    """Class 1 for the second level of the group in columns 0 and 1; column 2 matters little; 3 is a 0/1 value."""
    score = 4 * (v[:, 1] - v[:, 0]) + 0.1 * v[:, 2] + 4 * v[:, 3] - 2
    return torch.stack([-score / 2, score / 2], dim=1)


def test_one_hot_modes() -> None:
    x = torch.tensor([[1.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    y, groups = torch.tensor([1]), [[0, 1], [3]]
    zero, one = torch.zeros(4, dtype=torch.float64), torch.tensor([1.0, 1.0, 5.0, 1.0], dtype=torch.float64)
    s = settings(4, low=zero, high=one, lam1=0.0, lam2=0.0, rate=0.05, groups=groups)
    relaxed = descend(leaning, x, y, **s)
    assert 0 < float(relaxed.end[0, 1]) < 1
    each = descend(leaning, x, y, one_hot="snap_each_step", **s)
    assert each.end[0, [0, 1, 3]].tolist() == [1.0, 0.0, 0.0], "no single step changes the largest level"
    assert not bool(each.mature[0])
    end = descend(leaning, x, y, one_hot="snap_at_end", **s)
    assert end.end[0, [0, 1, 3]].tolist() == [0.0, 1.0, 1.0]
    assert bool(end.mature[0])
    large = descend(leaning, x, y, one_hot="snap_each_step", **{**s, "rate": 0.5})
    assert large.end[0, [0, 1, 3]].tolist() == [0.0, 1.0, 1.0]


def test_an_immutable_group_keeps_its_level() -> None:
    x = torch.tensor([[1.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    mask = torch.tensor([False, False, True, True])
    bound = torch.full((4,), 5.0, dtype=torch.float64)
    s = settings(4, down=mask, up=mask, low=-bound, high=bound, rate=1.0, groups=[[0, 1], [3]], one_hot="snap_at_end")
    found = descend(leaning, x, torch.tensor([1]), **s)
    assert found.end[0, :2].tolist() == [1.0, 0.0]
    assert float(found.end[0, 3]) == 1.0


def test_snapping_that_leaves_the_target_is_not_mature() -> None:
    def needs_both(v: Tensor) -> Tensor:
        score = 8 * (v[:, 0] - 0.3)
        return torch.stack([-score / 2, score / 2], dim=1)

    x, y = torch.tensor([[0.0]], dtype=torch.float64), torch.tensor([1])
    bound = torch.ones(1, dtype=torch.float64)
    s = settings(1, low=0 * bound, high=bound, tau=0.55, lam1=0.0, lam2=0.0, rate=0.01, groups=[[0]], steps=200)
    assert bool(descend(needs_both, x, y, **s).mature[0])
    snapped = descend(needs_both, x, y, one_hot="snap_at_end", **s)
    assert snapped.end[0, 0] == 0
    assert not bool(snapped.mature[0])


def test_no_rows() -> None:
    found = descend(network(), torch.empty(0, 3, dtype=torch.float64), torch.empty(0, dtype=torch.int64), **settings())
    assert found.end.shape == (0, 3)
    assert found.mature.shape == (0,)
