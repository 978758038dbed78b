"""Before and after: what a remedy changed, on the rows that both models were asked about."""

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from audit.core.evidence import Metric, Note, Result, Where
from audit.core.method import Context, Method, Refusal
from audit.core.paired import Pairs, by_feature, differences, right, searches
from audit.core.plan import Part

COLUMNS = ["task", "quantity", "feature", "unit", "n"]
COLUMNS += [f"{name}{end}" for name in ("before", "after", "difference") for end in ("", "_low", "_high")]
SHARE = "protected_share"
LOCAL = {"flex_local": ("frequency", "frequency"), "shap_local": ("mean_abs", "value")}
"""Tables of sizes per instance and feature: what their mean is called, and the column of the size."""


class BeforeAfter(Method):
    """Differences between the given model and that of a remedy, paired by row, or by seed of the training.

    Every remedy gets one such comparison, whether or not the spec lists the method.

    Attributes:
        bootstrap: resamples of rows for the intervals.

    Assumes:
        Rows are independent draws. Rows that only one of the models was asked about, or has a counterfactual for, are
        left out: read the number of rows beside the difference. The seeds of a training share one division of the data.

    Tables:
        before_after: task, quantity, feature, unit (rows or seeds), n (pairs), and before, after, difference, each with
        low and high (95 %).

    Reference:
        B. Efron, R. Tibshirani, An Introduction to the Bootstrap (1993), chapters 8 and 13.
    """

    kind: Literal["before_after"] = "before_after"
    bootstrap: int = Field(default=2000, ge=100)

    bears_failures: ClassVar[bool] = True
    uses: ClassVar[tuple[str, ...]] = ("numpy", "scipy")
    cites: ClassVar[tuple[str, ...]] = ("Efron, Tibshirani: An Introduction to the Bootstrap (1993)",)

    def run(self, ctx: Context, part: Part) -> Result:
        """Every difference that can be paired.

        Raises:
            Refusal: there is no remedied model, or no row that both models were asked about.
        """
        remedy = ctx.inputs.results.get("remedy")
        if remedy is None:
            raise Refusal(
                "there is no remedied model to compare with; name a remedy under `remedies`", "not_applicable"
            )
        if remedy.status != "ok":
            raise Refusal(f"there is no remedied model to compare with: {remedy.message}", "not_applicable")
        frames = [differences(pairs, self.bootstrap, ctx.rng) for pairs in _pairs(ctx)]
        found = [frame for frame in [*frames, _shares(remedy)] if len(frame)]
        if not found:
            raise Refusal("there is no row that both models were asked about", "not_applicable")
        table = pd.concat(found, ignore_index=True)[COLUMNS]
        return Result(
            metrics=tuple(_metrics(table)),
            tables={"before_after": table},
            notes=(Note(code="paired", args={"bootstrap": self.bootstrap}),),
        )


def _pairs(ctx: Context) -> Iterator[Pairs]:
    """What was measured on the same rows of both models."""
    inputs, sample = ctx.inputs, ctx.sample
    drawn = frozenset(sample.drawn_ids)
    for name, before in inputs.results.items():
        task = name.removeprefix("before.")
        after = inputs.results.get(f"after.{task}")
        if task == name or after is None or {before.status, after.status} != {"ok"}:
            continue
        tables, later = before.tables, after.tables
        local = [name for name in LOCAL if name in tables and name in later]
        if task == "sample" and inputs.target is not None:
            labels = pd.Series(inputs.evaluate.extra[inputs.target])
            yield right(inputs.decision, labels, tables["scores"], later["scores"])
        elif task.startswith("counterfactuals."):
            yield from searches(task, before, after, drawn)
        elif local and _space(before) == _space(after):
            quantity, value = LOCAL[local[0]]
            yield by_feature(task, quantity, [found.tables[local[0]] for found in (before, after)], value, drawn)


def _space(found: Result) -> set[str]:
    """What Shapley values share out; values in two spaces are not compared."""
    return {str(note.args["space"]) for note in found.notes if "space" in note.args}


def _shares(remedy: Result) -> pd.DataFrame:
    """The share of the attributions on features that may not change, per seed of the training; empty without one."""
    from scipy.stats import t

    seeds = remedy.tables.get("ct_seeds", pd.DataFrame(columns=["quantity"]))
    shares = seeds[seeds["quantity"] == SHARE]
    if not {"given", "remedied"} <= set(shares.get("model", ())):
        return pd.DataFrame()
    wide = shares.pivot_table(index="seed", columns="model", values="value").dropna(subset=["given", "remedied"])
    n = len(wide)
    row: dict[str, object] = {"task": "remedy", "quantity": SHARE, "feature": "", "unit": "seeds", "n": n}
    columns = {"before": wide["given"], "after": wide["remedied"], "difference": wide["remedied"] - wide["given"]}
    for name, own in columns.items():
        middle, half = float(own.mean()), np.nan
        if n > 1:
            half = float(t.ppf(0.975, n - 1)) * float(own.std(ddof=1)) / n**0.5
        row |= {name: middle, f"{name}_low": middle - half, f"{name}_high": middle + half}
    return pd.DataFrame([row])


def _metrics(table: pd.DataFrame) -> Iterator[Metric]:
    how = {"rows": "percentile bootstrap over pairs of rows", "seeds": "t interval over seeds of training"}
    for row in table.to_dict("records"):
        bounded = bool(np.isfinite(row["difference_low"]))
        yield Metric(
            name=f"{row['quantity']}_change",
            value=float(row["difference"]),
            low=float(row["difference_low"]) if bounded else None,
            high=float(row["difference_high"]) if bounded else None,
            interval=how[str(row["unit"])] if bounded else "",
            unit=str(row["unit"]),
            n=int(row["n"]),
            where=Where(feature=row["feature"] or None, variant=row["task"]),
        )
