"""Plausibility: distances by brute force, the bar by hand, and who counts as a real row."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from audit.core.counterfactuals import distance
from audit.core.evidence import Result
from audit.core.method import Inputs, Refusal
from audit.core.plan import Part
from audit.core.plausibility import Support
from audit.methods.plausibility import Plausibility
from audit.testing import toy_context, toy_inputs, toy_table


def frame(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame({"a": rng.normal(size=n), "b": rng.integers(0, 9, n), "c": rng.choice(list("xyz"), n)})
    rows.loc[rng.random(n) < 0.1, "a"] = np.nan
    return rows


def with_set(inputs: Inputs, rows: pd.DataFrame, instances: list[str]) -> Inputs:
    """Inputs with a counterfactual set `flips` of these rows."""
    ids = list(inputs.evaluate.ids)
    status = pd.DataFrame({"instance": ids, "status": ["found" if i in instances else "not_found" for i in ids]})
    found = rows.assign(instance=instances)
    return replace(
        inputs, results={"counterfactuals": Result(tables={"counterfactuals": found, "instance_status": status})}
    )


def plausibility(inputs: Inputs, **settings: object) -> Result:
    method = Plausibility.model_validate({"from": "flips", **settings})
    return method.run(toy_context(inputs), Part(index=0))


def test_distances_are_those_of_the_definition():
    real, asked = toy_table(frame(60, 1)), frame(25, 2)
    support = Support.of(real, 4)
    codes = toy_table(pd.concat([frame(60, 1), asked])).codes[60:]
    nearest, farther = support.distances(codes)
    for i, row in enumerate(codes):
        every = np.sort(distance(real.schema, np.broadcast_to(row, real.codes.shape), real.codes))
        assert nearest[i] == pytest.approx(every[0], abs=1e-12)
        assert farther[i] == pytest.approx(every[3], abs=1e-12)
    for i, row in enumerate(real.codes):
        others = np.delete(real.codes, i, axis=0)
        expected = np.sort(distance(real.schema, np.broadcast_to(row, others.shape), others))[3]
        assert np.isclose(support.usual, expected, atol=1e-12).any()
    assert (np.diff(support.usual) >= 0).all()


def test_the_bar_is_what_the_share_of_real_rows_does_not_exceed():
    support = replace(Support.of(toy_table(frame(20, 3)), 2), usual=np.arange(1.0, 21.0))
    assert [support.bar(share) for share in (0.95, 0.5, 0.951, 0.01)] == [19.0, 10.0, 20.0, 1.0]


def test_a_large_reference_is_drawn_the_same_way_each_time():
    table = toy_table(frame(300, 4))
    first, second = Support.of(table, 3, rows=50), Support.of(table, 3, rows=50)
    assert first.table.ids == second.table.ids
    assert len(first.table.ids) == 50
    assert Support.of(table, 3, rows=50, seed=1).table.ids != first.table.ids


def test_a_row_among_the_others_is_no_outlier_and_a_far_one_is():
    train = pd.DataFrame({"a": np.repeat(np.arange(20.0), 5), "b": np.tile(np.arange(5.0), 20)})
    audited = pd.DataFrame({"a": [3.0, 4.0], "b": [1.0, 2.0]})
    inputs = toy_inputs(audited, lambda f: np.full(len(f), 0.2), train=train)
    found = pd.DataFrame({"a": [5.0, 190.0], "b": [1.0, 2.0]})
    result = plausibility(with_set(inputs, found, ["0", "1"]), neighbours=3)
    table = result.tables["plausibility"]
    assert list(table["outlier"]) == [False, True]
    assert table["nearest"][0] == 0.0
    assert table["nearest"][1] == pytest.approx((190 - 19) / 19 / 2)
    by_name = {metric.name: metric.value for metric in result.metrics}
    assert by_name["outlier_share"] == 0.5
    assert by_name["rows_outlier_share"] == 0.0


def test_means_are_over_instances_not_over_counterfactuals():
    train = pd.DataFrame({"a": np.repeat(np.arange(20.0), 5), "b": np.tile(np.arange(5.0), 20)})
    audited = pd.DataFrame({"a": [3.0, 4.0], "b": [1.0, 2.0]})
    inputs = toy_inputs(audited, lambda f: np.full(len(f), 0.2), train=train)
    found = pd.DataFrame({"a": [190.0, 191.0, 192.0, 5.0], "b": [1.0, 1.0, 1.0, 2.0]})
    result = plausibility(with_set(inputs, found, ["0", "0", "0", "1"]), neighbours=3)
    (share,) = (metric for metric in result.metrics if metric.name == "outlier_share")
    assert (share.value, share.n) == (0.5, 2)
    assert list(result.tables["plausibility"]["k"]) == [1, 2, 3, 1]


def test_the_row_itself_is_no_neighbour_of_its_counterfactual():
    rows = pd.DataFrame({"a": [0.0, 10.0, 20.0, 30.0, 40.0]})
    inputs = toy_inputs(rows, lambda f: np.full(len(f), 0.2))
    result = plausibility(with_set(inputs, pd.DataFrame({"a": [1.0]}), ["0"]), neighbours=1)
    assert result.tables["plausibility"]["nearest"][0] == pytest.approx(9 / 40)


def test_most_of_them_far_away_is_a_finding():
    train = pd.DataFrame({"a": np.repeat(np.arange(20.0), 5), "b": np.tile(np.arange(5.0), 20)})
    audited = pd.DataFrame({"a": np.arange(10.0), "b": np.zeros(10)})
    inputs = toy_inputs(audited, lambda f: np.full(len(f), 0.2), train=train)
    ids = [str(i) for i in range(10)]
    far = plausibility(with_set(inputs, audited.assign(a=500.0), ids))
    assert [(note.code, note.severity) for note in far.notes] == [("outliers", None), ("many_outliers", "minor")]
    near = plausibility(with_set(inputs, audited.assign(b=1.0), ids))
    assert [(note.code, note.severity) for note in near.notes] == [("outliers", None)]


def test_too_few_real_rows_and_no_counterfactual_are_refused_with_the_reason():
    rows = pd.DataFrame({"a": [0.0, 10.0, 20.0]})
    inputs = toy_inputs(rows, lambda f: np.full(len(f), 0.2))
    with pytest.raises(Refusal, match="3 real rows are too few to look at 10 neighbours"):
        plausibility(with_set(inputs, pd.DataFrame({"a": [1.0]}), ["0"]))
    with pytest.raises(Refusal, match="no row drawn at random has a counterfactual in 'flips'"):
        plausibility(with_set(inputs, rows.iloc[:0], []))
