"""Whether a bundle is what its manifest records, agrees with itself, and is what its signer signed."""

from collections.abc import Sequence
from dataclasses import dataclass

from audit.bundle import Bundle
from audit.core.errors import BundleError
from audit.core.manifest import RENDERED
from audit.draft import left_behind, unfinished
from audit.engine.contradictions import contradictions, same_audit
from audit.engine.redraw import Redrawn, redraw
from audit.engine.signatures import Seal, Trust, seals


@dataclass(frozen=True)
class Verified:
    """What was found.

    Attributes:
        files: how many files the manifest records.
        altered: files that are not what the manifest records, and what would lead elsewhere who writes there.
        contradictions: where files do not agree with one another.
        redrawn: what came of drawing the report again.
        seals: the signatures; empty where the bundle is not signed.
        unsigned: what is wrong where a signature was asked for and there is none.
        remarks: what was not looked at, and why; what a command that was cut off left behind.
    """

    report_id: str
    files: int
    altered: tuple[str, ...] = ()
    contradictions: tuple[str, ...] = ()
    redrawn: tuple[Redrawn, ...] = ()
    seals: tuple[Seal, ...] = ()
    unsigned: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """All that is wrong, one sentence each; empty where the bundle stands."""
        other = [f"{one.name}: {one.other}" for one in self.redrawn if one.other]
        sealed = [problem for seal in self.seals for problem in seal.problems]
        return tuple(dict.fromkeys([*self.altered, *self.contradictions, *other, *sealed, *self.unsigned]))


def verify(bundle: Bundle, trust: Trust | None = None, *, quick: bool = False) -> Verified:
    """Digests, contradictions, the report drawn again, and signatures; nothing is written and nothing is fetched.

    Args:
        trust: whom the reader trusts; where roots are named, the bundle must be signed by someone they vouch for.
        quick: the PDF, which takes longest, is not drawn again.

    Raises:
        BundleError: there is no manifest, or it cannot be read; or what is about to be put in place is no bundle's.
        AuditError: the bundle is signed, and what checks signatures is not installed.
    """
    trust = trust or Trust()
    strange, left = left_behind(bundle.root)
    if strange and unfinished(bundle.root):
        raise BundleError(strange)  # no honest command was cut off there, and none can end it
    manifest = bundle.manifest()
    altered = bundle.altered()
    sound = all(line.partition(":")[0] in RENDERED for line in altered)
    redrawn = tuple(redraw(bundle, pdf=not quick)) if sound else ()
    unsigned = []
    if trust.roots is not None and manifest.signed is None:
        unsigned.append("manifest.json: the bundle is not signed, and --trust asks for a signature")
    return Verified(
        report_id=manifest.report_id,
        files=len(manifest.files),
        altered=(*altered, *strange),
        contradictions=tuple(contradictions(bundle)),
        redrawn=redrawn,
        seals=tuple(seals(bundle, trust)),
        unsigned=tuple(unsigned),
        remarks=(*_remarks(bundle, redrawn), *left),
    )


def _remarks(bundle: Bundle, redrawn: Sequence[Redrawn]) -> list[str]:
    """What was not looked at."""
    remarks = [f"{one.name} was not drawn again: {one.why_not}" for one in redrawn if one.why_not]
    manifest = bundle.manifest()
    if not same_audit(manifest):
        made = manifest.packages.get("auditspec", "an unknown version")
        remarks.append(f"whether the plan follows from the spec was not looked at: the bundle was made by audit {made}")
    if (bundle.root / "run.json").exists():
        remarks.append("run.json (times, host, user) is covered by no digest; no number and no page rests on it")
    return remarks
