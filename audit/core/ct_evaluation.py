"""How plausible, cheap and valid the gradient counterfactuals of a network are; robust accuracy; attributions.

The protocol of Altmeyer et al., arXiv 2601.16205, with all runs searched together. A network and its twin are judged
on the same draws, so that their ratio is not blurred by them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from audit.core.base import Frozen
from audit.core.ct_attacks import Attack, fgsm, pgd
from audit.core.ct_training import Paths
from audit.core.table import Floats

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

Ints = NDArray[np.int64]

STILL = 1e-5
"""A feature that moves by less has not moved."""

PATH_POINTS = 16
"""Points on the straight path of an attribution, in the middle of equal parts."""


class Evaluation(Frozen):
    """How counterfactuals are searched and judged after training.

    Attributes:
        runs, rows: draws of individuals, and individuals in each.
        energy: weights of the energy term that are averaged over (lambda 2).
        steps, rate: of the search.
        tau: probability of the target at which the search stops where plausibility is judged.
        tau_cost: the same where the cost under mutability constraints is judged.
        draws: rows of the target class that a counterfactual is compared with.
        kernel_rows: counterfactuals and rows in the discrepancy of distributions.
        lengths: of its kernel; the median distance of the rows is added.
    """

    runs: int = Field(default=20, ge=2)
    rows: int = Field(default=100, ge=1)
    energy: tuple[float, ...] = (0.1, 0.5, 1.0, 5.0, 10.0)
    steps: int = Field(default=50, ge=1)
    rate: float = Field(default=0.1, gt=0)
    tau: float = Field(default=0.95, gt=0, lt=1)
    tau_cost: float = Field(default=0.5, gt=0, lt=1)
    draws: int = Field(default=1000, ge=1)
    kernel_rows: int = Field(default=100, ge=2)
    lengths: tuple[float, ...] = (5.0, 0.5)


@dataclass(frozen=True)
class Individuals:
    """Who is asked about: labels and targets drawn once, rows by numbers between 0 and 1.

    Attributes:
        x, y: rows to draw from, (n, m) and (n,).
        label, target: shape (rows,); fixed over runs.
        place: shape (runs, rows); which of the rows predicted as `label`, as a share of them.
        mates: by class, shape (runs, draws); true rows of that class.
    """

    x: "Tensor"
    y: "Tensor"
    classes: int
    label: Ints
    target: Ints
    place: Floats
    mates: tuple[Ints, ...]


def individuals(x: "Tensor", y: "Tensor", classes: int, how: Evaluation, rng: np.random.Generator) -> Individuals:
    """The draws of an evaluation, which no network has a part in; labels are drawn equally often."""
    label = rng.permutation(np.arange(how.rows) % classes)
    target = rng.integers(0, classes - 1, how.rows)
    target += target >= label
    place = rng.random((how.runs, how.rows))
    members = [np.flatnonzero(y.cpu().numpy() == k) for k in range(classes)]
    draws = min(how.draws, len(x))
    mates = tuple(
        m[rng.integers(0, len(m), (how.runs, draws))] if len(m) else np.empty((how.runs, 0), int) for m in members
    )
    return Individuals(x, y, classes, label, target, place, mates)


WeightedSearch = Callable[["Module", "Tensor", "Tensor", float], Paths]
"""From the network, rows, targets and the weight of the energy term to paths."""


def measure(
    module: "Module", who: Individuals, how: Evaluation, search: WeightedSearch, tau: float, *, plausible: bool = True
) -> pd.DataFrame:
    """One row per run and energy weight: asked, valid, strict, cost, redundancy, and where `plausible` also ip and mmd.

    A value over valid counterfactuals is NaN where there is none. `asked` counts individuals for whose label the
    network predicts at least one row.
    """
    import torch

    with torch.no_grad():
        predicted = module(who.x).argmax(dim=1).cpu().numpy()
    members = [np.flatnonzero(predicted == k) for k in range(who.classes)]
    counts = np.array([len(m) for m in members])[who.label]
    run, one = np.nonzero(np.broadcast_to(counts > 0, who.place.shape))
    offset = (who.place[run, one] * counts[one]).astype(np.int64)
    row = np.array([members[k][o] for k, o in zip(who.label[one], offset, strict=True)], dtype=np.int64)
    start, target = who.x[torch.from_numpy(row)], torch.from_numpy(who.target[one]).to(who.x.device)
    frames = []
    for weight in how.energy:
        end = search(module, start, target, weight).end
        with torch.no_grad():
            p = torch.softmax(module(end), dim=1)
        valid = (p.argmax(dim=1) == target).cpu().numpy()
        strict = (p.gather(1, target[:, None])[:, 0] >= tau).cpu().numpy()
        moved = (end - start).abs().cpu()
        each = pd.DataFrame(
            {
                "run": run,
                "valid": valid,
                "strict": strict,
                "cost": np.where(valid, moved.sum(dim=1).numpy(), np.nan),
                "redundancy": np.where(valid, (moved < STILL).float().mean(dim=1).numpy(), np.nan),
            }
        )
        if plausible:
            each["ip"] = np.where(valid, _implausibility(end, who, run, who.target[one]), np.nan)
        table = each.groupby("run").mean().reindex(range(how.runs))
        table.insert(0, "asked", each.groupby("run").size().reindex(range(how.runs), fill_value=0))
        if plausible:
            table = table.join(
                _discrepancies(end[torch.from_numpy(valid)], who, how, run[valid], who.target[one][valid])
            )
        frames.append(table.reset_index(names="run").assign(energy=weight))
    return pd.concat(frames, ignore_index=True)


def _implausibility(end: "Tensor", who: Individuals, run: Ints, target: Ints) -> Floats:
    """The mean L1 distance of each counterfactual to the drawn rows of its target class, shape (k,)."""
    import torch

    answer = np.full(len(end), np.nan)
    for r in np.unique(run):
        for k in np.unique(target[run == r]):
            own = np.flatnonzero((run == r) & (target == k))
            mates = who.x[torch.from_numpy(who.mates[k][r])]
            if len(mates):
                answer[own] = torch.cdist(end[torch.from_numpy(own)], mates, p=1).mean(dim=1).cpu().numpy()
    return answer


def _discrepancies(end: "Tensor", who: Individuals, how: Evaluation, run: Ints, target: Ints) -> pd.DataFrame:
    """Unbiased squared MMD of counterfactuals and rows of their class, per run and kernel; the mean over classes."""
    import torch

    names = [*(f"mmd_{length:g}" for length in how.lengths), "mmd_median"]
    table = pd.DataFrame(np.nan, index=range(how.runs), columns=names)
    middles = [_median_distance(who.x[torch.from_numpy(m[0][: how.kernel_rows])]) for m in who.mates]
    for r in range(how.runs):
        found = []
        for k in range(who.classes):
            own = np.flatnonzero((run == r) & (target == k))[: how.kernel_rows]
            mates = who.mates[k][r][: how.kernel_rows]
            if len(own) > 1 and len(mates) > 1:
                a, b = end[torch.from_numpy(own)].double(), who.x[torch.from_numpy(mates)].double()
                found.append(mmd(a, b, (*how.lengths, middles[k])))
        if found:
            table.loc[r] = np.mean(found, axis=0)
    return table


def _median_distance(x: "Tensor") -> float:
    """The median of the distances between rows; 1 where there are none."""
    import torch

    if len(x) < 2:
        return 1.0
    middle = float(torch.pdist(x).median())
    return middle or 1.0


def mmd(a: "Tensor", b: "Tensor", lengths: tuple[float, ...]) -> list[float]:
    """The unbiased squared maximum mean discrepancy of two sets of rows per kernel length, at least 0.

    The kernel is exp(-d^2 / (2 l^2)).

    Reference: Gretton et al., Journal of Machine Learning Research 13 (2012), 723-773, equation 3.
    """
    import torch

    n, k = len(a), len(b)
    own, other, across = (torch.cdist(u, v).square() for u, v in ((a, a), (b, b), (a, b)))
    answers = []
    for length in lengths:
        scale = -0.5 / length**2
        inside = ((own * scale).exp().sum() - n) / (n * (n - 1)) + ((other * scale).exp().sum() - k) / (k * (k - 1))
        answers.append(max(0.0, float(inside - 2 * (across * scale).exp().mean())))
    return answers


def over_energies(table: pd.DataFrame) -> pd.DataFrame:
    """One row per run: means over the energy weights of what is defined."""
    return table.drop(columns="energy").groupby("run").mean()


def reduction(before: "pd.Series[float]", after: "pd.Series[float]") -> float:
    """By how many per cent a quantity falls: 1 less the mean over runs of after / before; NaN if no run has both."""
    fine = before.notna() & after.notna() & (before > 0)
    return float(-(np.mean(after[fine] / before[fine]) - 1) * 100) if fine.any() else float("nan")


def robustness(
    module: "Module", x: "Tensor", y: "Tensor", classes: int, eps: tuple[float, ...], seed: int
) -> pd.DataFrame:
    """Accuracy and macro F1 under two attacks: attack, eps, accuracy, macro_f1."""
    import torch

    rows: list[dict[str, Any]] = []
    for bound in eps:
        attacks: dict[str, Attack] = {"fgsm": fgsm(bound), "pgd40": pgd(bound, 40, rate=0.01)}
        for name, attack in attacks.items():
            generator = torch.Generator(device=x.device).manual_seed(seed)
            with torch.no_grad():
                answer = module(attack(module, x, y, generator)).argmax(dim=1)
            right, f1 = _scores(answer.cpu().numpy(), y.cpu().numpy(), classes)
            rows.append({"attack": name, "eps": bound, "accuracy": right, "macro_f1": f1})
    return pd.DataFrame(rows)


def _scores(answer: Ints, y: Ints, classes: int) -> tuple[float, float]:
    """Accuracy, and the mean over classes of F1; a class that is neither there nor answered counts as 0."""
    f1 = []
    for k in range(classes):
        both, either = ((answer == k) & (y == k)).sum(), (answer == k).sum() + (y == k).sum()
        f1.append(2 * both / either if either else 0.0)
    return float((answer == y).mean()), float(np.mean(f1))


def attributions(module: "Module", x: "Tensor", rounds: int, rows: int, seed: int) -> Floats:
    """Mean integrated gradients of the logit of the predicted class, shape (rounds, m).

    Each round draws rows with replacement and baselines from U(-1, 1).

    Reference: Sundararajan et al., arXiv 1703.01365.
    """
    import torch

    generator = torch.Generator(device=x.device).manual_seed(seed)
    answers = []
    for _ in range(rounds):
        chosen = x[torch.randint(0, len(x), (rows,), generator=generator, device=x.device)]
        base = 2 * torch.rand(chosen.shape, generator=generator, device=x.device) - 1
        with torch.no_grad():
            own = module(chosen).argmax(dim=1)
        total = torch.zeros_like(chosen)
        for i in range(PATH_POINTS):
            point = (base + (i + 0.5) / PATH_POINTS * (chosen - base)).requires_grad_()
            with torch.enable_grad():
                f = module(point)
            slope = torch.nn.functional.one_hot(own, f.shape[1]).to(f.dtype)
            total += torch.autograd.grad(f, point, grad_outputs=slope)[0]
        answers.append((total / PATH_POINTS * (chosen - base)).mean(dim=0))
    return np.asarray(torch.stack(answers).double().cpu().numpy())


def normalised(g: Floats, *, published: bool = True) -> Floats:
    """Attributions of shape (rounds, m) as sizes that can be compared.

    `published`: with two columns |g| / (max g - min g), which is near-singular where both agree; with more, from 0
    for the smallest to 1 for the largest. Otherwise |g| / sum |g|.
    """
    if not published:
        return np.asarray(np.abs(g) / np.maximum(np.abs(g).sum(axis=1, keepdims=True), 1e-300))
    width = np.maximum(g.max(axis=1, keepdims=True) - g.min(axis=1, keepdims=True), 1e-300)
    return np.asarray(np.abs(g) / width if g.shape[1] == 2 else (g - g.min(axis=1, keepdims=True)) / width)
