"""Random changes of a row, labelled by the model: those that flip its outcome, and as many like them that keep it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from audit.core.counterfactuals import changed
from audit.core.model import Decision, Ints, Scorer
from audit.core.policy import Policy
from audit.core.table import Floats

Bools = NDArray[np.bool_]

LISTED = 1000
"""A feature with more allowed values than this is drawn from its interval and moved to the nearest of them."""

ROUND = 4000
"""Rows that are drawn at most for one instance before the model is asked."""

TOGETHER = 64
"""Instances that are drawn for together, so that memory stays flat."""


class Span(NamedTuple):
    """What a feature may become from its present value: one of `listed`, or anything from low to high."""

    low: float
    high: float
    listed: Floats | None


class Pool(NamedTuple):
    """Rows around one instance, ordered by how many features they change.

    Attributes:
        plus: shape (n, d), rows that flip.
        minus: shape (k, d), rows that keep the outcome.
        plus_sizes, minus_sizes: shape (n,) and (k,); features that each of them changes.
        movable: positions of the features that could be changed.
    """

    plus: Floats
    minus: Floats
    plus_sizes: Ints
    minus_sizes: Ints
    movable: Ints

    @property
    def mismatched(self) -> int:
        """Rows that keep the outcome and stand in for others of another size, or are lacking."""
        top = int(max(self.plus_sizes.max(initial=0), self.minus_sizes.max(initial=0))) + 1
        histograms = [np.bincount(sizes, minlength=top) for sizes in (self.plus_sizes, self.minus_sizes)]
        return int(np.maximum(histograms[0] - histograms[1], 0).sum())


class Law(NamedTuple):
    """How much is drawn.

    Attributes:
        wanted: rows of each label wanted for an instance, over all repeats.
        draws: rows for each number of changed features after which a label that has not shown is not waited for.
        most: rows for each number of changed features at most.
        towards: the outcome that a flip must reach; None: any other.
    """

    wanted: int
    draws: int
    most: int
    towards: int | None = None


def span(policy: Policy, j: int, x: float) -> Span | None:
    """What feature j may become from x: allowed values within the training range; None where it cannot change.

    A value never becomes missing. A feature that is constant in the reference data is not changed.
    """
    feature = policy.schema.features[j]
    if feature.high <= feature.low or not policy.movable[j]:
        return None
    options = policy.options(j, x, LISTED)
    if options is not None:
        others = options[1:]
        values = others[(others >= feature.low) & (others <= feature.high)]
        return Span(feature.low, feature.high, values) if len(values) else None
    low, high = max(feature.low, float(policy.low[j])), min(feature.high, float(policy.high[j]))
    low = low if policy.down[j] else max(low, x)
    high = high if policy.up[j] else min(high, x)
    return Span(low, high, None) if low < high else None


def spans(policy: Policy, x: Floats) -> dict[int, Span]:
    """What each feature of a row may become, by position; features that cannot change are left out."""
    found = {j: span(policy, j, float(value)) for j, value in enumerate(x)}
    return {j: way for j, way in found.items() if way is not None}


def draw_changes(
    policy: Policy, x: Floats, ways: Mapping[int, Span], shape: tuple[int, int], rng: np.random.Generator
) -> Floats:
    """Random rows that change just so many features of x and break no rule, shape (m, d).

    Args:
        ways: what each feature may become.
        shape: rows that are drawn, of which those that do not do are left out; features that each of them changes.
    """
    number, size = shape
    rows = np.tile(x, (number, 1))
    left = np.full(number, size)
    for place, (j, way) in enumerate(ways.items()):
        # Selection sampling: each set of `size` features is as likely as any other.
        chosen = np.flatnonzero(rng.random(number) * (len(ways) - place) < left)
        left[chosen] -= 1
        u = rng.random(len(chosen))
        if way.listed is not None:
            rows[chosen, j] = way.listed[(u * len(way.listed)).astype(np.int64)]
        else:
            rows[chosen, j] = policy.reach(j, x[j : j + 1], way.low + u * (way.high - way.low))
    fine = changed(x[None], rows).sum(axis=1) == size
    return np.asarray(rows[fine & policy.obeys(rows)])


@dataclass
class _Drawing:
    """The drawing for one instance; `size` is the number of features that are changed at present.

    Attributes:
        spent, flips, keeps: at this size: rows drawn, flips kept, and rows that keep the outcome.
        owed: rows that keep the outcome and were lacking at smaller sizes.
    """

    x: Floats
    before: int
    policy: Policy
    law: Law
    rng: np.random.Generator
    plus: list[tuple[int, Floats]] = field(default_factory=list)
    minus: list[tuple[int, Floats]] = field(default_factory=list)
    found: int = 0
    size: int = 1
    spent: int = 0
    flips: int = 0
    keeps: Floats = field(default_factory=lambda: np.empty((0, 0)))
    owed: int = 0

    def __post_init__(self) -> None:
        self.spans = spans(self.policy, self.x)
        self.keeps = np.empty((0, len(self.x)))

    @property
    def done(self) -> bool:
        """Whether all that is wanted was found, or no size is left."""
        return self.size > len(self.spans) or (self.found == self.law.wanted and not self.owed)

    def draw(self) -> Floats:
        """Rows that change `size` features and break no rule; as many as are likely to do, or a first look."""
        if self.spent:
            lacking = (
                (self.law.wanted - self.found, self.flips),
                (self.flips + self.owed - len(self.keeps), len(self.keeps)),
            )
            number = max(int(1.2 * need * self.spent / max(seen, 1)) for need, seen in lacking)
        else:
            number = 2 * self.law.wanted
        most = self.law.draws if self.spent < self.law.draws else self.law.most
        number = min(max(number, 100), ROUND, most - self.spent)
        self.spent += number
        return draw_changes(self.policy, self.x, self.spans, (number, self.size), self.rng)

    def take(self, rows: Floats, flips: Bools, keeps: Bools) -> None:
        """Keeps what is wanted of the labelled rows, and goes on to the next size where this one is exhausted."""
        law = self.law
        taken = rows[flips][: law.wanted - self.found]
        if len(taken):
            self.plus.append((self.size, taken))
        self.found += len(taken)
        self.flips += len(taken)
        self.keeps = np.concatenate([self.keeps, rows[keeps][: law.wanted - len(self.keeps)]])
        need, early = self.flips + self.owed, self.spent < law.draws
        waiting = (self.found < law.wanted and (self.flips > 0 or early)) or (
            len(self.keeps) < need and (len(self.keeps) > 0 or early)
        )
        if waiting and self.spent < law.most:
            return
        if need and len(self.keeps):
            self.minus.append((self.size, self.keeps[:need]))
        self.owed = max(need - len(self.keeps), 0)
        self.size, self.spent, self.flips, self.keeps = self.size + 1, 0, 0, self.keeps[:0]

    def pool(self) -> Pool:
        """What was found."""
        plus, minus = (_stacked(pieces, len(self.x)) for pieces in (self.plus, self.minus))
        return Pool(plus[0], minus[0], plus[1], minus[1], np.array(list(self.spans), dtype=np.int64))


def _stacked(pieces: Sequence[tuple[int, Floats]], d: int) -> tuple[Floats, Ints]:
    """Rows of all sizes, shape (n, d), and their sizes, shape (n,)."""
    rows = np.concatenate([np.empty((0, d)), *(rows for _, rows in pieces)])
    return rows, np.repeat([size for size, _ in pieces], [len(rows) for _, rows in pieces]).astype(np.int64)


def draw_pools(
    model: Scorer,
    policy: Policy,
    rows: Floats,
    law: Law,
    rng: np.random.Generator,
    tick: Callable[[int, int], None] = lambda done, total: None,
) -> list[Pool]:
    """The pools of n rows of codes, shape (n, d); the model is asked once per step for many of them.

    For 1, 2, ... changed features rows are drawn until `law.wanted` flip. As many rows that keep the outcome are taken
    for each number of changed features; what one number lacks comes from the next.

    Reference: `methods/cid` 3.5 and 8.
    """
    before = model.decision.outcome(model.probabilities(rows))
    every = [
        _Drawing(x, int(b), policy, law, own) for x, b, own in zip(rows, before, rng.spawn(len(rows)), strict=True)
    ]
    for start in range(0, len(every), TOGETHER):
        block = every[start : start + TOGETHER]
        while active := [one for one in block if not one.done]:
            _step(model, active, law.towards)
            tick(start + sum(one.done for one in block), len(every))
    return [one.pool() for one in every]


def _step(model: Scorer, active: Sequence[_Drawing], towards: int | None) -> None:
    """One drawing for each active instance, labelled by one question to the model."""
    drawn = [one.draw() for one in active]
    counts = [len(rows) for rows in drawn]
    P = model.probabilities(np.concatenate(drawn))
    flips, keeps = labels(model.decision, P, np.repeat([one.before for one in active], counts), towards)
    ends = np.cumsum(counts)[:-1]
    for one, rows, flipped, kept in zip(active, drawn, np.split(flips, ends), np.split(keeps, ends), strict=True):
        one.take(rows, flipped, kept)


def labels(decision: Decision, P: Floats, before: Ints, towards: int | None) -> tuple[Bools, Bools]:
    """Which rows flip, and which keep the outcome `before`; shape (n,) each. Some may do neither."""
    after = decision.outcome(P)
    flips = decision.flipped(P, before)
    return flips if towards is None else flips & (after == towards), np.asarray(after == before)
