"""Whether all that a method says has words: the report falls back in silence, so tests must look."""

from audit.core.evidence import Result
from audit.report.words import _filled, words_of


def assert_worded(kind: str, result: Result) -> None:
    """Fails where a note cannot be spoken, or a metric, a table or a column of it has no words."""
    words = words_of(kind)
    assert words.known
    for note in result.notes:
        entry = words.notes[note.code]
        for part in ("title", "text", "action"):
            said = _filled(str(entry.get(part) or ""), note.args)
            assert "None" not in said, (note, said)
        assert note.severity is None or entry.get("action"), note
    for metric in result.metrics:
        assert words.metrics[metric.name]["label"]
        assert words.metrics[metric.name]["definition"]
    for name, table in result.tables.items():
        assert set(table.columns) <= set(words.tables[name]["columns"]), name
