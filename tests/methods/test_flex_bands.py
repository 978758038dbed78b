"""The acceptance bands of `methods/flex` 6.3 that are quick enough for every run; `make study` has the others."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from flex_case import (
    DATA,
    Case,
    breast_cancer,
    driver_regions,
    drivers,
    exact_shap,
    flex,
    frequencies,
    linear_shap,
    loan,
    regional,
    searched,
    synthetic,
    synthetic_loan,
    tree_shap,
)
from threadpoolctl import threadpool_limits

from audit.core.stats import kendall


@pytest.fixture(autouse=True)
def one_thread() -> object:
    """Small arrays are slower on several threads."""
    with threadpool_limits(1):
        yield


def scored(case: Case, **settings: object) -> "pd.Series[float]":
    return frequencies(flex(searched(case.inputs, **settings), bootstrap=0)).sort_values(ascending=False)


def tau_b(a: "pd.Series[float]", b: "pd.Series[float]") -> float:
    return float(kendall(a.to_numpy(), b[a.index].to_numpy()))


def test_synthetic_classification() -> None:
    case = synthetic(queries=100)
    score = scored(case)
    assert all(name.startswith("informative") for name in score.index[:5])
    # Kernel SHAP estimates interventional values; for a forest they can be computed. 20 queries, as in the replication.
    assert tau_b(score, exact_shap(case, background=100, queries=20)) >= 0.6


def test_breast_cancer() -> None:
    case = breast_cancer(queries=80)
    assert tau_b(scored(case), linear_shap(case)) >= 0.7


def test_synthetic_loan() -> None:
    score = scored(synthetic_loan(queries=100))
    assert score.index[0] == "cibil_score"
    assert score.iloc[0] >= 0.7


def test_regional_generator() -> None:
    """Weather and junction matter to experienced drivers at least 3 times as much as to novices.

    The band was found with 10 counterfactuals per row, equal ones counted as often as they were met; section 5 says
    that they are removed before counting, which leaves less than 3 times (see `docs/studies/flex.md`). One
    counterfactual per row is the case in which both readings agree.
    """
    case = drivers(queries=800)
    inputs = replace(case.inputs, regions=driver_regions(case.inputs))
    one = flex(searched(inputs, per_row=1), bootstrap=0)
    ten = flex(searched(inputs, per_row=10), bootstrap=0)
    for feature in ("weather", "junction"):
        assert regional(one, "experienced")[feature] >= 3 * regional(one, "novice")[feature]
        assert regional(ten, "experienced")[feature] > 2 * regional(ten, "novice")[feature]


@pytest.mark.skipif(not (DATA / "loan_approval.csv").exists(), reason="the loan file may not be shipped and is absent")
@pytest.mark.parametrize("education", [False, True])
def test_loan(education: bool) -> None:
    case = loan(education=education)
    score = scored(case)
    assert score.index[0] == "cibil_score"
    assert 0.80 <= score.iloc[0] <= 0.95
    assert score.iloc[0] >= 5 * score.iloc[1]
    assert tau_b(score, tree_shap(case)) >= 0.75


def test_every_counterfactual_flips_and_the_search_is_the_same_again() -> None:
    inputs = searched(synthetic_loan(queries=30).inputs)
    table = inputs.results["counterfactuals"].tables["counterfactuals"]
    pd.testing.assert_frame_equal(table, searched(inputs).results["counterfactuals"].tables["counterfactuals"])
    score = inputs.model.model.predict(table[list(inputs.schema.names)])[:, 1]
    assert np.array_equal(score >= 0.5, table["score_before"].to_numpy() < 0.5)
