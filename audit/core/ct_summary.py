"""What several seeds of a training say together: values per seed, means with intervals over seeds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from audit.core.ct_evaluation import reduction
from audit.core.ct_training import Trained
from audit.core.evidence import Metric, Where

KEYS = ["quantity", "variant"]
GIVEN, TWIN, REMEDIED, CHANGE = "given", "twin", "remedied", "change"
"""Whose value it is: the audited network, conventional training, the training that was asked for, or the step from the
second to the third."""

UNITS = {
    "accuracy": "share",
    "validity": "share",
    "strict_validity": "share",
    "redundancy": "share",
    "robust_accuracy": "share",
    "protected_share": "share",
    "mature_share": "share",
    "cost_reduction": "%",
    "ip_reduction": "%",
}


def value(seed: int, model: str, quantity: str, number: float | None, variant: str = "") -> dict[str, object]:
    """A row of the table of values; what is undefined is NaN."""
    undefined = number is None or not np.isfinite(number)
    return {
        "seed": seed,
        "model": model,
        "quantity": quantity,
        "variant": variant,
        "value": np.nan if undefined else number,
    }


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds; the ends of its interval are None where fewer than two seeds have a value."""

    mean: float | None
    low: float | None
    high: float | None
    seeds: int


def estimate(values: "pd.Series[float]", critical: Mapping[int, float], *, share: bool = False) -> Estimate:
    """The mean over seeds and its t interval.

    Args:
        critical: by degrees of freedom, the quantile of Student's t.
        share: whether the values are shares, whose interval ends at 0 and 1.
    """
    known = values.dropna().to_numpy(dtype=np.float64)
    if not len(known):
        return Estimate(None, None, None, 0)
    mean = float(known.mean())
    if len(known) < 2:
        return Estimate(mean, None, None, 1)
    half = critical[len(known) - 1] * float(known.std(ddof=1)) / len(known) ** 0.5
    low, high = (max(0.0, mean - half), min(1.0, mean + half)) if share else (mean - half, mean + half)
    return Estimate(mean, low, high, len(known))


def metrics(values: pd.DataFrame, critical: Mapping[int, float]) -> Iterator[Metric]:
    """One metric per quantity, model and variant."""
    for (model, quantity, variant), cell in values.groupby(["model", "quantity", "variant"], sort=False):
        found = estimate(cell["value"], critical, share=UNITS.get(str(quantity)) == "share")
        yield Metric(
            name=str(quantity),
            value=found.mean,
            low=found.low,
            high=found.high,
            interval="t interval over seeds of training; one division of the data" if found.low is not None else "",
            unit=UNITS.get(str(quantity), ""),
            n=found.seeds,
            where=Where(data="evaluate", model=str(model), variant=str(variant) or None),
        )


def compared(values: pd.DataFrame, critical: Mapping[int, float]) -> pd.DataFrame:
    """Twin and remedied network side by side: quantity, variant, each with low and high, and the difference."""
    rows = []
    for (quantity, variant), cell in values.groupby(KEYS, sort=False):
        by_model = cell.pivot_table(index="seed", columns="model", values="value", dropna=False)
        if TWIN not in by_model or REMEDIED not in by_model:
            continue
        row: dict[str, object] = {"quantity": quantity, "variant": variant}
        columns = {m: by_model[m] for m in (TWIN, REMEDIED)} | {"difference": by_model[REMEDIED] - by_model[TWIN]}
        for name, column in columns.items():
            share = UNITS.get(str(quantity)) == "share" and name != "difference"
            found = estimate(column, critical, share=share)
            row |= {name: _nan(found.mean), f"{name}_low": _nan(found.low), f"{name}_high": _nan(found.high)}
        rows.append(row | {"seeds": int(by_model.notna().all(axis=1).sum())})
    names = [f"{name}{end}" for name in (TWIN, REMEDIED, "difference") for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=[*KEYS, *names, "seeds"])


def averaged(table: pd.DataFrame, keys: list[str], column: str, critical: Mapping[int, float]) -> pd.DataFrame:
    """Means of a column of shares over seeds, with `low` and `high`, for each combination of keys."""
    rows = []
    for names, cell in table.groupby(keys, sort=False):
        found = estimate(cell[column], critical, share=True)
        numbers = {column: _nan(found.mean), "low": _nan(found.low), "high": _nan(found.high), "seeds": found.seeds}
        rows.append(dict(zip(keys, names, strict=True)) | numbers)
    return pd.DataFrame(rows, columns=[*keys, column, "low", "high", "seeds"])


def mean_of(values: pd.DataFrame, model: str, quantity: str, variant: str | None = None) -> float | None:
    """The mean over seeds of one quantity; None where no seed has it."""
    cell = values[(values["model"] == model) & (values["quantity"] == quantity)]
    cell = cell if variant is None else cell[cell["variant"] == variant]
    known = cell["value"].dropna()
    return float(known.mean()) if len(known) else None


def _nan(number: float | None) -> float:
    return np.nan if number is None else number


def variant(mode: str, *, constrained: bool) -> str:
    """How a search was made, in words."""
    words = [] if mode == "relaxed" else [mode.replace("_", " ")]
    return ", ".join([*words, "policy"] if constrained else [*words, "free"])


def judged(seed: int, a: pd.DataFrame, b: pd.DataFrame, how: str) -> Iterator[dict[str, object]]:
    """Means over runs of the twin (a) and the network (b), and reductions of what should fall."""
    named = {"valid": "validity", "strict": "strict_validity"}
    for column in a.columns:
        if column == "asked":
            continue
        kernel = column.removeprefix("mmd_") if column.startswith("mmd_") else ""
        quantity = "mmd" if kernel else named.get(column, column)
        where = f"{how}, kernel {kernel}" if kernel else how
        for model, table in ((TWIN, a), (REMEDIED, b)):
            yield value(seed, model, quantity, float(table[column].mean()), where)
        if quantity in {"ip", "cost"}:
            yield value(seed, CHANGE, f"{quantity}_reduction", reduction(a[column], b[column]), where)


def course(seed: int, done: Trained, ratio: float) -> Iterator[dict[str, object]]:
    """How the training went."""
    searched = [row for row in done.log if row["mature_share"] is not None]
    yield value(seed, REMEDIED, "mature_share", searched[-1]["mature_share"] if searched else None)
    yield value(seed, REMEDIED, "mean_steps", done.mean_steps if searched else None)
    yield value(seed, REMEDIED, "skipped_updates", float(done.total("skipped_updates")))
    yield value(seed, REMEDIED, "compute_ratio", ratio)


def log_table(logs: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The logs of several trainings, which have `seed` and `model`, as one table."""
    columns = ["seed", "model", "epoch", "train_loss", "div", "reg", "adv", "searched", "mature_share", "mean_steps"]
    columns += ["at_once", "nan_steps", "accuracy", "held_out_accuracy", "skipped_updates"]
    rows = [row for log in logs for row in log.to_dict("records")]
    table = pd.DataFrame(rows, columns=columns)
    return table.astype({name: np.float64 for name in columns if name not in {"seed", "model", "epoch"}})


def protected(seed: int, shares: pd.DataFrame) -> Iterator[dict[str, object]]:
    """The share of attributions that falls on features that may not change, in both normalisations."""
    for model, own in shares[shares["immutable"]].groupby("model", sort=False):
        yield value(seed, str(model), "protected_share", float(own["share"].sum()), "of the sum")
        published = float(own["published"].mean())
        yield value(seed, str(model), "protected_attribution", published, "published normaliser")
