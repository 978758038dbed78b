"""`audit diff`: nothing changes between two runs of one spec; a planted change is found; the page is safe and whole."""

import base64
import hashlib
import json
import re
import shutil
from html import unescape
from itertools import pairwise
from pathlib import Path

import credit_case
import numpy as np
import pandas as pd
import pytest
import yaml
from report_case import HOSTILE
from report_case import credit_case as hostile_case
from test_report_html import Reader

from audit.bundle import Bundle, pretty_json
from audit.core.errors import BundleError, SpecError
from audit.core.evidence import Where
from audit.engine.contradictions import contradictions
from audit.engine.run import Options, run
from audit.report.diff import diff
from audit.report.diff_blocks import lines, rules
from audit.report.diff_page import page

SPEC = {
    **credit_case.SPEC,
    "data": {**credit_case.SPEC["data"], "sample": {"rows": 30, "stratify": "target"}},
    "counterfactuals": {"flips": {"search": "nearest", "per_row": 2, "for": "each", "constraints": "domain"}},
    "regions": [],
    "methods": [{"kind": "performance"}, {"kind": "flex", "from": "flips"}],
    "gates": [
        {"metric": "performance.auc", "at_least": 0.7},
        {"metric": "performance.brier", "at_most": 0.3, "severity": "minor"},
    ],
}
AUC, BRIER = "performance.auc", "performance.brier"


def retrain(folder: Path) -> None:
    """Fits the model again on labels that follow age alone, on which the outcome does not depend."""
    from skops.io import dumps, load

    train = pd.read_csv(folder / "train.csv")
    labels = np.where(train["age"] > train["age"].median(), "good", "bad")
    model = load(folder / "model.skops")
    kept = dumps(model.fit(train[credit_case.FEATURES], labels))
    (folder / "model.skops").write_bytes(credit_case.settled(kept))


@pytest.fixture(scope="module")
def bundles(tmp_path_factory) -> dict[str, Bundle]:
    """One audit, the same again, that of a model retrained on other labels, and one with another spec."""
    root = tmp_path_factory.mktemp("diff")
    spec = credit_case.make(root / "case", spec=SPEC)
    for name in ("old", "again"):
        run(spec, root / name)
    shutil.copytree(root / "case", root / "moved")
    content = yaml.safe_load(spec.read_text())
    content["gates"] = [content["gates"][1], {"metric": AUC, "at_least": 0.6}]
    content["methods"].reverse()
    content["run"]["workers"] = 2
    (root / "moved" / "spec.yaml").write_text(yaml.safe_dump(content))
    run(root / "moved" / "spec.yaml", root / "bars")
    retrain(root / "case")
    run(spec, root / "new")
    shutil.copytree(root / "new", root / "since")
    run(spec, root / "since", Options(against=root / "old"))
    return {path.name: Bundle(path) for path in root.iterdir() if (path / "manifest.json").is_file()}


def test_two_runs_of_one_spec_show_no_change(bundles):
    found = diff(bundles["old"], bundles["again"])
    assert found.nothing
    assert found.regressions == ()
    assert {metric.word for metric in found.metrics} == {"same"}
    assert len(found.metrics) > 40
    done = credit_case.command("diff", bundles["old"].root, bundles["again"].root)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "result: No change. exit=0 regressions=0"


def test_the_change_of_a_retrained_model_is_found(bundles):
    found = diff(bundles["old"], bundles["new"])
    assert [change.what for change in found.inputs] == ["model"]
    assert found.spec == ()
    gate = next(gate for gate in found.gates if gate.gate.metric == AUC)
    assert (gate.lost, gate.worse, gate.word) == (True, True, "changed")
    assert gate.difference.high < 0
    (metric,) = [
        m for m in found.metrics if (m.task, m.name) == ("performance", "auc") and m.where == Where(data="evaluate")
    ]
    assert (metric.word, metric.paired) == ("changed", True)  # the same evaluation rows
    opened = {change.finding.id: change for change in found.findings if change.word == "opened"}
    assert gate.id in opened
    assert any(AUC in reason and "was a PASS" in reason for reason in found.regressions)


def test_a_retrained_model_that_is_better_is_no_regression(bundles):
    found = diff(bundles["new"], bundles["old"])
    assert found.regressions == ()
    assert not found.nothing
    assert {(c.word, c.why) for c in found.findings if c.finding.gate is not None} == {("closed", "corrected")}


def test_the_exit_code_and_the_json_say_the_same(bundles):
    done = credit_case.command("diff", bundles["old"].root, bundles["new"].root, "--json")
    assert done.returncode == 1, done.stderr
    content = json.loads(done.stdout)
    assert content["exit_code"] == 1
    assert content["regressions"] == list(diff(bundles["old"], bundles["new"]).regressions)
    words = [metric["word"] for metric in content["metrics"]]
    assert set(words) <= {"changed", "within noise", "new", "gone", "same"}
    for metric in content["metrics"]:
        if metric["word"] == "changed":
            low, high = metric["difference"]["low"], metric["difference"]["high"]
            assert low > 0 or high < 0
        if metric["word"] == "within noise":
            assert metric["difference"]["low"] <= 0 <= metric["difference"]["high"]


def test_keys_of_the_spec_go_by_name_and_not_by_place(bundles):
    found = diff(bundles["old"], bundles["bars"])
    assert {(c.what, c.old, c.new) for c in found.spec} == {
        ("gates[performance.auc].at_least", "0.7", "0.6"),
        ("run.workers", "1", "2"),
    }
    assert {gate.gate.metric: gate.asked for gate in found.gates if gate.gate.at_least != 0.7} == {
        BRIER: "both",
        AUC: "new",
    }
    assert next(gate.asked for gate in found.gates if gate.gate.at_least == 0.7) == "old"
    assert {metric.word for metric in found.metrics} == {"same"}
    assert found.regressions == ()


def test_what_the_command_line_sets_stands_in_the_place_of_what_the_file_says(bundles, tmp_path):
    def with_overrides(name: str, *overrides: str) -> Bundle:
        shutil.copytree(bundles["old"].root, tmp_path / name)
        made = Bundle(tmp_path / name)
        made.write_manifest(made.manifest().model_copy(update={"overrides": overrides}))
        return made

    changed = with_overrides("a", "run.workers=2", "methods.flex.bootstrap=50", "report.watermark=x", "gates.none.by=y")
    assert {(c.what, c.old, c.new) for c in diff(bundles["old"], changed).spec} == {
        ("run.workers", "1", "2"),
        ("methods[flex].bootstrap", None, "50"),
        ("report.watermark", None, "x"),
        ("--set gates.none.by", None, "y"),
    }
    # What says the same in the file and on the command line is no change.
    assert diff(bundles["old"], with_overrides("b", "run.workers=1")).spec == ()


def test_the_lines_name_what_changed(bundles):
    told = list(lines(diff(bundles["old"], bundles["new"])))
    assert any(line.startswith("× gate G-") and "AUC ≥ 0.700: PASS →" in line for line in told)
    assert any(line.startswith("≠ input model: model.skops, sha256 ") for line in told)
    assert any(line.startswith("≠ performance: AUC, evaluation data: ") and line.endswith("; changed") for line in told)
    assert any(line.startswith("worse: G-") for line in told)


@pytest.fixture(scope="module")
def shown(bundles) -> str:
    return page(diff(bundles["old"], bundles["new"]))


def test_the_page_is_self_contained_and_lets_nothing_else_run(shown):
    reader = Reader(shown)
    for tag, attributes in reader.tags:
        assert "style" not in attributes, tag
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href", "action"):
            assert attributes.get(name) is None or attributes[name].startswith("#"), (tag, attributes)
    assert not {"link", "img", "iframe", "object", "form", "base"} & {tag for tag, _ in reader.tags}
    policy = next(a["content"] for _, a in reader.tags if a.get("http-equiv") == "Content-Security-Policy")
    for element in ("style", "script"):
        (inner,) = re.findall(rf"<{element}>(.*?)</{element}>", shown, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inner.encode("utf-8")).digest()).decode("ascii")
        assert f"{element}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy


def test_the_page_can_be_read_by_keyboard_and_by_ear(shown):
    reader = Reader(shown)
    assert next(a["lang"] for tag, a in reader.tags if tag == "html") == "en"
    assert next(a for tag, a in reader.tags if tag == "a")["href"] == "#D1"
    ids = [a["id"] for _, a in reader.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {f"D{i}" for i in range(1, 7)} <= set(ids)
    levels = [int(tag[1]) for tag, _ in reader.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    for table in re.findall(r"<table.*?</table>", shown, re.DOTALL):
        assert "<caption>" in table
        assert 'scope="col"' in table
        assert 'scope="row"' in table
    for scroll in re.findall(r'<div class="scroll"[^>]*>', shown):
        assert 'tabindex="0"' in scroll
        assert "aria-label=" in scroll
    for badge in re.findall(r'<span class="badge \w+">(.*?)</span> ([A-Z ]+)</span>', shown):
        assert badge[1].strip()


def test_the_page_prints_its_rules_and_both_ids(bundles, shown):
    told = Reader(shown).text
    assert len(rules()) == 6
    for rule in rules():
        assert " ".join(rule.split()) in told
    for name in ("old", "new"):
        assert bundles[name].manifest().report_id in told
    for word in ("compliant", "unbiased", "None", "nan"):
        assert word not in told


def test_the_page_is_the_same_every_time_and_written_where_asked(bundles, shown, tmp_path):
    target = tmp_path / "diff.html"
    done = credit_case.command("diff", bundles["old"].root, bundles["new"].root, "-o", target, "-q", PYTHONHASHSEED="7")
    assert done.returncode == 1
    assert target.read_text("utf-8") == shown
    assert len(done.stdout.splitlines()) == 1
    assert str(bundles["old"].root.parent) not in shown


def test_hostile_text_is_only_text(tmp_path):
    old, new = hostile_case(tmp_path / "old"), hostile_case(tmp_path / "new")
    results = new.results()
    results["findings"] = [f for f in results["findings"] if f["code"] != "a_code_that_has_no_words"]
    new.write("results.json", pretty_json(results))
    new.write_manifest(new.manifest())
    found = page(diff(old, new))
    assert "\u202e" not in found
    assert HOSTILE.replace("\u202e", "‹U+202E›") in unescape(found)
    assert [tag for tag, _ in Reader(found).tags].count("script") == 1
    assert "b" not in {tag for tag, _ in Reader(found).tags}


def test_an_altered_bundle_is_not_compared(bundles, tmp_path):
    shutil.copytree(bundles["new"].root, tmp_path / "altered")
    path = tmp_path / "altered" / "results.json"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(BundleError, match=r"results\.json"):
        diff(bundles["old"], Bundle(tmp_path / "altered"))
    assert credit_case.command("diff", bundles["old"].root, tmp_path / "altered").returncode == 4
    assert credit_case.command("diff", bundles["old"].root, tmp_path / "nowhere").returncode == 2


def test_a_run_against_the_previous_audit_shows_the_changes_in_the_report(bundles):
    since = bundles["since"]
    content = (since.root / "report.html").read_text("utf-8")
    section = content.split('<h2 id="S19">')[1].split("</section>")[0]
    told = Reader(f"<p>{section}").text
    assert bundles["old"].manifest().report_id in told
    assert "this report" in told
    assert "× WORSE" in told
    assert "AUC. Worse by more than noise" in told
    assert "was a PASS and is now" in told
    assert since.altered() == contradictions(since) == []
    assert since.manifest().report_id != bundles["new"].manifest().report_id
    ids = [a["id"] for _, a in Reader(content).tags if "id" in a]
    assert len(ids) == len(set(ids))
    plain = (bundles["new"].root / "report.html").read_text("utf-8")
    assert "No previous audit was given to this run" in plain


def test_without_a_previous_audit_nothing_of_it_is_left(bundles, tmp_path):
    shutil.copytree(bundles["since"].root, tmp_path / "out")
    spec = bundles["new"].root.parent / "case" / "spec.yaml"
    run(spec, tmp_path / "out")
    assert credit_case.contents(tmp_path / "out") == credit_case.contents(bundles["new"].root)


def test_the_previous_audit_lies_in_a_folder_of_its_own_and_is_whole(bundles, tmp_path):
    spec = bundles["new"].root.parent / "case" / "spec.yaml"
    with pytest.raises(SpecError, match="keep the previous one apart"):
        run(spec, bundles["new"].root, Options(against=bundles["new"].root))
    shutil.copytree(bundles["old"].root, tmp_path / "altered")
    (tmp_path / "altered" / "results.json").write_bytes(b"{}")
    with pytest.raises(BundleError, match=r"--against altered: results\.json"):
        run(spec, tmp_path / "out", Options(against=tmp_path / "altered"))
    assert not (tmp_path / "out").exists()
