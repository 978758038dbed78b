"""Bundles that are not as audit writes them: one of each is in `tests/hostile`; here files are changed at random."""
# ruff: noqa: E501 - texts of strangers read best as one line each

import copy
import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import credit_case
import pandas as pd
import pytest

from audit.bundle import Bundle, parquet_bytes, pretty_json
from audit.core.errors import AuditError, BundleError
from audit.core.evidence import Artefact, Evidence, Result, TableRecord, inside
from audit.engine.contradictions import as_written, contradictions
from audit.engine.run import Options, run
from audit.engine.verify import verify
from audit.report import drawn
from audit.report.diff import diff
from audit.report.diff_page import page
from audit.report.share import share

CHANGES = 300 if os.environ.get("AUDIT_ACCEPT") else 16
SPEC = credit_case.SPEC | {
    "regions": [{"name": "young", "where": "age < 30"}],
    "counterfactuals": {},
    "methods": [{"kind": "performance"}, {"kind": "fairness"}],
    "gates": [
        {"metric": "performance.auc", "at_least": 0.6},
        {"metric": "performance.accuracy", "at_least": 0.99, "severity": "minor"},
    ],
    "waivers": [{"finding": "F-66466D", "reason": "known", "approved_by": "Committee", "until": "2027-01-31"}],
}


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with what changed since another."""
    folder = tmp_path_factory.mktemp("strange")
    spec = credit_case.make(folder / "case", n=90, spec=SPEC)
    run(spec, folder / "before", Options(overrides=("run.seed=4",)))
    run(spec, folder / "good", Options(against=folder / "before"))
    return folder


VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 10**30, 1e308, "", "x", [], {}, [1, 2], {"a": 1}, [[]], [None], [{}], "9" * 50, -0.5),
    *(float("nan"), float("inf"), "../../../etc/passwd", "<script>alert(1)</script>", "\u202e\x1b[2J", "{{ 7 * 7 }}"),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values in plain data."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, item in inner for found in places(item, (*path, key)))]


def change(content: Any, rng: random.Random) -> str:
    """Takes a value away, repeats it, renames it or puts another in its place."""
    depth = rng.choice([1, 2, 3, 4, 6, 9])
    *path, last = rng.choice([place for place in places(content) if 0 < len(place) <= depth])
    parent = content
    for step in path:
        parent = parent[step]
    how = rng.randrange(5)
    if how == 0:
        del parent[last]
    elif how == 1 and isinstance(parent, list):
        parent.append(copy.deepcopy(parent[last]))
    elif how == 2 and isinstance(parent, dict):
        parent[rng.choice(["x", "../y", ""])] = parent.pop(last)
    else:
        parent[last] = copy.deepcopy(rng.choice(VALUES))
    return f"{how} at {[*path, last]}"


def spelt(content: Any) -> bytes:
    """JSON in the spelling of audit, also of numbers that it never writes."""
    return json.dumps(content, sort_keys=True, indent=2, ensure_ascii=False).encode() + b"\n"


def changed(bundle: Bundle, rng: random.Random) -> str:
    """A file of the bundle changed, evidence with its copy in the results, and all digests written anew."""
    folders = [f"evidence/{path.name}/evidence.json" for path in (bundle.root / "evidence").iterdir()]
    name = rng.choice(["results.json", "manifest.json", "manifest.json", "changes.json", *sorted(folders)])
    content = bundle.plain(name)
    said = f"{name}: {change(content, rng)}"
    key = name.split("/")[1] if "/" in name else None
    (bundle.root / name).write_bytes(spelt(content))
    if key is not None:
        results = bundle.results()
        results["evidence"] = [content if entry["key"] == key else entry for entry in results["evidence"]]
        (bundle.root / "results.json").write_bytes(spelt(results))
    manifest = json.loads((bundle.root / "manifest.json").read_bytes())
    (bundle.root / "manifest.json").write_bytes(spelt(manifest | {"files": bundle.digests()}))
    return said


def test_what_is_changed_at_random_ends_in_messages(case: Path, tmp_path: Path, figure: Any) -> None:
    """Whatever is in the files: verify, diff, the page and the shared bundle end well, or in sentences."""
    refused: list[str] = []
    for seed in range(CHANGES):
        root, rng = tmp_path / "bundle", random.Random(seed)
        shutil.rmtree(root, ignore_errors=True)
        shutil.rmtree(tmp_path / "shared", ignore_errors=True)
        shutil.copytree(case / "good", root)
        said, bundle, before = changed(Bundle(root), rng), Bundle(root), Bundle(case / "before")
        calls = (
            lambda b=bundle: verify(b, quick=True),
            lambda b=bundle, a=before: page(diff(a, b)),
            lambda b=bundle: drawn(b, "report.html"),
            lambda b=bundle: share(b, tmp_path / "shared", formats=("html",)),
        )
        for i, call in enumerate(calls):
            try:
                with as_written(bundle, before):
                    call()
            except AuditError as error:
                refused += error.problems
            except Exception as error:
                raise AssertionError(f"seed {seed}, {said}, call {i}") from error
    assert len(refused) >= CHANGES
    assert not [line for line in refused if "\x1b" in line]
    figure("bundles changed at random, each read, compared, drawn and shared to an end", CHANGES, "no traceback")


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "a/../x",
        "/x",
        "a//x",
        "",
        "a/",
        ".x",
        "a/.x",
        "a\\x",
        "a\0x",
        "a/\x1bx",
        "a/\u202ex",
        "a\n",
        "./a",
        "..",
    ],
)
def test_a_path_that_leads_out_is_none(path: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="leads out"):
        inside(path)
    with pytest.raises(ValueError, match="leads out"):
        TableRecord(name="t", path=path, rows=1, columns=())
    (tmp_path / "x").write_text("secret")
    (tmp_path / "out").mkdir()
    with pytest.raises(BundleError, match="leads out"):
        Bundle(tmp_path / "out").read(path)


@pytest.mark.parametrize("path", ["results.json", "evidence/k1/t.parquet", "evidence/k1/bild ü.png", "a/b..c"])
def test_a_path_inside_is_one(path: str) -> None:
    assert inside(path) == path


@pytest.mark.parametrize("key", ["..", "a/b", "", "a.b", "x" * 65, "a\n"])
def test_a_key_is_one_step_of_a_path(key: str) -> None:
    with pytest.raises(ValueError, match="key"):
        Evidence(id="x", kind="x", key=key, status="ok")


@pytest.fixture
def small(tmp_path: Path) -> Bundle:
    """One piece of evidence, with the copy of it in the results."""
    bundle = Bundle(tmp_path / "out")
    result = Result(tables={"t": pd.DataFrame({"a": [1.0]})}, artefacts={"m.bin": Artefact(b"x", "a/b")})
    record = bundle.put("x", "x", "k1", result)
    plain = {"audit": {}, "evidence": [record.model_dump(mode="json")], "findings": [], "opinion": {}}
    bundle.write("results.json", pretty_json(plain))
    return bundle


def test_a_table_of_another_folder_is_refused(small: Bundle) -> None:
    other = small.put("y", "y", "k2", Result(tables={"t": pd.DataFrame({"a": [2.0]})}))
    path = small.root / "evidence" / "k1" / "evidence.json"
    path.write_text(path.read_text().replace("evidence/k1/t.parquet", other.tables[0].path))
    with pytest.raises(BundleError, match=r"k1/evidence\.json: t lies outside its folder, at evidence/k2/t\.parquet"):
        small.records()
    assert small.evidence("k1") is None  # as a cache it is not there, and made anew


@pytest.mark.parametrize("name", ["evidence/k1/t.parquet", "evidence/k1/m.bin", "evidence/k1", "evidence"])
def test_a_link_is_not_followed_even_inside_the_bundle(small: Bundle, name: str) -> None:
    (record,) = small.records()
    path = small.root / name
    path.rename(small.root / "moved")
    path.symlink_to(small.root / "moved")
    with pytest.raises(BundleError, match="is a link"):
        small.result(record)


def test_a_pipe_or_a_folder_is_no_file(small: Bundle) -> None:
    os.mkfifo(small.root / "pipe")
    for name in ("pipe", "evidence"):
        with pytest.raises(BundleError, match="no plain file"):
            small.read(name)
    with pytest.raises(BundleError, match="cannot be read"):
        small.read("none")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "nested deeper"), ("{", "Expecting"), ("NaN", "no number"), ("[]", "audit is no mapping"), ("9" * 9999, "digits"),
        ('{"audit": {}, "evidence": {}}', "evidence is no list"), ("\xff", "Expecting|decode"),
        ('{"audit": {}, "evidence": [{"key": "../x"}], "findings": [], "opinion": {}}', "'../x', and a key is a digest"),
        ('{"audit": {}, "evidence": [7], "findings": [], "opinion": {}}', "a key is a digest"),
    ],
    ids=lambda value: value[:12],
)  # fmt: skip
def test_results_of_another_form_are_one_sentence(small: Bundle, text: str, words: str) -> None:
    (small.root / "results.json").write_text(text, encoding="latin-1")
    with pytest.raises(BundleError, match=f"results.json: .*({words})"):
        small.records()


def test_a_table_that_is_none_is_one_sentence(small: Bundle) -> None:
    (record,) = small.records()
    path = small.root / record.tables[0].path
    path.write_bytes(parquet_bytes(pd.DataFrame({"a": ["x" * 4000] * 3})) + b"PAR1")
    with pytest.raises(BundleError, match=r"t\.parquet: cannot be read as a table"):
        small.table(record.tables[0])


def test_evidence_twice_is_refused(small: Bundle) -> None:
    results = small.results()
    small.write("results.json", pretty_json(results | {"evidence": results["evidence"] * 2}))
    with pytest.raises(BundleError, match="there twice"):
        small.records()


def test_the_files_that_do_not_agree_are_named(case: Path, tmp_path: Path) -> None:
    """What is raised midway gets a message with the files, a message of the user stays what it is."""
    bundle = Bundle(Path(shutil.copytree(case / "good", tmp_path / "b")))
    with (
        pytest.raises(BundleError, match=r"manifest\.json, results\.json or evidence .*KeyError: 'a', at test_strange"),
        as_written(bundle),
    ):
        raise KeyError("a")
    with pytest.raises(AuditError, match=r"^as it was$"), as_written(bundle):
        raise AuditError("as it was")
    assert contradictions(bundle) == []
