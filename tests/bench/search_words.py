"""Numbers and tables as Markdown text."""

import textwrap
from collections.abc import Sequence

DATA_WORDS = {"census": "Census", "german": "German credit", "caravan": "Caravan"}
MODEL_WORDS = {"lightgbm": "LightGBM", "mlp": "MLP"}


def number(value: float | None, digits: int = 3) -> str:
    """A number with so many significant digits; a dash for none."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 10 ** (digits - 1) else f"{value:.{digits}g}"


def percent(value: float | None) -> str:
    """A share as text."""
    return "–" if value is None else f"{100 * value:.1f} %"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n\n"


def paragraph(text: str) -> str:
    """A paragraph in lines of 120 characters at most."""
    return textwrap.fill(" ".join(text.split()), 120, break_long_words=False, break_on_hyphens=False) + "\n\n"


def bullets(items: Sequence[str]) -> str:
    """A list."""
    lines = [
        textwrap.fill(f"* {' '.join(item.split())}", 120, subsequent_indent="  ", break_on_hyphens=False)
        for item in items
    ]
    return "\n".join(lines) + "\n\n"
