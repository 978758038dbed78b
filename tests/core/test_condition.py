"""Conditions written from what a region leaves: read again, they hold for the same rows."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.core.condition import Cells, is_writable, written
from audit.core.expression import parse
from audit.core.schema import Feature
from audit.core.table import decode_column

NUMERIC = Feature(name="age", kind="numeric", low=0, high=100)
WHOLE = Feature(name="age", kind="numeric", low=0, high=100, integer=True)
LEVELS = {
    "ordinal": ("low", "mid", "it's", "high"),
    "categorical": ("a", "it's", 'so "so"', "d"),
    "boolean": (False, True),
}


def feature_of(kind: str, name: str) -> Feature:
    if kind == "numeric":
        return Feature(name=name, kind="numeric", low=-5, high=5, missing=True)
    levels = LEVELS[kind]
    return Feature(name=name, kind=kind, levels=levels, high=len(levels) - 1.0, missing=True)


@st.composite
def cut_columns(draw):
    """A column of codes and the cells that some cuts of a tree leave of it."""
    kind = draw(st.sampled_from(["numeric", *LEVELS]))
    feature = feature_of(kind, draw(st.sampled_from(["age", "two words", "in", "größe"])))
    values = st.floats(-5, 5) if kind == "numeric" else st.integers(0, len(feature.levels) - 1).map(float)
    codes = np.array(draw(st.lists(values | st.just(np.nan), min_size=1, max_size=12)), dtype=float)
    cells = Cells.of(feature, codes)
    kept = np.ones(cells.missing + 1, dtype=bool)
    for _ in range(draw(st.integers(0, 3))):
        option = draw(st.sampled_from(cells.columns()))
        low = option <= draw(st.sampled_from(sorted({float(v) for v in option}))) + 0.5 - (not feature.ordered)
        side = low if draw(st.booleans()) else ~low
        if (kept & side)[cells.of_row].any():
            kept &= side
    return cells, codes, kept


@given(cut_columns())
def test_a_condition_holds_for_the_rows_that_are_left(drawn):
    cells, codes, kept = drawn
    text = written([cells], {0: kept})
    expected = kept[cells.of_row]
    if not text:
        assert expected.all()
        return
    name = cells.feature.name
    column = pd.Series(decode_column(cells.feature, codes), name=name)
    assert parse(text, (name,)).evaluate({name: column}, len(codes)).true.tolist() == expected.tolist()


def test_numbers_are_as_round_as_they_can_be():
    def upper(feature, low, high):
        cells = Cells.of(feature, np.array([low, high]))
        return written([cells], {0: np.array([True, False, True])})

    assert upper(WHOLE, 25.0, 26.0) == "age <= 25"
    assert upper(WHOLE, 18.0, 31.0) == "age <= 20"
    assert upper(NUMERIC, 0.118, 0.124) == "age <= 0.12"
    assert upper(NUMERIC, -3.0, 4.0) == "age <= 0"
    assert upper(NUMERIC, 1234.0, 1236.0) == "age <= 1235"


def test_sets_of_levels_are_told_by_the_shorter_side():
    feature = Feature(name="home", kind="categorical", levels=("own", "rent", "free", "other"), high=3)
    cells = Cells.of(feature, np.arange(4.0))
    for kept, text in (
        ([1, 0, 0, 0, 1], "home == 'own'"),
        ([0, 1, 1, 1, 1], "home != 'own'"),
        ([1, 1, 0, 0, 1], "home in ['own', 'rent']"),
        ([0, 0, 0, 0, 1], "home is missing"),
        ([1, 1, 1, 1, 0], ""),
    ):
        assert written([cells], {0: np.array(kept, dtype=bool)}) == text
    gaps = Cells.of(feature.model_copy(update={"missing": True}), np.array([0, 1, 2, 3, np.nan]))
    assert written([gaps], {0: np.array([1, 1, 1, 1, 0], dtype=bool)}) == "home is not missing"
    assert written([gaps], {0: np.array([1, 0, 0, 0, 1], dtype=bool)}) == "(home == 'own' or home is missing)"


@pytest.mark.parametrize(
    ("feature", "writable"),
    [
        (NUMERIC, True),
        (Feature(name="a`b", kind="numeric"), False),
        (Feature(name="a", kind="categorical", levels=("x", "'\"")), False),
        (Feature(name="a", kind="categorical", levels=("x", 1)), False),
        (Feature(name="a", kind="categorical", levels=(1, 2)), True),
        (Feature(name="a", kind="boolean", levels=(False, True)), True),
        (Feature(name="a", kind="ordinal", levels=tuple("x" * 60 + str(i) for i in range(9))), False),
        (Feature(name="a", kind="categorical", levels=tuple("x" * 60 + str(i) for i in range(9))), True),
    ],
)
def test_what_can_be_written(feature, writable):
    assert is_writable(feature) is writable
