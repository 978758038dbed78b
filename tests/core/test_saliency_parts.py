"""Named parts over cells: areas by hand, chance by counting, and frequencies by hand."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from audit.core.images import REST, ImageSettings, PartSettings
from audit.core.saliency_parts import (
    chance_of,
    part_cells,
    part_frequencies,
    part_metrics,
    part_names,
    part_notes,
    part_rows,
    part_shares,
)

LABELS = np.array(
    [
        [1, 1, 0, 0],
        [1, 1, 0, 2],
        [1, 0, 3, 3],
        [0, 0, 3, 3],
    ]
)
"""Four cells of 2 x 2 pixels: all 1; three 0 and one 2; three 0 and one 1; all 3."""


def test_shares_of_cells_by_hand():
    shares = part_shares(LABELS, (2, 2), 3)
    np.testing.assert_array_equal(shares, [[0, 1, 0, 0], [0.75, 0, 0.25, 0], [0.75, 0.25, 0, 0], [0, 0, 0, 1]])


def test_cells_that_no_pixel_divides_evenly_take_the_pixels_whose_centres_they_hold():
    labels = np.array([[1, 1, 2, 2, 2]])  # centres at .1 .3 .5 .7 .9 of the width; the third lies on the edge
    shares = part_shares(labels, (1, 2), 2)
    np.testing.assert_allclose(shares, [[0, 1, 0], [0, 0, 1]])
    assert part_shares(np.ones((1, 1), dtype=int), (2, 2), 1)[0].tolist() in ([0, 1], [1, 0])
    assert (part_shares(np.ones((1, 1), dtype=int), (2, 2), 1).sum(axis=1) == 1).all()


def test_a_part_that_covers_most_of_no_cell_has_the_one_that_holds_most_of_it():
    member = part_cells(part_shares(LABELS, (2, 2), 3))
    np.testing.assert_array_equal(member, [[0, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    names = part_names(member, ("head", "eye", "tail"))
    assert names == ["head", f"eye and {REST}", REST, "tail"]


def test_of_equals_the_first_named_has_the_cell():
    member = part_cells(np.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [1.0, 0.0, 0.0]]))
    np.testing.assert_array_equal(member, [[0, 1, 0], [0, 0, 1], [1, 0, 0]])


def test_chance_is_the_share_of_all_draws_that_touch_the_part():
    for count, cells, swaps in ((6, 2, 3), (5, 5, 1), (7, 3, 5), (4, 1, 0)):
        draws = list(combinations(range(count), swaps))
        touched = sum(any(c < cells for c in draw) for draw in draws) / len(draws)
        assert chance_of(cells, count, swaps) == pytest.approx(touched)


def test_rows_of_a_picture():
    member = part_cells(part_shares(LABELS, (2, 2), 3))
    rows = part_rows("a", member, ("head", "eye", "tail"), {0, 1})
    assert [(r["part"], r["cells"], r["swapped"]) for r in rows] == [
        (REST, 2, 1),
        ("head", 1, 1),
        ("eye", 1, 1),
        ("tail", 1, 0),
    ]
    assert rows[1]["chance"] == pytest.approx(0.5)
    only = part_rows("b", part_cells(part_shares(np.ones((4, 4), dtype=int), (2, 2), 2)), ("all", "none"), {3})
    assert [(r["part"], r["cells"]) for r in only] == [("all", 4)], "what is not in the picture has no row"


def frequencies():
    head = {"part": "head", "cells": 1, "share_of_cells": 0.25, "chance": 0.5}
    rows = [{**head, "instance": i, "swapped": int(i in "ab")} for i in "abcd"]
    rows.append({"instance": "a", "part": "tail", "cells": 2, "swapped": 0, "share_of_cells": 0.5, "chance": 0.75})
    return part_frequencies(pd.DataFrame(rows), ("head", "tail", "ear"), {"a", "b", "c"}, 6)


def test_frequencies_are_over_mended_pictures_that_hold_the_part():
    head, tail = frequencies()
    assert (head["part"], head["frequency"], head["n"], head["chance"]) == ("head", pytest.approx(2 / 3), 3, 0.5)
    assert (tail["part"], tail["frequency"], tail["n"], tail["share_of_cells"]) == ("tail", 0.0, 1, 0.5)
    assert head["coverage"] == tail["coverage"] == 0.5
    assert (round(head["low"], 3), round(head["high"], 3)) == (0.208, 0.939), "Wilson for 2 of 3, from tables"


def told(low, **group):
    name = {"region": None, "true": None, "predicted": None} | group
    return [{**name, **row, "low": low} for row in frequencies()[:1]]


def test_metrics_can_be_told_apart_by_part_confusion_and_region():
    frame = pd.DataFrame([*told(0.2), *told(0.2, true="cat", predicted="dog"), *told(0.2, region="old")], dtype=object)
    places = [(m.where.feature, m.where.variant, m.where.region, m.n) for m in part_metrics(frame)]
    assert places == [("head", None, None, 3), ("head", "cat read as dog", None, 3), ("head", None, "old", 3)]
    assert part_metrics(pd.DataFrame()) == ()


def test_a_part_is_named_in_a_note_only_where_its_whole_interval_is_above_chance():
    (above,) = part_notes(pd.DataFrame(told(0.51), dtype=object))
    assert (above.code, above.args["part"], above.args["chance"]) == ("parts", "head", 0.5)
    (by_chance,) = part_notes(pd.DataFrame(told(0.5), dtype=object))
    assert (by_chance.code, by_chance.args) == ("parts_by_chance", {"parts": 1})
    assert part_notes(pd.DataFrame(told(0.9, region="old"), dtype=object)) == (), "a region is not the whole sample"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "either `boxes`, or `masks`"),
        ({"boxes": {"a": [0, 0, 1, 1]}, "masks": "m", "names": {"a": 1}}, "either `boxes`, or `masks`"),
        ({"masks": "m"}, "belong together"),
        ({"boxes": {"a": [0, 0, 1, 1]}, "names": {"a": 1}}, "belong together"),
        ({"boxes": {"a": [0.5, 0, 0.5, 1]}}, "'a' is empty"),
        ({"boxes": {"a": [0, 0, 0.5, 1], "b": [0.4, 0.9, 1, 1]}}, "'a' and 'b' overlap"),
        ({"boxes": {REST: [0, 0, 1, 1]}}, "another name"),
        ({"masks": "m", "names": {"a": 1, "b": 1}}, "same number"),
        ({"boxes": {"a": [0, 0, 1.5, 1]}}, "less than or equal to 1"),
    ],
)
def test_parts_that_cannot_be_meant(settings, said):
    with pytest.raises(ValidationError, match=said):
        PartSettings.model_validate(settings, strict=False)


def test_boxes_may_touch():
    given = {"parts": {"boxes": {"a": [0, 0, 0.5, 1], "b": [0.5, 0, 1, 1]}}}
    parts = ImageSettings.model_validate(given, strict=False).parts
    assert parts is not None
    assert parts.parts == ("a", "b")
