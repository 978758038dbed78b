"""The layouts of the sample, of counterfactual sets and of performance, and the one for everything else."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd

from audit.core.evidence import Evidence, Metric
from audit.report import text
from audit.report.blocks import Block, Bullets, Callout, Cell, Column, Grid, Heading, Para
from audit.report.figures import Point, shade, square, thinned
from audit.report.judged import STATUSES, findings
from audit.report.layout import section_of
from audit.report.source import Source, metric
from audit.report.tables import generic_table, metric_table, records_of
from audit.report.words import say

Placed = tuple[str, Block]
"""A block with the section that it belongs to."""

ROWS_ONLY = frozenset(
    {"instances", "sample", "scores", "counterfactuals", "instance_status", "flex_local", "choices"}
    | {"shap_local", "shap_background", "cid_local", "cid_repeats", "cid_densities", "scores_trajectory", "scores_null"}
    | {"reasons", "recourse_local", "recourse_sheets", "recourse_ways"}
)
"""Tables with a row per person, or per step of a training: they stay in the bundle; a report shows aggregates."""

REASONS_SHOWN = 5
MOVES_SHOWN = 12


def heading(source: Source, record: Evidence, section: str) -> list[Placed]:
    """The heading of a piece of evidence in a section, with its status where that is not ok."""
    wording = source.words(record)
    title = wording.title if record.id in {record.kind, "sample"} else f"{wording.title}: {record.id}"
    own = section == wording.kind and title == wording.title
    blocks: list[Block] = [] if own else [Heading(title, anchor=f"{section}-{record.id}")]
    if record.status != "ok":
        badge = STATUSES[record.status]
        reason = record.message or "No reason was recorded."
        blocks.append(Callout("No result", text.sentence(reason), badge))
    return [(section, block) for block in blocks]


def generic(source: Source, record: Evidence) -> Iterator[Placed]:
    """Metrics and tables as they stand, for a kind that has no layout of its own."""
    section = section_of(source.words(record))
    yield from heading(source, record, section)
    yield from purpose(source, record, section)
    yield from remarks(source, record, section)
    yield from placed(section, metric_table(source, record))
    for table in record.tables:
        if table.name not in ROWS_ONLY:
            yield from placed(section, generic_table(source, record, table.name))


def remarks(source: Source, record: Evidence, section: str) -> Iterator[Placed]:
    """What the evidence says in words; what weighs more is a finding, and named as such."""
    kind = "sample" if record.id == "sample" else record.kind
    neutral = [say(note, kind) for note in record.notes if note.severity is None]
    told = [f"{note.title}. {note.text}" if note.title else note.text for note in neutral]
    raised = [view for view in findings(source) if not view.gate and record.id in view.evidence]
    told += [f"Finding {view.id}: {view.title}." for view in raised]
    if told:
        yield section, Bullets(tuple(told))


def purpose(source: Source, record: Evidence, section: str) -> Iterator[Placed]:
    """What the method is for, in its own words."""
    said = source.words(record).card.get("purpose")
    if said:
        yield section, Para(" ".join(said.split()))


def placed(section: str, *blocks: Block | None) -> Iterator[Placed]:
    """The blocks that are there, in a section."""
    return ((section, block) for block in blocks if block is not None)


def sample(source: Source, record: Evidence) -> Iterator[Placed]:
    """Who was audited: numbers, regions, the check of stored scores."""
    yield from heading(source, record, "S4")
    yield from purpose(source, record, "S4")
    yield from remarks(source, record, "S4")
    yield from placed("S4", metric_table(source, record, "The audited rows"))
    regions = source.table(record, "regions")
    if regions is not None and "region" in regions:
        yield "S9", _regions(source, regions, source.table(record, "sample"))
    yield from placed("S4", generic_table(source, record, "score_mismatches"))


def _regions(source: Source, regions: pd.DataFrame, drawn: pd.DataFrame | None) -> Grid:
    texts = {r.get("name"): r.get("text") for r in source.facts("regions") or () if isinstance(r, dict)}
    random = set(drawn.loc[drawn["drawn"], "instance"]) if drawn is not None and "drawn" in drawn else None
    rows = []
    for name, group in regions.groupby("region", sort=False):
        of_these = text.count(len(random & set(group["instance"]))) if random is not None else text.ABSENT
        definition = texts.get(str(name)) or next((d for k, d in texts.items() if str(name).startswith(f"{k} ")), None)
        rows.append(
            (
                Cell(str(name)),
                Cell(text.plain(definition)),
                Cell(text.count(len(group)), "number"),
                Cell(of_these, "number"),
            )
        )
    columns = (Column("Region"), Column("Definition"), Column("Audited rows", numeric=True))
    return Grid("Regions", (*columns, Column("Of these drawn at random", numeric=True)), tuple(rows), name="regions")


STATUS_LABELS = {
    "found": ("Found", "at least one counterfactual was found and verified"),
    "not_found": ("Not found", "the search ended without one; this does not prove that none exists"),
    "infeasible": ("Infeasible", "it is proven that none exists under the constraints"),
    "refused": ("Refused", "the question has no honest answer for this row"),
    "not_applicable": ("Not applicable", "the row already has the outcome that is wanted"),
}


def counterfactuals(source: Source, record: Evidence) -> Iterator[Placed]:
    """How the search ended for each row, what was found and at what cost."""
    settings = source.settings(record)
    section = "S11" if settings.get("constraints") == "policy" else "S10"
    name = record.id.partition(".")[2] or record.id
    yield section, Heading(f"Counterfactual set “{name}”", anchor=f"{section}-{record.id}")
    yield section, Para(_sought(source, record, settings))
    if record.status != "ok":
        yield (
            section,
            Callout("No result", text.sentence(record.message or "no reason recorded"), STATUSES[record.status]),
        )
    yield from remarks(source, record, section)
    status = source.table(record, "instance_status")
    if status is not None and "status" in status:
        yield section, _statuses(name, status)
        yield from placed(section, _reasons(status))
    found = source.table(record, "counterfactuals")
    if found is not None:
        yield from placed(section, _size(name, found), _moves(source, record, found))
    yield from placed(
        section, metric_table(source, record, f"Set “{name}”: metrics", skip=() if status is None else STATUS_LABELS)
    )
    yield from _discarded(source, record, section)
    for table in record.tables:
        if table.name not in ROWS_ONLY | {"discarded"}:
            yield from placed(section, generic_table(source, record, table.name))


def _discarded(source: Source, record: Evidence, section: str) -> Iterator[Placed]:
    """What the verifier threw out, and why."""
    frame = source.table(record, "discarded")
    if frame is None or not {"reason", "count"} <= set(frame.columns):
        return
    some = frame[frame["count"] > 0]
    if not len(some):
        yield section, Para("The verifier discarded none of the counterfactuals that the search gave.")
        return
    pairs = zip(some["reason"], some["count"], strict=True)
    rows = tuple((Cell(text.sentence(text.words(str(why)))), Cell(text.count(n), "number")) for why, n in pairs)
    columns = (Column("Reason"), Column("Counterfactuals", numeric=True))
    yield section, Grid(source.words(record).caption("discarded"), columns, rows, name="discarded")


def _sought(source: Source, record: Evidence, settings: Any) -> str:
    whom = {"each": "for each audited row, towards any other outcome"}.get(
        str(settings.get("for") or settings.get("for_")),
        "for rows with an unfavourable outcome, towards the favourable one",
    )
    under = {
        "policy": "the actionability policy: what the policy calls immutable keeps its value",
        "domain": "the domain only: types, levels and bounds hold, but any feature may move, so that the model's "
        "reliance on each of them shows",
    }.get(str(settings.get("constraints") or "domain"), "constraints that are not stated")
    return (
        f"Search “{record.kind}”, {whom}; up to {text.count(settings.get('per_row') or 1)} per row, under {under}. "
        "Each counterfactual was checked again by a verifier that is separate from the search."
    )


def _statuses(name: str, status: pd.DataFrame) -> Grid:
    counts = status["status"].value_counts()
    total = len(status)
    asked = total - int(counts.get("not_applicable", 0))
    spent = status.get("evaluated_rows")
    rows = []
    for key, (label, meaning) in STATUS_LABELS.items():
        n = int(counts.get(key, 0))
        share = text.percent(n / asked) if asked and key != "not_applicable" else text.ABSENT
        cost = text.count(spent[status["status"] == key].sum()) if spent is not None else text.ABSENT
        rows.append((Cell(label), Cell(meaning), *(Cell(v, "number") for v in (text.count(n), share, cost))))
    columns = (
        Column("Status"),
        Column("It means that"),
        Column("Rows", numeric=True),
        Column("Share of rows asked", numeric=True),
        Column("Model-evaluated rows", numeric=True),
    )
    note = f"{text.count(total)} audited rows, {text.count(asked)} of them asked for a counterfactual."
    return Grid(f"Set “{name}”: how the search ended", columns, tuple(rows), note, name="statuses")


def _reasons(states: pd.DataFrame) -> Grid | None:
    if "reason" not in states:
        return None
    told = states[states["reason"].astype(str).str.len() > 0]
    told = told[told["status"].isin(["not_found", "infeasible", "refused"])]
    if not len(told):
        return None
    counts = Counter(zip(told["status"].astype(str), told["reason"].astype(str), strict=True)).most_common()
    rows = tuple(
        (Cell(STATUS_LABELS.get(status, (status, ""))[0]), Cell(reason), Cell(text.count(n), "number"))
        for (status, reason), n in counts[:REASONS_SHOWN]
    )
    rest = len(counts) - len(rows)
    note = f"{rest} further reasons are in the bundle." if rest > 0 else ""
    columns = (Column("Status"), Column("Reason"), Column("Rows", numeric=True))
    return Grid("Why rows have no counterfactual", columns, rows, note, name="reasons")


def _size(name: str, found: pd.DataFrame) -> Grid | None:
    asked = {
        "n_changed": ("Features changed", "how many features differ from the row"),
        "distance": ("Distance", "Gower distance: the mean scaled change over all features"),
        "cost": ("Cost", "the sum of scaled changes, or the costs of the policy"),
    }
    rows = []
    for column, (label, meaning) in asked.items():
        if column in found and found[column].notna().any():
            points = found[column].dropna().quantile([0.1, 0.5, 0.9])
            shown = [text.count(v) if column == "n_changed" else text.number(v) for v in points]
            rows.append((Cell(label), Cell(meaning), *(Cell(v, "number") for v in shown)))
    if not rows:
        return None
    note = f"{text.count(len(found))} counterfactuals"
    if "verified" in found:
        passed = int(found["verified"].sum())
        note += f"; {text.count(passed)} passed the verifier, {text.count(len(found) - passed)} did not"
    columns = (
        Column("Measure"),
        Column("Meaning"),
        *(Column(q, numeric=True) for q in ("10\u00a0%", "Median", "90\u00a0%")),
    )
    return Grid(f"Set “{name}”: size of the changes", columns, tuple(rows), note + ".", name="sizes")


def _moves(source: Source, record: Evidence, found: pd.DataFrame) -> Grid | None:
    """How often each feature moves in the set, from the audited rows and the counterfactuals."""
    sampled = source.record("sample")
    instances = source.table(sampled, "instances") if sampled else None
    if instances is None or "instance" not in found:
        return None
    features = [c for c in instances.columns if c != "instance" and c in found]
    before = instances.set_index("instance").reindex(found["instance"])
    moved = []
    for feature in features:
        old, new = before[feature].to_numpy(dtype=object), found[feature].to_numpy(dtype=object)
        both_missing = pd.isna(old) & pd.isna(new)
        moved.append((feature, float(((old != new) & ~both_missing).mean())))
    moved.sort(key=lambda pair: -pair[1])
    peak = max((share for _, share in moved), default=0.0)
    rows = tuple(
        (Cell(feature), Cell(text.percent(share), "number", shade=shade(share, peak)))
        for feature, share in moved[:MOVES_SHOWN]
    )
    columns = (Column("Feature"), Column("Share of counterfactuals in which it moves", numeric=True))
    note = "All counterfactuals count the same here; the scores of S8 give every row the same weight."
    if len(moved) > MOVES_SHOWN:
        note = f"The first {MOVES_SHOWN} of {len(moved)} features. {note}"
    return Grid(f"Set “{record.id.partition('.')[2]}”: what moves", columns, rows, note, heat=True, name="moves")


def performance(source: Source, record: Evidence) -> Iterator[Placed]:
    """Metrics with intervals, then ROC, calibration and confusion."""
    section = "S7"
    yield from heading(source, record, section)
    yield from purpose(source, record, section)
    yield from remarks(source, record, section)
    yield from placed(section, metric_table(source, record, "Performance on the evaluation data"))
    drawn = {"roc": _roc, "calibration": _calibration, "confusion": _confusion}
    for table in sorted(record.tables, key=lambda t: list(drawn).index(t.name) if t.name in drawn else 9):
        frame = source.table(record, table.name)
        if frame is None or table.name in ROWS_ONLY:
            continue
        draw = drawn.get(table.name)
        if draw is None or not COLUMNS[table.name] <= set(frame.columns):
            yield from placed(section, generic_table(source, record, table.name))
            continue
        for outcome, part in _by_outcome(frame):
            yield section, draw(source, record, part, outcome)


COLUMNS = {
    "roc": {"fpr", "tpr"},
    "calibration": {"mean_score", "observed"},
    "confusion": {"actual", "predicted", "n"},
}


def _by_outcome(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The table in one piece, or with more than one outcome in a piece for each."""
    if "outcome" not in frame or frame["outcome"].nunique(dropna=True) < 2:
        return [("", frame)]
    return [(str(name), part) for name, part in frame.groupby("outcome", sort=False)]


def _roc(source: Source, record: Evidence, frame: pd.DataFrame, outcome: str) -> Block:
    points = [Point(float(x), float(y)) for x, y in zip(frame["fpr"], frame["tpr"], strict=True)]
    auc = metric(record, "auc") if not outcome else None
    shown = f"AUC {text.number(auc.value)}" if auc and auc.value is not None else ""
    spread = f" (95\u00a0% interval {text.interval(auc.low, auc.high)})" if auc and auc.low is not None else ""
    title = f"ROC curve. {shown}{spread}. The diagonal is a model that cannot tell the classes apart."
    axes = ("False positive rate", "True positive rate")
    return square(
        "roc",
        title,
        f"ROC curve on the evaluation data{_of(outcome)}",
        thinned(points),
        axes=axes,
        joined=True,
        key=shown,
    )


def _calibration(source: Source, record: Evidence, frame: pd.DataFrame, outcome: str) -> Block:
    rows = [row for row in records_of(frame) if text.finite(row["observed"]) is not None]
    points = [
        Point(float(r["mean_score"]), float(r["observed"]), text.finite(r.get("low")), text.finite(r.get("high")))
        for r in rows
    ]
    numbers = "; ".join(f"score {text.number(p.x)}: observed {text.number(p.y)}" for p in points)
    title = f"Calibration in {len(points)} bins. On the diagonal the score equals the share observed. {numbers}."
    axes = ("Mean score of the bin", "Share observed")
    return square(
        "calibration", title, f"Reliability diagram, with intervals{_of(outcome)}", points, axes=axes, joined=False
    )


def _confusion(source: Source, record: Evidence, frame: pd.DataFrame, outcome: str) -> Block:
    counted: dict[tuple[str, str], float] = {}
    for row in records_of(frame):
        key = str(row["actual"]), str(row["predicted"])
        counted[key] = counted.get(key, 0.0) + (text.finite(row["n"]) or 0.0)
    classes = list(dict.fromkeys([name for key in counted for name in key]))
    rows = []
    for actual in classes:
        values = [counted.get((actual, predicted), 0.0) for predicted in classes]
        total = sum(values)
        shown = [f"{text.count(v)} ({text.percent(v / total)})" if total else text.count(v) for v in values]
        shaded = [Cell(told, "number", shade=shade(v, total)) for told, v in zip(shown, values, strict=True)]
        rows.append((Cell(f"Truly {actual}"), *shaded, Cell(text.count(total), "number")))
    columns = (
        Column("Class"),
        *(Column(f"Predicted {c}", numeric=True) for c in classes),
        Column("Rows", numeric=True),
    )
    return Grid("Confusion table", columns, tuple(rows), "Shares are of the row.", heat=True, name="confusion")


def _of(outcome: str) -> str:
    return f", outcome {outcome}" if outcome else ""


Layout = Callable[[Source, Evidence], Iterator[Placed]]


def all_metrics(records: tuple[Evidence, ...]) -> Iterator[tuple[Evidence, Metric]]:
    """Every metric of the audit with its evidence."""
    return ((record, found) for record in records for found in record.metrics)
