"""`audit diff`."""

import json
from pathlib import Path

import click

BUNDLE = click.Path(path_type=Path, file_okay=False, exists=True)


@click.command("diff")
@click.argument("old", type=BUNDLE)
@click.argument("new", type=BUNDLE)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write a page to this HTML file.")
@click.option("--json", "as_json", is_flag=True, help="Print every change as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print the last line only.")
def command(old: Path, new: Path, output: Path | None, as_json: bool, quiet: bool) -> int:
    """Compare the bundles OLD and NEW: spec, inputs, every number with its uncertainty, gates and findings.

    Exit codes: 1 where a gate was a pass and is none any more, where the number of a gate got worse by more than noise,
    or where a finding of severity major or critical was opened; 4 if a bundle was altered; otherwise 0.
    """
    from audit.bundle import Bundle
    from audit.disk import write_asked
    from audit.engine.contradictions import as_written
    from audit.report.diff import diff
    from audit.report.diff_blocks import lines, verdict
    from audit.report.diff_page import page
    from audit.report.text import line

    with as_written(Bundle(old), Bundle(new)):
        found = diff(Bundle(old), Bundle(new))
        drawn = page(found) if output is not None else ""
    if output is not None:
        write_asked(output, drawn.encode("utf-8"))
    code = 1 if found.regressions else 0
    if as_json:
        content = {"exit_code": code, "verdict": verdict(found), **found.model_dump(mode="json")}
        click.echo(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False))
        return code
    if not quiet:
        for told in lines(found):
            click.echo(line(told))
        if output is not None:
            click.echo(str(output))
    click.echo(f"result: {verdict(found)} exit={code} regressions={len(found.regressions)}")
    return code
