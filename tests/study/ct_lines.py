"""Means with intervals over seeds, and tables, as text."""

from collections.abc import Iterator

import pandas as pd
from scipy.stats import t as student


def interval(values: "pd.Series[float]") -> tuple[float, float, float]:
    """Mean and the 95 % t interval over seeds."""
    known = values.dropna()
    if len(known) < 2:
        return float(known.mean()), float("nan"), float("nan")
    half = float(student.ppf(0.975, len(known) - 1)) * float(known.std(ddof=1)) / len(known) ** 0.5
    return float(known.mean()), float(known.mean()) - half, float(known.mean()) + half


def shown(values: "pd.Series[float]", digits: int) -> str:
    """Mean and interval as text."""
    mean, low, high = interval(values)
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def table(header: list[str], rows: list[list[str]]) -> Iterator[str]:
    """A table in Markdown."""
    yield "| " + " | ".join(header) + " |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""
