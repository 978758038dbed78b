"""Signs a bundle: the PDF as readers of PDF check it (PAdES-B-B), and the manifest, which holds all other digests."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import TYPE_CHECKING, Any, TypeVar

from audit.bundle import Bundle, pretty_json
from audit.core.base import sha256
from audit.core.errors import BundleError, SpecError
from audit.core.integrity import PDF, SIGNATURE
from audit.core.manifest import Manifest, Signed

if TYPE_CHECKING:
    from pyhanko.sign.signers import SimpleSigner

FIELD = "AuditSignature"
"""The name of the invisible field that holds the signature of the PDF."""

RESERVED = 16384
"""Bytes kept free in the PDF for a signature with its certificates, in hexadecimal digits."""


def sign(bundle: Bundle, signer: "SimpleSigner", *, replace: bool = False) -> Signed:
    """Signs `report.pdf`, where there is one, and the manifest; the files keep what was recorded of them.

    The signature of the PDF is appended, so that the unsigned file is its exact beginning and the recorded digest still
    says what was drawn. The signature of the manifest is a file beside it.

    Raises:
        BundleError: the bundle was altered.
        SpecError: it is signed, and the signature is not to be replaced.
    """
    manifest = bundle.manifest()
    refuse_signed(manifest, replace=replace)
    pdf = _unsigned(bundle, manifest)
    altered = [line for line in bundle.altered() if line.partition(":")[0] not in {PDF, SIGNATURE}]
    if altered:
        raise BundleError(altered)
    signed_pdf = None if pdf is None else in_a_thread(lambda: _signed_pdf(pdf, manifest, signer))
    certificate: Any = signer.signing_cert
    signed = Signed(
        by=name_of(certificate),
        certificate=certificate.sha256.hex(),
        report=None if signed_pdf is None else sha256(signed_pdf),
        unsigned_bytes=None if pdf is None else len(pdf),
    )
    content = pretty_json(manifest.model_copy(update={"signed": signed}).model_dump(mode="json"))
    # In this order a run that is cut off leaves what `verify` names and `sign --replace` mends.
    bundle.write(SIGNATURE, in_a_thread(lambda: _detached(content, signer)))
    bundle.write("manifest.json", content)
    if signed_pdf is not None:
        bundle.write(PDF, signed_pdf)
    return signed


Answer = TypeVar("Answer")


def in_a_thread(work: Callable[[], Answer]) -> Answer:
    """What a piece of work gives that is done in a thread of its own.

    pyhanko starts an event loop for each piece, and a notebook has one running in the thread that calls us.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def refuse_signed(manifest: Manifest, *, replace: bool) -> None:
    """Leaves a bundle that is signed as it is, unless it is to be signed anew.

    Raises:
        SpecError: it is signed.
    """
    if manifest.signed is not None and not replace:
        raise SpecError(f"{manifest.report_id} is signed by {manifest.signed.by}; to sign it anew, say --replace")


def unsign(bundle: Bundle) -> Manifest:
    """Takes the signatures off a bundle, a draft at its commit; the manifest as it is then.

    Raises:
        BundleError: the PDF without its signature is not the one that the manifest records.
    """
    manifest = bundle.manifest()
    pdf = _unsigned(bundle, manifest)
    bare = manifest.model_copy(update={"signed": None})
    if pdf is not None:
        bundle.write(PDF, pdf)
    bundle.write("manifest.json", pretty_json(bare.model_dump(mode="json")))
    bundle.drop(SIGNATURE)
    return bare


def name_of(certificate: Any) -> str:
    """The name in a certificate: the common name, or all of the subject where there is none."""
    subject = certificate.subject
    return str(subject.native.get("common_name") or subject.human_friendly)


def _unsigned(bundle: Bundle, manifest: Manifest) -> bytes | None:
    """The PDF as it was drawn, None where the bundle has none.

    Raises:
        BundleError: it is not the one that the manifest records.
    """
    recorded = manifest.files.get(PDF)
    if recorded is None:
        return None
    data = bundle.read(PDF) if bundle.has(PDF) else b""
    length = manifest.signed.unsigned_bytes if manifest.signed else None
    pdf = data if length is None else data[:length]
    if sha256(pdf) != recorded:
        raise BundleError([line for line in bundle.altered() if line.startswith(PDF)] or [f"{PDF}: was altered"])
    return pdf


def _signed_pdf(pdf: bytes, manifest: Manifest, signer: "SimpleSigner") -> bytes:
    """The file with its signature after it; nothing else is added or said anew, so that it conforms as it did."""
    from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
    from pyhanko.sign.fields import InvisSigSettings, MDPPerm, SigFieldSpec, SigSeedSubFilter
    from pyhanko.sign.signers import PdfSignatureMetadata, PdfSigner

    class AsDrawn(IncrementalPdfFileWriter):
        def _update_meta(self) -> None:
            """Leaves the description of the file: written anew by pyhanko it does not follow PDF/A-3 to the letter."""

    settings = PdfSignatureMetadata(
        field_name=FIELD,
        md_algorithm="sha256",
        subfilter=SigSeedSubFilter.PADES,
        certify=True,
        docmdp_permissions=MDPPerm.NO_CHANGES,
        reason=f"Audit report {manifest.report_id}",
    )
    # PDF/A wants the flag for print, PDF/UA wants a field without a tag off the page.
    place = InvisSigSettings(set_print_flag=True, box_out_of_bounds=True)
    spec = SigFieldSpec(FIELD, readable_field_name="Signature of the report", invis_sig_settings=place)
    out = BytesIO()
    PdfSigner(settings, signer, new_field_spec=spec).sign_pdf(
        AsDrawn(BytesIO(pdf)), output=out, bytes_reserved=RESERVED
    )
    data = out.getvalue()
    if not data.startswith(pdf):
        raise AssertionError("a signature is appended")
    return data


def _detached(content: bytes, signer: "SimpleSigner") -> bytes:
    """A detached CMS signature (CAdES-B-B, DER)."""
    made = asyncio.run(signer.async_sign_general_data(content, "sha256", detached=True, use_cades=True))
    data: bytes = made.dump()
    return data
