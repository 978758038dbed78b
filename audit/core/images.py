"""Images as the audit sees them, and the one way in which a model of them is asked."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from audit.core.base import Frozen
from audit.core.errors import ModelError
from audit.core.model import ImageModel, Ints, Pixels
from audit.core.table import Floats

REST = "rest of the picture"
"""What belongs to no named part."""

Share = Annotated[float, Field(ge=0, le=1)]
BoxShares = tuple[Share, Share, Share, Share]


class PartSettings(Frozen):
    """Named parts of the evaluation pictures: rectangles, or a label map for each picture.

    Attributes:
        boxes: by name the rectangle [top, left, bottom, right], as shares of the picture that the model is given; no
            two may overlap.
        masks: a folder with a label map for each picture, under the path of the picture but ending in .png; or an .npz
            with `masks` (n, height, width), in the order of the pictures. A label map is as large as its picture
            before it is resized and cropped. Pictures without one have no parts.
        names: by name the number that stands for the part in the label maps; 0 is what has no name.
    """

    boxes: dict[str, BoxShares] = {}
    masks: str | None = None
    names: dict[str, Annotated[int, Field(ge=0, le=65_535)]] = {}

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if bool(self.boxes) == (self.masks is not None):
            raise ValueError("give either `boxes`, or `masks` with `names`")
        if (self.masks is not None) != bool(self.names):
            raise ValueError("`masks` and `names` belong together: the maps hold numbers, `names` says what they mean")
        if REST in {*self.boxes, *self.names}:
            raise ValueError(f"{REST!r} is what has no name; give the part another name")
        if len(set(self.names.values())) < len(self.names):
            raise ValueError("two names stand for the same number; a number is one part")
        for name, (top, left, bottom, right) in self.boxes.items():
            if top >= bottom or left >= right:
                raise ValueError(f"the box {name!r} is empty; a box is [top, left, bottom, right], each from 0 to 1")
        for (one, a), (other, b) in combinations(self.boxes.items(), 2):
            if max(a[0], b[0]) < min(a[2], b[2]) and max(a[1], b[1]) < min(a[3], b[3]):
                raise ValueError(f"the boxes {one!r} and {other!r} overlap; a place is in one part only")
        return self

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts."""
        return tuple(self.boxes or self.names)


class ImageSettings(Frozen):
    """How a picture becomes the model's input; the presence of this section makes the audit one of images.

    A picture is turned as its EXIF data say, made grey or RGB, resized, cropped at its centre, divided by 255, and
    then normalised as (x - mean) / std.

    Attributes:
        column: the column with paths, relative to the file that holds it, where the data are a CSV or Parquet file.
        channels: what the model is given.
        resize: length of the shorter side, in pixels; or [height, width], whatever the proportions.
        crop: side of the square cut from the middle, in pixels; smaller pictures are padded with zeros.
        interpolation: how pixels are resampled.
        mean, std: one number for each channel, on the scale from 0 to 1.
        max_pixels: pictures with more are not decoded.
        batch: pictures that are held at once.
        parts: named parts of the evaluation pictures, by which results are then told.
    """

    column: str | None = None
    channels: Literal["rgb", "grey"] = "rgb"
    resize: int | tuple[int, int] | None = None
    crop: int | None = Field(default=None, ge=1)
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    max_pixels: int = Field(default=50_000_000, ge=1)
    batch: int = Field(default=64, ge=1)
    parts: PartSettings | None = None


@dataclass(frozen=True)
class NamedParts:
    """Which part of a picture is where.

    Attributes:
        names: of the parts.
        labels: from a position to the label map of the picture as the model is given it, shape (height, width): k for
            `names[k - 1]`, 0 for what has no name; None for a picture of which nothing is known.
    """

    names: tuple[str, ...]
    labels: Callable[[int], Ints | None]


@dataclass(frozen=True)
class Images:
    """n pictures, decoded when they are asked for.

    Attributes:
        ids: their ids, as in the table of rows.
        digests: SHA-256 of the bytes of each, by which duplicates are known.
        read: from positions (b,) to the model's inputs, shape (b, channels, height, width).
        picture: from a position to the same picture before normalising, for people: (height, width, 3), uint8.
        batch: pictures that are to be held at once.
        parts: their named parts, where the spec names any.
    """

    ids: tuple[str, ...]
    digests: tuple[str, ...]
    read: Callable[[Ints], Pixels]
    picture: Callable[[int], NDArray[np.uint8]]
    batch: int = 64
    parts: NamedParts | None = None

    def __len__(self) -> int:
        return len(self.ids)


class ImageScorer:
    """An image model that is asked in batches, checked, and whose answers are counted.

    Attributes:
        rows: pictures whose features were computed.
        heads: feature maps that the head answered for.
    """

    def __init__(self, model: ImageModel, batch: int = 64) -> None:
        self.model = model
        self.batch = batch
        self.rows = 0
        self.heads = 0

    def features(self, inputs: Pixels) -> Pixels:
        """Feature maps (b, d, h, w) of prepared pictures (b, channels, height, width).

        Raises:
            ModelError: the model fails, or gives no finite feature maps.
        """
        self.rows += len(inputs)
        return self._asked(self.model.features, inputs, 4, "features")

    def logits(self, maps: Pixels) -> Floats:
        """Logits (b, C) of feature maps (b, d, h, w); one logit stands for the second of two classes.

        Raises:
            ModelError: the head fails, or answers with other than C finite numbers each.
        """
        self.heads += len(maps)
        answer = self._asked(self.model.head, maps, 2, "logits")
        if answer.shape[1] == 1 and len(self.model.classes) == 2:
            answer = np.concatenate([np.zeros_like(answer), answer], axis=1)
        if answer.shape[1] != len(self.model.classes):
            raise ModelError(
                f"the head answers with {answer.shape[1]} logits, the spec has {len(self.model.classes)} classes; "
                "list the classes in the order of the logits"
            )
        return np.asarray(answer, dtype=np.float64)

    def probabilities(self, images: Images) -> Floats:
        """Class probabilities (n, C) of all pictures, decoded batch by batch."""
        answers = [np.empty((0, len(self.model.classes)))]
        for start in range(0, len(images), self.batch):
            rows = np.arange(start, min(start + self.batch, len(images)))
            answers.append(softmax(self.logits(self.features(images.read(rows)))))
        return np.concatenate(answers)

    def _asked(self, half: Callable[[Pixels], Pixels], given: Pixels, rank: int, what: str) -> Pixels:
        try:
            answer = np.asarray(half(given), dtype=np.float32)
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(
                f"the model failed on {what} of a batch of shape {given.shape}: {type(error).__name__}: {error}. "
                "Check `data.images`: size and channels must be those that it was trained on."
            ) from error
        if answer.ndim != rank or len(answer) != len(given):
            expected = "(b, d, h, w)" if rank == 4 else "(b, classes)"
            raise ModelError(f"the {what} have shape {answer.shape}; expected {expected} with b = {len(given)}")
        if not np.isfinite(answer).all():
            raise ModelError(f"the {what} hold numbers that are not finite")
        return answer


@dataclass(frozen=True)
class ImageInputs:
    """The pictures of an audit, and the model that looks at them.

    Attributes:
        evaluate: pictures of `Inputs.evaluate`, in its order.
        train: pictures of `Inputs.train`, in its order, or None.
    """

    evaluate: Images
    train: Images | None
    model: ImageScorer


def softmax(logits: Floats) -> Floats:
    """Probabilities of logits, both (n, C)."""
    power = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(power / power.sum(axis=1, keepdims=True))
