"""Keys and certificates that are made on the spot: a root, signers under it, and their PKCS#12 and PEM files."""

from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import NameOID

PASSPHRASE = b"open sesame"
BEGUN = datetime(2026, 1, 1, tzinfo=UTC)


def root(name="Root"):
    """A key and its self-signed certificate."""
    return _root(name)


@cache
def _root(name):
    key = ec.generate_private_key(ec.SECP256R1())
    return key, _certificate(name, key.public_key(), name, key, authority=True)


def holder(name="A. Validator", under="Root", kind="ec", until=None, purpose=None):
    """A key and a certificate that a root vouches for."""
    return _holder(name, under, kind, until, purpose)


@cache
def _holder(name, under, kind, until, purpose):
    key = ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else rsa.generate_private_key(65537, 2048)
    return key, _certificate(
        name, key.public_key(), under, root(under)[0], authority=False, until=until, purpose=purpose
    )


def _certificate(name, public, issuer, signing, *, authority, until=None, purpose=None):
    def named(text):
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    usage = dict.fromkeys(
        ("key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"), False
    )
    made = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named(issuer))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(BEGUN)
        .not_valid_after(until or BEGUN + timedelta(days=36500))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=not authority,
                content_commitment=not authority,
                key_cert_sign=authority,
                crl_sign=authority,
                **usage,
            ),
            critical=True,
        )
    )
    if purpose is not None:
        made = made.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    return made.sign(signing, hashes.SHA256())


def p12(path, key_and_certificate=None, passphrase=PASSPHRASE):
    """Writes a PKCS#12 file."""
    key, certificate = key_and_certificate or holder()
    how = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    path.write_bytes(pkcs12.serialize_key_and_certificates(b"key", key, certificate, [root()[1]], how))
    return path


def pem(path, certificate):
    """Writes a certificate."""
    path.write_bytes(certificate.public_bytes(Encoding.PEM))
    return path


def pem_key(path, key, passphrase=None):
    """Writes a private key."""
    how = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how))
    return path
