"""The layout of ScoresActivation: weights beside their null band, while they are learnt, and beside SHAP values."""

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from audit.core.evidence import Evidence
from audit.report import text
from audit.report.blocks import Block
from audit.report.figures import Bar, Limit, bars, nice_top
from audit.report.importance import FIGURE_FEATURES
from audit.report.layout import section_of
from audit.report.panels import Dot, Key, Panel, Said, Trace, panels, scatter, thinned_line
from audit.report.source import Source, metric
from audit.report.tables import generic_table, metric_table, records_of
from audit.report.topics import ROWS_ONLY, Placed, heading, placed, purpose, remarks

PANELS = 6
SEEDS_DRAWN = 10
EPOCHS_DRAWN = 50
NAMED = 12
"""Points that are given a name where there is room; the table beside the figure names all."""


def scores(source: Source, record: Evidence) -> Iterator[Placed]:
    """Weights, how they were learnt, how they compare; then the numbers."""
    section = section_of(source.words(record))
    yield from heading(source, record, section)
    yield from purpose(source, record, section)
    yield from remarks(source, record, section)
    yield from placed(section, _weights(source, record), _learnt(source, record))
    yield from placed(section, _beside_kernel(source, record), _beside_shap(source, record))
    yield from placed(section, metric_table(source, record))
    for table in record.tables:
        if table.name not in ROWS_ONLY:
            yield from placed(section, generic_table(source, record, table.name))


def _network(frame: pd.DataFrame) -> str:
    """What network the weights are of, in brackets."""
    named = list(frame["network"].dropna()) if "network" in frame else []
    return f" ({named[0]})" if named else ""


def _ranked(source: Source, record: Evidence) -> pd.DataFrame | None:
    """The features with a weight, by weight; None where nothing is ranked."""
    frame = source.table(record, "scores_global")
    if frame is None or not {"feature", "value", "status"} <= set(frame.columns):
        return None
    frame = frame[frame["status"].isin(["ok", "noise", "untested"])]
    return frame.sort_values(["value", "feature"], ascending=[False, True], kind="stable") if len(frame) else None


def _null(record: Evidence) -> float | None:
    found = metric(record, "null_95")
    return text.finite(found.value) if found else None


def _weights(source: Source, record: Evidence) -> Block | None:
    frame = _ranked(source, record)
    if frame is None:
        return None
    rows, null = records_of(frame)[:FIGURE_FEATURES], _null(record)
    items = [
        Bar(
            source.show(row["feature"]), text.finite(row["value"]), text.finite(row.get("low")),
            text.finite(row.get("high")), text.number(row["value"]) + (" in noise" if row["status"] == "noise" else ""),
        )
        for row in rows
    ]  # fmt: skip
    numbers = "; ".join(
        f"{r['feature']} {text.number(r['value'])}{' (within the null band)' if r['status'] == 'noise' else ''}"
        for r in rows
    )
    band = "" if null is None else f" The null band ends at {text.number(null)}."
    more = f" The first {len(rows)} of {len(frame)} features." if len(rows) < len(frame) else ""
    caption = (
        f"Mean weight of each feature{_network(frame)}, with 95\u00a0% intervals over seeds."
        f"{' Shaded: the null band, weights that features reach when labels are permuted.' if band else ''}{more}"
    )
    limit = None if null is None else Limit(null, f"null band to {text.number(null)}")
    name, axis = f"weights-{record.id}", "Mean weight (all weights sum to 1)"
    return bars(name, f"Mean weight of each feature: {numbers}.{band}", caption, items, axis=axis, limit=limit)


def _learnt(source: Source, record: Evidence) -> Block | None:
    """Weights by epoch: a panel for each of the first features, a line for each seed."""
    frame, runs = _ranked(source, record), _runs(source, record)
    if frame is None or not runs:
        return None
    lines = _lines(list(frame["feature"]), runs)
    null = _null(record)
    most = [float(values.max()) for by_seed in lines.values() for values in by_seed]
    top = nice_top([*most, *([null] if null else [])])
    items, said = [], []
    for name, by_seed in lines.items():
        ends = [float(values[run.kept]) for values, run in zip(by_seed, runs, strict=True)]
        said.append(f"{name} {text.number(min(ends))} to {text.number(max(ends))}")
        items.append(_panel(source.show(name), by_seed, runs, top, null))
    few = f" The first {SEEDS_DRAWN} seeds are drawn." if len(runs) > SEEDS_DRAWN else ""
    caption = f"Weights while they are learnt, one line for each of {len(runs)} seeds{_network(frame)}.{few}"
    band = "" if null is None else f" The null band ends at {text.number(null)}."
    title = f"Weights by epoch, {len(runs)} seeds. In the epochs that were kept, over seeds: {'; '.join(said)}.{band}"
    keys = [Key("trace", "a seed; the point is the epoch that was kept", "circle")]
    keys += [] if null is None else [Key("zone", f"null band, to {text.number(null)}")]
    told = Said(f"learnt-{record.id}", title, caption)
    return panels(told, items, columns=3, height=92.0, axis="Epoch", keys=keys)


class Run(NamedTuple):
    """The training of a seed: weights by epoch and feature, and the epoch that was kept."""

    path: pd.DataFrame
    kept: int


def _runs(source: Source, record: Evidence) -> list[Run]:
    """The seeds that were trained for at least one epoch."""
    path, seeds = source.table(record, "scores_trajectory"), source.table(record, "scores_seeds")
    if path is None or seeds is None:
        return []
    kept = {row["seed"]: int(row["kept"]) for row in records_of(seeds) if row["status"] == "ok"}
    paths = {
        seed: own.pivot_table(index="epoch", columns="feature", values="value") for seed, own in path.groupby("seed")
    }
    return [Run(own, kept[seed]) for seed, own in paths.items() if seed in kept and len(own) > 1]


def _lines(names: list[str], runs: list[Run]) -> dict[str, list[pd.Series]]:
    """Weights by epoch for each of the first features and for the largest of the others, by seed."""
    alone = names if len(names) <= PANELS else names[: PANELS - 1]
    lines = {name: [run.path[name] for run in runs] for name in alone}
    rest = names[len(alone) :]
    if rest:
        lines[f"Largest of the other {len(rest)}"] = [run.path[rest].max(axis=1) for run in runs]
    return lines


def _panel(title: str, by_seed: list[pd.Series], runs: list[Run], top: float, null: float | None) -> Panel:
    epochs = max(float(run.path.index.max()) for run in runs)
    drawn = list(zip(by_seed, runs, strict=True))[:SEEDS_DRAWN]
    lines = [[*zip(map(float, values.index), map(float, values), strict=True)] for values, _ in drawn]
    traces = [Trace(thinned_line(line, EPOCHS_DRAWN), "trace") for line in lines]
    traces += [Trace(((float(run.kept), float(values[run.kept])),), "trace", "circle") for values, run in drawn]
    ticks = ((0.0, "0", epochs / 4), (epochs, f"{epochs:g}", epochs / 4))
    return Panel(title, "", (0.0, epochs), (0.0, top), tuple(traces), ticks, limit=null, scale=(0.0, top / 2, top))


def _beside_kernel(source: Source, record: Evidence) -> Block | None:
    """Weights against Kernel SHAP of the same networks."""
    frame, found = source.table(record, "scores_compared"), metric(record, "spearman_rho", variant="kernel_shap")
    ranked = _ranked(source, record)
    if frame is None or ranked is None or frame["kernel_shap"].isna().all():
        return None
    rho = "" if found is None or found.value is None else f"Spearman {text.number(found.value)}"
    caption = f"Weights against Kernel SHAP values of the networks that carry them{_network(ranked)}."
    pairs = frame[["feature", "value", "kernel_shap"]]
    return _against(source, record, pairs, "kernel", caption, "Mean absolute Kernel SHAP value", rho)


def _beside_shap(source: Source, record: Evidence) -> Block | None:
    """Weights against the SHAP values of the audited model, where the audit has them."""
    other = next(source.of_kind("shap"), None)
    table = None if other is None else source.table(other, "shap_global")
    ranked = _ranked(source, record)
    if table is None or ranked is None or not {"feature", "mean_abs"} <= set(table.columns):
        return None
    sizes = table.groupby("feature", sort=False)["mean_abs"].mean()
    pairs = ranked[["feature", "value"]].assign(size=ranked["feature"].map(sizes)).dropna()
    if not len(pairs):
        return None
    caption = f"Weights{_network(ranked)} against the SHAP values of the audited model."
    return _against(source, record, pairs, "shap", caption, "Mean absolute SHAP value", "")


def _against(
    source: Source, record: Evidence, pairs: pd.DataFrame, name: str, caption: str, axis: str, rho: str
) -> Block:
    """Points, one for each feature; the larger by either measure are named first."""
    pairs = pairs.set_axis(["feature", "value", "size"], axis=1).dropna()
    order = pairs[["value", "size"]].rank(ascending=False).min(axis=1)
    pairs = pairs.assign(order=order).sort_values(["order", "feature"], kind="stable")
    rows, null = records_of(pairs), _null(record)
    dots = [
        Dot(float(row["value"]), float(row["size"]), source.show(row["feature"]) if i < NAMED else "")
        for i, row in enumerate(rows)
    ]
    numbers = "; ".join(
        f"{r['feature']} weight {text.number(r['value'])}, {text.number(r['size'])}" for r in rows[:FIGURE_FEATURES]
    )
    some = f" The first {FIGURE_FEATURES} of {len(rows)} features: " if len(rows) > FIGURE_FEATURES else " "
    title = f"{caption}{f' {rho}.' if rho else ''}{some}{numbers}."
    named = " Named where there is room." if len(rows) > 1 else ""
    shaded = "" if null is None else " Shaded: the null band."
    told = Said(f"{name}-{record.id}", title, caption + shaded + named)
    return scatter(told, dots, axes=("Mean weight", axis), key=rho, limit=null)
