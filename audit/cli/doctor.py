"""`audit doctor`."""

import sys
from collections.abc import Iterator

import click

PACKAGES = ("numpy", "pandas", "pyarrow", "pydantic", "scikit-learn", "scipy", "shap", "skops", "weasyprint")
LIBRARIES = {
    "libpango-1.0.so.0": "libpango-1.0-0",
    "libpangoft2-1.0.so.0": "libpangoft2-1.0-0",
    "libharfbuzz-subset.so.0": "libharfbuzz-subset0",
}
"""Shared objects that WeasyPrint opens, and the Debian packages that hold them."""


@click.command("doctor")
def command() -> int:
    """Say whether this installation can run audits and print PDF, and what to do if it cannot."""
    troubles = list(_troubles())
    for line in troubles:
        click.echo(f"× {line}")
    if not troubles:
        click.echo("✓ everything is there")
    return 3 if troubles else 0


def _troubles() -> Iterator[str]:
    """One sentence per thing that is missing; prints what is there on the way."""
    import ctypes

    from audit.core.errors import AuditError
    from audit.core.method import GENERATORS, METHODS
    from audit.core.model import ADAPTERS
    from audit.engine.provenance import package_version
    from audit.resources import folder

    click.echo(f"✓ python {'.'.join(map(str, sys.version_info[:3]))}")
    for name in PACKAGES:
        version = package_version(name)
        if version == "not installed":
            yield f"{name} is not installed: pip install {name}"
        else:
            click.echo(f"✓ {name} {version}")
    for library, package in LIBRARIES.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            yield f"{library} is missing, so there is no PDF (HTML works): apt-get install {package}"
        else:
            click.echo(f"✓ {library}")
    try:
        click.echo(f"✓ templates {len(list(folder('templates').iterdir()))} entries")
        for registry in (METHODS, GENERATORS, ADAPTERS):
            click.echo(f"✓ {registry.noun}: {', '.join(registry.classes())}")
    except (FileNotFoundError, AuditError) as error:
        yield str(error)
