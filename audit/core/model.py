"""A model as the audit sees it, and the decision that is taken from its scores."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.core.base import Frozen
from audit.core.errors import ModelError
from audit.core.registry import Registry
from audit.core.schema import FeatureSchema
from audit.core.table import Floats, decode

Ints = NDArray[np.int64]
Pixels = NDArray[np.float32]
"""Numbers of images or feature maps, shape (b, channels, height, width)."""

Capability = Literal["predict", "native", "gradient", "split"]

ACCEPT = 1e-6
"""A counterfactual is accepted this far beyond the decision threshold: float32 models round by batch shape."""

BLOCK_ROWS = 65_536
"""Rows that a model is given at most at once, so that memory stays flat."""


@dataclass(frozen=True)
class Native:
    """A model whose inside an explainer can read.

    Attributes:
        form: what the estimator is: of scikit-learn, or a `booster` of XGBoost or LightGBM.
        estimator: the fitted final estimator.
        transform: frame in feature space (n, d) to the matrix that the estimator is given (n, m).
        before: the fitted steps that `transform` consists of, or None where it only lays out columns.
    """

    form: Literal["linear", "trees", "booster"]
    estimator: Any
    transform: Callable[[pd.DataFrame], Floats]
    before: Any = None


class Model(Protocol):
    """What an adapter returns.

    Attributes:
        classes: the C class labels, as text, in the order of the columns of `predict`.
        capabilities: `predict` (scores for any row); `native` (an explainer can look inside); others later.
    """

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def capabilities(self) -> frozenset[Capability]: ...

    def predict(self, frame: pd.DataFrame) -> Floats:
        """Probabilities of shape (n, C) for rows in feature space; every row sums to 1."""
        ...

    def native(self) -> Native | None:
        """The inside, where `native` is among the capabilities."""
        ...


@runtime_checkable
class StoredScores(Protocol):
    """What an adapter returns where there are scores in the data and no model; its capabilities are empty."""

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def capabilities(self) -> frozenset[Capability]: ...

    def stored(self, frame: pd.DataFrame) -> Floats:
        """Probabilities of shape (n, C) of the evaluation rows, from the file as it was read."""
        ...


@runtime_checkable
class Thresholds(Protocol):
    """What a model made of trees offers beside `Model`: where its scores can jump as one number changes."""

    def thresholds(self, name: str) -> Floats | None:
        """The splits on a numeric feature, shape (k, 2), ascending; None where they are not known.

        Of each split the largest value on its lower side and the smallest on its upper side, as float64 values of the
        feature that the model itself tells apart: `x <= t` gives (t, next after t); a model that rounds to float32
        gives neighbours in float32. (0, 2) for a feature that no tree splits on. A search may also look elsewhere.
        """
        ...


CodeScores = Callable[[Floats], Floats]
"""From codes, shape (n, d), to probabilities, shape (n, C)."""


@runtime_checkable
class Coded(Protocol):
    """What a model offers beside `Model` that can be asked without a frame of the rows being made."""

    def of_codes(self, schema: FeatureSchema) -> CodeScores | None:
        """What answers for codes of a schema, bit for bit as `predict(decode(schema, codes))`; None: nothing does."""
        ...


@runtime_checkable
class Refits(Protocol):
    """What a model offers beside `Model` that can be fitted once more, from its own settings."""

    def refitted(self, frame: pd.DataFrame, labels: "pd.Series[Any]", seed: int) -> Model:
        """The model fitted anew on rows in feature space and their class labels, as text, with another seed.

        Raises:
            ModelError: it cannot be fitted again; the message has the reason.
        """
        ...


@runtime_checkable
class ImageModel(Protocol):
    """What an adapter returns for a classifier of images: two halves, one after the other the whole model.

    Attributes:
        classes: the C class labels, as text, in the order of the logits.
        capabilities: `split`.
    """

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def capabilities(self) -> frozenset[Capability]: ...

    def features(self, batch: Pixels) -> Pixels:
        """Feature maps (b, d, h, w) of inputs (b, channels, height, width)."""
        ...

    def head(self, maps: Pixels) -> Pixels:
        """Logits (b, C) of feature maps (b, d, h, w)."""
        ...


@runtime_checkable
class FirstLayer(Protocol):
    """What a model of images offers beside `ImageModel` where its head may begin with a linear layer on all cells."""

    def first_layer(self) -> tuple[Pixels, Pixels, Callable[[Pixels], Pixels]] | None:
        """Its weight (k, d h w), its bias (k,) and what follows, (b, k) to logits (b, C); None: there is none."""
        ...


@dataclass(frozen=True)
class Allow:
    """What the person who starts the run allows; a spec can never grant it."""

    pickle: bool = False
    code: bool = False
    types: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """What an adapter may read.

    Attributes:
        path: the model file, or None.
        folder: where the spec lies; code that the spec names may lie there too.
        evaluate: the evaluation file as it was read.
        favourable: the favourable class labels.
        target: name of the column of true classes in `evaluate`, or None.
        schema: the features that the model will be given, or None where they are not known yet.
        train: the training file as it was read, or None.
        content: the bytes of the model file where they were read already; those whose digest is recorded.
        read: what `Adapter.first` read in a confined process, where that is text.
    """

    path: str | None
    folder: str
    allow: Allow
    evaluate: pd.DataFrame
    favourable: tuple[str, ...]
    target: str | None = None
    schema: FeatureSchema | None = None
    train: pd.DataFrame | None = None
    content: bytes | None = None
    read: str | None = None


class DecisionRule(Frozen):
    """What counts as favourable in practice."""

    score: Literal["p(favourable)"] = "p(favourable)"
    at_least: float


class Adapter(Frozen):
    """Settings of a model in the spec; `load` returns the Model. One adapter per file in `models/`.

    Attributes:
        features: what the model is given, in order; nothing else reaches it. None: every column of the data
            that is not the id, the target, a production score or a protected column.

    Of an adapter with `parsers`, the class says: `inside`, that explainers may need its model in memory, so that the
    audit may open the file too; `gives_text`, that `first` gives text. A file can never bring about either by itself.
    """

    kind: str
    features: tuple[str, ...] | None = None
    decision: DecisionRule | None = None

    rev: ClassVar[int] = 1
    uses: ClassVar[tuple[str, ...]] = ()
    inside: ClassVar[bool] = False
    gives_text: ClassVar[bool] = False

    @property
    def file(self) -> str | None:
        """The path of the model file, relative to the spec; None where the model is not a file."""
        return None

    @property
    def expected_sha256(self) -> str | None:
        """The digest that the spec pins, if any."""
        return None

    def parsers(self) -> tuple[str, ...]:
        """Modules that parse the file; such a file is first opened in a confined process. Empty: it needs none."""
        return ()

    @property
    def parsed(self) -> str:
        """The file that these modules parse, as a message begins: with where the spec names it."""
        return f"model.path: {self.file}"

    def first(self, source: Source) -> "Model | StoredScores | ImageModel | str":
        """What the confined process opens: the model, or text that `load` is then given as `Source.read`.

        Text is for a file of which a few numbers are all that the model needs: it is then opened nowhere else.

        Raises:
            ModelError: as `load`.
        """
        return self.load(source)

    def columns_read(self) -> tuple[str, ...]:
        """Columns of the evaluation data that it reads as stored scores; they are no features."""
        return ()

    def load(self, source: Source) -> Model | StoredScores | ImageModel:
        """The model, the scores that stand in for one, or a model of images in two halves.

        Raises:
            ModelError: the file cannot be read, is refused, or is no classifier.
        """
        raise NotImplementedError

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        ADAPTERS.add(cls)


ADAPTERS: Registry[Adapter] = Registry("model adapter", "kind", "audit.models")


@dataclass(frozen=True)
class Decision:
    """How scores become outcomes.

    With favourable classes there are two outcomes, `unfavourable` (0) and `favourable` (1): favourable where
    the summed probability of the favourable classes is at least `at_least`. Without, the outcome is the most
    probable class, and a flip is any other class.
    """

    classes: tuple[str, ...]
    favourable: tuple[str, ...] = ()
    at_least: float = 0.5

    @property
    def outcomes(self) -> tuple[str, ...]:
        """The names of the outcomes, by number."""
        return ("unfavourable", "favourable") if self.favourable else self.classes

    def score(self, P: Floats) -> Floats:
        """What is compared with the threshold, shape (n,): p(favourable), or the highest probability."""
        if self.favourable:
            chosen = [self.classes.index(label) for label in self.favourable]
            score: Floats = P[:, chosen].sum(axis=1) if len(chosen) > 1 else P[:, chosen[0]]
        else:
            score = P.max(axis=1)
        return score

    def outcome(self, P: Floats) -> Ints:
        """The number of the outcome of each row, shape (n,)."""
        if self.favourable:
            return np.asarray(self.score(P) >= self.at_least, dtype=np.int64)
        return np.asarray(P.argmax(axis=1), dtype=np.int64)

    def actual(self, labels: "pd.Series[Any]") -> Ints:
        """The number of the outcome that each true class label (as text) stands for, shape (n,)."""
        if self.favourable:
            return np.asarray(labels.isin(self.favourable), dtype=np.int64)
        return np.asarray(labels.map({label: i for i, label in enumerate(self.classes)}), dtype=np.int64)

    def away(self, P: Floats, before: Ints) -> Floats:
        """Probability of not being in outcome `before`, shape (n,): what a search raises."""
        if self.favourable:
            score = self.score(P)
            return np.where(before == 1, 1.0 - score, score)
        return 1.0 - P[np.arange(len(P)), before]

    def margin(self, P: Floats, before: Ints) -> Floats:
        """How far a row is beyond the flip of outcome `before`, shape (n,); flipped for sure at ACCEPT."""
        if self.favourable:
            distance = self.score(P) - self.at_least
            return np.where(before == 1, -distance, distance)
        rows = np.arange(len(P))
        stay = P[rows, before]
        others = P.copy()
        others[rows, before] = -np.inf
        return np.asarray(others.max(axis=1) - stay)

    def flipped(self, P: Floats, before: Ints) -> NDArray[np.bool_]:
        """Whether each row has left outcome `before` by at least ACCEPT."""
        return self.margin(P, before) >= ACCEPT


class Scorer:
    """A model that is given codes and counts the rows that it answers for."""

    def __init__(self, model: Model, schema: FeatureSchema, decision: Decision) -> None:
        self.model = model
        self.schema = schema
        self.decision = decision
        self.rows = 0
        self.calls = 0
        self._of_codes = model.of_codes(schema) if isinstance(model, Coded) else None

    def probabilities(self, codes: Floats) -> Floats:
        """Class probabilities, shape (n, C), for rows of codes, shape (n, d).

        Raises:
            ModelError: the model fails, or answers with other than n rows of C finite numbers in [0, 1].
        """
        blocks = [self._block(codes[i : i + BLOCK_ROWS]) for i in range(0, len(codes), BLOCK_ROWS)]
        return np.concatenate(blocks) if blocks else np.empty((0, len(self.model.classes)))

    def _block(self, codes: Floats) -> Floats:
        self.rows += len(codes)
        self.calls += 1
        try:
            P = np.asarray(self._ask(codes), dtype=np.float64)
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(
                f"the model failed on {len(codes)} rows: {type(error).__name__}: {error}. "
                "Check that `model.features` lists what it was trained on, in that order."
            ) from error
        expected = (len(codes), len(self.model.classes))
        if P.shape != expected:
            raise ModelError(f"the model answered with shape {P.shape}, expected {expected} (rows, classes)")
        # What is no number makes the smallest none, and no comparison with that holds.
        if not (P.min(initial=0.0) >= -1e-9 and P.max(initial=0.0) <= 1 + 1e-6):
            raise ModelError("the model answered with scores that are not probabilities between 0 and 1")
        return P

    def _ask(self, codes: Floats) -> Floats:
        return self.model.predict(decode(self.schema, codes)) if self._of_codes is None else self._of_codes(codes)
