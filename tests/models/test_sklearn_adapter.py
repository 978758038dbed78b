"""The scikit-learn adapter: what it opens, what it refuses, and that it answers as the model itself does."""

import ast
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC

import audit
from audit.core.base import sha256
from audit.core.errors import ModelError
from audit.core.model import Allow, Decision, Scorer, Source
from audit.models.scikit import SklearnAdapter
from audit.testing import toy_table


def source_of(path: Path, **allow) -> Source:
    return Source(str(path), str(path.parent), Allow(**allow), pd.DataFrame(), ("yes",))


def people(n: int = 120) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(5)
    frame = pd.DataFrame(
        {"age": rng.integers(18, 80, n), "amount": rng.normal(1000, 300, n), "home": rng.choice(["own", "rent"], n)}
    )
    return frame, np.where(frame["amount"] + 9 * frame["age"] + rng.normal(0, 80, n) > 1400, "yes", "no")


def pipeline(last=None):
    columns = ColumnTransformer(
        [("numbers", StandardScaler(), ["age", "amount"]), ("levels", OneHotEncoder(), ["home"])]
    )
    return make_pipeline(columns, LogisticRegression() if last is None else last)


def save(model, path: Path) -> Path:
    if path.suffix == ".skops":
        skops.io.dump(model, path)
    else:
        joblib.dump(model, path)
    return path


def load(model, folder: Path, **fields):
    path = save(model, folder / "model.skops")
    trust = tuple(skops.io.get_untrusted_types(file=path))
    return SklearnAdapter(path="model.skops", **fields).load(source_of(path, types=trust))


@pytest.mark.parametrize("suffix", [".skops", ".joblib", ".pkl"])
def test_answers_as_the_model_itself(tmp_path, suffix):
    frame, y = people()
    model = pipeline().fit(frame, y)
    path = save(model, tmp_path / f"model{suffix}")
    loaded = SklearnAdapter(path=path.name, features=("age", "amount", "home")).load(source_of(path, pickle=True))
    assert loaded.classes == ("no", "yes")
    assert loaded.capabilities == {"predict", "native"}
    table = toy_table(frame)
    scorer = Scorer(loaded, table.schema, Decision(loaded.classes, ("yes",)))
    np.testing.assert_array_equal(scorer.probabilities(table.codes), model.predict_proba(frame))


def test_a_pickle_is_not_opened_unless_allowed_and_its_payload_does_not_run(tmp_path):
    written = tmp_path / "written by the payload"

    class Payload:
        def __reduce__(self):
            return (Path.write_text, (written, "x"))

    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(Payload()))
    with pytest.raises(ModelError, match="--allow-pickle"):
        SklearnAdapter(path="model.pkl").load(source_of(path))
    assert not written.exists()
    # The same file does run its payload where it is allowed: the refusal above is what stopped it.
    with pytest.raises(ModelError, match="holds a int"):
        SklearnAdapter(path="model.pkl").load(source_of(path, pickle=True))
    assert written.exists()


@pytest.mark.parametrize("name", ["model.skops", "model.pkl"])
def test_another_digest_is_refused_before_the_file_is_opened(tmp_path, name):
    written = tmp_path / "written by the payload"

    class Payload:
        def __reduce__(self):
            return (Path.write_text, (written, "x"))

    path = tmp_path / name
    path.write_bytes(pickle.dumps(Payload()))
    found, pinned = sha256(path.read_bytes()), "0" * 64
    with pytest.raises(ModelError) as caught:
        SklearnAdapter(path=name, sha256=pinned).load(source_of(path, pickle=True))
    assert found in str(caught.value)
    assert pinned in str(caught.value)
    assert caught.value.exit_code == 3
    assert not written.exists()


def test_the_pinned_digest_may_be_in_capitals(tmp_path):
    frame, y = people()
    path = save(pipeline().fit(frame, y), tmp_path / "model.skops")
    adapter = SklearnAdapter(path=path.name, sha256=sha256(path.read_bytes()).upper())
    assert adapter.load(source_of(path)).classes == ("no", "yes")


def test_a_digest_that_is_none_is_an_error_of_the_spec():
    with pytest.raises(ValueError, match="sha256"):
        SklearnAdapter(path="model.skops", sha256="abc")


def double(values):
    return values * 2


def test_skops_lists_the_untrusted_types_and_loads_once_they_are_trusted(tmp_path):
    frame, y = people()
    model = make_pipeline(FunctionTransformer(double), LogisticRegression()).fit(frame[["age", "amount"]], y)
    path = save(model, tmp_path / "model.skops")
    (untrusted,) = skops.io.get_untrusted_types(file=path)
    with pytest.raises(ModelError) as caught:
        SklearnAdapter(path=path.name).load(source_of(path))
    assert f"--trust {untrusted}" in str(caught.value)
    with pytest.raises(ModelError, match="--trust"):
        SklearnAdapter(path=path.name).load(source_of(path, types=("something.else",)))
    loaded = SklearnAdapter(path=path.name).load(source_of(path, types=(untrusted,)))
    np.testing.assert_array_equal(
        loaded.predict(frame[["age", "amount"]]), model.predict_proba(frame[["age", "amount"]])
    )


def test_a_pickle_with_the_suffix_of_skops_is_not_unpickled(tmp_path):
    path = tmp_path / "model.skops"
    path.write_bytes(pickle.dumps(LogisticRegression()))
    with pytest.raises(ModelError, match="no skops file"):
        SklearnAdapter(path=path.name).load(source_of(path, pickle=True))


def unpickling(path: Path) -> list[str]:
    """What in a source file can unpickle: names of loaders of libraries that do, however they are reached."""
    loaders = {"load", "loads", "Unpickler", "read_pickle"}
    libraries = {"pickle", "_pickle", "joblib", "cloudpickle", "dill", "pandas", "pd", "torch", "shelve", "marshal"}
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and node.attr in loaders:
            found += [ast.unparse(node)] if ast.unparse(node).split(".")[0] in libraries else []
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in libraries:
            found += [f"{node.module}.{alias.name}" for alias in node.names if alias.name in loaders]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {"np.load", "numpy.load"}:
            asked = [k.value for k in node.keywords if k.arg == "allow_pickle"]
            refused = all(isinstance(value, ast.Constant) and value.value is False for value in asked)
            found += [] if refused else ["numpy.load"]
    return found


def test_four_places_of_the_project_unpickle():
    """Those of torch read weights only, or a program whose archive was checked and written anew, in a process apart.

    A process that opens a model file reads by pickle what the one that started it hands over, before it is confined.
    """
    root = Path(audit.__file__).parent
    found = [(p.relative_to(root).as_posix(), name) for p in sorted(root.rglob("*.py")) for name in unpickling(p)]
    assert found == [
        ("engine/apart.py", "pickle.loads"),
        ("models/scikit.py", "joblib.load"),
        ("models/torch_child/serve.py", "torch.jit.load"),
        ("models/torch_module/__init__.py", "torch.load"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "import pickle; read = pickle.loads",
        "from joblib import load as f",
        "pd.read_pickle(x)",
        "np.load(x, allow_pickle=a)",
    ],
)
def test_the_static_test_sees_every_way_to_unpickle(tmp_path, line):
    path = tmp_path / "code.py"
    path.write_text(line)
    assert len(unpickling(path)) == 1


def test_features_that_differ_from_the_fitted_ones_are_listed(tmp_path):
    frame, y = people()
    model = pipeline().fit(frame, y)
    with pytest.raises(ModelError, match=r"missing: home; unknown to the model: house.*age, amount, home"):
        load(model, tmp_path, features=("age", "amount", "house"))
    with pytest.raises(ModelError, match="the order differs"):
        load(model, tmp_path, features=("amount", "age", "home"))
    with pytest.raises(ModelError, match="unknown to the model: sex"):
        load(model, tmp_path).predict(frame.assign(sex="f"))


def test_a_model_fitted_on_an_array_is_given_an_array_without_warnings(tmp_path):
    frame, y = people()
    X = frame[["age", "amount"]]
    model = LogisticRegression().fit(X.to_numpy(), y)
    loaded = load(model, tmp_path, features=("age", "amount"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(loaded.predict(X), model.predict_proba(X.to_numpy()))


def test_classes_have_one_text_whatever_their_type(tmp_path):
    frame, y = people()
    X = frame[["age", "amount"]]
    for target, classes in [
        ((y == "yes").astype(int), ("0", "1")),
        ((y == "yes").astype(float), ("0", "1")),
        (y == "yes", ("false", "true")),
    ]:
        assert load(LogisticRegression().fit(X, target), tmp_path).classes == classes


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda X, y: RandomForestRegressor(2).fit(X, X["age"]), "regressor"),
        (lambda X, y: SVC().fit(X, y), "CalibratedClassifierCV"),
        (lambda X, y: SGDClassifier(random_state=0).fit(X, y), "predict_proba"),
        (lambda X, y: LogisticRegression(), "not fitted"),
        (lambda X, y: RandomForestClassifier(2).fit(X, np.c_[y, y]), "2 outputs"),
        (lambda X, y: RandomForestClassifier(2).fit(X, np.full(len(X), "yes")), "at least two"),
        (lambda X, y: StandardScaler().fit(X), "holds a StandardScaler without predict_proba"),
    ],
)
def test_what_is_no_fitted_classifier_with_probabilities_is_refused_with_what_to_do(tmp_path, make, message):
    frame, y = people()
    with pytest.raises(ModelError, match=message):
        load(make(frame[["age", "amount"]], y), tmp_path)


def test_unreadable_files_are_errors_of_the_model(tmp_path):
    with pytest.raises(ModelError, match="cannot be read"):
        SklearnAdapter(path="none.skops").load(source_of(tmp_path / "none.skops"))
    odd = tmp_path / "model.txt"
    odd.write_text("x")
    with pytest.raises(ModelError, match=r"\.skops file"):
        SklearnAdapter(path="model.txt").load(source_of(odd))
    broken = tmp_path / "model.pkl"
    broken.write_bytes(b"\x80\x04nonsense")
    with pytest.raises(ModelError, match="cannot be unpickled"):
        SklearnAdapter(path="model.pkl").load(source_of(broken, pickle=True))


def test_every_part_runs_on_one_thread_even_the_fitted_copies(tmp_path):
    frame, y = people()
    X = frame[["age", "amount"]]
    forest = RandomForestClassifier(3, n_jobs=2, random_state=0)
    model = VotingClassifier([("forest", forest)], voting="soft", n_jobs=2).fit(X, y)
    loaded = load(model, tmp_path)
    assert loaded.estimator.n_jobs == 1
    assert loaded.estimator.estimators_[0].n_jobs == 1


def test_another_version_of_the_library_becomes_a_note(tmp_path):
    frame, y = people()
    model = LogisticRegression().fit(frame[["age", "amount"]], y)
    state = model.__getstate__()
    path = tmp_path / "model.joblib"

    class Older(LogisticRegression):
        def __reduce__(self):
            return (_restore, (dict(state, _sklearn_version="0.1"),))

    joblib.dump(Older(), path)
    loaded = SklearnAdapter(path=path.name).load(source_of(path, pickle=True))
    assert len(loaded.notes) == 1
    assert "0.1" in loaded.notes[0]
    assert load(model, tmp_path).notes == ()


def _restore(state):
    model = LogisticRegression()
    model.__setstate__(state)
    return model


@pytest.mark.parametrize(
    ("last", "form"),
    [
        (LogisticRegression(), "linear"),
        (SGDClassifier(loss="log_loss", random_state=0), "linear"),
        (RandomForestClassifier(3, random_state=0), "trees"),
        (GradientBoostingClassifier(n_estimators=3, random_state=0), "trees"),
        (HistGradientBoostingClassifier(max_iter=3), "trees"),
        (VotingClassifier([("a", LogisticRegression())], voting="soft"), None),
    ],
)
def test_native_gives_the_last_step_and_the_matrix_that_it_is_given(tmp_path, last, form):
    frame, y = people()
    model = pipeline(last).fit(frame, y)
    loaded = load(model, tmp_path)
    native = loaded.native()
    if form is None:
        assert native is None
        assert loaded.capabilities == {"predict"}
        return
    assert native is not None
    assert native.form == form
    Z = native.transform(frame)
    assert Z.dtype == np.float64
    assert Z.shape == (len(frame), 4)
    np.testing.assert_allclose(native.estimator.predict_proba(Z), model.predict_proba(frame), atol=1e-12)


def test_trees_over_categories_are_not_native(tmp_path):
    frame, y = people()
    codes = frame.assign(home=(frame["home"] == "own").astype(int))
    model = HistGradientBoostingClassifier(max_iter=3, categorical_features=[2]).fit(codes, y)
    assert load(model, tmp_path).native() is None


def test_a_bare_model_is_native_too(tmp_path):
    frame, y = people()
    X = frame[["age", "amount"]]
    native = load(RandomForestClassifier(3, random_state=0).fit(X, y), tmp_path).native()
    assert native is not None
    np.testing.assert_array_equal(native.transform(X), X.to_numpy(dtype=float))


def test_importing_the_adapters_imports_no_scikit_learn():
    code = (
        "import sys, audit.models.scikit, audit.models.function, audit.models.predictions;"
        "print([m for m in ('sklearn', 'skops', 'joblib', 'scipy') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
