"""Sheets for single people: plain words, units, what they can do first, no promise, two pages."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_case import _conclude, _task

from audit.bundle import Bundle
from audit.core.evidence import Result
from audit.core.plan import Plan
from audit.report.html import html, paged_html, paged_style
from audit.report.pdf import BASE, _bundled_fonts, _weasyprint, deny_all
from audit.report.source import Source
from audit.report.text import drawable
from audit.report.view import build

JARGON = (
    "actionab", "algorithm", "candidate", "categor", "classif", "constraint", "cost", "counterfactual", "dataset",
    "distance", "domain", "explanab", "favourable", "feasib", "feature", "flex", "flip", "frequency", "gower",
    "immutab", "infer", "instance", "interval", "metric", "model score", "mutab", "not_found", "numeric",
    "optim", "ordinal",
    "outcome", "outlier", "perturb", "policy", "predict", "probab", "proven", "quantile", "recourse", "robust",
    "sample", "score", "shap", "statistic", "threshold", "variable", "vector", "verified", "_", "nan",
)  # fmt: skip
"""Terms, or beginnings of them, that may not appear."""

LONGEST = 20
"""Words of a sentence."""

FEATURES = {
    "amount": {"kind": "numeric", "unit": "DM", "title": "amount of the loan"},
    "duration": {"kind": "numeric", "unit": "months", "title": ""},
    "open_credits": {"kind": "numeric", "unit": "", "title": ""},
    "savings": {"kind": "ordinal", "unit": "", "title": "savings"},
    "owns_home": {"kind": "boolean", "unit": "", "title": ""},
    "age": {"kind": "numeric", "unit": "years", "title": ""},
    "sex": {"kind": "categorical", "unit": "", "title": ""},
}
BEFORE = {
    "amount": 12000.0,
    "duration": 36.5,
    "open_credits": 3,
    "savings": "<100 DM",
    "owns_home": False,
    "age": 41,
    "sex": "f",
}
FIXED = ("age", "sex")
WAYS = [
    {"cost": 0.5, "amount": 9000.0, "open_credits": 1, "owns_home": True},
    {"cost": 0.2, "amount": 11500.0},
    {"cost": 0.3, "duration": 48.0, "savings": "100-500 DM"},
]


def audit(
    root: Path,
    *,
    status: str = "found",
    ways: list | None = None,
    fixed: int = 0,
    reasons: bool = True,
    weighed: pd.DataFrame | None = None,
    **settings,
):
    """A bundle with the sheet of applicant 17, who was refused; `fixed` more features cannot change."""
    more = {f"detail_{i}": {"kind": "categorical", "unit": "", "title": ""} for i in range(fixed)}
    features, before = FEATURES | more, BEFORE | dict.fromkeys(more, "as it is")
    found = [{**before, **way, "instance": "17", "k": k + 1} for k, way in enumerate(WAYS if ways is None else ways)]
    states = pd.DataFrame({"instance": ["17"], "status": [status], "reason": "", "evaluated_rows": 9})
    names = ["amount", "sex", "age", "savings"]
    why = pd.DataFrame(
        {
            "instance": "17", "rank": range(1, 5), "feature": names, "text": ["Amount of the loan", *names[1:]],
            "frequency": 0.7, "low": 0.3, "high": 0.9, "n": 10, "protected": [False, True, False, False],
            "direction": ["too high", "another value", "too low", "another value"], "towards": ["", "m", "", ""],
            "changeable": True, "tied": False, "shap_rank": np.nan,
        }
    )  # fmt: skip
    results = {
        "sample": ("sample", {}, {"instances": pd.DataFrame([{"instance": "17", **before}])}),
        "counterfactuals.recourse": (
            "nearest", {"constraints": "policy"}, {"counterfactuals": pd.DataFrame(found), "instance_status": states},
        ),
        "recourse": (
            "recourse", {"from": "recourse", **settings}, {"recourse_sheets": pd.DataFrame({"instance": ["17"]})}
        ),
    }  # fmt: skip
    if weighed is not None:
        results["recourse"][2]["recourse_ways"] = weighed
    if reasons:
        results["reasons"] = ("reasons", {"from": "flips"}, {"reasons": why})
    bundle = Bundle(root)
    tasks = [_task(name, kind, own) for name, (kind, own, _) in results.items()]
    records = [bundle.put(t.id, t.kind, t.key, Result(tables=results[t.id][2])) for t in tasks]
    unmoved = {*FIXED, *more}
    rules = [{"feature": f, "stated": True, "change": "immutable" if f in unmoved else "any"} for f in features]
    facts = {
        "schema": [{"name": name, **one} for name, one in features.items()],
        "policy": {"default": "immutable", "features": rules, "rules": []},
    }
    _conclude(bundle, records, [], facts, Plan(tasks=tuple(tasks)), "2026-11-01")
    return bundle


def lines(bundle: Bundle) -> list[str]:
    """The blocks of the sheet as text: paragraphs, headings, list entries, captions, rows with ` | ` inside."""
    body = html(Source(bundle)).split('<h2 id="appendix-F">')[1].split("</section>")[0]
    body = re.sub(r"</t[hd]>\s*<t[hd][^>]*>", " | ", body)
    parts = re.findall(r"<(?:p|h3|li|caption|tr)\b[^>]*>(.*?)</(?:p|h3|li|caption|tr)>", body, flags=re.DOTALL)
    return [re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", part)).replace("&lt;", "<").strip() for part in parts]


@pytest.fixture(
    scope="module",
    params=[
        {}, {"model_alone": True}, {"status": "infeasible", "ways": []}, {"status": "not_found", "ways": []},
        {"reasons": False},
    ],
    ids=["ways", "model alone", "none there", "none found", "no reasons"],
)  # fmt: skip
def sheet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The sheets of every kind."""
    return lines(audit(tmp_path_factory.mktemp("sheet"), **request.param))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The sheet of somebody who can do something."""
    return lines(audit(tmp_path_factory.mktemp("full")))


def test_no_term_of_the_trade_appears(sheet: list[str]) -> None:
    told = " ".join(sheet).lower()
    assert [term for term in JARGON if term in told] == []


def test_sentences_are_short(sheet: list[str]) -> None:
    sentences = [s for line in sheet for s in re.split(r"(?<=[.:?!])\s", line)]
    assert [s for s in sentences if len(s.split()) > LONGEST] == []


def test_what_one_can_do_comes_first(sheet: list[str]) -> None:
    order = [
        "What you can do",
        "What you cannot change",
        "Why the decision was not in your favour",
        "What was not tested",
    ]
    assert [line for line in sheet if line in order] == order


def test_each_way_says_from_what_to_what_with_units_the_cheapest_first(full: list[str]) -> None:
    start = full.index("Way 1: change 1 thing")
    assert full[start : start + 3] == [
        "Way 1: change 1 thing", "What changes | Now | Needed", "Amount of the loan | 12,000 DM | 11,500 DM"
    ]  # fmt: skip
    second = full.index("Way 2: change 2 things")
    assert full[second + 2 : second + 4] == ["Duration | 36.5 months | 48 months", "Savings | <100 DM | 100-500 DM"]
    third = full.index("Way 3: change 3 things")
    # A number without a unit stands beside what it is a number of.
    assert full[third + 2 : third + 5] == [
        "Amount of the loan | 12,000 DM | 9,000 DM",
        "Open credits | 3 | 1",
        "Owns home | no | yes",
    ]


def test_the_order_is_that_of_the_costs_that_the_method_weighed(tmp_path: Path) -> None:
    weighed = pd.DataFrame({"instance": "17", "k": [1, 2, 3], "cost": [0.1, 0.9, 0.5]})
    told = lines(audit(tmp_path / "weighed", weighed=weighed))
    assert [line for line in told if line.startswith("Way ")] == [
        "Way 1: change 3 things", "Way 2: change 2 things", "Way 3: change 1 thing"
    ]  # fmt: skip


def test_every_number_has_a_unit_or_the_title_of_its_column(sheet: list[str]) -> None:
    units = {"DM", "months", "years", "ways", "way", "thing", "things", "more"}
    for line in sheet:
        if " | " in line:
            title, *cells = line.split(" | ")
            bare = {"Open credits"}
            loose = [c for c in cells if re.fullmatch(r"[\d,.]+", c)]
            assert not loose or title in bare, line
            continue
        for number in re.finditer(r"(?<![\w-])\d[\d,.]*(?![\w-])", line):
            after = re.findall(r"\w+", line[number.end() :])
            named = re.match(r"(Way|Sheet for case) \d", line) or "belongs to report" in line
            assert named or (after and after[0] in units), line


def test_it_is_no_promise_unless_the_model_alone_decides(full: list[str], tmp_path: Path) -> None:
    promise = "This is no promise about a new decision."
    assert promise in " ".join(full)
    alone = " ".join(lines(audit(tmp_path / "alone", model_alone=True)))
    assert promise not in alone
    assert (
        "The model alone decides. With these values and the same model, a new decision would be in your favour."
        in alone
    )
    without = " ".join(lines(audit(tmp_path / "none", status="not_found", ways=[])))
    assert "A review is no promise of another decision." in without


def test_not_found_is_not_said_to_be_none(tmp_path: Path) -> None:
    unknown = " ".join(lines(audit(tmp_path / "unknown", status="not_found", ways=[])))
    assert "That does not mean that there is none." in unknown
    proven = " ".join(lines(audit(tmp_path / "proven", status="infeasible", ways=[])))
    assert "We tried all changes that count as possible for you." in proven
    assert "That does not mean" not in proven


def test_reasons_are_all_there_the_protected_one_too(full: list[str]) -> None:
    start = full.index("Main reasons")
    assert full[start + 1 : start + 6] == [
        "Reason | Your value | What would help | Seen in",
        "Amount of the loan | 12,000 DM | A lower value would help | 7 of 10",
        "Sex | f | Another value would help, such as: m | 7 of 10",
        "Age | 41 years | A higher value would help | 7 of 10",
        "Savings | <100 DM | Another value would help | 7 of 10",
    ]
    assert full.index("Age") < start  # what cannot change
    assert "The reasons were not worked out for this case." not in full


def test_it_has_two_pages_at_most(tmp_path: Path) -> None:
    """Many ways that change everything, and many details that cannot change: what is cut is counted."""
    everything = {"amount": 1.0, "duration": 2.0, "open_credits": 9, "savings": ">500 DM", "owns_home": True}
    ways = [{"cost": 1.0 + i, **everything, "amount": 100.0 + i} for i in range(8)]
    bundle = audit(tmp_path / "long", ways=ways, fixed=60)
    told = lines(bundle)
    assert sum(line.startswith("Way ") for line in told) == 3
    assert any("5 more ways are not shown here." in line for line in told)
    assert "48 more details" in told
    with _bundled_fonts():
        weasyprint = _weasyprint()
        markup = paged_html(build(Source(bundle, paged=True, shown=drawable())), drawable(), "")
        asked = {"base_url": BASE, "url_fetcher": deny_all()}
        style = weasyprint.CSS(string=paged_style(), **asked)
        pages = weasyprint.HTML(string=markup, **asked).render(stylesheets=[style]).pages
    (first,) = [i for i, page in enumerate(pages) if "sheet-17" in page.anchors]
    (head,) = [i for i, page in enumerate(pages) if "appendix-F" in page.anchors]
    assert head == first > 0
    assert next(iter(pages[first].anchors)) == "appendix-F"  # the page begins with it: it can be handed out
    assert 1 <= len(pages) - first <= 2
