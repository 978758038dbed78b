"""Who belongs to a region: predicates, neighbourhoods, clusters, weights."""

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from audit.core.errors import DataError
from audit.core.region import Region, clusters, members, neighbours
from audit.core.table import Table
from audit.testing import toy_table


def line(values: list[float], ids: list[str] | None = None, **extra: list[object]) -> Table:
    """A table of one numeric feature, `x`, with range 0 to 10, and extra columns."""
    frame = pd.DataFrame({"x": [0.0, 10.0, *values], **{k: [None, None, *v] for k, v in extra.items()}})
    table = toy_table(frame, extra=tuple(extra)).take(slice(2, None))
    return Table(table.schema, table.codes, tuple(ids or [f"r{i}" for i in range(len(values))]), table.extra)


def of(
    region: Region, table: Table, outcomes: list[int] | None = None, drawn: list[bool] | None = None
) -> pd.DataFrame:
    n = len(table)
    numbers = np.array(outcomes if outcomes is not None else [0] * n)
    return members(region, table, numbers, np.array(drawn or [True] * n), np.random.default_rng(0))


def test_a_predicate_selects_what_is_true_whatever_the_outcome() -> None:
    table = line([1.0, 2.0, np.nan, 4.0], age=[30, 20, 20, None])
    got = of(Region(name="young", where="age < 26"), table, outcomes=[0, 1, 0, 1])
    assert got["instance"].tolist() == ["r1", "r2"]
    assert got["region"].tolist() == ["young", "young"]
    assert got["weight"].tolist() == [1.0, 1.0]
    assert got["distance"].isna().all()


def test_unknown_is_not_a_member() -> None:
    table = line([1.0, np.nan, 9.0])
    assert of(Region(name="not small", where="not x < 5"), table)["instance"].tolist() == ["r2"]


def test_a_predicate_reads_features_and_other_columns_with_spaces() -> None:
    table = line([1.0, 2.0, 3.0], **{"home town": ["a", "b", "a"]})
    got = of(Region(name="a", where="`home town` == 'a' and x > 2"), table)
    assert got["instance"].tolist() == ["r2"]


def test_a_predicate_takes_drawn_rows_only() -> None:
    table = line([1.0, 2.0, 3.0])
    got = of(Region(name="all", where="x > 0"), table, drawn=[True, False, True])
    assert got["instance"].tolist() == ["r0", "r2"]


@pytest.mark.parametrize(("where", "said"), [("wage < 26", "no column 'wage'"), ("x == 'a'", "text with a number")])
def test_a_predicate_that_cannot_be_answered_names_the_region(where: str, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        of(Region(name="odd one", where=where), line([1.0]))
    assert "'odd one'" in str(caught.value)


def test_the_nearest_rows_with_the_outcome_of_the_centre() -> None:
    table = line([5.0, 5.5, 6.0, 3.0, 9.0])
    got = of(Region(name="near", around="r0", nearest=3), table, outcomes=[1, 1, 0, 1, 1])
    # r2 has another outcome; distances are |difference| / 10.
    assert got["instance"].tolist() == ["r0", "r1", "r3"]
    assert got["distance"].tolist() == pytest.approx([0.0, 0.05, 0.2])


def test_a_neighbourhood_may_mix_outcomes() -> None:
    table = line([5.0, 5.5, 6.0, 3.0])
    got = of(Region(name="near", around="r0", nearest=3, same_outcome=False), table, outcomes=[1, 1, 0, 1])
    assert got["instance"].tolist() == ["r0", "r1", "r2"]


def test_the_centre_leads_its_duplicates_and_ties_go_by_id() -> None:
    table = line([5.0, 5.0, 5.0, 4.0, 6.0], ids=["c", "b", "a", "z", "y"])
    got = of(Region(name="near", around="b", nearest=4), table)
    assert got["instance"].tolist() == ["b", "a", "c", "y"]


def test_a_radius_is_inclusive() -> None:
    table = line([5.0, 7.0, 7.5, 3.0, 2.0])
    got = of(Region(name="near", around="r0", radius=0.2), table)
    assert got["instance"].tolist() == ["r0", "r1", "r3"]


def test_fewer_rows_than_asked_for_are_all_taken() -> None:
    assert len(of(Region(name="near", around="r0", nearest=50), line([1.0, 2.0]))) == 2


def test_neighbours_of_the_data_are_those_of_any_part_that_holds_them() -> None:
    rng = np.random.default_rng(4)
    table = line(list(np.round(rng.uniform(0, 10, 200), 1)))
    outcomes = rng.integers(0, 2, 200)
    region = Region(name="near", around="r7", nearest=15)
    rows, gap = neighbours(region, table, outcomes)
    assert rows[0] == 7
    assert (np.diff(gap) >= 0).all()
    assert (outcomes[rows] == outcomes[7]).all()
    part = np.union1d(rows, rng.choice(200, 40, replace=False))[::-1]
    again = members(region, table.take(part), outcomes[part], np.zeros(len(part), dtype=bool), rng)
    assert again["instance"].tolist() == [table.ids[i] for i in rows]
    assert again["distance"].tolist() == gap.tolist()


def test_an_unknown_centre_names_the_region_and_the_id() -> None:
    with pytest.raises(DataError, match=r"region 'near'.*`around: 99`"):
        neighbours(Region(name="near", around=99, nearest=3), line([1.0]), np.array([0]))


def test_gaussian_weights_by_hand() -> None:
    table = line([5.0, 6.0, 8.0])
    got = of(Region(name="near", around="r0", nearest=3, weights="gaussian", bandwidth=0.1), table)
    assert got["weight"].tolist() == pytest.approx([1.0, np.exp(-0.5), np.exp(-4.5)])


def test_gaussian_weights_take_the_median_distance_by_themselves() -> None:
    table = line([5.0, 6.0, 8.0])
    got = of(Region(name="near", around="r0", nearest=3, weights="gaussian"), table)
    width = 0.2  # the median of 0.1 and 0.3
    assert got["weight"].tolist() == pytest.approx(
        [1.0, np.exp(-(0.1**2) / (2 * width**2)), np.exp(-(0.3**2) / (2 * width**2))]
    )


def three_groups(sizes: tuple[int, int, int]) -> tuple[Table, np.ndarray]:
    rng = np.random.default_rng(2)
    truth = np.repeat([0, 1, 2], sizes)
    frame = pd.DataFrame({"x": truth * 10 + rng.uniform(-1, 1, len(truth)), "kind": np.array(["a", "b", "c"])[truth]})
    return toy_table(frame), truth


def test_clusters_are_found_and_the_largest_comes_first() -> None:
    table, truth = three_groups((5, 30, 12))
    label, gap = clusters(table, 3, np.random.default_rng(0))
    assert np.array_equal(label, np.array([2, 0, 1])[truth])
    assert [int((gap[label == c] == 0).sum()) for c in range(3)] == [1, 1, 1]  # the medoids


def test_clusters_are_regions_of_drawn_rows_and_follow_from_the_seed() -> None:
    table, _ = three_groups((20, 20, 20))
    region = Region(name="segment", clusters=3)
    drawn = np.arange(60) % 5 > 0
    first, again = (members(region, table, np.zeros(60), drawn, np.random.default_rng(9)) for _ in range(2))
    pd.testing.assert_frame_equal(first, again)
    assert set(first["region"]) == {"segment 1", "segment 2", "segment 3"}
    assert sorted(first["instance"], key=int) == [str(i) for i in np.flatnonzero(drawn)]


def test_clusters_of_many_rows_use_medoids_of_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.core.region.CLUSTER_ROWS", 25)
    table, truth = three_groups((40, 60, 50))
    label, _ = clusters(table, 3, np.random.default_rng(0))
    assert np.array_equal(label, np.array([2, 0, 1])[truth])


def test_duplicate_rows_still_make_as_many_clusters_as_asked_for() -> None:
    label, _ = clusters(line([3.0] * 8), 3, np.random.default_rng(0))
    assert set(label) == {0, 1, 2}


def test_more_clusters_than_rows_are_refused() -> None:
    with pytest.raises(DataError, match="region 'segment': 3 clusters of 2 sample rows"):
        of(Region(name="segment", clusters=3), line([1.0, 2.0]))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "exactly one of"),
        ({"where": "x > 1", "clusters": 3}, "exactly one of"),
        ({"around": "1"}, "either `nearest`"),
        ({"around": "1", "nearest": 3, "radius": 0.1}, "either `nearest`"),
        ({"where": "x > 1", "nearest": 3}, "belong to `around`"),
        ({"around": "1", "nearest": 0}, "greater than or equal to 1"),
        ({"around": "1", "radius": -0.1}, "greater than or equal to 0"),
        ({"clusters": 1}, "greater than or equal to 2"),
        ({"where": "x > 1", "weights": "gaussian"}, "needs a centre"),
        ({"around": "1", "nearest": 3, "bandwidth": 0.1}, "belongs to `weights: gaussian`"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Region.model_validate({"name": "r", **settings})
