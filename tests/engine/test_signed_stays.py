"""A signed bundle stays as it is: nothing takes its signatures off half, or puts another in its place."""

import shutil
import signal

import crash_case
import pytest
import signing_case
from folder_case import RENDER, audit, kill_while_it_draws, tree

from audit.bundle import Bundle
from audit.core.errors import BundleError
from audit.draft import unfinished

pytest.importorskip("pyhanko", reason="pyhanko is an optional package")


def sign(folder, out):
    """Signs a bundle as `audit sign` does."""
    key, word = signing_case.p12(folder / "key.p12"), folder / "word"
    word.write_bytes(signing_case.PASSPHRASE)
    ended = crash_case.audit("sign", out, "--key", key, "--passphrase-file", word, log=folder / "log")
    assert (ended.code, ended.said) == (0, "")
    assert (out / "manifest.json.p7s").is_file()


def test_signatures_that_cannot_be_taken_off_stay(place):
    out, home = place
    sign(home, out)
    with next(out.glob("evidence/*/*.parquet")).open("ab") as file:
        file.write(b"x")
    before = tree(out)
    ended = audit(place, *RENDER, "--drop-signature")
    assert (ended.code, ".parquet: holds" in ended.said) == (4, True), ended.said
    assert tree(out) == before


def test_signatures_are_taken_off_whole_or_not_at_all(place):
    out, home = place
    sign(home, out)
    before, line = tree(out), [*RENDER, "--drop-signature"]
    shutil.copytree(out, out.parent / "trial")
    line[1] = out.parent / "trial"
    changes = crash_case.audit(*line, watched=line[1], log=home / "log").changes
    assert "os.remove manifest.json.p7s" in changes
    after = tree(line[1])
    assert "manifest.json.p7s" not in after
    assert Bundle(line[1]).altered() == []
    for moment in (changes.index("os.mkdir .drawn/tmp"), changes.index("os.remove manifest.json.p7s")):
        shutil.rmtree(out)
        shutil.copytree(place_of(before, out), out)
        line[1] = out
        assert crash_case.audit(*line, watched=out, kill_at=moment, log=home / "log").code == -signal.SIGKILL
        if unfinished(out):
            with pytest.raises(
                BundleError, match="was cut off while it put its files in place; `audit render` ends it"
            ):
                Bundle(out).altered()
        else:
            assert Bundle(out).altered() == []
            assert Bundle(out).manifest().signed is not None
        ended = audit(place, *line)
        assert (ended.code, ended.said) == (0, "")
        assert tree(out) == after


def place_of(files, out):
    """The files of a tree in a folder of their own."""
    folder = out.parent / "kept"
    shutil.rmtree(folder, ignore_errors=True)
    for name, data in files.items():
        if data is not None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
    return folder


def test_a_run_that_was_cut_off_does_not_replace_what_was_signed_since(small_audit, place):
    out, home = place
    kill_while_it_draws(place, "run", small_audit[0], "-q", "--set", "run.seed=4", "-o", "out")
    assert (out / ".next" / "manifest.json").is_file()
    sign(home, out)
    before = tree(out)
    ended = audit(place, "run", small_audit[0], "-q", "--set", "run.seed=4", "-o", "out")
    assert (ended.code, "holds a bundle that A. Validator signed; name another folder" in ended.said) == (2, True)
    assert tree(out) == before


def test_a_bundle_to_hand_out_that_was_signed_is_not_replaced(place):
    _, home = place
    line = ("render", "out", "--format", "html", "--share", home / "shared")
    assert audit(place, *line).code == 0
    again = home / "shared" / ".next"
    again.mkdir()
    shutil.copy(home / "shared" / "manifest.json", again)  # as a command that was cut off leaves it
    sign(home, home / "shared")
    before = tree(home / "shared")
    ended = audit(place, *line)
    assert (ended.code, "holds a bundle that A. Validator signed; name a new folder" in ended.said) == (2, True)
    assert tree(home / "shared") == before
