"""Reports of any length, printed in a process of their own: what that costs.

Each page is a heading, a paragraph, a table of 22 rows and 6 columns, and a figure.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

FIGURE = (
    '<figure class="figure"><svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 560 150" width="560" height="150" '
    'role="img" aria-labelledby="f{i}"><title id="f{i}">Figure of page {i}: ten bars.</title>{bars}</svg>'
    "<figcaption>Figure of page {i}.</figcaption></figure>"
)


def long_html(pages: int) -> str:
    """The HTML of a report with about so many pages of body."""
    body = "".join(map(_section, range(1, pages + 1)))
    entries = "".join(f'<li><a href="#s{i}">Section {i}</a></li>' for i in range(1, min(pages, 40) + 1))
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>A long report</title></head><body>'
        '<header class="cover" data-report="Report X" data-audit="Long"><h1>A long report</h1></header>'
        f'<nav class="contents"><h2 id="contents">Contents</h2><ul>{entries}</ul></nav>'
        f'<main><div class="portion">{body}</div></main></body></html>'
    )


def _section(i: int) -> str:
    head = "".join(f'<th scope="col">Column {j}</th>' for j in range(6))
    rows = "".join(
        f'<tr><th scope="row">row {i}.{r}</th>'
        + "".join(f"<td>{(i * 7919 + r * 31 + j) % 1000}</td>" for j in range(5))
        + "</tr>"
        for r in range(22)
    )
    columns = '<col class="w20">' + '<col class="w16">' * 5
    table = (
        f'<div class="table"><table><caption>Table of page {i}</caption><colgroup>{columns}</colgroup>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
    bars = "".join(
        f'<rect x="120" y="{14 * b}" width="{(i * 13 + b * 37) % 400}" height="10" fill="#9DBAD3"/>'
        f'<text x="110" y="{14 * b + 9}" font-size="11" text-anchor="end">bar {b}</text>'
        for b in range(10)
    )
    return (
        f'<section class="topic long"><h2 id="s{i}">Section {i}</h2><p>What page {i} says, in a sentence or two, so '
        f"that there is a paragraph to be broken into lines on every page of this report.</p>{table}"
        f"{FIGURE.format(i=i, bars=bars)}</section>"
    )


def printed(how: str, pages: int, size: int | None = None) -> dict[str, Any]:
    """CPU seconds, peak memory in MB, bytes and digest of one printing, measured in a process of its own.

    Args:
        how: `ours`; `plain` for WeasyPrint's own untagged PDF of the same HTML and style; `bundle` for the whole way
            from a bundle with so many numbers, pages apart, in its register.
        size: elements of a part, for `ours`.
    """
    command = [sys.executable, "-W", "ignore", __file__, how, str(pages), str(size or "")]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=3600)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def peak_memory() -> float:
    """MB this process has had in memory at most.

    Not `ru_maxrss`, which on Linux starts at what the parent held: a process of 14 MB is said to have had 813 where it
    was started by one of 800.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def _measure(how: str, pages: int, size: str) -> dict[str, Any]:
    from hashlib import sha256

    sys.path.insert(0, str(Path(__file__).parent / "report"))
    from odd_case import register_case

    from audit.report import pdf
    from audit.report.html import paged_style
    from audit.report.parts import PART

    markup = "" if how == "bundle" else long_html(pages)
    weasyprint = pdf._weasyprint()
    with pdf._bundled_fonts(), TemporaryDirectory() as folder:
        bundle = register_case(Path(folder), pages) if how == "bundle" else None
        start = time.process_time()
        if bundle is not None:
            content = pdf.pdf(bundle)
        elif how == "plain":
            page = weasyprint.HTML(string=markup, base_url=pdf.BASE, url_fetcher=pdf.deny_all())
            style = [weasyprint.CSS(string=paged_style(), base_url=pdf.BASE, url_fetcher=pdf.deny_all())]
            content = page.write_pdf(stylesheets=style)
        else:
            with pdf._own_collection():
                content = pdf.printed(markup, "a-3a", int(size or PART)).pdf.finish(b"0" * 32)
        seconds = time.process_time() - start
    return {"seconds": seconds, "peak": peak_memory(), "bytes": len(content), "sha256": sha256(content).hexdigest()}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_measure(sys.argv[1], int(sys.argv[2]), sys.argv[3])) + "\n")
