"""The first task of every audit: scores of all evaluation rows, and the rows that all methods share."""

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.core.base import Frozen
from audit.core.errors import DataError, ModelError
from audit.core.evidence import Metric, Note, Result, Where
from audit.core.method import Inputs, Sample
from audit.core.model import Ints
from audit.core.region import Region, members, neighbours
from audit.core.table import Floats

SHOWN_MISMATCHES = 50
"""Rows of a failed comparison that the bundle keeps: the largest differences."""


class SampleSettings(Frozen):
    """How many evaluation rows are audited, and how they are drawn.

    Attributes:
        stratify: keeps the shares of the decisions, or of the true classes, in the sample.
    """

    rows: int = 300
    stratify: Literal["decision", "target", "none"] = "decision"


class ScoreCheck(Frozen):
    """The implementation check: a column of scores from the system in use."""

    column: str
    tolerance: float = 1e-6


def draw(
    inputs: Inputs,
    settings: SampleSettings,
    regions: tuple[Region, ...],
    rng: np.random.Generator,
    check: ScoreCheck | None = None,
    like: pd.DataFrame | None = None,
) -> Result:
    """The audited rows, their regions, and the scores of all evaluation rows.

    Rows that a neighbourhood asks for join the sample but are not `drawn`: global results leave them out.

    Args:
        like: the table `sample` of an earlier sample, whose drawn rows are drawn again, to compare two models on them.

    *Tables*: `instances` (instance, one column per feature) · `sample` (instance, row, drawn, outcome, score) ·
    `scores` (one column per class, all evaluation rows) · `regions` (region, instance, distance, weight) ·
    `score_mismatches` (instance, stored, recomputed, difference), where there is a score to compare with.

    Raises:
        ModelError: the model gives every row the same scores.
        DataError: a region names an instance that is not there.
    """
    outcomes = inputs.decision.outcome(inputs.scores)
    _refuse_constant(inputs)
    if like is None:
        picked = _stratified(_strata(inputs, outcomes, settings.stratify), settings.rows, rng)
    else:
        picked = like.loc[like["drawn"], "row"].to_numpy(dtype=np.int64)
    wanted = [neighbours(region, inputs.evaluate, outcomes)[0] for region in regions if region.around is not None]
    rows = np.unique(np.concatenate([picked, *wanted])).astype(np.int64)
    table, drawn = inputs.evaluate.take(rows), np.isin(rows, picked)
    membership = [members(region, table, outcomes[rows], drawn, rng) for region in regions]
    empty = [
        region.name
        for region, own in zip(regions, membership, strict=True)
        if not len(own) and len(members(region, inputs.evaluate, outcomes, np.ones(len(outcomes), dtype=bool), rng))
    ]
    mismatches, notes, metrics = _compare_scores(inputs, check) if check else (None, (), ())
    notes = (*notes, *(Note(code="empty_region", severity="minor", args={"region": name}) for name in empty))
    score = inputs.decision.score(inputs.scores)
    tables = {
        "instances": pd.concat([pd.DataFrame({"instance": table.ids}), table.frame()], axis=1),
        "sample": pd.DataFrame(
            {
                "instance": table.ids,
                "row": rows,
                "drawn": drawn,
                "outcome": [inputs.decision.outcomes[o] for o in outcomes[rows]],
                "score": score[rows],
            }
        ),
        "scores": pd.DataFrame(inputs.scores, columns=list(inputs.decision.classes)),
        "regions": pd.concat(membership, ignore_index=True) if membership else _no_regions(),
    }
    if mismatches is not None:
        tables["score_mismatches"] = mismatches
    return Result(metrics=(*_counts(inputs, outcomes, rows, drawn), *metrics), tables=tables, notes=notes)


def sampled(inputs: Inputs, result: Result) -> Inputs:
    """The inputs with what the sample task found: scores, sample and regions."""
    scores = result.tables["scores"].to_numpy(dtype=np.float64)
    rows = result.tables["sample"]["row"].to_numpy(dtype=np.int64)
    drawn = result.tables["sample"]["drawn"].to_numpy(dtype=bool)
    sample = Sample(inputs.evaluate.take(rows), rows, drawn, scores[rows])
    return replace(inputs, scores=scores, sample=sample, regions=result.tables["regions"])


def _no_regions() -> pd.DataFrame:
    return pd.DataFrame(
        {"region": pd.Series(dtype=str), "instance": pd.Series(dtype=str), "distance": [], "weight": []}
    )


def _refuse_constant(inputs: Inputs) -> None:
    if len(inputs.scores) > 1 and np.ptp(inputs.scores, axis=0).max() == 0:
        shown = ", ".join(f"{p:.4g}" for p in inputs.scores[0])
        raise ModelError(
            f"the model gives all {len(inputs.scores)} evaluation rows the same scores ({shown}), so there is nothing "
            "to audit; check that it is the model meant and that `model.features` are its inputs, in order"
        )


def _strata(inputs: Inputs, outcomes: Ints, by: str) -> Ints:
    if by == "decision":
        return outcomes
    if by == "target":
        if inputs.target is None:
            raise DataError("`data.sample.stratify: target` needs `data.target`; name the target or use `decision`")
        return np.asarray(pd.factorize(inputs.evaluate.extra[inputs.target], sort=True)[0], dtype=np.int64)
    return np.zeros(len(outcomes), dtype=np.int64)


def _stratified(strata: Ints, size: int, rng: np.random.Generator) -> Ints:
    """Positions of `size` rows, every stratum in its share (largest remainders), ascending."""
    n = len(strata)
    if size >= n:
        return np.arange(n, dtype=np.int64)
    values, counts = np.unique(strata, return_counts=True)
    exact = counts * size / n
    quota = np.floor(exact).astype(np.int64)
    rest = np.argsort(quota - exact, kind="stable")[: size - quota.sum()]
    quota[rest] += 1
    chosen = [
        rng.choice(np.flatnonzero(strata == value), size=q, replace=False)
        for value, q in zip(values, quota, strict=True)
    ]
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def _counts(inputs: Inputs, outcomes: Ints, rows: Ints, drawn: NDArray[np.bool_]) -> tuple[Metric, ...]:
    where = Where(data="evaluate")
    shares = [
        Metric(
            name="decision_share",
            value=float((outcomes == number).mean()),
            unit="share",
            n=len(outcomes),
            where=Where(data="evaluate", outcome=name),
        )
        for number, name in enumerate(inputs.decision.outcomes)
    ]
    return (
        Metric(name="rows", value=float(len(inputs.evaluate)), unit="rows", where=where),
        Metric(name="drawn", value=float(drawn.sum()), unit="rows", where=Where(data="sample")),
        Metric(name="joined", value=float(len(rows) - drawn.sum()), unit="rows", where=Where(data="sample")),
        *shares,
    )


def _compare_scores(inputs: Inputs, check: ScoreCheck) -> tuple[pd.DataFrame, tuple[Note, ...], tuple[Metric, ...]]:
    """The stored scores beside the recomputed ones, where they differ beyond the tolerance."""
    stored: Floats = pd.to_numeric(inputs.evaluate.extra[check.column], errors="coerce").to_numpy(dtype=np.float64)
    fresh = inputs.decision.score(inputs.scores) if inputs.decision.favourable else inputs.scores[:, -1]
    difference = np.abs(stored - fresh)
    wrong = np.isnan(stored) | (difference > check.tolerance)
    order = np.argsort(np.where(np.isnan(difference), np.inf, difference) * -1, kind="stable")
    shown = [i for i in order if wrong[i]][:SHOWN_MISMATCHES]
    table = pd.DataFrame(
        {
            "instance": [inputs.evaluate.ids[i] for i in shown],
            "stored": stored[shown],
            "recomputed": fresh[shown],
            "difference": difference[shown],
        }
    )
    count, n = int(wrong.sum()), len(stored)
    known = difference[~np.isnan(difference)]
    args: dict[str, Any] = {
        "column": check.column,
        "count": count,
        "rows": n,
        "tolerance": check.tolerance,
        "missing": int(np.isnan(stored).sum()),
        "largest": float(known.max()) if len(known) else None,
    }
    note = Note(code="score_mismatch" if count else "score_match", severity="major" if count else None, args=args)
    metric = Metric(
        name="production_score_mismatches", value=float(count), unit="rows", n=n, where=Where(data="evaluate")
    )
    return table, (note,), (metric,)
