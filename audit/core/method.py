"""The contract of everything that runs: methods and counterfactual generators.

The runnable class is the settings model: its fields are the keys of the spec. It never sees a file, a clock or
another method; all that it may use comes in through the Context.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NoReturn

import numpy as np
import pandas as pd
from pydantic import Field

from audit.core.base import Frozen
from audit.core.counterfactuals import Found
from audit.core.evidence import Note, Result
from audit.core.images import ImageInputs
from audit.core.model import Decision, Scorer
from audit.core.plan import Part
from audit.core.policy import Policy
from audit.core.registry import Registry
from audit.core.schema import FeatureSchema
from audit.core.table import Floats, Table

Need = Literal["model", "native", "gradient", "train", "target", "policy", "images"]
"""model: scores for rows that are not in the data · native: the inside of the model · gradient: the model is a
`core.network.Network` · train: training data · target: true classes of the evaluation rows · policy: what may change,
which searches have without asking · images: pictures, and a model of them that is cut in two."""


@dataclass(frozen=True)
class Inputs:
    """What the tasks of one audit have in common.

    Attributes:
        schema: the d features.
        decision: how scores become outcomes.
        evaluate: all evaluation rows; `extra` holds every column of the file that is not a feature.
        train: the training rows, or None.
        reference: the training rows where there are any, else the evaluation rows: scales, levels, neighbours.
        target: name of the column of true classes (text) in `extra`, or None.
        protected: names of the protected columns.
        scores: stored probabilities of the evaluation rows, shape (n, C): from the model, or from the data.
        model: scores any row; None where the spec gives predictions only.
        policy: what may change and how; `policy.domain()` is the same without mutability.
        sample: the audited rows; None while they are being drawn.
        regions: membership, one row per (region, instance): `region, instance, distance, weight`.
        results: what the tasks found that this one reads, by the name under which it asks for them.
        evaluate_is: how the evaluation rows were set apart from the training rows, as the spec says; None: unsaid.
        given: by path the files that searches name (`Generator.file`): counterfactuals, the instances as ids.
        images: the pictures that the rows stand for, and the model of them; None in an audit of features. With images
            the schema has no features and `model` is None.
    """

    schema: FeatureSchema
    decision: Decision
    evaluate: Table
    train: Table | None
    reference: Table
    target: str | None
    protected: tuple[str, ...]
    scores: Floats
    model: Scorer | None
    policy: Policy
    sample: "Sample | None" = None
    regions: pd.DataFrame = field(default_factory=pd.DataFrame)
    results: Mapping[str, Result] = field(default_factory=dict)
    evaluate_is: str | None = None
    given: Mapping[str, Table] = field(default_factory=dict)
    images: ImageInputs | None = None


@dataclass(frozen=True)
class Sample:
    """The audited rows, shared by all methods.

    Attributes:
        table: n rows.
        rows: their positions in `evaluate`, shape (n,).
        drawn: shape (n,); True for rows drawn at random, which alone count in global results; False for rows
            that joined because a region asked for them.
        scores: their probabilities, shape (n, C).
    """

    table: Table
    rows: np.ndarray[Any, np.dtype[np.int64]]
    drawn: np.ndarray[Any, np.dtype[np.bool_]]
    scores: Floats

    def __len__(self) -> int:
        return len(self.table)

    @property
    def drawn_ids(self) -> tuple[str, ...]:
        """The instances that were drawn at random, in their order."""
        return tuple(i for i, drawn in zip(self.table.ids, self.drawn, strict=True) if drawn)


def _silent(done: int, total: int) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True)
class Context:
    """All that a method may see while it runs.

    Attributes:
        inputs: see Inputs.
        rng: a generator seeded by the run's seed, the task's key and the part, so that order cannot matter.
        tick: reports progress as (done, total); no digest sees it.
    """

    inputs: Inputs
    rng: np.random.Generator
    tick: Callable[[int, int], None] = _silent

    @property
    def model(self) -> Scorer:
        """The model, for methods that need one."""
        return self.inputs.model if self.inputs.model is not None else _absent("model")

    @property
    def sample(self) -> Sample:
        """The audited rows."""
        return self.inputs.sample if self.inputs.sample is not None else _absent("sample")

    @property
    def images(self) -> ImageInputs:
        """The pictures and the model of them, for methods that need them."""
        return self.inputs.images if self.inputs.images is not None else _absent("images")

    @property
    def train(self) -> Table:
        """The training rows, for methods that need them."""
        return self.inputs.train if self.inputs.train is not None else _absent("train")


def _absent(what: str) -> NoReturn:
    raise RuntimeError(f"{what} was used by a task that does not ask for it in `needs`")


class Refusal(Exception):  # noqa: N818 - not an error: a result with a reason
    """Raised by a method whose question has no honest answer here; becomes evidence with this status."""

    def __init__(self, message: str, status: Literal["refused", "not_applicable"] = "refused") -> None:
        super().__init__(message)
        self.status: Literal["refused", "not_applicable"] = status


class Runnable(Frozen):
    """Settings that can be run part by part."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    uses: ClassVar[tuple[str, ...]] = ()
    cites: ClassVar[tuple[str, ...]] = ()
    rev: ClassVar[int] = 1

    def reads(self) -> dict[str, str]:
        """Tasks whose results this one asks for: name in `inputs.results` to task id."""
        return {}

    def parts(self, inputs: Inputs, part_rows: int) -> list[Part]:
        """The pieces; one by default. Must depend on settings and inputs alone, never on workers."""
        return [Part(index=0)]

    def merge(self, inputs: Inputs, partials: Sequence[Result]) -> Result:
        """The result from those of all parts, in order; by default there is exactly one."""
        (only,) = partials
        return only


class Method(Runnable):
    """A question put to the model. One method per file in `methods/`."""

    kind: str
    id: str | None = None

    remedy: ClassVar[str] = ""
    """The artefact with a model that `remedies:` has audited in place of the given one; empty: it makes none."""

    as_given: ClassVar[bool] = False
    """Whether it reads, on the model of a remedy, what it found for the given model, as `given`."""

    columns: ClassVar[tuple[str, ...]] = ()
    features: ClassVar[tuple[str, ...]] = ()
    """Settings that name columns of the data, and features of the model: lists, however deep, or keys of mappings.
    A name that is not there is refused with its line before anything is computed."""

    bears_failures: ClassVar[bool] = False
    """Whether it runs although a task that it reads has no result."""

    @property
    def task_id(self) -> str:
        """The id of its evidence: `id`, or the kind."""
        return self.id or self.kind

    def run(self, ctx: Context, part: Part) -> Result:
        """The result of one part."""
        raise NotImplementedError

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        METHODS.add(cls)


METHODS: Registry[Method] = Registry("method", "kind", "audit.methods")


class Generator(Runnable):
    """A counterfactual search. One per file in `search/`.

    The engine splits the sample into parts of rows, calls `generate` for each, and has every answer checked by
    `search/verify.py` before anyone reads it.

    Attributes:
        per_row: counterfactuals wanted per instance.
        for_: `each` row, or the `unfavourable` ones only (towards favourable).
        constraints: `domain` keeps types, levels, bounds of the data and coherence rules; `policy` adds mutability.
    """

    search: str
    per_row: int = 10
    for_: Literal["each", "unfavourable"] = Field(default="each", alias="for")
    constraints: Literal["domain", "policy"] = "domain"

    needs: ClassVar[frozenset[Need]] = frozenset({"model"})
    proves: ClassVar[bool] = False
    """Whether it can prove a counterfactual to be the nearest there is (`Found.optimal`)."""

    def parts(self, inputs: Inputs, part_rows: int) -> list[Part]:
        n = len(inputs.sample) if inputs.sample is not None else 0
        starts = range(0, n, part_rows)
        return [Part(index=i, start=s, stop=min(s + part_rows, n)) for i, s in enumerate(starts)]

    @property
    def file(self) -> str | None:
        """The path of a file of counterfactuals that it reads, relative to the spec; None where it reads none."""
        return None

    def constraint(self, policy: Policy) -> Policy:
        """The constraints that this set is searched under."""
        return policy if self.constraints == "policy" else policy.domain()

    def choices(self) -> pd.DataFrame:
        """The choices of this search, as `core/choice.choices_table` lays them out; empty where it states none."""
        return pd.DataFrame()

    def notes(self, inputs: Inputs) -> tuple[Note, ...]:
        """What a reader must know of this search on these inputs, beside what is said of every set."""
        return ()

    def generate(self, ctx: Context, rows: Table, before: np.ndarray[Any, np.dtype[np.int64]]) -> Found:
        """Counterfactuals for `rows`, whose present outcomes are `before`, shape (n,)."""
        raise NotImplementedError

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        GENERATORS.add(cls)


GENERATORS: Registry[Generator] = Registry("counterfactual search", "search", "audit.search")
