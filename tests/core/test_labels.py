"""One spelling of a class label, wherever it comes from."""

import numpy as np
import pytest

from audit.core.labels import label_of


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (1.0, "1"),
        (np.int64(1), "1"),
        (np.float32(1), "1"),
        (-0.0, "0"),
        (0.5, "0.5"),
        (True, "true"),
        (np.bool_(False), "false"),
        ("good", "good"),
        (np.str_("good"), "good"),
        (" padded ", " padded "),
        ("1.0", "1.0"),
    ],
)
def test_a_label_has_one_text(value, text):
    assert label_of(value) == text


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), np.nan, (1, 2)])
def test_what_is_no_label_is_refused(value):
    with pytest.raises(ValueError, match="cannot be a class label"):
        label_of(value)
