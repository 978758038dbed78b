"""Performance: how often the decisions are right, and how far the scores can be taken at their word."""

import warnings
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import pandas as pd
from pydantic import Field

from audit.core.answers import Answers, Estimate, advantage, loss_estimates, ranking, shares
from audit.core.choice import Choice, choices_table
from audit.core.errors import DataError
from audit.core.evidence import Metric, Note, Result, Severity, Where
from audit.core.method import Context, Inputs, Method, Need
from audit.core.plan import Part
from audit.core.scoring import bin_edges, bin_of, roc_points
from audit.core.stats import wilson
from audit.core.table import Table

Name = Literal[
    "auc",
    "accuracy",
    "balanced_accuracy",
    "brier",
    "log_loss",
    "calibration_error",
    "precision",
    "recall",
    "f1",
    "base_rate",
    "selection_rate",
    "majority_accuracy",
    "auc_over_challenger",
]
COMPARED = ("auc", "accuracy", "balanced_accuracy", "brier", "log_loss")

CHOICES = (
    Choice("bins", "bins of the calibration", "10", "equal width on [0, 1]; empty bins are left out"),
    Choice("floor", "smallest probability in the log loss", "1e-15", "a certain error would count without limit"),
    Choice("classes", "AUC of more than two outcomes", "mean of one against the rest", "every class counts alike"),
    Choice("brier", "Brier score", "squared error of p; with more than two classes, their sum", "its usual forms"),
    Choice(
        "same_row",
        "when a row stands in the training data",
        "same features, and same id where there are ids",
        "without ids, rows that are alike by chance count too",
    ),
    Choice("challenger", "challenger", "logistic regression, one-hot, scaled, median-imputed", "the usual first model"),
)


class Performance(Method):
    """Accuracy, ranking and calibration on all evaluation rows, beside a simple challenger.

    The audited model is never trained; the challenger is, on the training rows alone.

    Attributes:
        metrics: what is measured; None: everything.
        bins: bins of equal width in which scores and outcomes are compared.
        bootstrap: resamples of rows, for intervals that have no closed form.
        challenger: whether a logistic regression is trained to compare with, where there are training rows.

    Assumes:
        Evaluation rows are independent draws from the population in question, and were not used in training.

    Tables:
        roc: outcome, threshold (score), fpr, tpr (shares). calibration: bin_low, bin_high, mean_score, observed, low,
        high (probabilities), n (rows). confusion: actual, predicted, n (rows). thresholds: threshold (score),
        selection_rate, tpr, fpr, accuracy (shares). choices.

    Reference:
        E. R. DeLong et al., Biometrics 44 (1988), 837-845. R. G. Newcombe, Statistics in Medicine 25 (2006), 559-573.
        E. B. Wilson, Journal of the American Statistical Association 22 (1927), 209-212.
    """

    kind: Literal["performance"] = "performance"
    metrics: tuple[Name, ...] | None = Field(default=None, min_length=1)
    bins: int = Field(default=10, ge=2, le=100)
    bootstrap: int = Field(default=1000, ge=100)
    challenger: bool = True

    needs: ClassVar[frozenset[Need]] = frozenset({"target"})
    uses: ClassVar[tuple[str, ...]] = ("numpy", "scikit-learn")
    cites: ClassVar[tuple[str, ...]] = (
        "DeLong, DeLong, Clarke-Pearson: Comparing the areas under correlated ROC curves, Biometrics 44 (1988)",
        "Newcombe: Confidence intervals for an effect size measure, part 2, Statistics in Medicine 25 (2006)",
    )

    def run(self, ctx: Context, part: Part) -> Result:
        """Every metric that was asked for; one that is undefined has no value and a note with the reason."""
        inputs = ctx.inputs
        audited = _answers(inputs)
        rival, notes = _challenger(inputs, audited) if self.challenger else (None, [])
        everyone = [audited] if rival is None else [audited, rival]
        losses = loss_estimates([a.losses(self.bins) for a in everyone], self.bootstrap, ctx.rng)
        favourable = bool(inputs.decision.favourable)
        estimates = shares(audited, favourable=favourable) | losses[0] | {"auc": [ranking(audited)]}
        estimates["auc_over_challenger"] = [advantage(audited, rival)]
        metrics = [m for name in self._names() for m in _placed(name, estimates.get(name, [Estimate(None)]))]
        if rival is not None:
            beside = shares(rival, favourable=favourable) | losses[1] | {"auc": [ranking(rival)]}
            compared = [name for name in COMPARED if name in self._names()]
            metrics += [m for name in compared for m in _placed(name, beside[name], "challenger")]
        overlap, found = _training_overlap(inputs)
        notes = [*_observations(audited, estimates), *_unmeasured(metrics, audited), *notes, *found]
        return Result(
            metrics=(*metrics, *overlap), tables=self._tables(audited, favourable, inputs), notes=tuple(notes)
        )

    def _names(self) -> tuple[Name, ...]:
        return self.metrics or get_args(Name)

    def _tables(self, answers: Answers, favourable: bool, inputs: Inputs) -> dict[str, pd.DataFrame]:
        tables = {
            "roc": _roc(answers),
            "calibration": _calibration(answers, self.bins),
            "confusion": _confusion(answers),
            "choices": choices_table(
                CHOICES, {"bins": str(self.bins), **({} if self.challenger else {"challenger": "none"})}
            ),
        }
        if favourable:
            tables["thresholds"] = _thresholds(answers, inputs.decision.at_least)
        return tables


def _answers(inputs: Inputs) -> Answers:
    """True and given outcomes of the evaluation rows."""
    decision = inputs.decision
    labels = inputs.evaluate.extra[inputs.target or ""]
    if decision.favourable:
        score = np.clip(decision.score(inputs.scores), 0.0, 1.0)
        P = np.column_stack([1 - score, score])
    else:
        P = inputs.scores
        strange = sorted(set(labels) - set(decision.classes))
        if strange:
            raise DataError(
                f"the target holds {strange[0]!r}, which is no class of the model ({', '.join(decision.classes)}); "
                "leave such rows out"
            )
    return Answers(decision.actual(labels), decision.outcome(inputs.scores), P, decision.outcomes)


def _placed(name: str, estimates: Sequence[Estimate], variant: str | None = None) -> list[Metric]:
    return [
        Metric(
            name=name,
            value=e.value,
            low=None if e.value is None else e.low,
            high=None if e.value is None else e.high,
            interval=e.how,
            unit="rows",
            n=e.n,
            where=Where(data="evaluate", outcome=e.outcome, variant=variant),
        )
        for e in estimates
    ]


def _observations(answers: Answers, estimates: dict[str, list[Estimate]]) -> list[Note]:
    """What the numbers say that a reader may miss."""
    notes = []
    (area,), (accuracy,), (majority,) = (estimates[k] for k in ("auc", "accuracy", "majority_accuracy"))
    (advantage,) = estimates["auc_over_challenger"]
    if area.value is None:
        (only,) = np.unique(answers.actual)
        notes.append(Note(code="one_outcome", severity="major", args={"outcome": answers.names[only]}))
    elif (area.low or 0.0) <= 0.5:
        args = {"auc": area.value, "low": area.low, "high": area.high}
        notes.append(Note(code="no_skill", severity="major", args=dict(args)))
    if area.value is not None and (accuracy.value or 0.0) <= (majority.value or 0.0):
        args = {"accuracy": accuracy.value, "majority": majority.value}
        notes.append(Note(code="below_majority", severity="minor", args=dict(args)))
    if advantage.high is not None and advantage.high < 0:
        args = {"difference": advantage.value, "low": advantage.low, "high": advantage.high}
        notes.append(Note(code="challenger_is_better", severity="minor", args=dict(args)))
    missing = [name for k, name in enumerate(answers.names) if not (answers.actual == k).any()]
    if area.value is not None and missing:
        notes.append(Note(code="absent_outcomes", severity="info", args={"outcomes": ", ".join(missing)}))
    return notes


def _unmeasured(metrics: Sequence[Metric], answers: Answers) -> list[Note]:
    """A reason for every metric without a value."""
    reasons = {
        "precision": "no row was given this outcome",
        "recall": "no row has this outcome",
        "f1": "no row has this outcome or was given it",
        "auc_over_challenger": "there is no challenger with an AUC to compare with",
    }
    one = "the evaluation rows have one outcome only"
    return [
        Note(code="undefined", args={"metric": m.name, "outcome": m.where.outcome, "reason": reasons.get(m.name, one)})
        for m in metrics
        if m.value is None
    ]


def _training_overlap(inputs: Inputs) -> tuple[list[Metric], list[Note]]:
    """How many evaluation rows stand in the training data, and what is to be said about it."""
    notes = [] if inputs.evaluate_is else [Note(code="kind_not_stated", severity="info")]
    if inputs.train is None:
        return [], [*notes, Note(code="overlap_unchecked", severity="minor")]
    n, same, alike = len(inputs.evaluate), *_shared(inputs, inputs.train)
    where = Where(data="evaluate")
    metrics = [
        Metric(name="rows_in_training", value=same, unit="rows", n=n, where=where),
        Metric(name="features_in_training", value=alike, unit="rows", n=n, where=where),
    ]
    if same:
        severity: Severity = "critical" if same > n / 2 else "major"
        named = inputs.images is None and _has_ids(inputs.evaluate, inputs.train)
        args = {"count": same, "rows": n, "share": same / n, "named": named}
        notes.append(Note(code="rows_in_training", severity=severity, args=dict(args)))
    elif alike > n / 2:
        args = {"count": alike, "rows": n, "share": alike / n}
        notes.append(Note(code="features_in_training", severity="major", args=dict(args)))
    return metrics, notes


def _has_ids(evaluate: Table, train: Table) -> bool:
    """Whether ids say anything: where the data have none, the rows of both files are numbered from 0."""
    return any(table.ids != tuple(map(str, range(len(table)))) for table in (evaluate, train))


def _shared(inputs: Inputs, train: Table) -> tuple[int, int]:
    """Evaluation rows that stand in the training data; a picture stands there when the same bytes do."""
    if inputs.images is None or inputs.images.train is None:
        return _shared_rows(inputs.evaluate, train)
    known = set(inputs.images.train.digests)
    same = sum(digest in known for digest in inputs.images.evaluate.digests)
    return same, same


def _shared_rows(evaluate: Table, train: Table) -> tuple[int, int]:
    """Evaluation rows that stand in the training data: with the same id where there are ids, and by features alone."""
    ours, theirs = _row_keys(evaluate), _row_keys(train)
    known = set(theirs)
    alike = sum(key in known for key in ours)
    if not _has_ids(evaluate, train):
        return alike, alike
    pairs = set(zip(train.ids, theirs, strict=True))
    return sum(pair in pairs for pair in zip(evaluate.ids, ours, strict=True)), alike


def _row_keys(table: Table) -> list[bytes]:
    codes = np.where(np.isnan(table.codes), np.nan, table.codes) + 0.0  # one NaN, and no negative zero
    return [row.tobytes() for row in np.ascontiguousarray(codes)]


def _challenger(inputs: Inputs, audited: Answers) -> tuple[Answers | None, list[Note]]:
    """The answers of a logistic regression on the same features, trained on the training rows."""
    train, decision = inputs.train, inputs.decision
    if train is None or inputs.target not in train.extra.columns:
        return None, [Note(code="no_challenger", args={"reason": "there are no training rows with a target"})]
    if not len(inputs.schema):
        return None, [Note(code="no_challenger", args={"reason": "pictures have no features to train one on"})]
    labels = train.extra[inputs.target]
    known = labels.notna() & (labels.isin(decision.classes) if not decision.favourable else True)
    actual, rows = decision.actual(labels[known]), train.codes[known.to_numpy()]
    if len(np.unique(actual)) < 2:
        return None, [Note(code="no_challenger", args={"reason": "the training rows have one outcome only"})]
    model = _logistic(inputs)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(rows, actual)
    P = np.zeros(audited.P.shape)
    P[:, model.classes_] = model.predict_proba(inputs.evaluate.codes)
    given = (P[:, 1] >= decision.at_least).astype(np.int64) if decision.favourable else P.argmax(axis=1)
    stopped = any("converge" in str(warning.message) for warning in caught)
    notes = [Note(code="challenger_not_converged", severity="info")] if stopped else []
    return Answers(audited.actual, given, P, audited.names), notes


def _logistic(inputs: Inputs) -> Any:
    """A logistic regression over codes: numbers imputed and scaled, levels one-hot, missing as a level."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    ordered = [feature.ordered for feature in inputs.schema.features]
    numbers = make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler())
    columns = ColumnTransformer(
        [
            ("numbers", numbers, np.flatnonzero(ordered)),
            ("levels", OneHotEncoder(handle_unknown="ignore"), np.flatnonzero(~np.array(ordered))),
        ]
    )
    return make_pipeline(columns, LogisticRegression(max_iter=1000))


def _roc(answers: Answers) -> pd.DataFrame:
    frames = [
        pd.DataFrame(roc_points(truth, score), columns=["threshold", "fpr", "tpr"]).assign(outcome=name)
        for name, truth, score in answers.contests()
    ]
    columns = ["outcome", "threshold", "fpr", "tpr"]
    return pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)


def _calibration(answers: Answers, bins: int) -> pd.DataFrame:
    score, came = answers.calibrated()
    place = bin_of(score, bins)
    n = np.bincount(place, minlength=bins)
    used = np.flatnonzero(n)
    observed = np.bincount(place, weights=came, minlength=bins)[used] / n[used]
    low, high = wilson(observed, n[used])
    edges = bin_edges(bins)
    return pd.DataFrame(
        {
            "bin_low": edges[used],
            "bin_high": edges[used + 1],
            "mean_score": np.bincount(place, weights=score, minlength=bins)[used] / n[used],
            "observed": observed,
            "low": low,
            "high": high,
            "n": n[used],
        }
    )


def _confusion(answers: Answers) -> pd.DataFrame:
    table = answers.confusion().astype(np.int64)
    rows = [(a, p, int(table[i, j])) for i, a in enumerate(answers.names) for j, p in enumerate(answers.names)]
    return pd.DataFrame(rows, columns=["actual", "predicted", "n"])


def _thresholds(answers: Answers, used: float) -> pd.DataFrame:
    """What other thresholds would do, in steps of 0.05, with the one in use among them."""
    levels = np.unique(np.append(np.round(np.arange(0, 1.0001, 0.05), 2), used))
    passed = answers.P[:, 1][None, :] >= levels[:, None]
    truth = answers.actual == 1
    with np.errstate(invalid="ignore"):
        rates = passed[:, truth].sum(axis=1) / truth.sum(), passed[:, ~truth].sum(axis=1) / (~truth).sum()
    return pd.DataFrame(
        {
            "threshold": levels,
            "selection_rate": passed.mean(axis=1),
            "tpr": rates[0],
            "fpr": rates[1],
            "accuracy": (passed == truth).mean(axis=1),
        }
    )
