"""Files that are written whole or not at all, and folders that one process at a time writes into."""

import errno
import fcntl
import json
import os
import shutil
import socket
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from audit.core.errors import BundleError, WriteError

LOCK = ".lock"
"""The file whose lock makes a folder ours while we write into it; it is gone when nobody writes."""

AGAIN = "run the same command again: it goes on where it stopped"
ELSEWHERE = "name a folder that you may write into"
FAULTS = {
    errno.ENOSPC: ("the disk is full", f"make room, then {AGAIN}"),
    errno.EDQUOT: ("your share of the disk is used up", f"make room, then {AGAIN}"),
    errno.EFBIG: ("it would be larger than a file may be here", f"raise the limit (`ulimit -f`), then {AGAIN}"),
    errno.EIO: ("the disk failed", f"see to the disk, then {AGAIN}"),
    errno.EROFS: ("the file system is read-only", ELSEWHERE),
    errno.EACCES: ("you have no permission to write there", ELSEWHERE),
    errno.EPERM: ("you have no permission to write there", ELSEWHERE),
    errno.ENOENT: ("its folder is not there", "make the folder, or name another"),
    errno.EISDIR: ("it is a folder", "name a file"),
    errno.EEXIST: ("a part of its path is a file", ELSEWHERE),
    errno.ENOTDIR: ("a part of its path is a file", ELSEWHERE),
    errno.ELOOP: ("a link in its path leads round in a circle", ELSEWHERE),
    errno.ENAMETOOLONG: ("a name in its path is too long", "name a folder with a shorter name"),
}
"""What a disk may refuse, in words, and what to do about it."""

SEMAPHORES = Path("/dev/shm")  # noqa: S108 - where Linux keeps them
MOST_TOLD = 4096
"""Bytes of a lock that are read."""

UNLOCKABLE = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
"""What a file system says that has no locks."""


@contextmanager
def faults(path: Path) -> Iterator[None]:
    """While this holds, what the disk refuses is one sentence about `path`.

    Raises:
        WriteError: the disk is full, read-only, failing, or closed to us.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FAULTS:
            raise
        what, cure = FAULTS[error.errno]
        raise WriteError(f"{path}: cannot be written: {what}{_room(path, error)}; {cure}") from error


def _room(path: Path, error: OSError) -> str:
    """How much room is left, where that is what lacks."""
    if error.errno != errno.ENOSPC:
        return ""
    there = next((folder for folder in (path, *path.parents) if folder.is_dir()), None)
    return "" if there is None else f" ({shutil.disk_usage(there).free // 1024:,} KiB are free)"


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file, so that under its name it is whole or the one before, also after a power cut.

    Raises:
        WriteError: the disk refuses it; nothing is left of the attempt.
    """
    scratch = path.with_name(f".{uuid4().hex}.tmp")
    with faults(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write_through(scratch, data)
            scratch.replace(path)
        except BaseException:
            scratch.unlink(missing_ok=True)
            raise
        settle_folder(path.parent)


def write_asked(path: Path, data: bytes) -> None:
    """Writes a file where the user named one: into a folder that is there.

    Raises:
        WriteError: the folder is not there, or the disk refuses.
    """
    with faults(path):
        path.write_bytes(data)


def write_through(path: Path, data: bytes) -> None:
    """Writes a file and waits until the disk has it: a name may come to stand before the bytes under it do."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def settle_folder(folder: Path) -> None:
    """Waits until the disk has the names in a folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some file systems cannot do that for a folder, and keep their names anyhow
            os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Makes a folder ours to write into; the system gives it back when this process ends, however it ends.

    Raises:
        WriteError: another process writes there, named as far as it can be; or the disk refuses.
    """
    new = not folder.exists()
    with faults(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = _locked(folder)
    try:
        yield
    finally:
        with suppress(OSError):
            (folder / LOCK).unlink(missing_ok=True)  # while it is locked: whoever waits for it looks again
        os.close(handle)
        if new:
            with suppress(OSError):  # there is something in it
                folder.rmdir()


def _locked(folder: Path) -> int:
    """The handle of the locked file of a folder.

    Raises:
        WriteError: another process has it.
        BundleError: it is no plain file: what is written into a link would be written elsewhere.
    """
    path = folder / LOCK
    while True:
        if strange := strange_lock(folder):
            raise BundleError(f"{path}: {strange}; nothing was written")
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            said = _holder(handle)
            os.close(handle)
            text = f"{folder}: {said} is writing there; wait until it ends, or name another folder"
            raise WriteError(text) from None
        except OSError as error:
            if error.errno not in UNLOCKABLE:
                os.close(handle)
                raise
            sys.stderr.write(f"{folder}: this file system has no locks; see that no second run writes there\n")
        if _same(handle, path):
            break
        os.close(handle)  # the one who had it took it away with him
    mine = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
    }
    _sweep(handle)
    if os.fstat(handle).st_nlink == 1:  # under another name it may be the file of somebody
        with suppress(OSError):  # on a full disk the lock holds all the same, without a name
            os.ftruncate(handle, 0)
            os.pwrite(handle, json.dumps(mine).encode("utf-8"), 0)
    return handle


def strange_lock(folder: Path) -> str:
    """What lies where the lock of a folder is, if it is no plain file; empty where all is well."""
    try:
        mode = (folder / LOCK).lstat().st_mode
    except OSError:
        return ""
    if stat.S_ISREG(mode):
        return ""
    return f"is {'a link' if stat.S_ISLNK(mode) else 'no plain file'}, and no lock of audit"


def _told(handle: int) -> dict[str, str]:
    """What a lock says of the process that has it, or had it.

    Raises:
        ValueError: nothing that a process of audit writes.
    """
    try:
        told = json.loads(os.pread(handle, MOST_TOLD, 0))
        return {"pid": str(int(told["pid"])), "host": str(told["host"]), "since": str(told["since"])}
    except (OSError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError("no lock of audit") from error


def abandoned_lock(folder: Path) -> str:
    """Who left a lock in a folder, in words; empty where there is none, or a process has it."""
    try:
        handle = os.open(folder / LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ""
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if os.fstat(handle).st_size:  # on a full disk it is empty
            _told(handle)
    except ValueError:
        return "is no lock as audit writes it"
    except OSError:
        return ""
    else:
        return "was left by a process that was killed"
    finally:
        os.close(handle)


def _sweep(handle: int) -> None:
    """Removes the semaphores of the process that had this lock and was killed with all that it had started.

    Its pool had them, under the names that joblib gives those of all pools; nothing else tells whose they are.
    """
    with suppress(OSError, ValueError, OverflowError):
        last = _told(handle)
        if last["host"] == socket.gethostname() and not _alive(int(last["pid"])):
            for semaphore in SEMAPHORES.glob(f"sem.loky-{last['pid']}-*"):
                semaphore.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _same(handle: int, path: Path) -> bool:
    """Whether the file that was opened is the one that stands there now."""
    try:
        there = path.lstat()
    except FileNotFoundError:
        return False
    opened = os.fstat(handle)
    return (opened.st_ino, opened.st_dev) == (there.st_ino, there.st_dev)


def _holder(handle: int) -> str:
    """Who has a lock, in words."""
    try:
        told = _told(handle)
    except ValueError:
        return "another process"
    return f"process {told['pid']} on {told['host']} (since {told['since']})"


def held(folder: Path) -> bool:
    """Whether a process writes into the folder now; asks without leaving a trace."""
    try:
        handle = os.open(folder / LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(handle)
    return False
