"""The bound on plausibility of `cheapest`: worked out by hand, and every answer measured by brute force."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from test_cheapest import IMMUTABLE, search
from test_nearest import additive, applicants

from audit.core.counterfactuals import distance
from audit.core.method import Inputs, Refusal
from audit.core.policy import FeatureRule
from audit.core.table import Floats, Table
from audit.search.cheapest.plausible import IMPLAUSIBLE, NEIGHBOURS, Bound
from audit.testing import toy_inputs

DIAGONAL = pd.DataFrame({"a": np.arange(41) / 4, "b": np.arange(41) / 4})
"""Real rows at every quarter from (0, 0) to (10, 10), which is the range of both features.

The 10th nearest other row of one that has i rows on its shorter side is 10 - i quarters away, and 5 where i >= 5: 2.5
and 2.5, 2.25 and 2.25 for the two at each end, and so on. A share of 95 % leaves out two rows of 41, so 2.25 is allowed
in both features: a distance of 0.225. A row (6, b) lies (6 - b) / 20 from each row between (b, b) and (6, 6).
"""


def origin(**more: FeatureRule) -> Inputs:
    """The row (0, 0), which flips from a = 6 on, whatever b is."""
    frame = pd.DataFrame({"a": [0.0], "b": [0.0]})
    return toy_inputs(
        frame, lambda f: (f["a"] >= 6) * 0.8 + 0.1, train=DIAGONAL, features={"a": FeatureRule(change="any"), **more}
    )


@pytest.mark.parametrize("effort", ["fast", "quality"])
def test_the_nearest_plausible_row_by_hand(effort: str) -> None:
    """(6 - b) / 20 is at most 0.225 from b = 1.5 on."""
    inputs = origin(b=FeatureRule(change="any"))
    assert search(inputs, effort=effort).codes.tolist() == [[6, 0]]
    ((a, b),) = search(inputs, effort=effort, plausible=0.95).codes.tolist()
    assert a == 6
    assert 1.5 - 1e-9 <= b < 1.6


def test_where_nothing_plausible_flips_that_is_the_reason() -> None:
    found = search(origin(b=IMMUTABLE), plausible=0.95, constraints="policy")
    assert len(found.row) == 0
    assert not found.proven[0]
    assert found.reasons == [IMPLAUSIBLE]
    assert search(origin(b=IMMUTABLE), constraints="policy").codes.tolist() == [[6, 0]]


def test_to_try_everything_is_no_proof_that_nothing_flips() -> None:
    """All 41 values of a are tried, and those that flip are refused."""
    whole = pd.DataFrame({"a": np.arange(41), "b": np.arange(41)})
    inputs = toy_inputs(
        whole.iloc[:1], lambda f: (f["a"] >= 24) * 0.8 + 0.1, train=whole, features={"a": FeatureRule(change="any")}
    )
    found = search(inputs, plausible=0.95, constraints="policy")
    assert (len(found.row), bool(found.proven[0]), found.reasons) == (0, False, [IMPLAUSIBLE])
    assert found.evaluated[0] >= 40
    never = replace(inputs, model=toy_inputs(whole.iloc[:1], lambda f: f["a"] * 0.0 + 0.1, train=whole).model)
    assert search(never, plausible=0.95, constraints="policy").proven[0]


def neighbour(real: Table, codes: Floats, own: str | None) -> float:
    """The distance of a row to its 10th nearest real one, counted out."""
    far = distance(real.schema, np.broadcast_to(codes, real.codes.shape), real.codes)
    far[[name == own for name in real.ids]] = np.inf
    return float(np.sort(far)[NEIGHBOURS - 1])


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_every_answer_lies_within_the_bound(share: float, *, trained: bool) -> None:
    inputs = toy_inputs(applicants(120, 3), additive, train=applicants(150, 4) if trained else None)
    assert inputs.sample is not None
    rows, real = inputs.sample.table, inputs.reference
    free, found = search(inputs, per_row=2), search(inputs, per_row=2, plausible=share)
    usual = sorted(neighbour(real, codes, name) for codes, name in zip(real.codes, real.ids, strict=True))
    bar = usual[int(np.ceil(share * len(usual))) - 1]

    def far(row: int, codes: Floats) -> float:
        return neighbour(real, codes, None if trained else rows.ids[row])

    assert all(far(row, codes) <= bar + 1e-12 for row, codes in zip(found.row, found.codes, strict=True))
    assert any(far(row, codes) > bar for row, codes in zip(free.row, free.codes, strict=True))
    without = np.setdiff1d(free.row, found.row)
    assert all(found.reasons[row] == IMPLAUSIBLE for row in without)
    assert len(found.row) > 0


def test_batched_equals_row_by_row() -> None:
    inputs = toy_inputs(applicants(60, 3), additive)
    whole = search(inputs, plausible=0.8)
    assert inputs.sample is not None
    for row in range(0, 60, 7):
        alone = toy_inputs(applicants(60, 3), additive, sample_rows=[row])
        np.testing.assert_array_equal(search(alone, plausible=0.8).codes, whole.codes[whole.row == row])


def test_a_row_does_not_count_for_itself() -> None:
    inputs = toy_inputs(applicants(40, 3), additive, sample_rows=[5, 2])
    assert inputs.sample is not None
    assert Bound.of(inputs, 0.9, inputs.sample.table.ids).own.tolist() == [5, 2]
    inputs = toy_inputs(applicants(40, 3), additive, sample_rows=[5, 2], train=applicants(40, 3))
    assert inputs.sample is not None
    assert Bound.of(inputs, 0.9, inputs.sample.table.ids).own.tolist() == [-1, -1]


def test_too_few_real_rows_are_refused() -> None:
    inputs = toy_inputs(applicants(40, 3), additive, train=applicants(10, 4))
    with pytest.raises(Refusal, match="plausible: 10 real rows are too few to look at 10 neighbours of each"):
        search(inputs, plausible=0.5)
