"""The measures of the comparison of searches, against hand calculation."""

from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import search_chart as chart
from search_data import Task
from search_measures import KINDS, broken, common, gap, gower, mad_l1, nearest, spreads, verdict
from search_tables import Group, Judge, cost, gaps, ratios, solved_by_all, violations

FEATURES = (
    {"name": "age", "levels": 0, "low": 20.0, "high": 60.0, "change": "increase"},
    {"name": "job", "levels": 3, "low": 0.0, "high": 2.0, "change": "any"},
    {"name": "sex", "levels": 2, "low": 0.0, "high": 1.0, "change": "immutable"},
    {"name": "rate", "levels": 0, "low": 0.0, "high": 1.0, "change": "any", "real": True},
)
A = np.array([[30.0, 0.0, 1.0, 0.5]])


def kinds(row: list[float], score: float = 0.9) -> set[str]:
    """What the way from A to a row breaks."""
    found = broken(FEATURES, A, np.array([row]), lambda rows: np.full(len(rows), score))
    return {kind for kind, hit in zip(KINDS, found[0], strict=True) if hit}


def test_gower_is_the_mean_scaled_change() -> None:
    assert gower(FEATURES, A, np.array([[40.0, 2.0, 1.0, 0.25]])) == pytest.approx((10 / 40 + 1 + 0 + 0.25) / 4)


def test_a_feature_without_a_range_counts_nothing() -> None:
    flat = [{"name": "x", "levels": 0, "low": 1.0, "high": 1.0, "change": "any"}]
    assert gower(flat, np.array([[1.0]]), np.array([[5.0]])) == 0


def test_spreads_fall_back_to_the_deviation_and_to_one() -> None:
    reference = np.array([[1.0, 0.0, 7.0], [2.0, 0.0, 7.0], [4.0, 0.0, 7.0], [8.0, 4.0, 7.0]])
    # Medians 3, 0, 7; absolute deviations of the first 2, 1, 1, 5, so 1.5; of the second 0, 0, 0, 4, so 0.
    assert spreads(reference) == pytest.approx([1.5, np.sqrt(3.0), 1.0])


def test_mad_l1_counts_a_category_once() -> None:
    spread = np.array([5.0, 9.0, 9.0, 0.5])
    assert mad_l1(FEATURES, spread, A, np.array([[40.0, 2.0, 1.0, 0.25]])) == pytest.approx(10 / 5 + 1 + 0.5)


def test_nearest_is_the_smallest_distance() -> None:
    reference = np.array([[30.0, 1.0, 1.0, 0.5], [34.0, 0.0, 1.0, 0.5], [60.0, 2.0, 0.0, 0.0]])
    many = np.repeat(A, 120, axis=0)
    assert nearest(FEATURES, reference, many) == pytest.approx(np.full(120, 0.1 / 4))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([35.0, 2.0, 1.0, 0.25], set()),
        ([30.0, 0.0, 0.0, 0.5], {"immutable"}),
        ([25.0, 0.0, 1.0, 0.5], {"direction"}),
        ([61.0, 0.0, 1.0, 0.5], {"bounds"}),
        ([35.5, 0.0, 1.0, 0.5], {"not whole"}),
        ([30.0, 3.0, 1.0, 0.5], {"no level"}),
        ([30.0, 0.5, 1.0, 0.5], {"no level"}),
        ([30.0, 0.0, 1.0, np.nan], {"missing"}),
        ([30.0, 0.0, 1.0, 1.5], {"bounds"}),
    ],
)
def test_each_rule_is_read(row: list[float], expected: set[str]) -> None:
    assert kinds(row) == expected


def test_a_row_that_flips_in_one_batch_only_has_not_flipped() -> None:
    row = np.array([[35.0, 2.0, 1.0, 0.25], [36.0, 2.0, 1.0, 0.25]])

    def scores(rows: np.ndarray) -> np.ndarray:
        return np.full(len(rows), 0.4999999 if len(rows) == 1 else 0.5)

    assert broken(FEATURES, np.repeat(A, 2, axis=0), row, scores)[:, 0].tolist() == [True, True]
    assert "not flipped" in kinds([35.0, 2.0, 1.0, 0.25], score=0.49)


def test_the_reader_asks_for_each_row_its_own_score() -> None:
    rows = np.array([[31.0, 0.0, 1.0, 0.5], [59.0, 0.0, 1.0, 0.5], [32.0, 0.0, 1.0, 0.5]])
    found = broken(FEATURES, np.repeat(A, 3, axis=0), rows, lambda r: (r[:, 0] > 50).astype(float))
    assert found[:, 0].tolist() == [True, False, True]


def test_the_gap_is_of_means() -> None:
    found = gap(np.array([0.2, 0.1]), np.array([0.1, 0.1]))
    assert found == pytest.approx({"mean": 0.5, "median": 0.5, "within": 0.5})


def test_common_rows_are_those_that_all_solved() -> None:
    solved = {"a": np.array([True, True, False]), "b": np.array([True, False, True])}
    assert common(solved).tolist() == [0]
    assert common(solved | {"asked for two": np.array([False, True])}).tolist() == []
    assert common({"all": np.array([True, True, True]), "asked for two": np.array([True, True])}).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("value", "limit", "side", "n", "said"),
    [
        (100.0, 100, "least", None, "met"),
        (99.9, 100, "least", None, "not met"),
        (10.0, 10, "most", None, "met"),
        (10.1, 10, "most", None, "not met"),
        (None, 10, "most", None, "not measured"),
        (500.0, 100, "least", 99, "not measured"),
        (500.0, 100, "least", 100, "met"),
    ],
)
def test_verdicts(value: float | None, limit: float, side: str, n: int | None, said: str) -> None:
    assert verdict(value, limit, side, n, least=100 if n else 0) == said


def test_bars_are_drawn_to_a_logarithmic_scale() -> None:
    from xml.etree import ElementTree as ET

    root = ET.fromstring(chart.bars("a & b", "ms", [("ours-fast", 1.0), ("peer", 100.0), ("ours-slow", 10.0)]))
    drawn = [float(r.get("width", "")) for r in root.iter() if r.tag.endswith("rect") and r.get("x")]
    span = chart.WIDTH - chart.LEFT - chart.RIGHT
    assert drawn == pytest.approx([2.0, span / 2, span])


def cell(method: str, seed: int, wall: float, codes: list[list[float] | None], said: str = "") -> dict[str, Any]:
    """A result as a process leaves it, over the rows 0, 1 and so on."""
    given = {"method": method, "seed": seed, "rows": list(range(len(codes)))}
    return {
        "cell": given,
        "wall": wall,
        "cpu": wall / 2,
        "rows_done": len(codes),
        "found": codes,
        "said": [said] * len(codes),
        "model": {"rows": 40.0, "calls": 4.0, "share": 0.5},
        "fit": {"cpu": 0.1},
        "reads_trees": False,
        "peak_mb": 100.0,
    }


def group() -> Group:
    """Two rows, an exact search that proves both, our fast search and a peer that solves one row of two."""
    task = Task("toy", FEATURES, np.repeat(A, 4, axis=0), np.array([0, 0, 1, 1]), np.array([True] * 4))
    judge = Judge(task, lambda rows: (np.asarray(rows)[:, 0] > 33).astype(float))
    results = [
        cell("treecf-exact", 0, 9.0, [[34.0, 0.0, 1.0, 0.5], [34.0, 0.0, 1.0, 0.5]], "optimal"),
        cell("ours-fast", 0, 0.2, [[35.0, 0.0, 1.0, 0.5], [34.0, 0.0, 1.0, 0.5]]),
        cell("peer", 0, 60.0, [[38.0, 0.0, 0.0, 0.5], [32.0, 0.0, 1.0, 0.5]]),
        cell("idle", 0, 60.0, [None, None]),
    ]
    cells = {(r["cell"]["method"], 0): judge.judge(r) for r in results}
    turns = {0: [cell("ours-fast", 0, 0.4, [None, None]), cell("ours-fast", 0, 0.6, [None, None])]}
    return Group("toy", "lightgbm", task, cells, turns)


def test_cost_is_per_counterfactual_that_flips() -> None:
    found = cost(group().of("peer"))
    assert (found["flipped"], found["given"], found["done"], found["wall"]) == (1, 2, 2, 60_000.0)
    assert (found["rows"], found["calls"]) == (40.0, 4.0)
    assert cost(group().of("idle"))["wall"] is None


def test_a_ratio_is_per_row_against_the_median_of_our_runs() -> None:
    # 60 s over 2 rows against the median of 0.2, 0.4 and 0.6 s over 2 rows.
    found = ratios(group(), "peer")
    assert (found["wall_median"], found["cpu_median"], found["rows"]) == (pytest.approx(150), pytest.approx(150), 2)
    assert ratios(group(), "nobody")["wall_median"] is None


def test_gaps_are_against_proved_rows_and_leave_out_what_breaks_a_rule() -> None:
    found = gaps(group())
    assert (found[""]["proved"], found[""]["asked"]) == (2, 2)
    # Changes of 5 and 4 years against 4 and 4.
    assert found["ours-fast"]["mean"] == pytest.approx(9 / 8 - 1)
    assert (found["ours-fast"]["found"], found["ours-fast"]["within"]) == (1.0, 0.5)
    assert "peer" not in found
    assert found["ours-fast"]["model_rows"] == 20.0


def test_rows_that_all_solved_are_those_that_flip_everywhere() -> None:
    assert solved_by_all(group(), ["ours-fast", "peer"]).tolist() == [0]
    assert solved_by_all(group(), ["ours-fast", "treecf-exact"]).tolist() == [0, 1]


def test_violations_are_counted_by_kind_and_by_row() -> None:
    found = violations(group().of("peer"))
    assert (found["immutable"], found["not flipped"], found["any"]) == (1, 1, 2)


def test_panels_draw_every_point_within_the_figure() -> None:
    asked = [
        ("rows", {"nearest": [(1, 12.4), (10, 1.5), (100, 0.6)], "fast": [(1, 27.0), (100, 1.3)]}),
        ("features", {"fast": [(10, 1.5), (30, 3.8), (100, 14.0)]}),
        ("reference rows", {"nearest": [(200, 0.1), (34_664, 0.7)]}),
    ]
    root = ET.fromstring(chart.panels("Cost", "ms", asked))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    circles = [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in root.iter("{http://www.w3.org/2000/svg}circle")]
    assert len(circles) == 3 + 2 + 3 + 2
    assert all(0 < x < width and 0 < y < height for x, y in circles)
    # The first curve falls: lower costs stand lower in the picture, and more rows to the right.
    assert [x for x, _ in circles[:3]] == sorted(x for x, _ in circles[:3])
    assert [y for _, y in circles[:3]] == sorted(y for _, y in circles[:3])
    assert len(list(root.iter("{http://www.w3.org/2000/svg}polyline"))) == 4
