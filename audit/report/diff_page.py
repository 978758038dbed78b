"""What differs between two audits as one self-contained HTML file, with the look and the safety of the report."""

from audit.report.diff import Diff
from audit.report.diff_blocks import counts, sections, verdict
from audit.report.html import asset, content_policy, environment, screen_style, trusted


def page(diff: Diff) -> str:
    """The page; it asks the network for nothing."""
    style, script = screen_style(), asset("report.js")
    template = environment(None).get_template("diff.j2")
    return str(
        template.render(
            diff=diff,
            sections=tuple(sections(diff)),
            verdict=verdict(diff),
            counts=counts(diff),
            tone="fail" if diff.regressions else "none",
            paged=False,
            style=trusted(style),
            script=trusted(script),
            policy=content_policy(style, script),
        )
    )
