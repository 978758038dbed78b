"""How often the model gives each outcome, by the levels of one column."""

from typing import ClassVar, Literal

import pandas as pd

from audit.core.evidence import Metric, Result, Where
from audit.core.method import Context, Method
from audit.core.plan import Part


class BaseRate(Method):
    """Share of the audited rows with each outcome, over all and by a column.

    Attributes:
        by: a column of the evaluation data; None: over all only.

    Assumes:
        Nothing of the model but its stored scores.

    Tables:
        base_rate: group, outcome, share, n (rows of the group).

    Reference:
        Counting.
    """

    kind: Literal["base_rate"] = "base_rate"
    by: str | None = None

    cites: ClassVar[tuple[str, ...]] = ()

    def run(self, ctx: Context, part: Part) -> Result:
        sample, decision = ctx.sample, ctx.inputs.decision
        outcome = pd.Series(decision.outcome(sample.scores))
        group = pd.Series("all", index=outcome.index) if self.by is None else sample.table.column(self.by).astype(str)
        rows = [
            {"group": name, "outcome": label, "share": float((members == i).mean()), "n": len(members)}
            for name, members in outcome.groupby(group.to_numpy())
            for i, label in enumerate(decision.outcomes)
        ]
        metrics = tuple(
            Metric(
                name="base_rate",
                value=float((outcome == i).mean()) if len(outcome) else None,
                unit="share",
                n=len(outcome),
                where=Where(data="sample", outcome=label),
            )
            for i, label in enumerate(decision.outcomes)
        )
        return Result(metrics=metrics, tables={"base_rate": pd.DataFrame(rows)})
