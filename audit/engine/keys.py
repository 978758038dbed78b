"""Keys to sign with, and certificates to trust, from files that the command line names."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audit.core.errors import AuditError, SpecError

if TYPE_CHECKING:
    from asn1crypto import x509
    from pyhanko.sign.signers import SimpleSigner

PURPOSES = {
    "any_extended_key_usage",
    "email_protection",
    "microsoft_document_signing",
    "adobe_authentic_documents_trust",
    "1.3.6.1.5.5.7.3.36",  # document signing, RFC 9336
}
"""Purposes of a certificate (extended key usage) under which documents are signed."""

Ask = Callable[[], bytes]
"""Gives the passphrase of a key; called only where the key has one."""


def need_pyhanko() -> None:
    """Refuses to go on without the library that signs.

    Raises:
        AuditError: it is not installed; the message says how to install it.
    """
    try:
        import pyhanko.sign  # noqa: F401
    except ImportError as error:
        raise AuditError("signatures are made and checked with pyhanko: pip install 'auditspec[sign]'") from error


def from_pkcs12(path: Path, ask: Ask) -> "SimpleSigner":
    """The signer in a PKCS#12 file (`.p12`, `.pfx`).

    Raises:
        SpecError: the file cannot be read, holds no key with its certificate, or the passphrase does not open it.
    """
    from cryptography.hazmat.primitives.serialization import pkcs12

    data = _read(path, "--key")
    try:
        key, certificate, others = _opened(lambda word: pkcs12.load_key_and_certificates(data, word), ask)
    except AuditError:
        raise
    except (ValueError, TypeError) as error:
        raise SpecError(f"--key {path.name}: is no PKCS#12 file, or the passphrase does not open it") from error
    if key is None or certificate is None:
        raise SpecError(f"--key {path.name}: holds no private key with its certificate")
    return _signer(key, certificate, others, f"--key {path.name}")


def from_pem(key_path: Path, certificate_path: Path, ask: Ask) -> "SimpleSigner":
    """The signer whose private key is in one PEM or DER file, and whose certificate is the first in another.

    Raises:
        SpecError: a file cannot be read, the passphrase does not open the key, or the two do not belong together.
    """
    from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_private_key

    data = _read(key_path, "--key-pem")
    load = load_pem_private_key if b"-----BEGIN" in data else load_der_private_key
    try:
        key = _opened(lambda word: load(data, word), ask)
    except AuditError:
        raise
    except (ValueError, TypeError) as error:
        raise SpecError(f"--key-pem {key_path.name}: is no private key, or the passphrase does not open it") from error
    certificate, *others = _pyca(_read(certificate_path, "--cert"), f"--cert {certificate_path.name}")
    return _signer(key, certificate, others, f"--key-pem {key_path.name}")


def roots(paths: Sequence[Path]) -> "list[x509.Certificate]":
    """The certificates in files, PEM or DER, whose holders the reader trusts.

    Raises:
        SpecError: a file cannot be read or holds no certificate.
    """
    from pyhanko.keys import load_certs_from_pemder_data

    found: list[x509.Certificate] = []
    for path in paths:
        data = _read(path, "--trust")
        try:
            here = list(load_certs_from_pemder_data(data))
            for certificate in here:
                _ = certificate.subject.native  # what is no certificate shows now
        except (ValueError, TypeError) as error:
            raise SpecError(f"--trust {path.name}: is no certificate in PEM or DER") from error
        if not here:
            raise SpecError(f"--trust {path.name}: holds no certificate")
        found += here
    return found


def unfit(certificate: "x509.Certificate") -> str:
    """What a certificate is for where that is not the signing of documents; nothing where it is, or says nothing.

    RFC 5280, 4.2.1.12: a key is used for the purposes that its certificate names and for no other.
    """
    named = certificate.extended_key_usage_value
    purposes = [] if named is None else [str(purpose) for purpose in named.native]
    return "" if named is None or PURPOSES & {*purposes} else ", ".join(purposes)


def _opened(load: Callable[[bytes | None], Any], ask: Ask) -> Any:
    """What `load` gives without a passphrase, or, where it asks for one, with it."""
    try:
        return load(None)
    except (ValueError, TypeError):
        return load(ask())


def _read(path: Path, option: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SpecError(f"{option} {path.name}: cannot be read: {error.strerror}") from error


def _pyca(data: bytes, where: str) -> list[Any]:
    from cryptography import x509

    try:
        if b"-----BEGIN" in data:
            return list(x509.load_pem_x509_certificates(data))
        return [x509.load_der_x509_certificate(data)]
    except ValueError as error:
        raise SpecError(f"{where}: holds no certificate in PEM or DER") from error


def _signer(key: Any, certificate: Any, others: Sequence[Any], where: str) -> "SimpleSigner":
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from pyhanko.keys.internal import translate_pyca_cryptography_cert_to_asn1, translate_pyca_cryptography_key_to_asn1
    from pyhanko.sign.signers import SimpleSigner
    from pyhanko_certvalidator.registry import SimpleCertificateStore

    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*form) != certificate.public_key().public_bytes(*form):
        raise SpecError(f"{where}: the certificate is for another key; name the certificate of this one")
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise SpecError(f"{where}: is a {type(key).__name__}; sign with an RSA key or one on an elliptic curve")
    signing = translate_pyca_cryptography_cert_to_asn1(certificate)
    if purposes := unfit(signing):
        raise SpecError(f"{where}: the certificate is for {purposes}; sign with one that is for documents or e-mail")
    store: Any = SimpleCertificateStore()  # type: ignore[no-untyped-call]
    store.register_multiple([translate_pyca_cryptography_cert_to_asn1(other) for other in others])
    return SimpleSigner(
        signing_cert=signing,
        signing_key=translate_pyca_cryptography_key_to_asn1(key),
        cert_registry=store,
    )
