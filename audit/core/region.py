"""A group of similar cases: by predicate, by neighbourhood, by cluster."""

from typing import Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, model_validator

from audit.core.base import Frozen
from audit.core.counterfactuals import distance
from audit.core.errors import DataError
from audit.core.expression import ExpressionError, parse
from audit.core.table import Floats, Table

Ints = NDArray[np.int64]

CLUSTER_ROWS = 1_000
"""Rows that medoids are chosen from; all rows are then assigned. The distances of all pairs stay in memory."""

CLUSTER_STARTS = 5
CLUSTER_ROUNDS = 50


class Region(Frozen):
    """A region of the spec. Exactly one of `where`, `around` and `clusters` says which rows belong to it.

    Attributes:
        where: a condition on columns of the evaluation data; a row for which it is unknown does not belong.
        around: the id of an instance; `nearest` rows, itself among them, or all within `radius`, by Gower distance,
            belong to it.
        clusters: so many clusters of the sample, each a region of its own, called `<name> 1`, `<name> 2`, ...,
            the largest first.
        weights: how members count in regional results; gaussian is exp(-distance^2 / (2 bandwidth^2)), with the
            distance to the centre.
        bandwidth: for gaussian weights; None: the median distance of the members other than the centre.
        same_outcome: only rows with the outcome of the centre; for neighbourhoods the default (choice FLEX-07).
    """

    name: str
    where: str | None = None
    around: str | int | None = None
    nearest: int | None = Field(default=None, ge=1)
    radius: float | None = Field(default=None, ge=0)
    clusters: int | None = Field(default=None, ge=2)
    weights: Literal["uniform", "gaussian"] = "uniform"
    bandwidth: float | None = Field(default=None, gt=0)
    same_outcome: bool = True

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(value is not None for value in (self.where, self.around, self.clusters)) != 1:
            raise ValueError("a region has exactly one of `where`, `around` and `clusters`")
        if self.around is not None and (self.nearest is None) == (self.radius is None):
            raise ValueError("`around` needs either `nearest` (a number of rows) or `radius` (a Gower distance)")
        if self.around is None and (self.nearest is not None or self.radius is not None):
            raise ValueError("`nearest` and `radius` belong to `around`")
        if self.where is not None and self.weights == "gaussian":
            raise ValueError("`weights: gaussian` needs a centre; it belongs to `around` and `clusters`")
        if self.bandwidth is not None and self.weights != "gaussian":
            raise ValueError("`bandwidth` belongs to `weights: gaussian`")
        return self


def neighbours(region: Region, evaluate: Table, outcomes: Ints) -> tuple[Ints, Floats]:
    """The rows of a neighbourhood, as (positions in `evaluate`, distances), nearest first; the centre leads.

    The answer does not depend on the order of the rows (ties go by id), nor on rows that are farther away: asked of
    any part of the data that holds the neighbourhood, it is the same.

    Args:
        outcomes: the number of the outcome of each row, shape (n,).

    Raises:
        DataError: the centre is not among the rows.
    """
    centre = _centre(region, evaluate)
    gap = np.round(distance(evaluate.schema, evaluate.codes[centre][None, :], evaluate.codes), 12)
    gap[centre] = -1.0  # before its duplicates
    eligible = outcomes == outcomes[centre] if region.same_outcome else np.ones(len(gap), dtype=bool)
    if region.radius is not None:
        eligible = eligible & (gap <= region.radius)
    rows = np.flatnonzero(eligible)
    if region.nearest is not None and region.nearest < len(rows):
        bound = np.partition(gap[rows], region.nearest - 1)[region.nearest - 1]
        rows = rows[gap[rows] <= bound]
    ids = np.array([evaluate.ids[i] for i in rows], dtype=str)
    rows = rows[np.lexsort((ids, gap[rows]))][: region.nearest]
    return rows.astype(np.int64), np.maximum(gap[rows], 0.0)


def _centre(region: Region, table: Table) -> int:
    wanted = str(region.around)
    if wanted not in table.ids:
        shown = ", ".join(repr(i) for i in table.ids[:3])
        raise DataError(
            f"region {region.name!r}: `around: {wanted}` is not an id of the {len(table)} evaluation rows "
            f"(such as {shown}); give the id of one of them"
        )
    return table.ids.index(wanted)


def members(
    region: Region,
    table: Table,
    outcomes: Ints,
    drawn: NDArray[np.bool_],
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Who belongs to a region of the sample: `region, instance, distance, weight`, one row per member.

    Predicates and clusters look at the drawn rows only: rows that joined because a neighbourhood asked for them are
    no random sample. `distance` is the Gower distance to the centre or medoid; predicates have none.

    Args:
        table: the n sample rows.
        outcomes: the number of the outcome of each, shape (n,).
        drawn: which of them were drawn at random, shape (n,).

    Raises:
        DataError: the condition cannot be answered, the centre is not there, or there are too few rows to cluster.
    """
    if region.where is not None:
        rows = np.flatnonzero(_holds(region, table) & drawn)
        return _membership(region, region.name, table, rows, np.full(len(rows), np.nan))
    if region.around is not None:
        rows, gap = neighbours(region, table, outcomes)
        return _membership(region, region.name, table, rows, gap)
    rows = np.flatnonzero(drawn)
    count = region.clusters or 0
    if len(rows) < count:
        raise DataError(f"region {region.name!r}: {count} clusters of {len(rows)} sample rows; ask for fewer")
    label, gap = clusters(table.take(rows), count, rng)
    frames = [
        _membership(region, f"{region.name} {c + 1}", table, rows[label == c], gap[label == c]) for c in range(count)
    ]
    return pd.concat(frames, ignore_index=True)


def _holds(region: Region, table: Table) -> NDArray[np.bool_]:
    known = (*table.schema.names, *table.extra.columns)
    try:
        expression = parse(region.where or "", known)
        columns = {name: table.column(name) for name in expression.names}
        return expression.evaluate(columns, len(table)).true
    except ExpressionError as error:
        raise DataError(f"region {region.name!r}: {error}") from error


def _membership(region: Region, name: str, table: Table, rows: Ints, gap: Floats) -> pd.DataFrame:
    weight = np.ones(len(rows))
    if region.weights == "gaussian":
        away = gap[gap > 0]
        width = region.bandwidth or (float(np.median(away)) if len(away) else 1.0)
        weight = np.exp(-(gap**2) / (2 * width**2))
    return pd.DataFrame(
        {
            "region": np.full(len(rows), name, dtype=object),
            "instance": np.array([table.ids[i] for i in rows], dtype=object),
            "distance": gap,
            "weight": weight,
        }
    )


def clusters(table: Table, count: int, rng: np.random.Generator) -> tuple[Ints, Floats]:
    """The cluster of each row, the largest numbered 0, and its Gower distance to the medoid; both (n,).

    k-medoids by alternation from spread-out starts, the best of several. With many rows the medoids are chosen from
    a random part of them.

    Reference: H.-S. Park, C.-H. Jun, Expert Systems with Applications 36 (2009), 3336-3341.
    """
    n = len(table)
    part = np.sort(rng.choice(n, CLUSTER_ROWS, replace=False)) if n > CLUSTER_ROWS else np.arange(n)
    between = _distances(table, table.codes[part], part)
    tries = [_medoids(between, count, rng) for _ in range(CLUSTER_STARTS)]
    cost = [between[:, medoids].min(axis=1).sum() for medoids in tries]
    best = part[tries[int(np.argmin(cost))]]
    gap = _distances(table, table.codes[best], np.arange(n))
    label = gap.argmin(axis=1)
    label[best] = np.arange(count)  # a medoid stays with itself even if another is a duplicate
    sizes = np.bincount(label, minlength=count)
    number = np.empty(count, dtype=np.int64)
    number[np.lexsort((best, -sizes))] = np.arange(count)
    return number[label], gap[np.arange(n), label]


def _distances(table: Table, centres: Floats, rows: Ints) -> Floats:
    """Gower distances of the given rows to each centre, shape (rows, centres)."""
    return np.column_stack([distance(table.schema, centre[None, :], table.codes[rows]) for centre in centres])


def _medoids(between: Floats, count: int, rng: np.random.Generator) -> Ints:
    """Positions of the medoids of one start, from the distances of all pairs, shape (n, n)."""
    chosen = [int(rng.integers(len(between)))]
    while len(chosen) < count:
        nearest = between[:, chosen].min(axis=1) ** 2
        nearest[chosen] = 0.0
        total = nearest.sum()
        free = np.setdiff1d(np.arange(len(between)), chosen)
        chosen.append(int(rng.choice(len(between), p=nearest / total) if total > 0 else rng.choice(free)))
    medoids = np.array(chosen, dtype=np.int64)
    for _ in range(CLUSTER_ROUNDS):
        label = between[:, medoids].argmin(axis=1)
        label[medoids] = np.arange(count)
        better = np.array([_middle(between, np.flatnonzero(label == c)) for c in range(count)], dtype=np.int64)
        if np.array_equal(better, medoids):
            break
        medoids = better
    return medoids


def _middle(between: Floats, rows: Ints) -> int:
    """The row with the smallest sum of distances to the others."""
    return int(rows[between[np.ix_(rows, rows)].sum(axis=0).argmin()])
