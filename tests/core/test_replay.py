"""Comparing numbers that were computed again: equal, within the tolerance, different, and where."""

import numpy as np
import pandas as pd
import pytest

from audit.core.evidence import Artefact, Evidence, Metric, Note, Result, Where
from audit.core.replay import Comparison

RECORD = Evidence(id="m", kind="m", key="k", status="ok")


def compared(old, new, tolerance=1e-9):
    done = Comparison(tolerance)
    done.evidence(RECORD, old, new)
    return done


def metric(value, **more):
    return Result(metrics=(Metric(name="auc", value=value, **more),))


@pytest.mark.parametrize(
    ("found", "counts"),
    [
        (0.5, (2, 0, 0)),  # the value and the level
        (0.5 * (1 + 0.9e-9), (1, 1, 0)),
        (0.5 * (1 + 1.1e-9), (1, 0, 1)),
        (None, (1, 0, 1)),
    ],
)
def test_a_metric_is_equal_close_or_different(found, counts):
    done = compared(metric(0.5), metric(found))
    assert (done.equal, done.close, done.count) == counts


def test_a_difference_says_where_and_by_how_much():
    done = compared(metric(0.8, where=Where(region="young")), metric(0.6, where=Where(region="young")))
    (one,) = done.different
    assert (one.evidence, one.where, one.recorded, one.found) == ("m", "metric auc (region young)", 0.8, 0.6)
    assert one.relative == pytest.approx(0.25)


def test_the_noise_of_numbers_near_zero_is_passed_over_and_the_largest_is_kept():
    done = compared(metric(1.0, low=0.0), metric(1.0 + 5e-10, low=9e-13))
    assert (done.close, done.count) == (2, 0)
    assert done.largest == 1.0  # the one of zero, which is all of it


def test_every_cell_of_a_table_is_compared_and_named():
    old = pd.DataFrame({"a": [1.0, np.nan, 3.0], "b": ["x", None, "z"], "n": [1, 2, 3]})
    new = old.copy()
    new.loc[2, "a"], new.loc[0, "b"], new.loc[1, "n"] = 3.1, "y", 4
    done = compared(Result(tables={"t": old}), Result(tables={"t": new}))
    assert [one.where for one in done.different] == [
        "table t, row 3, column a",
        "table t, row 1, column b",
        "table t, row 2, column n",
    ]
    assert done.equal == 4  # two of each column of numbers; the undefined is equal to itself


@pytest.mark.parametrize("change", [lambda t: t.iloc[1:], lambda t: t.rename(columns={"a": "c"}), lambda t: t[["b"]]])
def test_a_table_of_another_shape_is_one_difference(change):
    table = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})
    done = compared(Result(tables={"t": table}), Result(tables={"t": change(table)}))
    assert [one.where for one in done.different] == ["table t"]


def test_what_is_on_one_side_only_is_different():
    table = pd.DataFrame({"a": [1.0]})
    full = Result(
        metrics=(Metric(name="auc", value=1.0),),
        tables={"t": table},
        artefacts={"f": Artefact(b"1", "text/plain")},
        notes=(Note(code="c"),),
    )
    for old, new in ((full, Result()), (Result(), full)):
        found = {one.where for one in compared(old, new).different}
        assert found == {"metric auc", "table t", "file f", "number of notes"}


def test_files_notes_status_and_message_count():
    old = Result(artefacts={"f": Artefact(b"1", "t")}, notes=(Note(code="c", args={"rows": [1, 2]}),), message="a")
    new = Result(
        artefacts={"f": Artefact(b"2", "t")},
        notes=(Note(code="c", args={"rows": [1, 3]}),),
        message="b",
        status="refused",
    )
    found = [one.where for one in compared(old, new).different]
    assert found == ["status", "message", "file f", "note c.args.rows.2"]


def test_two_metrics_of_one_name_and_place_are_both_compared():
    old = Result(metrics=(Metric(name="a", value=1.0), Metric(name="a", value=2.0)))
    new = Result(metrics=(Metric(name="a", value=1.0), Metric(name="a", value=3.0)))
    assert [one.where for one in compared(old, new).different] == ["metric a #2"]


def test_numbers_and_truth_values_are_not_one_another():
    old, new = pd.DataFrame({"a": [True]}), pd.DataFrame({"a": ["True"]})
    assert compared(Result(tables={"t": old}), Result(tables={"t": new})).count == 1
