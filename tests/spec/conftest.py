"""Toy methods, searches and adapters in place of the installed ones, so that these tests depend on the spec alone."""
# ruff: noqa: E501 - the spec of the design stands here word for word

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
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


EXAMPLE = """\
spec_version: 1
audit: {id: german-credit-2026q4, title: Retail credit scorecard, owner: Model Risk, purpose: Annual validation, as_of: 2026-11-01}
model:
  kind: sklearn
  path: model.skops
  sha256: 4f0c…
  features: [age, sex, amount, duration, savings, existing_credits, housing]
  decision: {score: p(favourable), at_least: 0.5}
data:
  train: train.parquet
  evaluate: holdout.parquet
  id: applicant_id
  target: {column: outcome, favourable: [good]}
  protected: [sex, age_group]
  production_score: score_in_system
  sample: {rows: 300, stratify: decision}
mutability:
  default: immutable
  features:
    amount:   {change: decrease, min: 250, step: 50, unit: DM, why: negotiable, owner: Credit Policy, approved: 2026-03-01}
    duration: {change: any, min: 4, max: 72, integer: true}
    savings:  {change: increase, order: ["<100", "100-500", "500-1000", ">1000"]}
  rules: ["duration <= 72 - 2 * existing_credits"]
regions:
  - {name: young applicants, where: "age < 26"}
  - {name: like applicant 17, around: 17, nearest: 50}
counterfactuals:
  flips:    {search: nearest,  per_row: 10, for: each,         constraints: domain}
  recourse: {search: cheapest, per_row: 3,  for: unfavourable, constraints: policy}
methods:
  - {kind: performance}
  - {kind: flex, from: flips, min_change: 0.0, regions: all}
  - {kind: shap}
  - {kind: agreement, of: [flex, shap]}
  - {kind: reasons, from: flips, top: 4}
  - {kind: recourse, from: recourse, by: [sex, age_group]}
gates:
  - {metric: performance.auc, at_least: 0.75}
  - {metric: recourse.feasible_rate, by: sex, gap_at_most: 0.05, severity: major}
report: {formats: [html, pdf], template: standard, opinion: {word: qualified, by: A. Validator, text: opinion.md}}
run: {seed: 7, workers: 2, part_rows: 1000}
"""
"""The spec of design.md section 8, word for word but its comments."""


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
