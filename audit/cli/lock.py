"""`audit lock`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from audit.cli import options

if TYPE_CHECKING:
    from audit.core.model import Allow


@click.command("lock")
@click.argument("spec", type=click.Path(path_type=Path, dir_okay=False))
@options.overrides
@options.permissions()
@options.pseudonym_key
def command(
    spec: Path,
    overrides: tuple[str, ...],
    allow: "Allow",
    key: options.KeyPlace,
) -> int:
    """Write down, in a file beside SPEC, all that its audit rests on; `audit run --frozen` refuses anything else.

    The lock (spec.lock for spec.yaml) holds digests of the spec, of model, data and every file that the spec names, of
    plug-ins and of audit itself, and the versions of Python and of all packages. Commit it with the spec. Model and
    data are read, as by `audit validate`; nothing is computed.
    """
    from audit.core.errors import SpecError
    from audit.disk import write_whole
    from audit.engine.load import load_inputs
    from audit.engine.lock import changes, lock_path, locked, read_lock, write_lock
    from audit.spec.load import load_spec

    loaded = load_spec(spec, overrides)
    new = locked(loaded, load_inputs(loaded, allow, alone=True, key=key.read()))
    path = lock_path(loaded)
    try:
        old = read_lock(loaded)[0] if path.is_file() else None
    except SpecError:
        old = None  # of another version, or damaged: what was in it cannot be said
    write_whole(path, write_lock(new))
    for line in changes(old, new) if old else ():
        click.echo(f"changed: {line}")
    if old == new:
        click.echo("nothing changed")
    click.echo(f"{path}: {len(new.files)} files, {len(new.packages)} packages, {len(new.plugins)} plug-ins")
    return 0
