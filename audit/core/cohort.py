"""People who are told of together, and how many of them can change a decision."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from audit.core.evidence import Where
from audit.core.model import Ints
from audit.core.stats import wilson


@dataclass(frozen=True)
class Cohort:
    """People who are told of together: `rows` are positions among the people who were asked about."""

    by: str | None
    group: str | None
    rows: Ints
    state: Literal["ok", "suppressed", "suppressed too"] = "ok"

    @property
    def where(self) -> Where:
        """Where its metrics were measured."""
        if self.by == "region":
            return Where(data="sample", region=self.group)
        return Where(data="sample", by=self.by, group=self.group)


def counted(status: "np.ndarray[Any, np.dtype[Any]]") -> tuple[int, int, int]:
    """People, those with a way, those who are proven to have none."""
    return len(status), int((status == "found").sum()), int((status == "infeasible").sum())


RATES = (
    *("n", "found", "infeasible", "not_found", "found_rate", "found_rate_low", "found_rate_high", "at_most"),
    *("feasible_rate_low", "feasible_rate_high", "no_recourse_rate", "no_recourse_rate_low", "no_recourse_rate_high"),
)


def feasibility(people: pd.DataFrame, cohort: Cohort) -> dict[str, Any]:
    """A row of `recourse_groups`; a group that may not be shown has its name and no number."""
    n, found, proven = counted(people["status"].to_numpy()[cohort.rows])
    row: dict[str, Any] = {
        "by": cohort.by,
        "group": cohort.group,
        **dict.fromkeys(RATES, np.nan),
        "status": cohort.state,
    }
    if cohort.state != "ok":
        return row
    row |= {"n": float(n), "found": float(found), "infeasible": float(proven), "not_found": float(n - found - proven)}
    if not n:
        return row
    (low, above), possible, without = (wilson(x / n, n) for x in (found, n - proven, proven))
    row |= {"found_rate": found / n, "found_rate_low": float(low), "found_rate_high": float(above)}
    row |= {"at_most": 1 - proven / n, "feasible_rate_low": float(low), "feasible_rate_high": float(possible[1])}
    row |= {"no_recourse_rate": proven / n, "no_recourse_rate_low": float(without[0])}
    return {**row, "no_recourse_rate_high": float(without[1])}
