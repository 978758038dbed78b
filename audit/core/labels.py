"""Class labels as text: one spelling for the model, the data and the spec."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from audit.core.errors import ModelError


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


def class_labels(values: Iterable[Any]) -> tuple[str, ...]:
    """The texts of the classes of a model, in order.

    Raises:
        ValueError: one of them is no label, two share a text, or there are fewer than two.
    """
    labels = tuple(label_of(value) for value in values)
    if len(set(labels)) < len(labels):
        raise ValueError(f"two classes share a name: {', '.join(labels)}; give each class a name of its own")
    if len(labels) < 2:
        raise ValueError(f"{len(labels)} class where at least two are needed: {', '.join(labels) or 'none'}")
    return labels


def model_classes(values: Iterable[Any]) -> tuple[str, ...]:
    """The texts of the classes that the spec lists for a model, in order.

    Raises:
        ModelError: as `class_labels`.
    """
    try:
        return class_labels(values)
    except ValueError as error:
        raise ModelError(f"model.classes: {error}") from error
