"""With what an audit was run."""

import getpass
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from audit.installed import package_version, system

__all__ = ["package_version", "package_versions", "repository", "system"]

ALWAYS = (
    "auditspec", "jinja2", "markdown-it-py", "numpy", "pandas", "pillow", "pyarrow", "pydantic", "pydyf", "scipy",
    "weasyprint",
)  # fmt: skip
"""Packages that any number or page may depend on."""

REVISION, BRANCH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}"), re.compile(r"refs/heads/[\w./-]+")
SMALL = 2**24
"""Bytes of a file in which a repository says where it stands."""


def package_versions(used: Iterable[str]) -> dict[str, str]:
    """Versions of Python, of what every audit uses and of what this one does."""
    versions = {name: package_version(name) for name in sorted({*ALWAYS, *used})}
    return {"python": ".".join(map(str, sys.version_info[:3])), **versions}


def repository(folder: Path) -> dict[str, str | bool] | None:
    """Revision of the git repository that the spec lies in, and whether a tracked file differs; None outside one.

    Git runs programs that the settings of a repository name, and a repository may come with a foreign spec. So it is
    asked from an empty one of ours, which borrows the objects and the index and knows nothing of the settings.
    """
    places = (folder.resolve(), *folder.resolve().parents)
    top = next((place for place in places if (place / ".git").is_dir() and not (place / ".git").is_symlink()), None)
    revision = None if top is None else _revision(top / ".git")
    if top is None or revision is None:
        return None
    with tempfile.TemporaryDirectory() as empty:
        for name in ("objects", "refs"):
            Path(empty, name).mkdir()
        Path(empty, "HEAD").write_text(f"{revision}\n", encoding="utf-8")
        borrowed = {
            "GIT_DIR": empty,
            "GIT_WORK_TREE": str(top),
            "GIT_INDEX_FILE": str(top / ".git" / "index"),
            "GIT_OBJECT_DIRECTORY": str(top / ".git" / "objects"),
        }
        words = ("--no-optional-locks", "status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all")
        command = ["git", "-C", str(folder.resolve()), *words, "--", "."]
        try:
            said = subprocess.run(  # noqa: S603 - fixed words
                command, check=True, capture_output=True, text=True, env=os.environ | borrowed
            ).stdout
        except (OSError, ValueError, subprocess.CalledProcessError):
            return None
    return {"revision": revision, "dirty": bool(said.strip())}


def _revision(git: Path) -> str | None:
    """The revision that a repository stands at, as its files say."""
    try:
        head = _small(git / "HEAD")
        if not head.startswith("ref: "):
            return head if REVISION.fullmatch(head) else None
        name = head.removeprefix("ref: ")
        if not BRANCH.fullmatch(name) or ".." in name:
            return None
        found = _small(git / name) if (git / name).is_file() else _packed(git, name)
    except (OSError, ValueError):
        return None
    return found if REVISION.fullmatch(found) else None


def _small(path: Path) -> str:
    """The text of a file that is none of those that links hide."""
    if path.is_symlink() or path.stat().st_size > SMALL:
        raise ValueError(path.name)
    return path.read_text(encoding="utf-8").strip()


def _packed(git: Path, name: str) -> str:
    lines = (line.split(" ") for line in _small(git / "packed-refs").splitlines())
    return next((words[0] for words in lines if words[1:] == [name]), "")


def user() -> str:
    """Who runs it; by number where no name goes with that, as in a container that was given another user."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # OSError as of Python 3.13
        return str(os.getuid())
