"""`audit render`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

if TYPE_CHECKING:
    from audit.bundle import Bundle


@click.command("render")
@click.argument("bundle", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--format", "formats", multiple=True, type=click.Choice(["html", "pdf"]), help="May be repeated.")
@click.option(
    "--share",
    "shared",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write a bundle to hand out into DIR: aggregates, and no rows, ids, cases, sheets or pictures.",
)
@click.option(
    "--min-n", type=click.IntRange(1), default=10, show_default=True, help="With --share: the smallest group shown."
)
@click.option("--drop-signature", is_flag=True, help="Take the signatures off a signed bundle first.")
def command(
    bundle: Path, formats: tuple[Literal["html", "pdf"], ...], shared: Path | None, min_n: int, drop_signature: bool
) -> int:
    """Make the report of BUNDLE and its findings for machines again, from the bundle alone.

    It needs no model, no data and no plug-ins. A signed bundle stays as it is: where what is drawn is what is there,
    that is said, and where it is not, nothing is written, unless you take the signatures off.
    """
    from audit.bundle import Bundle
    from audit.core.errors import BundleError
    from audit.core.manifest import RENDERED
    from audit.draft import drawing, unfinished
    from audit.engine.contradictions import as_written
    from audit.engine.signing import unsign
    from audit.report import export, render

    if shared is not None:
        return _share(bundle, shared, min_n, formats)
    if not unfinished(bundle):
        Bundle(bundle).manifest()  # a folder that is none is not to be written into
    with drawing(bundle) as found:
        manifest = found.manifest()
        if manifest.signed is not None:
            if not drop_signature:
                return _signed(found, manifest.signed.by, formats)
            unsign(found)
        altered = [line for line in found.altered() if line.partition(":")[0] not in RENDERED]
        if altered:
            raise BundleError(altered)
        with found.scratch(), as_written(found):
            names = [*render(found, formats or ("html", "pdf")), *export(found)]
        found.write_manifest(found.manifest())
        found.commit()
    for name in names:
        click.echo(str(bundle / name))
    return 0


def _share(bundle: Path, out: Path, min_n: int, formats: tuple[Literal["html", "pdf"], ...]) -> int:
    """Writes the bundle to hand out, and says what of it nobody but its owner can check."""
    from audit.bundle import Bundle
    from audit.engine.contradictions import as_written
    from audit.report.share import share

    with as_written(Bundle(bundle)):
        names = share(Bundle(bundle), out, min_n, formats or ("html", "pdf"))
    for name in names:
        click.echo(str(out / name))
    shared: Any = Bundle(out).manifest().facts["shared"]
    if forced := shared["forced"]:
        click.echo(f"gates rest on all groups but small ones, so that subtraction gives {forced} numbers of these away")
    click.echo("what people wrote goes along as it is (spec, opinion, narrative, waivers): see that it names nobody")
    return 0


def _signed(bundle: "Bundle", by: str, formats: tuple[str, ...]) -> int:
    """Says that a signed bundle is drawn as it was; writes nothing.

    Raises:
        SpecError: it would be drawn otherwise, and its signatures would no longer hold.
    """
    from audit.core.errors import SpecError
    from audit.engine.redraw import redraw
    from audit.report.text import line

    recorded = bundle.manifest().files
    other = [f"report.{form}: is not in the bundle" for form in formats if f"report.{form}" not in recorded]
    other += [f"{one.name}: {one.other or one.why_not}" for one in redraw(bundle) if one.other or one.why_not]
    if other:
        remedy = "; nothing was written. To draw it all the same, without signatures, say --drop-signature"
        raise SpecError([*other, f"{bundle.root.name}: is signed by {by}, and what is drawn now is another{remedy}"])
    click.echo(line(f"{bundle.root}: drawn again, to the byte the same; the signatures of {by} stay"))
    return 0
