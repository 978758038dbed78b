"""`exact` on whole numbers that the trees split by category, missing values among them."""

from collections import Counter
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
import xgboost as xgb

from audit.core.counterfactuals import distance
from audit.core.model import ADAPTERS, Allow, Model, Source
from audit.search.exact import Exact
from audit.testing import search_set, toy_inputs

CODES = np.array([0.0, 1.0, 2.0, 3.0, 4.0, np.nan])
PROBLEMS = 12


def coded(kind: str, seed: int, folder: Path) -> tuple[pd.DataFrame, Model]:
    """Rows of a code with gaps and of a number that says nothing, and trees that take the code for a category."""
    rng = np.random.default_rng(seed)
    train = pd.DataFrame({"code": rng.choice(CODES, 300), "size": rng.integers(0, 3, 300).astype(float)})
    # In every other problem missing alone is on its side: nothing else flips a row, or every code flips it.
    high = rng.permutation(len(CODES))[: rng.integers(1, len(CODES))] if seed % 2 else [len(CODES) - 1]
    y = (train["code"].fillna(len(CODES) - 1).isin(high) ^ (rng.random(300) < 0.05)).astype(int)
    path = folder / {"lightgbm": "model.txt", "xgboost": "model.json"}[kind]
    if kind == "lightgbm":
        given = lgb.Dataset(train.to_numpy(), y, feature_name=list(train), categorical_feature=[0])
        more = {"min_data_per_group": 3, "cat_smooth": 1, "min_data_in_leaf": 3, "num_threads": 1, "verbosity": -1}
        lgb.train({"objective": "binary", "num_leaves": 6, **more}, given, 8).save_model(path)
    else:
        rows = xgb.DMatrix(
            train.to_numpy(), y, feature_names=list(train), feature_types=["c", "q"], enable_categorical=True, nthread=1
        )
        more = {"max_depth": 3, "max_cat_to_onehot": 2, "nthread": 1}
        xgb.train({"objective": "binary:logistic", **more}, rows, 8).save_model(path)
    adapter = ADAPTERS.classes()[kind].model_validate({"kind": kind, "path": str(path), "classes": ("no", "yes")})
    model: Any = adapter.load(Source(str(path), str(folder), Allow(), train, ("yes",)))
    return train, model


@pytest.mark.parametrize("kind", ["lightgbm", "xgboost"])
def test_missing_goes_where_the_split_by_category_sends_it(kind: str, tmp_path: Path) -> None:
    """Each code, missing among them, with each size: everything can be tried."""
    seen: Counter[str] = Counter()
    every = pd.DataFrame([{"code": code, "size": size} for code in CODES for size in (0.0, 1.0, 2.0)])
    for seed in range(PROBLEMS):
        train, model = coded(kind, seed, tmp_path)
        inputs = toy_inputs(every, model, train=train)
        assert inputs.sample is not None
        assert inputs.schema["code"].kind == "numeric"
        x, outcome = inputs.sample.table.codes, inputs.decision.outcome(inputs.sample.scores)
        found, _ = search_set(Exact(constraints="domain", combinations=0), inputs)
        for i, row in enumerate(x):
            other = x[outcome != outcome[i]]
            sizes = distance(inputs.schema, np.broadcast_to(row, other.shape), other)
            mine = found.codes[found.row == i]
            assert bool(found.proven[i]) == (not len(other)), (seed, i)
            if len(other):
                assert distance(inputs.schema, row[None], mine)[0] == pytest.approx(sizes.min(), abs=1e-9), (seed, i)
                seen["to missing"] += int(np.isnan(mine[0, 0]) and not np.isnan(row[0]))
                seen["from missing"] += int(np.isnan(row[0]) and not np.isnan(mine[0, 0]))
    assert min(seen["to missing"], seen["from missing"]) > 5, seen
