"""What is inside the PDF besides its pages: attached files, description, profile of colours, settings of the reader."""

from collections.abc import Iterator, Sequence
from datetime import date
from hashlib import md5
from typing import Any

from audit.report.blocks import Report
from audit.report.csv_files import register_csv, table_csv
from audit.report.press import Press
from audit.report.source import Attached, Source
from audit.report.topics import ROWS_ONLY
from audit.report.xmp import Variant, packet

EPOCH = "1980-01-01"
"""The date of attached files where the audit states none: the format wants one, and the clock is no input."""

PERSON = frozenset({"instance", "instances", "picture", "id", "row", "reference", "neighbour"})
"""Columns that say whose row it is; a table with one of them has a row per person."""

LARGEST = 100_000
"""Rows of the largest table that is attached; a larger one stays in the bundle."""


def attached(source: Source) -> list[Attached]:
    """The spec, the results, the register and the tables of aggregates; sorted by name, as a name tree must be.

    Tables with a row per person stay in the bundle: a report shows aggregates.
    """
    manifest = source.manifest
    day = manifest.as_of or EPOCH
    results = source.bundle.read("results.json")
    files = [
        Attached("results.json", results, "application/json", "Data", "Every metric and finding of this report", day),
        Attached(
            "spec.yaml", manifest.spec.encode("utf-8"), "application/yaml", "Source", "The spec of this audit", day
        ),
        Attached("register.csv", register_csv(source), "text/csv", "Supplement", "Every number with its gate", day),
        *_tables(source, day),
    ]
    return sorted(files, key=lambda file: file.name)


def _tables(source: Source, day: str) -> Iterator[Attached]:
    """The tables of aggregates, whole and with all digits; what is empty, or too long for a reader, is none of them."""
    for record in source.records:
        for table in record.tables:
            if table.name in ROWS_ONLY or not 0 < table.rows <= LARGEST:
                continue
            frame = source.table(record, table.name)
            if frame is not None and not PERSON & set(frame.columns):
                told = source.words(record).caption(table.name)
                yield Attached(
                    f"{record.id}.{table.name}.csv", table_csv(frame), "text/csv", "Supplement", f"{told}, whole", day
                )


def complete(press: Press, report: Report, source: Source, variant: Variant) -> None:
    """Adds to the printed pages all that makes them an archivable and accessible file."""
    import pydyf

    pdf, metadata = press.pdf, press.metadata
    info = {
        "Title": metadata.title or "",
        "Subject": metadata.description or "",
        "Creator": metadata.generator or "",
        "Producer": f"WeasyPrint {_version()}",
    }
    if variant == "a-3a":  # the newer format has the packet only
        pdf.info.update({key: pydyf.String(value) for key, value in info.items()})
        if source.manifest.as_of:
            stamp = pydyf.String(f"{_stamp(source.manifest.as_of)}Z")
            pdf.info.update({"CreationDate": stamp, "ModDate": stamp})
    content = packet(report, source, info, variant)
    described = pydyf.Stream([content], {"Type": "/Metadata", "Subtype": "/XML"}, compress=False)
    pdf.add_object(described)
    intent = pydyf.Dictionary(
        {
            "Type": "/OutputIntent",
            "S": "/GTS_PDFA1",
            "OutputConditionIdentifier": pydyf.String("sRGB2014"),
            "Info": pydyf.String("sRGB2014"),
            "DestOutputProfile": press.profile.pdf_reference,
        }
    )
    pdf.catalog.update(
        {
            "Metadata": described.reference,
            "Lang": pydyf.String(metadata.lang or "en"),
            "PageMode": "/UseOutlines",
            "ViewerPreferences": pydyf.Dictionary({"DisplayDocTitle": "true"}),
            "OutputIntents": pydyf.Array([intent]),
        }
    )
    _attach(pdf, source.files)


def _attach(pdf: Any, files: Sequence[Attached]) -> None:
    import pydyf

    names, associated = pydyf.Array(), pydyf.Array()
    for file in files:
        stamp = pydyf.String(f"{_stamp(file.day)}Z")
        check = md5(file.data, usedforsecurity=False).hexdigest()
        params = {"CheckSum": f"<{check}>", "Size": len(file.data), "CreationDate": stamp, "ModDate": stamp}
        extra = {
            "Type": "/EmbeddedFile",
            "Subtype": "/" + file.media_type.replace("/", "#2f"),
            "Params": pydyf.Dictionary(params),
        }
        content = pydyf.Stream([file.data], pydyf.Dictionary(extra), compress=True)
        pdf.add_object(content)
        embedded = pydyf.Dictionary({"F": content.reference, "UF": content.reference})
        entry = {
            "Type": "/Filespec",
            "F": pydyf.String(file.name),
            "UF": pydyf.String(file.name),
            "EF": embedded,
            "Desc": pydyf.String(file.description),
            "AFRelationship": f"/{file.relationship}",
        }
        spec = pydyf.Dictionary(entry)
        pdf.add_object(spec)
        names.extend((pydyf.String(file.name), spec.reference))
        associated.append(spec.reference)
    pdf.catalog["AF"] = associated
    pdf.catalog.setdefault("Names", pydyf.Dictionary())["EmbeddedFiles"] = pydyf.Dictionary({"Names": names})


def _stamp(day: str) -> str:
    return f"D:{date.fromisoformat(day):%Y%m%d}000000"


def _version() -> str:
    from weasyprint import VERSION

    return str(VERSION)
