"""Kinds of tampering, each caught and named: by whoever edits a file, by whoever also rewrites the digests, and on a
bundle that is signed."""

import shutil

import credit_case
import pandas as pd
import pytest
import signing_case
import tampering_case as t

from audit.bundle import Bundle, parquet_bytes
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


ID = "report.html: does not bear the id AR-"

SPEC_GATES = "results.json: its gates are *; the spec has G-"

KINDS = {
    # kind: (what changes, the file and the word that name it, those that name it once all digests are rewritten)
    t.evidence_number: ("evidence.json: holds", "performance differs from evidence/*in metrics.accuracy.value: "),
    t.results_number: (
        "results.json: holds",
        "performance differs from *in metrics.accuracy.value: 0.999 here",
    ),
    t.both_numbers: ("evidence.json: holds", "report.html: is not what the bundle draws: line *"),
    t.parquet_cell: ("counterfactuals.parquet: holds", "counterfactuals.parquet: is not what *a cell was changed"),
    t.parquet_row: ("counterfactuals.parquet: holds", "counterfactuals.parquet: is not what * rows, not "),
    t.parquet_column: ("counterfactuals.parquet: holds", "counterfactuals.parquet: is not what *its columns are "),
    t.html_text: ("report.html: holds", "report.html: *line *with care.' drawn"),
    t.html_id: ("report.html: holds", ID),
    t.pdf_byte: ("report.pdf: holds", None),
    t.pdf_page: ("report.pdf: holds", None),
    t.pdf_attachment: ("report.pdf: holds", None),
    t.pdf_update: ("report.pdf: holds", None),
    t.spec_text: ("manifest.json: the spec is not the one that was run", SPEC_GATES),
    t.entry_removed: ("results.json: not recorded in the manifest", None),
    t.entry_added: ("evidence/none.json: recorded in the manifest, but missing", None),
    t.digest_rewritten: ("findings.sarif: holds*the manifest says 000000000000", None),
    t.model_digest: ("manifest.json: the digest of the model differs", ID),
    t.version: (ID, "report.html: *line *'0.0.1' drawn"),
    t.seed: ("manifest.json: seed does not follow from the spec, in seed: 99 here, 3 there", ID),
    t.plan_setting: (
        "manifest.json: task flex of the plan does not follow *min_change: 0.5 here",
        "manifest.json: task flex of the plan does not follow *min_change: 0.5 here",
    ),
    t.as_of: (
        "manifest.json: as_of is 2025-01-01, its facts say 2026-11-01",
        "manifest.json: as_of is 2025-01-01, its facts say 2026-11-01",
    ),
    t.file_added: ("evidence/note.txt: not recorded in the manifest", ID),
    t.file_renamed: ("findings.sarif: recorded*findings.old holds these bytes, so it was renamed", ID),
    t.symlink: ("results.json: is a symbolic link", "results.json: is a symbolic link"),
    t.opinion_word: ("results.json: holds", "results.json: the opinion 'unqualified' is issued; the findings support"),
    t.opinion_text: ("results.json: holds", "report.html: *line *'All is well.' drawn"),
    t.narrative: ("manifest.json: the text of S2 is not the one whose digest it holds", "report.html: *line *"),
    t.gate_outcome: ("results.json: holds", "results.json: gate G-* does not follow from the evidence, in outcome: "),
    t.gate_bar: ("results.json: holds", SPEC_GATES),
    t.gate_removed: ("results.json: holds", SPEC_GATES),
    t.finding_removed: ("results.json: holds", "results.json: finding F-66466D is missing; the evidence gives it"),
    t.waiver: ("results.json: holds", "results.json: what is waived does not follow from the waivers of the spec"),
    t.waiver_in_manifest: ("manifest.json: waivers does not *2030-01-01", "manifest.json: waivers "),
    t.junit: ("findings.junit.xml: holds", "findings.junit.xml: *line *'FAIL: * drawn"),
    t.sarif: ("findings.sarif: holds", "findings.sarif: *line *'fail' drawn"),
    t.changes: ("changes.json: holds", "report.html: *line *beet*"),
    t.deep_json: ("results.json: holds", "results.json: cannot be read: it is nested deeper than audit ever does"),
    t.key_twice: ("results.json: holds", "results.json: is spelt as audit never does"),
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
    assert plain
    assert forged != "", "any sentence would do"
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
    t.in_pdf(bundle, lambda data: data[:length])


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
    t.in_manifest(bundle, lambda manifest: manifest.update({"signed": None}))


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
        (t.pdf_byte, ""),
        (t.pdf_page, " pages, not *other from page "),
        (t.pdf_attachment, "the attached file results.json was replaced"),
        (t.pdf_update, " bytes were appended (an incremental update)"),
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
    t.pdf_attachment(bundle)
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
