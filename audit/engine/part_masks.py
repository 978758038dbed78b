"""Named parts of pictures: rectangles, or label maps that lie beside the pictures."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from audit.core.base import canonical_json, sha256
from audit.core.errors import DataError, SpecError
from audit.core.evidence import Note
from audit.core.images import ImageSettings, NamedParts, PartSettings
from audit.core.manifest import InputRecord
from audit.core.model import Ints
from audit.engine.files import Steps, existing, file_sha256, followed, said
from audit.engine.fitting import fitted
from audit.engine.picture_files import UNREADABLE, arrays, opened, why
from audit.spec.load import Loaded

STEPS: Steps = ("data", "images", "parts", "masks")
NAMED = 3
"""Label maps that a message names; it always gives the count."""

LARGEST = 65_536
"""Numbers from here on are no labels."""


@dataclass(frozen=True)
class Listed:
    """The pictures that may have parts.

    Attributes:
        name: the folder, table or array that they come from, as the spec names it.
        kept: of each picture its position among all of that source.
        sizes: width and height of each before it is resized and cropped.
        total: how many pictures the source has, readable or not.
    """

    name: str
    ids: tuple[str, ...]
    kept: Ints
    sizes: Sequence[tuple[int, int]]
    total: int


@dataclass(frozen=True)
class Parts:
    """The parts of the pictures, the record of the label maps, and how many pictures have none."""

    named: NamedParts | None = None
    record: InputRecord | None = None
    notes: tuple[Note, ...] = ()


def read_parts(loaded: Loaded, settings: ImageSettings, listed: Listed | None) -> Parts:
    """The parts that `data.images.parts` describes, none where there are none; every label map is looked at once.

    Raises:
        SpecError: there is no such folder or file, or it holds a label map for no picture.
        DataError: a label map cannot be read, has another size than its picture, or holds a number without a name.
    """
    if settings.parts is None or listed is None:
        return Parts()
    if settings.parts.masks is None:
        return Parts(_boxes(settings.parts, settings, listed))
    name = settings.parts.masks
    path = followed(loaded, STEPS, name)
    if path.is_dir():
        files = [path / PurePosixPath(own).with_suffix(".png") for own in listed.ids]
        found = {i: file for i, file in enumerate(files) if file.is_file()}
        if not found:
            first = files[0].relative_to(path).as_posix()
            text = f"{name} holds a label map for no picture; that of {listed.ids[0]} would be {first} in it"
            raise SpecError(said(loaded, STEPS, text))
        outside = next((i for i, file in found.items() if not file.resolve().is_relative_to(path.resolve())), None)
        if outside is not None:
            text = (
                f"the label map of {listed.ids[outside]} is a link that leads out of {name}; put the file itself there"
            )
            raise DataError(said(loaded, STEPS, text))
        digests = [[listed.ids[i], hashlib.sha256(file.read_bytes()).hexdigest()] for i, file in found.items()]
        record = InputRecord(role="parts", name=name, sha256=sha256(canonical_json(digests)), rows=len(found))
        openers = {i: _opener(file, listed.sizes[i]) for i, file in found.items()}
        return _checked(loaded, settings.parts, settings, listed, openers, record)
    file = existing(loaded, STEPS, name)
    maps = _array(loaded, file, name, listed)
    record = InputRecord(role="parts", name=name, sha256=file_sha256(file), rows=len(maps))
    openers = {i: _taker(maps, int(k)) for i, k in enumerate(listed.kept)}
    return _checked(loaded, settings.parts, settings, listed, openers, record)


def _opener(file: Path, size: tuple[int, int]) -> Callable[[], NDArray[Any]]:
    return lambda: _numbers(file, size)


def _taker(maps: NDArray[Any], position: int) -> Callable[[], NDArray[Any]]:
    return lambda: maps[position]


def _numbers(file: Path, size: tuple[int, int]) -> NDArray[Any]:
    """The numbers in a label map: of a grey picture its values, of one with a palette the places in the palette."""
    with opened(file.read_bytes(), ("PNG",)) as image:
        if image.size != size:  # seen before it is decoded
            raise ValueError(_sizes(image.size, size))
        if image.mode not in {"1", "L", "P", "I", "I;16"}:
            raise ValueError(f"is a picture in {image.mode}; a label map has one number for each pixel, as grey values")
        return np.asarray(image).astype(np.int64)


def _sizes(found: tuple[int, int], size: tuple[int, int]) -> str:
    return f"{found[0]} x {found[1]}, its picture is {size[0]} x {size[1]}"


def _array(loaded: Loaded, file: Path, name: str, listed: Listed) -> NDArray[Any]:
    """`masks` of an .npz, shape (n, h, w)."""
    try:
        if file.suffix != ".npz":
            raise ValueError("it is neither a folder nor an .npz")  # noqa: TRY301 - said with the others
        (maps,) = arrays(file, "masks")
        if maps is None:
            raise ValueError("it holds no `masks`")  # noqa: TRY301 - as above
    except ValueError as error:
        raise DataError(said(loaded, STEPS, f"{name} cannot be read: {why(error)}")) from error
    if maps.ndim != 3 or maps.dtype.kind not in "iub" or len(maps) != listed.total:
        text = f"`masks` of {name} are {maps.dtype} of shape {maps.shape}; "
        text += f"whole numbers of shape ({listed.total}, height, width), one map for each picture of {listed.name}"
        raise DataError(said(loaded, STEPS, text))
    return maps


def _checked(
    loaded: Loaded,
    parts: PartSettings,
    settings: ImageSettings,
    listed: Listed,
    openers: dict[int, Callable[[], NDArray[Any]]],
    record: InputRecord,
) -> Parts:
    """The parts, if every label map fits its picture and holds known numbers."""
    from PIL import Image

    wrong = []
    for i, opener in openers.items():
        why = _misfit(opener, listed.sizes[i], parts)
        if why:
            wrong.append(f"{listed.ids[i]} ({why})")
    if wrong:
        known = ", ".join(f"{number} ({name})" for name, number in sorted(parts.names.items(), key=lambda kv: kv[1]))
        text = f"{len(wrong)} of {len(openers)} label maps of {parts.masks} do not fit: {'; '.join(wrong[:NAMED])}"
        more = f" and {len(wrong) - NAMED} others" if len(wrong) > NAMED else ""
        allowed = f". A label map is as large as its picture before it is resized, and holds 0 and {known}"
        raise DataError(said(loaded, STEPS, text + more + allowed))
    places = np.zeros(LARGEST, dtype=np.int32)
    for k, number in enumerate(parts.names.values()):
        places[number] = k + 1

    def labels(row: int) -> Ints | None:
        if row not in openers:
            return None
        numbers = Image.fromarray(places[openers[row]().astype(np.int64)])
        return np.asarray(fitted(numbers, settings, labels=True)[:, :, 0], dtype=np.int64)

    without = len(listed.ids) - len(openers)
    args: dict[str, JsonValue] = {"without": without, "total": len(listed.ids)}
    notes = (Note(code="images_without_parts", severity="info", args=args),) if without else ()
    return Parts(NamedParts(parts.parts, labels), record, notes)


def _misfit(opener: Callable[[], NDArray[Any]], size: tuple[int, int], parts: PartSettings) -> str:
    """Why a label map does not fit its picture of that width and height; empty where it does."""
    try:
        numbers = opener()
    except UNREADABLE as error:
        return why(error)
    if numbers.shape != size[::-1]:
        return _sizes(numbers.shape[::-1], size)
    strange = sorted(set(map(int, np.unique(numbers))) - {0, *parts.names.values()})
    return f"holds {strange[0]}, which has no name" if strange else ""


def _boxes(parts: PartSettings, settings: ImageSettings, listed: Listed) -> NamedParts:
    """Rectangles as label maps; a pixel is in a rectangle where its centre is."""
    from PIL import Image

    def labels(row: int) -> Ints:
        height, width = fitted(Image.new("L", listed.sizes[row]), settings).shape[:2]
        down, right = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
        answer = np.zeros((height, width), dtype=np.int64)
        for k, (top, left, bottom, end) in enumerate(parts.boxes.values()):
            inside = np.outer((down >= top) & (down < bottom), (right >= left) & (right < end))
            answer[inside] = k + 1
        return answer

    return NamedParts(parts.parts, labels)
