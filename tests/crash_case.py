"""Runs of `audit` that end badly, in processes of their own that begin with the libraries loaded."""

import ctypes
import io
import multiprocessing
import os
import platform
import resource
import signal
import subprocess
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

CHANGES = frozenset({"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"})
"""Events of Python by which a process changes a folder; `open` for writing is one more."""


MODULES = [
    *("audit.engine.run", "audit.cli.main", "audit.cli.run", "audit.report.html", "audit.report.exports"),
    *("sklearn.linear_model", "sklearn.compose", "skops.io", "jinja2"),
]
"""What is loaded before the processes begin."""


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        code: its exit code, or the negative number of the signal that killed it.
        said: what it wrote to standard error.
        changes: what it changed below the watched folder, one line each, in order.
    """

    code: int
    said: str
    changes: tuple[str, ...]


@cache
def _server() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(MODULES)
    return context


class Begun:
    """A process that was begun; `end` waits for it."""

    def __init__(self, process: Any, said: Path, changes: Path) -> None:
        self.process, self.said, self.changes = process, said, changes
        process.start()

    def runs(self) -> bool:
        """Whether it has not ended."""
        return self.process.is_alive()

    def end(self) -> Ended:
        """Waits for its end."""
        self.process.join()
        code = self.process.exitcode
        self.process.close()
        return Ended(code, self.said.read_text(), tuple(self.changes.read_text().splitlines()))


def begin(
    *words: object,
    watched: Path | None = None,
    kill_at: int | None = None,
    largest: int | None = None,
    plain: bool = False,
    scratch: Path | None = None,
    log: Path,
) -> Begun:
    """`audit ...` in a process of its own.

    Args:
        watched: the folder whose changes are counted.
        kill_at: the process kills itself by signal 9 just before this change of the watched folder, counted from 0.
        largest: the largest file that it may write, in bytes (RLIMIT_FSIZE).
        plain: it obeys the permissions of files even where it runs as root, whose privileges it gives up.
        scratch: the folder of its temporary files.
        log: a folder for what it says.
    """
    log.mkdir(parents=True, exist_ok=True)
    number = len(list(log.iterdir()))
    said, changes = log / f"said-{number}.txt", log / f"changes-{number}.txt"
    for path in (said, changes):
        path.write_text("")
    given = (
        list(map(str, words)),
        watched and str(watched),
        kill_at,
        largest,
        plain,
        scratch and str(scratch),
        said,
        changes,
    )
    return Begun(_server().Process(target=_child, args=given), said, changes)


def audit(*words: object, **how: Any) -> Ended:
    """`audit ...` in a process of its own, until it has ended; see `begin`."""
    return begin(*words, **how).end()


def _child(
    words: list[str], watched: str | None, kill_at: int | None, largest: int | None, plain: bool,
    scratch: str | None, said: Path,
    changes: Path,
) -> None:  # fmt: skip
    from audit.cli.main import main

    for name in ("audit.cli.run", "audit.cli.render"):
        __import__(name)
    if watched is not None:
        _watch(os.path.realpath(watched), kill_at, changes)
    if largest is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    if scratch is not None:
        tempfile.tempdir = os.environ["TMPDIR"] = scratch
    if plain:
        _give_up_privileges()
    sys.argv = ["audit", *words]
    heard = io.StringIO()
    try:
        with redirect_stderr(heard), redirect_stdout(io.StringIO()):
            main()
    finally:
        if largest is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
        said.write_text(heard.getvalue()[-4000:])


def _give_up_privileges() -> None:
    """Takes all capabilities of Linux from this process: files that are closed to others are then closed to root."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    nothing = (ctypes.c_uint32 * 6)()
    numbers = {"x86_64": 126, "aarch64": 91}
    if os.geteuid() == 0 and ctypes.CDLL(None, use_errno=True).syscall(numbers[platform.machine()], header, nothing):
        raise OSError(ctypes.get_errno(), "capset")


def _watch(folder: str, kill_at: int | None, changes: Path) -> None:
    """Counts the changes below a folder, and ends the process in front of one of them."""
    log = os.open(changes, os.O_WRONLY | os.O_APPEND)
    count = 0
    own = [str(changes)]

    def hear(event: str, args: tuple[Any, ...]) -> None:
        nonlocal count
        writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if not writes and event not in CHANGES:
            return
        path = args[0]
        if not isinstance(path, (str, os.PathLike)) or str(path) in own:
            return
        place = str(Path(os.path.realpath(Path(path).parent)) / Path(path).name)
        if not place.startswith(folder):
            return
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1
        os.write(log, f"{event} {os.path.relpath(place, folder)}\n".encode())

    sys.addaudithook(hear)


def hidden(out: Path) -> list[str]:
    """What of a bundle is not meant to stay."""
    return sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.name.startswith(".") or p.suffix == ".tmp")


def small_disk(folder: Path, size: int) -> bool:
    """Mounts a disk of so many bytes; whether this machine lets us."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    return done.returncode == 0
