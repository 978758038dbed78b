"""What was run, with what, and the digest of every file."""

from typing import Annotated

from pydantic import Field, JsonValue

from audit.core.base import Frozen, canonical_json, sha256
from audit.core.plan import Plan

FORMAT = 1
"""Version of the layout of a bundle."""

RENDERED = ("report.html", "report.pdf", "findings.junit.xml", "findings.sarif")
"""Files that are drawn from the rest of a bundle and bear its id, so that the id cannot rest on them."""


class InputRecord(Frozen):
    """A file that the audit read; the name is the spec's text for it, never an absolute path."""

    role: str
    name: str
    sha256: str
    rows: int | None = None


class Signed(Frozen):
    """That a bundle is signed, so that a signature that was taken off is missed.

    Attributes:
        by: the name in the certificate of the signer.
        certificate: SHA-256 of that certificate (DER).
        report: SHA-256 of `report.pdf` with its signature; None where the bundle has no PDF.
        unsigned_bytes: the length of `report.pdf` before it was signed; the signed file begins with exactly these.
    """

    by: str
    certificate: str
    report: str | None = None
    unsigned_bytes: int | None = None


class Manifest(Frozen):
    """The record of an audit.

    Attributes:
        spec_name, spec: file name and text of the spec, verbatim.
        overrides: `--set key=value` as given.
        facts: what the report prints of the audit besides the evidence: the resolved spec sections, as plain data.
        platform: system and kind of processor, as in "Linux x86_64".
        lock: SHA-256 of the lock file that a frozen run was held to, or None.
        files: SHA-256 of every file of the bundle but this one, its signature and `run.json`, by path; of a signed
            PDF that of the file before it was signed.
        signed: who signed the bundle, or None.
        drawn_with: versions of what `report.pdf` was drawn with, beside `packages` and `platform` or unlike them: of
            libraries of the system, and of whatever machine drew it. Empty where there is no PDF.

    Neither the id nor the payload rests on `signed` and `drawn_with`, which may come after the run.
    """

    format: int = FORMAT
    tool: dict[str, str]
    spec_name: Annotated[str, Field(pattern=r"^[^/\x00]+$")]
    spec: str
    overrides: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    as_of: str | None = None
    seed: int
    repository: dict[str, str | bool] | None = None
    inputs: tuple[InputRecord, ...] = ()
    packages: dict[str, str] = {}
    platform: str = ""
    lock: str | None = None
    cites: tuple[str, ...] = ()
    facts: dict[str, JsonValue] = {}
    plan: Plan
    files: dict[str, str] = {}
    signed: Signed | None = None
    drawn_with: dict[str, str] = {}

    @property
    def payload(self) -> str:
        """One digest over everything that was computed: all files but those that are drawn from them."""
        content = self.model_dump(mode="json", exclude={"signed", "drawn_with"})
        content["files"] = {path: digest for path, digest in self.files.items() if path not in RENDERED}
        return sha256(canonical_json(content))

    @property
    def report_id(self) -> str:
        """The one id that the report, the PDF and the results are known by."""
        return "AR-" + self.payload[:10].upper()
