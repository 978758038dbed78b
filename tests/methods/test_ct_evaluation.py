"""The measures of counterfactual training against plain programs."""

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch", reason="torch is an optional package")

from audit.core.ct_evaluation import (  # noqa: E402 - after the check that torch is there
    Evaluation,
    attributions,
    individuals,
    measure,
    mmd,
    normalised,
    reduction,
    robustness,
)
from audit.search.gradient.descent import descend  # noqa: E402

HOW = Evaluation(runs=3, rows=12, energy=(0.5, 5.0), steps=14, draws=15, kernel_rows=4, lengths=(1.0,))


def linear(x: Any) -> Any:
    """Class 1 where the first column is above 0."""
    return x[:, :1] * torch.tensor([-0.8, 0.8])


def data(n: int = 40) -> tuple[Any, Any]:
    x = torch.randn(n, 2, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] + 0.3 * x[:, 1] > 0).long()
    return x, y


def search(module: Any, start: Any, target: Any, energy: float) -> Any:
    free, wide = torch.tensor([True, True]), torch.full((2,), 2.0)
    return descend(
        module,
        start,
        target,
        tau=0.7,
        steps=HOW.steps,
        rate=0.1,
        lam1=0.0,
        lam2=energy,
        down=free,
        up=free,
        low=-wide,
        high=wide,
    )


def test_measures_are_those_of_a_plain_program() -> None:
    x, y = data()
    who = individuals(x, y, 2, HOW, np.random.default_rng(1))
    table = measure(linear, who, HOW, search, 0.7)
    assert list(table["energy"].unique()) == [0.5, 5.0]
    assert 0 < table["strict"].mean() < table["valid"].mean() < 1, "the case tells them apart"
    predicted = linear(x).argmax(dim=1).numpy()
    for energy, run in itertools.product(HOW.energy, range(HOW.runs)):
        valid, strict, cost, ip, ends = [], [], [], [], []
        for i in range(HOW.rows):
            rows = np.flatnonzero(predicted == who.label[i])
            start = x[rows[int(who.place[run, i] * len(rows))]][None]
            target = torch.tensor([int(who.target[i])])
            end = search(linear, start, target, energy).end
            p = torch.softmax(linear(end), 1)[0]
            valid.append(int(p.argmax()) == int(target))
            strict.append(float(p[target]) >= 0.7)
            if valid[-1]:
                cost.append(float((end - start).abs().sum()))
                mates = x[torch.from_numpy(who.mates[int(target)][run])]
                ip.append(np.mean([float((end[0] - mate).abs().sum()) for mate in mates]))
                ends.append((int(target), end[0].numpy()))
        row = table[(table["run"] == run) & (table["energy"] == energy)].iloc[0]
        assert row["asked"] == HOW.rows
        assert row["valid"] == pytest.approx(np.mean(valid))
        assert row["strict"] == pytest.approx(np.mean(strict))
        assert row["cost"] == pytest.approx(np.mean(cost), abs=1e-5)
        assert row["ip"] == pytest.approx(np.mean(ip), abs=1e-5)
        values = []
        for k in (0, 1):
            a = np.array([e for t, e in ends if t == k])[:4]
            values.append(plain_mmd(a, x[torch.from_numpy(who.mates[k][run])][:4].numpy(), 1.0))
        assert row["mmd_1"] == pytest.approx(np.mean(values), abs=1e-6)


def plain_mmd(a: np.ndarray, b: np.ndarray, length: float) -> float:
    def k(u: np.ndarray, v: np.ndarray) -> float:
        return float(np.exp(-((u - v) ** 2).sum() / (2 * length**2)))

    own = np.mean([k(u, v) for u, v in itertools.permutations(a, 2)])
    other = np.mean([k(u, v) for u, v in itertools.permutations(b, 2)])
    return max(0.0, own + other - 2 * np.mean([k(u, v) for u in a for v in b]))


def test_discrepancy() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(6, 2)), rng.normal(2, 1, size=(5, 2))
    found = mmd(torch.from_numpy(a), torch.from_numpy(b), (0.5, 5.0))
    assert found == pytest.approx([plain_mmd(a, b, 0.5), plain_mmd(a, b, 5.0)], abs=1e-12)
    assert mmd(torch.from_numpy(a), torch.from_numpy(a + 1e-9), (5.0,)) == [0.0], "never below 0"


def test_draws_are_fixed_over_runs_and_balanced() -> None:
    x, y = data()
    who = individuals(x, y, 2, HOW, np.random.default_rng(1))
    assert np.bincount(who.label).tolist() == [6, 6]
    assert (who.target != who.label).all()
    assert all((y.numpy()[m] == k).all() for k, m in enumerate(who.mates))


def test_a_label_that_is_never_predicted_is_not_asked_about() -> None:
    x, y = data()
    who = individuals(x, y, 2, HOW, np.random.default_rng(1))
    always = measure(lambda v: v * 0 + torch.tensor([0.0, 1.0]), who, HOW, search, 0.7)
    assert (always["asked"] == 6).all()
    assert (always["valid"] == 0).all()
    assert always["cost"].isna().all()
    assert always["ip"].isna().all()


def test_reduction_is_a_mean_of_ratios() -> None:
    before, after = pd.Series([2.0, 4.0, np.nan, 0.0]), pd.Series([1.0, 3.0, 1.0, 1.0])
    assert reduction(before, after) == pytest.approx(100 * (1 - (0.5 + 0.75) / 2))
    assert np.isnan(reduction(pd.Series([np.nan]), pd.Series([1.0])))


def test_robust_accuracy_of_a_linear_model_is_a_count_of_margins() -> None:
    x, y = data(200)
    table = robustness(linear, x, y, 2, (0.0, 0.1), seed=0)
    side = np.where(y.numpy() == 1, 1, -1) * x[:, 0].numpy()
    clean, hurt = (side > 0).mean(), (side > 0.1).mean()
    found = table.set_index(["attack", "eps"])["accuracy"]
    assert found["fgsm", 0.0] == pytest.approx(clean)
    assert found["fgsm", 0.1] == pytest.approx(hurt)
    # 40 steps of .01 from anywhere in the box reach its side
    assert found["pgd40", 0.1] == pytest.approx(hurt)


def test_attributions_of_a_linear_model_are_exact() -> None:
    def one_way(x: Any) -> Any:
        return x @ torch.tensor([[3.0, 0.0], [-1.0, 0.0]]) + torch.tensor([1e3, 0.0])

    x, _ = data(300)
    g = attributions(one_way, x, rounds=40, rows=400, seed=0)
    middle = x.mean(dim=0).numpy()
    # The gradient of class 0 is (3, -1); baselines are 0 on average.
    assert g.mean(axis=0) == pytest.approx([3 * middle[0], -middle[1]], abs=0.05)
    share = normalised(np.array([[3.0, -1.0]]), published=False)
    assert share.tolist() == [[0.75, 0.25]]
    assert normalised(np.array([[3.0, -1.0]])).tolist() == [[0.75, 0.25]]
    assert normalised(np.array([[3.0, -1.0, 1.0]])).tolist() == [[1.0, 0.0, 0.5]]
