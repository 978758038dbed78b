# ruff: noqa: E501 - rows of tables read best as rows
"""Bundles to draw reports from: a small credit audit with a hostile feature name, and an audit that found nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from audit.bundle import Bundle, pretty_json
from audit.core.base import sha256
from audit.core.evidence import Evidence, Metric, Note, Result, Where
from audit.core.finding import Finding, Gate, judge_gate, note_findings
from audit.core.manifest import InputRecord, Manifest
from audit.core.plan import Plan, Task

HOSTILE = "<b onmouseover=alert(1)>income\u202e{{ 7*7 }} 收入"
"""A feature name with markup, a template expression, a bidi override and letters that no bundled font has."""

FEATURES = ("amount", "duration", "savings", "existing_credits", "age", "housing", HOSTILE)
SPEC = f"""# yaml-language-server: $schema=spec.schema.json
spec_version: 1
audit: {{id: credit-case, title: Retail credit scorecard, owner: Model Risk, as_of: 2026-11-01}}
model: {{kind: sklearn, path: model.skops}}
mutability:
  features:
    "{HOSTILE}": {{change: any}}
    </script></pre><script>alert(1)</script>
"""


def credit_case(root: Path, *, as_of: str | None = "2026-11-01", rows: int = 60) -> Bundle:
    """A bundle of a small credit audit: every kind of evidence, gate and finding that a report knows."""
    bundle = Bundle(root)
    results = _results(rows)
    tasks = [_task(name, kind, settings) for name, (kind, settings, _) in results.items()]
    records = [bundle.put("spec", "spec", "0" * 32, Result(notes=_SPEC_NOTES))]
    records += [bundle.put(t.id, t.kind, t.key, results[t.id][2]) for t in tasks]
    findings = [*(judge_gate(gate, records) for gate in _GATES), *note_findings(records)]
    facts = _facts(as_of)
    _conclude(bundle, records, findings, facts, Plan(tasks=tuple(tasks)), as_of)
    return bundle


def empty_case(root: Path) -> Bundle:
    """A bundle of an audit in which nothing was stated and nothing was run."""
    bundle = Bundle(root)
    _conclude(bundle, [], [], {}, Plan(tasks=()), None)
    return bundle


def _conclude(
    bundle: Bundle,
    records: list[Evidence],
    findings: list[Finding],
    facts: dict[str, Any],
    plan: Plan,
    as_of: str | None,
) -> None:
    content = {
        "format": 1,
        "audit": facts.get("audit", {}),
        "opinion": facts.get("opinion", {}),
        "evidence": [record.model_dump(mode="json") for record in records],
        "findings": [finding.model_dump(mode="json") for finding in findings],
    }
    bundle.write("results.json", pretty_json(content))
    stated = bool(facts)
    bundle.write_manifest(
        Manifest(
            tool={"name": "auditspec", "version": "0.1.0"},
            spec_name="spec.yaml",
            spec=SPEC if stated else "",
            as_of=as_of,
            seed=7,
            inputs=_INPUTS if stated else (),
            packages={"numpy": "2.4.0", "scikit-learn": "1.9.1"} if stated else {},
            cites=("Keshtmand, Nzoyem, Clark: FLEX. arXiv 2511.11891.",) if stated else (),
            facts=facts,
            plan=plan,
        )
    )


_INPUTS = (
    InputRecord(role="model", name="model.skops", sha256=sha256(b"model")),
    InputRecord(role="train", name="train.csv", sha256=sha256(b"train"), rows=700),
    InputRecord(role="evaluate", name="holdout.csv", sha256=sha256(b"evaluate"), rows=300),
)
_SPEC_NOTES = (
    Note(code="a_code_that_has_no_words", severity="minor", args={"feature": HOSTILE, "share": 0.25, "absent": None}),
)
_GATES = (
    Gate(metric="performance.auc", at_least=0.75, owner="Credit Risk", source="Model policy 4.2"),
    Gate(metric="performance.accuracy", at_least=0.80, severity="critical", text="Set by the credit committee."),
    Gate(metric="performance.accuracy", at_least=0.60, severity="minor"),
    Gate(metric="performance.accuracy", at_least=0.79, severity="minor"),
    Gate(metric="performance.brier", at_most=0.20),
    Gate(metric="performance.recall", at_least=0.5, severity="minor"),
    Gate(metric="performance.accuracy", by="sex", gap_at_most=0.05),
    Gate(metric="flex.coverage", at_least=0.9),
)


def _facts(as_of: str | None) -> dict[str, Any]:
    title = "Retail credit scorecard"
    rules = [
        {"feature": "amount", "stated": True, "change": "decrease", "min": 250, "step": 50, "unit": "DM",
         "why": "negotiable", "owner": "Credit Policy", "approved": "2026-03-01"},
        {"feature": "duration", "stated": True, "change": "any", "min": 4, "max": 72, "integer": True},
        {"feature": "savings", "stated": True, "change": "increase", "order": ["<100", "100-500", ">500"]},
        {"feature": "age", "stated": False, "change": "immutable"},
        {"feature": HOSTILE, "stated": True, "change": "any", "transitions": {"a": ["b", "c"]}},
    ]  # fmt: skip
    return {
        "audit": {"id": "credit-case", "title": title, "owner": "Model Risk", "purpose": "Annual validation", "as_of": as_of},
        "opinion": {
            "word": "qualified", "by": "A. Validator", "status": "issued", "strongest": "qualified", "reason": "",
            "text": "# My view\n\nThe model is fit **except for** accuracy.\n\n* one <script>alert(1)</script>\n* two ![x](http://x.invalid/a.png)\n",
        },
        "model": {
            "kind": "sklearn", "path": "model.skops", "sha256": sha256(b"model"), "features": list(FEATURES),
            "classes": ["bad", "good"], "capabilities": ["predict"], "decision": {"favourable": ["good"], "at_least": 0.5},
        },
        "data": {
            "train": {"name": "train.csv", "rows": 700},
            "evaluate": {"name": "holdout.csv", "rows": 300, "kind": "held_out"},
            "id": "applicant", "target": {"column": "outcome", "favourable": ["good"]}, "protected": ["sex"],
            "production_score": None, "sample": {"rows": 60, "stratify": "decision"},
        },
        "schema": [
            {"name": n, "kind": "numeric", "levels": [], "low": 0.0, "high": 10.0, "integer": False, "missing": False, "unit": ""}
            for n in FEATURES
        ],
        "policy": {"default": "immutable", "features": rules, "rules": ["duration <= 72 - 2 * existing_credits"]},
        "regions": [{"name": "young applicants", "text": "age < 26"}, {"name": "few", "text": "around 17, nearest 5"}],
        "counterfactuals": {"flips": {"search": "nearest"}}, "methods": [{"id": "flex", "kind": "flex", "settings": {}}],
        "report": {"formats": ["html", "pdf"], "template": "standard"},
    }  # fmt: skip


def _task(name: str, kind: str, settings: dict[str, Any]) -> Task:
    family = "sample" if name == "sample" else "counterfactuals" if "." in name else "method"
    return Task(id=name, family=family, kind=kind, settings=settings, rev=1, uses={}, reads={}, seed=7, part_rows=1000)


def _results(n: int) -> dict[str, tuple[str, dict[str, Any], Result]]:
    rng = np.random.default_rng(7)
    ids = [f"A{i:03d}" for i in range(n)]
    features = {name: rng.integers(0, 10, n).astype(float) for name in FEATURES}
    instances = pd.DataFrame({"instance": ids, **features})
    score = rng.random(n).round(3)
    drawn = pd.DataFrame(
        {
            "instance": ids,
            "row": range(n),
            "drawn": True,
            "outcome": np.where(score > 0.5, "good", "bad"),
            "score": score,
        }
    )
    regions = pd.DataFrame(
        {
            "region": ["young applicants"] * 30 + ["few"] * 5,
            "instance": ids[:30] + ids[:5],
            "distance": 0.0,
            "weight": 1.0,
        }
    )
    sample = Result(
        metrics=(
            Metric(name="rows", value=300.0, unit="rows", where=Where(data="evaluate")),
            Metric(name="drawn", value=float(n), unit="rows", where=Where(data="sample")),
            Metric(name="decision_share", value=0.62, n=300, where=Where(data="evaluate", outcome="good")),
            Metric(name="evaluated_rows", value=300.0, unit="rows"),
        ),
        tables={"instances": instances, "sample": drawn, "regions": regions},
    )
    return {
        "sample": ("sample", {"rows": n, "stratify": "decision"}, sample),
        "counterfactuals.flips": (
            "nearest", {"search": "nearest", "per_row": 3, "for": "each", "constraints": "domain"},
            _searched(rng, ids, instances, share=0.95),
        ),
        "counterfactuals.recourse": (
            "nearest", {"search": "nearest", "per_row": 1, "for": "unfavourable", "constraints": "policy"},
            _searched(rng, ids, instances, share=0.5),
        ),
        "performance": ("performance", {"kind": "performance"}, _performance(rng)),
        "flex": ("flex", {"kind": "flex", "from": "flips", "min_change": 0.0}, _flex(rng, ids)),
        "shap": ("shap", {"kind": "shap"}, _shap(rng)),
        "agreement": ("agreement", {"kind": "agreement", "of": ["flex", "shap"]}, _agreement()),
        "drift_plugin": ("drift_plugin", {"kind": "drift_plugin"}, _unknown()),
        "broken": ("broken", {"kind": "broken"}, Result(status="error", message="could not invert the matrix")),
        "unfit": ("unfit", {"kind": "unfit"}, Result(status="not_applicable", message="the model has no gradient")),
    }  # fmt: skip


def _searched(rng: np.random.Generator, ids: list[str], instances: pd.DataFrame, share: float) -> Result:
    kinds = ["found", "not_found", "infeasible", "not_applicable"]
    left = (1 - share) / 3
    status = rng.choice(kinds, len(ids), p=[share, left, left, left])
    found = [i for i, s in zip(ids, status, strict=True) if s == "found"]
    rows = instances.set_index("instance").loc[found].reset_index()
    moved = rng.random((len(rows), len(FEATURES))) < np.linspace(0.7, 0.05, len(FEATURES))
    after = rows[list(FEATURES)] + moved * 1.0
    head = pd.DataFrame(
        {"instance": found, "k": 0, "score_before": 0.4, "score_after": 0.6, "distance": moved.mean(axis=1) / 10,
         "cost": np.nan, "n_changed": moved.sum(axis=1), "verified": True}
    )  # fmt: skip
    reasons = np.where(status == "infeasible", "the policy leaves nothing to change", "")
    state = pd.DataFrame({"instance": ids, "status": status, "reason": reasons, "evaluated_rows": 20})
    metrics = (Metric(name="evaluated_rows", value=20.0 * len(ids), unit="rows"),)
    return Result(
        metrics=metrics, tables={"counterfactuals": pd.concat([head, after], axis=1), "instance_status": state}
    )


def _performance(rng: np.random.Generator) -> Result:
    held = Where(data="evaluate")
    curve = np.linspace(0, 1, 400)
    metrics = [
        Metric(name="auc", value=0.8213, low=0.7811, high=0.8587, interval="bootstrap over rows", n=300, where=held),
        Metric(name="accuracy", value=0.7333, low=0.6804, high=0.7801, interval="Wilson", n=300, where=held),
        Metric(name="brier", value=0.1871, low=0.1650, high=0.2098, interval="bootstrap over rows", n=300, where=held),
        Metric(name="precision", value=None, n=0, where=Where(data="evaluate", group="nobody", by="sex")),
    ]
    metrics += [
        Metric(name="accuracy", value=v, low=v - 0.07, high=v + 0.07, interval="Wilson", n=150,
               where=Where(data="evaluate", by="sex", group=g))
        for g, v in (("female", 0.71), ("male", 0.76))
    ]  # fmt: skip
    tables = {
        "roc": pd.DataFrame({"threshold": 1 - curve, "fpr": curve**2, "tpr": curve**0.5}),
        "calibration": pd.DataFrame(
            {"bin_low": [0.0, 0.25, 0.5, 0.75], "bin_high": [0.25, 0.5, 0.75, 1.0], "mean_score": [0.15, 0.4, 0.62, 0.87],
             "observed": [0.2, 0.37, np.nan, 0.8], "low": [0.1, 0.25, np.nan, 0.7], "high": [0.33, 0.5, np.nan, 0.88], "n": [40, 80, 0, 90]}
        ),
        "confusion": pd.DataFrame(
            {"actual": ["bad", "bad", "good", "good"], "predicted": ["bad", "good", "bad", "good"], "n": [51, 39, 41, 169]}
        ),
    }  # fmt: skip
    return Result(metrics=tuple(metrics), tables=tables)


def _frequencies(rng: np.random.Generator, **where: Any) -> pd.DataFrame:
    share = np.sort(rng.random(len(FEATURES)))[::-1].round(4)
    return pd.DataFrame(
        {
            **where, "feature": FEATURES, "frequency": share, "low": np.clip(share - 0.08, 0, 1),
            "high": np.clip(share + 0.08, 0, 1), "n": 57, "rank": np.arange(1.0, len(FEATURES) + 1),
            "changes_p10": [-0.4, -0.1, 0.05, np.nan, 0.0, 0.1, -0.9], "changes_p50": [-0.2, 0.1, 0.15, np.nan, 0.1, 0.2, -0.3],
            "changes_p90": [0.1, 0.3, 0.5, np.nan, 0.2, 0.7, 0.05], "increase_share": 0.4, "status": "ok",
        }
    )  # fmt: skip


def _flex(rng: np.random.Generator, ids: list[str]) -> Result:
    pooled = _frequencies(rng, prediction=None)
    split = [_frequencies(rng, prediction=p) for p in ("good", "bad")]
    regional = [_frequencies(rng, region=r, prediction=None) for r in ("young applicants", "few")]
    regional[1]["n"] = 5
    sweep = [_frequencies(rng)[["feature", "frequency"]].assign(min_change=t) for t in (0.0, 0.05, 0.1, 0.2)]
    tables = {
        "flex_global": pd.concat([pooled, *split], ignore_index=True),
        "flex_regional": pd.concat(regional, ignore_index=True),
        "flex_local": pd.concat([_frequencies(rng, instance=i, prediction="bad") for i in ids[:10]], ignore_index=True),
        "flex_sweep": pd.concat(sweep, ignore_index=True),
        "flex_coverage": pd.DataFrame(
            {"region": [None, "few"], "prediction": [None, "good"], "n": [60, 5], "covered": [57, 5], "mean_changed": [2.13, 1.8]}
        ),
        "flex_stability": pd.DataFrame({"feature": FEATURES, "top": [3] * 7, "probability": np.linspace(1, 0, 7)}),
        "choices": pd.DataFrame(
            {"id": ["FLEX-01", "FLEX-02"], "choice": ["Normaliser of a change", "Smallest change that counts"],
             "value": ["range", "0.05"], "default": ["range", "0.0"], "changed": [False, True], "why": ["unit-free", "no published value"]}
        ),
    }  # fmt: skip
    metrics = (
        Metric(name="coverage", value=0.95, low=0.863, high=0.983, interval="Wilson", n=60, where=Where(data="sample")),
        Metric(name="mean_changed", value=2.13, unit="features", n=57),
    )
    notes = (Note(code="low_skill", severity="major", args={"balanced_accuracy": 0.52, "bar": 0.55}),)
    return Result(metrics=metrics, tables=tables, notes=notes)


def _shap(rng: np.random.Generator) -> Result:
    size = np.sort(rng.random(len(FEATURES)))[::-1] / 5
    frame = pd.DataFrame(
        {"feature": FEATURES, "mean_abs": size, "low": size * 0.8, "high": size * 1.2, "n": 57, "rank": range(1, 8)}
    )
    return Result(tables={"shap_global": frame})


def _agreement() -> Result:
    frame = pd.DataFrame(
        {"region": [None, "young applicants"], "a": "flex", "b": "shap", "tau_b": [0.81, None], "spearman": [0.9, None],
         "n_features": 7, "n_instances": [57, 30]}
    )  # fmt: skip
    return Result(tables={"agreement": frame})


def _unknown() -> Result:
    frame = pd.DataFrame(
        {"column": [HOSTILE, "b"], "stable": [True, False], "value": [0.123456, np.nan], "many": [1, 2]}
    )
    return Result(metrics=(Metric(name="drift", value=0.0123, n=300),), tables={"drift_table": frame})
