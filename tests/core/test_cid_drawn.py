"""What the figures of CID are drawn from."""

import cid_case as cc
import numpy as np
import pandas as pd
import pytest

from audit.core.cid_drawn import CELLS, DRAWN, GRID
from audit.core.evidence import Result


@pytest.fixture(scope="module")
def result() -> Result:
    return cc.run(cc.synthetic(cc.logistic()).inputs, instances=8, repeats=4)


def test_densities_hold_what_is_not_kept(result: Result) -> None:
    """The area under a density and the share that keeps its value make 1."""
    for _, own in result.tables["cid_densities"].groupby(["outcome", "feature"]):
        for side in ("plus", "minus"):
            area = float(own[side].to_numpy() @ CELLS)
            assert area + own[f"unchanged_{side}"].iloc[0] == pytest.approx(1, abs=1e-9)
            assert (own[side] >= 0).all()


def test_places_are_values_of_the_feature(result: Result) -> None:
    inputs = cc.synthetic(cc.logistic()).inputs
    for (_, name), own in result.tables["cid_densities"].groupby(["outcome", "feature"]):
        feature = inputs.schema[name]
        np.testing.assert_allclose(own["at"], feature.low + GRID * (feature.high - feature.low))
        assert list(own["place"]) == list(range(len(GRID)))


def test_outcomes_are_apart_and_their_distances_make_the_whole(result: Result) -> None:
    table = result.tables["cid_densities"].groupby(["outcome", "feature"])[["distance", "n"]].first().reset_index()
    overall = cc.overall(result)
    first = overall[overall["status"] == "ok"].sort_values("rank").index[:DRAWN]
    assert set(table["feature"]) == set(first)
    for name, own in table.groupby("feature"):
        assert own["n"].sum() == overall.loc[name, "n"]
        assert np.average(own["distance"], weights=own["n"]) == pytest.approx(overall.loc[name, "value"])


def test_the_two_sides_lie_on_the_two_sides_of_a_threshold() -> None:
    """The outcome is `a` of 0.5 or more: what flips a row below it lies above, and what does not lies below."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.random(60), "b": rng.random(60)})
    frame.iloc[0], frame.iloc[1] = 0, 1
    found = cc.run(cc.toy_inputs(frame, lambda f: np.where(f["a"] >= 0.5, 0.9, 0.1)), instances=10, repeats=2)
    table = found.tables["cid_densities"]
    low = table[(table["feature"] == "a") & (table["outcome"] == "unfavourable")]
    above = (GRID > 0.5).astype(float) * CELLS
    below = (GRID < 0.5).astype(float) * CELLS
    assert low["plus"] @ above == pytest.approx(1, abs=0.1)
    assert low["plus"].iloc[0] == pytest.approx(0, abs=1e-3)
    changed = 1 - low["unchanged_minus"].iloc[0]
    assert low["minus"] @ below == pytest.approx(changed, abs=0.1)


def test_repeats_average_to_the_distance(result: Result) -> None:
    overall, repeats = cc.overall(result), result.tables["cid_repeats"]
    assert (result.tables["cid_local"]["repeats"] == 4).all()  # so that no row is left out
    assert set(repeats["repeat"]) == {0, 1, 2, 3}
    for name, own in repeats.groupby("feature"):
        assert own["value"].mean() == pytest.approx(overall.loc[name, "value"])
        assert (own["n"] == overall.loc[name, "n"]).all()


def test_rows_without_all_repeats_are_left_out() -> None:
    """Few flips can be found for some rows, so that they have fewer repeats."""
    found = cc.run(cc.whole(), instances=20, m=50, repeats=10, draws=56)
    local = found.tables["cid_local"]
    whole = local[local["repeats"] == 10].groupby("feature")["value"].mean()
    assert 0 < (local["repeats"] == 10).sum() < len(local)
    for name, own in found.tables["cid_repeats"].groupby("feature"):
        assert own["value"].mean() == pytest.approx(whole[name])


def test_levels_have_shares_and_the_missing_one_is_a_level() -> None:
    rng = np.random.default_rng(0)
    town = pd.Series(rng.choice(["x", "y", "z"], 60), dtype=object)
    town.iloc[:6] = None
    frame = pd.DataFrame({"town": town, "v": rng.random(60)})
    inputs = cc.toy_inputs(frame, lambda f: np.where((f["town"] == "x") | (f["v"] > 0.8), 0.8, 0.2))
    table = cc.run(inputs, instances=12, repeats=2, m=20).tables["cid_densities"]
    towns = table[table["feature"] == "town"]
    assert set(towns["level"]) == {"missing", "x", "y", "z"}
    for _, own in towns.groupby("outcome"):
        np.testing.assert_allclose(own[["plus", "minus"]].sum(), 1)
    left = towns[(towns["outcome"] == "unfavourable")].set_index("level")
    assert left.loc["x", "plus"] > left.loc["x", "minus"] == 0  # x never keeps a row unfavourable


def test_the_measure_changes_no_density() -> None:
    """Values that are kept stand apart with the measure of the paper as well: their peaks would be those of persons."""
    inputs = cc.synthetic(cc.logistic()).inputs
    tables = [cc.run(inputs, instances=4, repeats=2, measure=m).tables["cid_densities"] for m in ("mixed", "kde")]
    a, b = (table.set_index(["outcome", "feature", "place"])[["plus", "minus"]] for table in tables)
    common = a.index.intersection(b.index)
    assert len(common) >= len(GRID)
    pd.testing.assert_frame_equal(a.loc[common], b.loc[common])
