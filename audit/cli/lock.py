"""`audit lock`."""

from pathlib import Path

import click

from audit.cli import options


@click.command("lock")
@click.argument("spec", type=click.Path(path_type=Path, dir_okay=False))
@options.overrides
@options.permissions
@options.pseudonym_key
def command(
    spec: Path,
    overrides: tuple[str, ...],
    allow_pickle: bool,
    allow_code: bool,
    types: tuple[str, ...],
    key_file: Path | None,
    key_variable: str | None,
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
    from audit.engine.pseudonyms import read_key
    from audit.spec.load import load_spec

    loaded = load_spec(spec, overrides)
    allow = options.allow(allow_pickle=allow_pickle, allow_code=allow_code, types=types)
    new = locked(loaded, load_inputs(loaded, allow, alone=True, key=read_key(key_file, key_variable)))
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
