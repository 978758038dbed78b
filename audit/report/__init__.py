"""The bundle as a report: nothing here sees a spec, a model or data."""

from collections.abc import Sequence
from typing import Literal

from audit.bundle import Bundle
from audit.report.blocks import FindingView
from audit.report.judged import findings
from audit.report.source import Source

__all__ = ["export", "render", "sentences"]


def render(bundle: Bundle, formats: Sequence[Literal["html", "pdf"]]) -> list[str]:
    """Writes the report into the bundle in each of the formats; the names of the files written.

    Raises:
        AuditError: the PDF cannot be made on this machine; the message says what to install.
    """
    written = []
    for form in dict.fromkeys(formats):
        name = f"report.{form}"
        bundle.write(name, _page(bundle, form))
        written.append(name)
    return written


def export(bundle: Bundle) -> list[str]:
    """Writes the findings into the bundle for machines, as JUnit XML and as SARIF; the names of the files written."""
    from audit.report.exports import junit, sarif

    source = Source(bundle)
    files = {"findings.junit.xml": junit(source), "findings.sarif": sarif(source)}
    for name, data in files.items():
        bundle.write(name, data)
    return list(files)


def _page(bundle: Bundle, form: Literal["html", "pdf"]) -> bytes:
    if form == "html":
        from audit.report.html import html

        return html(Source(bundle)).encode("utf-8")
    from audit.report.pdf import pdf

    return pdf(bundle)


def sentences(bundle: Bundle) -> list[FindingView]:
    """What was found, in words, the most serious first: gates that did not pass, and notes."""
    return list(findings(Source(bundle)))
