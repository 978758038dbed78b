"""A population whose drivers, people without recourse and group gap are planted, so that the truth is known.

A loan is granted to people who are not locked out: in the north from an income of 60, in the south up to debts of 40.
Income can rise and debts can fall; nothing else can change, so whoever is locked out has no recourse, and all others
have exactly one cheapest way. Being locked out is more frequent among women: that is the planted gap.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from audit.core.counterfactuals import to_frame
from audit.core.evidence import Note, Result
from audit.core.method import Inputs
from audit.core.policy import FeatureRule
from audit.testing import toy_inputs

INCOME, DEBTS = 60, 40
LOCKED = {"f": 0.35, "m": 0.15}
"""The share of each group that is locked out, whatever else is true of a person."""
DRIVERS = {"north": "income", "south": "debts"}
"""The feature that decides in each region, for people who are not locked out."""
PER_ROW = 5
TRUTH_ROWS = 100_000

RULES = {"income": FeatureRule(change="increase", max=100), "debts": FeatureRule(change="decrease", min=0)}
WHOLE = pd.DataFrame(
    {"income": [0, 100], "debts": [0, 100], "noise": [0, 100], "branch": ["north", "south"], "locked": [False, True],
     "sex": ["f", "m"]}
)  # fmt: skip
"""Training rows that span every range, so that costs mean the same in each draw."""


def draw(n: int, seed: int) -> pd.DataFrame:
    """So many people, with their sex and region."""
    rng = np.random.default_rng(seed)
    sex = rng.choice(["f", "m"], n)
    return pd.DataFrame(
        {
            "income": rng.integers(0, 101, n),
            "debts": rng.integers(0, 101, n),
            "noise": rng.integers(0, 101, n),
            "branch": rng.choice(["north", "south"], n),
            "locked": rng.random(n) < np.where(sex == "f", LOCKED["f"], LOCKED["m"]),
            "sex": sex,
        }
    )


def score(frame: pd.DataFrame) -> np.ndarray:
    """P(yes) of the planted rule."""
    enough = np.where(frame["branch"] == "north", frame["income"] >= INCOME, frame["debts"] <= DEBTS)
    return np.where(enough & ~frame["locked"].astype(bool), 0.9, 0.1)


def population(n: int, seed: int) -> Inputs:
    """The inputs of an audit of n people, with a region for each branch."""
    frame = draw(n, seed)
    ids = np.array([str(i) for i in range(n)], dtype=object)
    regions = [
        pd.DataFrame({"region": name, "instance": ids[frame["branch"] == name], "distance": 0.0, "weight": 1.0})
        for name in DRIVERS
    ]
    return toy_inputs(
        frame, score, protected=("sex",), features=RULES, train=WHOLE, regions=pd.concat(regions, ignore_index=True)
    )


@dataclass(frozen=True)
class _Refused:
    rows: np.ndarray
    codes: np.ndarray
    locked: np.ndarray
    north: np.ndarray


def _refused(inputs: Inputs) -> _Refused:
    codes = inputs.evaluate.codes
    rows = np.flatnonzero(inputs.decision.outcome(inputs.scores) == 0)
    names = inputs.schema.names
    north = codes[rows, names.index("branch")] == 0
    return _Refused(rows, codes[rows], codes[rows, names.index("locked")] == 1, north)


def _set(inputs: Inputs, row: np.ndarray, codes: np.ndarray, status: np.ndarray, constraints: str) -> Result:
    """A set of counterfactuals as the engine would make it, without a search."""
    before = inputs.evaluate.codes[row]
    scale = np.array([feature.scale for feature in inputs.schema.features])
    ordered = np.array([feature.ordered for feature in inputs.schema.features])
    sizes = np.where(ordered, np.abs(codes - before) / np.where(scale > 0, scale, 1), codes != before)
    ids = np.array(inputs.evaluate.ids, dtype=object)
    columns = {
        "instance": ids[row], "k": pd.Series(row).groupby(row).cumcount().to_numpy() + 1, "score_before": 0.1,
        "score_after": 0.9, "distance": sizes.mean(axis=1), "cost": sizes.sum(axis=1),
        "n_changed": (codes != before).sum(axis=1), "verified": True,
    }  # fmt: skip
    states = pd.DataFrame({"instance": ids, "status": status, "reason": "", "evaluated_rows": 0})
    note = Note(code="search", args={"search": "formula", "constraints": constraints, "for": "unfavourable"})
    found = to_frame(inputs.schema, columns, codes)
    return Result(tables={"counterfactuals": found, "instance_status": states}, notes=(note,))


def ways(inputs: Inputs) -> Result:
    """Under the policy: the cheapest way of everyone who has one, by formula; the others are proven to have none."""
    refused = _refused(inputs)
    status = np.full(len(inputs.evaluate), "not_applicable", dtype=object)
    status[refused.rows] = np.where(refused.locked, "infeasible", "found")
    free = ~refused.locked
    codes, names = refused.codes[free].copy(), inputs.schema.names
    north = refused.north[free]
    codes[north, names.index("income")] = INCOME
    codes[~north, names.index("debts")] = DEBTS
    return _set(inputs, refused.rows[free], codes, status, "policy")


def flips(inputs: Inputs) -> Result:
    """Under the domain: `PER_ROW` counterfactuals of each refused person, by formula.

    What keeps a person out changes in all of them, and the noise in one, for a third of the people.
    """
    refused, names = _refused(inputs), inputs.schema.names
    status = np.full(len(inputs.evaluate), "not_applicable", dtype=object)
    status[refused.rows] = "found"
    codes = np.repeat(refused.codes, PER_ROW, axis=0)
    place = np.tile(np.arange(PER_ROW), len(refused.rows))
    income, debts, noise, locked = (names.index(name) for name in ("income", "debts", "noise", "locked"))
    north = np.repeat(refused.north, PER_ROW)
    poor, indebted = codes[:, income] < INCOME, codes[:, debts] > DEBTS
    codes[north & poor, income] = INCOME + place[north & poor]
    codes[~north & indebted, debts] = DEBTS - place[~north & indebted]
    moved = (place == 0) & (codes[:, noise] % 3 == 0)
    codes[moved, noise] = (codes[moved, noise] + 7) % 101
    codes[:, locked] = 0
    return _set(inputs, np.repeat(refused.rows, PER_ROW), codes, status, "domain")


def with_sets(inputs: Inputs, made: Result) -> Inputs:
    """The inputs of a method that reads `made`."""
    return replace(inputs, results={"counterfactuals": made})


def truth(seed: int = 987_654_321) -> dict[str, float]:
    """The statistics of `TRUTH_ROWS` fresh people, counted with pandas: shares, costs and gaps, by group and region."""
    frame = draw(TRUTH_ROWS, seed)
    refused = frame[score(frame) < 0.5]
    free = refused[~refused["locked"]]
    cost = np.where(free["branch"] == "north", INCOME - free["income"], free["debts"] - DEBTS) / 100
    able, price = (
        (~refused["locked"]).groupby(refused["sex"]).mean(),
        pd.Series(cost).groupby(free["sex"].to_numpy()).mean(),
    )
    region = (~refused["locked"]).groupby(refused["branch"]).mean()
    north = refused[refused["branch"] == "north"]
    return {
        "feasible_rate": float((~refused["locked"]).mean()),
        "feasible_rate f": float(able["f"]),
        "feasible_rate m": float(able["m"]),
        "feasible_rate north": float(region["north"]),
        "feasible_rate_gap": float(able.max() - able.min()),
        "mean_cost": float(cost.mean()),
        "mean_cost f": float(price["f"]),
        "mean_cost_gap": float(price.max() - price.min()),
        "reason_share income north": float((north["income"] < INCOME).mean()),
        "reason_share locked": float(refused["locked"].mean()),
    }
