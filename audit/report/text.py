"""Text that is safe to show: numbers with a fixed form, and characters that cannot deceive."""

import math
import unicodedata
from collections.abc import Callable
from functools import cache
from typing import Any, Literal

from audit.resources import folder

Format = Literal["number", "percent", "count", "ratio"]

ABSENT = "–"
"""What stands where there is no number; the reason stands nearby."""

LISTED = 60
"""Items of a list that a sentence names; it says how many more there are, and the bundle has them."""

_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Me"}
_OVERLAY = 1  # combining class of strokes drawn over a letter


def number(value: Any) -> str:
    """A number to three or four figures with a true minus sign, or a dash where there is none."""
    x = finite(value)
    if x is None:
        return ABSENT
    size = abs(x)
    if size >= 1000:
        shown = f"{x:,.0f}"
    elif size >= 100:
        shown = f"{x:.1f}"
    elif size >= 10:
        shown = f"{x:.2f}"
    elif size and size < 0.0005:
        shown = f"{x:.1e}"
    else:
        shown = f"{x:.3f}"
    return _minus(shown)


def percent(value: Any) -> str:
    """A share as a percentage with one decimal."""
    x = finite(value)
    return ABSENT if x is None else _minus(f"{100 * x:.1f}\u00a0%")


def count(value: Any) -> str:
    """A whole number with separated thousands; a fraction keeps two decimals."""
    x = finite(value)
    if x is None:
        return ABSENT
    return _minus(f"{x:,.0f}" if x == round(x) else f"{x:,.2f}")


FORMATS: dict[str, Callable[[Any], str]] = {"number": number, "percent": percent, "count": count, "ratio": number}


def interval(low: Any, high: Any, form: str = "number") -> str:
    """An interval as "low to high", or a dash."""
    if finite(low) is None or finite(high) is None:
        return ABSENT
    show = FORMATS.get(form, number)
    return f"{show(low)} to {show(high)}"


def change(value: Any, form: str = "number") -> str:
    """A difference with its sign; that of shares in percentage points, or a dash."""
    x = finite(value)
    if x is None:
        return ABSENT
    shown = f"{100 * x:.1f}\u00a0pp" if form == "percent" else FORMATS[form](x)
    return f"+{shown}" if x > 0 else _minus(shown)


def finite(value: Any) -> float | None:
    """The value as a float, or None if it is missing, not finite or no number."""
    if value is None or isinstance(value, str | bytes):
        return None
    try:
        x = float(value)
    except (TypeError, ValueError):
        return None
    return x if math.isfinite(x) else None


def plain(value: Any) -> str:
    """Any value of the spec or of a table as words, never as a Python literal."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return ", ".join(f"{words(key)} {plain(item)}" for key, item in value.items() if item is not None) or ABSENT
    if isinstance(value, list | tuple | set | frozenset):
        between = "; " if any(isinstance(item, dict) for item in value) else ", "
        items = list(value)
        shown = items if len(items) <= LISTED + 1 else items[:LISTED]
        more = f" and {count(len(items) - LISTED)} more" if len(shown) < len(items) else ""
        return (between.join(map(plain, shown)) or ABSENT) + more
    return _plain_scalar(value)


def _plain_scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value != value:  # noqa: PLR0124 - NaN alone differs from itself
        return ABSENT
    if isinstance(value, float):
        return _minus(str(int(value)) if value == int(value) and abs(value) < 1e15 else f"{value:.6g}")
    return _minus(str(value)) if isinstance(value, int) else str(value)


def words(name: str) -> str:
    """A code name as words: `rows_in_train` becomes "rows in train"."""
    return str(name).replace("_", " ").strip()


def sentence(text: str) -> str:
    """The text with a capital letter at its start."""
    return text[:1].upper() + text[1:]


def visible(text: str, shown: frozenset[int] | None = None) -> str:
    """The text in NFC, with every character that hides or deceives written as ‹U+202E›.

    Args:
        shown: code points that can be drawn; None where the reader's own fonts draw what ours cannot.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_marked if shown is None else _marked_unless(shown), unicodedata.normalize("NFC", text)))


def line(text: str) -> str:
    """The text for a terminal: one line, in which nothing hides, deceives or moves the cursor."""
    return visible(text).replace("\n", "‹U+000A›")


@cache
def drawable() -> frozenset[int]:
    """The code points that every bundled font has."""
    lines = (folder("templates") / "fonts" / "coverage.txt").read_text("ascii").splitlines()
    ranges = [line.split("-") for line in lines if not line.startswith("#")]
    return frozenset(code for low, high in ranges for code in range(int(low, 16), int(high, 16) + 1))


def _marked(char: str) -> str:
    if char in "\n\t":
        return char
    deceives = unicodedata.category(char) in _HIDDEN or unicodedata.combining(char) == _OVERLAY
    return f"‹U+{ord(char):04X}›" if deceives else char


def _marked_unless(shown: frozenset[int]) -> Callable[[str], str]:
    def mark(char: str) -> str:
        marked = _marked(char)
        return marked if len(marked) > 1 or char in "\n\t" or ord(char) in shown else f"‹U+{ord(char):04X}›"

    return mark


def _minus(text: str) -> str:
    return text.replace("-", "−") if text.startswith("-") else text
