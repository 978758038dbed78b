"""What a task found: in memory while it runs (Result), on disk afterwards (Evidence)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

import pandas as pd
from pydantic import AfterValidator, Field, JsonValue

from audit.core.base import Frozen

Status = Literal["ok", "error", "not_applicable", "refused", "incomplete"]
Severity = Literal["info", "minor", "major", "critical"]

KEY = r"^[0-9A-Za-z_-]{1,64}$"
"""A content key, or another name that is one step of a path."""


def inside(path: str) -> str:
    """A path below the folder of a bundle, as it was given.

    Raises:
        ValueError: it begins at the root of the disk, a step of it is hidden or leads up, or it cannot be read.
    """
    steps = path.split("/")
    if "\\" in path or not path.isprintable() or any(not step or step.startswith(".") for step in steps):
        raise ValueError(f"the path {path[:80]!r} leads out of the bundle")
    return path


PathInside = Annotated[str, AfterValidator(inside)]


class Where(Frozen):
    """What a metric was measured on; a field that is None does not narrow it."""

    data: Literal["train", "evaluate", "sample"] | None = None
    model: str | None = None
    region: str | None = None
    by: str | None = None
    group: str | None = None
    outcome: str | None = None
    feature: str | None = None
    variant: str | None = None


class Metric(Frozen):
    """A number with what it takes to judge it.

    Attributes:
        value: None where it is undefined; never NaN.
        low, high: the interval at `level`; None where there is none.
        interval: how the interval was made and what it covers, in a few words.
        n: rows, or other units of `unit`, that it rests on.
    """

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    level: float = 0.95
    interval: str = ""
    unit: str = ""
    n: int | None = None
    where: Where = Where()


class Note(Frozen):
    """Something to be said, as a code and its arguments; `templates/words/` has the sentence.

    A note with a severity becomes a finding.
    """

    code: str
    severity: Severity | None = None
    args: dict[str, JsonValue] = {}


@dataclass(frozen=True)
class Artefact:
    """A file that is not a table: a picture, a trained model."""

    data: bytes
    media_type: str


@dataclass(frozen=True)
class Result:
    """What a task, or one part of it, found."""

    metrics: tuple[Metric, ...] = ()
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    artefacts: Mapping[str, Artefact] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()
    status: Status = "ok"
    message: str = ""


class TableRecord(Frozen):
    """A table of the bundle; the path is relative to it."""

    name: str
    path: PathInside
    rows: int
    columns: tuple[str, ...]
    sha256: str = ""


class ArtefactRecord(Frozen):
    """A file of the bundle; the path is relative to it."""

    name: str
    path: PathInside
    media_type: str
    sha256: str = ""


class Evidence(Frozen):
    """The record of a task that was run, or of the reason why it was not."""

    id: str
    kind: str
    key: Annotated[str, Field(pattern=KEY)]
    status: Status
    message: str = ""
    metrics: tuple[Metric, ...] = ()
    tables: tuple[TableRecord, ...] = ()
    artefacts: tuple[ArtefactRecord, ...] = ()
    notes: tuple[Note, ...] = ()

    def files(self) -> "tuple[TableRecord | ArtefactRecord, ...]":
        """What lies beside the record: tables, then artefacts."""
        return (*self.tables, *self.artefacts)
