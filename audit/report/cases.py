"""A few cases of a counterfactual method: how often each feature changes, and values before and after."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from audit.core.evidence import Evidence
from audit.report import text
from audit.report.blocks import Cell, Column, Grid, Heading, Para
from audit.report.figures import shade
from audit.report.source import Source
from audit.report.tables import records_of
from audit.report.topics import Placed

CASES = 3
CASE_FEATURES = 8


def cases(source: Source, record: Evidence) -> Iterator[Placed]:
    """A few cases: how often each feature changes, and one counterfactual with its values before and after."""
    local = source.table(record, "flex_local")
    if local is None or not {"instance", "feature", "frequency"} <= set(local.columns):
        return
    known = local[local["frequency"].notna()]
    chosen = list(dict.fromkeys(known["instance"]))[:CASES]
    if not chosen:
        return
    yield "S10", Heading(f"{source.words(record).title}: cases", anchor=f"S10-{record.id}")
    yield (
        "S10",
        Para(
            f"The first {len(chosen)} audited rows that have a counterfactual, in the order of the sample; "
            "all others are in the bundle. These describe the model. They are not advice to a person."
        ),
    )
    for instance in chosen:
        yield "S10", _case(source, record, known[known["instance"] == instance], str(instance))


def _case(source: Source, record: Evidence, local: pd.DataFrame, instance: str) -> Grid:
    before, after, outcome = _example(source, record, instance)
    rows = []
    for row in records_of(local.sort_values(["frequency", "feature"], ascending=[False, True], kind="stable"))[
        :CASE_FEATURES
    ]:
        name = str(row["feature"])
        rows.append(
            (
                Cell(name),
                Cell(text.percent(row["frequency"]), "number", shade=shade(text.finite(row["frequency"]), 1.0)),
                Cell(text.interval(row.get("low"), row.get("high"), "percent"), "number"),
                Cell(text.plain(before.get(name)), "number"),
                Cell(_after(before, after, name), "number"),
            )
        )
    columns = (
        Column("Feature"),
        Column("Frequency", numeric=True),
        Column("95\u00a0% interval", numeric=True),
        Column("Value", numeric=True),
        Column("Nearest counterfactual", numeric=True),
    )
    n = text.finite(local["n"].max()) if "n" in local else None
    note = f"{text.count(n)} counterfactuals." if n is not None else ""
    return Grid(f"Case {instance}{outcome}", columns, tuple(rows), note, heat=True, name=f"case-{instance}")


def _after(before: dict[str, Any], after: dict[str, Any], name: str) -> str:
    if not after:
        return text.ABSENT
    old, new = text.plain(before.get(name)), text.plain(after.get(name))
    return "same" if old == new else new


def _example(source: Source, record: Evidence, instance: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    """The row, its first counterfactual and its outcome, as far as the bundle has them."""
    sampled = source.record("sample")
    before = _row(source.table(sampled, "instances") if sampled else None, instance)
    drawn = _row(source.table(sampled, "sample") if sampled else None, instance)
    given = str(source.settings(record).get("from") or source.settings(record).get("from_") or "")
    made = source.record(f"counterfactuals.{given}")
    after = _row(source.table(made, "counterfactuals") if made else None, instance)
    outcome = f": outcome {drawn['outcome']}, score {text.number(drawn.get('score'))}" if "outcome" in drawn else ""
    if after:
        outcome += f", {text.number(after.get('score_after'))} after the nearest counterfactual"
    return before, after, outcome


def _row(frame: pd.DataFrame | None, instance: str) -> dict[str, Any]:
    if frame is None or "instance" not in frame:
        return {}
    found = frame[frame["instance"].astype(str) == instance]
    return {str(k): v for k, v in found.iloc[0].to_dict().items()} if len(found) else {}
