"""Where the files of a bundle do not agree with one another, as after an edit with rewritten digests.

Each line says which file, what in it, and with what it does not agree. No proof: a bundle can be forged whole, which
only a signature shows, or computing it again.
"""

import json
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from audit.bundle import Bundle, pretty_json, printable
from audit.core.base import sha256
from audit.core.errors import AuditError, BundleError, SpecError
from audit.core.evidence import TableRecord
from audit.core.finding import STRENGTH, Finding, judge_gate, note_findings, strongest_opinion
from audit.core.integrity import spec_key
from audit.core.manifest import RENDERED, Manifest
from audit.core.waive import unwaived, waive
from audit.engine.provenance import package_version
from audit.spec.compile import FILE, compile_plan
from audit.spec.load import load_spec
from audit.spec.model import Spec

STRANGE = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError, AssertionError)
"""What reading a file raises that is not as audit writes it."""


@contextmanager
def as_written(*bundles: Bundle) -> Iterator[None]:
    """While this holds, a bundle that is not as audit writes it is a few sentences: it may come from a stranger.

    Raises:
        BundleError: with the files that do not agree, and the place at which reading on was no use.
    """
    try:
        yield
    except AuditError:
        raise
    except STRANGE as error:
        lines = [f"{bundle.root}: {line}" for bundle in bundles for line in contradictions(bundle)]
        names = " or ".join(str(bundle.root) for bundle in bundles)
        place = traceback.extract_tb(error.__traceback__)[-1]
        why = f"{type(error).__name__}: {printable(str(error))}, at {Path(place.filename).name}:{place.lineno}"
        text = f"{names}: manifest.json, results.json or evidence holds what audit does not write ({why})"
        raise BundleError([*lines, text]) from error


def contradictions(bundle: Bundle) -> list[str]:
    """One sentence for each contradiction; empty where there is none."""
    lines: list[str] = []
    for check in (_canonical, _records, _tables, _findings, _facts, _spec, _ids):
        try:
            lines += check(bundle)
        except BundleError as error:
            lines += [problem.removeprefix(f"{bundle.root}/") for problem in error.problems]
        except (*STRANGE, OSError) as error:
            why = f"{type(error).__name__}: {printable(str(error))}"
            lines.append(f"manifest.json, results.json or evidence: not as audit writes it ({why})")
    return list(dict.fromkeys(lines))


def _canonical(bundle: Bundle) -> Iterator[str]:
    """JSON has many spellings; ours is one, so that nobody and no other program reads something else in it."""
    names = ["manifest.json", "results.json", *(f"evidence/{r.key}/evidence.json" for r in bundle.records())]
    for name in names:
        data = bundle.read(name)
        if data != pretty_json(bundle.plain(name)):
            yield f"{name}: is spelt as audit never does (a key twice, other spaces or other numbers)"


def _records(bundle: Bundle) -> Iterator[str]:
    """Results against evidence, evidence against plan."""
    planned = {task.id: task.key for task in bundle.manifest().plan.tasks}
    entries = bundle.results()["evidence"]
    for record, entry in zip(bundle.records(), entries, strict=True):
        theirs = record.model_dump(mode="json")
        if theirs != entry:
            yield f"results.json: {record.id} differs from evidence/{record.key}/evidence.json{_first(theirs, entry)}"
        if record.kind != "spec" and planned.get(record.id) != record.key:
            yield f"evidence/{record.key}: not of the plan, which has no task {record.id!r} with this key"
    found = {entry["id"] for entry in entries}
    for name in planned:
        if name not in found:
            yield f"results.json: has no evidence of {name!r}, which the plan holds"


def _first(one: Any, other: Any, path: str = "") -> str:
    """Where two values differ first, and how; empty where they do not."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in [*one, *(key for key in other if key not in one)]:
            said = _first(one.get(key), other.get(key), f"{path}.{key}" if path else str(key))
            if said:
                return said
        return ""
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for here, there in zip(one, other, strict=True):
            name = here.get("name") if isinstance(here, Mapping) else None
            said = _first(here, there, f"{path}.{name}" if name else path)
            if said:
                return said
        return ""
    return "" if one == other else f", in {path}: {_short(other)} here, {_short(one)} there"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _tables(bundle: Bundle) -> Iterator[str]:
    """Tables and artefacts against the record of their evidence."""
    for record in bundle.records():
        home = f"evidence/{record.key}"
        for item in record.files():
            if item.sha256 and bundle.sha256(item.path) != item.sha256:
                shape = _shape(bundle, item) if isinstance(item, TableRecord) else ""
                yield f"{item.path}: is not what {home}/evidence.json records{shape}"


def _shape(bundle: Bundle, table: TableRecord) -> str:
    """How a table that was changed differs from its record, as far as that tells."""
    frame = bundle.table(table)
    if len(frame) != table.rows:
        return f": {len(frame)} rows, not {table.rows}"
    if tuple(map(str, frame.columns)) != table.columns:
        return f": its columns are {', '.join(map(str, frame.columns))}, not {', '.join(table.columns)}"
    return ": a cell was changed"


def _findings(bundle: Bundle) -> Iterator[str]:
    """Findings, waivers and opinion against the evidence."""
    manifest, records, given = bundle.manifest(), bundle.records(), bundle.findings()
    bare = [finding for finding in unwaived(given) if finding.code != "opinion_refused"]
    gates = [finding.gate for finding in bare if finding.gate is not None]
    expected = [*(judge_gate(gate, records) for gate in gates), *note_findings(records)]
    yield from _compared(bare, expected)
    results = bundle.results()
    strongest, reason = strongest_opinion(expected)
    opinion = results["opinion"]
    if (opinion["strongest"], opinion["reason"]) != (strongest, reason):
        yield f"results.json: the strongest opinion is {opinion['strongest']!r}; the findings support {strongest!r}"
    if opinion["status"] == "issued" and STRENGTH[str(opinion["word"])] > STRENGTH[strongest]:
        yield f"results.json: the opinion {opinion['word']!r} is issued; the findings support {strongest!r} at most"
    as_of = date.fromisoformat(manifest.as_of) if manifest.as_of else None
    if waive(unwaived(given), bundle.waivers(), as_of) != list(given):
        yield "results.json: what is waived does not follow from the waivers of the spec and the date"


def _compared(given: Sequence[Finding], expected: Sequence[Finding]) -> Iterator[str]:
    """Findings that are not those that the evidence gives."""
    theirs = {finding.id: finding for finding in given}
    ours = {finding.id: finding for finding in expected}
    for name, finding in ours.items():
        found = theirs.get(name)
        what = f"gate {name}" if finding.gate is not None else f"finding {name}"
        if found is None:
            yield f"results.json: {what} is missing; the evidence gives it"
        elif found != finding:
            here = _first(finding.model_dump(mode="json"), found.model_dump(mode="json"))
            yield f"results.json: {what} does not follow from the evidence{here}"
    for name in theirs:
        if name not in ours:
            yield f"results.json: finding {name} is of nothing that the evidence says"


def _facts(bundle: Bundle) -> Iterator[str]:
    """What manifest and results both say."""
    manifest, results = bundle.manifest(), bundle.results()
    for key in ("audit", "opinion"):
        if manifest.facts.get(key) != results[key]:
            yield f"results.json: {key} differs from manifest.json{_first(manifest.facts.get(key), results[key])}"
    audit = manifest.facts.get("audit")
    if isinstance(audit, Mapping) and audit.get("as_of") != manifest.as_of:
        yield f"manifest.json: as_of is {manifest.as_of}, its facts say {audit.get('as_of')}"
    model = manifest.facts.get("model")
    recorded = {record.role: record.sha256 for record in manifest.inputs}
    if isinstance(model, Mapping) and model.get("sha256") != recorded.get("model"):
        yield "manifest.json: the digest of the model differs between its inputs and its facts"
    narrative: Any = manifest.facts.get("narrative")
    for section, given in narrative.items() if isinstance(narrative, Mapping) else ():
        if sha256(given["text"].encode("utf-8")) != given["sha256"]:
            yield f"manifest.json: the text of {section} is not the one whose digest it holds"
    for record in bundle.records():
        if record.kind == "spec" and record.key != spec_key(manifest.spec, manifest.overrides, record.notes):
            yield f"manifest.json: the spec is not the one that was run; its evidence is {record.key}"


def same_audit(manifest: Manifest) -> bool:
    """Whether this version of audit made the bundle, so that it reads the spec in the same way."""
    return manifest.packages.get("auditspec") == package_version("auditspec")


def _spec(bundle: Bundle) -> Iterator[str]:
    """The spec in the manifest against plan, gates, waivers, seed and opinion."""
    manifest = bundle.manifest()
    if not same_audit(manifest):
        return
    try:
        loaded = load_spec(Path(manifest.spec_name), manifest.overrides, manifest.spec.encode("utf-8"))
        plan = compile_plan(loaded.spec, _contents(manifest), _versions(manifest).__getitem__)
    except SpecError as error:
        yield f"manifest.json: the spec that it holds cannot be run: {error.problems[0]}"
        return
    tasks = {task.id: task for task in manifest.plan.tasks}
    for task in plan.tasks:
        there = tasks.get(task.id)
        if there != task:
            where = "" if there is None else _first(task.model_dump(mode="json"), there.model_dump(mode="json"))
            yield f"manifest.json: task {task.id} of the plan does not follow from the spec{where}"
            break
    for name in sorted(set(tasks) - {task.id for task in plan.tasks}):
        yield f"manifest.json: task {name} of the plan is not in the spec"
    yield from _said(manifest, bundle, loaded.spec)


def _said(manifest: Manifest, bundle: Bundle, spec: Spec) -> Iterator[str]:
    """What the spec says and the manifest or the results repeat."""
    gates = [f.gate.id for f in bundle.findings() if f.gate is not None]
    if gates != [gate.id for gate in spec.gates]:
        yield f"results.json: its gates are {', '.join(gates) or 'none'}; the spec has {_ids_of(spec)}"
    by_id = {gate.id: gate for gate in spec.gates}
    for finding in bundle.findings():
        if finding.gate is not None and by_id.get(finding.gate.id, finding.gate) != finding.gate:
            yield f"results.json: gate {finding.gate.id} is not as the spec states it"
    facts = manifest.facts
    pairs: list[tuple[str, Any, Any]] = [
        ("waivers", facts.get("waivers"), [waiver.model_dump(mode="json") for waiver in spec.waivers]),
        ("seed", manifest.seed, spec.run.seed),
    ]
    if spec.report.opinion is not None and isinstance(facts.get("opinion"), Mapping):
        opinion: Any = facts["opinion"]
        pairs += [
            ("opinion.word", opinion.get("word"), spec.report.opinion.word),
            ("opinion.by", opinion.get("by"), spec.report.opinion.by),
        ]
    for name, found, stated in pairs:
        if found != stated:
            yield f"manifest.json: {name} does not follow from the spec{_first(stated, found, name)}"


def _ids_of(spec: Spec) -> str:
    return ", ".join(gate.id for gate in spec.gates) or "none"


def _contents(manifest: Manifest) -> dict[str, str]:
    """The digests of model, data and files that the tasks read, as the plan has them."""
    refs = [ref for task in manifest.plan.tasks for ref in task.reads.values() if ref.source == "input"]
    return {ref.name: ref.content for ref in refs if ref.name in {"model", "data"} or ref.name.startswith(FILE)}


def _versions(manifest: Manifest) -> dict[str, str]:
    return {name: version for task in manifest.plan.tasks for name, version in task.uses.items()}


def _ids(bundle: Bundle) -> Iterator[str]:
    """Whether what was drawn bears the id that follows from the manifest."""
    name = bundle.manifest().report_id
    for rendered in RENDERED:
        if bundle.has(rendered) and name.encode("ascii") not in bundle.read(rendered):
            yield f"{rendered}: does not bear the id {name}, which follows from the manifest"
