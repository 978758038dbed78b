"""Computes the evidence of a bundle again, from its own spec, in another place and without a cache, and compares."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from audit.bundle import Bundle
from audit.core.errors import BundleError, SpecError
from audit.core.manifest import InputRecord, Manifest
from audit.core.model import Allow
from audit.core.plan import Plan
from audit.core.replay import TOLERANCE, Comparison, Difference
from audit.draft import Draft
from audit.engine.files import file_sha256
from audit.engine.load import Loading, load_inputs
from audit.engine.progress import Progress, Quiet
from audit.engine.provenance import package_version, package_versions, system
from audit.engine.pseudonyms import PseudonymKey
from audit.engine.run import Options, compute
from audit.spec.compile import compile_plan
from audit.spec.facts import spec_notes
from audit.spec.load import Loaded, load_spec

SAID = 20
"""Differences that are said one by one."""

TYPED = "typed_numbers"
"""A note on the texts of people, which are not computed."""


@dataclass(frozen=True)
class Again:
    """How to compute again; nothing of it comes from the bundle.

    Attributes:
        tolerance: the relative difference that is passed over.
        pseudonym_key: the key of the pseudonyms, where the bundle has any.
    """

    allow: Allow = field(default_factory=Allow)
    workers: int | None = None
    tolerance: float = TOLERANCE
    pseudonym_key: PseudonymKey | None = None


@dataclass(frozen=True)
class Rerun:
    """What came of it.

    Attributes:
        moved: versions and platform that are not those of the bundle.
        inputs: files that are not those that were audited; where there are any, nothing was computed.
        comparison: every number, recorded and computed.
        evidence: how many tasks were compared.
        left_out: tasks that the bundle has no result of, which were not computed either.
    """

    moved: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    comparison: Comparison = field(default_factory=Comparison)
    evidence: int = 0
    left_out: tuple[str, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """One sentence for each difference, the first of them; empty where all is equal or within the tolerance."""
        found = [_said(one) for one in self.comparison.different[:SAID]]
        more = self.comparison.count - len(found)
        if more > 0:
            found.append(f"{more} more values came out different; --json lists them")
        if self.comparison.count and self.moved:
            found.append(f"what differs from the run of the bundle: {'; '.join(self.moved)}")
        return (*self.inputs, *found)

    def lines(self) -> Iterator[str]:
        """What is said where nothing is wrong."""
        done = self.comparison
        close = f"{done.close:,} within {done.tolerance:g} of each other"
        if done.close:
            close += f" (at most {done.largest:.1e})"
        numbers = f"{done.equal + done.close:,} numbers in {self.evidence} results"
        yield f"computed again, {numbers}: {done.equal:,} equal, {close}, 0 different"
        if self.left_out:
            yield f"note: the bundle has no result of {', '.join(self.left_out)}, so these were not computed"

    def plain(self) -> dict[str, Any]:
        """The same as plain data."""
        done = self.comparison
        return {
            "moved": list(self.moved),
            "inputs": list(self.inputs),
            "evidence": self.evidence,
            "left_out": list(self.left_out),
            "tolerance": done.tolerance,
            "equal": done.equal,
            "within_tolerance": done.close,
            "largest_within": done.largest,
            "texts_equal": done.texts,
            "different": done.count,
            "differences": [asdict(one) for one in done.different],
        }


def _said(one: Difference) -> str:
    how = "" if one.relative is None else f", {one.relative:.1e} of it apart"
    return f"{one.evidence}: {one.where}: recorded {one.recorded!r}, computed {one.found!r}{how}"


def compute_again(
    bundle: Bundle, place: Path, again: Again, say: Callable[[str], None], progress: Progress | None = None
) -> Rerun:
    """The numbers of a bundle, computed again from the spec that it holds, with the input files at `place`.

    Args:
        place: the spec, or the folder that it lay in; only the files beside it are read.
        say: is told at once what differs from the run of the bundle: spec at that place, versions, platform.

    Raises:
        AuditError: the files are missing, or cannot be read; or the key of the pseudonyms is another.
    """
    manifest = bundle.manifest()
    _hold_key(manifest, again.pseudonym_key)
    folder = place if place.is_dir() else place.parent
    moved = tuple(_moved(manifest))
    for line in (*_other_spec(manifest, place), *(f"rerun: {line}" for line in moved)):
        say(line)
    path = folder / manifest.spec_name
    loaded = load_spec(path, manifest.overrides, manifest.spec.encode("utf-8"))
    changed = tuple(_changed_files(manifest, loaded))
    if changed:
        return Rerun(moved, changed)
    loading = load_inputs(loaded, again.allow, key=again.pseudonym_key)
    changed = tuple(_changed(manifest.inputs, loading.records))
    if changed:
        return Rerun(moved, changed)
    return _compared(bundle, loaded, loading, again, moved, progress or Quiet())


def _hold_key(manifest: Manifest, key: PseudonymKey | None) -> None:
    """Refuses a key under which every row would have another name."""
    data = manifest.facts.get("data")
    recorded = data.get("pseudonyms") if isinstance(data, Mapping) else None
    there = recorded.get("fingerprint") if isinstance(recorded, Mapping) else None
    if key and there and there != key.fingerprint:
        text = f"its fingerprint is {key.fingerprint}, the manifest says {there}"
        raise SpecError(f"the key of the pseudonyms is not that of the bundle: {text}")


def _compared(
    bundle: Bundle, loaded: Loaded, loading: Loading, again: Again, moved: tuple[str, ...], progress: Progress
) -> Rerun:
    plan = bundle.manifest().plan  # its keys seed the draws, and versions are in the keys: a plan made now would not do
    moved = (*moved, *_other_plan(plan, compile_plan(loaded.spec, loading.contents, package_version)))
    recorded = {record.id: record for record in bundle.records()}
    missing = [task.id for task in plan.tasks if task.id not in recorded]
    if missing:
        raise BundleError(f"results.json: has no evidence of {', '.join(missing)}, which the plan holds")
    wanted = {task.id for task in plan.tasks if recorded[task.id].status != "incomplete"}
    comparison = Comparison(again.tolerance)
    with tempfile.TemporaryDirectory(prefix="audit-rerun-") as scratch:
        other = Draft(Path(scratch))
        options = Options(allow=again.allow, workers=again.workers, pseudonym_key=again.pseudonym_key)
        found = compute(other, loaded, loading, plan, wanted, options, progress)
        for task in plan.tasks:
            if task.id in wanted:
                old, new = recorded[task.id], found[task.id]
                comparison.evidence(old, bundle.result(old), other.result(new))
    notes = (*spec_notes(loaded.spec, loading.inputs.schema), *loading.notes)
    comparison.notes("spec", [note for note in recorded["spec"].notes if note.code != TYPED], notes)
    left_out = tuple(task.id for task in plan.tasks if task.id not in wanted)
    return Rerun(moved, (), comparison, len(wanted), left_out)


def _other_spec(manifest: Manifest, place: Path) -> Iterator[str]:
    """Where the spec at the place is not that of the bundle."""
    path = place / manifest.spec_name if place.is_dir() else place
    if not path.is_file():
        return
    here, there = path.read_bytes().decode("utf-8-sig", "replace"), manifest.spec
    if here != there:
        one, other = here.splitlines(), there.splitlines()
        line = next((i for i, (a, b) in enumerate(zip(one, other, strict=False), 1) if a != b), None)
        at = line or min(len(one), len(other)) + 1
        yield f"rerun: {path.name} is not the spec of the bundle (line {at} on); that of the bundle is computed"


def _other_plan(recorded: Plan, here: Plan) -> Iterator[str]:
    """Tasks that this version of audit would plan in another way."""
    found = {task.id: task for task in here.tasks}
    for task in recorded.tasks:
        other = found.get(task.id)
        if other is None:
            yield f"task {task.id} is not planned here"
        elif task.rev != other.rev:
            yield f"task {task.id}: revision {task.rev} there, {other.rev} here"
        elif task.settings != other.settings:
            yield f"task {task.id}: other settings here"


def _moved(manifest: Manifest) -> Iterator[str]:
    """Versions and platform that are not those that the manifest records."""
    python = package_versions(())["python"]
    for name, version in sorted(manifest.packages.items()):
        found = python if name == "python" else package_version(name)
        if found != version:
            yield f"{name} {version} there, {found} here"
    if manifest.platform and manifest.platform != system():
        yield f"{manifest.platform} there, {system()} here"


def _changed_files(manifest: Manifest, loaded: Loaded) -> Iterator[str]:
    """Files that are not those that were audited, before anything of them is read as a model or as data."""
    if loaded.spec.data.images is not None:
        return  # of pictures the record is of all of them together
    for record in manifest.inputs:
        path = loaded.file(record.name)
        if path.is_file() and file_sha256(path) != record.sha256:
            yield _other(record, file_sha256(path))


def _changed(recorded: tuple[InputRecord, ...], found: tuple[InputRecord, ...]) -> Iterator[str]:
    here = {record.role: record for record in found}
    for record in recorded:
        other = here.get(record.role)
        if other is None or other.sha256 != record.sha256:
            yield _other(record, other.sha256 if other else "nothing")


def _other(record: InputRecord, digest: str) -> str:
    return (
        f"{record.name}: is not the file that was audited ({record.role}): it holds {digest[:12]}…, the manifest says "
        f"{record.sha256[:12]}…; nothing was computed"
    )
