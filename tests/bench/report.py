"""Measures what reports cost on paper and writes docs/benchmarks/report.md: `make bench`."""

import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from pdf_case import printed  # noqa: E402 - the tests are no package

LENGTHS = (40, 200, 1000)
COMPARED = 200
"""Pages up to which WeasyPrint's own PDF is made beside ours; its memory grows with the pages."""
NUMBERS = (1, 300, 4000)
HEAD = """# The report on paper: time and memory

Written by `make bench`; nothing is typed by hand. CPU seconds and peak memory on a shared machine of {cores} cores with
a load of {load:.1f}, each printing in a process of its own, side by side in one run. A page is a heading, a paragraph,
a table of 22 rows and 6 columns, and a figure with ten bars (`tests/pdf_case.py`). *Untagged* is WeasyPrint's own
`write_pdf` of the same HTML and style, without tags, description, attachments and page numbers. `make accept` measures
again and holds the limits (`tests/test_pdf_speed.py`): at 200 pages a ratio of 1.3, at 1,000 pages 2,048 MB.
`docs/design/pdf.md` says how it is done.

| pages | ours: tagged, A-3a, UA-1 | WeasyPrint: untagged | ratio | peak memory: ours, untagged | file: ours, untagged |
|---|---|---|---|---|---|
"""
REGISTER = """
The whole way from a bundle to its PDF, by how many numbers the register has; 300 are printed, all of them attached.

| numbers | CPU s | peak memory | file |
|---|---|---|---|
"""


def size(found: dict[str, Any]) -> str:
    """The size of a file."""
    return f"{found['bytes'] / 2**20:.2f} MB"


def main() -> None:
    """Prints, measures and writes the page."""
    text = HEAD.format(cores=os.cpu_count(), load=os.getloadavg()[0])
    for pages in LENGTHS:
        ours = printed("ours", pages)
        if pages <= COMPARED:
            plain = printed("plain", pages)
            beside = f"{plain['seconds']:.1f} s | {ours['seconds'] / plain['seconds']:.2f}"
            memory, file = f"{ours['peak']:.0f} MB, {plain['peak']:.0f} MB", f"{size(ours)}, {size(plain)}"
        else:
            beside, memory, file = "not run | ", f"{ours['peak']:.0f} MB", size(ours)
        text += f"| {pages:,} | {ours['seconds']:.1f} s | {beside} | {memory} | {file} |\n"
    text += REGISTER
    for numbers in NUMBERS:
        found = printed("bundle", numbers)
        text += f"| {numbers:,} | {found['seconds']:.1f} | {found['peak']:.0f} MB | {size(found)} |\n"
    (ROOT / "docs" / "benchmarks" / "report.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
