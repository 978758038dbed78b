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
from collections.abc import Callable, Iterator, Mapping, Sequence
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


def needs_quotes(name: str) -> bool:
    """Whether a column must stand in backticks."""
    return name in _WORDS or re.fullmatch(r"[^\W\d]\w*", name) is None


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

    @property
    def unknown(self) -> bool:
        """Whether no row has a value, so that nothing says whether it would be a number or a text."""
        return bool(np.all(self.missing))


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
        if isinstance(answer, _Values) and np.asarray(answer.values).dtype != np.bool_ and not answer.unknown:
            raise ExpressionError(f"{self.text!r} is a value; a condition is needed, such as {answer.shown} > 0")
        return _truth(answer, n)


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
            hint = "; equality is written ==" if text[start] == "=" else ""
            raise ExpressionError(
                f"{text!r}: {text[start]!r} at character {start + 1} is not part of the language{hint}"
            )
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
        nodes = [self.both()]
        while self.take("or"):
            nodes.append(self.both())
        return _logic(nodes, any_true=True)

    def both(self) -> _Node:
        nodes = [self.negated()]
        while self.take("and"):
            nodes.append(self.negated())
        return _logic(nodes, any_true=False)

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
            return _logic(chain, any_true=False)
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
        nodes = [_comparison(self.text, "==", left, self.literal())]
        while self.take(","):
            nodes.append(_comparison(self.text, "==", left, self.literal()))
        if not self.take("]"):
            self.fail("`,` or `]`")
        return _logic(nodes, any_true=True)

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
        first, rest = self.product(), []
        while sign := self.take("+", "-"):
            rest.append((sign, self.product()))
        return _arithmetic(self.text, first, rest)

    def product(self) -> _Node:
        first, rest = self.unary(), []
        while sign := self.take("*", "/"):
            rest.append((sign, self.unary()))
        return _arithmetic(self.text, first, rest)

    def unary(self) -> _Node:
        if self.take("-"):
            return _arithmetic(self.text, _constant(0.0), [("-", self.nested(self.unary))])
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
            missing = columns[name].isna().to_numpy()
            return _Values(_plain(columns[name], missing), missing, f"`{name}`")

        return node


def _plain(series: "pd.Series[Any]", missing: Bools) -> NDArray[Any]:
    """The values as truth values, numbers or texts; the type is that of the values that are there.

    A column that holds truth values or numbers must not turn into texts because some of them are missing.
    """
    values = series.to_numpy()
    if values.dtype != object:
        return values
    present = values[~missing]
    if all(isinstance(value, bool | np.bool_) for value in present):
        return np.asarray(np.where(missing, False, values), dtype=bool)
    if all(isinstance(value, int | float | np.number) for value in present):
        return np.asarray(np.where(missing, np.nan, values), dtype=np.float64)
    return series.astype(str).to_numpy(dtype=object)


def _constant(value: Scalar) -> _Node:
    return lambda columns, n: _Values(value, missing=False, shown=repr(value))


def _values(answer: Truth | _Values, text: str) -> _Values:
    if isinstance(answer, Truth):
        raise ExpressionError(f"{text!r} uses a condition where a value is needed")
    return answer


def _truth(answer: Truth | _Values, n: int) -> Truth:
    if isinstance(answer, Truth):
        return answer
    if answer.unknown:
        return Truth(np.zeros(n, dtype=bool), np.zeros(n, dtype=bool))
    values, known = np.asarray(answer.values), ~np.asarray(answer.missing)
    if values.dtype != np.bool_:
        raise ExpressionError(f"{answer.shown} is a value where a condition is needed")
    return Truth(np.broadcast_to(np.asarray(values & known), n), np.broadcast_to(np.asarray(~values & known), n))


def _logic(nodes: Sequence[_Node], *, any_true: bool) -> _Node:
    """One of the conditions, or all of them; a single one is itself. A loop: long chains must not nest."""
    if len(nodes) == 1:
        return nodes[0]

    def node(columns: Columns, n: int) -> Truth:
        truths = [_truth(condition(columns, n), n) for condition in nodes]
        true, false = np.stack([t.true for t in truths]), np.stack([t.false for t in truths])
        if any_true:
            return Truth(np.asarray(true.any(axis=0)), np.asarray(false.all(axis=0)))
        return Truth(np.asarray(true.all(axis=0)), np.asarray(false.any(axis=0)))

    return node


def _negation(inner: _Node) -> _Node:
    def node(columns: Columns, n: int) -> Truth:
        truth = _truth(inner(columns, n), n)
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
        if a.unknown or b.unknown:
            return Truth(np.zeros(n, dtype=bool), np.zeros(n, dtype=bool))
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


def _arithmetic(text: str, first: _Node, rest: Sequence[tuple[str, _Node]]) -> _Node:
    """The first value, then each sign applied with its value from left to right; alone, it is itself."""
    if not rest:
        return first

    def node(columns: Columns, n: int) -> _Values:
        total = _number(first(columns, n), text)
        for sign, further in rest:
            value = _number(further(columns, n), text)
            with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
                numbers = _ARITHMETIC[sign](total.values, value.values)
            missing = np.asarray(total.missing) | np.asarray(value.missing) | ~np.isfinite(numbers)
            total = _Values(numbers, missing, "the sum or product")
        return total

    return node


def _number(answer: Truth | _Values, text: str) -> _Values:
    values = _values(answer, text)
    if np.asarray(values.values).dtype.kind in "OUS":
        raise ExpressionError(f"{text!r} calculates with a text: {values.shown}")
    return _Values(np.asarray(values.values, dtype=np.float64), values.missing, values.shown)
