"""The adapters of native files of XGBoost and LightGBM: they answer as the libraries do, and refuse what they must."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from tree_case import CASES, KINDS, fit, labels, load, people, save, source, trained_on

from audit.core.errors import ModelError
from audit.core.model import Decision, Scorer, Thresholds
from audit.core.schema import FeatureSchema
from audit.core.table import decode, encode
from audit.engine.provenance import package_version


@pytest.mark.parametrize(("kind", "classes"), CASES)
def test_scores_are_those_of_the_library(kind: str, classes: int, tmp_path: Path) -> None:
    """Through codes and back, as an audit asks: missing numbers, missing levels, an order of levels of its own."""
    train, asked = people(), people(500, seed=6)
    model = fit(kind, trained_on(train), labels(train, classes))
    read = load(kind, save(kind, model, tmp_path), train)
    schema = source(tmp_path / "x", train).schema
    assert schema is not None
    scorer = Scorer(read, schema, Decision(read.classes))
    got = scorer.probabilities(encode(schema, asked))
    np.testing.assert_allclose(got, model.predict_proba(trained_on(asked)), atol=1e-6, rtol=0)
    assert read.classes == tuple("012"[:classes])
    assert got.std() > 0.05


@pytest.mark.parametrize(("kind", "classes"), CASES)
def test_codes_score_as_their_frame_does(kind: str, classes: int, tmp_path: Path) -> None:
    """To the last bit, with missing values everywhere, and levels that the model was not trained on."""
    train = people()
    read = load(kind, save(kind, fit(kind, trained_on(train), labels(train, classes)), tmp_path), train)
    wider = train.assign(home=train["home"].where(train.index > 3, "tent")) if kind == "lightgbm" else train
    schema = source(tmp_path / "x", wider).schema
    assert schema is not None
    scores = read.of_codes(schema)
    assert scores is not None
    codes = encode(schema, wider)
    rng = np.random.default_rng(2)
    holes = np.where(rng.random(codes.shape) < 0.3, np.nan, codes)
    for asked in (codes, codes[:0], codes[:1], codes[::-1], np.asfortranarray(codes), holes):
        before = asked.copy()
        np.testing.assert_array_equal(scores(asked), read.predict(decode(schema, asked)))
        np.testing.assert_array_equal(asked, before)
    scorer = Scorer(read, schema, Decision(read.classes))
    np.testing.assert_array_equal(scorer.probabilities(codes), read.predict(wider))
    assert (scorer.rows, scorer.calls) == (len(codes), 1)


@pytest.mark.parametrize("kind", KINDS)
def test_codes_of_other_columns_are_left_to_the_frame(kind: str, tmp_path: Path) -> None:
    """Another order, text in a column of numbers, levels of two types: what `predict` says or refuses stands."""
    frame = people()
    read = load(kind, save(kind, fit(kind, trained_on(frame), labels(frame, 2)), tmp_path))
    schema = source(tmp_path / "x", frame).schema
    assert schema is not None
    home, job = schema.index("home"), schema.index("job")
    features = list(schema.features)
    assert read.of_codes(schema) is not None
    assert read.of_codes(FeatureSchema(features=tuple(reversed(features)))) is None
    for j, changes in (
        (job, {"kind": "categorical", "levels": ("low", "high")}),
        (job, {"kind": "categorical", "levels": (3, 4.5)}),
        (home, {"kind": "numeric", "levels": ()}),
    ):
        other = features.copy()
        other[j] = features[j].model_copy(update=changes)
        assert read.of_codes(FeatureSchema(features=tuple(other))) is None
    other = features.copy()
    other[job] = features[job].model_copy(update={"kind": "categorical", "levels": (6, 3, 5, 4)})
    turned = FeatureSchema(features=tuple(other))
    scores = read.of_codes(turned)
    assert scores is not None
    codes = encode(turned, frame)
    np.testing.assert_array_equal(scores(codes), read.predict(frame))
    assert (codes[:, job] != encode(schema, frame)[:, job]).any()


@pytest.mark.parametrize("kind", KINDS)
def test_one_row_scores_as_in_a_batch(kind: str, tmp_path: Path) -> None:
    frame = people()
    read = load(kind, save(kind, fit(kind, trained_on(frame), labels(frame, 2)), tmp_path))
    alone = np.vstack([read.predict(frame.iloc[i : i + 1]) for i in range(20)])
    np.testing.assert_array_equal(alone, read.predict(frame)[:20])
    assert read.predict(frame.iloc[:0]).shape == (0, 2)


def test_ubj_is_read_as_json_is(tmp_path: Path) -> None:
    frame = people()
    model = fit("xgboost", trained_on(frame), labels(frame, 2))
    one, other = (load("xgboost", save("xgboost", model, tmp_path, suffix)) for suffix in (".json", ".ubj"))
    np.testing.assert_array_equal(one.predict(frame), other.predict(frame))


def test_xgboost_stops_at_the_best_iteration(tmp_path: Path) -> None:
    """As XGBClassifier does with its own file."""
    frame, rng = people(), np.random.default_rng(0)
    noise = rng.integers(0, 2, len(frame))
    model = xgb.XGBClassifier(n_estimators=40, early_stopping_rounds=5, enable_categorical=True, n_jobs=1)
    model.fit(trained_on(frame), noise, eval_set=[(trained_on(people(seed=8)), noise)], verbose=False)
    assert model.get_booster().num_boosted_rounds() > model.best_iteration + 1
    path = save("xgboost", model, tmp_path)
    read = load("xgboost", path)
    np.testing.assert_allclose(read.predict(frame), model.predict_proba(trained_on(frame)), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_categories_of_codes_come_from_the_spec(kind: str, tmp_path: Path) -> None:
    frame = people()
    codes = {"rent": 0, "own": 1, "free": 2}
    coded = frame.assign(home=frame["home"].map(codes)).to_numpy(dtype=float)
    more = {"categorical_feature": [2]} if kind == "lightgbm" else {}
    types = ["q", "q", "c", "q", "q"]
    model = fit_array(kind, coded, labels(frame, 2), types, more)
    path = save(kind, model, tmp_path)
    with pytest.raises(ModelError, match="column 'home' holds text, and the file does not say which code"):
        load(kind, path)
    read = load(kind, path, categories={"home": ["rent", "own", "free"]})
    np.testing.assert_allclose(read.predict(frame), model.predict_proba(coded), atol=1e-6)
    assert read.thresholds("home") is None


def fit_array(kind: str, X: np.ndarray, y: np.ndarray, types: list[str], more: dict[str, Any]) -> Any:
    if kind == "lightgbm":
        model = lgb.LGBMClassifier(n_estimators=12, num_leaves=7, n_jobs=1, verbose=-1)
        return model.fit(X, y, **more)
    return xgb.XGBClassifier(n_estimators=12, max_depth=3, n_jobs=1, enable_categorical=True, feature_types=types).fit(
        X, y
    )


@pytest.mark.parametrize("kind", KINDS)
def test_thresholds_are_the_true_split_points(kind: str, tmp_path: Path) -> None:
    """On either side of each pair, and nowhere within a gap between pairs, the leaves differ."""
    frame = people(400)
    model = fit(kind, trained_on(frame), labels(frame, 2))
    read = load(kind, save(kind, model, tmp_path), frame)
    assert isinstance(read, Thresholds)
    for name in ("age", "amount", "job"):
        found = read.thresholds(name)
        assert found.shape[1] == 2
        assert len(found)
        assert (found[:, 0] < found[:, 1]).all()
        assert (np.diff(found[:, 0]) > 0).all()
        base = trained_on(frame.dropna().head(25))
        for low, high in found:
            assert (leaves(kind, read, base, name, low) != leaves(kind, read, base, name, high)).any()
        for (_, low), (high, _) in pairwise(found):
            np.testing.assert_array_equal(leaves(kind, read, base, name, low), leaves(kind, read, base, name, high))
    assert read.thresholds("home") is None
    assert read.thresholds("nothing") is None


def leaves(kind: str, read: Any, base: pd.DataFrame, name: str, value: float) -> np.ndarray:
    X = read.columns.matrix(base)
    X[:, list(base.columns).index(name)] = value
    if kind == "lightgbm":
        return read.booster.predict(X, pred_leaf=True)
    types, names = read.booster.feature_types, read.booster.feature_names
    rows = xgb.DMatrix(X, feature_types=types, feature_names=names, enable_categorical=True)
    return read.booster.predict(rows, pred_leaf=True)


def test_thresholds_at_zero_are_beside_what_lightgbm_takes_for_zero(tmp_path: Path) -> None:
    X = np.repeat([[-2.0], [-1.0], [0.0], [1.0], [2.0]], 40, axis=0)
    for y in ((X[:, 0] > 0).astype(int), (X[:, 0] >= 0).astype(int)):
        model = lgb.LGBMClassifier(n_estimators=1, min_child_samples=1, n_jobs=1, verbose=-1).fit(X, y)
        path = tmp_path / "model.txt"
        model.booster_.save_model(path)
        frame = pd.DataFrame({"x": X[:, 0]})
        for low, high in load("lightgbm", path, frame).thresholds("x"):
            assert model.predict(np.array([[low], [high]]), pred_leaf=True).ravel().tolist() in ([0, 1], [1, 0], [1, 2])


def test_a_feature_without_a_split_has_no_thresholds(tmp_path: Path) -> None:
    frame = people().assign(idle=lambda f: np.arange(len(f)) % 2)
    for kind in KINDS:
        model = fit(kind, trained_on(frame), (frame["amount"].fillna(0) > 900).astype(int).to_numpy())
        read = load(kind, save(kind, model, tmp_path), frame)
        assert read.thresholds("idle").shape == (0, 2)


def test_levels_that_a_model_never_saw(tmp_path: Path) -> None:
    """Each library as it does itself: LightGBM takes them for missing, XGBoost does not answer."""
    train = people()
    asked = train.assign(home=train["home"].where(train["age"] < 60, "barge"))
    model = fit("lightgbm", trained_on(train), labels(train, 2))
    read = load("lightgbm", save("lightgbm", model, tmp_path), asked)
    np.testing.assert_allclose(read.predict(asked), model.predict_proba(trained_on(asked)), atol=1e-6)
    (note,) = read.notes
    assert "home: barge" in note
    path = save("xgboost", fit("xgboost", trained_on(train), labels(train, 2)), tmp_path)
    with pytest.raises(ModelError, match=r"was not trained on these levels, and XGBoost .* home: barge"):
        load("xgboost", path, asked)


def test_columns_with_one_level_leave_the_others_known(tmp_path: Path) -> None:
    """LightGBM leaves no trace of such a column among its features, and keeps its categories in the list."""
    frame = people().assign(branch="main")
    train = trained_on(frame).assign(branch=pd.Categorical(frame["branch"]))
    model = fit("lightgbm", train, labels(frame, 2))
    path = save("lightgbm", model, tmp_path)
    np.testing.assert_allclose(load("lightgbm", path, frame).predict(frame), model.predict_proba(train), atol=1e-6)
    nameless = frame.assign(branch=1)
    with pytest.raises(ModelError, match="holds the categories of 2 columns, and 1 of its features"):
        load("lightgbm", path, nameless)


def test_names_with_spaces(tmp_path: Path) -> None:
    """LightGBM writes an underscore for a space."""
    frame = people().rename(columns={"amount": "loan amount"})
    y = labels(people(), 2)
    for kind in KINDS:
        model = fit(kind, trained_on(frame), y)
        read = load(kind, save(kind, model, tmp_path), frame)
        np.testing.assert_allclose(read.predict(frame), model.predict_proba(trained_on(frame)), atol=1e-6)


def test_the_version_in_the_manifest_is_that_of_the_build_without_a_graphics_card() -> None:
    assert package_version("xgboost") == xgb.__version__
    assert package_version("no-such-package") == "not installed"
