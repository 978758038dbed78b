"""Draws the report of a bundle again, in memory, and says where the file that is there differs."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from audit.bundle import Bundle, printable
from audit.core.errors import AuditError, BundleError
from audit.core.integrity import PDF
from audit.core.manifest import RENDERED, Manifest
from audit.report import drawn
from audit.report.drawing import here, then

MOVING = re.compile(r"AR-[0-9A-F]{10}|\b[0-9a-f]{64}\b")
"""Ids and digests, which differ in many places wherever anything does."""

SHOWN = 60
"""Characters of a difference that are quoted."""


@dataclass(frozen=True)
class Redrawn:
    """What became of one file: the same, other, or not drawn again.

    Attributes:
        other: where and how it differs; empty where it is the same.
        why_not: why it was not drawn again; empty where it was.
    """

    name: str
    other: str = ""
    why_not: str = ""


def redraw(bundle: Bundle, *, pdf: bool = True) -> Iterator[Redrawn]:
    """Every drawn file that the manifest records and that is there, compared with what the bundle draws now."""
    manifest = bundle.manifest()
    for name in RENDERED:
        if name in manifest.files and bundle.has(name) and (pdf or name != PDF):
            yield _one(bundle, manifest, name)


def _one(bundle: Bundle, manifest: Manifest, name: str) -> Redrawn:
    try:
        moved = _moved(manifest, name)
    except AuditError as error:
        moved = error.problems[0]
    if moved:
        return Redrawn(name, why_not=moved)
    found = bundle.read(name)
    if name == PDF and manifest.signed is not None and manifest.signed.unsigned_bytes is not None:
        found = found[: manifest.signed.unsigned_bytes]
    try:
        ours = drawn(bundle, name)
    except BundleError as error:
        return Redrawn(name, other=f"the bundle cannot be drawn: {error.problems[0]}")
    except AuditError as error:
        return Redrawn(name, why_not=error.problems[0])
    except Exception as error:  # noqa: BLE001 - the bundle may hold anything: what cannot be drawn was not drawn by us
        return Redrawn(name, other=f"the bundle cannot be drawn ({type(error).__name__}: {error})")
    if found == ours:
        return Redrawn(name)
    place = pdf_difference(found, ours) if name == PDF else _text_difference(found, ours)
    return Redrawn(name, other=f"is not what the bundle draws: {place}")


def _moved(manifest: Manifest, name: str) -> str:
    """With what a file was drawn that is other here; empty where nothing is.

    Raises:
        AuditError: the PDF cannot be made on this machine.
    """
    ours = here(name)
    moved = [
        f"{what} {printable(version)} (here {ours.get(what, 'none')})"
        for what, version in then(manifest, name).items()
        if ours.get(what) != version
    ]
    return f"it was drawn with {', '.join(moved)}" if moved else ""


def _text_difference(found: bytes, ours: bytes) -> str:
    """The first place at which two texts differ, ids apart where the rest differs too."""
    here, there = found.decode("utf-8", "replace"), ours.decode("utf-8")
    here, there = (text.replace("<wbr>", "") for text in (here, there))
    masked = [MOVING.sub(lambda match: "·" * len(match[0]), text) for text in (here, there)]
    if masked[0] == masked[1]:
        return "it bears another id or digest, and is the same else"
    here, there = masked
    at = _first(here, there)
    line = there.count("\n", 0, at) + 1
    return f"line {line}: {_quote(here, at)} here, {_quote(there, at)} drawn"


def _first(one: str, other: str) -> int:
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _quote(text: str, at: int) -> str:
    """What stands at a place, up to the tags around it."""
    start = max(text.rfind(mark, 0, at) for mark in '>\n"') + 1
    ends = [end for mark in '<\n"' if (end := text.find(mark, at)) >= 0]
    piece = text[max(start, at - SHOWN) : min([*ends, at + SHOWN])]
    return repr(piece) if piece else "nothing"


def pdf_difference(found: bytes, ours: bytes) -> str:
    """How one PDF differs from another: appended bytes, pages, attached files, or the first byte."""
    if found.startswith(ours):
        return f"{len(found) - len(ours):,} bytes were appended (an incremental update)"
    try:
        from pyhanko.pdf_utils.reader import PdfFileReader

        here, there = PdfFileReader(BytesIO(found)), PdfFileReader(BytesIO(ours))
        said = [*_page_differences(_pages(here), _pages(there)), *_file_differences(_files(here), _files(there))]
    except Exception:  # noqa: BLE001 - the file is foreign, or there is no reader: the place of the byte will do
        said = []
    at = next((i for i, (a, b) in enumerate(zip(found, ours, strict=False)) if a != b), min(len(found), len(ours)))
    return "; ".join(said) or f"byte {at:,} of {len(ours):,}"


def _page_differences(here: list[bytes], there: list[bytes]) -> Iterator[str]:
    if len(here) != len(there):
        first = next((i for i, (a, b) in enumerate(zip(here, there, strict=False), 1) if a != b), len(here) + 1)
        yield f"{len(here)} pages, not {len(there)}, other from page {first} on"
        return
    changed = [str(i) for i, (a, b) in enumerate(zip(here, there, strict=True), 1) if a != b]
    if changed:
        more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
        yield f"page {', '.join(changed[:5])}{more} is another"


def _file_differences(here: dict[str, bytes], there: dict[str, bytes]) -> Iterator[str]:
    for name in sorted({*here, *there}):
        if here.get(name) != there.get(name):
            what = "is missing" if name not in here else "was added" if name not in there else "was replaced"
            yield f"the attached file {name} {what}"


def _pages(reader: Any) -> list[bytes]:
    """The drawing instructions of every page, in order."""
    pages, queue = [], [reader.root["/Pages"]]
    while queue:
        node = queue.pop(0)
        if "/Kids" in node:
            queue = [kid.get_object() for kid in node["/Kids"]] + queue
        else:
            contents = node["/Contents"]
            streams = [part.get_object() for part in contents] if isinstance(contents, list) else [contents]
            pages.append(b"\n".join(stream.data for stream in streams))
    return pages


def _files(reader: Any) -> dict[str, bytes]:
    """The attached files by name."""
    found = [item.get_object() for item in reader.root.get("/AF", ())]
    return {str(item["/F"]): bytes(item["/EF"]["/F"].data) for item in found}
