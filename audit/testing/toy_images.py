"""A model of pictures small enough to be worked out by hand, and an audit of pictures around it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from audit.core.base import sha256
from audit.core.images import ImageInputs, Images, ImageScorer, softmax
from audit.core.method import Inputs, Sample
from audit.core.model import Capability, Decision, Pixels
from audit.core.policy import Policy
from audit.core.schema import FeatureSchema
from audit.core.table import Floats, Table


@dataclass(frozen=True)
class ToyImageModel:
    """Cells of 2 x 2 pixels, whose mean is given to a linear layer.

    Attributes:
        weight: shape (C, 4).
    """

    weight: Floats
    classes: tuple[str, ...]
    capabilities: frozenset[Capability] = frozenset({"split"})

    def features(self, batch: Pixels) -> Pixels:
        """The pixels of each cell as its 4 numbers: (b, 1, h, w) to (b, 4, h / 2, w / 2)."""
        b, _, h, w = batch.shape
        cells = batch.reshape(b, h // 2, 2, w // 2, 2).transpose(0, 2, 4, 1, 3)
        return np.ascontiguousarray(cells.reshape(b, 4, h // 2, w // 2))

    def head(self, maps: Pixels) -> Pixels:
        """Logits (b, C)."""
        return np.asarray(maps.mean(axis=(2, 3)) @ self.weight.T, dtype=np.float32)


def toy_images(pixels: Pixels) -> Images:
    """Pictures from their pixels, shape (n, 1, h, w), between 0 and 1."""
    ids = tuple(f"picture {i}" for i in range(len(pixels)))
    digests = tuple(sha256(own.tobytes()) for own in pixels)
    shown = np.repeat((pixels[:, 0, :, :, None] * 255).astype(np.uint8), 3, axis=3)
    return Images(ids, digests, lambda rows: pixels[rows], lambda row: shown[row], batch=16)


def toy_image_inputs(
    model: ToyImageModel, pixels: Pixels, labels: Sequence[str], train: tuple[Pixels, Sequence[str]] | None = None
) -> Inputs:
    """Inputs as the engine would make them for pictures: no features, every row audited.

    Args:
        pixels: shape (n, 1, h, w), between 0 and 1.
        labels: the true classes.
        train: pixels and true classes of the training pictures, or None.
    """
    schema, scorer = FeatureSchema(features=()), ImageScorer(model, 16)
    images = toy_images(pixels)
    evaluate = _table(schema, images, labels)
    training = None if train is None else toy_images(train[0])
    scores = softmax(scorer.logits(scorer.features(pixels)))
    rows = np.arange(len(pixels))
    table = None if training is None or train is None else _table(schema, training, train[1])
    return Inputs(
        schema=schema,
        decision=Decision(model.classes),
        evaluate=evaluate,
        train=table,
        reference=evaluate if table is None else table,
        target="label",
        protected=(),
        scores=scores,
        model=None,
        policy=Policy.build(schema, {}),
        sample=Sample(evaluate, rows, np.ones(len(rows), dtype=bool), scores),
        images=ImageInputs(images, training, scorer),
    )


def random_image_inputs(seed: int = 0) -> Inputs:
    """Sixty random pictures of 8 x 8 pixels and three classes, of which about a quarter are misread."""
    rng = np.random.default_rng(seed)
    pixels = rng.random((60, 1, 8, 8), dtype=np.float32)
    model = ToyImageModel(rng.normal(size=(3, 4)) * 8, ("a", "b", "c"))
    read = model.head(model.features(pixels)).argmax(axis=1)
    true = np.where(rng.random(60) < 0.25, rng.integers(0, 3, 60), read)
    return toy_image_inputs(model, pixels, [model.classes[i] for i in true])


def _table(schema: FeatureSchema, images: Images, labels: Sequence[str]) -> Table:
    extra = pd.DataFrame({"image": pd.Series(images.ids, dtype=object), "label": pd.Series(list(labels), dtype=object)})
    return Table(schema, np.empty((len(images), 0)), images.ids, extra)
