"""The arithmetic of change frequencies: hand cases to 1e-12, and properties."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.core import frequency
from audit.core.counterfactuals import change
from audit.core.schema import Feature, FeatureSchema

HAND = FeatureSchema(
    features=(
        Feature(name="a", kind="numeric", low=0.0, high=1.0),
        Feature(name="b", kind="numeric", low=0.0, high=1.0),
        Feature(name="c", kind="categorical", levels=("a", "b"), high=1.0),
    )
)
RANGE = np.ones(3)


def scores(before: list[list[float]], after: list[list[float]], tau: float, schema: FeatureSchema = HAND) -> np.ndarray:
    """Local scores of one instance."""
    x, x2 = np.array(before, dtype=float), np.array(after, dtype=float)
    scale = np.array([f.scale for f in schema.features])
    found = frequency.changes(schema, np.broadcast_to(x, x2.shape), x2, scale)
    L, _ = frequency.local(found.counted(tau), np.zeros(len(x2), dtype=np.int64), 1)
    return L[0]


@pytest.mark.parametrize(("tau", "expected"), [(0.1, (2 / 3, 1 / 3, 2 / 3)), (0.0, (2 / 3, 2 / 3, 2 / 3))])
def test_the_hand_computed_case(tau: float, expected: tuple[float, ...]) -> None:
    # Source: methods/flex, section 7.
    got = scores([[0, 0, 0]], [[1, 0, 0], [1, 0.05, 1], [0, 0.5, 1]], tau)
    assert got == pytest.approx(expected, abs=1e-12)


def test_mean_and_pooled_by_hand() -> None:
    # Source: methods/flex, section 7: two instances with 2 of 2 and 1 of 4 changed.
    L, K = np.array([[1.0], [0.25]]), np.array([2, 4])
    one = np.ones(2)
    assert frequency.mean(L, frequency.weights(K, one, pooled=False)) == pytest.approx([0.625], abs=1e-12)
    assert frequency.mean(L, frequency.weights(K, one, pooled=True)) == pytest.approx([0.5], abs=1e-12)


def test_a_change_of_exactly_tau_does_not_count() -> None:
    schema = FeatureSchema(features=(Feature(name="a", kind="numeric", low=0.0, high=4.0),))
    assert scores([[0]], [[1]], 0.25, schema).tolist() == [0.0]
    assert scores([[0]], [[1]], 0.2499, schema).tolist() == [1.0]


def test_a_change_below_the_tolerance_is_none() -> None:
    assert scores([[0, 0, 0]], [[1e-9, 1.1e-9, 0]], 0.0).tolist() == [0.0, 1.0, 0.0]


def test_tau_does_not_touch_categories() -> None:
    assert scores([[0, 0, 0]], [[0.9, 0, 1]], 1.0).tolist() == [0.0, 0.0, 1.0]


def test_an_ordinal_change_counts_in_levels() -> None:
    levels = ("low", "mid", "high", "top", "peak")
    schema = FeatureSchema(features=(Feature(name="a", kind="ordinal", levels=levels, high=4.0),))
    assert scores([[0]], [[1], [2]], 0.25, schema).tolist() == [0.5]  # 1/4 is exactly tau, 2/4 is beyond


def test_missing_values() -> None:
    nan = np.nan
    before, after = np.array([[nan, nan, 0.5], [0.5, nan, nan]]), np.array([[nan, 0.2, nan], [nan, nan, 1.0]])
    schema = HAND
    found = frequency.changes(schema, before, after, RANGE)
    assert found.counted(0.5).tolist() == [[False, True, True], [True, False, True]]
    assert np.array_equal(found.counted(1.0), found.missing)  # such a change has no size, so that no threshold stops it
    assert found.missing.tolist() == [[False, True, True], [True, False, True]]
    assert np.isnan(found.signed).all()  # no change here has a size with a sign


def test_a_constant_feature_has_no_changes() -> None:
    schema = FeatureSchema(features=(Feature(name="a", kind="numeric", low=2.0, high=2.0),))
    assert scores([[3]], [[2]], 0.0, schema).tolist() == [0.0]


def test_the_sizes_are_those_of_the_distance() -> None:
    """Generators measure with `counterfactuals.change`; FLEX must mean the same by a change."""
    rng = np.random.default_rng(0)
    pick = np.array([0.0, 1.0, np.nan])
    before, after = pick[rng.integers(0, 3, (50, 3))], pick[rng.integers(0, 3, (50, 3))]
    assert np.array_equal(frequency.changes(HAND, before, after, RANGE).size, change(HAND, before, after))


def test_an_instance_without_counterfactuals_is_undefined() -> None:
    L, K = frequency.local(np.array([[True], [False]]), np.array([2, 2]), 4)
    assert K.tolist() == [0, 0, 2, 0]
    assert np.isnan(L[[0, 1, 3]]).all()
    assert L[2].tolist() == [0.5]
    assert frequency.mean(L, frequency.weights(K, np.ones(4), pooled=False)).tolist() == [0.5]
    none = frequency.mean(L[:2], frequency.weights(K[:2], np.ones(2), pooled=False))
    assert np.isnan(none).all()


def test_weights_by_hand() -> None:
    L, K = np.array([[1.0], [0.0]]), np.array([5, 5])
    assert frequency.mean(L, frequency.weights(K, np.array([1.0, 0.25]), pooled=False)) == pytest.approx([0.8])


def test_magnitudes_by_hand() -> None:
    before = np.zeros((5, 3))
    after = np.array([[0.2, 0, 1], [0.4, 0, 1], [-0.6, 0, 0], [0.8, 0.0, 0], [0.05, 0, 0]])
    found = frequency.changes(HAND, before, after, RANGE)
    got = frequency.magnitudes(found, found.counted(0.1))
    # Counted changes of `a`: -0.6, 0.2, 0.4, 0.8, so that the 10 % quantile is 0.3 of the way from -0.6 to 0.2.
    assert got.quantiles[:, 0] == pytest.approx([-0.6 + 0.3 * 0.8, 0.3, 0.4 + 0.7 * 0.4], abs=1e-12)
    assert got.increase_share[0] == 0.75
    assert np.isnan(got.quantiles[:, 1:]).all()
    assert np.isnan(got.increase_share[1:]).all()


def test_local_magnitudes_are_those_of_each_instance_alone() -> None:
    rng = np.random.default_rng(1)
    before, after = rng.integers(0, 3, (60, 3)) / 2.0, rng.integers(0, 3, (60, 3)) / 2.0
    row = rng.integers(0, 9, 60)  # in no order; 9 of 10 instances
    found = frequency.changes(HAND, before, after, RANGE)
    counted = found.counted(0.0)
    together = frequency.local_magnitudes(found, counted, row, 10)
    for i in range(10):
        alone = frequency.magnitudes(found, counted, row == i)
        assert np.array_equal(together.quantiles[:, i], alone.quantiles, equal_nan=True)
        assert np.array_equal(together.increase_share[i], alone.increase_share, equal_nan=True)


def test_scales_by_hand() -> None:
    schema = FeatureSchema(
        features=(
            Feature(name="a", kind="numeric", low=0.0, high=10.0),
            Feature(name="zeros", kind="numeric", low=0.0, high=6.0),
            Feature(name="level", kind="ordinal", levels=("l", "m", "h"), high=2.0),
            Feature(name="same", kind="numeric", low=3.0, high=3.0),
        )
    )
    reference = np.array([[0, 0, 0, 3], [1, 0, 1, 3], [2, 0, 2, 3], [3, 6, 0, 3], [10, np.nan, 1, 3]], dtype=float)
    mad, replaced = frequency.scales(schema, reference, "mad")
    # Median of a is 2, absolute deviations 2, 1, 0, 1, 8: median 1. The MAD of `zeros` is 0: its range, 6.
    assert mad.tolist() == [1.0, 6.0, 2.0, 0.0]
    assert replaced == ("zeros",)
    std, replaced = frequency.scales(schema, reference, "std")
    # Variance of a: 114/5 - 3.2^2 = 12.56; of `zeros` (0, 0, 0, 6): 36/4 - 1.5^2 = 6.75.
    assert std == pytest.approx([12.56**0.5, 6.75**0.5, 2.0, 0.0])
    assert replaced == ()
    assert frequency.scales(schema, reference, "range")[0].tolist() == [10.0, 6.0, 2.0, 0.0]


KINDS = st.sampled_from(["numeric", "ordinal", "categorical", "boolean"])


@st.composite
def cases(draw: st.DrawFn) -> tuple[FeatureSchema, np.ndarray, np.ndarray, np.ndarray, int]:
    """A schema, rows, their counterfactuals, whose they are, and the number of rows."""
    kinds = draw(st.lists(KINDS, min_size=1, max_size=5))
    n, m, seed = draw(st.integers(1, 6)), draw(st.integers(1, 25)), draw(st.integers(0, 2**16))
    features = [
        Feature(name="abcde"[j], kind=kind, levels=() if kind == "numeric" else ("p", "q"), high=1.0)
        for j, kind in enumerate(kinds)
    ]
    rng = np.random.default_rng(seed)
    numeric = np.array([kind == "numeric" for kind in kinds])

    def rows(size: int) -> np.ndarray:
        values = np.where(numeric, rng.integers(0, 21, (size, len(kinds))) / 20, rng.integers(0, 2, (size, len(kinds))))
        return np.where(rng.random(values.shape) < 0.1, np.nan, values)

    before, row = rows(n), np.sort(rng.integers(0, n, m))
    after = np.where(rng.random((m, len(kinds))) < 0.4, rows(m), before[row])
    return FeatureSchema(features=tuple(features)), before, after, row, n


def measure(case: tuple[FeatureSchema, np.ndarray, np.ndarray, np.ndarray, int], tau: float) -> np.ndarray:
    schema, before, after, row, n = case
    found = frequency.changes(schema, before[row], after, np.array([f.scale for f in schema.features]))
    return frequency.local(found.counted(tau), row, n)[0]


@given(cases())
def test_scores_sum_to_the_features_changed(case: tuple) -> None:
    _, before, after, row, n = case
    L = measure(case, 0.0)
    b, a = before[row], after
    different = ~((a == b) | (np.isnan(a) & np.isnan(b)))
    for i in range(n):
        mine = different[row == i]
        expected = mine.sum(axis=1).mean() if len(mine) else np.nan
        assert L[i].sum() == pytest.approx(expected, abs=1e-12, nan_ok=True)


@given(cases(), st.lists(st.floats(0, 1), min_size=2, max_size=5))
def test_scores_are_shares_and_fall_as_tau_rises(case: tuple, taus: list[float]) -> None:
    sweep = [measure(case, tau) for tau in sorted(taus)]
    for scores_at, later in pairwise(sweep):
        known = scores_at[~np.isnan(scores_at)]
        assert ((known >= 0) & (known <= 1)).all()
        assert (later[~np.isnan(later)] <= known).all()


@given(cases(), st.integers(1, 6))
def test_equal_numbers_of_counterfactuals_make_pooled_and_mean_equal(case: tuple, K: int) -> None:
    n, d = case[4], len(case[0])
    counted = np.random.default_rng(n).random((n * K, d)) < 0.5
    L, number = frequency.local(counted, np.repeat(np.arange(n), K), n)
    mean, pooled = (frequency.mean(L, frequency.weights(number, np.ones(n), pooled=p)) for p in (False, True))
    assert mean == pytest.approx(pooled, abs=1e-12)
    assert pooled == pytest.approx(counted.mean(axis=0), abs=1e-12)


@given(cases(), st.randoms(use_true_random=False))
def test_permuting_columns_permutes_scores(case: tuple, random) -> None:
    schema, before, after, row, n = case
    order = list(range(len(schema)))
    random.shuffle(order)
    shuffled = FeatureSchema(features=tuple(schema.features[j] for j in order))
    L = measure((shuffled, before[:, order], after[:, order], row, n), 0.1)
    assert np.array_equal(L, measure(case, 0.1)[:, order], equal_nan=True)


@settings(max_examples=50)
@given(cases(), st.sampled_from([0.001, 0.5, 3.0, 1e4]), st.sampled_from([0.0, 0.07, 0.12]))
def test_rescaling_a_numeric_column_leaves_the_scores(case: tuple, factor: float, tau: float) -> None:
    schema, before, after, row, n = case
    numeric = np.array([f.kind == "numeric" for f in schema.features])
    scaled = FeatureSchema(
        features=tuple(
            f.model_copy(update={"high": f.high * factor}) if f.kind == "numeric" else f for f in schema.features
        )
    )
    by = np.where(numeric, factor, 1.0)
    # Changes are multiples of 1/20 and tau lies between them, so that rounding cannot move one across it.
    L = measure((scaled, before * by, after * by, row, n), tau)
    assert np.allclose(L, measure(case, tau), rtol=0, atol=1e-9, equal_nan=True)


@given(st.integers(0, 2**16))
def test_one_hot_and_native_coding_give_the_same_scores(seed: int) -> None:
    rng = np.random.default_rng(seed)
    native = FeatureSchema(
        features=(
            Feature(name="x", kind="numeric", high=1.0),
            Feature(name="colour", kind="categorical", levels=("red", "green", "blue"), high=2.0),
        )
    )
    hot = FeatureSchema(
        features=(
            Feature(name="colour_red", kind="numeric", high=1.0),
            Feature(name="x", kind="numeric", high=1.0),
            Feature(name="colour_green", kind="numeric", high=1.0),
            Feature(name="colour_blue", kind="boolean", levels=(0, 1), high=1.0),
        )
    )
    before, after = (np.column_stack([rng.integers(0, 9, 40) / 8, rng.integers(0, 3, 40)]) for _ in range(2))

    def coded(rows: np.ndarray) -> np.ndarray:
        one = np.eye(3)[rows[:, 1].astype(int)]
        return np.column_stack([one[:, 0], rows[:, 0], one[:, 1:]])

    plain = frequency.changes(native, before, after, np.array([1.0, 1.0]))
    groups = {"colour": ("colour_red", "colour_green", "colour_blue")}
    whole = frequency.changes(hot, coded(before), coded(after), np.ones(4)).grouped(groups)
    assert whole.names == ("colour", "x")
    row = rng.integers(0, 5, 40)
    for tau in (0.0, 0.3, 1.0):
        expected, _ = frequency.local(plain.counted(tau), row, 5)
        got, _ = frequency.local(whole.counted(tau), row, 5)
        assert np.array_equal(got, expected[:, ::-1], equal_nan=True)
    assert np.isnan(whole.signed[:, 0]).all()
    assert np.array_equal(whole.signed[:, 1], plain.signed[:, 0])


def test_no_groups_change_nothing() -> None:
    found = frequency.changes(HAND, np.zeros((2, 3)), np.ones((2, 3)), RANGE)
    assert found.grouped({}) is found
