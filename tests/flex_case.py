"""The data, models and searches on which FLEX is measured: shared by its tests and by its study."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from audit.core.evidence import Note, Result
from audit.core.method import GENERATORS, Inputs
from audit.core.plan import Part
from audit.core.policy import FeatureRule
from audit.core.table import encode
from audit.methods.flex import Flex
from audit.search.verify import summarise, verify
from audit.testing import ToyModel, toy_context, toy_inputs

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "tabular"
"""Files that may not be shipped; what needs them is left out where they are absent."""


@dataclass(frozen=True)
class Case:
    """A model and its data.

    Attributes:
        inputs: with the queries as the sample.
        estimator: the fitted estimator, over codes.
        accuracy, balanced: share decided rightly, and its mean over the classes, on the test rows.
    """

    name: str
    inputs: Inputs
    estimator: Any
    accuracy: float
    balanced: float


def case(
    name: str,
    frame: pd.DataFrame,
    y: np.ndarray,
    estimator: Any,
    *,
    queries: int,
    seed: int = 42,
) -> Case:
    """Splits 80/20 by class with seed 42, fits the estimator on codes, and draws the queries from the test rows."""
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import train_test_split

    frame = frame.reset_index(drop=True).assign(target=np.where(y, "yes", "no"))
    train, test = train_test_split(frame, test_size=0.2, stratify=y, random_state=42)
    train, test = train.reset_index(drop=True), test.reset_index(drop=True)
    names = [c for c in frame.columns if c != "target"]
    shell = toy_inputs(test, lambda rows: np.full(len(rows), 0.5), target="target", train=train)
    schema = shell.schema
    estimator.fit(encode(schema, train), (train["target"] == "yes").to_numpy())
    model = ToyModel(lambda rows: estimator.predict_proba(encode(schema, rows))[:, 1])
    chosen = np.sort(np.random.default_rng(seed).choice(len(test), min(queries, len(test)), replace=False))
    inputs = toy_inputs(test, model, target="target", names=names, train=train, sample_rows=chosen.tolist())
    predicted = inputs.decision.outcome(inputs.scores)
    actual = (test["target"] == "yes").to_numpy()
    return Case(
        name, inputs, estimator, float((predicted == actual).mean()), balanced_accuracy_score(actual, predicted)
    )


def searched(inputs: Inputs, seed: int = 0, **settings: Any) -> Inputs:
    """The inputs with a verified counterfactual set, as the engine would make it in one part."""
    settings = {"search": "nearest", "per_row": 10, **settings}
    generator = GENERATORS.classes()[settings["search"]].model_validate(settings)
    assert inputs.sample is not None
    ctx = toy_context(inputs, seed)
    before = inputs.decision.outcome(inputs.sample.scores)
    chosen = np.flatnonzero(before == 0) if generator.for_ == "unfavourable" else np.arange(len(before))
    rows = inputs.sample.table.take(chosen)
    found = generator.generate(ctx, rows, before[chosen])
    result = summarise(inputs, generator, [verify(ctx, generator, rows, chosen, before[chosen], found)])
    return replace(inputs, results={"counterfactuals": result})


def given(inputs: Inputs, found: dict[str, Sequence[Sequence[Any]]], statuses: dict[str, str] | None = None) -> Inputs:
    """The inputs with counterfactuals written by hand: by instance, rows in feature space."""
    rows = [(instance, k + 1, *row) for instance, own in found.items() for k, row in enumerate(own)]
    table = pd.DataFrame(rows, columns=["instance", "k", *inputs.schema.names])
    assert inputs.sample is not None
    states = {i: "found" if found.get(i) else "not_found" for i in inputs.sample.table.ids} | (statuses or {})
    status = pd.DataFrame(
        {"instance": list(states), "status": list(states.values()), "reason": "", "evaluated_rows": 1}
    )
    tables = {"counterfactuals": table, "instance_status": status}
    return replace(inputs, results={"counterfactuals": Result(tables=tables)})


def flex(inputs: Inputs, seed: int = 0, **settings: Any) -> Result:
    """FLEX over the counterfactuals in the inputs."""
    method = Flex.model_validate({"from": "flips", **settings}, strict=False)
    return method.run(toy_context(inputs, seed), Part(index=0))


def frequencies(result: Result) -> "pd.Series[float]":
    """Global frequencies, by feature."""
    table = result.tables["flex_global"]
    return table[table["prediction"].isna()].set_index("feature")["frequency"]


def regional(result: Result, region: str) -> "pd.Series[float]":
    """Frequencies in a region, by feature."""
    table = result.tables["flex_regional"]
    return table[(table["region"] == region) & table["prediction"].isna()].set_index("feature")["frequency"]


def tree_values(case: Case) -> np.ndarray:
    """Path-dependent TreeSHAP values of the queries for the second class, shape (n, d)."""
    import shap

    assert case.inputs.sample is not None
    codes = case.inputs.sample.table.codes
    values = np.asarray(shap.TreeExplainer(case.estimator).shap_values(codes, check_additivity=False))
    return values[..., 1]


def tree_shap(case: Case) -> "pd.Series[float]":
    """Mean absolute path-dependent TreeSHAP values of the queries, by feature."""
    return pd.Series(np.abs(tree_values(case)).mean(axis=0), index=list(case.inputs.schema.names))


def exact_shap(case: Case, background: int, queries: int) -> "pd.Series[float]":
    """What Kernel SHAP estimates, computed exactly for a forest: interventional values of the probability."""
    import shap

    assert case.inputs.sample is not None
    rows = case.inputs.reference.codes[np.random.default_rng(0).choice(len(case.inputs.reference), background, False)]
    explainer = shap.TreeExplainer(
        case.estimator, rows, model_output="probability", feature_perturbation="interventional"
    )
    values = explainer.shap_values(case.inputs.sample.table.codes[:queries], check_additivity=False)
    return pd.Series(np.abs(values[..., 1]).mean(axis=0), index=list(case.inputs.schema.names))


def hand(rows: int = 1, **options: Any) -> Inputs:
    """Rows (0, 0, 'a') of numeric a and b in [0, 1] and a categorical c; the model says yes where a > 0.5."""
    frame = pd.DataFrame({"a": [1.0] + [0.0] * rows, "b": [1.0] + [0.0] * rows, "c": ["b"] + ["a"] * rows})
    return toy_inputs(frame, lambda f: (f["a"] > 0.5).astype(float), sample_rows=range(1, rows + 1), **options)


def notes(result: Result) -> dict[str, Note]:
    """The notes, by code."""
    return {note.code: note for note in result.notes}


def metric(result: Result, name: str, **where: str) -> float | None:
    """The value of the one metric with this name that was measured on exactly this."""
    (found,) = (
        m
        for m in result.metrics
        if m.name == name
        and {k: v for k, v in m.where.model_dump().items() if v is not None} == {"data": "sample", **where}
    )
    return found.value


THREE = [(1.0, 0.0, "a"), (1.0, 0.05, "b"), (0.0, 0.5, "b")]


def frozen(constraints: str) -> Inputs:
    """A searched audit whose feature a is immutable."""
    frame = pd.DataFrame({"a": np.linspace(0, 1, 40), "b": np.tile([0.0, 0.4, 0.7, 1.0], 10)})
    inputs = toy_inputs(frame, lambda f: 0.5 * f["a"] + 0.5 * f["b"], features={"b": FeatureRule(change="any")})
    return searched(inputs, constraints=constraints)


def forest(**settings: Any) -> Any:
    """A random forest of 100 trees with seed 42."""
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(**{"n_estimators": 100, "random_state": 42, **settings})


def synthetic(queries: int = 100) -> Case:
    """scikit-learn's make_classification(2000, 10, 5 informative); the informative ones come first."""
    from sklearn.datasets import make_classification

    X, y = make_classification(2000, 10, n_informative=5, n_redundant=0, shuffle=False, random_state=42)
    names = [f"informative_{j}" if j < 5 else f"noise_{j}" for j in range(10)]
    return case("synthetic", pd.DataFrame(X, columns=names), y == 1, forest(), queries=queries)


def breast_cancer(queries: int = 80) -> Case:
    """The first 10 columns of scikit-learn's breast-cancer data, logistic regression on standardised columns."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return case("breast cancer", X.iloc[:, :10], (y == 1).to_numpy(), model, queries=queries)


def linear_shap(case: Case) -> "pd.Series[float]":
    """Exact SHAP values of the log-odds of a standardised logistic regression: weight times distance to the mean."""
    assert case.inputs.sample is not None
    scaler, regression = case.estimator[0], case.estimator[-1]
    values = (case.inputs.sample.table.codes - scaler.mean_) / scaler.scale_ * regression.coef_[0]
    return pd.Series(np.abs(values).mean(axis=0), index=list(case.inputs.schema.names))


def drivers(queries: int = 200) -> Case:
    """The regional generator of `methods/flex` 6.4: weather and junction matter to experienced drivers only."""
    rng = np.random.default_rng(42)
    n = 4000
    E, W, J = (rng.integers(0, 4, n) for _ in range(3))
    light, noise = rng.integers(0, 3, n), rng.integers(0, 5, (n, 4))
    experienced = 4.4 * ((W >= 2) & (J >= 2)) - 2.0
    novice = 2.5 * (E == 0) + 1.2 * (light == 2) - 1.6
    z = np.where(E >= 2, experienced, novice) + 0.25 * rng.logistic(size=n)
    frame = pd.DataFrame({"experience": E, "weather": W, "junction": J, "light": light})
    for j in range(4):
        frame[f"noise_{j}"] = noise[:, j]
    frame[["noise_0", "noise_1", "noise_2", "noise_3"]] = frame.filter(like="noise").map(lambda level: f"l{level}")
    return case("regional generator", frame, z > 0, forest(), queries=queries)


def driver_regions(inputs: Inputs) -> pd.DataFrame:
    """Membership of the queries: experienced drivers, novices."""
    assert inputs.sample is not None
    table = inputs.sample.table
    old = (table.column("experience") >= 2).to_numpy()
    return pd.DataFrame(
        {
            "region": np.where(old, "experienced", "novice"),
            "instance": table.ids,
            "distance": np.nan,
            "weight": 1.0,
        }
    )


def synthetic_loan(queries: int = 100) -> Case:
    """The synthetic loan generator of `methods/flex` 6.4, with 3 % of the decisions flipped."""
    rng = np.random.default_rng(42)
    n = 4000
    cibil, term = np.rint(rng.uniform(300, 900, n)), 2 * rng.integers(1, 11, n)
    income = np.rint(rng.uniform(0.2e6, 9.9e6, n))
    loan = np.rint(income * rng.uniform(2, 4, n))
    frame = pd.DataFrame({"cibil_score": cibil, "loan_term": term, "income": income, "loan_amount": loan})
    for name in ("residential_assets", "commercial_assets", "luxury_assets", "bank_assets"):
        frame[name] = np.rint(income * rng.uniform(0.2, 1.8, n))
    approve = (cibil >= 550) | ((term <= 4) & (loan / income > 3))
    return case("synthetic loan", frame, approve ^ (rng.random(n) < 0.03), forest(), queries=queries)


def loan(*, education: bool, queries: int = 100, seed: int = 42, **settings: Any) -> Case:
    """The loan file: texts stripped, `loan_id` left out."""
    frame = pd.read_csv(DATA / "loan_approval.csv", skipinitialspace=True)
    frame.columns = frame.columns.str.strip()
    for name in ("education", "self_employed", "loan_status"):
        frame[name] = frame[name].astype(str).str.strip()
    y = (frame.pop("loan_status") == "Approved").to_numpy()
    frame = frame.drop(columns=["loan_id", *([] if education else ["education"])])
    words = "with" if education else "without"
    return case(f"loan, {words} education", frame, y, forest(**settings), queries=queries, seed=seed)


ACCIDENT_13 = (
    "Age_band_of_driver", "Sex_of_driver", "Educational_level", "Driving_experience", "Lanes_or_Medians",
    "Types_of_Junction", "Road_surface_type", "Light_conditions", "Weather_conditions", "Type_of_collision",
    "Vehicle_movement", "Pedestrian_movement", "Cause_of_accident",
)  # fmt: skip

ACCIDENT_26 = (
    "Day_of_week", "Age_band_of_driver", "Sex_of_driver", "Educational_level", "Vehicle_driver_relation",
    "Driving_experience", "Type_of_vehicle", "Owner_of_vehicle", "Area_accident_occured", "Lanes_or_Medians",
    "Road_allignment", "Types_of_Junction", "Road_surface_type", "Road_surface_conditions", "Light_conditions",
    "Weather_conditions", "Type_of_collision", "Number_of_vehicles_involved", "Number_of_casualties",
    "Vehicle_movement", "Casualty_class", "Sex_of_casualty", "Age_band_of_casualty", "Pedestrian_movement",
    "Cause_of_accident", "hour",
)  # fmt: skip


def accident(*, columns: int, queries: int) -> Case:
    """The accident file: serious and fatal against slight; missing is a level of its own."""
    frame = pd.read_csv(DATA / "road_traffic_accidents.csv.gz")
    y = (frame["Accident_severity"] != "Slight Injury").to_numpy()
    frame["hour"] = frame["Time"].str.split(":").str[0].astype(int)
    names = list(ACCIDENT_26 if columns == 26 else ACCIDENT_13)
    frame = frame[names]
    texts = frame.columns[frame.dtypes.map(lambda t: not pd.api.types.is_numeric_dtype(t))]
    frame = frame.assign(**{name: frame[name].fillna("missing").astype(str) for name in texts})
    settings = {"min_samples_leaf": 5} if columns == 26 else {"min_samples_leaf": 3, "n_estimators": 60}
    return case(f"accident, {columns} columns", frame, y, forest(class_weight="balanced", **settings), queries=queries)
