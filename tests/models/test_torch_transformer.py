"""Preparation that is read from a fitted transformer of scikit-learn, beside that transformer itself."""

import json
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skops.io
import torch
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st
from safetensors.torch import save_file
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    StandardScaler,
)
from torch_case import load, module, people, scripted

from audit.core.errors import ModelError
from audit.core.infer import ColumnInfo
from audit.core.model import Allow, Source
from audit.core.network import Mlp, Network, Prepare
from audit.engine.apart import Limits, load_apart
from audit.models.torch_module import TorchAdapter
from audit.models.torch_module.transformer import Transformer
from audit.testing import toy_table

COLUMNS = {"grade": ColumnInfo(kind="ordinal", order=(2, 4, 6))}


def rows(n: int = 80, seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "age": rng.integers(18, 80, n),
            "home": rng.choice(["own", "rent", "free"], n),
            "amount": rng.normal(1000, 300, n),
            "grade": rng.choice([2, 4, 6], n),
            "phone": rng.choice([True, False], n),
        }
    )


def usual() -> ColumnTransformer:
    numbers = Pipeline([("fill", SimpleImputer(strategy="median")), ("scale", StandardScaler())])
    return ColumnTransformer(
        [
            ("levels", OneHotEncoder(categories=[["rent", "free", "own"], [False, True]]), ["home", "phone"]),
            ("numbers", numbers, ["amount", "age"]),
            ("ranks", MinMaxScaler(feature_range=(-1, 2)), ["grade"]),
        ]
    )


def prepared(folder: Path, transformer: object, frame: pd.DataFrame | None = None, **more):
    frame = rows() if frame is None else frame
    skops.io.dump(transformer, folder / "prepare.skops")
    source = Source(None, str(folder), Allow(), frame, ("yes",), None, toy_table(frame, COLUMNS).schema)
    return Transformer(path="prepare.skops", **more).prepare(source)


def dense(values: object) -> np.ndarray:
    return np.asarray(values.toarray() if hasattr(values, "toarray") else values, dtype=np.float64)


def test_a_column_transformer_is_read_with_its_order_levels_and_scales(tmp_path: Path) -> None:
    transformer = usual().fit(rows(40, seed=7))
    prepare = prepared(tmp_path, transformer)
    new = rows(30, seed=3)
    table = toy_table(pd.concat([new, rows()]), COLUMNS)
    codes = table.codes[:30].copy()
    codes[:, 1] = [["rent", "free", "own"].index(level) for level in new["home"]]
    np.testing.assert_allclose(prepare.scaled(codes), dense(transformer.transform(new)), rtol=0, atol=1e-9)
    assert prepare.groups.tolist() == [1, 1, 1, 4, 4, 2, 0, 3]
    assert prepare.layout == (1, 4, 2, 0, 3)
    np.testing.assert_allclose(prepare.codes(prepare.scaled(codes)), codes, rtol=0, atol=1e-9)
    low, high = prepare.limits(codes.min(axis=0), codes.max(axis=0))
    inputs = prepare.matrix(codes)
    np.testing.assert_allclose(low[5:], inputs[:, 5:].min(axis=0), rtol=1e-6)
    np.testing.assert_allclose(high[5:], inputs[:, 5:].max(axis=0), rtol=1e-6)
    assert [s.indices(8)[:2] for s in prepare.one_hot] == [(0, 3), (3, 5)]


@given(seed=st.integers(0, 2**16), order=st.permutations(["age", "home", "amount", "grade", "phone"]))
@tries(max_examples=200 if os.environ.get("AUDIT_ACCEPT") else 10, deadline=None)
def test_any_order_of_blocks_gives_the_inputs_of_the_transformer(seed: int, order: list[str]) -> None:
    """The comparison inside `prepare` is not used here: inputs are compared with those of scikit-learn."""
    from audit.core.table import encode
    from audit.models.torch_module.transformer import as_prepare

    steps = {"age": MaxAbsScaler(), "home": OneHotEncoder(), "amount": MinMaxScaler(), "grade": "passthrough"}
    frame = rows(60, seed)
    chosen = [(name, steps.get(name, StandardScaler()), [name]) for name in order]
    transformer = ColumnTransformer(chosen, sparse_threshold=0).fit(frame)
    prepare = as_prepare(toy_table(frame, COLUMNS).schema, transformer)
    codes = encode(prepare.features, frame)
    np.testing.assert_allclose(prepare.scaled(codes), transformer.transform(frame), rtol=0, atol=1e-9)
    np.testing.assert_allclose(prepare.codes(prepare.matrix(codes), codes), codes, rtol=0, atol=0)


@pytest.mark.parametrize(
    "columns",
    [["age", "amount"], [0, 2], [True, False, True, False, False], slice(0, 3, 2)],
    ids=["names", "numbers", "mask", "slice"],
)
def test_columns_may_be_stated_in_every_way_and_the_rest_passed_through(tmp_path: Path, columns: object) -> None:
    frame = rows().drop(columns="home").assign(home=rows()["phone"])[["age", "home", "amount", "grade", "phone"]]
    transformer = ColumnTransformer([("numbers", StandardScaler(), columns)], remainder="passthrough").fit(frame)
    prepare = prepared(tmp_path, transformer, frame)
    assert prepare.layout == (0, 2, 1, 3, 4)
    assert prepare.mean[0] == pytest.approx(frame["age"].mean())


def test_a_single_scaler_may_be_fitted_on_a_plain_array(tmp_path: Path) -> None:
    frame = rows()[["age", "amount"]]
    prepare = prepared(tmp_path, StandardScaler(with_std=False).fit(frame.to_numpy()), frame)
    assert prepare.layout is None
    assert prepare.sd == (1.0, 1.0)
    np.testing.assert_allclose(prepare.mean, frame.mean())
    assert prepared(tmp_path, FunctionTransformer().fit(frame), frame).mean == (0.0, 0.0)


def test_a_transformer_may_know_more_levels_than_the_data(tmp_path: Path) -> None:
    frame = rows()[["home"]]
    transformer = OneHotEncoder(categories=[["castle", "free", "own", "rent"]]).fit(frame)
    assert prepared(tmp_path, transformer, frame).features["home"].levels == ("castle", "free", "own", "rent")


@pytest.mark.parametrize(
    ("columns", "transformer", "message"),
    [
        (["age", "amount"], PolynomialFeatures(), "PolynomialFeatures is not read; there are StandardScaler"),
        (["age", "amount"], MinMaxScaler(clip=True), "cuts age off at its limits"),
        (["age"], Pipeline([("a", StandardScaler()), ("b", MinMaxScaler())]), "MinMaxScaler after StandardScaler"),
        (["age"], FunctionTransformer(np.log), "FunctionTransformer is not read|does not trust"),
        (["age"], SimpleImputer(add_indicator=True), "SimpleImputer is not read"),
        (["age"], SimpleImputer(missing_values=20), "SimpleImputer is not read"),
        (["age"], OneHotEncoder(), "age one-hot, which is numeric here"),
        (["home"], OneHotEncoder(drop="first"), "leaves levels without a column"),
        (["home"], OneHotEncoder(min_frequency=30), "leaves levels without a column"),
        (["home"], OneHotEncoder(categories=[["own"]], handle_unknown="ignore"), "does not know free, rent of home"),
        (["home"], OrdinalEncoder(), "OrdinalEncoder is not read"),
        (["home"], "passthrough", "scales home, which is categorical here; make it one-hot"),
        (["age", "amount"], ColumnTransformer([("a", StandardScaler(), ["age"])]), "drops amount"),
        (
            ["age", "amount"],
            ColumnTransformer([("a", StandardScaler(), ["age"]), ("b", MinMaxScaler(), ["age", "amount"])]),
            "gives the network age twice",
        ),
    ],
)
def test_what_cannot_be_undone_is_refused(tmp_path: Path, columns: list[str], transformer, message: str) -> None:
    frame = rows()[columns]
    fitted = ColumnTransformer([("all", transformer, columns)]) if isinstance(transformer, str) else transformer
    with pytest.raises(ModelError, match=message) as caught:
        prepared(tmp_path, fitted.fit(frame), frame)
    assert "model.transformer: " in str(caught.value)


def test_ranks_at_uneven_distances_are_refused(tmp_path: Path) -> None:
    frame = rows()[["grade"]].replace({6: 9})
    info = {"grade": ColumnInfo(kind="ordinal", order=(2, 4, 9))}
    skops.io.dump(StandardScaler().fit(frame), tmp_path / "prepare.skops")
    source = Source(None, str(tmp_path), Allow(), frame, ("yes",), None, toy_table(frame, info).schema)
    with pytest.raises(ModelError, match="use evenly spaced numbers"):
        Transformer(path="prepare.skops").prepare(source)


def test_a_file_that_is_not_the_pinned_one_or_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model\.transformer\.sha256: .* was not opened"):
        prepared(tmp_path, usual().fit(rows()), sha256="0" * 64)
    with pytest.raises(ModelError, match="must list exactly these"):
        prepared(tmp_path, usual().fit(rows()), rows().rename(columns={"age": "years"}))
    with pytest.raises(ModelError, match="it is not fitted"):
        prepared(tmp_path, StandardScaler())
    (tmp_path / "bad.skops").write_bytes(b"nonsense")
    source = Source(None, str(tmp_path), Allow(), rows(), ("yes",), None, toy_table(rows(), COLUMNS).schema)
    with pytest.raises(ModelError, match="is no skops file"):
        Transformer(path="bad.skops").prepare(source)
    with pytest.raises(ModelError, match="cannot be read"):
        Transformer(path="none.skops").prepare(source)


def test_what_was_read_is_compared_with_what_the_transformer_does(tmp_path: Path) -> None:
    """A mean that moves after the fit leaves a file that says one thing and does another."""
    frame = rows()[["age", "amount"]]
    transformer = MinMaxScaler().fit(frame)
    prepared(tmp_path, transformer, frame)

    class Lying(StandardScaler):
        pass

    Lying.__module__, Lying.__name__ = "sklearn.preprocessing", "StandardScaler"
    lying = Lying().fit(frame)
    lying.transform = lambda X: np.asarray(X) / lying.scale_
    from audit.models.torch_module import transformer as reader

    prepare = reader.as_prepare(toy_table(frame).schema, lying)
    with pytest.raises(ModelError, match="differs from what it does by"):
        reader._refuse_difference(prepare, lying, frame)


def test_a_network_is_asked_through_the_transformer(tmp_path: Path) -> None:
    """Scores in feature space are those of transformer and network put together by hand."""
    frame = people()
    transformer = ColumnTransformer([("h", OneHotEncoder(), ["home"]), ("n", StandardScaler(), ["amount", "age"])])
    skops.io.dump(transformer.fit(frame), tmp_path / "prepare.skops")
    net = Mlp(hidden=(6,), activation="tanh").build(4, 2, 3)
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    architecture = {"hidden": [6], "activation": "tanh"}
    settings = {"architecture": architecture, "transformer": {"path": "prepare.skops"}}
    model = load(tmp_path / "net.safetensors", preprocessing=None, **settings)
    with pytest.raises(ModelError, match="leave `preprocessing` out"):
        load(tmp_path / "net.safetensors", **settings)
    with torch.no_grad():
        expected = torch.softmax(module().double()(torch.from_numpy(dense(transformer.transform(frame)))), dim=1)
    np.testing.assert_allclose(model.predict(frame), expected.numpy(), rtol=0, atol=1e-6)
    plain = load(tmp_path / "net.safetensors", architecture=architecture)
    assert plain.digest != model.digest
    assert "layout" not in str(plain.packed())


def scaled_network(folder: Path, name: str = "net.safetensors") -> tuple[TorchAdapter, Source]:
    """A network, or the same as a program, whose scaling lies in a file of its own."""
    frame = people()
    blocks = [("h", OneHotEncoder(), ["home"]), ("n", StandardScaler(), ["amount", "age"])]
    skops.io.dump(ColumnTransformer(blocks).fit(frame), folder / "prepare.skops")
    settings = {"kind": "torch", "path": name, "classes": ["no", "yes"], "transformer": {"path": "prepare.skops"}}
    if name.endswith(".safetensors"):
        save_file(module().state_dict(), folder / name)
        settings["architecture"] = {"kind": "mlp", "hidden": [6], "activation": "tanh"}
    else:
        (folder / name).write_bytes(scripted(module()))
    content = (folder / name).read_bytes()
    given = Source(None, str(folder), Allow(), frame, ("yes",), None, toy_table(frame).schema, content=content)
    return TorchAdapter.model_validate_json(json.dumps(settings)), given


@pytest.mark.parametrize("name", ["net.safetensors", "net.ts"])
@pytest.mark.parametrize("copy", [True, False])
def test_a_confined_process_opens_the_scaling_and_no_other(tmp_path: Path, monkeypatch, name: str, copy: bool) -> None:
    """The list of openings is of this process: those of its copies are in lists of theirs."""
    adapter, given = scaled_network(tmp_path, name)
    opened, read = [], skops.io.loads
    monkeypatch.setattr(skops.io, "loads", lambda *args, **more: opened.append(1) or read(*args, **more))
    apart = load_apart(adapter, given, copy=copy)
    assert not opened
    here = adapter.load(given)
    assert opened == [1]
    assert apart.digest == here.digest
    assert isinstance(apart, Network) == (name == "net.safetensors")
    assert np.array_equal(apart.predict(given.evaluate), here.predict(given.evaluate))


def test_the_confined_process_has_limits_and_its_messages_name_the_scaling(tmp_path: Path) -> None:
    """An array of 200 MiB of zeros is below what an archive may unpack to, and above the limit of this process."""
    adapter, given = scaled_network(tmp_path)
    file = tmp_path / "prepare.skops"
    with zipfile.ZipFile(file) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in entries if name.endswith(".npy"))
    np.save(tmp_path / "zeros.npy", np.zeros(200 * 2**17))
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, content in {**entries, name: (tmp_path / "zeros.npy").read_bytes()}.items():
            archive.writestr(entry, content)
    limits = Limits(memory=2**27, per_byte=1)
    with pytest.raises(ModelError, match=r"^model\.transformer: prepare\.skops .*memory"):
        load_apart(adapter, given, limits, copy=True)
    assert isinstance(load_apart(adapter, given, copy=True), Network), "the array is of a number that is not read"
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("more", (tmp_path / "zeros.npy").read_bytes())
    with pytest.raises(ModelError, match=r"^model\.transformer: prepare\.skops has .* and unpacks to"):
        load_apart(adapter, given, copy=True)


def test_numbers_and_levels_come_back_as_they_are(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [0.1, 1 / 3, 1e100], "b": [1, 2, 1], "c": ["1", "x", "1"], "d": [1.0, 2.0, 2.5]})
    columns = {name: ColumnInfo(kind="categorical") for name in "bcd"}
    fitted = ColumnTransformer([("n", StandardScaler(), ["a"]), ("l", OneHotEncoder(), ["b", "c", "d"])]).fit(frame)
    skops.io.dump(fitted, tmp_path / "prepare.skops")
    schema = toy_table(frame, columns).schema
    source = Source(None, str(tmp_path), Allow(), frame, ("yes",), None, schema)
    given = Transformer(path="prepare.skops")
    prepare = Prepare.model_validate_json(given.text(source))
    from audit.models.torch_module.transformer import as_prepare

    direct = as_prepare(schema, fitted)
    assert prepare == direct
    kinds = [[type(level) for level in feature.levels] for feature in prepare.features.features]
    assert kinds == [[type(level) for level in feature.levels] for feature in direct.features.features]
    for text in ("{}", "[", '{"mean": [NaN]}'):
        with pytest.raises(ModelError, match="holds no scaling"):
            given.prepare(replace(source, read=text))


def test_a_category_that_is_no_level_is_refused(tmp_path: Path) -> None:
    frame = pd.DataFrame({"home": ["own", "rent", "own"]})
    fitted = OneHotEncoder().fit(pd.DataFrame({"home": ["own", "rent", None]}))
    with pytest.raises(ModelError, match="fit it on rows without gaps"):
        prepared(tmp_path, fitted, frame)
