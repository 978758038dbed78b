"""A bundle to what a report says: the view model, without a word on how it looks."""

from collections.abc import Iterator

from audit.core.evidence import Evidence
from audit.report import back, front
from audit.report.blocks import Block, Report
from audit.report.crosswalk import crosswalk
from audit.report.diff import CHANGES
from audit.report.diff_blocks import previous
from audit.report.distances import cid
from audit.report.groups import data, groups, robustness
from audit.report.importance import flex
from audit.report.layout import dressed, portions
from audit.report.narrative import told
from audit.report.rankings import agreement, shap
from audit.report.recourse import reasons, recourse
from audit.report.remedies import remedy
from audit.report.saliency import saliency
from audit.report.scores import scores
from audit.report.sheets import sheets
from audit.report.source import REMEDIES, Source
from audit.report.template import look
from audit.report.topics import Layout, Placed, counterfactuals, generic, performance, sample

LAYOUTS: dict[str, Layout] = {
    "performance": performance,
    "flex": flex,
    "shap": shap,
    "agreement": agreement,
    "reasons": reasons,
    "recourse": recourse,
    "saliency_partition": saliency,
    "scores_activation": scores,
    "cid": cid,
    "fairness": groups,
    "data": data,
    "robustness": robustness,
}
"""Kinds with a layout of their own; all others are shown by `generic`."""

FRONT = {
    "S0": front.control,
    "S1": front.summary,
    "S17": front.register,
    "S2": front.scope,
    "S3": front.model,
    "S4": front.data,
    "S5": front.policy,
}
BACK = {
    "S6": back.methods,
    "S16": back.limits,
    "S21": back.integrity,
    "A": back.spec,
    "B": back.meanings,
    "C": back.register,
    "F": sheets,
}


def build(source: Source) -> Report:
    """All that the report of a bundle says."""
    blocks: dict[str, list[Block]] = {name: list(make(source)) for name, make in FRONT.items()}
    placed: dict[str, list[str]] = {}
    for record in sorted(source.given, key=_place):
        for section, block in _evidence(source, record):
            blocks.setdefault(section, []).append(block)
            if record.status == "ok":
                placed.setdefault(section, []).append(record.id)
    blocks |= {name: list(make(source)) for name, make in BACK.items()}
    blocks["S19"] = list(previous(source))
    if blocks["S19"]:
        placed["S19"] = [CHANGES.partition(".")[0]]
    blocks["S20"] = list(crosswalk(source, placed))
    manifest, own = source.manifest, look(source)
    whole = portions(source, blocks, {name: tuple(told(source, name)) for name in source.facts("narrative") or ()})
    return Report(
        id=manifest.report_id,
        title=front.title(source),
        as_of=manifest.as_of or "date not stated",
        payload=manifest.payload,
        tool=" ".join(manifest.tool.get(key, "") for key in ("name", "version")).strip(),
        cover=front.cover(source),
        portions=dressed(whole, own) if own else whole,
        look=own,
    )


def _place(record: Evidence) -> int:
    """Where evidence stands in its section; what has no place of its own keeps the order of the plan."""
    if record.id == "sample" or record.id.startswith("counterfactuals."):
        return 0
    return {"flex": 1, "agreement": 3}.get(record.kind, 2)


def _evidence(source: Source, record: Evidence) -> Iterator[Placed]:
    if record.id == "sample":
        return sample(source, record)
    if record.id.startswith("counterfactuals."):
        return counterfactuals(source, record)
    if record.id.startswith(REMEDIES):
        return remedy(source, record)
    return LAYOUTS.get(record.kind, generic)(source, record)
