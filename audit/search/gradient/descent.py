"""Gradient search of counterfactuals: many rows descend together, each until it stops by itself.

The rules are those of Altmeyer et al. (arXiv 2601.16205) as their code runs them: plain gradient descent, the test
before every step, and an energy term that fades. Choices CT-14 and CT-15 of the method are made here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

OneHot = Literal["relaxed", "snap_each_step", "snap_at_end"]
"""What becomes of one-hot columns: plain numbers, one level after every step, or one level at the end."""

RIDGE = 1e-3
"""Weight of the squared energy beside the energy."""

DECAY = 0.9
"""Power at which the energy term fades with the steps."""

COMPACT_EVERY = 5
"""Steps between two looks at which rows have stopped, on a device where a look makes the processor wait."""

COMPACT_SHARE = 0.25
"""Share of the rows that must have stopped before the others are moved together: moving costs more than waiting."""


@dataclass(frozen=True)
class Descent:
    """Where n rows have come to.

    Attributes:
        end: shape (n, m); the last point of each path.
        mature: shape (n,); whether the target reached `tau` within the steps. A row that is there before the first
            step has not searched, and is not mature (choice CT-15).
        steps_done: shape (n,).
        nascent: shape (n, m); the last point of the path within `eps` of the start, the start included.
        nan_steps: shape (n,); steps that were undefined in some column and therefore not taken there.
    """

    end: "Tensor"
    mature: "Tensor"
    steps_done: "Tensor"
    nascent: "Tensor"
    nan_steps: "Tensor"


def offset(steps: int) -> int:
    """The number b of the energy's decay for a search of so many steps: round(T / 25), half to even, at least 1.

    Below 13 steps the published rule gives 0, with which the energy term vanishes (choice CT-14).
    """
    return max(1, round(steps / 25))


def phi(step: int, b: int) -> float:
    """The weight of the energy term at a step counted from 1: a (b + step)^-0.9 with a = b / 10."""
    return float(b / 10 * (b + step) ** -DECAY)


@dataclass
class _Live:
    """The rows that are still looked at, and where each stands in the whole."""

    rows: "Tensor"
    start: "Tensor"
    target: "Tensor"
    x: "Tensor"
    nascent: "Tensor"
    steps: "Tensor"
    nan_steps: "Tensor"
    mature: "Tensor"
    stopped: "Tensor"

    def take(self, keep: "Tensor") -> "_Live":
        """The chosen rows only."""
        return _Live(**{name: value[keep] for name, value in vars(self).items()})


def descend(  # noqa: PLR0913 - long: one keyword per quantity of the published search
    logits: Callable[["Tensor"], "Tensor"],
    start: "Tensor",
    target: "Tensor",
    *,
    tau: float,
    steps: int,
    rate: float,
    lam1: float,
    lam2: float,
    down: "Tensor",
    up: "Tensor",
    low: "Tensor",
    high: "Tensor",
    eps: float | None = None,
    groups: Sequence[Sequence[int]] | None = None,
    one_hot: OneHot = "relaxed",
) -> Descent:
    """The ends of the paths from n rows towards their targets; no row depends on another.

    Each step minimises CE(f(x'), target) + lam1 |x' - x|_1 + lam2 phi(t) (E + 0.001 E^2) with E = -f(x')[target].

    Args:
        logits: (k, m) to (k, K); differentiable; its parameters are left alone.
        start: shape (n, m), floating point.
        target: shape (n,), classes.
        tau: probability of the target at which a row stops.
        steps: most steps of a row (T).
        rate: size of a step (eta).
        lam1, lam2: weights of the distance and of the energy; lam2 = 0 is the generic search.
        down, up: shape (m,), bool; whether a column may fall, and rise.
        low, high: shape (m,); domain; infinite where there is none. A start outside it is led back to it, but not
            against the direction in which a column may move.
        eps: bound on the largest change of a nascent point; None: `nascent` is the start.
        groups: columns of each one-hot group; a group of one column is a 0/1 value.
        one_hot: with a snapping mode, `groups` end as one level each and the domain binds the other columns only;
            rows that `snap_at_end` takes below tau are not mature.
    """
    import torch

    tied = [list(g) for g in groups or () if bool((down | up)[list(g)].any())] if one_hot != "relaxed" else []
    # A column that may not move keeps its value even where the domain does not hold it.
    bound = down | up
    for group in tied:
        bound[group] = False
    low = torch.where(bound, low, -torch.inf).to(start.dtype)
    high = torch.where(bound, high, torch.inf).to(start.dtype)
    limits = _Limits(down, up, low, high, free=bool((down & up).all()), rate=rate)
    b = offset(steps)
    whole = _start(start, target, steps)
    live = whole.take(whole.rows)
    for t in range(steps + 1):
        x = live.x.detach().requires_grad_()
        with torch.enable_grad():
            f = logits(x)
        p = torch.softmax(f.detach(), dim=1)
        _judge(live, p, tau, t)
        if t == steps:
            break
        slope = _slope(f, p, live.target, lam2 * phi(t + 1, b))
        (gradient,) = torch.autograd.grad(f, x, grad_outputs=slope)
        gradient.add_(torch.sign(live.x - live.start), alpha=lam1)
        if _crowded(live, t):
            _store(whole, live)
            left = ~live.stopped
            live, gradient = live.take(left), gradient[left]
            if not len(live.rows):
                break
        _move(live, gradient, limits)
        if one_hot == "snap_each_step" and tied:
            live.x = torch.where(live.stopped[:, None], live.x, _snap(live.x, tied))
        _remember(live, eps)
    _store(whole, live)
    if one_hot == "snap_at_end" and tied:
        whole.x = _snap(whole.x, tied)
        with torch.no_grad():
            p = torch.softmax(logits(whole.x), dim=1).gather(1, target[:, None])[:, 0]
        whole.mature = whole.mature & (p >= tau)
    return Descent(whole.x, whole.mature, whole.steps, whole.nascent, whole.nan_steps)


@dataclass(frozen=True)
class _Limits:
    """What a step must keep to; `free`: every column may go both ways."""

    down: "Tensor"
    up: "Tensor"
    low: "Tensor"
    high: "Tensor"
    free: bool
    rate: float


def _start(start: "Tensor", target: "Tensor", steps: int) -> _Live:
    import torch

    n, device = len(start), start.device
    start = start.detach()
    return _Live(
        rows=torch.arange(n, device=device),
        start=start,
        target=target,
        x=start.clone(),
        nascent=start.clone(),
        steps=torch.full((n,), steps, device=device),
        nan_steps=torch.zeros(n, dtype=torch.int64, device=device),
        mature=torch.zeros(n, dtype=torch.bool, device=device),
        stopped=torch.zeros(n, dtype=torch.bool, device=device),
    )


def _judge(live: _Live, p: "Tensor", tau: float, t: int) -> None:
    """Stops the rows whose target has reached tau after t steps."""
    import torch

    reached = (p.gather(1, live.target[:, None])[:, 0] >= tau) & ~live.stopped
    live.steps = torch.where(reached, t, live.steps)
    live.stopped = live.stopped | reached
    if t:
        live.mature = live.mature | reached


def _crowded(live: _Live, t: int) -> bool:
    """Whether the rows that have stopped are to be left behind.

    They are at once before the first step, so that a row that stops later is known to lie within the domain.
    """
    if t and live.x.device.type != "cpu" and t % COMPACT_EVERY:
        return False
    stopped = int(live.stopped.sum())
    return stopped > (COMPACT_SHARE * len(live.rows) if t else 0) or stopped == len(live.rows)


def _slope(f: "Tensor", p: "Tensor", target: "Tensor", energy: float) -> "Tensor":
    """The gradient of the objective by the logits, shape (k, K): it is short enough to need no graph."""
    y = target[:, None]
    own = f.detach().gather(1, y)
    return p.scatter_add(1, y, energy * (2 * RIDGE * own - 1) - 1)


def _move(live: _Live, gradient: "Tensor", limits: _Limits) -> None:
    """One step of the rows that have not stopped, in the allowed directions and within the domain."""
    import torch

    delta = gradient.mul_(-limits.rate)
    undefined = torch.isnan(delta)
    still = undefined | live.stopped[:, None]
    if not limits.free:
        still |= ~torch.where(delta > 0, limits.up, limits.down)
    # Filled and not multiplied: 0 times an infinite step is no number.
    moved = (live.x + delta.masked_fill_(still, 0.0)).clamp_(limits.low, limits.high)
    if not limits.free:
        # A start outside the domain is not led back to it against its direction.
        moved = torch.where(limits.down, moved, torch.maximum(moved, live.x))
        moved = torch.where(limits.up, moved, torch.minimum(moved, live.x))
    live.x = moved
    live.nan_steps = live.nan_steps + (undefined.any(dim=1) & ~live.stopped)


def _remember(live: _Live, eps: float | None) -> None:
    """Notes the present point of the rows that are still near their start; a row that has stopped repeats itself."""
    import torch

    if eps is not None:
        near = (live.x - live.start).abs().amax(dim=1) <= eps
        live.nascent = torch.where(near[:, None], live.x, live.nascent)


def _snap(x: "Tensor", groups: Sequence[Sequence[int]]) -> "Tensor":
    """The rows with each group as the one level that is largest, and a single column as 0 or 1."""
    import torch

    x = x.clone()
    for columns in groups:
        if len(columns) == 1:
            x[:, columns[0]] = x[:, columns[0]].round().clamp(0, 1)
        else:
            best = x[:, list(columns)].argmax(dim=1)
            x[:, list(columns)] = torch.nn.functional.one_hot(best, len(columns)).to(x.dtype)
    return x


def _store(whole: _Live, live: _Live) -> None:
    """Writes the live rows back to their places."""
    for name in ("x", "nascent", "steps", "nan_steps", "mature"):
        getattr(whole, name)[live.rows] = getattr(live, name)
