"""Where a run finds itself: a disk that is read-only, a user without a name."""

import multiprocessing
import os
import pwd
import shutil
import subprocess

import crash_case
import credit_case
import pytest

from audit.engine.provenance import user


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a disk")
def test_a_disk_that_is_read_only_is_one_message_before_the_work(small_audit, tmp_path):
    spec, first = small_audit
    disk = tmp_path / "disk"
    if not crash_case.small_disk(disk, 64 * 2**20):
        pytest.skip("this machine lets nobody mount a disk")
    try:
        out, new = disk / "out", disk / "new" / "out"
        shutil.copytree(first, out)
        shutil.copytree(spec.parent, disk / "case")
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        whole = credit_case.contents(disk)
        for words, place in (
            (("run", spec, "-q", "-o", out), out),
            (("run", spec, "-q", "-o", new), new),
            (("render", out), out),
            (("lock", disk / "case" / spec.name), disk / "case" / "spec.lock"),
        ):
            ended = crash_case.audit(*words, log=tmp_path / "log")
            assert ended.code == 3, ended.said
            (said,) = ended.said.splitlines()
            refused = "cannot be written: the file system is read-only; name a folder that you may write into"
            assert said == f"{place}: {refused}"
        checked = crash_case.audit("verify", out, log=tmp_path / "log")
        assert (checked.code, checked.said) == (0, "")
        assert credit_case.contents(disk) == whole
        assert credit_case.contents(out) == credit_case.contents(first)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def nameless(number, answer):
    """Becomes a user that has a number and no name."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "HOME"):
        os.environ.pop(name, None)
    os.setuid(number)
    answer.send(user())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become a user without a name")
def test_a_user_without_a_name_is_recorded_by_number():
    number = next(n for n in range(54321, 60000) if n not in {entry.pw_uid for entry in pwd.getpwall()})
    context = multiprocessing.get_context("forkserver")
    theirs, ours = context.Pipe()
    process = context.Process(target=nameless, args=(number, ours))
    process.start()
    ours.close()
    assert theirs.recv() == str(number)
    process.join()
    assert process.exitcode == 0
