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

CASES = 500 if os.environ.get("AUDIT_ACCEPT") else 60


def search(inputs: Inputs, **settings: Any) -> Found:
    assert inputs.sample is not None
    before = inputs.decision.outcome(inputs.sample.scores)
    return Exact(**settings).generate(toy_context(inputs), inputs.sample.table, before)


@pytest.mark.parametrize("make", range(len(MODELS)), ids=[model.__name__ for model in MODELS])
def test_it_agrees_with_trying_everything(make: int, tmp_path: Path, figure) -> None:
    """By the solvers alone: nothing is left to trying all combinations."""
    seen: Counter[str] = Counter()
    for seed in range(make, CASES, len(MODELS)):
        given = problem(seed, tmp_path)
        found = search(given.inputs, constraints=given.constraints, combinations=0)
        assert given.inputs.sample is not None
        x = given.inputs.sample.table.codes
        for i in range(len(x)):
            least, feasible = brute(given, i)
            mine = found.codes[found.row == i]
            if len(mine):
                assert given.policy.allowed(x[[i]], mine).all(), seed
                assert distance(given.inputs.schema, x[[i]], mine)[0] == pytest.approx(least, abs=1e-9), (seed, i)
                assert found.optimal[i], (seed, i)
                seen["optimal"] += 1
            else:
                assert least == np.inf, (seed, i, found.reasons[i])
                assert found.proven[i] != feasible, (seed, i, found.reasons[i])
                seen["infeasible"] += 1
    assert min(seen["optimal"], seen["infeasible"]) > 5
