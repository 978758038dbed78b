"""The bundle as a report: nothing here sees a spec, a model or data."""

from collections.abc import Sequence
from typing import Literal

from audit.bundle import Bundle, pretty_json
from audit.core.integrity import PDF
from audit.report.blocks import FindingView
from audit.report.judged import findings
from audit.report.source import Source

__all__ = ["drawn", "export", "render", "sentences"]


def render(bundle: Bundle, formats: Sequence[Literal["html", "pdf"]]) -> list[str]:
    """Writes the report into the bundle in each of the formats; the names of the files written.

    The manifest is written too, without the digests: with what the PDF is drawn.

    Raises:
        AuditError: the PDF cannot be made on this machine; the message says what to install.
    """
    from audit.report.drawing import to_record

    manifest = bundle.manifest()
    if "pdf" in formats or (manifest.drawn_with and not bundle.has(PDF)):
        drawn_with = to_record(manifest) if "pdf" in formats else {}
        told = manifest.model_copy(update={"drawn_with": drawn_with})
        bundle.write("manifest.json", pretty_json(told.model_dump(mode="json")))
    written = []
    for form in dict.fromkeys(formats):
        name = f"report.{form}"
        bundle.write(name, _page(bundle, form))
        written.append(name)
    return written


def export(bundle: Bundle) -> list[str]:
    """Writes the findings into the bundle for machines, as JUnit XML and as SARIF; the names of the files written."""
    for name in EXPORTS:
        bundle.write(name, drawn(bundle, name))
    return list(EXPORTS)


EXPORTS = ("findings.junit.xml", "findings.sarif")
"""The findings for machines."""


def drawn(bundle: Bundle, name: str) -> bytes:
    """A file that is drawn from the rest of a bundle (`core.manifest.RENDERED`), as it is drawn now.

    Raises:
        AuditError: the PDF cannot be made on this machine; the message says what to install.
    """
    if name in EXPORTS:
        from audit.report.exports import junit, sarif

        return (junit if name == EXPORTS[0] else sarif)(Source(bundle))
    return _page(bundle, "pdf" if name == "report.pdf" else "html")


def _page(bundle: Bundle, form: Literal["html", "pdf"]) -> bytes:
    if form == "html":
        from audit.report.html import html

        return html(Source(bundle)).encode("utf-8")
    from audit.report.pdf import pdf

    return pdf(bundle)


def sentences(bundle: Bundle) -> list[FindingView]:
    """What was found, in words, the most serious first: gates that did not pass, and notes."""
    return list(findings(Source(bundle)))
