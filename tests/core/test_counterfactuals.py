"""Changes and distances by hand and by brute force; the tables that every generator writes."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_oracle import values

from audit.core.counterfactuals import Counterfactuals, change, change_of, changed, distance, to_frame
from audit.core.infer import ColumnInfo
from audit.core.schema import Feature, FeatureSchema
from audit.testing import draw_codes, schemas, toy_table

NAN = float("nan")
SCHEMA = FeatureSchema(
    features=(
        Feature(name="n", kind="numeric", low=10, high=30, missing=True),
        Feature(name="o", kind="ordinal", levels=("a", "b", "c"), high=2, integer=True),
        Feature(name="c", kind="categorical", levels=("x", "y", "z"), high=2, integer=True, missing=True),
        Feature(name="k", kind="numeric", low=5, high=5),
    )
)


def test_changes_by_hand() -> None:
    a = np.array([[10.0, 0, 0, 5], [15.0, 2, 2, 5], [NAN, 1, NAN, 5], [NAN, 1, NAN, 7]])
    b = np.array([[30.0, 1, 2, 5], [10.0, 0, 2, 9], [NAN, 1, 1, 5], [20.0, 1, NAN, 7]])
    expected = [[1, 0.5, 1, 0], [0.25, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0]]
    np.testing.assert_allclose(change(SCHEMA, a, b), expected, atol=1e-12)
    np.testing.assert_allclose(distance(SCHEMA, a, b), [2.5 / 4, 1.25 / 4, 0.25, 0.25], atol=1e-12)
    assert changed(a, b).tolist() == [
        [True, True, True, False], [True, True, False, True], [False, False, True, False], [True, False, False, False],
    ]  # fmt: skip


@given(schemas(), st.integers(0, 2**32 - 1))
def test_changes_by_brute_force(schema: FeatureSchema, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = draw_codes(schema, 6, rng, beyond=0.2), draw_codes(schema, 6, rng, beyond=0.2)
    got = change(schema, a, b)
    for i, (old, new) in enumerate(zip(values(schema, a), values(schema, b), strict=True)):
        for j, feature in enumerate(schema.features):
            assert got[i, j] == pytest.approx(size(feature, old[feature.name], new[feature.name]))
    np.testing.assert_allclose(change(schema, b, a), got)
    np.testing.assert_allclose(distance(schema, a, b), got.mean(axis=1))


def size(feature: Feature, old: object, new: object) -> float:
    if old is None or new is None:
        return float((old is None) != (new is None))
    if feature.kind == "numeric":
        span = feature.high - feature.low
        return abs(float(new) - float(old)) / span if span else 0.0  # type: ignore[arg-type]
    if feature.kind == "ordinal":
        steps = len(feature.levels) - 1
        return abs(feature.levels.index(new) - feature.levels.index(old)) / steps if steps else 0.0  # type: ignore[arg-type]
    return float(old != new)


def test_one_feature_against_many_values_broadcasts() -> None:
    sizes = change_of(SCHEMA.features[0], np.array([10.0, NAN])[:, None], np.array([10.0, 20.0, NAN])[None, :])
    np.testing.assert_allclose(sizes, [[0, 0.5, 1], [1, 1, 0]])


def test_tables_are_read_for_the_rows_of_the_sample() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "g": ["lo", "hi", "lo"]})
    sample = toy_table(frame, {"g": ColumnInfo(order=("lo", "hi"))})
    found = to_frame(
        sample.schema,
        {"instance": ["2", "0", "elsewhere"], "k": [1, 1, 1]},
        np.array([[9.0, 1], [8.0, 0], [7.0, 0]]),
    )
    assert list(found.columns) == ["instance", "k", "a", "g"]
    assert found["g"].tolist() == ["hi", "lo", "lo"]
    status = pd.DataFrame({"instance": ["0", "2"], "status": ["found", "found"]})
    read = Counterfactuals.from_tables(sample, found, status)
    assert read.row.tolist() == [2, 0]
    assert read.codes.tolist() == [[9, 1], [8, 0]]
    assert read.status.tolist() == ["found", "not_applicable", "found"]
    found.loc[0, "g"] = "strange"
    with pytest.raises(ValueError, match="'strange'"):
        Counterfactuals.from_tables(sample, found, status)
