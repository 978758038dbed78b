"""Fairness: rates and flips by hand and by pandas, suppression, planted proxies, and a report that says so."""

import html
import json
import re

import credit_case
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from worded import assert_worded

from audit.bundle import Bundle
from audit.core.evidence import Result
from audit.core.method import Inputs, Refusal
from audit.core.plan import Part
from audit.core.rates import share_ratio
from audit.methods.fairness import Fairness
from audit.testing import toy_context, toy_inputs

GIVEN = ["income", "sex"]


def people(n: int = 1200, seed: int = 0) -> pd.DataFrame:
    """Incomes evenly spaced on [0, 1] in random order, two sexes, three ages of which one is rare."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"income": rng.permutation((np.arange(n) + 0.5) / n), "sex": rng.choice(["f", "m"], n)})
    frame["age"] = rng.choice(["old", "young"], n)
    frame.loc[:3, "age"] = "ancient"
    truth = rng.random(n) < 0.2 + 0.6 * frame["income"]
    return frame.assign(paid=np.where(truth, "yes", "no"))


def leaning(frame: pd.DataFrame) -> np.ndarray:
    """P(yes): the income, and 0.13 more for men, so that 13 % of all people are decided by their sex."""
    return np.clip(frame["income"] + 0.13 * (frame["sex"] == "m"), 0, 1).to_numpy()


def audited(frame: pd.DataFrame, score=leaning, names=GIVEN, **settings) -> tuple[Inputs, Result]:
    inputs = toy_inputs(frame, score, target="paid", protected=("sex", "age"), names=names)
    result = Fairness.model_validate_json(json.dumps(settings)).run(toy_context(inputs), Part(index=0))
    assert_worded("fairness", result)
    return inputs, result


def value(result: Result, name: str, **where: str) -> tuple:
    (m,) = (m for m in result.metrics if m.name == name and all(getattr(m.where, k) == v for k, v in where.items()))
    return m.value, m.low, m.high, m.n


@pytest.fixture(scope="module")
def result() -> Result:
    return audited(people(), intersections=[["sex", "age"]])[1]


def test_scores_that_promise_too_much_to_one_group(result):
    """The scores of men are 0.13 above those of women; what comes is alike, so men are promised 0.13 more."""
    frame = people()
    frame["excess"] = leaning(frame) - (frame["paid"] == "yes")
    means = frame.groupby("sex")["excess"].mean()
    for sex, mean in means.items():
        found, low, high, n = value(result, "score_excess", by="sex", group=sex)
        assert (found, n) == (pytest.approx(mean), (frame["sex"] == sex).sum())
        half = stats.t.ppf(0.975, n - 1) * frame.loc[frame["sex"] == sex, "excess"].std() / n**0.5
        assert (low, high) == (pytest.approx(mean - half, abs=2e-3), pytest.approx(mean + half, abs=2e-3))
    found, low, high, n = value(result, "score_excess_gap", variant="sex")
    assert (found, n) == (pytest.approx(means["m"] - means["f"]), 1200)
    assert low < 0.13 < high
    row = result.tables["fairness_gaps"].set_index(["by", "measure"]).loc[("sex", "mean score less observed share")]
    assert (row["lowest"], row["highest"]) == ("f", "m")
    assert np.isnan(row["ratio"])


def test_rates_are_those_of_pandas(result):
    frame = people()
    frame["given"], frame["good"] = leaning(frame) >= 0.5, frame["paid"] == "yes"
    frame["both"] = frame["sex"] + " x " + frame["age"]
    for by, column in (("sex", "sex"), ("age", "age"), ("sex x age", "both")):
        for group, own in frame.groupby(column):
            if len(own) < 10:
                continue
            good, bad, given = own[own["good"]], own[~own["good"]], own[own["given"]]
            expected = {
                "selection_rate": (own["given"].mean(), len(own)),
                "base_rate": (own["good"].mean(), len(own)),
                "true_positive_rate": (good["given"].mean(), len(good)),
                "false_positive_rate": (bad["given"].mean(), len(bad)),
                "predictive_value": (given["good"].mean(), len(given)),
            }
            for name, (share, n) in expected.items():
                found = value(result, name, by=by, group=group)
                assert (found[0], found[3]) == (pytest.approx(share, abs=1e-12), n)
                assert found[1] < share < found[2]
    assert {m.where.by for m in result.metrics if m.name == "selection_rate"} == {"sex", "age", "sex x age"}


def test_gap_and_ratio_by_hand():
    frame = pd.DataFrame({"income": np.arange(100) / 100, "sex": ["f", "m"] * 50, "age": "old", "paid": "yes"})
    # f: 20 of 50 given the favourable outcome, m: 40 of 50.
    score = np.where(frame["sex"] == "f", np.arange(100) < 40, np.arange(100) < 80)
    _, result = audited(frame, lambda f: score[(f["income"] * 100).round().astype(int)] * 0.5 + 0.25)
    gap, low, high, n = value(result, "selection_rate_gap", variant="sex")
    assert (gap, n) == (pytest.approx(0.4), 100)
    # Newcombe's method 10 from Wilson limits (0.2761, 0.5382) of 20/50 and (0.6696, 0.8876) of 40/50.
    assert (low, high) == (pytest.approx(0.4 - np.hypot(0.8 - 0.6696, 0.5382 - 0.4), abs=2e-4),
                           pytest.approx(0.4 + np.hypot(0.8876 - 0.8, 0.4 - 0.2761), abs=2e-4))  # fmt: skip
    ratio, low, high, _ = value(result, "selection_rate_ratio", variant="sex")
    assert ratio == pytest.approx(0.5)
    down = np.hypot(np.log(0.4 / 0.2761), np.log(0.8876 / 0.8))
    up = np.hypot(np.log(0.5382 / 0.4), np.log(0.8 / 0.6696))
    assert (low, high) == (pytest.approx(0.5 * np.exp(-down), abs=2e-4), pytest.approx(0.5 * np.exp(up), abs=2e-4))


def test_a_rate_of_zero_has_a_ratio_of_zero_and_an_open_question():
    frame = people(60).assign(age="old")
    _, result = audited(frame, lambda f: np.where(f["sex"] == "m", 0.9, 0.1))
    ratio, low, high, _ = value(result, "selection_rate_ratio", variant="sex")
    assert (ratio, low) == (0.0, 0.0)
    assert 0 < high < 1


def test_three_groups_are_compared_at_once():
    """The interval is that of the pair that may differ most, each pair at 1 - 0.05 / 3."""
    hits, trials = np.array([30, 45, 60]), np.array([100, 90, 80])
    p, z = hits / trials, stats.norm.ppf(1 - 0.05 / 3 / 2)
    middle, half = p + z**2 / (2 * trials), z * np.sqrt(p * (1 - p) / trials + z**2 / (4 * trials**2))
    low, high = (middle - half) / (1 + z**2 / trials), (middle + half) / (1 + z**2 / trials)
    ends = []
    for i, j in ((0, 1), (0, 2), (1, 2)):
        sides = ((-1, low, high), (1, high, low))
        ends.append([np.log(p[i] / p[j]) + s * np.hypot(np.log(p[i] / a[i]), np.log(b[j] / p[j])) for s, a, b in sides])
    found = share_ratio(hits, trials)
    assert found.value == pytest.approx(p[0] / p[2])
    assert found.low == pytest.approx(np.exp(min(below for below, _ in ends)))
    assert found.high == pytest.approx(np.exp(min(above for _, above in ends)))
    assert (found.lowest, found.highest) == (0, 2)


def test_small_groups_are_suppressed_and_said_so(result):
    rates = result.tables["fairness_rates"]
    ancient = rates[(rates["by"] == "age") & (rates["group"] == "ancient")]
    assert set(ancient["status"]) == {"suppressed"}
    assert ancient[["n", "share", "low", "high"]].isna().all(axis=None)
    assert not [m for m in result.metrics if "ancient" in str(m.where.group)]
    (note,) = (n for n in result.notes if n.code == "suppressed" and n.args["by"] == "age")
    assert note.args["groups"] == ["ancient"]
    _, hidden = audited(people(), hide_also="next")
    ages = hidden.tables["fairness_rates"].query("by == 'age' and status == 'ok'")["group"].unique()
    assert len(ages) == 1


def test_thirteen_per_cent_of_the_decisions_flip_and_that_is_a_finding(result):
    frame = people()
    swapped = frame.assign(sex=frame["sex"].map({"f": "m", "m": "f"}))
    brute = int(((leaning(frame) >= 0.5) != (leaning(swapped) >= 0.5)).sum())
    assert brute == 156
    assert value(result, "flip_share", variant="sex")[::3] == (0.13, 1200)
    (note,) = (n for n in result.notes if n.code == "decisions_flip")
    assert (note.severity, note.args["column"], note.args["count"]) == ("major", "sex", 156)
    flips = result.tables["fairness_flips"].set_index(["from", "to"])
    women = frame["sex"] == "f"
    count = ((leaning(frame) >= 0.5) != (leaning(swapped) >= 0.5))[women].sum()
    assert flips.loc[("f", "m"), ["n", "changed", "to_favourable"]].tolist() == [women.sum(), count, count]
    assert flips.loc[("m", "f"), ["changed", "to_unfavourable"]].tolist() == [156 - count, 156 - count]
    assert [n.args["column"] for n in result.notes if n.code == "not_an_input"] == ["age"]


def test_a_model_that_ignores_the_column_gives_no_flip():
    _, result = audited(people(), lambda f: f["income"].to_numpy())
    assert value(result, "flip_share", variant="sex")[0] == 0
    assert not [n for n in result.notes if n.severity]
    assert result.tables["fairness_flips"]["changed"].tolist() == [0, 0]


def test_every_level_missing_values_and_numbers_are_flipped():
    frame = people(200).assign(sex=np.random.default_rng(1).choice(["a", "b", "c"], 200))
    frame.loc[:19, "sex"] = None

    def score(f: pd.DataFrame) -> np.ndarray:
        return (f["income"] + 0.2 * (f["sex"] == "b") + 0.1 * (f["sex"] == "c")).clip(0, 1).to_numpy()

    _, result = audited(frame, score)
    before = score(frame) >= 0.5
    changed = np.any([(score(frame.assign(sex=level)) >= 0.5) != before for level in "abc"], axis=0)
    assert value(result, "flip_share", variant="sex")[0] == changed.sum() / 200
    assert set(result.tables["fairness_flips"]["from"]) == {"a", "b", "c", "missing"}
    _, numbers = audited(frame, score, by=["income"], flip_values=10)
    tried = np.quantile(frame["income"], np.linspace(0, 1, 10), method="inverted_cdf")
    changed = np.any([(score(frame.assign(income=x)) >= 0.5) != before for x in tried], axis=0)
    assert value(numbers, "flip_share", variant="income")[0] == changed.sum() / 200
    assert [n.args["groups"] for n in numbers.notes if n.code == "too_many_groups"] == [200]


def test_a_planted_proxy_is_found_and_chance_is_called_so():
    rng = np.random.default_rng(3)
    frame = people(600)
    frame["shoe"] = np.where(frame["sex"] == "m", 42, 38) + rng.integers(-2, 3, 600)
    frame["dice"] = rng.integers(1, 7, 600)
    inputs = toy_inputs(
        frame, lambda f: f["income"].to_numpy(), target="paid", protected=("sex",), names=["income", "shoe", "dice"]
    )
    result = Fairness(by=("sex", "age")).run(toy_context(inputs), Part(index=0))
    proxies = result.tables["fairness_proxies"].set_index(["column", "features", "predictor"])
    # Shoe sizes overlap at 40 alone: an AUC of 1 - 0.2 * 0.2 / 2.
    assert proxies.loc[("sex", "all", "tree"), "auc"] == pytest.approx(0.98, abs=0.02)
    assert proxies.loc[("sex", "all", "logistic regression"), "auc_low"] > 0.9
    chance = proxies.loc[("age", "all", "logistic regression")]
    assert chance["auc_low"] < 0.5 < chance["auc_high"]
    assert chance["baseline"] == 0.5
    alone = result.tables["fairness_proxy_features"].query("column == 'sex'")
    assert alone["feature"].iloc[0] == "shoe"
    assert alone.set_index("feature").loc["dice", "high"] < 0.65


def test_what_cannot_be_said_is_said():
    frame = people(100)
    inputs = toy_inputs(frame, leaning, protected=("sex",), names=GIVEN, favourable=())
    result = Fairness().run(toy_context(inputs), Part(index=0))
    assert_worded("fairness", result)
    assert next(n.code for n in result.notes) == "no_favourable"
    assert value(result, "flip_share", variant="sex")[0] > 0
    assert not [m for m in result.metrics if m.name == "selection_rate"]
    inputs = toy_inputs(frame, leaning, protected=("sex",), names=GIVEN)
    result = Fairness().run(toy_context(inputs), Part(index=0))
    assert {m.name for m in result.metrics if m.where.group} == {"selection_rate"}
    assert "no_target" in {n.code for n in result.notes}
    with pytest.raises(Refusal, match="a column 'height' is asked for"):
        Fairness(by=("height",)).run(toy_context(inputs), Part(index=0))
    with pytest.raises(Refusal, match="no protected column"):
        Fairness().run(toy_context(toy_inputs(frame, leaning)), Part(index=0))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A real audit: 1,200 rows, a logistic regression that is given the gender."""
    folder = tmp_path_factory.mktemp("fairness")
    methods = [{"kind": "fairness", "min_group": 30}]
    spec = {k: v for k, v in credit_case.SPEC.items() if k not in {"regions", "counterfactuals"}}
    spec |= {"methods": methods, "gates": [{"metric": "fairness.selection_rate", "by": "gender", "gap_at_most": 0.05}]}
    spec["data"] = spec["data"] | {"sample": {"rows": 1200}}
    path = credit_case.make(folder, 1200, spec)
    done = credit_case.command("run", path, "-o", folder / "out", "-q")
    assert done.returncode in {0, 1}, done.stderr
    return Bundle(folder / "out")


def test_g7_the_flips_of_a_real_audit_are_those_of_a_swap(real, figure):
    from skops.io import load

    model = load(real.root.parent / "model.skops")
    frame = pd.read_csv(real.root.parent / "holdout.csv")[credit_case.FEATURES]
    swapped = frame.assign(gender=frame["gender"].map({"female": "male", "male": "female"}))
    changed = int((model.predict(frame) != model.predict(swapped)).sum())
    (record,) = (r for r in real.records() if r.id == "fairness")
    (metric,) = (m for m in record.metrics if m.name == "flip_share")
    assert changed > 100
    assert (metric.value, metric.n) == (changed / 1200, 1200)
    figure("decisions that flip with gender alone", changed, "1,200 rows, equal to a swap by hand")


def test_g6_the_first_section_names_the_finding_and_the_ratio_has_interval_and_n(real):
    content = (real.root / "report.html").read_text(encoding="utf-8")
    start = content.index('id="S1"')
    first = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", content[start : content.index('id="S17"')])))
    assert "Decisions change with gender alone" in first
    (record,) = (r for r in real.records() if r.id == "fairness")
    ratio = next(m for m in record.metrics if m.name == "selection_rate_ratio")
    frame = pd.read_csv(real.root.parent / "holdout.csv")
    scores = pd.read_parquet(
        real.root / next(t.path for r in real.records() if r.id == "sample" for t in r.tables if t.name == "scores")
    )
    rates = (scores["good"] >= 0.5).groupby(frame["gender"]).mean()
    assert (ratio.value, ratio.n) == (pytest.approx(rates.min() / rates.max()), 1200)
    assert ratio.low < ratio.value < ratio.high
    page = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", content)))
    assert f"{ratio.value:.3f}" in page
    assert not re.search(r"no (bias|issues?) |unbiased|is fair\b|compliant", page, re.IGNORECASE)
