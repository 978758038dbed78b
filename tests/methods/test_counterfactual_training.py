"""The method on audited data: what it says, what it refuses, what it hands on."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch", reason="torch is an optional package")

from worded import assert_worded  # noqa: E402 - after the check that torch is there

from audit.core.ct_inputs import case_of  # noqa: E402
from audit.core.errors import DataError  # noqa: E402
from audit.core.evidence import Result  # noqa: E402
from audit.core.method import Inputs, Refusal  # noqa: E402
from audit.core.model import Decision, Scorer  # noqa: E402
from audit.core.network import Mlp, Network, Prepare, about, fill, weights_of  # noqa: E402
from audit.core.policy import FeatureRule, Policy  # noqa: E402
from audit.methods.counterfactual_training import CounterfactualTraining  # noqa: E402
from audit.search.gradient.descent import descend  # noqa: E402
from audit.testing import toy_context, toy_inputs  # noqa: E402

QUICK = {
    "seeds": 2,
    "training": {"epochs": 12, "batch": 20, "counterfactuals": 60},
    "evaluation": {"runs": 2, "rows": 20, "energy": [0.5, 5.0]},
    "attribution_rounds": 3,
    "attack_eps": [0.0, 0.1],
}


def frame(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    age, income = rng.normal(40, 10, n), rng.normal(50, 15, n)
    home = rng.choice(["own", "rent"], n)
    points = (age - 40) / 10 + (income - 50) / 15 + (home == "own") + rng.normal(0, 0.3, n)
    return pd.DataFrame({"age": age, "income": income, "home": home, "paid": np.where(points > 0.5, "yes", "no")})


def inputs(**changed: Any) -> Inputs:
    given: dict[str, Any] = {
        "target": "paid",
        "train": frame(300, 0),
        "features": {"income": FeatureRule(change="any"), "home": FeatureRule(change="any")},
    }
    return toy_inputs(frame(120, 1), lambda f: np.full(len(f), 0.5), **(given | changed))


def method(**settings: Any) -> CounterfactualTraining:
    whole = {"kind": "counterfactual_training", **QUICK, **settings}
    return CounterfactualTraining.model_validate_json(json.dumps(whole))


def run(given: Inputs, **settings: Any) -> Result:
    asked = method(**settings)
    return asked.merge(given, [asked.run(toy_context(given), part) for part in asked.parts(given, 10)])


@pytest.fixture(scope="module")
def result() -> Result:
    return run(inputs())


def test_everything_it_says_has_words(result: Result) -> None:
    assert_worded("counterfactual_training", result)


def test_each_seed_is_a_part_and_only_the_first_hands_on_its_network() -> None:
    given, asked = inputs(), method()
    parts = asked.parts(given, 1000)
    assert [part.seed for part in parts] == [2025, 2026]
    ticks: list[tuple[int, int]] = []
    first = asked.run(replace(toy_context(given), tick=lambda done, total: ticks.append((done, total))), parts[0])
    second = asked.run(toy_context(given), parts[1])
    assert list(first.artefacts) == [asked.remedy]
    assert not second.artefacts
    assert ticks == sorted(ticks)
    assert ticks[-1] == (48, 48)


def test_the_artefact_is_the_network_of_the_first_seed(result: Result) -> None:
    data = result.artefacts[method().remedy].data
    said = about(data)
    assert said is not None
    assert said.classes == ("no", "yes")
    module = fill(Mlp().build(4, 2, 0), weights_of(data))
    network = Network(module, Mlp(), said.prepare, said.classes)
    held = frame(120, 1)
    right = (network.predict(held[["age", "income", "home"]]).argmax(axis=1) == (held["paid"] == "yes")).mean()
    seeds = result.tables["ct_seeds"]
    own = seeds[(seeds["seed"] == 2025) & (seeds["model"] == "remedied") & (seeds["quantity"] == "accuracy")]
    assert own["value"].item() == pytest.approx(right, abs=1e-6)


def test_metrics_are_means_over_seeds_with_t_intervals(result: Result) -> None:
    seeds = result.tables["ct_seeds"]
    (found,) = [m for m in result.metrics if m.name == "accuracy" and m.where.model == "twin"]
    a, b = seeds[(seeds["model"] == "twin") & (seeds["quantity"] == "accuracy")]["value"]
    assert found.value == pytest.approx((a + b) / 2)
    half = 12.706204736 * abs(a - b) / 2  # t(.975, 1) times the standard error of two values
    assert found.low == pytest.approx(max(0.0, (a + b) / 2 - half))
    assert found.high == pytest.approx(min(1.0, (a + b) / 2 + half))
    assert found.n == 2


def test_a_single_seed_has_no_interval_and_warns() -> None:
    found = run(inputs(), seeds=1, compare=[])
    assert all(m.low is None and m.interval == "" for m in found.metrics)
    assert "few_seeds" in [note.code for note in found.notes]
    assert set(found.tables["ct_robustness"]["training"]) == {"twin", "remedied"}


def test_the_immutable_feature_stays_in_the_policy_variant(result: Result) -> None:
    codes = {note.code: note.args for note in result.notes}
    assert codes["immutable_features"] == {"features": "age", "count": 1}
    assert codes["one_hot"] == {"groups": 1}
    variants = set(result.tables["ct_evaluation"]["variant"])
    assert {"snap at end, free", "snap each step, free", "snap at end, policy", "snap each step, policy"} <= variants
    shares = result.tables["ct_attributions"]
    assert shares.groupby("model")["share"].sum().tolist() == pytest.approx([1, 1])


def test_choices_name_all_and_mark_what_was_changed() -> None:
    found = run(inputs(), seeds=1, compare=[], search={"rate": 0.25, "eps": 0.5})
    choices = found.tables["choices"].set_index("id")
    assert list(choices.index) == [f"CT-{i:02d}" for i in range(1, 20)]
    assert set(choices.index[choices["changed"]]) == {"CT-01", "CT-04", "CT-19"}
    assert choices.loc["CT-01", "value"] == "0.1, 0.25"


def test_a_search_that_never_arrives_is_a_finding() -> None:
    found = run(inputs(), seeds=1, compare=[], search={"tau": 0.999999, "steps": 2})
    severities = {note.code: note.severity for note in found.notes}
    assert severities["none_mature"] == "major"
    assert "short_search" in severities
    (share,) = [m.value for m in found.metrics if m.name == "mature_share"]
    assert share == 0
    assert_worded("counterfactual_training", found)


def test_more_than_two_classes_and_rows_that_are_left_out() -> None:
    def three(n: int, seed: int) -> pd.DataFrame:
        rows = frame(n, seed)
        rows["paid"] = np.array(["late", "no", "yes"])[np.digitize(rows["income"], [42, 58])]
        rows.loc[rows.index[:5], "age"] = np.nan
        return rows

    class Third:
        classes = ("late", "no", "yes")
        capabilities = frozenset({"predict"})

        def predict(self, rows: pd.DataFrame) -> np.ndarray:
            return np.full((len(rows), 3), 1 / 3)

        def native(self) -> None:
            return None

    given = toy_inputs(
        three(120, 1), Third(), target="paid", train=three(300, 0), features={"income": FeatureRule(change="any")}
    )
    found = run(given, seeds=1, compare=[])
    (left,) = [note.args for note in found.notes if note.code == "rows_left_out"]
    assert left == {"train": 5, "evaluate": 5}
    assert (found.tables["ct_epochs"]["skipped_updates"] == 0).all()
    (after,) = [m.value for m in found.metrics if m.name == "accuracy" and m.where.model == "remedied"]
    assert after is not None
    assert after > 0.5


def trained(prepare: Prepare) -> Network:
    return Network(Mlp().build(4, 2, 5), Mlp(), prepare, ("no", "yes"))


def with_network(given: Inputs, network: Network) -> Inputs:
    decision = Decision(("no", "yes"), ("yes",))
    return replace(given, model=Scorer(network, given.schema, decision), decision=decision)


def test_the_audited_network_is_trained_further_and_left_as_it_is() -> None:
    given = inputs()
    assert given.train is not None
    network = trained(Prepare.fit(given.schema, given.train))
    before = network.packed()
    asked = method(start="given", seeds=1, compare=[], training={"epochs": 1, "objective": "vanilla", "rate": 1e-9})
    found = asked.run(toy_context(with_network(given, network)), asked.parts(given, 10)[0])
    assert network.packed() == before
    weight = fill(Mlp().build(4, 2, 0), weights_of(found.artefacts[method().remedy].data))
    assert torch.allclose(next(weight.parameters()), next(network.module.parameters()), atol=1e-6)


def test_refusals() -> None:
    with pytest.raises(Refusal, match="cannot be trained further: it is no network"):
        run(inputs(), start="given")
    with pytest.raises(Refusal, match="lets no feature change"):
        run(inputs(features={"age": FeatureRule(change="immutable")}))
    given = inputs()
    assert given.train is not None
    raw = Prepare(features=given.schema, mean=(0.0, 0.0, 0.0), sd=(1.0, 1.0, 1.0))
    with pytest.raises(Refusal, match="not scaled: feature 'income'"):
        run(with_network(given, trained(raw)), start="given")
    one = frame(300, 0).assign(paid="yes")
    with pytest.raises(DataError, match="no training row has class number 0"):
        run(inputs(train=one))
    with pytest.raises(Refusal, match="not finite"):
        run(inputs(), training={"epochs": 30, "rate": 1e30, "give_up": 5})


def test_a_policy_with_rules_says_that_they_are_not_enforced() -> None:
    given = inputs(rules=["income <= 2 * age"])
    assert isinstance(given.policy, Policy)
    found = run(given, seeds=1, compare=[])
    assert {"rules": 1, "transitions": 0} in [note.args for note in found.notes if note.code == "policy_in_part"]


def test_the_policy_binds_the_search_of_training_and_of_one_variant() -> None:
    given = inputs(features={"income": FeatureRule(change="increase"), "home": FeatureRule(change="any")})
    asked = method()
    case = case_of(given, None, 2.0)
    assert case.prepare.groups.tolist() == [0, 1, 2, 2]
    assert case.rows.down.tolist() == [False, False, True, True]
    assert case.rows.up.tolist() == [False, True, True, True]
    assert case.groups == ((2, 3),)
    falling = case_of(inputs(features={"income": FeatureRule(change="decrease")}), None, 2.0)
    assert falling.rows.down.tolist() == [False, True, False, False]
    assert falling.rows.up.tolist() == [False, False, False, False]
    assert (case.low[2:].tolist(), case.high[2:].tolist()) == ([0, 0], [1, 1])
    module = torch.nn.Linear(4, 2)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[1.0, 1.0, 0.0, 0.0], [-1.0, -1.0, 0.0, 0.0]]))
        module.bias.zero_()
    start, target = case.x, torch.ones(len(case.x), dtype=torch.int64)
    bound = asked._judging(case, "snap_at_end", 0.9, constrained=True)(module, start, target, 0.0).end - start
    free = asked._judging(case, "snap_at_end", 0.9, constrained=False)(module, start, target, 0.0)
    taught = asked._searching(case)(module, start, target).end - start
    for change in (bound, taught):
        assert not change[:, 0].any()
        assert bool((change[:, 1] >= 0).all())
    assert bool(((free.end - start)[:, :2] < 0).any(dim=0).all())
    # Where the evaluation weighs no distance, the first step is the gradient of the cross-entropy alone.
    one = descend(
        module, start, target, tau=0.9, steps=asked.evaluation.steps, rate=0.1, lam1=0.0, lam2=0.0,
        down=torch.ones(4, dtype=torch.bool), up=torch.ones(4, dtype=torch.bool), low=case.low, high=case.high,
        groups=case.groups, one_hot="snap_at_end",
    )  # fmt: skip
    assert torch.equal(one.end, free.end)
