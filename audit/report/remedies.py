"""S15: what each remedy did, and the audit of its model beside that of the given model."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from audit.core.evidence import Evidence
from audit.report import text
from audit.report.before_after import COMPARISON, before_after, protected_first, spanned
from audit.report.blocks import Block, Bullets, Cell, Column, Fact, Facts, Grid, Heading, Para
from audit.report.judged import findings
from audit.report.source import REMEDIES, Source
from audit.report.tables import cut, generic_table, metric_table, records_of
from audit.report.topics import ROWS_ONLY, Placed, heading, placed, purpose, remarks

SECTION = "S15"
EVALUATION = {"quantity", "variant", "twin", "remedied", "difference"}
UNSHOWN = ROWS_ONLY | {"ct_seeds", "ct_epochs"}
"""Tables with a row per seed or epoch: they stay in the bundle."""


def remedy(source: Source, record: Evidence) -> Iterator[Placed]:
    """The evidence of a remedy, then the metrics before and after."""
    yield from heading(source, record, SECTION)
    name = record.id.removeprefix(REMEDIES)
    if record.status != "ok":
        yield SECTION, Para(_left(source, name))
        return
    yield from purpose(source, record, SECTION)
    yield from placed(SECTION, _artefacts(source, record))
    yield from remarks(source, record, SECTION)
    compared = source.table(record, "ct_evaluation")
    quantities = set() if compared is None else set(map(str, compared["quantity"]))
    yield from placed(SECTION, _evaluation(source, record), _robustness(source, record), _attributions(source, record))
    yield from placed(SECTION, metric_table(source, record, "The training", skip=quantities))
    for table in record.tables:
        if table.name not in UNSHOWN | {"ct_evaluation", "ct_robustness", "ct_attributions"}:
            yield from placed(SECTION, generic_table(source, record, table.name))
    yield SECTION, Heading(f"Before and after: {record.id}", anchor=f"{SECTION}-{record.id}-after")
    yield SECTION, Para(_rerun(source, name))
    yield from ((SECTION, block) for block in _raised(source, name))
    yield from placed(SECTION, *before_after(source, name))


def _left(source: Source, name: str) -> str:
    """One line for the audit of a model that was never made."""
    n = len(source.again(name))
    tasks = f"{text.count(n)} task{'' if n == 1 else 's'}"
    return f"There is no model to audit: {tasks} of a second audit ended without a result."


def _rerun(source: Source, name: str) -> str:
    records = [record for record in source.again(name) if record.kind != COMPARISON]
    done = sum(record.status == "ok" for record in records)
    asked = sum(m.value or 0 for r in records for m in r.metrics if m.name == "evaluated_rows")
    return (
        "The audit of the given model was run again on the remedied model, on the same drawn rows: "
        f"{text.count(done)} of {text.count(len(records))} tasks have a result, for {text.count(asked)} "
        "model-evaluated rows. Their numbers stand in the register (appendix C) under ids that end in "
        f"@{name}, marked “remedied model”, and all of them in results.json."
    )


def _raised(source: Source, name: str) -> Iterator[Block]:
    ids = {record.id for record in source.again(name)}
    told = [f"Finding {view.id}: {view.title}." for view in findings(source) if ids & set(view.evidence)]
    if told:
        yield Bullets(tuple(told))


def _artefacts(source: Source, record: Evidence) -> Facts | None:
    items = []
    for artefact in record.artefacts:
        items.append(Fact("Remedied model", artefact.path, "code"))
        items.append(Fact("SHA-256 of it", source.manifest.files.get(artefact.path, "not recorded"), "code"))
    return Facts(tuple(items)) if items else None


def _spanned(row: Any, column: str, form: str, *, change: bool = False) -> Cell:
    """A value with its interval in one cell, so that three of them fit a page."""
    value, low, high = (row.get(name) for name in (column, f"{column}_low", f"{column}_high"))
    return spanned(value, low, high, form, change=change)


def _evaluation(source: Source, record: Evidence) -> Grid | None:
    """The remedied model beside its twin, which had the same start and no remedy."""
    frame = source.table(record, "ct_evaluation")
    if frame is None or not set(frame.columns) >= EVALUATION:
        return None
    wording = source.words(record)
    rows = tuple(
        (
            Cell(wording.label(str(row["quantity"]))),
            Cell(str(row["variant"] or "") or text.ABSENT),
            _spanned(row, "twin", wording.form(str(row["quantity"]))),
            _spanned(row, "remedied", wording.form(str(row["quantity"]))),
            _spanned(row, "difference", wording.form(str(row["quantity"])), change=True),
        )
        for row in records_of(frame)
    )
    columns = tuple(Column(label) for label in ("Quantity", "How measured", "Twin", "Remedied", "Difference"))
    note = (
        "In brackets: 95\u00a0% intervals, t over seeds of training. The twin was trained from the same start without "
        f"the remedy; the difference is remedied minus twin. {_seeds(frame)} The values of each seed: "
        f"{source.path(record, 'ct_seeds')}"
    )
    return cut(source, Grid(wording.caption("ct_evaluation"), columns, rows, note, name="ct_evaluation"))


def _seeds(frame: pd.DataFrame) -> str:
    if "seeds" not in frame:
        return ""
    numbers = sorted({text.count(n) for n in frame["seeds"].dropna()})
    return f"Seeds: {' or '.join(numbers)}."


def _beside(
    frame: pd.DataFrame, by: str, keys: Sequence[str], value: str
) -> tuple[list[str], dict[Any, dict[str, Any]]]:
    """The names under `by` in their order, and per key the rows of these names."""
    names = [*dict.fromkeys(map(str, frame[by]))]
    found: dict[Any, dict[str, Any]] = {}
    for row in records_of(frame.rename(columns={"low": f"{value}_low", "high": f"{value}_high"})):
        found.setdefault(tuple(row[key] for key in keys), {})[str(row[by])] = row
    return names, found


def _robustness(source: Source, record: Evidence) -> Grid | None:
    frame = source.table(record, "ct_robustness")
    if frame is None or not {"training", "attack", "eps", "accuracy"} <= set(frame.columns):
        return None
    names, found = _beside(frame, "training", ("attack", "eps"), "accuracy")
    rows = tuple(
        (
            Cell(str(attack)),
            Cell(text.number(eps), "number"),
            *(_spanned(models.get(name, {}), "accuracy", "percent") for name in names),
        )
        for (attack, eps), models in sorted(found.items(), key=lambda item: (str(item[0][0]), item[0][1]))
    )
    wording = source.words(record)
    columns = (Column("Attack"), Column("Bound, scaled units", numeric=True), *map(Column, map(_named, names)))
    return cut(source, Grid(wording.caption("ct_robustness"), columns, rows, _seeds(frame), name="ct_robustness"))


def _named(name: str) -> str:
    return text.sentence(text.words(name))


def _attributions(source: Source, record: Evidence) -> Grid | None:
    """Shares of the attributions, protected features first, then those that may not change."""
    frame = source.table(record, "ct_attributions")
    if frame is None or not {"model", "feature", "share"} <= set(frame.columns):
        return None
    names, found = _beside(frame, "model", ("feature",), "share")
    policy = {str(rule.get("feature")): str(rule.get("change")) for rule in source.facts("policy", "features") or ()}
    features = protected_first(source, [str(feature) for (feature,) in found])
    protected = set(source.facts("data", "protected") or ())
    features.sort(key=lambda feature: (feature not in protected, policy.get(feature) != "immutable"))
    rows = tuple(
        (
            Cell(f"{feature} (protected)" if feature in protected else feature),
            Cell(policy.get(feature, text.ABSENT)),
            *(_spanned(found[feature,].get(name, {}), "share", "percent") for name in names),
        )
        for feature in features
    )
    columns = (Column("Feature"), Column("May change"), *map(Column, map(_named, names)))
    caption = source.words(record).caption("ct_attributions")
    return cut(source, Grid(caption, columns, rows, _seeds(frame), name="ct_attributions"))
