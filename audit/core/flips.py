"""What decisions become when one attribute alone is given every other value."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from audit.core.labels import label_of
from audit.core.method import Inputs
from audit.core.model import Ints
from audit.core.rates import Bools, grouping
from audit.core.stats import wilson
from audit.core.table import Floats, Table, decode_column

ANY = "any"
"""Where a number comes from: its values are not groups."""


@dataclass(frozen=True)
class Flips:
    """The decisions of n rows, and what they become under v values of one feature.

    Attributes:
        tried: the v values as text.
        other: shape (v, n); whether the value is another one than that of the row.
        before: outcomes as they are, shape (n,).
        after: outcomes under each value, shape (v, n).
    """

    feature: str
    tried: tuple[str, ...]
    other: Bools
    before: Ints
    after: Ints

    @property
    def moved(self) -> Bools:
        """Whether another value changes the outcome, shape (v, n)."""
        return np.asarray(self.other & (self.after != self.before))

    @property
    def count(self) -> int:
        """Rows whose outcome changes under at least one other value."""
        return int(self.moved.any(axis=0).sum())


def flip_test(inputs: Inputs, rows: Table, names: Sequence[str], most: int) -> list[Flips]:
    """The flips of each of the named features; the model is asked once for all.

    Levels are all tried; of a number, `most` quantiles of the reference data at the most.
    """
    if inputs.model is None or not names or not len(rows):
        return []
    tried = {name: _values(inputs, name, most) for name in names}
    variants = [rows.codes]  # asked again with the others: a stored score may have been rounded
    for name, codes in tried.items():
        block = np.tile(rows.codes, (len(codes), 1))
        block[:, inputs.schema.index(name)] = np.repeat(codes, len(rows))
        variants.append(block)
    outcomes = inputs.decision.outcome(inputs.model.probabilities(np.concatenate(variants)))
    before, found, start = outcomes[: len(rows)], [], len(rows)
    for name, codes in tried.items():
        after = outcomes[start : start + len(codes) * len(rows)].reshape(len(codes), len(rows))
        start += after.size
        values = tuple(map(label_of, decode_column(inputs.schema[name], codes)))
        other = codes[:, None] != rows.codes[None, :, inputs.schema.index(name)]
        found.append(Flips(name, values, np.asarray(other), before, after))
    return found


def _values(inputs: Inputs, name: str, most: int) -> Floats:
    feature = inputs.schema[name]
    if feature.levels:
        return np.arange(len(feature.levels), dtype=np.float64)
    codes = inputs.reference.codes[:, inputs.schema.index(name)]
    known = codes[~np.isnan(codes)]
    if len(np.unique(known)) <= most:
        return np.unique(known)
    return np.unique(np.quantile(known, np.linspace(0, 1, most), method="inverted_cdf"))


def flips_table(flips: Flips, rows: Table, least: int, *, favourable: bool) -> pd.DataFrame:
    """From, to, n, changed, share with Wilson's interval, to_favourable, to_unfavourable and status, one row each.

    Values that fewer than `least` rows have get no numbers as a start.
    """
    if rows.schema[flips.feature].levels:
        groups = grouping([rows.column(flips.feature).rename(flips.feature)])
        starts = [(name, groups.of == i) for i, name in enumerate(groups.names)]
    else:
        starts = [(ANY, np.ones(len(rows), dtype=bool))]
    lines = [
        _line(flips, name, own, v, least)
        for name, own in starts
        for v, value in enumerate(flips.tried)
        if value != name
    ]
    columns = ["from", "to", "status", "n", "changed", "share", "low", "high", "to_favourable", "to_unfavourable"]
    table = pd.DataFrame(lines, columns=columns).astype(dict.fromkeys(columns[3:], np.float64))
    table.insert(0, "feature", flips.feature)
    return table if favourable else table.drop(columns=columns[-2:])


def _line(flips: Flips, start: str, own: Bools, v: int, least: int) -> list[Any]:
    n = int((own & flips.other[v]).sum())
    if int(own.sum()) < least or not n:
        return [start, flips.tried[v], "suppressed", *[None] * 7]
    moved = flips.moved[v] & own
    changed, up = int(moved.sum()), int((moved & (flips.after[v] == 1)).sum())
    low, high = wilson(changed / n, n)
    return [start, flips.tried[v], "ok", n, changed, changed / n, float(low), float(high), up, changed - up]
