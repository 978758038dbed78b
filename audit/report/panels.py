"""Figures of several lines or small plots: layouts whose texts cannot meet, whatever the names are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from audit.report.figures import WIDTH, Figure, Mark, fitted, grid, label, nice_top, r, tick, two_lines, wide

Look = Literal["trace", "plus", "minus", "curve", "series1", "series2", "series3"]
Shape = Literal["", "circle", "square", "diamond", "triangle"]

TITLE, TICK = 11.0, 11.0
"""Sizes of text."""

LEFT = 44.0
STRIP = 30.0
"""Width of the column for what stands apart from an axis."""


@dataclass(frozen=True)
class Said:
    """What a figure says in words.

    Attributes:
        title: what it shows, with the numbers: the text for those who do not see it.
        caption: printed below it.
    """

    name: str
    title: str
    caption: str


@dataclass(frozen=True)
class Trace:
    """A line through points in the units of its panel; with a shape, its points are marked.

    Attributes:
        every: a mark at each so many points.
    """

    points: tuple[tuple[float, float], ...]
    look: Look
    shape: Shape = ""
    every: int = 1


@dataclass(frozen=True)
class Panel:
    """A small plot.

    Attributes:
        title, note: above it, at the left and at the right.
        x, y: where its axes start and end.
        ticks: numbers or names below it, each with the room that it has (in units of x).
        area: the outline of what is shaded, on the floor of the panel.
        limit: a height that something must pass; the zone below is shaded.
        apart: shares of two sets that stand in a column of their own, as high as the panel is for 1.
        scale: numbers at the y axis; printed beside the first column, so that all panels of a row share them.
    """

    title: str
    note: str
    x: tuple[float, float]
    y: tuple[float, float]
    traces: tuple[Trace, ...]
    ticks: tuple[tuple[float, str, float], ...] = ()
    area: tuple[tuple[float, float], ...] = ()
    limit: float | None = None
    apart: tuple[float, float] | None = None
    scale: tuple[float, ...] = ()


@dataclass(frozen=True)
class Key:
    """What a look means."""

    look: str
    text: str
    shape: Shape = ""


def panels(
    told: Said, items: Sequence[Panel], *, columns: int, height: float, axis: str, keys: Sequence[Key] = ()
) -> Figure:
    """Small plots in rows, with one label for all x axes and one key."""
    gap = 26.0
    width = (WIDTH - LEFT - 8 - gap * (columns - 1)) / columns
    step = height + 50
    marks: list[Mark] = []
    for i, item in enumerate(items):
        left, top = LEFT + (i % columns) * (width + gap), 20 + (i // columns) * step
        marks += _panel(item, left, top, width, height)
        if i % columns == 0:
            marks += [
                Mark(
                    "text",
                    "tick",
                    r(left - 6),
                    r(top + height * (1 - _part(v, item.y)) + 4),
                    text=tick(v),
                    anchor="end",
                )
                for v in item.scale
            ]
    rows = -(-len(items) // columns)
    bottom = rows * step + 14
    marks.append(Mark("text", "axis-label", r(WIDTH / 2), r(bottom), text=axis, anchor="middle"))
    explained, depth = key_rows(keys, bottom + 22)
    return Figure(told.name, told.title, told.caption, WIDTH, r(bottom + 14 + depth), (*marks, *explained))


def _panel(item: Panel, left: float, top: float, width: float, height: float) -> list[Mark]:
    """The marks of one plot."""
    start = left + (STRIP + 8 if item.apart else 0)
    bottom = top + height

    def x(value: float) -> float:
        return r(start + (left + width - start) * _part(value, item.x))

    def y(value: float) -> float:
        return r(bottom - height * _part(value, item.y))

    note = fitted(item.note, TITLE, width / 2)
    room = width - (wide(note, TITLE) + 8 if note else 0)
    marks = [Mark("text", "panel", r(left), r(top - 6), text=fitted(item.title, TITLE, room))]
    if note:
        marks.append(Mark("text", "tick", r(left + width), r(top - 6), text=note, anchor="end"))
    if item.limit is not None:
        marks.append(Mark("rect", "zone", r(start), y(item.limit), r(left + width - start), r(bottom - y(item.limit))))
    marks += [Mark("line", "grid", r(start), y(value), r(left + width), y(value)) for value in item.scale]
    if item.area:
        floor = item.y[0]
        corners = [(item.area[0][0], floor), *item.area, (item.area[-1][0], floor)]
        marks.append(Mark("polygon", "overlap", points=_points([(x(a), y(b)) for a, b in corners])))
    if item.limit is not None:
        marks.append(Mark("line", "limit", r(start), y(item.limit), r(left + width), y(item.limit)))
    for trace in item.traces:
        places = [(x(a), y(b)) for a, b in trace.points]
        marks.append(Mark("polyline", trace.look, points=_points(places)))
        marks += [_shape(trace.shape, trace.look, *place) for place in places[:: trace.every] if trace.shape]
    marks.append(Mark("line", "axis", r(start), r(bottom), r(left + width), r(bottom)))
    if item.apart:
        marks += _apart(item.apart, left, top, bottom)
    scale = (left + width - start) / (item.x[1] - item.x[0])
    return marks + _ticks(item, [x(place) for place, _, _ in item.ticks], bottom, scale, (start, left + width))


def _part(value: float, ends: tuple[float, float]) -> float:
    """Where a value lies between two ends: 0 at the first, 1 at the second."""
    return (min(max(value, ends[0]), ends[1]) - ends[0]) / (ends[1] - ends[0])


def _ticks(item: Panel, places: Sequence[float], bottom: float, scale: float, ends: tuple[float, float]) -> list[Mark]:
    """Numbers or names below a panel, each within its room and within the panel; long names on two lines."""
    marks = []
    for place, (_, text, share) in zip(places, item.ticks, strict=True):
        room = min(share * scale - 4, ends[1] - ends[0])
        for row, shown in enumerate(two_lines(text, TICK, room)):
            half = wide(shown, TICK) / 2
            centre = min(max(place, ends[0] + half), ends[1] - half)
            marks.append(Mark("text", "tick", r(centre), r(bottom + 14 + 11 * row), text=shown, anchor="middle"))
    return marks


def _apart(shares: tuple[float, float], left: float, top: float, bottom: float) -> list[Mark]:
    """The column for what stands apart: both shares as lines, what they have in common shaded."""
    heights = [r(bottom - (bottom - top) * share) for share in shares]
    low = max(heights)
    marks = [Mark("rect", "overlap", r(left), low, STRIP, r(bottom - low))]
    for look, height in zip(("plus", "minus"), heights, strict=True):
        corners = [(left, bottom), (left, height), (left + STRIP, height), (left + STRIP, bottom)]
        marks.append(Mark("polyline", look, points=_points([(r(a), r(b)) for a, b in corners])))
    marks.append(Mark("line", "axis", r(left), r(bottom), r(left + STRIP), r(bottom)))
    marks.append(Mark("text", "tick", r(left + STRIP / 2), r(bottom + 14), text="kept", anchor="middle"))
    return marks


def key_rows(keys: Sequence[Key], top: float) -> tuple[list[Mark], float]:
    """What the looks mean, in as many rows as needed, and their height."""
    marks: list[Mark] = []
    left, y = LEFT, top
    for key in keys:
        text = fitted(key.text, TICK, WIDTH - LEFT - 40)
        if left > LEFT and left + 34 + wide(text, TICK) > WIDTH - 4:
            left, y = LEFT, y + 18
        if key.look in {"overlap", "zone", "box", "rows"}:
            marks.append(Mark("rect", key.look, left, r(y - 9), 26, 10))
        else:
            marks.append(Mark("line", key.look, left, r(y - 4), left + 26, r(y - 4)))
        if key.shape:
            marks.append(_shape(key.shape, key.look, left + 13, r(y - 4)))
        marks.append(Mark("text", "value-small", r(left + 32), r(y), text=text))
        left = r(left + 32 + wide(text, TICK) + 18)
    return marks, (y - top + 16 if keys else 0.0)


def _shape(shape: Shape, look: str, x: float, y: float) -> Mark:
    """A point in the colour of its line; shapes differ, so that colour is not needed."""
    if shape == "circle":
        return Mark("circle", look, x, y, 3.5)
    corners = {
        "square": ((-3, -3), (3, -3), (3, 3), (-3, 3)),
        "diamond": ((0, -4.5), (4.5, 0), (0, 4.5), (-4.5, 0)),
        "triangle": ((0, -4), (4, 3.5), (-4, 3.5)),
    }[shape or "square"]
    return Mark("polygon", look, points=_points([(r(x + a), r(y + b)) for a, b in corners]))


def _points(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in places)


def stepped(heights: Sequence[float]) -> tuple[tuple[float, float], ...]:
    """The outline of columns of width 1 from 0 on."""
    return tuple(corner for i, height in enumerate(heights) for corner in ((float(i), height), (i + 1.0, height)))


@dataclass(frozen=True)
class Box:
    """A labelled box plot.

    Attributes:
        five: least, quartile, median, quartile, greatest.
        wide: what lies behind it: a wider range.
    """

    label: str
    five: tuple[float, float, float, float, float]
    wide: tuple[float, float] | None
    shown: str


def boxes(told: Said, items: Sequence[Box], *, axis: str, keys: Sequence[Key]) -> Figure:
    """Box plots one below the other on a scale from 0."""
    left, right, row = 190.0, 70.0, 24.0
    span = WIDTH - left - right
    peak = nice_top([v for b in items for v in (*b.five, *(b.wide or ()))])
    bottom = 12 + row * len(items)

    def x(value: float) -> float:
        return r(left + span * min(max(value, 0.0), peak) / peak)

    marks = grid([peak * i / 4 for i in range(5)], x, 8, bottom)
    for i, item in enumerate(items):
        y = 12 + row * i + row / 2
        low, q1, q2, q3, high = item.five
        marks += label(item.label, left - 8, y, left - 12)
        if item.wide:
            marks.append(Mark("rect", "rows", x(item.wide[0]), r(y - 8), r(x(item.wide[1]) - x(item.wide[0])), 16))
        marks += [Mark("line", "whisker", x(a), r(y), x(b), r(y)) for a, b in ((low, q1), (q3, high))]
        marks += [Mark("line", "whisker", x(v), r(y - 3), x(v), r(y + 3)) for v in (low, high)]
        marks.append(Mark("rect", "box", x(q1), r(y - 5), r(x(q3) - x(q1)), 10))
        marks.append(Mark("line", "median", x(q2), r(y - 7), x(q2), r(y + 7)))
        marks.append(Mark("text", "value", WIDTH - right + 8, r(y + 4), text=item.shown))
    marks.append(Mark("line", "axis", left, 8, left, bottom))
    marks.append(Mark("text", "axis-label", r(left + span / 2), bottom + 32, text=axis, anchor="middle"))
    explained, depth = key_rows(keys, bottom + 54)
    return Figure(told.name, told.title, told.caption, WIDTH, r(bottom + 46 + depth), (*marks, *explained))


@dataclass(frozen=True)
class Dot:
    """A point with its name."""

    x: float
    y: float
    label: str


def scatter(
    told: Said, dots: Sequence[Dot], *, axes: tuple[str, str], key: str = "", limit: float | None = None
) -> Figure:
    """Points on two scales from 0; the first of them are named, as far as the names find room.

    Args:
        limit: a value of x that something must pass; the zone before it is shaded.
    """
    left, top, side = 58.0, 26.0, 250.0
    width, height = 330.0, top + side + 46
    ends = nice_top([d.x for d in dots] + ([limit] if limit else [])), nice_top([d.y for d in dots])
    places = [(r(left + side * d.x / ends[0]), r(top + side * (1 - max(d.y, 0.0) / ends[1]))) for d in dots]
    marks: list[Mark] = []
    if limit is not None:
        marks.append(Mark("rect", "zone", left, top, r(side * limit / ends[0]), side))
    for part in (0.0, 0.5, 1.0):
        x, y = left + side * part, top + side * (1 - part)
        marks += [Mark("line", "grid", x, top, x, top + side), Mark("line", "grid", left, y, left + side, y)]
        marks.append(Mark("text", "tick", x, top + side + 15, text=tick(part * ends[0]), anchor="middle"))
        marks.append(Mark("text", "tick", left - 7, r(y + 4), text=tick(part * ends[1]), anchor="end"))
    marks += [Mark("circle", "point", x, y, 3.5) for x, y in places]
    marks += _named(dots, places, (left, top, left + side, top + side))
    if key:
        marks.append(Mark("text", "value-small", r(left + side), 14, text=key, anchor="end"))
    marks.append(Mark("text", "axis-label", r(left + side / 2), height - 8, text=axes[0], anchor="middle"))
    marks.append(Mark("text", "axis-label-up", 16, r(top + side / 2), text=axes[1], anchor="middle"))
    return Figure(told.name, told.title, told.caption, width, height, tuple(marks))


Edges = tuple[float, float, float, float]


BESIDE = ((7.0, 3.5, "start"), (-7.0, 3.5, "end"), (0.0, -7.0, "middle"), (0.0, 14.0, "middle"))
"""Where a name may stand from its point: right, left, above, below."""


def _named(dots: Sequence[Dot], places: Sequence[tuple[float, float]], frame: Edges) -> list[Mark]:
    """Names beside their points where they cover neither a point nor another name."""
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in places]
    marks = []
    for i, (dot, (x, y)) in enumerate(zip(dots, places, strict=True)):
        text = fitted(dot.label, 10, 130)
        if not text:
            continue
        length = wide(text, 10)
        others = taken[:i] + taken[i + 1 :]
        for dx, dy, anchor in BESIDE:
            start = x + dx - length * {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor]
            edges = (start - 1, y + dy - 9, start + length + 1, y + dy + 3)
            if _inside(edges, frame) and not any(_meet(edges, other) for other in others):
                marks.append(Mark("text", "label-small", r(x + dx), r(y + dy), text=text, anchor=anchor))
                taken.append(edges)
                break
    return marks


def _inside(edges: Edges, frame: Edges) -> bool:
    return edges[0] >= frame[0] and edges[1] >= frame[1] and edges[2] <= frame[2] and edges[3] <= frame[3]


def _meet(a: Edges, b: Edges) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def thinned_line(points: Sequence[tuple[float, float]], most: int) -> tuple[tuple[float, float], ...]:
    """At most `most` points of a line, the first and the last among them."""
    if len(points) <= most:
        return tuple(points)
    step = (len(points) - 1) / (most - 1)
    return tuple(points[round(i * step)] for i in range(most))
