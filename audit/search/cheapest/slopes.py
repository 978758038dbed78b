"""Which features are worth a look, where the model has a gradient: it ranks moves before any of them is asked for."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from audit.core.method import Context
from audit.core.model import Ints
from audit.core.network import Differentiable
from audit.core.table import Floats
from audit.search.cheapest.hunt import Hunt
from audit.search.cheapest.moves import Chosen
from audit.search.cheapest.prices import LEAST


@dataclass(frozen=True)
class Slopes:
    """The gradient of a network with respect to its inputs.

    A network bends: the mean of the gradients at a row and at its best counterfactual says more than that of the row.
    """

    network: Differentiable

    @classmethod
    def of(cls, ctx: Context) -> Self | None:
        """The slopes of the audited model; None where it has no gradient, or other levels than the audit."""
        model = ctx.model.model
        if not isinstance(model, Differentiable) or "gradient" not in model.capabilities:
            return None
        pairs = zip(model.prepare.features.features, ctx.inputs.schema.features, strict=False)
        same = model.prepare.features.names == ctx.inputs.schema.names
        return cls(model) if same and all((a.kind, a.levels) == (b.kind, b.levels) for a, b in pairs) else None

    def best(self, most: int) -> Chosen:
        """What chooses the moves that change one of the `most` features of their query that promise most."""
        return lambda hunt, moves: self._chosen(hunt, moves, most)

    def _chosen(self, hunt: Hunt, moves: tuple[Ints, Ints, Floats, Floats], most: int) -> Ints:
        which, feature, value, cost = moves
        n, d = hunt.rows.shape
        if len(np.unique(feature)) <= most:
            return np.arange(len(which))
        slope = self._mean(hunt)
        rates = np.full((n, d), -np.inf)
        for j in np.unique(feature):
            own = np.flatnonzero(feature == j)
            gain = self._gain(hunt, slope, int(j), which[own], value[own])
            np.maximum.at(rates[:, j], which[own], gain / np.maximum(cost[own], LEAST))
        order = np.argsort(-rates, axis=1, kind="stable")
        place = np.empty_like(order)
        np.put_along_axis(place, order, np.arange(d)[None], axis=1)
        return np.flatnonzero((place < most)[which, feature] & (rates[which, feature] > 0))

    def _gain(self, hunt: Hunt, slope: Floats, j: int, which: Ints, value: Floats) -> Floats:
        """What new values of feature j gain along the slope (n, m), shape (M,)."""
        columns = self.network.prepare.groups == j
        every, place = np.unique(np.concatenate([hunt.rows[:, j], value]), return_inverse=True)
        codes = np.repeat(hunt.rows[:1], len(every), axis=0)
        codes[:, j] = every
        inputs = self.network.prepare.matrix(codes)[:, columns].astype(np.float64)
        moved = inputs[place[len(hunt.rows) :]] - inputs[place[which]]
        return np.asarray((moved * slope[:, columns][which]).sum(axis=1))

    def _mean(self, hunt: Hunt) -> Floats:
        """The mean slope at each row and at the best that is known for it, shape (n, m)."""
        slope = self._at(hunt, np.arange(len(hunt.rows)), hunt.rows)
        hit = np.flatnonzero(np.isfinite(hunt.costs[:, 0]))
        slope[hit] = (slope[hit] + self._at(hunt, hit, hunt.codes[hit, 0])) / 2
        return slope

    def _at(self, hunt: Hunt, which: Ints, codes: Floats) -> Floats:
        """How the log-odds of a flip rise with each input at rows (m, d) of the queries; each row counts as asked."""
        import torch

        asked, decision = hunt.queries.asked, hunt.queries.decision
        asked.count(hunt.block[which])
        points = torch.from_numpy(self.network.prepare.matrix(codes).astype(np.float64)).requires_grad_()
        logits = self.network.logits()(points)
        before = torch.from_numpy(hunt.before[which])
        if decision.favourable:
            good = torch.tensor([label in decision.favourable for label in decision.classes])
            odds = torch.logsumexp(logits[:, good], dim=1) - torch.logsumexp(logits[:, ~good], dim=1)
            lift = torch.where(before == 1, -odds, odds)
        else:
            own = torch.nn.functional.one_hot(before, logits.shape[1]).bool()
            lift = logits.masked_fill(own, -torch.inf).max(dim=1).values - logits[own]
        (slope,) = torch.autograd.grad(lift.sum(), points)
        return np.asarray(np.nan_to_num(slope.numpy()), dtype=np.float64)
