"""The layout of CID: distances with their spread, the distributions behind them, and what removing features does."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from audit.core.evidence import Evidence
from audit.report import text
from audit.report.blocks import Block
from audit.report.figures import nice_top
from audit.report.importance import FIGURE_FEATURES
from audit.report.layout import section_of
from audit.report.panels import Box, Key, Look, Panel, Said, Shape, Trace, boxes, panels, stepped
from audit.report.source import Source
from audit.report.tables import generic_table, metric_table, records_of
from audit.report.topics import ROWS_ONLY, Placed, heading, placed, purpose, remarks

OUTCOMES_DRAWN = 4
LEVELS_DRAWN = 4
LOOKS: tuple[tuple[Look, Shape], ...] = (("curve", "circle"), ("series1", "square"), ("series2", "diamond"))
"""Of CID and of the first rankings that it is compared with."""

RANDOM = "random ranking"
CHANCE: tuple[Look, Shape] = ("series3", "")
LABELS = {"cid": "CID", RANDOM: f"{RANDOM} (chance line)"}


def cid(source: Source, record: Evidence) -> Iterator[Placed]:
    """Figures first, then the numbers; the curves of removal stay in the bundle as a table."""
    section = section_of(source.words(record))
    yield from heading(source, record, section)
    yield from purpose(source, record, section)
    yield from remarks(source, record, section)
    yield from placed(section, _spread(source, record), *_distributions(source, record), _removal(source, record))
    yield from placed(section, metric_table(source, record))
    for table in record.tables:
        if table.name not in {*ROWS_ONLY, "cid_removal"}:
            yield from placed(section, generic_table(source, record, table.name))


def _spread(source: Source, record: Evidence) -> Block | None:
    """Box plots of the distances over repeats, in front of their spread over the same rows."""
    repeats = source.table(record, "cid_repeats")
    if repeats is None or repeats["repeat"].max() < 1:
        return None
    count, n = int(repeats["repeat"].max()) + 1, int(repeats["n"].max())
    by_feature = {str(name): own["value"] for name, own in repeats.groupby("feature", sort=False)}
    order = sorted(by_feature, key=lambda name: (-float(by_feature[name].median()), name))
    behind = _middle_half(source, record, count)
    items, said = [], []
    for name in order[:FIGURE_FEATURES]:
        low, q1, q2, q3, high = (float(by_feature[name].quantile(q)) for q in (0, 0.25, 0.5, 0.75, 1))
        items.append(Box(source.show(name), (low, q1, q2, q3, high), behind.get(name), text.number(q2)))
        said.append(f"{name} median {text.number(q2)} ({text.interval(low, high)})")
    first = f" The first {len(items)} of {len(order)} features." if len(items) < len(order) else ""
    caption = (
        f"Distance of each feature in {count} repeats; each is a mean over {n} rows, those that have all repeats. "
        f"Behind: the middle half of the same rows.{first}"
    )
    title = f"Distances over {count} repeats, median and range: {'; '.join(said)}."
    keys = [Key("box", f"quartiles, median and range over {count} repeats"), Key("rows", "middle half of the rows")]
    told = Said(f"distances-{record.id}", title, caption)
    return boxes(told, items, axis="Distance (0: same distribution, 1: no overlap)", keys=keys)


def _middle_half(source: Source, record: Evidence, repeats: int) -> dict[str, tuple[float, float]]:
    """The quartiles of the distances over the rows that have all repeats, by feature."""
    local = source.table(record, "cid_local")
    if local is None:
        return {}
    known = local[(local["status"] == "ok") & (local["repeats"] == repeats)].dropna(subset=["value"])
    values = {str(name): own["value"] for name, own in known.groupby("feature")}
    return {name: (float(own.quantile(0.25)), float(own.quantile(0.75))) for name, own in values.items()}


def _distributions(source: Source, record: Evidence) -> Iterator[Block]:
    """For each outcome that is left, the distributions of the first features in C+ and C-."""
    frame = source.table(record, "cid_densities")
    if frame is None:
        return
    sizes = frame.groupby("outcome", sort=False)["n"].max().sort_values(ascending=False, kind="stable")
    smoothed = source.settings(record).get("measure") == "kde"
    axis = "Value of the feature; kept: share that keeps its value (full height: all)"
    keys = [Key("plus", "C+, decision flips"), Key("minus", "C−, decision stays"), Key("overlap", "overlap")]
    left = " The measure smooths the values that are kept with the others." if smoothed else ""
    left += f" The {OUTCOMES_DRAWN} outcomes with most rows are drawn." if len(sizes) > OUTCOMES_DRAWN else ""
    for place, outcome in enumerate(sizes.index[:OUTCOMES_DRAWN]):
        items, said = [], []
        for name, rows in frame[frame["outcome"] == outcome].groupby("feature", sort=False):
            panel = _density(source, rows) if rows["level"].isna().all() else _levels(source, rows)
            plus, minus = (text.percent(rows[side].iloc[0]) for side in ("unchanged_plus", "unchanged_minus"))
            items.append(panel)
            said.append(f"{name} {panel.note}, kept in {plus} of C+ and {minus} of C-")
        caption = (
            f"Random changes of rows that are “{outcome}” (up to {int(sizes[outcome])} rows): the values of a feature "
            "in changed rows that flip (C+) and in those that do not (C-), mean over rows. Axes are the training "
            "range. A distance is taken row by row before it is averaged, so that it is not the shaded area itself."
        )
        title = f"Distributions in C+ and C- for rows that are “{outcome}”: {'; '.join(said)}."
        told = Said(f"densities-{record.id}-{place}", title, caption + left)
        yield panels(told, items, columns=2, height=84.0, axis=axis, keys=keys)


def _density(source: Source, rows: pd.DataFrame) -> Panel:
    """Densities of numbers, within the training range."""
    first = records_of(rows)[0]
    low, high = float(rows["at"].min()), float(rows["at"].max())
    margin = (high - low) / 12  # densities are kept on the range and a tenth of it on either side
    low, high = low + margin, high - margin
    inside = rows[(rows["at"] >= low - margin / 100) & (rows["at"] <= high + margin / 100)]
    at, plus, minus = (tuple(map(float, inside[column])) for column in ("at", "plus", "minus"))
    shared = tuple(map(min, plus, minus))
    lines = tuple(Trace(tuple(zip(at, heights, strict=True)), look) for heights, look in _sides(plus, minus))
    third = (high - low) / 3
    ticks = tuple((v, text.number(v), third) for v in (low, (low + high) / 2, high))
    top = max(*plus, *minus) or 1.0
    apart = float(first["unchanged_plus"]), float(first["unchanged_minus"])
    area = tuple(zip(at, shared, strict=True))
    name, note = _named(source, first)
    return Panel(name, note, (low, high), (0.0, top * 1.05), lines, ticks, area, apart=apart)


Heights = tuple[float, ...]


def _sides(plus: Heights, minus: Heights) -> tuple[tuple[Heights, Look], tuple[Heights, Look]]:
    """The two sets with their looks."""
    return (plus, "plus"), (minus, "minus")


def _named(source: Source, row: Mapping[str, Any]) -> tuple[str, str]:
    """The feature, and its distance."""
    return source.show(row["feature"]), f"distance {text.number(row['distance'])}"


def _levels(source: Source, rows: pd.DataFrame) -> Panel:
    """Shares of levels; the rarer ones together."""
    ordered = rows.assign(most=rows[["plus", "minus"]].max(axis=1)).sort_values("most", ascending=False, kind="stable")
    chosen = ordered.head(LEVELS_DRAWN).sort_values("place", kind="stable")
    rest = ordered.iloc[LEVELS_DRAWN:]
    labels = [*map(source.show, chosen["level"])] + ["rest"] * bool(len(rest))
    sides = [[*map(float, chosen[s])] + [float(rest[s].sum())] * bool(len(rest)) for s in ("plus", "minus")]
    lines = (Trace(stepped(sides[0]), "plus"), Trace(stepped(sides[1]), "minus"))
    ticks = tuple((i + 0.5, label, 1.0) for i, label in enumerate(labels))
    area = stepped([min(pair) for pair in zip(*sides, strict=True)])
    name, note = _named(source, records_of(rows)[0])
    return Panel(name, note, (0.0, float(len(labels))), (0.0, 1.0), lines, ticks, area)


def _removal(source: Source, record: Evidence) -> Block | None:
    """What the removal of the first features costs, and what keeping them alone costs."""
    frame, faithful = source.table(record, "cid_removal"), source.table(record, "cid_faithfulness")
    if frame is None or faithful is None:
        return None
    names = list(dict.fromkeys(map(str, frame["attribution"])))
    looks = dict(zip([n for n in names if n != RANDOM], LOOKS, strict=False))
    looks |= {RANDOM: CHANCE} if RANDOM in names else {}
    sides = {"removed": "First features removed", "kept_only": "First features kept alone"}
    values = frame.loc[frame["attribution"].isin(looks), list(sides)].to_numpy()
    ends = min(0.0, float(values.min())), nice_top([float(values.max())])
    items = [_curves(frame, column, shown, looks, ends) for column, shown in sides.items()]
    known = {str(row["attribution"]): row for row in records_of(faithful)}
    said = [
        f"{LABELS.get(name, name)}: comprehensiveness {text.number(known[name]['comprehensiveness'])}, sufficiency "
        f"{text.number(known[name]['sufficiency'])}"
        for name in looks
    ]
    rows = int(faithful["n"].max())
    missing = f" {len(names) - len(looks)} more rankings are in the tables." if len(names) > len(looks) else ""
    caption = (
        "Loss of the probability of the decision as features are removed in the order of each ranking (left, higher is "
        f"better), and as all others are (right, lower is better); mean over {rows} rows.{missing}"
    )
    keys = [Key(look, source.show(LABELS.get(name, name)), shape) for name, (look, shape) in looks.items()]
    told = Said(f"removal-{record.id}", f"Removal of features, mean over {rows} rows. {'; '.join(said)}.", caption)
    return panels(told, items, columns=2, height=150.0, axis="Features removed, or kept", keys=keys)


def _curves(
    frame: pd.DataFrame, column: str, title: str, looks: Mapping[str, tuple[Look, Shape]], ends: tuple[float, float]
) -> Panel:
    """A loss by number of features, one line for each ranking."""
    traces = []
    for name, (look, shape) in looks.items():
        own = frame[frame["attribution"] == name].sort_values("features")
        points = tuple(zip(map(float, own["features"]), map(float, own[column]), strict=True))
        traces.append(Trace(points, look, shape, every=max(1, len(points) // 8)))
    d = float(frame["features"].max())
    ticks = ((0.0, "0", d / 4), (d, f"{d:g}", d / 4))
    return Panel(title, "", (0.0, d), ends, tuple(traces), ticks, scale=(0.0, ends[1] / 2, ends[1]))
