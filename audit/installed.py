"""What is installed here, and on what system."""

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def package_version(name: str) -> str:
    """The installed version of a distribution, or `not installed`; `xgboost-cpu` stands in for `xgboost`."""
    for distribution in (name, f"{name}-cpu"):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return "not installed"


def system() -> str:
    """The system and kind of processor, as in "Linux x86_64": numbers may differ in their last digits between two."""
    return f"{platform.system()} {platform.machine()}"
