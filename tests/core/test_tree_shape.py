"""Whether nodes make a tree: trees that were grown do, whatever was bent in them does not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.core.tree_file import is_tree


def grown(choices: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """A tree that is grown by splitting one leaf after another; leaves have the child -1."""
    left, right, leaves = [-1], [-1], [0]
    for choice in choices:
        node = leaves.pop(choice % len(leaves))
        left[node], right[node] = len(left), len(left) + 1
        leaves += [left[node], right[node]]
        left += [-1, -1]
        right += [-1, -1]
    return np.array(left), np.array(right)


@given(st.lists(st.integers(0, 50), max_size=30), st.randoms(use_true_random=False))
def test_what_was_grown_is_a_tree_however_its_nodes_are_numbered(choices: list[int], random: object) -> None:
    left, right = grown(choices)
    assert is_tree(left, right, left == -1)
    order = np.arange(1, len(left))
    random.shuffle(order)
    place = np.concatenate([[0], order])
    moved = [np.full(len(left), -1) for _ in range(2)]
    for side, to in zip((left, right), moved, strict=True):
        to[place] = np.where(side == -1, -1, place[side])
    assert is_tree(*moved, moved[0] == -1)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30), st.data())
def test_a_way_back_or_out_is_no_tree(choices: list[int], data: st.DataObject) -> None:
    left, right = grown(choices)
    leaf = left == -1
    node = data.draw(st.sampled_from(np.flatnonzero(~leaf).tolist()))
    above = [node]
    while above[-1]:
        above.append(int(np.flatnonzero((left == above[-1]) | (right == above[-1]))[0]))
    side = data.draw(st.sampled_from([left, right]))
    side[node] = data.draw(st.sampled_from([*above, len(left), 10**9, -1, -(10**9)]))
    assert not is_tree(left, right, leaf)


@pytest.mark.parametrize(("left", "right"), [([], []), ([1, -1, -1], [2, -1]), ([1], [-1])])
def test_what_has_not_the_size_of_a_tree_is_none(left: list[int], right: list[int]) -> None:
    assert not is_tree(np.array(left, dtype=np.int64), np.array(right, dtype=np.int64), np.array(left) == -1)
