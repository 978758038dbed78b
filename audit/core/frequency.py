"""How often each feature changes in counterfactuals: the arithmetic of FLEX, on arrays.

Notation: n instances, m counterfactuals, d features; `row` says to which instance a counterfactual belongs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from audit.core.schema import FeatureSchema
from audit.core.stats import quantiles
from audit.core.table import Floats

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Scale = Literal["range", "mad", "std"]

NO_CHANGE = 1e-9
"""A scaled change up to this is no change (choice FLEX-03)."""

MAGNITUDES = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class Changes:
    """What m counterfactuals change.

    Attributes:
        names: the d features, or groups of them.
        size: shape (m, d); the scaled change: |difference| / scale for numeric and ordinal, else 0 or 1.
        signed: shape (m, d); the signed scaled change of numeric and ordinal values; NaN where there is no number
            on one side, and for categorical and boolean features.
        graded: shape (d,); whether the size of a change matters (numeric and ordinal).
        missing: shape (m, d); a value became missing, or the reverse.
    """

    names: tuple[str, ...]
    size: Floats
    signed: Floats
    graded: Bools
    missing: Bools

    def counted(self, min_change: float) -> Bools:
        """Which changes count, shape (m, d): beyond `min_change`, strictly; any change of a category.

        A change to or from missing has no size and always counts.
        """
        large = self.size > np.where(self.graded, max(min_change, NO_CHANGE), NO_CHANGE)
        return np.asarray(large | self.missing)

    def grouped(self, groups: Mapping[str, Sequence[str]]) -> "Changes":
        """The same with each group of features (one-hot columns of one source) as one feature.

        A group takes the place of its first member. It changes where any member does, and counts as a category.
        """
        if not groups:
            return self
        owner = {member: name for name, group in groups.items() for member in group}
        order = list(dict.fromkeys(owner.get(name, name) for name in self.names))
        columns = [[j for j, name in enumerate(self.names) if owner.get(name, name) == whole] for whole in order]
        single = np.array([whole not in groups for whole in order])
        signed = np.column_stack([self.signed[:, c[0]] for c in columns])
        signed[:, ~single] = np.nan
        size = np.column_stack([self.size[:, c].max(axis=1) for c in columns])
        size[:, ~single] = size[:, ~single] > NO_CHANGE
        return Changes(
            names=tuple(order),
            size=size,
            signed=signed,
            graded=np.array([self.graded[c[0]] for c in columns]) & single,
            missing=np.column_stack([self.missing[:, c].any(axis=1) for c in columns]),
        )


def changes(schema: FeatureSchema, before: Floats, after: Floats, scale: Floats) -> Changes:
    """The changes from rows of codes to their counterfactuals, both (m, d).

    A constant feature (scale 0) has changes of size 0; missing against missing is no change.

    Args:
        scale: shape (d,), what counts as a change of 1 in numeric and ordinal codes.
    """
    graded = np.array([f.ordered for f in schema.features], dtype=bool)
    gone, came = np.isnan(after), np.isnan(before)
    with np.errstate(invalid="ignore"):
        signed = np.where(scale > 0, (after - before) / np.where(scale > 0, scale, 1.0), 0.0)
        different = (after != before).astype(np.float64)
    signed = np.where(graded & ~gone & ~came, signed, np.nan)
    size = np.where(graded, np.abs(signed), different)
    size = np.where(gone & came, 0.0, np.where(gone ^ came, 1.0, size))
    return Changes(schema.names, size, signed, graded, gone ^ came)


def scales(schema: FeatureSchema, reference: Floats, kind: Scale) -> tuple[Floats, tuple[str, ...]]:
    """What counts as a change of 1, shape (d,), and the features for which the range stands in.

    `range` is that of the reference data; `mad` (median absolute deviation, not rescaled) and `std` hold for numeric
    features only. Where they are 0 and the feature is not constant, the range is used.
    """
    width = np.array([f.scale for f in schema.features])
    if kind == "range":
        return width, ()
    numeric = np.array([f.kind == "numeric" for f in schema.features], dtype=bool)
    (middle,) = quantiles(reference, (0.5,))
    if kind == "mad":
        (spread,) = quantiles(np.abs(reference - middle), (0.5,))
    else:
        known = np.maximum((~np.isnan(reference)).sum(axis=0), 1)
        mean = np.nansum(reference, axis=0) / known
        spread = np.sqrt(np.nansum((reference - mean) ** 2, axis=0) / known)
    usable = numeric & (np.nan_to_num(spread) > 0)
    replaced = numeric & ~usable & (width > 0)
    names = tuple(name for name, swapped in zip(schema.names, replaced, strict=True) if swapped)
    return np.where(usable, spread, width), names


def local(counted: Bools, row: Ints, n: int) -> tuple[Floats, Ints]:
    """The share of an instance's counterfactuals in which each feature changes, (n, d), and their number K, (n,).

    NaN where an instance has no counterfactual.
    """
    sums = np.zeros((n, counted.shape[1]))
    np.add.at(sums, row, counted.astype(np.float64))
    K = np.bincount(row, minlength=n)
    with np.errstate(invalid="ignore"):
        return sums / np.where(K > 0, K, np.nan)[:, None], K


def weights(K: Ints, own: Floats, *, pooled: bool) -> Floats:
    """How much each instance counts, shape (n,): its own weight, or that times K if counterfactuals are pooled."""
    return np.asarray(np.where(K > 0, own * (K if pooled else 1), 0.0))


def mean(L: Floats, weight: Floats) -> Floats:
    """The weighted mean of local scores over instances that have one, shape (d,); NaN where there is none."""
    covered = ~np.isnan(L[:, 0]) & (weight > 0) if L.shape[1] else weight > 0
    if not covered.any():
        return np.full(L.shape[1], np.nan)
    return np.asarray(weight[covered] @ L[covered] / weight[covered].sum())


@dataclass(frozen=True)
class Magnitudes:
    """Size and direction of the changes that count; NaN where nothing of that kind changed.

    Attributes:
        quantiles: shape (3, ...), the 10, 50 and 90 % quantiles of the signed scaled change.
        increase_share: shape (...), the share of changes that are increases.
    """

    quantiles: Floats
    increase_share: Floats


def magnitudes(found: Changes, counted: Bools, rows: Bools | None = None) -> Magnitudes:
    """Magnitudes over counterfactuals, shapes (3, d) and (d,); `rows`, shape (m,), chooses among them."""
    moves = np.where(counted, found.signed, np.nan)
    return _magnitudes(moves if rows is None else moves[rows])


def local_magnitudes(found: Changes, counted: Bools, row: Ints, n: int) -> Magnitudes:
    """Magnitudes for each instance, shapes (3, n, d) and (n, d)."""
    K = np.bincount(row, minlength=n)
    order = np.argsort(row, kind="stable")
    first = np.concatenate([[0], np.cumsum(K)[:-1]])
    place = np.arange(len(row)) - first[row[order]]
    padded = np.full((max(int(K.max(initial=0)), 1), n, counted.shape[1]), np.nan)
    padded[place, row[order]] = np.where(counted, found.signed, np.nan)[order]
    return _magnitudes(padded)


def _magnitudes(moves: Floats) -> Magnitudes:
    known = (~np.isnan(moves)).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(known > 0, (moves > 0).sum(axis=0) / np.where(known > 0, known, 1), np.nan)
    return Magnitudes(quantiles(moves, MAGNITUDES), share)
