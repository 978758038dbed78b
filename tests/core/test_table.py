"""Codes and values are two faces of the same rows."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.core.infer import ColumnInfo, infer_schema
from audit.core.schema import Feature, FeatureSchema
from audit.core.table import Table, decode, decode_column, encode, encode_column
from audit.testing import draw_codes, schemas, toy_table

NAN = float("nan")


@given(schemas(), st.integers(0, 2**32 - 1))
def test_values_read_back_as_the_same_codes(schema: FeatureSchema, seed: int) -> None:
    codes = draw_codes(schema, 9, np.random.default_rng(seed), beyond=0.1)
    frame = decode(schema, codes)
    assert list(frame.columns) == list(schema.names)
    np.testing.assert_array_equal(encode(schema, frame), codes)


@given(schemas(), st.integers(0, 2**32 - 1))
def test_a_row_has_the_same_value_whatever_stands_beside_it(schema: FeatureSchema, seed: int) -> None:
    codes = draw_codes(schema, 6, np.random.default_rng(seed))
    whole = decode(schema, codes)
    for i in range(len(codes)):
        alone = decode(schema, codes[i : i + 1])
        for name in schema.names:
            a, b = alone[name].iloc[0], whole[name].iloc[i]
            assert (pd.isna(a) and pd.isna(b)) or a == b


def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "whole": [3, 1, 2],
            "real": [0.5, NAN, 2.0],
            "grade": ["mid", "low", None],
            "flag": [True, False, True],
            "code": pd.Series([10, 20, 10], dtype="category"),
        }
    )


def table() -> Table:
    return toy_table(frame(), {"grade": ColumnInfo(order=("low", "mid", "high"))})


def test_types_are_those_that_the_model_was_trained_on() -> None:
    decoded = table().frame()
    assert decoded["whole"].dtype == np.int64
    assert decoded["real"].dtype == np.float64
    assert decoded["flag"].dtype == np.bool_
    assert decoded["whole"].tolist() == [3, 1, 2]
    assert decoded["grade"].tolist()[:2] == ["mid", "low"]
    assert pd.isna(decoded["grade"].iloc[2])
    assert decoded["code"].tolist() == [10, 20, 10]


def test_levels_are_coded_by_their_place() -> None:
    codes = table().codes
    assert codes[:2, 2].tolist() == [1, 0]
    assert np.isnan(codes[2, 2])
    assert codes[:, 3].tolist() == [1, 0, 1]
    assert table().schema["grade"].scale == 2
    assert table().schema["grade"].ordered
    assert table().schema["code"].scale == 1


def test_an_unknown_level_names_itself_and_the_column() -> None:
    feature = Feature(name="grade", kind="categorical", levels=("a", "b"), high=1, integer=True)
    with pytest.raises(ValueError, match="column 'grade' holds 'z', not among its 2 levels"):
        encode_column(feature, pd.Series(["a", "z", None]))
    with pytest.raises(KeyError, match="grade"):
        encode(FeatureSchema(features=(feature,)), pd.DataFrame({"other": ["a"]}))


def test_a_whole_column_that_loses_its_wholeness_stays_exact() -> None:
    feature = Feature(name="n", kind="numeric", high=9, integer=True)
    assert decode_column(feature, np.array([1.0, 2.5])).tolist() == [1.0, 2.5]
    assert decode_column(feature, np.array([1.0, 2.0])).dtype == np.int64
    assert np.isnan(decode_column(feature, np.array([1.0, NAN]))[1])


def test_rows_are_taken_with_their_ids_and_extras() -> None:
    data = frame().assign(target=["x", "y", "z"])
    whole = toy_table(data, extra=("target",))
    some = whole.take(np.array([2, 0]))
    assert some.ids == ("2", "0")
    assert some.column("target").tolist() == ["z", "x"]
    assert some.column("whole").tolist() == [2, 3]
    assert len(whole.take(slice(1, 3))) == 2
    with pytest.raises(KeyError):
        some.column("nothing")


def test_features_without_any_row() -> None:
    schema = infer_schema(frame(), ["whole", "grade"])
    assert decode(schema, np.empty((0, 2))).shape == (0, 2)
    assert encode(schema, frame().iloc[:0]).shape == (0, 2)
