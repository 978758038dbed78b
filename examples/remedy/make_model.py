"""Writes train.csv, holdout.csv and model.safetensors: made-up applicants, and a network that leans on their age.

No real person stands in the data. Each applicant has a habit of paying, which nobody can measure and which grows with
age. The outcome follows from the habit alone. Every feature is a trace of the habit: the age is a clean one, what an
applicant can change (utilisation, savings, instalments, overdrafts) are noisy ones. A network that is trained to be
accurate therefore leans on the age, although two applicants of one habit and two ages are equally good risks.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from audit.core.infer import ColumnInfo, infer_schema
from audit.core.network import Mlp, Network, Prepare
from audit.core.table import Table, encode
from audit.models.torch_module import save_network

HERE = Path(__file__).resolve().parent
SEED = 2026
TRAIN_ROWS, HOLDOUT_ROWS = 1200, 600
AGE_BANDS = ("18-25", "26-35", "36-45", "46-55", "56-65", "over 65")
FEATURES = ("age_band", "utilisation", "savings", "instalment_share", "buffer_days")
CLASSES = ("bad", "good")
SURPRISES = 0.03
"""The share of applicants who end otherwise than their habit lets expect."""
EPOCHS, BATCH, RATE = 60, 30, 1e-3


def applicants(n: int, rng: np.random.Generator) -> pd.DataFrame:
    """n applicants; the outcome depends on the habit, and on the age only because the habit does."""
    pays = rng.random(n) < 0.5
    habit = np.where(pays, 1.0, -1.0)
    age = np.clip(np.rint(2.5 + 1.3 * habit + rng.normal(0, 0.8, n)), 0, len(AGE_BANDS) - 1).astype(int)
    return pd.DataFrame(
        {
            "applicant_id": np.arange(1, n + 1),
            "age_band": np.array(AGE_BANDS)[age],
            "utilisation": np.clip(50 - 10 * habit + rng.normal(0, 12, n), 0, 100).round(1),
            "savings": np.clip(6 + 1.6 * habit + rng.normal(0, 2, n), 0, None).round(2),
            "instalment_share": np.clip(30 - 5 * habit + rng.normal(0, 6, n), 2, 70).round(1),
            "buffer_days": np.clip(40 + 10 * habit + rng.normal(0, 12, n), 0, None).round(),
            "outcome": np.where(pays ^ (rng.random(n) < SURPRISES), "good", "bad"),
        }
    )


def fit(frame: pd.DataFrame) -> Network:
    """The network that the lender uses: one hidden layer, cross-entropy, Adam."""
    schema = infer_schema(frame, FEATURES, {"age_band": ColumnInfo(order=AGE_BANDS)})
    codes = encode(schema, frame)
    prepare = Prepare.fit(schema, Table(schema, codes, tuple(map(str, frame["applicant_id"]))))
    x = torch.from_numpy(prepare.matrix(codes))
    y = torch.tensor([CLASSES.index(label) for label in frame["outcome"]])
    shape = Mlp(hidden=(32,))
    module = shape.build(x.shape[1], len(CLASSES), SEED)
    optimiser = torch.optim.Adam(module.parameters(), lr=RATE)
    order = torch.Generator().manual_seed(SEED)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x), generator=order).split(BATCH):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(module(x[rows]), y[rows]).backward()
            optimiser.step()
    return Network(module, shape, prepare, CLASSES)


def main() -> None:
    """Writes the three files beside this script."""
    torch.set_num_threads(1)
    people = applicants(TRAIN_ROWS + HOLDOUT_ROWS, np.random.default_rng(SEED))
    train, holdout = people.iloc[:TRAIN_ROWS], people.iloc[TRAIN_ROWS:]
    train.to_csv(HERE / "train.csv", index=False, lineterminator="\n")
    holdout.to_csv(HERE / "holdout.csv", index=False, lineterminator="\n")
    save_network(HERE / "model.safetensors", fit(pd.read_csv(HERE / "train.csv")))


if __name__ == "__main__":
    main()
