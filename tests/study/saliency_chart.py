"""A chart of mean edits against mean cosine, as SVG."""

import math
from html import escape

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 30, 60, 60
COLOURS = ("#1f5fa8", "#b3541e")
FONT = 'font-family="sans-serif" fill="#222"'
Points = dict[str, list[tuple[float, float, str]]]


def chart(curves: Points) -> str:
    """Each curve a line with its points named: edits to the right, cosine upwards."""
    across = [point[0] for curve in curves.values() for point in curve]
    upward = [point[1] for curve in curves.values() for point in curve]
    x0, x1 = math.floor(min(across)), math.ceil(max(across))
    y0, y1 = math.floor(min(upward) * 20) / 20, math.ceil(max(upward) * 20) / 20

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + (WIDTH - LEFT - RIGHT) * (x - x0) / (x1 - x0),
            HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (y - y0) / (y1 - y0),
        )

    body = [_text(WIDTH / 2, HEIGHT - 16, "mean edits", "middle"), _text(16, 24, "mean cosine of the swapped cells")]
    for x in range(x0, x1 + 1):
        px, _ = at(x, y0)
        body += [_rule(px, TOP, px, HEIGHT - BOTTOM), _text(px, HEIGHT - BOTTOM + 20, str(x), "middle")]
    for k in range(round((y1 - y0) * 20) + 1):
        _, py = at(x0, y0 + k / 20)
        body += [_rule(LEFT, py, WIDTH - RIGHT, py), _text(LEFT - 8, py + 4, f"{y0 + k / 20:.2f}", "end")]
    for i, (name, curve) in enumerate(curves.items()):
        body += _curve([(*at(x, y), label) for x, y, label in curve], COLOURS[i], -10 if i else 18)
        body.append(f'<rect x="{LEFT + 330 * i}" y="38" width="12" height="12" fill="{COLOURS[i]}"/>')
        body.append(_text(LEFT + 18 + 330 * i, 48, name))
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="Mean edits against mean cosine">'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>', *body, "</svg>", ""])


def _curve(points: list[tuple[float, float, str]], colour: str, below: float) -> list[str]:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points)
    marks = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y, _ in points]
    names = [_text(x, y + below, label.split()[-1], "middle", 11) for x, y, label in points]
    return [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>', *marks, *names]


def _text(x: float, y: float, words: str, anchor: str = "start", size: int = 13) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" {FONT}>{escape(words)}</text>'


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#ddd"/>'
