"""A run on disk. The bundle is also the cache: a task whose key is present is not run again."""

import io
import json
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import JsonValue, ValidationError

from audit.core.base import canonical_json, sha256
from audit.core.errors import BundleError
from audit.core.evidence import Artefact, ArtefactRecord, Evidence, Result, TableRecord
from audit.core.finding import Finding
from audit.core.integrity import SIGNATURE, differences
from audit.core.manifest import Manifest
from audit.core.waiver import Waiver
from audit.disk import faults, held, settle_folder, write_through, write_whole

UNRECORDED = frozenset({"manifest.json", "run.json", SIGNATURE})
"""Files whose digest the manifest cannot or must not hold."""


STAGES = (".next", ".drawn")
"""Folders inside a bundle in which the next one is made: by a run, and where only the report is drawn again."""

PENDING = "pending.json"
"""The file in them that says: all is there, and is now put in place."""

PATIENCE = 10.0
"""Seconds to wait for a process that is putting a bundle in place: it only renames files."""


class Bundle:
    """A folder that holds every number of an audit with where it came from."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def place(self, path: str) -> Path:
        """Where a file of the bundle is."""
        return self.root / path

    def target(self, path: str) -> Path:
        """Where a file of the bundle is written."""
        return self.root / path

    def evidence(self, key: str) -> Evidence | None:
        """The record of the task with this key, or None if it was not run, was cut off, or ended in an error."""
        path = self.place(f"evidence/{key}/evidence.json")
        if not path.is_file():
            return None
        try:
            record = Evidence.model_validate_json(path.read_bytes())
        except ValidationError:
            return None
        return None if record.status == "error" else record

    def put(self, task_id: str, kind: str, key: str, result: Result) -> Evidence:
        """Writes the result of a task under its key, whole or not at all."""
        return self._put(Path("evidence") / key, task_id, kind, key, result)

    def put_part(self, key: str, index: int, result: Result) -> None:
        """Keeps the result of one part until its task is whole."""
        self._put(Path("parts") / key / f"{index:06d}", f"part {index}", "part", key, result)

    def part(self, key: str, index: int) -> Result | None:
        """The result of one part, or None."""
        path = self.place(f"parts/{key}/{index:06d}/evidence.json")
        if not path.is_file():
            return None
        return self.result(Evidence.model_validate_json(path.read_bytes()))

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
            artefacts={a.name: Artefact(self.place(a.path).read_bytes(), a.media_type) for a in record.artefacts},
            notes=record.notes,
            status=record.status,
            message=record.message,
        )

    def table(self, record: TableRecord) -> pd.DataFrame:
        """A table by its record."""
        frame: pd.DataFrame = pq.read_table(self.place(record.path)).to_pandas()
        return frame

    def write(self, name: str, data: bytes) -> None:
        """Writes a file at the top of the bundle, whole or not at all.

        Raises:
            WriteError: the disk refuses it.
        """
        write_whole(self.target(name), data)

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
        path = self.place("manifest.json")
        self._settled()
        if not path.is_file():
            raise BundleError(f"{self.root}: no manifest.json: this is not a bundle, or its run did not end")
        try:
            return Manifest.model_validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(step) for step in first["loc"])
            raise BundleError(f"{path}: not a manifest: {where}: {first['msg']}") from error

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
            BundleError: it is missing or not JSON.
        """
        path = self.place("results.json")
        try:
            content: dict[str, Any] = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise BundleError(f"{path}: cannot be read: {error}") from error
        return content

    def findings(self) -> tuple[Finding, ...]:
        """The findings of `results.json`."""
        return tuple(Finding.model_validate_json(json.dumps(f)) for f in self.results()["findings"])

    def waivers(self) -> tuple[Waiver, ...]:
        """The waivers of the spec, as the manifest holds them."""
        given = self.manifest().facts.get("waivers")
        return tuple(Waiver.model_validate_json(json.dumps(w)) for w in given) if isinstance(given, list) else ()

    def records(self) -> tuple[Evidence, ...]:
        """The evidence of `results.json`, in the order of the plan."""
        keys: list[Evidence] = []
        for entry in self.results()["evidence"]:
            path = self.place(f"evidence/{entry['key']}/evidence.json")
            keys.append(Evidence.model_validate_json(path.read_bytes()))
        return tuple(keys)

    def files(self) -> Iterator[str]:
        """Paths of all files of the bundle, relative to it, sorted; what is hidden, and parts, are not of it."""
        yield from files_below(self.root, {"parts"})

    def digests(self) -> dict[str, str]:
        """SHA-256 of every file that a manifest holds."""
        return {name: sha256(self.place(name).read_bytes()) for name in self.files() if name not in UNRECORDED}

    def altered(self) -> list[str]:
        """What does not match the manifest: one sentence per file; empty if all is as recorded.

        A bundle that is replaced while it is read is read again.
        """
        while True:
            manifest = self.manifest()
            try:
                lines = self._altered(manifest)
            except FileNotFoundError:  # it was there a moment ago
                continue
            if lines == [] or self.manifest() == manifest:
                return lines

    def _altered(self, manifest: Manifest) -> list[str]:
        signature = self.place(SIGNATURE)
        present = self.digests()
        if signature.is_file():
            present[SIGNATURE] = sha256(signature.read_bytes())
        return differences(manifest, present, [name for name in self.files() if self.place(name).is_symlink()])

    def prune(self, keys: set[str]) -> None:
        """Removes evidence that is not of this plan, and what a killed run left half written."""
        for path in (self.root / "evidence").iterdir() if (self.root / "evidence").is_dir() else ():
            if path.name not in keys:
                shutil.rmtree(path, ignore_errors=True)
        for path in self.root.glob(".*-*"):
            path.unlink(missing_ok=True)


def files_below(root: Path, apart: Collection[str]) -> Iterator[str]:
    """Paths of all files below a folder, sorted, but those that are hidden or lie `apart` at its top."""
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        hidden = any(step.startswith(".") for step in relative.parts)
        if path.is_file() and not hidden and relative.parts[0] not in apart:
            yield relative.as_posix()


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
