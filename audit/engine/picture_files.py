"""Picture files and files of arrays, opened so that a broken or a hostile one is a ValueError and no burden."""

import io
import struct
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
"""What is decoded, whatever a file is called; among the others is one that starts a program of its own, for EPS."""

LARGEST_ARRAY = 8 * 2**30
"""Bytes of pictures or label maps in an .npz that are read into memory."""

UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    TypeError,
    KeyError,
    EOFError,
    MemoryError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
)
"""What Pillow and NumPy raise for files that are no picture or array, or not a whole one."""


def why(error: BaseException) -> str:
    """One of them in a line."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def opened(content: bytes, formats: tuple[str, ...] = FORMATS) -> Any:
    """The picture in a file, not yet decoded; a warning about its size is left to who knows how large it may be.

    Raises:
        ValueError: it has too many pixels.
    """
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            return Image.open(io.BytesIO(content), formats=formats)
        except Image.DecompressionBombError as error:
            raise ValueError("has too many pixels") from error


def arrays(path: Path, *names: str) -> list[NDArray[Any] | None]:
    """Arrays of an .npz, None for a name that it does not hold.

    Raises:
        ValueError: it is no .npz, is damaged, or unpacks to more than is read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > LARGEST_ARRAY:
                raise ValueError(
                    f"it unpacks to more than {LARGEST_ARRAY // 2**30} GiB; give a folder of files instead"
                )
        with np.load(path, allow_pickle=False) as found:
            return [np.asarray(found[name]) if name in found else None for name in names]
    except UNREADABLE as error:
        raise ValueError(why(error)) from error
