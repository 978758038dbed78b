"""The layers of change frequencies: local, regional and global scores, and their tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.core import frequency
from audit.core.frequency import Bools, Changes, Ints, Magnitudes
from audit.core.stats import average_ranks, bootstrap_means, mean_band, rank_stability, wilson
from audit.core.table import Floats

FEW = 10
"""Fewer counterfactuals of an instance, or covered instances of a group, are flagged (choice FLEX-18)."""

WHOLE = 1e-9
"""Sums of shares that are 1 may be smaller by this much."""

TOP = 5
"""Rank stability is told for the place of a feature, but for none below this."""


@dataclass(frozen=True)
class Measured:
    """Local scores of the n sample rows.

    Attributes:
        found: the changes of m counterfactuals; `row` (m,) says whose; `counted` (m, d) which count.
        L, K: local scores (n, d) and numbers of counterfactuals (n,).
        asked: shape (n,); rows whose counterfactuals were looked for.
        state: `immutable`, `constant` or empty for each of d features.
    """

    found: Changes
    row: Ints
    counted: Bools
    L: Floats
    K: Ints
    asked: Bools
    state: NDArray[Any]

    @property
    def ranked(self) -> Bools:
        """Features that take part in rankings, shape (d,)."""
        return np.asarray(self.state == "")


@dataclass(frozen=True)
class Group:
    """Rows whose scores are averaged: positions in the sample, and their weights."""

    region: str | None
    prediction: str | None
    rows: Ints
    weight: Floats


@dataclass(frozen=True)
class Summary:
    """Scores of a group; arrays of shape (d,), NaN where undefined; `replicates` is (repeats, d).

    Attributes:
        changed: the interval of `mean_changed`; NaN where there is none.
    """

    group: Group
    n: int
    covered: int
    score: Floats
    low: Floats
    high: Floats
    changed: tuple[float, float]
    replicates: Floats
    sizes: Magnitudes

    @property
    def mean_changed(self) -> float | None:
        """Features changed per counterfactual: the sum of the scores."""
        return float(self.score.sum()) if self.covered else None


def summarise(measured: Measured, group: Group, *, pooled: bool, repeats: int, rng: np.random.Generator) -> Summary:
    """The scores of a group, with intervals over its covered instances, and `repeats` resamples of these for ranks.

    Rows that were not asked about are left out. With fewer than two covered instances there is no interval. What is
    averaged is known to lie between 0 and 1, and the features changed by a counterfactual between 1 and all; a
    threshold on the size of a change may leave none.
    """
    rows = group.rows[measured.asked[group.rows]]
    own = group.weight[measured.asked[group.rows]]
    weight = frequency.weights(measured.K[rows], own, pooled=pooled)
    covered = measured.K[rows] > 0
    L, weight = measured.L[rows][covered], weight[covered]
    resampled = bool(repeats) and len(L) > 1
    replicates = bootstrap_means(L, weight, repeats, rng) if resampled else np.empty((0, L.shape[1]))
    low, high = mean_band(L, 0, 1, weight)
    total = L.sum(axis=1, keepdims=True)
    ends = mean_band(total, 1 if (total >= 1 - WHOLE).all() else 0, max(int(measured.ranked.sum()), 1), weight)
    inside = np.zeros(len(measured.K), dtype=bool)
    inside[rows] = True
    sizes = frequency.magnitudes(measured.found, measured.counted, inside[measured.row])
    return Summary(
        group,
        len(rows),
        len(L),
        frequency.mean(L, weight),
        low,
        high,
        (float(ends[0][0]), float(ends[1][0])),
        replicates,
        sizes,
    )


def _status(state: NDArray[Any], n: int) -> NDArray[Any]:
    plain = "undefined" if n == 0 else "few" if n < FEW else "ok"
    return np.where(state == "", plain, state)


def scores_table(summaries: Sequence[Summary], measured: Measured, keys: tuple[str, ...]) -> pd.DataFrame:
    """One row per group and feature; what may not vary has no frequency."""
    frames = [_scores(s, measured) for s in summaries]
    columns = [*keys, "feature", "frequency", "low", "high", "n", "rank"]
    columns += ["changes_p10", "changes_p50", "changes_p90", "increase_share", "status"]
    return pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)


def _scores(summary: Summary, measured: Measured) -> pd.DataFrame:
    ranked = measured.ranked
    may_vary = measured.state != "immutable"
    p10, p50, p90 = summary.sizes.quantiles
    return pd.DataFrame(
        {
            "region": pd.Series([summary.group.region] * len(ranked), dtype=object),
            "prediction": pd.Series([summary.group.prediction] * len(ranked), dtype=object),
            "feature": measured.found.names,
            "frequency": np.where(may_vary, summary.score, np.nan),
            "low": np.where(ranked, summary.low, np.nan),
            "high": np.where(ranked, summary.high, np.nan),
            "n": summary.covered,
            "rank": average_ranks(np.where(ranked, summary.score, np.nan)),
            "changes_p10": p10,
            "changes_p50": p50,
            "changes_p90": p90,
            "increase_share": summary.sizes.increase_share,
            "status": _status(measured.state, summary.covered),
        }
    )


def local_table(ids: Sequence[str], measured: Measured) -> pd.DataFrame:
    """One row per instance asked about and feature; `ids` are those of all n rows."""
    rows = np.flatnonzero(measured.asked)
    L, K, d = measured.L[rows], measured.K[rows], measured.L.shape[1]
    ranked = np.broadcast_to(measured.ranked, L.shape)
    low, high = wilson(L, np.broadcast_to(K[:, None], L.shape))
    sizes = frequency.local_magnitudes(measured.found, measured.counted, measured.row, len(measured.K))
    p10, p50, p90 = sizes.quantiles[:, rows]
    plain = np.where(K == 0, "undefined", np.where(K < FEW, "few", "ok"))[:, None]
    table = {
        "instance": [ids[i] for i in rows.tolist() for _ in range(d)],
        "feature": list(measured.found.names) * len(rows),
        "frequency": np.where(measured.state != "immutable", L, np.nan),
        "low": np.where(ranked, low, np.nan),
        "high": np.where(ranked, high, np.nan),
        "n": np.repeat(K, d),
        "rank": average_ranks(np.where(ranked, L, np.nan)),
        "changes_p10": p10,
        "changes_p50": p50,
        "changes_p90": p90,
        "increase_share": sizes.increase_share[rows],
        "status": np.where(ranked, plain, measured.state),
    }
    return pd.DataFrame({name: np.ravel(column) for name, column in table.items()})


def coverage_table(summaries: Sequence[Summary]) -> pd.DataFrame:
    """One row per group: how many instances have a counterfactual, and how many features one changes."""
    return pd.DataFrame(
        {
            "region": pd.Series([s.group.region for s in summaries], dtype=object),
            "prediction": pd.Series([s.group.prediction for s in summaries], dtype=object),
            "n": [s.n for s in summaries],
            "covered": [s.covered for s in summaries],
            "coverage": [s.covered / s.n if s.n else np.nan for s in summaries],
            "mean_changed": [np.nan if s.mean_changed is None else s.mean_changed for s in summaries],
        }
    )


def stability_table(overall: Summary, measured: Measured) -> pd.DataFrame:
    """How often a feature keeps its place, or a better one, in resamples of the instances; below `TOP`: reaches it."""
    chosen = np.flatnonzero(measured.ranked)
    replicates = overall.replicates[:, chosen]
    if not len(replicates):
        return pd.DataFrame(columns=["feature", "top", "probability"])
    place = np.ceil(average_ranks(overall.score[chosen])).astype(np.int64)
    top = np.minimum(place, TOP)
    reached = np.stack([rank_stability(replicates, t) for t in range(1, TOP + 1)])
    return pd.DataFrame(
        {
            "feature": [measured.found.names[j] for j in chosen],
            "top": top,
            "probability": reached[top - 1, np.arange(len(top))],
        }
    )
