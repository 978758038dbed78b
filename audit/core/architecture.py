"""The architecture of a network by its kind: one of ours, or one that an installed package offers."""

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any, TypeVar

from pydantic import ValidationError

from audit.core.base import Frozen
from audit.core.errors import ModelError

A = TypeVar("A", bound=Frozen)


def architecture_of(settings: Mapping[str, Any], ours: Mapping[str, type[A]], group: str, base: type[A]) -> A:
    """The architecture that `model.architecture` describes; without a `kind` it is the first of ours.

    Args:
        ours: classes by kind.
        group: the entry points under which packages offer others.
        base: what an architecture must be derived from.

    Raises:
        ModelError: the kind is not known, or a setting is wrong.
    """
    offered = {entry.name: entry for entry in entry_points(group=group)}
    kind = settings.get("kind", next(iter(ours)))
    if kind not in ours and kind not in offered:
        known = ", ".join(sorted({*ours, *offered}))
        raise ModelError(f"model.architecture: {kind!r} is not known; there are {known}")
    try:
        cls = ours[kind] if kind in ours else offered[kind].load()
        shape = cls.model_validate({"kind": kind, **settings}, strict=False)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ModelError(f"model.architecture.{where}: {first['msg']}") from error
    except Exception as error:  # foreign code
        raise ModelError(f"model.architecture: {kind!r} cannot be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(shape, base):
        raise ModelError(f"model.architecture: {kind!r} is no {base.__name__}; its package must derive it from ours")
    return shape
