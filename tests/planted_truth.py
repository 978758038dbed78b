"""Audits of a population whose truth is known, by the searches and methods themselves; `planted` has formulas instead.

Every feature has few values, so there are 2,000 kinds of people. What the search finds for a person depends on the
person and on the training rows alone; so each kind is searched once, and the truth of a statistic is that over 100,000
fresh people, counted kind by kind. The training rows are those of the audited model and stay the same.
"""

from dataclasses import dataclass, replace
from functools import cache
from itertools import product

import numpy as np
import pandas as pd

from audit.core.evidence import Metric, Result
from audit.core.method import GENERATORS, Context, Inputs
from audit.core.plan import Part
from audit.core.policy import FeatureRule
from audit.core.region import Region
from audit.core.sample import SampleSettings, draw, sampled
from audit.methods.flex import Flex
from audit.methods.performance import Performance
from audit.methods.recourse import Recourse
from audit.testing import toy_context, toy_inputs
from audit.testing.conformance import search_set

VALUES = {
    "income": range(10),
    "debts": range(10),
    "savings": range(5),
    "branch": ("north", "south"),
    "locked": (False, True),
}
DRIVERS = {"north": "income", "south": "debts"}
"""What the decision depends on, besides `locked`, which nobody can change."""
LOCKED = {"f": 0.35, "m": 0.15}
RULES = {name: FeatureRule(change="any") for name in ("income", "debts", "savings")}
REGIONS = tuple(Region(name=name, where=f"branch == '{name}'") for name in DRIVERS)
SETS = {
    "flips": {"search": "nearest", "per_row": 10},
    "recourse": {"search": "nearest", "per_row": 3, "for": "unfavourable", "constraints": "policy"},
}
TRUTH_ROWS, EVALUATED, AUDITED, TRAINED = 100_000, 400, 200, 300

FEWEST = 20
"""An interval over instances is held to both sides of its word where so many of them are expected to differ from the
commonest value; where fewer do, its coverage goes in steps and may be larger."""


@dataclass(frozen=True)
class Planted:
    """A statistic of the population.

    Attributes:
        differing: how many of the audited rows are expected to differ from the commonest value.
    """

    value: float
    differing: float = np.inf

    @property
    def judged(self) -> bool:
        """Whether its interval is held to both sides of its word."""
        return self.differing >= FEWEST


Truth = dict[str, Planted]


def people(n: int, seed: int) -> pd.DataFrame:
    """So many people, with their sex and whether they paid."""
    rng = np.random.default_rng([seed, n])
    sex = rng.choice(["f", "m"], n)
    frame = pd.DataFrame({name: rng.choice(values, n) for name, values in VALUES.items()})
    frame["locked"] = rng.random(n) < np.where(sex == "f", LOCKED["f"], LOCKED["m"])
    paid = np.where(rng.random(n) < chance(frame), "yes", "no")
    return frame.assign(sex=sex, paid=paid)


def chance(frame: pd.DataFrame) -> np.ndarray:
    """P(paid), which the model knows."""
    driver = frame["income"].where(frame["branch"] == "north", 9 - frame["debts"])
    points = 0.8 * (driver.astype(float) - 4.5) + 0.5 * (frame["savings"].astype(float) - 2)
    return 1 / (1 + np.exp(8 * frame["locked"].to_numpy(dtype=float) - points.to_numpy()))


@cache
def trained(seed: int = 1) -> pd.DataFrame:
    """The training rows."""
    return people(TRAINED, 10**6 + seed)


def inputs_of(frame: pd.DataFrame, train: pd.DataFrame) -> Inputs:
    """All rows of the frame, audited."""
    return toy_inputs(frame, chance, target="paid", protected=("sex",), train=train, features=RULES)


def searched(inputs: Inputs) -> dict[str, Result]:
    """The verified counterfactual sets."""
    return {
        name: search_set(GENERATORS.classes()["nearest"].model_validate(own), inputs)[1] for name, own in SETS.items()
    }


def audited(seed: int, train: pd.DataFrame | None = None, stratify: str = "none") -> Inputs:
    """The inputs of one audit: fresh people, of whom some are drawn."""
    everyone = inputs_of(people(EVALUATED, seed), trained() if train is None else train)
    settings = SampleSettings(rows=AUDITED, stratify=stratify)
    return sampled(everyone, draw(everyone, settings, REGIONS, np.random.default_rng([seed, 5])))


def audit(seed: int, train: pd.DataFrame | None = None, stratify: str = "none") -> dict[str, Metric]:
    """The numbers of one audit by name and place."""
    inputs = audited(seed, train, stratify)
    sets = searched(inputs)

    def context(name: str) -> Context:
        return toy_context(replace(inputs, results={"counterfactuals": sets[name]}), seed)

    part = Part(index=0)
    results = {
        "performance": Performance(bootstrap=300).run(toy_context(inputs, seed), part),
        "flex": Flex.model_validate({"from": "flips", "by_prediction": False}).run(context("flips"), part),
        "flex_recourse": Flex.model_validate({"from": "recourse", "by_prediction": False}).run(
            context("recourse"), part
        ),
        "recourse": Recourse.model_validate({"from": "recourse"}).run(context("recourse"), part),
        **{f"set {name}": result for name, result in sets.items()},
    }
    return {f"{task}.{label(metric)}": metric for task, result in results.items() for metric in result.metrics}


def label(metric: Metric) -> str:
    """The name of a number and what it was measured on."""
    where = metric.where
    parts = (where.region, where.group, where.outcome, where.feature, where.variant)
    return " ".join([metric.name, *(part for part in parts if part is not None)])


@cache
def truth(seed: int = 0) -> Truth:
    """The same numbers of 100,000 fresh people."""
    frame = people(TRUTH_ROWS, 10**7 + seed)
    return truths(frame, trained()) | performance(frame)


def truths(frame: pd.DataFrame, train: pd.DataFrame) -> Truth:
    """The statistics of a frame of people, with plain pandas: each kind of person is searched once."""
    kinds = pd.DataFrame(product(*VALUES.values()), columns=list(VALUES))
    cells = inputs_of(kinds.assign(sex="f", paid="yes"), train)
    sets = searched(cells)
    kind = np.ravel_multi_index(
        [[list(values).index(v) for v in frame[name]] for name, values in VALUES.items()],
        [len(values) for values in VALUES.values()],
    )
    sex, branch = frame["sex"].to_numpy(), frame["branch"].to_numpy()
    refused = chance(frame) < 0.5
    everywhere = np.ones(len(frame), dtype=bool)
    answer: Truth = {}
    for name, result in sets.items():
        own = _per_kind(kinds, result).iloc[kind].reset_index(drop=True)
        asked = everywhere if name == "flips" else refused
        task = "flex" if name == "flips" else "flex_recourse"
        found = own["cost"].notna()
        answer[f"set {name}.coverage"] = _mean(found[asked])
        for measure, column in (("mean_distance", "distance"), ("mean_changed", "n_changed")):
            answer[f"set {name}.{measure}"] = _mean(own[column][asked])
        for region in (None, *DRIVERS):
            rows = asked & (everywhere if region is None else branch == region)
            end = "" if region is None else f" {region}"
            answer[f"{task}.coverage{end}"] = _mean(found[rows])
            answer[f"{task}.mean_changed{end}"] = _mean(own["n_changed"][rows])
            for feature in VALUES if name == "flips" else RULES:
                answer[f"{task}.frequency{end} {feature}"] = _mean(own[feature][rows])
        if name == "recourse":
            answer |= _recourse(own, refused, sex, branch)
    return answer


def _mean(values: pd.Series) -> Planted:
    """The mean of what is known, and the expected number of audited rows that differ from the commonest value."""
    known = values.dropna().astype(float).round(9)
    common = known.value_counts(normalize=True).iloc[0]
    return Planted(float(known.mean()), float((1 - common) * len(known) * AUDITED / TRUTH_ROWS))


def _per_kind(kinds: pd.DataFrame, result: Result) -> pd.DataFrame:
    """What was found for each kind of person: change frequencies, means, the cheapest; NaN where nothing was."""
    found = result.tables["counterfactuals"]
    before = kinds.iloc[found["instance"].astype(int)].reset_index(drop=True)
    moved = pd.DataFrame({name: (found[name] != before[name]).astype(float) for name in VALUES})
    columns = moved.assign(**{name: found[name] for name in ("distance", "n_changed")})
    own = columns.groupby(found["instance"].astype(int)).mean()
    own["cost"] = found.groupby(found["instance"].astype(int))["cost"].min()
    own["fewest"] = (
        found.sort_values(["cost", "k"]).assign(i=found["instance"].astype(int)).groupby("i")["n_changed"].first()
    )
    return own.reindex(range(len(kinds)))


def _recourse(own: pd.DataFrame, refused: np.ndarray, sex: np.ndarray, branch: np.ndarray) -> Truth:
    found = own["cost"].notna()
    answer: Truth = {}
    groups = {"": refused} | {f" {g}": refused & (sex == g) for g in LOCKED}
    groups |= {f" {r}": refused & (branch == r) for r in DRIVERS}
    for end, rows in groups.items():
        answer[f"recourse.feasible_rate{end}"] = _mean(found[rows])
        answer[f"recourse.no_recourse_rate{end}"] = _mean(~found[rows])
        answer[f"recourse.mean_cost{end}"] = _mean(own["cost"][rows])
        answer[f"recourse.mean_changed{end}"] = _mean(own["fewest"][rows])
    for name in ("feasible_rate", "mean_cost"):
        pair = [answer[f"recourse.{name} {g}"].value for g in LOCKED]
        answer[f"recourse.{name}_gap sex"] = Planted(max(pair) - min(pair))
    return answer


def performance(frame: pd.DataFrame) -> Truth:
    """How good the scores are, by scikit-learn."""
    from sklearn import metrics

    p, paid = chance(frame), (frame["paid"] == "yes").to_numpy()
    values = {
        "auc": metrics.roc_auc_score(paid, p),
        "accuracy": metrics.accuracy_score(paid, p >= 0.5),
        "brier": metrics.brier_score_loss(paid, p),
        "log_loss": metrics.log_loss(paid, p),
        "balanced_accuracy": metrics.balanced_accuracy_score(paid, p >= 0.5),
    }
    return {f"performance.{name}": Planted(float(value)) for name, value in values.items()}
