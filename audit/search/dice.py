"""Counterfactuals by the library DiCE, for comparison; it is installed apart."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from audit.core.choice import Choice, choices_table
from audit.core.counterfactuals import Found, distance
from audit.core.method import Context, Generator, Refusal
from audit.core.model import Decision, Ints, Scorer
from audit.core.neighbours import chosen_rows
from audit.core.policy import Policy
from audit.core.table import Floats, Table

CHOICES = (
    Choice("DICE-01", "way of searching", "random", "the default of DiCE"),
    Choice("DICE-02", "rows of the reference that DiCE is given", "2000", "it scores all of them again for every row"),
    Choice("DICE-03", "values", "codes of levels, numbers as they are", "so that its answers can be read back"),
    Choice(
        "DICE-04", "constraints", "what may vary, and ranges", "DiCE takes no others; the check finds what it breaks"
    ),
    Choice("DICE-05", "missing values", "left out", "DiCE takes none"),
    Choice("DICE-06", "threshold", "moved to one half", "DiCE knows no other"),
    Choice(
        "DICE-07", "calls of the model for a row", "5000", "its genetic search goes on for ever where nothing flips"
    ),
)

OUTCOME = "outcome"
NOTHING = "the constraints leave nothing to change"


class Dice(Generator):
    """What the library DiCE gives for each row, as any other search is asked and checked.

    DiCE is asked row by row: which features may vary, and what each may become from its present value. Its answers are
    read back, the nearest first, and checked like all others; steps, directions of levels that have an order, and
    rules across features it does not know, so that some of its answers are thrown out.

    Assumes: two outcomes, no missing values. It is here to be compared with, not to be relied on.

    Reference: R. K. Mothilal, A. Sharma and C. Tan, Explaining machine learning classifiers through diverse
    counterfactual explanations, FAT* 2020, doi 10.1145/3351095.3372850.

    Attributes:
        method: how DiCE searches.
        dice_seed: what its random numbers start from, for every row anew.
        reference_rows: rows of the reference that it is given at most, drawn once.
        calls: how often it may ask the model for one row; then it is stopped, and the row counts as not found.
    """

    search: Literal["dice"] = "dice"
    per_row: int = Field(default=4, ge=1)
    method: Literal["random", "genetic", "kdtree"] = "random"
    dice_seed: int = Field(default=0, ge=0)
    reference_rows: int = Field(default=2_000, ge=10)
    calls: int = Field(default=5_000, ge=10)

    uses: ClassVar[tuple[str, ...]] = ("dice-ml",)
    cites: ClassVar[tuple[str, ...]] = (
        "Explaining machine learning classifiers through diverse counterfactuals, doi 10.1145/3351095.3372850",
    )

    def choices(self) -> pd.DataFrame:
        return choices_table(
            CHOICES, {"DICE-01": self.method, "DICE-02": str(self.reference_rows), "DICE-07": str(self.calls)}
        )

    def generate(self, ctx: Context, rows: Table, before: Ints) -> Found:
        """What DiCE gives.

        Raises:
            Refusal: DiCE is not installed, or there are more than two outcomes.
        """
        if find_spec("dice_ml") is None:
            raise Refusal("DiCE is not installed here; install it with pip install 'auditspec[dice]'")
        if len(ctx.inputs.decision.outcomes) != 2:
            raise Refusal("DiCE is asked here about two outcomes, and there are more", "not_applicable")
        spent, n = ctx.model.rows, len(rows)
        library = _Library(ctx, self) if n else None
        shared = ctx.model.rows - spent
        pieces: list[Floats] = []
        reasons, evaluated = [""] * n, np.zeros(n, dtype=np.int64)
        for i, x in enumerate(rows.codes):
            start = ctx.model.rows
            codes, reasons[i] = library.ask(x) if library is not None else (rows.codes[:0], "")
            evaluated[i] = ctx.model.rows - start
            pieces.append(codes[np.argsort(distance(rows.schema, np.tile(x, (len(codes), 1)), codes), kind="stable")])
            ctx.tick(i + 1, n)
        counts = [len(piece) for piece in pieces]
        return Found(
            row=np.repeat(np.arange(n), counts),
            codes=np.concatenate([np.empty((0, len(rows.schema))), *pieces]),
            proven=np.zeros(n, dtype=bool),
            reasons=reasons,
            evaluated=evaluated,
            shared=shared,
        )


class _SpentError(Exception):
    """DiCE asked the model as often as it may for a row."""


class _Classifier:
    """The model as DiCE calls it: frames of text and numbers in, two columns out, of which the second flips at 0.5."""

    classes_ = np.array([0, 1])

    def __init__(self, model: Scorer, calls: int) -> None:
        self.model = model
        self.calls = calls
        self.left = calls

    def begin(self) -> None:
        """A row of its own: the calls are counted anew."""
        self.left = self.calls

    def predict_proba(self, frame: pd.DataFrame) -> Floats:
        """Shape (n, 2).

        Raises:
            _SpentError: the calls for this row are used up.
        """
        self.left -= 1
        if self.left < 0:
            raise _SpentError
        score = _centred(self.model.decision, self.model.probabilities(_codes(frame[_names(self.model)])))
        return np.column_stack([1 - score, score])

    def predict(self, frame: pd.DataFrame) -> Ints:
        """Shape (n,)."""
        return np.asarray(self.predict_proba(frame)[:, 1] >= 0.5, dtype=np.int64)


class _Library:
    """DiCE, given the reference and the model."""

    def __init__(self, ctx: Context, settings: Dice) -> None:
        import dice_ml

        self.settings = settings
        self.model = ctx.model
        self.policy: Policy = settings.constraint(ctx.inputs.policy)
        self.features = ctx.inputs.schema.features
        codes = ctx.inputs.reference.codes
        whole = codes[~np.isnan(codes).any(axis=1)]
        whole = whole[chosen_rows(len(whole), settings.reference_rows, 0)]
        self.classifier = _Classifier(ctx.model, settings.calls)
        self.names = _names(ctx.model)
        frame = self._frame(whole)
        self.reason = "" if len(whole) else "every row of the reference has a missing value, and DiCE takes none"
        if self.reason:
            return
        frame[OUTCOME] = self.classifier.predict(frame)
        if frame[OUTCOME].nunique() < 2:
            self.reason = "no row of the reference has another outcome"
            return
        numbers = [name for name, feature in zip(self.names, self.features, strict=True) if not feature.levels]
        with _seeded(settings.dice_seed):
            data = dice_ml.Data(dataframe=frame, continuous_features=numbers, outcome_name=OUTCOME)
            model = dice_ml.Model(model=self.classifier, backend="sklearn")
            self.explainer = dice_ml.Dice(data, model, method=settings.method)

    def ask(self, x: Floats) -> tuple[Floats, str]:
        """Counterfactuals of one row, shape (m, d), and why there is none."""
        nothing = np.empty((0, len(x)))
        missing = bool(np.isnan(x).any())
        ways = {} if missing else {name: self._range(j, float(x[j])) for j, name in enumerate(self.names)}
        ranges = {name: way for name, way in ways.items() if way is not None}
        if self.reason or not ranges:
            none = "the row has a missing value, and DiCE takes none" if missing else NOTHING
            return nothing, self.reason or none
        extra = {"random_seed": self.settings.dice_seed} if self.settings.method == "random" else {}
        self.classifier.begin()
        try:
            with _seeded(self.settings.dice_seed):
                found = self.explainer.generate_counterfactuals(
                    self._frame(x[None]), total_CFs=self.settings.per_row, desired_class="opposite",
                    features_to_vary=list(ranges), permitted_range=ranges, verbose=False, **extra,
                )  # fmt: skip
        except _SpentError:
            return nothing, f"DiCE was stopped after {self.settings.calls:,} calls of the model"
        except Exception as error:  # noqa: BLE001 - the library says in many ways that it found none
            return nothing, f"DiCE: {type(error).__name__}: {error}".splitlines()[0]
        (example,) = found.cf_examples_list
        frame = example.final_cfs_df_sparse if example.final_cfs_df_sparse is not None else example.final_cfs_df
        if frame is None or not len(frame):
            return nothing, "DiCE found none"
        return np.unique(_codes(frame[self.names]), axis=0), ""

    def _range(self, j: int, x: float) -> list[Any] | None:
        """What a feature may become, in the words of DiCE; None where it may not change."""
        feature = self.features[j]
        if not self.policy.movable[j]:
            return None
        if feature.levels:
            options = self.policy.options(j, x, len(feature.levels) + 2)
            codes = [] if options is None else sorted(options[~np.isnan(options)].tolist())
            return [str(int(code)) for code in codes] if len(codes) > 1 else None
        low = max(float(self.policy.low[j]), feature.low if self.policy.down[j] else x)
        high = min(float(self.policy.high[j]), feature.high if self.policy.up[j] else x)
        whole = feature.integer
        return [int(low) if whole else low, int(high) if whole else high] if low < high else None

    def _frame(self, codes: Floats) -> pd.DataFrame:
        """Rows as DiCE takes them: levels as text."""
        columns: dict[str, Any] = {}
        for j, (name, feature) in enumerate(zip(self.names, self.features, strict=True)):
            column = codes[:, j]
            if feature.levels:
                columns[name] = column.astype(np.int64).astype(str).astype(object)
            else:
                columns[name] = column.astype(np.int64) if feature.integer else column
        return pd.DataFrame(columns)


def _names(model: Scorer) -> list[str]:
    """Names that DiCE has no meaning for."""
    return [f"f{j}" for j in range(len(model.schema))]


def _codes(frame: pd.DataFrame) -> Floats:
    """Rows of DiCE as codes."""
    return np.column_stack([frame[name].to_numpy().astype(np.float64) for name in frame.columns])


def _centred(decision: Decision, P: Floats) -> Floats:
    """The score of the second outcome, stretched so that the outcome flips at one half."""
    score, at = (decision.score(P), decision.at_least) if decision.favourable else (P[:, 1], 0.5)
    below = 0.5 * score / max(at, 1e-12)
    above = 0.5 + 0.5 * (score - at) / max(1 - at, 1e-12)
    return np.asarray(np.where(score >= at, above, below))


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seeds the generators of the process, from which DiCE draws, and puts them back."""
    from dice_ml.explainer_interfaces import dice_genetic

    plain, numbers = dice_genetic.random.getstate(), np.random.get_state()  # noqa: NPY002 - what the library draws from
    dice_genetic.random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        dice_genetic.random.setstate(plain)
        np.random.set_state(numbers)  # noqa: NPY002
