# ruff: noqa: E501 - rows of tables read best as rows
"""S15: what a remedy did, and two audits beside each other; nothing of the second is shown again elsewhere."""

import re
from html import unescape
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import report_case

from audit.bundle import Bundle
from audit.core.base import sha256
from audit.core.evidence import Artefact, Evidence, Metric, Note, Result, Where
from audit.core.finding import note_findings
from audit.core.plan import Plan, Task
from audit.report import render
from audit.report.before_after import Value, overlap
from audit.report.blocks import Grid, Para
from audit.report.source import Source
from audit.report.view import build

NETWORK = b"weights"
FAILED = "the training data hold one class"
LATER = f"it reads remedies.ct, which is refused: {FAILED}"


def _where(model: str | None = None, **more: Any) -> Where:
    return Where(model=model, **more)


def _audit(model: str | None, shift: float, explainer: Note) -> dict[str, tuple[str, Result]]:
    """Four tasks; `shift` is added to what the second audit measures."""
    gender = 0.4 + shift
    performance = (
        Metric(name="auc", value=0.8 + shift, low=0.75 + shift, high=0.85 + shift, n=300, where=_where(model)),
        Metric(name="auc", value=0.7, low=0.6, high=0.8, n=300, where=_where(model, variant="challenger")),
        Metric(name="auc_over_challenger", value=0.1, where=_where(model)),
        Metric(name="base_rate", value=0.5, low=0.4, high=0.6, where=_where(model)),
    )
    searched = (Metric(name="coverage", value=0.9, low=0.8, high=0.95, n=60, where=_where(model)),)
    flex = (
        Metric(name="frequency", value=0.6, low=0.5, high=0.7, where=_where(model, feature="amount")),
        Metric(
            name="frequency", value=gender, low=gender - 0.01, high=gender + 0.01, where=_where(model, feature="sex")
        ),
        Metric(name="frequency", value=0.99, where=_where(model, feature="sex", region="young applicants")),
    )
    sizes = pd.DataFrame({"feature": ["amount", "sex"], "mean_abs": [0.5 + shift, 0.25], "low": 0.1, "high": 0.9})
    again = shift != 0
    broken = Result(status="not_applicable", message="a network has no trees") if again else Result()
    return {
        "performance": ("performance", Result(metrics=performance)),
        "counterfactuals.flips": ("nearest", Result(metrics=searched)),
        "flex": ("flex", Result(metrics=flex, notes=(Note(code="low_skill", severity="minor"),) if again else ())),
        "shap": ("shap", Result(tables={"shap_global": sizes}, notes=(explainer,))),
        "trees": ("trees", broken),
    }


def _remedy() -> Result:
    evaluation = pd.DataFrame(
        {
            "quantity": ["accuracy", "ip"], "variant": ["", "free"], "twin": [0.8, 6.0], "twin_low": [0.7, 5.0],
            "twin_high": [0.9, 7.0], "remedied": [0.75, 4.5], "remedied_low": [0.7, 4.0], "remedied_high": [0.8, 5.0],
            "difference": [-0.05, -1.5], "difference_low": [-0.1, -2.5], "difference_high": [0.0, None], "seeds": 5,
        }
    )  # fmt: skip
    robust = pd.DataFrame(
        {"training": ["twin", "remedied"], "attack": "fgsm", "eps": 0.1, "accuracy": [0.6, 0.65],
         "low": [0.5, 0.55], "high": [0.7, 0.75], "seeds": 5}
    )  # fmt: skip
    shares = pd.DataFrame(
        {"model": ["twin"] * 3 + ["remedied"] * 3, "feature": ["amount", "age", "sex"] * 2,
         "share": [0.6, 0.3, 0.1, 0.8, 0.15, 0.05], "low": 0.0, "high": 0.9, "seeds": 5}
    )  # fmt: skip
    epochs = pd.DataFrame({"seed": [1], "epoch": [1], "train_loss": [0.98765]})
    metrics = (Metric(name="mature_share", value=0.47, where=_where("remedied")),)
    tables = {"ct_evaluation": evaluation, "ct_robustness": robust, "ct_attributions": shares, "ct_epochs": epochs}
    notes = (Note(code="few_seeds", args={"seeds": 2, "bar": 5}),)
    artefacts = {"remedied_model.bin": Artefact(NETWORK, "application/octet-stream")}
    return Result(metrics=metrics, tables=tables, notes=notes, artefacts=artefacts)


def _pairs() -> pd.DataFrame:
    """Differences of pairs, one of seeds and two of rows; that of the accuracy is of a metric that no audit has."""
    lines = [
        ("remedy", "protected_share", "", "seeds", 5, 0.5, 0.3, -0.2),
        ("counterfactuals.flips", "mean_cost", "", "rows", 60, 0.8, 0.75, -0.05),
        ("performance", "auc", "", "rows", 300, 0.8, 0.6, -0.2),
        ("flex", "frequency", "sex", "rows", 55, 0.4, 0.2, -0.2),
    ]
    frame = pd.DataFrame(lines, columns=["task", "quantity", "feature", "unit", "n", "before", "after", "difference"])
    for name in ("before", "after", "difference"):
        frame[f"{name}_low"], frame[f"{name}_high"] = frame[name] - 0.01, frame[name] + 0.01
    frame.loc[1, ["difference_low", "difference_high"]] = None
    return frame


def _put(bundle: Bundle, results: dict[str, tuple[str, Result]]) -> None:
    records: list[Evidence] = []
    tasks = []
    for name, (kind, result) in results.items():
        tasks.append(
            Task(id=name, family="method", kind=kind, settings={"said": name}, rev=1, uses={}, reads={}, seed=7, part_rows=9)
        )  # fmt: skip
        records.append(bundle.put(name, kind, tasks[-1].key, result))
    facts = report_case._facts("2026-11-01")
    report_case._conclude(bundle, records, note_findings(records), facts, Plan(tasks=tuple(tasks)), "2026-11-01")


@pytest.fixture(scope="module")
def remedied(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    bundle = Bundle(tmp_path_factory.mktemp("remedied"))
    space = Note(code="tree", args={"space": "log_odds"})
    again = _audit("remedied", -0.2, Note(code="permutation"))
    results = _audit(None, 0.0, space) | {"remedies.ct": ("counterfactual_training", _remedy())}
    compared = {"before_after@ct": ("before_after", Result(tables={"before_after": _pairs()}))}
    _put(bundle, results | {f"{name}@ct": result for name, result in again.items()} | compared)
    render(bundle, ["html", "pdf"])
    return bundle


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    bundle = Bundle(tmp_path_factory.mktemp("refused"))
    given = _audit(None, 0.0, Note(code="permutation"))
    remedy = Result(status="refused", message=FAILED)
    never = {f"{name}@ct": (kind, Result(status="not_applicable", message=LATER)) for name, (kind, _) in given.items()}
    _put(bundle, given | {"remedies.ct": ("counterfactual_training", remedy)} | never)
    render(bundle, ["html"])
    return bundle


def sections(bundle: Bundle) -> dict[str, str]:
    content = (bundle.root / "report.html").read_text("utf-8")
    parts = re.split(r'<h2 id="(?:appendix-)?(\w+)"><span class="id">', content)
    assert len(parts[1::2]) == len(set(parts[1::2]))
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def table(section: str, caption: str) -> list[list[str]]:
    """The rows of a table of a section, the head first."""
    (found,) = (t for t in re.findall(r"<table.*?</table>", section, re.DOTALL) if caption in t)
    rows = re.findall(r"<tr.*?</tr>", found, re.DOTALL)
    texts = [re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    return [[unescape(re.sub("<.*?>", "", cell)).replace("\u00a0", " ") for cell in row] for row in texts]


def test_every_section_stands_there_once(remedied: Bundle, refused: Bundle) -> None:
    for bundle in (remedied, refused):
        assert {f"S{i}" for i in range(22)} | {"A", "B", "C"} <= set(sections(bundle))
        ids = re.findall(r' id="([^"]+)"', (bundle.root / "report.html").read_text("utf-8"))
        assert len(ids) == len(set(ids))


def test_the_second_audit_stands_in_s15_and_in_the_register_only(remedied: Bundle) -> None:
    found = sections(remedied)
    naming = {name for name, content in found.items() if "@ct" in content}
    # S1 lists what has no result, a finding in S17 names its evidence, and S21 has the keys of all evidence.
    assert naming == {"S1", "S15", "S17", "S21", "C"}
    assert [row[0] for row in table(found["S6"], "What was run")[1:]] == [
        *_audit(None, 0.0, Note(code="tree")), "remedies.ct",
    ]  # fmt: skip
    assert "Counterfactual training" in found["S6"]
    register = table(found["C"], "Register of all numbers")
    assert [row[1:3] for row in register if row[0] == "performance@ct: AUC"] == [
        ["remedied model", "0.600"], ["remedied model, variant challenger", "0.700"],
    ]  # fmt: skip
    assert next(row[1:3] for row in register if row[0] == "performance: AUC") == ["whole audit", "0.800"]


def test_before_and_after(remedied: Bundle) -> None:
    section = sections(remedied)["S15"]
    head, *lead = table(section, "What the remedy was for, and its price")
    assert head == ["What", "Given model", "Remedied model", "Difference", "Compared on"]
    assert lead == [
        ["Features that may not change: share of the integrated gradients, mean over seeds", "50.0 % (49.0 to 51.0)",
         "30.0 % (29.0 to 31.0)", "−20.0 pp (−21.0 to −19.0)", "5 seeds"],
        ["sex (protected): frequency (flex)", "40.0 % (39.0 to 41.0)", "20.0 % (19.0 to 21.0)",
         "−20.0 pp (−21.0 to −19.0)", "55 rows"],
        ["sex (protected): contribution (shap)", "0.250 (0.100 to 0.900)", "0.250 (0.100 to 0.900)", "–",
         "not comparable: log odds, probability"],
    ]  # fmt: skip
    _, *rows = table(section, "The given and the remedied model")
    assert rows == [
        ["AUC", "0.800 (0.750 to 0.850)", "0.600 (0.550 to 0.650)", "−0.200 (−0.210 to −0.190)", "300 rows"],
        ["Set “flips”: cost, the sum of scaled changes, of rows that both have one for", "0.800 (0.790 to 0.810)",
         "0.750 (0.740 to 0.760)", "−0.050", "60 rows"],
        ["Set “flips”: Coverage", "90.0 % (80.0 to 95.0)", "90.0 % (80.0 to 95.0)", "0.0 pp", "intervals overlap"],
        ["amount: frequency (flex)", "60.0 % (50.0 to 70.0)", "60.0 % (50.0 to 70.0)", "0.0 pp", "intervals overlap"],
        ["amount: contribution (shap)", "0.500 (0.100 to 0.900)", "0.300 (0.100 to 0.900)", "–",
         "not comparable: log odds, probability"],
        ["Trees", "–", "–", "–", "not applicable for the remedied model: a network has no trees"],
    ]  # fmt: skip


def test_the_evidence_of_the_remedy(remedied: Bundle) -> None:
    section = sections(remedied)["S15"]
    assert sha256(NETWORK) in section
    assert "2 of at least 5 seeds were trained" in section
    assert table(section, "beside its twin")[1:] == [
        ["Accuracy", "–", "80.0 % (70.0 to 90.0)", "75.0 % (70.0 to 80.0)", "−5.0 pp (−10.0 to 0.0)"],
        ["Implausibility (IP)", "free", "6.000 (5.000 to 7.000)", "4.500 (4.000 to 5.000)", "−1.500"],
    ]
    assert table(section, "Accuracy under attack, means")[1:] == [
        ["fgsm", "0.100", "60.0 % (50.0 to 70.0)", "65.0 % (55.0 to 75.0)"]
    ]
    shares = table(section, "integrated gradients by feature")[1:]
    assert [row[:2] for row in shares] == [["sex (protected)", "–"], ["age", "immutable"], ["amount", "decrease"]]
    assert shares[0][2:] == ["10.0 % (0.0 to 90.0)", "5.0 % (0.0 to 90.0)"]
    assert ["Mature searches", "remedied model", "47.0 %", "–", "–"] in table(section, "The training")
    assert "0.988" not in section
    assert "4 of 5 tasks have a result" in section


def test_what_paper_leaves_out_is_said(remedied: Bundle) -> None:
    printed = build(Source(remedied, paged=True))
    (register,) = (section for section in printed.sections if section.id == "C")
    said = [block.text for block in register.blocks if isinstance(block, Para)]
    place = "Numbers per feature and region stand in S8 and S9, in the HTML report, results.json and register.csv"
    assert said == [f"{place}; those of a remedied model stand in the last three only."]
    (grid,) = (block for block in register.blocks if isinstance(block, Grid))
    assert ("performance@ct: AUC", "remedied model") in {(row[0].text, row[1].text) for row in grid.rows}


def test_findings_say_of_which_model_they_are(remedied: Bundle) -> None:
    found = sections(remedied)
    assert found["S17"].count("<h3>Remedied model: ") == 1
    assert re.search(r"Finding F-\w+: Remedied model: ", found["S15"])
    assert "Remedied model: " not in found["S8"]


def test_no_word_of_a_verdict(remedied: Bundle) -> None:
    section = sections(remedied)["S15"].lower()
    assert not re.search(r"significan|\bbetter\b|improve", section)


def test_a_remedy_without_a_model_says_why_once(refused: Bundle) -> None:
    found = sections(refused)
    assert found["S15"].count("The training data hold one class") == 1
    assert "There is no model to audit: 5 tasks of a second audit ended without a result." in found["S15"]
    assert LATER not in "".join(found.values())
    assert "The given and the remedied model" not in found["S15"]
    assert [row[0] for row in table(found["S1"], "Asked for, but without a result")[1:]] == [
        "Counterfactual training (remedies.ct)"
    ]


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ((0.1, 0.3), (0.2, 0.4), "intervals overlap"),
        ((0.1, 0.3), (0.3, 0.4), "intervals overlap"),
        ((0.3, 0.4), (0.1, 0.3), "intervals overlap"),
        ((0.1, 0.3), (0.31, 0.4), "apart"),
        ((0.31, 0.4), (0.1, 0.3), "apart"),
        ((0.0, 1.0), (0.4, 0.5), "intervals overlap"),
        ((None, 0.3), (0.1, 0.2), "–"),
    ],
)
def test_overlap(first: tuple[float | None, float], second: tuple[float, float], said: str) -> None:
    assert overlap(Value(0.2, *first), Value(0.3, *second)) == said


def test_intervals_of_two_levels_are_not_laid_over_each_other() -> None:
    assert overlap(Value(0.2, 0.1, 0.3), Value(0.2, 0.1, 0.3, level=0.9)) == "–"


def test_an_audit_without_remedies_says_that_none_was_asked_for(tmp_path: Path) -> None:
    bundle = report_case.credit_case(tmp_path)
    render(bundle, ["html"])
    section = sections(bundle)["S15"]
    assert "Not tested: the spec asks for no method of this section." in section
    assert "remedied model" not in "".join(sections(bundle).values())
