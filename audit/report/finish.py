"""The last touch to a PDF before its trailer is written: archivable (PDF/A-3a) and accessible (PDF/UA-1) at once.

WeasyPrint writes the one or the other; both need one XMP packet that names both, scopes on the heads of tables, and
a description of each link. What it attaches is typed here, since WeasyPrint asks the machine for the types.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from typing import Any
from xml.sax.saxutils import escape

from audit.report.blocks import Report
from audit.report.source import Source

EPOCH = "1980-01-01"
"""The date of attached files where the audit states none: the format wants one, and the clock is no input."""

_XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:pdfaid="http://www.aiim.org/pdfa/ns/id/"><pdfaid:part>3</pdfaid:part>
<pdfaid:conformance>A</pdfaid:conformance></rdf:Description>
<rdf:Description rdf:about="" xmlns:pdfuaid="http://www.aiim.org/pdfua/ns/id/">
<pdfuaid:part>1</pdfuaid:part></rdf:Description>
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:format>application/pdf</dc:format>
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">{title}</rdf:li></rdf:Alt></dc:title>
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{subject}</rdf:li></rdf:Alt></dc:description>
<dc:language><rdf:Bag><rdf:li>en</rdf:li></rdf:Bag></dc:language></rdf:Description>
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/">
<xmp:CreatorTool>{creator}</xmp:CreatorTool>{dates}</rdf:Description>
<rdf:Description rdf:about="" xmlns:pdf="http://ns.adobe.com/pdf/1.3/">
<pdf:Producer>{producer}</pdf:Producer></rdf:Description>
<rdf:Description rdf:about="" xmlns:pdfaExtension="http://www.aiim.org/pdfa/ns/extension/"
 xmlns:pdfaSchema="http://www.aiim.org/pdfa/ns/schema#" xmlns:pdfaProperty="http://www.aiim.org/pdfa/ns/property#">
<pdfaExtension:schemas><rdf:Bag><rdf:li rdf:parseType="Resource">
<pdfaSchema:schema>PDF/UA identification schema</pdfaSchema:schema>
<pdfaSchema:namespaceURI>http://www.aiim.org/pdfua/ns/id/</pdfaSchema:namespaceURI>
<pdfaSchema:prefix>pdfuaid</pdfaSchema:prefix>
<pdfaSchema:property><rdf:Seq><rdf:li rdf:parseType="Resource"><pdfaProperty:name>part</pdfaProperty:name>
<pdfaProperty:valueType>Integer</pdfaProperty:valueType><pdfaProperty:category>internal</pdfaProperty:category>
<pdfaProperty:description>Part of ISO 14289 that the file follows</pdfaProperty:description>
</rdf:li></rdf:Seq></pdfaSchema:property>
</rdf:li></rdf:Bag></pdfaExtension:schemas></rdf:Description>
</rdf:RDF></x:xmpmeta>
<?xpacket end="r"?>"""


@dataclass(frozen=True)
class Attached:
    """A file inside the PDF."""

    name: str
    data: bytes
    media_type: str
    relationship: str
    description: str
    day: str

    def attachment(self, make: Any) -> Any:
        """The file as WeasyPrint takes it; dates are given, or it would ask the clock."""
        day = datetime.fromisoformat(self.day)
        return make(
            file_obj=BytesIO(self.data),
            name=self.name,
            description=self.description,
            relationship=self.relationship,
            created=day,
            modified=day,
        )


def attached(source: Source) -> list[Attached]:
    """The spec and the results, so that the PDF alone holds what it reports; sorted by name, as a name tree must be."""
    manifest = source.manifest
    day = manifest.as_of or EPOCH
    results = (source.bundle.root / "results.json").read_bytes()
    files = [
        Attached("results.json", results, "application/json", "Data", "Every metric and finding of this report", day),
        Attached(
            "spec.yaml", manifest.spec.encode("utf-8"), "application/yaml", "Source", "The spec of this audit", day
        ),
    ]
    return sorted(files, key=lambda file: file.name)


@dataclass(frozen=True)
class Finisher:
    """Called by WeasyPrint with the document and the PDF, after everything else is in it."""

    report: Report
    as_of: str | None
    files: Sequence[Attached]

    def __call__(self, document: Any, pdf: Any) -> None:
        """Changes the PDF in place."""
        import pydyf

        packet = pydyf.Stream([self._metadata(pdf)], {"Type": "/Metadata", "Subtype": "/XML"}, compress=False)
        pdf.add_object(packet)
        pdf.catalog["Metadata"] = packet.reference
        pdf.catalog["PageMode"] = "/UseOutlines"
        if "AF" in pdf.catalog:
            pdf.catalog["AF"] = pydyf.Array(dict.fromkeys(pdf.catalog["AF"]))
        self._type_files(pdf)
        _describe_tables(document, pdf)
        _describe_links(document)

    def _metadata(self, pdf: Any) -> bytes:
        from weasyprint import VERSION

        stamp = f"{self.as_of}T00:00:00Z" if self.as_of else ""
        dates = f"<xmp:CreateDate>{stamp}</xmp:CreateDate><xmp:ModifyDate>{stamp}</xmp:ModifyDate>" if stamp else ""
        info = {key: getattr(pdf.info.get(key), "string", "") or "" for key in ("Title", "Subject", "Creator")}
        return _XMP.format(
            title=escape(info["Title"]),
            subject=escape(info["Subject"]),
            creator=escape(info["Creator"]),
            dates=dates,
            producer=f"WeasyPrint {VERSION}",
        ).encode("utf-8")

    def _type_files(self, pdf: Any) -> None:
        types = {file.name: file.media_type.replace("/", "#2f") for file in self.files}
        for item in pdf.objects:
            if isinstance(item, dict) and item.get("Type") == "/Filespec":
                number = int(_text(item["EF"]["F"]).split()[0])
                pdf.objects[number].extra["Subtype"] = f"/{types[_text(item['F'].string)]}"


def _text(value: Any) -> str:
    return value.decode("ascii") if isinstance(value, bytes) else str(value)


def _boxes(document: Any) -> Iterator[Any]:
    queue = [page._page_box for page in document.pages]  # noqa: SLF001 - the tree has no public door
    while queue:
        box = queue.pop()
        yield box
        queue.extend(getattr(box, "children", ()))


def _describe_tables(document: Any, pdf: Any) -> None:
    """Gives each head of a table the direction that its HTML says."""
    for box in _boxes(document):
        mark = getattr(box, "mark", None)
        if box.element is not None and box.element_tag == "th" and isinstance(mark, dict) and "A" in mark:
            scope = box.element.get("scope")
            mark["A"]["Scope"] = "/Column" if scope == "col" else "/Row"


def _describe_links(document: Any) -> None:
    """Says where a link leads in its own words, not by its anchor."""
    import pydyf

    for box in _boxes(document):
        link = getattr(box, "link_annotation", None)
        if link and box.element is not None:
            said = box.element.get("aria-label") or " ".join("".join(box.element.itertext()).split())
            if said:
                link["Contents"] = pydyf.String(said)
