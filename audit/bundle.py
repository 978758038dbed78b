"""A run on disk. The bundle is also the cache: a task whose key is present is not run again."""

import hashlib
import io
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Never
from uuid import uuid4

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import JsonValue, ValidationError

from audit.confinement import memory_within, table_memory
from audit.core.base import canonical_json, sha256
from audit.core.errors import BundleError
from audit.core.evidence import KEY, Artefact, ArtefactRecord, Evidence, Result, TableRecord, inside
from audit.core.finding import Finding
from audit.core.integrity import SIGNATURE, differences
from audit.core.manifest import Manifest
from audit.core.waiver import Waiver
from audit.disk import faults, held, settle_folder, write_through, write_whole
from audit.paths import MOST_BYTES

UNRECORDED = frozenset({"manifest.json", "run.json", SIGNATURE})
"""Files whose digest the manifest cannot or must not hold."""


STAGES = (".next", ".drawn")
"""Folders inside a bundle in which the next one is made: by a run, and where only the report is drawn again."""

PENDING = "pending.json"
"""The file in them that says: all is there, and is now put in place."""

MOST_JSON = 2**30
"""The largest file of a bundle that is read as JSON."""

PATIENCE = 10.0
"""Seconds to wait for a process that is putting a bundle in place: it only renames files."""


class GoneError(BundleError):
    """A file of a bundle is not there."""


class Bundle:
    """A folder that holds every number of an audit with where it came from.

    It may come from a stranger: every file of it is opened through `found`, and every JSON of it read through `read`
    or `plain`, so that what it says of paths leads nowhere else, and what is not as audit writes it is one sentence.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.distrusted = set[str]()
        """Keys of evidence that is there and was not taken, since its files are not those that were recorded."""

    def place(self, path: str) -> Path:
        """Where a file of the bundle is."""
        return self.root / path

    def target(self, path: str) -> Path:
        """Where a file of the bundle is written."""
        return self.root / path

    def has(self, path: str) -> bool:
        """Whether there is a file of this name; whether it may be opened is another question."""
        return self.place(path).is_file()

    def found(self, path: str) -> Path:
        """Where a file of the bundle is, to be opened.

        Raises:
            BundleError: it leads out of the bundle, over a link, or to no plain file.
        """
        try:
            inside(path)
        except ValueError as error:
            raise BundleError(f"{self.root}: {printable(str(error))}; nothing was read there") from error
        place = self.place(path)
        _check_file(self.root, place)
        return place

    def read(self, path: str) -> bytes:
        """The bytes of a file of the bundle.

        Raises:
            BundleError: it is not there, or not to be opened.
        """
        return self.found(path).read_bytes()

    def sha256(self, path: str) -> str:
        """The digest of a file of the bundle, read in blocks.

        Raises:
            BundleError: it is not there, or not to be opened.
        """
        with self.found(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def plain(self, path: str) -> Any:
        """A JSON file of the bundle as plain data.

        Raises:
            BundleError: it is not there, or no JSON.
        """
        return plain_json(self.found(path))

    def evidence(self, key: str) -> Evidence | None:
        """The record of the task with this key, or None if it was not run, cut off or altered, or ended in an error.

        Raises:
            BundleError: it leads out of the bundle; this is refused, and not made anew.
        """
        home = f"evidence/{key}"
        if not self.has(f"{home}/evidence.json"):
            return None
        if not self.as_recorded(home):
            self.distrusted.add(key)
            return None
        record = self._whole(home, key)
        return None if record is None or record.status == "error" else record

    def as_recorded(self, home: str) -> bool:
        """Whether a folder of evidence holds what the manifest says; True where no manifest holds it yet."""
        return True

    def _whole(self, home: str, key: str) -> Evidence | None:
        """The evidence in a folder, where its record can be read and its other files are those of the record."""
        self.found(f"{home}/evidence.json")
        try:
            record = self._record(home, key)
        except BundleError:
            return None
        try:
            whole = all(self.sha256(item.path) == item.sha256 for item in record.files())
        except GoneError:
            whole = False
        if not whole:
            self.distrusted.add(key)
        return record if whole else None

    def _record(self, home: str, key: str) -> Evidence:
        """The evidence in a folder of the bundle, whose tables and artefacts lie in the same folder.

        Raises:
            BundleError: it is not there, not as audit writes it, of another key, or names files elsewhere.
        """
        name = f"{home}/evidence.json"
        place = self.found(name)
        try:
            record = Evidence.model_validate_json(place.read_bytes())
        except ValidationError as error:
            raise BundleError(f"{self.root / name}: not as audit writes it: {first_fault(error)}") from error
        if record.key != key:
            raise BundleError(f"{self.root / name}: is the evidence of another key, {record.key}")
        for item in record.files():
            if PurePosixPath(item.path).parent.as_posix() != home:
                text = f"{printable(item.name)} lies outside its folder, at {printable(item.path)}"
                raise BundleError(f"{self.root / name}: {text}; nothing was read there")
        return record

    def put(self, task_id: str, kind: str, key: str, result: Result) -> Evidence:
        """Writes the result of a task under its key, whole or not at all."""
        return self._put(Path("evidence") / key, task_id, kind, key, result)

    def put_part(self, key: str, index: int, result: Result) -> None:
        """Keeps the result of one part until its task is whole."""
        self._put(Path("parts") / key / f"{index:06d}", f"part {index}", "part", key, result)

    def part(self, key: str, index: int) -> Result | None:
        """The result of one part, or None."""
        home = f"parts/{key}/{index:06d}"
        record = self._whole(home, key) if self.has(f"{home}/evidence.json") else None
        return None if record is None else self.result(record)

    def drop_parts(self, key: str | None = None) -> None:
        """Forgets the parts of a task that is whole, or all parts."""
        shutil.rmtree(self.target(f"parts/{key}" if key else "parts"), ignore_errors=True)

    def _put(self, folder: Path, task_id: str, kind: str, key: str, result: Result) -> Evidence:
        tables = {name: parquet_bytes(table) for name, table in sorted(result.tables.items())}
        record = Evidence(
            id=task_id,
            kind=kind,
            key=key,
            status=result.status,
            message=result.message,
            metrics=result.metrics,
            tables=tuple(_table_record(folder, name, result.tables[name], data) for name, data in tables.items()),
            artefacts=tuple(_artefact_record(folder, n, a) for n, a in sorted(result.artefacts.items())),
            notes=result.notes,
        )
        files = {r.path: tables[r.name] for r in record.tables}
        files |= {r.path: result.artefacts[r.name].data for r in record.artefacts}
        files[(folder / "evidence.json").as_posix()] = pretty_json(record.model_dump(mode="json"))
        self._write_folder(self.target(folder.as_posix()), {Path(path).name: data for path, data in files.items()})
        return record

    def _write_folder(self, final: Path, files: Mapping[str, bytes]) -> None:
        """Writes a folder, whole or not at all.

        Raises:
            WriteError: the disk refuses it; nothing is left of the attempt.
        """
        scratch = final.with_name(f".{uuid4().hex}.tmp")
        with faults(final):
            scratch.mkdir(parents=True)
            try:
                for name, data in files.items():
                    write_through(scratch / name, data)
                settle_folder(scratch)
                shutil.rmtree(final, ignore_errors=True)
                scratch.rename(final)
            except BaseException:
                shutil.rmtree(scratch, ignore_errors=True)
                raise
            settle_folder(final.parent)

    def result(self, record: Evidence) -> Result:
        """The result of a task as the task that reads it sees it."""
        return Result(
            metrics=record.metrics,
            tables={table.name: self.table(table) for table in record.tables},
            artefacts={a.name: Artefact(self.read(a.path), a.media_type) for a in record.artefacts},
            notes=record.notes,
            status=record.status,
            message=record.message,
        )

    def table(self, record: TableRecord) -> pd.DataFrame:
        """A table by its record.

        Raises:
            BundleError: it is not to be opened, or is no table.
        """
        place = self.found(record.path)
        most = table_memory(place.stat().st_size)
        try:
            with memory_within(most), pq.ParquetFile(place) as file:
                frame: pd.DataFrame = file.read().to_pandas(ignore_metadata=True)
        except MemoryError as error:
            text = f"needs more than {most / 2**30:.0f} GiB of memory to be read, which no table of an audit does"
            raise BundleError(f"{self.root / record.path}: {text}") from error
        except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, NotImplementedError) as error:
            text = f"cannot be read as a table: {printable(str(error))}"
            raise BundleError(f"{self.root / record.path}: {text}") from error
        return frame

    def write(self, name: str, data: bytes) -> None:
        """Writes a file at the top of the bundle, whole or not at all.

        Raises:
            WriteError: the disk refuses it.
        """
        write_whole(self.target(name), data)

    def drop(self, name: str) -> None:
        """Removes a file at the top of the bundle, where there is one."""
        (self.root / name).unlink(missing_ok=True)

    def write_manifest(self, manifest: Manifest) -> Manifest:
        """Writes the manifest with the digests of all files that are there now."""
        manifest = manifest.model_copy(update={"files": self.digests()})
        self.write("manifest.json", pretty_json(manifest.model_dump(mode="json")))
        return manifest

    def manifest(self) -> Manifest:
        """The manifest.

        Raises:
            BundleError: there is none, or it cannot be read.
        """
        self._settled()
        if not self.has("manifest.json"):
            raise BundleError(f"{self.root}: no manifest.json: this is not a bundle, or its run did not end")
        path = self.found("manifest.json")
        try:
            return Manifest.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise BundleError(f"{path}: not a manifest: {first_fault(error)}") from error

    def _settled(self) -> None:
        """Waits for a process that is putting a bundle in place here.

        Raises:
            BundleError: it was cut off, and the files are partly of the one bundle and partly of the other.
        """
        pending, end = [self.root / stage / PENDING for stage in STAGES], time.monotonic() + PATIENCE
        while any(path.is_file() for path in pending):
            if not held(self.root) or time.monotonic() > end:
                text = f"{self.root}: a run was cut off while it put its files in place; `audit render` ends it"
                raise BundleError(text)
            time.sleep(0.01)

    def results(self) -> dict[str, Any]:
        """`results.json` as plain data.

        Raises:
            BundleError: it is missing, not JSON, or has another form than audit gives it.
        """
        content: Any = self.plain("results.json")
        for name, kind in RESULTS.items():
            if not isinstance(content, dict) or not isinstance(content.get(name), kind):
                text = f"{name} is no {'list' if kind is list else 'mapping'}"
                raise BundleError(f"{self.root / 'results.json'}: not as audit writes it: {text}")
        known: dict[str, Any] = content
        return known

    def findings(self) -> tuple[Finding, ...]:
        """The findings of `results.json`.

        Raises:
            BundleError: one of them is not as audit writes it.
        """
        try:
            return tuple(Finding.model_validate_json(json.dumps(f)) for f in self.results()["findings"])
        except ValidationError as error:
            path = self.root / "results.json"
            raise BundleError(f"{path}: not as audit writes it: findings: {first_fault(error)}") from error

    def waivers(self) -> tuple[Waiver, ...]:
        """The waivers of the spec, as the manifest holds them.

        Raises:
            BundleError: one of them is not as audit writes it.
        """
        given = self.manifest().facts.get("waivers")
        try:
            return tuple(Waiver.model_validate_json(json.dumps(w)) for w in given) if isinstance(given, list) else ()
        except ValidationError as error:
            path = self.root / "manifest.json"
            raise BundleError(f"{path}: not as audit writes it: waivers: {first_fault(error)}") from error

    def records(self) -> tuple[Evidence, ...]:
        """The evidence of `results.json`, in the order of the plan.

        Raises:
            BundleError: an entry is not as audit writes it, leads elsewhere, or is there twice.
        """
        path, found = self.root / "results.json", list[Evidence]()
        for entry in self.results()["evidence"]:
            key = entry.get("key") if isinstance(entry, dict) else None
            if not isinstance(key, str) or re.fullmatch(KEY, key) is None:
                text = f"evidence {len(found) + 1} has the key {printable(str(key))!r}, and a key is a digest"
                raise BundleError(f"{path}: not as audit writes it: {text}")
            found.append(self._record(f"evidence/{key}", key))
        if len({record.id for record in found}) != len(found):
            raise BundleError(f"{path}: not as audit writes it: a piece of evidence is there twice")
        return tuple(found)

    def files(self) -> Iterator[str]:
        """Paths of all files of the bundle, relative to it, sorted; what is hidden, and parts, are not of it."""
        yield from files_below(self.root, {"parts"})

    def digests(self) -> dict[str, str]:
        """SHA-256 of every file that a manifest holds; links are not followed."""
        listed = [name for name in self.files() if name not in UNRECORDED and not self.place(name).is_symlink()]
        return {name: self.sha256(name) for name in listed}

    def altered(self) -> list[str]:
        """What does not match the manifest: one sentence per file; empty if all is as recorded.

        A bundle that is replaced while it is read is read again.
        """
        while True:
            manifest = self.manifest()
            try:
                lines = self._altered(manifest)
            except GoneError:  # it was there a moment ago
                continue
            if lines == [] or self.manifest() == manifest:
                return lines

    def _altered(self, manifest: Manifest) -> list[str]:
        present = self.digests()
        if self.has(SIGNATURE):
            present[SIGNATURE] = self.sha256(SIGNATURE)
        return differences(manifest, present, [name for name in self.files() if self.place(name).is_symlink()])

    def prune(self, keys: set[str]) -> None:
        """Removes evidence that is not of this plan, and what a killed run left half written."""
        for path in (self.root / "evidence").iterdir() if (self.root / "evidence").is_dir() else ():
            if path.name not in keys:
                shutil.rmtree(path, ignore_errors=True)
        for path in self.root.glob(".*-*"):
            path.unlink(missing_ok=True)


RESULTS: dict[str, type] = {"audit": dict, "evidence": list, "findings": list, "opinion": dict}
"""What `results.json` holds, and of what form."""


def plain_json(path: Path) -> Any:
    """A JSON file as plain data.

    Raises:
        BundleError: it cannot be read, or is no JSON: also where it is nested too deep, or holds what is no number.
    """
    if path.is_file() and path.stat().st_size > MOST_JSON:
        raise BundleError(f"{path}: has more than {MOST_JSON:,} bytes, which no JSON of an audit has; it was not read")
    try:
        return json.loads(path.read_bytes(), parse_constant=_no_number)
    except RecursionError as error:
        raise BundleError(f"{path}: cannot be read: it is nested deeper than audit ever does") from error
    except (OSError, ValueError) as error:
        raise BundleError(f"{path}: cannot be read: {printable(str(error))}") from error


def _no_number(text: str) -> Never:
    raise ValueError(f"{text} is no number of JSON")


def first_fault(error: ValidationError) -> str:
    """The first thing that is wrong with a record, with its place."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    words = str(first["msg"]).removeprefix("Value error, ")
    return printable(": ".join(part for part in (".".join(str(step) for step in first["loc"]), words) if part))


def printable(text: str) -> str:
    """A text of a stranger for a message: short, and without what a terminal obeys."""
    shown = "".join(character if character.isprintable() else "\N{MIDDLE DOT}" for character in text[:200])
    return shown if len(text) <= len(shown) else f"{shown}\N{HORIZONTAL ELLIPSIS}"


def _check_file(root: Path, place: Path) -> None:
    """Refuses what is no plain file below a folder, or lies behind a link.

    Raises:
        BundleError: with what it is.
    """
    for step in (place, *place.parents):
        if step == root:
            break
        if step.is_symlink():
            raise BundleError(f"{step}: is a link, and a bundle holds plain files only; nothing was read there")
    try:
        known = place.stat()
    except OSError as error:
        raise GoneError(f"{place}: cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(known.st_mode) or known.st_size > MOST_BYTES:
        raise BundleError(f"{place}: is no plain file of at most {MOST_BYTES:,} bytes; it was not read")


def files_below(root: Path, apart: Collection[str]) -> Iterator[str]:
    """Paths of all files below a folder, sorted, but those that are hidden or lie `apart` at its top.

    What goes away meanwhile is not there: a run may be writing in a hidden folder.
    """
    found: list[Path] = []
    for folder, folders, files in os.walk(root):
        left_out = apart if folder == str(root) else ()
        folders[:] = [name for name in folders if not name.startswith(".") and name not in left_out]
        found += [Path(folder, name) for name in files if not name.startswith(".") and name not in left_out]
    yield from (path.relative_to(root).as_posix() for path in sorted(found) if path.is_file())


def parquet_bytes(frame: pd.DataFrame) -> bytes:
    """A frame as Parquet; equal frames give equal bytes under one version of pyarrow."""
    buffer = io.BytesIO()
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def pretty_json(value: JsonValue | Mapping[str, Any]) -> bytes:
    """JSON that people read in a diff: sorted keys, two spaces; the numbers are those of `canonical_json`."""
    canonical = json.loads(canonical_json(value))
    text = json.dumps(canonical, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode("utf-8")


def _table_record(folder: Path, name: str, table: pd.DataFrame, data: bytes) -> TableRecord:
    path = (folder / f"{name}.parquet").as_posix()
    columns = tuple(map(str, table.columns))
    return TableRecord(name=name, path=path, rows=len(table), columns=columns, sha256=sha256(data))


def _artefact_record(folder: Path, name: str, artefact: Artefact) -> ArtefactRecord:
    path = (folder / name).as_posix()
    return ArtefactRecord(name=name, path=path, media_type=artefact.media_type, sha256=sha256(artefact.data))
