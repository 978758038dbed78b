"""How far apart two samples of one feature lie: one minus the overlap of their distributions, between 0 and 1.

Numbers are given in units of their training range: 0 is its lower end, 1 its upper end.

Reference: `methods/cid` 3.1 to 3.4.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from audit.core.table import Floats

Kernel = Literal["gaussian", "epanechnikov", "exponential"]

POINTS = 1000
"""Points of a grid on which densities are compared."""

FEW_WIDTH = 0.05
"""The width of the Gaussians where there are fewer than two distinct changed values, as a share of the range."""


class Compared(NamedTuple):
    """What was found of two samples of one feature.

    Attributes:
        distance: 0: the same distribution; 1: no overlap; NaN: it cannot be said.
        unchanged: the share of points of the first and of the second that have the present value.
        flag: what was peculiar; may be empty.
    """

    distance: float
    unchanged: tuple[float, float]
    flag: str = ""


def jaccard(p: Floats, q: Floats, weight: Floats) -> Floats:
    """The Jaccard distance of non-negative functions on the last axis, both (..., g); two that are 0 are alike.

    It is 1 - sum(w min(p, q)) / sum(w max(p, q)): exact for functions that are constant on cells of sizes `weight`
    (frequencies have cells of size 1), and a quadrature for others.
    """
    low, high = np.minimum(p, q) @ weight, np.maximum(p, q) @ weight
    return np.asarray(1 - np.divide(low, high, out=np.ones_like(high), where=high > 0))


def trapezoid(grid: Floats) -> Floats:
    """The weights of the trapezoid rule on a grid, shape (g,)."""
    gaps = np.diff(grid)
    return np.asarray((np.append(gaps, 0.0) + np.append(0.0, gaps)) / 2)


GRID = np.linspace(-0.1, 1.1, POINTS)
CELLS = trapezoid(GRID)
MEASURE = np.append(1.0, CELLS)
"""A unit mass at the present value, then Lebesgue's measure on the grid."""


def scott(values: Floats) -> float:
    """Scott's bandwidth of n values: their standard deviation times n^(-1/5)."""
    return float(values.std(ddof=1) * len(values) ** -0.2)


def density(values: Floats, grid: Floats, bandwidth: float, kernel: Kernel = "gaussian") -> Floats:
    """The kernel density of values (n,) at the points of a grid, shape (g,)."""
    z = (grid - values[:, None]) / bandwidth
    if kernel == "gaussian":
        heights = np.exp(-0.5 * z * z).sum(axis=0) / np.sqrt(2 * np.pi)
    elif kernel == "epanechnikov":
        heights = np.maximum(0.75 * (1 - z * z), 0.0).sum(axis=0)
    else:
        heights = np.exp(-np.abs(z)).sum(axis=0) / 2
    return np.asarray(heights / (len(values) * bandwidth))


def unchanged(values: Floats, x: float) -> NDArray[np.bool_]:
    """Which values are the present one, by numpy's default closeness; missing is missing (choice CID-15)."""
    return np.isclose(values, x, equal_nan=True)


def changed_density(
    values: Floats, x: float, grid: Floats, cells: Floats, bandwidth: float | None, kernel: Kernel
) -> tuple[float, Floats, bool]:
    """The share that is unchanged, the density of the others (its integral is the rest), and whether they differ.

    Args:
        values: not empty, in units of the range.
        cells: the weights of the grid.
        bandwidth: as a share of the range; None: Scott's, but no less than a cell of the grid.
    """
    still = unchanged(values, x)
    share, moved = float(still.mean()), values[~still]
    if not len(moved):
        return share, np.zeros(len(grid)), False
    spread = len(np.unique(moved)) > 1
    width = max(bandwidth or scott(moved), float(grid[1] - grid[0])) if spread else FEW_WIDTH
    heights = density(moved, grid, width, kernel if spread else "gaussian")
    return share, heights * ((1 - share) / (heights @ cells)), spread


def mixed(
    plus: Floats, minus: Floats, x: float, bandwidth: float | None = None, kernel: Kernel = "gaussian"
) -> Compared:
    """The distance with the unchanged values as a mass of their own, and the others as densities on one grid.

    Args:
        plus, minus: the values of both samples, in units of the range; not empty. Changed values are not missing.
        x: the present value; may be missing.
        bandwidth: as a share of the range; None: Scott's, but no less than a cell of the grid.
    """
    masses, pieces, few = [], [], False
    for values in (plus, minus):
        share, heights, spread = changed_density(values, x, GRID, CELLS, bandwidth, kernel)
        few |= share < 1 and not spread
        masses.append(share)
        pieces.append(np.append(share, heights))
    distance = float(jaccard(pieces[0], pieces[1], MEASURE))
    return Compared(distance, (masses[0], masses[1]), "few changed values" if few else "")


def smoothed(
    plus: Floats, minus: Floats, x: float, bandwidth: float | None = None, kernel: Kernel = "gaussian"
) -> Compared:
    """The distance of the paper: kernel densities of all values from the least to the greatest of both samples.

    Where both samples are constant it is 0 (equal) or 1; where one is, it is 0 and flagged (choice CID-02).
    """
    masses = (float(unchanged(plus, x).mean()), float(unchanged(minus, x).mean()))
    if np.isnan(plus).any() or np.isnan(minus).any():
        return Compared(float("nan"), masses, "missing value")
    first, second = (bool(unchanged(values, float(values[0])).all()) for values in (plus, minus))
    if first and second:
        equal = bool(unchanged(plus[:1], float(minus[0]))[0])
        return Compared(0.0 if equal else 1.0, masses, "both sides constant")
    if first or second:
        return Compared(0.0, masses, "one side constant")
    both = np.concatenate([plus, minus])
    grid = np.linspace(both.min(), both.max(), POINTS)
    p, q = (density(values, grid, bandwidth or scott(values), kernel) for values in (plus, minus))
    return Compared(float(jaccard(p, q, trapezoid(grid))), masses)


def by_level(plus: Floats, minus: Floats, x: float, how: Literal["frequency_jaccard", "set"]) -> Compared:
    """The distance of two samples of levels, by how often each occurs or by which occur; missing is a level."""
    levels, place = np.unique(np.concatenate([plus, minus]), return_inverse=True)
    shares = [np.bincount(own, minlength=len(levels)) / len(own) for own in np.split(place, [len(plus)])]
    if how == "set":
        shares = [(share > 0).astype(np.float64) for share in shares]
    distance = float(jaccard(shares[0], shares[1], np.ones(len(levels))))
    return Compared(distance, (float(unchanged(plus, x).mean()), float(unchanged(minus, x).mean())))
