"""Training of a network: conventional, counterfactual (Altmeyer et al.), and on attacks, each with the same updates.

No clock is read here: whoever wants seconds wraps the search.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import Field

from audit.core.base import Frozen
from audit.core.ct_objective import (
    Epoch,
    Objective,
    Tuples,
    Weights,
    bounds,
    epoch_of,
    loss_and_slope,
    project,
    terms,
)
from audit.core.errors import DataError
from audit.core.method import Refusal

if TYPE_CHECKING:
    from torch import Generator, Tensor
    from torch.nn import Module

Tick = Callable[[int, int], None]


class Training(Frozen):
    """How a network is trained.

    Attributes:
        objective: `vanilla` is conventional training; `adversarial` adds the early points of the search; `energy` the
            finished ones; `full` both.
        weights: of the terms; those that the objective leaves out count as 0.
        batch: rows of an update; None: 30, or 1,000 from 10,000 training rows.
        rate: Adam's.
        burn_in: share of the epochs, at the beginning, that are conventional.
        counterfactuals: searched per epoch (nce); None: 1,000 up to 4,000 training rows, else 5,000.
        shuffle: whether the rows change places between epochs; the published loader keeps their order.
        immature: `replace` is the published rule: a search that does not reach its target gives the true row instead.
            `keep` uses its end as if it had (the rule of the later code, choice CT-12).
        give_up: updates with a loss that is not finite, one after another, after which training ends.
    """

    objective: Objective = "full"
    weights: Weights = Weights()
    epochs: int = Field(default=100, ge=1)
    batch: int | None = Field(default=None, ge=1)
    rate: float = Field(default=1e-3, gt=0)
    burn_in: float = Field(default=0.0, ge=0, le=1)
    counterfactuals: int | None = Field(default=None, ge=1)
    shuffle: bool = False
    immature: Literal["replace", "keep"] = "replace"
    give_up: int = Field(default=20, ge=1)

    def batch_for(self, n: int) -> int:
        """Rows of an update where there are n training rows."""
        return self.batch or (30 if n < 10_000 else 1000)

    def counterfactuals_for(self, n: int) -> int:
        """Searches per epoch where there are n training rows: no more than rows, no fewer than batches."""
        wanted = self.counterfactuals or (1000 if n <= 4000 else 5000)
        return min(max(wanted, len(bounds(n, self.batch_for(n)))), n)


class Paths(Protocol):
    """What a search gives for n rows; see `search/gradient/descent.Descent`."""

    @property
    def end(self) -> "Tensor": ...

    @property
    def mature(self) -> "Tensor": ...

    @property
    def steps_done(self) -> "Tensor": ...

    @property
    def nascent(self) -> "Tensor": ...

    @property
    def nan_steps(self) -> "Tensor": ...


Search = Callable[["Module", "Tensor", "Tensor"], Paths]
"""From the network, n rows and n targets to n paths."""


@dataclass(frozen=True)
class Rows:
    """What a network is trained on.

    Attributes:
        x: shape (n, m), float32, scaled; y: shape (n,), classes from 0 to `classes` - 1.
        down, up: shape (m,); whether a column may fall, and rise.
        held_out: x and y of rows whose accuracy is logged, or None.
    """

    x: "Tensor"
    y: "Tensor"
    classes: int
    down: "Tensor"
    up: "Tensor"
    held_out: tuple["Tensor", "Tensor"] | None = None

    def check(self) -> None:
        """Raises DataError where nothing can be trained on these rows."""
        broken = int((~self.x.isfinite()).any(dim=1).sum())
        if broken:
            raise DataError(
                f"{broken} of {len(self.x)} training rows hold NaN or infinity; a network needs finite numbers. "
                "Fill in or leave out these rows."
            )
        if self.classes < 2:
            raise DataError("the training rows have one class; a counterfactual needs two. Check `data.target`.")
        absent = [k for k in range(self.classes) if not bool((self.y == k).any())]
        if absent:
            raise DataError(
                f"no training row has class number {absent[0]} of {self.classes}; its counterfactuals would have no "
                "true row to look like. Add rows of that class, or leave the class out."
            )


@dataclass
class Trained:
    """A trained network and how it went.

    Attributes:
        module: in evaluation mode.
        log: one row per epoch, as a dictionary: epoch, train_loss, div, reg, adv, searched, mature_share, mean_steps,
            at_once (rows at tau before the first step), nan_steps, skipped_updates, accuracy, held_out_accuracy.
            What an epoch does not have is None.
    """

    module: "Module"
    log: list[dict[str, Any]] = field(default_factory=list)

    def total(self, name: str) -> int:
        """The sum of a logged count."""
        return int(sum(row[name] or 0 for row in self.log))

    @property
    def mean_steps(self) -> float:
        """Steps of a search on average, over the epochs that searched; 0 where none did."""
        steps = [row["mean_steps"] for row in self.log if row["mean_steps"] is not None]
        return float(sum(steps) / len(steps)) if steps else 0.0


class _Adam:
    """Updates with Adam; one whose loss is not finite is passed over and counted."""

    def __init__(self, module: "Module", rate: float, give_up: int) -> None:
        import torch

        self.optimiser = torch.optim.Adam(module.parameters(), lr=rate, fused=True)
        self.give_up, self.skipped, self.in_a_row = give_up, 0, 0

    def take(self, loss: "Tensor", f: "Tensor", slope: "Tensor | None" = None) -> float:
        """The loss, after a step along it; `slope` is its gradient by f where no graph was recorded."""
        import torch

        value = float(loss.detach())
        if not -float("inf") < value < float("inf"):
            self.skipped += 1
            self.in_a_row += 1
            if self.in_a_row >= self.give_up:
                raise Refusal(
                    f"training diverged: the loss was not finite in {self.in_a_row} updates in a row. Lower the "
                    "learning rate, or raise `weights.reg`, and see that the features are scaled."
                )
            return value
        self.in_a_row = 0
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss if slope is None else f, slope)
        self.optimiser.step()
        return value


def train(module: "Module", rows: Rows, how: Training, search: Search, seed: int, tick: Tick) -> Trained:
    """The module after training; what it is given is changed.

    The same seed gives the same draws whatever the objective. Weights of dropout follow from the seed as well.

    Raises:
        DataError: the rows cannot be trained on.
        Refusal: the loss stays infinite or undefined.
    """
    import torch

    rows.check()
    generator = torch.Generator(device=rows.x.device).manual_seed(seed)
    adam, done = _Adam(module, how.rate, how.give_up), Trained(module)
    weights, size = how.weights.of(how.objective), how.batch_for(len(rows.x))
    members = [torch.nonzero(rows.y == k)[:, 0] for k in range(rows.classes)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for epoch in range(1, how.epochs + 1):
            before, about = adam.skipped, dict[str, Any]()
            x, y = _in_order(rows, generator, shuffle=how.shuffle)
            if how.objective == "vanilla" or epoch <= round(how.burn_in * how.epochs):
                losses = _conventional(module, adam, _plain(x, y, size), how.weights.cls)
            else:
                module.eval()
                tuples, about = searched(module, rows, members, how, search, generator)
                module.train()
                epoch_rows = epoch_of(x, y, tuples, weights, size)
                losses, answers = _counterfactual(module, adam, epoch_rows)
                about |= terms(answers, epoch_rows, weights)
            module.eval()
            done.log.append(_entry(epoch, losses, about, module, rows) | {"skipped_updates": adam.skipped - before})
            tick(epoch, how.epochs)
    return done


Attack = Callable[["Module", "Tensor", "Tensor", "Generator"], "Tensor"]
"""From the network, rows, labels and a generator to rows near them that it gets wrong."""


def train_on_attacks(
    module: "Module", rows: Rows, how: Training, attack: Attack, epochs: int, seed: int, tick: Tick
) -> Trained:
    """The module after adversarial training: each batch is replaced by an attack on it."""
    import torch

    rows.check()
    generator = torch.Generator(device=rows.x.device).manual_seed(seed)
    adam, done = _Adam(module, how.rate, how.give_up), Trained(module)
    size = how.batch_for(len(rows.x))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for epoch in range(1, epochs + 1):
            before = adam.skipped
            x, y = _in_order(rows, generator, shuffle=how.shuffle)
            moved = ((_attacked(module, attack, a, b, generator), b) for a, b in _plain(x, y, size))
            losses = _conventional(module, adam, moved, how.weights.cls)
            module.eval()
            done.log.append(_entry(epoch, losses, {}, module, rows) | {"skipped_updates": adam.skipped - before})
            tick(epoch, epochs)
    return done


def compute_ratio(done: Trained, how: Training, n: int) -> float:
    """Floating-point operations of a counterfactual training over those of a conventional one with the same epochs.

    Three forward passes' worth for each row of an update, two for each step of a search.
    """
    share = how.counterfactuals_for(n) / n
    return 1 + (1 - round(how.burn_in * how.epochs) / how.epochs) * share * (3 + 2 / 3 * done.mean_steps)


def attack_ratio(steps: int) -> float:
    """The same for training on attacks of so many steps."""
    return (2 * steps + 3) / 3


def _attacked(module: "Module", attack: Attack, x: "Tensor", y: "Tensor", generator: "Generator") -> "Tensor":
    module.eval()
    moved = attack(module, x, y, generator)
    module.train()
    return moved


def _in_order(rows: Rows, generator: "Generator", *, shuffle: bool) -> tuple["Tensor", "Tensor"]:
    import torch

    if not shuffle:
        return rows.x, rows.y
    order = torch.randperm(len(rows.x), generator=generator, device=rows.x.device)
    return rows.x[order], rows.y[order]


def _plain(x: "Tensor", y: "Tensor", size: int) -> Iterable[tuple["Tensor", "Tensor"]]:
    import torch

    return zip(torch.split(x, size), torch.split(y, size), strict=True)


def _conventional(
    module: "Module", adam: _Adam, batches: Iterable[tuple["Tensor", "Tensor"]], weight: float
) -> list[float]:
    """The losses of an epoch of cross-entropy alone."""
    from torch.nn.functional import cross_entropy

    module.train()
    losses = []
    for x, y in batches:
        f = module(x)
        loss = cross_entropy(f, y)
        losses.append(adam.take(loss if weight == 1 else weight * loss, f))
    return losses


def _counterfactual(module: "Module", adam: _Adam, epoch: Epoch) -> tuple[list[float], "Tensor"]:
    """The losses of an epoch of the full objective, and the logits of all its rows."""
    import torch
    from torch.nn.modules.batchnorm import _BatchNorm

    apart = any(isinstance(part, _BatchNorm) for part in module.modules())
    losses, answers = [], []
    for update in epoch.updates:
        kinds = torch.split(update.x, list(update.sizes)) if apart else (update.x,)
        f = torch.cat([module(x) for x in kinds]) if apart else module(update.x)
        loss, slope = loss_and_slope(f, update)
        losses.append(adam.take(loss, f, slope))
        answers.append(f.detach())
    return losses, torch.cat(answers)


def searched(
    module: "Module", rows: Rows, members: list["Tensor"], how: Training, search: Search, generator: "Generator"
) -> tuple[Tuples, dict[str, Any]]:
    """The tuples of an epoch, searched against the module as it is, and what there is to log of the search."""
    import torch

    x, y, device = rows.x, rows.y, rows.x.device
    n = how.counterfactuals_for(len(x))
    chosen = torch.randperm(len(x), generator=generator, device=device)[:n]
    start = x[chosen]
    with torch.no_grad():
        predicted = module(start).argmax(dim=1)
    target = torch.randint(0, rows.classes - 1, (n,), generator=generator, device=device)
    target = target + (target >= predicted)
    counts = torch.tensor([len(m) for m in members], device=device)
    first = torch.cumsum(counts, 0) - counts
    place = (torch.rand(n, generator=generator, device=device) * counts[target]).long()
    x_plus = x[torch.cat(members)[first[target] + torch.minimum(place, counts[target] - 1)]]
    found = search(module, start, target)
    mature = found.mature if how.immature == "replace" else torch.ones_like(found.mature)
    x_ce = torch.where(mature[:, None], found.end, x_plus)
    tuples = Tuples(x_ce, project(x_plus, x_ce, rows.down, rows.up), found.nascent, target, y[chosen], mature)
    steps = found.steps_done
    return tuples, {
        "searched": n,
        "mature_share": float(found.mature.float().mean()),
        "mean_steps": float(steps.float().mean()),
        "at_once": int((steps == 0).sum()),
        "nan_steps": int(found.nan_steps.sum()),
    }


_EMPTY = dict.fromkeys(("div", "reg", "adv", "searched", "mature_share", "mean_steps", "at_once", "nan_steps"))


def _entry(epoch: int, losses: list[float], about: dict[str, Any], module: "Module", rows: Rows) -> dict[str, Any]:
    finite = [loss for loss in losses if -float("inf") < loss < float("inf")]
    mean = sum(finite) / len(finite) if finite else None
    held_out = None if rows.held_out is None else accuracy(module, *rows.held_out)
    own = accuracy(module, rows.x, rows.y)
    return {"epoch": epoch, "train_loss": mean, **_EMPTY, **about, "accuracy": own, "held_out_accuracy": held_out}


def accuracy(module: "Module", x: "Tensor", y: "Tensor") -> float:
    """The share of rows whose largest logit is that of their class."""
    import torch

    with torch.no_grad():
        return float((module(x).argmax(dim=1) == y).float().mean())
