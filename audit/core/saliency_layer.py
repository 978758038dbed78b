"""Heads whose first step is one linear layer on all cells: a swap moves its output by a product as small as a cell.

As in VGG-16: h' = h + U_i (g_j - f_i), where U_i is what the layer does with cell i (`methods/saliency_partition`
3.2).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from audit.core.images import ImageScorer
from audit.core.model import FirstLayer, Ints, Pixels
from audit.core.saliency import AGREE, HEAD_BATCH, Probe, cells_of, margins
from audit.core.table import Floats


@dataclass(frozen=True)
class Layer:
    """The first layer of a head, and what comes behind it.

    Attributes:
        weight: what the layer does with each cell, shape (P, k, d).
        bias: shape (k,).
        rest: outputs of the layer (b, k) to logits (b, C).
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    rest: Callable[[NDArray[np.float32]], Floats]

    def parts(self, cells: NDArray[np.float32]) -> NDArray[np.float32]:
        """What each cell of a map (P, d) adds to the output of the layer, shape (P, k)."""
        return np.stack([own @ cell for own, cell in zip(self.weight, cells, strict=True)])


class Layered:
    """The state where the head begins with one linear layer: only what is behind it is computed anew."""

    def __init__(self, cells: NDArray[np.float32], pool: NDArray[np.float32], layer: Layer) -> None:
        """`pool`: the candidates themselves, shape (m, d)."""
        self.original = layer.parts(cells)
        self.parts = self.original.copy()
        self.pool, self.layer = pool, layer

    def logits(self) -> Floats:
        """Of the map as it is, shape (C,)."""
        return np.asarray(self._behind(self.parts.sum(axis=0)[None])[0])

    def masked(self, keep: Floats) -> Floats:
        """With cells scaled by each row of `keep`: logits (k, C)."""
        return self._behind(keep.astype(np.float32) @ self.parts)

    def swapped(self, cell: int, candidates: Ints) -> Floats:
        """With one cell replaced by each candidate: logits (m, C)."""
        rest = self.parts.sum(axis=0) - self.parts[cell]
        return self._behind(rest + self.pool[candidates] @ self.layer.weight[cell].T)

    def leads(self, cell: int, candidates: Ints, target: int) -> Floats:
        """With one cell replaced by each candidate, how far the target leads the best other class: shape (m,)."""
        return margins(self.swapped(cell, candidates), target)

    def swap(self, cell: int, candidate: int) -> None:
        """Replaces a cell; candidate -1 puts the original back."""
        taken = self.original[cell] if candidate < 0 else self.layer.weight[cell] @ self.pool[candidate]
        self.parts[cell] = taken

    def _behind(self, outputs: NDArray[np.float32]) -> Floats:
        h = np.asarray(outputs + self.layer.bias, dtype=np.float32)
        return np.concatenate([self.layer.rest(h[i : i + HEAD_BATCH]) for i in range(0, len(h), HEAD_BATCH)])


def with_layer(found: Probe, scorer: ImageScorer, maps: Pixels) -> Probe:
    """What was found of a head, with its first layer where it has one that feature maps (n, d, h, w) confirm."""
    offered = scorer.model.first_layer() if isinstance(scorer.model, FirstLayer) else None
    count = int(np.prod(maps.shape[1:]))
    if found.linear or offered is None or offered[0].shape[1] != count:
        return found
    weight, bias, behind = offered
    own = np.ascontiguousarray(weight.reshape(len(weight), maps.shape[1], -1).transpose(2, 0, 1))
    layer = Layer(own, bias, lambda h: np.asarray(behind(h), dtype=np.float64))
    truth = scorer.logits(maps)
    closed = np.stack([Layered(cells, cells, layer).logits() for cells in cells_of(maps)])
    gap = float(np.abs(closed - truth).max())
    if gap > AGREE * max(1.0, float(np.abs(truth).max())):
        return found
    return replace(found, layer=layer, gap=gap)
