"""Kinds of tampering, each caught and named: by whoever edits a file, by whoever also rewrites the digests, and on a
bundle that is signed."""

import json
import shutil
from functools import cache
from io import BytesIO

import credit_case
import pandas as pd
import pytest
import signing_case

from audit.bundle import Bundle, parquet_bytes, pretty_json
from audit.core.integrity import SIGNATURE
from audit.core.manifest import Manifest
from audit.engine.keys import from_pkcs12, roots
from audit.engine.redraw import pdf_difference
from audit.engine.run import Options, run
from audit.engine.signatures import Trust, seals
from audit.engine.signing import sign
from audit.engine.verify import verify

pytest.importorskip("pyhanko", reason="pyhanko is an optional package")

SPEC = credit_case.SPEC | {
    "methods": [{"kind": "performance"}, {"kind": "flex", "from": "flips"}],
    "gates": [
        {"metric": "performance.auc", "at_least": 0.6},
        {"metric": "performance.accuracy", "at_least": 0.99, "severity": "minor"},
    ],
    "waivers": [
        {"finding": "F-66466D", "reason": "known", "approved_by": "Committee", "until": "2027-01-31"},
    ],
    "report": {
        "formats": ["html", "pdf"],
        "opinion": {"word": "qualified", "by": "A. Validator", "text": "opinion.md"},
        "narrative": {"S2": "scope.md"},
        "crosswalk": ["sr-26-2"],
    },
}


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A bundle, the same bundle signed, and the keys."""
    folder = tmp_path_factory.mktemp("tampering")
    spec = credit_case.make(folder / "case", n=120, spec=SPEC)
    (spec.parent / "opinion.md").write_text("The model may be used with care.\n")
    (spec.parent / "scope.md").write_text("Loans to people.\n")
    run(spec, folder / "before", Options(overrides=("report.formats=[html]", "run.seed=4")))
    run(spec, folder / "plain", Options(against=folder / "before"))
    signer = from_pkcs12(signing_case.p12(folder / "key.p12"), lambda: signing_case.PASSPHRASE)
    shutil.copytree(folder / "plain", folder / "signed")
    sign(Bundle(folder / "signed"), signer)
    signing_case.pem(folder / "root.pem", signing_case.root()[1])
    return folder


@pytest.fixture
def bundles(case, tmp_path):
    """Copies of the two bundles, to be tampered with."""
    return {name: Bundle(shutil.copytree(case / name, tmp_path / name)) for name in ("plain", "signed")}


def edit(bundle, name, change):
    """Changes a JSON file as plain data, in our spelling."""
    path = bundle.root / name
    content = json.loads(path.read_bytes())
    change(content)
    path.write_bytes(pretty_json(content))


def key_of(bundle, task):
    return next(record.key for record in bundle.records() if record.id == task)


def _metric(entry, value=0.999):
    next(m for m in entry["metrics"] if m["name"] == "accuracy")["value"] = value


def _entry(results, task="performance"):
    return next(entry for entry in results["evidence"] if entry["id"] == task)


def evidence_number(bundle):
    edit(bundle, f"evidence/{key_of(bundle, 'performance')}/evidence.json", _metric)


def results_number(bundle):
    edit(bundle, "results.json", lambda results: _metric(_entry(results)))


def both_numbers(bundle):
    evidence_number(bundle)
    results_number(bundle)


def _table(bundle, change):
    record = next(r for r in bundle.records() if r.id == "counterfactuals.flips")
    table = next(t for t in record.tables if t.name == "counterfactuals")
    frame = change(bundle.table(table))
    (bundle.root / table.path).write_bytes(parquet_bytes(frame))


def parquet_cell(bundle):
    def change(frame):
        frame.loc[0, "distance"] = frame.loc[0, "distance"] / 2
        return frame

    _table(bundle, change)


def parquet_row(bundle):
    _table(bundle, lambda frame: frame.iloc[1:])


def parquet_column(bundle):
    _table(bundle, lambda frame: frame.drop(columns="cost"))


def _replace(bundle, name, old, new, count=1):
    path = bundle.root / name
    text = path.read_text(encoding="utf-8")
    assert old in text, name
    path.write_text(text.replace(old, new, count), encoding="utf-8")


def html_text(bundle):
    _replace(bundle, "report.html", "The model may be used with care.", "The model may be used freely.")


def html_id(bundle):
    name = bundle.manifest().report_id
    _replace(bundle, "report.html", name, "AR-0123456789", -1)


def _pdf(bundle, change):
    path = bundle.root / "report.pdf"
    path.write_bytes(change(path.read_bytes()))


def pdf_byte(bundle):
    def change(data):
        at = len(data) // 3
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    _pdf(bundle, change)


def _rewritten(bundle, change):
    """Writes the unsigned PDF anew, with a change; the work is done once for all copies."""
    path = bundle.root / "report.pdf"
    signed = bundle.manifest().signed
    path.write_bytes(_written(path.read_bytes()[: signed.unsigned_bytes if signed else None], change))


@cache
def _written(data, change):
    from pyhanko.pdf_utils.reader import PdfFileReader
    from pyhanko.pdf_utils.writer import copy_into_new_writer

    writer = copy_into_new_writer(PdfFileReader(BytesIO(data)))
    change(writer)
    out = BytesIO()
    writer.write(out)
    return out.getvalue()


def _without_last_page(writer):
    kids = writer.root["/Pages"]["/Kids"]
    while "/Kids" in kids[-1].get_object():
        kids = kids[-1].get_object()["/Kids"]
    del kids[-1]


def _with_other_results(writer):
    for item in writer.root["/AF"]:
        spec = item.get_object()
        if str(spec["/F"]) == "results.json":
            stream = spec["/EF"]["/F"]
            stream._data = stream.data.replace(b"0.", b"1.", 1)
            stream._encoded_data = None


def pdf_page(bundle):
    _rewritten(bundle, _without_last_page)


def pdf_attachment(bundle):
    _rewritten(bundle, _with_other_results)


def pdf_update(bundle):
    from pyhanko.pdf_utils.generic import pdf_string
    from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter

    def change(data):
        writer = IncrementalPdfFileWriter(BytesIO(data))
        writer.root["/Lang"] = pdf_string("xx")
        writer.update_root()
        out = BytesIO()
        writer.write(out)
        assert out.getvalue().startswith(data)
        return out.getvalue()

    _pdf(bundle, change)


def _manifest(bundle, change):
    edit(bundle, "manifest.json", change)


def spec_text(bundle):
    def change(manifest):
        manifest["spec"] = manifest["spec"].replace("at_least: 0.99", "at_least: 0.09")

    _manifest(bundle, change)


def entry_removed(bundle):
    _manifest(bundle, lambda manifest: manifest["files"].pop("results.json"))


def entry_added(bundle):
    _manifest(bundle, lambda manifest: manifest["files"].update({"evidence/none.json": "0" * 64}))


def digest_rewritten(bundle):
    _manifest(bundle, lambda manifest: manifest["files"].update({"findings.sarif": "0" * 64}))


def model_digest(bundle):
    def change(manifest):
        for entry in manifest["inputs"]:
            if entry["role"] == "model":
                entry["sha256"] = "0" * 64

    _manifest(bundle, change)


def version(bundle):
    _manifest(bundle, lambda manifest: manifest["packages"].update({"scipy": "0.0.1"}))


def seed(bundle):
    _manifest(bundle, lambda manifest: manifest.update({"seed": 99}))


def plan_setting(bundle):
    def change(manifest):
        next(t for t in manifest["plan"]["tasks"] if t["id"] == "flex")["settings"]["min_change"] = 0.5

    _manifest(bundle, change)


def as_of(bundle):
    _manifest(bundle, lambda manifest: manifest.update({"as_of": "2025-01-01"}))


def file_added(bundle):
    (bundle.root / "evidence" / "note.txt").write_text("trust me")


def file_renamed(bundle):
    (bundle.root / "findings.sarif").rename(bundle.root / "findings.old")


def symlink(bundle):
    path = bundle.root / "results.json"
    moved = bundle.root.parent / f"elsewhere-{bundle.root.name}.json"
    path.rename(moved)
    path.symlink_to(moved)


def opinion_word(bundle):
    edit(bundle, "results.json", lambda results: results["opinion"].update({"word": "unqualified"}))
    _manifest(bundle, lambda manifest: manifest["facts"]["opinion"].update({"word": "unqualified"}))


def opinion_text(bundle):
    edit(bundle, "results.json", lambda results: results["opinion"].update({"text": "All is well."}))
    _manifest(bundle, lambda manifest: manifest["facts"]["opinion"].update({"text": "All is well."}))


def narrative(bundle):
    _manifest(bundle, lambda manifest: manifest["facts"]["narrative"]["S2"].update({"text": "Anything at all.\n"}))


def _gate(results, bar=0.99):
    return next(f for f in results["findings"] if f["gate"] and f["gate"]["at_least"] == bar)


def gate_outcome(bundle):
    edit(bundle, "results.json", lambda results: _gate(results).update({"outcome": "pass"}))


def gate_bar(bundle):
    edit(bundle, "results.json", lambda results: _gate(results)["gate"].update({"at_least": 0.1}))


def gate_removed(bundle):
    edit(bundle, "results.json", lambda results: results["findings"].remove(_gate(results)))


def finding_removed(bundle):
    def change(results):
        results["findings"] = [f for f in results["findings"] if f["code"] != "kind_not_stated"]

    edit(bundle, "results.json", change)


def waiver(bundle):
    def change(results):
        _gate(results)["waiver"] = {
            "finding": _gate(results)["id"], "reason": "fine", "approved_by": "me", "until": "2030-01-01",
        }  # fmt: skip

    edit(bundle, "results.json", change)


def waiver_in_manifest(bundle):
    _manifest(bundle, lambda manifest: manifest["facts"]["waivers"][0].update({"until": "2030-01-01"}))


def junit(bundle):
    _replace(bundle, "findings.junit.xml", "FAIL", "PASS")


def sarif(bundle):
    _replace(bundle, "findings.sarif", '"fail"', '"pass"')


def changes(bundle):
    path = bundle.root / "changes.json"
    text = path.read_text(encoding="utf-8")
    assert '"old": 3' in text or '"3"' in text or "run.seed" in text
    path.write_text(text.replace("run.seed", "run.beet"), encoding="utf-8")


def key_twice(bundle):
    _replace(bundle, "results.json", '{\n  "audit": {', '{\n  "opinion": {"word": "unqualified"},\n  "audit": {')


ID = "report.html: does not bear the id AR-"

SPEC_GATES = "results.json: its gates are *; the spec has G-"

KINDS = {
    # kind: (what changes, the file and the word that name it, those that name it once all digests are rewritten)
    evidence_number: ("evidence.json: holds", "performance differs from evidence/*in metrics.accuracy.value: "),
    results_number: ("results.json: holds", "performance differs from evidence/*in metrics.accuracy.value: 0.999 here"),
    both_numbers: ("evidence.json: holds", "report.html: is not what the bundle draws: line *"),
    parquet_cell: ("counterfactuals.parquet: holds", "counterfactuals.parquet: is not what *a cell was changed"),
    parquet_row: ("counterfactuals.parquet: holds", "counterfactuals.parquet: is not what * rows, not "),
    parquet_column: ("counterfactuals.parquet: holds", "counterfactuals.parquet: is not what *its columns are "),
    html_text: ("report.html: holds", "report.html: *line *with care.' drawn"),
    html_id: ("report.html: holds", ID),
    pdf_byte: ("report.pdf: holds", None),
    pdf_page: ("report.pdf: holds", None),
    pdf_attachment: ("report.pdf: holds", None),
    pdf_update: ("report.pdf: holds", None),
    spec_text: ("manifest.json: the spec is not the one that was run", SPEC_GATES),
    entry_removed: ("results.json: not recorded in the manifest", None),
    entry_added: ("evidence/none.json: recorded in the manifest, but missing", None),
    digest_rewritten: ("findings.sarif: holds*the manifest says 000000000000", None),
    model_digest: ("manifest.json: the digest of the model differs", ID),
    version: (ID, "report.html: *line *'0.0.1' drawn"),
    seed: ("manifest.json: seed does not follow from the spec, in seed: 99 here, 3 there", ID),
    plan_setting: ("manifest.json: task flex of the plan does not follow from the spec, in *min_change: 0.5 here", ""),
    as_of: ("manifest.json: as_of is 2025-01-01, its facts say 2026-11-01", ""),
    file_added: ("evidence/note.txt: not recorded in the manifest", ID),
    file_renamed: ("findings.sarif: recorded*findings.old holds these bytes, so it was renamed", ""),
    symlink: ("results.json: is a symbolic link", "results.json: is a symbolic link"),
    opinion_word: ("results.json: holds", "results.json: the opinion 'unqualified' is issued; the findings support"),
    opinion_text: ("results.json: holds", "report.html: *line *'All is well.' drawn"),
    narrative: ("manifest.json: the text of S2 is not the one whose digest it holds", "report.html: *line *"),
    gate_outcome: ("results.json: holds", "results.json: gate G-* does not follow from the evidence, in outcome: "),
    gate_bar: ("results.json: holds", SPEC_GATES),
    gate_removed: ("results.json: holds", SPEC_GATES),
    finding_removed: ("results.json: holds", "results.json: finding F-66466D is missing; the evidence gives it"),
    waiver: ("results.json: holds", "results.json: what is waived does not follow from the waivers of the spec"),
    waiver_in_manifest: ("manifest.json: waivers does not *2030-01-01", "manifest.json: waivers "),
    junit: ("findings.junit.xml: holds", "findings.junit.xml: *line *'FAIL: * drawn"),
    sarif: ("findings.sarif: holds", "findings.sarif: *line *'fail' drawn"),
    changes: ("changes.json: holds", "report.html: *line *beet*"),
    key_twice: ("results.json: holds", "results.json: is spelt as audit never does"),
}


def told(problems, words):
    """Whether one of the sentences holds all the words, in their order."""
    pieces = words.split("*")

    def holds(line):
        at = 0
        for piece in pieces:
            at = line.find(piece, at)
            if at < 0:
                return False
            at += len(piece)
        return True

    return any(holds(line) for line in problems)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_tampering_is_caught_and_named(bundles, kind):
    plain, forged = KINDS[kind]
    bundle = bundles["plain"]
    kind(bundle)
    problems = verify(bundle, quick=True).problems
    assert told(problems, plain), problems
    if forged is not None:
        bundle.write_manifest(bundle.manifest())
        again = verify(bundle, quick=True).problems
        assert told(again, forged), again


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_on_a_signed_bundle_rewritten_digests_are_caught_by_the_signature(case, bundles, kind):
    bundle = bundles["signed"]
    kind(bundle)
    manifest = Manifest.model_validate_json((bundle.root / "manifest.json").read_bytes())
    signed = manifest.signed.model_copy(update={"report": bundle.digests()["report.pdf"]})
    bundle.write_manifest(manifest.model_copy(update={"signed": signed}))
    trust = Trust(roots([case / "root.pem"]))
    problems = [line for seal in seals(bundle, trust) for line in seal.problems]
    assert told(problems, "manifest.json: is not what was signed"), problems
    if kind.__name__.startswith("pdf_"):
        assert any(line.startswith("report.pdf: ") for line in problems), problems


def test_untouched_bundles_stand(case, figure):
    assert verify(Bundle(case / "plain"), quick=True).problems == ()
    found = verify(Bundle(case / "signed"), Trust(roots([case / "root.pem"])))
    assert found.problems == ()
    assert [(seal.file, seal.intact, seal.trusted) for seal in found.seals] == [
        ("manifest.json", True, True),
        ("report.pdf", True, True),
    ]
    figure("kinds of tampering caught and named", len(KINDS) + len(ON_SIGNATURES), "each also on a signed bundle")


# What is done to signatures.


def foreign_signature(bundle, case):
    other = Bundle(shutil.copytree(case / "before", bundle.root.parent / "other"))
    sign(other, from_pkcs12(signing_case.p12(bundle.root.parent / "k.p12"), lambda: signing_case.PASSPHRASE))
    shutil.copy(other.root / SIGNATURE, bundle.root / SIGNATURE)


def other_signer(bundle, case):
    """Somebody else signs the manifest as it stands; its record of the signer stays."""
    stranger = signing_case.p12(bundle.root.parent / "k.p12", signing_case.holder("Mallory", "Elsewhere"))
    copy = Bundle(shutil.copytree(bundle.root, bundle.root.parent / "other"))
    content = (bundle.root / "manifest.json").read_bytes()
    sign(copy, from_pkcs12(stranger, lambda: signing_case.PASSPHRASE), replace=True)
    from audit.engine.signing import _detached

    signer = from_pkcs12(stranger, lambda: signing_case.PASSPHRASE)
    (bundle.root / SIGNATURE).write_bytes(_detached(content, signer))


def signed_anew(bundle, case):
    stranger = signing_case.p12(bundle.root.parent / "k.p12", signing_case.holder("Mallory", "Elsewhere"))
    sign(bundle, from_pkcs12(stranger, lambda: signing_case.PASSPHRASE), replace=True)


def signature_removed(bundle, case):
    (bundle.root / SIGNATURE).unlink()


def pdf_signature_removed(bundle, case):
    length = bundle.manifest().signed.unsigned_bytes
    _pdf(bundle, lambda data: data[:length])


def signature_damaged(bundle, case):
    path = bundle.root / SIGNATURE
    data = path.read_bytes()
    path.write_bytes(data[:-10] + bytes([data[-10] ^ 1]) + data[-9:])


def signature_garbled(bundle, case):
    (bundle.root / SIGNATURE).write_bytes(b"nothing of the kind")


def all_stripped(bundle, case):
    from audit.engine.signing import unsign

    unsign(bundle)


def signature_on_unsigned(bundle, case):
    """The record of the signature goes, the signature stays."""
    _manifest(bundle, lambda manifest: manifest.update({"signed": None}))


ON_SIGNATURES = {
    foreign_signature: "manifest.json: is not what was signed",
    other_signer: "manifest.json.p7s: is signed with the certificate * of Mallory, the manifest records ",
    signed_anew: "Mallory is not vouched for by the certificates of --trust",
    signature_removed: "manifest.json.p7s: missing, but the manifest records a signature of A. Validator",
    pdf_signature_removed: "report.pdf: its signature was taken off; the manifest records one of A. Validator",
    signature_damaged: "manifest.json.p7s: ",
    signature_garbled: "manifest.json.p7s: cannot be read as a signature",
    all_stripped: "manifest.json: the bundle is not signed, and --trust asks for a signature",
    signature_on_unsigned: "manifest.json.p7s: there is a signature, but the manifest records none",
}


@pytest.mark.parametrize("kind", ON_SIGNATURES, ids=lambda kind: kind.__name__)
def test_what_is_done_to_signatures_is_caught_and_named(case, bundles, kind):
    bundle = bundles["signed"]
    kind(bundle, case)
    problems = verify(bundle, Trust(roots([case / "root.pem"])), quick=True).problems
    assert told(problems, ON_SIGNATURES[kind]), problems


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (pdf_byte, ""),
        (pdf_page, " pages, not *other from page "),
        (pdf_attachment, "the attached file results.json was replaced"),
        (pdf_update, " bytes were appended (an incremental update)"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_how_a_pdf_was_changed_is_named(case, bundles, kind, words):
    original = (case / "plain" / "report.pdf").read_bytes()
    kind(bundles["plain"])
    changed = (bundles["plain"].root / "report.pdf").read_bytes()
    assert changed != original
    assert told([pdf_difference(changed, original)], words)


def test_a_pdf_with_a_rewritten_digest_is_caught_by_drawing_it_again(bundles):
    bundle = bundles["plain"]
    pdf_attachment(bundle)
    bundle.write_manifest(bundle.manifest())
    assert verify(bundle, quick=True).problems == ()
    assert told(verify(bundle).problems, "report.pdf: is not what the bundle draws: *results.json was replaced")


def test_run_json_is_in_no_digest_and_verify_says_so(bundles):
    bundle = bundles["signed"]
    (bundle.root / "run.json").write_text('{"host": "anywhere"}')
    found = verify(bundle, quick=True)
    assert found.problems == ()
    assert told(found.remarks, "run.json *is covered by no digest")


def test_table_bytes_of_a_changed_frame_differ():
    """The forger's tool writes tables as audit does, or the digest would give the format away and not the edit."""
    frame = pd.DataFrame({"a": [1.0]})
    assert parquet_bytes(frame) == parquet_bytes(frame.copy())
