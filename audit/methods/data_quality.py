"""Data: rows that occur twice, columns that say nothing or too much, and what moved between training and evaluation."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field, JsonValue

from audit.core.answers import Estimate, share
from audit.core.choice import Choice, choices_table
from audit.core.disparity import holm, share_gap, shares_differ
from audit.core.drift import BINS, drift, row_numbers, share_difference
from audit.core.evidence import Metric, Note, Result, Severity, Where
from audit.core.labels import label_of
from audit.core.leaks import FOLDS, alone, purities
from audit.core.method import Context, Inputs, Method, Refusal
from audit.core.model import Ints
from audit.core.plan import Part
from audit.core.rates import MISSING, grouping
from audit.core.table import Table, decode_column

LEVEL = 0.05
"""Tests are told of below this p value after Holm's correction."""

SHOWN_VALUES = 15
SHUFFLES = 2000

CHOICES = (
    Choice("DATA-01", "rows that are alike", "every feature the same", "ids play no part: a case can have two"),
    Choice(
        "DATA-02", "a leaking column", "AUC above 0.97, whole interval", "no published bar; honest columns stay below"
    ),
    Choice("DATA-03", "a leaking value", "95 % of its rows have one outcome, whole interval", "no published bar"),
    Choice("DATA-04", "rows of such a value", "20", "fewer say nothing"),
    Choice("DATA-05", "a near-constant column", "99 % of the rows have one value", "no published bar"),
    Choice("DATA-06", "a column that moved", "stability index above 0.25, whole interval", "customary bar, and no law"),
    Choice("DATA-07", "bins of the stability index", f"{BINS} quantiles; levels as they are", "its usual form"),
    Choice("DATA-08", "many tests", "Holm, over columns", "assumes no independence"),
    Choice("DATA-09", "smallest group shown", "10", "people could be recognised, and intervals say nothing"),
)


class DataQuality(Method):
    """Duplicates, constant and leaking columns, drift, unseen levels, missing values by group and shifts of labels.

    Nothing is asked of the model. Where there are no training rows, what needs them is not tested, and said so.

    Attributes:
        by: columns whose groups are compared in missing values; the protected ones where it is absent.
        min_group: groups with fewer rows are not shown.
        leak_auc: a column that orders rows by the outcome better than this leaks.
        leak_share: a value whose rows have one outcome more often than this leaks.
        leak_rows: rows that such a value has at least.
        near_constant: share of rows with one value from which a column says next to nothing.
        drift_index: stability index above which a column is told of as moved.

    Assumes:
        Training and evaluation rows are draws from populations that may differ. A legitimate feature does not decide
        the outcome alone: whether a column that does so is known at the time of the decision, only people can say.

    Tables:
        data_columns: column, distinct, most_frequent, frequency, missing_train, missing_evaluate (shares), status.
        data_alone: column, outcome, data, n, auc, low, high, leaks. data_values: column, value, outcome, data, n,
        share, low, high, leaks (the purest values). data_drift: column, index, low, high, noise (index of equal
        distributions), test, effect (KS distance or Cramér's V), p, p_holm. data_labels: outcome, train_share,
        evaluate_share, share_change with low and high. data_unseen: column, values, rows, share. data_missing: column,
        by, group, n, missing, share, low, high, status. data_missing_gaps: column, by, gap, low, high, test, p,
        p_holm. choices.

    Reference:
        S. Kaufman, S. Rosset, C. Perlich, O. Stitelman, ACM TKDD 6 (2012), article 15 (leakage). B. Yurdakul,
        J. Naranjo, Journal of Risk Model Validation 14 (2020). S. Holm, Scand. J. Statistics 6 (1979), 65-70.
    """

    kind: Literal["data"] = "data"
    by: tuple[str, ...] | None = None
    min_group: int = Field(default=10, ge=1)
    leak_auc: float = Field(default=0.97, gt=0.5, lt=1)
    leak_share: float = Field(default=0.95, gt=0.5, lt=1)
    leak_rows: int = Field(default=20, ge=5)
    near_constant: float = Field(default=0.99, gt=0.5, lt=1)
    drift_index: float = Field(default=0.25, gt=0)

    columns: ClassVar[tuple[str, ...]] = ("by",)
    uses: ClassVar[tuple[str, ...]] = ("numpy", "scipy")
    cites: ClassVar[tuple[str, ...]] = (
        "Kaufman, Rosset, Perlich, Stitelman: Leakage in data mining, ACM TKDD 6 (2012)",
        "Yurdakul, Naranjo: Statistical properties of the population stability index, J. Risk Model Valid. 14 (2020)",
        "Holm: A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6 (1979)",
    )

    def run(self, ctx: Context, part: Part) -> Result:
        """Every look at the rows that the data allow.

        Raises:
            Refusal: the audit is of images, or a column is named that the data do not have.
        """
        inputs = ctx.inputs
        if not len(inputs.schema):
            raise Refusal("this looks at features, and the audit is of images", "not_applicable")
        tables: dict[str, pd.DataFrame] = {}
        metrics: list[Metric] = []
        notes: list[Note] = []
        looks = [_duplicates(inputs), self._columns(inputs), self._leaks(inputs, ctx.rng)]
        if inputs.train is None:
            notes.append(Note(code="no_train", severity="minor"))
        else:
            looks += [self._drift(inputs, inputs.train), _labels(inputs, inputs.train)]
            looks.append(_unseen(inputs, inputs.train))
        looks.append(self._missing(inputs, ctx.rng))
        for look in looks:
            tables |= {name: table for name, table in look.tables.items() if len(table)}
            metrics += look.metrics
            notes += look.notes
        tables["choices"] = choices_table(CHOICES, self._chosen())
        return Result(metrics=tuple(metrics), tables=tables, notes=tuple(notes))

    def _chosen(self) -> dict[str, str]:
        return {
            "DATA-02": f"AUC above {self.leak_auc:g}, whole interval",
            "DATA-03": f"{100 * self.leak_share:g} % of its rows have one outcome, whole interval",
            "DATA-04": str(self.leak_rows),
            "DATA-05": f"{100 * self.near_constant:g} % of the rows have one value",
            "DATA-06": f"stability index above {self.drift_index:g}, whole interval",
            "DATA-09": str(self.min_group),
        }

    def _columns(self, inputs: Inputs) -> Result:
        """What each column holds, and which of them hold next to nothing."""
        rows, notes = [], []
        n = len(inputs.reference)
        for j, feature in enumerate(inputs.schema.features):
            codes = inputs.reference.codes[:, j]
            values, counts = np.unique(codes, return_counts=True)  # missing is one value
            most = int(counts.argmax())
            frequency = counts[most] / n
            status = "constant" if len(values) < 2 else "near constant" if frequency >= self.near_constant else "ok"
            row: dict[str, Any] = {"column": feature.name, "distinct": int((~np.isnan(values)).sum())}
            row |= {"most_frequent": _value(inputs, j, values[most]), "frequency": float(frequency)}
            row["missing_train"] = None if inputs.train is None else float(np.isnan(inputs.train.codes[:, j]).mean())
            row["missing_evaluate"] = float(np.isnan(inputs.evaluate.codes[:, j]).mean())
            rows.append(row | {"status": status})
            if status != "ok":
                args: dict[str, JsonValue] = {"column": feature.name, "value": row["most_frequent"], "rows": n}
                args |= {"count": int(counts[most]), "share": float(frequency)}
                notes.append(Note(code=status.replace(" ", "_"), severity="minor", args=args))
        table = pd.DataFrame(rows)
        table["missing_train"] = table["missing_train"].astype(np.float64)
        count = float((table["status"] != "ok").sum())
        metric = Metric(name="constant_columns", value=count, unit="features", n=len(table), where=Where())
        return Result((metric,), {"data_columns": table}, notes=tuple(notes))

    def _leaks(self, inputs: Inputs, rng: np.random.Generator) -> Result:
        """Columns and values that almost decide the outcome, on training rows where they have a target."""
        name, rows, actual = _labelled(inputs)
        if actual is None or len(np.unique(actual)) < 2:
            return Result(notes=(Note(code="leaks_untested"),))
        lines = self._alone(inputs, rows, actual, rng.permutation(len(rows)) % FOLDS)
        metrics, notes = [], []
        for feature, outcome, found, leaks in lines:
            where = Where(data=name, feature=feature, outcome=outcome if len(inputs.decision.outcomes) > 2 else None)
            metrics.append(_metric("single_column_auc", found, where))
            if leaks:
                args: dict[str, JsonValue] = {"column": feature, "outcome": outcome, "data": name, "n": found.n}
                args |= {"auc": found.value, "low": found.low, "high": found.high, "bar": self.leak_auc}
                notes.append(Note(code="leaking_column", severity="major", args=args))
        columns = ["column", "outcome", "data", "n", "auc", "low", "high", "leaks"]
        table = pd.DataFrame(
            [(f, o, name, e.n, e.value, e.low, e.high, leaks) for f, o, e, leaks in lines], columns=columns
        )
        values, more = self._values(inputs, name, rows, actual)
        leaking = {note.args["column"] for note in (*notes, *more)}
        total = Metric(
            name="leaking", value=float(len(leaking)), unit="features", n=len(inputs.schema), where=Where(data=name)
        )
        told = Note(code="best_column", args={"column": lines[0][0], "auc": lines[0][2].value, "data": name})
        return Result((total, *metrics), {"data_alone": table, "data_values": values}, notes=(told, *notes, *more))

    def _alone(self, inputs: Inputs, rows: Table, actual: Ints, folds: Ints) -> list[tuple[str, str, Estimate, bool]]:
        """How well each column alone orders rows by each outcome, and whether it leaks; the best first."""
        outcomes = inputs.decision.outcomes
        found = []
        for number in (1,) if len(outcomes) == 2 else np.unique(actual):
            for j, feature in enumerate(inputs.schema.features):
                e = alone(feature, rows.codes[:, j], actual == number, folds)
                found.append((feature.name, outcomes[number], e, (e.low or 0.0) > self.leak_auc))
        return sorted(found, key=lambda line: -(line[2].value or 0.0))

    def _values(self, inputs: Inputs, name: str, rows: Table, actual: Ints) -> tuple[pd.DataFrame, list[Note]]:
        outcomes = inputs.decision.outcomes
        found = purities(inputs.schema.features, rows.codes, actual, len(outcomes), self.leak_rows, self.leak_share)
        lines, notes = [], []
        for p in found:
            value = _value(inputs, inputs.schema.index(p.feature), p.code)
            lines.append((p.feature, value, outcomes[p.outcome], name, p.n, p.share, p.low, p.high, p.decides))
            if p.decides:
                args: dict[str, JsonValue] = {"column": p.feature, "value": value, "outcome": outcomes[p.outcome]}
                args |= {"n": p.n, "share": p.share, "low": p.low, "data": name, "bar": self.leak_share}
                notes.append(Note(code="leaking_value", severity="major", args=args))
        columns = ["column", "value", "outcome", "data", "n", "share", "low", "high", "leaks"]
        return pd.DataFrame(lines[: max(SHOWN_VALUES, len(notes))], columns=columns), notes

    def _drift(self, inputs: Inputs, train: Table) -> Result:
        """How far each column has moved from training to evaluation, the farthest first."""
        pairs = zip(inputs.schema.features, train.codes.T, inputs.evaluate.codes.T, strict=True)
        found = [drift(feature, old, new) for feature, old, new in pairs]
        names = ["index", "low", "high", "noise", "test", "effect", "p"]
        table = pd.DataFrame([[getattr(d, name) for name in names] for d in found], columns=names)
        table.insert(0, "column", list(inputs.schema.names))
        table["p_holm"] = holm([d.p for d in found])
        n = len(inputs.evaluate)
        how = "noncentral chi-square of counts in bins"
        metrics = [
            _metric(
                "stability_index", Estimate(d.index, d.low, d.high, how, n), Where(data="evaluate", feature=name), ""
            )
            for name, d in zip(inputs.schema.names, found, strict=True)
        ]
        table = table.sort_values("index", ascending=False, kind="stable", ignore_index=True)
        first = table.iloc[0]
        args: dict[str, JsonValue] = {"columns": len(table), "count": int((table["p_holm"] < LEVEL).sum())}
        args |= {"column": str(first["column"]), "index": float(first["index"]), "noise": float(first["noise"])}
        notes = [Note(code="drift", args=args)]
        for row in table[table["low"] > self.drift_index].to_dict("records"):
            kept: dict[str, JsonValue] = {key: row[key] for key in ("column", "index", "low", "high")}
            notes.append(Note(code="moved", severity="minor", args=kept | {"bar": self.drift_index}))
        return Result(tuple(metrics), {"data_drift": table}, notes=tuple(notes))

    def _missing(self, inputs: Inputs, rng: np.random.Generator) -> Result:
        """Missing values by group, of the columns that have any among the evaluation rows."""
        columns = inputs.protected if self.by is None else self.by
        known = (*inputs.schema.names, *map(str, inputs.evaluate.extra.columns))
        strange = [name for name in columns if name not in known]
        if strange:
            raise Refusal(f"`by` names {strange[0]!r}, and the data have no such column; they have {', '.join(known)}")
        rows, gaps = [], []
        for by in columns:
            groups = grouping([inputs.evaluate.column(by).rename(by)])
            large = np.flatnonzero(groups.sizes >= self.min_group)
            for j, feature in enumerate(inputs.schema.features):
                missing = np.isnan(inputs.evaluate.codes[:, j])
                if not missing.any() or feature.name == by:
                    continue
                hits = np.bincount(groups.of[missing], minlength=len(groups.names)).astype(np.int64)
                for i, group in enumerate(groups.names):
                    e = share(hits[i], groups.sizes[i]) if i in large else Estimate(None)
                    count = float(hits[i]) if i in large else None
                    status = "ok" if i in large else "suppressed"
                    rows.append((feature.name, by, group, e.n, count, e.value, e.low, e.high, status))
                if len(large) > 1:
                    sizes = groups.sizes[large]
                    gap = share_gap(hits[large] / sizes, hits[large] / sizes, sizes)
                    tested = shares_differ(hits[large], sizes, SHUFFLES, rng)
                    gaps.append((feature.name, by, gap.value, gap.low, gap.high, *tested))
        return _missing_result(rows, gaps)


def _metric(name: str, e: Estimate, where: Where, unit: str = "share") -> Metric:
    return Metric(name=name, value=e.value, low=e.low, high=e.high, interval=e.how, unit=unit, n=e.n, where=where)


def _value(inputs: Inputs, j: int, code: float) -> str:
    """A value of a column as text."""
    (value,) = decode_column(inputs.schema.features[j], np.array([code]))
    return MISSING if np.isnan(code) else label_of(value)


def _labelled(inputs: Inputs) -> tuple[Literal["train", "evaluate"], Table, Ints | None]:
    """Rows with the numbers of their true outcomes: training rows where they have a target, else evaluation rows."""
    if inputs.train is not None and inputs.target in inputs.train.extra.columns:
        return "train", inputs.train, _outcomes(inputs, inputs.train)
    if inputs.target is None:
        return "evaluate", inputs.evaluate, None
    return "evaluate", inputs.evaluate, _outcomes(inputs, inputs.evaluate)


def _outcomes(inputs: Inputs, table: Table) -> Ints:
    """The numbers of the true outcomes.

    Raises:
        Refusal: without favourable classes, a true class that the model does not know.
    """
    labels = table.extra[str(inputs.target)]
    if not inputs.decision.favourable and not labels.isin(inputs.decision.classes).all():
        strange = min(set(labels.astype(str)) - set(inputs.decision.classes))
        raise Refusal(f"the target holds {strange!r}, which is no class of the model; leave such rows out")
    return inputs.decision.actual(labels)


def _duplicates(inputs: Inputs) -> Result:
    """Rows that occur twice: within the evaluation rows, and in training as well."""
    blocks = [inputs.evaluate, *([] if inputs.train is None else [inputs.train])]
    numbers = row_numbers(*(block.codes for block in blocks))
    labelled = inputs.target is not None and all(inputs.target in block.extra.columns for block in blocks)
    ours, *theirs = (
        pd.DataFrame({"row": row, "label": block.extra[inputs.target].astype(str).to_numpy() if labelled else ""})
        for row, block in zip(numbers, blocks, strict=True)
    )
    again, alike = int(ours.duplicated("row").sum()), int(ours.duplicated().sum()) if labelled else None
    found: dict[str, int | None] = {"duplicates": again, "duplicates_same_target": alike}
    n, notes = len(ours), [Note(code="duplicates", args={"rows": len(ours), "again": again, "alike": alike})]
    for train in theirs:
        shared = int(ours["row"].isin(train["row"]).sum())
        same = len(ours.merge(train.drop_duplicates(), on=["row", "label"])) if labelled else None
        found |= {"in_training": shared, "in_training_same_target": same}
        if shared:
            args: dict[str, JsonValue] = {"rows": n, "count": shared, "share": shared / n, "same": same}
            severity: Severity = "major" if shared > n / 2 else "minor"
            notes.append(Note(code="in_training", severity=severity, args=args | {"inside": again / n}))
    metrics = [
        Metric(name=name, value=float(count), unit="rows", n=n, where=Where(data="evaluate"))
        for name, count in found.items()
        if count is not None
    ]
    metrics += [
        Metric(name="duplicates", value=float(train.duplicated("row").sum()), unit="rows", n=len(train),
               where=Where(data="train"))
        for train in theirs
    ]  # fmt: skip
    return Result(tuple(metrics), notes=tuple(notes))


def _labels(inputs: Inputs, train: Table) -> Result:
    """The share of each outcome in training and in evaluation."""
    if inputs.target is None or inputs.target not in train.extra.columns:
        return Result(notes=(Note(code="labels_untested"),))
    before, after = _outcomes(inputs, train), _outcomes(inputs, inputs.evaluate)
    rows, metrics = [], []
    outcomes = inputs.decision.outcomes
    for number in (1,) if inputs.decision.favourable else range(len(outcomes)):
        first, second = ((int((x == number).sum()), len(x)) for x in (before, after))
        value, low, high = share_difference(first, second)
        rows.append((outcomes[number], first[0] / first[1], second[0] / second[1], value, low, high))
        where = Where(data="evaluate", outcome=None if inputs.decision.favourable else outcomes[number])
        how = "Newcombe's method 10, over rows"
        metrics.append(_metric("prevalence_shift", Estimate(value, low, high, how, second[1]), where))
    columns = ["outcome", "train_share", "evaluate_share", "share_change", "share_change_low", "share_change_high"]
    return Result(tuple(metrics), {"data_labels": pd.DataFrame(rows, columns=columns)})


def _unseen(inputs: Inputs, train: Table) -> Result:
    """Levels, and numbers beyond the range, that no training row has."""
    n, rows, notes = len(inputs.evaluate), [], []
    strange = np.zeros(n, dtype=bool)
    for j, feature in enumerate(inputs.schema.features):
        old, new = train.codes[:, j], inputs.evaluate.codes[:, j]
        fresh = ~np.isnan(new)
        if feature.levels:
            fresh &= ~np.isin(new, old)
            told = ", ".join(_value(inputs, j, code) for code in np.unique(new[fresh])[:5])
        else:
            known = old[~np.isnan(old)]
            fresh &= (new < known.min()) | (new > known.max()) if len(known) else True
            told = f"beyond {known.min():g} to {known.max():g}" if len(known) else "every value"
        count = int(fresh.sum())
        if count:
            rows.append((feature.name, told, count, count / n))
        if count and feature.levels:
            strange |= fresh
            args: dict[str, JsonValue] = {"column": feature.name, "values": told, "count": count, "rows": n}
            notes.append(Note(code="unseen", severity="minor", args=args))
    metric = _metric("unseen_levels", share(int(strange.sum()), n), Where(data="evaluate"))
    table = pd.DataFrame(rows, columns=["column", "values", "rows", "share"])
    return Result((metric,), {"data_unseen": table}, notes=tuple(notes))


def _missing_result(rows: Sequence[tuple[Any, ...]], gaps: Sequence[tuple[Any, ...]]) -> Result:
    table = pd.DataFrame(
        rows, columns=["column", "by", "group", "n", "missing", "share", "low", "high", "status"]
    ).astype(dict.fromkeys(["n", "missing", "share", "low", "high"], np.float64))
    apart = pd.DataFrame(gaps, columns=["column", "by", "gap", "low", "high", "test", "p"])
    apart["p_holm"] = np.array(holm(apart["p"].tolist()), dtype=np.float64)
    return Result(tuple(_missing_metrics(table, apart)), {"data_missing": table, "data_missing_gaps": apart})


def _missing_metrics(table: pd.DataFrame, apart: pd.DataFrame) -> Iterator[Metric]:
    for row in table[table["status"] == "ok"].to_dict("records"):
        where = Where(data="evaluate", by=row["by"], group=row["group"], feature=row["column"])
        estimate = Estimate(row["share"], row["low"], row["high"], "Wilson, over rows", int(row["n"]))
        yield _metric("missing_share", estimate, where)
    for row in apart.to_dict("records"):
        where = Where(data="evaluate", feature=row["column"], variant=row["by"])
        how = "simultaneous over pairs of groups, 95 %"
        yield _metric("missing_gap", Estimate(row["gap"], row["low"], row["high"], how), where)
