"""Counterfactuals that someone else has found, from a file."""

from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import JsonValue

from audit.core.choice import Choice, choices_table
from audit.core.counterfactuals import Found
from audit.core.evidence import Note
from audit.core.method import Context, Generator, Inputs
from audit.core.model import Ints
from audit.core.table import Table

CHOICES = (
    Choice("GIVEN-01", "order of the answers of a row", "column k, or the file", "the author knows which is the best"),
    Choice("GIVEN-02", "rows of instances that are not audited", "passed over", "a file may be of more than a sample"),
)


class Given(Generator):
    """Counterfactuals from a CSV or Parquet file: a column `instance` with the id of the row, and every feature.

    A table `counterfactuals` of a bundle is such a file. Each row is checked as those of any other search: values,
    constraints, and the outcome by the model. What fails is left out and counted.

    Assumes: the file is of this model and these rows; where it is not, the check says so.

    Reference: `methods/flex` 3.2, which takes counterfactuals from any generator.

    Attributes:
        path: the file, relative to the spec.
    """

    search: Literal["given"] = "given"
    path: str

    cites: ClassVar[tuple[str, ...]] = ()

    @property
    def file(self) -> str | None:
        """The file, which the engine reads into `inputs.given`."""
        return self.path

    def choices(self) -> pd.DataFrame:
        return choices_table(CHOICES, {})

    def notes(self, inputs: Inputs) -> tuple[Note, ...]:
        """How much of the file belongs to audited rows."""
        given, known = inputs.given[self.path].ids, set(inputs.evaluate.ids)
        strange = sum(instance not in known for instance in given)
        args: dict[str, JsonValue] = {"file": self.path, "rows": len(given), "strange": strange}
        said = Note(code="file", args=args)
        return (said, Note(code="strange", severity="minor", args=args)) if strange else (said,)

    def generate(self, ctx: Context, rows: Table, before: Ints) -> Found:
        given = ctx.inputs.given[self.path]
        place = {instance: i for i, instance in enumerate(rows.ids)}
        row = np.array([place.get(instance, -1) for instance in given.ids], dtype=np.int64)
        mine = np.flatnonzero(row >= 0)
        order = mine[np.argsort(row[mine], kind="stable")]
        hit = np.bincount(row[mine], minlength=len(rows)) > 0
        frozen = self.constraint(ctx.inputs.policy).frozen()
        return Found(
            row=row[order],
            codes=given.codes[order],
            proven=np.full(len(rows), frozen) & ~hit,
            reasons=["" if found else f"{self.path} holds none for this row" for found in hit],
            evaluated=np.zeros(len(rows), dtype=np.int64),
        )
