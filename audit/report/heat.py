"""How often each cell of a picture must change, as a map of numbers."""

from collections.abc import Mapping

from audit.report.figures import WIDTH, Figure, Mark, r, shade
from audit.report.panels import Said

LEFT, TOP, LARGEST = 34.0, 24.0, 32.0
ROOM = 310.0
"""Width of a figure at least: a map is then small enough for three rows of two on a page."""

NUMBERED = 22.0
"""Cells narrower than this have no room for their number."""


def heat_map(told: Said, shares: Mapping[tuple[int, int], float], size: tuple[int, int], peak: float) -> Figure:
    """A grid of cells with their shares in per cent; `peak` has the darkest shade."""
    side = min(LARGEST, (WIDTH - LEFT - 6) / size[1])
    marks = [
        Mark("text", "tick", r(LEFT + side * (column + 0.5)), TOP - 7, text=str(column + 1), anchor="middle")
        for column in range(size[1])
    ]
    for row in range(size[0]):
        y = TOP + side * row
        marks.append(Mark("text", "tick", LEFT - 8, r(y + side / 2 + 4), text=str(row + 1), anchor="end"))
        for column in range(size[1]):
            x, share = LEFT + side * column, shares.get((row, column))
            look = f"heat{shade(share, peak) or 0}"
            marks.append(Mark("rect", look, r(x), r(y), r(side - 1), r(side - 1)))
            if share is not None and side >= NUMBERED:
                middle, base = r(x + side / 2), r(y + side / 2 + 4)
                marks.append(Mark("text", "value-small", middle, base, text=f"{100 * share:.0f}", anchor="middle"))
    width, height = max(LEFT + side * size[1] + 4, ROOM), TOP + side * size[0] + 4
    return Figure(told.name, told.title, told.caption, r(width), r(height), tuple(marks))
