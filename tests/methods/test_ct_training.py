"""Training: switches, seeds, searches against the frozen network, and what happens when it goes wrong."""

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is an optional package")

from audit.core.ct_attacks import fgsm, fgsm_rs, pgd  # noqa: E402 - after the check that torch is there
from audit.core.ct_objective import Weights  # noqa: E402
from audit.core.ct_training import Rows, Training, searched, train, train_on_attacks  # noqa: E402
from audit.core.errors import DataError  # noqa: E402
from audit.core.method import Refusal  # noqa: E402
from audit.core.network import Mlp  # noqa: E402
from audit.search.gradient.descent import descend  # noqa: E402

FREE = torch.tensor([True, True])


def blobs(n: int = 240, classes: int = 2, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    x = np.column_stack([np.cos(2.4 * y), np.sin(2.4 * y)]) * 1.5 + rng.normal(0, 0.5, (n, 2))
    return Rows(torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y), classes, FREE, FREE)


def search(**changed: Any) -> Any:
    wide = torch.full((2,), 4.0)
    s = dict(tau=0.5, steps=30, rate=0.1, lam1=0.001, lam2=5.0, down=FREE, up=FREE, low=-wide, high=wide, eps=0.3)
    return lambda module, start, target: descend(module, start, target, **(s | changed))


def quiet(done: int, total: int) -> None:
    """Nobody watches."""


def weights_of(module: Any) -> list[Any]:
    return [p.detach().clone() for p in module.parameters()]


def no_search(*given: Any) -> Any:
    raise AssertionError("conventional training searched")


def test_vanilla_is_plain_training_bit_for_bit() -> None:
    rows = blobs(250)
    done = train(Mlp().build(2, 2, 3), rows, Training(objective="vanilla", epochs=4, batch=30), no_search, 1, quiet)
    plain = Mlp().build(2, 2, 3)
    adam = torch.optim.Adam(plain.parameters(), lr=1e-3, fused=True)
    for _ in range(4):
        for start in range(0, 250, 30):
            loss = torch.nn.functional.cross_entropy(plain(rows.x[start : start + 30]), rows.y[start : start + 30])
            adam.zero_grad()
            loss.backward()
            adam.step()
    assert all(torch.equal(a, b) for a, b in zip(weights_of(done.module), weights_of(plain), strict=True))
    assert done.log[0]["mature_share"] is None


def test_burn_in_is_conventional_and_then_ends() -> None:
    rows, how = blobs(), Training(epochs=5, burn_in=0.5, batch=30, counterfactuals=40)
    half = train(Mlp().build(2, 2, 0), rows, how, search(), 0, quiet)
    # round(2.5) = 2, half to even
    assert [row["mature_share"] is None for row in half.log] == [True, True, False, False, False]
    short = train(Mlp().build(2, 2, 0), rows, Training(objective="vanilla", epochs=2, batch=30), no_search, 0, quiet)
    assert [row["train_loss"] for row in half.log[:2]] == [row["train_loss"] for row in short.log]


@pytest.mark.parametrize("objective", ["vanilla", "adversarial", "energy", "full"])
def test_terms_appear_where_they_belong(objective: Any) -> None:
    done = train(Mlp().build(2, 2, 0), blobs(), Training(objective=objective, epochs=2), search(), 0, quiet)
    there = {name for name in ("div", "reg", "adv") if done.log[-1][name] is not None}
    assert (
        there
        == {"vanilla": set(), "adversarial": {"adv"}, "energy": {"div", "reg"}, "full": {"div", "reg", "adv"}}[
            objective
        ]
    )


def test_the_seed_alone_decides_and_global_randomness_is_left_alone() -> None:
    rows, how = blobs(), Training(epochs=3, shuffle=True)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = train(Mlp().build(2, 2, 0), rows, how, search(), 7, quiet)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(6)
    again = train(Mlp().build(2, 2, 0), rows, how, search(), 7, quiet)
    other = train(Mlp().build(2, 2, 0), rows, how, search(), 8, quiet)
    assert all(torch.equal(a, b) for a, b in zip(weights_of(first.module), weights_of(again.module), strict=True))
    assert first.log == again.log
    assert not torch.equal(weights_of(first.module)[0], weights_of(other.module)[0])


@pytest.mark.parametrize("classes", [2, 3])
def test_targets_partners_and_replacement(classes: int) -> None:
    rows = blobs(400, classes)
    taught = Training(objective="vanilla", epochs=20)
    module = train(Mlp().build(2, classes, 1), rows, taught, no_search, 0, quiet).module
    members = [torch.nonzero(rows.y == k)[:, 0] for k in range(classes)]
    asked: dict[str, Any] = {}

    def spy(net: Any, start: Any, target: Any) -> Any:
        asked.update(start=start, target=target, found=search(steps=15)(net, start, target))
        return asked["found"]

    before = weights_of(module)
    g = torch.Generator().manual_seed(0)
    tuples, about = searched(module, rows, members, Training(counterfactuals=400), spy, g)
    assert all(torch.equal(a, b) for a, b in zip(weights_of(module), before, strict=True))
    assert not (tuples.y_plus == module(asked["start"]).argmax(dim=1)).any()
    assert len(torch.unique(tuples.y_plus)) == classes
    assert sorted(map(tuple, asked["start"].tolist())) == sorted(map(tuple, rows.x.tolist())), "with replacement"
    label = {tuple(x): y for x, y in zip(rows.x.tolist(), rows.y.tolist(), strict=True)}
    assert [label[tuple(x)] for x in tuples.x_plus.tolist()] == tuples.y_plus.tolist()
    assert [label[tuple(x)] for x in asked["start"].tolist()] == tuples.y_ae.tolist()
    late = ~asked["found"].mature
    assert 0 < int(late.sum()) < 400
    assert torch.equal(tuples.x_ce[late], tuples.x_plus[late])
    assert torch.equal(tuples.x_ce[~late], asked["found"].end[~late])
    assert torch.equal(tuples.x_ae, asked["found"].nascent)
    assert not any(t.requires_grad for t in (tuples.x_ce, tuples.x_plus, tuples.x_ae))
    assert about["mature_share"] == pytest.approx(1 - float(late.float().mean()))
    kept, _ = searched(module, rows, members, Training(counterfactuals=400, immature="keep"), spy, g)
    assert bool(kept.mature.all())


def test_an_immutable_column_never_enters_the_contrast() -> None:
    rows = blobs(200)
    mask = torch.tensor([False, True])
    rows = Rows(rows.x, rows.y, 2, mask, mask)
    members = [torch.nonzero(rows.y == k)[:, 0] for k in range(2)]
    module, g = Mlp().build(2, 2, 1), torch.Generator().manual_seed(0)
    tuples, _ = searched(module, rows, members, Training(counterfactuals=200), search(down=mask, up=mask), g)
    assert torch.equal(tuples.x_ce[:, 0], tuples.x_plus[:, 0])
    assert not torch.equal(tuples.x_ce[:, 1], tuples.x_plus[:, 1])


def test_numbers_of_counterfactuals_and_batches() -> None:
    how = Training()
    assert (how.batch_for(9999), how.batch_for(10_000)) == (30, 1000)
    assert (how.counterfactuals_for(3000), how.counterfactuals_for(4001)) == (1000, 4001)
    assert how.counterfactuals_for(25_000) == 5000
    assert Training(counterfactuals=2).counterfactuals_for(300) == 10, "raised to the number of batches"
    assert Training(counterfactuals=900).counterfactuals_for(300) == 300, "no more than rows"


def test_losses_that_are_not_finite_are_passed_over_and_then_end_the_training() -> None:
    class Breaks(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside = torch.nn.Linear(2, 2)

        def forward(self, x: Any) -> Any:
            return self.inside(x) * torch.where(x[:, :1] > 50, torch.inf, 1.0)

    rows = blobs(90)
    x = rows.x.clone()
    x[40] = 60.0
    spoilt = Rows(x, rows.y, 2, FREE, FREE)
    how = Training(objective="vanilla", epochs=3, batch=30, give_up=2)  # two in a row: one in each epoch is not
    done = train(Breaks(), spoilt, how, no_search, 0, quiet)
    assert [row["skipped_updates"] for row in done.log] == [1, 1, 1]
    assert all(p.isfinite().all() for p in done.module.parameters())
    assert all(np.isfinite(row["train_loss"]) for row in done.log)
    x[:] = 60.0
    with pytest.raises(Refusal, match="not finite in 4 updates in a row"):
        train(Breaks(), Rows(x, rows.y, 2, FREE, FREE), how.model_copy(update={"give_up": 4}), no_search, 0, quiet)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: Rows(r.x.clone().index_fill_(0, torch.tensor([3]), float("nan")), r.y, 2, FREE, FREE), "1 of 240"),
        (lambda r: Rows(r.x, r.y * 0, 1, FREE, FREE), "one class"),
        (lambda r: Rows(r.x, r.y, 3, FREE, FREE), "no training row has class number 2"),
    ],
)
def test_rows_that_cannot_be_trained_on(change: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        train(Mlp().build(2, 2, 0), change(blobs()), Training(epochs=1), search(), 0, quiet)


def test_networks_with_normalisation_and_dropout() -> None:
    def net() -> Any:
        torch.manual_seed(0)
        layers = [torch.nn.Linear(2, 16), torch.nn.BatchNorm1d(16), torch.nn.ReLU(), torch.nn.Dropout(0.2)]
        return torch.nn.Sequential(*layers, torch.nn.Linear(16, 2))

    modes = []

    def spy(module: Any, start: Any, target: Any) -> Any:
        modes.append(module.training)
        return search()(module, start, target)

    with torch.random.fork_rng():
        a, b = (train(net(), blobs(), Training(epochs=3), spy, 2, quiet) for _ in range(2))
    assert a.log == b.log
    assert modes == [False] * 6
    assert not a.module.training


def test_training_on_attacks_and_the_attacks() -> None:
    rows = blobs(300)
    done = train(Mlp().build(2, 2, 0), rows, Training(objective="vanilla", epochs=30), no_search, 0, quiet)
    loss = torch.nn.functional.cross_entropy
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        clean = float(loss(done.module(rows.x), rows.y))
    single, several = (a(done.module, rows.x, rows.y, g) for a in (fgsm(0.4), pgd(0.4, 10)))
    for moved in (single, several):
        assert float((moved - rows.x).abs().max()) <= 0.4 + 1e-6
        with torch.no_grad():
            assert float(loss(done.module(moved), rows.y)) > 2 * clean
    # From anywhere in the box, 1.25 eps lead to its side from all but 3/8 of the starts.
    started = fgsm_rs(0.4)(done.module, rows.x, rows.y, g)
    there = ((started - rows.x).abs() > 0.4 - 1e-5).float().mean()
    assert float(there) == pytest.approx(0.625, abs=0.08)
    v = rows.x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(done.module(v), rows.y), v)
    torch.testing.assert_close(single, rows.x + 0.4 * gradient.sign())
    robust = train_on_attacks(Mlp().build(2, 2, 0), rows, Training(), pgd(0.4, 7), 30, 0, quiet)
    moved = [pgd(0.4, 10)(m.module, rows.x, rows.y, g) for m in (done, robust)]
    with torch.no_grad():
        hard = [float(loss(m.module(x), rows.y)) for m, x in zip((done, robust), moved, strict=True)]
    assert hard[1] < hard[0]


def circles(n: int) -> Rows:
    """The published circles: class 0 in the middle, class 1 around it."""
    rng = np.random.default_rng(3)
    y = np.arange(n) % 2
    angle, radius = rng.uniform(0, 2 * np.pi, n), np.where(y == 1, 1.0, 0.01)
    x = radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)]) + rng.normal(0, 0.15, (n, 2))
    return Rows(torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y), 2, FREE, FREE)


def test_counterfactuals_of_a_trained_network_look_more_like_true_rows() -> None:
    """The promise of the method on its clearest case: published distances to true rows are 2.36 and .97."""
    rows, wide = circles(1000), torch.full((2,), 1.5)
    how = Training(epochs=100, batch=30, counterfactuals=330, weights=Weights(reg=0.5))
    distances, validity = [], []
    for objective in ("vanilla", "full"):
        settings = how.model_copy(update={"objective": objective})
        done = train(Mlp().build(2, 2, 0), rows, settings, search(low=-wide, high=wide), 0, quiet)
        target = 1 - done.module(rows.x).argmax(dim=1)
        end = search(tau=0.95, steps=50, lam1=0.0, low=-wide, high=wide)(done.module, rows.x, target).end
        valid = done.module(end).argmax(dim=1) == target
        ip = [
            float((rows.x[rows.y == t] - e).abs().sum(1).mean()) for e, t in zip(end[valid], target[valid], strict=True)
        ]
        distances.append(float(np.mean(ip)))
        validity.append(float(valid.float().mean()))
    assert distances[1] < 0.7 * distances[0]
    assert validity[1] > 0.95
    assert done.log[-1]["mature_share"] > 0.95
