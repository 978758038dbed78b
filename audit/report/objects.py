"""The objects of a PDF file, written as soon as they are final, so that a long report needs little memory.

pydyf keeps every object until the end and packs all of them into one stream. Here a finished object becomes bytes at
once: a content stream stands in the file, a small object waits in a packet of its kind, and a long list of numbers is
all that remains. The interface is the part of `pydyf.PDF` that WeasyPrint asks for.
"""

import hashlib
import zlib
from array import array
from typing import Any

PACKET = 400
"""Small objects in one compressed packet: a reader opens a page without unpacking the whole file."""

LEVEL = 6
"""Of compression: level 9 takes twice the time and saves two per cent."""


class Objects:
    """A PDF that is being written.

    Attributes:
        objects: those that are not written yet by their number; None where they are.
        info: the dictionary of the document, or empty where the version has none.
    """

    def __init__(self, version: str) -> None:
        import pydyf

        self.objects: list[Any] = []
        self._made = pydyf
        self._file = bytearray(b"%PDF-" + version.encode("ascii") + b"\n%\xf0\x9f\x96\xa4\n")
        self._kinds, self._places, self._order = array("B"), array("Q"), array("L")
        self._packet: list[tuple[int, bytes]] = []
        self._digest = hashlib.md5(usedforsecurity=False)
        self._start = 1  # everything below is written
        self.info = pydyf.Dictionary()
        zero = pydyf.Object()
        zero.free = "f"
        self.add_object(zero)
        self.objects[0] = None
        self.pages = pydyf.Dictionary({"Type": "/Pages"})
        self.add_object(self.pages)
        self.catalog = pydyf.Dictionary({"Type": "/Catalog", "Pages": self.pages.reference})
        self.add_object(self.catalog)

    def add_object(self, item: Any) -> None:
        """Gives the object its number."""
        item.number = len(self.objects)
        self.objects.append(item)
        self._kinds.append(0)
        self._places.append(0)
        self._order.append(0)

    def flush(self, kept: set[int]) -> None:
        """Writes all objects but those whose numbers are kept; none of the written ones may change any more."""
        for number in range(self._start, len(self.objects)):
            item = self.objects[number]
            if item is not None and number not in kept:
                self._write(number, item)
                self.objects[number] = None
        while self._start < len(self.objects) and self.objects[self._start] is None:
            self._start += 1

    def finish(self, identifier: bytes) -> bytes:
        """The whole file."""
        if self.info:
            self.add_object(self.info)
        self.flush(set())
        self._pack()
        size = len(self.objects) + 1
        self._kinds.append(1)
        self._places.append(len(self._file))
        self._order.append(0)
        widths = (1, max(1, (len(self._file).bit_length() + 7) // 8), 2)
        table = b"".join(
            kind.to_bytes(widths[0], "big") + place.to_bytes(widths[1], "big") + order.to_bytes(widths[2], "big")
            for kind, place, order in zip(self._kinds, self._places, self._order, strict=True)
        )
        digest = self._digest.hexdigest().encode("ascii")
        extra = self._made.Dictionary(
            {
                "Type": "/XRef",
                "W": self._made.Array(widths),
                "Size": size,
                "Root": self.catalog.reference,
                "ID": self._made.Array((self._made.String(identifier).data, self._made.String(digest).data)),
            }
        )
        if self.info:
            extra["Info"] = self.info.reference
        start = len(self._file)
        self._stream(size - 1, extra, table, compress=True)
        self._file += b"startxref\n%d\n%%%%EOF\n" % start
        return bytes(self._file)

    def _write(self, number: int, item: Any) -> None:
        if isinstance(item, self._made.Stream):
            self._kinds[number], self._places[number] = 1, len(self._file)
            content = b"\n".join(_bytes(part) for part in item.stream)
            self._stream(number, self._made.Dictionary(item.extra), content, compress=item.compress)
        else:
            data = item.data
            self._digest.update(data)
            self._packet.append((number, data))
            if len(self._packet) >= PACKET:
                self._pack()

    def _stream(self, number: int, extra: Any, content: bytes, *, compress: bool) -> None:
        if compress:
            extra["Filter"] = "/FlateDecode"
            content = zlib.compress(content, LEVEL)
        extra["Length"] = len(content)
        self._digest.update(content)
        head = b"%d 0 obj\n" % number + extra.data
        self._file += head + b"\nstream\n" + content + b"\nendstream\nendobj\n"

    def _pack(self) -> None:
        """Writes the waiting small objects as one packet."""
        if not self._packet:
            return
        packet, self._packet = self._packet, []
        holder = self._made.Stream()
        self.add_object(holder)
        self.objects[-1] = None
        position, places = 0, []
        for order, (number, data) in enumerate(packet):
            self._kinds[number], self._places[number], self._order[number] = 2, holder.number, order
            places.append(b"%d %d" % (number, position))
            position += len(data) + 1
        index = b" ".join(places) + b"\n"
        self._kinds[holder.number], self._places[holder.number] = 1, len(self._file)
        extra = self._made.Dictionary({"Type": "/ObjStm", "N": len(packet), "First": len(index)})
        self._stream(holder.number, extra, index + b"\n".join(data for _, data in packet), compress=True)


def _bytes(part: Any) -> bytes:
    if isinstance(part, bytes):
        return part
    return part.encode("ascii") if isinstance(part, str) else bytes(part.data)
