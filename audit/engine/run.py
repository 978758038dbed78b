"""`audit run`: from a spec to a bundle."""

import platform
import socket
import time
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from threadpoolctl import threadpool_limits

from audit import __version__
from audit.bundle import Bundle, pretty_json
from audit.core.errors import AuditError, BundleError, ModelError, SpecError
from audit.core.evidence import Evidence, Note, Result
from audit.core.finding import STRENGTH, Finding, judge_gate, note_findings, strongest_opinion
from audit.core.integrity import spec_key
from audit.core.manifest import Manifest
from audit.core.model import Allow
from audit.core.plan import Part, Plan
from audit.core.sample import SampleSettings, ScoreCheck, draw
from audit.core.waive import waive
from audit.disk import LOCK, faults, hold
from audit.draft import STAGE, Draft, replaced
from audit.engine.contradictions import as_written
from audit.engine.execute import evaluated_rows, runnable, task_rng
from audit.engine.files import said
from audit.engine.load import Loading, load_inputs
from audit.engine.lock import hold_inputs, hold_spec
from audit.engine.progress import Progress, Quiet
from audit.engine.provenance import package_version, package_versions, repository, system, user
from audit.engine.pseudonyms import PseudonymKey
from audit.engine.schedule import Schedule, submit_to
from audit.engine.texts import Texts, read_texts
from audit.engine.workers import Here, pool, run_remote, stop
from audit.report import export, render
from audit.report.diff import CHANGES, diff
from audit.spec.compile import compile_plan
from audit.spec.facts import spec_facts, spec_notes
from audit.spec.load import Loaded, load_spec


@dataclass(frozen=True)
class Outcome:
    """How an audit ended.

    Attributes:
        reports: names of the rendered files.
        altered: tasks that were computed again because files of an earlier run in the folder were altered.
        exit_code: 0 ok, 1 a gate failed or a waiver expired, 3 a method in error, 5 incomplete or a gate without
            evidence.
    """

    out: Path
    evidence: tuple[Evidence, ...]
    findings: tuple[Finding, ...]
    reports: tuple[str, ...]
    exit_code: int
    altered: tuple[str, ...] = ()


@dataclass(frozen=True)
class Options:
    """What the person who starts the run decides; nothing of it comes from the spec.

    Attributes:
        against: the bundle of the previous audit, which section S19 compares this one with.
        frozen: spec, files and versions must be those of the lock beside the spec.
        lock: the digest of that lock, which `run` finds.
        alone: nothing but an audit ever ran in this process, so that a copy of it can open the model file.
        pseudonym_key: the key of the pseudonyms that `data.pseudonymise` asks for.
    """

    overrides: tuple[str, ...] = ()
    allow: Allow = field(default_factory=Allow)
    workers: int | None = None
    only: tuple[str, ...] = ()
    as_of: date | None = None
    against: Path | None = None
    frozen: bool = False
    lock: str | None = None
    alone: bool = False
    pseudonym_key: PseudonymKey | None = None


def run(spec: Path | str, out: Path | str, options: Options | None = None, progress: Progress | None = None) -> Outcome:
    """Runs the audit of a spec into a bundle, going on where an earlier run of it stopped.

    Raises:
        AuditError: spec, data or model cannot be used; the message says where and what to do.
    """
    options, progress, out = options or Options(), progress or Quiet(), Path(out)
    begun = time.time()
    loaded = load_spec(Path(spec), options.overrides)
    options = replace(options, lock=hold_spec(loaded) if options.frozen else None)
    texts = read_texts(loaded)  # a missing file is said before the work, not after it
    _check_output(out, loaded)
    _check_previous(out, options.against)
    with hold(out):
        bundle = Draft(out)
        bundle.begin()
        _check_replaced(out, loaded)  # again: by now nothing is half in place, and nobody else signs it
        outcome = _run(bundle, loaded, texts, options, progress)
        bundle.write("run.json", pretty_json(_run_record(begun)))
        bundle.commit()
    return outcome


def _run(bundle: Draft, loaded: Loaded, texts: Texts, options: Options, progress: Progress) -> Outcome:
    """The audit, with all its files, in a bundle that is not yet in place."""
    with threadpool_limits(1):
        loading = load_inputs(loaded, options.allow, alone=options.alone, key=options.pseudonym_key)
        if options.frozen:
            hold_inputs(loaded, loading)
        plan = compile_plan(loaded.spec, loading.contents, package_version)
        wanted = _wanted(plan, options.only)
    evidence = compute(bundle, loaded, loading, plan, wanted, options, progress)
    records = (_spec_evidence(loaded, loading, texts, bundle), *evidence.values())
    return _conclude(bundle, loaded, loading, texts, plan, records, options)


def compute(
    bundle: Bundle,
    loaded: Loaded,
    loading: Loading,
    plan: Plan,
    wanted: set[str],
    options: Options,
    progress: Progress,
) -> dict[str, Evidence]:
    """The evidence of every task of a plan, by task id; what is in the bundle is not computed again."""
    with threadpool_limits(1):
        _sample(plan, loaded, loading, bundle, progress)
    workers = options.workers or loaded.spec.run.workers
    remote = run_remote if workers > 1 else None
    executor = pool(workers, loaded, options.allow, bundle.root, options.pseudonym_key) if remote else Here()
    try:
        submit = submit_to(executor, remote, progress)
        evidence = Schedule(plan, loading.inputs, bundle, progress, submit).run(wanted)
    except BrokenExecutor as error:
        stop(executor)
        raise AuditError(KILLED) from error
    except BaseException:
        stop(executor)
        raise
    executor.shutdown()
    return evidence


KILLED = (
    "a worker process was killed, by the system where memory ran out, or by hand; what was done is kept: run the same "
    "command again to go on, with fewer --workers if memory is short"
)


def _check_output(out: Path, loaded: Loaded) -> None:
    """Refuses a folder that is not new, empty, or that of an earlier run of the same audit."""
    with faults(out):
        there = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
        if out.exists() and not out.is_dir():
            raise SpecError(f"--output {out}: is a file; name a folder")
    if "manifest.json" in there:
        _check_replaced(out, loaded)
    elif STAGE not in there and set(there) - {LOCK}:
        shown = ", ".join(there[:3]) + (", …" if len(there) > 3 else "")
        raise SpecError(f"--output {out}: holds files that are no bundle ({shown}); name another folder")


def _check_replaced(out: Path, loaded: Loaded) -> None:
    """Refuses to take the place of another audit, of a bundle to hand out, and of one that is signed."""
    manifest = replaced(out)
    if manifest is None:
        return
    earlier = manifest.facts.get("audit")
    name = earlier.get("id") if isinstance(earlier, dict) else None
    if name != loaded.spec.audit.id:
        raise SpecError(f"--output {out}: holds the audit {name!r}; name another folder, or remove it")
    if manifest.facts.get("shared"):
        raise SpecError(f"--output {out}: holds a bundle to hand out, without rows of people; name another folder")
    if manifest.signed is not None:
        raise SpecError(f"--output {out}: holds a bundle that {manifest.signed.by} signed; name another folder")


def _check_previous(out: Path, previous: Path | None) -> None:
    """Refuses a previous audit that is this one, is none, or was altered, before the work."""
    if previous is None:
        return
    if previous.resolve() == out.resolve():
        raise SpecError(f"--against {previous.name}: is the folder of this audit too; keep the previous one apart")
    altered = Bundle(previous).altered()
    if altered:
        raise BundleError([f"--against {previous.name}: {line}" for line in altered])


def _wanted(plan: Plan, only: Sequence[str]) -> set[str]:
    """The tasks to run: all, or those named and what they read."""
    if not only:
        return {task.id for task in plan.tasks}
    known = [task.id for task in plan.tasks]
    for name in only:
        if name not in known:
            raise SpecError(f"--only {name}: not in the spec; there are {', '.join(known)}")
    wanted, queue = set(only), list(only)
    while queue:
        for name in plan[queue.pop()].after():
            if name not in wanted:
                wanted.add(name)
                queue.append(name)
    return wanted


def _sample(plan: Plan, loaded: Loaded, loading: Loading, bundle: Bundle, progress: Progress) -> None:
    """The first task, in this process: without scores and sample there is no audit."""
    task = plan["sample"]
    if bundle.evidence(task.key) is not None:
        return
    progress.start(task.id, 1)
    data = loaded.spec.data
    settings = SampleSettings(rows=data.sample.rows, stratify=data.sample.stratify)
    check = ScoreCheck(column=data.production_score, tolerance=data.score_tolerance) if data.production_score else None
    try:
        inputs = replace(loading.inputs, scores=loading.scores())
        result = draw(inputs, settings, loaded.spec.regions, task_rng(task, Part(index=0)), check)
        if inputs.model is not None or inputs.images is not None:
            result = replace(result, metrics=(*result.metrics, evaluated_rows(len(inputs.evaluate))))
    except ModelError as error:
        raise ModelError([said(loaded, ("model",), problem) for problem in error.problems]) from error
    bundle.put(task.id, task.kind, task.key, result)
    progress.end(task.id, "ok")


def _spec_evidence(loaded: Loaded, loading: Loading, texts: Texts, bundle: Bundle) -> Evidence:
    """What spec and data say of each other, as evidence of its own."""
    notes = (*spec_notes(loaded.spec, loading.inputs.schema), *loading.notes, *texts.notes())
    key = spec_key(loaded.text, loaded.overrides, notes)
    return bundle.put("spec", "spec", key, Result(notes=notes))


def _conclude(
    bundle: Draft,
    loaded: Loaded,
    loading: Loading,
    texts: Texts,
    plan: Plan,
    records: Sequence[Evidence],
    options: Options,
) -> Outcome:
    """Judges the gates, writes results, manifest and report."""
    findings = [*(judge_gate(gate, records) for gate in loaded.spec.gates), *note_findings(records)]
    opinion = _opinion(loaded, texts, findings)
    if opinion["status"] == "refused":
        args = {"word": opinion["word"], "strongest": opinion["strongest"], "reason": opinion["reason"]}
        findings.append(Finding(id="F-OPINION", code="opinion_refused", severity="critical", outcome="fail", args=args))
    as_of = options.as_of or loaded.spec.audit.as_of
    findings = waive(findings, loaded.spec.waivers, as_of)
    audit = {**loaded.spec.audit.model_dump(mode="json"), "as_of": as_of.isoformat() if as_of else None}
    results = {
        "format": 1,
        "audit": audit,
        "opinion": opinion,
        "evidence": [record.model_dump(mode="json") for record in records],
        "findings": [finding.model_dump(mode="json") for finding in findings],
    }
    bundle.write("results.json", pretty_json(results))
    texts.check(bundle)
    bundle.drop_parts()
    bundle.prune({record.key for record in records})
    told = {"audit": audit, "opinion": opinion, **texts.facts()}
    manifest = bundle.write_manifest(_manifest(loaded, loading, plan, told, options))
    if options.against is not None:
        with as_written(Bundle(options.against)):
            changes = diff(Bundle(options.against), bundle).undated()
        bundle.write(CHANGES, pretty_json(changes.model_dump(mode="json")))
        manifest = bundle.write_manifest(manifest)
    export(bundle)
    with bundle.scratch():
        reports = render(bundle, loaded.spec.report.formats)
    bundle.write_manifest(bundle.manifest())
    altered = tuple(task.id for task in plan.tasks if task.key in bundle.distrusted)
    return Outcome(bundle.root, tuple(records), tuple(findings), tuple(reports), exit_code(records, findings), altered)


def exit_code(records: Sequence[Evidence], findings: Sequence[Finding]) -> Literal[0, 1, 3, 5]:
    """The exit code of a run that reached its end; where several apply: 3, 5, 1, 0."""
    if any(record.status == "error" for record in records):
        return 3
    if any(record.status == "incomplete" for record in records):
        return 5
    if any(finding.outcome == "no_evidence" for finding in findings):
        return 5
    return 1 if any(finding.fails for finding in findings) else 0


def _opinion(loaded: Loaded, texts: Texts, findings: Sequence[Finding]) -> dict[str, Any]:
    """The auditor's opinion, refused where its word is stronger than the findings support."""
    strongest, reason = strongest_opinion(findings)
    given = loaded.spec.report.opinion
    if given is None:
        return {"word": None, "by": "", "text": "", "status": "none", "strongest": strongest, "reason": reason}
    status = "refused" if STRENGTH[given.word] > STRENGTH[strongest] else "issued"
    text = texts.opinion.text if texts.opinion else ""
    return {
        "word": given.word, "by": given.by, "text": text, "status": status, "strongest": strongest, "reason": reason,
    }  # fmt: skip


def _manifest(loaded: Loaded, loading: Loading, plan: Plan, told: dict[str, Any], options: Options) -> Manifest:
    inputs, spec = loading.inputs, loaded.spec
    works = [runnable(task) for task in plan.tasks if task.family != "sample"]
    decision = inputs.decision
    rows = {record.role: {"name": record.name, "rows": record.rows} for record in loading.records}
    facts = spec_facts(spec, inputs.schema)
    facts |= {
        **told,
        "waivers": [waiver.model_dump(mode="json") for waiver in spec.waivers],
        "crosswalk": None if spec.report.crosswalk is None else list(spec.report.crosswalk),
        "schema": [feature.model_dump(mode="json") for feature in inputs.schema.features],
        "model": {
            "kind": spec.model.kind,
            "path": spec.model.file,
            "sha256": next((r.sha256 for r in loading.records if r.role == "model"), None),
            "features": list(inputs.schema.names),
            "classes": list(decision.classes),
            "capabilities": sorted(loading.model.capabilities),
            "decision": {"favourable": list(decision.favourable), "at_least": decision.at_least}
            if decision.favourable
            else None,
        },
    }
    facts["data"] |= {
        "train": rows.get("train"),
        "evaluate": {**rows["evaluate"], "kind": spec.data.evaluate_is},
        "pseudonyms": loading.pseudonyms,
    }
    allowed = [name for name in ("pickle", "code") if getattr(options.allow, name)] + list(options.allow.types)
    return Manifest(
        tool={"name": "auditspec", "version": __version__},
        spec_name=loaded.path.name,
        spec=loaded.text,
        overrides=loaded.overrides,
        allowed=tuple(allowed),
        as_of=told["audit"]["as_of"],
        seed=spec.run.seed,
        repository=repository(loaded.path.parent),
        inputs=loading.records,
        platform=system(),
        lock=options.lock,
        packages=package_versions({name for work in works for name in work.uses} | set(spec.model.uses)),
        cites=tuple(dict.fromkeys(cite for work in works for cite in work.cites)),
        facts=facts,
        plan=plan,
    )


def _run_record(begun: float) -> dict[str, Any]:
    """Times, host and user: for whoever ran it, in no digest and on no page."""
    return {
        "started": datetime.fromtimestamp(begun, UTC).isoformat(timespec="seconds"),
        "seconds": round(time.time() - begun, 3),
        "cpu_seconds": round(time.process_time(), 3),
        "host": socket.gethostname(),
        "user": user(),
        "machine": platform.platform(),
        "numpy": np.__version__,
    }


__all__ = ["Note", "Options", "Outcome", "exit_code", "run"]
