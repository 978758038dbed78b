"""Recourse: what people with an unfavourable decision can do, who can do nothing, and whether that differs by group."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field, JsonValue

from audit.core.choice import Choice, choices_table
from audit.core.cohort import Cohort, counted, feasibility
from audit.core.counterfactuals import change
from audit.core.disparity import Gap, costs_differ, holm, mean_gap, share_gap, shares_differ, suppressed
from audit.core.evidence import Metric, Note, Result, Severity, Where
from audit.core.labels import label_of
from audit.core.method import Context, Inputs, Method, Need, Refusal
from audit.core.model import Ints
from audit.core.plan import Part
from audit.core.stats import BAND, mean_band, quantiles, wilson
from audit.core.table import Floats, encode

MISSING = "missing"
SHUFFLES = 10_000
CERTAIN = 0.05
"""Tests are judged at this level after Holm's correction."""

UNKNOWN = 0.05
"""A larger share of people for whom nothing was found and nothing is proven is worth a finding."""

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
JOIN = " x "
"""Between the columns, and the groups, of an intersection."""

CHOICES = (
    Choice("RECOURSE-01", "cost", "cheapest counterfactual of the set", "sum of scaled changes over all features"),
    Choice("RECOURSE-02", "people without a found way", "not counted as without", "only a proof makes them so"),
    Choice("RECOURSE-03", "smallest group shown", "10", "people could be recognised, and intervals say nothing"),
    Choice(
        "RECOURSE-04", "hidden by subtraction", "the next smallest group too", "one hidden cell would be given away"
    ),
    Choice("RECOURSE-05", "test of feasibility", "chi-square, else exact or shuffled", "exact where counts are small"),
    Choice("RECOURSE-06", "test of cost", "Kruskal-Wallis", "costs are skewed"),
    Choice("RECOURSE-07", "many tests", "Holm, over all groupings and both measures", "assumes no independence"),
    Choice("RECOURSE-08", "gap between groups", "max - min, simultaneous over pairs", "costs: Zou and Donner"),
)


class Recourse(Method):
    """Share of the people with an unfavourable decision who can change it, at what cost, and who cannot.

    Read from counterfactuals under the policy. `infeasible` is proven; where a search ended without an answer, that is
    unknown and no zero: the feasible share is given with bounds that hold whatever the truth is for these people.
    Only rows drawn at random count, in regions also their other members.

    Attributes:
        from_: the name of a counterfactual set with `constraints: policy` (`from` in the spec).
        by: columns whose groups are compared, features or not; the protected ones where it is absent.
        intersections: also the groups of each two of these columns together.
        regions: all, or none.
        min_group: smaller groups are not shown, nor what would give them away.
        sheets: how many people get a sheet of their own in the report, or their ids.
        model_alone: the model alone decides, so that a sheet may say what it would decide.
        weights: by feature, what a change of its whole range costs, 1 where it is not named; give a search that weighs
            changes the same ones.

    Assumes:
        The policy says what people can change, and the cost how hard it is. A change on paper is no change in life.

    Tables:
        recourse_groups: by, group, n (people asked about), found, infeasible, not_found, found_rate, found_rate_low,
        found_rate_high (Wilson, 95 %), at_most (share if every unknown were feasible), feasible_rate_low,
        feasible_rate_high, no_recourse_rate with low and high, status (ok, suppressed, suppressed too).
        recourse_costs: by, group, n (people with a way), mean_cost with low and high, p10 to p90, mean_changed
        (features) with low and high, status. recourse_gaps: by, measure, groups, gap, low, high, lowest, highest, test,
        p, p_holm. recourse_local: instance, drawn, status, cost, n_changed. recourse_sheets: instance.
        recourse_ways: instance, k, cost (of people with a sheet). choices.

    Reference:
        R. G. Newcombe, Statistics in Medicine 17 (1998), 873-890. S. Holm, Scand. J. Statistics 6 (1979), 65-70.
        W. H. Kruskal, W. A. Wallis, JASA 47 (1952), 583-621. E. B. Wilson, JASA 22 (1927), 209-212.
    """

    kind: Literal["recourse"] = "recourse"
    from_: str = Field(alias="from")
    by: tuple[str, ...] | None = None
    intersections: bool = True
    regions: Literal["all", "none"] = "all"
    min_group: int = Field(default=10, ge=1)
    sheets: Annotated[int, Field(ge=0)] | tuple[str | int, ...] = 2
    model_alone: bool = False
    weights: dict[str, Annotated[float, Field(gt=0)]] = {}

    needs: ClassVar[frozenset[Need]] = frozenset({"policy"})
    columns: ClassVar[tuple[str, ...]] = ("by",)
    features: ClassVar[tuple[str, ...]] = ("weights",)
    uses: ClassVar[tuple[str, ...]] = ("numpy", "scipy")
    cites: ClassVar[tuple[str, ...]] = (
        "Newcombe: Interval estimation for the difference between independent proportions, Statist. Med. 17 (1998)",
        "Holm: A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6 (1979)",
        "Kruskal, Wallis: Use of ranks in one-criterion variance analysis, JASA 47 (1952)",
    )

    def reads(self) -> dict[str, str]:
        return {"counterfactuals": f"counterfactuals.{self.from_}"}

    def run(self, ctx: Context, part: Part) -> Result:
        """All groups at once.

        Raises:
            Refusal: no class is favourable, the set is not under the policy, a column is not there, or nobody was
                refused.
        """
        self._refuse(ctx.inputs)
        ways = self._ways(ctx)
        people = _people(ctx, ways)
        drawn = np.flatnonzero(people["drawn"].to_numpy())
        if not len(drawn):
            raise Refusal("no audited row drawn at random has an unfavourable outcome", "not_applicable")
        cohorts = [Cohort(None, None, drawn), *self._grouped(ctx, people, drawn), *self._regions(ctx, people)]
        feasible = pd.DataFrame([feasibility(people, cohort) for cohort in cohorts])
        most = self._most(ctx.inputs, people)
        costs = pd.DataFrame([self._costs(people, cohort, most) for cohort in cohorts])
        gaps = self._gaps(people, cohorts, most, ctx.rng)
        sheets = self._sheets(people)
        tables = {
            "recourse_groups": feasible,
            "recourse_costs": costs,
            "recourse_gaps": gaps,
            "recourse_local": people[["instance", "drawn", "status", "cost", "n_changed"]].reset_index(drop=True),
            "recourse_sheets": pd.DataFrame({"instance": pd.Series(sheets, dtype=object)}),
            "recourse_ways": ways.loc[ways["instance"].isin(sheets), ["instance", "k", "cost"]].reset_index(drop=True),
            "choices": choices_table(CHOICES, self._chosen()),
        }
        metrics = [
            *(m for row, cohort in zip(_records(feasible), cohorts, strict=True) for m in _rates(row, cohort)),
            *(m for row, cohort in zip(_records(costs), cohorts, strict=True) for m in self._of_costs(row, cohort)),
            *(m for row in _records(gaps) for m in _of_gaps(row)),
        ]
        return Result(metrics=tuple(metrics), tables=tables, notes=tuple(self._notes(feasible, gaps, cohorts)))

    def _refuse(self, inputs: Inputs) -> None:
        if not inputs.decision.favourable:
            raise Refusal("no class is favourable (`data.target.favourable`), so nobody was refused", "not_applicable")
        said = next((n.args for n in inputs.results["counterfactuals"].notes if n.code == "search"), {})
        if said.get("constraints") != "policy":
            raise Refusal(
                f"{self.from_!r} is not searched under the policy, so it is not what people can do; name a set with "
                "`constraints: policy`"
            )
        known = (*inputs.schema.names, *map(str, inputs.evaluate.extra.columns))
        unknown = [name for name in self.weights if name not in inputs.schema.names]
        if unknown:
            raise Refusal(
                f"`weights` names {unknown[0]!r}, which is no feature; they are {', '.join(inputs.schema.names)}"
            )
        strange = [name for name in self._columns(inputs) if name not in known]
        if strange:
            raise Refusal(f"`by` names {strange[0]!r}, and the data have no such column; they have {', '.join(known)}")

    def _ways(self, ctx: Context) -> pd.DataFrame:
        """The counterfactuals, those of a person by cost."""
        found = ctx.inputs.results["counterfactuals"].tables["counterfactuals"]
        if self.weights:
            schema, place = ctx.inputs.schema, {name: i for i, name in enumerate(ctx.sample.table.ids)}
            before = ctx.sample.table.codes[[place[name] for name in found["instance"]]]
            weights = np.array([self.weights.get(name, 1.0) for name in schema.names])
            found = found.assign(cost=change(schema, before, encode(schema, found)) @ weights)
        return found.sort_values(["cost", "k"], kind="stable")

    def _columns(self, inputs: Inputs) -> tuple[str, ...]:
        return inputs.protected if self.by is None else self.by

    def _grouped(self, ctx: Context, people: pd.DataFrame, drawn: Ints) -> Iterator[Cohort]:
        """The groups of each column, then of each two of them; what may not be shown is marked."""
        columns = self._columns(ctx.inputs)
        rows = people["position"].to_numpy()[drawn]
        values = {name: _labels(ctx.sample.table.column(name))[rows] for name in columns}
        choices: list[tuple[str, ...]] = [(name,) for name in columns]
        if self.intersections:
            choices += combinations(columns, 2)
        for chosen in choices:
            levels, codes = zip(*(np.unique(values[name], return_inverse=True) for name in chosen), strict=True)
            sizes = np.zeros([len(own) for own in levels], dtype=np.int64)
            np.add.at(sizes, codes, 1)
            small, too = suppressed(sizes, self.min_group)
            for place in zip(*np.nonzero(sizes), strict=True):
                inside = np.all([code == at for code, at in zip(codes, place, strict=True)], axis=0)
                name = JOIN.join(str(own[at]) for own, at in zip(levels, place, strict=True))
                state: Any = "suppressed" if small[place] else "suppressed too" if too[place] else "ok"
                yield Cohort(JOIN.join(chosen), name, drawn[inside], state)

    def _regions(self, ctx: Context, people: pd.DataFrame) -> Iterator[Cohort]:
        regions = ctx.inputs.regions
        names: Sequence[str] = list(dict.fromkeys(regions["region"])) if len(regions) and self.regions == "all" else []
        for name in names:
            own = people["instance"].isin(regions.loc[regions["region"] == name, "instance"])
            rows = np.flatnonzero(own)
            yield Cohort("region", str(name), rows, "suppressed" if 0 < len(rows) < self.min_group else "ok")

    def _most(self, inputs: Inputs, people: pd.DataFrame) -> tuple[float, float]:
        """The largest cost and the largest number of features that a way can have: all of what may change, whole."""
        free = inputs.policy.movable
        weights = np.array([self.weights.get(name, 1.0) for name in inputs.schema.names])[free]
        seen = people["cost"].max()
        return max(float(weights.sum()), 0.0 if pd.isna(seen) else float(seen)), max(int(free.sum()), 1)

    def _enough(self, people: pd.DataFrame, cohort: Cohort) -> bool:
        """Whether costs of a group may be shown: of enough people."""
        return cohort.state == "ok" and len(_solved(people, cohort)) >= max(2, self.min_group)

    def _costs(self, people: pd.DataFrame, cohort: Cohort, most: tuple[float, float]) -> dict[str, Any]:
        """A row of `recourse_costs`; empty where the group, or those of it who have a way, are too few."""
        known, enough = _solved(people, cohort), self._enough(people, cohort)
        row: dict[str, Any] = {"by": cohort.by, "group": cohort.group}
        status = cohort.state if cohort.state != "ok" else "ok" if enough else "few"
        row["n"] = float(len(known)) if cohort.state == "ok" else np.nan
        none = np.full(2, np.nan)
        low, high = mean_band(known, np.array([0.0, 1.0]), np.array(most)) if enough else (none, none)
        mean = known.mean(axis=0) if enough else none
        points = quantiles(known[:, 0], QUANTILES) if enough else np.full(len(QUANTILES), np.nan)
        row |= {"mean_cost": mean[0], "mean_cost_low": low[0], "mean_cost_high": high[0]}
        row |= {f"p{round(100 * q)}": float(point) for q, point in zip(QUANTILES, points, strict=True)}
        row |= {"mean_changed": mean[1], "mean_changed_low": low[1], "mean_changed_high": high[1]}
        return {**row, "status": status}

    def _gaps(
        self, people: pd.DataFrame, cohorts: Sequence[Cohort], most: tuple[float, float], rng: np.random.Generator
    ) -> pd.DataFrame:
        """Gaps and tests of each grouping that shows at least two groups; regions overlap and are not compared."""
        rows = []
        for by in dict.fromkeys(c.by for c in cohorts if c.by not in {None, "region"}):
            shown = [i for i, cohort in enumerate(cohorts) if cohort.by == by and cohort.state == "ok"]
            if len(shown) > 1:
                states = [people["status"].to_numpy()[cohorts[i].rows] for i in shown]
                n, found, proven = (np.array(x) for x in zip(*map(counted, states), strict=True))
                gap = share_gap(found / n, 1 - proven / n, n)
                tested = shares_differ(found, n, SHUFFLES, rng)
                rows.append(_gap_row(str(by), "feasible_rate", gap, [cohorts[i].group for i in shown], tested))
            solved = [i for i in shown if self._enough(people, cohorts[i])]
            if len(solved) > 1:
                costs = [_solved(people, cohorts[i])[:, 0] for i in solved]
                gap = mean_gap(costs, 0.0, most[0])
                rows.append(
                    _gap_row(str(by), "mean_cost", gap, [cohorts[i].group for i in solved], costs_differ(costs))
                )
        columns = ["by", "measure", "groups", "gap", "low", "high", "lowest", "highest", "test", "p"]
        table = pd.DataFrame(rows, columns=columns)
        return table.assign(p_holm=np.array(holm(table["p"].tolist()), dtype=np.float64))

    def _chosen(self) -> dict[str, str]:
        weighted = ", ".join(f"{name} x {weight:g}" for name, weight in sorted(self.weights.items()))
        return {
            "RECOURSE-01": f"cheapest of the set, {weighted}" if weighted else CHOICES[0].default,
            "RECOURSE-03": str(self.min_group),
        }

    def _sheets(self, people: pd.DataFrame) -> list[str]:
        """Who gets a sheet: those named, or in turn the first with a way and the first without.

        Raises:
            Refusal: somebody is named who was not audited, or not refused.
        """
        if not isinstance(self.sheets, int):
            named = [label_of(value) for value in self.sheets]
            strange = [name for name in named if name not in set(people["instance"])]
            if strange:
                raise Refusal(f"`sheets` names {strange[0]!r}, who is not among the audited rows that were refused")
            return named
        own = people[people["drawn"]]
        found = own["status"] == "found"
        turns = pd.concat([found[found].groupby(level=0).size(), found[~found].groupby(level=0).size()])
        rank = pd.Series(np.concatenate([2 * np.arange(found.sum()), 2 * np.arange((~found).sum()) + 1]), turns.index)
        return [str(people.loc[i, "instance"]) for i in rank.sort_values(kind="stable").index[: self.sheets]]

    def _of_costs(self, row: dict[str, Any], cohort: Cohort) -> Iterator[Metric]:
        if row["status"] != "ok":
            return
        covers = f"{BAND}, over people"
        n = int(row["n"])
        for name, unit in (("mean_cost", "scaled changes"), ("mean_changed", "features")):
            low, high = row[f"{name}_low"], row[f"{name}_high"]
            yield Metric(
                name=name, value=row[name], low=low, high=high, interval=covers, unit=unit, n=n, where=cohort.where
            )
        yield Metric(name="median_cost", value=row["p50"], unit="scaled changes", n=n, where=cohort.where)

    def _notes(self, feasible: pd.DataFrame, gaps: pd.DataFrame, cohorts: Sequence[Cohort]) -> Iterator[Note]:
        whole = feasible.iloc[0]
        n, found, proven = (int(whole[name]) for name in ("n", "found", "infeasible"))
        unknown = n - found - proven
        counts: dict[str, JsonValue] = {"people": n, "found": found, "infeasible": proven, "not_found": unknown}
        yield Note(code="population", args=counts | {"set": self.from_})
        if proven:
            yield Note(code="no_recourse", severity="minor", args={"people": n, "count": proven, "share": proven / n})
        if unknown > UNKNOWN * n:
            args: dict[str, JsonValue] = {"people": n, "count": unknown, "share": unknown / n, "bar": UNKNOWN}
            yield Note(code="unknown_recourse", severity="minor", args=args)
        for row in _records(gaps[gaps["p_holm"] < CERTAIN]):
            severity: Severity = "major" if row["measure"] == "feasible_rate" else "minor"
            kept = {key: row[key] for key in ("by", "lowest", "highest", "gap", "low", "high", "p_holm", "test")}
            yield Note(code=f"{row['measure']}_differs", severity=severity, args=kept)
        hidden = [cohort for cohort in cohorts if cohort.state != "ok"]
        if hidden:
            names: list[JsonValue] = [f"{cohort.by} = {cohort.group}" for cohort in hidden]
            too = sum(cohort.state == "suppressed too" for cohort in hidden)
            yield Note(code="suppressed", args={"groups": names, "least": self.min_group, "too": too})


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table by column name."""
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def _people(ctx: Context, ways: pd.DataFrame) -> pd.DataFrame:
    """One row for each audited person with an unfavourable outcome who was asked about, in the order of the sample."""
    source = ctx.inputs.results["counterfactuals"].tables
    status = source["instance_status"].set_index("instance")["status"]
    best = ways.drop_duplicates("instance").set_index("instance")[["cost", "n_changed"]]
    ids = pd.Series(ctx.sample.table.ids, dtype=object)
    frame = pd.DataFrame({"position": np.arange(len(ids)), "instance": ids, "drawn": ctx.sample.drawn})
    frame["status"] = status.reindex(ids).fillna("not_applicable").to_numpy(dtype=object)
    frame[["cost", "n_changed"]] = best.reindex(ids).to_numpy(dtype=np.float64)
    refused = ctx.inputs.decision.outcome(ctx.sample.scores) == 0
    kept: pd.DataFrame = frame[refused & (frame["status"] != "not_applicable")].reset_index(drop=True)
    kept.loc[kept["status"] != "found", ["cost", "n_changed"]] = np.nan
    return kept


def _labels(column: "pd.Series[Any]") -> "np.ndarray[Any, np.dtype[Any]]":
    """The groups of a column as text."""
    return np.array([MISSING if pd.isna(value) else label_of(value) for value in column], dtype=object).astype(str)


def _solved(people: pd.DataFrame, cohort: Cohort) -> Floats:
    """Cost and features changed of those of a group who have a way, shape (m, 2)."""
    own = people.iloc[cohort.rows]
    solved: Floats = own.loc[own["status"] == "found", ["cost", "n_changed"]].to_numpy(dtype=np.float64)
    return solved


BOUNDS = "Wilson, 95 %; the upper end counts people for whom nothing was found as feasible"


def _rates(row: dict[str, Any], cohort: Cohort) -> Iterator[Metric]:
    """The rates of a group; one that is not shown has none, nor has one of nobody."""
    if cohort.state != "ok" or not row["n"]:
        return
    n = int(row["n"])
    wilsons = "Wilson, 95 %, over people"
    for name, value, ends, covers in (
        ("feasible_rate", row["found_rate"], ("feasible_rate_low", "feasible_rate_high"), BOUNDS),
        ("found_rate", row["found_rate"], ("found_rate_low", "found_rate_high"), wilsons),
        ("no_recourse_rate", row["no_recourse_rate"], ("no_recourse_rate_low", "no_recourse_rate_high"), wilsons),
    ):
        low, high = (row[end] for end in ends)
        yield Metric(name=name, value=value, low=low, high=high, interval=covers, unit="share", n=n, where=cohort.where)
    unknown = row["not_found"] / n
    low, high = (float(x) for x in wilson(unknown, n))
    yield Metric(
        name="unknown_rate", value=unknown, low=low, high=high, interval=wilsons, unit="share", n=n, where=cohort.where
    )


def _of_gaps(row: dict[str, Any]) -> Iterator[Metric]:
    """The gap of a grouping and the p value of its test; the grouping is the variant."""
    place = Where(data="sample", variant=row["by"])
    measure, unit = row["measure"], "share" if row["measure"] == "feasible_rate" else "scaled changes"
    yield Metric(
        name=f"{measure}_gap", value=row["gap"], low=row["low"], high=row["high"],
        interval="simultaneous over pairs of groups, 95 %", unit=unit,
        where=place,
    )  # fmt: skip
    yield Metric(name=f"{measure}_p", value=row["p_holm"], unit="p value", where=place)


def _gap_row(
    by: str, measure: str, gap: Gap, groups: Sequence[str | None], tested: tuple[str, float]
) -> dict[str, Any]:
    ends = (groups[gap.lowest], groups[gap.highest]) if gap.value else (None, None)
    return {
        "by": by, "measure": measure, "groups": len(groups), "gap": gap.value, "low": gap.low, "high": gap.high,
        "lowest": ends[0], "highest": ends[1], "test": tested[0], "p": tested[1],
    }  # fmt: skip
