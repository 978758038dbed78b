"""Files that a spec names, and messages that say where it names them."""

import difflib
import hashlib
from pathlib import Path

import pandas as pd

from audit.core.errors import DataError, ModelError, SpecError
from audit.core.manifest import InputRecord
from audit.spec.load import Loaded
from audit.spec.messages import Problem

Steps = tuple[str | int, ...]


def said(loaded: Loaded, steps: Steps, text: str) -> str:
    """A problem as one line: file and line, key, what is wrong."""
    return loaded.line_of(Problem(steps, text))


def existing(loaded: Loaded, steps: Steps, name: str) -> Path:
    """The path of a file that the spec names.

    Raises:
        SpecError: there is none; the message names the file that it is most like.
    """
    path = loaded.file(name)
    if path.is_file():
        return path
    beside = sorted(p.name for p in path.parent.iterdir() if p.is_file()) if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, beside, n=1)
    hint = f"did you mean {close[0]!r}?" if close else "paths are relative to the spec"
    raise SpecError(said(loaded, steps, f"there is no file {name!r}; {hint}"))


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
    try:
        frame = _parse(path)
    except (ValueError, OSError) as error:
        raise DataError(said(loaded, steps, f"{name} cannot be read: {str(error).splitlines()[0]}")) from error
    if not len(frame):
        raise DataError(said(loaded, steps, f"{name} has no rows"))
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise DataError(said(loaded, steps, f"{name} has two columns called {twice[0]!r}; rename one"))
    return frame


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
    except OSError as error:
        text = f"{name} cannot be read: {error.strerror}; check the path and its rights"
        raise ModelError(said(loaded, steps, text)) from error


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
