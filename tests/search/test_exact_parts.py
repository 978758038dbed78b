"""What `exact` is made of, by hand and beside another solver, and what it says where it cannot prove."""

import itertools
from importlib import util
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
import xgboost as xgb

from audit.core.counterfactuals import OPTIMAL, distance
from audit.core.model import ADAPTERS, Allow, Source
from audit.core.policy import FeatureRule
from audit.models.scikit import FittedModel
from audit.search.exact import Exact
from audit.search.exact.knapsack import Way, cheapest
from audit.search.exact.steps import UnreadableError, straight
from audit.testing import ToyModel, search_set, toy_context, toy_inputs, toy_linear, toy_table

ANY = FeatureRule(change="any")


def discrete(rng: np.random.Generator) -> Way:
    """The present value, and up to four others that cost and gain more."""
    size = int(rng.integers(1, 5))
    cost = np.concatenate([[0.0], np.sort(rng.random(size)).cumsum()])
    return Way(cost, np.concatenate([[0.0], np.sort(rng.random(size)).cumsum()]), np.arange(size + 1.0))


@pytest.mark.parametrize("seed", range(60))
def test_the_cheapest_of_levels_is_that_of_all_combinations(seed: int) -> None:
    rng = np.random.default_rng(seed)
    levers = [(discrete(rng),) for _ in range(rng.integers(1, 5))]
    most = sum(float(way.gain[-1]) for (way,) in levers)
    need = float(rng.uniform(0.05, 1.1)) * most
    options = itertools.product(*(range(len(way.cost)) for (way,) in levers))
    sums = [
        (sum(way.cost[k] for (way,), k in zip(levers, places, strict=True)),
         sum(way.gain[k] for (way,), k in zip(levers, places, strict=True)))
        for places in options
    ]  # fmt: skip
    least = min((cost for cost, gain in sums if gain >= need), default=np.inf)
    found = cheapest(levers, need, 5_000)
    assert found.settled
    assert found.cost == pytest.approx(least, abs=1e-9)


@pytest.mark.parametrize("seed", range(30))
def test_numbers_and_levels_together_are_those_of_another_solver(seed: int) -> None:
    """Shares of numbers and choices of levels as a mixed-integer program."""
    from scipy.optimize import LinearConstraint, milp

    rng = np.random.default_rng(seed)
    levers: list[tuple[Way, ...]] = []
    cost: list[float] = []
    gain: list[float] = []
    whole: list[int] = []
    rows: list[list[int]] = []
    for _ in range(int(rng.integers(2, 6))):
        if rng.random() < 0.5:
            c, g = rng.random(2)
            levers.append((Way(np.array([0, c]), np.array([0, g]), np.array([0, 1.0]), between=True),))
            cost, gain, whole = [*cost, c], [*gain, g], [*whole, 0]
            continue
        way = discrete(rng)
        levers.append((way,))
        rows.append(list(range(len(cost), len(cost) + len(way.cost) - 1)))
        cost, gain = [*cost, *way.cost[1:]], [*gain, *way.gain[1:]]
        whole += [1] * (len(way.cost) - 1)
    need = 0.6 * sum(float(way.gain[-1]) for (way,) in levers)
    limits = [LinearConstraint(np.array(gain), lb=need)]
    limits += [LinearConstraint(np.isin(np.arange(len(cost)), row).astype(float), ub=1) for row in rows]
    theirs = milp(np.array(cost), integrality=whole, bounds=(0, 1), constraints=limits)
    found = cheapest(levers, need, 5_000)
    assert found.settled
    assert found.cost == pytest.approx(theirs.fun, abs=1e-6)


def linear_inputs(features: dict[str, FeatureRule], rows: pd.DataFrame, **more: Any) -> Any:
    """P(yes) with log-odds 2 a + b - 3, a from 0 to 1 and b from 0 to 10 in the data."""
    train = pd.DataFrame({"a": [0.0, 0.35, 1.0], "b": [0.0, 2.5, 10.0]})
    model = toy_linear(toy_table(train), {"a": 2.0, "b": 1.0}, -3.0)
    return toy_inputs(rows, model, train=train, features=features, **more)


def test_the_cheapest_change_of_numbers_by_hand() -> None:
    """Per scaled change b gains 10 and a gains 2: b alone goes to 3; bounded by 2, a goes half way too."""
    rows = pd.DataFrame({"a": [0.0], "b": [0.0]})
    found, result = search_set(Exact(constraints="policy"), linear_inputs({"a": ANY, "b": ANY}, rows))
    np.testing.assert_allclose(found.codes, [[0, 3]], atol=1e-5)
    assert result.tables["instance_status"]["reason"].tolist() == [OPTIMAL]
    bounded = {"a": ANY, "b": FeatureRule(change="increase", max=2)}
    found, _ = search_set(Exact(constraints="policy"), linear_inputs(bounded, rows))
    np.testing.assert_allclose(found.codes, [[0.5, 2]], atol=1e-5)


def test_a_number_outside_of_its_bounds_may_stay_or_come_in() -> None:
    """b is 12 and new values end at 1.5: it may stay, but then a cannot do it alone."""
    rows = pd.DataFrame({"a": [1.0], "b": [12.0]})
    free = linear_inputs({"a": ANY, "b": FeatureRule(change="decrease", min=0, max=1.5)}, rows)
    found, result = search_set(Exact(constraints="policy"), free)
    # 2 a + b must fall to 3: b comes in at most to 1.5, where 2 a + b is 3.5, and a gives the rest.
    np.testing.assert_allclose(found.codes[0] @ [2, 1], 3, atol=1e-4)
    assert found.codes[0, 1] <= 1.5
    step = distance(free.schema, np.array([[1.0, 12.0]]), np.array([[1.0, 1.0]]))
    assert distance(free.schema, np.array([[1.0, 12.0]]), found.codes)[0] == pytest.approx(step[0], abs=1e-5)
    assert result.tables["instance_status"]["reason"].tolist() == [OPTIMAL]


def test_no_allowed_change_is_proved() -> None:
    rows = pd.DataFrame({"a": [0.0], "b": [0.0]})
    found, result = search_set(Exact(constraints="policy"), linear_inputs({"a": ANY}, rows))
    assert found.proven.tolist() == [True]
    assert result.tables["instance_status"]["status"].tolist() == ["infeasible"]


def test_a_rule_that_binds_leaves_no_claim() -> None:
    """Numbers between others cannot all be tried: neither a counterfactual nor a proof, and the rule is named."""
    rows = pd.DataFrame({"a": [0.0], "b": [0.0]})
    inputs = linear_inputs({"a": ANY, "b": ANY}, rows, rules=["b <= 2"])
    found, result = search_set(Exact(constraints="policy"), inputs)
    assert len(found.row) == 0
    assert not found.proven.any()
    status = result.tables["instance_status"].iloc[0]
    assert status["status"] == "not_found"
    assert status["reason"] == "the cheapest change breaks what the solver cannot take in: b <= 2"


def test_a_budget_that_ends_claims_no_optimum() -> None:
    rng = np.random.default_rng(0)
    levers = [(discrete(rng),) for _ in range(8)]
    need = 0.5 * sum(float(way.gain[-1]) for (way,) in levers)
    assert not cheapest(levers, need, 1).settled


def test_what_cannot_be_read_is_said() -> None:
    frame = pd.DataFrame({"a": [0.0, 1.0, 2.5]})
    closed = toy_inputs(frame, lambda f: (f["a"] > 1) * 0.8 + 0.1, sample_rows=[0])
    (note,) = Exact().notes(closed)
    assert note.args == {"reason": "the inside of the model cannot be read"}
    three = ToyModel(lambda f: np.eye(3)[[0] * len(f)], ("a", "b", "c"))
    many = toy_inputs(frame, three, favourable=(), sample_rows=[0])
    before = many.decision.outcome(many.sample.scores) if many.sample else None
    assert before is not None
    assert Exact().generate(toy_context(many), many.sample.table, before).proven.tolist() == [False]  # type: ignore[union-attr]


def test_trees_without_the_solver(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    from exact_case import problem

    given = problem(2, tmp_path)
    there = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name: None if name == "treecf" else there(name))
    (note,) = Exact(constraints=given.constraints).notes(given.inputs)
    assert note.args == {"reason": "treecf is not installed here; install it with pip install 'auditspec[trees]'"}


@pytest.mark.parametrize("kind", ["lightgbm", "xgboost"])
def test_numbers_of_trees_go_to_the_nearest_side_of_a_split(kind: str, tmp_path: Any) -> None:
    """Every side of every split, as the adapter says where they are, is tried; the solver stops a rounding further."""
    rng = np.random.default_rng(4)
    train = pd.DataFrame({"a": rng.normal(size=300), "b": rng.uniform(0, 5, 300)})
    y = (train["a"] * train["b"] > 1).astype(int)
    path = tmp_path / {"lightgbm": "model.txt", "xgboost": "model.json"}[kind]
    if kind == "lightgbm":
        lgb.LGBMClassifier(n_estimators=10, num_leaves=6, n_jobs=1, verbose=-1).fit(train, y).booster_.save_model(path)
    else:
        xgb.XGBClassifier(n_estimators=10, max_depth=3, n_jobs=1).fit(train, y).save_model(path)
    adapter = ADAPTERS.classes()[kind].model_validate({"kind": kind, "path": str(path), "classes": ("no", "yes")})
    model: Any = adapter.load(Source(str(path), str(tmp_path), Allow(), train, ("yes",)))
    inputs = toy_inputs(train, model, sample_rows=list(range(25)))
    found, result = search_set(Exact(combinations=0), inputs)
    assert (result.tables["instance_status"]["reason"] == OPTIMAL).all()
    x = inputs.sample.table.codes if inputs.sample else np.empty((0, 2))
    for i, row in enumerate(x):
        sides = [np.append(model.thresholds(name).ravel(), row[j]) for j, name in enumerate("ab")]
        tried = np.array(list(itertools.product(*sides)))
        tried = tried[inputs.policy.allowed(np.broadcast_to(row, tried.shape), tried)]
        P = model.predict(pd.DataFrame(tried, columns=["a", "b"]))
        before = inputs.decision.outcome(model.predict(train[i : i + 1]))[0]
        flips = inputs.decision.flipped(P, np.full(len(tried), before))
        least = distance(inputs.schema, np.broadcast_to(row, tried.shape), tried)[flips].min()
        assert distance(inputs.schema, row[None], found.codes[[i]])[0] == pytest.approx(least, abs=1e-6)


def test_a_value_that_lies_on_a_split_goes_where_the_model_sends_it() -> None:
    """A scaler moves the last of three equal steps to one side of the split or the other, by its rounding."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    beyond: list[bool] = []
    for seed in range(16):
        rng = np.random.default_rng(seed)
        step = float(rng.uniform(0.1, 3))
        sizes = 0.1 * seed + step * np.arange(5)
        # The split lies half way between the last two sizes of the data, which is where the third one is.
        train = pd.DataFrame({"size": rng.choice(sizes[[0, 1, 2, 4]], 400)})
        y = np.where(train["size"] > sizes[3], "yes", "no")
        trees = HistGradientBoostingClassifier(max_iter=12, min_samples_leaf=5)
        model = FittedModel(make_pipeline(StandardScaler(), trees).fit(train, y), ("no", "yes"), ("size",))
        row = pd.DataFrame({"size": sizes[:1]})
        rule = FeatureRule(change="increase", step=step, max=float(sizes[3]) + 1e-9)
        inputs = toy_inputs(row, model, train=train, features={"size": rule})
        found, _ = search_set(Exact(constraints="policy", combinations=0), inputs)
        there = pd.DataFrame({"size": [min(float(sizes[0] + 3 * step), float(sizes[3]) + 1e-9)]})
        beyond.append(bool(model.predict(there)[0, 1] >= 0.5))
        assert (len(found.row), bool(found.proven[0])) == ((1, False) if beyond[-1] else (0, True)), seed
    assert 0 < sum(beyond) < len(beyond)


def test_steps_that_bend_numbers_are_not_straight() -> None:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, PolynomialFeatures, StandardScaler

    assert straight(make_pipeline(StandardScaler(), MinMaxScaler()), ("a",)) == {"a"}
    assert straight(OneHotEncoder(), ("a",)) == set()
    for step in (PolynomialFeatures(), MinMaxScaler(clip=True)):
        with pytest.raises(UnreadableError, match="is not one that this search can take in"):
            straight(step, ("a",))
