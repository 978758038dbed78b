"""Maps of other libraries beside ours, on the same cut and with the same metric; and the areas over pixels."""

import sys
from importlib.metadata import version
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from saliency_case import BUILT, SIDE, Case, kept, pictures
from saliency_runs import saliency

from audit.core.images import softmax
from audit.core.model import Pixels
from audit.core.saliency import exact_values
from audit.core.saliency_maps import insertion_deletion, upsampled
from audit.core.stats import spearman
from audit.core.table import Floats

PEERS = BUILT / "peers"
STEPS = 14
"""Of insertion and deletion of pixels; the reference protocol has 224."""


SQUARE = 32
"""Side of the squares, in pixels, that captum takes away one at a time: as large as what a cell stands for."""

PLOTS = (
    "matplotlib", "matplotlib.axes", "matplotlib.collections", "matplotlib.colors", "matplotlib.figure",
    "matplotlib.image", "matplotlib.pyplot", "mpl_toolkits", "mpl_toolkits.axes_grid1",
)  # fmt: skip
"""What captum imports of matplotlib, to draw; nothing is drawn here."""


def peer_version(name: str) -> str:
    """The version of torchcam or captum that is here, or nothing."""
    if str(PEERS) not in sys.path:
        sys.path.append(str(PEERS))
    return version(name) if find_spec(name) else ""


def captum_methods() -> Any:
    """captum's attributions, imported without matplotlib, which is not installed and which they do not use."""
    import torch  # noqa: F401 - looks through all modules while it is imported, so it has to come first

    absent = [name for name in PLOTS if name not in sys.modules]
    for name in absent:
        sys.modules[name] = _Nothing(name)
    try:
        from captum import attr
    finally:
        for name in absent:
            del sys.modules[name]
    return attr


class _Empty(type):
    """A class whose attributes, but those of every class, are classes that cannot be used either."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Unusable


class _Unusable(metaclass=_Empty):
    """Stands for what draws."""


class _Nothing(ModuleType):
    """A module in which every name stands for what draws."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Unusable


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
    """Of the first misread pictures: the largest gaps from torchcam (areas, CAM), and how captum ranks their cells."""

    def compute() -> dict[str, float]:
        import torch
        from torchcam.methods import CAM
        from torchcam.metrics import DeletionInsertionMetric

        head = _head(case)
        gaps, maps, alike = [], [], []
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
            share = saliency(case, int(query))["Shapley values of the probability, 200 orders"][0]
            drawn = _captum_maps(case, head, int(query))["Shapley value sampling of captum, 25 orders"]
            alike.append(float(spearman(drawn[None].astype(np.float64), share[None])[0]))
        told = {"areas": max(gaps), "cam": max(maps), "compared": len(gaps)}
        return {**told, "alike": float(np.mean(alike)), "least": min(alike)}

    found: dict[str, float] = kept("cross_check", compute)
    return found


def library_areas(case: Case) -> dict[str, list[list[float]]]:
    """As `saliency_runs.areas`, for maps that torchcam and captum make of the same head."""

    def compute() -> dict[str, list[list[float]]]:
        head = _head(case)
        told: dict[str, list[list[float]]] = {}
        for query in case.misread:
            state, (wrong, target) = case.state(query), case.pair(query)
            for name, values in {**_cams(case, head, int(query)), **_captum_maps(case, head, int(query))}.items():
                insertion, deletion = insertion_deletion(state, np.argsort(-values, kind="stable"), wrong, target)
                row = [insertion[0], deletion[0], insertion[1], deletion[1]]
                told.setdefault(name, []).append([float(v) for v in row])
        return told

    found: dict[str, list[list[float]]] = kept("library_areas", compute)
    return found


def _cams(case: Case, head: Any, query: int) -> dict[str, Floats]:
    """torchcam's maps of the wrong class, each (49,); ScoreCAM weighs the feature maps by what each says alone."""
    import torch
    from torchcam import methods

    told: dict[str, Floats] = {}
    for name in ("GradCAM", "LayerCAM", "FinerCAM", "ScoreCAM"):
        x = torch.from_numpy(case.queries[query][None]).requires_grad_()
        with getattr(methods, name)(head, "maps", input_shape=x.shape[1:]) as extractor:
            scores = head(x)
            values = extractor(case.pair(query)[0], scores, normalized=False)[0].detach().numpy().ravel()
        told[f"{name} of torchcam"] = values
    return told


def _captum_maps(case: Case, head: Any, query: int, orders: int = 25) -> dict[str, Floats]:
    """captum's maps of the probability of the wrong class over cells, each (49,); an absent cell is zero."""
    import torch

    attr = captum_methods()
    x = torch.from_numpy(case.queries[query][None])
    cells = torch.arange(SIDE[0] * SIDE[1]).reshape(1, 1, *SIDE).expand_as(x).contiguous()
    torch.manual_seed(query)
    wrong, channels = case.pair(query)[0], x.shape[1]

    def p(maps: Any) -> Any:
        return head(maps).softmax(-1)

    with torch.no_grad():
        shapley = attr.ShapleyValueSampling(p).attribute(
            x, target=wrong, feature_mask=cells, n_samples=orders, perturbations_per_eval=SIDE[0] * SIDE[1]
        )
        alone = attr.Occlusion(p).attribute(
            x, sliding_window_shapes=(channels, 1, 1), target=wrong, perturbations_per_eval=SIDE[0] * SIDE[1]
        )
    return {
        f"Shapley value sampling of captum, {orders} orders": shapley[0, 0].numpy().ravel(),
        "Occlusion of captum, cell by cell": alone[0, 0].numpy().ravel(),
    }


PIXEL_MAPS = ("exact, logit (CAM)", "dip, probability", "wrong less true class (as in Finer-CAM)")


def pixel_areas(case: Case, count: int = 40) -> dict[str, list[list[float]]]:
    """Of each map: insertion into a blurred picture and deletion to grey, p of the wrong class, in 14 steps."""

    def compute() -> dict[str, list[list[float]]]:
        images, _ = pictures("queries")
        told: dict[str, list[list[float]]] = {}
        for query in case.misread[:count]:
            picture, (wrong, _) = images.read(np.array([query]))[0], case.pair(query)
            maps = {name: upsampled(saliency(case, int(query), 1)[name][0], SIDE, 224, 224) for name in PIXEL_MAPS}
            maps["Occlusion of captum, squares of pixels"] = _occluded(case, picture, wrong)
            maps["random"] = upsampled(np.random.default_rng(int(query)).random(49), SIDE, 224, 224)
            for name, values in maps.items():
                told.setdefault(name, []).append(_pixels(case, picture, values.ravel(), wrong))
        return told

    found: dict[str, list[list[float]]] = kept("pixel_areas", compute)
    return found


def _occluded(case: Case, picture: NDArray[np.float32], wrong: int) -> Floats:
    """captum's occlusion of squares of pixels by grey, shape (224, 224)."""
    import torch

    def p(pixels: Any) -> Any:
        return torch.from_numpy(softmax(case.model.logits(case.model.features(pixels.numpy()))))

    step = (picture.shape[0], SQUARE, SQUARE)
    with torch.no_grad():
        told = captum_methods().Occlusion(p).attribute(
            torch.from_numpy(picture[None]), sliding_window_shapes=step, strides=step, target=wrong,
            perturbations_per_eval=SIDE[0] * SIDE[1],
        )  # fmt: skip
    return np.asarray(told[0, 0].numpy(), dtype=np.float64)


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
