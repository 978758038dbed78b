"""Whether the files of a bundle are those that its manifest records."""

from collections.abc import Collection, Mapping, Sequence

from audit.core.base import canonical_json, sha256
from audit.core.evidence import Note
from audit.core.manifest import Manifest

SIGNATURE = "manifest.json.p7s"
"""The detached signature of the manifest."""

PDF = "report.pdf"


def differences(manifest: Manifest, present: Mapping[str, str], links: Collection[str] = ()) -> list[str]:
    """What does not match the manifest: one sentence per file; empty if all is as recorded.

    Args:
        present: SHA-256 of every file that is there, by path; that of the signature, where there is one, among them.
        links: paths of symbolic links, which a bundle never holds.
    """
    found = {name: digest for name, digest in present.items() if name != SIGNATURE}
    expected = dict(manifest.files)
    if manifest.signed is not None and manifest.signed.report is not None:
        expected[PDF] = manifest.signed.report
    lines = [f"{name}: is a symbolic link; a bundle holds plain files, so what it shows can change" for name in links]
    gone = {name for name in expected if name not in found and name not in links}
    new = {name for name in found if name not in expected}
    for name in sorted(gone):
        same = [other for other in sorted(new) if found[other] == expected[name]]
        moved = f"; {same[0]} holds these bytes, so it was renamed" if same else ""
        lines.append(f"{name}: recorded in the manifest, but missing{moved}")
    lines += [f"{name}: not recorded in the manifest" for name in new]
    lines += [
        _other(manifest, name, expected[name], digest)
        for name, digest in found.items()
        if name in expected and expected[name] != digest
    ]
    return sorted(lines + _signature(manifest, SIGNATURE in present))


def spec_key(text: str, overrides: Sequence[str], notes: Sequence[Note]) -> str:
    """The key of the evidence on the spec: the digest of the spec, of what was set beside it, and of what was noted."""
    return sha256(canonical_json([text, list(overrides), [note.model_dump(mode="json") for note in notes]]))[:32]


def _other(manifest: Manifest, name: str, expected: str, digest: str) -> str:
    """A file that holds something else than what is recorded."""
    if name == PDF and manifest.signed is not None and digest == manifest.files.get(PDF):
        return f"{PDF}: its signature was taken off; the manifest records one of {manifest.signed.by}"
    return f"{name}: holds {digest[:12]}…, the manifest says {expected[:12]}…"


def _signature(manifest: Manifest, there: bool) -> list[str]:
    """Whether there is a signature exactly where one is recorded."""
    if manifest.signed is not None and not there:
        return [f"{SIGNATURE}: missing, but the manifest records a signature of {manifest.signed.by}"]
    if manifest.signed is None and there:
        return [f"{SIGNATURE}: there is a signature, but the manifest records none"]
    return []
