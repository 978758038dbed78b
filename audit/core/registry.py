"""How methods, generators and adapters are found: a folder and entry points, one door for both."""

import importlib
import pkgutil
from importlib.metadata import entry_points
from typing import Any, Generic, Literal, TypeVar, Union, get_args, get_origin

from audit.core.errors import SpecError

T = TypeVar("T")


class Registry(Generic[T]):
    """The classes of one family by their kind.

    Args:
        noun: how messages call a member of the family.
        tag: the field whose `Literal` names the kind, and by which the spec chooses.
        package: the folder of the built-in ones, which is also the name of the entry-point group.
    """

    def __init__(self, noun: str, tag: str, package: str) -> None:
        self.noun = noun
        self.tag = tag
        self.package = package
        self._classes: dict[str, type[T]] = {}
        self._found = False

    def add(self, cls: Any) -> None:
        """Registers a class that names its kind by a Literal; abstract classes are passed over.

        Raises:
            TypeError: another class already has this kind.
        """
        annotation = cls.model_fields[self.tag].annotation
        if get_origin(annotation) is not Literal:
            return
        for kind in get_args(annotation):
            other = self._classes.get(kind)
            if other is not None and (other.__module__, other.__qualname__) != (
                cls.__module__,
                cls.__qualname__,
            ):
                raise TypeError(f"two classes for {self.noun} {kind!r}: {other.__module__} and {cls.__module__}")
            self._classes[kind] = cls

    def classes(self) -> dict[str, type[T]]:
        """Every class by kind, in alphabetical order, after looking in the folder and at the entry points.

        Raises:
            SpecError: an installed plug-in cannot be imported; the message names its distribution.
        """
        if not self._found:
            self._discover()
            self._found = True
        return dict(sorted(self._classes.items()))

    def _discover(self) -> None:
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self.package}.{module.name}")
        for entry in sorted(entry_points(group=self.package), key=lambda e: (e.name, e.value)):
            try:
                entry.load()
            except Exception as error:
                owner = entry.dist.name if entry.dist else "unknown distribution"
                raise SpecError(
                    f"plug-in {owner}: {self.noun} {entry.name!r} ({entry.value}) cannot be loaded: "
                    f"{type(error).__name__}: {error}. Repair or uninstall {owner}."
                ) from error

    def union(self) -> Any:
        """The type of any member, for a discriminated field of the spec."""
        return Union[tuple(self.classes().values())]  # noqa: UP007 - built at run time
