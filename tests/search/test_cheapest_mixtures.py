"""The last resort of `cheapest`: mixtures of real rows."""

import numpy as np
import pandas as pd
from test_cheapest import ANY, IMMUTABLE, search

from audit.testing import toy_inputs

LOWS = pd.DataFrame({"a": [0, 9, 0, 0, 1], "b": [0, 0, 9, 0, 2], "c": [0, 0, 0, 9, 3]})


def test_a_mixture_of_rows_shows_a_way_that_no_row_shows() -> None:
    """The one flip takes three features at once, of which no row of the reference has two, and none gains alone."""
    inputs = toy_inputs(LOWS, lambda f: (f > 7).all(axis=1) * 0.8 + 0.1, sample_rows=[0, 4])
    for effort in ("fast", "quality"):
        found = search(inputs, effort=effort, proof_rows=0)
        assert found.row.tolist() == [0, 1]
        assert found.codes.tolist() == [[8, 8, 8], [8, 8, 8]]


def test_what_mixtures_do_not_show_is_said() -> None:
    """Only a row with d flips, and d may not change."""
    features = dict.fromkeys("abc", ANY) | {"d": IMMUTABLE}
    rows = LOWS.assign(d=[0.0, 1.0, 0.0, 0.0, 1.0])
    inputs = toy_inputs(rows, lambda f: ((f["a"] > 7) & (f["d"] > 0)) * 0.8 + 0.1, sample_rows=[0], features=features)
    assert inputs.model is not None
    asked = inputs.model.rows
    found = search(inputs, proof_rows=0, constraints="policy")
    assert not found.proven.any()
    assert found.reasons == [
        "neither a row of the reference data nor any of 2000 mixtures of them flips the outcome lawfully"
    ]
    assert np.sum(found.evaluated) + found.shared == inputs.model.rows - asked
