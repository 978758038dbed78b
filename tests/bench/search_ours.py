"""Our own searches for a cell of the comparison: the Generator, called as the engine calls it, and nothing else.

The package is found where PYTHONPATH says: in the copy that the run has made of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from search_data import Task
from search_models import Served, columns_of
from search_run import Answer, Peer

from audit.core.method import GENERATORS, Context, Inputs, Sample
from audit.core.model import CodeScores, Decision, Native, Scorer
from audit.core.policy import FeatureRule, Policy
from audit.core.schema import Feature, FeatureSchema
from audit.core.table import Floats, Table

CLASSES = ("no", "yes")
SETTINGS: dict[str, dict[str, Any]] = {
    "nearest": {"search": "nearest"},
    "fast": {"search": "cheapest", "effort": "fast"},
    "quality": {"search": "cheapest", "effort": "quality"},
    "fast0": {"search": "cheapest", "effort": "fast", "per_change": 0.0},
    "quality0": {"search": "cheapest", "effort": "quality", "per_change": 0.0},
}
"""What the spec would say; `0`: without a price per changed feature, as the exact search measures."""


@dataclass(frozen=True)
class Wrapped:
    """The measured model as the audit sees a model."""

    served: Served
    names: tuple[str, ...]
    classes: tuple[str, ...] = CLASSES
    capabilities: frozenset[Any] = frozenset({"predict"})

    def predict(self, frame: pd.DataFrame) -> Floats:
        """Shape (n, 2)."""
        return _both(self.served(frame, lambda rows: rows.to_numpy(dtype=np.float64)))

    def of_codes(self, schema: FeatureSchema) -> CodeScores:
        """As `core.model.Coded` says: the codes of these schemas are what the model itself is given."""
        return lambda codes: _both(self.served(codes))

    def native(self) -> Native | None:
        """Nothing: the search sees scores alone."""
        return None


@dataclass(frozen=True)
class WrappedTrees(Wrapped):
    """The measured trees, which also say where they split, as the adapter of LightGBM files does.

    Attributes:
        splits: by name of a numeric feature the values on both sides of each split, shape (k, 2).
    """

    splits: Mapping[str, Floats] = field(default_factory=dict)

    def thresholds(self, name: str) -> Floats | None:
        """As `core.model.Thresholds` says."""
        return self.splits.get(name)


def _both(p: np.ndarray) -> Floats:
    P = np.empty((len(p), 2))
    P[:, 0], P[:, 1] = 1 - p, p
    return P


def wrapped(task: Task, served: Served) -> Wrapped:
    """The measured model as the audit sees a model."""
    names = tuple(f["name"] for f in task.features)
    if not served.splits:
        return Wrapped(served, names)
    splits = {}
    for column, (j, level) in enumerate(columns_of(task.features)):
        cuts = np.array(served.splits.get(column, ()))
        if level is None:
            splits[names[j]] = np.column_stack([cuts, np.nextafter(cuts, np.inf)])
    return WrappedTrees(served, names, splits=splits)


def schema_of(task: Task) -> FeatureSchema:
    """The schema of a task: whole numbers, and levels that are their own codes."""
    return FeatureSchema(
        features=tuple(
            Feature(
                name=f["name"],
                kind="categorical" if f["levels"] else "numeric",
                levels=tuple(range(f["levels"])),
                low=f["low"],
                high=f["high"],
                integer=not f["levels"] and not f.get("real"),
            )
            for f in task.features
        )
    )


def inputs_of(task: Task, served: Served, rows: np.ndarray, train: Table) -> Inputs:
    """What the engine would hand to a search of these rows, shape (n, d)."""
    schema = train.schema
    policy = Policy.build(schema, {f["name"]: FeatureRule(change=f["change"]) for f in task.features})
    decision = Decision(CLASSES, ("yes",))
    model = wrapped(task, served)
    evaluate = table_of(schema, rows, "q")
    scores = Scorer(model, schema, decision).probabilities(rows)
    sample = Sample(evaluate, np.arange(len(rows)), np.ones(len(rows), dtype=bool), scores)
    return Inputs(
        schema=schema,
        decision=decision,
        evaluate=evaluate,
        train=train,
        reference=train,
        target=None,
        protected=(),
        scores=scores,
        model=Scorer(model, schema, decision),
        policy=policy,
        sample=sample,
    )


def table_of(schema: FeatureSchema, codes: np.ndarray, prefix: str) -> Table:
    """Rows with made-up ids."""
    return Table(schema, codes, tuple(f"{prefix}{i}" for i in range(len(codes))))


def generator_of(kind: str, **settings: Any) -> Any:
    """The generator of a row of the tables."""
    values = {"per_row": 1, "for": "unfavourable", "constraints": "policy"} | SETTINGS[kind] | settings
    return GENERATORS.classes()[values["search"]].model_validate(values)


class Ours(Peer):
    """One of our searches; all rows advance together."""

    batched = True

    def __init__(self, task: Task, served: Served, cell: dict[str, Any]) -> None:
        super().__init__(task, served, cell)
        self.train = table_of(schema_of(task), self.reference, "t")
        self.generator = generator_of(self.kind, **cell.get("settings", {}))

    def search(self, rows: np.ndarray) -> list[tuple[Answer, str]]:
        """The first counterfactual of each row."""
        inputs = inputs_of(self.task, self.served, rows, self.train)
        ctx = Context(inputs, np.random.default_rng(self.cell["seed"]))
        assert inputs.sample is not None
        found = self.generator.generate(ctx, inputs.sample.table, np.zeros(len(rows), dtype=np.int64))
        answers: list[tuple[Answer, str]] = [(None, reason) for reason in found.reasons]
        for i, codes in zip(found.row[::-1], found.codes[::-1], strict=True):
            answers[int(i)] = (codes, "")
        return answers
