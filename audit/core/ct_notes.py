"""What counterfactual training chooses where its paper is silent, and what it has to say of a training."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from pydantic import JsonValue

from audit.core import ct_summary as summary
from audit.core.choice import Choice
from audit.core.ct_inputs import Case
from audit.core.ct_objective import bounds
from audit.core.ct_summary import REMEDIED, TWIN
from audit.core.ct_training import Training
from audit.core.evidence import Note
from audit.core.policy import Policy

FEW_SEEDS = 5
"""With fewer seeds the intervals say little of what another training would give."""

MATURE = 0.2
"""A smaller share of searches that reach tau, after epoch `SETTLED`, is worth a warning."""

SETTLED = 10

NOTICEABLE = 0.02
"""A loss of accuracy or validity by more than this is worth a warning."""

CHOICES = (
    Choice("CT-01", "step size of the search", "0.1", "the code runs .1 and meets the tables; the text says .25"),
    Choice("CT-02", "kernel lengths of the discrepancy", "5, 0.5, median", "the text says .5, the code 5"),
    Choice("CT-03", "domain: standard deviations around the mean", "2", "the code; the paper says 3"),
    Choice("CT-04", "eps of nascent points", "0.3", "never stated; at most, as in the code"),
    Choice("CT-05", "mature", "tau reached", "the appendix also counts searches that used up their steps"),
    Choice("CT-06", "test rows", "the evaluation rows", "the paper's table and code disagree on synthetic data"),
    Choice("CT-07", "weights under mutability constraints", "the same", "the published zeros are stale"),
    Choice("CT-08", "target of a search", "uniform, not the predicted class", "the code; the text says p(y)"),
    Choice("CT-09", "distance of implausibility", "L1 sum", "unclear in the paper"),
    Choice("CT-10", "claims of 90 % and 19 %", "not repeated", "one cell, and an older draft"),
    Choice("CT-11", "attribution table", "as the table reads", "the text names one data set twice"),
    Choice("CT-12", "searches that do not reach tau", "replace", "the later code keeps them; validity falls"),
    Choice("CT-13", "one-hot columns", "relaxed, judged snapped", "snapping at each step blocks groups"),
    Choice("CT-14", "energy decay below 13 steps", "b at least 1", "the term would vanish"),
    Choice("CT-15", "row at tau before the first step", "immature", "the code returns before it marks it"),
    Choice("CT-16", "shuffle", "no", "the published loader"),
    Choice("CT-17", "ABilkhoo/pycfx as reference", "not used", "another energy and another decay"),
    Choice("CT-18", "adversarial loss with eps .5", "ignored", "dead code"),
    Choice("CT-19", "seeds of training", "5", "the paper has one model per cell"),
)


def seed_notes(seeds: int) -> Iterator[Note]:
    """Whether there are too few seeds."""
    if seeds < FEW_SEEDS:
        yield Note(code="few_seeds", severity="minor", args={"seeds": seeds, "bar": FEW_SEEDS})


def case_notes(case: Case, policy: Policy) -> Iterator[Note]:
    """What of the data and of the policy took part."""
    if case.groups:
        yield Note(code="one_hot", args={"groups": len(case.groups)})
    if sum(case.left_out):
        left: dict[str, JsonValue] = {"train": case.left_out[0], "evaluate": case.left_out[1]}
        yield Note(code="rows_left_out", severity="minor", args=left)
    names = np.array(case.prepare.features.names, dtype=object)
    still = names[np.bincount(case.prepare.groups, case.immutable, len(names)) > 0]
    for code, listed in (("immutable_features", tuple(still)), ("constant_features", case.constant)):
        if listed:
            yield Note(code=code, args={"features": ", ".join(listed), "count": len(listed)})
    if policy.rules or policy.transitions or (policy.step > 0).any():
        yield Note(code="policy_in_part", args={"rules": len(policy.rules), "transitions": len(policy.transitions)})


def training_notes(how: Training, tau: float, steps: int, n: int, epochs: pd.DataFrame) -> Iterator[Note]:
    """What went wrong or may have in the trainings of all seeds on n rows.

    Args:
        epochs: their logs, with `model`.
    """
    own = epochs[epochs["model"] == REMEDIED]
    weights = how.weights.of(how.objective)
    each = how.counterfactuals_for(n) / len(bounds(n, how.batch_for(n)))
    if how.objective != "vanilla" and each < how.batch_for(n) / 2:
        yield Note(code="few_tuples", args={"tuples": each, "batch": how.batch_for(n)})
    if weights.div > 0 and weights.reg == 0:
        yield Note(code="no_ridge", severity="minor", args={"div": weights.div})
    if how.objective != "vanilla" and round(steps / 25) < 1:
        yield Note(code="short_search", args={"steps": steps})
    for code, column in (("skipped_updates", "skipped_updates"), ("nan_steps", "nan_steps")):
        count = int(own[column].fillna(0).sum())
        if count:
            yield Note(code=code, severity="minor", args={"count": count})
    searched = own.dropna(subset=["mature_share"])
    if len(searched) and not (searched["mature_share"] > 0).any():
        yield Note(code="none_mature", severity="major", args={"tau": tau, "steps": steps})
    late = searched[searched["epoch"] > SETTLED]["mature_share"]
    if len(late) and 0 < late.mean() < MATURE:
        yield Note(code="few_mature", severity="minor", args={"share": float(late.mean()), "bar": MATURE})


def result_notes(values: pd.DataFrame) -> Iterator[Note]:
    """What training cost in accuracy and in validity."""
    accuracies = [summary.mean_of(values, model, "accuracy") for model in (TWIN, REMEDIED)]
    if None not in accuracies:
        before, after = (float(a or 0) for a in accuracies)
        lost = before - after > NOTICEABLE
        yield Note(
            code="accuracy_loss" if lost else "accuracy",
            severity="minor" if lost else None,
            args={"before": before, "after": after},
        )
    variants = values.loc[values["quantity"] == "validity", "variant"].unique()
    for variant in variants:
        before, after = (summary.mean_of(values, m, "validity", variant) or 0.0 for m in (TWIN, REMEDIED))
        if before - after > NOTICEABLE:
            args: dict[str, JsonValue] = {"variant": variant, "before": before, "after": after}
            yield Note(code="validity_below", severity="minor", args=args)
