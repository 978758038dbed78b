"""With what an audit was run."""

import platform
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ALWAYS = (
    "auditspec", "jinja2", "markdown-it-py", "numpy", "pandas", "pillow", "pyarrow", "pydantic", "pydyf", "scipy",
    "weasyprint",
)  # fmt: skip
"""Packages that any number or page may depend on."""


@cache
def package_version(name: str) -> str:
    """The installed version of a distribution, or `not installed`; `xgboost-cpu` stands in for `xgboost`."""
    for distribution in (name, f"{name}-cpu"):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return "not installed"


def package_versions(used: Iterable[str]) -> dict[str, str]:
    """Versions of Python, of what every audit uses and of what this one does."""
    versions = {name: package_version(name) for name in sorted({*ALWAYS, *used})}
    return {"python": ".".join(map(str, sys.version_info[:3])), **versions}


def system() -> str:
    """The system and kind of processor, as in "Linux x86_64": numbers may differ in their last digits between two."""
    return f"{platform.system()} {platform.machine()}"


def repository(folder: Path) -> dict[str, str | bool] | None:
    """Revision of the git repository that the spec lies in, and whether a tracked file differs; None outside one."""
    try:
        revision = _git(folder, "rev-parse", "HEAD")
        dirty = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ".")
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"revision": revision, "dirty": bool(dirty)}


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603 - fixed words
