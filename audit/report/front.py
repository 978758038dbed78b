"""What comes before the results: control, summary, scope, model, data, policy."""

from collections.abc import Iterator, Mapping
from typing import Any

from audit.core.evidence import Evidence
from audit.report import text
from audit.report.blocks import (
    Block,
    Callout,
    Cell,
    Column,
    Cover,
    Fact,
    Facts,
    FindingCards,
    GateStrip,
    Grid,
    Heading,
    Para,
)
from audit.report.crosswalk import as_of as crosswalk_as_of
from audit.report.judged import OPINIONS, OUTCOMES, findings, gate_table, gates, tally
from audit.report.narrative import prose
from audit.report.profile import named, profile
from audit.report.rules import rules, waivers
from audit.report.source import REMEDIES, Source
from audit.report.tables import cut
from audit.report.words import phrase

TILES = 8
UNSTATED = "not stated in the spec"
ORGANISATION = "needs input from the organisation"


def cover(source: Source) -> Cover:
    """The first page: title, opinion, gates, what it rests on."""
    views = gates(source)
    word, label, said = opinion(source)
    badge = OPINIONS.get(word) if source.facts("opinion", "status") == "issued" else None
    shared = source.facts("shared")
    facts = [
        Fact("Report", source.manifest.report_id, "code"),
        Fact("As of", source.manifest.as_of or "date not stated"),
        *([Fact("Profile", f"shared, without rows of people; made from {shared['of']}")] if shared else []),
        *(_cover_input(record.role, record.name, record.rows, record.sha256) for record in source.manifest.inputs),
        Fact("Owner", text.plain(source.facts("audit", "owner") or UNSTATED)),
    ]
    return Cover(
        kicker="Model audit",
        title=title(source),
        subtitle=text.plain(source.facts("audit", "purpose") or "Purpose not stated in the spec"),
        opinion_label="Opinion",
        opinion=label,
        opinion_text=f"{said} {tally(views)}.",
        tone=badge.tone if badge else "none",
        strip=GateStrip(tuple(views[:TILES]), max(0, len(views) - TILES)),
        facts=tuple(facts),
        foot="Every number in this report comes from the evidence in its bundle. Section S21 says how to check that.",
    )


def _cover_input(role: str, name: str, rows: int | None, digest: str) -> Fact:
    size = f", {text.count(rows)} rows" if rows is not None else ""
    label = {"train": "Training data", "evaluate": "Evaluation data"}.get(role, text.sentence(text.words(role)))
    return Fact(label, f"{name}{size} · sha256 {digest[:16]}…")


def organisation(source: Source, section: str) -> str:
    """What stands where only the organisation can know: where its words are, or that they are needed."""
    return "see the organisation's words above" if source.facts("narrative", section) else ORGANISATION


def title(source: Source) -> str:
    """The title of the audit, or what stands for it."""
    return text.plain(source.facts("audit", "title") or source.facts("report", "title") or "Untitled audit")


def opinion(source: Source) -> tuple[str, str, str]:
    """The word, how it is printed, and a sentence on its standing."""
    given = source.facts("opinion") or {}
    word = str(given.get("word") or "")
    strongest, reason = str(given.get("strongest") or "disclaimer"), str(given.get("reason") or "")
    if given.get("status") == "issued":
        code = "issued" if given.get("by") else "issued_unsigned"
        said = phrase("opinion", code, word=word, by=given.get("by") or "")
        return word, text.sentence(word), said.text
    code = "opinion_refused" if given.get("status") == "refused" else "none"
    said = phrase("opinion", code, word=word, strongest=strongest, reason=reason.rstrip("."))
    return word, "Opinion refused" if code == "opinion_refused" else said.title, said.text


def control(source: Source) -> Iterator[Block]:
    """S0: which report this is, and the meaning of its words."""
    manifest = source.manifest
    tool = manifest.tool
    yield Facts(
        (
            Fact("Report", manifest.report_id, "code"),
            Fact("Payload digest", manifest.payload, "code"),
            Fact("Audit", text.plain(source.facts("audit", "id") or UNSTATED), "code"),
            Fact("As of", manifest.as_of or "date not stated"),
            Fact("Regulatory crosswalk", f"sources as checked by {crosswalk_as_of()}"),
            Fact("Spec", manifest.spec_name, "code"),
            Fact("Tool", " ".join(str(tool.get(key, "")) for key in ("name", "version")).strip() or UNSTATED),
            Fact("Owner of the model", text.plain(source.facts("audit", "owner") or UNSTATED)),
            Fact("Auditor", text.plain(source.facts("opinion", "by") or UNSTATED)),
            Fact("Profile", profile(source)),
            Fact("Independence, approvals, distribution", organisation(source, "S0")),
            Fact(
                "Nature of this report",
                "Evidence on a model. It is not legal advice and no statement that a law is met.",
            ),
        )
    )
    yield from rules()


def summary(source: Source) -> Iterator[Block]:
    """S1: opinion, counts, gates, what was not tested, what must be done."""
    yield from _opinion_blocks(source)
    views = gates(source)
    raised = findings(source)
    numbers = {s: sum(f.severity == s for f in raised) for s in ("critical", "major", "minor", "info")}
    counts = ", ".join(f"{n} {s}" for s, n in numbers.items() if n) or "none"
    yield Para(f"{tally(views)}. Findings by severity: {counts}.", "lead")
    if views:
        yield Heading("Gates", anchor="gates")
        yield gate_table(views)
    else:
        yield Para("The spec sets no gate, so nothing in this report is judged against a bar.")
    yield Heading("What was not tested", anchor="not-tested")
    yield from _not_tested(source)
    actions = [f for f in raised if f.action]
    if actions:
        yield Heading("Required actions", anchor="actions")
        rows = tuple(
            (Cell(f.id, "code", href=f"#{f.anchor}"), Cell(f.title), Cell(f.action), Cell(f.owner or UNSTATED))
            for f in actions
        )
        columns = (Column("Finding"), Column("What"), Column("Action"), Column("Owner"))
        yield cut(source, Grid("What must be done, by finding", columns, rows, name="actions"))


def _opinion_blocks(source: Source) -> Iterator[Block]:
    word, label, said = opinion(source)
    issued = source.facts("opinion", "status") == "issued"
    badge = OPINIONS.get(word) if issued else None
    yield Callout(
        f"Opinion: {label}" if issued else label, said, badge or OPINIONS["disclaimer"] if issued else _NO_OPINION
    )
    if issued:
        strongest, reason = (str(source.facts("opinion", key) or "") for key in ("strongest", "reason"))
        yield Para(f"The strongest word that the findings support is {strongest}: {reason.rstrip('.')}.", "small")
    written = source.facts("opinion", "text")
    if written:
        yield Heading("In the auditor's words", anchor="opinion")
        yield prose(source, str(written))


_NO_OPINION = OUTCOMES["no_evidence"].__class__("NO OPINION", "–", "none")


def _not_tested(source: Source) -> Iterator[Block]:
    rows = [
        (Cell(f"Gate {view.id}: {view.label}"), Cell(text.sentence(view.reason) or "No reason recorded"))
        for view in gates(source)
        if view.badge.word == "NOT TESTED"
    ]
    for record in source.records:
        if record.status != "ok" and not _never_made(source, record):
            status = text.sentence(text.words(record.status))
            reason = text.sentence(record.message) or "No reason recorded"
            rows.append((Cell(f"{source.words(record).title} ({record.id})"), Cell(f"{status}: {reason}")))
    if rows:
        yield Grid("Asked for, but without a result", (Column("What"), Column("Why")), tuple(rows), name="not-tested")
    yield Para(
        "The sections that have nothing to say stand in the contents with the reason. What is not tested is unknown; "
        "it is neither good nor bad."
    )


def _never_made(source: Source, record: Evidence) -> bool:
    """Whether it would have audited a model that was not made; its remedy says why, once."""
    remedy = source.record(f"{REMEDIES}{record.id.partition('@')[2]}")
    return "@" in record.id and remedy is not None and remedy.status != "ok"


def register(source: Source) -> Iterator[Block]:
    """S17: every finding with its evidence, action and owner, and the waivers."""
    raised = findings(source)
    if raised:
        yield Para(
            f"{len(raised)} finding{'' if len(raised) == 1 else 's'}, the most serious first. An id stays the same "
            "from run to run. Due dates and dispositions need input from the organisation."
        )
        yield FindingCards(tuple(raised))
    yield from waivers(source)


def scope(source: Source) -> Iterator[Block]:
    """S2: what is decided, and what only the organisation can say."""
    decision = source.facts("model", "decision") or {}
    favourable = text.plain(decision.get("favourable")) if decision.get("favourable") else UNSTATED
    bar = decision.get("at_least")
    yield Facts(
        (
            Fact("Purpose of the audit", text.plain(source.facts("audit", "purpose") or UNSTATED)),
            Fact("Outcome that is favourable to a person", favourable),
            Fact(
                "Decided by",
                f"score of at least {text.number(bar)}" if bar is not None else "the class with the highest score",
            ),
            Fact("Affected people, users, deployment, prohibited uses", organisation(source, "S2")),
            Fact("Exposure and materiality tier, human role", organisation(source, "S2")),
        )
    )


def model(source: Source) -> Iterator[Block]:
    """S3: what the model is given and answers."""
    given = source.facts("model") or {}
    if not given:
        return
    yield Facts(
        (
            Fact("Kind", text.plain(given.get("kind"))),
            Fact("File", text.plain(given.get("path")), "code"),
            Fact("SHA-256", text.plain(given.get("sha256") or "no model file: there are stored scores only"), "code"),
            Fact("Classes", text.plain(given.get("classes"))),
            Fact("What it can be asked for", text.plain(given.get("capabilities"))),
            Fact("Training, lineage, vendor parts", organisation(source, "S3")),
        )
    )
    yield from _schema(source)


def _schema(source: Source) -> Iterator[Block]:
    rows = [
        (Cell(str(f.get("name"))), Cell(text.plain(f.get("kind"))), Cell(_values(f)), Cell(_gaps(f)))
        for f in source.facts("schema") or ()
        if isinstance(f, Mapping)
    ]
    if rows:
        columns = (Column("Feature"), Column("Kind"), Column("Values in the reference data"), Column("Missing values"))
        note = "Exactly these columns reach the model, in this order."
        yield cut(source, Grid("What the model is given", columns, tuple(rows), note, name="schema"))


def _values(feature: Mapping[str, Any]) -> str:
    levels = feature.get("levels") or ()
    unit = f" {feature['unit']}" if feature.get("unit") else ""
    if levels:
        shown = ", ".join(text.plain(level) for level in levels[:8])
        return shown + (f" and {len(levels) - 8} more" if len(levels) > 8 else "")
    whole = ", whole numbers" if feature.get("integer") else ""
    if "low" not in feature:
        return f"numbers{unit}{whole}; their range is left out"
    return f"{text.plain(feature.get('low'))} to {text.plain(feature.get('high'))}{unit}{whole}"


def _gaps(feature: Mapping[str, Any]) -> str:
    return "yes, kept as values" if feature.get("missing") else "none"


def data(source: Source) -> Iterator[Block]:
    """S4: which data, and how the rows to audit were drawn."""
    given = source.facts("data") or {}
    if not given:
        return
    kinds = {"held_out": "held out from training", "out_of_time": "from a later time than the training data"}
    evaluate = given.get("evaluate") or {}
    target = given.get("target") or {}
    drawn = given.get("sample") or {}
    favourable = f", favourable: {text.plain(target.get('favourable'))}" if target.get("favourable") else ""
    yield Facts(
        (
            Fact("Training data", _file(given.get("train"))),
            Fact("Evaluation data", _file(evaluate)),
            Fact("How they relate", kinds.get(str(evaluate.get("kind")), UNSTATED)),
            Fact("Instance id", named(given)),
            Fact("Target", f"{target.get('column')}{favourable}" if target.get("column") else UNSTATED),
            Fact("Protected columns", text.plain(given.get("protected") or UNSTATED)),
            Fact("Stored production score", text.plain(given.get("production_score") or "none to compare with")),
            Fact(
                "Sample",
                f"{text.count(drawn.get('rows'))} rows, shares kept by {text.plain(drawn.get('stratify'))}"
                if drawn
                else UNSTATED,
            ),
            Fact("Collection, quality, labels, privacy", organisation(source, "S4")),
        )
    )


def _file(given: Any) -> str:
    if not isinstance(given, Mapping) or not given.get("name"):
        return "none given"
    rows = given.get("rows")
    return f"{given['name']}, {text.count(rows)} rows" if rows is not None else str(given["name"])


def policy(source: Source) -> Iterator[Block]:
    """S5: what a person can change and how, and who says so."""
    given = source.facts("policy") or {}
    if not given:
        return
    default = "may not change" if given.get("default", "immutable") == "immutable" else "may change freely"
    yield Para(
        f"A feature of which the spec says nothing {default}. Recourse (S11) is bound by these rules; a set that is "
        "searched under the domain only is not."
    )
    rules = [rule for rule in given.get("features") or () if isinstance(rule, Mapping)]
    silent = [str(rule.get("feature")) for rule in rules if not rule.get("stated", True)]
    rows = tuple(_rule(rule) for rule in rules if rule.get("stated", True))
    if silent:
        yield Para(f"The spec says nothing of these features, so they {default}: {text.plain(silent)}.")
    if rows:
        columns = (
            Column("Feature"),
            Column("Change"),
            Column("Limits"),
            Column("Why"),
            Column("Owner"),
            Column("Approved"),
        )
        yield cut(source, Grid("Rule of each feature", columns, rows, name="policy"))
    across = given.get("rules") or ()
    if across:
        listed = tuple((Cell(text.plain(rule), "code"),) for rule in across)
        yield Grid("Rules across features", (Column("A counterfactual may not break"),), listed, name="rules")


def _rule(rule: Mapping[str, Any]) -> tuple[Cell, ...]:
    limits = []
    for key, label in (("min", "at least"), ("max", "at most"), ("step", "in steps of")):
        if rule.get(key) is not None:
            limits.append(f"{label} {text.plain(rule[key])}")
    if rule.get("integer"):
        limits.append("whole numbers")
    if rule.get("order"):
        limits.append("order: " + " < ".join(text.plain(level) for level in rule["order"]))
    for level, reach in (rule.get("transitions") or {}).items():
        limits.append(f"{text.plain(level)} → {text.plain(reach)}")
    unit = f" ({rule['unit']})" if rule.get("unit") else ""
    return (
        Cell(f"{rule.get('feature')}{unit}"),
        Cell(text.plain(rule.get("change"))),
        Cell("; ".join(limits) or text.ABSENT),
        *(Cell(text.plain(rule.get(key) or text.ABSENT)) for key in ("why", "owner")),
        Cell(text.plain(rule.get("approved") or text.ABSENT), "code"),
    )
