"""`audit render`."""

from pathlib import Path
from typing import Literal

import click


@click.command("render")
@click.argument("bundle", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--format", "formats", multiple=True, type=click.Choice(["html", "pdf"]), help="May be repeated.")
def command(bundle: Path, formats: tuple[Literal["html", "pdf"], ...]) -> int:
    """Make the report of BUNDLE and its findings for machines again, from the bundle alone.

    It needs no model, no data and no plug-ins.
    """
    from audit.bundle import PENDING, STAGES, Bundle
    from audit.core.errors import BundleError
    from audit.core.manifest import RENDERED
    from audit.disk import hold
    from audit.draft import DRAWN, Draft
    from audit.report import export, render

    if not any((bundle / stage / PENDING).is_file() for stage in STAGES):
        Bundle(bundle).manifest()  # a folder that is none is not to be written into
    with hold(bundle):
        found = Draft(bundle, DRAWN)
        found.begin()
        manifest = found.manifest()
        altered = [line for line in found.altered() if line.partition(":")[0] not in RENDERED]
        if altered:
            raise BundleError(altered)
        with found.scratch():
            names = [*render(found, formats or ("html", "pdf")), *export(found)]
        found.write_manifest(manifest)
        found.commit()
    for name in names:
        click.echo(str(bundle / name))
    return 0
