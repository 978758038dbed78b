"""What the report needs to know of a spec, as plain data."""

from typing import Any

from pydantic import JsonValue

from audit.core.evidence import Note
from audit.core.method import Runnable
from audit.core.policy import FeatureRule
from audit.core.region import Region
from audit.core.schema import FeatureSchema
from audit.spec.model import Spec, column_infos

Facts = dict[str, Any]


def settings(runnable: Runnable) -> Facts:
    """The settings of a method or search as plain data, without its id."""
    plain: Facts = runnable.model_dump(mode="json", exclude={"id"})
    return plain


def spec_facts(spec: Spec, schema: FeatureSchema) -> Facts:
    """The sections audit, data, policy, regions, counterfactuals, methods and report, as JSON-able values."""
    return {
        "audit": spec.audit.model_dump(mode="json"),
        "data": _data(spec),
        "policy": {
            "default": spec.mutability.default,
            "features": [_feature(name, spec) for name in schema.names],
            "rules": list(spec.mutability.rules),
        },
        "regions": [{"name": region.name, "text": region_text(region)} for region in spec.regions],
        "counterfactuals": {name: settings(generator) for name, generator in spec.counterfactuals.items()},
        "methods": [{"id": m.task_id, "kind": m.kind, "settings": settings(m)} for m in spec.methods],
        "report": {"formats": list(spec.report.formats), "pdf": spec.report.pdf, "template": spec.report.template},
    }


def _data(spec: Spec) -> Facts:
    data = spec.data
    target = data.target
    return {
        "train": data.train,
        "evaluate": data.evaluate,
        "evaluate_is": data.evaluate_is,
        "id": data.id,
        "target": None if target is None else target.model_dump(mode="json"),
        "protected": list(data.protected),
        "production_score": data.production_score,
        "score_tolerance": data.score_tolerance,
        "sample": data.sample.model_dump(mode="json"),
    }


def _feature(name: str, spec: Spec) -> Facts:
    """The rule of one feature, as stated or by default."""
    rule = spec.mutability.features.get(name)
    info = column_infos(spec).get(name)
    plain = (rule or FeatureRule(change=spec.mutability.default)).model_dump(mode="json")
    if info is not None:
        plain |= {"order": None if info.order is None else list(info.order), "unit": info.unit}
    return {"feature": name, "stated": rule is not None, **plain}


def region_text(region: Region) -> str:
    """What belongs to a region, in words."""
    weighted = "" if region.weights == "uniform" else f", weighted by distance (bandwidth {region.bandwidth:g})"
    same = ", with the same outcome" if region.same_outcome else ""
    if region.where is not None:
        return region.where
    if region.clusters is not None:
        return f"{region.clusters} clusters of the sample"
    if region.nearest is not None:
        return f"the {region.nearest} rows nearest to {region.around}{same}{weighted}"
    return f"all rows within Gower distance {region.radius:g} of {region.around}{same}{weighted}"


def spec_notes(spec: Spec, schema: FeatureSchema) -> list[Note]:
    """What the reader must know of the spec: who stands behind the policy, and what rests on one search."""
    rules = spec.mutability.features
    silent = [name for name in schema.names if name not in rules]
    counts: dict[str, JsonValue] = {
        "stated": len(schema) - len(silent),
        "features": len(schema),
        "silent": list(silent),
    }
    notes = [Note(code="policy_coverage", args=counts)]
    if spec.mutability.default == "any" and silent:
        notes.append(Note(code="policy_default_any", severity="minor", args={"silent": list(silent)}))
    for name, rule in rules.items():
        missing = [key for key in ("why", "owner", "approved") if not getattr(rule, key)]
        if missing and rule.change != "immutable":
            notes.append(Note(code="rule_unowned", severity="minor", args={"feature": name, "missing": list(missing)}))
    return [*notes, *_lone_generators(spec)]


def _lone_generators(spec: Spec) -> list[Note]:
    """The importance analyses that rest on one counterfactual search, with no other that they are compared with.

    The search moves the ranking more than any setting of the analysis (`methods/flex` 4, FLEX-12).
    """
    searches = {
        method.task_id: spec.counterfactuals[source].search
        for method in spec.methods
        if method.kind == "flex" and (source := str(getattr(method, "from_", ""))) in spec.counterfactuals
    }
    compared = [set(getattr(method, "of", ())) for method in spec.methods if method.kind == "agreement"]
    alone = [
        (name, search)
        for name, search in searches.items()
        if not any(name in of and any(searches.get(other, search) != search for other in of) for of in compared)
    ]
    return [
        Note(code="lone_generator", severity="minor", args={"method": name, "search": search}) for name, search in alone
    ]
