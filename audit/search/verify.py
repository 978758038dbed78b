"""The re-check of every counterfactual, apart from the generator that made it, and the summary of a whole set.

`verify(ctx, generator, rows, positions, before, found) -> Result` checks one part; `summarise(inputs, generator,
partials) -> Result` puts the parts of a set together. Both are pure. A counterfactual is published only if, read back
from its published form, it

* differs from its row, and from the counterfactuals of that row before it;
* reads back as the same values: numbers are finite, levels are levels (`type`);
* breaks no constraint of the set (`Policy.violations`);
* has another outcome when the model is asked once more, in another order and in other batches (`not_flipped`).

The scores in the tables: p(favourable), before and after, where the audit has favourable classes; otherwise the
probability of the present outcome, which falls.
"""

from collections.abc import Sequence
from typing import get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import JsonValue

from audit.core.counterfactuals import (
    OPTIMAL,
    STATUS_COLUMNS,
    Counterfactuals,
    Found,
    change,
    changed,
    to_frame,
)
from audit.core.evidence import Metric, Note, Result, Severity, Where
from audit.core.measures import mean_metric, share_metric
from audit.core.method import Context, Generator, Inputs, Sample
from audit.core.model import Decision, Ints
from audit.core.policy import Kind, Policy
from audit.core.schema import FeatureSchema
from audit.core.table import Floats, Table, decode, encode, joined

Bools = NDArray[np.bool_]

INVALID: tuple[str, ...] = ("not_flipped", "type", *get_args(Kind))
"""Why a counterfactual that a generator gave cannot be published."""

REASONS: tuple[str, ...] = (*INVALID, "unchanged", "duplicate", "surplus")
"""Why a counterfactual is not published; the last three are no fault, only waste."""

LOW_COVERAGE = 0.8
"""A smaller share of instances with a counterfactual is worth a finding."""

STATUSES = ("found", "infeasible", "not_found", "refused", "not_applicable")
SHARED = "shared_rows"
CHECKED = "checked"


def verify(ctx: Context, generator: Generator, rows: Table, positions: Ints, before: Ints, found: Found) -> Result:
    """The counterfactuals of a part that pass every check, and what became of the others.

    Args:
        rows: the n rows that were searched; `positions`, shape (n,), is where they stand in the sample.
        before: shape (n,), their present outcomes.
        found: what the generator says.

    Returns:
        Tables `counterfactuals`, `instance_status` and `discarded` (reason, count), and the metrics `checked` and
        `shared_rows`.

    Raises:
        ValueError: the generator's answer does not have the shape of its contract.
    """
    _check_shapes(rows, found)
    decision, schema = ctx.inputs.decision, rows.schema
    row, codes = found.row, found.codes
    broken = _broken(generator.constraint(ctx.inputs.policy), rows.codes[row], codes)
    broken["duplicate"] = _repeated(row, codes)
    readable = np.flatnonzero(~broken["type"] & ~broken["duplicate"])
    published = encode(schema, decode(schema, codes[readable]))
    broken["type"][readable[changed(published, codes[readable]).any(axis=1)]] = True
    # Asked for in reverse, all at once: no batch is one that the generator has seen.
    P = ctx.model.probabilities(published[::-1])[::-1]
    stays = decision.outcome(P) == before[row[readable]]
    broken["not_flipped"][readable[stays]] = True
    fine = ~np.any([broken[reason] for reason in REASONS], axis=0)
    broken["surplus"][fine] = _place(row[fine]) >= generator.per_row
    fine &= ~broken["surplus"]

    after = np.full(len(row), np.nan)
    after[readable] = _score(decision, P, before[row[readable]])
    spent = found.evaluated + np.bincount(row[readable], minlength=len(rows))
    start = _score(decision, ctx.sample.scores[positions], before)
    discarded = {"reason": REASONS, "count": [int(broken[reason].sum()) for reason in REASONS]}
    return Result(
        metrics=(_count(CHECKED, len(row), "count"), _count(SHARED, found.shared, "rows")),
        tables={
            "counterfactuals": _published(rows, row[fine], codes[fine], start, after[fine]),
            "instance_status": _statuses(rows, found, row, broken, fine, spent),
            "discarded": pd.DataFrame(discarded),
        },
    )


def summarise(inputs: Inputs, generator: Generator, partials: Sequence[Result]) -> Result:
    """A whole set from its parts, which come in the order of the sample.

    Rows of the sample that no part searched are `not_applicable`. Shares and means are over rows drawn at random;
    tables hold the rows that joined for a region as well.

    Returns:
        Tables `counterfactuals`, `instance_status`, `discarded` and, where the generator has any, `choices`; metrics
        coverage, the number of rows of each status, checked, discarded, violations, mean_changed, mean_distance.
    """
    if inputs.sample is None:
        raise ValueError("counterfactuals are of a sample, and there is none")
    sample = inputs.sample
    found = joined([partial.tables["counterfactuals"] for partial in partials])
    status = _complete(sample, joined([partial.tables["instance_status"] for partial in partials]))
    counts = sum(partial.tables["discarded"]["count"].to_numpy() for partial in partials)
    discarded = pd.DataFrame({"reason": REASONS, "count": counts})
    tables = {"counterfactuals": found, "instance_status": status, "discarded": discarded}
    choices = generator.choices()
    if len(choices):
        tables["choices"] = choices
    checked = _total(partials, CHECKED)
    metrics = _metrics(generator.constraint(inputs.policy), sample, found, status, checked)
    if generator.proves:
        proved = int((status["instance"].isin(sample.drawn_ids) & (status["reason"] == OPTIMAL)).sum())
        metrics += (_count("proved_optimal", proved, "rows", len(sample.drawn_ids)),)
    notes = _notes(generator, {metric.name: metric for metric in metrics}, found, discarded) + generator.notes(inputs)
    searched = (status["status"] != "not_applicable").any()
    return Result(
        metrics=(*metrics, _count(SHARED, _total(partials, SHARED), "rows")),
        tables=tables,
        notes=notes,
        status="ok" if searched else "not_applicable",
        message="" if searched else "every audited row has the favourable outcome already",
    )


def _total(partials: Sequence[Result], name: str) -> int:
    return sum(int(m.value or 0) for partial in partials for m in partial.metrics if m.name == name)


def _check_shapes(rows: Table, found: Found) -> None:
    n, m = len(rows), len(found.row)
    if found.codes.shape != (m, len(rows.schema)) or (m and not (found.row.min() >= 0 and found.row.max() < n)):
        raise ValueError(
            f"counterfactuals of shape {found.codes.shape} for {m} of {n} rows, {len(rows.schema)} features"
        )
    if (np.diff(found.row) < 0).any():
        raise ValueError("`row` must not fall: the counterfactuals of a row stand together, in the order of the rows")
    if not len(found.proven) == len(found.reasons) == len(found.evaluated) == n:
        raise ValueError(f"`proven`, `reasons` and `evaluated` must have one entry for each of the {n} rows")


def _broken(policy: Policy, x: Floats, codes: Floats) -> dict[str, Bools]:
    """For each reason, which counterfactuals it speaks against, as far as the constraints and the values tell."""
    broken = {reason: np.zeros(len(codes), dtype=bool) for reason in REASONS}
    for violation in policy.violations(x, codes):
        broken[violation.kind][violation.row] = True
    broken["type"] |= ~_readable(policy.schema, codes)
    broken["unchanged"] |= ~changed(x, codes).any(axis=1)
    return broken


def _readable(schema: FeatureSchema, codes: Floats) -> Bools:
    """Whether every code stands for a value: a finite number, the position of a level, or missing."""
    top = np.array([len(f.levels) - 1.0 if f.levels else np.inf for f in schema.features])
    leveled = np.isfinite(top)
    with np.errstate(invalid="ignore"):
        strange = np.isinf(codes) | (leveled & ((codes < 0) | (codes > top) | (codes != np.rint(codes))))
    return np.asarray(~(strange & ~np.isnan(codes)).any(axis=1))


def _repeated(row: Ints, codes: Floats) -> Bools:
    """Whether a counterfactual of the same row before it is equal."""
    table = pd.DataFrame(codes + 0.0)
    table.insert(0, "row", row)
    return table.duplicated().to_numpy()


def _place(owner: Ints) -> Ints:
    """For each entry its position among those of the same owner."""
    return np.asarray(pd.Series(owner).groupby(owner).cumcount(), dtype=np.int64)


def _score(decision: Decision, P: Floats, before: Ints) -> Floats:
    return decision.score(P) if decision.favourable else P[np.arange(len(P)), before]


def _published(rows: Table, row: Ints, codes: Floats, start: Floats, after: Floats) -> pd.DataFrame:
    """The table `counterfactuals` of those that passed."""
    sizes = change(rows.schema, rows.codes[row], codes)
    columns = {
        "instance": pd.Series([rows.ids[i] for i in row], dtype=object),
        "k": _place(row) + 1,
        "score_before": start[row],
        "score_after": after,
        "distance": sizes.mean(axis=1),
        "cost": sizes.sum(axis=1),
        "n_changed": changed(rows.codes[row], codes).sum(axis=1),
        "verified": np.ones(len(row), dtype=bool),
    }
    return to_frame(rows.schema, columns, codes)


def _statuses(rows: Table, found: Found, row: Ints, broken: dict[str, Bools], fine: Bools, spent: Ints) -> pd.DataFrame:
    """The table `instance_status` of the rows of a part."""
    n = len(rows)
    kept = np.bincount(row[fine], minlength=n) > 0
    given = np.bincount(row, minlength=n) > 0
    proven = found.proven & ~given
    reasons = [str(reason) for reason in found.reasons]
    best = np.zeros(n, dtype=bool) if found.optimal is None else found.optimal
    first = np.bincount(row[fine & (_place(row) == 0)], minlength=n) > 0
    for i in np.flatnonzero(kept):
        reasons[i] = OPTIMAL if best[i] and first[i] else ""
    for i in np.flatnonzero(given & ~kept):
        why = [reason for reason in REASONS if broken[reason][row == i].any()]
        reasons[i] = f"what the search gave did not pass the check: {', '.join(why).replace('_', ' ')}"
    return pd.DataFrame(
        {
            "instance": pd.Series(rows.ids, dtype=object),
            "status": np.where(kept, "found", np.where(proven, "infeasible", "not_found")).astype(object),
            "reason": pd.Series(reasons, dtype=object),
            "evaluated_rows": spent,
        },
        columns=list(STATUS_COLUMNS),
    )


def _complete(sample: Sample, status: pd.DataFrame) -> pd.DataFrame:
    """One row for each row of the sample, in its order; those that were not searched are `not_applicable`."""
    searched = status.set_index("instance")
    rest = [instance for instance in sample.table.ids if instance not in searched.index]
    extra = pd.DataFrame(
        {
            "instance": rest,
            "status": "not_applicable",
            "reason": "the row has the favourable outcome already",
            "evaluated_rows": 0,
        },
        columns=list(STATUS_COLUMNS),
    )
    return joined([status, extra]).set_index("instance").loc[list(sample.table.ids)].reset_index()


def _metrics(
    policy: Policy, sample: Sample, found: pd.DataFrame, status: pd.DataFrame, checked: int
) -> tuple[Metric, ...]:
    drawn = sample.drawn_ids
    states = status.loc[status["instance"].isin(drawn), "status"]
    counts = {name: int((states == name).sum()) for name in STATUSES}
    searched = len(states) - counts["not_applicable"]
    where, over, d = Where(data="sample"), "instances with a counterfactual", max(len(policy.schema), 1)
    by_instance = found.loc[found["instance"].isin(drawn)].groupby("instance")[["n_changed", "distance"]].mean()
    return (
        share_metric("coverage", counts["found"], searched, where, "rows drawn at random"),
        *(_count(name, counts[name], "rows", len(states)) for name in STATUSES),
        _count(CHECKED, checked, "count"),
        _count("discarded", checked - len(found), "count", checked),
        _count("counterfactuals", len(found), "count"),
        _count("violations", _violations(policy, sample.table, found, status), "count", len(found)),
        mean_metric(
            "mean_changed", by_instance["n_changed"].to_numpy(dtype=np.float64), "features", where, over, (1, d)
        ),
        mean_metric("mean_distance", by_instance["distance"].to_numpy(dtype=np.float64), "", where, over, (0, 1)),
    )


def _violations(policy: Policy, table: Table, found: pd.DataFrame, status: pd.DataFrame) -> int:
    """Published counterfactuals that break a constraint, read back from the table that is published."""
    read = Counterfactuals.from_tables(table, found, status)
    return len({violation.row for violation in policy.violations(table.codes[read.row], read.codes)})


def _count(name: str, value: int, unit: str, n: int | None = None) -> Metric:
    return Metric(name=name, value=float(value), unit=unit, n=n, where=Where(data="sample"))


def _notes(
    generator: Generator, metrics: dict[str, Metric], found: pd.DataFrame, discarded: pd.DataFrame
) -> tuple[Note, ...]:
    notes = [Note(code="search", args=generator.model_dump(mode="json", by_alias=True))]
    coverage = metrics["coverage"]
    # A search with proofs is not built on, but compared with: what it leaves open is counted where that is done.
    if coverage.value is not None and coverage.value < LOW_COVERAGE and not generator.proves:
        notes.append(_note("low_coverage", "minor", coverage=coverage.value, n=coverage.n, bar=LOW_COVERAGE))
    per_instance = found.groupby("instance").size()
    if few := int((per_instance < generator.per_row).sum()):
        notes.append(_note("few_per_row", few=few, covered=len(per_instance), per_row=generator.per_row))
    invalid = discarded.loc[discarded["reason"].isin(INVALID) & (discarded["count"] > 0)]
    if len(invalid):
        count, kinds = int(invalid["count"].sum()), ", ".join(invalid["reason"])
        notes.append(_note("invalid_discarded", "minor", count=count, checked=metrics[CHECKED].value, kinds=kinds))
    if metrics["violations"].value:
        notes.append(_note("violations", "critical", count=metrics["violations"].value))
    return tuple(notes)


def _note(code: str, severity: Severity | None = None, **args: JsonValue) -> Note:
    return Note(code=code, severity=severity, args=args)
