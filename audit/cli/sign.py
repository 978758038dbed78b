"""`audit sign`."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import click

FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.command("sign")
@click.argument("bundle", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--key", type=FILE, help="A PKCS#12 file (.p12, .pfx) with key and certificate.")
@click.option("--key-pem", type=FILE, help="A private key in PEM or DER; needs --cert.")
@click.option("--cert", type=FILE, help="The certificate of --key-pem; those that vouch for it may follow in the file.")
@click.option("--passphrase-file", type=FILE, help="The first line of this file opens the key.")
@click.option("--passphrase-env", metavar="NAME", help="The environment variable of this name opens the key.")
@click.option("--replace", is_flag=True, help="Sign anew a bundle that is signed.")
def command(
    bundle: Path,
    key: Path | None,
    key_pem: Path | None,
    cert: Path | None,
    passphrase_file: Path | None,
    passphrase_env: str | None,
    replace: bool,
) -> int:
    """Sign BUNDLE: the PDF inside (PAdES-B-B, no changes allowed), and the manifest, which holds all other digests.

    The signature of the PDF is appended to it, that of the manifest is manifest.json.p7s. Where the key has a
    passphrase, it is asked for, or comes from a file or an environment variable; never from the command line and never
    from a spec. The time in the signature is that of this machine's clock. Nothing is fetched from a network.
    """
    from audit.bundle import Bundle
    from audit.core.errors import SpecError
    from audit.core.integrity import SIGNATURE
    from audit.draft import drawing
    from audit.engine.contradictions import as_written
    from audit.engine.keys import from_pem, from_pkcs12, need_pyhanko
    from audit.engine.signing import refuse_signed, sign
    from audit.report.text import line

    if (key is None) == (key_pem is None) or (key_pem is None) != (cert is None):
        raise SpecError("name the key: --key FILE.p12, or --key-pem FILE with --cert FILE")
    need_pyhanko()
    ask = _passphrase(passphrase_file, passphrase_env)
    signer = from_pkcs12(key, ask) if key is not None else from_pem(key_pem or Path(), cert or Path(), ask)
    refuse_signed(Bundle(bundle).manifest(), replace=replace)
    with drawing(bundle) as draft:
        with as_written(draft):
            signed = sign(draft, signer, replace=replace)
        draft.commit()
    if signed.report is not None:
        click.echo(f"{bundle / 'report.pdf'}: signed after its first {signed.unsigned_bytes:,} bytes, which stay as is")
    click.echo(f"{bundle / SIGNATURE}: signature of manifest.json")
    click.echo(line(f"signed by {signed.by} (certificate {signed.certificate[:16]}…); `audit verify` checks it"))
    return 0


def _passphrase(file: Path | None, variable: str | None) -> Callable[[], bytes]:
    """How the passphrase is come by, once it is needed."""

    def ask() -> bytes:
        from audit.core.errors import SpecError

        if file is not None:
            lines = file.read_bytes().splitlines()
            return lines[0] if lines else b""
        if variable is not None:
            if variable not in os.environ:
                raise SpecError(f"--passphrase-env {variable}: there is no such environment variable")
            return os.environ[variable].encode("utf-8")
        if not sys.stdin.isatty():
            raise SpecError("the key has a passphrase; name --passphrase-file or --passphrase-env, or use a terminal")
        answer: str = click.prompt("Passphrase of the key", hide_input=True)
        return answer.encode("utf-8")

    return ask
