"""Digests: equal values have equal ones, whatever order they came in."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.core.base import Frozen, canonical_json

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def shuffled(value):
    """The same value with every dictionary in reverse insertion order."""
    if isinstance(value, dict):
        return {key: shuffled(inner) for key, inner in reversed(value.items())}
    return [shuffled(inner) for inner in value] if isinstance(value, list) else value


@given(values)
def test_key_order_does_not_matter_and_nothing_is_lost(value):
    assert canonical_json(value) == canonical_json(shuffled(value))
    assert json.loads(canonical_json(value)) == value


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), {"a": [float("-inf")]}])
def test_nan_and_infinity_are_refused(bad):
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(bad)


class Point(Frozen):
    x: float
    y: int = 0


def test_values_are_closed_immutable_and_strict():
    with pytest.raises(ValueError, match="extra"):
        Point(x=1.0, z=2)
    with pytest.raises(ValueError, match="frozen"):
        Point(x=1.0).x = 2.0
    with pytest.raises(ValueError, match="valid integer"):
        Point(x=1.0, y="3")
    assert Point(x=1.0).digest() == Point(y=0, x=1.0).digest() != Point(x=1.0, y=1).digest()
