"""Misread pictures as figures: the picture, the evidence drawn over it, and the look-alikes that were swapped in.

Pictures are decoded and written anew, so that nothing but their pixels reaches a report.
"""

import base64
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from audit.report.figures import WIDTH, Figure, Mark, fitted, r, wide
from audit.report.panels import Said

SMALL = 112
"""Pictures with fewer pixels on their longer side are enlarged pixel by pixel, so that no viewer blurs them."""

SHARP = 340
"""Pixels that the longer side of an enlarged picture has at least."""

QUALITY = 90
"""Of JPEG, for pictures that are not small; the bundle holds them without loss."""

PANEL, GAP, TOP = 196.0, 14.0, 22.0
PATCH, PAIR, PAIRS = 66.0, 158.0, 4
PATCHES_SHOWN = 2 * PAIRS
"""Swaps of one picture that are drawn beside it and listed below it."""

Place = tuple[int, int]
"""Row and column of a cell, from 0."""


@dataclass(frozen=True)
class Swap:
    """A swap of a cell; `picture` is the reference that the new cell comes from."""

    step: int
    cell: Place
    reference: str
    source: Place
    picture: Any


@dataclass(frozen=True)
class Misread:
    """A misread picture with its evidence.

    Attributes:
        size: height and width in cells.
        lines: what stands beside the picture.
    """

    picture: Any
    size: tuple[int, int]
    dominant: frozenset[Place]
    kept: frozenset[Place]
    swaps: tuple[Swap, ...]
    lines: tuple[str, ...]


def opened(data: bytes | None) -> Any:
    """The picture in grey or RGB, or None if there is none."""
    from PIL import Image

    if data is None:
        return None
    picture = Image.open(BytesIO(data), formats=("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP"))
    return picture.convert("L" if picture.mode in {"1", "L"} else "RGB")


@dataclass(frozen=True)
class Frame:
    """Where a picture with its grid of cells stands in a figure."""

    x: float
    y: float
    width: float
    height: float
    size: tuple[int, int]

    def cell(self, place: Place) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of a cell."""
        high, broad = self.height / self.size[0], self.width / self.size[1]
        left, top = self.x + place[1] * broad, self.y + place[0] * high
        return left, top, left + broad, top + high


def misread_figure(told: Said, view: Misread) -> Figure:
    """A misread picture as it is and with its evidence; below, each swapped cell and what took its place."""
    plain = _frame(view.picture, view.size, 2.0, TOP, PANEL)
    over = Frame(plain.x + PANEL + GAP, plain.y, plain.width, plain.height, plain.size)
    address = inline(view.picture, max(view.picture.size) < SMALL)
    marks = [_text("As it is", plain.x, TOP - 8), _text("With its evidence", over.x, TOP - 8)]
    marks += [_image(address, plain), _image(address, over)]
    marks += _region(over, view.dominant, "dominant", "/") + _region(over, view.kept, "kept", "\\")
    for swap in view.swaps:
        marks += _swapped(over, swap)
    marks += _legend(view, over.x + PANEL + GAP)
    bottom = TOP + max(plain.height, 18.0 * (len(view.lines) + 4))
    for i, swap in enumerate(view.swaps[:PATCHES_SHOWN]):
        top = bottom + 32 + (PATCH + 26) * (i // PAIRS)
        marks += _pair(view, swap, 2 + (PAIR + 2) * (i % PAIRS), top)
    rows = -(-min(len(view.swaps), PATCHES_SHOWN) // PAIRS)
    height = bottom + 4 + (rows * (PATCH + 26) + 6 if rows else 0)
    return Figure(told.name, told.title, told.caption, WIDTH, r(height), tuple(marks))


def inline(picture: Any, small: bool) -> str:
    """The picture as an address that holds it; the small ones enlarged pixel by pixel, the others as JPEG."""
    from PIL import Image

    buffer = BytesIO()
    if small:
        times = -(-SHARP // max(picture.size))
        size = (picture.width * times, picture.height * times)
        picture.resize(size, Image.Resampling.NEAREST).save(buffer, "PNG", optimize=True)
    else:
        picture.save(buffer, "JPEG", quality=QUALITY)
    kind = "image/png" if small else "image/jpeg"
    return f"data:{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _frame(picture: Any, size: tuple[int, int], x: float, y: float, side: float) -> Frame:
    """The largest frame of the picture's shape in a square."""
    scale = side / max(picture.size)
    return Frame(x, y, picture.width * scale, picture.height * scale, size)


def _image(address: str, frame: Frame) -> Mark:
    return Mark("image", "picture", r(frame.x), r(frame.y), r(frame.width), r(frame.height), points=address)


def _text(text: str, x: float, y: float, look: str = "value-small", room: float = PANEL) -> Mark:
    return Mark("text", look, r(x), r(y), text=fitted(text, 11, room))


def _drawn(look: str, data: str) -> list[Mark]:
    """A line with a white one behind it, so that it stands out from dark and from light pictures."""
    return [Mark("path", "halo", points=data), Mark("path", look, points=data)] if data else []


def _region(frame: Frame, cells: Collection[Place], look: str, hatch: str) -> list[Mark]:
    """Hatched cells with one outline around those that touch."""
    strokes, edges = [], []
    for row, column in sorted(cells):
        left, top, right, bottom = frame.cell((row, column))
        strokes += _hatched(left, top, right, bottom, hatch)
        sides = {
            (row - 1, column): (left, top, right, top),
            (row + 1, column): (left, bottom, right, bottom),
            (row, column - 1): (left, top, left, bottom),
            (row, column + 1): (right, top, right, bottom),
        }
        edges += [line for other, line in sides.items() if other not in cells]
    return _drawn(f"{look}-hatch", _path(strokes)) + _drawn(look, _path(edges))


Line = tuple[float, float, float, float]


def _hatched(left: float, top: float, right: float, bottom: float, hatch: str) -> list[Line]:
    """Three slanted lines across a rectangle."""
    middle, centre = (left + right) / 2, (top + bottom) / 2
    if hatch == "/":
        return [(left, centre, middle, top), (left, bottom, right, top), (middle, bottom, right, centre)]
    return [(middle, top, right, centre), (left, top, right, bottom), (left, centre, middle, bottom)]


def _path(lines: Sequence[Line]) -> str:
    return "".join(f"M{r(a):g} {r(b):g}L{r(c):g} {r(d):g}" for a, b, c, d in lines)


def _box(left: float, top: float, right: float, bottom: float) -> str:
    return f"M{r(left):g} {r(top):g}H{r(right):g}V{r(bottom):g}H{r(left):g}Z"


def _swapped(frame: Frame, swap: Swap) -> list[Mark]:
    """The outline of a swapped cell, with its step."""
    left, top, right, bottom = frame.cell(swap.cell)
    return _drawn("swap", _box(left, top, right, bottom)) + _badge(swap.step, (left + right) / 2, (top + bottom) / 2)


def _badge(step: int, x: float, y: float) -> list[Mark]:
    marks = [Mark("circle", "badge-edge", r(x), r(y), 8), Mark("circle", "badge", r(x), r(y), 6.8)]
    return [*marks, Mark("text", "step", r(x), r(y + 3.4), text=str(step), anchor="middle")]


def _legend(view: Misread, x: float) -> list[Mark]:
    room = WIDTH - x - 4
    marks = [_text(line, x, TOP + 10 + 18 * i, "value", room) for i, line in enumerate(view.lines)]
    y = TOP + 18.0 * len(view.lines) + 8
    parts = (("dominant", "/", "Dominant", view.dominant), ("kept", "\\", "Kept", view.kept))
    for look, hatch, told in (part[:3] for part in parts if part[3]):
        frame = Frame(x, y, 26, 13, (1, 1))
        marks += _region(frame, {(0, 0)}, look, hatch)
        marks.append(_text(told, x + 34, y + 10, room=room - 34))
        y += 22
    if view.swaps:
        marks += _badge(1, x + 13, y + 6)
        marks.append(_text("Swapped, with its step", x + 34, y + 10, room=room - 34))
    return marks


def _pair(view: Misread, swap: Swap, x: float, y: float) -> list[Mark]:
    """A swapped cell with its surroundings, and beside it the cell that took its place with its own."""
    marks = [_text(f"Swap {swap.step}", x, y - 6, "tick", PATCH)]
    marks += _patch(view.picture, view.size, swap.cell, x, y)
    marks.append(Mark("text", "value", x + PATCH + 8, r(y + PATCH / 2 + 4), text="→", anchor="middle"))
    if swap.picture is not None:
        at = x + PATCH + 16
        marks.append(Mark("text", "tick", at, r(y - 6), text=_ended(swap.reference, PATCH)))
        marks += _patch(swap.picture, view.size, swap.source, at, y)
    return marks


def _ended(name: str, room: float) -> str:
    """The name of a file without its folder and kind, or its end, which tells files apart."""
    stem = name.rsplit("/", 1)[-1]
    stem = stem.rsplit(".", 1)[0] or stem
    kept = stem
    while kept and wide(kept if kept == stem else f"…{kept}", 11) > room:
        kept = kept[1:]
    return kept if kept == stem else f"…{kept}"


def _patch(picture: Any, size: tuple[int, int], cell: Place, x: float, y: float) -> list[Mark]:
    """A cell with the cells around it, as far as the picture goes; the cell itself is outlined."""
    whole = Frame(0, 0, picture.width, picture.height, size)
    high, broad = min(3, size[0]), min(3, size[1])
    top = min(max(cell[0] - 1, 0), size[0] - high)
    left = min(max(cell[1] - 1, 0), size[1] - broad)
    first, last = whole.cell((top, left)), whole.cell((top + high - 1, left + broad - 1))
    bounds = (round(first[0]), round(first[1]), round(last[2]), round(last[3]))
    cut = picture.crop(bounds)
    frame = _frame(cut, (1, 1), x, y, PATCH)
    scale = frame.width / cut.width
    sides = whole.cell(cell)
    box = [start + (side - edge) * scale for start, side, edge in zip((x, y, x, y), sides, bounds[:2] * 2, strict=True)]
    return [_image(inline(cut, max(picture.size) < SMALL), frame), *_drawn("swap", _box(*box))]
