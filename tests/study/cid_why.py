"""What is behind the bands that CID misses, and behind the agreement that is left where its distances are noise."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import cid_case as cc
import numpy as np
import pandas as pd

from audit.core.method import Inputs
from audit.core.stats import spearman
from audit.core.table import Floats
from audit.methods import cid

SEEDS = 5
MORE = 2
"""Times the repeats, to see whether more points close a gap."""

BAND = -0.03


def gains(inputs: Inputs, seed: int, **settings: Any) -> Floats:
    """Comprehensiveness of CID less that of SHAP, by row."""
    kept: dict[str, Any] = {}
    build = cid.faithfulness_table

    def keep(labels: Sequence[str], orders: Any, curves: Any, top: int) -> pd.DataFrame:
        kept.update(labels=list(labels), curves=curves)
        return build(labels, orders, curves, top)

    with patch.object(cid, "faithfulness_table", keep):
        cc.run(inputs, seed, against=("shap",), **settings)
    own, rival = kept["labels"].index("cid"), kept["labels"].index("shap")
    return np.array([several[own][0].mean() - several[rival][0].mean() for several in kept["curves"]])


def same_rows(run: Any) -> Inputs:
    """The inputs with only the rows that the run explained, so that seeds differ in what they draw alone."""
    sample = run.inputs.sample
    ids = set(run.mixed.tables["cid_local"]["instance"])
    rows = [i for i, name in enumerate(sample.table.ids) if name in ids]
    return replace(run.inputs, sample=cc.only(run.inputs, sample.rows[rows]))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table of the page."""
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    yield from ("| " + " | ".join(row) + " |" for row in rows)
    yield ""


def half(values: Floats) -> float:
    """Two standard errors of a mean."""
    return float(2 * values.std(ddof=1) / np.sqrt(len(values)))


def missed(run: Any) -> bool:
    """Whether a run misses the band on comprehensiveness."""
    found = cc.faithful(run.mixed)["comprehensiveness"]
    return bool(found["cid"] - found["shap"] < BAND)


def spread(runs: Sequence[Any], rows: int) -> Iterator[str]:
    """Whether a missed band lies within the spread over draws, or within that over rows."""
    lines, readings = [], []
    for run in filter(missed, runs):
        inputs = same_rows(run)
        by_seed = np.array([gains(inputs, seed, instances=rows) for seed in range(SEEDS)])
        mean, sd, error = float(by_seed.mean()), float(by_seed.mean(axis=1).std(ddof=1)), half(by_seed.mean(axis=0))
        more = float(gains(inputs, 0, instances=rows, repeats=10 * MORE).mean())
        below = int((by_seed.mean(axis=1) < BAND).sum())
        cells = [f"{mean:+.3f}", f"{sd:.3f}", f"{below} of {SEEDS}", f"{mean - error:+.3f} to {mean + error:+.3f}"]
        lines.append([run.name, *cells, f"{more:+.3f}"])
        draws = "within" if mean + 2 * sd >= BAND else "beyond"
        sampled = "within" if mean + error >= BAND else "beyond"
        readings.append(
            f"* {run.name}: the miss is {draws} two deviations over seeds, and {sampled} the interval over rows.\n"
        )
    yield "### How sure the misses against SHAP are\n"
    yield (
        f"Comprehensiveness of CID (mixed) less that of SHAP, on the same {rows} rows, where it misses -.03: mean "
        f"over {SEEDS} seeds of the draws and deviation over them; seeds below -.03; interval over rows (two standard "
        f"errors of the difference of each row); and one seed with {MORE} times the repeats.\n"
    )
    head = ["data and model", "mean", "sd over seeds", "seeds below -.03", "over rows", f"{MORE} times the repeats"]
    yield from table(head, lines)
    yield from readings


def carried(runs: Sequence[Any]) -> Iterator[str]:
    """Whether it is the change frequency that noise shares with SHAP."""
    lines, partials = [], []
    for run in runs:
        shap = cid._local_of(run.inputs, "shap")
        assert shap is not None
        for measure, wrong in run.forced.items():
            local = wrong.tables["cid_local"]
            found = []
            for instance, own in local[local["status"] == "ok"].groupby("instance"):
                known = own.set_index("feature")
                noise, often = known["value"].to_numpy(), 1 - known["unchanged_plus"].to_numpy()
                sizes = shap.loc[instance, list(known.index)].to_numpy()
                pairs = ((noise, often), (often, sizes), (noise, sizes))
                a, b, c = (float(spearman(x, y)) for x, y in pairs)
                found.append((a, b, c, (c - a * b) / np.sqrt((1 - a * a) * (1 - b * b))))
            values = np.array(found)
            values = values[np.isfinite(values).all(axis=1)]
            partials.append((values[:, 2].mean(), values[:, 3].mean()))
            cells = [f"{v:.2f}" for v in values[:, :3].mean(axis=0)]
            lines.append([f"{run.name}, {measure}", *cells, f"{values[:, 3].mean():.2f} ± {half(values[:, 3]):.2f}"])
    yield (
        "Whether this is so can be measured: Spearman over the features of a row, mean over rows, of the forced "
        "distance (noise), the change frequency in C+ and the size of the SHAP value; and the correlation of noise "
        "and SHAP that is left at equal change frequency (partial correlation, with two standard errors).\n"
    )
    head = ["data, model, measure", "noise and frequency", "frequency and SHAP", "noise and SHAP", "at equal frequency"]
    yield from table(head, lines)
    before, after = (float(np.mean([pair[i] for pair in partials[::2]])) for i in (0, 1))
    yield (
        f"For the measure `mixed` the mean correlation of noise and SHAP is {before:.2f}, and {after:.2f} at equal "
        "change frequency.\n"
    )
