"""Who signed a bundle, and whether what was signed is what is there. Nothing is fetched."""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any

from audit.bundle import Bundle
from audit.core.base import sha256
from audit.core.integrity import PDF, SIGNATURE
from audit.core.manifest import Manifest
from audit.engine.keys import need_pyhanko, unfit
from audit.engine.signing import FIELD, in_a_thread, name_of

if TYPE_CHECKING:
    from asn1crypto import x509
    from pyhanko_certvalidator import ValidationContext


@dataclass(frozen=True)
class Seal:
    """One signature.

    Attributes:
        file: what is signed.
        by: the name in the certificate.
        at: when the signer says that it was signed; a claim that nobody confirms.
        certificate: SHA-256 of the certificate.
        intact: what is signed is what is there, all of it.
        trusted: a root that the reader named vouches for the certificate; None where no root was named.
        problems: what is wrong, one sentence each.
        remarks: what else is to be said.
    """

    file: str
    by: str = ""
    at: str = ""
    certificate: str = ""
    intact: bool = False
    trusted: bool | None = None
    problems: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trust:
    """Whom the reader trusts, and on what day.

    Attributes:
        roots: None where the reader named none.
        moment: the time at which certificates must be valid.
    """

    roots: "Sequence[x509.Certificate] | None" = None
    moment: datetime = field(default_factory=lambda: datetime.now(UTC))

    def context(self) -> "ValidationContext":
        """What pyHanko builds paths with: these roots and no others, no network, no revocation lists."""
        from pyhanko_certvalidator import ValidationContext

        return ValidationContext(
            trust_roots=list(self.roots or ()), moment=self.moment, allow_fetching=False, revocation_mode="soft-fail"
        )


def seals(bundle: Bundle, trust: Trust) -> list[Seal]:
    """Every signature that the manifest records, checked; none where the bundle is not signed.

    Raises:
        AuditError: there are signatures, and pyhanko is not installed.
    """
    manifest = bundle.manifest()
    if manifest.signed is None:
        return []
    need_pyhanko()
    with _quiet():
        found = [in_a_thread(lambda: _manifest_seal(bundle, manifest, trust))]
        if manifest.signed.report is not None:
            found.append(in_a_thread(lambda: _pdf_seal(bundle, manifest, trust)))
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """pyHanko logs what it finds; here it is said once, in our words."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _manifest_seal(bundle: Bundle, manifest: Manifest, trust: Trust) -> Seal:
    from asn1crypto import cms
    from pyhanko.sign.validation.generic_cms import async_validate_detached_cms

    if not bundle.has(SIGNATURE):
        return Seal("manifest.json", problems=(f"{SIGNATURE}: missing, but the manifest records a signature",))
    content, signature = bundle.read("manifest.json"), bundle.read(SIGNATURE)
    try:
        signed = cms.ContentInfo.load(signature, strict=True)["content"]
        status = asyncio.run(async_validate_detached_cms(content, signed, trust.context(), key_usage_settings=_usage()))
    except Exception as error:  # noqa: BLE001 - the file is foreign: whatever its reader raises is a fault of the file
        return Seal("manifest.json", problems=(f"{SIGNATURE}: cannot be read as a signature ({type(error).__name__})",))
    problems = []
    if not status.intact:
        problems.append(f"manifest.json: is not what was signed; {SIGNATURE} is a signature of other bytes")
    elif not status.valid:
        problems.append(f"{SIGNATURE}: the signature is not one of the key in its certificate")
    return _seal("manifest.json", SIGNATURE, status, manifest, trust, problems, ())


def _pdf_seal(bundle: Bundle, manifest: Manifest, trust: Trust) -> Seal:
    from pyhanko.pdf_utils.reader import PdfFileReader
    from pyhanko.sign.validation import validate_pdf_signature
    from pyhanko.sign.validation.status import SignatureCoverageLevel

    data = bundle.read(PDF) if bundle.has(PDF) else b""
    problems, remarks = _beginning(data, manifest)
    try:
        embedded = PdfFileReader(BytesIO(data)).embedded_signatures
        if len(embedded) != 1 or embedded[0].field_name != FIELD:
            said = f"{PDF}: holds {len(embedded)} signatures; one, in the field {FIELD}, is recorded"
            return Seal(PDF, problems=(said, *problems))
        status = validate_pdf_signature(embedded[0], trust.context(), key_usage_settings=_usage())
    except Exception as error:  # noqa: BLE001 - as above
        return Seal(PDF, problems=(f"{PDF}: its signature cannot be read ({type(error).__name__})", *problems))
    if not status.intact:
        problems.append(f"{PDF}: is not what was signed")
    elif not status.valid:
        problems.append(f"{PDF}: the signature is not one of the key in its certificate")
    if status.coverage != SignatureCoverageLevel.ENTIRE_FILE:
        problems.append(f"{PDF}: the signature does not cover the entire file; something was added after it")
    if not status.docmdp_ok:
        problems.append(f"{PDF}: was changed after it was certified; its signer allows no changes")
    return _seal(PDF, PDF, status, manifest, trust, problems, remarks)


def _beginning(data: bytes, manifest: Manifest) -> tuple[list[str], list[str]]:
    """Whether the signed file begins with the unsigned one that the manifest records."""
    length = manifest.signed.unsigned_bytes if manifest.signed else None
    recorded = manifest.files.get(PDF, "")
    if length is None or sha256(data[:length]) != recorded:
        return [f"{PDF}: does not begin with the unsigned file that the manifest records"], []
    return [], [f"its first {length:,} bytes are the unsigned file that the manifest records ({recorded[:12]}…)"]


def _seal(
    name: str, where: str, status: Any, manifest: Manifest, trust: Trust, problems: list[str], remarks: Sequence[str]
) -> Seal:
    certificate = status.signing_cert
    recorded = manifest.signed.certificate if manifest.signed else ""
    print_ = certificate.sha256.hex()
    by = name_of(certificate)
    if print_ != recorded:
        problems.append(
            f"{where}: is signed with the certificate {print_[:12]}… of {by}, the manifest records {recorded[:12]}…"
        )
    purposes = unfit(certificate)
    trusted = None if trust.roots is None else bool(status.trusted and not purposes)
    if purposes:
        problems.append(f"{where}: the certificate of {by} is for {purposes}, not for the signing of documents")
    elif trusted is False:
        problems.append(f"{where}: {_why_not(certificate, by, trust)}")
    at = status.signer_reported_dt
    return Seal(
        file=name,
        by=by,
        at=at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC") if at else "",
        certificate=print_,
        intact=bool(status.intact and status.valid),
        trusted=trusted,
        problems=tuple(problems),
        remarks=tuple(remarks),
    )


def _why_not(certificate: "x509.Certificate", by: str, trust: Trust) -> str:
    """Why a signer is not trusted: the day, or the roots."""
    day = trust.moment.date().isoformat()
    if trust.moment < certificate.not_valid_before:
        return f"the certificate of {by} holds from {certificate.not_valid_before.date()}, and it is judged on {day}"
    if trust.moment > certificate.not_valid_after:
        return (
            f"the certificate of {by} ended on {certificate.not_valid_after.date()}, and it is judged on {day}; "
            "to judge it on the day of the audit, say --at"
        )
    return f"{by} is not vouched for by the certificates of --trust"


def _usage() -> Any:
    """A certificate that says what its key may do must allow signatures; one that says nothing may."""
    from pyhanko.sign.validation.settings import KeyUsageConstraints

    return KeyUsageConstraints(key_usage={"digital_signature", "non_repudiation"}, match_all_key_usages=False)
