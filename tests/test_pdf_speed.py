"""What a long tagged report costs beside WeasyPrint's own untagged PDF of the same HTML, and how much memory."""

import os
from collections.abc import Callable

import pytest
from pdf_case import printed

ACCEPT = bool(os.environ.get("AUDIT_ACCEPT"))
PAGES = 200 if ACCEPT else 12
LIMIT = 1.3
"""CPU time of a tagged report of 200 pages over that of the untagged one."""

MEMORY = 2048
"""MB that a report of 1,000 pages may take."""


def test_tags_cost_little_beside_weasyprint_untagged(figure: Callable[..., None]) -> None:
    """CPU time, side by side in one run, each in a process of its own."""
    ours, plain = printed("ours", PAGES), printed("plain", PAGES)
    ratio = ours["seconds"] / plain["seconds"]
    figure(
        "a tagged report over WeasyPrint untagged, CPU",
        f"{ratio:.2f}",
        f"{PAGES} pages, {ours['seconds']:.1f} s and {plain['seconds']:.1f} s; at most {LIMIT}",
    )
    assert ratio <= LIMIT or not ACCEPT
    assert ours["bytes"] < 2 * plain["bytes"]


@pytest.mark.skipif(not ACCEPT, reason="CPU times of two printings: AUDIT_ACCEPT asks for them")
def test_a_register_of_4000_numbers_does_not_dominate(figure: Callable[..., None]) -> None:
    """300 of them are printed, all of them attached."""
    long, short = printed("bundle", 4000), printed("bundle", 300)
    ratio = long["seconds"] / short["seconds"]
    figure("a report with 4,000 numbers over one with 300, CPU", f"{ratio:.2f}", "at most 1.5")
    assert ratio <= 1.5


@pytest.mark.skipif(not ACCEPT, reason="a report of 1,000 pages takes two minutes: AUDIT_ACCEPT asks for it")
def test_memory_does_not_grow_with_the_boxes(figure: Callable[..., None]) -> None:
    long = printed("ours", 1000)
    figure("peak memory of a report of 1,000 pages, MB", f"{long['peak']:.0f}", f"at most {MEMORY}")
    assert long["peak"] < MEMORY


@pytest.mark.skipif(not ACCEPT, reason="two printings of 40 pages: AUDIT_ACCEPT asks for them")
def test_the_same_bytes_twice() -> None:
    assert printed("ours", 40)["sha256"] == printed("ours", 40)["sha256"]
