"""Maps of another library beside ours, on the same cut and with the same metric; and the areas over pixels."""

import sys
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from saliency_case import BUILT, SIDE, Case, kept, pictures
from saliency_runs import saliency

from audit.core.images import softmax
from audit.core.model import Pixels
from audit.core.saliency import exact_values
from audit.core.saliency_maps import insertion_deletion, upsampled
from audit.core.table import Floats

PEERS = BUILT / "peers"
STEPS = 14
"""Of insertion and deletion of pixels; the reference protocol has 224."""


def torchcam_version() -> str:
    """The version of torchcam that is here, or nothing."""
    if str(PEERS) not in sys.path:
        sys.path.append(str(PEERS))
    return version("torchcam") if find_spec("torchcam") else ""


def _head(case: Case) -> Any:
    """The head as a module whose first layer hands the feature map on, so that a library can hook it."""
    from torch import nn

    net = case.model.model.network  # type: ignore[attr-defined]
    layers = {"maps": nn.Identity(), "mean": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten(), "fc": net._fc}
    head = nn.Sequential()
    for name, layer in layers.items():
        head.add_module(name, layer)
    return head.eval()


class Given:
    """Stands for an extractor of torchcam whose map is given, so that its metric is asked about our map."""

    def __init__(self, model: Any, values: Floats) -> None:
        import torch

        self.model, self.map = model, torch.from_numpy(values.reshape(1, *SIDE))

    def __call__(self, class_idx: Any = None, scores: Any = None, **more: Any) -> list[Any]:
        return [self.map]

    def fuse_cams(self, cams: list[Any]) -> Any:
        return cams[0]

    def _hooks_off(self) -> Any:
        from contextlib import nullcontext

        return nullcontext()


def cross_check(case: Case, count: int = 10) -> dict[str, float]:
    """The largest differences from torchcam on the first misread pictures: of areas, and of CAM."""

    def compute() -> dict[str, float]:
        import torch
        from torchcam.methods import CAM
        from torchcam.metrics import DeletionInsertionMetric

        head = _head(case)
        gaps, maps = [], []
        for query in case.misread[:count]:
            state, (wrong, target) = case.state(query), case.pair(query)
            x = torch.from_numpy(case.queries[query][None])
            for values in (v[0] for v in saliency(case, int(query), 20).values()):
                order = np.argsort(-values, kind="stable")
                insertion, deletion = insertion_deletion(state, order, wrong, target)
                metric = DeletionInsertionMetric(Given(head, values), lambda z: z.softmax(-1), steps=len(order))
                metric.update(x, [wrong])
                theirs = metric.summary()
                gaps += [abs(insertion[0] - theirs["insertion_auc"]), abs(deletion[0] - theirs["deletion_auc"])]
            with CAM(head, "maps", "fc", input_shape=x.shape[1:]) as extractor:
                extractor.model(x)
                theirs = extractor(wrong, normalized=False)[0].numpy().ravel()
            ours = exact_values(state.parts, "logit", wrong, target) * len(case.keep)
            maps.append(float(np.abs(ours - theirs).max() / np.abs(theirs).max()))
        return {"areas": max(gaps), "cam": max(maps), "compared": len(gaps)}

    found: dict[str, float] = kept("cross_check", compute)
    return found


def library_areas(case: Case) -> dict[str, list[list[float]]]:
    """As `saliency_runs.areas`, for maps that torchcam makes."""

    def compute() -> dict[str, list[list[float]]]:
        import torch
        from torchcam import methods

        head = _head(case)
        told: dict[str, list[list[float]]] = {}
        for query in case.misread:
            state, (wrong, target) = case.state(query), case.pair(query)
            for name in ("GradCAM", "LayerCAM", "FinerCAM"):
                x = torch.from_numpy(case.queries[query][None]).requires_grad_()
                with getattr(methods, name)(head, "maps", input_shape=x.shape[1:]) as extractor:
                    scores = head(x)
                    values = extractor(wrong, scores, normalized=False)[0].detach().numpy().ravel()
                insertion, deletion = insertion_deletion(state, np.argsort(-values, kind="stable"), wrong, target)
                row = [insertion[0], deletion[0], insertion[1], deletion[1]]
                told.setdefault(f"{name} of torchcam", []).append([float(v) for v in row])
        return told

    found: dict[str, list[list[float]]] = kept("library_areas", compute)
    return found


PIXEL_MAPS = ("exact, logit (CAM)", "dip, probability", "wrong less true class (as in Finer-CAM)")


def pixel_areas(case: Case, count: int = 40) -> dict[str, list[list[float]]]:
    """Of each map: insertion into a blurred picture and deletion to grey, p of the wrong class, in 14 steps."""

    def compute() -> dict[str, list[list[float]]]:
        images, _ = pictures("queries")
        told: dict[str, list[list[float]]] = {}
        for query in case.misread[:count]:
            picture, (wrong, _) = images.read(np.array([query]))[0], case.pair(query)
            maps = {name: upsampled(saliency(case, int(query), 1)[name][0], SIDE, 224, 224) for name in PIXEL_MAPS}
            maps["random"] = upsampled(np.random.default_rng(int(query)).random(49), SIDE, 224, 224)
            for name, values in maps.items():
                told.setdefault(name, []).append(_pixels(case, picture, values.ravel(), wrong))
        return told

    found: dict[str, list[list[float]]] = kept("pixel_areas", compute)
    return found


def _pixels(case: Case, picture: NDArray[np.float32], values: Floats, of: int) -> list[float]:
    """Insertion and deletion of one picture, shape (channels, height, width), prepared."""
    rank = np.empty(len(values), dtype=np.int64)
    rank[np.argsort(-values, kind="stable")] = np.arange(len(values))
    areas = []
    for first, last in ((_blurred(picture), picture), (picture, np.zeros_like(picture))):
        steps = [np.where((rank < k * len(values) / STEPS).reshape(picture.shape[1:]), last, first)
                 for k in range(STEPS + 1)]  # fmt: skip
        p = softmax(case.model.logits(case.model.features(np.stack(steps).astype(np.float32))))[:, of]
        areas.append(float((p[:-1] + p[1:]).sum() / (2 * STEPS)))
    return areas


def _blurred(picture: NDArray[np.float32]) -> Pixels:
    """The picture under a Gaussian of 11 x 11 pixels, sigma 5; its edges are repeated."""
    kernel = np.exp(-(np.arange(-5, 6) ** 2) / 50.0)
    kernel /= kernel.sum()
    blurred = np.pad(picture, ((0, 0), (5, 5), (5, 5)), mode="edge").astype(np.float64)
    for axis in (1, 2):
        length = blurred.shape[axis] - 10
        blurred = sum(w * blurred.take(range(i, i + length), axis=axis) for i, w in enumerate(kernel))
    return blurred.astype(np.float32)
