"""Looks for words in every byte of a folder, also inside PDFs, their attached files, Parquet and compressed streams."""

import base64
import re
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path

import pyarrow.parquet as pq

STREAM = re.compile(rb"stream\r?\n(.*?)\r?\nendstream", re.DOTALL)


def pieces(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """The bytes of a file, and what is packed in them, each with its place."""
    yield name, data
    if data[:4] == b"PAR1":
        frame = pq.read_table(BytesIO(data)).to_pandas()
        cells = " ".join(repr(value) if isinstance(value, float) else str(value) for value in frame.to_numpy().ravel())
        yield f"{name}: cells", (" ".join(map(str, frame.columns)) + " " + cells).encode()
    if data[:4] == b"%PDF":
        for number, found in enumerate(STREAM.finditer(data)):
            try:
                yield f"{name}: stream {number}", zlib.decompressobj().decompress(found[1])
            except zlib.error:
                continue
        yield f"{name}: text", _pdf_text(data)
    if name.endswith((".html", ".json")):
        for number, found in enumerate(re.finditer(rb"base64,([A-Za-z0-9+/=]+)", data)):
            yield f"{name}: data {number}", base64.b64decode(found[1])


def _pdf_text(data: bytes) -> bytes:
    """The words on the pages as a person would copy them, where this machine has the tool for it."""
    if shutil.which("pdftotext") is None:
        return b""
    with tempfile.NamedTemporaryFile(suffix=".pdf") as file:
        file.write(data)
        file.flush()
        done = subprocess.run(["pdftotext", file.name, "-"], capture_output=True, check=True)
    return done.stdout


def found_in(folder: Path, words: Iterable[str]) -> dict[str, list[str]]:
    """Which of the words stand where in a folder: in UTF-8, in UTF-16 and in hexadecimal digits."""
    wanted = list(dict.fromkeys(words))
    found: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        for place, data in pieces(path.relative_to(folder).as_posix(), path.read_bytes()):
            for word in wanted:
                spelt = (word.encode(), word.encode("utf-16-be"), word.encode().hex().encode())
                if any(form in data for form in spelt):
                    found.setdefault(word, []).append(place)
    return found
