"""What counterfactual training cannot answer honestly: refused by the engine, with what to do about it."""

import copy
from pathlib import Path
from typing import Any

import credit_case
import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch", reason="torch is an optional package")

from audit.bundle import Bundle  # noqa: E402 - after the check that torch is there
from audit.core.errors import DataError, ModelError  # noqa: E402
from audit.core.evidence import Evidence  # noqa: E402
from audit.core.infer import infer_schema  # noqa: E402
from audit.core.model import Allow  # noqa: E402
from audit.core.network import Mlp, Network, Prepare  # noqa: E402
from audit.engine.run import Options, Outcome, run  # noqa: E402
from audit.models.torch_module import save_network  # noqa: E402

QUICK = {
    "kind": "counterfactual_training",
    "id": "ct",
    "seeds": 1,
    "training": {"epochs": 12, "counterfactuals": 40},
    "evaluation": {"runs": 2, "rows": 10, "energy": [1.0], "steps": 5},
    "compare": [],
    "attack_eps": [0.0],
    "attribution_rounds": 1,
}


def spec(**remedy: Any) -> dict[str, Any]:
    whole = copy.deepcopy(credit_case.SPEC)
    return whole | {"remedies": [QUICK | remedy], "methods": [{"kind": "performance"}], "gates": []}


def audited(folder: Path, whole: dict[str, Any]) -> Outcome:
    """The audit of a spec, without what the remedy does not need."""
    return run(credit_case.make(folder, n=120, spec=whole), folder / "out", Options(only=("remedies.ct",)))


def remedy_of(outcome: Outcome) -> Evidence:
    (found,) = (record for record in outcome.evidence if record.id == "remedies.ct")
    return found


def refused(outcome: Outcome) -> str:
    """The message of a refusal, which leaves no number and no model behind."""
    record = remedy_of(outcome)
    assert record.status == "refused"
    assert (record.metrics, record.tables, record.artefacts) == ((), (), ())
    return record.message


def with_model(folder: Path, whole: dict[str, Any], estimator: Any) -> Path:
    """The case with another estimator of scikit-learn on the four numbers."""
    from skops.io import dump

    path = credit_case.make(folder, n=120, spec=whole)
    train = pd.read_csv(folder / "train.csv")
    target = train["outcome"] if hasattr(estimator, "predict_proba") else train["income"] * 0.5
    dump(estimator.fit(train[credit_case.FEATURES[:4]], target), folder / "model.skops")
    return path


def test_trees_cannot_be_trained_further(tmp_path: Path) -> None:
    from sklearn.ensemble import RandomForestClassifier

    whole = spec(start="given")
    whole["model"]["features"] = credit_case.FEATURES[:4]
    path = with_model(tmp_path, whole, RandomForestClassifier(5, random_state=0))
    trusted = Allow(types=("sklearn.tree._tree.Tree",))
    outcome = run(path, tmp_path / "out", Options(only=("remedies.ct", "performance@ct"), allow=trusted))
    message = refused(outcome)
    assert "the audited model cannot be trained further: it is no network" in message
    assert "trees" in message
    assert "Say `start: fresh`" in message
    (after,) = (record for record in outcome.evidence if record.id == "performance@ct")
    assert after.status == "not_applicable"
    assert after.message == f"it reads remedies.ct, which is refused: {message}"
    assert after.metrics == ()


def test_a_regression_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    from sklearn.linear_model import LinearRegression

    whole = spec()
    whole["model"]["features"] = credit_case.FEATURES[:4]
    path = with_model(tmp_path, whole, LinearRegression())
    with pytest.raises(ModelError) as caught:
        run(path, tmp_path / "out")
    assert str(caught.value).endswith(
        "model.path: model.skops holds a LinearRegression, a regressor; version 1 audits classifiers only; audit the "
        "decision that is made from it instead, as a model of `kind: function`"
    )
    assert not (tmp_path / "out" / "results.json").exists()


def test_a_target_of_numbers_is_refused(tmp_path: Path) -> None:
    """A classifier whose file has amounts where the classes should be."""
    whole = spec()
    whole["data"]["target"] = {"column": "lost", "favourable": ["good"]}
    path = credit_case.make(tmp_path, n=120, spec=whole)
    for file in ("train.csv", "holdout.csv"):
        frame = pd.read_csv(tmp_path / file)
        frame.assign(lost=frame["debt"] / 7).to_csv(tmp_path / file, index=False)
    with pytest.raises(DataError) as caught:
        run(path, tmp_path / "out", Options(only=("remedies.ct",)))
    first = min(map(str, pd.read_csv(tmp_path / "holdout.csv")["lost"]))
    said = f"data.target: column 'lost' of data.evaluate holds '{first}', which is no class of the model (bad, good)"
    assert said in str(caught.value)


def test_where_nothing_may_change_there_is_nothing_to_train_on(tmp_path: Path) -> None:
    whole = spec()
    whole["mutability"] = {"default": "immutable"}
    message = refused(audited(tmp_path, whole))
    assert message.startswith("the policy lets no feature change")
    assert "Let at least one feature change under `mutability`" in message


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path: Path) -> None:
    training = {"epochs": 30, "rate": 1e30, "give_up": 5}
    message = refused(audited(tmp_path, spec(training=training)))
    assert message.startswith("training diverged: the loss was not finite in 5 updates in a row")
    assert "Lower the learning rate, or raise `weights.reg`" in message


def test_no_mature_counterfactual_is_a_major_finding_and_no_silent_zero(tmp_path: Path) -> None:
    outcome = audited(tmp_path, spec(search={"tau": 0.999999, "steps": 2}))
    record = remedy_of(outcome)
    assert record.status == "ok"
    (share,) = (metric.value for metric in record.metrics if metric.name == "mature_share")
    assert share == 0
    (finding,) = (f for f in outcome.findings if f.code == "none_mature")
    assert (finding.severity, finding.evidence) == ("major", ("remedies.ct",))
    assert finding.args == {"tau": 0.999999, "steps": 2}
    page = (outcome.out / "report.html").read_text("utf-8")
    assert "No search of any epoch reached the probability" in page
    assert "raise <code>search.steps</code>" in page or "raise `search.steps`" in page


def test_a_network_without_scaled_inputs_is_not_trained_further(tmp_path: Path) -> None:
    whole = spec(start="given")
    names = credit_case.FEATURES[:4]
    whole["model"] = {"kind": "torch", "path": "net.safetensors", "features": names}
    path = credit_case.make(tmp_path, n=120, spec=whole)
    schema = infer_schema(pd.read_csv(tmp_path / "train.csv"), names)
    raw = Prepare(features=schema, mean=(0.0,) * 4, sd=(1.0,) * 4)
    save_network(tmp_path / "net.safetensors", Network(Mlp().build(4, 2, 1), Mlp(), raw, ("bad", "good")))
    outcome = run(path, tmp_path / "out", Options(only=("remedies.ct",)))
    message = refused(outcome)
    largest = pd.read_csv(tmp_path / "train.csv")[names].mean().idxmax()
    assert message.startswith(f"the network's inputs are not scaled: feature {largest!r} has a mean or a standard")
    assert "scale the inputs, or train a fresh network (`start: fresh`)" in message
    assert not any(np.isfinite(m.value or 0) for m in remedy_of(outcome).metrics)


def test_a_refused_remedy_leaves_a_bundle_that_says_so(tmp_path: Path) -> None:
    whole = spec()
    whole["mutability"] = {"default": "immutable"}
    outcome = audited(tmp_path, whole)
    page = (outcome.out / "report.html").read_text("utf-8")
    assert "There is no model to audit" in page
    assert Bundle(outcome.out).manifest().files
