"""Options that several commands share, and what they stand for."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from audit.engine.pseudonyms import PseudonymKey

F = TypeVar("F", bound=Callable[..., Any])


def permissions(trust: str = "--trust", only: str = "") -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Adds `--allow-pickle`, `--allow-code` and `--trust`; the command is given what they allow as `allow`.

    Args:
        trust: the name of the last, where the command trusts something else too.
        only: what they are for, where it is not the whole command.
    """
    helps = {
        "--allow-pickle": "Load pickled models; a pickle can run any code.",
        "--allow-code": "Let the spec name Python code, which then runs.",
        trust: "Let a skops file hold this type; may be repeated.",
    }
    said = {name: f"{only}{text[0].lower()}{text[1:]}" if only else text for name, text in helps.items()}

    def decorate(command: Callable[..., int]) -> Callable[..., int]:
        @wraps(command)
        def allowed(*, allow_pickle: bool, allow_code: bool, types: tuple[str, ...], **others: Any) -> int:
            from audit.core.model import Allow

            return command(allow=Allow(pickle=allow_pickle, code=allow_code, types=types), **others)

        added = click.option(trust, "types", multiple=True, metavar="TYPE", help=said[trust])(allowed)
        for name in ("--allow-code", "--allow-pickle"):
            added = click.option(name, is_flag=True, help=said[name])(added)
        return added

    return decorate


def overrides(command: F) -> F:
    """Adds `--set key=value`."""
    return click.option(
        "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Replace a value of the spec; recorded."
    )(command)


@dataclass(frozen=True)
class KeyPlace:
    """Where the command line says that the key of the pseudonyms is."""

    file: Path | None
    variable: str | None

    def read(self) -> "PseudonymKey | None":
        """The key; None where no place is named.

        Raises:
            AuditError: as `engine.pseudonyms.read_key` says.
        """
        from audit.engine.pseudonyms import read_key

        return read_key(self.file, self.variable)


def pseudonym_key(command: Callable[..., int]) -> Callable[..., int]:
    """Adds `--pseudonym-key-file` and `--pseudonym-key-env`; the command is given where the key is as `key`."""

    @wraps(command)
    def keyed(*, key_file: Path | None, key_variable: str | None, **others: Any) -> int:
        return command(key=KeyPlace(key_file, key_variable), **others)

    added = click.option(
        "--pseudonym-key-env", "key_variable", metavar="NAME", help="The same, in this environment variable."
    )(keyed)
    return click.option(
        "--pseudonym-key-file",
        "key_file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="The key of the pseudonyms that `data.pseudonymise` asks for.",
    )(added)


def frozen(command: F) -> F:
    """Adds `--frozen`."""
    return click.option("--frozen", is_flag=True, help="Refuse all that is not as in the lock (`audit lock`).")(command)
