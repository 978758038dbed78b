"""Plausibility: how near counterfactuals are to real rows."""

from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from audit.core.choice import Choice, choices_table
from audit.core.counterfactuals import Counterfactuals
from audit.core.evidence import Metric, Note, Result, Where
from audit.core.measures import mean_metric
from audit.core.method import Context, Inputs, Method, Refusal
from audit.core.model import Ints
from audit.core.plan import Part
from audit.core.plausibility import REFERENCE_ROWS, Support
from audit.core.table import Floats

MANY = 0.5
"""A share of outliers that is larger for certain is worth a finding (choice PLAUS-04)."""

CHOICES = (
    Choice("PLAUS-01", "distance", "Gower", "the distance of the searches"),
    Choice("PLAUS-02", "real rows looked at", str(REFERENCE_ROWS), "more cost more and move the distances little"),
    Choice("PLAUS-03", "an outlier", "farther from its 10th real row than 95 % of real rows", "no density is assumed"),
    Choice("PLAUS-04", "many outliers", f"more than {MANY:.0%}, whole interval", "no published bar"),
)


class Plausibility(Method):
    """Distance of counterfactuals to the real rows, and the share of them that lie outside of where real rows lie.

    A row is an outlier where its `neighbours`-th nearest real row is farther away than that of `usual` of the real
    rows from one another. The audited rows, judged alike, are the line to compare with. The row that a counterfactual
    was made from does not count as a neighbour of it where it is among the real rows.

    Attributes:
        from_: the name of a counterfactual set (`from` in the spec).
        neighbours: which nearest real row decides.
        usual: the share of real rows that are no outliers.

    Assumes:
        The real rows, training data where there are any, are what is plausible. Gower distance treats features as
        equally important and knows no combination of values that cannot be: near is no proof of possible.

    Tables:
        plausibility: instance, k, nearest (distance to the nearest real row), neighbour (to the `neighbours`-th),
        outlier. choices.

    Reference:
        Distances to neighbours as outlier scores: Ramaswamy, Rastogi, Shim, SIGMOD 2000 (k-th nearest neighbour).
    """

    kind: Literal["plausibility"] = "plausibility"
    from_: str = Field(alias="from")
    neighbours: int = Field(default=10, ge=1)
    usual: float = Field(default=0.95, gt=0, lt=1)

    cites: ClassVar[tuple[str, ...]] = (
        "Ramaswamy, Rastogi, Shim: Efficient algorithms for mining outliers from large data sets, SIGMOD 2000",
    )

    def reads(self) -> dict[str, str]:
        return {"counterfactuals": f"counterfactuals.{self.from_}"}

    def run(self, ctx: Context, part: Part) -> Result:
        """All counterfactuals of the set at once.

        Raises:
            Refusal: there is no counterfactual of a row drawn at random, or there are too few real rows.
        """
        inputs, table = ctx.inputs, ctx.sample.table
        source = inputs.results["counterfactuals"].tables
        found = Counterfactuals.from_tables(table, source["counterfactuals"], source["instance_status"])
        drawn = ctx.sample.drawn[found.row]
        if not drawn.any():
            raise Refusal(f"no row drawn at random has a counterfactual in {self.from_!r}", "not_applicable")
        if len(inputs.reference) <= self.neighbours:
            raise Refusal(
                f"{len(inputs.reference)} real rows are too few to look at {self.neighbours} neighbours of each; "
                "give `data.train`, or fewer `neighbours`"
            )
        support = Support.of(inputs.reference, self.neighbours)
        bar = support.bar(self.usual)
        own = _own(inputs, support, table.ids)
        nearest, neighbour = support.distances(found.codes, own[found.row])
        outlier = neighbour > bar
        real, reach = support.distances(table.codes[ctx.sample.drawn], own[ctx.sample.drawn])
        of_sets = self._metrics(("nearest", "outlier_share"), found.row[drawn], nearest[drawn], outlier[drawn])
        rows = np.arange(len(reach))
        of_rows = self._metrics(("rows_nearest", "rows_outlier_share"), rows, real, reach > bar)
        metrics = (*of_sets, *of_rows)
        first = pd.DataFrame(
            {
                "instance": pd.Series([table.ids[i] for i in found.row], dtype=object),
                "k": pd.Series(found.row).groupby(found.row).cumcount().to_numpy() + 1,
                "nearest": nearest,
                "neighbour": neighbour,
                "outlier": outlier,
            }
        )
        return Result(
            metrics=metrics,
            tables={"plausibility": first, "choices": choices_table(CHOICES, self._chosen(inputs))},
            notes=self._notes(metrics, bar),
        )

    def _metrics(
        self, names: tuple[str, str], row: Ints, nearest: Floats, outlier: NDArray[np.bool_]
    ) -> tuple[Metric, Metric]:
        """The means over instances of the mean over the counterfactuals of each, with intervals over instances."""
        values = pd.DataFrame({"row": row, "nearest": nearest, "outlier": outlier}).groupby("row").mean()
        means, where, over = values.to_numpy(dtype=np.float64), Where(data="sample"), "instances"
        return (
            mean_metric(names[0], means[:, 0], "", where, over, (0, 1)),
            mean_metric(names[1], means[:, 1], "share", where, over, (0, 1)),
        )

    def _chosen(self, inputs: Inputs) -> dict[str, str]:
        text = f"farther from its {_ordinal(self.neighbours)} real row than {self.usual * 100:g} % of real rows"
        return {"PLAUS-02": str(min(REFERENCE_ROWS, len(inputs.reference))), "PLAUS-03": text}

    def _notes(self, metrics: tuple[Metric, ...], bar: float) -> tuple[Note, ...]:
        by_name = {metric.name: metric for metric in metrics}
        share, rows = by_name["outlier_share"], by_name["rows_outlier_share"]
        args = {"set": self.from_, "share": share.value, "low": share.low, "high": share.high, "rows": rows.value}
        notes = [Note(code="outliers", args={**args, "bar": bar, "neighbours": self.neighbours, "usual": self.usual})]
        if share.low is not None and share.low > MANY:
            notes.append(Note(code="many_outliers", severity="minor", args=dict(args)))
        return tuple(notes)


def _own(inputs: Inputs, support: Support, ids: tuple[str, ...]) -> Ints:
    """Where each audited row stands among the real rows; -1 where it is not one of them."""
    if inputs.train is not None:
        return np.full(len(ids), -1, dtype=np.int64)
    place = {instance: i for i, instance in enumerate(support.table.ids)}
    return np.array([place.get(i, -1) for i in ids], dtype=np.int64)


def _ordinal(number: int) -> str:
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
