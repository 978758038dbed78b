"""The faults of the closest peer (peers G1 to G18) that are not the subject of another test file.

G1 to G3, verifier and search: tests/search. G4, G5: tests/spec. G9, G10: tests/methods and tests/report.
G12: tests/engine/test_reproducible.py. G15: tests/core/test_base.py and tests/spec. G16: tests/engine/test_speed.py.
G17: tests/engine/test_run.py. G18: tests/test_no_network.py. G7 (flip test) and G6 as a statement on groups:
tests/methods/test_fairness.py.
"""

import html
import json
import re
from importlib.metadata import version

import credit_case
import pytest

from audit.bundle import Bundle, pretty_json

ALL_CLEAR = re.compile(r"no (bias|issues?|problems?|concerns?)\b|unbiased|is fair\b|bias[- ]free", re.IGNORECASE)
LEGAL = re.compile(r"(?<!non-)\bcompliant\b|non-compliant|legally|lawful", re.IGNORECASE)
DATE = re.compile(r"\b(19|20)\d\d-\d\d-\d\d\b|\b\d\d? [A-Z][a-z]+ (19|20)\d\d\b")


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return credit_case.make(tmp_path_factory.mktemp("case"))


@pytest.fixture(scope="module")
def bundle(case, tmp_path_factory):
    out = tmp_path_factory.mktemp("peers") / "out"
    done = credit_case.command("run", case, "-o", out, "-q")
    assert done.returncode in {0, 1}, done.stderr
    return Bundle(out)


@pytest.fixture(scope="module")
def page(bundle):
    """The text of the report, without tags, scripts and styles."""
    content = (bundle.root / "report.html").read_text(encoding="utf-8")
    bare = re.sub(r"<(script|style)\b.*?</\1>|<[^>]+>", " ", content, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(bare))


def test_g6_no_template_holds_an_all_clear_sentence(root):
    for path in sorted((root / "templates").rglob("*")):
        if path.suffix in {".j2", ".yaml", ".html"}:
            assert ALL_CLEAR.findall(path.read_text(encoding="utf-8")) == [], path.name


def test_g6_text_and_table_of_a_gate_come_from_the_same_evidence(bundle, page):
    (gate,) = (finding for finding in bundle.findings() if finding.gate)
    (record,) = (record for record in bundle.records() if record.id == "performance")
    (auc,) = (m for m in record.metrics if m.name == "auc" and m.where.variant is None)
    assert (gate.measured.value, gate.measured.low, gate.measured.high) == (auc.value, auc.low, auc.high)
    assert f"{auc.value:.3f}" in page


def test_g8_no_word_of_law_is_printed_of_the_model(page):
    assert LEGAL.findall(page) == []


def test_g11_every_date_is_an_input_and_there_is_one_id_and_the_true_version(bundle, page):
    manifest = bundle.manifest()
    given = manifest.spec + str(manifest.as_of)
    # Laws have dates of their own, and were looked up on a day: data of the crosswalk, not of this audit.
    laws = r"This section says where evidence stands.*?S21 Reproducibility|sources as checked by [\d-]+"
    own = re.sub(laws, "", page)
    dates = {match.group() for match in DATE.finditer(own)}
    assert {date for date in dates if date not in given and date != "1 November 2026"} == set()
    assert set(re.findall(r"AR-[0-9A-F]{10}", page)) == {manifest.report_id}
    assert manifest.tool["version"] == version("auditspec")
    assert f"auditspec {version('auditspec')}" in page


def copied(bundle, tmp_path):
    import shutil

    return Bundle(shutil.copytree(bundle.root, tmp_path / "copy"))


def test_g13_one_changed_byte_in_any_file_ends_with_4_and_names_it(bundle, tmp_path):
    copy = copied(bundle, tmp_path)
    for name in list(copy.files()):
        if name in {"manifest.json", "run.json"}:
            continue
        path = copy.root / name
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        done = credit_case.command("verify", copy.root) if name == "results.json" else None
        assert [line.split(":")[0] for line in copy.altered()] == [name]
        if done is not None:
            assert (done.returncode, done.stderr.split(":")[0]) == (4, name)
        path.write_bytes(data)
    assert copy.altered() == []


def test_g13_a_changed_number_with_rewritten_digests_is_named(bundle, tmp_path):
    copy = copied(bundle, tmp_path)
    content = copy.results()
    entry = next(e for e in content["evidence"] if e["id"] == "performance")
    next(m for m in entry["metrics"] if m["name"] == "accuracy")["value"] = 0.999
    copy.write("results.json", pretty_json(content))
    copy.write_manifest(copy.manifest())
    assert copy.altered() == []
    done = credit_case.command("verify", copy.root)
    assert done.returncode == 4
    assert "performance differs from evidence/" in done.stderr


def test_g13_a_changed_report_with_rewritten_digests_is_named(bundle, tmp_path):
    copy = copied(bundle, tmp_path)
    gate = next(f for f in copy.results()["findings"] if f["gate"])
    content = copy.results()
    for finding in content["findings"]:
        if finding["id"] == gate["id"]:
            finding["outcome"] = "fail" if gate["outcome"] == "pass" else "pass"
    copy.write("results.json", pretty_json(content))
    copy.write_manifest(copy.manifest())
    done = credit_case.command("verify", copy.root)
    assert done.returncode == 4
    assert f"gate {gate['id']} does not follow" in done.stderr
    assert "report.html: does not bear the id" in done.stderr


def test_g13_an_unsigned_bundle_never_claims_proof(bundle):
    done = credit_case.command("verify", bundle.root)
    assert (done.returncode, "not signed" in done.stdout) == (0, True)


def test_g14_the_printed_steps_of_verification_work_word_for_word(bundle, case, tmp_path):
    content = (bundle.root / "report.html").read_text(encoding="utf-8")
    section = content[content.index('id="verify"') :]
    steps = [html.unescape(code) for code in re.findall(r'class="code">(audit [^<]+)<', section)]
    assert [step.split()[1] for step in steps] == ["verify", "run", "render"]
    meant = {"BUNDLE": copied(bundle, tmp_path).root, "SPEC": case, "FOLDER": tmp_path / "again"}
    for step in steps:
        done = credit_case.command(*(str(meant.get(word, word)) for word in step.split()[1:]))
        assert done.returncode in {0, 1}, step
    assert Bundle(tmp_path / "again").manifest().report_id == bundle.manifest().report_id


def test_g14_the_spec_is_in_the_manifest_whatever_its_name(tmp_path):
    spec = credit_case.make(tmp_path / "case").rename(tmp_path / "case" / "my audit.yml")
    done = credit_case.command("run", spec, "-o", tmp_path / "out", "-q", "--only", "performance")
    assert done.returncode == 5, done.stderr
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert (manifest["spec_name"], manifest["spec"]) == ("my audit.yml", spec.read_text())


def test_render_needs_the_bundle_alone_and_gives_the_same_bytes(bundle, tmp_path):
    copy = copied(bundle, tmp_path)
    before = credit_case.contents(copy.root)
    (copy.root / "report.html").unlink()
    done = credit_case.command("render", copy.root, "--format", "html")
    assert done.returncode == 0, done.stderr
    assert credit_case.contents(copy.root) == before


def test_render_refuses_an_altered_bundle(bundle, tmp_path):
    copy = copied(bundle, tmp_path)
    path = next(copy.root.glob("evidence/*/instances.parquet"))
    path.write_bytes(b"other")
    done = credit_case.command("render", copy.root)
    assert done.returncode == 4
    assert "instances.parquet" in done.stderr
