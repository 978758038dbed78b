"""The inputs of a network as the place of a search: the way there from features, its limits, and the way back."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from audit.core.errors import ModelError
from audit.core.method import Context
from audit.core.model import Decision, Scorer
from audit.core.network import Differentiable
from audit.core.policy import Policy
from audit.core.schema import FeatureSchema
from audit.core.table import Floats, decode, encode

if TYPE_CHECKING:
    from torch import Tensor

Limits = tuple["Tensor", "Tensor", "Tensor", "Tensor"]


@dataclass
class Space:
    """The m inputs of a network, seen from the d features of an audit.

    Attributes:
        scorer: counts the rows that the network is asked for.
        policy: the constraints of the search.
        reference: shape (r, d), codes that means, deviations and ranges are taken from.
    """

    network: Differentiable
    scorer: Scorer
    schema: FeatureSchema
    decision: Decision
    policy: Policy
    reference: Floats
    _same: list[bool] = field(init=False)

    def __post_init__(self) -> None:
        pairs = zip(self.schema.features, self.network.prepare.features.features, strict=True)
        self._same = [(a.kind, a.levels) == (b.kind, b.levels) for a, b in pairs]

    @classmethod
    def of(cls, ctx: Context, policy: Policy) -> "Space":
        """The space of the audited model.

        Raises:
            ModelError: the model promises a gradient and has no inputs of a network, or has other features.
        """
        model, inputs = ctx.model.model, ctx.inputs
        if not isinstance(model, Differentiable):
            raise ModelError(f"a search by gradient needs a Network, and the model is a {type(model).__name__}")
        if model.prepare.features.names != inputs.schema.names:
            raise ModelError("model.features: the network was trained on other features than it is given")
        return cls(model, ctx.model, inputs.schema, inputs.decision, policy, inputs.reference.codes)

    @cached_property
    def _ask(self) -> "Callable[[Tensor], Tensor]":
        return self.network.logits()

    def logits(self, points: "Tensor") -> "Tensor":
        """Logits of the outcomes, shape (n, O), whose softmax are the probabilities that the decision is made from.

        Every row counts as evaluated; its gradient comes with it and is not counted again.
        """
        import torch

        self.scorer.rows += len(points)
        self.scorer.calls += 1
        logits = self._ask(points)
        if not self.decision.favourable:
            return logits
        good = [label in self.decision.favourable for label in self.decision.classes]
        sides = [[i for i, g in enumerate(good) if g is side] for side in (False, True)]
        return torch.stack([torch.logsumexp(logits[:, side], dim=1) for side in sides], dim=1)

    def points(self, codes: Floats) -> "Tensor":
        """The inputs, float64 of shape (n, m), of rows of codes, shape (n, d)."""
        import torch

        return torch.from_numpy(self.network.prepare.matrix(self._theirs(codes)).astype(np.float64))

    def codes(self, points: "Tensor", origin: Floats) -> Floats:
        """The codes nearest to the points; where a feature did not move, that of `origin`, shape (n, d)."""
        found = self.network.prepare.codes(points.numpy(), self._theirs(origin))
        if all(self._same):
            return found
        return encode(self.schema, decode(self.network.prepare.features, found))

    def _theirs(self, codes: Floats) -> Floats:
        """Codes as the network counts them: its levels may stand in another order."""
        if all(self._same):
            return codes
        try:
            return encode(self.network.prepare.features, decode(self.schema, codes))
        except ValueError as error:
            raise ModelError(f"the network cannot be asked: {error}") from error

    @cached_property
    def tied(self) -> tuple[tuple[int, ...], ...]:
        """The columns of each categorical or boolean feature that may change."""
        groups = self.network.prepare.groups
        features = self.network.prepare.features.features
        return tuple(
            tuple(np.flatnonzero(groups == j).tolist())
            for j, feature in enumerate(features)
            if not feature.ordered and self.policy.movable[j]
        )

    def bounds(self, domain: float) -> Limits:
        """Whether each column may fall and rise, and its limits, all (m,).

        Numbers stay within `domain` standard deviations of the mean, or the range of the reference where it is
        wider, and within the constraints. A direction binds columns that count as the constraints do.
        """
        import torch

        prepare, movable = self.network.prepare, self.policy.movable
        theirs, same = self._theirs(self.reference), np.array(self._same, dtype=bool)
        mean, reach = theirs.mean(axis=0), domain * theirs.std(axis=0)
        low = np.minimum(mean - reach, theirs.min(axis=0))
        high = np.maximum(mean + reach, theirs.max(axis=0))
        low, high = (
            np.where(same, np.maximum(low, self.policy.low), low),
            np.where(same, np.minimum(high, self.policy.high), high),
        )
        below, above = prepare.limits(low, high)
        level = np.array([f.kind == "categorical" for f in prepare.features.features], dtype=bool)
        free = level | ~same
        down, up = movable & (self.policy.down | free), movable & (self.policy.up | free)
        return (
            torch.from_numpy(down[prepare.groups]),
            torch.from_numpy(up[prepare.groups]),
            torch.from_numpy(below.astype(np.float64)),
            torch.from_numpy(above.astype(np.float64)),
        )
