"""`audit verify`."""

from pathlib import Path

import click


@click.command("verify")
@click.argument("bundle", type=click.Path(path_type=Path, file_okay=False, exists=True))
def command(bundle: Path) -> int:
    """Check that every file of BUNDLE is the one that its manifest records, and that they agree with one another.

    This finds damage and careless edits. It proves nothing about who wrote the bundle: it is not signed, and whoever
    can rewrite a file can rewrite the manifest.
    """
    from audit.bundle import Bundle
    from audit.core.errors import BundleError

    found = Bundle(bundle)
    altered = found.altered() or found.contradictions()
    if altered:
        raise BundleError(altered)
    manifest = found.manifest()
    click.echo(f"{manifest.report_id}: {len(manifest.files)} files match the manifest; the bundle is not signed")
    return 0
