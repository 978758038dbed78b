"""The contract of methods, searches and adapters, as checks that raise AssertionError."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from pydantic import JsonValue

from audit.core.counterfactuals import Found
from audit.core.evidence import Result
from audit.core.infer import ColumnInfo
from audit.core.method import GENERATORS, METHODS, Generator, Inputs, Method, Runnable
from audit.core.model import Adapter, ImageModel, Model, Pixels, Source, StoredScores
from audit.core.policy import FeatureRule
from audit.core.registry import Registry
from audit.core.schema import Level
from audit.core.table import Floats
from audit.search.verify import INVALID, summarise, verify
from audit.testing.toy_images import random_image_inputs
from audit.testing.toys import toy_context, toy_inputs, toy_linear, toy_network, toy_table

R = TypeVar("R", bound=Runnable)
M = TypeVar("M", bound=Model)


def conformance_inputs(
    score: Callable[[pd.DataFrame], Floats] | None = None,
    rows: int = 60,
    *,
    gradient: bool = False,
    native: bool = False,
) -> Inputs:
    """The inputs that the conformance suite runs on: every kind of feature, missing values, groups, true classes.

    Args:
        score: another function than the additive one that everything can be found with.
        gradient: the model is a linear network, and no value is missing; a `score` is then a constant P(yes).
        native: the model is a logistic one that shows its inside; a `score` as with `gradient`.
    """
    rng = np.random.default_rng(0)

    def draw(n: int) -> pd.DataFrame:
        frame = pd.DataFrame(
            {
                "income": rng.integers(40, 360, n) / 4,
                "credits": rng.integers(0, 9, n),
                "savings": rng.choice(["low", "mid", "high"], n),
                "housing": rng.choice(["free", "own", "rent"], n),
                "guarantor": rng.random(n) < 0.5,
                "sex": rng.choice(["f", "m"], n),
            }
        )
        frame.loc[rng.random(n) < 0.1, "housing"] = "rent" if gradient else None
        points = _additive(frame) + rng.normal(0, 0.1, n)
        return frame.assign(paid=np.where(points >= 0.5, "yes", "no"))

    frame, train = draw(rows), draw(4 * rows)
    members = {"region": "half", "instance": [str(i) for i in range(0, rows, 2)], "distance": 0.0, "weight": 1.0}
    columns = {"savings": ColumnInfo(order=("low", "mid", "high"))}
    return toy_inputs(
        frame,
        _linear(toy_network if gradient else toy_linear, train.drop(columns=["paid", "sex"]), columns, score)
        if gradient or native
        else score or _additive,
        target="paid",
        protected=("sex",),
        columns=columns,
        features={
            "income": FeatureRule(change="increase", step=0.25),
            "credits": FeatureRule(change="any", min=0, max=8),
            "savings": FeatureRule(change="increase"),
            "guarantor": FeatureRule(change="any"),
        },
        rules=["income <= 60 or credits <= 6"],
        train=train,
        regions=pd.DataFrame(members),
    )


def _additive(frame: pd.DataFrame) -> Floats:
    """P(yes) from whole fractions, so that no batch can change it."""
    points = np.floor(frame["income"]) / 128 - frame["credits"] / 32 + (frame["savings"] == "high") / 8
    points = points + (frame["housing"] == "own") / 8 + frame["guarantor"] / 16 - 0.375
    return np.asarray(0.5 + points / 4, dtype=np.float64)


def _linear(
    make: Callable[..., M], train: pd.DataFrame, columns: dict[str, ColumnInfo], score: Callable[..., Floats] | None
) -> M:
    """A linear model close to the additive function, or the constant one."""
    table = toy_table(train, columns)
    if score is not None:
        p = float(score(train.head(1))[0])
        return make(table, {}, float(np.log(p / (1 - p))))
    weights: dict[str, float | dict[Level, float]] = {
        "income": 1 / 128,
        "credits": -1 / 32,
        "savings": 1 / 16,
        "housing": {"own": 1 / 8},
        "guarantor": 1 / 16,
    }
    return make(table, weights, -0.375, gain=16.0)


def _inputs_for(cls: type[Runnable], score: Callable[[pd.DataFrame], Floats] | None = None) -> Inputs:
    """The inputs of the suite with a model that gives what the class needs."""
    native = "native" in cls.needs or "proof" in cls.model_fields
    return conformance_inputs(score, gradient="gradient" in cls.needs, native=native)


def _corner(cls: type[Runnable], both: float, first: float, least: float, rows: list[int]) -> Inputs:
    """Two features of 0 and 1, and a model for which both, or the first alone, must be more than `least`."""
    corner = pd.DataFrame({"a": [0, 1, 0, 1], "b": [0, 0, 1, 1]})
    weights = {"a": both + first, "b": both}
    if "gradient" in cls.needs:
        model: Any = toy_network(toy_table(corner), weights, -least, gain=20.0)
    elif "native" in cls.needs:
        model = toy_linear(toy_table(corner), weights, -least, gain=20.0)
    else:
        model = lambda f: np.where(f["a"] * weights["a"] + f["b"] * weights["b"] > least, 0.9, 0.1)  # noqa: E731
    return toy_inputs(corner, model, sample_rows=rows)


def search_set(generator: Generator, inputs: Inputs) -> tuple[Found, Result]:
    """What a search says of the rows it is to search, and the verified set, as the engine would make it."""
    if inputs.sample is None:
        raise ValueError("a search needs a sample")
    ctx, outcomes = toy_context(inputs), inputs.decision.outcome(inputs.sample.scores)
    positions = np.flatnonzero(outcomes == 0) if generator.for_ == "unfavourable" else np.arange(len(outcomes))
    rows, before = inputs.sample.table.take(positions), outcomes[positions]
    found = generator.generate(ctx, rows, before)
    return found, summarise(inputs, generator, [verify(ctx, generator, rows, positions, before, found)])


def check_generator(cls: type[Generator], **settings: JsonValue) -> None:
    """Raises AssertionError where a counterfactual search breaks its contract.

    It must find something on a simple model under both kinds of constraints, give nothing that the verifier throws
    out, count the rows that it asks for, give the same again, solve a model on which two features must move
    together, and survive a constant model and no rows at all.
    """
    for constraints in ("domain", "policy"):
        asked = {"per_row": 3, "constraints": constraints, **settings}
        generator = _settled(cls, GENERATORS, asked)
        inputs = _inputs_for(cls)
        state = inputs.evaluate.codes.tobytes() + inputs.reference.codes.tobytes()
        found, result = search_set(generator, inputs)
        assert not _discarded(result, INVALID), f"invalid: {result.tables['discarded'].to_dict('records')}"
        rows = inputs.model.rows if inputs.model else 0
        checks = len(found.row) - _discarded(result, ("type", "duplicate"))
        assert found.evaluated.sum() + found.shared + checks == rows, "`evaluated` and `shared` are not what was asked"
        assert len(result.tables["counterfactuals"]), f"nothing was found under constraints: {constraints}"
        assert inputs.evaluate.codes.tobytes() + inputs.reference.codes.tobytes() == state, "the inputs were changed"
        _assert_same(result, search_set(generator, _inputs_for(cls))[1])
    generator = _settled(cls, GENERATORS, settings)
    together = _corner(cls, both=1.0, first=0.0, least=1.5, rows=[0])
    assert search_set(generator, together)[0].codes.tolist() == [[1, 1]], "two features that must move together"
    constant = _inputs_for(cls, lambda f: np.full(len(f), 0.25))
    assert not len(search_set(generator, constant)[0].row), "a counterfactual of a constant model"
    nobody = _corner(cls, both=0.0, first=1.0, least=0.5, rows=[])
    assert not len(search_set(generator, nobody)[0].row), "a counterfactual of no row"


def check_method(cls: type[Method], inputs: Inputs | None = None, **settings: JsonValue) -> Result:
    """The result of a method on the toy inputs; raises AssertionError where it breaks its contract.

    Its settings must survive the way through JSON, its tables must be ones that a bundle can hold, the inputs must
    stay as they are, and a second run must give the same.
    """
    method = _settled(cls, METHODS, _required(cls) | settings)

    def once() -> Result:
        given = inputs or (random_image_inputs() if "images" in cls.needs else _inputs_for(cls))
        results = {name: _result_of(task, given) for name, task in method.reads().items()}
        given = replace(given, results=results)
        state = given.evaluate.codes.tobytes() + given.reference.codes.tobytes()
        partials = [method.run(toy_context(given), part) for part in method.parts(given, 25)]
        assert given.evaluate.codes.tobytes() + given.reference.codes.tobytes() == state, "the inputs were changed"
        return method.merge(given, partials)

    result = once()
    for name, table in result.tables.items():
        assert name.replace("_", "").isalnum(), f"table {name!r} cannot be a file name"
        assert all(isinstance(c, str) for c in table.columns), f"table {name!r} has columns that are not named by text"
        assert not table.columns.duplicated().any(), f"table {name!r} has two columns of one name"
        assert table.index.equals(pd.RangeIndex(len(table))), f"table {name!r} has an index, which no bundle keeps"
    places = [(metric.name, metric.where.digest()) for metric in result.metrics]
    assert len(set(places)) == len(places), "two metrics of one name say the same `where`"
    _assert_same(result, once())
    return result


def check_adapter(adapter: Adapter, source: Source, frame: pd.DataFrame) -> Model | StoredScores:
    """The model of an adapter; raises AssertionError where it breaks its contract on the rows of `frame`.

    Probabilities must have one column per class and sum to 1, and must depend neither on the order of the rows nor
    on their number; the frame stays as it is.
    """
    model = adapter.load(source)
    assert not isinstance(model, ImageModel), "a model of images is not asked for rows of features"
    assert len(set(model.classes)) == len(model.classes) >= 2, "classes must be two or more texts of their own"
    assert all(isinstance(label, str) for label in model.classes), "class labels are texts"
    if isinstance(model, StoredScores):
        scores = model.stored
        assert not model.capabilities, "stored scores answer for no other row"
    else:
        scores = model.predict
        assert ("native" in model.capabilities) == (model.native() is not None), "`native` is promised and not kept"
    before = frame.copy(deep=True)
    P = scores(frame)
    pd.testing.assert_frame_equal(frame, before)
    assert P.shape == (len(frame), len(model.classes)), "one row each and one column per class"
    np.testing.assert_allclose(P.sum(axis=1), 1, atol=1e-6)
    assert (P >= 0).all(), "probabilities are not negative"
    np.testing.assert_allclose(scores(frame.iloc[::-1].reset_index(drop=True))[::-1], P, atol=1e-9)
    np.testing.assert_allclose(scores(frame.iloc[:1]), P[:1], atol=1e-9)
    return model


def check_image_adapter(adapter: Adapter, source: Source, batch: Pixels) -> ImageModel:
    """The model of an adapter; raises AssertionError where it breaks its contract on a batch of prepared pictures.

    Its halves must give feature maps and logits that do not depend on the other pictures of the batch.
    """
    model = adapter.load(source)
    assert isinstance(model, ImageModel), "a model of images has two halves, `features` and `head`"
    assert len(set(model.classes)) == len(model.classes) >= 2, "classes must be two or more texts of their own"
    assert "split" in model.capabilities, "`split` is what a model of images can do"
    maps = model.features(batch)
    assert maps.ndim == 4, "feature maps have the shape (b, d, h, w)"
    assert len(maps) == len(batch), "one feature map for each picture"
    logits = model.head(maps)
    assert logits.shape == (len(batch), len(model.classes)), "one logit for each class"
    assert np.isfinite(logits).all(), "logits are finite"
    np.testing.assert_allclose(model.head(model.features(batch[::-1]))[::-1], logits, atol=1e-4)
    np.testing.assert_allclose(model.head(model.features(batch[:1])), logits[:1], atol=1e-4)
    return model


def _settled(cls: type[R], registry: Registry[Any], settings: Mapping[str, JsonValue]) -> R:
    """An instance from settings as a spec would give them, after a way through JSON and back."""
    (kind,) = [name for name, known in registry.classes().items() if known is cls] or [""]
    assert kind, f"{cls.__name__} is not in the registry: its `{registry.tag}` must be a Literal"
    one = cls.model_validate_json(json.dumps({registry.tag: kind, **settings}))
    again = cls.model_validate_json(json.dumps(one.model_dump(mode="json", by_alias=True)))
    assert again == one, "settings do not survive JSON"
    assert again.digest() == one.digest(), "the digest of equal settings differs"
    return one


def _required(cls: type[Method]) -> dict[str, JsonValue]:
    """The keys that a spec must give, for the names that our own methods use."""
    offers: dict[str, JsonValue] = {"from": "flips", "of": ["flex", "shap"], "proof": "proved"}
    keys = [field.alias or name for name, field in cls.model_fields.items() if field.is_required()]
    return {key: offers[key] for key in keys if key in offers}


def _result_of(task: str, inputs: Inputs) -> Result:
    """The result of a task that a method reads."""
    if task.startswith("counterfactuals."):
        search = "exact" if task.endswith(".proved") else "nearest"
        own: dict[str, JsonValue] = (
            {"constraints": "policy", "for": "unfavourable"} if task.endswith(".recourse") else {}
        )
        return search_set(_settled(GENERATORS.classes()[search], GENERATORS, {"per_row": 3, **own}), inputs)[1]
    return check_method(METHODS.classes()[task], inputs)


def _discarded(result: Result, reasons: Sequence[str]) -> int:
    table = result.tables["discarded"]
    return int(table.loc[table["reason"].isin(reasons), "count"].sum())


def _assert_same(one: Result, other: Result) -> None:
    assert one.metrics == other.metrics, "a second run gives other metrics"
    assert one.notes == other.notes, "a second run gives other notes"
    assert list(one.tables) == list(other.tables), "a second run gives other tables"
    for name, table in one.tables.items():
        pd.testing.assert_frame_equal(table, other.tables[name])
