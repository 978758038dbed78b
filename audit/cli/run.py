"""`audit run`."""

import json
import sys
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from audit.cli import options

if TYPE_CHECKING:
    from audit.core.model import Allow
    from audit.engine.progress import Progress
    from audit.engine.run import Outcome

WORDS = {0: "OK", 1: "FAIL", 3: "ERROR", 5: "INCOMPLETE"}


@click.command("run")
@click.argument("spec", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=Path("out"), show_default=True, help="The bundle."
)
@options.overrides
@click.option("--only", multiple=True, metavar="ID", help="Run these tasks and what they read; may be repeated.")
@click.option("--as-of", type=click.DateTime(["%Y-%m-%d"]), help="The date of the audit; waivers are judged on it.")
@click.option(
    "--against", type=click.Path(path_type=Path, file_okay=False, exists=True), help="The bundle of the previous audit."
)
@click.option("--workers", type=click.IntRange(1, 256), help="Processes; never changes a result.")
@options.frozen
@options.permissions()
@options.pseudonym_key
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON on standard output.")
@click.option("-q", "--quiet", is_flag=True, help="Print the last line only.")
@click.option("-v", "--verbose", is_flag=True, help="Print a line per task, with its time, also in a terminal.")
def command(
    spec: Path,
    output: Path,
    overrides: tuple[str, ...],
    only: tuple[str, ...],
    as_of: datetime | None,
    against: Path | None,
    workers: int | None,
    frozen: bool,
    allow: "Allow",
    key: options.KeyPlace,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Run the audit that SPEC describes, or go on where an earlier run of it stopped.

    Exit codes: 0 ok; 1 a gate failed or a waiver expired; 2 the spec is wrong; 3 model, data or a method failed;
    4 the bundle was altered; 5 incomplete, or a gate without evidence; 130 interrupted.
    """
    from audit.engine.run import Options, run

    chosen = Options(
        overrides=overrides,
        allow=allow,
        workers=workers,
        only=only,
        as_of=as_of.date() if as_of else None,
        against=against,
        frozen=frozen,
        alone=True,
        pseudonym_key=key.read(),
    )
    with ExitStack() as stack:
        outcome = run(spec, output, chosen, _progress(stack, quiet=quiet, verbose=verbose))
    if outcome.altered and not quiet:
        tasks = ", ".join(outcome.altered)
        click.echo(f"{output}: files of {tasks} were altered since the run before; computed again", err=True)
    if as_json:
        click.echo(json.dumps(_summary(outcome), indent=2, sort_keys=True))
    else:
        _print(outcome, quiet=quiet)
    return outcome.exit_code


def _progress(stack: ExitStack, *, quiet: bool, verbose: bool) -> "Progress":
    from audit.engine.progress import Bars, Lines, Quiet

    if verbose:
        return Lines()
    if quiet or not sys.stderr.isatty():
        return Quiet()
    return stack.enter_context(Bars())


def _summary(outcome: "Outcome") -> dict[str, object]:
    return {
        "exit_code": outcome.exit_code,
        "output": str(outcome.out),
        "reports": [str(outcome.out / name) for name in outcome.reports],
        "evidence": {record.id: record.status for record in outcome.evidence},
        "findings": [finding.model_dump(mode="json") for finding in outcome.findings],
    }


def _print(outcome: "Outcome", *, quiet: bool) -> None:
    from audit.bundle import Bundle
    from audit.report import sentences

    if not quiet:
        for said in sentences(Bundle(outcome.out)):
            waived = f" {said.waived}" if said.waived else ""
            click.echo(f"{said.badge.mark} {said.badge.word:<10} {said.id}  {said.title}: {said.text}{waived}")
        for name in outcome.reports:
            click.echo(str(outcome.out / name))
    raised = sum(finding.outcome != "pass" for finding in outcome.findings)
    click.echo(f"result: {WORDS[outcome.exit_code]} exit={outcome.exit_code} findings={raised}")
