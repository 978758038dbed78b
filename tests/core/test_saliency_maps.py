"""Maps over cells: what is kept and dominant, parts, areas under curves, drawing."""

import numpy as np
import pytest

from audit.core.saliency import Closed, Probe
from audit.core.saliency_maps import (
    compactness,
    insertion_deletion,
    invariant_and_dominant,
    parts,
    positive,
    upsampled,
)


def test_positive_part_scaled():
    np.testing.assert_allclose(positive(np.array([-1.0, 2.0, 4.0])), [0, 0.5, 1])
    assert positive(np.array([-1.0, -2.0])).tolist() == [0, 0]


def test_kept_and_dominant_by_hand():
    kept, dominant = invariant_and_dominant(np.array([2.0, 1.0, 0.0, -3.0]), np.array([1.0, 4.0, 2.0, 0.0]))
    # M0 = 1, .5, 0, 0 and M1 = .25, 1, .5, 0
    np.testing.assert_allclose(kept, [0.25, 0.5, 0, 0])
    np.testing.assert_allclose(dominant, [0, 0.5, 0.5, 0])


def test_parts_grow_from_peaks_and_stay_in_one_piece():
    phi = np.array(
        [
            [9, 1, 0, 0, 1],
            [1, 1, 0, 0, 5],
            [0, 0, 0, 0, 1],
            [0, 0, -2, 0, 0],
            [0, 2, 0, 0, 0],
        ],
        dtype=float,
    )
    got = parts(phi.ravel(), (5, 5), 0.8).reshape(5, 5)
    assert got.tolist() == [
        [1, 1, 0, 0, 2],
        [1, 1, 0, 0, 2],
        [0, 0, 0, 0, 2],
        [0, 0, 0, 0, 0],
        [0, 3, 0, 0, 0],
    ]


def test_a_cell_that_is_cut_off_from_its_seed_is_a_part_of_its_own():
    phi = np.array([[9.0, 0.0, 1e-6, 1e-3]])
    assert parts(phi.ravel(), (1, 4), 5.0).tolist() == [1, 0, 3, 2], "the third cell is pulled by the first"
    assert parts(phi.ravel(), (1, 4), 0.2).tolist() == [1, 0, 2, 2]
    assert parts(np.zeros(4), (2, 2), 0.8).tolist() == [0, 0, 0, 0]


def test_compactness_is_the_area_above_half():
    assert compactness(np.array([1.0, 0.5, 0.49, 0.0])) == 50.0


def test_insertion_and_deletion_by_hand():
    """Two classes, logits of cell contributions; probabilities are worked out here."""
    head = Probe(True, np.eye(2), np.zeros(2), ())
    state = Closed(np.array([[4.0, 0.0], [2.0, 0.0]], dtype=np.float32), np.zeros((1, 2)), head)

    def p(z):
        return 1 / (1 + np.exp(-z))

    insertion, deletion = insertion_deletion(state, np.array([0, 1]), 0, 1)
    # absent cells are zero; cells add 2 and 1 to the logit
    assert insertion[0] == pytest.approx((p(0) + 2 * p(2) + p(3)) / 4)
    assert deletion[0] == pytest.approx((p(3) + 2 * p(1) + p(0)) / 4)
    assert insertion[1] == pytest.approx(2 * insertion[0] - 1)
    worse = insertion_deletion(state, np.array([1, 0]), 0, 1)
    assert worse[0][0] < insertion[0]
    assert worse[1][0] > deletion[0]


def test_drawing_over_a_picture():
    drawn = upsampled(np.array([0.0, 1.0, 0.0, 1.0]), (2, 2), 4, 8)
    assert drawn.shape == (4, 8)
    np.testing.assert_allclose(drawn[:, 0], 0)
    np.testing.assert_allclose(drawn[:, -1], 1)
    np.testing.assert_allclose(drawn[0, 3:5], [0.375, 0.625])
