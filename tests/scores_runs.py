"""Runs of the method ScoresActivation on a small table, and what is read off them."""

import numpy as np
import pandas as pd
from worded import assert_worded

from audit.methods.scores_activation import ScoresActivation
from audit.testing import toy_context, toy_inputs

QUICK = {"seeds": 2, "null_permutations": 2, "epochs": 15, "shap_rows": 5, "shap_background": 20, "lr": 5e-3}


def frame(n=200, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "a": rng.normal(0, 10, n),
            "b": rng.normal(5, 1, n),
            "c": rng.choice(["x", "y", "z"], n),
            "d": rng.random(n) < 0.5,
            "e": rng.normal(size=n),
        }
    )


def score(rows):
    return 1 / (1 + np.exp(-(rows["a"].clip(-90, 90) / 5 + 1.5 * (rows["c"] == "x") + 0.5 * rows["d"] - 0.5)))


def inputs(rows=None, model=score, **settings):
    rows = frame() if rows is None else rows
    return toy_inputs(rows, model, **settings)


def labelled(n=200, seed=0):
    rows = frame(n, seed)
    return rows.assign(paid=np.where(score(rows) > np.random.default_rng(seed).random(n), "yes", "no"))


def run(given, **settings):
    """A run over all parts, as the engine does it."""
    method = ScoresActivation.model_validate({**QUICK, **settings})
    partials = [method.run(toy_context(given), part) for part in method.parts(given, 100)]
    result = method.merge(given, partials)
    assert_worded("scores_activation", result)
    return result


def values(result, column="value", table="scores_global"):
    return result.tables[table].set_index("feature")[column]


def metric(result, name, **where):
    found = [m for m in result.metrics if m.name == name and all(getattr(m.where, k) == v for k, v in where.items())]
    assert len(found) == 1, (name, found)
    return found[0]


def note(result, code):
    found = [n for n in result.notes if n.code == code]
    assert len(found) <= 1
    return found[0] if found else None
