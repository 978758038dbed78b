"""The layer of ScoresActivation and its training: formulas by hand, and one network at a time in plain torch."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scores_case import task

from audit.core.errors import DataError
from audit.core.network import Mlp
from audit.core.scores_layer import Keep, Member, Rows, Stack, Training, factors, fold, refuse_raw, train, weights

SMALL = Mlp(hidden=(8, 4), init="torch")


def drawn(n=60, m=6, k=2, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, m))
    y = (X[:, 0] + 0.5 * X[:, 1] + 0.3 * rng.normal(size=n) > 0).astype(int)
    fit = np.arange(n * 2 // 3)
    X = (X - X[fit].mean(axis=0)) / X[fit].std(axis=0)
    valid = np.arange(n * 2 // 3, n * 5 // 6)
    return Rows(X, np.arange(m), fit, valid), np.eye(k)[y]


def stack(members=1, m=6, groups=None, scale="none", layer=True):
    groups = np.arange(m) if groups is None else np.asarray(groups)
    ones = [Member(np.eye(2)[[0, 1]], seed, layer=layer) for seed in range(members)]
    return Stack(SMALL, m, groups, scale, ones)


@pytest.mark.parametrize("G", [1, 2, 7, 16])
def test_weights_start_alike_and_always_sum_to_one(G):
    torch.testing.assert_close(weights(torch.zeros(G)), torch.full((G,), 1 / G))
    s = torch.linspace(-3, 4, G)
    assert weights(s).sum() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(weights(s + 12.5), weights(s), atol=1e-6)
    by_hand = np.exp(s.numpy()) / np.exp(s.numpy()).sum()
    np.testing.assert_allclose(weights(s), by_hand, atol=1e-6)


def test_at_the_start_the_layer_shrinks_by_the_number_of_features_or_does_nothing():
    x = torch.arange(12.0).reshape(2, 6)
    w = weights(torch.zeros(6))
    np.testing.assert_allclose(x * factors(w, torch.arange(6), "none"), x / 6, atol=1e-6)
    np.testing.assert_allclose(x * factors(w, torch.arange(6), "d"), x, atol=1e-6)
    # Six columns of two features: d is the number of scores, and columns of one feature share the weight.
    two = factors(weights(torch.tensor([0.0, np.log(3.0)])), torch.tensor([0, 0, 0, 0, 1, 1]), "d")
    np.testing.assert_allclose(two, [0.5, 0.5, 0.5, 0.5, 1.5, 1.5], atol=1e-6)


def test_a_stack_is_the_body_behind_the_layer():
    one = stack(scale="d")
    with torch.no_grad():
        one.s.copy_(torch.tensor([[0.5, -1.0, 0.0, 2.0, 0.1, -0.2]]))
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    w = torch.softmax(one.s[0], dim=0)
    expected = SMALL.build(6, 2, 0)(x * w * 6)
    torch.testing.assert_close(one.logits(x)[0], expected, atol=1e-5, rtol=1e-5)


def test_gradient_of_the_scores_against_the_formula_and_finite_differences():
    one = stack(scale="none")
    one.dense = [p.detach().double().requires_grad_() for p in one.dense]
    one.s = torch.tensor([[0.3, -0.4, 0.0, 1.0, -1.0, 0.2]], dtype=torch.float64, requires_grad=True)
    generator = torch.Generator().manual_seed(1)
    x, Y = torch.randn(9, 6, generator=generator, dtype=torch.float64), torch.eye(2, dtype=torch.float64)[[0, 1, 0] * 3]
    one.losses(x, Y[None]).sum().backward()
    found = one.s.grad[0].clone()

    w = weights(one.s.detach())[0].requires_grad_()
    h = x * w
    for i, (weight, bias) in enumerate(zip(one.dense[::2], one.dense[1::2], strict=True)):
        h = h @ weight[0] + bias[0]
        h = torch.relu(h) if i < 2 else h
    torch.nn.functional.cross_entropy(h, Y).backward()
    g = w.grad
    torch.testing.assert_close(found, (w * (g - (w * g).sum())).detach(), rtol=1e-4, atol=1e-12)

    step, here = 1e-6, one.s.detach()
    for j in range(6):
        ends = []
        for sign in (1, -1):
            moved = here.clone()
            moved[0, j] += sign * step
            one.s = moved
            ends.append(float(one.losses(x, Y[None]).detach()))
        assert found[j].item() == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4, abs=1e-10)


@pytest.mark.parametrize("scale", ["none", "d"])
def test_the_layer_can_be_absorbed_into_the_first_dense_layer(scale):
    body = SMALL.build(6, 3, 5)
    by = factors(weights(torch.linspace(-2, 2, 6)), torch.arange(6), scale)
    x = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(fold(body, by)(x), body(x * by), atol=1e-5, rtol=1e-5)
        assert not torch.allclose(fold(body, by)(x), body(x), atol=1e-3)


def test_a_trained_network_answers_as_its_stack_does():
    rows, Y = drawn()
    training = Training(body=SMALL, epochs=3, patience=0)
    with_layer, twin = train(rows, [Member(Y, 1), Member(Y, 1, layer=False)], training, np.random.default_rng(0))
    x = torch.from_numpy(rows.X.astype(np.float32))
    expected = torch.softmax(with_layer.module(x), dim=1).detach()
    np.testing.assert_allclose(with_layer.predict(rows.X), expected, atol=1e-6)
    assert with_layer.predict(rows.X).sum(axis=1) == pytest.approx(1, abs=1e-6)
    assert np.abs(with_layer.predict(rows.X) - twin.predict(rows.X)).max() > 1e-3


def one_by_one(rows, member, training, rng):
    """One network in plain torch, with torch's own cross-entropy and plain Adam: the oracle of the stack."""
    body = training.body.build(rows.X.shape[1], member.Y.shape[1], member.seed)
    G = int(rows.groups.max()) + 1
    s = torch.zeros(G, requires_grad=member.layer)
    groups = [{"params": list(body.parameters()), "lr": training.lr, "weight_decay": training.decay}]
    groups += [{"params": [s], "lr": training.lr_scores}] if member.layer else []
    optimiser = torch.optim.Adam(groups, fused=False, foreach=False)
    X, Y = torch.tensor(rows.X, dtype=torch.float32), torch.tensor(member.Y, dtype=torch.float32)

    def scaled(x):
        if not member.layer:
            return x
        return x * torch.softmax(s, 0)[rows.groups] * (G if training.scale == "d" else 1)

    path = [torch.softmax(s, 0).detach().numpy().copy()]
    for _ in range(training.epochs):
        order = rng.permutation(rows.fit)
        for start in range(0, len(order), training.batch):
            batch = order[start : start + training.batch]
            w = torch.softmax(s, 0)
            loss = torch.nn.functional.cross_entropy(body(scaled(X[batch])), Y[batch])
            loss = loss - training.entropy * (w * torch.log(w)).sum() if member.layer else loss
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        path.append(torch.softmax(s, 0).detach().numpy().copy())
    with torch.no_grad():
        return np.array(path), torch.softmax(body(scaled(X)), dim=1).numpy()


@pytest.mark.parametrize(
    "settings",
    [{}, {"scale": "d"}, {"entropy": 0.3}, {"decay": 0.05, "scale": "d"}, {"batch": 7}],
    ids=["paper", "scale d", "entropy", "decay", "small batches"],
)
def test_a_stack_is_as_many_networks_trained_one_by_one_on_the_same_batches(settings):
    rows, Y = drawn()
    rows = replace(rows, groups=np.array([0, 1, 1, 2, 3, 3]))
    training = Training(**{"body": SMALL, "epochs": 6, "patience": 0, "batch": 16, "lr": 5e-3} | settings)
    members = [Member(Y, 1), Member(Y, 1, layer=False), Member(Y[::-1].copy(), 2)]
    for member, found in zip(members, train(rows, members, training, np.random.default_rng(3)), strict=True):
        path, P = one_by_one(rows, member, training, np.random.default_rng(3))
        np.testing.assert_allclose(found.path, path, atol=1e-5)
        np.testing.assert_allclose(found.predict(rows.X), P, atol=1e-4)
        assert found.path.shape == (7, 4)
        np.testing.assert_allclose(found.path.sum(axis=1), 1, atol=1e-6)


def test_members_that_are_alike_end_alike():
    rows, Y = drawn()
    training = Training(body=SMALL, epochs=4)
    first, second = train(rows, [Member(Y, 9), Member(Y, 9)], training, np.random.default_rng(0))
    np.testing.assert_array_equal(first.path, second.path)
    np.testing.assert_array_equal(first.predict(rows.X), second.predict(rows.X))


def test_the_same_seed_gives_the_same_weights_to_the_last_bit():
    rows, Y = drawn()
    state = torch.random.get_rng_state()
    runs = [train(rows, [Member(Y, 4)], Training(body=SMALL), np.random.default_rng(2))[0] for _ in range(2)]
    np.testing.assert_array_equal(runs[0].path, runs[1].path)
    other = train(rows, [Member(Y, 4)], Training(body=SMALL), np.random.default_rng(3))[0]
    assert not np.array_equal(other.w, runs[0].w)
    assert torch.equal(torch.random.get_rng_state(), state), "the global state of torch was moved"


class Permuted(Mlp):
    """A body whose first layer reads the columns in another order, so that its start is the same function of them."""

    order: tuple[int, ...] = ()

    def build(self, d, k, seed):
        body = super().build(d, k, seed)
        with torch.no_grad():
            body[0].weight.copy_(body[0].weight[:, list(self.order)].clone())
        return body


def test_it_runs_on_one_thread_and_leaves_the_others_as_they_were():
    rows, Y = drawn()
    before, seen = torch.get_num_threads(), []
    try:
        torch.set_num_threads(2)
        (run,) = train(
            rows,
            [Member(Y, 1)],
            Training(body=SMALL, epochs=1),
            np.random.default_rng(0),
            lambda done, total: seen.append(torch.get_num_threads()),
        )
        run.module.register_forward_hook(lambda *given: seen.append(torch.get_num_threads()))
        run.predict(rows.X)
        assert seen == [1, 1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_permuting_the_columns_permutes_the_weights():
    rows, Y = drawn()
    order = np.array([3, 0, 5, 1, 4, 2])
    plain = Training(body=SMALL, epochs=15, patience=0)
    turned = Training(
        body=Permuted(hidden=SMALL.hidden, init="torch", order=tuple(order.tolist())), epochs=15, patience=0
    )
    w = train(rows, [Member(Y, 1)], plain, np.random.default_rng(0))[0].w
    moved = train(replace(rows, X=rows.X[:, order]), [Member(Y, 1)], turned, np.random.default_rng(0))[0].w
    np.testing.assert_allclose(moved, w[order], atol=1e-4)
    assert np.ptp(w) > 0.01


def test_rows_held_out_enter_neither_training_nor_its_end():
    rows, Y = drawn()
    held_out = np.setdiff1d(np.arange(len(Y)), np.concatenate([rows.fit, rows.valid]))
    assert len(held_out) == 10
    training = Training(body=SMALL, epochs=30, patience=3, lr=1e-2)
    before = train(rows, [Member(Y, 1)], training, np.random.default_rng(0))[0]
    X, other = rows.X.copy(), Y.copy()
    X[held_out] *= -50
    other[held_out] = other[held_out][:, ::-1]
    after = train(replace(rows, X=X), [Member(other, 1)], training, np.random.default_rng(0))[0]
    np.testing.assert_array_equal(before.path, after.path)
    assert before.kept == after.kept
    X = rows.X.copy()
    X[rows.valid] *= -50
    changed = train(replace(rows, X=X), [Member(Y, 1)], training, np.random.default_rng(0))[0]
    assert changed.kept != before.kept


def test_training_ends_with_patience_and_keeps_the_best_epoch():
    rows, Y = drawn(n=90)
    Y = Y.copy()
    Y[rows.valid] = Y[rows.valid][::-1]  # validation that soon gets worse
    training = Training(body=SMALL, epochs=40, patience=4, lr=2e-2)
    found = train(rows, [Member(Y, 1)], training, np.random.default_rng(5))[0]

    losses = []
    for epochs in range(1, len(found.path)):
        short = training.model_copy(update={"epochs": epochs, "patience": 0})
        run = train(rows, [Member(Y, 1)], short, np.random.default_rng(5))[0]
        losses.append(-(Y[rows.valid] * np.log(run.predict(rows.X[rows.valid]))).sum(axis=1).mean())
    best = int(np.argmin(losses)) + 1
    assert found.kept == best
    assert len(found.path) - 1 == best + 4 < 40
    kept = train(
        rows, [Member(Y, 1)], training.model_copy(update={"epochs": best, "patience": 0}), np.random.default_rng(5)
    )[0]
    np.testing.assert_array_equal(found.w, kept.w)
    np.testing.assert_array_equal(found.predict(rows.X), kept.predict(rows.X))


def test_a_follower_is_kept_at_the_epoch_of_its_leader():
    rows, Y = drawn(n=90)
    noise = np.eye(2)[np.random.default_rng(1).integers(0, 2, len(Y))]
    training = Training(body=SMALL, epochs=30, patience=5, lr=1e-2)
    members = [Member(Y, 1), Member(noise, 2, follows=0), Member(noise, 2)]
    leader, follower, free = train(rows, members, training, np.random.default_rng(0))
    assert follower.kept == leader.kept != free.kept
    np.testing.assert_array_equal(follower.w, follower.path[leader.kept])


def test_keeping_is_by_member():
    one = stack(members=3)
    keep = Keep.of(one, [Member(np.eye(2), i) for i in range(3)])
    keep.see(np.array([1.0, 1.0, 1.0]), 1)
    with torch.no_grad():
        one.s += 1
    keep.see(np.array([0.5, 2.0, 1.0]), 2)
    assert keep.epoch.tolist() == [2, 1, 1]
    keep.restore()
    assert one.s[:, 0].tolist() == [1, 0, 0]


def test_a_loss_that_is_not_finite_stops_its_network_and_no_other():
    rows, Y = drawn()
    broken = Y.copy()
    broken[rows.fit[0]] = np.nan
    training = Training(body=SMALL, epochs=3, patience=0)
    good, bad = train(rows, [Member(Y, 1), Member(broken, 1)], training, np.random.default_rng(0))
    alone = train(rows, [Member(Y, 1), Member(Y, 1)], training, np.random.default_rng(0))[0]
    assert (good.failed, bad.failed) == (False, True)
    np.testing.assert_array_equal(good.path, alone.path)
    ticks = []
    (only,) = train(
        rows, [Member(broken, 1)], training, np.random.default_rng(0), lambda done, total: ticks.append((done, total))
    )
    assert only.failed
    assert ticks == [(1, 3)], "nothing is left to train"


def test_progress_is_told_for_each_epoch():
    rows, Y = drawn()
    ticks = []
    training = Training(body=SMALL, epochs=3, patience=0)
    train(rows, [Member(Y, 1)], training, np.random.default_rng(0), lambda done, total: ticks.append((done, total)))
    assert ticks == [(1, 3), (2, 3), (3, 3)]


def test_the_scores_never_decay():
    optimiser = stack().optimiser(Training(decay=0.1, lr=2e-3, lr_scores=3e-2))
    one = {id(p): group for group in optimiser.param_groups for p in group["params"]}
    assert len(one) == 7
    scores = [
        group for group in optimiser.param_groups if any(p.shape == (1, 6) and p.ndim == 2 for p in group["params"])
    ]
    assert [(group["weight_decay"], group["lr"]) for group in scores] == [(0.0, 3e-2)]
    assert sorted((group["weight_decay"], group["lr"]) for group in optimiser.param_groups) == [
        (0.0, 3e-2),
        (0.1, 2e-3),
    ]


def test_raw_inputs_are_refused_with_the_columns():
    X = np.random.default_rng(0).normal(size=(50, 4))
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    refuse_raw(X)
    for spoil, column in (
        (X * [1, 1, 10, 1], "amount"),
        (X + np.array([0, 0, 0.5, 0]), "amount"),
        (X * 0 + 1.0, "age"),
    ):
        with pytest.raises(DataError, match=rf"not standardised: .*{column}"):
            refuse_raw(spoil, ("age", "income", "amount", "years"))
    with pytest.raises(DataError, match="column 2 "):
        Rows(X * [1, 1, 10, 1], np.arange(4), np.arange(50), np.arange(0))
    refuse_raw(X * [1, 0, 1, 1])  # a level that no training row has
    moved = X.copy()
    moved[40:] += 100
    moved[:40] = (X[:40] - X[:40].mean(axis=0)) / X[:40].std(axis=0)
    Rows(moved, np.arange(4), np.arange(40), np.arange(40, 45))  # only the rows trained on are standardised


def test_scores_follow_units_where_the_inputs_are_not_standardised():
    """Why raw inputs are refused (SA-06): ten times the unit takes weight away, a tenth gives more."""
    one = task(300, 10, 0)
    w = []
    for factor in (1.0, 10.0):
        rows = one.rows
        object.__setattr__(rows, "X", one.X * np.array([factor, 1 / factor, *[1.0] * 8]))
        members = [Member(one.Y, seed) for seed in range(5)]
        runs = train(rows, members, Training(scale="d", patience=0), np.random.default_rng(0))
        w.append(np.mean([run.w for run in runs], axis=0))
    plain, spoilt = w
    assert spoilt[0] < plain[0]
    assert spoilt[1] > plain[1]
