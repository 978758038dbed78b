"""The rules by which gates, opinions and waivers are judged, as the report prints them, and the waivers themselves."""

from collections.abc import Iterator

from audit.core.waive import standing
from audit.report.blocks import Badge, Block, Cell, Column, Grid, Heading, Para
from audit.report.judged import OUTCOMES
from audit.report.source import Source

RESULTS = {
    "pass": "The whole interval clears the bar of the gate.",
    "unsure": "The interval crosses the bar: the evidence does not decide.",
    "fail": "The whole interval misses the bar.",
    "no_evidence": "No usable evidence; the reason is printed. It never counts as a pass.",
}
OPINIONS = {
    "Unqualified": "There is a gate, every gate is PASS, no finding is critical and no method ended in an error.",
    "Qualified": "At least one gate has evidence. Fit for use except for the exceptions that are named by finding.",
    "Adverse": "The auditor judges the failures too serious for exceptions to cure. Open to the auditor at any time.",
    "Disclaimer": (
        "There is not enough evidence for an opinion. Open to the auditor at any time, and the strongest word where "
        "there is no gate or no gate has evidence."
    ),
}
WAIVERS = (
    "A waiver accepts one finding for a while. It is judged on the date of the audit and holds up to and including its "
    "last day. A finding that is waived keeps its outcome and its severity and does not fail the audit. A waiver that "
    "has expired fails the audit. Without a date no waiver has an effect. A gate that was not tested, a method that "
    "ended in an error and a refused opinion cannot be waived."
)
STRONGEST = (
    "The strongest word that the findings support is worked out by these rules, and a stronger one is refused. Waivers "
    "play no part in it: what is accepted was found all the same."
)
STANDINGS = {
    "in_force": Badge("IN FORCE", "·", "plain"),
    "waiver_expired": Badge("EXPIRED", "×", "fail"),
    "waiver_undated": Badge("NOT JUDGED", "!", "warn"),
    "waiver_refused": Badge("NO EFFECT", "!", "warn"),
    "waiver_without_finding": Badge("NO FINDING", "–", "none"),
}


def rules() -> Iterator[Block]:
    """What each word means, and when it may be printed."""
    yield Heading("The words of this report", anchor="words")
    rows = tuple((Cell(OUTCOMES[key].word, badge=OUTCOMES[key]), Cell(said)) for key, said in RESULTS.items())
    yield Grid("Results of gates", (Column("Word"), Column("It is printed when")), rows, name="words")
    rows = tuple((Cell(word), Cell(said)) for word, said in OPINIONS.items())
    yield Grid("Opinions", (Column("Word"), Column("It may be printed when")), rows, STRONGEST, name="opinions")
    yield Para(WAIVERS)


def waivers(source: Source) -> Iterator[Block]:
    """The waivers of the spec, each with what became of it."""
    rows = tuple(
        (
            Cell(waiver.finding, "code"),
            Cell((badge := STANDINGS[standing(waiver, source.findings)]).word, badge=badge),
            Cell(waiver.reason),
            Cell(waiver.approved_by),
            Cell(waiver.until.isoformat(), "code"),
        )
        for waiver in source.waivers
    )
    if rows:
        as_of = source.manifest.as_of
        note = f"Judged as of {as_of}." if as_of else "The audit states no date, so no waiver can be judged."
        columns = (Column("Finding"), Column("Standing"), Column("Reason"), Column("Approved by"), Column("Until"))
        yield Heading("Waivers", anchor="waivers")
        yield Grid("Findings that are accepted for a while", columns, rows, note, name="waivers")
