"""Stored scores in place of a model."""

import numpy as np
import pandas as pd
import pytest

from audit.core.errors import ModelError
from audit.core.model import Allow, Source
from audit.models.predictions import PredictionsAdapter

FRAME = pd.DataFrame(
    {"score": [0.9, 0.25, 0.5], "target": [1, 0, 1], "a": [0.2, 0.3, 1.0], "b": [0.5, 0.3, 0], "c": [0.3, 0.4, 0]}
)


def load(frame=FRAME, favourable=("1",), target="target", **fields):
    return PredictionsAdapter(**fields).load(Source(None, ".", Allow(), frame, favourable, target))


def test_one_column_is_the_probability_of_the_favourable_class():
    model = load(column="score")
    assert model.classes == ("0", "1")
    assert model.capabilities == frozenset()
    np.testing.assert_allclose(model.stored(FRAME), [[0.1, 0.9], [0.75, 0.25], [0.5, 0.5]], atol=1e-15)
    other = load(column="score", favourable=("0",))
    np.testing.assert_allclose(other.stored(FRAME), [[0.9, 0.1], [0.25, 0.75], [0.5, 0.5]], atol=1e-15)


def test_the_classes_come_from_the_spec_or_the_target_or_stay_unnamed():
    assert load(column="score", classes=("no", "yes"), favourable=("yes",)).classes == ("no", "yes")
    assert load(column="score", target=None).classes == ("not 1", "1")
    assert load(column="score", frame=FRAME.assign(target=[True, False, True]), favourable=("true",)).classes == (
        "false",
        "true",
    )


def test_one_column_per_class():
    model = load(columns={"x": "a", "y": "b", "z": "c"}, favourable=())
    assert model.classes == ("x", "y", "z")
    np.testing.assert_array_equal(model.stored(FRAME), FRAME[["a", "b", "c"]].to_numpy())


def test_the_columns_of_scores_are_no_features():
    assert PredictionsAdapter(column="score").columns_read() == ("score",)
    assert PredictionsAdapter(columns={"x": "a", "y": "b"}).columns_read() == ("a", "b")


@pytest.mark.parametrize(
    ("bad", "shown"),
    [
        ([0.9, np.nan, 0.5], r"1 of 3 rows \(first: row 2\)"),
        ([1.2, 0.1, -0.1], r"2 of 3 rows \(first: row 1, 3\)"),
        (["x", "0.1", "0.2"], r"1 of 3 rows \(first: row 1\)"),
        ([np.inf, 0.1, 0.2], r"1 of 3 rows \(first: row 1\)"),
    ],
)
def test_scores_that_are_no_probabilities_are_refused_with_their_rows(bad, shown):
    with pytest.raises(ModelError, match=shown):
        load(column="score", frame=FRAME.assign(score=bad))


def test_scores_of_a_row_sum_to_one():
    with pytest.raises(ModelError, match=r"2 of 3 rows .* do not sum to 1"):
        load(columns={"x": "a", "y": "b"}, favourable=())


def test_what_one_column_cannot_serve_is_refused():
    with pytest.raises(ModelError, match=r"exactly one class; it has 0"):
        load(column="score", favourable=())
    with pytest.raises(ModelError, match=r"exactly one class; it has 2"):
        load(column="score", favourable=("0", "1"))
    with pytest.raises(ModelError, match=r"there are 0, 1, 2; give `columns`"):
        load(column="score", frame=FRAME.assign(target=[0, 1, 2]))
    with pytest.raises(ModelError, match="no column 'nothing'"):
        load(column="nothing")
    for fields in ({}, {"column": "score", "columns": {"x": "a", "y": "b"}}):
        with pytest.raises(ValueError, match="not both"):
            PredictionsAdapter(**fields)


def test_it_cannot_answer_for_other_rows():
    model = load(column="score")
    assert model.native() is None
    with pytest.raises(ModelError, match="give a model"):
        model.predict(FRAME)
