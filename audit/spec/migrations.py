"""Specs of older versions of the language, as the present one writes them."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from audit.core.errors import SpecError
from audit.spec.model import SPEC_VERSION

Plain = dict[str, Any]


def _from_0(old: Plain) -> Plain:
    """Version 0 had `seed` at the top and the threshold as `model.threshold`."""
    new = deepcopy(old)
    _move(new, new, "seed", ("run", "seed"))
    model = new.get("model")
    if isinstance(model, dict):
        _move(new, model, "threshold", ("model", "decision", "at_least"))
    return new


def _move(data: Plain, source: Plain, key: str, target: tuple[str, ...]) -> None:
    """Moves a value to where it now belongs; it stays, and is refused as unknown, if something stands there."""
    if key not in source:
        return
    inside = data
    for step in target[:-1]:
        inside = inside.setdefault(step, {})
        if not isinstance(inside, dict):
            return
    if target[-1] not in inside:
        inside[target[-1]] = source.pop(key)


MIGRATIONS: dict[int, Callable[[Plain], Plain]] = {0: _from_0}
"""From a version to the next one, over plain data."""


def migrate(data: Plain, where: str) -> Plain:
    """The data in the present version of the language; a version that is missing or no number is left to validation.

    Args:
        where: file and line of `spec_version`, for messages.

    Raises:
        SpecError: the version is not known.
    """
    version = data.get("spec_version")
    if not isinstance(version, int) or isinstance(version, bool):
        return data
    known = ", ".join(map(str, [*MIGRATIONS, SPEC_VERSION]))
    if version > SPEC_VERSION:
        raise SpecError(f"{where}: spec_version: {version} is too new, this audit knows {known}; install a newer audit")
    if version < min(MIGRATIONS):
        raise SpecError(f"{where}: spec_version: {version} is not known; there are {known}")
    for step in range(version, SPEC_VERSION):
        data = MIGRATIONS[step](data) | {"spec_version": step + 1}
    return data
