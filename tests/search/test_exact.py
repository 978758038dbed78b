"""The search `exact`: it agrees with trying everything, and claims no proof that does not hold."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exact_case import MODELS, brute, problem

from audit.core.counterfactuals import Found, distance
from audit.core.method import Inputs
from audit.search.exact import Exact
from audit.testing import toy_context

ACCEPT = bool(os.environ.get("AUDIT_ACCEPT"))
CASES = 500 if ACCEPT else 60
FEASIBLE = 5_000 if ACCEPT else 500


def search(inputs: Inputs, **settings: Any) -> Found:
    assert inputs.sample is not None
    before = inputs.decision.outcome(inputs.sample.scores)
    return Exact(**settings).generate(toy_context(inputs), inputs.sample.table, before)


def agreed(seed: int, folder: Path, seen: Counter[str], **settings: Any) -> None:
    """One problem, row by row beside trying everything."""
    given = problem(seed, folder, rows=2, rules=bool(settings))
    found = search(given.inputs, constraints=given.constraints, **(settings or {"combinations": 0}))
    assert given.inputs.sample is not None
    x = given.inputs.sample.table.codes
    for i in range(len(x)):
        least, feasible = brute(given, i)
        mine = found.codes[found.row == i]
        if len(mine):
            assert given.policy.allowed(x[[i]], mine).all(), seed
            assert distance(given.inputs.schema, x[[i]], mine)[0] == pytest.approx(least, abs=1e-9), (seed, i)
            assert found.optimal is not None
            assert found.optimal[i], (seed, i)
            seen["optimal"] += 1
        else:
            assert least == np.inf, (seed, i, found.reasons[i])
            assert found.proven[i] != feasible, (seed, i, found.reasons[i])
            seen["infeasible"] += 1


@pytest.mark.parametrize("make", range(len(MODELS)), ids=[model.__name__ for model in MODELS])
def test_it_agrees_with_trying_everything(make: int, tmp_path: Path, figure) -> None:
    """By the solvers alone: nothing is left to trying all combinations."""
    seen: Counter[str] = Counter()
    for seed in range(make, CASES, len(MODELS)):
        agreed(seed, tmp_path, seen)
    assert min(seen["optimal"], seen["infeasible"]) > 3
    figure(f"exact: {MODELS[make].__name__}, rows as trying everything has them", str(dict(seen)))


def test_a_step_that_ends_on_a_split_of_a_scaled_number(tmp_path: Path) -> None:
    """The formula of the scaler put it on the other side than the model does."""
    seen: Counter[str] = Counter()
    agreed(172, tmp_path, seen)
    assert seen["optimal"] == 2


def test_rules_across_features_are_settled_by_trying_all(tmp_path: Path) -> None:
    seen: Counter[str] = Counter()
    for seed in range(1000, 1000 + CASES // 5):
        agreed(seed, tmp_path, seen, combinations=50_000)
    assert seen["optimal"] > 3


def test_infeasible_is_never_said_of_a_feasible_row(tmp_path: Path, figure) -> None:
    """Only the rows of which it is said are tried in full."""
    rows, said = 0, 0
    for seed in range(5000, 5000 + FEASIBLE // 10):
        given = problem(seed, tmp_path, rows=10, rules=seed % 2 == 0)
        found = search(given.inputs, constraints=given.constraints, combinations=0)
        rows += len(found.proven)
        for i in np.flatnonzero(found.proven):
            assert not brute(given, int(i))[1], (seed, i)
            said += 1
    assert rows == FEASIBLE
    assert said > FEASIBLE / 20
    figure("exact: rows proved to have none, none of them wrongly", said, f"{rows} rows")
