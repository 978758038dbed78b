"""The safe language of `where:` and `rules:`: read by us, never evaluated by Python.

    expression := or ;  or := and ("or" and)* ;  and := not ("and" not)* ;  not := "not" not | comparison
    comparison := sum (("<" | "<=" | ">" | ">=" | "==" | "!=") sum)*  | sum ["not"] "in" "[" literal,* "]"
                | sum "is" ["not"] "missing"
    sum := product (("+" | "-") product)* ;  product := unary (("*" | "/") unary)* ;  unary := "-" unary | atom
    atom := number | 'text' | "text" | true | false | name | `name with spaces` | "(" expression ")"

Logic has three values, as in SQL: a comparison with a missing value is unknown. `where:` selects what is true;
a rule is broken by what is false.
"""

import difflib
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Columns = Mapping[str, "pd.Series[Any]"]
Bools = NDArray[np.bool_]
Scalar = str | float | bool

MAX_LENGTH = 2_000
MAX_DEPTH = 40

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+)|(?P<text>'[^'\n]*'|"[^"\n]*")|(?P<quoted>`[^`\n]+`)
    |(?P<name>[^\W\d]\w*)|(?P<op><=|>=|==|!=|[-+*/<>()\[\],]))""",
    re.VERBOSE,
)
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt,
    ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
}  # fmt: skip
_WORDS = frozenset({"and", "or", "not", "in", "is", "missing", "true", "false"})


class ExpressionError(ValueError):
    """The text is no expression, or names a column that is not there; the message points at the place."""


@dataclass(frozen=True)
class Truth:
    """Three-valued truth of n rows: what is neither true nor false is unknown."""

    true: Bools
    false: Bools


@dataclass(frozen=True)
class _Values:
    """Values of n rows, or one for all, with what is missing."""

    values: Any
    missing: Bools | bool
    shown: str


_Node = Callable[[Columns, int], Truth | _Values]


@dataclass(frozen=True)
class Expression:
    """A parsed expression.

    Attributes:
        text: as the user wrote it.
        names: the columns it reads, in order of first use.
    """

    text: str
    names: tuple[str, ...]
    node: _Node

    def evaluate(self, columns: Columns, n: int) -> Truth:
        """The truth of each of n rows.

        Raises:
            ExpressionError: a comparison of a number with a text, or a value where a condition is needed.
        """
        answer = self.node(columns, n)
        if isinstance(answer, _Values):
            raise ExpressionError(f"{self.text!r} is a value; a condition is needed, such as {answer.shown} > 0")
        return answer


def parse(text: str, known: tuple[str, ...] | None = None) -> Expression:
    """The expression that `text` stands for.

    Args:
        known: the columns there are; None leaves names unchecked.

    Raises:
        ExpressionError: the text is not in the language, or names an unknown column.
    """
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"longer than {MAX_LENGTH} characters")
    parser = _Parser(text, known)
    node = parser.whole()
    return Expression(text, tuple(parser.names), node)


def _tokens(text: str) -> Iterator[tuple[str, str, int]]:
    position = 0
    while text[position:].strip():
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            start = position + len(text[position:]) - len(text[position:].lstrip())
            raise ExpressionError(f"{text!r}: {text[start]!r} at character {start + 1} is not part of the language")
        yield match.lastgroup, match.group(match.lastgroup), match.start(match.lastgroup)
        position = match.end()
    yield "end", "", len(text)


class _Parser:
    """Recursive descent over the grammar at the top of this file."""

    def __init__(self, text: str, known: tuple[str, ...] | None) -> None:
        self.text = text
        self.known = known
        self.names: dict[str, None] = {}
        self.tokens = list(_tokens(text))
        self.at = 0
        self.depth = 0

    def whole(self) -> _Node:
        node = self.either()
        if self.tokens[self.at][0] != "end":
            self.fail("the end, or `and`, `or`, a comparison")
        return node

    def fail(self, expected: str) -> NoReturn:
        _, shown, start = self.tokens[self.at]
        found = repr(shown) if shown else "the end"
        raise ExpressionError(f"{self.text!r}: found {found} at character {start + 1}, expected {expected}")

    def take(self, *words: str) -> str | None:
        kind, shown, _ = self.tokens[self.at]
        if kind in {"op", "name"} and shown in words:
            self.at += 1
            return shown
        return None

    def either(self) -> _Node:
        node = self.both()
        while self.take("or"):
            node = _logic(node, self.both(), any_true=True)
        return node

    def both(self) -> _Node:
        node = self.negated()
        while self.take("and"):
            node = _logic(node, self.negated(), any_true=False)
        return node

    def negated(self) -> _Node:
        if self.take("not"):
            return _negation(self.nested(self.negated))
        return self.comparison()

    def nested(self, rule: Callable[[], _Node]) -> _Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ExpressionError(f"{self.text!r}: nested deeper than {MAX_DEPTH}")
        node = rule()
        self.depth -= 1
        return node

    def comparison(self) -> _Node:
        left = self.sum()
        chain: list[_Node] = []
        while sign := self.take(*_COMPARE):
            right = self.sum()
            chain.append(_comparison(self.text, sign, left, right))
            left = right
        if chain:
            node = chain[0]
            for further in chain[1:]:
                node = _logic(node, further, any_true=False)
            return node
        if self.take("is"):
            inverted = self.take("not") is not None
            if not self.take("missing"):
                self.fail("`missing` or `not missing`")
            node = _is_missing(left)
            return _negation(node) if inverted else node
        inverted = self.take("not") is not None
        if self.take("in"):
            node = self.members(left)
            return _negation(node) if inverted else node
        if inverted:
            self.fail("`in`")
        return left

    def members(self, left: _Node) -> _Node:
        if not self.take("["):
            self.fail("a list such as ['a', 'b']")
        node = _comparison(self.text, "==", left, self.literal())
        while self.take(","):
            node = _logic(node, _comparison(self.text, "==", left, self.literal()), any_true=True)
        if not self.take("]"):
            self.fail("`,` or `]`")
        return node

    def literal(self) -> _Node:
        sign = -1.0 if self.take("-") else 1.0
        kind, shown, _ = self.tokens[self.at]
        self.at += 1
        if kind == "number":
            return _constant(sign * float(shown))
        if kind == "text" and sign > 0:
            return _constant(shown[1:-1])
        if kind == "name" and shown in {"true", "false"} and sign > 0:
            return _constant(shown == "true")
        self.at -= 1
        self.fail("a number, a quoted text, `true` or `false`")

    def sum(self) -> _Node:
        node = self.product()
        while sign := self.take("+", "-"):
            node = _arithmetic(self.text, sign, node, self.product())
        return node

    def product(self) -> _Node:
        node = self.unary()
        while sign := self.take("*", "/"):
            node = _arithmetic(self.text, sign, node, self.unary())
        return node

    def unary(self) -> _Node:
        if self.take("-"):
            return _arithmetic(self.text, "-", _constant(0.0), self.nested(self.unary))
        return self.atom()

    def atom(self) -> _Node:
        if self.take("("):
            node = self.nested(self.either)
            if not self.take(")"):
                self.fail("`)`")
            return node
        kind, shown, _ = self.tokens[self.at]
        if kind == "quoted" or (kind == "name" and shown not in _WORDS):
            self.at += 1
            return self.column(shown.strip("`"))
        if kind in {"number", "text"} or shown in {"true", "false"}:
            return self.literal()
        self.fail("a column, a number or a quoted text")

    def column(self, name: str) -> _Node:
        if self.known is not None and name not in self.known:
            close = difflib.get_close_matches(name, self.known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(self.known[:8])}"
            raise ExpressionError(f"{self.text!r}: no column {name!r}{hint} (texts are written in quotes)")
        self.names[name] = None

        def node(columns: Columns, n: int) -> _Values:
            series = columns[name]
            values = series.to_numpy()
            if values.dtype == object:
                values = series.astype(str).to_numpy(dtype=object)
            return _Values(values, series.isna().to_numpy(), f"`{name}`")

        return node


def _constant(value: Scalar) -> _Node:
    return lambda columns, n: _Values(value, missing=False, shown=repr(value))


def _values(answer: Truth | _Values, text: str) -> _Values:
    if isinstance(answer, Truth):
        raise ExpressionError(f"{text!r} uses a condition where a value is needed")
    return answer


def _truth(answer: Truth | _Values) -> Truth:
    if isinstance(answer, Truth):
        return answer
    values = np.asarray(answer.values)
    if values.dtype != np.bool_:
        raise ExpressionError(f"{answer.shown} is a value where a condition is needed")
    return Truth(values & ~np.asarray(answer.missing), ~values & ~np.asarray(answer.missing))


def _logic(left: _Node, right: _Node, *, any_true: bool) -> _Node:
    def node(columns: Columns, n: int) -> Truth:
        a, b = _truth(left(columns, n)), _truth(right(columns, n))
        if any_true:
            return Truth(a.true | b.true, a.false & b.false)
        return Truth(a.true & b.true, a.false | b.false)

    return node


def _negation(inner: _Node) -> _Node:
    def node(columns: Columns, n: int) -> Truth:
        truth = _truth(inner(columns, n))
        return Truth(truth.false, truth.true)

    return node


def _is_missing(inner: _Node) -> _Node:
    def node(columns: Columns, n: int) -> Truth:
        missing = np.broadcast_to(_values(inner(columns, n), "is missing").missing, n)
        return Truth(missing.copy(), ~missing)

    return node


def _comparison(text: str, sign: str, left: _Node, right: _Node) -> _Node:
    def node(columns: Columns, n: int) -> Truth:
        a, b = _values(left(columns, n), text), _values(right(columns, n), text)
        x, y = np.asarray(a.values), np.asarray(b.values)
        kinds = {x.dtype.kind in "OUS", y.dtype.kind in "OUS"}
        if len(kinds) > 1:
            raise ExpressionError(f"{text!r} compares {a.shown} with {b.shown}: a text with a number")
        if kinds == {True} and sign not in {"==", "!="}:
            raise ExpressionError(f"{text!r} puts texts in order by {sign!r}; use == , != or in")
        with np.errstate(invalid="ignore"):
            holds = np.broadcast_to(np.asarray(_COMPARE[sign](x, y), dtype=bool), n)
        known = ~np.broadcast_to(np.asarray(a.missing) | np.asarray(b.missing), n)
        return Truth(holds & known, ~holds & known)

    return node


def _arithmetic(text: str, sign: str, left: _Node, right: _Node) -> _Node:
    def node(columns: Columns, n: int) -> _Values:
        a, b = _values(left(columns, n), text), _values(right(columns, n), text)
        x, y = np.asarray(a.values), np.asarray(b.values)
        if "O" in {x.dtype.kind, y.dtype.kind} or "U" in {x.dtype.kind, y.dtype.kind}:
            raise ExpressionError(f"{text!r} calculates with a text: {a.shown} {sign} {b.shown}")
        with np.errstate(invalid="ignore", divide="ignore"):
            values = _ARITHMETIC[sign](x.astype(np.float64), y.astype(np.float64))
        missing = np.asarray(a.missing) | np.asarray(b.missing) | ~np.isfinite(values)
        return _Values(values, missing, f"{a.shown} {sign} {b.shown}")

    return node
