"""A bundle to hand out, made of a bundle: with aggregates, and without rows, ids, cases, sheets and pictures of people.

Tables are kept by name: what is not known to be an aggregate, as of a plug-in, stays behind.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from audit.bundle import Bundle, pretty_json
from audit.core.errors import BundleError, SpecError
from audit.core.evidence import Evidence, Note, Result
from audit.core.finding import Finding, judge_gate, matches, note_findings
from audit.core.integrity import spec_key
from audit.core.manifest import RENDERED, Manifest
from audit.core.waive import unwaived, waive
from audit.disk import hold
from audit.draft import Draft, replaced
from audit.report import export, render
from audit.report.small_groups import COUNTS, Line, SmallGroups, compares, divides, lines_of_metrics, lines_of_table

SHARED = "shared"
"""The fact of a manifest that makes a bundle one to hand out."""

AGGREGATES = frozenset(
    {"choices", "discarded", "agreement", "agreement_ranks", "before_after"}
    | {"cid_faithfulness", "cid_global", "cid_removal"}
    | {"ct_attributions", "ct_epochs", "ct_evaluation", "ct_robustness", "ct_seeds"}
    | {"data_alone", "data_columns", "data_drift", "data_labels"}
    | {"fairness_calibration", "fairness_flips", "fairness_gaps", "fairness_proxies", "fairness_proxy_features"}
    | {"fairness_rates", "flex_coverage", "flex_global", "flex_regional", "flex_stability", "flex_sweep"}
    | {"calibration", "confusion", "roc", "thresholds", "reasons_summary"}
    | {"recourse_costs", "recourse_gaps", "recourse_groups", "regions_found", "regions_found_differences"}
    | {"robustness_counterfactuals", "robustness_decisions", "robustness_scores", "search_gap_status", "shap_global"}
    | {"saliency_frequency", "saliency_head", "saliency_pairs", "saliency_part_frequency", "saliency_status"}
    | {"scores_agreement", "scores_compared", "scores_global", "scores_pairs", "scores_seeds"}
)
"""Tables in which no line is of one person or one picture."""

DROPPED = {"data_columns": ("most_frequent", "frequency"), "roc": ("threshold",)}
"""Columns of them that may hold the value or the score of one row."""

EXTREMES = frozenset({"bound_beyond_data"})
"""Notes that tell the smallest or largest value of the data; none of them is a finding."""

LEFT_OUT = "left out"


@dataclass
class Left:
    """What a shared bundle lacks of the whole one.

    Attributes:
        forced: how often a gate shows all groups but a small one, so that subtraction gives it away.
    """

    tables: int = 0
    files: int = 0
    numbers: int = 0
    forced: int = 0

    def record(self, whole: str, least: int) -> dict[str, Any]:
        """The same for the manifest."""
        return {"of": whole, "min_n": least, **asdict(self)}


def share(
    whole: Bundle, out: Path, least: int = 10, formats: Sequence[Literal["html", "pdf"]] = ("html", "pdf")
) -> list[str]:
    """Writes the bundle to hand out into a folder; the names of the files that were drawn.

    Args:
        least: a group or region of fewer people has no numbers in it.

    Raises:
        BundleError: the bundle was altered.
        SpecError: it is a shared one itself, its spec names a person, or the folder is not one for it.
        WriteError: the disk refuses.
    """
    manifest = whole.manifest()
    altered = [line for line in whole.altered() if line.partition(":")[0] not in RENDERED]
    if altered:
        raise BundleError(altered)
    if manifest.facts.get(SHARED):
        raise SpecError(f"{whole.root}: is a shared bundle itself; share the whole one")
    _check_spec(manifest)
    _check_folder(out, manifest)
    with hold(out):
        made = Draft(out)
        made.begin()
        _check_folder(out, manifest)  # again: by now nothing is half in place, and nobody else signs it
        _write(whole, made, manifest, least)
        with made.scratch():
            drawn = [*render(made, formats), *export(made)]
        made.write_manifest(made.manifest())
        made.commit()
    return drawn


def _check_spec(manifest: Manifest) -> None:
    """Refuses a spec that names people: it goes along word for word, or the shared report could not be checked.

    Raises:
        SpecError: a region is around a person whose id is no pseudonym.
    """
    data = manifest.facts.get("data")
    if isinstance(data, Mapping) and data.get("pseudonyms"):
        return
    sample = next((task.settings for task in manifest.plan.tasks if task.kind == "sample"), {})
    regions: Any = sample.get("regions") or ()
    named = [region["name"] for region in regions if region.get("around") is not None]
    if named:
        raise SpecError(
            f"{manifest.spec_name}: region {named[0]!r} is around a person, by id, and the spec goes along word for "
            "word; run the audit with `data.pseudonymise: true`, or without this region, and share that"
        )


def _check_folder(out: Path, manifest: Manifest) -> None:
    """Refuses a folder that is neither new, nor empty, nor an older shared bundle of the same audit.

    Raises:
        SpecError: it holds something else.
    """
    if out.exists() and not out.is_dir():
        raise SpecError(f"--share {out}: is a file; name a folder")
    if not out.is_dir() or not any(path.name != ".lock" for path in out.iterdir()):
        return
    if (out / "manifest.json").is_file():
        there = replaced(out)
        if there is not None and there.signed is not None:
            raise SpecError(f"--share {out}: holds a bundle that {there.signed.by} signed; name a new folder")
        if there is None or (there.facts.get(SHARED) and _audit_id(there.facts) == _audit_id(manifest.facts)):
            return
    elif (out / ".next").is_dir():
        return
    raise SpecError(f"--share {out}: holds something else than a shared bundle of this audit; name a new folder")


def _audit_id(facts: Mapping[str, Any]) -> Any:
    audit = facts.get("audit")
    return audit.get("id") if isinstance(audit, Mapping) else None


def _write(whole: Bundle, made: Draft, manifest: Manifest, least: int) -> None:
    """Evidence, results and manifest of the shared bundle."""
    given, before = whole.findings(), whole.records()
    judged = {record.id: _judged(given, record) for record in before}
    small = _small(whole, before, judged, least)
    left, records, plain = Left(forced=small.forced), [], []
    for record in before:
        result = _reduced(whole, record, _Shown(small, judged[record.id], least), left)
        key = spec_key(manifest.spec, manifest.overrides, result.notes) if record.kind == "spec" else record.key
        records.append(made.put(record.id, record.kind, key, result))
        plain.append(records[-1].model_dump(mode="json"))
    results = whole.results()
    findings = _findings(whole, records)
    results |= {"evidence": plain, "findings": [finding.model_dump(mode="json") for finding in findings]}
    made.write("results.json", pretty_json(results))
    made.prune({record.key for record in records})
    schema: Any = manifest.facts.get("schema") or ()  # the range of a number is that of the extreme rows
    bare = [{k: v for k, v in feature.items() if k not in {"low", "high"}} for feature in schema]
    facts = {**manifest.facts, "schema": bare, SHARED: left.record(manifest.report_id, least)}
    made.write_manifest(manifest.model_copy(update={"facts": facts, "signed": None}))


def _judged(findings: Sequence[Finding], record: Evidence) -> frozenset[int]:
    """The metrics that gates rest on, by position: a gate whose evidence is gone would have another outcome."""
    gates = [finding.gate for finding in findings if finding.gate is not None]
    return frozenset(
        i
        for i, metric in enumerate(record.metrics)
        for gate in gates
        if gate.metric == f"{record.id}.{metric.name}"
        and matches(gate, metric)
        and (gate.by is None or (metric.n or 0) >= gate.min_n)
    )


def _small(whole: Bundle, records: Sequence[Evidence], judged: Mapping[str, frozenset[int]], least: int) -> SmallGroups:
    """What of groups may not be shown, over all evidence."""
    lines: list[Line] = []
    for record in records:
        for table in record.tables:
            if divides(table.columns):
                lines += lines_of_table(record.id, table.name, whole.table(table))
        lines += lines_of_metrics(record, judged[record.id])
    return SmallGroups(lines, least)


@dataclass(frozen=True)
class _Shown:
    """What may be shown of a piece of evidence, of which gates judge some metrics."""

    small: SmallGroups
    judged: frozenset[int]
    least: int

    def metric(self, record: Evidence, at: int) -> bool:
        """Whether a metric may be shown."""
        metric = record.metrics[at]
        if at in self.judged:
            return True
        if metric.where.region is not None and metric.n is not None and 0 < metric.n < self.least:
            return False
        about = compares(metric)
        if about is not None and self.small.compared(record.id, *about):
            return False
        return not self.small.hidden((record.id, metric.name), at)

    def table(self, record: Evidence, name: str, frame: pd.DataFrame) -> tuple[pd.DataFrame, int]:
        """A table without the numbers that may not be shown, and how many lines that concerns."""
        if "by" in frame.columns and "group" not in frame.columns:
            told = zip(frame["by"], frame["measure"] if "measure" in frame.columns else frame["by"], strict=True)
            kept = np.array([not self.small.compared(record.id, str(by), str(what)) for by, what in told], dtype=bool)
            return frame[kept].reset_index(drop=True), int((~kept).sum())
        hidden = np.array([self.small.hidden((record.id, name), at) for at in range(len(frame))], dtype=bool)
        count = next((column for column in COUNTS if column in frame.columns), None)
        if count is not None and "region" in frame.columns:
            sizes = pd.to_numeric(frame[count], errors="coerce")
            hidden |= (frame["region"].notna() & (sizes > 0) & (sizes < self.least)).to_numpy()
        return without_numbers(frame, hidden)


def _reduced(whole: Bundle, record: Evidence, shown: _Shown, left: Left) -> Result:
    """A piece of evidence without what is of one person."""
    left.files += len(record.artefacts)
    tables = {}
    for table in record.tables:
        if table.name not in AGGREGATES:
            left.tables += 1
            continue
        frame = whole.table(table)
        frame = frame.drop(columns=[name for name in DROPPED.get(table.name, ()) if name in frame.columns])
        tables[table.name], hidden = shown.table(record, table.name, frame)
        left.numbers += hidden
    metrics = []
    for at, metric in enumerate(record.metrics):
        small = not shown.metric(record, at)
        left.numbers += small
        empty = {"value": None, "low": None, "high": None, "n": None}
        metrics.append(metric.model_copy(update=empty) if small else metric)
    notes = tuple(_without_ids(note) for note in record.notes if note.code not in EXTREMES or note.severity)
    message = LEFT_OUT if record.status == "error" else record.message
    return Result(
        metrics=tuple(metrics), tables=tables, notes=notes,
        status=record.status, message=message,
    )  # fmt: skip


def _without_ids(note: Note) -> Note:
    """A note whose ids, or names of files, are left out."""
    hidden: dict[str, Any] = {name: [LEFT_OUT] for name in ("ids", "files") if note.args.get(name)}
    return note.model_copy(update={"args": {**note.args, **hidden}}) if hidden else note


def without_numbers(frame: pd.DataFrame, hidden: "np.ndarray[Any, np.dtype[np.bool_]]") -> tuple[pd.DataFrame, int]:
    """A table without the numbers of some lines, and how many lines had any."""
    columns = [
        name
        for name in frame.columns
        if pd.api.types.is_numeric_dtype(frame[name]) and not pd.api.types.is_bool_dtype(frame[name])
    ]
    had = hidden & frame[columns].notna().any(axis=1).to_numpy()
    if not had.any():
        return frame, 0
    reduced = frame.copy()
    for name in columns:
        reduced[name] = frame[name].astype(float).where(~had, np.nan)
    if "status" in reduced.columns:
        reduced["status"] = reduced["status"].where(~had, "suppressed")
    return reduced, int(had.sum())


def _findings(whole: Bundle, records: Sequence[Evidence]) -> list[Finding]:
    """The findings that the shared evidence gives, waived as in the whole bundle."""
    given, manifest = unwaived(whole.findings()), whole.manifest()
    gates = [judge_gate(finding.gate, records) for finding in given if finding.gate is not None]
    opinion = [finding for finding in given if finding.code == "opinion_refused"]
    as_of = date.fromisoformat(manifest.as_of) if manifest.as_of else None
    return waive([*gates, *note_findings(records), *opinion], whole.waivers(), as_of)
