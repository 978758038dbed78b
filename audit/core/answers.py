"""What was true of rows and what was answered, and the estimates that follow from the two."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from audit.core.model import Ints
from audit.core.scoring import FEWEST, Truths, auc, auc_interval, auc_parts, bin_of
from audit.core.stats import percentile_interval, resamples, wilson
from audit.core.table import Floats

FLOOR = 1e-15
"""The smallest probability that the log loss counts: a certain error would count without limit."""

Z = 1.959963984540054
"""The normal quantile of a two-sided interval of 95 %."""


@dataclass(frozen=True)
class Answers:
    """What was true of n rows and what was answered.

    Attributes:
        actual, given: numbers of outcomes, shape (n,).
        P: probability of each of the K outcomes, shape (n, K).
    """

    actual: Ints
    given: Ints
    P: Floats
    names: tuple[str, ...]

    def confusion(self) -> Floats:
        """Rows by true and given outcome, shape (K, K)."""
        k = len(self.names)
        return np.bincount(self.actual * k + self.given, minlength=k * k).reshape(k, k).astype(np.float64)

    def calibrated(self) -> tuple[Floats, Floats]:
        """A score in [0, 1] and whether it came true, shape (n,): of the second of two outcomes, or of the top one."""
        if len(self.names) == 2:
            return self.P[:, 1], (self.actual == 1).astype(np.float64)
        return self.P.max(axis=1), (self.actual == self.P.argmax(axis=1)).astype(np.float64)

    def contests(self) -> list[tuple[str, Truths, Floats]]:
        """What an AUC is taken of: the second of two outcomes, or each outcome that occurs against the rest."""
        chosen = [1] if len(self.names) == 2 else range(len(self.names))
        every = [(self.names[k], self.actual == k, self.P[:, k]) for k in chosen]
        return [(name, truth, score) for name, truth, score in every if truth.any() and not truth.all()]

    def losses(self, bins: int) -> Floats:
        """Per row: Brier score, log loss, and the gap of score and truth in the column of its bin; (n, 2 + bins)."""
        n, k = self.P.shape
        truth = np.eye(k)[self.actual]
        brier = ((self.P - truth) ** 2).sum(axis=1) / (2 if k == 2 else 1)
        log = -np.log(np.clip(self.P[np.arange(n), self.actual], FLOOR, 1.0))
        score, came = self.calibrated()
        gaps = np.zeros((n, bins))
        gaps[np.arange(n), bin_of(score, bins)] = score - came
        return np.column_stack([brier, log, gaps])


@dataclass(frozen=True)
class Estimate:
    """A number with its interval, before it is given a place."""

    value: float | None
    low: float | None = None
    high: float | None = None
    how: str = ""
    n: int | None = None
    outcome: str | None = None


def share(hits: float, n: float, outcome: str | None = None) -> Estimate:
    """A share of rows with Wilson's interval; undefined where there are none."""
    if not n:
        return Estimate(None, n=0, outcome=outcome)
    low, high = wilson(hits / n, n)
    return Estimate(float(hits / n), float(low), float(high), "Wilson, over rows", int(n), outcome)


def shares(answers: Answers, *, favourable: bool) -> dict[str, list[Estimate]]:
    """What follows from the confusion of true and given outcomes."""
    table, n = answers.confusion(), len(answers.actual)
    per_class = [k for k in range(len(answers.names)) if not favourable or k == 1]
    label = dict.fromkeys(per_class) if favourable else dict(enumerate(answers.names))
    return {
        "accuracy": [share(np.trace(table), n)],
        "balanced_accuracy": [_balanced(table)],
        "majority_accuracy": [share(table.sum(axis=1).max(), n)],
        "precision": [share(table[k, k], table[:, k].sum(), label[k]) for k in per_class],
        "recall": [share(table[k, k], table[k].sum(), label[k]) for k in per_class],
        "f1": [_f1(table, k, label[k]) for k in per_class],
        "base_rate": [share(table[k].sum(), n, label[k]) for k in per_class],
        "selection_rate": [share(table[:, k].sum(), n, label[k]) for k in per_class],
    }


def _balanced(table: Floats) -> Estimate:
    """The mean recall of the outcomes that occur; undefined where only one does.

    Its interval joins those of the recalls, which rest on different rows (method of variance estimates recovery).
    """
    sizes = table.sum(axis=1)
    present = sizes > 0
    if present.sum() < 2:
        return Estimate(None, n=int(sizes.sum()))
    recalls = np.diag(table)[present] / sizes[present]
    low, high = wilson(recalls, sizes[present])
    value = float(recalls.mean())
    below, above = (float(np.sqrt((gap**2).sum()) / len(recalls)) for gap in (recalls - low, high - recalls))
    return Estimate(value, value - below, value + above, "Wilson per outcome, joined, over rows", int(sizes.sum()))


def _f1(table: Floats, k: int, outcome: str | None) -> Estimate:
    """F1 is a rising function of the share of hits among rows that are, or are said to be, of the outcome."""
    n = table[k].sum() + table[:, k].sum() - table[k, k]
    hits = share(table[k, k], n, outcome)
    if hits.value is None or hits.low is None or hits.high is None:
        return hits
    value, low, high = (2 * x / (1 + x) for x in (hits.value, hits.low, hits.high))
    return Estimate(value, low, high, hits.how, hits.n, outcome)


def ranking(answers: Answers) -> Estimate:
    """The AUC, or the mean of one outcome against the rest."""
    contests = answers.contests()
    n = len(answers.actual)
    if not contests:
        return Estimate(None, n=n)
    if len(contests) == 1:
        (_, truth, score) = contests[0]
        return Estimate(auc(truth, score), *auc_interval(truth, score), n)
    value = float(np.mean([auc(truth, score) for _, truth, score in contests]))
    ends = [auc_interval(truth, score)[:2] for _, truth, score in contests]
    low, high = np.mean(ends, axis=0)
    return Estimate(value, float(low), float(high), "mean of the intervals of the outcomes (wide), over rows", n)


def advantage(audited: Answers, rival: Answers | None) -> Estimate:
    """The AUC of the model less that of the challenger, paired by row."""
    n = len(audited.actual)
    ours, theirs = ranking(audited), Estimate(None) if rival is None else ranking(rival)
    if rival is None or ours.value is None or theirs.value is None:
        return Estimate(None, n=n)
    value = ours.value - theirs.value
    pairs = list(zip(audited.contests(), rival.contests(), strict=True))
    parts = np.mean([auc_parts(a[1], a[2]) - auc_parts(b[1], b[2]) for a, b in pairs], axis=0)
    error = float(np.sqrt((parts**2).sum()))
    few = min(min(truth.sum(), (~truth).sum()) for _, truth, _ in audited.contests()) < FEWEST
    if error > 0 and not few:
        low, high = max(value - Z * error, -1.0), min(value + Z * error, 1.0)
        return Estimate(value, low, high, "DeLong, paired by row", n)
    # No row tells them apart, or there are few: the two intervals joined as if independent are wide enough.
    below = np.hypot(ours.value - (ours.low or 0.0), (theirs.high or 0.0) - theirs.value)
    above = np.hypot((ours.high or 0.0) - ours.value, theirs.value - (theirs.low or 0.0))
    ends = max(value - float(below), -1.0), min(value + float(above), 1.0)
    return Estimate(value, *ends, "intervals of both, joined, over rows", n)


def loss_estimates(losses: Sequence[Floats], repeats: int, rng: np.random.Generator) -> list[dict[str, list[Estimate]]]:
    """Brier score, log loss and calibration error of each set of answers, over the same resamples of rows."""
    together = np.hstack(losses)
    n, width = len(together), losses[0].shape[1]
    drawn = np.concatenate([counts @ together for counts in resamples(n, repeats, rng)]) / n
    answers = []
    for i, loss in enumerate(losses):
        means, replicates = loss.mean(axis=0), drawn[:, i * width : (i + 1) * width]
        low, high = percentile_interval(replicates[:, :2])
        how = f"bootstrap over rows, {repeats} resamples, percentile"
        found = {
            name: [Estimate(float(means[j]), float(low[j]), float(high[j]), how, n)]
            for j, name in enumerate(("brier", "log_loss"))
        }
        error, floor, ceiling = _calibration_interval(means[2:], replicates[:, 2:])
        how = f"bootstrap over rows, {repeats} resamples, freed of its upward bias"
        found["calibration_error"] = [Estimate(error, floor, ceiling, how, n)]
        answers.append(found)
    return answers


def _calibration_interval(gaps: Floats, replicates: Floats) -> tuple[float, float, float]:
    """The calibration error as the sum of the sizes of the gaps of all bins, shape (bins,), with its interval.

    Noise in a bin raises the error, and resampling raises it again, so plain percentiles would miss the truth. The
    lower end takes off what noise alone reaches; the upper end is the wider one of two that take off its mean.
    """
    error = float(np.abs(gaps).sum())
    noise = np.abs(replicates - gaps).sum(axis=1)
    (least, _), (_, most) = (percentile_interval(x) for x in (np.abs(replicates).sum(axis=1), noise))
    low = max(error - float(most), 0.0)
    return error, low, max(2 * error - float(least), error + float(most - noise.mean()), error)
