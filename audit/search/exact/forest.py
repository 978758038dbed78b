"""Trees of a model, told anew in the codes of the audit, so that a solver of trees can take in its constraints."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from audit.core.model import Native
from audit.core.policy import Policy
from audit.core.schema import Feature
from audit.core.shapley import column_sources
from audit.core.table import Floats, decode
from audit.search.exact.steps import UnreadableError, straight

MOST_NODES = 400_000
"""Nodes of all trees together, beyond which the solver is not tried."""

ROUNDING = 1e-6
"""What the formula of a scaler may be off by, as a share of the number and its range; where a split is, is asked."""


@dataclass(frozen=True)
class _Column:
    """How a column of the matrix follows from the codes of one feature.

    Attributes:
        table: shape (L + 1,): of a feature with levels the value for each, missing last.
        slope, shift: of a number: the column is shift + slope times it.
        missing: of a number: the value where it is missing.
    """

    feature: int
    table: Floats | None = None
    slope: float = 1.0
    shift: float = 0.0
    missing: float = np.nan

    @property
    def plain(self) -> bool:
        """Whether the column is the number itself."""
        return (self.slope, self.shift) == (1.0, 0.0)


def columns_of(native: Native, policy: Policy, rows: Floats) -> list[_Column]:
    """How each column of the matrix that the trees are given follows from the codes.

    Raises:
        UnreadableError: a column follows from several features, or bends a number.
    """
    schema = policy.schema

    def matrix(codes: Floats) -> Floats:
        return native.transform(decode(schema, codes))

    even = straight(native.before, schema.names)
    sources = column_sources(matrix, rows) if native.before is not None else np.arange(len(schema))
    if sources is None:
        raise UnreadableError("the model mixes several features in one column before its trees")
    base, found = matrix(rows[:1])[0], []
    for column, j in enumerate(sources.tolist()):
        if j < 0:
            # Constant wherever it was looked at: a table of one value for any feature that has no say in it.
            found.append(_Column(0, table=np.full(len(schema.features[0].levels) + 1, base[column])))
            continue
        found.append(_column(matrix, schema.features[j], (j, column), rows, even=schema.names[j] in even))
    return found


def _column(matrix: Any, feature: Feature, place: tuple[int, int], rows: Floats, *, even: bool) -> _Column:
    """One column, found by asking for every level, or for two numbers; `place` is that of the feature and its own."""
    j, column = place
    gone = bool(np.isnan(rows[:, j]).any()) or feature.missing
    if feature.levels:
        values = np.append(np.arange(len(feature.levels), dtype=np.float64), np.nan if gone else 0.0)
    elif not even:
        raise UnreadableError(f"the number {feature.name} is treated as levels before the model")
    else:
        width = feature.scale or 1.0
        values = np.array([feature.low, feature.low + width, np.nan if gone else feature.low])
    tried = np.repeat(rows[:1], len(values), axis=0)
    tried[:, j] = values
    seen = matrix(tried)[:, column]
    if feature.levels:
        return _Column(j, table=seen)
    slope = float(seen[1] - seen[0]) / (values[1] - values[0])
    # A column that is the number itself must not pick up rounding.
    same = bool((seen[:2] == values[:2]).all())
    slope, shift = (1.0, 0.0) if same else (slope, float(seen[0]) - slope * values[0])
    return _Column(j, slope=slope, shift=shift, missing=float(seen[2]) if gone else np.nan)


class _Split(NamedTuple):
    """A split by size."""

    feature: int
    threshold: float
    op: Any
    missing_left: bool


@dataclass
class _Teller:
    """Tells trees anew, node by node."""

    columns: list[_Column]
    policy: Policy
    cuts: Mapping[tuple[int, float], float]
    told: list[Any] = field(default_factory=list)
    total: int = 0

    def tree(self, tree: Any) -> Any:
        """One tree."""
        from treecf.ir.model import Tree

        self.told = []
        self._node(tree, 0)
        self.total += len(self.told)
        return Tree(nodes=tuple(self.told))

    def _node(self, tree: Any, at: int) -> int:
        """Tells the part of a tree below a node; the place of its first node."""
        if len(self.told) + self.total > MOST_NODES:
            raise UnreadableError(f"the trees have more than {MOST_NODES} nodes in the codes of the audit")
        node = tree.nodes[at]
        if node.feature is None:
            return self._add(value=node.value)
        column = self.columns[node.feature]
        feature = self.policy.schema.features[column.feature]
        if column.table is None and node.categories is None:
            return self._number(tree, node, column)
        if column.table is None:
            plain = self.policy.whole[column.feature] and column.plain
            if not plain or min(feature.low, self.policy.low[column.feature]) < 0:
                raise UnreadableError(f"{feature.name} is split by category and is a number below 0 or with decimals")
            top = max(node.categories) + 1
            left = np.array([code in node.categories for code in range(top + 1)] + [False])
            left[-1] = bool(node.missing_left)
            return self._ordered(tree, node, column.feature, left)
        left = np.array([_goes_left(node, float(value)) for value in column.table])
        if feature.ordered:
            return self._ordered(tree, node, column.feature, left)
        return self._levels(tree, node, column.feature, left)

    def _number(self, tree: Any, node: Any, column: _Column) -> int:
        from treecf.ir.model import SplitOp

        gone = _goes_left(node, column.missing)
        cut, op = float(node.threshold), node.op
        if not column.plain:
            cut, op = self.cuts[node.feature, cut], SplitOp.LE
        split = _Split(column.feature, cut, op, gone)
        return self._fork(split, lambda: self._node(tree, node.left), lambda: self._node(tree, node.right))

    def _levels(self, tree: Any, node: Any, j: int, left: "np.ndarray[Any, np.dtype[np.bool_]]") -> int:
        """A split by a set of levels; a set must not be empty, so that the sides may have to change places."""
        codes = frozenset(np.flatnonzero(left[:-1]).tolist())
        ways, gone = (node.left, node.right), bool(left[-1])
        if not codes:
            codes, ways, gone = frozenset(range(len(left) - 1)), ways[::-1], not gone
        if len(codes) == len(left) - 1 and gone:
            return self._node(tree, ways[0])
        place = self._add(feature=j, categories=codes, missing_left=gone)
        first = self._node(tree, ways[0])
        self._close(place, first, self._node(tree, ways[1]))
        return place

    def _ordered(self, tree: Any, node: Any, j: int, left: "np.ndarray[Any, np.dtype[np.bool_]]") -> int:
        """A split by a set of whole numbers in a row of splits by size; `left` ends with missing."""
        sides, gone = left[:-1], bool(left[-1])
        ends = [*np.flatnonzero(sides[1:] != sides[:-1]).tolist(), len(sides) - 1]
        return self._runs(tree, node, j, [(end, bool(sides[end])) for end in ends], gone)

    def _runs(self, tree: Any, node: Any, j: int, runs: list[tuple[int, bool]], gone: bool | None) -> int:
        """The runs of numbers, each up to its end on one side; `gone`: the side of missing, None once it is told."""
        from treecf.ir.model import SplitOp

        (end, side), rest = runs[0], runs[1:]

        def below(left: bool) -> int:
            return self._node(tree, node.left if left else node.right)

        if rest:
            here = gone is not None and gone == side
            split = _Split(j, end + 0.5, SplitOp.LE, here)
            return self._fork(
                split, lambda: below(side), lambda: self._runs(tree, node, j, rest, None if here else gone)
            )
        if gone is None or gone == side:
            return below(side)
        split = _Split(j, -1.0, SplitOp.LE, missing_left=True)
        return self._fork(split, lambda: below(not side), lambda: below(side))

    def _fork(self, split: "_Split", left: Callable[[], int], right: Callable[[], int]) -> int:
        """A split by size and its two branches; its place."""
        place = self._add(**split._asdict())
        first = left()
        self._close(place, first, right())
        return place

    def _add(self, **fields: Any) -> int:
        """A node whose branches are not yet known; its place."""
        from treecf.ir.model import Node

        empty = dict.fromkeys(("feature", "threshold", "op", "missing_left", "left", "right", "value"))
        self.told.append(Node(node_id=len(self.told), **(empty | fields)))
        return len(self.told) - 1

    def _close(self, place: int, left: int, right: int) -> None:
        from dataclasses import replace

        self.told[place] = replace(self.told[place], left=left, right=right)


def _cuts(
    native: Native, policy: Policy, row: Floats, columns: list[_Column], trees: Iterable[Any]
) -> dict[tuple[int, float], float]:
    """For each split of a scaled number the largest value of the feature on its left side, by column and threshold.

    Found by halving, with the steps before the model asked for each value: what the formula of a scaler says is off
    by a rounding, and a step or a whole number may lie on the split itself.

    Raises:
        UnreadableError: the steps do something else to the number than move and stretch it upwards.
    """
    nodes = [node for tree in trees for node in tree.nodes if node.feature is not None and node.categories is None]
    nodes = [node for node in nodes if columns[node.feature].table is None and not columns[node.feature].plain]
    splits = {(node.feature, float(node.threshold)): node.op.name == "LT" for node in nodes}
    found = {key: key[1] for key in splits if not np.isfinite(key[1])}
    keys = sorted(splits.keys() - found.keys())
    at = [columns[column] for column, _ in keys]
    feature, column = np.array([c.feature for c in at], dtype=np.int64), np.array([c for c, _ in keys], dtype=np.int64)
    bar, strict = np.array([cut for _, cut in keys]), np.array([splits[key] for key in keys], dtype=bool)
    every = np.arange(len(keys))

    def left(values: Floats) -> "np.ndarray[Any, np.dtype[np.bool_]]":
        codes = np.repeat(row, len(keys), axis=0)
        codes[every, feature] = values
        seen = native.transform(decode(policy.schema, codes))[every, column]
        return np.asarray(np.where(strict, seen < bar, seen <= bar))

    if not keys:
        return found
    near = (bar - np.array([c.shift for c in at])) / np.array([c.slope for c in at])
    width = np.array([policy.schema.features[c.feature].scale or 1.0 for c in at])
    low, high = near - ROUNDING * (np.abs(near) + width), near + ROUNDING * (np.abs(near) + width)
    if any(c.slope <= 0 for c in at) or not left(low).all() or left(high).any():
        raise UnreadableError("a number is turned around or bent before the model")
    while ((low < (middle := low + (high - low) / 2)) & (middle < high)).any():
        below = left(middle)
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return found | dict(zip(keys, low.tolist(), strict=True))


def _goes_left(node: Any, value: float) -> bool:
    """Where a value of the column goes."""
    if np.isnan(value):
        return bool(node.missing_left)
    if node.categories is not None:
        return value.is_integer() and int(value) in node.categories
    return bool(value < node.threshold if node.op.name == "LT" else value <= node.threshold)


def retold(native: Native, policy: Policy, rows: Floats) -> Any:
    """The ensemble of a model as treecf takes it, over the features of the audit in codes.

    Raises:
        UnreadableError: treecf does not read the model, or its trees cannot be told in codes.
    """
    from treecf import TreecfError
    from treecf.ir.model import CategoricalFeature, EnsembleIR
    from treecf.ir.parsers import parse_model

    try:
        found = parse_model(native.estimator)
    except TreecfError as error:
        raise UnreadableError(f"treecf does not read the model: {error}") from error
    columns = columns_of(native, policy, rows)
    teller = _Teller(columns, policy, _cuts(native, policy, rows[:1], columns, found.trees))
    features = policy.schema.features
    levels: Mapping[int, Any] = {
        j: CategoricalFeature(cardinality=len(f.levels)) for j, f in enumerate(features) if f.levels and not f.ordered
    }
    return EnsembleIR(
        trees=tuple(teller.tree(tree) for tree in found.trees),
        base_score=found.base_score,
        link=found.link,
        n_features=len(features),
        feature_names=tuple(f"f{j}" for j in range(len(features))),
        meta=dict(found.meta),
        categorical=dict(levels),
    )
