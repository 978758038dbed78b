"""Maps over the cells of a picture: what is dominant, what is kept, which parts there are, and how good a map is."""

import numpy as np
from numpy.typing import NDArray

from audit.core.images import softmax
from audit.core.model import Ints
from audit.core.saliency import State
from audit.core.table import Floats

THRESHOLD = 0.5
"""From here on a cell belongs to a region (choice SP-10)."""


def positive(phi: Floats) -> Floats:
    """The positive part of a map, divided by its maximum; zeros where nothing is positive."""
    above = np.maximum(phi, 0.0)
    top = float(above.max(initial=0.0))
    return above / top if top > 0 else above


def invariant_and_dominant(before: Floats, after: Floats) -> tuple[Floats, Floats]:
    """dM_Inv = min(M0, M1) and dM_Dom = relu(M1 - M0), each (P,) (choice SP-10).

    Args:
        before: contributions to the wrong class on the picture as it is, shape (P,).
        after: contributions to the target on the mended one.
    """
    first, second = positive(before), positive(after)
    return np.minimum(first, second), np.maximum(second - first, 0.0)


def parts(phi: Floats, size: tuple[int, int], sigma: float) -> Ints:
    """The part of each cell, shape (P,): 0 none, else 1, 2, … by falling peak.

    Peaks of the positive part over the 8 neighbours are seeds; every other cell with a positive contribution joins the
    seed with the largest exp(-distance^2 / (2 sigma^2)) times its contribution; cells of one seed that touch along a
    side are a part (3.1, Product).
    """
    grid = np.maximum(phi, 0.0).reshape(size)
    padded = np.pad(grid, 1, constant_values=-np.inf)
    around = [
        padded[1 + i : 1 + i + size[0], 1 + j : 1 + j + size[1]] for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j
    ]
    seeds = np.flatnonzero(((grid > 0) & (grid >= np.max(around, axis=0))).ravel())
    if not len(seeds):
        return np.zeros(grid.size, dtype=np.int64)
    row, column = np.divmod(np.arange(grid.size), size[1])
    square = (row[:, None] - row[seeds]) ** 2 + (column[:, None] - column[seeds]) ** 2
    owner = (np.exp(-square / (2 * sigma**2)) * grid.ravel()[seeds]).argmax(axis=1)
    owner[seeds] = np.arange(len(seeds))
    piece = _pieces(np.where(grid.ravel() > 0, owner, -1).reshape(size)).ravel()
    names = np.unique(piece[piece >= 0])
    peak = np.array([grid.ravel()[piece == name].max() for name in names])
    answer = np.zeros(grid.size, dtype=np.int64)
    for number, name in enumerate(names[np.argsort(-peak, kind="stable")]):
        answer[piece == name] = number + 1
    return answer


def _pieces(owner: Ints) -> Ints:
    """A number for each connected piece of cells of one owner, the position of its first cell; -1 stays."""
    piece = np.where(owner >= 0, np.arange(owner.size).reshape(owner.shape), -1)
    while True:
        before = piece.copy()
        for one, other in ((slice(None, -1), slice(1, None)), (slice(1, None), slice(None, -1))):
            for axis in (0, 1):
                here = (one, slice(None)) if axis == 0 else (slice(None), one)
                there = (other, slice(None)) if axis == 0 else (slice(None), other)
                joined = (owner[here] == owner[there]) & (owner[here] >= 0)
                piece[here] = np.where(joined, np.minimum(piece[here], piece[there]), piece[here])
        if (piece == before).all():
            return piece


def compactness(phi: Floats) -> float:
    """The area of a map at or above half of its maximum, in percent; our own measure, not the paper's xi (SP-11)."""
    return float(100.0 * (positive(phi) >= THRESHOLD).mean())


def insertion_deletion(state: State, order: Ints, of: int, against: int) -> tuple[Floats, Floats]:
    """Areas under the insertion and the deletion curve over cells, each as [p of class, p of class less p of other].

    Deletion takes cells away, the first of `order` first; insertion adds them to nothing in the same order. A cell that
    is not there is zero.
    """
    count = len(order)
    kept = np.ones((count + 1, count))
    for position, cell in enumerate(order):
        kept[position + 1 :, cell] = 0.0
    both = [softmax(state.masked(mask)) for mask in (1.0 - kept, kept)]
    insertion, deletion = (np.array([_area(p[:, of]), _area(p[:, of] - p[:, against])], dtype=np.float64) for p in both)
    return insertion, deletion


def _area(curve: Floats) -> float:
    """Trapezoid over equal steps from 0 to 1."""
    return float((curve[:-1] + curve[1:]).sum() / (2 * (len(curve) - 1)))


def upsampled(cells: Floats, size: tuple[int, int], height: int, width: int) -> NDArray[np.float64]:
    """A map over cells, drawn over a picture by linear interpolation between the centres of the cells."""
    grid = cells.reshape(size)
    for axis, length in ((0, height), (1, width)):
        count = size[axis]
        at = np.clip((np.arange(length) + 0.5) * count / length - 0.5, 0, count - 1)
        low = np.floor(at).astype(np.int64)
        high = np.minimum(low + 1, count - 1)
        share = (at - low).reshape((-1, 1) if axis == 0 else (1, -1))
        grid = grid.take(low, axis=axis) * (1 - share) + grid.take(high, axis=axis) * share
    return np.asarray(grid)
