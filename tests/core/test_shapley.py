"""The arithmetic of Shapley values against hand calculation and brute force."""

import numpy as np
import pandas as pd
import pytest
from shap_case import brute_force, people
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from audit.core.shapley import column_sources, draw_orders, shapley_values
from audit.core.table import decode
from audit.testing import toy_inputs


def test_a_hand_calculated_product():
    # f = x1 x2 + x3, background at the origin: the product is shared in halves, x3 has its own.
    values, base = shapley_values(
        lambda rows: (rows[:, 0] * rows[:, 1] + rows[:, 2])[:, None],
        np.array([[2.0, 3.0, 5.0]]),
        np.zeros((1, 3)),
        draw_orders(3, 5, np.random.default_rng(0)),
    )
    np.testing.assert_allclose(values[0, :, 0], [3, 3, 5], atol=1e-12)
    assert base.tolist() == [0]


def test_three_features_are_exact_by_brute_force():
    rng = np.random.default_rng(1)
    rows, background = rng.normal(size=(4, 3)), rng.normal(size=(7, 3))

    def score(x):
        return x[..., 0] * x[..., 1] * x[..., 2] + np.sin(x[..., 0]) - x[..., 1] ** 2

    orders = draw_orders(3, 5, rng)
    assert len(orders) == 6
    values, base = shapley_values(lambda x: score(x)[:, None], rows, background, orders)
    for row, found in zip(rows, values[:, :, 0], strict=True):
        np.testing.assert_allclose(found, brute_force(score, row, background), atol=1e-12)
        assert base[0] + found.sum() == pytest.approx(score(row), abs=1e-12)


def test_one_drawn_order_and_its_reverse_are_exact_for_pairs():
    rng = np.random.default_rng(2)
    rows, background = rng.normal(size=(3, 5)), rng.normal(size=(4, 5))

    def score(x):
        return x[..., 0] * x[..., 3] + x[..., 1] * x[..., 2] - x[..., 4] * x[..., 0]

    values, _ = shapley_values(lambda x: score(x)[:, None], rows, background, draw_orders(5, 1, rng))
    for row, found in zip(rows, values[:, :, 0], strict=True):
        np.testing.assert_allclose(found, brute_force(score, row, background), atol=1e-12)


def test_drawn_orders_come_near_the_truth_beyond_pairs():
    rng = np.random.default_rng(3)
    rows, background = rng.normal(size=(3, 5)), rng.normal(size=(4, 5))

    def score(x):
        return np.tanh(x.sum(axis=-1))

    orders = draw_orders(5, 1000, rng)
    values, _ = shapley_values(lambda x: score(x)[:, None], rows, background, orders)
    for row, found in zip(rows, values[:, :, 0], strict=True):
        np.testing.assert_allclose(found, brute_force(score, row, background), atol=0.02)


def test_many_coalitions_are_asked_in_blocks(monkeypatch):
    monkeypatch.setattr("audit.core.shapley.BLOCK_ROWS", 10)
    test_three_features_are_exact_by_brute_force()


def test_the_source_of_each_column_is_found():
    frame, _ = people(40)
    inputs = toy_inputs(frame, lambda f: np.full(len(f), 0.5))
    columns = ColumnTransformer(
        [("l", OneHotEncoder(), ["home"]), ("n", StandardScaler(), ["amount", "age"]), ("c", "passthrough", ["age"])]
    ).fit(frame)
    sources = column_sources(lambda c: columns.transform(decode(inputs.schema, c)), inputs.evaluate.codes)
    assert sources is not None
    assert sources.tolist() == [2, 2, 2, 1, 0, 0]


@pytest.mark.parametrize(
    "mix",
    [
        lambda c: np.column_stack([c[:, 0], c[:, 0] * c[:, 1]]),
        lambda c: c / np.linalg.norm(c, axis=1, keepdims=True),
        lambda c: np.column_stack([c[:, 0], np.arange(len(c)) % 12]),  # moves with no feature
    ],
)
def test_columns_of_several_features_or_of_none_have_no_source(mix):
    assert column_sources(mix, np.random.default_rng(0).normal(size=(12, 2))) is None


def test_a_missing_value_that_is_imputed_still_has_its_source():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=30), "b": rng.normal(size=30)})
    frame.loc[::5, "a"] = np.nan
    inputs = toy_inputs(frame, lambda f: np.full(len(f), 0.5))
    imputer = SimpleImputer(add_indicator=True).fit(frame)
    sources = column_sources(lambda c: imputer.transform(decode(inputs.schema, c)), inputs.evaluate.codes)
    assert sources is not None
    assert sources.tolist() == [0, 1, 0]
