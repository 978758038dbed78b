"""A bundle that is being written: what readers see of it, what stays of the one before, what a dead run leaves."""

import json
import os
import socket
import subprocess
import sys
import tempfile

import pandas as pd
import pytest

from audit import disk
from audit.bundle import Bundle, parquet_bytes, pretty_json
from audit.core.evidence import Result
from audit.core.manifest import Manifest
from audit.core.plan import Plan
from audit.disk import LOCK, hold
from audit.draft import DRAWN, Draft


def manifest(seed=0):
    return Manifest(tool={"name": "t", "version": "0"}, spec_name="s.yaml", spec="", seed=seed, plan=Plan(tasks=()))


def put(draft, key, value):
    draft.put("x", "x", key, Result(tables={"t": pd.DataFrame({"a": [value]})}))


def first(root):
    """A bundle with a table, a report and a file of somebody."""
    draft = Draft(root)
    draft.begin()
    put(draft, "k1", 1)
    draft.write("results.json", b"{}")
    draft.write("report.pdf", b"%PDF")
    draft.prune({"k1"})
    draft.write_manifest(manifest())
    draft.commit()
    (root / "notes.txt").write_text("mine")
    return Bundle(root)


def second(root):
    """The draft of another bundle, with evidence of its own and one file more, whole but not in place."""
    draft = Draft(root)
    draft.begin()
    put(draft, "k2", 2)
    draft.write("results.json", b"[]")
    draft.prune({"k2"})
    draft.write_manifest(manifest(seed=1))
    return draft


def names(root):
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def test_readers_see_the_one_before_until_the_new_one_is_in_place(tmp_path):
    bundle = first(tmp_path)
    draft = second(tmp_path)
    assert (bundle.manifest().seed, draft.manifest().seed) == (0, 1)
    assert (bundle.evidence("k2"), draft.evidence("k1").id) == (None, "x"), "what is there is the cache of a run"
    assert bundle.altered() == ["notes.txt: not recorded in the manifest"]
    draft.commit()
    assert bundle.manifest().seed == 1
    assert bundle.altered() == []


def test_the_reports_of_the_run_before_go_and_what_is_not_ours_stays(tmp_path):
    bundle = first(tmp_path)
    draft = second(tmp_path)
    draft.commit()
    expected = ["evidence/k2/evidence.json", "evidence/k2/t.parquet", "manifest.json", "notes.txt", "results.json"]
    assert names(tmp_path) == expected
    assert sorted(bundle.manifest().files) == [name for name in expected if name != "manifest.json"]


def test_drawing_again_keeps_the_other_files_and_the_work_of_a_run_that_was_cut_off(tmp_path):
    first(tmp_path)
    cut_off = Draft(tmp_path)
    cut_off.begin()
    put(cut_off, "k2", 2)
    drawn = Draft(tmp_path, DRAWN)
    drawn.begin()
    drawn.write("report.html", b"<html>")
    drawn.write_manifest(drawn.manifest())
    drawn.commit()
    bundle = Bundle(tmp_path)
    assert bundle.altered() == []
    assert {"report.html", "report.pdf", "evidence/k1/t.parquet"} <= set(bundle.manifest().files)
    assert not any("k2" in name for name in bundle.manifest().files)
    again = Draft(tmp_path)
    again.begin()
    assert again.evidence("k2").id == "x"


@pytest.mark.parametrize("name", ["t.parquet", "evidence.json"])
@pytest.mark.parametrize("change", ["altered", "altered below an empty stage", "gone", "not of the manifest"])
def test_evidence_that_is_not_as_it_was_recorded_is_computed_again(tmp_path, name, change):
    bundle = first(tmp_path)
    path, listed = tmp_path / "evidence" / "k1" / name, bundle.manifest()
    if change == "gone":
        path.unlink()
    elif change.startswith("altered"):
        path.write_bytes(path.read_bytes() + b" ")
    else:
        files = {file: digest for file, digest in listed.files.items() if not file.startswith("evidence/")}
        bundle.write("manifest.json", pretty_json(listed.model_copy(update={"files": files}).model_dump(mode="json")))
    draft = Draft(tmp_path)
    draft.begin()
    if change.endswith("stage"):
        (draft.stage / "evidence" / "k1").mkdir(parents=True)
    assert draft.evidence("k1") is None
    put(draft, "k1", 1)
    assert draft.evidence("k1").id == "x", "what was computed since is taken"


def test_what_an_interrupted_run_left_must_be_that_of_its_record(tmp_path):
    draft = Draft(tmp_path)
    put(draft, "k1", 1)
    draft.put_part("k2", 0, Result(tables={"t": pd.DataFrame({"a": [1]})}))
    assert (draft.evidence("k1").id, draft.part("k2", 0).tables["t"]["a"].tolist()) == ("x", [1])
    assert draft.distrusted == set()
    for table in (tmp_path / ".next").rglob("t.parquet"):
        table.write_bytes(parquet_bytes(pd.DataFrame({"a": [2]})))
    assert (draft.evidence("k1"), draft.part("k2", 0)) == (None, None)
    assert draft.distrusted == {"k1", "k2"}


def test_what_was_left_half_written_is_cleared_away_and_what_is_whole_is_kept(tmp_path):
    draft = Draft(tmp_path)
    put(draft, "k1", 1)
    draft.put_part("k2", 0, Result())
    draft.write("results.json", b"{}")
    for name in ("evidence", "parts/k2"):
        (tmp_path / ".next" / name / ".half.tmp").mkdir()
    (tmp_path / ".next" / ".half.tmp").write_text("half")
    draft.begin()
    assert names(tmp_path) == [
        *(f".next/evidence/k1/{name}" for name in ("evidence.json", "t.parquet")),
        ".next/parts/k2/000000/evidence.json",
    ]


def test_a_folder_that_was_made_for_nothing_goes_and_one_that_was_there_stays(tmp_path):
    for out, there in ((tmp_path / "new", False), (tmp_path, True)):
        with hold(out):
            assert disk.held(out)
            assert json.loads((out / LOCK).read_bytes())["pid"] == os.getpid()
        assert (out.exists(), disk.held(out)) == (there, False)
    assert names(tmp_path) == []


@pytest.mark.parametrize(("host", "swept"), [(socket.gethostname(), True), ("elsewhere", False)])
def test_semaphores_of_a_run_that_was_killed_are_removed_and_no_others(tmp_path, monkeypatch, host, swept):
    monkeypatch.setattr(disk, "SEMAPHORES", tmp_path)
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait()
    own, others = tmp_path / f"sem.loky-{dead.pid}-ab", tmp_path / f"sem.loky-{os.getpid()}-ab"
    for path in (own, others):
        path.touch()
    out = tmp_path / "out"
    out.mkdir()
    (out / LOCK).write_text(json.dumps({"pid": dead.pid, "host": host, "since": ""}))
    with hold(out):
        assert (own.exists(), others.exists()) == (not swept, True)
    (out / LOCK).write_text(json.dumps({"pid": os.getpid(), "host": host, "since": ""}))
    with hold(out):
        assert others.exists(), "the process lives"


def test_parts_and_temporary_files_are_not_of_the_bundle(tmp_path):
    draft = Draft(tmp_path)
    draft.begin()
    put(draft, "k1", 1)
    draft.put_part("k1", 0, Result())
    with draft.scratch():
        path = tempfile.mkstemp()[1]
        assert draft.write_manifest(manifest()).files.keys() == {"evidence/k1/evidence.json", "evidence/k1/t.parquet"}
    assert path.startswith(str(tmp_path / ".next"))
    assert tempfile.gettempdir() != str(tmp_path / ".next" / "tmp")
    draft.commit()
    assert names(tmp_path) == ["evidence/k1/evidence.json", "evidence/k1/t.parquet", "manifest.json"]


class Overtaken(Bundle):
    """A bundle that is replaced after its files were read for the first time, and before they are compared."""

    draft = None

    def digests(self):
        """As always."""
        found = super().digests()
        if self.draft is not None:
            self.draft.commit()
            self.draft = None
        return found


def test_a_bundle_that_is_replaced_while_it_is_read_is_read_again(tmp_path):
    first(tmp_path)
    (tmp_path / "notes.txt").unlink()
    draft = Draft(tmp_path)
    draft.begin()
    put(draft, "k2", 2)
    draft.prune({"k2"})
    draft.write_manifest(manifest(seed=1))
    bundle = Overtaken(tmp_path)
    bundle.draft = draft
    (tmp_path / "evidence" / "k1" / "t.parquet").unlink()  # of the one before, of which nothing is said
    assert bundle.altered() == []
    assert bundle.manifest().seed == 1
