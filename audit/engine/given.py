"""Files of counterfactuals that the searches of a spec name."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from audit.core.base import sha256
from audit.core.counterfactuals import STATUS_COLUMNS
from audit.core.errors import DataError
from audit.core.labels import label_of
from audit.core.manifest import InputRecord
from audit.core.schema import FeatureSchema
from audit.core.table import Table, encode
from audit.engine.files import Steps, existing, parse_rows, said
from audit.spec.compile import FILE
from audit.spec.load import Loaded

INSTANCE = STATUS_COLUMNS[0]
"""The column with the id of the row that a counterfactual belongs to."""


class GivenFiles(NamedTuple):
    """The files that searches name.

    Attributes:
        tables: by path the rows, their instances as ids.
        records: of the files.
    """

    tables: dict[str, Table]
    records: list[InputRecord]

    def contents(self) -> dict[str, str]:
        """Digests of the files, for the keys of the tasks."""
        return {f"{FILE}{record.name}": record.sha256 for record in self.records}


def read_given(loaded: Loaded, schema: FeatureSchema) -> GivenFiles:
    """Every file that a search of the spec names.

    Raises:
        SpecError: there is no such file.
        DataError: it cannot be read, lacks a column, or holds values that are none of the feature.
    """
    tables: dict[str, Table] = {}
    records: list[InputRecord] = []
    for name, generator in sorted(loaded.spec.counterfactuals.items()):
        if generator.file is None or generator.file in tables:
            continue
        steps: Steps = ("counterfactuals", name, "path")
        path = existing(loaded, steps, generator.file)
        frame = parse_rows(loaded, steps, path, generator.file)
        tables[generator.file] = _table(loaded, steps, schema, frame)
        digest = sha256(path.read_bytes())
        role = f"counterfactuals of {name}"
        records.append(InputRecord(role=role, name=generator.file, sha256=digest, rows=len(frame)))
    return GivenFiles(tables, records)


def _table(loaded: Loaded, steps: Steps, schema: FeatureSchema, frame: pd.DataFrame) -> Table:
    """The rows of one file, of each instance in the order of its column `k` where it has one."""
    lacking = [column for column in (INSTANCE, *schema.names) if column not in frame.columns]
    if lacking:
        text = (
            f"the file has no column {lacking[0]!r}; it needs `{INSTANCE}` with the id of the row, and every feature: "
            f"{', '.join(schema.names)}"
        )
        raise DataError(said(loaded, steps, text))
    if frame[INSTANCE].isna().any():
        raise DataError(said(loaded, steps, f"column {INSTANCE!r} is empty in some rows; give each the id of its row"))
    if "k" in frame.columns:
        frame = frame.iloc[np.argsort(frame["k"].to_numpy(), kind="stable")]
    try:
        codes = encode(schema, frame.reset_index(drop=True))
    except (ValueError, TypeError) as error:
        raise DataError(said(loaded, steps, str(error))) from error
    return Table(schema, codes, tuple(label_of(value) for value in frame[INSTANCE]))
