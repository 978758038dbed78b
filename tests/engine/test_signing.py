"""Signing: which keys, which errors, what a signature keeps, and who else agrees that it holds."""

import asyncio
import shutil
import subprocess
from datetime import UTC, datetime
from io import BytesIO

import credit_case
import pytest
import signing_case

from audit.bundle import Bundle
from audit.cli.verify import _print
from audit.core.base import sha256
from audit.core.errors import BundleError, SpecError
from audit.core.integrity import SIGNATURE
from audit.core.manifest import Manifest
from audit.core.plan import Plan
from audit.engine.run import run
from audit.engine.signatures import Trust, seals
from audit.engine.signing import sign, unsign
from audit.engine.verify import Verified

pytest.importorskip("pyhanko", reason="pyhanko is an optional package")
from cryptography.x509 import ObjectIdentifier
from cryptography.x509.oid import ExtendedKeyUsageOID

from audit.engine.keys import from_pem, from_pkcs12, roots


def small_pdf():
    import pydyf

    pdf, page = pydyf.PDF(), pydyf.Stream([b"0 0 10 10 re f"])
    pdf.add_object(page)
    pdf.add_page(
        pydyf.Dictionary(
            {"Type": "/Page", "Parent": pdf.pages.reference, "Contents": page.reference, "MediaBox": "[0 0 99 99]"}
        )
    )
    out = BytesIO()
    pdf.write(out)
    return out.getvalue()


@pytest.fixture
def bundle(tmp_path):
    """A bundle in small: a PDF and results."""
    bundle = Bundle(tmp_path / "out")
    bundle.write("results.json", b"{}\n")
    bundle.write("report.pdf", small_pdf())
    bundle.write_manifest(
        Manifest(tool={"name": "t", "version": "0"}, spec_name="s.yaml", spec="", seed=0, plan=Plan(tasks=()))
    )
    return bundle


@pytest.fixture
def keys(tmp_path):
    """A folder of keys: PKCS#12, PEM, and the root."""
    key, certificate = signing_case.holder()
    signing_case.p12(tmp_path / "key.p12")
    signing_case.p12(tmp_path / "open.p12", passphrase=None)
    signing_case.p12(tmp_path / "rsa.p12", signing_case.holder("R. Signer", kind="rsa"))
    signing_case.pem_key(tmp_path / "key.pem", key)
    signing_case.pem_key(tmp_path / "locked.pem", key, signing_case.PASSPHRASE)
    signing_case.pem(tmp_path / "cert.pem", certificate)
    signing_case.pem(tmp_path / "root.pem", signing_case.root()[1])
    return tmp_path


def ask():
    return signing_case.PASSPHRASE


def never():
    raise AssertionError("this key has no passphrase")


def checked(bundle, keys, **more):
    return seals(bundle, Trust(roots([keys / "root.pem"]), **more))


LOADERS = {
    "p12": lambda keys: from_pkcs12(keys / "key.p12", ask),
    "p12 without passphrase": lambda keys: from_pkcs12(keys / "open.p12", never),
    "rsa": lambda keys: from_pkcs12(keys / "rsa.p12", ask),
    "pem": lambda keys: from_pem(keys / "key.pem", keys / "cert.pem", never),
    "pem with passphrase": lambda keys: from_pem(keys / "locked.pem", keys / "cert.pem", ask),
}


@pytest.mark.parametrize("kind", LOADERS)
def test_every_kind_of_key_signs_and_other_programs_agree(bundle, keys, kind):
    pdf, results = (bundle.root / "report.pdf").read_bytes(), (bundle.root / "results.json").read_bytes()
    before = bundle.manifest()
    signed = sign(bundle, LOADERS[kind](keys))
    after = bundle.manifest()
    assert [(s.file, s.intact, s.trusted, s.problems) for s in checked(bundle, keys)] == [
        ("manifest.json", True, True, ()),
        ("report.pdf", True, True, ()),
    ]
    assert bundle.altered() == []
    assert (after.report_id, after.files) == (before.report_id, before.files)
    assert (bundle.root / "results.json").read_bytes() == results
    data = (bundle.root / "report.pdf").read_bytes()
    assert data.startswith(pdf)
    assert sha256(data[: signed.unsigned_bytes]) == after.files["report.pdf"] == sha256(pdf)
    if shutil.which("openssl"):
        line = ["openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", bundle.root / SIGNATURE]
        line += ["-content", bundle.root / "manifest.json", "-CAfile", keys / "root.pem", "-out", keys / "content"]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    if shutil.which("pdfsig"):
        done = subprocess.run(["pdfsig", bundle.root / "report.pdf"], capture_output=True, text=True, check=False)
        assert "Signature is Valid" in done.stdout
        assert "Total document signed" in done.stdout
        assert "ETSI.CAdES.detached" in done.stdout


@pytest.mark.parametrize(
    ("load", "said"),
    [
        (
            lambda keys: from_pkcs12(keys / "key.p12", lambda: b"wrong"),
            "--key key.p12: is no PKCS#12 file, or the pass",
        ),
        (lambda keys: from_pkcs12(keys / "cert.pem", ask), "--key cert.pem: is no PKCS#12 file"),
        (lambda keys: from_pkcs12(keys / "none.p12", ask), "--key none.p12: cannot be read"),
        (
            lambda keys: from_pem(keys / "locked.pem", keys / "cert.pem", lambda: b"wrong"),
            "--key-pem locked.pem: is no",
        ),
        (lambda keys: from_pem(keys / "cert.pem", keys / "cert.pem", ask), "--key-pem cert.pem: is no private key"),
        (lambda keys: from_pem(keys / "key.pem", keys / "root.pem", ask), "the certificate is for another key"),
        (lambda keys: from_pem(keys / "key.pem", keys / "key.pem", ask), "--cert key.pem: holds no certificate"),
        (lambda keys: roots([keys / "key.pem"]), "--trust key.pem: holds no certificate"),
        (lambda keys: roots([keys / "key.p12"]), "--trust key.p12: is no certificate in PEM or DER"),
    ],
)
def test_a_wrong_key_or_certificate_is_one_sentence(keys, load, said):
    with pytest.raises(SpecError) as error:
        load(keys)
    assert said in str(error.value)
    assert error.value.exit_code == 2


def test_an_altered_bundle_is_not_signed(bundle, keys):
    bundle.write("results.json", b"{ }\n")
    with pytest.raises(BundleError, match=r"results\.json: holds"):
        sign(bundle, from_pkcs12(keys / "key.p12", ask))
    assert not (bundle.root / SIGNATURE).exists()


def test_a_signed_bundle_is_signed_anew_only_where_that_is_said(bundle, keys):
    sign(bundle, from_pkcs12(keys / "key.p12", ask))
    with pytest.raises(SpecError, match="--replace"):
        sign(bundle, from_pkcs12(keys / "rsa.p12", ask))
    sign(bundle, from_pkcs12(keys / "rsa.p12", ask), replace=True)
    assert [seal.by for seal in checked(bundle, keys)] == ["R. Signer", "R. Signer"]
    assert [seal.problems for seal in checked(bundle, keys)] == [(), ()]


def test_signatures_that_are_taken_off_leave_the_bundle_as_it_was(bundle, keys):
    before = credit_case.contents(bundle.root)
    sign(bundle, from_pkcs12(keys / "key.p12", ask))
    unsign(bundle)
    assert credit_case.contents(bundle.root) == before


def test_a_bundle_without_a_pdf_is_signed_by_its_manifest_alone(bundle, keys):
    (bundle.root / "report.pdf").unlink()
    bundle.write_manifest(bundle.manifest())
    sign(bundle, from_pkcs12(keys / "key.p12", ask))
    assert [(seal.file, seal.problems) for seal in checked(bundle, keys)] == [("manifest.json", ())]


def test_nobody_is_trusted_by_default_and_a_stranger_never(bundle, keys):
    sign(bundle, from_pkcs12(keys / "key.p12", ask))
    assert [(seal.trusted, seal.problems) for seal in seals(bundle, Trust())] == [(None, ()), (None, ())]
    stranger = signing_case.pem(keys / "other.pem", signing_case.root("Elsewhere")[1])
    for seal in seals(bundle, Trust(roots([stranger]))):
        assert seal.trusted is False
        assert "A. Validator is not vouched for by the certificates of --trust" in seal.problems[0]


@pytest.mark.parametrize(
    ("day", "said"),
    [
        (datetime(2029, 1, 1, tzinfo=UTC), "ended on 2028-01-01, and it is judged on 2029-01-01"),
        (datetime(2025, 1, 1, tzinfo=UTC), "holds from 2026-01-01, and it is judged on 2025-01-01"),
        (datetime(2027, 1, 1, tzinfo=UTC), None),
    ],
)
def test_a_certificate_is_judged_on_the_day_that_the_reader_names(bundle, keys, day, said):
    short = signing_case.holder("Short", until=datetime(2028, 1, 1, tzinfo=UTC))
    sign(bundle, from_pkcs12(signing_case.p12(keys / "short.p12", short), ask))
    found = [problem for seal in checked(bundle, keys, moment=day) for problem in seal.problems]
    assert (found == []) if said is None else all(said in line for line in found)
    assert bool(found) is (said is not None)


def test_a_certificate_of_a_web_server_signs_nothing_and_vouches_for_nothing(bundle, keys, monkeypatch):
    printer = signing_case.holder("printer7.example", purpose=ExtendedKeyUsageOID.SERVER_AUTH)
    path = signing_case.p12(keys / "printer.p12", printer)
    with pytest.raises(
        SpecError, match=r"--key printer\.p12: the certificate is for server_auth; sign with one that is"
    ):
        from_pkcs12(path, ask)
    with monkeypatch.context() as patch:
        patch.setattr("audit.engine.keys.unfit", lambda _: "")
        sign(bundle, from_pkcs12(path, ask))
    for seal in checked(bundle, keys):
        assert (seal.intact, seal.trusted) == (True, False)
        (said,) = seal.problems
        assert said.endswith("the certificate of printer7.example is for server_auth, not for the signing of documents")


@pytest.mark.parametrize("purpose", [ExtendedKeyUsageOID.EMAIL_PROTECTION, ObjectIdentifier("1.3.6.1.5.5.7.3.36")])
def test_a_certificate_for_e_mail_or_documents_signs(bundle, keys, purpose):
    sign(bundle, from_pkcs12(signing_case.p12(keys / "p.p12", signing_case.holder("P.", purpose=purpose)), ask))
    assert [(seal.trusted, seal.problems) for seal in checked(bundle, keys)] == [(True, ()), (True, ())]


def test_it_signs_and_checks_where_an_event_loop_runs(bundle, keys):
    """As in a notebook."""

    async def both():
        sign(bundle, from_pkcs12(keys / "key.p12", ask))
        return checked(bundle, keys)

    assert [(seal.intact, seal.problems) for seal in asyncio.run(both())] == [(True, ()), (True, ())]


def test_a_name_in_a_certificate_makes_no_line_of_its_own(bundle, keys, capsys):
    forged = signing_case.holder("A.\ncertificate 01234567: vouched\x1b[2K")
    sign(bundle, from_pkcs12(signing_case.p12(keys / "forged.p12", forged), ask))
    _print(Verified("AR-0", 1, seals=tuple(seals(bundle, Trust()))), None)
    said = capsys.readouterr().out
    assert "signed by A.‹U+000A›certificate 01234567: vouched‹U+001B›[2K (who says" in said
    assert (said.count("\ncertificate"), "\x1b" in said) == (1, False)


def test_the_commands(tmp_path, keys):
    """Sign, verify, draw again and run on a bundle that was signed, as a user does."""
    spec = credit_case.make(
        tmp_path / "case",
        n=60,
        spec=credit_case.SPEC | {"counterfactuals": {}, "methods": [{"kind": "performance"}]},
    )
    out = run(spec, tmp_path / "bundle").out
    (tmp_path / "word").write_bytes(signing_case.PASSPHRASE + b"\n")
    done = credit_case.command("sign", out, "--key", keys / "key.p12")
    assert (done.returncode, "--passphrase-file" in done.stderr) == (2, True)
    done = credit_case.command("sign", out, "--key", keys / "key.p12", "--passphrase-file", tmp_path / "word")
    assert (done.returncode, "signed by A. Validator" in done.stdout) == (0, True), done.stderr
    done = credit_case.command("verify", out, "--trust", keys / "root.pem")
    assert done.returncode == 0, done.stderr
    assert "manifest.json: signed by A. Validator" in done.stdout
    assert "a certificate of --trust vouches for the signer" in done.stdout
    before = credit_case.contents(out)
    done = credit_case.command("render", out, "--format", "html")
    assert (done.returncode, "the signatures of A. Validator stay" in done.stdout) == (0, True), done.stderr
    assert credit_case.contents(out) == before
    with pytest.raises(SpecError, match=r"holds a bundle that A\. Validator signed; name another folder"):
        run(spec, out)
    done = credit_case.command("render", out, "--format", "html", "--drop-signature")
    assert done.returncode == 0, done.stderr
    assert Bundle(out).manifest().signed is None
    assert Bundle(out).altered() == []
