"""Saliency partition: which cells of a feature map carry a prediction, and which swaps of cells would mend it.

A feature map (d, h, w) is P = h w cells of d numbers. Reference: Zhang, Yin, Lee, arXiv 2511.07974, as far as it is
publicly described; what is not is a choice of ours (`methods/saliency_partition` 4, table `choices`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from audit.core.images import softmax
from audit.core.model import Ints, Pixels
from audit.core.table import Floats

if TYPE_CHECKING:
    from audit.core.saliency_layer import Layer

Payoff = Literal["prob", "logit", "margin"]
Logits = Callable[[Pixels], Floats]
"""A head: feature maps (b, d, h, w) to logits (b, C)."""

AGREE = 1e-4
"""How far closed form and head may lie apart, relative to the largest logit where that is above 1."""

ROUNDING = 1e-6
"""How far the answers of a head in float32 may depend on the number of maps that it is given at once, relatively."""

HEAD_BATCH = 64
"""Maps that the head is given at once."""


def cells_of(maps: Pixels) -> NDArray[np.float32]:
    """The cells of feature maps (n, d, h, w), shape (n, P, d)."""
    n, d = maps.shape[:2]
    return np.ascontiguousarray(maps.reshape(n, d, -1).transpose(0, 2, 1))


def maps_of(cells: NDArray[np.float32], size: tuple[int, int]) -> Pixels:
    """Feature maps (n, d, h, w) of cells (n, P, d)."""
    n, _, d = cells.shape
    return np.ascontiguousarray(cells.transpose(0, 2, 1).reshape(n, d, *size))


def dips(size: tuple[int, int], sigma: float) -> Floats:
    """What each dip keeps of each cell, shape (P, P): 1 - exp(-distance^2 / (2 sigma^2)), distance in cells (3.1)."""
    row, column = np.divmod(np.arange(size[0] * size[1]), size[1])
    square = (row[:, None] - row) ** 2 + (column[:, None] - column) ** 2
    return np.asarray(1.0 - np.exp(-square / (2.0 * sigma**2)))


@dataclass(frozen=True)
class Probe:
    """What a head was found to be; nothing of it is believed (3.3).

    Attributes:
        linear: its logits are linear in the mean over cells.
        weight, bias: shapes (C, d) and (C,), where it is linear.
        unread: cells on which no logit depends.
        gap: largest difference of closed form and head on the maps it was probed with; 0 where there is none.
        layer: its first layer, where it begins with one on all cells (`saliency_layer.Layer`).
    """

    linear: bool
    weight: Floats | None
    bias: Floats | None
    unread: tuple[int, ...]
    gap: float = 0.0
    layer: "Layer | None" = None


def probe(head: Logits, maps: Pixels, rng: np.random.Generator) -> Probe:
    """What a head does with feature maps (n, d, h, w) like these."""
    base = maps[:1]
    size = (int(base.shape[2]), int(base.shape[3]))
    spread = float(maps.std()) or 1.0
    unread = _unread(head, base, size, spread, rng)
    if not _pooled(head, base, size, spread, rng):
        return Probe(False, None, None, unread)
    weight, bias = _linear(head, base.shape)
    closed = cells_of(maps).mean(axis=1, dtype=np.float64) @ weight.T + bias
    truth = asked(head, maps)
    gap = float(np.abs(closed - truth).max())
    if gap > AGREE * max(1.0, float(np.abs(truth).max())):
        return Probe(False, None, None, unread)
    return Probe(True, weight, bias, unread, gap)


def _pooled(head: Logits, base: Pixels, size: tuple[int, int], spread: float, rng: np.random.Generator) -> bool:
    """Whether the second difference of the logits vanishes and the order of the cells makes no difference."""
    one, two = (rng.normal(0, spread, base.shape).astype(np.float32) for _ in range(2))
    z, z1, z2, both = (head(m)[0] for m in (base, base + one, base + two, base + one + two))
    small = 1e-3 * max(float(np.abs(z1 - z).max()), float(np.abs(z2 - z).max()), 1e-12)
    shuffled = maps_of(cells_of(base)[:, rng.permutation(size[0] * size[1])], size)
    additive = float(np.abs(both - z1 - z2 + z).max()) <= small
    return additive and float(np.abs(head(shuffled)[0] - z).max()) <= small


def _unread(
    head: Logits, base: Pixels, size: tuple[int, int], spread: float, rng: np.random.Generator
) -> tuple[int, ...]:
    """Cells whose change moves no logit."""
    z, count = head(base)[0], size[0] * size[1]
    moved = np.repeat(cells_of(base), count, axis=0)
    own = np.arange(count)
    moved[own, own] += rng.normal(0, spread, (count, moved.shape[2])).astype(np.float32)
    change = np.abs(asked(head, maps_of(moved, size)) - z).max(axis=1)
    noise = ROUNDING * max(float(np.abs(z).max()), float(change.max()))
    return tuple(int(i) for i in np.flatnonzero(change <= noise))


def _linear(head: Logits, shape: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Weight and bias of a head that is linear in the mean over cells, from its answers to unit maps."""
    bias = head(np.zeros((1, *shape[1:]), dtype=np.float32))[0]
    rows = []
    for start in range(0, shape[1], HEAD_BATCH):
        k = min(HEAD_BATCH, shape[1] - start)
        maps = np.zeros((k, *shape[1:]), dtype=np.float32)
        maps[np.arange(k), start + np.arange(k)] = 1.0
        rows.append(head(maps) - bias)
    return np.concatenate(rows).T, bias


def asked(head: Logits, maps: Pixels) -> Floats:
    """Logits of any number of maps, a batch at a time."""
    return np.concatenate([head(maps[i : i + HEAD_BATCH]) for i in range(0, len(maps), HEAD_BATCH)])


class State(Protocol):
    """A feature map that is being edited, and what the head says of it; logits are float64."""

    def logits(self) -> Floats:
        """Of the map as it is, shape (C,)."""
        ...

    def masked(self, keep: Floats) -> Floats:
        """With cells scaled by each row of `keep`, shape (k, P): logits (k, C)."""
        ...

    def swapped(self, cell: int, candidates: Ints) -> Floats:
        """With one cell replaced by each candidate of the pool: logits (m, C)."""
        ...

    def leads(self, cell: int, candidates: Ints, target: int) -> Floats:
        """With one cell replaced by each candidate, how far the target leads the best other class: shape (m,)."""
        ...

    def swap(self, cell: int, candidate: int) -> None:
        """Replaces a cell for good; candidate -1 puts the original back."""
        ...


def margins(z: Floats, target: int) -> Floats:
    """How far the target leads the best other class, shape (m,), for logits (m, C)."""
    others = z.copy()
    others[:, target] = -np.inf
    return np.asarray(z[:, target] - others.max(axis=1))


class Closed:
    """The state where the head is linear in the mean over cells: every question is a sum of rows (3.2)."""

    def __init__(self, cells: NDArray[np.float32], pool: Floats, found: Probe) -> None:
        """`pool`: the logits that each candidate contributes, shape (m, C), from `contributions`."""
        if found.weight is None or found.bias is None:
            raise ValueError("the head is not linear")
        self.original = contributions(cells, found, len(cells))
        self.parts = self.original.copy()
        self.pool = pool
        self.bias = found.bias

    def logits(self) -> Floats:
        """Of the map as it is, shape (C,)."""
        return np.asarray(self.parts.sum(axis=0) + self.bias)

    def masked(self, keep: Floats) -> Floats:
        """With cells scaled by each row of `keep`: logits (k, C)."""
        return np.asarray(keep @ self.parts + self.bias)

    def swapped(self, cell: int, candidates: Ints) -> Floats:
        """With one cell replaced by each candidate: logits (m, C)."""
        return np.asarray(self.logits() - self.parts[cell] + self.pool[candidates])

    def leads(self, cell: int, candidates: Ints, target: int) -> Floats:
        """As `margins` of `swapped`; classes that no candidate can make the best other one are left out."""
        rest = self.logits() - self.parts[cell]
        low, high = self._span
        least = np.delete(rest + low, target).max()
        rivals = np.flatnonzero(rest + high >= least)
        rivals = rivals[rivals != target]
        others = rest[rivals] + self.pool[np.ix_(candidates, rivals)]
        return np.asarray(rest[target] + self.pool[candidates, target] - others.max(axis=1))

    @cached_property
    def _span(self) -> tuple[Floats, Floats]:
        """The least and the most that a candidate adds to each logit, each (C,)."""
        return self.pool.min(axis=0), self.pool.max(axis=0)

    def swap(self, cell: int, candidate: int) -> None:
        """Replaces a cell; candidate -1 puts the original back."""
        self.parts[cell] = self.original[cell] if candidate < 0 else self.pool[candidate]


def contributions(cells: NDArray[np.float32], found: Probe, count: int) -> Floats:
    """What each of the cells (m, d) adds to the logits of a map of `count` cells, shape (m, C)."""
    if found.weight is None:
        raise ValueError("the head is not linear")
    return np.asarray(cells.astype(np.float64) @ found.weight.T / count)


class Batched:
    """The state for any other head, which is asked for edited maps in batches."""

    def __init__(
        self, cells: NDArray[np.float32], pool: NDArray[np.float32], size: tuple[int, int], head: Logits
    ) -> None:
        """`pool`: the candidates themselves, shape (m, d)."""
        self.original = cells
        self.cells = cells.copy()
        self.pool, self.size, self.head = pool, size, head

    def logits(self) -> Floats:
        """Of the map as it is, shape (C,)."""
        return np.asarray(self.head(maps_of(self.cells[None], self.size))[0])

    def masked(self, keep: Floats) -> Floats:
        """With cells scaled by each row of `keep`: logits (k, C)."""
        return self._asked(len(keep), lambda rows: self.cells[None] * keep[rows][:, :, None].astype(np.float32))

    def swapped(self, cell: int, candidates: Ints) -> Floats:
        """With one cell replaced by each candidate: logits (m, C)."""

        def edited(rows: slice) -> NDArray[np.float32]:
            chosen = candidates[rows]
            maps = np.repeat(self.cells[None], len(chosen), axis=0)
            maps[:, cell] = self.pool[chosen]
            return maps

        return self._asked(len(candidates), edited)

    def leads(self, cell: int, candidates: Ints, target: int) -> Floats:
        """With one cell replaced by each candidate, how far the target leads the best other class: shape (m,)."""
        return margins(self.swapped(cell, candidates), target)

    def swap(self, cell: int, candidate: int) -> None:
        """Replaces a cell; candidate -1 puts the original back."""
        self.cells[cell] = self.original[cell] if candidate < 0 else self.pool[candidate]

    def _asked(self, count: int, made: Callable[[slice], NDArray[np.float32]]) -> Floats:
        blocks = [slice(i, min(i + HEAD_BATCH, count)) for i in range(0, count, HEAD_BATCH)]
        return np.concatenate([self.head(maps_of(made(block), self.size)) for block in blocks])


def payoff(logits: Floats, kind: Payoff, of: int, against: int) -> Floats:
    """What is shared out among the cells, shape (k,), for logits (k, C): of class `of`, or its lead over `against`."""
    if kind == "prob":
        return softmax(logits)[:, of]
    if kind == "logit":
        return np.asarray(logits[:, of])
    return np.asarray(logits[:, of] - logits[:, against])


def dip_values(state: State, keep: Floats, kind: Payoff, of: int, against: int) -> Floats:
    """What is lost when the neighbourhood of each cell is dipped, shape (P,); leave-one-blob-out, no Shapley value."""
    now = payoff(state.logits()[None], kind, of, against)[0]
    return np.asarray(now - payoff(state.masked(keep), kind, of, against))


def exact_values(parts: Floats, kind: Payoff, of: int, against: int) -> Floats:
    """Shapley values of the cells for an additive payoff, with removed cells as zeros: the parts themselves (3.2, 1).

    Raises:
        ValueError: the payoff is a probability, which is not additive.
    """
    if kind == "prob":
        raise ValueError("the closed form holds for additive payoffs only: logit or margin")
    return np.asarray(parts[:, of] if kind == "logit" else parts[:, of] - parts[:, against])


def permutation_values(
    state: State, cells: int, kind: Payoff, of: int, against: int, orders: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Shapley values of the cells by drawn orders, removed cells as zeros, and their standard errors; each (P,)."""
    marginal = np.empty((orders, cells))
    for k in range(orders):
        order = rng.permutation(cells)
        keep = np.zeros((cells + 1, cells))
        for position, cell in enumerate(order):
            keep[position + 1 :, cell] = 1.0
        marginal[k, order] = np.diff(payoff(state.masked(keep), kind, of, against))
    error = marginal.std(axis=0, ddof=1) / np.sqrt(orders) if orders > 1 else np.full(cells, np.nan)
    return marginal.mean(axis=0), error
