"""The one way in which a model of images is asked: batches, counts and checks."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from audit.core.errors import ModelError
from audit.core.images import Images, ImageScorer, softmax
from audit.core.model import ImageModel


@dataclass
class Halves:
    """Features: the picture itself. Head: the mean of each channel."""

    classes: tuple[str, ...] = ("a", "b")
    capabilities: frozenset = frozenset({"split"})
    seen: list = field(default_factory=list)

    def features(self, batch):
        self.seen.append(len(batch))
        return batch

    def head(self, maps):
        return maps.mean(axis=(2, 3))


def images(n):
    pixels = np.arange(n * 2 * 3 * 3, dtype=np.float32).reshape(n, 2, 3, 3) / 10
    ids = tuple(map(str, range(n)))
    return pixels, Images(ids, ids, lambda rows: pixels[rows], lambda row: np.zeros((3, 3, 3), dtype=np.uint8), 2)


def test_pictures_are_asked_for_in_batches_and_counted():
    model = Halves()
    assert isinstance(model, ImageModel)
    scorer = ImageScorer(model, batch=4)
    pixels, given = images(10)
    P = scorer.probabilities(given)
    logits = pixels.mean(axis=(2, 3)).astype(np.float64)
    np.testing.assert_allclose(P, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), atol=1e-6)
    assert model.seen == [4, 4, 2]
    assert (scorer.rows, scorer.heads) == (10, 10)


def test_one_logit_stands_for_the_second_of_two_classes():
    model = Halves()
    model.head = lambda maps: maps.mean(axis=(2, 3))[:, :1]
    pixels, given = images(3)
    z = pixels[:, 0].mean(axis=(1, 2)).astype(np.float64)
    P = ImageScorer(model).probabilities(given)
    np.testing.assert_allclose(P[:, 1], 1 / (1 + np.exp(-z)), atol=1e-6)
    np.testing.assert_allclose(P.sum(axis=1), 1)
    model.classes = ("a", "b", "c")
    with pytest.raises(ModelError, match="1 logits, the spec has 3 classes"):
        ImageScorer(model).probabilities(given)


def test_softmax_of_large_numbers():
    np.testing.assert_allclose(softmax(np.array([[1e6, 1e6 - np.log(3)]])), [[0.75, 0.25]], atol=1e-9)


@pytest.mark.parametrize(
    ("features", "head", "said"),
    [
        (lambda b: b.mean(axis=1), None, r"features have shape \(2, 3, 3\); expected \(b, d, h, w\)"),
        (lambda b: b * np.nan, None, "features hold numbers that are not finite"),
        (lambda b: b[:1], None, r"features have shape \(1, 2, 3, 3\)"),
        (None, lambda m: np.zeros((len(m), 3)), "head answers with 3 logits, the spec has 2 classes"),
        (None, lambda m: np.zeros(len(m)), "logits have shape"),
        (lambda b: b[0, 0] @ np.zeros(7), None, "the model failed on features of a batch of shape"),
    ],
)
def test_what_a_model_may_not_answer(features, head, said):
    model = Halves()
    if features:
        model.features = features
    if head:
        model.head = head
    with pytest.raises(ModelError, match=said):
        ImageScorer(model).probabilities(images(2)[1])
