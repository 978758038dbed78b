"""What comes after the results: methods, limits, record, appendices."""

from collections.abc import Iterator
from dataclasses import replace

from audit.core.evidence import Evidence, Metric
from audit.core.finding import Gate
from audit.report import text
from audit.report.blocks import Block, Bullets, Cell, Code, Column, Fact, Facts, GateView, Grid, Heading, Para
from audit.report.drawing import LIBRARIES
from audit.report.judged import OUTCOMES, STATUSES, judgements
from audit.report.source import Source, where_text
from audit.report.tables import definitions, limit
from audit.report.topics import all_metrics
from audit.report.words import Words

CARD = {
    "purpose": "Purpose",
    "mechanism": "Mechanism",
    "risk": "Signs of risk",
    "strengths": "Strengths",
    "limitations": "Limitations",
}


CHECKS = (
    Fact("No file of the bundle was changed", "audit verify BUNDLE", "code"),
    Fact("Everything again, into a new folder; the report id must be the same", "audit run SPEC -o FOLDER", "code"),
    Fact("This report again, from the bundle alone", "audit render BUNDLE", "code"),
)
"""What a reader can do, and the command for it."""


def methods(source: Source) -> Iterator[Block]:
    """S6: each method with purpose, mechanism, signs of risk, strengths, limitations, settings and choices."""
    if not source.records:
        return
    yield _tasks(source)
    for wording, records in _by_kind(source):
        yield Heading(wording.title, anchor=f"method-{wording.kind}")
        if wording.card:
            yield Facts(
                tuple(Fact(label, " ".join(wording.card[k].split())) for k, label in CARD.items() if k in wording.card)
            )
        else:
            yield Para("The method gives no description of itself.")
        told: list[Grid] = []
        for record in records:
            yield from _settings(source, record)
            for grid in _choices(source, record):
                yield from _unlike(grid, told)
    if source.manifest.cites:
        yield Heading("References", anchor="references")
        yield Bullets(source.manifest.cites)


def _by_kind(source: Source) -> list[tuple[Words, list[Evidence]]]:
    kinds: dict[str, tuple[Words, list[Evidence]]] = {}
    for record in source.given:
        wording = source.words(record)
        if wording.known or record.metrics or record.tables:
            kinds.setdefault(wording.kind, (wording, []))[1].append(record)
    return list(kinds.values())


def _tasks(source: Source) -> Grid:
    asked = {r.id: m.value for r in source.given for m in r.metrics if m.name == "evaluated_rows"}
    rows = tuple(
        (
            Cell(record.id, "code"),
            Cell(source.words(record).title),
            Cell(STATUSES[record.status].word, badge=STATUSES[record.status]),
            Cell(text.sentence(record.message) or text.ABSENT),
            Cell(text.count(asked.get(record.id)), "number"),
        )
        for record in source.given
    )
    columns = (
        Column("Evidence"),
        Column("What"),
        Column("Status"),
        Column("Reason"),
        Column("Model-evaluated rows", numeric=True),
    )
    note = f"{text.ABSENT} under model-evaluated rows: the task did not ask the model."
    if len(source.given) < len(source.records):
        note += " The tasks that were run again on a remedied model stand in S15."
    return Grid("What was run", columns, rows, note, name="tasks")


def _settings(source: Source, record: Evidence) -> Iterator[Block]:
    settings = source.settings(record)
    if settings:
        settings = {key: value for key, value in settings.items() if value is not None}
        told = "; ".join(f"{text.words(key).rstrip()} = {text.plain(value)}" for key, value in sorted(settings.items()))
        yield Para(f"Settings of {record.id}: {told}.", "small")


def _unlike(grid: Grid, told: list[Grid]) -> Iterator[Block]:
    """The choices of one task; of a second one of the same kind, those that differ from the first."""
    told.append(grid)
    rows = tuple(row for row in grid.rows if grid is told[0] or row not in told[0].rows)
    if rows:
        yield replace(grid, rows=rows)
    if grid is not told[0]:
        others = "The other choices" if rows else "The choices"
        ids = [one.name.removeprefix("choices-") for one in (grid, told[0])]
        yield Para(f"{others} of {ids[0]} are those of {ids[1]}.", "small")


def _choices(source: Source, record: Evidence) -> Iterator[Grid]:
    """The choices where a paper is silent; those that the user changed are marked."""
    frame = source.table(record, "choices")
    if frame is None or "choice" not in frame:
        return
    rows = []
    for choice in frame.to_dict("records"):
        moved = bool(choice.get("changed"))
        value = text.plain(choice.get("value"))
        shown = f"{value} (changed; default {text.plain(choice.get('default'))})" if moved else value
        rows.append(
            (
                Cell(text.plain(choice.get("id")), "code"),
                Cell(text.plain(choice["choice"])),
                Cell(shown),
                Cell(text.plain(choice.get("why"))),
            )
        )
    columns = (Column("Id"), Column("Open question"), Column("Choice"), Column("Why"))
    yield Grid(f"Choices of {record.id} where its source is silent", columns, tuple(rows), name=f"choices-{record.id}")


def limits(source: Source) -> Iterator[Block]:
    """S16: the limits that the methods state, and what only the organisation can add."""
    stated = [(w.title, w.card["limitations"]) for w, _ in _by_kind(source) if w.card.get("limitations")]
    yield Para(
        "This report describes how a model behaves on the data it was given. It does not show causes, and it does not "
        "show how the model behaves on other people or at another time."
    )
    if stated:
        rows = tuple((Cell(title), Cell(" ".join(said.split()))) for title, said in stated)
        yield Grid("Limits of the methods", (Column("Method"), Column("Limit")), rows, name="limits")
    if not source.facts("narrative", "S16"):
        yield Para(
            "Risk assessment, mitigants, human oversight and acceptance of these limits: needs input from the "
            "organisation."
        )


def integrity(source: Source) -> Iterator[Block]:
    """S21: what was run on what, and how a reader checks it."""
    manifest = source.manifest
    allowed = ", ".join(manifest.allowed) or "nothing beyond safe loading"
    repository = "; ".join(f"{text.words(k)}: {text.plain(v)}" for k, v in sorted((manifest.repository or {}).items()))
    yield Facts(
        (
            Fact("Report", manifest.report_id, "code"),
            Fact("Payload digest", manifest.payload, "code"),
            Fact("Seed", str(manifest.seed), "code"),
            Fact("Overrides of the spec", "; ".join(manifest.overrides) or "none", "code"),
            Fact("Code allowed to run", allowed),
            Fact("Repository of the spec", repository or "not under version control, or not recorded"),
            Fact("Lock", manifest.lock or "the run was not held to a lock", "code" if manifest.lock else "text"),
            Fact("Platform", manifest.platform or "not recorded"),
            Fact(
                "Signature",
                "this page was drawn before any signature; the first check below says who signed, if anybody",
            ),
            Fact("Replay", "none is recorded; the first check below, with --rerun SPEC, computes every number again"),
        )
    )
    yield Heading("How to check this report", anchor="verify")
    yield Facts(CHECKS)
    yield Para(
        "The payload digest covers every file of the bundle but the rendered reports, so that they can print it."
    )
    inputs = tuple(
        (
            Cell(text.sentence(text.words(r.role))),
            Cell(r.name),
            Cell(text.count(r.rows), "number"),
            Cell(r.sha256, "code"),
        )
        for r in manifest.inputs
    )
    if inputs:
        columns = (Column("Input"), Column("File"), Column("Rows", numeric=True), Column("SHA-256"))
        yield Grid("Inputs", columns, inputs, name="inputs")
    yield from _versions(source)
    yield from _attached(source)
    yield from _keys(source)


def _versions(source: Source) -> Iterator[Block]:
    """Packages, and where this is the PDF what else it was drawn with; HTML rests on packages only."""
    manifest = source.manifest
    rows = [(Cell(name), Cell(version, "code")) for name, version in sorted(manifest.packages.items())]
    title, first = "Packages that the numbers depend on", "Package"
    if source.paged and manifest.drawn_with:
        title, first = "Packages that the numbers depend on, and what this PDF was drawn with", "Package or library"
        for name, version in sorted(manifest.drawn_with.items()):
            what = "library of the system" if name in LIBRARIES else "where this PDF was drawn"
            rows.append((Cell(f"{name} ({what})"), Cell(version, "code")))
    if rows:
        yield Grid(title, (Column(first), Column("Version")), tuple(rows), name="packages")


def _attached(source: Source) -> Iterator[Block]:
    rows = tuple(
        (Cell(f.name, "code"), Cell(f.description), Cell(text.count(len(f.data)), "number"), Cell(f.sha256, "code"))
        for f in source.files
    )
    if rows:
        columns = (Column("File"), Column("What it holds"), Column("Bytes", numeric=True), Column("SHA-256"))
        note = "Tables with a row per person are not attached. In CSV, an apostrophe stands before text that a "
        note += "spreadsheet might compute."
        yield Grid("Files attached to this PDF", columns, rows, note, name="attached")


def _keys(source: Source) -> Iterator[Block]:
    rows = tuple((Cell(r.id), Cell(r.kind), Cell(r.key, "code")) for r in source.records)
    if rows:
        note = "The key is the digest of all that a result depends on: settings, model, data, seed, versions."
        columns = (Column("Evidence"), Column("Kind"), Column("Key, and folder under evidence/"))
        yield Grid("Keys of the evidence", columns, rows, note, name="keys")


def spec(source: Source) -> Iterator[Block]:
    """Appendix A: the spec verbatim."""
    if source.manifest.spec:
        yield Code(f"{source.manifest.spec_name}, verbatim", tuple(source.manifest.spec.splitlines()))


def meanings(source: Source) -> Iterator[Block]:
    """Appendix B: definitions of the metrics."""
    grid = definitions(source)
    if grid is not None:
        yield grid


def register(source: Source) -> Iterator[Block]:
    """Appendix C: every number with its place, its interval and the gate that judges it."""
    judged: dict[tuple[str | None, ...], GateView] = {}
    for gate, result in judgements(source):
        if gate.by is None:
            judged.setdefault(_asked(gate), result)  # of two bars on one number, the worse result
    rows: list[tuple[Cell, ...]] = []
    for record, metric in all_metrics(source.records):
        place = metric.where
        if source.paged and (place.feature is not None or place.region is not None):
            continue
        named = (f"{record.id}.{metric.name}", place.region, place.group, place.outcome, place.feature, place.variant)
        # A gate that names no model judges whatever model was measured.
        view = judged.get((*named, place.model)) or judged.get((*named, None))
        rows.append(_row(source, record, metric, view if place.by is None else None))
    if rows:
        if source.paged:
            twice = len(source.given) < len(source.records)
            told = (
                "Numbers per feature and region stand in S8 and S9, in the HTML report, results.json and register.csv"
            )
            yield Para(f"{told}{'; those of a remedied model stand in the last three only' if twice else ''}.")
        yield _register(source, rows)


def _asked(gate: Gate) -> tuple[str | None, ...]:
    return (gate.metric, gate.region, gate.group, gate.outcome, gate.feature, gate.variant, gate.model)


def _row(source: Source, record: Evidence, metric: Metric, view: GateView | None) -> tuple[Cell, ...]:
    wording = source.words(record)
    return (
        Cell(f"{record.id}: {wording.label(metric.name)}"),
        Cell(where_text(metric)),
        Cell(wording.show(metric), "number", sort="" if metric.value is None else f"{metric.value:.12g}"),
        Cell(text.interval(metric.low, metric.high, wording.form(metric.name, metric.unit)), "number"),
        Cell(text.count(metric.n), "number"),
        Cell(view.required if view else text.ABSENT, "number"),
        Cell(view.badge.word, badge=view.badge) if view else Cell(text.ABSENT),
    )


REGISTER_ROWS = 300
"""Rows of the register on paper: eight pages, of which each row costs eight milliseconds."""

REGISTER = (
    ("Metric", False),
    ("Measured on", False),
    ("Estimate", True),
    ("95\u00a0% interval", True),
    ("n", True),
    ("Required", True),
    ("Result", False),
)


def _register(source: Source, rows: list[tuple[Cell, ...]]) -> Grid:
    columns = tuple(Column(label, numeric=number) for label, number in REGISTER)
    note, most = "", REGISTER_ROWS if source.paged else limit(source) * 5
    if len(rows) > most:
        # What fails or is in doubt comes first, so that cutting never hides it.
        urgent = {OUTCOMES[outcome].word: i for i, outcome in enumerate(("fail", "unsure", "no_evidence", "pass"))}
        total = len(rows)
        rows = sorted(rows, key=lambda row: urgent.get(row[-1].text, 9))[:most]
        where = "register.csv, which is attached to this file, has" if source.files else "results.json has"
        note = (
            f"{text.count(most)} of {text.count(total)} rows are shown, what fails or is in doubt first; {where} all."
        )
    if source.paged:  # the bars stand in S1 beside the gates; here they would take the room of the places
        columns, rows = (*columns[:5], columns[6]), [(*row[:5], row[6]) for row in rows]
    return Grid("Register of all numbers", columns, tuple(rows), note, tool=True, name="register")
