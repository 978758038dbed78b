"""Pictures from folders, tables of paths and arrays: read by name, decoded when they are asked for."""

import hashlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import JsonValue

from audit.core.base import canonical_json, sha256
from audit.core.errors import DataError, SpecError
from audit.core.evidence import Note
from audit.core.images import Images, ImageSettings
from audit.core.manifest import InputRecord
from audit.core.model import Ints, Pixels
from audit.engine.files import Steps, existing, file_sha256, followed, parse_rows, said
from audit.engine.fitting import fitted
from audit.engine.part_masks import Listed, read_parts
from audit.engine.picture_files import UNREADABLE, arrays, opened, why
from audit.spec.load import Loaded

ID, LABEL = "image", "label"
"""The columns of a folder or an array: what names a picture, and its true class."""

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
SHOWN = 20
"""Files that a finding names; it always gives the count."""


@dataclass(frozen=True)
class Pictures:
    """The pictures of `data.<role>`.

    Attributes:
        frame: what is known of each, one row a picture.
        images: the pictures, in the order of the rows.
        masks: the record of their label maps, if they have any.
        notes: the files that were left out, if any.
    """

    frame: pd.DataFrame
    record: InputRecord
    images: Images
    notes: tuple[Note, ...]
    masks: InputRecord | None = None


@dataclass(frozen=True)
class _Found:
    """Pictures that may still turn out unreadable: rows, ids, and how to get at the bytes or pixels of each."""

    frame: pd.DataFrame
    ids: tuple[str, ...]
    digest: Callable[[int], str]
    open: Callable[[int], Any]


def read_images(loaded: Loaded, role: str, name: str, settings: ImageSettings) -> Pictures:
    """The pictures of `data.<role>`; those that cannot be read are left out and named in a note.

    Raises:
        SpecError: there is no such folder or file, or it lacks a column.
        DataError: it holds no picture that can be read.
    """
    steps: Steps = ("data", role)
    found, source = _found(loaded, steps, name, settings)
    good, broken = _looked_at(found, settings)
    if not good:
        text = f"{name} holds no picture that can be read"
        first = f" ({found.ids[broken[0][0]]}: {broken[0][1]})" if broken else f"; known kinds: {', '.join(SUFFIXES)}"
        raise DataError(said(loaded, steps, text + first))
    kept = np.array([one.position for one in good], dtype=np.int64)
    ids, digests = tuple(found.ids[i] for i in kept), tuple(one.digest for one in good)

    def read(rows: Ints) -> Pixels:
        return np.stack([_normalised(_prepared(found.open(int(kept[i])), settings), settings) for i in rows])

    def picture(row: int) -> NDArray[np.uint8]:
        pixels = _prepared(found.open(int(kept[row])), settings)
        return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels

    listed = Listed(name, ids, kept, [one.size for one in good], len(found.ids))
    parts = read_parts(loaded, settings, listed if role == "evaluate" else None)
    images = Images(ids, digests, read, picture, settings.batch, parts.named)
    digest = sha256(canonical_json([source, [list(pair) for pair in zip(ids, digests, strict=True)]]))
    record = InputRecord(role=role, name=name, sha256=digest, rows=len(ids))
    frame = found.frame.iloc[kept].reset_index(drop=True)
    return Pictures(frame, record, images, (*_notes(role, found, broken), *parts.notes), parts.record)


@dataclass(frozen=True)
class _Good:
    """A picture that can be read: its position, the digest of its bytes, and its width and height once turned."""

    position: int
    digest: str
    size: tuple[int, int]


def _looked_at(found: _Found, settings: ImageSettings) -> tuple[list[_Good], list[tuple[int, str]]]:
    """The pictures that can be read, and the positions of the others with the reason."""
    good: list[_Good] = []
    broken: list[tuple[int, str]] = []
    for i in range(len(found.ids)):
        try:
            whole = _turned(found.open(i), settings)
            fitted(whole, settings)
            good.append(_Good(i, found.digest(i), whole.size))
        except UNREADABLE as error:
            broken.append((i, why(error)))
    return good, broken


def _notes(role: str, found: _Found, broken: Sequence[tuple[int, str]]) -> tuple[Note, ...]:
    if not broken:
        return ()
    files = [f"{found.ids[i]} ({why})" for i, why in broken[:SHOWN]]
    args: dict[str, JsonValue] = {"role": role, "count": len(broken), "total": len(found.ids), "files": list(files)}
    return (Note(code="images_unreadable", severity="minor", args=args),)


def _found(loaded: Loaded, steps: Steps, name: str, settings: ImageSettings) -> tuple[_Found, str | None]:
    """The pictures that `name` stands for, and the digest of the file that lists them, where there is one."""
    path = followed(loaded, steps, name)
    if path.is_dir():
        if settings.column is not None:
            text = f"{name} is a folder, which gives the columns {ID} and {LABEL}; remove `data.images.column`"
            raise SpecError(said(loaded, ("data", "images", "column"), text))
        return _folder(path), None
    path = existing(loaded, steps, name)
    if path.suffix == ".npz":
        try:
            return _array(path), file_sha256(path)
        except ValueError as error:
            raise DataError(said(loaded, steps, f"{name} cannot be read: {why(error)}")) from error
    if settings.column is None:
        text = "name the column with the paths: `column: path`"
        raise SpecError(said(loaded, ("data", "images"), f"{name} is a table of rows, so {text}"))
    frame = parse_rows(loaded, steps, path, name)
    if settings.column not in frame.columns:
        text = f"{name} has no column {settings.column!r}; its columns are {', '.join(map(str, frame.columns[:12]))}"
        raise SpecError(said(loaded, ("data", "images", "column"), text))
    return _listed(path.parent, frame, settings.column), file_sha256(path)


def _folder(folder: Path) -> _Found:
    """One folder per class; the id of a picture is its path inside, the label the name of its folder.

    What is a link that leads out is not looked into: it stands there as one picture that cannot be read.
    """
    base = folder.resolve()
    classes = [inner for inner in sorted(folder.iterdir()) if inner.is_dir()]
    files = [inner for inner in classes if not inner.resolve().is_relative_to(base)]
    files = sorted(
        files
        + [
            file
            for inner in classes
            if inner not in files
            for file in inner.rglob("*")
            if file.suffix.lower() in SUFFIXES and file.is_file()
        ]
    )
    inside = [file if file.resolve().is_relative_to(base) else None for file in files]
    ids = tuple(file.relative_to(folder).as_posix() for file in files)
    frame = pd.DataFrame(
        {ID: pd.Series(ids, dtype=object), LABEL: pd.Series([i.split("/")[0] for i in ids], dtype=object)}
    )
    return _files(frame, ids, inside)


def _listed(folder: Path, frame: pd.DataFrame, column: str) -> _Found:
    """The files whose paths stand in a column, relative to the file that holds it; they may not lie outside it."""
    names = tuple(str(value) for value in frame[column])
    files = [folder / name for name in names]
    base = folder.resolve()
    return _files(frame, names, [file if file.resolve().is_relative_to(base) else None for file in files])


def _files(frame: pd.DataFrame, ids: tuple[str, ...], files: Sequence[Path | None]) -> _Found:
    def content(i: int) -> bytes:
        file = files[i]
        if file is None:
            raise ValueError("lies outside the folder")
        return file.read_bytes()

    return _Found(frame, ids, lambda i: hashlib.sha256(content(i)).hexdigest(), lambda i: opened(content(i)))


def _array(path: Path) -> _Found:
    """Pictures in an .npz: `images` (n, h, w) or (n, h, w, c), uint8, and `labels` (n,)."""
    images, labels = arrays(path, "images", "labels")
    if images is None:
        raise ValueError("it holds no `images`")
    if images.dtype != np.uint8 or images.ndim not in {3, 4} or (images.ndim == 4 and images.shape[3] not in {1, 3}):
        raise ValueError(f"`images` are {images.dtype} of shape {images.shape}; uint8 (n, h, w) or (n, h, w, 1 or 3)")
    if labels is not None and len(labels) != len(images):
        raise ValueError(f"{len(images)} images and {len(labels)} labels")
    ids = tuple(map(str, range(len(images))))
    frame = pd.DataFrame({ID: pd.Series(ids, dtype=object)})
    if labels is not None:
        frame[LABEL] = labels
    return _Found(
        frame, ids, lambda i: hashlib.sha256(images[i].tobytes()).hexdigest(), lambda i: _from_array(images[i])
    )


def _from_array(pixels: NDArray[np.uint8]) -> Any:
    from PIL import Image

    return Image.fromarray(pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)


def _prepared(image: Any, settings: ImageSettings) -> NDArray[np.uint8]:
    """Pixels (h, w, c) of a picture as the model is given it, before normalising."""
    return fitted(_turned(image, settings), settings)


def _turned(image: Any, settings: ImageSettings) -> Any:
    """The picture, decoded, turned as its EXIF data say, in grey or RGB."""
    from PIL import Image, ImageOps

    if image.width * image.height > settings.max_pixels:
        raise ValueError(f"has {image.width} x {image.height} pixels; `max_pixels` is {settings.max_pixels}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # broken EXIF data and palettes with transparency: read as far as they go
        image = ImageOps.exif_transpose(_whole(image))
        if image.mode.startswith("I;16"):  # 16 bit to 8, which `convert` would clip
            image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
        return image.convert("L" if settings.channels == "grey" else "RGB")


def _whole(image: Any) -> Any:
    """The picture, decoded; half of one is an error, whatever other libraries set for the whole process."""
    from PIL import ImageFile

    tolerant, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        image.load()
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = tolerant
    return image


def _normalised(pixels: NDArray[np.uint8], settings: ImageSettings) -> Pixels:
    """Numbers (c, h, w) that the model is given."""
    mean = np.asarray(settings.mean, dtype=np.float32)
    std = np.asarray(settings.std, dtype=np.float32)
    scaled = (pixels.astype(np.float32) / np.float32(255) - mean) / std
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))
