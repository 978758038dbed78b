"""Small bundles whose names and texts mean harm, or that are odd in another way."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from audit.bundle import Bundle, pretty_json
from audit.core.evidence import Evidence, Metric, Note, Result, Where
from audit.core.finding import Gate, judge_gate, note_findings
from audit.core.manifest import Manifest
from audit.core.plan import Plan, Task

NAMES = {
    "arabic": "حساب التوفير",
    "hebrew": "יתרת חשבון 12.5 (א)",
    "cjk": "収入 年龄 소득",
    "emoji": "income 💶👩‍👩‍👧🏽 🇪🇺",
    "bidi_override": "safe\u202efdp.exe\u202d\u202c",
    "bidi_isolate": "a\u2067b\u2066c\u2069\u200f\u200e\u061c",
    "controls": "".join(map(chr, range(1, 32))) + "\x7f",
    "c1_controls": "".join(map(chr, range(0x80, 0xA0))),
    "overlay": "fai\u0336l\u0338ed\u20e0",
    "zalgo": "income" + "".join(map(chr, range(0x300, 0x340))),
    "private_use": "\ue000\uf8ff\U000f0000\U0010fffd",
    "no_character": "\ufffe\uffff\U0001fffe\ufdd0\ufffd",
    "zero_width": "in\u200bco\u200cme\u200d\ufeff\u2060",
    "line_separators": "one\u2028two\u2029three\u0085four\vfive\ffive",
    "line_breaks": "one\ntwo\r\nthree\tfour",
    "tags": "income\U000e0001\U000e0041\U000e007f",
    "variation": "☺\ufe0f☺\ufe0e葛\U000e0100",
    "thai_and_hindi": "รายได้ आय ரூ",
    "mathematical": "𝕀𝓃𝒸𝑜𝓂𝑒 ½ ∑ ≤ ﬁ Å",
    "decomposed": "e\u0301a\u030ao\u0308 n\u0303",
    "soft_hyphen": "in\u00adcome\u00a0\u202f\u2011x",
    "old_scripts": "𓀀 𐍈 ᚠ ꙮ \U0001d11e",
    "markup": '</title></style><script>alert(1)</script><img src="file:///etc/passwd" onerror=x><!-- ',
    "template": "{{ 7*7 }}{% for x in y %}{{ ''.__class__ }}{# c #}${x}#{x}",
    "entities": "&lt;&#0;&#x202e;&amp;&unknown; \"quoted' ]]>",
    "style": "}*{display:none} @import url(http://x.invalid/a.css); url(file:///etc/passwd) \\22 /*",
    "pdf_syntax": ") >> endobj stream (\\ endstream << /JS (x) >> %%EOF ]",
    "long_word": "w" * 900,
    "long_text": "a long name of a column " * 120,
    "blank": " \u00a0\u3000",
    "formula": '=HYPERLINK("http://x.invalid","x")',
    "xml_in_name": "]]><x:xmpmeta><rdf:RDF>",
}
"""One name each, which stands for titles, features, groups, regions, tasks' words and values of tables."""

DAY = "2026-11-01"


def named(root: Path, name: str) -> Bundle:
    """A bundle in which all that a person can name is called so."""
    rows = pd.DataFrame({"feature": [name, "plain"], name: [name, "=1+1"], "frequency": [0.5, np.nan], "n": [3, 4]})
    long = pd.DataFrame({"feature": [f"{name}{i}" for i in range(60)], "value": np.arange(60.0)})
    metrics = (
        Metric(name="auc", value=0.8, low=0.7, high=0.9, interval=name, n=30, where=Where(data="evaluate")),
        Metric(name="accuracy", value=0.7, low=0.6, high=0.8, n=30, where=Where(by=name, group=name, region=name)),
        Metric(name=name, value=None, unit=name, where=Where(feature=name, outcome=name, variant=name)),
    )
    odd = Result(
        metrics=metrics, tables={"odd": rows, "long": long}, notes=(Note(code="x", severity="major", args={"a": name}),)
    )
    gates = (Gate(metric="performance.auc", at_least=0.75, owner=name, text=name, source=name),)
    results = {
        "performance": ("performance", Result(metrics=metrics[:2])),
        "odd": ("odd", odd),
        "broken": ("broken", Result(status="error", message=name)),
    }
    return _bundle(root, results, gates, _facts(name), f"# {name}\nspec_version: 1\n")


def one_row(root: Path) -> Bundle:
    """An audit of one row."""
    metrics = (Metric(name="auc", value=None, n=1), Metric(name="accuracy", value=1.0, low=0.21, high=1.0, n=1))
    table = pd.DataFrame({"threshold": [0.5], "fpr": [np.nan], "tpr": [1.0]})
    results = {"performance": ("performance", Result(metrics=metrics, tables={"roc": table}))}
    return _bundle(root, results, (Gate(metric="performance.accuracy", at_least=0.5),), _facts("one row"))


def all_refused(root: Path) -> Bundle:
    """An audit in which every task was refused, failed or had nothing to do."""
    kinds = ("performance", "flex", "shap", "recourse", "fairness", "robustness", "unheard_of")
    said = ("error", "refused", "not_applicable", "incomplete")
    results = {kind: (kind, Result(status=said[i % 4], message=f"no {kind}")) for i, kind in enumerate(kinds)}  # type: ignore[arg-type]
    return _bundle(root, results, (Gate(metric="performance.auc", at_least=0.5),), _facts("refused"))


def no_gates(root: Path) -> Bundle:
    """An audit without gates, opinion, date or findings."""
    facts = _facts("no gates") | {"opinion": {}}
    results = {"performance": ("performance", Result(metrics=(Metric(name="auc", value=0.8, n=9),)))}
    return _bundle(root, results, (), facts, as_of=None)


def empty_tables(root: Path) -> Bundle:
    """Tables without rows, without columns, and of nothing but gaps."""
    gaps = pd.DataFrame({"a": [None, None], "b": [np.nan, np.inf], "c": ["", " "]})
    tables = {"none": pd.DataFrame({"a": []}), "gaps": gaps, "one": pd.DataFrame({"only": [1]})}
    return _bundle(root, {"odd": ("odd", Result(tables=tables))}, (), _facts("gaps"))


def wide(root: Path) -> Bundle:
    """A table of forty columns."""
    frame = pd.DataFrame({f"column {i}": np.arange(3.0) * i for i in range(40)})
    return _bundle(root, {"odd": ("odd", Result(tables={"wide": frame}))}, (), _facts("wide"))


def many_gates(root: Path) -> Bundle:
    """Sixty gates on one number."""
    gates = tuple(Gate(metric="performance.auc", at_least=i / 60) for i in range(60))
    metric = Metric(name="auc", value=0.5, low=0.4, high=0.6, n=40)
    return _bundle(root, {"performance": ("performance", Result(metrics=(metric,)))}, gates, _facts("gates"))


ODD: dict[str, Callable[[Path], Bundle]] = {
    "one_row": one_row,
    "all_refused": all_refused,
    "no_gates": no_gates,
    "empty_tables": empty_tables,
    "wide": wide,
    "many_gates": many_gates,
}


def _facts(name: str) -> dict[str, Any]:
    schema = {"name": name, "kind": "numeric", "levels": [name, "b"], "low": 0.0, "high": 1.0, "integer": False}
    rule = {"feature": name, "stated": True, "change": "any", "why": name, "owner": name, "unit": name}
    return {
        "audit": {"id": "hostile", "title": name, "owner": name, "purpose": name, "as_of": DAY},
        "opinion": {"word": "adverse", "by": name, "status": "issued", "strongest": "qualified", "reason": name,
                    "text": f"# {name}\n\n**{name}** [x](javascript:alert(1))\n\n* {name}\n\n1. {name}\n"},
        "model": {"kind": "sklearn", "path": name, "features": [name], "classes": [name, "b"], "capabilities": [],
                  "decision": {"favourable": [name]}},
        "schema": [schema | {"missing": False, "unit": name}],
        "policy": {"default": "immutable", "rules": [name], "features": [rule]},
        "regions": [{"name": name, "text": name}],
    }  # fmt: skip


def _bundle(
    root: Path,
    results: dict[str, tuple[str, Result]],
    gates: tuple[Gate, ...],
    facts: dict[str, Any],
    spec: str = "",
    as_of: str | None = DAY,
) -> Bundle:
    bundle = Bundle(root)
    tasks = [
        Task(id=i, family="method", kind=kind, settings={"kind": kind}, rev=1, uses={}, reads={}, seed=7, part_rows=9)
        for i, (kind, _) in results.items()
    ]
    records: list[Evidence] = [bundle.put(t.id, t.kind, t.key, results[t.id][1]) for t in tasks]
    findings = [*(judge_gate(gate, records) for gate in gates), *note_findings(records)]
    content = {
        "format": 1,
        "audit": facts["audit"],
        "opinion": facts["opinion"],
        "evidence": [record.model_dump(mode="json") for record in records],
        "findings": [finding.model_dump(mode="json") for finding in findings],
    }
    bundle.write("results.json", pretty_json(content))
    bundle.write_manifest(
        Manifest(
            tool={"name": "auditspec", "version": "0.1.0"},
            spec_name="spec.yaml",
            spec=spec,
            as_of=as_of,
            seed=7,
            facts=facts,
            plan=Plan(tasks=tuple(tasks)),
        )
    )
    return bundle


def register_case(root: Path, numbers: int) -> Bundle:
    """A bundle with so many numbers; two are judged, where there are as many."""
    metrics = tuple(Metric(name=f"m{i:04d}", value=i / 4000, low=i / 4000, high=i / 4000, n=9) for i in range(numbers))
    gates = (Gate(metric="odd.m3990", at_least=1.5), Gate(metric="odd.m3991", at_least=0.1)) if numbers > 3991 else ()
    return _bundle(root, {"odd": ("odd", Result(metrics=metrics))}, gates, _facts("x"))
