"""Toy methods, searches and adapters in place of the installed ones, so that these tests depend on the spec alone."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from design_spec import EXAMPLE
from pydantic import Field

from audit.core.method import GENERATORS, METHODS, Generator, Method
from audit.core.model import ADAPTERS, Adapter
from audit.spec.load import Loaded, load_spec
from audit.spec.model import Spec

REGISTRIES = (METHODS, GENERATORS, ADAPTERS)
BUILT = ("__pydantic_core_schema__", "__pydantic_validator__", "__pydantic_serializer__", "__pydantic_complete__")


def define_toys() -> None:
    """Classes of the kinds that design.md section 8 shows."""

    class Sklearn(Adapter):
        """A file."""

        kind: Literal["sklearn"] = "sklearn"
        path: str
        sha256: str | None = None
        uses: ClassVar[tuple[str, ...]] = ("scikit-learn",)

    class Nearest(Generator):
        """A search."""

        search: Literal["nearest"] = "nearest"

    class Cheapest(Generator):
        """Another search.

        Attributes:
            effort: how long it looks.
        """

        search: Literal["cheapest"] = "cheapest"
        effort: Literal["fast", "quality"] = "fast"

    class Performance(Method):
        """Reads nothing."""

        kind: Literal["performance"] = "performance"

    class Shap(Method):
        """Reads nothing, uses a library."""

        kind: Literal["shap"] = "shap"
        uses: ClassVar[tuple[str, ...]] = ("shap",)

    class FromSet(Method):
        """Reads one set.

        Attributes:
            from_: the set.
        """

        kind: Literal["reasons"] = "reasons"
        from_: str = Field(alias="from")
        top: int = Field(default=4, ge=1)

        def reads(self) -> dict[str, str]:
            return {"from": f"counterfactuals.{self.from_}"}

    class Flex(Method):
        """Reads one set, knows regions."""

        kind: Literal["flex"] = "flex"
        from_: str = Field(alias="from")
        min_change: float = Field(default=0.0, ge=0)
        regions: Literal["all", "none"] | tuple[str, ...] = "all"

        def reads(self) -> dict[str, str]:
            return {"from": f"counterfactuals.{self.from_}"}

    class Recourse(Method):
        """Reads one set."""

        kind: Literal["recourse"] = "recourse"
        from_: str = Field(alias="from")
        by: tuple[str, ...] = ()

        def reads(self) -> dict[str, str]:
            return {"from": f"counterfactuals.{self.from_}"}

    class Agreement(Method):
        """Reads other methods."""

        kind: Literal["agreement"] = "agreement"
        of: tuple[str, ...] = Field(min_length=2)

        def reads(self) -> dict[str, str]:
            return {name: name for name in self.of}


@pytest.fixture(scope="session")
def toy_classes() -> dict[Any, dict[str, Any]]:
    saved = {registry: (registry._classes, registry._found) for registry in REGISTRIES}
    for registry in REGISTRIES:
        registry._classes = {}
    define_toys()
    toys = {registry: registry._classes for registry in REGISTRIES}
    for registry, (classes, found) in saved.items():
        registry._classes, registry._found = classes, found
    return toys


@pytest.fixture(scope="module")
def toys(toy_classes: dict[Any, dict[str, Any]]) -> Iterator[None]:
    """Only the toys are installed."""
    saved = {registry: (registry._classes, registry._found) for registry in REGISTRIES}
    built = {name: getattr(Spec, name) for name in BUILT if name in Spec.__dict__}
    for registry, classes in toy_classes.items():
        registry._classes, registry._found = dict(classes), True
    Spec.model_rebuild(force=True)
    yield
    for registry, (classes, found) in saved.items():
        registry._classes, registry._found = classes, found
    for name in BUILT:
        if name in built:
            setattr(Spec, name, built[name])


@pytest.fixture
def example() -> str:
    return EXAMPLE


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Loaded]:
    """Loads a text as `spec.yaml`."""

    def action(text: str | bytes, *overrides: str) -> Loaded:
        path = tmp_path / "spec.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return load_spec(path, overrides)

    return action
