"""Class labels as text: one spelling for the model, the data and the spec."""

from typing import Any

import numpy as np


def label_of(value: Any) -> str:
    """The text of a class label or an id.

    Whole numbers lose their decimals (`1.0` and `1` are one class), truth values are `true` and `false` as in YAML,
    and text stays as it is.

    Raises:
        ValueError: the value is missing, or of a type that cannot be a label.
    """
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, str):
        return plain
    if isinstance(plain, bool):
        return "true" if plain else "false"
    if isinstance(plain, int):
        return str(plain)
    if isinstance(plain, float) and np.isfinite(plain):
        return str(int(plain)) if plain.is_integer() else repr(plain)
    raise ValueError(f"{plain!r} cannot be a class label; use text, whole numbers or true and false")
