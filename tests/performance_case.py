"""Runs of performance on rows whose outcome follows a known probability."""

import numpy as np
import pandas as pd
from worded import assert_worded

from audit.core.plan import Part
from audit.methods.performance import Performance
from audit.testing import toy_context


def run(inputs, seed=0, **settings):
    result = Performance(**settings).run(toy_context(inputs, seed), Part(index=0))
    assert_worded("performance", result)
    return result


def metric(result, name, variant=None, outcome=None):
    (found,) = [
        m for m in result.metrics if m.name == name and m.where.variant == variant and m.where.outcome == outcome
    ]
    return found


def note(result, code):
    (found,) = [n for n in result.notes if n.code == code]
    return found


def codes(result):
    return {n.code for n in result.notes}


def people(n, seed=0, signal=1.0):
    """Rows whose outcome follows `x` and `level` by a known probability; `z` is noise."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"x": rng.normal(size=n), "z": rng.normal(size=n), "level": rng.choice(["a", "b", "c"], n)})
    p = 1 / (1 + np.exp(-signal * (frame["x"] + (frame["level"] == "a"))))
    return frame.assign(y=np.where(rng.random(n) < p, "yes", "no"))


def known(frame):
    return (1 / (1 + np.exp(-(frame["x"] + (frame["level"] == "a"))))).to_numpy()
