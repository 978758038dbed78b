"""Differences of two models on rows that both were asked about, with intervals; numpy and pandas alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from audit.core.evidence import Result
from audit.core.model import Decision
from audit.core.stats import bootstrap_means, percentile_interval
from audit.core.table import Floats


@dataclass(frozen=True)
class Pairs:
    """The same n numbers of both models.

    Attributes:
        task: what they were measured by; `quantity` is what they are.
        before, after: shape (n, d), one row per instance; one column per name in `features`.
        features: "" where the quantity is not of a feature.
    """

    task: str
    quantity: str
    before: Floats
    after: Floats
    features: tuple[str, ...] = ("",)


def right(decision: Decision, labels: "pd.Series[str]", before: pd.DataFrame, after: pd.DataFrame) -> Pairs:
    """Whether each evaluation row is decided as it truly is; the tables have one column of scores per class."""
    actual = decision.actual(labels)
    decided = [decision.outcome(P[list(decision.classes)].to_numpy(dtype=np.float64)) for P in (before, after)]
    hits = [(d == actual).astype(np.float64)[:, None] for d in decided]
    return Pairs("performance", "accuracy", hits[0], hits[1])


def searches(task: str, before: Result, after: Result, drawn: frozenset[str]) -> Iterator[Pairs]:
    """Cost, distance and changed features of the drawn rows that have a counterfactual from both models."""
    names = ["cost", "distance", "n_changed"]
    means = [r.tables["counterfactuals"].groupby("instance")[names].mean() for r in (before, after)]
    shared = _shared(means, drawn)
    for column, quantity in zip(names, ("mean_cost", "mean_distance", "mean_changed"), strict=True):
        a, b = (m.loc[shared, [column]].to_numpy(dtype=np.float64) for m in means)
        yield Pairs(task, quantity, a, b)


def by_feature(task: str, quantity: str, tables: Sequence[pd.DataFrame], value: str, drawn: frozenset[str]) -> Pairs:
    """Sizes per instance and feature, of the drawn instances that both have.

    Args:
        tables: of both models, with columns `instance`, `feature` and `value`; sizes of several outcomes are averaged.
    """
    wide = [
        frame.assign(size=frame[value].abs()).pivot_table(index="instance", columns="feature", values="size").dropna()
        for frame in tables
    ]
    shared = _shared(wide, drawn)
    features = [name for name in wide[0].columns if name in wide[1].columns]
    a, b = (w.loc[shared, features].to_numpy(dtype=np.float64) for w in wide)
    return Pairs(task, quantity, a, b, tuple(map(str, features)))


def _shared(tables: Sequence[pd.DataFrame], drawn: frozenset[str]) -> list[str]:
    """The instances, which the tables have as their index, that both have and that were drawn at random."""
    return sorted(set(tables[0].index) & set(tables[1].index) & drawn)


def differences(pairs: Pairs, repeats: int, rng: np.random.Generator) -> pd.DataFrame:
    """Means of both models and of the difference, with bootstrap intervals over rows that keep the pairs.

    Columns task, quantity, feature, unit, n, and before, after, difference, each with low and high; the intervals are
    NaN with fewer than two rows, and there is no row at all where there is no pair.
    """
    n, d = pairs.before.shape
    if not n or not d:
        return pd.DataFrame()
    values = np.hstack([pairs.before, pairs.after, pairs.after - pairs.before])
    low, high = np.full((2, 3 * d), np.nan)
    if n > 1:
        low, high = percentile_interval(bootstrap_means(values, np.ones(n), repeats, rng))
    table = pd.DataFrame({"task": pairs.task, "quantity": pairs.quantity, "feature": list(pairs.features)})
    table = table.assign(unit="rows", n=n)
    for name, columns in zip(("before", "after", "difference"), np.arange(3 * d).reshape(3, d), strict=True):
        table[name] = values[:, columns].mean(axis=0)
        table[f"{name}_low"], table[f"{name}_high"] = low[columns], high[columns]
    return table
