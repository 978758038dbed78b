"""Small models, tables and inputs whose answers can be worked out by hand."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from audit.core.expression import parse
from audit.core.infer import ColumnInfo, infer_schema
from audit.core.method import Context, Inputs, Sample
from audit.core.model import Capability, Decision, Model, Native, Scorer
from audit.core.network import Mlp, Network, Prepare
from audit.core.policy import FeatureRule, Policy
from audit.core.schema import FeatureSchema, Level
from audit.core.table import Floats, Table, encode


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


def toy_network(
    table: Table, weights: Mapping[str, float | Mapping[Level, float]], bias: float = 0.0, gain: float = 1.0
) -> Network:
    """A linear network with P(yes) = 1 / (1 + exp(-gain (bias + sum of weight times code))); classes `no` and `yes`.

    Args:
        weights: by feature, or for categorical features by level; what is not named has none.
        table: rows without missing values, from which the inputs are scaled.
    """
    import torch

    prepare, shape = Prepare.fit(table.schema, table), Mlp(hidden=())
    module = shape.build(len(prepare.groups), 2, 0)
    slopes: list[float] = []
    for j, feature in enumerate(table.schema.features):
        weight = weights.get(feature.name, 0.0)
        if feature.kind == "categorical":
            levels = weight if isinstance(weight, Mapping) else {}
            slopes += [levels.get(level, 0.0) for level in feature.levels]
        elif not isinstance(weight, Mapping):
            slopes.append(weight * prepare.sd[j])
            bias += weight * prepare.mean[j]
    rows = torch.tensor([[0.0] * len(slopes), slopes]) * gain
    module.load_state_dict({"0.weight": rows, "0.bias": torch.tensor([0.0, bias * gain])})
    return Network(module, shape, prepare, ("no", "yes"))


@dataclass(frozen=True)
class ToyLinear:
    """A logistic model that shows its inside: log-odds are a sum of weight times code; classes `no` and `yes`.

    Attributes:
        weights: by feature, or for features with levels by level; what is not named has none, nor has missing.
    """

    schema: FeatureSchema
    weights: Mapping[str, float | Mapping[Level, float]]
    bias: float = 0.0
    gain: float = 1.0
    classes: tuple[str, ...] = ("no", "yes")
    capabilities: frozenset[Capability] = frozenset({"predict", "native"})

    def predict(self, frame: pd.DataFrame) -> Floats:
        """Shape (n, 2)."""
        p = 1 / (1 + np.exp(-self.decision_function(self.parts(frame))))
        return np.column_stack([1 - p, p])

    def parts(self, frame: pd.DataFrame) -> Floats:
        """What each feature adds, shape (n, d)."""
        codes = encode(self.schema, frame)
        columns = []
        for j, feature in enumerate(self.schema.features):
            weight = self.weights.get(feature.name, 0.0)
            table = [weight.get(v, 0.0) for v in feature.levels] if isinstance(weight, Mapping) else None
            known = np.nan_to_num(codes[:, j])
            part = known * weight if not isinstance(weight, Mapping) else np.array(table)[known.astype(np.int64)]
            columns.append(np.where(np.isnan(codes[:, j]), 0.0, part))
        return np.column_stack(columns)

    def decision_function(self, parts: Floats) -> Floats:
        """Log-odds, shape (n,)."""
        return np.asarray(self.gain * (self.bias + parts.sum(axis=1)), dtype=np.float64)

    def native(self) -> Native | None:
        """Itself, given what each feature adds."""
        return Native(form="linear", estimator=self, transform=self.parts)


def toy_linear(
    table: Table, weights: Mapping[str, float | Mapping[Level, float]], bias: float = 0.0, gain: float = 1.0
) -> ToyLinear:
    """As `toy_network`, of whatever rows, and with an inside that can be read."""
    return ToyLinear(table.schema, weights, bias, gain)


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
