"""Tables to small plain figures: every coordinate is computed and rounded here, the templates only draw."""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite

WIDTH = 640.0


@dataclass(frozen=True)
class Mark:
    """A line of text, a line, a bar, an area, a point or a picture of a figure; `look` names its style in the template.

    Attributes:
        points: the corners of a polygon or polyline, the data of a path, the address of a picture.
    """

    kind: str
    look: str
    x: float = 0.0
    y: float = 0.0
    x2: float = 0.0
    y2: float = 0.0
    text: str = ""
    anchor: str = "start"
    points: str = ""


@dataclass(frozen=True)
class Figure:
    """A drawing with its message.

    Attributes:
        title: what it shows, with the numbers: the text for those who do not see it.
        caption: printed below it.
    """

    name: str
    title: str
    caption: str
    width: float
    height: float
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Bar:
    """A labelled estimate with its interval; `shown` is its text, `chance` what it is when nothing is behind it."""

    label: str
    value: float | None
    low: float | None
    high: float | None
    shown: str
    chance: float | None = None


@dataclass(frozen=True)
class Limit:
    """A value that a bar must pass to mean something; `shown` is its text."""

    value: float
    shown: str


def bars(
    name: str,
    title: str,
    caption: str,
    items: Sequence[Bar],
    *,
    axis: str,
    top: float | None = None,
    limit: Limit | None = None,
) -> Figure:
    """Horizontal bars with interval lines, the largest value on the scale given or found."""
    left, right, row = 190.0, 120.0, 24.0
    span, start = WIDTH - left - right, 26.0 if limit else 12.0
    most = [limit.value] if limit else []
    peak = top or nice_top([v for b in items for v in (b.value, b.high) if v is not None] + most)
    bottom = start + row * len(items)

    def x(value: float) -> float:
        return r(left + span * min(max(value, 0.0), peak) / peak)

    marks = []
    if limit:
        marks.append(Mark("rect", "zone", left, start - 4, r(x(limit.value) - left), r(bottom - start + 4)))
        marks.append(Mark("text", "axis-label", x(limit.value), 14, text=limit.shown, anchor="middle"))
    marks += grid([peak * i / 4 for i in range(5)], x, start - 4, bottom)
    for i, item in enumerate(items):
        y = start + row * i + row / 2
        marks += label(item.label, left - 8, y, left - 12)
        if item.value is not None:
            marks.append(Mark("rect", "bar", left, r(y - 6), r(x(item.value) - left), 12))
        if item.low is not None and item.high is not None:
            marks.append(Mark("line", "whisker", x(item.low), r(y), x(item.high), r(y)))
            marks += [Mark("line", "whisker", x(v), r(y - 4), x(v), r(y + 4)) for v in (item.low, item.high)]
        if item.chance is not None:
            marks.append(Mark("line", "limit", x(item.chance), r(y - 10), x(item.chance), r(y + 10)))
        marks.append(Mark("text", "value", WIDTH - right + 8, r(y + 4), text=item.shown))
    if limit:
        marks.append(Mark("line", "limit", x(limit.value), start - 4, x(limit.value), bottom))
    marks.append(Mark("line", "axis", left, start - 4, left, bottom))
    marks.append(Mark("text", "axis-label", r(left + span / 2), bottom + 32, text=axis, anchor="middle"))
    return Figure(name, title, caption, WIDTH, r(bottom + 40), tuple(marks))


@dataclass(frozen=True)
class Spread:
    """A labelled spread of changes: 10, 50 and 90 per cent points."""

    label: str
    p10: float | None
    p50: float | None
    p90: float | None
    shown: str


def spreads(name: str, title: str, caption: str, items: Sequence[Spread], *, axis: str) -> Figure:
    """Ranges around zero with their medians."""
    left, right, row = 190.0, 120.0, 24.0
    span = WIDTH - left - right
    found = [abs(v) for s in items for v in (s.p10, s.p50, s.p90) if v is not None]
    peak = nice_top(found)
    bottom = 12 + row * len(items)

    def x(value: float) -> float:
        return r(left + span * (min(max(value, -peak), peak) + peak) / (2 * peak))

    marks = grid([-peak, -peak / 2, 0.0, peak / 2, peak], x, 8, bottom)
    marks.append(Mark("line", "axis", x(0), 8, x(0), bottom))
    for i, item in enumerate(items):
        y = 12 + row * i + row / 2
        marks += label(item.label, left - 8, y, left - 12)
        if item.p10 is not None and item.p90 is not None:
            marks.append(Mark("line", "spread", x(item.p10), r(y), x(item.p90), r(y)))
        if item.p50 is not None:
            marks.append(Mark("circle", "point", x(item.p50), r(y), 4.5))
        marks.append(Mark("text", "value", WIDTH - right + 8, r(y + 4), text=item.shown))
    marks.append(Mark("text", "axis-label", r(left + span / 2), bottom + 32, text=axis, anchor="middle"))
    return Figure(name, title, caption, WIDTH, r(bottom + 40), tuple(marks))


@dataclass(frozen=True)
class Point:
    """A point in the unit square, with an interval in y and a label where it has them."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


def square(
    name: str, title: str, caption: str, points: Sequence[Point], *, axes: tuple[str, str], joined: bool, key: str = ""
) -> Figure:
    """The unit square with its diagonal: a curve (joined) or points with intervals."""
    left, top, side = 58.0, 12.0, 250.0
    width, height = 330.0, top + side + 46
    points = [p for p in points if isfinite(p.x) and isfinite(p.y)]  # a curve of one class is defined nowhere

    def x(value: float) -> float:
        return r(left + side * min(max(value, 0.0), 1.0))

    def y(value: float) -> float:
        return r(top + side * (1 - min(max(value, 0.0), 1.0)))

    marks = _square_grid(x, y, left, top, side)
    marks += [
        Mark("line", "whisker", x(p.x), y(p.low), x(p.x), y(p.high))
        for p in points
        if p.low is not None and p.high is not None
    ]
    path = " ".join(f"{x(p.x):g},{y(p.y):g}" for p in points)
    if joined and points:
        marks.append(Mark("polyline", "curve", points=path))
    else:
        marks += [Mark("circle", "point", x(p.x), y(p.y), 4) for p in points]
    if key:
        marks.append(Mark("text", "value", left + side - 6, top + side - 10, text=key, anchor="end"))
    marks.append(Mark("text", "axis-label", r(left + side / 2), height - 8, text=axes[0], anchor="middle"))
    marks.append(Mark("text", "axis-label-up", 16, r(top + side / 2), text=axes[1], anchor="middle"))
    return Figure(name, title, caption, width, height, tuple(marks))


def shade(value: float | None, peak: float) -> int | None:
    """One of ten shades, 0 the lightest; None where there is nothing to shade."""
    if value is None or peak <= 0:
        return None
    return min(9, max(0, round(9 * value / peak)))


def nice_top(values: Sequence[float]) -> float:
    """A round number not below the largest value."""
    peak = max([abs(v) for v in values], default=0.0)
    if peak <= 0:
        return 1.0
    scale = 1.0
    while peak > scale:
        scale *= 10
    while peak <= scale / 10:
        scale /= 10
    return next(scale * step / 10 for step in (1, 2, 4, 6, 8, 10) if peak <= scale * step / 10 * 1.0000001)


def thinned(points: Sequence[Point], most: int = 150) -> list[Point]:
    """At most `most` points of a curve, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    step = (len(points) - 1) / (most - 1)
    return [points[round(i * step)] for i in range(most)]


def r(value: float) -> float:
    """A coordinate to one decimal, so that its text is the same everywhere."""
    return round(float(value), 1)


def wide(text: str, size: float) -> float:
    """About how wide a text is at a size in our fonts; rather too wide than too narrow."""
    return size * sum(map(_width, text))


def _width(c: str) -> float:
    """About how wide a character is, in sizes of the font."""
    if not c.isascii():
        return 1.05
    return 0.93 if c in "@%mwMW" else 0.74 if c.isupper() or c in "#&" else 0.61


def fitted(text: str, size: float, room: float) -> str:
    """The text, cut with an ellipsis where it needs more room; empty where not even three characters have room."""
    while text and wide(text, size) > room:
        text = text.rstrip("…")[:-1].rstrip() + "…" if len(text) > 3 else ""
    return text


def two_lines(text: str, size: float, room: float) -> list[str]:
    """The text on one line, or on two that have room, the second cut where it is too long; none if nothing has room."""
    if wide(text, size) <= room:
        return [text] if text else []
    first, *rest = textwrap.wrap(text, max(3, int(room / wide("n", size))), break_long_words=True) or [""]
    return [line for line in (fitted(first, size, room), fitted(" ".join(rest), size, room)) if line]


def shorten(text: str, length: int) -> str:
    """The text, cut with an ellipsis where it is longer."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def label(text: str, x: float, y: float, room: float) -> list[Mark]:
    """A label that ends at x, on one line, or on two smaller ones where it is long."""
    if wide(text, 12) <= room:
        return [Mark("text", "label", x, r(y + 4), text=text, anchor="end")]
    return [
        Mark("text", "label-small", x, r(y + row), text=line, anchor="end")
        for row, line in zip((-1, 9), two_lines(text, 10, room), strict=False)
    ]


def grid(ticks: Sequence[float], x: Callable[[float], float], top: float, bottom: float) -> list[Mark]:
    """Lines across a figure with their numbers below."""
    lines = [Mark("line", "grid", x(t), top, x(t), bottom) for t in ticks]
    return lines + [Mark("text", "tick", x(t), bottom + 16, text=tick(t), anchor="middle") for t in ticks]


def _square_grid(
    x: Callable[[float], float], y: Callable[[float], float], left: float, top: float, side: float
) -> list[Mark]:
    marks: list[Mark] = []
    for t in (0.0, 0.25, 0.5, 0.75, 1.0):
        marks.append(Mark("line", "grid", x(t), top, x(t), top + side))
        marks.append(Mark("line", "grid", left, y(t), left + side, y(t)))
        if t in {0.0, 0.5, 1.0}:
            marks.append(Mark("text", "tick", x(t), top + side + 15, text=f"{t:g}", anchor="middle"))
            marks.append(Mark("text", "tick", left - 7, r(y(t) + 4), text=f"{t:g}", anchor="end"))
    return [*marks, Mark("line", "diagonal", x(0), y(0), x(1), y(1))]


def tick(value: float) -> str:
    """A number of an axis."""
    return f"{value:.4g}".replace("-", "−")
