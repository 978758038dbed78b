"""What the report reads: the bundle, opened once."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pandas as pd

from audit.bundle import Bundle
from audit.core.base import sha256
from audit.core.evidence import Evidence, Metric
from audit.core.finding import Finding
from audit.core.manifest import Manifest
from audit.core.waiver import Waiver
from audit.report.text import visible
from audit.report.words import Words, words_of


@dataclass(frozen=True)
class Attached:
    """A file inside the PDF."""

    name: str
    data: bytes
    media_type: str
    relationship: str
    description: str
    day: str

    @property
    def sha256(self) -> str:
        """The digest that S21 prints."""
        return sha256(self.data)


REMEDIES = "remedies."
"""What the ids of remedies begin with."""


@dataclass(frozen=True, eq=False)
class Source:
    """A bundle as the sections read it.

    Attributes:
        shown: the code points that can be drawn, None for all.
        paged: the result is printed, so long tables are cut short.
        files: what is attached to the PDF; none where there is no PDF to attach it to.
    """

    bundle: Bundle
    paged: bool = False
    shown: frozenset[int] | None = None
    files: tuple[Attached, ...] = ()

    @cached_property
    def manifest(self) -> Manifest:
        """The manifest."""
        return self.bundle.manifest()

    @cached_property
    def records(self) -> tuple[Evidence, ...]:
        """The evidence in the order of the plan."""
        return self.bundle.records()

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """The findings."""
        return self.bundle.findings()

    @cached_property
    def waivers(self) -> tuple[Waiver, ...]:
        """The waivers of the spec."""
        return self.bundle.waivers()

    def facts(self, *path: str) -> Any:
        """A fact of the manifest by its path, or None."""
        value: Any = self.manifest.facts
        for step in path:
            if not isinstance(value, Mapping) or value.get(step) is None:
                return None
            value = value[step]
        return value

    def record(self, task: str) -> Evidence | None:
        """The evidence of a task by its id."""
        return next((record for record in self.records if record.id == task), None)

    @cached_property
    def given(self) -> tuple[Evidence, ...]:
        """The evidence without the audits of models that remedies made."""
        return tuple(record for record in self.records if "@" not in record.id)

    def again(self, remedy: str) -> tuple[Evidence, ...]:
        """The audit of the model that a remedy made, by the id of the remedy."""
        return tuple(record for record in self.records if record.id.partition("@")[2] == remedy)

    def of_kind(self, kind: str) -> Iterator[Evidence]:
        """All evidence of a kind."""
        return (record for record in self.records if record.kind == kind)

    def words(self, record: Evidence) -> Words:
        """The wording for a piece of evidence; what every search publishes is worded by the verifier."""
        if record.id == "sample":
            return words_of("sample")
        own = words_of(record.kind)
        if not record.id.startswith("counterfactuals."):
            return own
        shared = words_of("verify")
        return replace(own, metrics={**shared.metrics, **own.metrics}, tables={**shared.tables, **own.tables})

    def settings(self, record: Evidence) -> Mapping[str, Any]:
        """The settings that a task was run with."""
        return next((task.settings for task in self.manifest.plan.tasks if task.id == record.id), {})

    def table(self, record: Evidence, name: str) -> pd.DataFrame | None:
        """A table of the evidence, or None if it has none of that name or the name has no rows."""
        found = next((table for table in record.tables if table.name == name), None)
        if found is None or not found.rows:
            return None
        if found.path not in self._tables:
            self._tables[found.path] = self.bundle.table(found)
        return self._tables[found.path]

    @cached_property
    def _tables(self) -> dict[str, pd.DataFrame]:
        return {}

    def artefact(self, record: Evidence, name: str) -> bytes | None:
        """The bytes of an artefact of the evidence, or None if it has none of that name."""
        found = next((artefact for artefact in record.artefacts if artefact.name == name), None)
        return self.bundle.read(found.path) if found else None

    def path(self, record: Evidence, name: str) -> str:
        """Where a table lies in the bundle."""
        return next((table.path for table in record.tables if table.name == name), "")

    def show(self, label: Any) -> str:
        """A label as it will be drawn in a figure, so that its length is known."""
        return visible(str(label), self.shown)


def metric(record: Evidence, name: str, **where: str | None) -> Metric | None:
    """A metric by name; with `where`, the one that has these values there."""
    for found in record.metrics:
        if found.name == name and all(getattr(found.where, key) == value for key, value in where.items()):
            return found
    return None


def where_text(found: Metric) -> str:
    """What a metric was measured on, in words."""
    parts = []
    place = found.where
    if place.region:
        parts.append(f"region {place.region}")
    if place.by or place.group:
        parts.append(f"{place.by or 'group'} = {place.group or 'all'}")
    if place.model and place.model != "given":
        parts.append("remedied model" if place.model == "remedied" else f"model {place.model}")
    for name in ("outcome", "feature", "variant"):
        value = getattr(place, name)
        if value:
            parts.append(f"{name} {value}")
    if place.data:
        parts.append({"train": "training data", "evaluate": "evaluation data", "sample": "audited sample"}[place.data])
    return ", ".join(parts) or "whole audit"
