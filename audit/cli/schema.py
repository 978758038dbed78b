"""`audit schema`."""

import json
from pathlib import Path

import click


@click.command("schema")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write it to this file.")
@click.option("--built-in", is_flag=True, help="Leave out what installed plug-ins add.")
def command(output: Path | None, built_in: bool) -> int:
    """Print the JSON Schema of the spec, with which editors complete and check it."""
    from audit.disk import write_asked
    from audit.spec.schema import spec_schema

    text = json.dumps(spec_schema(built_in=built_in), indent=2, ensure_ascii=False) + "\n"
    if output is None:
        click.echo(text, nl=False)
    else:
        write_asked(output, text.encode("utf-8"))
    return 0
