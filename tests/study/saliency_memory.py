"""The memory of a whole audit of 10,000 pictures: files on disk, `audit run`, and what its processes hold."""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from saliency_case import kept

ROWS, EDGE, CLASSES = 10_000, 96, 10
EVERY = 0.05
"""Seconds between two readings."""

SPEC = {
    "spec_version": 1,
    "audit": {"id": "memory", "title": "Memory"},
    "model": {"kind": "image_network", "path": "model.safetensors", "channels": 3,
              "classes": [f"class {i}" for i in range(CLASSES)], "architecture": {"kind": "cnn"}},
    "data": {"evaluate": "pictures", "target": {"column": "label"}, "images": {"batch": 64},
             "sample": {"rows": 500}},
    "methods": [{"kind": "performance"}, {"kind": "saliency_partition"}],
}  # fmt: skip


def memory() -> dict[str, Any]:
    """Peak megabytes of all processes of the audit, the seconds it took, and what it audited."""

    def compute() -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            size = _case(folder)
            return {**_run(folder), "pictures": ROWS, "edge": EDGE, "bytes": size}

    found: dict[str, Any] = kept("memory", compute)
    return found


def _case(folder: Path) -> int:
    """Writes pictures of noise of a colour for each class, a network of random weights and the spec; bytes of files."""
    from PIL import Image
    from safetensors.torch import save_file

    from audit.core.convolution import Cnn

    rng = np.random.default_rng(0)
    colours = rng.integers(40, 216, (CLASSES, 3))
    size = 0
    for i in range(ROWS):
        label = i % CLASSES
        path = folder / "pictures" / f"class {label}" / f"{i:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = rng.normal(0, 30, (EDGE, EDGE, 3)) + colours[label]
        Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(path, "JPEG", quality=85)
        size += path.stat().st_size
    save_file(Cnn().build(3, CLASSES, 0).state_dict(), folder / "model.safetensors")
    (folder / "spec.yaml").write_text(json.dumps(SPEC), encoding="utf-8")
    return size


def _run(folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "audit", "run", str(folder / "spec.yaml"), "--output", str(folder / "out")]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    peak = _Peak(process.pid)
    peak.start()
    _, said = process.communicate()
    peak.over.set()
    peak.join()
    if process.returncode != 0:
        raise RuntimeError(f"the audit ended with {process.returncode}: {said[-2000:]}")
    return {"peak": peak.most, "largest": peak.largest, "seconds": time.perf_counter() - start}


class _Peak(threading.Thread):
    """Reads the proportional memory of a process and of all that it started, in MB."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.over, self.most, self.largest = pid, threading.Event(), 0.0, 0.0

    def run(self) -> None:
        while not self.over.wait(EVERY):
            sizes = [_held(pid) for pid in _family(self.pid)]
            self.most = max(self.most, sum(pss for pss, _ in sizes))
            self.largest = max([self.largest, *(rss for _, rss in sizes)])


def _family(pid: int) -> list[int]:
    """A process and its descendants."""
    family = [pid]
    for own in family:
        for task in Path(f"/proc/{own}/task").glob("*/children"):
            try:
                family += [int(child) for child in task.read_text(encoding="ascii").split()]
            except OSError:
                continue
    return family


def _held(pid: int) -> tuple[float, float]:
    """Proportional and resident megabytes of a process; 0 where it has ended."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0.0, 0.0
    fields = {line.split(":")[0]: line.split()[1] for line in text.splitlines()[1:]}
    return float(fields.get("Pss", 0)) / 1024, float(fields.get("Rss", 0)) / 1024


if __name__ == "__main__":
    os.nice(15)
    print(memory())  # noqa: T201
