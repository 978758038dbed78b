"""The description of a PDF inside the PDF (XMP): what it follows, which report it is, and the digests it rests on."""

from collections.abc import Iterator
from typing import Any, Literal
from xml.sax import saxutils

from audit.core.base import sha256
from audit.report.blocks import Report
from audit.report.source import Source
from audit.report.text import visible

Variant = Literal["a-3a", "a-4f"]
"""PDF/A-3a with PDF/UA-1, or PDF/A-4f with PDF/UA-2."""

NAMESPACE = "urn:auditspec:report:1:"
"""Of our own properties."""

PROPERTIES = {
    "reportId": "Id of the report, from the digest of its payload",
    "opinion": "Opinion of the auditor in one word, or none",
    "payload": "SHA-256 of all that the report was made from",
    "spec": "SHA-256 of the spec",
    "model": "SHA-256 of the files of the model",
    "data": "SHA-256 of the files of data",
}
"""Our properties and what each means."""

_HEAD = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
"""
_FOLLOWS = {
    "a-3a": (
        "<pdfaid:part>3</pdfaid:part><pdfaid:conformance>A</pdfaid:conformance>",
        "<pdfuaid:part>1</pdfuaid:part>",
    ),
    "a-4f": (
        "<pdfaid:part>4</pdfaid:part><pdfaid:rev>2020</pdfaid:rev><pdfaid:conformance>F</pdfaid:conformance>",
        "<pdfuaid:part>2</pdfuaid:part><pdfuaid:rev>2024</pdfuaid:rev>",
    ),
}
_BODY = """<rdf:Description rdf:about="" xmlns:pdfaid="http://www.aiim.org/pdfa/ns/id/">{archive}</rdf:Description>
<rdf:Description rdf:about="" xmlns:pdfuaid="http://www.aiim.org/pdfua/ns/id/">{access}</rdf:Description>
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:format>application/pdf</dc:format>
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">{title}</rdf:li></rdf:Alt></dc:title>
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{subject}</rdf:li></rdf:Alt></dc:description>
<dc:language><rdf:Bag><rdf:li>en</rdf:li></rdf:Bag></dc:language></rdf:Description>
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/">
<xmp:CreatorTool>{creator}</xmp:CreatorTool>{dates}</rdf:Description>
<rdf:Description rdf:about="" xmlns:pdf="http://ns.adobe.com/pdf/1.3/">
<pdf:Producer>{producer}</pdf:Producer></rdf:Description>
<rdf:Description rdf:about="" xmlns:audit="{namespace}">{ours}</rdf:Description>
"""
_EXTENSIONS = """<rdf:Description rdf:about="" xmlns:pdfaExtension="http://www.aiim.org/pdfa/ns/extension/"
 xmlns:pdfaSchema="http://www.aiim.org/pdfa/ns/schema#" xmlns:pdfaProperty="http://www.aiim.org/pdfa/ns/property#">
<pdfaExtension:schemas><rdf:Bag>{schemas}</rdf:Bag></pdfaExtension:schemas></rdf:Description>
"""
_SCHEMA = """<rdf:li rdf:parseType="Resource"><pdfaSchema:schema>{title}</pdfaSchema:schema>
<pdfaSchema:namespaceURI>{uri}</pdfaSchema:namespaceURI><pdfaSchema:prefix>{prefix}</pdfaSchema:prefix>
<pdfaSchema:property><rdf:Seq>{properties}</rdf:Seq></pdfaSchema:property></rdf:li>
"""
_PROPERTY = """<rdf:li rdf:parseType="Resource"><pdfaProperty:name>{name}</pdfaProperty:name>
<pdfaProperty:valueType>{kind}</pdfaProperty:valueType><pdfaProperty:category>{category}</pdfaProperty:category>
<pdfaProperty:description>{means}</pdfaProperty:description></rdf:li>
"""
_END = """</rdf:RDF></x:xmpmeta>
<?xpacket end="r"?>"""


def packet(report: Report, source: Source, info: dict[str, str], variant: Variant) -> bytes:
    """The whole packet.

    Args:
        info: Title, Subject, Creator and Producer of the file.
    """
    archive, access = _FOLLOWS[variant]
    as_of = source.manifest.as_of
    stamp = f"{as_of}T00:00:00Z" if as_of else ""
    ours = "".join(f"<audit:{name}>{_value(given)}</audit:{name}>" for name, given in _ours(report, source).items())
    body = _BODY.format(
        archive=archive,
        access=access,
        title=escape(info.get("Title", "")),
        subject=escape(info.get("Subject", "")),
        creator=escape(info.get("Creator", "")),
        producer=escape(info.get("Producer", "")),
        dates=f"<xmp:CreateDate>{stamp}</xmp:CreateDate><xmp:ModifyDate>{stamp}</xmp:ModifyDate>" if stamp else "",
        namespace=NAMESPACE,
        ours=ours,
    )
    # Part 4 of the standard has dropped the declaration of schemas.
    declared = _EXTENSIONS.format(schemas="".join(_schemas())) if variant == "a-3a" else ""
    return (_HEAD + body + declared + _END).encode("utf-8")


def _ours(report: Report, source: Source) -> dict[str, str | list[str]]:
    """The values of our properties: words and digests, a list where there may be several."""
    manifest = source.manifest
    stated = source.facts("opinion", "status") == "issued"
    inputs = [(record.role, f"{record.name} {record.sha256}") for record in manifest.inputs]
    return {
        "reportId": report.id,
        "opinion": str(source.facts("opinion", "word")) if stated else "none",
        "payload": report.payload,
        "spec": sha256(manifest.spec.encode("utf-8")),
        "model": [told for role, told in inputs if role.startswith("model")],
        "data": [told for role, told in inputs if not role.startswith("model")],
    }


def escape(text: str) -> str:
    """Text for the packet, which is not compressed: what ends an object of the file must not stand in it."""
    return saxutils.escape(visible(text), {"endstream": "&#101;ndstream", "endobj": "&#101;ndobj"})


def _value(given: str | list[str]) -> str:
    if isinstance(given, str):
        return escape(given)
    return "<rdf:Bag>" + "".join(f"<rdf:li>{escape(item)}</rdf:li>" for item in given) + "</rdf:Bag>"


def _schemas() -> Iterator[str]:
    """The declarations of the properties that the standard does not know."""
    part = _property("part", "Integer", "internal", "Part of ISO 14289 that the file follows")
    yield _SCHEMA.format(
        title="PDF/UA identification schema",
        uri="http://www.aiim.org/pdfua/ns/id/",
        prefix="pdfuaid",
        properties=part,
    )
    ours = "".join(
        _property(name, "bag Text" if name in {"model", "data"} else "Text", "external", means)
        for name, means in PROPERTIES.items()
    )
    yield _SCHEMA.format(title="Model audit report", uri=NAMESPACE, prefix="audit", properties=ours)


def _property(name: str, kind: str, category: str, means: str) -> str:
    filled: dict[str, Any] = {"name": name, "kind": kind, "category": category, "means": means}
    return _PROPERTY.format(**filled)
