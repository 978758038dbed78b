"""Where the files that travel with the package lie: in a wheel inside it, in a checkout beside it."""

from pathlib import Path
from typing import Literal


def folder(name: Literal["templates", "specs", "examples"]) -> Path:
    """The folder of that name.

    Raises:
        FileNotFoundError: the installation is damaged.
    """
    package = Path(__file__).resolve().parent
    for candidate in (package / name, package.parent / name):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(f"folder {name!r} is missing beside {package}: reinstall auditspec")
