"""Regions found: planted ones are found, noise is not confirmed, and the judging half has no say in the search."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from worded import assert_worded

from audit.core.evidence import Result
from audit.core.method import Inputs, Refusal
from audit.core.plan import Part
from audit.core.region import Region, members
from audit.methods.regions_found import RegionsFound, _shuffled
from audit.testing import toy_context, toy_inputs

QUICK = {"shuffles": 1000, "bootstrap": 100}


def people(n: int, seed: int = 0) -> Inputs:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 80, n),
            "home": rng.choice(["own", "rent", "free"], n),
            "noise": np.where(rng.random(n) < 0.2, np.nan, rng.normal(size=n)),
        }
    )
    return toy_inputs(frame, lambda f: (f["age"] > 40).astype(float))


def local(inputs: Inputs, L: np.ndarray, names: tuple[str, ...] = ("age", "home", "noise")) -> Inputs:
    """The inputs with local change frequencies, shape (n, t), as a flex task tells them."""
    ids = np.repeat(inputs.evaluate.ids, len(names))
    table = pd.DataFrame({"instance": ids, "feature": list(names) * len(L), "frequency": L.ravel()})
    return replace(inputs, results={"scores": Result(tables={"flex_local": table})})


def costly(inputs: Inputs, cost: np.ndarray) -> Inputs:
    """The inputs with counterfactuals: two for each row, whose mean cost is given; none where it is NaN."""
    ids = np.array(inputs.evaluate.ids, dtype=object)[~np.isnan(cost)]
    known = cost[~np.isnan(cost)]
    table = pd.DataFrame({"instance": [*ids, *ids], "cost": [*(known - 0.25), *(known + 0.25)]})
    return replace(inputs, results={"scores": Result(tables={"counterfactuals": table})})


def run(inputs: Inputs, seed: int = 0, **settings: object) -> Result:
    asked = {**QUICK, **({} if "from" in settings else {"on": "flex"}), **settings}
    result = RegionsFound.model_validate(asked).run(toy_context(inputs, seed), Part(index=0))
    assert_worded("regions_found", result)
    assert [table.attrs for table in result.tables.values()] == [{}] * 3  # Parquet would have to write them
    return result


def confirmed(result: Result) -> list[str]:
    table = result.tables["regions_found"]
    return list(table.loc[table["status"] == "confirmed", "where"])


def planted(n: int = 400, seed: int = 0) -> tuple[Inputs, np.ndarray]:
    """Frequencies of `age` that are high for young people, and for others of `home`; noise on both."""
    inputs = people(n, seed)
    young = inputs.evaluate.column("age").to_numpy() <= 30
    rng = np.random.default_rng([seed, 1])
    L = np.column_stack([np.where(young, 0.8, 0.2), np.where(young, 0.1, 0.5), np.full(n, 0.1)])
    return inputs, np.clip(L + rng.normal(0, 0.15, L.shape), 0, 1)


def test_a_planted_region_is_found_and_nothing_else() -> None:
    inputs, L = planted()
    result = run(local(inputs, L))
    (where,) = confirmed(result)
    column, sign, number = where.split()
    assert (column, sign) == ("age", "<=")
    assert 29 <= float(number) <= 31
    (finding,) = [note for note in result.notes if note.severity is not None]
    assert (finding.code, finding.severity) == ("drivers_differ", "info")
    assert finding.args["feature"] == "age"
    assert finding.args["others"] == 1
    assert 0.5 <= finding.args["low"] <= 0.6 <= finding.args["high"] <= 0.7


def test_the_numbers_are_those_of_the_rows_that_did_not_search() -> None:
    inputs, L = planted()
    result = run(local(inputs, L))
    order = np.random.default_rng(0).permutation(400)
    held = np.sort(order[200:])
    (where,) = confirmed(result)
    inside = inputs.evaluate.frame().query(where).index
    region = result.tables["regions_found"].set_index("where").loc[where]
    own = result.tables["regions_found_differences"]
    own = own[own["region"] == region["region"]].set_index("feature")
    yes, no = held[np.isin(held, inside)], held[~np.isin(held, inside)]
    assert (region["n_judged"], region["n_searched"]) == (len(yes), len(inside) - len(yes))
    np.testing.assert_allclose(own["inside"], L[yes].mean(axis=0))
    np.testing.assert_allclose(own["outside"], L[no].mean(axis=0))
    np.testing.assert_allclose(own["difference"], own["inside"] - own["outside"])
    spread = np.sqrt(L[yes].var(axis=0) / len(yes) + L[no].var(axis=0) / len(no))
    np.testing.assert_allclose((own["high"] - own["low"]) / (2 * 1.96 * spread), 1, atol=0.25)


def test_the_judging_half_has_no_say_in_the_search() -> None:
    inputs, L = planted()
    held = np.random.default_rng(0).permutation(400)[200:]
    shuffled = L.copy()
    shuffled[held] = L[np.random.default_rng(5).permutation(held)]
    one, other = (run(local(inputs, scores)).tables["regions_found"] for scores in (L, shuffled))
    assert one["where"].tolist() == other["where"].tolist()
    assert one["status"].tolist()[0] == "confirmed"
    assert set(other["status"]) == {"not confirmed"}


def test_a_condition_in_the_spec_has_the_same_members() -> None:
    inputs, L = planted()
    found = run(local(inputs, L)).tables["regions_found"]
    everyone = np.ones(400, dtype=bool)
    for row in found.to_dict("records"):
        outcomes = np.zeros(400, dtype=np.int64)
        region = Region(name=row["region"], where=row["where"])
        own = members(region, inputs.evaluate, outcomes, everyone, np.random.default_rng(0))
        assert len(own) == row["n_searched"] + row["n_judged"]


def test_every_kind_of_column_makes_a_condition() -> None:
    inputs = people(400)
    frame = inputs.evaluate.frame()
    for truth, text in (
        (frame["home"] == "rent", "home == 'rent'"),
        (frame["home"].isin(["rent", "free"]), "home == 'own'"),
        (frame["noise"].isna(), "noise is missing"),
    ):
        assert text in confirmed(run(local(inputs, truth.to_numpy(dtype=float)[:, None], ("age",)), depth=1))


def test_a_part_of_a_region_is_not_confirmed_by_the_region() -> None:
    """Each half of the young differs from the rest as the young do; that the cut within them says nothing must show."""
    inputs, _ = planted()
    young = inputs.evaluate.column("age").to_numpy() <= 45
    rng = np.random.default_rng(3)
    # Two scores: one cut is real; the other is one only in the half that searches.
    order = np.random.default_rng(0).permutation(400)
    searched = np.isin(np.arange(400), order[:200])
    rent = (inputs.evaluate.column("home") == "rent").to_numpy()
    L = np.column_stack([young * 0.8, (young & rent & searched) * 1.0]) + rng.normal(0, 0.1, (400, 2))
    table = run(local(inputs, L, ("age", "home")), depth=2).tables["regions_found"].set_index("where")
    parts = [where for where in table.index if "age <= 45 and home" in where]
    assert len(parts) == 2
    assert (table.loc[parts, "differences"] >= 1).all()
    assert set(table.loc[parts, "status"]) == {"not confirmed"}
    assert table.loc[[w for w in table.index if w in {"age <= 45", "age > 45"}], "status"].tolist() == ["confirmed"]


def test_noise_is_rarely_confirmed(figure) -> None:
    """Scores that have nothing to do with the features: something is confirmed in at most 5 % of the draws.

    Of 60 draws, more than 8 would have odds below 1 in 500.
    """
    false = proposed = 0
    for seed in range(60):
        L = np.random.default_rng([seed, 2]).random((120, 3)) ** 3
        result = run(local(people(120, seed), L), seed=seed)
        false += bool(confirmed(result))
        proposed += len(result.tables["regions_found"]) > 0
    figure("regions confirmed in pure noise", false / 60, f"60 draws; proposed in {proposed}")
    assert proposed >= 5
    assert false <= 8


def test_the_cost_of_recourse() -> None:
    inputs = people(400)
    rent = (inputs.evaluate.column("home") == "rent").to_numpy()
    cost = np.where(rent, 2.0, 1.0) + np.random.default_rng(0).normal(0, 0.2, 400)
    cost[:20] = np.nan
    result = run(costly(inputs, cost), **{"from": "recourse"})
    assert confirmed(result) == ["home == 'rent'"]
    table = result.tables["regions_found_differences"]
    assert table["measure"].unique().tolist() == ["cost"]
    assert table["feature"].isna().all()
    (finding,) = [note for note in result.notes if note.severity is not None]
    assert finding.code == "cost_differs"
    assert finding.args["difference"] == pytest.approx(1.0, abs=0.1)
    counts = {m.name: m.value for m in result.metrics}
    assert (counts["searched"], counts["judged"]) == (190, 190)


def test_rows_that_joined_for_a_region_take_no_part() -> None:
    inputs, L = planted()
    assert inputs.sample is not None
    drawn = np.arange(400) < 300
    fewer = replace(inputs, sample=replace(inputs.sample, drawn=drawn))
    counts = {m.name: m.value for m in run(local(fewer, L)).metrics}
    assert counts["searched"] + counts["judged"] == 300


def test_p_values_of_shuffles_are_those_of_all_shuffles() -> None:
    L = np.random.default_rng(0).random((9, 2)) ** 2
    inside = np.arange(9) < 4
    centred = L - L.mean(axis=0)
    sums = np.array([np.abs(centred[list(rows)].sum(axis=0)) for rows in combinations(range(9), 4)])
    here = np.abs(centred[inside].sum(axis=0))
    p, total = _shuffled(L, inside, 40_000, np.random.default_rng(1))
    np.testing.assert_allclose(p, (sums >= here - 1e-12).mean(axis=0), atol=0.012)
    assert total == pytest.approx(((sums**2).sum(axis=1) >= (here**2).sum() - 1e-12).mean(), abs=0.012)


def test_no_p_value_is_zero_and_all_tests_are_corrected_together() -> None:
    """The least p value of 1,000 shuffles is 1 in 1,001; Holm's first step multiplies it by the number of tests."""
    inputs, L = planted()
    result = run(local(inputs, L))
    differences, found = result.tables["regions_found_differences"], result.tables["regions_found"]
    tests = len(differences) + found.loc[found["status"] != "few", "parent"].nunique()
    assert differences["p"].min() == pytest.approx(1 / 1001)
    assert differences["p_holm"].min() == pytest.approx(tests / 1001)
    assert tests >= 4


def test_many_tests_get_enough_shuffles() -> None:
    """With 1,000 shuffles the least p value, times 60 tests, would never pass."""
    inputs, L = planted()
    wide = np.column_stack([L, *[L[:, 2]] * 57])
    names = ("age", "home", "noise", *(f"copy {j}" for j in range(57)))
    assert len(confirmed(run(local(inputs, wide, names)))) >= 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"min_rows": 30}, "110 rows drawn at random have a score.*take 120"), ({"on": "shap"}, "no local change")],
)
def test_questions_without_an_answer_are_refused(settings, message) -> None:
    inputs = people(110)
    given = local(inputs, np.random.default_rng(0).random((110, 3)))
    if settings.get("on") == "shap":
        given = replace(inputs, results={"scores": Result(tables={"shap_local": pd.DataFrame()})})
    with pytest.raises(Refusal, match=message):
        run(given, **settings)


@pytest.mark.parametrize("settings", [{}, {"on": "flex", "from": "recourse"}])
def test_exactly_one_question(settings) -> None:
    with pytest.raises(ValueError, match="give either `on`"):
        RegionsFound.model_validate(settings)


def test_constant_scores_propose_nothing() -> None:
    result = run(local(people(200), np.full((200, 3), 0.5)))
    assert len(result.tables["regions_found"]) == 0
    assert [note.code for note in result.notes] == ["search"]
