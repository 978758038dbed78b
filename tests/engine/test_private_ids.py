"""Pseudonyms: no id reaches a bundle, the same key gives the same bytes, and every way around it is refused."""

import hashlib
import hmac
import re
import shutil

import crash_case
import credit_case
import pandas as pd
import pytest
import yaml
from byte_search import found_in

from audit.core.errors import SpecError
from audit.engine.pseudonyms import PseudonymKey, read_key

SECRET = b"0123456789abcdef0123456789abcdef"
METHODS = [{"kind": "performance"}, {"kind": "recourse", "from": "recourse"}]
SPEC = credit_case.SPEC | {
    "methods": METHODS,
    "data": credit_case.SPEC["data"] | {"sample": {"rows": 25}, "pseudonymise": True},
}


def pseudonym(name, secret=SECRET):
    """What the documentation promises, computed here."""
    digest = hmac.new(secret, b"audit id\x00" + name.encode(), hashlib.sha256).hexdigest()
    return "P-" + digest[:16].upper()


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A folder with a spec whose ids are long words, its first id, all ids, and the bundle made of it."""
    folder = tmp_path_factory.mktemp("ids")
    spec = credit_case.make(folder / "case", n=60, spec=SPEC)
    ids = []
    for name in ("train.csv", "holdout.csv"):
        frame = pd.read_csv(spec.parent / name)
        frame["id"] = [f"CUSTOMER{number:06d}" for number in frame["id"]]
        frame.to_csv(spec.parent / name, index=False)
        ids += list(frame["id"])
    first = pd.read_csv(spec.parent / "holdout.csv")["id"].iloc[0]
    (folder / "key").write_bytes(SECRET + b"\n")
    around(spec, pseudonym(first))
    ended = crash_case.audit(
        "run", spec, "-q", "-o", folder / "out", "--pseudonym-key-file", folder / "key", log=folder / "log"
    )
    assert (ended.code, ended.said) == (0, "")
    return spec, first, ids, folder


def around(spec, name):
    """Names the person whom the second region is around."""
    content = yaml.safe_load(spec.read_text())
    content["regions"][1]["around"] = name
    spec.write_text(yaml.safe_dump(content, sort_keys=False))


def test_no_id_and_no_key_is_in_the_bundle(case, figure):
    _, _, ids, folder = case
    found = found_in(folder / "out", ids)
    assert found == {}
    assert found_in(folder / "out", [SECRET.decode()]) == {}
    figure("ids looked for in every byte of a bundle with pseudonyms", len(ids), "0 found; decompressed, too")


def test_a_region_around_a_pseudonym_holds_that_person_and_the_pseudonyms_are_those_of_the_key(case):
    _, first, ids, folder = case
    (path,) = (folder / "out").rglob("regions.parquet")
    regions = pd.read_parquet(path)
    near = regions[regions["region"] == "near"]
    assert near.loc[near["distance"] == 0, "instance"].tolist()[0] == pseudonym(first)
    assert set(regions["instance"]) <= {pseudonym(name) for name in ids}


def test_the_same_key_gives_the_same_bytes_with_any_number_of_workers_and_another_key_other_names(case, tmp_path):
    spec, first, _, folder = case
    run = ["run", spec, "-q"]
    again = crash_case.audit(
        *run, "-o", tmp_path / "again", "--workers", "2", "--pseudonym-key-file", folder / "key", log=tmp_path / "log"
    )
    assert again.code == 0, again.said
    assert credit_case.contents(tmp_path / "again") == credit_case.contents(folder / "out")
    (tmp_path / "other").write_bytes(SECRET[::-1])
    moved = shutil.copytree(spec.parent, tmp_path / "case") / spec.name
    around(moved, pseudonym(first, SECRET[::-1]))
    shutil.copytree(folder / "out", tmp_path / "out")
    key = ["--pseudonym-key-file", tmp_path / "other"]
    other = crash_case.audit("run", moved, "-q", "-o", tmp_path / "out", *key, log=tmp_path / "log")
    assert other.code == 0, other.said
    found = re.findall(
        r"P-[0-9A-F]{16}", " ".join(pd.read_parquet(next((tmp_path / "out").rglob("instances.parquet")))["instance"])
    )
    assert len(found) > 10
    assert found_in(tmp_path / "out", [pseudonym(first)]) == {}, (
        "nothing is kept of what was computed under another key"
    )


def test_the_report_says_that_ids_are_pseudonyms_and_under_which_key(case):
    *_, folder = case
    html = (folder / "out" / "report.html").read_text()
    assert f"id, replaced by pseudonyms (HMAC-SHA-256, 64 bits, key {PseudonymKey(SECRET).fingerprint})" in html


def edited(spec, tmp_path, **data):
    """A copy of the spec with other settings of `data`."""
    copy = shutil.copytree(spec.parent, tmp_path / "case") / spec.name
    content = yaml.safe_load(copy.read_text())
    content["data"] |= data
    copy.write_text(yaml.safe_dump(content, sort_keys=False))
    return copy


def refused(spec, tmp_path, *words):
    """What a run says that the spec or the command line does not allow."""
    ended = crash_case.audit("run", spec, "-q", "-o", tmp_path / "refused", *words, log=tmp_path / "log")
    assert ended.code == 2, ended.said
    assert not (tmp_path / "refused").exists()
    (said,) = ended.said.splitlines()
    return said


def test_without_a_key_or_without_pseudonyms_nothing_is_run(case, tmp_path):
    spec, _, _, folder = case
    said = refused(spec, tmp_path)
    assert said.startswith("spec.yaml:")
    assert "data.pseudonymise: needs a key: name it with --pseudonym-key-file FILE or --pseudonym-key-env NAME" in said
    plain = edited(spec, tmp_path, pseudonymise=False)
    assert "a key for pseudonyms was given, and the spec does not ask for any" in refused(
        plain, tmp_path, "--pseudonym-key-file", folder / "key"
    )


def test_an_id_in_the_spec_is_refused_with_its_pseudonym(case, tmp_path):
    spec, first, _, folder = case
    key = ["--pseudonym-key-file", folder / "key"]
    copy = edited(spec, tmp_path)
    around(copy, first)
    said = refused(copy, tmp_path, *key)
    assert f"write the pseudonym {pseudonym(first)}" in said
    content = yaml.safe_load(copy.read_text())
    content["regions"] = [{"name": "one", "where": f'id == "{first}"'}]
    copy.write_text(yaml.safe_dump(content, sort_keys=False))
    assert "asks for ids" in refused(copy, tmp_path, *key)


def test_ids_that_are_features_or_protected_or_not_named_are_refused(case, tmp_path):
    spec, _, _, folder = case
    key = ["--pseudonym-key-file", folder / "key"]
    copy = edited(spec, tmp_path, protected=["gender", "id"])
    assert "column 'id' is more than an id here" in refused(copy, tmp_path, *key)
    shutil.rmtree(tmp_path / "case")
    assert "there are no ids" in refused(edited(spec, tmp_path, id=None), tmp_path, *key)


def test_keys_come_from_a_file_or_a_variable_and_are_long_enough(tmp_path, monkeypatch):
    (tmp_path / "key").write_bytes(SECRET + b"\r\n")
    monkeypatch.setenv("SOME_KEY", SECRET.decode())
    assert read_key(tmp_path / "key", None) == read_key(None, "SOME_KEY") == PseudonymKey(SECRET)
    assert read_key(None, None) is None
    assert SECRET.decode() not in repr(PseudonymKey(SECRET))
    (tmp_path / "short").write_bytes(SECRET[:31])
    (tmp_path / "long").write_bytes(b"x" * 4097)
    monkeypatch.delenv("NO_KEY", raising=False)
    for file, variable, text in [
        (tmp_path / "short", None, "--pseudonym-key-file short: holds 31 bytes; a key has 32 to 4096"),
        (tmp_path / "long", None, "holds 4097 bytes"),
        (tmp_path / "none", None, "cannot be read: No such file or directory"),
        (None, "NO_KEY", "--pseudonym-key-env NO_KEY: there is no such environment variable"),
        (tmp_path / "key", "SOME_KEY", "name one of them"),
    ]:
        with pytest.raises(SpecError, match=re.escape(text)):
            read_key(file, variable)


def test_two_keys_are_told_apart_and_neither_is_told():
    one, other = PseudonymKey(SECRET), PseudonymKey(SECRET[::-1])
    assert one.fingerprint != other.fingerprint
    assert one.fingerprint == hmac.new(SECRET, b"audit fingerprint\x00", hashlib.sha256).hexdigest()[:16]
    assert one.pseudonym("7") == pseudonym("7") != other.pseudonym("7")


def test_it_is_computed_again_under_the_same_key_alone(case, tmp_path):
    spec, _, _, folder = case
    line = ["verify", "--quick", folder / "out", "--rerun", spec]
    same = crash_case.audit(*line, "--pseudonym-key-file", folder / "key", log=tmp_path / "log")
    assert (same.code, same.said) == (0, "")
    none = crash_case.audit(*line, log=tmp_path / "log")
    assert (none.code, "needs a key" in none.said) == (2, True), none.said
    (tmp_path / "other").write_bytes(SECRET[::-1])
    other = crash_case.audit(*line, "--pseudonym-key-file", tmp_path / "other", log=tmp_path / "log")
    assert (other.code, "the key of the pseudonyms is not that of the bundle" in other.said) == (2, True), other.said
