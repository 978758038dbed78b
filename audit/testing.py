"""Toys, strategies and the conformance suite, for our tests and for people who write plug-ins.

A plug-in is checked by one line in its own tests: `check_method(MyMethod)`, `check_generator(MySearch)` or
`check_adapter(MyAdapter(...), source)`. What is wrong is raised as an AssertionError that says what was expected.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import JsonValue

from audit.core.counterfactuals import Found
from audit.core.evidence import Result
from audit.core.expression import parse
from audit.core.infer import ColumnInfo, infer_schema
from audit.core.method import GENERATORS, METHODS, Context, Generator, Inputs, Method, Runnable, Sample
from audit.core.model import Adapter, Capability, Decision, Model, Native, Scorer, Source, StoredScores
from audit.core.policy import FeatureRule, Policy
from audit.core.registry import Registry
from audit.core.schema import Feature, FeatureSchema
from audit.core.table import Floats, Table, encode
from audit.search.verify import INVALID, summarise, verify

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

R = TypeVar("R", bound=Runnable)


@dataclass(frozen=True)
class ToyModel:
    """A model from a function: frame in feature space to P(second class), shape (n,), or to all of shape (n, C)."""

    score: Callable[[pd.DataFrame], Floats]
    classes: tuple[str, ...] = ("no", "yes")
    capabilities: frozenset[Capability] = frozenset({"predict"})

    def predict(self, frame: pd.DataFrame) -> Floats:
        """Shape (n, C)."""
        p = np.asarray(self.score(frame), dtype=np.float64)
        return p if p.ndim == 2 else np.column_stack([1 - p, p])

    def native(self) -> Native | None:
        """A toy keeps its inside to itself."""
        return None


def toy_table(frame: pd.DataFrame, columns: dict[str, ColumnInfo] | None = None, extra: tuple[str, ...] = ()) -> Table:
    """A Table of all columns of the frame but the `extra` ones; ids are the row numbers."""
    names = [name for name in frame.columns if name not in extra]
    schema = infer_schema(frame, names, columns)
    return Table(schema, encode(schema, frame), tuple(map(str, range(len(frame)))), frame[list(extra)])


def toy_inputs(  # noqa: PLR0913 - a factory: one keyword per thing that a test may vary
    frame: pd.DataFrame,
    score: Callable[[pd.DataFrame], Floats] | Model,
    *,
    target: str | None = None,
    protected: tuple[str, ...] = (),
    names: Sequence[str] | None = None,
    columns: Mapping[str, ColumnInfo] | None = None,
    features: Mapping[str, FeatureRule] | None = None,
    rules: Sequence[str] = (),
    favourable: tuple[str, ...] = ("yes",),
    train: pd.DataFrame | None = None,
    sample_rows: Sequence[int] | None = None,
    regions: pd.DataFrame | None = None,
) -> Inputs:
    """Inputs as the engine would make them, from frames and a function.

    Args:
        frame: the evaluation rows; ids are the row numbers as text.
        score: a function for a ToyModel (classes `no` and `yes`), or a Model.
        target: column of true classes; becomes text.
        names: the columns that the model is given; None: all but the target and the protected ones.
        features: mutability; None: every feature may change in any way. With a mapping, silence means immutable.
        rules: expressions that counterfactuals must not break.
        favourable: the favourable classes; empty: none.
        train: training rows with the same columns; they become the reference.
        sample_rows: positions of the audited rows; None: all.
        regions: membership, `region, instance, distance, weight`.
    """
    model: Model = ToyModel(score) if callable(score) else score
    given = list(names) if names is not None else [c for c in frame.columns if c != target and c not in protected]
    base = frame if train is None else train
    schema = infer_schema(base, given, dict(columns or {}), () if train is None else (frame,))
    evaluate = _rows(schema, frame, target)
    training = None if train is None else _rows(schema, train, target)
    decision = Decision(model.classes, favourable)
    scores = Scorer(model, schema, decision).probabilities(evaluate.codes)
    positions = np.arange(len(evaluate)) if sample_rows is None else np.asarray(sample_rows, dtype=np.int64)
    everything = dict.fromkeys(given, FeatureRule(change="any"))
    return Inputs(
        schema=schema,
        decision=decision,
        evaluate=evaluate,
        train=training,
        reference=evaluate if training is None else training,
        target=target,
        protected=protected,
        scores=scores,
        model=Scorer(model, schema, decision),
        policy=Policy.build(
            schema, everything if features is None else features, rules=tuple(parse(t, tuple(given)) for t in rules)
        ),
        sample=Sample(evaluate.take(positions), positions, np.ones(len(positions), dtype=bool), scores[positions]),
        regions=pd.DataFrame(columns=["region", "instance", "distance", "weight"]) if regions is None else regions,
    )


def toy_context(inputs: Inputs, seed: int = 0) -> Context:
    """A Context over `inputs` whose random numbers follow from `seed`."""
    return Context(inputs=inputs, rng=np.random.default_rng(seed))


def _rows(schema: FeatureSchema, frame: pd.DataFrame, target: str | None) -> Table:
    extra = frame[[name for name in frame.columns if name not in schema.names]].reset_index(drop=True)
    if target is not None:
        extra[target] = extra[target].astype(str)
    return Table(schema, encode(schema, frame), tuple(map(str, range(len(frame)))), extra)


# ---------------------------------------------------------------------------------------------------- strategies


def schemas(min_features: int = 1, max_features: int = 5) -> "SearchStrategy[FeatureSchema]":
    """Small schemas of every kind of feature, called f0, f1, ...; some are constant, some hold missing values."""
    from hypothesis import strategies as st

    levels = st.sampled_from([("a",), ("a", "b"), ("a", "b", "c"), ("low", "mid", "high", "top"), (1, 2, 3)])

    def feature(name: str) -> "SearchStrategy[Feature]":
        missing = st.booleans()
        whole = st.builds(
            lambda low, span, gap: Feature(
                name=name, kind="numeric", low=float(low), high=float(low + span), integer=True, missing=gap
            ),
            st.integers(-3, 3), st.integers(0, 6), missing,
        )  # fmt: skip
        real = st.builds(
            lambda low, span, gap: Feature(name=name, kind="numeric", low=low, high=low + span, missing=gap),
            st.sampled_from([-2.5, 0.0, 0.1]), st.sampled_from([0.5, 1.0, 4.75]), missing,
        )  # fmt: skip
        leveled = st.builds(
            lambda kind, values, gap: Feature(
                name=name, kind=kind, levels=values, high=len(values) - 1.0, integer=True, missing=gap
            ),
            st.sampled_from(["ordinal", "categorical"]), levels, missing,
        )  # fmt: skip
        boolean = st.builds(
            lambda gap: Feature(name=name, kind="boolean", levels=(False, True), high=1.0, integer=True, missing=gap),
            missing,
        )
        return st.one_of(whole, real, leveled, boolean)

    def whole_schema(d: int) -> "SearchStrategy[FeatureSchema]":
        return st.tuples(*(feature(f"f{j}") for j in range(d))).map(lambda fs: FeatureSchema(features=fs))

    return st.integers(min_features, max_features).flatmap(whole_schema)


def feature_rules(schema: FeatureSchema) -> "SearchStrategy[dict[str, FeatureRule]]":
    """Mutability of some of the features; the others are left to the default."""
    from hypothesis import strategies as st

    def rule(feature: Feature) -> "SearchStrategy[FeatureRule | None]":
        ways = ["any", "immutable"] if feature.kind == "categorical" else ["any", "immutable", "increase", "decrease"]
        change = st.sampled_from(ways)
        if feature.kind == "numeric":
            some = st.one_of(
                st.none(),
                st.sampled_from([feature.low, feature.low + 1, feature.low + 1.5, feature.high + 2, feature.low - 1.5]),
            )
            drawn = st.builds(
                lambda way, ends, step, whole: FeatureRule(
                    change=way, min=_end(ends, min), max=_end(ends[::-1], max), step=step, integer=whole
                ),
                change, st.tuples(some, some), st.sampled_from([None, None, 0.5, 1.0, 2.0, 0.1]),
                st.sampled_from([None, None, False, True]),
            )  # fmt: skip
            return st.one_of(st.none(), drawn)
        targets = st.sets(st.sampled_from(feature.levels)).map(lambda chosen: tuple(sorted(chosen, key=str)))
        table = st.dictionaries(st.sampled_from([str(level) for level in feature.levels]), targets)
        transitions = st.none() if feature.kind == "boolean" else st.one_of(st.none(), table)
        return st.one_of(
            st.none(), st.builds(lambda way, to: FeatureRule(change=way, transitions=to), change, transitions)
        )

    pairs = [st.tuples(st.just(feature.name), rule(feature)) for feature in schema.features]
    return st.tuples(*pairs).map(lambda drawn: {name: rule for name, rule in drawn if rule is not None})


def _end(ends: tuple[float | None, float | None], first: Callable[[float, float], float]) -> float | None:
    """One end of a pair of bounds that are in order."""
    a, b = ends
    return first(a, b) if a is not None and b is not None else a


def conditions(schema: FeatureSchema) -> "SearchStrategy[tuple[str, ...]]":
    """Up to two rules across features, as texts that are SQL as well."""
    from hypothesis import strategies as st

    numbers = [f.name for f in schema.features if f.kind == "numeric"]
    texts = [(f.name, level) for f in schema.features for level in f.levels if isinstance(level, str)]
    offers = [f"{a} <= {b} + {c}" for a in numbers for b in numbers if a != b for c in (0, 2)]
    offers += [f"not ({a} > 1 and {b} == '{level}')" for a in numbers for b, level in texts]
    offers += [f"{a} == '{x}' or {b} != '{y}'" for a, x in texts for b, y in texts if a < b]
    return st.lists(st.sampled_from(offers), max_size=2, unique=True).map(tuple) if offers else st.just(())


def draw_codes(schema: FeatureSchema, n: int, rng: np.random.Generator, beyond: float = 0.0) -> Floats:
    """Rows of codes, shape (n, d); missing where the schema allows it; a share `beyond` the range of the data."""
    columns = []
    for feature in schema.features:
        column = rng.uniform(feature.low, feature.high, n)
        if feature.kind == "numeric":
            away = rng.random(n) < beyond
            column = np.where(away, column + rng.choice([-4.0, 4.0], n), column)
        column = np.rint(column) if feature.integer else np.round(column * 4) / 4
        column = column if feature.kind == "numeric" else np.clip(column, 0, len(feature.levels) - 1)
        if feature.missing:
            column[rng.random(n) < 0.15] = np.nan
        columns.append(column)
    return np.column_stack(columns)


@dataclass(frozen=True)
class Stumps:
    """A model that adds a weight for every code above a cut; its scores are exact whatever the batch.

    Attributes:
        columns, cuts: shape (s,); weights: shape (s, C - 1), whole numbers.
    """

    schema: FeatureSchema
    columns: NDArray[np.int64]
    cuts: Floats
    weights: Floats
    classes: tuple[str, ...] = ("no", "yes")
    capabilities: frozenset[Capability] = frozenset({"predict"})

    @classmethod
    def draw(
        cls, schema: FeatureSchema, rng: np.random.Generator, classes: tuple[str, ...] = ("no", "yes")
    ) -> "Stumps":
        """A random one."""
        columns = np.repeat(np.arange(len(schema)), 3)
        low = np.array([f.low for f in schema.features])[columns]
        high = np.array([f.high for f in schema.features])[columns]
        weights = rng.integers(-4, 5, (len(columns), len(classes) - 1)).astype(np.float64)
        return cls(schema, columns, rng.uniform(low - 0.1, high), weights, classes)

    def predict(self, frame: pd.DataFrame) -> Floats:
        """Shape (n, C)."""
        above = encode(self.schema, frame)[:, self.columns] > self.cuts
        odds = np.exp2(np.column_stack([np.zeros(len(frame)), above @ self.weights - 0.5]))
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))

    def native(self) -> Native | None:
        """A toy keeps its inside to itself."""
        return None


# --------------------------------------------------------------------------------------------------- conformance


def conformance_inputs(score: Callable[[pd.DataFrame], Floats] | None = None, rows: int = 60) -> Inputs:
    """The inputs that the conformance suite runs on: every kind of feature, missing values, groups, true classes.

    Args:
        score: another function than the additive one that everything can be found with.
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
        frame.loc[rng.random(n) < 0.1, "housing"] = None
        points = _additive(frame) + rng.normal(0, 0.1, n)
        return frame.assign(paid=np.where(points >= 0.5, "yes", "no"))

    frame, train = draw(rows), draw(4 * rows)
    members = {"region": "half", "instance": [str(i) for i in range(0, rows, 2)], "distance": 0.0, "weight": 1.0}
    return toy_inputs(
        frame,
        score or _additive,
        target="paid",
        protected=("sex",),
        columns={"savings": ColumnInfo(order=("low", "mid", "high"))},
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
        inputs = conformance_inputs()
        state = inputs.evaluate.codes.tobytes() + inputs.reference.codes.tobytes()
        found, result = search_set(generator, inputs)
        assert not _discarded(result, INVALID), f"invalid: {result.tables['discarded'].to_dict('records')}"
        rows = inputs.model.rows if inputs.model else 0
        checks = len(found.row) - _discarded(result, ("type", "duplicate"))
        assert found.evaluated.sum() + found.shared + checks == rows, "`evaluated` and `shared` are not what was asked"
        assert len(result.tables["counterfactuals"]), f"nothing was found under constraints: {constraints}"
        assert inputs.evaluate.codes.tobytes() + inputs.reference.codes.tobytes() == state, "the inputs were changed"
        _assert_same(result, search_set(generator, conformance_inputs())[1])
    generator = _settled(cls, GENERATORS, settings)
    corner = pd.DataFrame({"a": [0, 1, 0, 1], "b": [0, 0, 1, 1]})
    together = toy_inputs(corner, lambda f: np.where(f["a"] + f["b"] > 1, 0.9, 0.1), sample_rows=[0])
    assert search_set(generator, together)[0].codes.tolist() == [[1, 1]], "two features that must move together"
    constant = conformance_inputs(lambda f: np.full(len(f), 0.25))
    assert not len(search_set(generator, constant)[0].row), "a counterfactual of a constant model"
    nobody = toy_inputs(corner, lambda f: np.where(f["a"] > 0, 0.9, 0.1), sample_rows=[])
    assert not len(search_set(generator, nobody)[0].row), "a counterfactual of no row"


def check_method(cls: type[Method], inputs: Inputs | None = None, **settings: JsonValue) -> Result:
    """The result of a method on the toy inputs; raises AssertionError where it breaks its contract.

    Its settings must survive the way through JSON, its tables must be ones that a bundle can hold, the inputs must
    stay as they are, and a second run must give the same.
    """
    method = _settled(cls, METHODS, _required(cls) | settings)

    def once() -> Result:
        given = inputs or conformance_inputs()
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
    offers: dict[str, JsonValue] = {"from": "flips", "of": ["flex", "shap"]}
    keys = [field.alias or name for name, field in cls.model_fields.items() if field.is_required()]
    return {key: offers[key] for key in keys if key in offers}


def _result_of(task: str, inputs: Inputs) -> Result:
    """The result of a task that a method reads."""
    if task.startswith("counterfactuals."):
        return search_set(_settled(GENERATORS.classes()["nearest"], GENERATORS, {"per_row": 3}), inputs)[1]
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
