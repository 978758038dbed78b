"""The published data sets and settings of counterfactual training, and one seed of each."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from audit.core.ct_attacks import fgsm_rs, pgd
from audit.core.ct_evaluation import (
    Evaluation,
    attributions,
    individuals,
    measure,
    normalised,
    over_energies,
    reduction,
    robustness,
)
from audit.core.ct_objective import Weights
from audit.core.ct_training import (
    Rows,
    Trained,
    Training,
    accuracy,
    attack_ratio,
    compute_ratio,
    train,
    train_on_attacks,
)
from audit.core.network import Mlp
from audit.search.gradient.descent import OneHot, descend

BLOBS = ((2.586902462852178, -0.4518571313436439), (-0.9932211880761272, 4.062596980064029))
EVALUATION = Evaluation(runs=20, rows=250)
SIZES = (3000, 600, 900)
"""Rows for training, validation and test."""


@dataclass(frozen=True)
class Setting:
    """The published settings that differ between data sets."""

    name: str
    tau: float
    reg: float


SETTINGS = {
    "LS": Setting("LS", 0.5, 0.01),
    "Circ": Setting("Circ", 0.5, 0.5),
    "Moon": Setting("Moon", 0.9, 0.25),
    "OL": Setting("OL", 0.5, 0.25),
}


def points(name: str, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A balanced draw of n points and their classes, shuffled."""
    y = np.arange(n) % 2
    if name in {"LS", "OL"}:
        sd = 0.5 if name == "LS" else 2.0
        x = np.array(BLOBS)[y] + rng.normal(0, sd, (n, 2))
    elif name == "Circ":
        angle, radius = rng.uniform(0, 2 * np.pi, n), np.where(y == 1, 1.0, 0.01)
        x = radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)]) + rng.normal(0, 0.15, (n, 2))
    else:
        angle = rng.uniform(0, np.pi, n) * np.where(y == 1, -1, 1)
        shift = np.where(y == 1, 1.0, 0.0)[:, None] * np.array([1.0, 0.3])
        x = np.column_stack([np.cos(angle), np.sin(angle)]) + shift + rng.normal(0, 0.1, (n, 2))
    order = rng.permutation(n)
    return x[order].astype(np.float32), y[order]


@dataclass
class Case:
    """One draw of a data set."""

    setting: Setting
    x: Tensor
    y: Tensor
    held: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    low: Tensor
    high: Tensor
    immutable: int = 0
    groups: tuple[tuple[int, ...], ...] = ()

    @property
    def width(self) -> int:
        """How many inputs a network has."""
        return self.x.shape[1]

    def rows(self, frozen: bool) -> Rows:
        """The training rows, one feature immutable or free."""
        return Rows(self.x, self.y, 2, *self.masks(frozen), held_out=self.held)

    def masks(self, frozen: bool) -> tuple[Tensor, Tensor]:
        """Which columns may fall, and rise."""
        free = torch.ones(self.width, dtype=torch.bool)
        free[self.immutable] = not frozen
        return free, free


def case(name: str, seed: int) -> Case:
    """The rows of a seed."""
    x, y = points(name, sum(SIZES), np.random.default_rng([42, seed]))
    a, b, _ = SIZES
    known = x[: a + b]
    mean, sd = known.mean(axis=0), known.std(axis=0, ddof=1)
    low, high = np.minimum(mean - 2 * sd, known.min(axis=0)), np.maximum(mean + 2 * sd, known.max(axis=0))
    X, Y = torch.from_numpy(x), torch.from_numpy(y)
    return Case(
        SETTINGS[name],
        X[:a].contiguous(),
        Y[:a],
        (X[a : a + b], Y[a : a + b]),
        (X[a + b :], Y[a + b :]),
        torch.from_numpy(low),
        torch.from_numpy(high),
    )


class Timed:
    """The search of training, and the CPU seconds it took."""

    def __init__(self, given: Case, *, frozen: bool = False, rate: float = 0.1, steps: int = 30) -> None:
        self.given, self.frozen, self.rate, self.steps, self.seconds = given, frozen, rate, steps, 0.0

    def __call__(self, module: Any, start: Tensor, target: Tensor) -> Any:
        began = time.process_time()
        down, up = self.given.masks(self.frozen)
        found = descend(
            module,
            start,
            target,
            tau=self.given.setting.tau,
            steps=self.steps,
            rate=self.rate,
            lam1=0.001,
            lam2=5.0,
            down=down,
            up=up,
            low=self.given.low,
            high=self.given.high,
            eps=0.3,
        )
        self.seconds += time.process_time() - began
        return found


def fit(
    given: Case, seed: int, objective: str, *, frozen: bool = False, rate: float = 0.1, **how: Any
) -> tuple[Trained, float, float]:
    """A network, the CPU seconds of its training, and those of its search."""
    search = Timed(given, frozen=frozen, rate=rate)
    settings = Training(objective=objective, **({"weights": Weights(reg=given.setting.reg)} | how))
    module = Mlp().build(given.width, 2, seed)
    began = time.process_time()
    done = train(module, given.rows(frozen), settings, search, seed, lambda a, b: None)
    return done, time.process_time() - began, search.seconds


def judge(
    given: Case,
    module: Any,
    who: Any,
    *,
    tau: float,
    frozen: bool,
    plausible: bool,
    rate: float = 0.1,
    how: Evaluation = EVALUATION,
    mode: OneHot = "relaxed",
) -> pd.DataFrame:
    """The evaluation of 3.7, one row per run."""
    down, up = given.masks(frozen)

    def search(net: Any, start: Tensor, target: Tensor, weight: float) -> Any:
        return descend(
            net,
            start,
            target,
            tau=tau,
            steps=how.steps,
            rate=rate,
            lam1=0.0,
            lam2=weight,
            down=down,
            up=up,
            low=given.low,
            high=given.high,
            groups=given.groups,
            one_hot=mode,
        )

    return over_energies(measure(module, who, how, search, tau, plausible=plausible))


def one_seed(name: str, seed: int, *, rate: float = 0.1, constrained: bool = True, **how: Any) -> dict[str, float]:
    """All that one seed of a data set is judged by; `how` changes the counterfactual training."""
    given = case(name, seed)
    who = individuals(*given.test, 2, EVALUATION, np.random.default_rng([7, seed]))
    plain, seconds, _ = fit(given, seed, "vanilla")
    full, total, searching = fit(given, seed, "full", rate=rate, **how)
    found: dict[str, float] = {
        "seconds_plain": seconds,
        "seconds_ct": total,
        "seconds_search": searching,
        "steps": full.mean_steps,
        "skipped": full.total("skipped_updates"),
        "accuracy_plain": accuracy(plain.module, *given.test),
        "accuracy_ct": accuracy(full.module, *given.test),
    }
    a, b = (
        judge(given, m, who, tau=EVALUATION.tau, frozen=False, plausible=True, rate=rate)
        for m in (plain.module, full.module)
    )
    for column in ("ip", "mmd_5", "mmd_0.5", "mmd_median", "cost", "valid", "strict"):
        found |= {f"{column}_plain": float(a[column].mean()), f"{column}_ct": float(b[column].mean())}
        found[f"{column}_reduction"] = reduction(a[column], b[column])
    if constrained:
        kept, _, _ = fit(given, seed, "full", frozen=True, rate=rate, **how)
        a, b = (
            judge(given, m, who, tau=EVALUATION.tau_cost, frozen=True, plausible=False, rate=rate)
            for m in (plain.module, kept.module)
        )
        found |= {"con_cost_plain": float(a["cost"].mean()), "con_cost_ct": float(b["cost"].mean())}
        found |= {"con_cost_reduction": reduction(a["cost"], b["cost"])}
        found |= {"con_valid_plain": float(a["valid"].mean()), "con_valid_ct": float(b["valid"].mean())}
        found |= attributed(given, plain.module, kept.module, seed)
    return found


def attributed(given: Case, plain: Any, kept: Any, seed: int) -> dict[str, float]:
    """The share of the immutable feature in the attributions, in both normalisations."""
    found = {}
    for name, module in (("plain", plain), ("ct", kept)):
        g = attributions(module, given.test[0], 20, 2500, seed)
        for key, published in (("ig_published", True), ("ig_share", False)):
            found[f"{key}_{name}"] = float(np.median(normalised(g, published=published)[:, given.immutable]))
    return found


def robust(name: str, seed: int) -> pd.DataFrame:
    """Accuracy under attack of conventional, counterfactual and adversarial training at the compute of the second."""
    given, how = case(name, seed), Training()
    plain, _, _ = fit(given, seed, "vanilla")
    full, _, _ = fit(given, seed, "full")
    rows, models = given.rows(False), {"conventional": plain.module, "CT": full.module}
    budget = how.epochs * compute_ratio(full, how, len(given.x))
    for label, attack, each in (("PGD-7", pgd(0.3, 7), attack_ratio(7)), ("FGSM-RS", fgsm_rs(0.3), attack_ratio(1))):
        epochs = max(1, round(budget / each))
        module = Mlp().build(2, 2, seed)
        train_on_attacks(module, rows, how, attack, epochs, seed, lambda a, b: None)
        models[f"{label}, {epochs} epochs"] = module
    frames = [
        robustness(module, *given.test, 2, (0.0, 0.03, 0.1, 0.3), seed).assign(model=label.partition(",")[0])
        for label, module in models.items()
    ]
    return pd.concat(frames, ignore_index=True).assign(data=name, seed=seed)


def pgd_seconds(given: Case, seed: int, steps: int, epochs: int) -> float:
    """CPU seconds of adversarial training with projected gradient descent."""
    module = Mlp().build(2, 2, seed)
    began = time.process_time()
    train_on_attacks(module, given.rows(False), Training(), pgd(0.3, steps), epochs, seed, lambda a, b: None)
    return time.process_time() - began


def seconds(name: str, seed: int) -> dict[str, float]:
    """CPU seconds of four trainings of one network, one after the other, and again in the other order."""
    given = case(name, seed)
    found: dict[str, list[float]] = {"conventional": [], "CT": [], "search": [], "PGD-10": [], "steps": []}
    for turn in range(2):
        for what in ("conventional", "CT", "PGD-10")[:: 1 - 2 * turn]:
            if what == "PGD-10":
                found[what].append(pgd_seconds(given, seed, 10, 100))
                continue
            done, total, searching = fit(given, seed, "full" if what == "CT" else "vanilla")
            found[what].append(total)
            if what == "CT":
                found["search"].append(searching)
                found["steps"].append(done.mean_steps)
    return {what: float(np.mean(times)) for what, times in found.items()}
