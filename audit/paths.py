"""Which files a spec may name: those that a reader of the spec sees it name, and that are files.

A path may lead out of the folder of the spec, for data often lie elsewhere, and it is written there for all to see. A
link hides where it leads. It is followed inside the folder of the spec, and refused where it leads out of it.
"""

import os
import stat
import unicodedata
from pathlib import Path

KERNEL = tuple(map(Path, ("/proc", "/sys", "/dev")))
"""Folders in which the kernel answers, and nothing is kept."""

MOST_BYTES = 64 * 2**30
"""The largest file that is opened."""

LONGEST, HIDDEN = 4096, {"Cc", "Cf", "Cs"}
"""Characters of a path, and the kinds of them that no reader sees."""

KINDS = (
    (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"),
)  # fmt: skip


def refusal(base: Path, name: str) -> str | None:
    """Why a file or folder that a spec names is not opened, as the end of a sentence; None: it is, or is not there.

    Args:
        base: the folder that the path is relative to.
        name: the path as the spec has it.
    """
    if len(name) > LONGEST or HIDDEN & {unicodedata.category(character) for character in name}:
        return "is too long for a path, or holds characters that cannot be seen; rename the file"
    try:
        home = base.resolve()
        real = (base / name).resolve()
        found = real.stat()
    except FileNotFoundError:
        return None
    except (OSError, RuntimeError) as error:
        return f"cannot be reached: {getattr(error, 'strerror', None) or 'its links lead in a circle'}"
    if any(real.is_relative_to(place) for place in KERNEL):
        return "is a device or an answer of the kernel, and no file; name a file"
    if real != Path(os.path.normpath(home / name)) and not real.is_relative_to(home):
        return f"leads over a link to {real}; name that file itself, so that the spec says what is read"
    return _no_file(found)


def _no_file(found: os.stat_result) -> str | None:
    kind = next((words for test, words in KINDS if test(found.st_mode)), None)
    if kind is not None:
        return f"is {kind}, and no file; name a file"
    if found.st_size > MOST_BYTES:
        return f"has {found.st_size:,} bytes, and at most {MOST_BYTES:,} are read; give a part of it"
    return None
