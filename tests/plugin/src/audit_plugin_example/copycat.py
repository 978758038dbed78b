"""The simplest counterfactual search: become a reference row, as far as the constraints let you."""

from typing import Literal

import numpy as np

from audit.core.counterfactuals import Found, distance
from audit.core.method import Context, Generator
from audit.core.model import Ints
from audit.core.table import Table


class Copycat(Generator):
    """Whole reference rows, projected on the constraints, that flip the outcome; the nearest of the first ones.

    Attributes:
        tries: reference rows that are tried for each row.
    """

    search: Literal["copycat"] = "copycat"
    tries: int = 200

    def generate(self, ctx: Context, rows: Table, before: Ints) -> Found:
        policy, decision = self.constraint(ctx.inputs.policy), ctx.inputs.decision
        reference = ctx.inputs.reference.codes[: self.tries]
        row, codes, evaluated = [], [np.empty((0, len(rows.schema)))], []
        for i in range(len(rows)):
            x = np.repeat(rows.codes[i : i + 1], len(reference), axis=0)
            tried = np.unique(policy.project(x, reference), axis=0, equal_nan=True)
            tried = tried[policy.obeys(tried)]
            flips = tried[decision.flipped(ctx.model.probabilities(tried), np.full(len(tried), before[i]))]
            sizes = distance(rows.schema, np.repeat(rows.codes[i : i + 1], len(flips), axis=0), flips)
            best = flips[sizes.argsort(kind="stable")][: self.per_row]
            row += [i] * len(best)
            codes.append(best)
            evaluated.append(len(tried))
        return Found(
            row=np.array(row, dtype=np.int64),
            codes=np.concatenate(codes),
            proven=np.zeros(len(rows), dtype=bool),
            reasons=["no reference row that was tried flips the outcome"] * len(rows),
            evaluated=np.array(evaluated, dtype=np.int64),
        )
