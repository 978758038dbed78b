"""`audit validate`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from audit.cli import options

if TYPE_CHECKING:
    from audit.core.evidence import Note
    from audit.core.model import Allow
    from audit.spec.load import Loaded


@click.command("validate")
@click.argument("spec", type=click.Path(path_type=Path, dir_okay=False))
@options.overrides
@click.option("--spec-only", is_flag=True, help="Do not look at data and model.")
@options.frozen
@options.permissions()
@options.pseudonym_key
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def command(
    spec: Path,
    overrides: tuple[str, ...],
    spec_only: bool,
    frozen: bool,
    allow: "Allow",
    key: options.KeyPlace,
    as_json: bool,
) -> int:
    """Check SPEC, and what its data and model say of it where they are there; nothing is computed."""
    from audit.spec.load import load_spec

    loaded = load_spec(spec, overrides)
    if frozen:
        from audit.engine.lock import hold_spec

        hold_spec(loaded)
    absent = [] if spec_only else _absent(loaded)
    notes: tuple[Note, ...] = ()
    if not spec_only and not absent:
        from audit.engine.load import load_inputs
        from audit.engine.texts import read_texts

        texts = read_texts(loaded)
        loading = load_inputs(loaded, allow, alone=True, key=key.read())
        notes = (*loading.notes, *texts.notes())
        if frozen:
            from audit.engine.lock import hold_inputs

            hold_inputs(loaded, loading)
    checked = not spec_only and not absent
    if as_json:
        found = [note.model_dump(mode="json") for note in notes]
        click.echo(
            json.dumps({"valid": True, "data_checked": checked, "absent": absent, "notes": found}, sort_keys=True)
        )
        return 0
    for note in notes:
        click.echo(f"note: {_line(note)}")
    if checked:
        click.echo(f"{spec.name}: valid; data and model fit it")
    else:
        reason = f"not there: {', '.join(absent)}" if absent else "--spec-only"
        click.echo(f"{spec.name}: valid; data and model were not looked at ({reason})")
    return 0


def _absent(loaded: "Loaded") -> list[str]:
    """The files and folders of a spec, if none of them is there, as in a spec that is only being drafted.

    Where some are there, one that is missing is a mistake, and loading says so.
    """
    names = [loaded.spec.data.evaluate, loaded.spec.data.train, loaded.spec.model.file]
    wanted = [name for name in names if name is not None]
    return wanted if not any(loaded.file(name).exists() for name in wanted) else []


def _line(note: "Note") -> str:
    """A note in the words of the report."""
    from audit.report.words import say

    return say(note, "spec").text
