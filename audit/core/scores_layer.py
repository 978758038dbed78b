"""The layer of ScoresActivation and the training of networks with it, several at once as one stack of parameters.

A score s per group of columns; w = softmax(s); column c of a row is multiplied by w of its group (scale `none`, the
published formula) or by w times the number of groups (scale `d`, the identity at the start); a body follows.

torch is imported inside functions: reading a spec must not wait for it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from audit.core.base import Frozen
from audit.core.errors import DataError
from audit.core.network import Mlp, one_thread
from audit.core.table import Floats

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module
    from torch.optim import Optimizer

Ints = NDArray[np.int64]
Scale = Literal["none", "d"]

STANDARD = 1e-3
"""How far the mean of a column of training inputs may be from 0, and its standard deviation from 1."""


class Training(Frozen):
    """How the networks are trained.

    Attributes:
        lr: rate of the body; `lr_scores`: rate of the scores.
        patience: epochs without a better validation loss before training ends, and the weights of the best epoch are
            kept; 0: all epochs are trained and the last weights are kept.
        entropy: lambda, the weight of the entropy of w in the loss.
        decay: weight decay of the body; the scores never have any.
    """

    body: Mlp = Mlp(hidden=(64, 32), init="torch")
    scale: Scale = "none"
    lr: float = Field(default=1e-3, gt=0)
    lr_scores: float = Field(default=1e-2, gt=0)
    epochs: int = Field(default=50, ge=1, le=10_000)
    batch: int = Field(default=64, ge=1)
    patience: int = Field(default=10, ge=0)
    entropy: float = Field(default=0.0, ge=0)
    decay: float = Field(default=0.0, ge=0)


@dataclass(frozen=True)
class Rows:
    """The inputs that all networks of a stack share.

    Attributes:
        X: shape (n, m), standardised on the rows `fit`.
        groups: the group of each column, shape (m,), 0 to G - 1: one score each.
        fit, valid: positions of the rows that are trained on, and of those that end the training.
        names: of the columns, for messages.
    """

    X: Floats
    groups: Ints
    fit: Ints
    valid: Ints
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        refuse_raw(self.X[self.fit], self.names)

    @property
    def size(self) -> int:
        """G, the number of scores."""
        return int(self.groups.max()) + 1


@dataclass(frozen=True)
class Member:
    """One network of a stack.

    Attributes:
        Y: what it learns: probabilities of shape (n, K).
        seed: of the initial weights of the body.
        layer: whether it has the layer; without, it is the plain body.
        follows: the member whose validation loss ends its training; None: its own.
    """

    Y: Floats
    seed: int
    layer: bool = True
    follows: int | None = None


@dataclass(frozen=True)
class Trained:
    """A trained network.

    Attributes:
        path: w after each epoch, the start first, shape (epochs + 1, G); epochs that were not trained are missing.
        kept: the epoch whose weights were kept.
        failed: the loss was not finite.
        module: (n, m) float32 to (n, K) logits, with w folded into its first layer.
    """

    path: Floats
    kept: int
    failed: bool
    module: "Module"

    @property
    def w(self) -> Floats:
        """The scores of the features, shape (G,); they sum to 1."""
        return np.asarray(self.path[self.kept])

    @one_thread()
    def predict(self, X: Floats) -> Floats:
        """Probabilities of shape (n, K)."""
        import torch

        with torch.no_grad():
            logits = self.module(torch.from_numpy(np.asarray(X, dtype=np.float32)))
            return np.asarray(torch.softmax(logits, dim=1).numpy(), dtype=np.float64)


def refuse_raw(X: Floats, names: Sequence[str] = ()) -> None:
    """Raises DataError where training inputs of shape (n, m) are not standardised: w would measure units.

    A column that is 0 throughout is a level that no training row has; it takes no part.
    """
    mean, sd = X.mean(axis=0), X.std(axis=0)
    odd = (np.abs(mean) > STANDARD) | ((np.abs(sd - 1) > STANDARD) & (np.abs(X) > 0).any(axis=0))
    if not odd.any():
        return
    shown = [
        f"{names[c] if len(names) else f'column {c}'} (mean {mean[c]:.3g}, sd {sd[c]:.3g})" for c in odd.nonzero()[0]
    ]
    raise DataError(
        f"the inputs are not standardised: {', '.join(shown[:5])}. Subtract the mean of the training rows and "
        "divide by their standard deviation; otherwise the scores measure units."
    )


def weights(s: "Tensor") -> "Tensor":
    """w, shape (..., G), from scores of the same shape."""
    import torch

    return torch.softmax(s, dim=-1)


def factors(w: "Tensor", groups: "Tensor", scale: Scale) -> "Tensor":
    """What each column is multiplied by, shape (..., m), from w of shape (..., G)."""
    return w[..., groups] * (w.shape[-1] if scale == "d" else 1)


def fold(module: "Module", by: "Tensor") -> "Module":
    """A copy of a body whose first dense layer does the multiplication by `by`, shape (m,): the same function."""
    import copy

    import torch

    folded = copy.deepcopy(module)
    first = next(layer for layer in folded.modules() if isinstance(layer, torch.nn.Linear))
    with torch.no_grad():
        first.weight.mul_(by)
    return folded


class Stack:
    """Networks of one shape, whose parameters are stacked along a first axis of size M.

    Attributes:
        s: scores, shape (M, G), all 0 at the start.
        dense: weight (M, in, out) and bias (M, 1, out) of each dense layer.
    """

    def __init__(self, body: Mlp, m: int, groups: Ints, scale: Scale, members: Sequence[Member]) -> None:
        import torch

        k = members[0].Y.shape[1]
        self.modules = [body.build(m, k, member.seed) for member in members]
        layers = list(zip(*(list(module.children()) for module in self.modules), strict=True))
        linear = [same for same in layers if isinstance(same[0], torch.nn.Linear)]
        self.activations = [same[0] for same in layers if not isinstance(same[0], torch.nn.Linear)]
        self.dense: list[Tensor] = []
        for same in linear:
            weight = torch.stack([layer.weight.T for layer in same])
            bias = torch.stack([layer.bias[None] for layer in same])
            self.dense += [weight.detach().requires_grad_(), bias.detach().requires_grad_()]
        self.groups, self.scale = torch.from_numpy(groups), scale
        self.layer = torch.tensor([member.layer for member in members])
        self.scored = any(member.layer for member in members)
        self.s = torch.zeros(len(members), int(groups.max()) + 1, requires_grad=True)

    @property
    def parameters(self) -> list["Tensor"]:
        """The scores, then the parameters of the bodies."""
        return [self.s, *self.dense]

    def logits(self, x: "Tensor") -> "Tensor":
        """Shape (M, n, K), of rows of shape (n, m) that all members are given."""
        import torch

        h = x.expand(len(self.s), *x.shape)
        if self.scored:
            by = torch.where(self.layer[:, None], factors(weights(self.s), self.groups, self.scale), 1.0)
            h = x * by[:, None]
        for i, (weight, bias) in enumerate(zip(self.dense[::2], self.dense[1::2], strict=True)):
            h = torch.baddbmm(bias, h, weight)
            h = self.activations[i](h) if i < len(self.activations) else h
        return h

    def losses(self, x: "Tensor", Y: "Tensor") -> "Tensor":
        """Cross-entropy of each member, shape (M,), against probabilities of shape (M, n, K)."""
        import torch

        return -(Y * torch.log_softmax(self.logits(x), dim=-1)).sum(dim=-1).mean(dim=-1)

    def entropies(self) -> "Tensor":
        """Entropy of w of each member, shape (M,)."""
        import torch

        return -(weights(self.s) * torch.log_softmax(self.s, dim=-1)).sum(dim=-1)

    def optimiser(self, training: Training) -> "Optimizer":
        """Adam with a group of its own for the scores, which never decay: only their differences mean anything."""
        import torch

        body = {"params": self.dense, "lr": training.lr, "weight_decay": training.decay}
        scores = {"params": [self.s], "lr": training.lr_scores, "weight_decay": 0.0}
        return torch.optim.Adam([body, scores], fused=True)

    def module(self, member: int) -> "Module":
        """A member as a plain body, w folded into its first layer."""
        import torch

        body = self.modules[member]
        linear = [layer for layer in body.children() if isinstance(layer, torch.nn.Linear)]
        with torch.no_grad():
            for layer, (weight, bias) in zip(linear, zip(self.dense[::2], self.dense[1::2], strict=True), strict=True):
                layer.weight.copy_(weight[member].T)
                layer.bias.copy_(bias[member, 0])
            by = factors(weights(self.s[member]), self.groups, self.scale)
        return fold(body, by) if self.layer[member] else body


@dataclass
class Keep:
    """The parameters of the best epoch of each member.

    Attributes:
        best: lowest validation loss so far, shape (M,).
        epoch: when it was reached, shape (M,).
    """

    stack: Stack
    follows: Ints
    best: Floats
    epoch: Ints
    saved: list[Any]

    @classmethod
    def of(cls, stack: Stack, members: Sequence[Member]) -> "Keep":
        """Nothing kept yet but the start."""
        M = len(members)
        follows = np.array([i if member.follows is None else member.follows for i, member in enumerate(members)])
        saved = [p.detach().clone() for p in stack.parameters]
        return cls(stack, follows, np.full(M, np.inf), np.zeros(M, dtype=np.int64), saved)

    def see(self, losses: Floats, epoch: int) -> None:
        """Keeps the members whose leader has a lower validation loss than ever before."""
        import torch

        leading = losses[self.follows]
        better = leading < self.best
        self.best, self.epoch = np.where(better, leading, self.best), np.where(better, epoch, self.epoch)
        chosen = torch.from_numpy(better)
        for saved, now in zip(self.saved, self.stack.parameters, strict=True):
            saved[chosen] = now.detach()[chosen]

    def restore(self) -> None:
        """Puts the kept parameters back into the stack."""
        import torch

        with torch.no_grad():
            for saved, now in zip(self.saved, self.stack.parameters, strict=True):
                now.copy_(saved)


@one_thread()
def train(
    rows: Rows,
    members: Sequence[Member],
    training: Training,
    rng: np.random.Generator,
    tick: Callable[[int, int], None] = lambda done, total: None,
) -> list[Trained]:
    """The members, trained on the same batches in the same order.

    Args:
        rng: orders the rows of each epoch; the initial weights come from the seeds of the members.
        tick: told the epochs done and asked for.

    Raises:
        DataError: the inputs are not standardised.
    """
    import torch

    stack = Stack(training.body, rows.X.shape[1], rows.groups, training.scale, members)
    X = torch.from_numpy(rows.X.astype(np.float32))
    Y = torch.from_numpy(np.stack([member.Y for member in members]).astype(np.float32))
    optimiser, keep = stack.optimiser(training), Keep.of(stack, members)
    paths, failed = [weights(stack.s.detach())], torch.zeros(len(members), dtype=torch.bool)
    for epoch in range(1, training.epochs + 1):
        for batch in _batches(rows.fit, training.batch, rng):
            losses = stack.losses(X[batch], Y[:, batch])
            failed |= ~losses.detach().isfinite()
            if training.entropy:
                losses = losses + training.entropy * stack.entropies()
            optimiser.zero_grad()
            losses.sum().backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        paths.append(weights(stack.s.detach()))
        tick(epoch, training.epochs)
        if training.patience:
            with torch.no_grad():
                seen = stack.losses(X[rows.valid], Y[:, rows.valid])
            keep.see(seen.numpy().astype(np.float64), epoch)
            if epoch - keep.epoch.max() >= training.patience:
                break
        if failed.all():
            break
    last = len(paths) - 1
    if training.patience:
        keep.restore()
    kept = keep.epoch if training.patience else np.full(len(members), last)
    path = torch.stack(paths, dim=1).numpy().astype(np.float64)
    bad = failed | ~torch.stack([p.isfinite().flatten(1).all(dim=1) for p in stack.parameters]).all(dim=0)
    return [Trained(path[i], int(kept[i]), bool(bad[i]), stack.module(i)) for i in range(len(members))]


def _batches(fit: Ints, size: int, rng: np.random.Generator) -> Iterator[Ints]:
    """The rows in a new order, cut into batches; the last may be smaller."""
    order = rng.permutation(fit)
    for start, stop in pairwise([*range(0, len(order), size), len(order)]):
        yield order[start:stop]
