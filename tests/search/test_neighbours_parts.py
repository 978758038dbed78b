"""The sorting and the hashes that searches share, beside what NumPy says in a longer way."""

import numpy as np
import pytest

from audit.core.neighbours import by_owner, first_of_equal, row_keys


@pytest.mark.parametrize("seed", range(40))
def test_by_owner_is_a_stable_sort_by_two_keys(seed: int) -> None:
    """Owners in runs or in any order, few or many of one, equal and infinite values among them."""
    rng = np.random.default_rng(seed)
    m = int(rng.integers(0, 400))
    owner = rng.integers(0, (1, 5, 300)[seed % 3], m)
    values = np.round(rng.normal(size=m), int(rng.integers(0, 3)))
    values[rng.random(m) < 0.1] = np.inf
    if seed % 2:
        half = m // 2
        owner = np.concatenate([np.sort(owner[:half]), np.sort(owner[half:])])
    np.testing.assert_array_equal(by_owner(values, owner), np.lexsort((values, owner)))


def test_one_owner_of_nearly_all_is_sorted_as_well() -> None:
    owner = np.concatenate([np.zeros(60_000, dtype=np.int64), np.arange(1, 2_000)])
    values = np.random.default_rng(0).permutation(len(owner)).astype(float) // 7
    np.testing.assert_array_equal(by_owner(values, owner), np.lexsort((values, owner)))


def test_the_first_of_equal_keys() -> None:
    keys = np.random.default_rng(1).integers(0, 50, 300).astype(np.uint64)
    np.testing.assert_array_equal(np.sort(first_of_equal(keys)), np.sort(np.unique(keys, return_index=True)[1]))
    assert len(first_of_equal(keys[:0])) == 0


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(500, 6), (500, 1), (1, 6), (0, 6)])
def test_keys_tell_rows_and_owners_apart_and_leave_the_rows_alone(order: str, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(2)
    codes = np.asarray(np.round(rng.normal(size=shape), 1), order=order)  # type: ignore[call-overload]
    codes[:1] = -0.0
    owner = rng.integers(0, 3, shape[0])
    before = codes.copy()
    keys = row_keys(owner, codes)
    np.testing.assert_array_equal(codes, before)
    assert np.signbit(codes[:1]).all()
    every = {(int(o), tuple((row + 0.0).tolist())) for o, row in zip(owner, codes, strict=True)}
    assert len(np.unique(keys)) == len(every)
    np.testing.assert_array_equal(row_keys(owner, codes + 0.0), keys)
