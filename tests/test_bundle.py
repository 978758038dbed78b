"""A bundle on disk: written whole or not at all, read back equal, altered files named."""

import json

import numpy as np
import pandas as pd
import pytest

from audit.bundle import Bundle, parquet_bytes
from audit.core.errors import BundleError
from audit.core.evidence import Artefact, Metric, Note, Result
from audit.core.manifest import Manifest
from audit.core.plan import Plan

RESULT = Result(
    metrics=(Metric(name="auc", value=0.5, low=None, high=1.0, n=3),),
    tables={"t": pd.DataFrame({"a": [1.5, np.nan], "b": ["x", None], "ü": [True, False]})},
    artefacts={"model.bin": Artefact(b"\x00\x01", "application/octet-stream")},
    notes=(Note(code="said", severity="minor", args={"n": 1}),),
)


@pytest.fixture
def bundle(tmp_path):
    return Bundle(tmp_path / "out")


def test_a_result_comes_back_as_it_was(bundle):
    record = bundle.put("performance", "performance", "k1", RESULT)
    back = bundle.result(bundle.evidence("k1"))
    pd.testing.assert_frame_equal(back.tables["t"], RESULT.tables["t"])
    assert (back.metrics, back.notes, back.artefacts) == (RESULT.metrics, RESULT.notes, RESULT.artefacts)
    assert (record.tables[0].rows, record.tables[0].columns) == (2, ("a", "b", "ü"))
    assert record.tables[0].path == "evidence/k1/t.parquet"


def test_an_error_is_never_a_cache_hit_and_an_unknown_key_is_none(bundle):
    bundle.put("x", "x", "k1", Result(status="error", message="it broke"))
    assert bundle.evidence("k1") is None
    assert bundle.evidence("other") is None


def test_half_written_evidence_is_not_there(bundle):
    bundle.put("x", "x", "k1", RESULT)
    path = bundle.root / "evidence" / "k1" / "evidence.json"
    path.write_bytes(path.read_bytes()[:40])
    assert bundle.evidence("k1") is None


def test_prune_removes_other_tasks_and_scratch(bundle):
    for key in ("keep", "drop"):
        bundle.put("x", "x", key, RESULT)
    (bundle.root / "evidence" / ".half-1234").mkdir()
    bundle.prune({"keep"})
    assert [p.name for p in (bundle.root / "evidence").iterdir()] == ["keep"]


def test_parts_are_kept_until_they_are_dropped_and_are_not_of_the_bundle(bundle):
    bundle.put_part("k1", 3, RESULT)
    assert bundle.part("k1", 3).metrics == RESULT.metrics
    assert bundle.part("k1", 4) is None
    assert list(bundle.files()) == []
    bundle.drop_parts("k1")
    assert bundle.part("k1", 3) is None


def manifest():
    return Manifest(tool={"name": "t", "version": "0"}, spec_name="s.yaml", spec="", seed=0, plan=Plan(tasks=()))


def test_every_altered_new_or_missing_file_is_named(bundle):
    bundle.put("x", "x", "k1", RESULT)
    bundle.write("results.json", b"{}")
    bundle.write_manifest(manifest())
    assert bundle.altered() == []
    (bundle.root / "evidence" / "k1" / "t.parquet").write_bytes(b"other")
    (bundle.root / "results.json").unlink()
    (bundle.root / "new.txt").write_text("new")
    lines = bundle.altered()
    assert [line.split(":")[0] for line in lines] == ["evidence/k1/t.parquet", "new.txt", "results.json"]
    assert ["holds" in lines[0], "not recorded" in lines[1], "missing" in lines[2]] == [True, True, True]


def test_run_json_is_in_no_digest(bundle):
    bundle.write_manifest(manifest())
    bundle.write("run.json", b"{}")
    assert bundle.altered() == []


def test_the_report_id_does_not_move_with_the_rendered_files(bundle):
    bundle.write("results.json", b"{}")
    before = bundle.write_manifest(manifest())
    bundle.write("report.html", b"<html>")
    after = bundle.write_manifest(before)
    assert before.files != after.files
    assert before.report_id == after.report_id


def test_no_bundle_is_a_clear_error(bundle):
    with pytest.raises(BundleError, match="not a bundle"):
        bundle.manifest()
    bundle.write("manifest.json", json.dumps({"format": "x"}).encode())
    with pytest.raises(BundleError, match="not a manifest"):
        bundle.manifest()


def test_equal_frames_give_equal_bytes():
    frame = RESULT.tables["t"]
    assert parquet_bytes(frame) == parquet_bytes(frame.copy())
