"""Pictures and label maps made as large as the model takes them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.core.images import ImageSettings


def fitted(image: Any, settings: ImageSettings, labels: bool = False) -> NDArray[Any]:
    """Numbers (h, w, c) of a picture, resized and cropped; those of label maps are never mixed."""
    from PIL import Image

    how = Image.Resampling.NEAREST if labels else getattr(Image.Resampling, settings.interpolation.upper())
    if isinstance(settings.resize, int):
        short = min(image.size)
        size = tuple(max(1, side * settings.resize // short) for side in image.size)
        image = image.resize(size, how)
    elif settings.resize is not None:
        image = image.resize((settings.resize[1], settings.resize[0]), how)
    kind = np.int32 if labels else np.uint8
    pixels = np.asarray(image, dtype=kind).reshape(image.height, image.width, -1)
    return pixels if settings.crop is None else _cropped(pixels, settings.crop)


def _cropped(pixels: NDArray[Any], side: int) -> NDArray[Any]:
    """The square in the middle, padded with zeros where the picture is smaller."""
    for axis in (0, 1):
        missing = side - pixels.shape[axis]
        if missing > 0:
            before = missing // 2
            pixels = np.pad(pixels, [(before, missing - before) if a == axis else (0, 0) for a in range(3)])
        else:
            start = -missing // 2
            pixels = pixels.take(np.arange(start, start + side), axis=axis)
    return pixels
