"""What is shared out: probability or log odds, and the same for the given model and the one of a remedy."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from audit.core.evidence import Result
from audit.core.method import Inputs, Refusal
from audit.core.shapley import EDGE, log_odds
from audit.methods.shapley import Shap
from audit.models.scikit import FittedModel
from audit.testing import toy_context, toy_inputs

WEIGHTS = np.array([1.5, -0.8, 0.3])


class Scored:
    """A model that is asked, and shows nothing of itself: the log odds of `yes` are a sum over features."""

    classes = ("no", "yes")
    capabilities = frozenset({"predict"})

    def predict(self, rows: pd.DataFrame) -> np.ndarray:
        p = 1 / (1 + np.exp(-(rows.to_numpy() @ WEIGHTS)))
        return np.column_stack([1 - p, p])

    def native(self) -> None:
        return None


def frame(n: int = 40, seed: int = 3) -> pd.DataFrame:
    return pd.DataFrame(np.random.default_rng(seed).normal(0, 1, (n, 3)), columns=["a", "b", "c"])


def run(inputs: Inputs, **settings: object) -> Result:
    method = Shap.model_validate({"kind": "shap", "rows": 10, "background": 15, **settings})
    return method.run(toy_context(inputs), method.parts(inputs, 100)[0])


def said(result: Result) -> dict[str, object]:
    (note,) = (note for note in result.notes if "space" in note.args)
    return {"explainer": note.code, **note.args}


def test_log_odds_of_a_sum_are_its_terms_less_those_of_the_background() -> None:
    rows = frame()
    result = run(toy_inputs(rows, Scored()), space="log_odds", explainer="permutation")
    assert said(result)["space"] == "log_odds"
    behind = rows.iloc[result.tables["shap_background"]["instance"].astype(int)].mean().to_numpy()
    local = result.tables["shap_local"].pivot_table(index="instance", columns="feature", values="value")
    expected = (rows.loc[local.index.astype(int)].to_numpy() - behind) * WEIGHTS
    np.testing.assert_allclose(local.to_numpy(), expected, atol=1e-9)


def test_probability_stays_what_is_shared_out_where_nothing_is_said() -> None:
    assert said(run(toy_inputs(frame(), Scored())))["space"] == "probability"


def test_certain_scores_have_finite_log_odds() -> None:
    values = log_odds(np.array([0.0, 0.5, 1.0]))
    assert values[1] == 0
    assert [-values[0], values[2]] == pytest.approx([np.log(1 / EDGE)] * 2, rel=1e-6)


def test_log_odds_of_several_classes_are_refused() -> None:
    class Three(Scored):
        classes = ("a", "b", "c")

        def predict(self, rows: pd.DataFrame) -> np.ndarray:
            return np.column_stack([Scored.predict(self, rows) / 2, np.full(len(rows), 0.5)])

    given = toy_inputs(frame(), Three(), favourable=())
    with pytest.raises(Refusal, match="say `space: probability`"):
        run(given, space="log_odds")


def native() -> Inputs:
    """A logistic regression that shows its inside, which is explained in log odds."""
    rows = frame()
    model = LogisticRegression().fit(rows, np.where(rows["a"] - rows["b"] > 0, "yes", "no"))
    return toy_inputs(rows, FittedModel(model, ("no", "yes"), ("a", "b", "c")))


def test_a_model_that_answers_in_another_space_is_asked_instead() -> None:
    result = run(native(), space="probability")
    assert said(result)["explainer"] == "permutation"
    assert said(result)["space"] == "probability"
    (note,) = (note for note in result.notes if note.code == "fell_back")
    assert note.args["reason"] == "it answers in log odds, and probability is asked for"
    with pytest.raises(Refusal, match="it answers in log odds, and probability is asked for"):
        run(native(), space="probability", explainer="linear")


def test_the_model_of_a_remedy_is_explained_as_the_given_one_on_the_same_rows() -> None:
    before = run(native())
    assert said(before)["explainer"] == "linear"
    assert said(before)["space"] == "log_odds"
    again = replace(toy_inputs(frame(), Scored()), results={"given": before})
    after = run(again)
    assert said(after)["explainer"] == "permutation"
    assert said(after)["space"] == "log_odds"
    for table in ("shap_local", "shap_background"):
        assert set(before.tables[table]["instance"]) == set(after.tables[table]["instance"])
