"""Logos: PNG and SVG of strangers, written anew from what is known to be harmless, or refused."""

import base64
import re
import struct
import zlib
from dataclasses import dataclass
from html import escape
from math import inf
from xml.parsers import expat

PNG = b"\x89PNG\r\n\x1a\n"
WIDEST = 2000
LARGEST = 256 * 1024
KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
HEIGHT = 56
"""Pixels of a logo on the page."""

_ELEMENTS = """
svg g path rect circle ellipse line polyline polygon title desc defs linearGradient radialGradient stop clipPath
"""
_ATTRIBUTES = """
viewBox width height x y x1 y1 x2 y2 cx cy r rx ry fx fy d points transform fill stroke stroke-width stroke-linecap
stroke-linejoin stroke-miterlimit stroke-dasharray stroke-dashoffset fill-rule clip-rule fill-opacity stroke-opacity
opacity offset stop-color stop-opacity gradientUnits gradientTransform spreadMethod clip-path clipPathUnits id version
color preserveAspectRatio
"""
ELEMENTS, ATTRIBUTES = frozenset(_ELEMENTS.split()), frozenset(_ATTRIBUTES.split())
NAMESPACE = "http://www.w3.org/2000/svg"
MOST = 5000
DEEPEST = 50
"""Elements of an SVG inside one another; who draws it calls itself for each."""

VALUE = re.compile(r"[A-Za-z0-9 #.,%()+\-\n\t]*")
LOCAL = re.compile(r"url\(#([A-Za-z][\w-]*)\)")


class WrongLogoError(ValueError):
    """A picture that is not shown; `line` is where, for SVG."""

    def __init__(self, text: str, line: int = 1) -> None:
        super().__init__(text)
        self.line = line


@dataclass(frozen=True)
class Logo:
    """A picture as HTML, with its words."""

    markup: str


def logo(name: str, data: bytes, alt: str) -> Logo:
    """The picture as an element of HTML.

    Raises:
        WrongLogoError: it is no PNG or SVG, or holds what could do more than be seen.
    """
    if len(data) > LARGEST:
        raise WrongLogoError(f"has {len(data)} bytes; a logo has at most {LARGEST}")
    if name.lower().endswith(".png"):
        width, height, clean = _png(data)
        shown = base64.b64encode(clean).decode("ascii")
        size = _size(width, height)
        return Logo(f'<img src="data:image/png;base64,{shown}" alt="{escape(alt)}" {size}>')
    if name.lower().endswith(".svg"):
        return Logo(_svg(data, alt))
    raise WrongLogoError("is neither .png nor .svg")


def _size(width: float, height: float) -> str:
    return f'width="{max(1, round(min(HEIGHT * width / height, 6 * HEIGHT)))}" height="{HEIGHT}"'


def _png(data: bytes) -> tuple[int, int, bytes]:
    """Width, height and the picture without all that is not the picture."""
    if not data.startswith(PNG):
        raise WrongLogoError("is no PNG")
    chunks, at = [], len(PNG)
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        if data[at + 8 + length : at + 12 + length] != struct.pack(">I", zlib.crc32(kind + body)):
            raise WrongLogoError("is a damaged PNG")
        if kind in KEPT:
            chunks.append((kind, body))
        at += 12 + length
    kinds = [kind for kind, _ in chunks]
    if (
        not chunks
        or kinds[0] != b"IHDR"
        or kinds[-1] != b"IEND"
        or kinds.count(b"IHDR") != 1
        or len(chunks[0][1]) != 13
    ):
        raise WrongLogoError("is a damaged PNG")
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    if not (0 < width <= WIDEST and 0 < height <= WIDEST) or colour not in CHANNELS or interlaced:
        raise WrongLogoError(
            f"is {width} by {height} pixels, or interlaced; allowed: up to {WIDEST} by {WIDEST}, plain"
        )
    expected = height * (1 + (width * depth * CHANNELS[colour] + 7) // 8)
    _inflate(b"".join(body for kind, body in chunks if kind == b"IDAT"), expected)
    return width, height, PNG + b"".join(_chunk(kind, body) for kind, body in chunks)


def _inflate(packed: bytes, expected: int) -> None:
    """Refuses picture data that are not as long as the picture is large, without unpacking more than that."""
    reader = zlib.decompressobj()
    try:
        size = len(reader.decompress(packed, expected + 1))
    except zlib.error as error:
        raise WrongLogoError("is a damaged PNG") from error
    if size != expected or not reader.eof:
        raise WrongLogoError("is a PNG whose data do not fit its size")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _svg(data: bytes, alt: str) -> str:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise WrongLogoError("is not UTF-8 text") from error
    reader = _Svg(alt)
    reader.read(data)
    return "".join(reader.parts)


class _Svg:
    """Reads an SVG and writes it anew."""

    def __init__(self, alt: str) -> None:
        self.parser = expat.ParserCreate("utf-8", namespace_separator=" ")
        self.alt = alt
        self.parts: list[str] = []
        self.silent = 0
        self.count = 0
        self.depth = 0
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.StartDoctypeDeclHandler = lambda *_: self.wrong("a DOCTYPE, which can define entities")
        self.parser.EntityDeclHandler = lambda *_: self.wrong("an entity")
        self.parser.ProcessingInstructionHandler = lambda *_: self.wrong("<?...?>")

    def wrong(self, what: str) -> None:
        raise WrongLogoError(f"{what} is not allowed in a logo", self.parser.CurrentLineNumber)

    def read(self, data: bytes) -> None:
        try:
            self.parser.Parse(data, True)
        except expat.ExpatError as error:
            raise WrongLogoError(f"is no XML: {expat.errors.messages[error.code]}", error.lineno) from error

    def start(self, full: str, attributes: dict[str, str]) -> None:
        space, _, name = full.rpartition(" ")
        self.count += 1
        self.depth += 1
        if self.count > MOST:
            self.wrong(f"more than {MOST} elements")
        if self.depth > DEEPEST:
            self.wrong(f"an element inside {DEEPEST} others")
        if space != NAMESPACE or name not in ELEMENTS:
            self.wrong(f"<{name}>")
        if (self.count == 1) != (name == "svg"):
            self.wrong(f"<{name}> as the outermost element" if self.count == 1 else "<svg> inside <svg>")
        if self.silent or name in {"title", "desc"}:
            self.silent += 1
            return
        kept = {key: self.value(name, key, value) for key, value in attributes.items()}
        if name.endswith("Gradient") and kept.get("gradientUnits") != "userSpaceOnUse":
            self.wrong(f'<{name}> without gradientUnits="userSpaceOnUse", which paper does not show,')
        if name == "svg":
            self.parts.append(self.outermost(kept))
            return
        self.parts.append(f"<{name}{_written(kept, sorted(kept))}>")

    def outermost(self, kept: dict[str, str]) -> str:
        box = [float(part) for part in re.findall(r"-?\d+(?:\.\d+)?", kept.get("viewBox", ""))]
        if len(box) != 4 or not all(0 < side < inf for side in box[2:]):
            self.wrong("an <svg> without a viewBox of four numbers")
        inherited = _written(kept, [key for key in sorted(kept) if key.startswith(("fill", "stroke", "viewBox"))])
        size = _size(box[2], box[3])
        head = f'<svg xmlns="{NAMESPACE}" role="img" aria-labelledby="logo-title"{inherited} {size}>'
        return f'{head}<title id="logo-title">{escape(self.alt)}</title>'

    def value(self, name: str, key: str, value: str) -> str:
        if " " in key or key not in ATTRIBUTES:
            self.wrong(f"{key.rpartition(' ')[2]}= on <{name}>")
        local = LOCAL.fullmatch(value.strip())
        if local:
            return f"url(#logo-{local.group(1)})"
        if "url" in value.lower() or not VALUE.fullmatch(value):
            self.wrong(f"{key}={value[:40]!r} on <{name}>")
        return f"logo-{value}" if key == "id" else value

    def end(self, full: str) -> None:
        self.depth -= 1
        if self.silent:
            self.silent -= 1
        else:
            self.parts.append(f"</{full.rpartition(' ')[2]}>")


def _written(attributes: dict[str, str], keys: list[str]) -> str:
    return "".join(f' {key}="{escape(attributes[key])}"' for key in keys)
