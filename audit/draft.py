"""A bundle while it is written: nothing of the one before is touched until the new one is whole.

What a run computes lies in `.next`, inside the folder, and is the cache of the run that goes on; where only the report
is drawn again, it lies in `.drawn`. `commit` puts it in place. First it writes down what it is about to do; from then
on the new bundle is settled, and whoever opens the folder next, after a kill or a power cut, finishes it.
"""

import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from audit.bundle import PENDING, STAGES, Bundle, GoneError, files_below, plain_json
from audit.core.errors import BundleError
from audit.core.evidence import KEY
from audit.core.integrity import SIGNATURE
from audit.core.manifest import RENDERED, Manifest
from audit.disk import LOCK, abandoned_lock, faults, held, hold, settle_folder, strange_lock, write_whole

STAGE, DRAWN = STAGES

OURS = ("results.json", "changes.json", SIGNATURE, *RENDERED)
"""Files at the top that a run makes, or not; those of the run before go."""


APART = frozenset({"parts", "tmp", "trash", "done", PENDING})
"""What lies in the stage and is not of the new bundle."""


class Draft(Bundle):
    """A bundle that is written. To read it is to read what it will be; all others see the one before."""

    def __init__(self, root: Path, stage: str = STAGE) -> None:
        super().__init__(root)
        self.stage = root / stage
        self.gone: frozenset[str] = frozenset()
        self.keys: frozenset[str] | None = None

    def begin(self) -> None:
        """Finishes what a killed process was about to put in place, and clears away what it left half made.

        Raises:
            BundleError: a folder in which it would write or clear away is a link, or what was about to be is no plan.
        """
        if strange := list(strange_places(self.root)):
            raise BundleError([f"{self.root / line}; nothing was written" for line in strange])
        with faults(self.root):
            for stage in STAGES:
                finish(self.root, stage)
            for path in self.stage.glob("*"):
                if path.name not in {"evidence", "parts"}:
                    _remove(path)
            for folder in ("evidence", *(f"parts/{key.name}" for key in self.stage.glob("parts/*"))):
                for scratch in self.stage.glob(f"{folder}/.*"):
                    _remove(scratch)
        self.gone = frozenset(OURS) if self.stage.name == STAGE else frozenset()

    def _settled(self) -> None:
        """Nobody else writes here."""

    def drop(self, name: str) -> None:
        """Leaves a file at the top out of the new bundle; until that is in place the file stays where it is."""
        self.gone |= {name}
        _remove(self.target(name))

    def place(self, path: str) -> Path:
        """Where a file of the new bundle is now."""
        staged = self.stage / path
        return staged if path in self.gone or staged.exists() else self.root / path

    def as_recorded(self, home: str) -> bool:
        """Whether a folder of evidence holds what the manifest in place says; True of what was computed since.

        Otherwise a number that somebody changed in place would stand in the next manifest as if it had been computed.
        """
        if (self.stage / home / "evidence.json").exists():
            return True
        recorded = {name: digest for name, digest in self._before.items() if name.startswith(f"{home}/")}
        try:
            return bool(recorded) and all(self.sha256(name) == digest for name, digest in recorded.items())
        except GoneError:
            return False

    @cached_property
    def _before(self) -> Mapping[str, str]:
        """Digests of the files of the bundle in place."""
        manifest = replaced(self.root)
        return {} if manifest is None else manifest.files

    def target(self, path: str) -> Path:
        """Where a file of the new bundle is written."""
        return self.stage / path

    def files(self) -> Iterator[str]:
        """Paths of all files that the new bundle will have."""
        staged = set(files_below(self.stage, APART))
        kept = {path for path in super().files() if path not in self.gone and self._wanted(path)}
        yield from sorted(staged | kept)

    def _wanted(self, path: str) -> bool:
        folder, _, rest = path.partition("/")
        return folder != "evidence" or self.keys is None or rest.partition("/")[0] in self.keys

    def prune(self, keys: Iterable[str]) -> None:
        """Leaves evidence out of the new bundle that is not of this plan."""
        self.keys = frozenset(keys)
        for path in self.stage.glob("evidence/*"):
            if path.name not in self.keys:
                _remove(path)

    @contextmanager
    def scratch(self) -> Iterator[None]:
        """While this holds, temporary files of all libraries lie in the folder: a kill leaves none anywhere else."""
        folder = (self.stage / "tmp").resolve()
        with faults(folder):
            folder.mkdir(parents=True, exist_ok=True)
        before, env = tempfile.tempdir, os.environ.get("TMPDIR")
        tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
        try:
            with faults(folder):
                yield
        finally:
            tempfile.tempdir = before
            if env is None:
                del os.environ["TMPDIR"]
            else:
                os.environ["TMPDIR"] = env

    def commit(self) -> None:
        """Puts the new bundle in place of the one before.

        Raises:
            WriteError: the disk refuses; where it had not begun, the bundle before is as it was.
        """
        plan = {"gone": sorted(self.gone), "keys": None if self.keys is None else sorted(self.keys)}
        with faults(self.root):  # before there is no way back: a folder can need room
            (self.stage / "trash").mkdir(exist_ok=True)
            (self.root / "evidence").mkdir(exist_ok=True)
        write_whole(self.stage / PENDING, json.dumps(plan).encode("utf-8"))
        with faults(self.root):
            finish(self.root, self.stage.name)


@contextmanager
def drawing(root: Path) -> Iterator[Draft]:
    """A draft of what a bundle becomes where nothing is computed; of one that fails nothing is left.

    Raises:
        WriteError: another process writes there, or the disk refuses.
        BundleError: there is what would lead elsewhere.
    """
    with hold(root):
        draft = Draft(root, DRAWN)
        draft.begin()
        try:
            yield draft
        except BaseException:
            if not unfinished(root):
                shutil.rmtree(draft.stage, ignore_errors=True)
            raise


def unfinished(root: Path) -> bool:
    """Whether a bundle is being put in place, or its process was killed while it did that."""
    return any((root / stage / PENDING).is_file() for stage in STAGES)


def replaced(root: Path) -> Manifest | None:
    """The manifest of the bundle that a new one would take the place of, never of what a run left half made.

    None where there is none, and where one is just put in place: `begin` ends that, and then is the time to ask.

    Raises:
        BundleError: it cannot be read.
    """
    if unfinished(root) or not (root / "manifest.json").exists():
        return None
    return Bundle(root).manifest()


def finish(root: Path, name: str) -> None:
    """Puts in place what a bundle is about to become, if there is any such thing; may be cut off and called again."""
    stage = root / name
    if not (stage / PENDING).is_file():
        return
    plan = _plan(stage / PENDING)
    trash = stage / "trash"
    trash.mkdir(exist_ok=True)
    (root / "evidence").mkdir(exist_ok=True)
    for folder in sorted(stage.glob("evidence/*")):
        there = root / "evidence" / folder.name
        if not folder.name.startswith(".") and not _alike(folder, there):  # what is the same is never away
            _retire(there, trash)
            folder.rename(there)
    staged = [p for p in sorted(stage.iterdir()) if p.is_file() and p.name != PENDING and not p.name.startswith(".")]
    for path in sorted(staged, key=lambda path: path.name == "manifest.json"):  # the manifest is the last
        path.replace(root / path.name)
    _drop(root, plan, stage)
    settle_folder(root / "evidence")
    settle_folder(root)
    (stage / PENDING).rename(stage / "done")  # before the rest goes: what is left of it is then no plan
    _remove(stage)


def strange_places(root: Path) -> Iterator[str]:
    """What would lead a process elsewhere that writes into a bundle, or stop it midway: one sentence each.

    A bundle may come from a stranger. At its top and in its evidence a file that is a link does no harm, since files
    are renamed over it; folders that are links do.
    """
    folders = [root / name for name in (*STAGES, "evidence", "parts")]
    for name in (*STAGES, "evidence"):
        if not (root / name).is_symlink():
            folders += _below(root / name) if name in STAGES else (root / name).glob("*")
    for path in folders:
        if path.is_symlink():
            yield f"{path.relative_to(root).as_posix()}: is a link, and a bundle holds plain files only"
    for name in (*STAGES, "evidence"):
        if (root / name).exists() and not (root / name).is_dir():
            yield f"{name}: is no folder, and audit makes one there"
    for name in (*OURS, "manifest.json", "run.json"):
        if (root / name).is_dir() and not (root / name).is_symlink():
            yield f"{name}: is a folder, and audit writes a file there"


def _below(stage: Path) -> Iterator[Path]:
    """All that lies in a stage, links not followed; what libraries leave in its temporary folder is theirs."""
    for folder, folders, files in os.walk(stage):
        yield from (Path(folder) / name for name in sorted((*folders, *files)))
        folders[:] = [name for name in folders if Path(folder) != stage or name not in {"tmp", "trash"}]


def left_behind(root: Path) -> tuple[list[str], list[str]]:
    """What lies hidden in a bundle that nobody writes into and is of no bundle: what is wrong, and what is not.

    The folders and the lock of a process that was killed, or still runs, are no sign that somebody altered anything.
    """
    lock = strange_lock(root)
    wrong = [line for line in strange_places(root) if line.startswith(STAGES)] + ([f"{LOCK}: {lock}"] if lock else [])
    if held(root):
        return wrong, []
    wrong += [line for stage in STAGES for line in _no_plan(root / stage / PENDING)]
    said = {
        STAGE: "was left by a run that did not end; it is not of the bundle, and a run into this folder goes on there",
        DRAWN: "was left by a command that did not end; it is not of the bundle, and the next `audit render` clears it",
        LOCK: abandoned_lock(root),
    }
    named = {line.partition(":")[0] for line in wrong}
    return wrong, [
        f"{name} {text}" for name, text in said.items() if text and name not in named and os.path.lexists(root / name)
    ]


def _no_plan(path: Path) -> Iterator[str]:
    """What is wrong with a plan, where there is one."""
    if path.is_file() and not path.is_symlink() and not path.parent.is_symlink():
        try:
            _plan(path)
        except BundleError as error:
            if path.is_file():  # else it was just carried out
                yield from error.problems


def _plan(path: Path) -> dict[str, list[str] | None]:
    """What a run was about to do.

    Raises:
        BundleError: it is nothing that a run writes.
    """
    found = plain_json(path)
    lists = [found.get("gone") or [], found.get("keys") or []] if isinstance(found, dict) else None
    if not lists or not all(isinstance(given, list) and all(isinstance(x, str) for x in given) for given in lists):
        raise BundleError(f"{path}: not as audit writes it; remove the folder that it lies in")
    if not set(lists[0]) <= set(OURS):
        raise BundleError(f"{path}: would remove what no run of audit made; remove the folder that it lies in")
    if not all(re.fullmatch(KEY, key) for key in lists[1]):
        raise BundleError(f"{path}: names evidence by what is no key; remove the folder that it lies in")
    return {"gone": lists[0], "keys": None if found.get("keys") is None else lists[1]}


def _drop(root: Path, plan: dict[str, list[str] | None], stage: Path) -> None:
    """Removes what the new bundle, whose manifest is in place, does not have."""
    recorded = plain_json(root / "manifest.json")
    files = recorded.get("files") if isinstance(recorded, dict) else None
    if not isinstance(files, dict):
        raise BundleError(f"{root / 'manifest.json'}: not a manifest: it holds no files")
    for name in plan["gone"] or ():
        if name not in files:
            (root / name).unlink(missing_ok=True)
    keys = plan["keys"]
    for folder in (root / "evidence").iterdir() if keys is not None else ():
        if folder.name not in (keys or ()):
            _retire(folder, stage / "trash")
    _remove(root / "parts")  # of versions that kept them there
    for path in root.glob(".*.tmp"):
        _remove(path)


def _alike(one: Path, other: Path) -> bool:
    """Whether two folders hold the same files."""
    names = sorted(path.name for path in one.iterdir())
    if not other.is_dir() or sorted(path.name for path in other.iterdir()) != names:
        return False
    sizes = [[_plain_size(folder / name) for name in names] for folder in (one, other)]
    if sizes[0] != sizes[1] or None in sizes[0]:
        return False
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def _plain_size(path: Path) -> int | None:
    """The bytes of a plain file; None of anything else, which is not to be opened."""
    known = path.lstat()
    return known.st_size if stat.S_ISREG(known.st_mode) else None


def _retire(folder: Path, trash: Path) -> None:
    """Takes a folder away in one step."""
    if folder.exists():
        _remove(trash / folder.name)
        folder.rename(trash / folder.name)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
