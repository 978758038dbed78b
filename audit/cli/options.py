"""Options that several commands share, and what they stand for."""

from collections.abc import Callable
from pathlib import Path
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


def pseudonym_key(command: F) -> F:
    """Adds `--pseudonym-key-file` and `--pseudonym-key-env`."""
    command = click.option(
        "--pseudonym-key-env", "key_variable", metavar="NAME", help="The same, in this environment variable."
    )(command)
    return click.option(
        "--pseudonym-key-file",
        "key_file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="The key of the pseudonyms that `data.pseudonymise` asks for.",
    )(command)


def frozen(command: F) -> F:
    """Adds `--frozen`."""
    return click.option("--frozen", is_flag=True, help="Refuse all that is not as in the lock (`audit lock`).")(command)


def allow(*, allow_pickle: bool, allow_code: bool, types: tuple[str, ...]) -> "Allow":
    """What the options allow."""
    from audit.core.model import Allow

    return Allow(pickle=allow_pickle, code=allow_code, types=types)
