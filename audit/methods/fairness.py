"""Fairness: decisions by group, whether a protected attribute alone moves them, and what stands in for it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field, JsonValue

from audit.core.answers import Answers, Estimate, share
from audit.core.choice import Choice, choices_table
from audit.core.disparity import share_gap, suppressed
from audit.core.evidence import Metric, Note, Result, Where
from audit.core.flips import flip_test, flips_table
from audit.core.group_calibration import group_calibration
from audit.core.method import Context, Inputs, Method, Need, Refusal
from audit.core.model import Ints
from audit.core.plan import Part
from audit.core.proxy import DEPTH, FOLDS, Told, design, tell
from audit.core.rates import JOIN, Bools, Grouping, grouping, hits_and_trials, share_ratio
from audit.core.table import Floats

PREDICTORS = ("logistic regression", "tree")
MEASURES = {
    "selection_rate": "selection rate",
    "base_rate": "base rate",
    "true_positive_rate": "true positive rate",
    "false_positive_rate": "false positive rate",
    "predictive_value": "predictive value",
}

CHOICES = (
    Choice("FAIR-01", "smallest group shown", "10", "people could be recognised, and intervals say nothing"),
    Choice("FAIR-02", "intervals of shares", "Wilson, 95 %", "honest at 0 and 1 and for few rows"),
    Choice("FAIR-03", "gap between groups", "max - min, simultaneous over pairs", "Newcombe, widened by Bonferroni"),
    Choice("FAIR-04", "ratio between groups", "min / max, simultaneous over pairs", "hybrid score, on the log scale"),
    Choice("FAIR-05", "bins of the calibration", "10", "equal width on [0, 1], as in the section on performance"),
    Choice("FAIR-06", "values of a number in the flip test", "10", "quantiles of the reference data"),
    Choice("FAIR-07", "rows that proxies are sought in", "2000", "more cost more and move the figures little"),
    Choice("FAIR-08", "predictors of a protected column", f"logistic regression; tree of depth {DEPTH}", "two kinds"),
    Choice("FAIR-09", "folds", str(FOLDS), "every row is predicted by a predictor that has not seen it"),
    Choice("FAIR-10", "groups that subtraction would show", "shown", "hiding them too can hide every comparison"),
)


class Fairness(Method):
    """Rates by group with gaps and ratios, a flip test of each protected input, and proxies of each protected column.

    Rates rest on all evaluation rows, the flip test on the audited rows drawn at random. Nothing is judged here: bars
    are gates. Decisions that change with a protected attribute alone are a finding.

    Attributes:
        by: columns whose groups are compared, features or not; the protected ones where it is absent.
        intersections: lists of columns whose groups are compared together.
        min_group: groups with fewer rows are not shown.
        hide_also: `next` hides the next smallest group too where one is hidden, which subtraction would give away.
        most_groups: a column with more values is not compared; band it in the data.
        bins: of equal width, for the calibration of each group.
        bootstrap: resamples of rows for the interval of the calibration error.
        flip_values: values that a protected number is set to, quantiles of the reference data.
        proxy_rows: evaluation rows, drawn at random, that proxies are sought in.

    Assumes:
        Evaluation rows are independent draws from the people in question. The flip test asks what the model does, not
        what would be different about a person; a model that ignores a column may still follow proxies of it.

    Tables:
        fairness_rates: by, group, measure, n (rows that the share is of), share, low, high, status. fairness_gaps: by,
        measure, groups, n, share_gap and ratio with low and high, lowest, highest. fairness_calibration:
        by, group, bin_low, bin_high, mean_score, observed, low, high (probabilities), n. fairness_flips: feature,
        from, to, n, changed, share, low, high, to_favourable, to_unfavourable (rows), status. fairness_proxies: column,
        features (all, mutable), predictor, groups, n, auc, auc_low, auc_high, balanced_accuracy,
        balanced_accuracy_low, balanced_accuracy_high, baseline (of one answer for all). fairness_proxy_features:
        column, feature, n, auc, low, high. choices.

    Reference:
        E. B. Wilson, JASA 22 (1927), 209-212. R. G. Newcombe, Statistics in Medicine 17 (1998), 873-890. G. Y. Zou,
        A. Donner, Statistics in Medicine 27 (2008), 1693-1702. M. Hardt, E. Price, N. Srebro, NeurIPS 2016 (rates).
    """

    kind: Literal["fairness"] = "fairness"
    by: tuple[str, ...] | None = None
    intersections: tuple[tuple[str, ...], ...] = ()
    min_group: int = Field(default=10, ge=2)
    hide_also: Literal["none", "next"] = "none"
    most_groups: int = Field(default=30, ge=2)
    bins: int = Field(default=10, ge=2, le=100)
    bootstrap: int = Field(default=1000, ge=100)
    flip_values: int = Field(default=10, ge=2, le=100)
    proxy_rows: int = Field(default=2000, ge=100)

    needs: ClassVar[frozenset[Need]] = frozenset({"policy"})
    columns: ClassVar[tuple[str, ...]] = ("by", "intersections")
    uses: ClassVar[tuple[str, ...]] = ("numpy", "scikit-learn")
    cites: ClassVar[tuple[str, ...]] = (
        "Hardt, Price, Srebro: Equality of opportunity in supervised learning, NeurIPS 2016",
        "Newcombe: Interval estimation for the difference between independent proportions, Statist. Med. 17 (1998)",
        "Zou, Donner: Construction of confidence limits about effect measures, Statist. Med. 27 (2008)",
    )

    def run(self, ctx: Context, part: Part) -> Result:
        """Rates, flips and proxies of every column, as far as the spec allows them.

        Raises:
            Refusal: no column is named, or one is named that the data do not have.
        """
        inputs = ctx.inputs
        columns = self._columns(inputs)
        groupings, notes = self._groupings(inputs, columns)
        tables: dict[str, pd.DataFrame] = {}
        metrics: list[Metric] = []
        for result in (
            self._rates(inputs, groupings, ctx.rng),
            self._flips(ctx, columns),
            self._proxies(inputs, [g for g in groupings if JOIN not in g.by], ctx.rng),
        ):
            tables |= result.tables
            metrics += result.metrics
            notes += result.notes
        tables["choices"] = choices_table(CHOICES, self._chosen())
        return Result(metrics=tuple(metrics), tables=tables, notes=tuple(notes))

    def _chosen(self) -> dict[str, str]:
        hidden = "hidden" if self.hide_also == "next" else "shown"
        return {
            "FAIR-01": str(self.min_group),
            "FAIR-05": str(self.bins),
            "FAIR-06": str(self.flip_values),
            "FAIR-07": str(self.proxy_rows),
            "FAIR-10": hidden,
        }

    def _columns(self, inputs: Inputs) -> tuple[str, ...]:
        columns = inputs.protected if self.by is None else self.by
        known = (*inputs.schema.names, *map(str, inputs.evaluate.extra.columns))
        strange = [name for name in (*columns, *sum(self.intersections, ())) if name not in known]
        if strange:
            raise Refusal(f"a column {strange[0]!r} is asked for, and the data have none; they have {', '.join(known)}")
        if not columns and not self.intersections:
            raise Refusal(
                "the spec names no protected column (`data.protected`), nor columns in `by`", "not_applicable"
            )
        return columns

    def _groupings(self, inputs: Inputs, columns: Sequence[str]) -> tuple[list[Grouping], list[Note]]:
        """The groups to be compared; a column with too many values is told of instead."""
        kept: list[Grouping] = []
        notes: list[Note] = []
        for chosen in (*((name,) for name in columns), *self.intersections):
            groups = grouping([inputs.evaluate.column(name).rename(name) for name in chosen])
            shown = self._shown(groups)
            if len(groups.names) > self.most_groups and len(chosen) == 1:
                args: dict[str, JsonValue] = {"by": groups.by, "groups": len(groups.names), "most": self.most_groups}
                notes.append(Note(code="too_many_groups", severity="info", args=args))
                continue
            kept.append(groups)
            if not shown.all():
                hidden: list[JsonValue] = [n for n, keep in zip(groups.names, shown, strict=True) if not keep]
                args = {"by": groups.by, "count": len(hidden), "least": self.min_group, "also": self.hide_also}
                notes.append(Note(code="suppressed", args=args | {"groups": hidden}))
        return kept, notes

    def _shown(self, groups: Grouping) -> Bools:
        """Which groups are large enough to be shown, shape (g,)."""
        small, too = suppressed(groups.sizes, self.min_group)
        return ~(small | too) if self.hide_also == "next" else ~small

    def _rates(self, inputs: Inputs, groupings: Sequence[Grouping], rng: np.random.Generator) -> Result:
        """Rates of every group, and how far apart they are."""
        if not inputs.decision.favourable:
            return Result(notes=(Note(code="no_favourable"),))
        given = inputs.decision.outcome(inputs.scores) == 1
        actual = None if inputs.target is None else inputs.decision.actual(inputs.evaluate.extra[inputs.target]) == 1
        result = self._counted(groupings, given, actual)
        if actual is None:
            return replace(result, notes=(Note(code="no_target"),))
        score = np.clip(inputs.decision.score(inputs.scores), 0.0, 1.0)
        P = np.column_stack([1 - score, score])
        answers = Answers(actual.astype(np.int64), given.astype(np.int64), P, inputs.decision.outcomes)
        shown = [(groups, np.flatnonzero(self._shown(groups))) for groups in groupings]
        calibration = group_calibration(shown, answers, self.bins, self.min_group, self.bootstrap, rng)
        tables = {**result.tables, **calibration.tables}
        gaps = [made.tables["fairness_gaps"] for made in (result, calibration) if "fairness_gaps" in made.tables]
        tables |= {"fairness_gaps": pd.concat(gaps, ignore_index=True)} if gaps else {}
        return Result((*result.metrics, *calibration.metrics), tables)

    def _counted(self, groupings: Sequence[Grouping], given: Bools, actual: Bools | None) -> Result:
        """Shares of every group, and how far apart they are."""
        rates, gaps, metrics = [], [], []
        for groups in groupings:
            shown = self._shown(groups)
            for measure, (hits, trials) in hits_and_trials(groups, given, actual).items():
                estimates = _estimates(hits, trials, shown, self.min_group)
                rates += [
                    (groups.by, MEASURES[measure], name, e.n, e.value, e.low, e.high, status)
                    for name, (status, e) in zip(groups.names, estimates, strict=True)
                ]
                metrics += list(_rate_metrics(groups, measure, estimates))
                large = np.flatnonzero(shown & (trials >= self.min_group))
                if len(large) > 1:
                    gaps.append(_gap_row(groups, measure, hits[large], trials[large], large))
                    metrics += list(_gap_metrics(measure, gaps[-1]))
        columns = ["by", "measure", "group", "n", "share", "low", "high", "status"]
        table = pd.DataFrame(rates, columns=columns).astype(dict.fromkeys(columns[3:7], np.float64))
        tables = {"fairness_rates": table, "fairness_gaps": pd.DataFrame(gaps)}
        return Result(tuple(metrics), {name: table for name, table in tables.items() if len(table)})

    def _flips(self, ctx: Context, columns: Sequence[str]) -> Result:
        """What the decision of each audited row becomes under every other value of one protected attribute."""
        inputs = ctx.inputs
        asked = [name for name in columns if name in inputs.schema.names]
        notes = [Note(code="not_an_input", args={"column": name}) for name in columns if name not in asked]
        if inputs.model is None:
            notes += [Note(code="flip_untested", args={"column": name}) for name in asked]
        rows = ctx.sample.table.take(np.flatnonzero(ctx.sample.drawn))
        found, metrics = flip_test(inputs, rows, asked, self.flip_values), []
        for flips in found:
            n = len(rows)
            estimate = share(flips.count, n)
            metrics.append(_metric("flip_share", estimate, Where(data="sample", variant=flips.feature)))
            args: dict[str, JsonValue] = {"column": flips.feature, "count": flips.count, "rows": n}
            args |= {"share": estimate.value, "low": estimate.low, "high": estimate.high}
            if flips.count:
                notes.append(Note(code="decisions_flip", severity="major", args=args))
            else:
                notes.append(Note(code="no_flip", args=args))
        favourable = bool(inputs.decision.favourable)
        tables = [flips_table(flips, rows, self.min_group, favourable=favourable) for flips in found]
        return Result(
            tuple(metrics),
            {"fairness_flips": pd.concat(tables, ignore_index=True)} if tables else {},
            notes=tuple(notes),
        )

    def _proxies(self, inputs: Inputs, groupings: Sequence[Grouping], rng: np.random.Generator) -> Result:
        """How well the other features tell each column, together and one by one."""
        n = len(inputs.evaluate)
        rows = np.sort(rng.choice(n, size=self.proxy_rows, replace=False)) if n > self.proxy_rows else np.arange(n)
        X, owner = design(inputs.schema, inputs.evaluate.codes[rows])
        together: list[Told] = []
        alone: list[Told] = []
        notes = []
        for groups in groupings:
            found, single = self._told(inputs, groups, rows, X, owner)
            together += found
            alone += sorted(single, key=lambda told: -(told.area.value or 0.0))
            if not found:
                notes.append(Note(code="proxies_untested", args={"column": groups.by, "least": self.min_group}))
            else:
                notes.append(_proxies_note(found, single))
        metrics = [
            _metric(
                name, estimate, Where(data="evaluate", variant=f"{t.column} from {t.features} features: {t.predictor}")
            )
            for t in together
            for name, estimate in (("proxy_auc", t.area), ("proxy_balanced_accuracy", t.balanced))
        ]
        if not together:
            return Result(notes=tuple(notes))
        tables = {"fairness_proxies": _proxies_table(together), "fairness_proxy_features": _alone_table(alone)}
        return Result(tuple(metrics), tables, notes=tuple(notes))

    def _told(
        self, inputs: Inputs, groups: Grouping, rows: Ints, X: Floats, owner: Ints
    ) -> tuple[list[Told], list[Told]]:
        """The column as told by several features, and by each alone; nothing where fewer than two groups are shown."""
        sizes = np.bincount(groups.of[rows], minlength=len(groups.names))
        large = np.flatnonzero(self._shown(groups) & (sizes >= self.min_group))
        others = np.array([name != groups.by for name in inputs.schema.names])[owner]
        if len(large) < 2 or not others.any():
            return [], []
        kept = np.isin(groups.of[rows], large)
        y, names = np.searchsorted(large, groups.of[rows][kept]), tuple(groups.names[i] for i in large)
        own = X[kept]
        together = [
            tell(groups.by, which, predictor, own[:, usable], y, names)
            for which, usable in (("all", others), ("mutable", others & inputs.policy.movable[owner]))
            for predictor in (PREDICTORS if usable.any() else ())
        ]
        alone = [
            tell(groups.by, inputs.schema.names[j], "tree", own[:, owner == j], y, names)
            for j in np.unique(owner[others])
        ]
        return together, alone


def _metric(name: str, e: Estimate, where: Where) -> Metric:
    return Metric(name=name, value=e.value, low=e.low, high=e.high, interval=e.how, unit="share", n=e.n, where=where)


def _estimates(hits: Ints, trials: Ints, shown: Bools, least: int) -> list[tuple[str, Estimate]]:
    """Status and share of each group; a group that is not shown has neither share nor number of rows."""
    found = []
    for h, n, keep in zip(hits, trials, shown, strict=True):
        if not keep:
            found.append(("suppressed", Estimate(None)))
        elif n < least:
            found.append(("few rows", Estimate(None, n=int(n))))
        else:
            found.append(("ok", share(h, n)))
    return found


def _rate_metrics(groups: Grouping, measure: str, estimates: Sequence[tuple[str, Estimate]]) -> Iterator[Metric]:
    for name, (status, e) in zip(groups.names, estimates, strict=True):
        if status != "suppressed":
            yield _metric(measure, e, Where(data="evaluate", by=groups.by, group=name))


def _gap_row(groups: Grouping, measure: str, hits: Ints, trials: Ints, large: Ints) -> dict[str, Any]:
    """A row of `fairness_gaps`: of the groups at the positions `large`."""
    gap, ratio = share_gap(hits / trials, hits / trials, trials), share_ratio(hits, trials)
    row: dict[str, Any] = {"by": groups.by, "measure": MEASURES[measure], "groups": len(large)}
    row |= {"n": int(trials.sum()), "share_gap": gap.value}
    row |= {"share_gap_low": gap.low, "share_gap_high": gap.high}
    ends = (None, None, None) if ratio is None else (ratio.value, ratio.low, ratio.high)
    row |= dict(zip(("ratio", "ratio_low", "ratio_high"), ends, strict=True))
    return row | {"lowest": groups.names[large[gap.lowest]], "highest": groups.names[large[gap.highest]]}


def _gap_metrics(measure: str, row: dict[str, Any]) -> Iterator[Metric]:
    covers = "simultaneous over pairs of groups (Bonferroni), 95 %"
    for kind, column in (("gap", "share_gap"), ("ratio", "ratio")):
        estimate = Estimate(row[column], row[f"{column}_low"], row[f"{column}_high"], covers, row["n"])
        yield _metric(f"{measure}_{kind}", estimate, Where(data="evaluate", variant=row["by"]))


def _proxies_note(together: Sequence[Told], alone: Sequence[Told]) -> Note:
    """The best predictor over all features, and the best single feature."""
    best = max((t for t in together if t.features == "all"), key=lambda t: t.area.value or 0.0)
    top = max(alone, key=lambda t: t.area.value or 0.0)
    args: dict[str, JsonValue] = {"column": best.column, "auc": best.area.value, "low": best.area.low}
    args |= {"high": best.area.high, "n": best.area.n, "predictor": best.predictor}
    settled = all(t.settled for t in together)
    return Note(code="proxies", args=args | {"feature": top.features, "alone": top.area.value, "settled": settled})


def _proxies_table(together: Sequence[Told]) -> pd.DataFrame:
    rows = [
        {
            "column": t.column,
            "features": t.features,
            "predictor": t.predictor,
            "n": t.area.n,
            "auc": t.area.value,
            "auc_low": t.area.low,
            "auc_high": t.area.high,
            "balanced_accuracy": t.balanced.value,
            "balanced_accuracy_low": t.balanced.low,
            "balanced_accuracy_high": t.balanced.high,
            "baseline": t.baseline,
        }
        for t in together
    ]
    return pd.DataFrame(rows)


def _alone_table(alone: Sequence[Told]) -> pd.DataFrame:
    rows = [(t.column, t.features, t.area.n, t.area.value, t.area.low, t.area.high) for t in alone]
    return pd.DataFrame(rows, columns=["column", "feature", "n", "auc", "low", "high"])
