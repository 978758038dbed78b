"""Files that a spec names, and messages that say where it names them."""

import difflib
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from audit.confinement import memory_within, table_memory
from audit.core.errors import DataError, ModelError, SpecError
from audit.core.manifest import InputRecord
from audit.paths import refusal
from audit.spec.load import Loaded
from audit.spec.messages import Problem

Steps = tuple[str | int, ...]

MOST_COLUMNS = 20_000
SHOWN = 200
"""Characters of a path that a message repeats."""


def said(loaded: Loaded, steps: Steps, text: str) -> str:
    """A problem as one line: file and line, key, what is wrong."""
    return loaded.line_of(Problem(steps, text))


def existing(loaded: Loaded, steps: Steps, name: str, *, beside: bool = False) -> Path:
    """The path of a file that the spec names.

    Args:
        beside: it must lie in the folder of the spec, as a text must that the report quotes.

    Raises:
        SpecError: there is none, or it is refused; the message names the file that it is most like.
    """
    path = followed(loaded, steps, name, beside=beside)
    if path.is_file():
        return path
    if path.is_dir():
        raise SpecError(said(loaded, steps, f"{name!r} is a folder; name a file"))
    others = sorted(p.name for p in path.parent.iterdir() if p.is_file()) if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, others, n=1)
    hint = f"did you mean {close[0]!r}?" if close else "paths are relative to the spec"
    raise SpecError(said(loaded, steps, f"there is no file {name!r}; {hint}"))


def followed(loaded: Loaded, steps: Steps, name: str, *, beside: bool = False) -> Path:
    """The path of a file or folder that the spec names, whether it is there or not.

    Raises:
        SpecError: it is no path to follow.
    """
    why = refusal(loaded.path.parent, name)
    path = loaded.file(name)
    if why is None and beside and not path.resolve().is_relative_to(loaded.path.parent.resolve()):
        why = "lies outside the folder of the spec, and the report would quote it; put the text beside the spec"
    if why is not None:
        raise SpecError(said(loaded, steps, f"{name[:SHOWN]!r} {why}"))
    return path


def read_rows(loaded: Loaded, role: str, name: str) -> tuple[pd.DataFrame, InputRecord]:
    """The rows of `data.<role>` and the record of their file.

    Raises:
        SpecError: there is no such file.
        DataError: it cannot be read, has no rows, or two columns of one name.
    """
    steps: Steps = ("data", role)
    path = existing(loaded, steps, name)
    frame = parse_rows(loaded, steps, path, name)
    return frame, InputRecord(role=role, name=name, sha256=file_sha256(path), rows=len(frame))


def parse_rows(loaded: Loaded, steps: Steps, path: Path, name: str) -> pd.DataFrame:
    """The rows of a file that is there.

    Raises:
        DataError: it cannot be read, has no rows, or two columns of one name.
    """
    most = table_memory(path.stat().st_size)
    try:
        with memory_within(most):
            frame = _parse(path)
    except MemoryError as error:
        text = f"{name} needs more than {most / 2**30:.0f} GiB of memory to be read; give fewer rows or columns"
        raise DataError(said(loaded, steps, text)) from error
    except Exception as error:  # the file is foreign: whatever its reader raises is a fault of the file
        why = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        raise DataError(said(loaded, steps, f"{name} cannot be read: {why}")) from error
    if len(frame.columns) > MOST_COLUMNS:
        text = f"{name} has {len(frame.columns):,} columns, and at most {MOST_COLUMNS:,} are read; leave some out"
        raise DataError(said(loaded, steps, text))
    if not len(frame):
        raise DataError(said(loaded, steps, f"{name} has no rows"))
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise DataError(said(loaded, steps, f"{name} has two columns called {twice[0]!r}; rename one"))
    odd = next((name for name, values in frame.items() if values.dtype.kind == "O" and _is_odd(values)), None)
    if odd is not None:
        text = f"column {odd!r} of {name} holds lists, bytes or whole numbers of more than 18 digits; "
        raise DataError(said(loaded, steps, text + "write them as text, or leave the column out"))
    return frame


def _is_odd(values: "pd.Series[Any]") -> bool:
    """Whether cells hold what is neither a text nor a number that fits."""
    kinds = set(map(type, values))
    if kinds & {list, tuple, dict, set, bytes, np.ndarray}:
        return True
    return int in kinds and any(isinstance(value, int) and abs(value) >= 2**63 for value in values)


def _parse(path: Path) -> pd.DataFrame:
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    if path.suffix == ".csv" or path.name.endswith(".csv.gz"):
        return pd.read_csv(path, low_memory=False)
    raise ValueError(f"{path.suffix or 'no suffix'!r} is not a known kind of file; use .csv, .csv.gz or .parquet")


def read_whole(loaded: Loaded, steps: Steps, path: Path, name: str) -> bytes:
    """The bytes of the model file.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except (OSError, MemoryError) as error:
        why = getattr(error, "strerror", None) or "it is larger than the memory"
        text = f"{name} cannot be read: {why}; check the path and its rights"
        raise ModelError(said(loaded, steps, text)) from error


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
