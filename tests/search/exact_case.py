"""Small discrete problems, and the answer to each by trying every value of every feature."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import xgboost as xgb

from audit.core.counterfactuals import distance
from audit.core.infer import ColumnInfo
from audit.core.method import Inputs
from audit.core.model import ADAPTERS, Allow, Model, Source
from audit.core.policy import FeatureRule, Policy
from audit.core.schema import FeatureSchema
from audit.models.scikit import FittedModel
from audit.testing import toy_inputs, toy_table

NAMES = ("age", "size", "home", "rank", "own")
RANKS = ("low", "mid", "high", "top")


def people(rng: np.random.Generator, n: int, *, missing: bool) -> pd.DataFrame:
    """Rows of up to five features with few values each."""
    frame = pd.DataFrame(
        {
            "age": rng.integers(0, 5, n),
            "size": rng.choice([0.5, 1.25, 2.0, 3.5], n),
            "home": rng.choice(["free", "own", "rent"], n),
            "rank": rng.choice(RANKS, n),
            "own": rng.random(n) < 0.5,
        }
    )
    frame = frame[list(rng.permutation(NAMES)[: rng.integers(2, 6)])]
    if missing:
        for name in [name for name in frame if name != "own"]:
            frame[name] = frame[name].where(rng.random(n) > 0.2)
    return frame


def linear(frame: pd.DataFrame, y: np.ndarray, rng: np.random.Generator, folder: Path) -> Model:
    """A logistic regression, behind scalers and one-hot columns as they are used."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, OrdinalEncoder, StandardScaler

    numbers = [name for name in ("age", "size", "own") if name in frame]
    texts = [name for name in ("home", "rank") if name in frame]
    scaler = [StandardScaler(), MinMaxScaler(), SimpleImputer()][rng.integers(3)]
    encode = [
        OneHotEncoder(handle_unknown="ignore"),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1),
    ][rng.integers(2)]
    steps = ColumnTransformer(
        [("n", make_pipeline(SimpleImputer(strategy="median"), scaler), numbers), ("t", encode, texts)]
    )
    model = make_pipeline(steps, LogisticRegression(C=10)).fit(frame, y)
    return FittedModel(model, ("no", "yes"), tuple(frame.columns))


def forest(frame: pd.DataFrame, y: np.ndarray, rng: np.random.Generator, folder: Path) -> Model:
    """Trees of scikit-learn behind one-hot or ordinal columns, numbers as they are or scaled."""
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

    numbers = [name for name in ("age", "size", "own") if name in frame]
    texts = [name for name in ("home", "rank") if name in frame]
    encode = [
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1),
    ][rng.integers(2)]
    number = ["passthrough", StandardScaler()][rng.integers(2)]
    model = [
        HistGradientBoostingClassifier(max_iter=8, max_leaf_nodes=6, min_samples_leaf=3),
        RandomForestClassifier(n_estimators=6, max_depth=4, random_state=0),
        GradientBoostingClassifier(n_estimators=8, max_depth=3),
    ][rng.integers(3)]
    if not isinstance(model, HistGradientBoostingClassifier):
        number = make_pipeline(SimpleImputer(strategy="median"), number)
    steps = ColumnTransformer([("n", number, numbers), ("t", encode, texts)])
    return FittedModel(make_pipeline(steps, model).fit(frame, y), ("no", "yes"), tuple(frame.columns))


def booster(frame: pd.DataFrame, y: np.ndarray, rng: np.random.Generator, folder: Path) -> Model:
    """A native file of LightGBM or XGBoost, with categories of an order of their own."""
    given = frame.copy()
    for name in set(frame) & {"home", "rank"}:
        given[name] = pd.Categorical(frame[name], rng.permutation(frame[name].dropna().unique()))
    if rng.random() < 0.5:
        path = folder / "model.txt"
        model: Any = lgb.LGBMClassifier(
            n_estimators=8, num_leaves=6, min_child_samples=3, n_jobs=1, verbose=-1, min_data_per_group=3, cat_smooth=1
        )
        model.fit(given, y).booster_.save_model(path)
    else:
        path = folder / "model.json"
        model = xgb.XGBClassifier(n_estimators=8, max_depth=3, n_jobs=1, enable_categorical=True, max_cat_to_onehot=2)
        model.fit(given, y).save_model(path)
    kind = "lightgbm" if path.suffix == ".txt" else "xgboost"
    adapter = ADAPTERS.classes()[kind].model_validate({"kind": kind, "path": str(path), "classes": ("no", "yes")})
    return adapter.load(Source(str(path), str(folder), Allow(), frame, ("yes",)))


MODELS = (linear, forest, booster)


@dataclass(frozen=True)
class Problem:
    """One random problem: rows, a fitted model, and constraints."""

    inputs: Inputs
    constraints: str

    @property
    def policy(self) -> Policy:
        return self.inputs.policy if self.constraints == "policy" else self.inputs.policy.domain()


def problem(seed: int, folder: Path, *, rules: bool = False, rows: int = 3) -> Problem:
    """A problem that follows from its seed."""
    rng = np.random.default_rng(seed)
    make = MODELS[seed % len(MODELS)]
    train = people(rng, 120, missing=bool(rng.random() < 0.5))
    columns = {"rank": ColumnInfo(order=RANKS)} if "rank" in train and set(train["rank"].dropna()) == set(RANKS) else {}
    schema = toy_table(train, columns).schema
    y = labels(schema, train, rng)
    model = make(train, np.where(y, "yes", "no") if make is not booster else y.astype(int), rng, folder)
    asked = train.sample(rows, random_state=seed).reset_index(drop=True)
    inputs = toy_inputs(
        asked, model, columns=columns, train=train, features={n: rule(schema, n, rng) for n in train.columns},
        rules=["age <= size + 2"] if rules and {"age", "size"} <= set(train.columns) else [],
        favourable=("yes",) if rng.random() < 0.7 else (),
    )  # fmt: skip
    # Without the steps of the policy a size is a number between others, and not all of them can be tried.
    return Problem(inputs, "policy" if "size" in train or rng.random() < 0.5 else "domain")


def labels(schema: FeatureSchema, frame: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    """Both outcomes, which lean on two features and chance."""
    codes = np.nan_to_num(toy_table(frame).codes, nan=1.0)
    points = codes[:, 0] * codes[:, -1] + rng.normal(0, 0.7, len(frame)) * rng.integers(0, 3)
    y = np.asarray(points > np.quantile(points, rng.uniform(0.3, 0.85)))
    return y if y.any() else np.asarray(points >= points.max()) & (np.arange(len(y)) % 3 > 0)


def rule(schema: FeatureSchema, name: str, rng: np.random.Generator) -> FeatureRule:
    """What the policy says of a feature."""
    feature = schema[name]
    change: Any = rng.choice(["any", "any", "increase", "decrease", "immutable"])
    if feature.kind in {"categorical", "boolean"}:
        change = "immutable" if change == "immutable" else "any"
    more: dict[str, Any] = {}
    if name == "size":
        more["step"] = 0.75
    if name == "age" and rng.random() < 0.4:
        more |= {"min": 1, "max": 6} if rng.random() < 0.5 else {"step": 2}
    if name == "home" and rng.random() < 0.4:
        more["transitions"] = {"rent": ("own",), "free": ("rent", "own")}
    return FeatureRule(change=change, **more)


def brute(given: Problem, i: int) -> tuple[float, bool]:
    """The least distance at which an allowed row flips, and whether any allowed row flips at all, by trying all."""
    inputs, policy = given.inputs, given.policy
    assert inputs.sample is not None
    assert inputs.model is not None
    x = inputs.sample.table.codes[i]
    grids = []
    for j, feature in enumerate(inputs.schema.features):
        if feature.levels:
            values = np.arange(len(feature.levels), dtype=float)
        elif feature.name == "age":
            values = np.arange(0.0, 8.0)
        else:
            # Everything that a step or the data could lead to.
            values = np.unique(np.concatenate([x[j] + 0.75 * np.arange(-4, 5), [0.5, 1.25, 2.0, 3.5]]))
        grids.append(np.unique(np.concatenate([values, [x[j], np.nan]])))
    rows = np.array(list(itertools.product(*grids)))
    start = np.broadcast_to(x, rows.shape)
    rows = rows[policy.allowed(start, rows)]
    if not len(rows):
        return np.inf, False
    before = np.full(len(rows), inputs.decision.outcome(inputs.sample.scores[[i]])[0])
    P = inputs.model.model.predict(toy_frame(inputs.schema, rows))
    flips = inputs.decision.flipped(P, before)
    sizes = distance(inputs.schema, np.broadcast_to(x, rows.shape), rows)
    return float(sizes[flips].min(initial=np.inf)), bool((inputs.decision.outcome(P) != before).any())


def toy_frame(schema: FeatureSchema, codes: np.ndarray) -> pd.DataFrame:
    """The rows in feature space."""
    from audit.core.table import decode

    return decode(schema, codes)
