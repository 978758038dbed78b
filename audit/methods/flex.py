"""FLEX: how often each feature has to change before the decision changes; local, regional, global."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from audit.core import frequency
from audit.core.choice import Choice, choices_table
from audit.core.counterfactuals import Counterfactuals
from audit.core.evidence import Metric, Note, Result, Severity, Where
from audit.core.layers import (
    FEW,
    Group,
    Measured,
    Summary,
    coverage_table,
    local_table,
    scores_table,
    stability_table,
    summarise,
)
from audit.core.method import Context, Inputs, Method, Refusal
from audit.core.model import Ints
from audit.core.plan import Part
from audit.core.stats import BAND, average_ranks, wilson
from audit.core.table import Floats

COVERAGE = 0.8
"""A smaller share of instances with a counterfactual is worth a warning."""

SKILL = 0.05
"""A model whose balanced accuracy is not this far above chance gets no ranking sentence (choice FLEX-19)."""

CHOICES = (
    Choice("FLEX-01", "normaliser of a change", "range", "makes min_change free of units; a MAD can be 0"),
    Choice("FLEX-02", "min_change (tau)", "0", "no value is published; the sweep shows what it does"),
    Choice("FLEX-03", "numeric tolerance", "scaled change > 1e-9", "DiCE's test ignores small changes of large values"),
    Choice("FLEX-04", "counterfactuals per instance", "10", "DiCE's minimum"),
    Choice("FLEX-05", "instances", "at least 100", "rankings of 20 instances agreed with those of 100 by .85 only"),
    Choice("FLEX-06", "neighbourhood", "as the spec says", "predicate, nearest rows, radius and clusters are offered"),
    Choice("FLEX-07", "one outcome inside a region", "neighbourhoods yes, others no", "flips both ways differ in kind"),
    Choice("FLEX-08", "weights of members", "uniform", "keeps the score a frequency"),
    Choice("FLEX-09", "aggregation", "mean", "instances that flip easily do not dominate"),
    Choice("FLEX-10", "uncertainty", "Wilson, over instances", "a resample knows nothing of changes that are rare"),
    Choice("FLEX-11", "which flips", "each", "risk teams act on adverse decisions: also by outcome"),
    Choice("FLEX-12", "generator", "nearest", "it moves the ranking more than min_change does"),
    Choice("FLEX-13", "what is scored", "frequency", "the abstract says frequency; the size is printed beside it"),
    Choice("FLEX-14", "min_change of categories", "ignored", "a change of category has no size"),
    Choice("FLEX-15", "counted before or after sparsifying", "after", "as in DiCE"),
    Choice("FLEX-16", "several counterfactuals of one row", "nearest unlike rows", "the original search gives one"),
    Choice("FLEX-17", "agreement of rankings", "Kendall tau-b and Spearman", "the paper's coefficient is unknown"),
    Choice("FLEX-18", "fewer than 10 counterfactuals", "used and flagged", "refusing would lose the hard cases"),
    Choice("FLEX-19", "bar of model skill", "balanced accuracy 1/C + 0.05", "a ranking of chance explains nothing"),
    Choice("FLEX-20", "preparation of the data", "as the model is given it", "unknown in the paper"),
)


class Flex(Method):
    """Share of counterfactuals in which a feature changes, for one case, for a region and for the whole sample.

    Only rows drawn at random count globally and by outcome; regions count their members.

    Attributes:
        from_: the name of a counterfactual set (`from` in the spec).
        min_change: tau; a scaled change counts beyond it.
        min_change_sweep: further values, for the table `flex_sweep`.
        scale: what a numeric change is divided by.
        aggregation: `mean` of local scores, or all counterfactuals `pooled`.
        by_prediction: also for each outcome of the model.
        regions: names, or all, or none.
        bootstrap: resamples of instances for the stability of ranks; 0: none.
        groups: columns that code one source column, by its name; counted as one feature.

    Assumes:
        Every counterfactual is verified. A change is no cause, and a low score is no proof of irrelevance: a feature
        may be immutable or hard to change. Scores do not sum to 1; their sum is the features changed on average.

    Tables:
        flex_global, flex_regional, flex_local: feature, frequency (share of counterfactuals), low, high (95 %),
        n (covered instances; local: counterfactuals), rank, changes_p10/p50/p90 (signed change / scale),
        increase_share, status (ok, few, undefined, constant, immutable), with prediction, region, instance.
        flex_sweep: min_change, feature, frequency. flex_coverage: region, prediction, n, covered, coverage,
        mean_changed (features per counterfactual). flex_stability: feature, top, probability. choices.

    Reference:
        Keshtmand, Nzoyem, Clark: FLEX, arXiv 2511.11891, as publicly described.
    """

    kind: Literal["flex"] = "flex"
    from_: str = Field(alias="from")
    min_change: float = Field(default=0.0, ge=0)
    min_change_sweep: tuple[float, ...] = (0.0, 0.05, 0.1, 0.2)
    scale: frequency.Scale = "range"
    aggregation: Literal["mean", "pooled"] = "mean"
    by_prediction: bool = True
    regions: Literal["all", "none"] | tuple[str, ...] = "all"
    bootstrap: int = Field(default=1000, ge=0)
    groups: dict[str, tuple[str, ...]] = {}

    cites: ClassVar[tuple[str, ...]] = (
        "Keshtmand, Nzoyem, Clark: FLEX: Feature Importance from Layered Counterfactual Explanations, arXiv:2511.11891",
    )

    def reads(self) -> dict[str, str]:
        return {"counterfactuals": f"counterfactuals.{self.from_}"}

    def run(self, ctx: Context, part: Part) -> Result:
        """All levels at once: everything after the search is arithmetic on one array of changes.

        Raises:
            Refusal: no row has a counterfactual.
        """
        inputs = ctx.inputs
        search = _search_settings(inputs.results["counterfactuals"])
        scales, stand_ins = frequency.scales(inputs.schema, inputs.reference.codes, self.scale)
        measured = self._measure(ctx, scales, frozen=search.get("constraints") == "policy")
        pooled = self.aggregation == "pooled"
        summaries = [
            summarise(measured, group, pooled=pooled, repeats=self.bootstrap, rng=ctx.rng)
            for group in self._groups(ctx)
        ]
        overall = summaries[0]
        if not overall.covered:
            raise Refusal(
                f"not computable: none of the {overall.n} rows asked about has a counterfactual in {self.from_!r}"
            )
        regional = [s for s in summaries if s.group.region is not None]
        tables = {
            "flex_global": scores_table([s for s in summaries if s.group.region is None], measured, ("prediction",)),
            "flex_regional": scores_table(regional, measured, ("region", "prediction")),
            "flex_local": local_table(ctx.sample.table.ids, measured),
            "flex_sweep": self._sweep(measured, overall.group),
            "flex_coverage": coverage_table(summaries),
            "flex_stability": stability_table(overall, measured),
            "choices": choices_table(CHOICES, self._chosen(ctx, measured, search, overall)),
        }
        metrics = [m for s in summaries for m in self._metrics(s, measured)]
        skill = _skill(inputs)
        if skill is not None:
            metrics.append(Metric(name="balanced_accuracy", value=skill[0], n=skill[1], where=Where(data="evaluate")))
        metrics.append(_count("counterfactuals", len(measured.row)))
        metrics.append(_count("missing_changes", int(measured.found.missing.sum())))
        notes = (
            Note(code="generator", args={"name": self.from_, **search}),
            *_skill_notes(inputs, skill),
            *_data_notes(ctx, measured, stand_ins),
            *_coverage_notes(overall, regional, measured),
            *_ranking_notes(inputs, skill, overall, measured),
        )
        return Result(metrics=tuple(metrics), tables=tables, notes=notes)

    def _measure(self, ctx: Context, scales: Floats, *, frozen: bool) -> Measured:
        inputs, table = ctx.inputs, ctx.sample.table
        source = inputs.results["counterfactuals"].tables
        found = Counterfactuals.from_tables(table, source["counterfactuals"], source["instance_status"])
        every = frequency.changes(inputs.schema, table.codes[found.row], found.codes, scales).grouped(self.groups)
        counted = every.counted(self.min_change)
        L, K = frequency.local(counted, found.row, len(table))
        constant = {f.name for f in inputs.schema.features if f.constant}
        still = {f for f, m in zip(inputs.schema.names, inputs.policy.movable, strict=True) if frozen and not m}
        members = [self.groups.get(name, (name,)) for name in every.names]
        state = np.array(
            ["immutable" if still.issuperset(m) else "constant" if constant.issuperset(m) else "" for m in members],
            dtype=object,
        )
        return Measured(every, found.row, counted, L, K, np.asarray(found.status != "not_applicable"), state)

    def _groups(self, ctx: Context) -> Iterator[Group]:
        """The whole sample, then each outcome, then each region and its outcomes."""
        sample, inputs = ctx.sample, ctx.inputs
        outcome = inputs.decision.outcome(sample.scores)
        drawn = np.flatnonzero(sample.drawn)
        yield from self._split(inputs, None, drawn, np.ones(len(drawn)), outcome)
        position = {instance: i for i, instance in enumerate(sample.table.ids)}
        for name in self._region_names(inputs.regions):
            own = inputs.regions[inputs.regions["region"] == name]
            rows = np.array([position[i] for i in own["instance"]], dtype=np.int64)
            yield from self._split(inputs, name, rows, own["weight"].to_numpy(dtype=np.float64), outcome)

    def _split(self, inputs: Inputs, region: str | None, rows: Ints, weight: Floats, outcome: Ints) -> Iterator[Group]:
        yield Group(region, None, rows, weight)
        present = np.unique(outcome[rows])
        if self.by_prediction and (region is None or len(present) > 1):
            for number in present:
                chosen = outcome[rows] == number
                yield Group(region, inputs.decision.outcomes[number], rows[chosen], weight[chosen])

    def _region_names(self, regions: pd.DataFrame) -> list[str]:
        """The regions asked for; clusters are found by the name of the region that they make up."""
        there = list(dict.fromkeys(regions["region"])) if len(regions) else []
        if self.regions == "all":
            return there
        if self.regions == "none":
            return []
        names: list[str] = []
        for name in self.regions:
            parts = [t for t in there if t.startswith(f"{name} ") and t[len(name) + 1 :].isdigit()]
            names += [name] if name in there or not parts else parts
        return names

    def _sweep(self, measured: Measured, group: Group) -> pd.DataFrame:
        frames = []
        for tau in sorted({self.min_change, *self.min_change_sweep}):
            L, K = frequency.local(measured.found.counted(tau), measured.row, len(measured.K))
            weight = frequency.weights(K[group.rows], group.weight, pooled=self.aggregation == "pooled")
            score = np.where(measured.state == "immutable", np.nan, frequency.mean(L[group.rows], weight))
            frames.append(pd.DataFrame({"min_change": tau, "feature": measured.found.names, "frequency": score}))
        return pd.concat(frames, ignore_index=True)

    def _metrics(self, summary: Summary, measured: Measured) -> Iterator[Metric]:
        group = summary.group
        where = Where(data="sample", region=group.region, outcome=group.prediction)
        low, high = (float(x) for x in wilson(summary.covered / max(summary.n, 1), summary.n))
        yield Metric(
            name="coverage",
            value=summary.covered / summary.n if summary.n else None,
            low=low if summary.n else None,
            high=high if summary.n else None,
            interval="Wilson, over instances" if summary.n else "",
            unit="share",
            n=summary.n,
            where=where,
        )
        yield Metric(name="instances", value=float(summary.covered), unit="rows", n=summary.n, where=where)
        covers = f"{BAND}, over instances; does not cover the choice of generator"
        least, most = (_number(end) for end in summary.changed)
        sums = (summary.mean_changed, least, most)
        yield _estimate("mean_changed", sums, summary.covered, where, covers, "features")
        if group.region is not None and group.prediction is not None:
            return
        for j, feature in enumerate(measured.found.names):
            if measured.state[j] == "immutable":
                continue
            exact = measured.state[j] == "constant"
            ends = (None, None) if exact else (_number(summary.low[j]), _number(summary.high[j]))
            at = where.model_copy(update={"feature": feature})
            numbers = (_number(summary.score[j]), *ends)
            yield _estimate("frequency", numbers, summary.covered, at, covers, "share")

    def _chosen(self, ctx: Context, measured: Measured, search: dict[str, Any], overall: Summary) -> dict[str, str]:
        regions = ctx.inputs.regions
        weighted = bool(len(regions)) and bool((regions["weight"] != 1).any())
        wanted = search.get("per_row", int(measured.K.max()))
        return {
            "FLEX-01": self.scale,
            "FLEX-02": f"{self.min_change:g}",
            "FLEX-04": str(wanted),
            "FLEX-05": "at least 100" if overall.n >= 100 else str(overall.n),
            "FLEX-08": "gaussian in some regions" if weighted else "uniform",
            "FLEX-09": self.aggregation,
            "FLEX-11": str(search.get("for", "each")),
            "FLEX-12": str(search.get("search", "not named")),
            "FLEX-16": "nearest unlike rows" if search.get("search") == "nearest" else "as the generator gives them",
        }


def _search_settings(result: Result) -> dict[str, Any]:
    """What the search says of itself: search, per_row, for, constraints, evaluated rows; empty if it says nothing."""
    said = next((dict(note.args) for note in result.notes if note.code == "search"), {})
    counted = [metric.value for metric in result.metrics if metric.name == "evaluated_rows"]
    spent = counted[0] if counted else result.tables["instance_status"]["evaluated_rows"].sum()
    return {**said, "evaluated_rows": int(spent or 0)}


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)


def _count(name: str, value: int) -> Metric:
    return Metric(name=name, value=float(value), unit="count", where=Where(data="sample"))


def _estimate(
    name: str, numbers: tuple[float | None, float | None, float | None], n: int, where: Where, interval: str, unit: str
) -> Metric:
    value, low, high = numbers
    covers = interval if low is not None else ""
    return Metric(name=name, value=value, low=low, high=high, interval=covers, unit=unit, n=n, where=where)


def _skill(inputs: Inputs) -> tuple[float, int] | None:
    """Balanced accuracy of the decision on evaluation rows with a known class, and their number."""
    if inputs.target is None:
        return None
    labels = inputs.evaluate.extra[inputs.target]
    known = labels.notna().to_numpy() & labels.isin(inputs.decision.classes).to_numpy()
    if not known.any():
        return None
    actual = inputs.decision.actual(labels[known])
    right = inputs.decision.outcome(inputs.scores[known]) == actual
    return float(np.mean([right[actual == c].mean() for c in np.unique(actual)])), int(known.sum())


def _has_skill(inputs: Inputs, skill: tuple[float, int] | None) -> bool:
    return skill is None or skill[0] >= _skill_bar(inputs)


def _skill_bar(inputs: Inputs) -> float:
    return 1 / len(inputs.decision.outcomes) + SKILL


def _skill_notes(inputs: Inputs, skill: tuple[float, int] | None) -> Iterator[Note]:
    if skill is None:
        yield Note(code="skill_unknown")
    elif not _has_skill(inputs, skill):
        args = {"balanced_accuracy": skill[0], "bar": _skill_bar(inputs), "rows": skill[1]}
        yield Note(code="no_skill", severity="major", args=dict(args))


def _data_notes(ctx: Context, measured: Measured, stand_ins: tuple[str, ...]) -> Iterator[Note]:
    names = np.array(measured.found.names, dtype=object)
    for code, chosen in (
        ("constant_features", names[measured.state == "constant"]),
        ("immutable_features", names[measured.state == "immutable"]),
        ("range_stands_in", stand_ins),
    ):
        if len(chosen):
            yield Note(code=code, args={"features": ", ".join(chosen), "count": len(chosen)})
    moved = int(measured.found.missing.sum())
    if moved:
        yield Note(code="missing_changes", args={"count": moved, "counterfactuals": len(measured.row)})
    left = int((~measured.asked).sum())
    if left:
        yield Note(code="not_asked", args={"count": left, "rows": len(measured.asked)})
    if not ctx.inputs.decision.favourable:
        yield Note(code="any_other_outcome", args={"outcomes": len(ctx.inputs.decision.outcomes)})


def _coverage_notes(overall: Summary, regional: Sequence[Summary], measured: Measured) -> Iterator[Note]:
    share = overall.covered / overall.n
    if share < COVERAGE:
        severity: Severity = "minor"
        args = {"coverage": share, "covered": overall.covered, "rows": overall.n, "bar": COVERAGE}
        yield Note(code="low_coverage", severity=severity, args=dict(args))
    K = measured.K[measured.asked]
    few = int(((K > 0) & (K < FEW)).sum())
    if few:
        yield Note(code="few_counterfactuals", args={"count": few, "rows": len(K), "bar": FEW})
    small = [s for s in regional if s.group.prediction is None and s.covered < FEW]
    if small:
        shown = ", ".join(f"{s.group.region} ({s.covered})" for s in small)
        yield Note(code="small_regions", args={"regions": shown, "count": len(small), "bar": FEW})


def _ranking_notes(
    inputs: Inputs, skill: tuple[float, int] | None, overall: Summary, measured: Measured
) -> Iterator[Note]:
    """The sentence that names the first features; a model without skill gets none."""
    score = np.where(measured.ranked, overall.score, np.nan)
    ranks = average_ranks(score)
    first = np.flatnonzero(ranks == 1)  # none where the first place is shared
    if len(first) != 1 or not _has_skill(inputs, skill):
        return
    (top,) = first
    rest = np.delete(score, top)
    second = None if np.isnan(rest).all() else float(np.nanmax(rest))
    yield Note(
        code="top_feature",
        args={
            "feature": measured.found.names[top],
            "frequency": float(score[top]),
            "next": second,
            "instances": overall.covered,
        },
    )
