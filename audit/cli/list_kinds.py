"""`audit list`."""

import json
from typing import Any, Literal

import click

Family = Literal["methods", "searches", "models"]


@click.command("list")
@click.argument("family", type=click.Choice(["methods", "searches", "models"]), required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def command(family: Family | None, as_json: bool) -> int:
    """List the methods, counterfactual searches and model adapters that are installed."""
    from audit.core.method import GENERATORS, METHODS
    from audit.core.model import ADAPTERS
    from audit.core.registry import Registry
    from audit.spec.schema import origin, summary

    registries: dict[str, Registry[Any]] = {"methods": METHODS, "searches": GENERATORS, "models": ADAPTERS}
    chosen = {name: registry for name, registry in registries.items() if family in {None, name}}
    rows = [
        {"family": name, "kind": kind, "from": origin(registry, cls), "summary": summary(cls)}
        for name, registry in chosen.items()
        for kind, cls in registry.classes().items()
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return 0
    width = max((len(row["kind"]) for row in rows), default=0)
    for name in chosen:
        click.echo(name)
        for row in rows:
            if row["family"] == name:
                plug_in = "" if row["from"] == "audit" else f" (from {row['from']})"
                click.echo(f"  {row['kind']:<{width}}  {row['summary']}{plug_in}")
    return 0
