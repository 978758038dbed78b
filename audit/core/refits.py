"""The model fitted again under other seeds: what becomes of decisions and of counterfactuals."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from audit.core.errors import ModelError
from audit.core.evidence import Metric, Note, Result, Where
from audit.core.measures import mean_metric, share_metric
from audit.core.method import Context, Inputs
from audit.core.model import Ints, Refits, Scorer
from audit.core.table import Floats, decode

REFIT_ROWS = 50_000
"""With more training rows fitting again may cost more than the whole audit."""

SHARE = (0.0, 1.0)


def under_other_seeds(ctx: Context, seeds: int, rows: Ints, codes: Floats) -> Result:
    """Decisions of rows drawn at random, and the counterfactuals `codes` (m, d) of `rows` (m,), under fits anew.

    Returns:
        Table `robustness_seeds`: seed, n, changed_share, people, hold_share; or a note with the reason why the model
        cannot be fitted again.
    """
    try:
        fits = list(_fits(ctx.inputs, [int(seed) for seed in ctx.rng.integers(0, 2**31, seeds)]))
    except ModelError as error:
        return Result(notes=(Note(code="seeds_not_applicable", args={"reason": "; ".join(error.problems)}),))
    drawn, decision = np.flatnonzero(ctx.sample.drawn), ctx.inputs.decision
    was = decision.outcome(ctx.sample.scores)
    own = np.stack([decision.outcome(fit.probabilities(ctx.sample.table.codes[drawn])) for fit in fits])
    moved = own != was[drawn]
    hold = np.stack([decision.outcome(fit.probabilities(codes)) != was[rows] for fit in fits]) if len(rows) else None
    table = pd.DataFrame(
        {
            "seed": range(1, seeds + 1),
            "n": len(drawn),
            "changed_share": moved.mean(axis=1),
            "people": len(rows),
            "hold_share": np.nan if hold is None else hold.mean(axis=1),
        }
    )
    split = (own != own[0]).any(axis=0)
    metrics = [
        mean_metric("seeds_changed_share", moved.mean(axis=0), "share", Where(data="sample"), "rows", SHARE),
        share_metric("seeds_split_share", int(split.sum()), len(drawn), Where(data="sample"), "rows"),
    ]
    if hold is not None:
        metrics.append(
            mean_metric("seeds_counterfactuals_hold", hold.mean(axis=0), "share", Where(data="sample"), "rows", SHARE)
        )
    return Result(tuple(metrics), {"robustness_seeds": table}, notes=tuple(_notes(seeds, metrics)))


def _fits(inputs: Inputs, seeds: list[int]) -> Iterator[Scorer]:
    """The model fitted anew with each seed.

    Raises:
        ModelError: it cannot be; the message has the reason.
    """
    scorer, train, target = inputs.model, inputs.train, inputs.target
    if scorer is None or not isinstance(scorer.model, Refits):
        raise ModelError("the audit has a model of a kind that does not say how it was fitted")
    if train is None or target is None or target not in train.extra:
        raise ModelError("the spec gives no training rows with their true classes (`data.train`, `data.target`)")
    if len(train) > REFIT_ROWS:
        raise ModelError(f"there are {len(train)} training rows, more than the {REFIT_ROWS} up to which this is done")
    frame, labels = decode(train.schema, train.codes), train.extra[target].reset_index(drop=True)
    for seed in seeds:
        yield Scorer(scorer.model.refitted(frame, labels, seed), inputs.schema, inputs.decision)


def _notes(seeds: int, metrics: list[Metric]) -> Iterator[Note]:
    by_name = {metric.name: metric for metric in metrics}
    changed, split = by_name["seeds_changed_share"], by_name["seeds_split_share"]
    hold = by_name.get("seeds_counterfactuals_hold")
    yield Note(
        code="seeds",
        args={
            "seeds": seeds,
            "n": changed.n,
            "share": changed.value,
            "low": changed.low,
            "high": changed.high,
            "split": split.value,
            "hold": None if hold is None else hold.value,
        },
    )
