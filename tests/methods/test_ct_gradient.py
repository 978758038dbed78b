"""The written-down gradient of a stack of layers against the one that torch records, alone and in the search."""

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is an optional package")
from torch import nn  # noqa: E402 - after the check that it is there

from audit.core.ct_gradient import _Recorded, _Stack, pass_of  # noqa: E402
from audit.core.network import Mlp  # noqa: E402
from audit.search.gradient import descent  # noqa: E402
from audit.search.gradient.descent import descend  # noqa: E402


def inputs(n: int, m: int, seed: int = 0, dtype: Any = None) -> Any:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, m, generator=generator, dtype=dtype or torch.float64)


class Louder(nn.Linear):
    """A layer that is no plain linear one."""

    def forward(self, x: Any) -> Any:
        return 2 * super().forward(x)


STACKS = {
    "linear": Mlp(hidden=()).build(3, 4, 0),
    "one hidden layer": Mlp().build(3, 4, 0),
    "two hidden layers": Mlp(hidden=(16, 8)).build(3, 4, 0),
    "no bias": nn.Sequential(nn.Linear(3, 8, bias=False), nn.ReLU(), nn.Linear(8, 4)),
    "ReLU first and last": nn.Sequential(nn.ReLU(), nn.Linear(3, 4), nn.ReLU()),
}


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_stack_equals_what_torch_records(name: str, dtype: Any) -> None:
    network = STACKS[name].to(dtype)
    x, slope = inputs(50, 3, dtype=dtype), inputs(50, 4, seed=1, dtype=dtype)
    way = pass_of(network, dtype)
    assert isinstance(way, _Stack)
    v = x.clone().requires_grad_()
    f = network(v)
    (expected,) = torch.autograd.grad(f, v, grad_outputs=slope)
    torch.testing.assert_close(way.logits(x.T.contiguous()).T, f.detach(), atol=1e-6, rtol=0)
    torch.testing.assert_close(way.gradient(slope.T.contiguous()).T, expected, atol=1e-6, rtol=0)
    assert all(p.grad is None for p in network.parameters())


def test_what_is_no_plain_stack_is_recorded() -> None:
    hooked = Mlp().build(3, 2, 0)
    hooked[0].register_forward_hook(lambda module, given, answer: 3 * answer)
    drop = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 2)).eval()
    nested = nn.Sequential(nn.Sequential(nn.Linear(3, 2)))
    others = [Mlp(activation="tanh").build(3, 2, 0), hooked, drop, nn.Sequential(Louder(3, 2)), nn.Sequential(), nested]
    for network in others:
        assert isinstance(pass_of(network, torch.float32), _Recorded)
    assert isinstance(pass_of(Mlp().build(3, 2, 0), torch.float64), _Recorded), "weights of another kind"
    assert isinstance(pass_of(lambda x: x, torch.float32), _Recorded)
    x, slope = inputs(5, 3, dtype=torch.float32), inputs(5, 2, seed=1, dtype=torch.float32)
    way, v = pass_of(hooked, torch.float32), x.clone().requires_grad_()
    f = hooked(v)
    assert torch.equal(way.logits(x.T).T, f.detach())
    assert torch.equal(way.gradient(slope.T).T, torch.autograd.grad(f, v, grad_outputs=slope)[0])


def case(**changed: Any) -> tuple[Any, Any, dict[str, Any]]:
    x, y = inputs(200, 5, seed=2), torch.randint(0, 3, (200,), generator=torch.Generator().manual_seed(3))
    yes, wide = torch.ones(5, dtype=torch.bool), torch.full((5,), 1.5, dtype=torch.float64)
    if "groups" in changed:
        x[:, :3] = torch.nn.functional.one_hot(x[:, :3].argmax(dim=1), 3)
        x[:, 3] = (x[:, 3] > 0).double()
    given = dict(tau=0.8, steps=30, rate=0.3, lam1=0.01, lam2=5.0, down=yes, up=yes, low=-wide, high=wide, eps=0.3)
    return x, y, given | changed


CASES: dict[str, dict[str, Any]] = {
    "free": {},
    "no distance, no energy": {"lam1": 0.0, "lam2": 0.0},
    "no nascent points": {"eps": None},
    "directions, starts outside the domain": {
        "down": torch.tensor([True, False, True, False, True]),
        "up": torch.tensor([True, True, False, False, True]),
    },
    "snap at end": {"groups": [[0, 1, 2], [3]], "one_hot": "snap_at_end", "tau": 0.5},
    "snap each step": {"groups": [[0, 1, 2], [3]], "one_hot": "snap_each_step", "tau": 0.5},
}


@pytest.mark.parametrize("name", CASES)
def test_a_search_is_the_same_written_down_recorded_and_in_blocks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = Mlp(hidden=(16,)).build(5, 3, 4).double()
    x, y, given = case(**CASES[name])
    written = descend(network, x, y, **given)
    recorded = descend(network.forward, x, y, **given)
    monkeypatch.setattr(descent, "BLOCK", 5 * 7)
    blocks = descend(network, x, y, **given)
    assert len(set(written.steps_done.tolist())) > 2
    assert 0 < int(written.mature.sum()) < len(x)
    for other in (recorded, blocks):
        torch.testing.assert_close(written.end, other.end, atol=1e-6, rtol=0)
        torch.testing.assert_close(written.nascent, other.nascent, atol=1e-6, rtol=0)
        assert torch.equal(written.mature, other.mature)
        assert torch.equal(written.steps_done, other.steps_done)


def test_a_nascent_point_may_come_after_a_way_out() -> None:
    """Steps jump to and fro over the point .15, of which one side lies outside the box: the last inside counts."""

    def hill(v: Any) -> Any:
        return torch.cat([torch.zeros_like(v), -((v - 0.15) ** 2)], dim=1)

    x, y = torch.zeros(1, 1, dtype=torch.float64), torch.tensor([1])
    wide, yes = torch.full((1,), 9.0, dtype=torch.float64), torch.tensor([True])
    given = dict(tau=0.99, rate=1.9, lam1=0.0, lam2=0.0, down=yes, up=yes, low=-wide, high=wide, eps=0.2)
    path = [float(descend(hill, x, y, steps=t, **given).end) for t in range(1, 4)]
    assert [point <= 0.2 for point in path] == [False, True, False]
    assert [float(descend(hill, x, y, steps=t, **given).nascent) for t in (1, 2, 3)] == [0.0, path[1], path[1]]


def test_an_undefined_gradient_of_one_row_moves_no_other() -> None:
    """The second row's gradient is 0 times infinity in the first column; both ways of computing count it."""
    network = Mlp(hidden=()).build(2, 2, 0).double()
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[0.0, -1.0], [0.0, 1.0]]))
        network[0].bias.zero_()
    x, y = torch.tensor([[0.0, -1.0], [float("inf"), -1.0]], dtype=torch.float64), torch.tensor([1, 1])
    wide, yes = torch.full((2,), torch.inf, dtype=torch.float64), torch.ones(2, dtype=torch.bool)
    given = dict(tau=0.9, steps=4, rate=0.1, lam1=0.001, lam2=0.0, down=yes, up=yes, low=-wide, high=wide)
    both = descend(network, x, y, **given)
    alone = descend(network, x[:1], y[:1], **given)
    torch.testing.assert_close(both.end[0], alone.end[0], atol=1e-9, rtol=0)
    assert both.nan_steps.tolist() == [0, 4]


def test_undefined_steps_are_counted_while_a_row_searches_and_leave_stopped_rows_alone() -> None:
    """The first column is undefined below 0 of the third: the first row is so, the second stops early, others go on."""

    def broken(v: Any) -> Any:
        # The root has the value 0 and an infinite gradient, which times 0 is no number.
        bad = 0 * torch.sqrt(torch.where(v[:, 2:3] < 0, v[:, :1] - v[:, :1].detach(), 1.0))
        return torch.cat([bad - v[:, 1:2], v[:, 1:2]], dim=1)

    near, far = 0.3, -9.0
    x = torch.tensor([[0.0, near, -1.0], [0.0, near, 1.0], *[[0.0, far, -1.0]] * 8], dtype=torch.float64)
    y, yes = torch.ones(len(x), dtype=torch.int64), torch.ones(3, dtype=torch.bool)
    wide = torch.full((3,), torch.inf, dtype=torch.float64)
    given = dict(tau=0.7, steps=12, rate=0.1, lam1=0.0, lam2=0.0, down=yes, up=yes, low=-wide, high=wide)
    found = descend(broken, x, y, **given)
    alone = [descend(broken, row[None], y[:1], **given) for row in x[:2]]
    assert 0 < int(found.steps_done[0]) < 12
    assert found.steps_done[0] == found.steps_done[1]
    torch.testing.assert_close(found.end[:2], torch.cat([one.end for one in alone]), atol=1e-9, rtol=0)
    assert found.nan_steps[:3].tolist() == [int(found.steps_done[0]), 0, 12]
