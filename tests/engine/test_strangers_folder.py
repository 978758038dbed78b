"""A folder that comes from somebody else, or that a killed command left: what a command that writes into it touches."""

import json
import os
import re
import shutil
import socket

import pytest
from credit_case import contents
from folder_case import RENDER, audit, kill_while_it_draws, tree

from audit.bundle import Bundle
from audit.core.errors import BundleError
from audit.disk import hold
from audit.draft import DRAWN, Draft, drawing, left_behind
from audit.engine.verify import verify


def key_of(out):
    return next(path for path in sorted((out / "evidence").iterdir()))


def link(name):
    def plant(out, home):
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(home)

    return plant


def link_of_evidence(out, home):
    key = key_of(out)
    shutil.move(key, home / "evidence")
    key.symlink_to(home / "evidence")


def link_of_all_evidence(out, home):
    shutil.move(out / "evidence", home / "evidence")
    (out / "evidence").symlink_to(home / "evidence")


def lock(out, home):
    (out / ".lock").symlink_to(home / "thesis.txt")


def new_file_by_lock(out, home):
    (out / ".lock").symlink_to(home / "not-there")


def page_is_a_folder(out, home):
    (out / "report.html").unlink()
    (out / "report.html").mkdir()


PLANTED = {
    "stage": (link(".next"), ".next: is a link"),
    "stage of pages": (link(".drawn"), ".drawn: is a link"),
    "evidence in the stage": (link(".next/evidence"), ".next/evidence: is a link"),
    "a piece in the stage": (link(".next/evidence/k1"), ".next/evidence/k1: is a link"),
    "a file of a piece": (link(".next/evidence/k1/t.parquet"), ".next/evidence/k1/t.parquet: is a link"),
    "a part": (link(".next/parts/k1"), ".next/parts/k1: is a link"),
    "temporary files": (link(".drawn/tmp"), ".drawn/tmp: is a link"),
    "what is thrown away": (link(".drawn/trash"), ".drawn/trash: is a link"),
    "a plan": (link(".drawn/pending.json"), ".drawn/pending.json: is a link"),
    "a table": (link_of_evidence, ": is a link"),
    "all evidence": (link_of_all_evidence, "evidence: is a link"),
    "lock": (lock, ".lock: is a link"),
    "lock of a file that is not there": (new_file_by_lock, ".lock: is a link"),
    "a lock that is a pipe": (lambda out, _: os.mkfifo(out / ".lock"), ".lock: is no plain file"),
    "a lock that is a folder": (lambda out, _: (out / ".lock").mkdir(), ".lock: is no plain file"),
    "a stage that is a file": (lambda out, _: (out / ".drawn").touch(), ".drawn: is no folder"),
    "a page that is a folder": (page_is_a_folder, "report.html: is a folder"),
}


@pytest.mark.parametrize("what", PLANTED)
def test_what_leads_elsewhere_is_refused_and_nothing_is_touched(place, what):
    out, home = place
    plant, text = PLANTED[what]
    plant(out, home)
    before = tree(out.parent)
    ended = audit(place, *RENDER)
    assert ended.code == 4, ended.said
    (said,) = ended.said.splitlines()
    assert said.startswith(str(out))
    assert text in said
    after = tree(out.parent)
    assert {name: data for name, data in after.items() if not name.startswith("log")} == before


@pytest.mark.parametrize("what", ["stage", "stage of pages", "a part", "all evidence", "lock", "a lock that is a pipe"])
def test_a_run_refuses_it_too(small_audit, place, what):
    out, home = place
    PLANTED[what][0](out, home)
    before = tree(home)
    ended = audit(place, "run", small_audit[0], "-q", "-o", "out")
    assert (ended.code, PLANTED[what][1] in ended.said) == (4, True), ended.said
    assert tree(home) == before


PLANS = {
    "a file elsewhere": {"gone": ["../home/thesis.txt"], "keys": None},
    "a file by its whole path": {"gone": ["/HOME/thesis.txt"], "keys": None},
    "the manifest": {"gone": ["manifest.json"], "keys": None},
    "a file of somebody": {"gone": ["notes.txt"], "keys": None},
    "a key that leads out": {"gone": [], "keys": [".."]},
    "a key with a line": {"gone": [], "keys": ["k1\n"]},
    "keys that are one text": {"gone": [], "keys": "k1"},
    "no plan": ["results.json"],
}


@pytest.mark.parametrize("what", PLANS)
def test_a_plan_that_no_run_made_is_refused(place, what):
    out, home = place
    (out / "notes.txt").write_text("mine")
    (out / DRAWN).mkdir()
    (out / DRAWN / "pending.json").write_text(json.dumps(PLANS[what]).replace("/HOME", str(home)))
    before = tree(out), tree(home)
    ended = audit(place, *RENDER)
    assert ended.code == 4, ended.said
    (said,) = ended.said.splitlines()
    assert "pending.json: " in said
    assert said.endswith("remove the folder that it lies in")
    with pytest.raises(BundleError) as caught:
        verify(Bundle(out))
    assert caught.value.problems == (said,), "nobody is told that a command ends it"
    assert (tree(out), tree(home)) == before


@pytest.mark.parametrize("name", ["report.html", "findings.sarif"])
def test_a_file_that_is_a_link_is_replaced_and_what_it_leads_to_stays(place, name):
    out, home = place
    (out / name).unlink(missing_ok=True)
    (out / name).symlink_to(home / "thesis.txt")
    before = tree(home)
    ended = audit(place, *RENDER)
    assert (ended.code, ended.said) == (0, "")
    assert not (out / name).is_symlink()
    assert Bundle(out).altered() == []
    assert tree(home) == before


def test_a_lock_that_is_a_file_of_somebody_under_another_name_keeps_what_it_holds(place):
    out, home = place
    (out / ".lock").hardlink_to(home / "thesis.txt")
    with hold(out):
        assert (home / "thesis.txt").read_text() == "mine: thesis.txt"
    assert (home / "thesis.txt").read_text() == "mine: thesis.txt"


@pytest.mark.parametrize("pid", [2**70, -1, 1e400, "9" * 5000, [7], "\x1b[2J"])
def test_a_lock_that_says_nonsense_is_taken(place, pid):
    out, _ = place
    (out / ".lock").write_text(json.dumps({"pid": pid, "host": socket.gethostname(), "since": ""}))
    with hold(out):
        assert json.loads((out / ".lock").read_bytes())["pid"] == os.getpid()


def test_evidence_that_is_a_pipe_is_not_read_when_new_evidence_takes_its_place(place):
    out, _ = place
    draft = Draft(out)
    key = key_of(out).name
    shutil.copytree(out / "evidence" / key, out / ".next" / "evidence" / key)
    draft.gone = frozenset()
    name = next(path.name for path in (out / "evidence" / key).glob("*.json"))
    (out / "evidence" / key / name).unlink()
    os.mkfifo(out / "evidence" / key / name)
    draft.commit()
    assert (out / "evidence" / key / name).is_file()


def test_verify_names_what_leads_elsewhere(place):
    out, home = place
    assert verify(Bundle(out), quick=True).problems == ()
    (out / DRAWN).symlink_to(home)
    lock(out, home)
    (out / ".next" / "evidence").mkdir(parents=True)
    (out / ".next" / "evidence" / "x").symlink_to(home)
    found = verify(Bundle(out), quick=True)
    assert found.problems == (
        ".drawn: is a link, and a bundle holds plain files only",
        ".next/evidence/x: is a link, and a bundle holds plain files only",
        ".lock: is a link, and no lock of audit",
    )
    assert audit(place, "verify", "out", "--quick").code == 4
    (home / "pending.json").write_text("{}")
    with pytest.raises(BundleError, match="is a link"):
        verify(Bundle(out), quick=True)


def test_what_an_honest_command_left_is_a_note_and_no_fault(small_audit, place):
    out, _ = place
    counted = kill_while_it_draws(place, "run", small_audit[0], "-q", "--set", "run.seed=4", "-o", "out")
    assert counted[-1] == "os.mkdir .next/tmp"
    (out / DRAWN).mkdir()
    found = verify(Bundle(out), quick=True)
    assert found.problems == ()
    notes = [remark for remark in found.remarks if remark.startswith(".")]
    assert notes == [
        ".next was left by a run that did not end; it is not of the bundle, and a run into this folder goes on there",
        ".drawn was left by a command that did not end; it is not of the bundle, and the next `audit render` clears it",
        ".lock was left by a process that was killed",
    ]
    (out / ".lock").write_text("ssh-ed25519 AAAA")
    assert left_behind(out) == ([], [*notes[:2], ".lock is no lock as audit writes it"])
    (out / ".lock").write_text("")
    assert left_behind(out) == ([], notes), "a full disk leaves it empty"
    with hold(out):
        assert left_behind(out) == ([], []), "a process writes"


@pytest.mark.parametrize("kind", ["performance", "sample"])
def test_a_number_that_somebody_changed_is_computed_again(small_audit, place, kind):
    out, _ = place
    before = contents(out)
    (record,) = [record for record in Bundle(out).records() if record.id == kind]
    path = out / "evidence" / record.key / "evidence.json"
    text = path.read_text()
    changed = re.sub(r'("value": )(?!null)[^,\n]+', r"\g<1>0.999", text)
    assert changed != text
    path.write_text(changed)
    ended = audit(place, "run", small_audit[0], "-o", "out")
    assert ended.code == 0, ended.said
    assert ended.said == f"{out}: files of {kind} were altered since the run before; computed again\n"
    assert contents(out) == before


def test_of_a_drawing_that_fails_nothing_is_left(place):
    out, _ = place
    (key_of(out) / "evidence.json").write_text("{}")
    before = tree(out)
    assert audit(place, *RENDER).code == 4
    assert tree(out) == before
    with pytest.raises(KeyboardInterrupt):
        interrupted(out)
    assert tree(out) == before


def interrupted(out):
    with drawing(out) as draft:
        draft.write("report.html", b"half")
        assert draft.target("report.html").exists()
        raise KeyboardInterrupt
