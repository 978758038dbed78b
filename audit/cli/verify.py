"""`audit verify`."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from audit.cli import options

if TYPE_CHECKING:
    from audit.core.model import Allow
    from audit.engine.rerun import Rerun
    from audit.engine.signatures import Trust
    from audit.engine.verify import Verified


@click.command("verify")
@click.argument("bundle", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option(
    "--trust",
    "roots",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="A certificate (PEM) that you trust; the bundle must then be signed. May be repeated.",
)
@click.option(
    "--at", type=click.DateTime(["%Y-%m-%d"]), help="The day on which certificates must be valid; today by default."
)
@click.option("--quick", is_flag=True, help="Do not draw the PDF again, which takes longest.")
@click.option(
    "--rerun",
    type=click.Path(path_type=Path, exists=True),
    metavar="SPEC",
    help="Compute everything again from the spec of the bundle, with the files beside SPEC (a spec or a folder).",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=1e-9,
    show_default=True,
    help="The relative difference that --rerun passes over.",
)
@click.option("--workers", type=click.IntRange(1, 256), help="Processes of --rerun; never changes a result.")
@options.permissions(trust="--trust-type", only="For --rerun: ")
@options.pseudonym_key
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON on standard output.")
def command(
    bundle: Path,
    roots: tuple[Path, ...],
    at: datetime | None,
    quick: bool,
    rerun: Path | None,
    tolerance: float,
    workers: int | None,
    allow: "Allow",
    key: options.KeyPlace,
    as_json: bool,
) -> int:
    """Check BUNDLE: every digest, whether its files agree, its report drawn again, and its signatures.

    Without a signature this finds damage and edits, but whoever can rewrite one file can make the whole bundle anew:
    only `--rerun`, or a signature and `--trust`, shows that. Nothing is written into the bundle and nothing is fetched.

    Exit codes: 0 it stands; 2 the command line is wrong; 3 it could not be checked; 4 something is not as recorded,
    not as signed, or came out different.
    """
    from audit.bundle import Bundle
    from audit.core.errors import BundleError
    from audit.engine.contradictions import as_written
    from audit.engine.verify import verify

    with as_written(Bundle(bundle)):
        found = verify(Bundle(bundle), _trust(roots, at), quick=quick)
    again: Rerun | None = None
    if rerun is not None and not found.altered:
        from audit.engine.rerun import Again, compute_again
        from audit.report.text import line

        say: Callable[[str], None] = (lambda told: None) if as_json else (lambda told: click.echo(line(told)))
        with as_written(Bundle(bundle)):
            again = compute_again(Bundle(bundle), rerun, Again(allow, workers, tolerance, key.read()), say)
    problems = (*found.problems, *(again.problems if again else ()))
    if as_json:
        click.echo(json.dumps(_summary(found, again), indent=2, sort_keys=True, ensure_ascii=False))
        return 4 if problems else 0
    if problems:
        raise BundleError(problems)
    _print(found, again)
    return 0


def _trust(roots: tuple[Path, ...], at: datetime | None) -> "Trust":
    from audit.engine.signatures import Trust

    moment = at.replace(tzinfo=UTC, hour=12) if at else datetime.now(UTC)
    if not roots:
        return Trust(moment=moment)
    from audit.engine.keys import need_pyhanko
    from audit.engine.keys import roots as read

    need_pyhanko()
    return Trust(tuple(read(roots)), moment)


def _print(found: "Verified", again: "Rerun | None") -> None:
    from audit.report.text import line

    for told in _lines(found, again):
        click.echo(line(told))


def _lines(found: "Verified", again: "Rerun | None") -> Iterator[str]:
    """What is said of a bundle that stands; names in it come from foreign files."""
    signed = "" if found.seals else "; the bundle is not signed"
    yield f"{found.report_id}: {found.files} files match the manifest and agree with one another{signed}"
    same = [one.name for one in found.redrawn if not one.why_not]
    if same:
        yield f"drawn again, to the byte the same: {', '.join(same)}"
    for seal in found.seals:
        covers = ", covers the entire file" if seal.file == "report.pdf" else ""
        told = "; ".join((f"intact{covers}", *seal.remarks))
        yield f"{seal.file}: signed by {seal.by} (who says: {seal.at or 'no time'}); {told}"
    for seal in found.seals[:1]:
        known = "a certificate of --trust vouches for the signer"
        unknown = "the signer is not known here; name the root certificate that you trust with --trust ROOT.pem"
        yield f"certificate {seal.certificate[:16]}…: {known if seal.trusted else unknown}"
    for remark in found.remarks:
        yield f"note: {remark}"
    if again is not None:
        yield from again.lines()


def _summary(found: "Verified", again: "Rerun | None") -> dict[str, Any]:
    problems = [*found.problems, *(again.problems if again else ())]
    return {
        "exit_code": 4 if problems else 0,
        "report_id": found.report_id,
        "files": found.files,
        "problems": problems,
        "altered": list(found.altered),
        "contradictions": list(found.contradictions),
        "redrawn": {one.name: one.other or one.why_not or "same" for one in found.redrawn},
        "signed": bool(found.seals),
        "signatures": [
            {
                "file": seal.file,
                "by": seal.by,
                "at": seal.at,
                "certificate": seal.certificate,
                "intact": seal.intact,
                "trusted": seal.trusted,
                "problems": list(seal.problems),
                "remarks": list(seal.remarks),
            }
            for seal in found.seals
        ],
        "remarks": list(found.remarks),
        "rerun": None if again is None else again.plain(),
    }
