"""Writes train.parquet, holdout.parquet and model.skops from scikit-learn's own copy of the breast cancer data."""

import runpy
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

HERE = Path(__file__).resolve().parent
SEED = 1995
HOLDOUT_ROWS = 169


def main() -> None:
    """Writes the three files beside this script."""
    data = load_breast_cancer(as_frame=True)
    frame = data.data.copy()
    frame.insert(0, "case", np.arange(1, len(frame) + 1))
    frame["diagnosis"] = data.target.map(dict(enumerate(data.target_names)))
    train, holdout = train_test_split(frame, test_size=HOLDOUT_ROWS, stratify=frame["diagnosis"], random_state=SEED)
    train.sort_values("case").to_parquet(HERE / "train.parquet", index=False)
    holdout.sort_values("case").to_parquet(HERE / "holdout.parquet", index=False)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=1000))
    model.fit(train.sort_values("case")[data.feature_names], train.sort_values("case")["diagnosis"])
    repeatable_bytes = runpy.run_path(str(HERE.parent / "german_credit" / "make_model.py"))["repeatable_bytes"]
    (HERE / "model.skops").write_bytes(repeatable_bytes(model))


if __name__ == "__main__":
    main()
