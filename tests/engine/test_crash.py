"""Nothing lost, nothing half written: kills at any moment, disks that are full or closed, two runs at once, clocks."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import crash_case
import credit_case
import pytest

from audit.bundle import Bundle
from audit.core.errors import BundleError, WriteError
from audit.core.manifest import Manifest
from audit.disk import hold

ACCEPT = bool(os.environ.get("AUDIT_ACCEPT"))
ROOT = os.geteuid() == 0
SPEC = credit_case.SPEC | {
    "methods": [{"kind": "performance"}, {"kind": "flex", "from": "flips"}],
    "data": credit_case.SPEC["data"] | {"sample": {"rows": 30}},
}
OTHER = ("--set", "run.seed=4")


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A small audit: its spec, its bundle, and the bundle of the same audit with another seed."""
    folder = tmp_path_factory.mktemp("crash")
    spec = credit_case.make(folder / "case", n=80, spec=SPEC)
    for name, words in (("one", ()), ("two", OTHER)):
        ended = crash_case.audit("run", spec, "-o", folder / name, "-q", *words, log=folder / "log")
        assert (ended.code, ended.said) == (0, "")
    one, two = credit_case.contents(folder / "one"), credit_case.contents(folder / "two")
    assert one["manifest.json"] != two["manifest.json"]
    return spec, folder / "one", one, two


def visible(out):
    """The files of a bundle that anyone but a run sees, without run.json."""
    return {name: data for name, data in credit_case.contents(out).items() if not name.startswith(".")}


def sound(out):
    """Whether a bundle is as it says; not, where it says itself that it is between two."""
    try:
        assert Bundle(out).altered() == []
    except BundleError as error:
        (said,) = error.problems
        assert said.endswith("was cut off while it put its files in place; `audit render` ends it")
        return False
    return True


SHARES = 16 if ACCEPT else 1
"""The moments are shared among so many tests: one that takes minutes is taken for one that hangs."""

KILLED: list[int] = []


@pytest.fixture(scope="module")
def counted(case, tmp_path_factory):
    """What a run over an older bundle changes in the folder, in order."""
    spec, first, _, _ = case
    folder = tmp_path_factory.mktemp("counted")
    shutil.copytree(first, folder / "out")
    line = ["run", spec, "-q", *OTHER, "-o", folder / "out"]
    return crash_case.audit(*line, watched=folder / "out", log=folder / "log").changes


def moments(changes):
    """At which changes of the folder a run is killed: at each step by which the files are put in place, and others."""
    commit = changes.index("os.mkdir .next/trash")
    if ACCEPT:
        steps = list(range(commit, len(changes)))
        return [*steps, *sorted(random.Random(7).sample(range(2, commit), max(50 - len(steps), 20)))]
    named = ["os.mkdir .next/tmp", "os.rename .next/results.json", "os.rename .next/manifest.json"]
    return [commit // 2, *(changes.index(name) for name in named)]


@pytest.mark.parametrize("share", range(SHARES))
def test_a_run_over_an_older_bundle_is_killed_and_leaves_the_one_or_the_other(case, counted, tmp_path, share, figure):
    spec, first, old, new = case
    for moment in moments(counted)[share::SHARES]:
        out = tmp_path / f"killed-{moment}"
        shutil.copytree(first, out)
        line = ["run", spec, "-q", *OTHER, "-o", out]
        ended = crash_case.audit(*line, watched=out, kill_at=moment, log=tmp_path / "log")
        assert ended.code == -signal.SIGKILL, counted[moment]
        if sound(out):
            assert visible(out) in (old, new), counted[moment]
        elif moment % 2:
            assert crash_case.audit("render", out, "--format", "html", log=tmp_path / "log").code == 0
            assert sound(out)
            assert visible(out) == new, counted[moment]
        done = crash_case.audit(*line, log=tmp_path / "log")
        assert (done.code, done.said) == (0, ""), counted[moment]
        assert credit_case.contents(out) == new, counted[moment]
        shutil.rmtree(out)
        KILLED.append(moment)
    if share == SHARES - 1:
        said = "at a change of the folder, each step of putting it in place among them; the older bundle or the new one"
        figure("runs over an older bundle killed by signal 9", len(KILLED), said)


def test_between_two_bundles_a_reader_is_told_so_and_render_ends_it(case, counted, tmp_path):
    spec, first, _, new = case
    out = tmp_path / "out"
    shutil.copytree(first, out)
    line = ["run", spec, "-q", *OTHER, "-o", out]
    crash_case.audit(*line, watched=out, kill_at=counted.index("os.rename .next/report.html"), log=tmp_path / "log")
    assert not sound(out)
    ended = crash_case.audit("verify", out, log=tmp_path / "log")
    assert ended.code == 4
    assert "was cut off while it put its files in place; `audit render` ends it" in ended.said
    assert crash_case.audit("render", out, "--format", "html", log=tmp_path / "log").code == 0
    assert sound(out)
    assert visible(out) == new


def children(pid):
    """Processes that were started by a process and are workers of its pool."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            words = (stat.parent / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if parent == pid and any("spawn_main" in word for word in words):
            found.append(int(stat.parent.name))
    return found


def gone(pid):
    """Whether a process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found in /proc")
@pytest.mark.parametrize("victim", ["worker", "main"])
def test_one_process_is_killed_alone_and_the_others_end(case, tmp_path, victim):
    spec, first, old, new = case
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    shutil.copytree(first, out)
    scratch.mkdir()
    begun = crash_case.begin(
        "run", spec, "-o", out, "-q", "--workers", "2", *OTHER, scratch=scratch, log=tmp_path / "log"
    )
    while begun.runs() and not (workers := children(begun.process.pid)):
        time.sleep(0.01)
    os.kill(begun.process.pid if victim == "main" else workers[0], signal.SIGKILL)
    ended = begun.end()
    if victim == "worker":
        assert ended.code == 3
        (told,) = ended.said.splitlines()
        assert told.startswith("a worker process was killed")
        assert "run the same command again to go on" in told
    end = time.monotonic() + 60
    while not all(map(gone, workers)) and time.monotonic() < end:
        time.sleep(0.05)
    assert [pid for pid in workers if not gone(pid)] == []
    assert sound(out)
    assert visible(out) == old
    assert list(scratch.iterdir()) == []
    done = crash_case.audit("run", spec, "-q", *OTHER, "-o", out, log=tmp_path / "log")
    assert (done.code, done.said) == (0, "")
    assert credit_case.contents(out) == new


@pytest.mark.skipif(not ROOT, reason="only root may mount a small disk")
def test_a_full_disk_is_one_message_and_the_older_bundle_stays(case, tmp_path, figure):
    spec, first, old, new = case
    disk = tmp_path / "disk"
    size = sum(-(-path.stat().st_size // 4096) * 4096 for path in first.rglob("*") if path.is_file())
    if not crash_case.small_disk(disk, 4 * size):
        pytest.skip("this machine lets nobody mount a disk")
    try:
        out = disk / "out"
        shares = [i / 12 for i in range(12)] if ACCEPT else [0.0, 0.9]
        for share in shares:
            shutil.rmtree(out, ignore_errors=True)
            shutil.copytree(first, out)
            used = shutil.disk_usage(disk).used
            room = used + int(share * size) // 4096 * 4096
            subprocess.run(["mount", "-o", f"remount,size={max(room, 4096)}", disk], check=True)
            ended = crash_case.audit("run", spec, "-q", *OTHER, "-o", out, log=tmp_path / "log")
            assert ended.code == 3, share
            (said,) = ended.said.splitlines()
            assert said.startswith(str(out))
            assert "cannot be written: the disk is full (" in said
            assert said.endswith(
                "KiB are free); make room, then run the same command again: it goes on where it stopped"
            )
            assert sound(out)
            assert visible(out) == old
            assert [name for name in crash_case.hidden(out) if name.endswith(".tmp")] == []
            subprocess.run(["mount", "-o", f"remount,size={8 * size}", disk], check=True)
            done = crash_case.audit("run", spec, "-q", *OTHER, "-o", out, log=tmp_path / "log")
            assert (done.code, done.said) == (0, ""), share
            assert credit_case.contents(out) == new
        figure("full disks, at moments of a run", len(shares), "exit 3, one message, older bundle whole, goes on")
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.parametrize("largest", [2_000, 200_000] if ACCEPT else [200_000])
def test_a_file_that_may_not_be_that_large_is_one_message(case, tmp_path, largest):
    spec, _, old, _ = case
    out = tmp_path / "out"
    ended = crash_case.audit("run", spec, "-q", "-o", out, largest=largest, log=tmp_path / "log")
    assert ended.code == 3
    (said,) = ended.said.splitlines()
    assert "cannot be written: it would be larger than a file may be here; raise the limit" in said
    assert not (out / "manifest.json").exists()
    assert [name for name in crash_case.hidden(out) if name.endswith(".tmp")] == []
    assert crash_case.audit("run", spec, "-q", "-o", out, log=tmp_path / "log").code == 0
    assert credit_case.contents(out) == old


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_that_is_closed_is_one_message_before_the_work(case, tmp_path, there):
    spec, first, old, _ = case
    place = tmp_path / "place"
    shutil.copytree(spec.parent, place / "case")
    out = place / "out"
    if there:
        shutil.copytree(first, out)
        out.chmod(0o555)
    place.chmod(0o555)
    line = ["run", place / "case" / spec.name, "-q", "-o", out]
    ended = crash_case.audit(*line, plain=True, log=tmp_path / "log")
    assert ended.code == 3, ended.said
    (said,) = ended.said.splitlines()
    assert (
        said
        == f"{out}: cannot be written: you have no permission to write there; name a folder that you may write into"
    )
    assert out.exists() == there
    if there:
        assert visible(out) == old
        drawn = crash_case.audit("render", out, plain=True, log=tmp_path / "log")
        assert (drawn.code, drawn.said.splitlines()) == (3, [said])
        checked = crash_case.audit("verify", out, plain=True, log=tmp_path / "log")
        assert (checked.code, checked.said) == (0, "")
        out.chmod(0o755)
    place.chmod(0o755)


def foreign(folder):
    """Folders and files that are no bundle of ours, with what is said of them."""
    (folder / "papers" / "evidence").mkdir(parents=True)
    (folder / "papers" / "evidence" / "letter.pdf").write_bytes(b"%PDF")
    (folder / "site").mkdir()
    (folder / "site" / "manifest.json").write_text('{"name": "an app"}')
    (folder / "file").write_text("a file")
    return {
        "papers": (2, "holds files that are no bundle (evidence); name another folder"),
        "site": (4, "not a manifest"),
        "file": (2, "is a file; name a folder"),
        "file/out": (3, "a part of its path is a file"),
        "n" * 300: (3, "a name in its path is too long"),
    }


def test_what_is_no_bundle_is_left_alone(case, tmp_path):
    spec = case[0]
    expected = foreign(tmp_path / "place")
    before = credit_case.contents(tmp_path / "place")
    for name, (code, text) in expected.items():
        ended = crash_case.audit("run", spec, "-q", "-o", tmp_path / "place" / name, log=tmp_path / "log")
        assert ended.code == code, (name, ended.said)
        (said,) = ended.said.splitlines()
        assert text in said
    assert credit_case.contents(tmp_path / "place") == before
    ended = crash_case.audit("render", tmp_path / "place" / "papers", log=tmp_path / "log")
    assert ended.code == 4
    assert credit_case.contents(tmp_path / "place") == before


def test_the_second_of_two_runs_says_who_has_the_folder_and_stops(case, tmp_path):
    spec, first, old, _ = case
    out = tmp_path / "out"
    shutil.copytree(first, out)
    with hold(out):
        for words in (("run", spec, "-q", "-o", out), ("run", spec, "-q", *OTHER, "-o", out), ("render", out)):
            ended = crash_case.audit(*words, log=tmp_path / "log")
            assert ended.code == 3
            (said,) = ended.said.splitlines()
            assert said.startswith(f"{out}: process {os.getpid()} on ")
            assert said.endswith("is writing there; wait until it ends, or name another folder")
        assert Bundle(out).altered() == []
        with pytest.raises(WriteError, match="is writing there"), hold(out):
            pytest.fail("it was given twice")
    assert credit_case.contents(out) == old


def test_of_two_runs_that_start_at_once_one_makes_the_bundle(case, tmp_path):
    spec, _, old, _ = case
    begun = [crash_case.begin("run", spec, "-q", "-o", tmp_path / "out", log=tmp_path / "log") for _ in range(2)]
    both = [process.end() for process in begun]
    # On a busy machine the second may begin when the first has ended; it then keeps what is there.
    assert sorted(ended.code for ended in both) in ([0, 3], [0, 0]), both
    assert all("is writing there" in ended.said for ended in both if ended.code)
    assert credit_case.contents(tmp_path / "out") == old


def test_who_reads_while_a_run_ends_sees_the_one_bundle_or_the_other(case, tmp_path):
    spec, first, old, new = case
    out = tmp_path / "out"
    shutil.copytree(first, out)
    ids, looks = {Bundle(out).manifest().report_id}, 0
    begun = crash_case.begin("run", spec, "-q", *OTHER, "-o", out, log=tmp_path / "log")
    while begun.runs():
        assert Bundle(out).altered() == []
        ids.add(Bundle(out).manifest().report_id)
        looks += 1
    assert begun.end().code == 0
    assert looks > 10
    assert {*ids, Bundle(out).manifest().report_id} == {json_id(old), json_id(new)}
    assert visible(out) == new


def json_id(files):
    """The id of the report whose files these are."""
    return Manifest.model_validate_json(files["manifest.json"]).report_id


def test_a_clock_that_was_set_back_changes_nothing(case, tmp_path):
    spec, first, old, _ = case
    moved, out = tmp_path / "case", tmp_path / "out"
    shutil.copytree(spec.parent, moved)
    shutil.copytree(first, out)
    record = json.loads((out / "run.json").read_text()) | {"started": "2099-01-01T00:00:00+00:00"}
    (out / "run.json").write_text(json.dumps(record))
    (out / ".lock").write_text(json.dumps({"pid": 1, "host": "elsewhere", "since": "2099-01-01 00:00:00 UTC"}))
    future = time.mktime((2099, 1, 1, 0, 0, 0, 0, 0, 0))
    for path in (*moved.rglob("*"), *out.rglob("*")):
        os.utime(path, (future, future))
    done = crash_case.audit("run", moved / spec.name, "-q", "-o", out, log=tmp_path / "log")
    assert (done.code, done.said) == (0, "")
    assert credit_case.contents(out) == old
