"""Shares and means with their intervals, by hand."""

import numpy as np
import pytest

from audit.core.evidence import Where
from audit.core.measures import mean_metric, share_metric

WHERE = Where(data="sample")


def test_the_interval_of_a_share_is_wilsons():
    """3 of 12, whose 95 % interval of Wilson, by hand, is 0.0889 to 0.5323."""
    share = share_metric("found", 3, 12, WHERE, "rows")
    assert (share.value, share.unit, share.n, share.interval) == (0.25, "share", 12, "Wilson, 95 %, over rows")
    assert (share.low, share.high) == (pytest.approx(0.0889, abs=5e-5), pytest.approx(0.5323, abs=5e-5))
    assert share.where == WHERE


def test_a_share_of_nothing_is_unknown():
    share = share_metric("found", 0, 0, WHERE, "rows")
    assert (share.value, share.low, share.high, share.interval, share.n) == (None, None, None, "", 0)


def test_the_interval_of_a_mean_is_normal():
    """1, 2, 3, 6: mean 3, standard deviation the root of 14 / 3, half of the width 1.96 of it over 2."""
    mean = mean_metric("edits", np.array([1.0, 2.0, 3.0, 6.0]), "cells", WHERE, "pictures")
    half = 1.96 * (14 / 3) ** 0.5 / 2
    assert (mean.value, mean.low, mean.high) == (3, pytest.approx(3 - half), pytest.approx(3 + half))
    assert (mean.unit, mean.n, mean.interval) == ("cells", 4, "normal, 95 %, over pictures")


def test_few_values_have_a_mean_without_interval_or_none():
    one = mean_metric("edits", np.array([7.0]), "cells", WHERE, "pictures")
    assert (one.value, one.low, one.high, one.interval, one.n) == (7, None, None, "", 1)
    none = mean_metric("edits", np.empty(0), "cells", WHERE, "pictures")
    assert (none.value, none.low, none.high, none.interval, none.n) == (None, None, None, "", 0)


def test_a_mean_between_bounds_leans_away_from_them():
    """10 rows, all 1: up to 1 + 4 times the upper end of a share of 0 of 10, by Student's quantile of 2.262."""
    mean = mean_metric("changed", np.ones(10), "features", WHERE, "rows", (1, 5))
    assert (mean.value, mean.low, mean.high) == (1, 1, pytest.approx(1 + 4 * 2.262**2 / (10 + 2.262**2), abs=1e-3))
    assert mean.interval == "Wilson with an effective sample size, 95 %, over rows"
