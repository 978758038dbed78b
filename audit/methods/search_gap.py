"""How far a counterfactual search is from the proved optimum."""

from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field, JsonValue

from audit.core.counterfactuals import OPTIMAL
from audit.core.evidence import Metric, Note, Result, Where
from audit.core.measures import share_metric
from audit.core.method import Context, Method, Refusal
from audit.core.plan import Part
from audit.core.stats import bootstrap_means, percentile_interval
from audit.core.table import Floats

SLACK = 1e-6
HAIR = 1e-3
"""A proof keeps clear of the rounding of the model, so a counterfactual may be nearer by this much, or this share."""

CLOSE = 0.01
"""A counterfactual within this share of the optimum counts as close to it."""

PROOFS = {"optimal": "the nearest is proved", "infeasible": "that there is none is proved", "none": "no proof"}
"""What the table of proofs says of each state."""

SAME = ("constraints", "for")
"""Settings that two sets must share to be compared row by row."""


class SearchGap(Method):
    """The distance of the nearest counterfactuals of a set, beside those that are proved to be the nearest.

    Attributes:
        from_: the name of the counterfactual set that is judged (`from` in the spec).
        proof: the name of a set made by a search with proofs (`exact`), under the same constraints.
        bootstrap: resamples of instances for the interval.

    Assumes:
        The proofs hold for Gower distance under the constraints of the set. Rows without a proof say nothing; their
        number is shown. A search that minimises another cost (a cost for each change, weights) may keep a gap.

    Tables:
        search_gap: instance, distance, optimum, gap (relative). search_gap_status: what is proved, status of the
        search, rows.

    Reference:
        Own definition: mean distance over mean optimum, less 1, over rows with a proof that both solve.
    """

    kind: Literal["search_gap"] = "search_gap"
    from_: str = Field(alias="from")
    proof: str
    bootstrap: int = Field(default=1000, ge=1)

    cites: ClassVar[tuple[str, ...]] = ()

    def reads(self) -> dict[str, str]:
        return {"judged": f"counterfactuals.{self.from_}", "proved": f"counterfactuals.{self.proof}"}

    def run(self, ctx: Context, part: Part) -> Result:
        """Rows drawn at random that the search with proofs was asked about, one by one.

        Raises:
            Refusal: the sets were searched under different constraints, or no row has a proof.
        """
        judged, proved = (ctx.inputs.results[name] for name in ("judged", "proved"))
        self._refuse_other_rules(judged, proved)
        drawn = list(ctx.sample.drawn_ids)
        rows = pd.DataFrame(
            {
                "distance": _nearest(judged).reindex(drawn),
                "optimum": _nearest(proved).reindex(drawn),
                "search": _states(judged)["status"].reindex(drawn),
                "proof": _proofs(proved).reindex(drawn),
            }
        )
        rows = rows[rows["proof"] != "not asked"]
        optimal = rows[rows["proof"] == "optimal"]
        settled = rows[rows["proof"].isin(["optimal", "infeasible"])]
        if not len(settled):
            raise Refusal(
                f"no row of {self.proof!r} has a proof, so nothing can be said of {self.from_!r}", "not_applicable"
            )
        both = optimal[optimal["distance"].notna()]
        metrics = (
            Metric(name="proved", value=float(len(settled)), unit="rows", n=len(rows), where=Where(data="sample")),
            *self._metrics(optimal, both, ctx.rng),
        )
        table = both.reset_index(names="instance")[["instance", "distance", "optimum"]]
        table["gap"] = np.where(table["optimum"] > 0, table["distance"] / table["optimum"] - 1, np.nan)
        said = rows.assign(proof=rows["proof"].map(PROOFS), search=rows["search"].str.replace("_", " "))
        status = said.groupby(["proof", "search"], sort=True).size().rename("rows").reset_index()
        tables = {"search_gap": table, "search_gap_status": status}
        return Result(metrics=metrics, tables=tables, notes=self._notes(rows, both, metrics))

    def _refuse_other_rules(self, judged: Result, proved: Result) -> None:
        first, second = (_settings(result) for result in (judged, proved))
        for key in SAME:
            if first.get(key) != second.get(key):
                raise Refusal(
                    f"{self.from_!r} was searched with `{key}: {first.get(key)}` and {self.proof!r} with `{key}: "
                    f"{second.get(key)}`; make them alike, or the optimum is that of another question"
                )

    def _metrics(self, optimal: pd.DataFrame, both: pd.DataFrame, rng: np.random.Generator) -> tuple[Metric, ...]:
        where, n = Where(data="sample"), len(optimal)
        if not n:
            return ()
        found, over = len(both), "rows with an optimum"
        share = share_metric("found_share", found, n, where, over)
        total = float(both["optimum"].sum())
        if not found or total <= 0:
            return (share,)
        values: Floats = both[["distance", "optimum"]].to_numpy(dtype=np.float64)
        means = bootstrap_means(values, np.ones(found), self.bootstrap, rng)
        ends = percentile_interval((means[:, 0] / means[:, 1] - 1)[:, None])
        gap = Metric(
            name="gap", value=float(values[:, 0].sum() / total - 1), low=float(ends[0][0]), high=float(ends[1][0]),
            interval=f"bootstrap over rows, {self.bootstrap} resamples, 95 %", unit="share", n=found, where=where,
        )  # fmt: skip
        close = int((values[:, 0] <= values[:, 1] * (1 + CLOSE) + SLACK).sum())
        return share, gap, share_metric("close_share", close, found, where, over)

    def _notes(self, rows: pd.DataFrame, both: pd.DataFrame, metrics: tuple[Metric, ...]) -> tuple[Note, ...]:
        by_name = {metric.name: metric for metric in metrics}
        gap = by_name.get("gap")
        args: dict[str, JsonValue] = {
            "set": self.from_,
            "proof": self.proof,
            "proved": int(rows["proof"].isin(["optimal", "infeasible"]).sum()),
            "rows": len(rows),
            "gap": gap.value if gap else None,
            "low": gap.low if gap else None,
            "high": gap.high if gap else None,
            "n": gap.n if gap else 0,
        }
        notes = [Note(code="gap", args=args)]
        nearer = both.index[both["distance"] < both["optimum"] * (1 - HAIR) - SLACK]
        possible = rows.index[(rows["proof"] == "infeasible") & (rows["search"] == "found")]
        for code, wrong in (("optimum_beaten", nearer), ("infeasible_found", possible)):
            if len(wrong):
                ids: list[JsonValue] = [str(i) for i in wrong[:20]]
                notes.append(
                    Note(code=code, severity="critical", args={"count": len(wrong), "ids": ids, "set": self.from_})
                )
        return tuple(notes)


def _settings(result: Result) -> dict[str, Any]:
    """The settings of the search that made a set."""
    return next((note.args for note in result.notes if note.code == "search"), {})


def _nearest(result: Result) -> "pd.Series[float]":
    """The distance of the nearest counterfactual of each instance."""
    return result.tables["counterfactuals"].groupby("instance")["distance"].min()


def _states(result: Result) -> pd.DataFrame:
    return result.tables["instance_status"].set_index("instance")


def _proofs(result: Result) -> "pd.Series[str]":
    """What is proved of each instance: `optimal`, `infeasible`, `none`, or that it was not asked about."""
    states = _states(result)
    proof = pd.Series("none", index=states.index, dtype=object)
    proof[(states["status"] == "found") & (states["reason"] == OPTIMAL)] = "optimal"
    proof[states["status"] == "infeasible"] = "infeasible"
    proof[states["status"] == "not_applicable"] = "not asked"
    return proof
