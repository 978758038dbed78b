"""Shapley values: how far each feature moves the score of a row away from that of a background."""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from audit.core.choice import Choice, choices_table
from audit.core.evidence import Metric, Note, Result, Where
from audit.core.method import Context, Inputs, Method, Need, Refusal
from audit.core.model import Decision, Ints, Native
from audit.core.plan import Part
from audit.core.shapley import coalitions, column_sources, draw_orders, log_odds, shapley_values
from audit.core.stats import average_ranks, bootstrap_means, percentile_interval
from audit.core.table import Floats, decode

Explainer = Literal["linear", "tree", "permutation"]
Space = Literal["probability", "log_odds"]

TOLERANCE = 1e-5
"""How far a sum of Shapley values may be from the score that it explains: tree explainers keep float32 thresholds."""

CHOICES = (
    Choice("explainer", "explainer", "auto", "what reads the model itself is exact and cheap"),
    Choice("rows", "rows explained at most", "100", "drawn from the audited rows"),
    Choice("background", "background rows", "50", "drawn from the reference data; stands for an unknown value"),
    Choice("permutations", "orders of the features, each also reversed", "5", "exact for pairwise interactions"),
    Choice("space", "what is shared out", "auto", "log odds of a probability of 0 or 1 are those of 1e-9 beside it"),
    Choice("one_hot", "columns made from one feature", "summed", "a feature is one feature, whatever its encoding"),
)


@dataclass(frozen=True)
class Explanation:
    """Shapley values and the scores that they add up to.

    Attributes:
        parts: Shapley values, shape (n, d, K), one column for each of the K scores explained.
        base: mean score of the background, shape (K,).
        output: scores of the rows, found apart from the explainer, shape (n, K).
        space: `probability` or `log_odds`.
        outcomes: what each of the K scores is of.
    """

    explainer: Explainer
    parts: Floats
    base: Floats
    output: Floats
    space: Space
    outcomes: tuple[str, ...]
    exact: bool = True

    @property
    def error(self) -> float:
        """The largest distance between a row's score and the sum of its values and the base."""
        return float(np.abs(self.base + self.parts.sum(axis=1) - self.output).max(initial=0.0))


class Shap(Method):
    """Shapley values of the favourable score, or of each class where none is favourable.

    Attributes:
        explainer: `linear` and `tree` read the model itself (package shap); `permutation` asks it, for any model;
            `auto` takes the first that fits.
        space: what is shared out: `probability`, or `log_odds` of one score; `auto` is what the explainer answers in.
            The model of a remedy is explained in the space of the given one, for the same rows.
        rows: audited rows that are explained at most.
        background: rows of the reference data whose values stand for an unknown value.
        permutations: orders of the features, each used forwards and backwards (`permutation` only).
        most_evaluated: model-evaluated rows at most (`permutation` only); beyond that fewer rows are explained.
        bootstrap: resamples of rows for the intervals.

    Assumes:
        Features can be set apart from one another (interventional values): mixed rows need not be realistic.

    Tables:
        shap_global: feature, mean_abs (score), low, high, n (rows), rank. shap_local: instance, feature, outcome,
        value (score). shap_background: instance. choices.

    Reference:
        S. Lundberg, S.-I. Lee, NeurIPS 30 (2017), 4765-4774. S. Lundberg et al., Nature Machine Intelligence 2 (2020),
        56-67 (trees). E. Strumbelj, I. Kononenko, Knowledge and Information Systems 41 (2014), 647-665 (orders).
    """

    kind: Literal["shap"] = "shap"
    explainer: Literal["auto", "linear", "tree", "permutation"] = "auto"
    space: Literal["auto", "probability", "log_odds"] = "auto"
    rows: int = Field(default=100, ge=1, le=10_000)
    background: int = Field(default=50, ge=1, le=1000)
    permutations: int = Field(default=5, ge=1, le=1000)
    most_evaluated: int = Field(default=2_000_000, ge=1)
    bootstrap: int = Field(default=1000, ge=100)

    needs: ClassVar[frozenset[Need]] = frozenset({"model"})
    as_given: ClassVar[bool] = True
    uses: ClassVar[tuple[str, ...]] = ("numpy", "scikit-learn", "shap")
    cites: ClassVar[tuple[str, ...]] = (
        "Lundberg, Lee: A unified approach to interpreting model predictions, NeurIPS (2017)",
        "Lundberg et al.: From local explanations to global understanding with explainable AI for trees (2020)",
        "Strumbelj, Kononenko: Explaining prediction models with feature contributions, Knowl. Inf. Syst. 41 (2014)",
    )

    def run(self, ctx: Context, part: Part) -> Result:
        """Values of the drawn rows.

        Raises:
            Refusal: an explainer was asked for that this model does not allow, or no row was drawn.
        """
        inputs = ctx.inputs
        drawn = ctx.rng.permutation(np.flatnonzero(ctx.sample.drawn))[: self.rows]
        if not len(drawn):
            raise Refusal("no audited row was drawn at random, so there is nothing to explain", "not_applicable")
        size = min(self.background, len(inputs.reference))
        behind = np.sort(ctx.rng.permutation(len(inputs.reference))[:size])
        given = inputs.results.get("given")
        if given is not None:
            drawn = _positions(ctx.sample.table.ids, given.tables["shap_local"])
            behind = _positions(inputs.reference.ids, given.tables["shap_background"])
        explanation, chosen, notes = self._explain(ctx, drawn, inputs.reference.codes[behind])
        ids = [ctx.sample.table.ids[i] for i in chosen]
        tables = {
            "shap_global": self._global(explanation, inputs, ctx.rng),
            "shap_local": _local(explanation, inputs, ids),
            "shap_background": pd.DataFrame({"instance": [inputs.reference.ids[i] for i in behind]}),
            "choices": choices_table(CHOICES, self._values(explanation)),
        }
        said = [self._how(explanation, inputs, len(ids), size), *notes, *_doubts(explanation)]
        return Result(metrics=_metrics(explanation, len(ids), size), tables=tables, notes=tuple(said))

    def _explain(self, ctx: Context, drawn: Ints, background: Floats) -> tuple[Explanation, Ints, list[Note]]:
        """The explanation, the rows of the sample that it is of, and why it is not the one that fits best."""
        native = ctx.model.model.native() if self.explainer != "permutation" else None
        chosen, space = np.sort(drawn), self._space(ctx)
        reason = ""
        if native is not None and self.explainer in {"auto", {"trees": "tree"}.get(native.form, native.form)}:
            found = _read(native, ctx, chosen, background)
            if isinstance(found, Explanation):
                if space in {"auto", found.space}:
                    return found, chosen, []
                found = f"it answers in {_words(found.space)}, and {_words(space)} is asked for"
            reason = found
        if self.explainer in {"linear", "tree"}:
            why = reason or "the last step of the model is of another form"
            raise Refusal(f"the {self.explainer} explainer does not fit: {why}; use `auto`", "not_applicable")
        notes = [Note(code="fell_back", args={"reason": reason})] if reason else []
        orders = draw_orders(len(ctx.inputs.schema), self.permutations, ctx.rng)
        affordable = max(1, self.most_evaluated // (len(coalitions(orders)) * len(background)))
        if affordable < len(drawn):
            args = {"rows": affordable, "wanted": len(drawn), "most_evaluated": self.most_evaluated}
            notes.append(Note(code="fewer_rows", severity="info", args=dict(args)))
        chosen = np.sort(drawn[:affordable])
        return (
            _ask(ctx, chosen, background, orders, "log_odds" if space == "log_odds" else "probability"),
            chosen,
            notes,
        )

    def _space(self, ctx: Context) -> str:
        """What is shared out: as the spec says, or else as for the given model where this one is a remedy's."""
        given = ctx.inputs.results.get("given")
        if self.space != "auto" or given is None:
            return self.space
        said = [str(note.args["space"]) for note in given.notes if "space" in note.args]
        several = len(_favourable_view(ctx.inputs.decision, len(ctx.inputs.decision.classes), log_odds=False)[1]) > 1
        return "auto" if several or not said else said[0]

    def _global(self, explanation: Explanation, inputs: Inputs, rng: np.random.Generator) -> pd.DataFrame:
        """Mean absolute value of each feature, over rows and scores, the largest first."""
        sizes = np.abs(explanation.parts).mean(axis=2)
        means, n = sizes.mean(axis=0), len(sizes)
        low, high = np.full((2, len(means)), np.nan)
        if n > 1:
            low, high = percentile_interval(bootstrap_means(sizes, np.ones(n), self.bootstrap, rng))
        columns = {"feature": inputs.schema.names, "mean_abs": means, "low": low, "high": high, "n": n}
        table = pd.DataFrame(columns).assign(rank=average_ranks(means))
        return table.sort_values(["rank", "feature"], kind="stable", ignore_index=True)

    def _how(self, explanation: Explanation, inputs: Inputs, rows: int, background: int) -> Note:
        return Note(
            code=explanation.explainer,
            args={
                "rows": rows,
                "background": background,
                "data": "training" if inputs.train is not None else "evaluation",
                "space": explanation.space,
                "outcomes": ", ".join(explanation.outcomes),
                "several": len(explanation.outcomes) > 1,
                "exact": explanation.exact,
                "permutations": self.permutations,
            },
        )

    def _values(self, explanation: Explanation) -> dict[str, str]:
        values = {name: str(getattr(self, name)) for name in ("space", "rows", "background", "permutations")}
        chosen = explanation.explainer
        return values | {"explainer": f"auto: {chosen}" if self.explainer == "auto" else chosen}


def _read(native: Native, ctx: Context, chosen: Ints, background: Floats) -> Explanation | str:
    """Values from the inside of the model, or the reason why they cannot be had."""
    schema, codes = ctx.inputs.schema, ctx.sample.table.codes[chosen]
    with _plain_arrays():
        reason = _unreadable(native)
        sources = (
            None
            if reason
            else column_sources(lambda rows: native.transform(decode(schema, rows)), np.vstack([background, codes]))
        )
        if sources is None:
            return reason or "the model mixes several features in one column before its last step"
        Z, behind = (native.transform(decode(schema, rows)) for rows in (codes, background))
        P = native.estimator.predict_proba(Z)
        if np.abs(P - ctx.sample.scores[chosen]).max() > TOLERANCE:
            return "the last step of the model alone does not give the scores of the model"
        by_column, base = _read_linear(native, Z, behind) if native.form == "linear" else _read_trees(native, Z, behind)
        log_odds = hasattr(native.estimator, "decision_function")
        output = native.estimator.decision_function(Z) if log_odds else P
    values = np.zeros((len(Z), len(schema), by_column.shape[2]))
    for column in np.flatnonzero(sources >= 0):
        values[:, sources[column]] += by_column[:, column]
    output = output.reshape(len(Z), -1)
    weights, outcomes = _favourable_view(ctx.inputs.decision, base.shape[0], log_odds=log_odds)
    found = Explanation(
        explainer="linear" if native.form == "linear" else "tree",
        parts=values @ weights,
        base=base @ weights,
        output=output @ weights,
        space="log_odds" if log_odds else "probability",
        outcomes=outcomes,
    )
    return found if found.error <= TOLERANCE else "its values do not add up to the score"


def _unreadable(native: Native) -> str:
    """Why the package shap cannot read an estimator, or nothing."""
    if native.form == "booster":
        return "native files of XGBoost and LightGBM are not read by the tree explainer here"
    if type(native.estimator).__name__ != "GradientBoostingClassifier":
        return ""
    if len(native.estimator.classes_) > 2:
        return "the tree explainer cannot read gradient boosting with more than two classes"
    return "" if native.estimator.init is None else "the tree explainer cannot read boosting with an initial model"


def _read_linear(native: Native, Z: Floats, background: Floats) -> tuple[Floats, Floats]:
    """Values of each column, shape (n, m, K), and the base, shape (K,), by shap's LinearExplainer."""
    import shap

    masker = shap.maskers.Independent(background, max_samples=len(background))
    explainer = shap.LinearExplainer(native.estimator, masker)
    return _shaped(explainer.shap_values(Z), explainer.expected_value)


def _read_trees(native: Native, Z: Floats, background: Floats) -> tuple[Floats, Floats]:
    """As `_read_linear`, by shap's TreeExplainer with an interventional background."""
    import shap

    masker = shap.maskers.Independent(background, max_samples=len(background))
    explainer = shap.TreeExplainer(native.estimator, data=masker, feature_perturbation="interventional")
    # shap rounds thresholds to float32 on its way, so that a value beside one may go down the wrong branch.
    # A tree sees no more of a value than its place among the thresholds, and small whole numbers are not rounded.
    trees = explainer.model
    places = _places(trees.features, trees.thresholds, trees.input_dtype)
    explainer.data = places(background)
    trees.thresholds = _threshold_places(trees.features, trees.thresholds)
    return _shaped(explainer.shap_values(places(Z), check_additivity=False), explainer.expected_value)


def _threshold_places(features: Ints, thresholds: Floats) -> Floats:
    """Each threshold by its place among the distinct thresholds of its column."""
    answer = np.zeros(thresholds.shape)
    for column in np.unique(features[features >= 0]):
        own = features == column
        answer[own] = np.searchsorted(np.unique(thresholds[own]), thresholds[own])
    return answer


def _places(features: Ints, thresholds: Floats, dtype: Any) -> Callable[[Floats], Floats]:
    """What turns a matrix into places: how many thresholds of its column lie below each value; missing stays so."""
    known = {int(column): np.unique(thresholds[features == column]) for column in np.unique(features[features >= 0])}

    def place(Z: Floats) -> Floats:
        seen = Z.astype(dtype).astype(np.float64)
        answer = np.zeros(Z.shape)
        for column, levels in known.items():
            answer[:, column] = np.searchsorted(levels, seen[:, column], side="left")
        return np.where(np.isnan(seen), np.nan, answer)

    return place


def _shaped(values: Any, base: Any) -> tuple[Floats, Floats]:
    array = np.asarray(values, dtype=np.float64)
    return array if array.ndim == 3 else array[:, :, None], np.atleast_1d(np.asarray(base, dtype=np.float64))


def _favourable_view(decision: Decision, k: int, *, log_odds: bool) -> tuple[Floats, tuple[str, ...]]:
    """What turns k scores of the model into those that are explained, shape (k, K), and their names.

    One log-odds score belongs to the second class. Probabilities of the favourable classes add up; log-odds of more
    than two classes do not, so each class is then explained.
    """
    two = len(decision.classes) == 2
    wanted = decision.favourable or (decision.classes[1:] if two else ())
    name = ("favourable",) if decision.favourable else wanted
    if k == 1:
        return np.array([[1.0 if decision.classes[1] in wanted else -1.0]]), name
    if wanted and (two or not log_odds):
        return np.array([[float(label in wanted)] for label in decision.classes]), name
    return np.eye(k), decision.classes


@contextmanager
def _plain_arrays() -> Iterator[None]:
    """The last step is given a plain array, also where it was fitted on a frame, and need not warn of it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        yield


def _positions(ids: Sequence[str], named: pd.DataFrame) -> Ints:
    """Where the instances of a table stand among the ids, each once, in the order of the table."""
    place = {name: i for i, name in enumerate(ids)}
    return np.array([place[name] for name in dict.fromkeys(named["instance"])], dtype=np.int64)


def _words(space: str) -> str:
    return space.replace("_", " ")


def _ask(ctx: Context, chosen: Ints, background: Floats, orders: list[tuple[int, ...]], space: Space) -> Explanation:
    """Values from the answers of the model to mixed rows.

    Raises:
        Refusal: log odds are asked for of several scores.
    """
    decision = ctx.inputs.decision
    weights, outcomes = _favourable_view(decision, len(decision.classes), log_odds=False)
    if space == "log_odds" and len(outcomes) > 1:
        raise Refusal("log odds of more than two classes are not one number each; say `space: probability`")
    shared = log_odds if space == "log_odds" else _as_it_is
    values, base = shapley_values(
        lambda rows: shared(ctx.model.probabilities(rows) @ weights),
        ctx.sample.table.codes[chosen],
        background,
        orders,
        ctx.tick,
    )
    output = shared(ctx.sample.scores[chosen] @ weights)
    every = len(set(orders)) == math.factorial(len(ctx.inputs.schema))
    return Explanation("permutation", values, base, output, space, outcomes, exact=every)


def _as_it_is(score: Floats) -> Floats:
    return score


def _local(explanation: Explanation, inputs: Inputs, ids: list[str]) -> pd.DataFrame:
    n, d, k = explanation.parts.shape
    return pd.DataFrame(
        {
            "instance": np.repeat(np.array(ids, dtype=object), d * k),
            "feature": np.tile(np.repeat(np.array(inputs.schema.names, dtype=object), k), n),
            "outcome": np.tile(np.array(explanation.outcomes, dtype=object), n * d),
            "value": explanation.parts.ravel(),
        }
    )


def _metrics(explanation: Explanation, rows: int, background: int) -> tuple[Metric, ...]:
    sample = Where(data="sample")
    bases = [
        Metric(name="base", value=float(value), unit="background rows", n=background, where=Where(outcome=outcome))
        for outcome, value in zip(explanation.outcomes, explanation.base, strict=True)
    ]
    return (
        Metric(name="explained_rows", value=rows, unit="rows", n=rows, where=sample),
        Metric(name="background_rows", value=background, unit="rows", n=background),
        Metric(name="additivity_error", value=explanation.error, unit="rows", n=rows, where=sample),
        *bases,
    )


def _doubts(explanation: Explanation) -> list[Note]:
    if explanation.error <= TOLERANCE:
        return []
    return [Note(code="not_additive", severity="major", args={"error": explanation.error, "tolerance": TOLERANCE})]
