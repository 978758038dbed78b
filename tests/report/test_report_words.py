"""Numbers and sentences: their form, and what happens where a word, a number or an argument is missing."""

import math

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from audit.core.evidence import Note
from audit.report import text
from audit.report.blocks import Cell, column_widths
from audit.report.figures import nice_top
from audit.report.words import GENERAL, say, words_of
from audit.resources import folder


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"), (math.nan, "–"), (math.inf, "–"), ("x", "–"),
        (0, "0.000"), (0.12345, "0.123"), (-0.5, "−0.500"), (12.345, "12.35"), (123.45, "123.5"), (12345.6, "12,346"),
        (0.00001, "1.0e-05"), (np.float64(2.0), "2.000"),
    ],
)  # fmt: skip
def test_number(value: object, shown: str) -> None:
    assert text.number(value) == shown


def test_percent_count_and_interval() -> None:
    assert text.percent(0.1234) == "12.3\u00a0%"
    assert text.count(1234567) == "1,234,567"
    assert text.count(2.5) == "2.50"
    assert text.interval(0.1, 0.25, "percent") == "10.0\u00a0% to 25.0\u00a0%"
    assert text.interval(None, 0.2) == "–"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"), (True, "yes"), (np.bool_(False), "no"), ((1, "a"), "1, a"),
        ({"b_c": 1, "d": None}, "b c 1"),
        ([{"a": 1}, {"a": 2}], "a 1; a 2"),
        (1.0, "1"), (np.nan, "–"), (np.array([1, 2]), "1, 2"), ([], "–"), (-3, "−3"),
    ],
)  # fmt: skip
def test_plain(value: object, shown: str) -> None:
    assert text.plain(value) == shown


@given(st.text())
def test_what_is_visible_neither_hides_nor_fails(raw: str) -> None:
    shown = text.visible(raw, text.drawable())
    assert all(ord(char) in text.drawable() or char in "\n\t" for char in shown)
    assert text.visible(shown, text.drawable()) == shown


def test_letters_stay_on_screen_but_controls_do_not() -> None:
    assert text.visible("收入 a\u202eb\u200b\x00\ud800é\u0336") == "收入 a‹U+202E›b‹U+200B›‹U+0000›‹U+D800›é‹U+0336›"


def test_a_note_without_words_or_with_wrong_arguments_still_speaks() -> None:
    unknown = say(Note(code="no_such_code", args={"rows": 3, "share": None}), "flex")
    assert (unknown.title, unknown.text) == ("No such code", "Rows: 3; share: –.")
    broken = say(Note(code="score_mismatch", args={"column": "s"}), "sample")
    assert broken.title == "The stored production scores are not those of this model"
    assert broken.text == "Column: s."


def test_words_fill_in_numbers() -> None:
    args = {"count": 3, "rows": 1300, "column": "s", "tolerance": 1e-6, "missing": 0, "largest": 0.25}
    said = say(Note(code="score_mismatch", args=args), "sample")
    assert said.text == (
        "3 of 1,300 evaluation rows have a score in column s that differs from the recomputed one by more than 1e-06. "
        "The largest difference is 0.250."
    )


def test_a_template_in_an_argument_is_not_run() -> None:
    said = say(Note(code="method_error", args={"method": "{{ 7*7 }}", "message": "{% for %}"}))
    assert said.title == "{{ 7*7 }} ended in an error"


@pytest.mark.parametrize("name", sorted(path.stem for path in (folder("templates") / "words").glob("*.yaml")))
def test_files_of_wording_are_whole(name: str) -> None:
    content = yaml.safe_load((folder("templates") / "words" / f"{name}.yaml").read_text("utf-8"))
    assert content["kind"] == name
    for code, entry in (content.get("notes") or {}).items():
        assert isinstance(entry, dict), code
        assert entry.get("title") or entry.get("text"), code
    for metric, entry in (content.get("metrics") or {}).items():
        assert entry.get("format", "number") in text.FORMATS, metric
        assert entry["label"], metric
    if name not in {"gate", "opinion", "method"}:
        assert words_of(name).card.keys() >= {"purpose", "limitations"}


def test_general_files_exist() -> None:
    assert all(words_of(name).known for name in GENERAL)


def test_unknown_kinds_cannot_leave_the_folder() -> None:
    assert not words_of("../report/sections").known


@given(st.lists(st.lists(st.text(max_size=90), min_size=4, max_size=4), min_size=1, max_size=5))
def test_columns_fill_the_line(rows: list[list[str]]) -> None:
    widths = column_widths(
        ["A", "Measured on", "Estimate", "95\u00a0% interval"], [[Cell(c) for c in row] for row in rows]
    )
    assert all(width >= 1 for width in widths)
    assert 90 <= sum(widths) <= 100


def test_axes_end_on_round_numbers() -> None:
    assert nice_top([0.601]) == pytest.approx(0.8)
    assert nice_top([0.2]) == pytest.approx(0.2)
    assert nice_top([37.0]) == pytest.approx(40.0)
    assert nice_top([]) == 1.0
