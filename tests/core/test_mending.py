"""The search for swaps: planted cells, statuses, and what must hold of every answer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.core.mending import Mending, alive, cosines, mend
from audit.core.saliency import Batched, Closed, Probe, cells_of, contributions, dips, maps_of

SIZE, D, C = (3, 3), 6, 4
KEEP = dips(SIZE, 0.8)


def scene(seed, references=2):
    """A linear head, a picture, candidates, and their likeness."""
    rng = np.random.default_rng(seed)
    head = Probe(True, rng.normal(size=(C, D)), rng.normal(size=C) * 0.1, ())
    cells = rng.random((9, D)).astype(np.float32)
    pool = rng.random((references * 9, D)).astype(np.float32)
    return head, cells, pool, cosines(cells, pool)


def solve(seed, references=2, **settings):
    head, cells, pool, likeness = scene(seed, references)
    closed = Closed(cells, contributions(pool, head, 9), head)
    z = closed.logits()
    wrong, target = int(z.argmax()), int(np.argsort(z)[-2])
    chosen = Mending.model_validate(settings)
    return (
        head,
        cells,
        pool,
        wrong,
        target,
        mend(closed, likeness, KEEP, wrong, target, chosen, np.random.default_rng(0)),
    )


def edited(head, cells, pool, edits):
    own = cells.copy()
    for edit in edits:
        own[edit.cell] = pool[edit.candidate]
    return own.mean(axis=0, dtype=np.float64) @ head.weight.T + head.bias


SETTINGS = st.fixed_dictionaries(
    {
        "contribution": st.sampled_from(["dip", "permutation", "exact"]),
        "payoff": st.sampled_from(["logit", "margin"]),
        "selection": st.sampled_from(["paper", "joint"]),
        "m": st.sampled_from([1.0, 3.0, 0.5, 100.0]),
        "reuse_candidates": st.booleans(),
        "prune": st.booleans(),
        "max_iter": st.sampled_from([1, 4, 100]),
        "orders": st.just(3),
    }
)


@given(st.integers(0, 5000), SETTINGS)
def test_what_holds_of_every_answer(seed, settings):
    head, cells, pool, _, target, got = solve(seed, **settings)
    z = edited(head, cells, pool, got.edits)
    np.testing.assert_allclose(got.logits, z, atol=1e-6)
    assert (got.status == "converged") == (int(z.argmax()) == target)
    assert len({edit.cell for edit in got.edits}) == len(got.edits) <= min(9, settings["max_iter"])
    if not settings["reuse_candidates"]:
        assert len({edit.candidate for edit in got.edits}) == len(got.edits)
    if settings["prune"] and got.status == "converged":
        for edit in got.edits:
            rest = [other for other in got.edits if other is not edit]
            assert int(edited(head, cells, pool, rest).argmax()) != target, "a swap is needless"


@given(st.integers(0, 500), st.sampled_from(["paper", "joint"]))
def test_the_closed_form_and_the_head_itself_choose_alike(seed, selection):
    head, cells, pool, likeness = scene(seed)
    closed = Closed(cells, contributions(pool, head, 9), head)
    z = closed.logits()
    wrong, target = int(z.argmax()), int(np.argsort(z)[-2])

    def asked(maps):
        return maps.mean(axis=(2, 3), dtype=np.float64) @ head.weight.T + head.bias

    settings = Mending(selection=selection)
    rng = np.random.default_rng(0)
    fast = mend(closed, likeness, KEEP, wrong, target, settings, rng)
    slow = mend(Batched(cells, pool, SIZE, asked), likeness, KEEP, wrong, target, settings, rng)
    assert [(e.cell, e.candidate) for e in fast.edits] == [(e.cell, e.candidate) for e in slow.edits]
    np.testing.assert_allclose(fast.before, slow.before, atol=1e-5)


@pytest.mark.parametrize("selection", ["paper", "joint"])
def test_one_cell_that_carries_the_class_is_found_and_one_swap_mends(selection):
    weight = np.array([[1.0, 0.0], [0.0, 1.0]])
    head = Probe(True, weight, np.array([0.0, 0.1]), ())
    cells = np.zeros((9, 2), dtype=np.float32)
    cells[:, 1] = 0.01
    cells[5] = [9.0, 0.0]
    pool = np.full((9, 2), [0.0, 1.0], dtype=np.float32)
    closed = Closed(cells, contributions(pool, head, 9), head)
    got = mend(closed, cosines(cells, pool), KEEP, 0, 1, Mending(selection=selection), np.random.default_rng(0))
    assert got.status == "converged"
    assert [edit.cell for edit in got.edits] == [5]
    assert int(got.before.argmax()) == 5


def test_where_nothing_helps_the_nearest_state_is_kept_and_said():
    head = Probe(True, np.array([[1.0, 0.0], [0.0, 1.0]]), np.zeros(2), ())
    cells = np.full((9, 2), [5.0, 1.0], dtype=np.float32)
    pool = np.array([[4.0, 1.0], [6.0, 1.0]], dtype=np.float32)
    closed = Closed(cells, contributions(pool, head, 9), head)
    got = mend(closed, cosines(cells, pool), KEEP, 0, 1, Mending(), np.random.default_rng(0))
    assert got.status == "not_converged"
    assert [edit.candidate for edit in got.edits] == [0], "the second swap made it worse and is taken back"
    np.testing.assert_allclose(got.logits, edited(head, cells, pool, got.edits), atol=1e-9)


def test_the_least_loss_among_the_look_alikes_is_chosen_by_hand():
    head = Probe(True, np.array([[1.0, 0.0], [0.0, 1.0]]), np.zeros(2), ())
    cells = np.array([[4.0, 3.0]], dtype=np.float32)
    pool = np.array([[4.0, 3.1], [3.0, 4.0], [0.0, 5.0]], dtype=np.float32)  # cosines about 1, .96 and .6
    likeness = cosines(cells, pool)
    np.testing.assert_allclose(likeness, [[0.9998, 0.96, 0.6]], atol=1e-3)
    keep = dips((1, 1), 0.8)

    def first(**settings):
        closed = Closed(cells, contributions(pool, head, 1), head)
        return mend(closed, likeness, keep, 0, 1, Mending(**settings), np.random.default_rng(0)).edits[0].candidate

    # L = 1 - cosine - log p(target): 1.24 + .00, .31 + .04, .007 + .4
    assert first() == 1
    assert first(lambda_sim=0.0) == 2
    assert first(m=2, lambda_sim=0.0) == 1


def test_a_fraction_of_the_candidates():
    assert [Mending(m=m).alike(980) for m in (10, 0.1, 5000, 0.0001)] == [10, 98, 980, 1]


def test_cosines_of_nothing_are_zero():
    zero = np.zeros((1, 3), dtype=np.float32)
    assert cosines(zero, np.ones((2, 3), dtype=np.float32)).tolist() == [[0.0, 0.0]]


def test_maps_of_cells_round_trip_for_the_head():
    cells = np.arange(18, dtype=np.float32).reshape(1, 9, 2)
    np.testing.assert_array_equal(cells_of(maps_of(cells, SIZE)), cells)


@pytest.mark.parametrize("selection", ["paper", "joint"])
def test_candidates_of_zeros_are_never_swapped_in(selection):
    """A cell of zeros would take the wrong class away at once; it is no look-alike of anything."""
    head = Probe(True, np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0.0, 0.1]), ())
    cells = np.tile(np.array([1.0, 0.5], dtype=np.float32), (9, 1))
    pool = np.zeros((4, 2), dtype=np.float32)
    pool[2:] = [0.2, 0.9]
    likeness = cosines(cells, pool)
    assert alive(likeness).tolist() == [False, False, True, True]
    settings = Mending(m=4, selection=selection, reuse_candidates=True)
    closed = Closed(cells, contributions(pool, head, 9), head)
    answer = mend(closed, likeness, KEEP, 0, 1, settings, np.random.default_rng(0))
    assert answer.status == "converged"
    assert {edit.candidate for edit in answer.edits} <= {2, 3}
    assert alive(np.zeros((9, 4))).all(), "a picture of zeros says nothing of the candidates"
