"""The objective of counterfactual training: one update's rows, their loss, and its gradient by the logits.

Altmeyer et al., arXiv 2601.16205. With E(x, y) = -f(x)[y], the raw logit of y, an update of b rows and q tuples has

    L = cls * CE(f(x), y) + div * mean_q(f(x_CE)[y+] - f(x+)[y+])
      + reg * mean_q(E(x+, y+)^2 + E(x_CE, y+)^2) + adv * mean_q(CE(f(x_AE), y_AE))

Every term is, row by row, a weight of the cross-entropy, a weight of the row's own logit or a weight of its square. So
one pass through the network serves all, and the gradient by the logits is written down instead of recorded.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from audit.core.base import Frozen

if TYPE_CHECKING:
    from torch import Tensor

Objective = Literal["vanilla", "adversarial", "energy", "full"]


class Weights(Frozen):
    """The weights of the four terms, in the order of the published code."""

    cls: float = Field(default=1.0, gt=0)
    div: float = Field(default=0.5, ge=0)
    reg: float = Field(default=0.1, ge=0)
    adv: float = Field(default=0.25, ge=0)

    def of(self, objective: Objective) -> "Weights":
        """The same with 0 for what an objective leaves out."""
        energy, adversarial = objective in {"energy", "full"}, objective in {"adversarial", "full"}
        return Weights(
            cls=self.cls,
            div=self.div if energy else 0.0,
            reg=self.reg if energy else 0.0,
            adv=self.adv if adversarial else 0.0,
        )


@dataclass(frozen=True)
class Tuples:
    """What the search of an epoch gives to its updates: q rows each; no gradient reaches any of them.

    Attributes:
        x_ce, x_plus, x_ae: counterfactuals, true rows of the target class, nascent rows; shape (q, m).
        y_plus: the target of x_ce and x_plus; shape (q,).
        y_ae: the true label of the row that the search began at; shape (q,).
        mature: shape (q,); where it is False, x_ce is x_plus, and the two cancel exactly.
    """

    x_ce: "Tensor"
    x_plus: "Tensor"
    x_ae: "Tensor"
    y_plus: "Tensor"
    y_ae: "Tensor"
    mature: "Tensor"


def project(x_plus: "Tensor", x_ce: "Tensor", down: "Tensor", up: "Tensor") -> "Tensor":
    """The true rows, shape (q, m), as far as a person could have come there from the counterfactual's start.

    A column that may not move takes the counterfactual's value, one that may only rise the larger of the two, one
    that may only fall the smaller.
    """
    import torch

    x = torch.where(up & ~down, torch.maximum(x_plus, x_ce), x_plus)
    x = torch.where(down & ~up, torch.minimum(x_plus, x_ce), x)
    return torch.where(up | down, x, x_ce)


@dataclass(frozen=True)
class Update:
    """The rows of one update.

    Attributes:
        x: shape (r, m); y: shape (r, 1).
        ce, linear, square: shape (r, 1); weights of the cross-entropy, of the row's own logit and of its square.
        sizes: rows of each kind, which a network with batch normalisation must see apart.
    """

    x: "Tensor"
    y: "Tensor"
    ce: "Tensor"
    linear: "Tensor"
    square: "Tensor"
    sizes: tuple[int, ...] = field(default=(), kw_only=True)


def loss_and_slope(f: "Tensor", update: Update) -> tuple["Tensor", "Tensor"]:
    """The loss of an update, and its gradient by the logits f of shape (r, K)."""
    log_p = f.detach().log_softmax(dim=1)
    own = f.detach().gather(1, update.y)
    squared = update.square * own
    slope = log_p.exp().mul_(update.ce).scatter_add_(1, update.y, update.linear + 2 * squared - update.ce)
    loss = ((update.linear + squared) * own - update.ce * log_p.gather(1, update.y)).sum()
    return loss, slope


def bounds(n: int, size: int) -> list[tuple[int, int]]:
    """The half-open ranges of batches of `size` rows; the last may be smaller."""
    return [(start, min(start + size, n)) for start in range(0, n, size)]


def shares(q: int, batches: int) -> list[tuple[int, int]]:
    """The half-open ranges of q tuples over the batches, in order, as even as can be."""
    ends = [q * (i + 1) // batches for i in range(batches)]
    return list(zip([0, *ends[:-1]], ends, strict=True))


@dataclass(frozen=True)
class Epoch:
    """The updates of an epoch, and all their rows at once.

    Attributes:
        early: shape (r, 1); rows that are nascent points.
    """

    updates: list[Update]
    whole: Update
    early: "Tensor"


def epoch_of(x: "Tensor", y: "Tensor", tuples: Tuples, weights: Weights, size: int) -> Epoch:
    """Batches of rows in their order, each with its share of the tuples.

    Rows whose weights are 0 under this objective are left out; a batch without tuples has its rows alone.
    """
    import torch

    q, batches = len(tuples.y_plus), bounds(len(x), size)
    parts = shares(q, len(batches))
    sizes, chosen = _order(len(x), q, weights, batches, parts)
    own = torch.cat([x.new_full((stop - start,), 1 / (stop - start)) for start, stop in batches])
    each = torch.cat([x.new_full((b - a,), 1 / max(b - a, 1)) for a, b in parts])
    none, zero = torch.zeros_like(each), torch.zeros_like(own)
    pull = weights.div * each * tuples.mature
    columns = (
        torch.cat([y, tuples.y_ae, tuples.y_plus, tuples.y_plus]),
        torch.cat([weights.cls * own, weights.adv * each, none, none]),
        torch.cat([zero, none, pull, -pull]),
        torch.cat([zero, none, weights.reg * each, weights.reg * each]),
    )
    at = torch.tensor(chosen, device=x.device)
    point = torch.cat([x, tuples.x_ae, tuples.x_ce, tuples.x_plus])[at]
    whole = Update(point, *(column[at, None] for column in columns))
    early = ((at >= len(x)) & (at < len(x) + q))[:, None]
    return Epoch(_cut(whole, sizes), whole, early)


def _order(
    n: int, q: int, weights: Weights, batches: Sequence[tuple[int, int]], parts: Sequence[tuple[int, int]]
) -> tuple[list[tuple[int, ...]], list[int]]:
    """Rows of each kind per update, and the places of all rows in the n rows, nascent, finished and true ones."""
    adversarial, energy = weights.adv > 0, weights.div > 0 or weights.reg > 0
    sizes: list[tuple[int, ...]] = []
    chosen: list[int] = []
    for (start, stop), (a, b) in zip(batches, parts, strict=True):
        kinds = [range(start, stop)]
        kinds += [range(n + a, n + b)] if adversarial else []
        kinds += [range(n + k * q + a, n + k * q + b) for k in (1, 2)] if energy else []
        sizes.append(tuple(map(len, kinds)))
        for kind in kinds:
            chosen += kind
    return sizes, chosen


def _cut(whole: Update, sizes: Sequence[tuple[int, ...]]) -> list[Update]:
    """The rows of an epoch as its updates, which are views."""
    import torch

    rows = [sum(kinds) for kinds in sizes]
    x, y, ce, linear, square = (
        torch.split(column, rows) for column in (whole.x, whole.y, whole.ce, whole.linear, whole.square)
    )
    return [Update(x[i], y[i], ce[i], linear[i], square[i], sizes=kinds) for i, kinds in enumerate(sizes)]


def terms(f: "Tensor", epoch: Epoch, weights: Weights) -> dict[str, float | None]:
    """The terms div, reg and adv of an epoch without their weights, on average over its updates; None: not asked for.

    Args:
        f: the logits of all rows of the epoch, shape (r, K), each as it was in its update.
    """
    whole, count = epoch.whole, len(epoch.updates)
    own = f.gather(1, whole.y)
    late = -(whole.ce * epoch.early * f.log_softmax(dim=1).gather(1, whole.y)).sum()
    sums = {"div": (whole.linear * own).sum(), "reg": (whole.square * own * own).sum(), "adv": late}
    return {
        name: float(value) / getattr(weights, name) / count if getattr(weights, name) else None
        for name, value in sums.items()
    }
