"""Sheets for single people: what they can do, what they cannot change, why, and what was not tested.

Their wording is in `templates/words/sheet.yaml`. They say nothing but what the evidence holds, in no term
of the trade.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from audit.core.evidence import Evidence
from audit.report import text
from audit.report.blocks import Block, Bullets, Cell, Column, Grid, Heading, Para
from audit.report.source import Source
from audit.report.tables import records_of
from audit.report.words import Sentence, phrase

SPACE = "\u00a0"
# A sheet has two pages. What is cut is counted on it.
MOST_WAYS = 3
MOST_CHANGES = 15
MOST_REASONS = 6
MOST_FIXED = 14


def sheets(source: Source) -> Iterator[Block]:
    """Appendix F: the sheet of each person whom the evidence on recourse names."""
    for record in source.given:
        named = source.table(record, "recourse_sheets") if record.kind == "recourse" else None
        if named is not None and "instance" in named:
            for instance in named["instance"]:
                yield from _sheet(source, record, str(instance))


def _sheet(source: Source, record: Evidence, instance: str) -> Iterator[Block]:
    settings = source.settings(record)
    alone = bool(settings.get("model_alone"))
    made = source.record(f"counterfactuals.{settings.get('from') or settings.get('from_')}")
    before = _row(source, source.record("sample"), "instances", instance)
    found = _ways(source, record, made, instance)
    ways = _that_fit(source, before, found)
    yield Heading(_say("title", instance=instance).title, anchor=f"sheet-{instance}")
    yield Para(_say("decision", alone=alone).text)
    yield Heading(_say("can").title)
    if ways:
        yield Para(_say("ways", ways=len(ways), more=len(found) - len(ways)).text)
        for number, after in enumerate(ways, start=1):
            yield _way(source, number, before, after)
        yield Para(_say("promise", alone=alone).text)
    else:
        proven = _row(source, made, "instance_status", instance).get("status") == "infeasible"
        yield Para(_say("nothing_there" if proven else "nothing_found").text)
        yield Para(_say("no_promise").text)
    yield from _fixed(source)
    yield from _why(source, before, instance)
    yield Heading(_say("untested").title)
    codes = ["reach", "least"] if ways else []
    codes += ["right", "together", *([] if alone else ["others"]), "later"]
    yield Bullets(tuple(_say(code).text for code in codes))
    yield Para(_say("foot", report=source.manifest.report_id, day=source.manifest.as_of or "").text, "small")


def _say(code: str, **args: Any) -> Sentence:
    return phrase("sheet", code, **args)


def _row(source: Source, record: Evidence | None, table: str, instance: str) -> Mapping[str, Any]:
    """The first row of a person in a table; empty where there is none."""
    return next(iter(_rows(source, record, table, instance)), {})


def _rows(source: Source, record: Evidence | None, table: str, instance: str) -> list[Mapping[str, Any]]:
    frame = source.table(record, table) if record is not None else None
    if frame is None or "instance" not in frame:
        return []
    return records_of(frame[frame["instance"].astype(str) == instance])


def _ways(source: Source, record: Evidence, made: Evidence | None, instance: str) -> list[Mapping[str, Any]]:
    """The counterfactuals of a person, the cheapest first."""
    found = _rows(source, made, "counterfactuals", instance)
    costs = {row["k"]: row["cost"] for row in _rows(source, record, "recourse_ways", instance)}
    return sorted(found, key=lambda row: (costs.get(row.get("k"), row.get("cost", 0)), row.get("k", 0)))


def _that_fit(source: Source, before: Mapping[str, Any], found: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The first ways, as many as a sheet has room for; always one."""
    room = MOST_CHANGES
    kept: list[Mapping[str, Any]] = []
    for after in found[:MOST_WAYS]:
        room -= len(_changes(source, before, after))
        if kept and room < 0:
            break
        kept.append(after)
    return kept


def _changes(source: Source, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The details that a way changes."""
    return [f for f in _features(source) if _differ(before.get(f["name"]), after.get(f["name"]))]


def _way(source: Source, number: int, before: Mapping[str, Any], after: Mapping[str, Any]) -> Grid:
    """One way: each detail that changes, with its value now and the one that is needed."""
    rows = tuple(
        (Cell(_title(f)), Cell(_value(f, before.get(f["name"]))), Cell(_value(f, after.get(f["name"]))))
        for f in _changes(source, before, after)
    )
    caption = _say("way", number=number, things=len(rows)).title
    return Grid(caption, (Column("What changes"), Column("Now"), Column("Needed")), rows, name=f"way-{number}")


def _features(source: Source) -> list[Mapping[str, Any]]:
    return [one for one in source.facts("schema") or () if isinstance(one, dict)]


def _differ(old: Any, new: Any) -> bool:
    return not (pd.isna(old) and pd.isna(new)) and old != new


def _title(feature: Mapping[str, Any]) -> str:
    """What people call a detail."""
    return text.sentence(str(feature.get("title") or "") or text.words(str(feature["name"])))


def _value(feature: Mapping[str, Any], value: Any) -> str:
    """A value as people read it: a number with its unit, a level as it is written, `not known` where it is missing."""
    if pd.isna(value):
        return "not known"
    number = text.finite(value)
    if feature.get("kind") != "numeric" or number is None:
        return text.plain(value)
    shown = text.count(number) if number == round(number) else text.plain(float(number))
    unit = str(feature.get("unit") or "")
    return f"{shown}{SPACE}{unit}" if unit else shown


def _fixed(source: Source) -> Iterator[Block]:
    """What counts as fixed, by the policy."""
    rules = {str(r.get("feature")): r for r in source.facts("policy", "features") or () if isinstance(r, dict)}
    fixed = [_title(f) for f in _features(source) if rules.get(f["name"], {}).get("change", "immutable") == "immutable"]
    if not fixed:
        return
    said = _say("cannot")
    yield Heading(said.title)
    yield Para(said.text)
    rest = len(fixed) - MOST_FIXED
    yield Bullets((*fixed[:MOST_FIXED], *([_say("more_details", count=rest).text] if rest > 0 else [])))


def _seen(row: Mapping[str, Any]) -> str:
    """In how many of the changed cases the detail is another one."""
    share, n = text.finite(row.get("frequency")), text.finite(row.get("n"))
    return "not known" if share is None or n is None else f"{text.count(round(share * n))} of {text.count(n)}"


DIRECTIONS = {"too high": "too_high", "too low": "too_low"}


def _why(source: Source, before: Mapping[str, Any], instance: str) -> Iterator[Block]:
    """The principal reasons, whatever a person can change."""
    said = _say("why")
    yield Heading(said.title)
    found = [
        row for record in source.given if record.kind == "reasons" for row in _rows(source, record, "reasons", instance)
    ]
    if not found:
        yield Para(_say("why_unknown").text)
        return
    yield Para(said.text)
    features = {str(f["name"]): f for f in _features(source)}
    rows = []
    for row in found[:MOST_REASONS]:
        feature = features.get(str(row["feature"]), {"name": str(row["feature"])})
        code = DIRECTIONS.get(str(row["direction"]), "another_value")
        help_said = _say(code, towards=str(row.get("towards") or "")).text
        value = _value(feature, before.get(str(row["feature"])))
        rows.append((Cell(text.sentence(str(row["text"]))), Cell(value), Cell(help_said), Cell(_seen(row))))
    columns = (Column("Reason"), Column("Your value"), Column("What would help"), Column("Seen in"))
    yield Grid("Main reasons", columns, tuple(rows), _say("seen").text, name="why")
    if len(found) > MOST_REASONS:
        yield Para(_say("more_reasons", count=len(found) - MOST_REASONS).text, "small")
