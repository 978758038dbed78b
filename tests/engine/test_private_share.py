"""A bundle to hand out: no planted value of a single person is in any byte of it, and it can be verified."""

import json
import os
import shutil

import crash_case
import credit_case
import pandas as pd
import pytest
from byte_search import found_in

from audit.bundle import Bundle
from audit.core.manifest import Manifest
from audit.report.share import AGGREGATES, DROPPED
from audit.report.topics import ROWS_ONLY

ACCEPT = bool(os.environ.get("AUDIT_ACCEPT"))
METHODS = [
    *({"kind": "performance"}, {"kind": "flex", "from": "flips"}),
    *({"kind": "reasons", "from": "flips"}, {"kind": "recourse", "from": "recourse", "by": ["gender"], "sheets": 3}),
    *({"kind": "fairness"}, {"kind": "data"}, {"kind": "plausibility", "from": "recourse"}),
]
SPEC = credit_case.SPEC | {
    "methods": METHODS,
    "data": credit_case.SPEC["data"] | {"sample": {"rows": 40}},
    "regions": [{"name": "young", "where": "age < 30"}, {"name": "old", "where": "age >= 30"}],
    "mutability": credit_case.SPEC["mutability"] | {"rules": ["debt <= 2 * income"]},
    "report": {"formats": ["html", "pdf"]},
}


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A bundle whose data hold a number and an id that occur once for every row, and the bundle to hand out."""
    folder = tmp_path_factory.mktemp("share")
    spec = credit_case.make(folder / "case", n=90, spec=SPEC)
    planted = {"ids": [], "numbers": []}
    for start, name in ((7_000_000, "train.csv"), (8_000_000, "holdout.csv")):
        frame = pd.read_csv(spec.parent / name)
        frame["id"] = [f"CUSTOMER{start + 37 * i}" for i in range(len(frame))]
        for column, tail in (("income", 0.0173), ("debt", 0.0219)):  # six digits that no other number has
            frame[column] = [round(v + tail + i * 1e-4, 4) for i, v in enumerate(frame[column].round(1))]
            planted["numbers"] += [repr(value) for value in frame[column]]
        planted["ids"] += list(frame["id"])
        frame.to_csv(spec.parent / name, index=False)
    ended = crash_case.audit("run", spec, "-q", "-o", folder / "whole", log=folder / "log")
    assert ended.code in {0, 1}, ended.said
    ended = crash_case.audit("render", folder / "whole", "--share", folder / "shared", log=folder / "log")
    assert (ended.code, ended.said) == (0, "")
    return folder, planted


def test_what_was_planted_is_in_the_whole_bundle_and_in_no_byte_of_the_shared_one(case, figure):
    folder, planted = case
    every = [*planted["ids"], *planted["numbers"]]
    whole = found_in(folder / "whole", every)
    assert len(whole) > 100, "the search finds what is there"
    places = " ".join(place for found in whole.values() for place in found)
    assert all(kind in places for kind in ("report.html", "report.pdf", "cells")), "wherever it is"
    assert found_in(folder / "shared", every) == {}
    figure(
        "planted ids and numbers, looked for in every byte of a shared bundle",
        len(every),
        f"0 found; {len(whole)} of them are in the whole one",
    )


def test_a_shared_bundle_is_verified_and_says_what_it_is(case):
    folder, _ = case
    done = crash_case.audit("verify", folder / "shared", *([] if ACCEPT else ["--quick"]), log=folder / "log")
    assert (done.code, done.said) == (0, "")
    whole, shared = (Bundle(folder / name) for name in ("whole", "shared"))
    told = shared.manifest().facts["shared"]
    assert told["of"] == whole.manifest().report_id != shared.manifest().report_id
    assert min(told["tables"], told["numbers"]) > 0
    page = (folder / "shared" / "report.html").read_text()
    assert f"shared, made from the report {whole.manifest().report_id}. Left out: rows, ids, scores, cases" in page
    assert "rows, cases and sheets of single people are in the bundle" in (folder / "whole" / "report.html").read_text()
    assert not (folder / "shared" / "run.json").exists(), "it has host and user"


def test_a_note_that_names_people_says_that_their_ids_are_left_out(case):
    folder, _ = case
    whole, shared = ((folder / name / "report.html").read_text() for name in ("whole", "shared"))
    assert "break the rule debt &lt;= 2 * income. Ids: CUSTOMER8" in whole
    assert "break the rule debt &lt;= 2 * income. Ids: left out and others." in shared


def test_gates_and_findings_are_those_of_the_whole_report(case):
    folder, _ = case
    whole, shared = (Bundle(folder / name).findings() for name in ("whole", "shared"))
    assert [(f.id, f.outcome, f.severity) for f in whole] == [(f.id, f.outcome, f.severity) for f in shared]


def test_every_table_of_rows_is_left_out_and_every_other_is_known(case):
    folder, _ = case
    names = {table.name for record in Bundle(folder / "shared").records() for table in record.tables}
    assert names <= AGGREGATES
    assert not AGGREGATES & (ROWS_ONLY - {"choices"})
    for record in Bundle(folder / "shared").records():
        for table in record.tables:
            assert not set(table.columns) & set(DROPPED.get(table.name, ())), table.name
    for record in Bundle(folder / "whole").records():
        for table in record.tables:
            persons = {"instance", "instances", "row", "reference", "neighbour"} & set(table.columns)
            assert not (persons and table.name in AGGREGATES), table.name


def test_no_metric_of_a_group_or_region_rests_on_fewer_than_ten_people(case):
    folder, _ = case
    small = {True: 0, False: 0}
    for name in ("whole", "shared"):
        for record in Bundle(folder / name).records():
            for metric in record.metrics:
                if (metric.where.region or metric.where.group) and metric.n is not None and 0 < metric.n < 10:
                    small[name == "shared"] += 1
    assert small[False] > 0, "the data have small groups"
    assert small[True] == 0


def test_lines_of_small_regions_have_no_numbers_and_the_whole_sample_keeps_its_own(case):
    folder, _ = case
    lines = {"small": 0, "large": 0, "whole": 0}
    whole, shared = (Bundle(folder / name) for name in ("whole", "shared"))
    for record in whole.records():
        for table in record.tables:
            if table.name not in AGGREGATES or not {"region", "n"} <= set(table.columns):
                continue
            kept = next(t for r in shared.records() if r.id == record.id for t in r.tables if t.name == table.name)
            before, after = whole.table(table), shared.table(kept)
            numbers = list(before.select_dtypes("number").columns)
            small = before["region"].notna() & before["n"].between(1, 9)  # nobody is in a line of no people
            assert after.loc[small, numbers].isna().all(axis=None)
            assert after.loc[~small, numbers].astype(float).equals(before.loc[~small, numbers].astype(float))
            lines["small"] += int(small.sum())
            lines["whole"] += int(before["region"].isna().sum())
            lines["large"] += int((before["region"].notna() & ~small).sum())
    assert lines["small"] > 0, "the data have a small region"
    assert min(lines["whole"], lines["large"]) > 0


def test_the_same_bundle_gives_the_same_shared_bytes_over_an_older_one(case, tmp_path):
    folder, _ = case
    shutil.copytree(folder / "shared", tmp_path / "shared")
    done = crash_case.audit(
        "render", folder / "whole", "--share", tmp_path / "shared", "--format", "html", log=tmp_path / "log"
    )
    assert (done.code, done.said) == (0, "")
    new, old = credit_case.contents(tmp_path / "shared"), credit_case.contents(folder / "shared")
    assert sorted(set(old) - set(new)) == ["report.pdf"]
    assert [name for name in new if name != "manifest.json" and new[name] != old[name]] == []


def refused(log, *words):
    ended = crash_case.audit(*words, log=log)
    assert ended.code in {2, 4}
    (said,) = ended.said.splitlines()
    return said


def test_what_cannot_be_shared_is_refused(case, tmp_path):
    folder, _ = case
    render = ("render", folder / "whole", "--share")
    log = tmp_path / "log"
    assert "is a shared bundle itself" in refused(log, "render", folder / "shared", "--share", tmp_path / "new")
    assert "holds something else than a shared bundle" in refused(log, *render, folder / "case")
    assert "holds something else than a shared bundle" in refused(log, *render, folder / "whole")
    assert "is a file; name a folder" in refused(log, *render, folder / "case" / "spec.yaml")
    said = refused(log, "run", folder / "case" / "spec.yaml", "-o", folder / "shared")
    assert "holds a bundle to hand out, without rows of people" in said
    shutil.copytree(folder / "whole", tmp_path / "altered")
    (tmp_path / "altered" / "results.json").write_bytes(b"{}")
    assert "results.json: holds" in refused(log, "render", tmp_path / "altered", "--share", tmp_path / "new")
    shutil.copytree(folder / "whole", tmp_path / "named")
    named = Manifest.model_validate_json((tmp_path / "named" / "manifest.json").read_bytes())
    settings = json.loads(json.dumps(named.plan["sample"].settings))
    settings["regions"][0] |= {"where": None, "around": "CUSTOMER8000000", "nearest": 12}
    tasks = [t.model_copy(update={"settings": settings}) if t.id == "sample" else t for t in named.plan.tasks]
    Bundle(tmp_path / "named").write_manifest(
        named.model_copy(update={"plan": named.plan.model_copy(update={"tasks": tuple(tasks)})})
    )
    said = refused(log, "render", tmp_path / "named", "--share", tmp_path / "new")
    assert "region 'young' is around a person, by id" in said
    assert not (tmp_path / "new").exists()
