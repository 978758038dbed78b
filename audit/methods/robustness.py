"""Robustness: whether decisions and counterfactuals survive small errors of the inputs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field, JsonValue

from audit.core.choice import Choice, choices_table
from audit.core.counterfactuals import Counterfactuals, changed
from audit.core.evidence import Metric, Note, Result, Where
from audit.core.jitter import Bools, noise, rounded, significant
from audit.core.method import Context, Inputs, Method, Need, Refusal
from audit.core.model import Ints
from audit.core.plan import Part
from audit.core.refits import under_other_seeds
from audit.core.stats import BAND, mean_band, quantiles, wilson
from audit.core.table import Floats

LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
NOISY = ("values left as they are", "changed values")
"""Of a counterfactual: what the row had already, and what the person is to change."""

CHOICES = (
    Choice("ROBUST-01", "noise", "normal, 1 %, 5 % and 10 % of the standard deviation", "errors of measurement"),
    Choice(
        "ROBUST-02", "range of noisy numbers", "that of the reference data; whole numbers stay whole", "stays possible"
    ),
    Choice("ROBUST-03", "levels", "as they are", "a neighbouring level may be another world"),
    Choice("ROBUST-04", "draws for each row", "10", "the interval is over rows, so more draws help little"),
    Choice("ROBUST-05", "rounding", "2 significant digits", "as numbers are often told"),
    Choice("ROBUST-06", "counterfactuals", "the first of each row", "every person counts the same"),
    Choice("ROBUST-07", "fitted again", "5 times, each with another seed", "whatever has a seed gets it"),
)


@dataclass(frozen=True)
class _Test:
    """One way in which inputs are wrong: `codes` has the shape (draws, n, d)."""

    name: str
    codes: Floats


class Robustness(Method):
    """Decisions, scores and counterfactuals under noise and rounding of the inputs.

    Rows drawn at random count. Nothing is judged here: bars are gates.

    Attributes:
        noise: standard deviations of the noise on numbers, in units of `unit`.
        unit: `sd` or `range` of each number in the reference data.
        resample: probability that a level is drawn anew from the reference rows, one column at a time.
        keep: features that stay as they are.
        draws: noisy copies of each row.
        round: by feature, the step that it is rounded to.
        digits: significant digits that all numbers are rounded to; 0: this is not tested.
        seeds: how often a model of scikit-learn is fitted again on the training rows, each time with another seed, to
            see which decisions and counterfactuals hang on it; 0: this is not tested.
        from_: the name of a counterfactual set (`from` in the spec) whose first counterfactuals are tested too.

    Assumes:
        Errors of different features are independent of one another and of the values. The training rows of the audit
        are those that the model was fitted on, each with the same weight.

    Tables:
        robustness_decisions: test, n, changed_share, rows_share (rows that change in at least one draw), each with low
        and high, favourable_share, unfavourable_share (become so; of rows and draws). robustness_scores: test,
        quantile, before, after, change (of the quantile), moved (quantile of the absolute change of a row).
        robustness_counterfactuals: test, noisy (which values), n (people), share, low, high. robustness_seeds: seed,
        n (rows), changed_share, people (with a counterfactual), hold_share. choices.

    Reference:
        Own definitions. M. Pawelczyk, T. Datta, J. van den Heuvel, G. Kasneci, H. Lakkaraju, ICLR 2023 (recourse).
    """

    kind: Literal["robustness"] = "robustness"
    noise: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(max_length=10)] = (0.01, 0.05, 0.1)
    unit: Literal["sd", "range"] = "sd"
    resample: float = Field(default=0.0, ge=0, le=1)
    keep: tuple[str, ...] = ()
    draws: int = Field(default=10, ge=1, le=1000)
    round: dict[str, Annotated[float, Field(gt=0)]] = {}
    digits: int = Field(default=2, ge=0, le=15)
    seeds: int = Field(default=5, ge=0, le=50)
    from_: str | None = Field(default=None, alias="from")

    features: ClassVar[tuple[str, ...]] = ("keep", "round")
    needs: ClassVar[frozenset[Need]] = frozenset({"model"})
    cites: ClassVar[tuple[str, ...]] = ("Pawelczyk et al.: Probabilistically robust recourse, ICLR 2023",)

    def reads(self) -> dict[str, str]:
        return {} if self.from_ is None else {"counterfactuals": f"counterfactuals.{self.from_}"}

    def run(self, ctx: Context, part: Part) -> Result:
        """All tests at once: the model is asked once for the rows, and once for the counterfactuals.

        Raises:
            Refusal: a feature is named that is not there, or is to be rounded and is no number.
        """
        self._refuse(ctx.inputs)
        result = self._rows(ctx)
        tables, metrics, notes = dict(result.tables), [*result.metrics], [*result.notes]
        if self.from_ is not None:
            found = self._counterfactuals(ctx, self.from_)
            tables, metrics, notes = tables | dict(found.tables), [*metrics, *found.metrics], [*notes, *found.notes]
        if self.seeds:
            rows, codes = _first(ctx) if self.from_ is not None else _nobody(ctx)
            anew = under_other_seeds(ctx, self.seeds, rows, codes)
            tables, metrics, notes = tables | dict(anew.tables), [*metrics, *anew.metrics], [*notes, *anew.notes]
        else:
            notes.append(Note(code="seeds_untested"))
        tables["choices"] = choices_table(CHOICES, self._chosen())
        return Result(metrics=tuple(metrics), tables=tables, notes=tuple(notes))

    def _rows(self, ctx: Context) -> Result:
        """What becomes of the decisions and scores of the audited rows."""
        inputs, codes = ctx.inputs, ctx.sample.table.codes[ctx.sample.drawn]
        tests = list(self._tests(inputs, codes, ctx.rng))
        before, *answers = _answers(ctx, [codes[None], *(test.codes for test in tests)])
        decisions, scores, metrics = [], [], []
        for test, after in zip(tests, answers, strict=True):
            row, own = self._decisions(inputs, test, before[0], after)
            decisions.append(row)
            metrics += own
            scores.append(_scores(inputs, test, before[0], after))
        tables = {
            "robustness_decisions": pd.DataFrame(decisions),
            "robustness_scores": pd.concat(scores, ignore_index=True),
        }
        kept = {
            "n": "n",
            "test": "test",
            "share": "changed_share",
            "low": "changed_share_low",
            "high": "changed_share_high",
        }
        notes = [Note(code="decisions", args={name: row[key] for name, key in kept.items()}) for row in decisions]
        return Result(tuple(metrics), tables, notes=tuple(notes))

    def _refuse(self, inputs: Inputs) -> None:
        names = inputs.schema.names
        strange = [name for name in (*self.keep, *self.round) if name not in names]
        if strange:
            raise Refusal(f"{strange[0]!r} is no feature of the model; its features are {', '.join(names)}")
        levels = [name for name in self.round if inputs.schema[name].levels]
        if levels:
            raise Refusal(f"`round` names {levels[0]!r}, which has levels; only numbers are rounded")
        if not self.noise and not self.round and not self.digits:
            raise Refusal("`noise`, `round` and `digits` leave nothing to test; give one of them")

    def _free(self, inputs: Inputs) -> Bools:
        """Which features may be wrong, shape (d,)."""
        return np.array([name not in self.keep for name in inputs.schema.names], dtype=bool)

    def _tests(self, inputs: Inputs, codes: Floats, rng: np.random.Generator) -> Iterator[_Test]:
        errors = noise(inputs.reference, len(codes), self.draws, self.unit, rng)
        free = np.broadcast_to(self._free(inputs), codes.shape)
        for size in self.noise:
            yield _Test(self._named(size), errors.on(codes, size, self.resample, free))
        if self.round:
            yield _Test("rounded as stated", rounded(inputs.schema, codes, self.round)[None])
        if self.digits:
            named = f"rounded to {self.digits} significant digit{'s' if self.digits > 1 else ''}"
            yield _Test(named, significant(inputs.schema, codes, self.digits, self.keep)[None])

    def _named(self, size: float) -> str:
        unit = "standard deviation" if self.unit == "sd" else "range"
        return f"noise of {100 * size:g} % of the {unit}"

    def _decisions(
        self, inputs: Inputs, test: _Test, before: Floats, after: Floats
    ) -> tuple[dict[str, JsonValue], list[Metric]]:
        """How many decisions change; `after` has the shape (draws, n, C)."""
        n = len(before)
        was, became = inputs.decision.outcome(before), _outcomes(inputs, after)
        moved = became != was
        value, low, high, how = _mean(moved.mean(axis=0))
        rows = float(moved.any(axis=0).mean())
        least, most = (float(x) for x in wilson(rows, n))
        row: dict[str, JsonValue] = {"test": test.name, "n": n, "changed_share": value}
        row |= {"changed_share_low": low, "changed_share_high": high}
        row |= {"rows_share": rows, "rows_share_low": least, "rows_share_high": most}
        if inputs.decision.favourable:
            row |= {"favourable_share": float((moved & (became == 1)).mean())}
            row |= {"unfavourable_share": float((moved & (became == 0)).mean())}
        where = Where(data="sample", variant=test.name)
        metrics = [_metric("changed_share", (value, low, high, how), n, where)]
        return row, [*metrics, _metric("rows_changed_share", (rows, least, most, "Wilson, over rows"), n, where)]

    def _counterfactuals(self, ctx: Context, name: str) -> Result:
        """Share of the first counterfactuals of rows that still have another outcome when values are noisy."""
        inputs = ctx.inputs
        rows, codes = _first(ctx)
        if not len(rows) or not self.noise:
            return Result(notes=(Note(code="no_counterfactuals", args={"set": name}),))
        errors = noise(inputs.reference, len(rows), self.draws, self.unit, ctx.rng)
        moved, free = changed(ctx.sample.table.codes[rows], codes), self._free(inputs)
        parts = [(size, noisy) for size in self.noise for noisy in NOISY]
        tests = [
            errors.on(codes, size, self.resample, free & (moved if noisy == NOISY[1] else ~moved))
            for size, noisy in parts
        ]
        was = inputs.decision.outcome(ctx.sample.scores[rows])
        lines, metrics = [], []
        for (size, noisy), after in zip(parts, _answers(ctx, tests), strict=True):
            held = _outcomes(inputs, after) != was
            value, low, high, how = _mean(held.mean(axis=0))
            lines.append((self._named(size), noisy, len(rows), value, low, high))
            where = Where(data="sample", variant=f"{self._named(size)}, {noisy}")
            metrics.append(_metric("counterfactuals_hold", (value, low, high, how), len(rows), where))
        columns = ["test", "noisy", "n", "share", "low", "high"]
        return Result(tuple(metrics), {"robustness_counterfactuals": pd.DataFrame(lines, columns=columns)})

    def _chosen(self) -> dict[str, str]:
        shares = [f"{100 * size:g} %" for size in self.noise]
        unit = "standard deviation" if self.unit == "sd" else "range"
        told = f"{', '.join(shares[:-1])} and {shares[-1]}" if len(shares) > 1 else "".join(shares)
        steps = [f"{name} to {step:g}" for name, step in self.round.items()]
        digits = [f"{self.digits} significant digits"] if self.digits else []
        return {
            "ROBUST-01": f"normal, {told} of the {unit}" if shares else "none",
            "ROBUST-03": f"drawn anew with probability {self.resample:g}" if self.resample else "as they are",
            "ROBUST-04": str(self.draws),
            "ROBUST-07": f"{self.seeds} times, each with another seed" if self.seeds else "not tested",
            "ROBUST-05": "; ".join([*digits, *steps]) or "none",
        }


def _mean(shares: Floats) -> tuple[float, float, float, str]:
    """The mean of shares of rows, with its interval over rows."""
    if len(shares) < 2:
        return float(shares.mean()), 0.0, 1.0, "nothing is known of other rows"
    low, high = (float(end[0]) for end in mean_band(shares[:, None], 0, 1))
    return float(shares.mean()), low, high, f"{BAND}, over rows"


def _scores(inputs: Inputs, test: _Test, before: Floats, after: Floats) -> pd.DataFrame:
    """Quantiles of the scores as they are and under a test, and of how far the score of a row moves."""
    score = inputs.decision.score(before)
    fresh = inputs.decision.score(after.reshape(-1, after.shape[2]))
    move = np.abs(fresh.reshape(len(after), -1) - score).ravel()
    old, new, far = (quantiles(values, LEVELS) for values in (score, fresh, move))
    columns = {"quantile": LEVELS, "before": old, "after": new, "change": new - old, "moved": far}
    frame = pd.DataFrame(columns)
    frame.insert(0, "test", test.name)
    return frame


def _answers(ctx: Context, blocks: Sequence[Floats]) -> list[Floats]:
    """Probabilities (draws, n, C) of each block of rows (draws, n, d); the model is asked once."""
    d = len(ctx.inputs.schema)
    P = ctx.model.probabilities(np.concatenate([block.reshape(-1, d) for block in blocks]))
    ends = np.cumsum([block.shape[0] * block.shape[1] for block in blocks])[:-1]
    return [part.reshape(*block.shape[:2], -1) for part, block in zip(np.split(P, ends), blocks, strict=True)]


def _outcomes(inputs: Inputs, P: Floats) -> Ints:
    """Numbers of outcomes (draws, n) of probabilities (draws, n, C)."""
    return inputs.decision.outcome(P.reshape(-1, P.shape[2])).reshape(P.shape[:2])


def _first(ctx: Context) -> tuple[Ints, Floats]:
    """The audited rows drawn at random that have a counterfactual, shape (m,), and the first of each, shape (m, d)."""
    source, table = ctx.inputs.results["counterfactuals"].tables, ctx.sample.table
    found = Counterfactuals.from_tables(table, source["counterfactuals"], source["instance_status"])
    rows, first = np.unique(found.row, return_index=True)
    kept = ctx.sample.drawn[rows]
    return rows[kept], found.codes[first[kept]]


def _nobody(ctx: Context) -> tuple[Ints, Floats]:
    """No counterfactuals, in the form of `_first`."""
    return np.empty(0, dtype=np.int64), np.empty((0, len(ctx.inputs.schema)))


def _metric(name: str, found: tuple[float, float, float, str], n: int, where: Where) -> Metric:
    value, low, high, how = found
    return Metric(name=name, value=value, low=low, high=high, interval=how, unit="share", n=n, where=where)
