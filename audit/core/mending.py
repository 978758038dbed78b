"""The search for the swaps of cells that mend a misread picture (`methods/saliency_partition` 3)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from audit.core.base import Frozen
from audit.core.images import softmax
from audit.core.model import Ints
from audit.core.saliency import Closed, Payoff, State, dip_values, exact_values, margins, permutation_values
from audit.core.table import Floats

Status = Literal["converged", "not_converged", "not_misclassified", "no_reference"]


class Mending(Frozen):
    """How cells are chosen and replaced.

    Attributes:
        contribution: what says which cell carries the prediction: `dip` as published, `exact` for a linear pooled
            head and an additive payoff, `permutation` for any.
        payoff: what is shared out: probability or logit of the class, or its lead over the target.
        selection: `paper`: the cell with the largest contribution, then the best of its look-alikes; `joint`: the best
            pair of cell and look-alike.
        sigma: width of a dip, in cells.
        m: look-alikes of a cell that are considered; a fraction: of all candidates.
        max_iter: swaps at most.
        lambda_sim, lambda_cls: weights of unlikeness and of -log p(target) in the choice of a look-alike; in joint
            selection lambda_sim is the weight of the cosine beside the lead of the target.
        reuse_candidates: whether a look-alike may be used twice.
        prune: whether swaps that turn out needless are undone.
        orders: drawn orders of `permutation`.
    """

    contribution: Literal["dip", "exact", "permutation"] = "dip"
    payoff: Payoff = "prob"
    selection: Literal["paper", "joint"] = "paper"
    sigma: float = Field(default=0.8, gt=0)
    m: float = Field(default=10, gt=0)
    max_iter: int = Field(default=100, ge=1)
    lambda_sim: float = Field(default=1.0, ge=0)
    lambda_cls: float = Field(default=1.0, ge=0)
    reuse_candidates: bool = False
    prune: bool = False
    orders: int = Field(default=100, ge=1)

    def alike(self, candidates: int) -> int:
        """How many look-alikes of a cell are considered among so many candidates."""
        wanted = self.m * candidates if self.m < 1 else self.m
        return max(1, min(int(np.ceil(wanted)), candidates))


@dataclass(frozen=True)
class Edit:
    """One swap: `cell` of the picture by `candidate` of the pool, and what the head then says."""

    cell: int
    candidate: int
    cosine: float
    p_class: float
    p_target: float
    margin: float


@dataclass(frozen=True)
class Mended:
    """What became of a picture.

    Attributes:
        edits: the swaps in force, in the order in which they were made.
        logits: after them, shape (C,).
        before, after: contribution of each cell to the wrong class before, and to the target after; each (P,).
        undone: swaps that pruning took back.
    """

    status: Status
    edits: tuple[Edit, ...]
    logits: Floats
    before: Floats
    after: Floats
    undone: int = 0


def cosines(cells: NDArray[np.float32], pool: NDArray[np.float32]) -> Floats:
    """Cosine of every cell (P, d) with every candidate (m, d), shape (P, m); 0 where one of them is zero."""
    one, two = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (cells, pool))
    return np.asarray(one @ two.T, dtype=np.float64)


def alive(likeness: Floats) -> NDArray[np.bool_]:
    """Which candidates are anything at all, shape (m,): cells of zeros are like nothing, and are never swapped in.

    A picture that is itself zeros everywhere is like nothing either, and says nothing of the candidates.
    """
    return np.asarray(likeness.any(axis=0)) if likeness.any() else np.ones(likeness.shape[1], dtype=bool)


def contribution(
    state: State, keep: Floats, settings: Mending, of: int, against: int, rng: np.random.Generator
) -> Floats:
    """The contribution of each cell to class `of`, shape (P,), on the map as it is."""
    if settings.contribution == "dip":
        return dip_values(state, keep, settings.payoff, of, against)
    if settings.contribution == "permutation":
        return permutation_values(state, len(keep), settings.payoff, of, against, settings.orders, rng)[0]
    if not isinstance(state, Closed):
        raise TypeError("exact contributions need a head that is linear after pooling")
    return exact_values(state.parts, settings.payoff, of, against)


def mend(
    state: State,
    likeness: Floats,
    keep: Floats,
    wrong: int,
    target: int,
    settings: Mending,
    rng: np.random.Generator,
) -> Mended:
    """Swaps until the target wins, or nothing is left to swap; then the best state on the way.

    Args:
        likeness: cosine of each original cell with each candidate, shape (P, m).
        keep: what each dip keeps, shape (P, P), from `saliency.dips`.
    """
    search = _Search(state, likeness, keep, wrong, target, settings, rng)
    before = contribution(state, keep, settings, wrong, target, rng)
    search.run()
    undone = search.prune() if settings.prune and search.mended() else 0
    if not search.mended():
        search.back_to_best()
    after = contribution(state, keep, settings, target, wrong, rng)
    status: Status = "converged" if search.mended() else "not_converged"
    return Mended(status, tuple(search.edits), state.logits(), before, after, undone)


@dataclass
class _Search:
    state: State
    likeness: Floats
    keep: Floats
    wrong: int
    target: int
    settings: Mending
    rng: np.random.Generator

    def __post_init__(self) -> None:
        self.edits: list[Edit] = []
        self.free = np.ones(len(self.likeness), dtype=bool)
        self.unused = alive(self.likeness)

    def mended(self) -> bool:
        return int(self.state.logits().argmax()) == self.target

    def run(self) -> None:
        choose = self._paper if self.settings.selection == "paper" else self._joint
        for _ in range(self.settings.max_iter):
            if self.mended() or not self.free.any() or not self.unused.any():
                return
            cell, candidate = choose()
            self.state.swap(cell, candidate)
            self.free[cell] = False
            if not self.settings.reuse_candidates:
                self.unused[candidate] = False
            self.edits.append(self._edit(cell, candidate))

    def _edit(self, cell: int, candidate: int) -> Edit:
        z = self.state.logits()
        p = softmax(z[None])[0]
        likeness = float(self.likeness[cell, candidate])
        return Edit(cell, candidate, likeness, float(p[self.wrong]), float(p[self.target]), _margin(z, self.target))

    def _alike(self, cell: int) -> Ints:
        """The look-alikes of a cell among what may still be used; ties by position."""
        order = np.argsort(np.where(self.unused, -self.likeness[cell], np.inf), kind="stable")
        return order[: min(self.settings.alike(len(self.unused)), int(self.unused.sum()))]

    def _paper(self) -> tuple[int, int]:
        """The cell that carries most of the wrong class, and of its look-alikes the one with the least L_tot."""
        phi = contribution(self.state, self.keep, self.settings, self.wrong, self.target, self.rng)
        cell = int(np.where(self.free, phi, -np.inf).argmax())
        candidates = self._alike(cell)
        z = self.state.swapped(cell, candidates)
        surprise = -np.log(np.maximum(softmax(z)[:, self.target], 1e-300))
        loss = self.settings.lambda_sim * (1 - self.likeness[cell, candidates]) + self.settings.lambda_cls * surprise
        return cell, int(candidates[int(loss.argmin())])

    def _joint(self) -> tuple[int, int]:
        """The pair of cell and look-alike with the largest lead of the target plus likeness."""
        best, pair = -np.inf, (-1, -1)
        for cell in np.flatnonzero(self.free):
            candidates = self._alike(int(cell))
            value = self.state.leads(int(cell), candidates, self.target)
            value = value + self.settings.lambda_sim * self.likeness[cell, candidates]
            at = int(value.argmax())
            if value[at] > best:
                best, pair = float(value[at]), (int(cell), int(candidates[at]))
        return pair

    def prune(self) -> int:
        """Takes back one swap after another while the target still wins; what is left needs each of its swaps."""
        undone, again = 0, True
        while again:
            again = False
            for edit in list(self.edits):
                self.state.swap(edit.cell, -1)
                if self.mended():
                    self.edits.remove(edit)
                    undone, again = undone + 1, True
                else:
                    self.state.swap(edit.cell, edit.candidate)
        return undone

    def back_to_best(self) -> None:
        """The state on the way in which the target was nearest to winning."""
        margins = [edit.margin for edit in self.edits]
        start = self._start()
        kept = int(np.argmax(margins)) + 1 if margins and max(margins) > start else 0
        for edit in self.edits[kept:]:
            self.state.swap(edit.cell, -1)
        self.edits = self.edits[:kept]

    def _start(self) -> float:
        """The lead of the target before any swap."""
        for edit in self.edits:
            self.state.swap(edit.cell, -1)
        lead = _margin(self.state.logits(), self.target)
        for edit in self.edits:
            self.state.swap(edit.cell, edit.candidate)
        return lead


def _margin(z: Floats, target: int) -> float:
    return float(margins(z[None], target)[0])
