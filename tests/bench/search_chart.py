"""The charts of the page, drawn as SVG by hand: nothing but text."""

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

WIDTH, ROW, LEFT, RIGHT, TOP, BOTTOM = 760, 24, 150, 90, 64, 52
OURS, PEER, GRID, INK = "#0b6e4f", "#8a8f98", "#d9dce1", "#1d2430"
FONT = 'font-family="Helvetica, Arial, sans-serif"'


def _text(
    x: float, y: float, words: str, size: int = 12, anchor: str = "start", weight: str = "normal", ink: str = INK
) -> str:
    style = f'font-size="{size}" text-anchor="{anchor}" font-weight="{weight}" fill="{ink}" {FONT}'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(words)}</text>'


def _figure(height: float, title: str, body: Sequence[str]) -> str:
    size = f'width="{WIDTH}" height="{height:.0f}" viewBox="0 0 {WIDTH} {height:.0f}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{escape(title)}">'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{height:.0f}" fill="white"/>', *body, "</svg>", ""])


def decades(values: Sequence[float]) -> tuple[int, int]:
    """The powers of ten that enclose the values, at least one decade apart."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def bars(title: str, unit: str, rows: Sequence[tuple[str, float]]) -> str:
    """Horizontal bars on a logarithmic axis, the shortest first; labels that begin with `ours` stand out."""
    rows = sorted(rows, key=lambda row: row[1])
    low, high = decades([value for _, value in rows])
    span, height = WIDTH - LEFT - RIGHT, TOP + ROW * len(rows) + BOTTOM
    body = [_text(16, 26, title, 15, weight="bold"), _text(16, 46, unit)]
    for power in range(low, high + 1):
        x = LEFT + span * (power - low) / (high - low)
        bottom = height - BOTTOM + 6
        body.append(f'<line x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{bottom:.1f}" stroke="{GRID}"/>')
        body.append(_text(x, height - BOTTOM + 24, f"{10.0**power:g}", anchor="middle"))
    for i, (label, value) in enumerate(rows):
        y = TOP + ROW * i
        width = max(span * (math.log10(value) - low) / (high - low), 2.0)
        colour = OURS if label.startswith("ours") else PEER
        body.append(_text(LEFT - 8, y + 15, label, anchor="end", weight="bold" if colour == OURS else "normal"))
        body.append(f'<rect x="{LEFT}" y="{y + 3}" width="{width:.1f}" height="{ROW - 7}" fill="{colour}"/>')
        body.append(_text(LEFT + width + 6, y + 15, f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"))
    body.append(_text(16, height - 12, "green: this product; grey: other libraries; logarithmic axis", 11))
    return _figure(height, title, body)


def line(title: str, unit: str, points: Sequence[tuple[float, float]], limit: float, limit_words: str) -> str:
    """A line over time, with a limit."""
    height, bottom = 280, 230
    span = WIDTH - LEFT - RIGHT + 60
    left = LEFT - 60
    last, top = max(x for x, _ in points), max(limit, *(y for _, y in points)) * 1.1

    def at(x: float, y: float) -> str:
        return f"{left + span * x / last:.1f},{bottom - (bottom - TOP) * y / top:.1f}"

    body = [_text(16, 26, title, 15, weight="bold"), _text(16, 46, unit)]
    for i in range(5):
        y = top * i / 4
        _, py = at(0, y).split(",")
        body.append(f'<line x1="{left}" y1="{py}" x2="{left + span}" y2="{py}" stroke="{GRID}"/>')
        body.append(_text(left - 8, float(py) + 4, f"{y:.0f}", anchor="end"))
        body.append(_text(left + span * i / 4, bottom + 20, f"{last * i / 4:.0f} s", anchor="middle"))
    path = " ".join(at(x, y) for x, y in points)
    body.append(f'<polyline points="{path}" fill="none" stroke="{OURS}" stroke-width="2"/>')
    y = float(at(0, limit).split(",")[1])
    body.append(f'<line x1="{left}" y1="{y}" x2="{left + span}" y2="{y}" stroke="{INK}" stroke-dasharray="6 4"/>')
    body.append(_text(left + span, y - 6, limit_words, 11, anchor="end"))
    return _figure(height, title, body)


COLOURS = ("#0b6e4f", "#b4530a", "#3b5ba5")


def panels(title: str, unit: str, asked: Sequence[tuple[str, dict[str, list[tuple[float, float]]]]]) -> str:
    """Curves on logarithmic axes, two panels side by side, with one scale of costs for all.

    Args:
        asked: for each panel what grows, and the points of each curve by its name.
    """
    names = list(dict.fromkeys(name for _, curves in asked for name in curves))
    low, high = decades([y for _, curves in asked for points in curves.values() for _, y in points])
    wide, tall, left = 290, 170, 64
    height = 80 + (tall + 66) * -(-len(asked) // 2)
    body = [_text(16, 26, title, 15, weight="bold"), _text(16, 46, unit)]
    for i, name in enumerate(names):
        body.append(_text(WIDTH - 16 - 80 * (len(names) - 1 - i), 46, name, 12, "end", "bold", COLOURS[i % 3]))
    for i, (word, curves) in enumerate(asked):
        x0, y0 = left + (i % 2) * (wide + 80), 70 + (i // 2) * (tall + 66)
        first, last = decades([x for points in curves.values() for x, _ in points])

        def at(x: float, y: float, x0: float = x0, y0: float = y0, ends: tuple[int, int] = (first, last)) -> str:
            across = (math.log10(x) - ends[0]) / (ends[1] - ends[0])
            return f"{x0 + wide * across:.1f},{y0 + tall * (high - math.log10(y)) / (high - low):.1f}"

        for power in range(low, high + 1):
            y = y0 + tall * (high - power) / (high - low)
            body.append(f'<line x1="{x0}" y1="{y:.1f}" x2="{x0 + wide}" y2="{y:.1f}" stroke="{GRID}"/>')
            body.append(_text(x0 - 6, y + 4, f"{10.0**power:g}", 11, "end"))
        for power in range(first, last + 1):
            x = x0 + wide * (power - first) / (last - first)
            body.append(f'<line x1="{x:.1f}" y1="{y0}" x2="{x:.1f}" y2="{y0 + tall}" stroke="{GRID}"/>')
            body.append(_text(x, y0 + tall + 16, f"{10**power:,}", 11, "middle"))
        body.append(_text(x0 + wide / 2, y0 + tall + 34, word, 12, "middle"))
        for name, points in curves.items():
            colour = COLOURS[names.index(name) % 3]
            path = " ".join(at(x, y) for x, y in points)
            body.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
            for place in path.split():
                x, y = place.split(",")
                body.append(f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>')
    return _figure(height, title, body)
