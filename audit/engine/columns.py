"""Columns and features that settings of methods name, with where the spec names them."""

from collections.abc import Iterator
from typing import Any

from audit.engine.files import Steps
from audit.spec.model import Spec


def columns_named(spec: Spec) -> list[tuple[Steps, str]]:
    """Columns of the evaluation data."""
    return [found for steps, method in _methods(spec) for found in _named(method, method.columns, steps)]


def features_named(spec: Spec) -> list[tuple[Steps, str]]:
    """Columns that must be features of the model."""
    return [found for steps, method in _methods(spec) for found in _named(method, method.features, steps)]


def _methods(spec: Spec) -> Iterator[tuple[Steps, Any]]:
    for i, method in enumerate(spec.methods):
        yield ("methods", i), method


def _named(method: Any, settings: tuple[str, ...], steps: Steps) -> Iterator[tuple[Steps, str]]:
    for setting in settings:
        yield from _leaves(getattr(method, setting), (*steps, setting))


def _leaves(value: Any, steps: Steps) -> Iterator[tuple[Steps, str]]:
    """The texts of a list, however deep, or the keys of a mapping."""
    if isinstance(value, str):
        yield steps, value
    elif isinstance(value, dict):
        yield from (((*steps, key), key) for key in value)
    elif isinstance(value, tuple):
        for i, part in enumerate(value):
            yield from _leaves(part, (*steps, i))
