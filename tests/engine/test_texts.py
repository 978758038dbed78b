"""Texts of people in a whole audit: refused before the work where that can be known, kept word for word."""

import shutil
from html import unescape

import credit_case
import pytest
import yaml

from audit.bundle import Bundle
from audit.core.errors import SpecError
from audit.engine.run import run
from audit.report import render


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """Runs the case with these texts; what was computed once is kept."""
    root = tmp_path_factory.mktemp("texts")
    spec = yaml.safe_load(yaml.safe_dump(credit_case.SPEC))
    spec |= {"methods": [{"kind": "performance"}], "counterfactuals": {}, "regions": []}
    path = credit_case.make(root / "case", n=120, spec=spec)

    def audit(texts, opinion=None):
        changed = yaml.safe_load(path.read_text())
        changed["report"] = {"formats": ["html"], "narrative": {name: f"{name}.md" for name in texts}}
        for name, text in texts.items():
            (path.parent / f"{name}.md").write_bytes(text if isinstance(text, bytes) else text.encode())
        if opinion is not None:
            (path.parent / "opinion.md").write_text(opinion)
            changed["report"]["opinion"] = {"word": "adverse", "by": "A", "text": "opinion.md"}
        path.write_text(yaml.safe_dump(changed, sort_keys=False))
        return run(path, root / "out")

    return audit


CLEAN = 'AUC {{ metric("performance.auc") }} on rows.\n'
TYPED = "On 2026-11-01, under Article 22:\n\nthe AUC is 0.9.\n"


@pytest.fixture(scope="module")
def twice(audited, tmp_path_factory):
    """The case with one text, as outcome, manifest and page; then with others, in the same folder."""
    kept = []
    for texts, opinion in (({"S2": CLEAN}, None), ({"S2": TYPED}, "Holds for 35 % only.")):
        outcome = audited(texts, opinion)
        page = (outcome.out / "report.html").read_text("utf-8")
        kept.append((outcome, Bundle(outcome.out).manifest(), page))
    return kept


def test_a_text_is_kept_word_for_word_and_says_what_was_measured(twice):
    outcome, manifest, page = twice[0]
    assert manifest.facts["narrative"]["S2"]["text"] == CLEAN
    assert "typed_numbers" not in {finding.code for finding in outcome.findings}
    (auc,) = [m.value for m in outcome.evidence[2].metrics if m.name == "auc" and m.where.variant is None]
    assert f'AUC <a class="from" href="#S7">{auc:.3f}</a> on rows.' in page


def test_the_report_needs_the_bundle_only(twice, tmp_path):
    outcome, _, page = twice[1]
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(outcome.out, elsewhere)
    render(Bundle(elsewhere), ["html"])
    assert (elsewhere / "report.html").read_text("utf-8") == page


def test_a_number_typed_by_hand_is_a_finding_that_names_text_and_line(twice):
    outcome, _, page = twice[1]
    found = {f.args["file"]: f for f in outcome.findings if f.code == "typed_numbers"}
    assert found["S2.md"].args["numbers"] == ["0.9 (line 3)"]
    assert found["opinion.md"].args["numbers"] == ["35 % (line 1)"]
    assert {f.severity for f in found.values()} == {"info"}
    assert outcome.exit_code == 0
    assert "The author of S2.md typed 1 number by hand: 0.9 (line 3)." in unescape(page)


def test_a_text_changes_the_payload_but_nothing_is_computed_again(twice):
    (_, first, _), (_, second, _) = twice
    assert first.payload != second.payload
    assert [task.key for task in first.plan.tasks] == [task.key for task in second.plan.tasks]


def test_what_was_measured_can_refuse_a_text_and_leaves_the_bundle_alone(twice, audited):
    outcome, manifest, _ = twice[1]
    with pytest.raises(SpecError) as caught:
        audited({"S2": 'one\n\n{{ metric("performance.acu") }} {{ finding("F-123456") }}'})
    metric, finding = caught.value.problems
    assert metric.startswith("S2.md:3: 'performance' has no metric 'acu'; did you mean 'auc'")
    assert finding.startswith("S2.md:3: no finding 'F-123456' in this audit")
    assert Bundle(outcome.out).manifest().payload == manifest.payload


WRONG = {
    "an unknown method": ('{{ metric("perf.auc") }}', "S2.md:1: 'perf.auc': unknown method 'perf'"),
    "an unknown gate": ('a\n{{ gate("performance.au") }}', "S2.md:2: unknown gate 'performance.au'"),
    "html": ("a\n\n<b>x</b>", "S2.md:3: <b>: HTML is not allowed"),
    "a statement": ("{% set x = 1 %}", "S2.md:1: only {{ metric(...) }}"),
    "an open reference": ("a {{ metric(", "S2.md:1: only {{ metric(...) }}"),
    "an expression": ("{{ ().__class__ }}", "S2.md:1: '().__class__' is none of the three"),
    "no text": (b"a\n\xff\xfe", "S2.md:2: not UTF-8 text"),
    "a book": ("a" * 300_000, "a text has at most 262144"),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_text_is_refused_with_file_and_line(audited, text, message):
    with pytest.raises(SpecError) as caught:
        audited({"S2": text})
    assert message in caught.value.problems[0]
    assert len(caught.value.problems) == 1


def test_all_that_is_wrong_is_said_at_once(audited):
    with pytest.raises(SpecError) as caught:
        audited({"S2": "<i>a</i>\n\n<b>b</b>\n", "S16": '{{ metric("x.y") }}'}, opinion="{{ 7*7 }}")
    assert [line.split(": ")[0] for line in caught.value.problems] == ["opinion.md:1", "S2.md:1", "S2.md:3", "S16.md:1"]


def test_a_section_that_is_none_is_refused(audited):
    with pytest.raises(SpecError, match=r"report\.narrative\.S99: unknown section 'S99'"):
        audited({"S99": "a"})


def test_validate_reads_the_texts_too(audited, twice):
    path = twice[0][0].out.parent / "case" / "spec.yaml"
    with pytest.raises(SpecError):
        audited({"S2": "<b>x</b>"})  # leaves a spec that names S2.md
    answer = credit_case.command("validate", path)
    assert answer.returncode == 2
    assert "S2.md:1: <b>: HTML is not allowed" in answer.stderr
    (path.parent / "S2.md").write_text("the AUC is 0.9")
    answer = credit_case.command("validate", path)
    assert answer.returncode == 0
    assert "The author of S2.md typed 1 number by hand: 0.9 (line 1)." in answer.stdout


def test_a_number_typed_in_a_template_is_a_finding_with_file_and_line(audited, twice):
    path = twice[0][0].out.parent / "case" / "spec.yaml"
    folder = path.parent / "brand"
    folder.mkdir()
    sections = "sections:\n  - {id: X1, title: Article 22, after: S1, file: note.j2}\n"
    sections += '  - {id: X2, title: "AUC of 0.93", after: S1, file: note.j2}\n'
    (folder / "template.yaml").write_text(f"name: Bank\nblocks: {{S7.start: note.j2}}\n{sections}")
    (folder / "note.j2").write_text('<p>{{ metric("performance.auc") }}</p>\n<p>The AUC is 0.9.</p>\n')
    spec = yaml.safe_load(path.read_text())
    spec["report"] = {"formats": ["html"], "template": "brand"}
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    outcome = run(path, path.parent.parent / "out")
    found = {f.args["file"]: f for f in outcome.findings if f.code == "typed_numbers"}
    assert {name: f.args["numbers"] for name, f in found.items()} == {
        "brand/note.j2": ["0.9 (line 2)"],
        "brand/template.yaml": ["0.93 (line 5)"],
    }
    assert {f.severity for f in found.values()} == {"info"}
    page = unescape((outcome.out / "report.html").read_text("utf-8"))
    assert "The author of brand/note.j2 typed 1 number by hand: 0.9 (line 2)." in page
