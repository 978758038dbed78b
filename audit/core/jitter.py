"""Rows with small errors: noise on numbers, levels drawn anew, values rounded."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.core.schema import FeatureSchema
from audit.core.table import Floats, Table

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Noise:
    """Random errors, drawn once, so that larger noise is the same noise made larger.

    Attributes:
        unit: shape (d,), what a noise of 1 is for each feature; 0 where there is none.
        normal: shape (draws, n, d).
        chance: shape (draws, n, d), uniform on [0, 1).
        levels: shape (draws, n, d), codes drawn from the reference rows.
    """

    schema: FeatureSchema
    unit: Floats
    normal: Floats
    chance: Floats
    levels: Floats

    def on(self, codes: Floats, size: float, resample: float, free: Bools) -> Floats:
        """The rows, shape (n, d), with noise of the given size in the features `free`, shape (n, d); (draws, n, d).

        Numbers stay in the range of the reference data, whole ones whole; missing values stay missing. Levels are
        drawn anew with the probability `resample`.
        """
        moved = codes + size * self.unit * self.normal
        for j, feature in enumerate(self.schema.features):
            if feature.levels:
                moved[..., j] = np.where(self.chance[..., j] < resample, self.levels[..., j], codes[:, j])
            elif self.unit[j] > 0:
                column = np.rint(moved[..., j]) if feature.integer else moved[..., j]
                # A row beyond the range of the reference stays there.
                low, high = np.minimum(feature.low, codes[:, j]), np.maximum(feature.high, codes[:, j])
                moved[..., j] = np.clip(column, low, high)
        return np.where(free & ~np.isnan(codes), moved, codes)


def noise(reference: Table, rows: int, draws: int, unit: str, rng: np.random.Generator) -> Noise:
    """Errors for n rows; `unit` is `sd` or `range`, of the reference rows."""
    schema, d = reference.schema, len(reference.schema)
    sizes = np.zeros(d)
    for j, feature in enumerate(schema.features):
        known = reference.codes[:, j][~np.isnan(reference.codes[:, j])]
        if not feature.levels and len(known):
            sizes[j] = known.std() if unit == "sd" else np.ptp(known)
    shape = (draws, rows, d)
    drawn = rng.integers(0, len(reference), size=shape)
    return Noise(schema, sizes, rng.normal(size=shape), rng.random(shape), reference.codes[drawn, np.arange(d)])


def rounded(schema: FeatureSchema, codes: Floats, steps: Mapping[str, float]) -> Floats:
    """The rows with the named numbers rounded to whole multiples of their steps; halves to the even multiple."""
    answer = codes.copy()
    for name, step in steps.items():
        j = schema.index(name)
        answer[:, j] = np.rint(codes[:, j] / step) * step
    return answer


def significant(schema: FeatureSchema, codes: Floats, digits: int, kept: tuple[str, ...] = ()) -> Floats:
    """The rows with their numbers rounded to so many significant digits; levels and the features `kept` stay."""
    answer = codes.copy()
    for j, feature in enumerate(schema.features):
        if feature.levels or feature.name in kept:
            continue
        own = codes[:, j]
        size = np.where((own == 0) | np.isnan(own), 1.0, np.abs(own))
        step = 10.0 ** (np.floor(np.log10(size)) - digits + 1)
        answer[:, j] = np.rint(own / step) * step
    return answer
