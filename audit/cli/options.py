"""Options that several commands share, and what they stand for."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from audit.core.model import Allow

F = TypeVar("F", bound=Callable[..., Any])


def permissions(command: F) -> F:
    """Adds `--allow-pickle`, `--allow-code` and `--trust`."""
    command = click.option(
        "--trust", "types", multiple=True, metavar="TYPE", help="Let a skops file hold this type; may be repeated."
    )(command)
    command = click.option("--allow-code", is_flag=True, help="Let the spec name Python code, which then runs.")(
        command
    )
    return click.option("--allow-pickle", is_flag=True, help="Load pickled models; a pickle can run any code.")(command)


def overrides(command: F) -> F:
    """Adds `--set key=value`."""
    return click.option(
        "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Replace a value of the spec; recorded."
    )(command)


def allow(*, allow_pickle: bool, allow_code: bool, types: tuple[str, ...]) -> "Allow":
    """What the options allow."""
    from audit.core.model import Allow

    return Allow(pickle=allow_pickle, code=allow_code, types=types)
