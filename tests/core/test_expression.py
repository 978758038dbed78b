"""The safe expression language against SQLite, whose logic has three values as well."""

import sqlite3
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.core.expression import MAX_LENGTH, ExpressionError, parse

NAN = float("nan")
NUMBERS = st.sampled_from([-2.5, -1.0, 0.0, 0.5, 1.0, 3.0])
WORDS = st.sampled_from(["x", "y", "it s", ""])
COLUMNS = ("a", "b c", "s", "t", "f")

# An expression is drawn as (ours, sql, level): ours with brackets only where the grammar needs them, sql with all.
# Levels: 0 or, 1 and, 2 not, 3 comparison, 4 sum, 5 product, 6 unary, 7 atom.
Drawn = tuple[str, str, int]


def within(node: Drawn, level: int) -> str:
    return node[0] if node[2] >= level else f"({node[0]})"


def number_literals() -> st.SearchStrategy[Drawn]:
    return st.sampled_from([0.5, 1.0, 2.0, 3.0]).map(lambda v: (f"{v:g}", repr(v), 7))


def sums() -> st.SearchStrategy[Drawn]:
    columns = st.sampled_from([("a", "a", 7), ("`b c`", "`b c`", 7), ("`a`", "a", 7)])

    def larger(inner: st.SearchStrategy[Drawn]) -> st.SearchStrategy[Drawn]:
        def binary(sign: str, x: Drawn, y: Drawn) -> Drawn:
            level = 4 if sign in "+-" else 5
            return f"{within(x, level)} {sign} {within(y, level + 1)}", f"({x[1]} {sign} {y[1]})", level

        negation = inner.map(lambda x: (f"-{within(x, 6)}", f"(0.0 - {x[1]})", 6))
        return st.one_of(st.builds(binary, st.sampled_from("+-*/"), inner, inner), negation)

    return st.recursive(st.one_of(columns, number_literals()), larger, max_leaves=5)


def texts() -> st.SearchStrategy[Drawn]:
    quoted = WORDS.map(lambda w: (f"'{w}'", f"'{w}'", 7))
    return st.one_of(st.sampled_from([("s", "s", 7), ("t", "t", 7)]), quoted)


def comparisons() -> st.SearchStrategy[Drawn]:
    signs = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])

    def chain(first: Drawn, rest: list[tuple[str, Drawn]]) -> Drawn:
        ours, parts, left = within(first, 4), [], first[1]
        for sign, value in rest:
            ours += f" {sign} {within(value, 4)}"
            parts.append(f"({left} {sign} {value[1]})")
            left = value[1]
        return ours, "(" + " AND ".join(parts) + ")", 3

    def member(left: Drawn, items: list[Drawn], inverted: bool) -> Drawn:
        word = "not in" if inverted else "in"
        ours = f"{within(left, 4)} {word} [{', '.join(i[0] for i in items)}]"
        return ours, f"({left[1]} {word} ({', '.join(i[1] for i in items)}))", 3

    def missing(value: Drawn, inverted: bool) -> Drawn:
        ours, sql = ("is not missing", "IS NOT NULL") if inverted else ("is missing", "IS NULL")
        return f"{within(value, 4)} {ours}", f"({value[1]} {sql})", 3

    def equal(x: Drawn, sign: str, y: Drawn) -> Drawn:
        return f"{x[0]} {sign} {y[0]}", f"({x[1]} {sign} {y[1]})", 3

    literals = WORDS.map(lambda w: (f'"{w}"', f"'{w}'", 7))
    return st.one_of(
        st.builds(chain, sums(), st.lists(st.tuples(signs, sums()), min_size=1, max_size=3)),
        st.builds(equal, texts(), st.sampled_from(["==", "!="]), texts()),
        st.builds(member, sums(), st.lists(number_literals(), min_size=1, max_size=3), st.booleans()),
        st.builds(member, texts(), st.lists(literals, min_size=1, max_size=3), st.booleans()),
        st.builds(missing, st.one_of(sums(), texts()), st.booleans()),
        st.sampled_from([("f == true", "(f = 1)", 3), ("f", "(f = 1)", 7), ("true", "(1 = 1)", 7)]),
    )


def expressions() -> st.SearchStrategy[Drawn]:
    def larger(inner: st.SearchStrategy[Drawn]) -> st.SearchStrategy[Drawn]:
        def joined(word: str, nodes: list[Drawn]) -> Drawn:
            level = 0 if word == "or" else 1
            ours = f" {word} ".join(within(node, level + 1) for node in nodes)
            return ours, "(" + f" {word} ".join(node[1] for node in nodes) + ")", level

        several = st.lists(inner, min_size=2, max_size=3)
        negation = inner.map(lambda x: (f"not {within(x, 2)}", f"(NOT {x[1]})", 2))
        return st.one_of(st.builds(joined, st.sampled_from(["and", "or"]), several), negation)

    return st.recursive(comparisons(), larger, max_leaves=5)


ROWS = st.lists(
    st.tuples(
        st.none() | NUMBERS, st.none() | NUMBERS, st.none() | WORDS, st.none() | WORDS, st.none() | st.booleans()
    ),
    min_size=1,
    max_size=6,
)  # fmt: skip


@given(expressions(), ROWS)
@settings(max_examples=500)
def test_three_valued_logic_is_that_of_sql(drawn: Drawn, rows: list[tuple[Any, ...]]) -> None:
    ours, sql, _ = drawn
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE r (a REAL, `b c` REAL, s TEXT, t TEXT, f INTEGER)")
    database.executemany("INSERT INTO r VALUES (?, ?, ?, ?, ?)", rows)
    expected = [None if v is None else bool(v) for (v,) in database.execute(f"SELECT {sql} FROM r ORDER BY rowid")]
    database.close()
    truth = parse(ours, COLUMNS).evaluate(frame(rows), len(rows))
    got = [True if t else False if f else None for t, f in zip(truth.true, truth.false, strict=True)]
    assert got == expected, (ours, sql)
    assert not (truth.true & truth.false).any()


def frame(rows: list[tuple[Any, ...]]) -> dict[str, Any]:
    columns = dict(zip(COLUMNS, zip(*rows, strict=True), strict=True))
    numbers = {name: pd.Series(columns[name], dtype=np.float64) for name in ("a", "b c")}
    others = {name: pd.Series(columns[name], dtype=object) for name in ("s", "t", "f")}
    return numbers | others


def holds(text: str, **columns: Any) -> list[bool | None]:
    series = {name: pd.Series(values) for name, values in columns.items()}
    n = len(next(iter(series.values())))
    truth = parse(text, tuple(series)).evaluate(series, n)
    return [True if t else False if f else None for t, f in zip(truth.true, truth.false, strict=True)]


def test_the_type_of_a_column_does_not_hang_on_what_is_missing() -> None:
    assert holds("f == true", f=[True, None, False]) == [True, None, False]
    assert holds("f", f=[True, None, False]) == [True, None, False]
    assert holds("k <= 2", k=pd.Series([1, None, 3], dtype=object)) == [True, None, False]
    assert holds("s == 'x'", s=pd.Series([None, None], dtype=object)) == [None, None]
    assert holds("s < 3 or s == 'x'", s=pd.Series([None], dtype=object)) == [None]
    assert holds("s in ['x']", s=pd.Series(["x", "y"], dtype="category")) == [True, False]


def test_arithmetic_reads_as_usual() -> None:
    assert holds("1 + 2 * 3 - 4 / 2 == x", x=[5.0, 6.0]) == [True, False]
    assert holds("10 - 3 - 2 == x", x=[5.0]) == [True]
    assert holds("2 * (x + 1) <= 6 < 7", x=[2.0, 2.1]) == [True, False]
    assert holds("1 / x > 0", x=[0.0, 2.0]) == [None, True]
    assert holds("-x < -1", x=[2.0, 0.0]) == [True, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found the end at character 1"),
        ("ag < 3", "no column 'ag'; did you mean 'age'?"),
        ("zzz < 3", r"no column 'zzz'; there are age, job, own \(texts are written in quotes\)"),
        ("job == clerk", "no column 'clerk'"),
        ("age <", "found the end at character 6"),
        ("age = 3", "equality is written =="),
        ("age < 3 3", "found '3' at character 9"),
        ("age in 3", "expected a list"),
        ("age in [3", "expected `,` or `]`"),
        ("age in []", "expected a number"),
        ("age is 3", "`missing` or `not missing`"),
        ("age not 3", "expected `in`"),
        ("(age < 3", r"expected `\)`"),
        ("age", "a condition is needed"),
        ("age + 1", "a condition is needed"),
        ("age and own", "`age` is a value where a condition is needed"),
        ("age == 'x'", "a text with a number"),
        ("job < 'x'", "puts texts in order"),
        ("job + 1 > 2", "calculates with a text: `job`"),
        ("(age < 3) + 1 > 0", "uses a condition where a value is needed"),
        ("age in ['x', 3]", "a text with a number"),
    ],
)
def test_errors_say_where_and_what(text: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=message):
        holds(text, age=[1.0, 2.0], job=["x", "y"], own=[True, False])


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true') == 0",
        "age.__class__ == 1",
        "exec('1') == 1",
        "lambda: 1",
        "age if own else 1",
        "[x for x in age] == 1",
        "age ** 99999999 > 1",
        "age // 2 == 1",
        "age @ age",
        "age := 3",
        "age; own",
        "#",
        "age == 0x10",
        "age == \x00",
        "f'{age}' == 'x'",
        "age == 1 # comment",
        "job == 'a\nb'",
        "{age}",
        "age > 1 -- or true",
        "age[0] > 1",
    ],
)
def test_nothing_but_the_language_is_read(text: str) -> None:
    with pytest.raises(ExpressionError):
        holds(text, age=[1.0, 2.0], job=["x", "y"], own=[True, False])


@pytest.mark.parametrize(
    "text",
    [
        "a < 1" + "+1" * 950,
        "a < 1" + "*1" * 950,
        "a in [" + "1," * 950 + "1]",
        "a<1" + " or a<1" * 240,
        "a<1" + " and a<1" * 200,
        "a" + "<1" * 900,
    ],
)
def test_long_chains_do_not_nest(text: str) -> None:
    assert len(text) <= MAX_LENGTH
    assert holds(text, a=[0.0])[0] is not None


@pytest.mark.parametrize(
    "text",
    ["(" * 60 + "a" + ")" * 60 + " < 1", "not " * 60 + "a < 1", "-" * 60 + "a < 1", "a < 1" + " " * MAX_LENGTH],
)
def test_depth_and_length_are_bounded(text: str) -> None:
    with pytest.raises(ExpressionError, match=r"nested deeper|longer than"):
        parse(text, ("a",))


@given(st.text(max_size=40))
@settings(max_examples=300)
def test_any_text_is_an_expression_or_a_clear_error(text: str) -> None:
    try:
        truth = parse(text, ("a", "s")).evaluate({"a": pd.Series([1.0, NAN]), "s": pd.Series(["x", None])}, 2)
    except ExpressionError:
        return
    assert len(truth.true) == len(truth.false) == 2


def test_names_are_listed_in_order_of_use() -> None:
    assert parse("`b c` > a and a > `b c`").names == ("b c", "a")
