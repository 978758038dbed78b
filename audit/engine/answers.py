"""What a process that opened a model file answers, read with care: it may have been taken over."""

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from audit.core.errors import ModelError

NONSENSE = (
    "model.path: the process of the model gave an answer that it cannot give. The file is damaged or made to do harm: "
    "compare its digest with that of the file that was approved, or save it again."
)


@dataclass(frozen=True)
class Found:
    """What the process says of a model that it opened."""

    inside: bool = False
    images: bool = False
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    read: str | None = None
    names: tuple[str, ...] | None = None


def found(data: bytes) -> Found:
    """The answer of the process, of the form that it has; it may come from a process that was taken over.

    Raises:
        ModelError: the file was refused, or the answer has another form.
    """
    try:
        said = json.loads(data)
        if "refused" in said:
            raise ModelError(_texts(said["refused"]))
        if "read" in said:
            return Found(read=_texts([said["read"]])[0])
        names = None if said["names"] is None else tuple(_texts(said["names"]))
        classes, notes = tuple(_texts(said["classes"])), tuple(_texts(said["notes"]))
        return Found(said["inside"] is True, said["images"] is True, classes, notes, names=names)
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ModelError(NONSENSE) from None


def told(data: bytes) -> list[str]:
    """The problems that an answer states."""
    try:
        return _texts(json.loads(data)) or [NONSENSE]
    except (ValueError, TypeError, RecursionError):
        return [NONSENSE]


def _texts(said: Any) -> list[str]:
    if not isinstance(said, list) or not all(isinstance(text, str) for text in said):
        raise TypeError("no texts")
    return said


def packed(content: np.ndarray[Any, Any]) -> bytes:
    """An array of float64 or float32 as bytes: its width, the number of its sizes, the sizes, the numbers."""
    head = np.array([content.dtype.itemsize, content.ndim, *content.shape], dtype="<i8")
    return head.tobytes() + content.tobytes()


def unpacked(data: bytes) -> np.ndarray[Any, Any]:
    """The array of `packed`; what does not fit is a ModelError, for it may come from a process that was taken over."""
    width, dimensions = np.frombuffer(data[:16], dtype="<i8").tolist() if len(data) >= 16 else (0, 0)
    start = 16 + 8 * dimensions
    sizes = np.frombuffer(data[16:start], dtype="<i8").tolist() if 0 < dimensions < 8 and start <= len(data) else [-1]
    if width not in {4, 8} or min(sizes) < 0 or len(data) != start + width * math.prod(sizes):
        raise ModelError("model.path: the process of the model gave an answer of another size; save the model again")
    return np.frombuffer(data, dtype=np.float64 if width == 8 else np.float32, offset=start).reshape(sizes).copy()
