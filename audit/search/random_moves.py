"""Counterfactuals by random changes: a search that knows nothing, beside which others are read."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from audit.core.base import sha256
from audit.core.choice import Choice, choices_table
from audit.core.counterfactuals import Found
from audit.core.method import Context, Generator
from audit.core.model import Ints
from audit.core.policy import Policy
from audit.core.pool import TOGETHER, Span, draw_changes, spans
from audit.core.table import Floats, Table

CHOICES = (
    Choice("RANDOM-01", "changes drawn for each number of features", "200", "the fewest features come first"),
    Choice("RANDOM-02", "counterfactuals per row", "10", "as many as `nearest` gives"),
    Choice("RANDOM-03", "values drawn", "uniform in the data's range", "no value is preferred for being common"),
    Choice("RANDOM-04", "order of the answers of a row", "as drawn", "the nearest of them would be no random choice"),
    Choice("RANDOM-05", "seed", "0, with the id of the row", "the result must not depend on how rows are batched"),
)


class Random(Generator):
    """Random allowed changes of each row, of one feature first, then of two, and so on, until enough flip the outcome.

    For each number of features `draws` changes are drawn: which features, every set alike, and what they become,
    every allowed value within the range of the data alike. Changes that flip the outcome are the counterfactuals, in
    the order in which they were drawn. A feature that is constant in the data does not change, and no value is made
    missing.

    Assumes: nothing. It is the control of a study of how far a ranking depends on the search: what it shares with
    the others is a matter of the model, and the rest is a matter of the search.

    Reference: `methods/flex`, sensitivity to the generator.

    Attributes:
        draws: changes that are drawn for a row and for each number of features.
        draw_seed: with the id of a row, the seed of its changes.
    """

    search: Literal["random"] = "random"
    draws: int = Field(default=200, ge=1)
    draw_seed: int = Field(default=0, ge=0)

    cites: ClassVar[tuple[str, ...]] = (
        "FLEX: Feature Importance from Layered Counterfactual Explanations, arXiv 2511.11891",
    )

    def choices(self) -> pd.DataFrame:
        values = {"RANDOM-01": str(self.draws), "RANDOM-02": str(self.per_row)}
        if self.draw_seed:
            values["RANDOM-05"] = f"{self.draw_seed}, with the id of the row"
        return choices_table(CHOICES, values)

    def generate(self, ctx: Context, rows: Table, before: Ints) -> Found:
        policy = self.constraint(ctx.inputs.policy)
        hunts = [_Hunt(x, policy, self.per_row, self._rng(name)) for x, name in zip(rows.codes, rows.ids, strict=True)]
        for start in range(0, len(hunts), TOGETHER):
            self._follow(ctx, hunts[start : start + TOGETHER], before[start : start + TOGETHER])
            ctx.tick(min(start + TOGETHER, len(hunts)), len(hunts))
        found = [one.codes() for one in hunts]
        frozen = policy.frozen()
        return Found(
            row=np.repeat(np.arange(len(hunts)), [len(codes) for codes in found]),
            codes=np.concatenate([np.empty((0, len(rows.schema))), *found]),
            proven=np.full(len(hunts), frozen),
            reasons=["" if one.hits else _reason(one, frozen=frozen) for one in hunts],
            evaluated=np.array([one.asked for one in hunts], dtype=np.int64),
        )

    def _rng(self, instance: str) -> np.random.Generator:
        return np.random.default_rng([self.draw_seed, int(sha256(instance.encode())[:16], 16)])

    def _follow(self, ctx: Context, block: list["_Hunt"], before: Ints) -> None:
        """Asks for the changes of a block of rows together, one number of features after the other."""
        for size in range(1, len(ctx.inputs.schema) + 1):
            places = [i for i, one in enumerate(block) if not one.done(size)]
            if not places:
                return
            drawn = [block[i].draw(size, self.draws) for i in places]
            counts = [len(codes) for codes in drawn]
            P = ctx.model.probabilities(np.concatenate(drawn))
            flips = ctx.inputs.decision.flipped(P, np.repeat(before[places], counts))
            for i, codes, flipped in zip(places, drawn, np.split(flips, np.cumsum(counts)[:-1]), strict=True):
                block[i].take(codes, flipped)


@dataclass
class _Hunt:
    """The search for one row.

    Attributes:
        hits: pieces of counterfactuals, in the order in which they were drawn.
        count: how many they are.
        asked: rows that the model was asked for.
    """

    x: Floats
    policy: Policy
    wanted: int
    rng: np.random.Generator
    hits: list[Floats] = field(default_factory=list)
    count: int = 0
    asked: int = 0

    def __post_init__(self) -> None:
        self.ways: dict[int, Span] = spans(self.policy, self.x)

    def done(self, size: int) -> bool:
        """Whether enough was found, or so many features cannot change."""
        return self.count >= self.wanted or size > len(self.ways)

    def draw(self, size: int, draws: int) -> Floats:
        """Changes of so many features, each once."""
        rows = draw_changes(self.policy, self.x, self.ways, (draws, size), self.rng)
        first = np.sort(np.unique(rows, axis=0, return_index=True)[1])
        return rows[first]

    def take(self, rows: Floats, flips: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> None:
        """Keeps what is wanted of the rows that flip."""
        self.asked += len(rows)
        if flips.any():
            self.hits.append(rows[flips][: self.wanted - self.count])
            self.count += len(self.hits[-1])

    def codes(self) -> Floats:
        """What was found, shape (m, d)."""
        return np.concatenate([np.empty((0, len(self.x))), *self.hits])


def _reason(hunt: _Hunt, *, frozen: bool) -> str:
    """Why a row has no counterfactual."""
    if frozen:
        return "the constraints leave nothing to change"
    if not hunt.ways:
        return "the constraints let no feature of this row change to a value within the range of the data"
    return f"none of {hunt.asked} random changes within the constraints flips the outcome"
