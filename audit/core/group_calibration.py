"""Calibration of groups: how large it is, what it is made of, and which way scores lean in one beside another."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from audit.core.answers import Answers, loss_estimates
from audit.core.disparity import mean_gap
from audit.core.evidence import Metric, Result, Where
from audit.core.measures import mean_metric
from audit.core.model import Ints
from audit.core.rates import Bools, Grouping
from audit.core.scoring import bin_edges, bin_of
from audit.core.stats import wilson

WIDEST = (-1.0, 1.0)
"""Between which a score less what came lies."""


def group_calibration(
    groupings: Sequence[tuple[Grouping, Ints]],
    answers: Answers,
    bins: int,
    least: int,
    bootstrap: int,
    rng: np.random.Generator,
) -> Result:
    """Calibration of the groups that are shown, by grouping and their positions in it.

    Args:
        bins: of equal width; those with fewer than `least` rows are left out of the table.
        bootstrap: resamples of rows for the interval of the calibration error.

    Returns:
        Metrics calibration_error, score_excess (mean score less observed share) and score_excess_gap; the table
        `fairness_calibration`, and rows of `fairness_gaps`.
    """
    rows, gaps, metrics = [], [], []
    losses = answers.losses(bins)
    for groups, shown in groupings:
        for number in shown:
            own, where = groups.of == number, Where(data="evaluate", by=groups.by, group=groups.names[number])
            (error,) = loss_estimates([losses[own]], bootstrap, rng)[0]["calibration_error"]
            metrics.append(
                Metric(
                    name="calibration_error", value=error.value, low=error.low, high=error.high, interval=error.how,
                    unit="share", n=error.n, where=where,
                )
            )  # fmt: skip
            table = _bins(answers, own, bins, least)
            table.insert(0, "by", groups.by)
            table.insert(1, "group", groups.names[number])
            rows.append(table)
        leaning, gap = _leaning(groups, shown, answers)
        metrics += leaning
        gaps += gap
    tables = {"fairness_calibration": pd.concat(rows, ignore_index=True)} if rows else {}
    return Result(tuple(metrics), tables | ({"fairness_gaps": pd.DataFrame(gaps)} if gaps else {}))


def _bins(answers: Answers, own: Bools, bins: int, least: int) -> pd.DataFrame:
    """Mean score beside observed share in bins."""
    score, came = (x[own] for x in answers.calibrated())
    place, edges = bin_of(score, bins), bin_edges(bins)
    n = np.bincount(place, minlength=bins)
    used = np.flatnonzero(n >= least)
    observed = np.bincount(place, weights=came, minlength=bins)[used] / n[used]
    low, high = wilson(observed, n[used])
    mean = np.bincount(place, weights=score, minlength=bins)[used] / n[used]
    columns = {"bin_low": edges[used], "bin_high": edges[used + 1], "mean_score": mean}
    return pd.DataFrame(columns | {"observed": observed, "low": low, "high": high, "n": n[used]})


def _leaning(groups: Grouping, shown: Ints, answers: Answers) -> tuple[list[Metric], list[dict[str, Any]]]:
    """How far the mean score of each group is above its observed share, and a row of `fairness_gaps`."""
    score, came = answers.calibrated()
    errors = [(score - came)[groups.of == number] for number in shown]
    metrics = [
        mean_metric(
            "score_excess",
            own,
            "share",
            Where(data="evaluate", by=groups.by, group=groups.names[number]),
            "rows",
            WIDEST,
        )
        for number, own in zip(shown, errors, strict=True)
    ]
    if len(shown) < 2:
        return metrics, []
    gap, n = mean_gap(errors, *WIDEST), sum(map(len, errors))
    metrics.append(
        Metric(
            name="score_excess_gap", value=gap.value, low=gap.low, high=gap.high,
            interval="simultaneous over pairs of groups (Bonferroni), 95 %", unit="share", n=n,
            where=Where(data="evaluate", variant=groups.by),
        )
    )  # fmt: skip
    row: dict[str, Any] = {"by": groups.by, "measure": "mean score less observed share", "groups": len(shown), "n": n}
    row |= {"share_gap": gap.value, "share_gap_low": gap.low, "share_gap_high": gap.high}
    row |= dict.fromkeys(("ratio", "ratio_low", "ratio_high"), np.nan)
    row |= {"lowest": groups.names[shown[gap.lowest]], "highest": groups.names[shown[gap.highest]]}
    return metrics, [row]
