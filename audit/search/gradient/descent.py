"""Gradient search of counterfactuals: many rows descend together, each until it stops by itself.

The rules are those of Altmeyer et al. (arXiv 2601.16205) as their code runs them: plain gradient descent, the test
before every step, and an energy term that fades. Choices CT-14 and CT-15 of the method are made here.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from audit.core.ct_gradient import Pass, pass_of

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

BLOCK = 1 << 18
"""Values of rows that search together on a processor: what a step reads and writes then stays in its cache."""


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
    limits = _limits(down, up, low, high, tied, start)
    way = pass_of(logits, start.dtype)
    b = offset(steps)
    fades = [lam2 * phi(t + 1, b) for t in range(steps)]
    rules = _Rules(tau, fades, rate, lam1, eps, limits, tied if one_hot == "snap_each_step" else [])
    size = max(1, len(start) if start.device.type != "cpu" else BLOCK // max(1, start.shape[1]))
    blocks = zip(torch.split(start.detach(), size), torch.split(target, size), strict=True)
    parts = [_block(way, some, goals, rules) for some, goals in blocks]
    end, nascent = (torch.cat([getattr(part, name) for part in parts], dim=1) for name in ("x", "nascent"))
    stop, nan_steps = (torch.cat([getattr(part, name) for part in parts]) for name in ("stop", "nan_steps"))
    mature = stop > 0
    if one_hot == "snap_at_end" and tied:
        end = _snap(end, tied)
        p = torch.softmax(way.logits(end), dim=0).gather(0, target[None])[0]
        mature = mature & (p >= tau)
    return Descent(end.T.contiguous(), mature, torch.where(stop < 0, steps, stop), nascent.T.contiguous(), nan_steps)


@dataclass(frozen=True)
class _Limits:
    """What a step must keep to, one row per column of the data.

    Attributes:
        low, high: shape (m, 1); the domain.
        least, most: shape (m, 1); 0 where a step may not go down, or up.
        free: every column may go both ways.
        guarded: a start lies outside the domain, and must not be led back against a direction.
    """

    low: "Tensor"
    high: "Tensor"
    least: "Tensor"
    most: "Tensor"
    free: bool
    guarded: bool


@dataclass(frozen=True)
class _Rules:
    """What `descend` was asked for; `fades` has the weight of the energy at each step, `tied` what each step snaps."""

    tau: float
    fades: Sequence[float]
    rate: float
    lam1: float
    eps: float | None
    limits: _Limits
    tied: Sequence[Sequence[int]]


def _limits(
    down: "Tensor",
    up: "Tensor",
    low: "Tensor",
    high: "Tensor",
    tied: Sequence[Sequence[int]],
    start: "Tensor",
) -> _Limits:
    import torch

    # A column that may not move keeps its value even where the domain does not hold it.
    bound = down | up
    for group in tied:
        bound[group] = False
    low = torch.where(bound, low, -torch.inf).to(start.dtype)
    high = torch.where(bound, high, torch.inf).to(start.dtype)
    least, most = (torch.where(way, inf, 0.0).to(start.dtype) for way, inf in ((down, -torch.inf), (up, torch.inf)))
    free = bool((down & up).all())
    guarded = not free and bool(((start < low) | (start > high)).any())
    return _Limits(low[:, None], high[:, None], least[:, None], most[:, None], free, guarded)


@dataclass
class _Live:
    """Rows that are still looked at; the last dimension counts them, the first of two counts columns.

    Attributes:
        rows: their places in the block.
        change: x - start.
        nascent: the last point near the start before the row went away from it.
        near: whether x is near the start.
        stop: the step before which a row stopped; -1: it goes on.
    """

    rows: "Tensor"
    start: "Tensor"
    target: "Tensor"
    x: "Tensor"
    change: "Tensor"
    nascent: "Tensor"
    near: "Tensor"
    stop: "Tensor"
    nan_steps: "Tensor"

    def take(self, keep: "Tensor") -> "_Live":
        """The rows at these places only."""
        return _Live(**{name: value.index_select(-1, keep) for name, value in vars(self).items()})

    def store(self, live: "_Live") -> None:
        """Writes rows that were taken back to their places."""
        if live is self:
            return
        for name in ("x", "nascent", "near", "stop", "nan_steps"):
            getattr(self, name).index_copy_(-1, live.rows, getattr(live, name))


def _start(start: "Tensor", target: "Tensor", *, near: bool) -> _Live:
    import torch

    n, device = len(start), start.device
    x = start.T.contiguous()
    return _Live(
        rows=torch.arange(n, device=device),
        start=x,
        target=target[None],
        x=x.clone(),
        change=torch.zeros_like(x),
        nascent=x.clone(),
        near=torch.full((n,), near, device=device),
        stop=torch.full((n,), -1, device=device),
        nan_steps=torch.zeros(n, dtype=torch.int64, device=device),
    )


def _block(way: Pass, start: "Tensor", target: "Tensor", rules: _Rules) -> _Live:
    """The rows of one block where they end; `nascent` is what it is in `Descent`."""
    import torch

    whole = live = _start(start, target, near=rules.eps is not None)
    steps = len(rules.fades)
    for t in range(steps + 1):
        f = way.logits(live.x)
        p = f.softmax(0)
        live.stop.masked_fill_((live.stop < 0) & (p.gather(0, live.target)[0] >= rules.tau), t)
        going = live.stop < 0
        count = _counted(going, t)
        if t == steps or not count:
            break
        gradient = way.gradient(_slope(f, p, live.target, rules.fades[t]))
        if rules.lam1:
            gradient.add_(live.change.sign_(), alpha=rules.lam1)
        if count < (1 - COMPACT_SHARE if t else 1) * len(going):
            # At once before the first step, so that a row that stops later is known to lie within the domain.
            left = torch.nonzero(going)[:, 0]
            whole.store(live)
            live, gradient, going = live.take(left), gradient.index_select(1, left), going[left]
        _move(live, gradient, going, rules)
    whole.store(live)
    whole.nascent = torch.where(whole.near, whole.x, whole.nascent)
    return whole


def _counted(going: "Tensor", t: int) -> int:
    """How many rows go on; all of them where to look would make another device wait too often."""
    if t and going.device.type != "cpu" and t % COMPACT_EVERY:
        return len(going)
    return int(going.sum())


def _slope(f: "Tensor", p: "Tensor", target: "Tensor", energy: float) -> "Tensor":
    """The gradient of the objective by the logits, shape (K, k): it is short enough to need no graph."""
    own = f.gather(0, target)
    return p.scatter_add_(0, target, own.mul_(2 * RIDGE * energy).sub_(energy + 1))


def _move(live: _Live, gradient: "Tensor", going: "Tensor", rules: _Rules) -> None:
    """One step of the rows that go on, in the allowed directions and within the domain.

    On a processor, conditions and clamps with one value per row or column are several times slower than products and
    maxima, so they are left to where they are needed.
    """
    import torch

    limits, before = rules.limits, live.x
    delta = gradient.mul_(-rules.rate)
    if delta.device.type == "cpu" and math.isfinite(float(delta.sum())):
        delta.mul_(going)
    else:
        undefined = torch.isnan(delta)
        live.nan_steps += undefined.any(dim=0) & going
        # Filled and not multiplied: 0 times an infinite step is no number.
        delta.masked_fill_(undefined | ~going, 0.0)
    if not limits.free:
        torch.maximum(torch.minimum(delta, limits.most, out=delta), limits.least, out=delta)
    moved = delta.add_(before)
    torch.maximum(torch.minimum(moved, limits.high, out=moved), limits.low, out=moved)
    if limits.guarded:
        moved = torch.where(limits.least < 0, moved, torch.maximum(moved, before))
        moved = torch.where(limits.most > 0, moved, torch.minimum(moved, before))
    live.x = torch.where(going, _snap(moved, rules.tied), before) if rules.tied else moved
    live.change = live.x - live.start
    if rules.eps is not None:
        near = live.change.abs().amax(0) <= rules.eps
        away = live.near & ~near
        if away.device.type != "cpu" or bool(away.any()):
            live.nascent = torch.where(away, before, live.nascent)
        live.near = near


def _snap(x: "Tensor", groups: Sequence[Sequence[int]]) -> "Tensor":
    """The rows, shape (m, k), with each group as the one level that is largest, and a single column as 0 or 1."""
    import torch

    x = x.clone()
    for columns in groups:
        if len(columns) == 1:
            x[columns[0]] = x[columns[0]].round().clamp(0, 1)
        else:
            best = x[list(columns)].argmax(dim=0)
            x[list(columns)] = torch.nn.functional.one_hot(best, len(columns)).T.to(x.dtype)
    return x
