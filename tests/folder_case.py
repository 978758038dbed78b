"""A small audit, a copy of its bundle beside a folder of the reader's own, and commands on the copy."""

import shutil
import signal

import crash_case
import credit_case

SPEC = credit_case.SPEC | {"counterfactuals": {}, "regions": [], "methods": [{"kind": "performance"}]}
RENDER = ("render", "out", "--format", "html")


def make(folder):
    """A small audit: its spec, and its bundle."""
    spec = credit_case.make(folder / "case", n=60, spec=SPEC)
    ended = crash_case.audit("run", spec, "-o", folder / "out", "-q", log=folder / "log")
    assert (ended.code, ended.said) == (0, "")
    return spec, folder / "out"


def copy(bundle, folder):
    """A copy of a bundle, and a folder of the reader's own."""
    out, home = folder / "out", folder / "home"
    shutil.copytree(bundle, out)
    (home / "deep").mkdir(parents=True)
    for name in ("thesis.txt", "results.json", ".hidden", "deep/notes.txt"):
        (home / name).write_text(f"mine: {name}")
    return out, home


def audit(place, *words):
    """`audit` where `out` is the bundle."""
    out = place[0]
    return crash_case.audit(*[out if word == "out" else word for word in words], log=out.parent / "log")


def tree(folder):
    """All that lies below a folder, with what it holds or leads to."""
    found = {}
    for path in sorted(folder.rglob("*")):
        held = path.read_bytes() if path.is_file() and not path.is_symlink() else None
        found[path.relative_to(folder).as_posix()] = path.readlink() if path.is_symlink() else held
    return found


def kill_while_it_draws(place, *words):
    """What a command changes in the bundle until it is killed, which it is when it begins to draw."""
    out = place[0]
    line = [out if word == "out" else word for word in words]
    trial = out.parent / "trial"
    shutil.copytree(out, trial)
    whole = crash_case.audit(
        *[trial if word == out else word for word in line], watched=trial, log=out.parent / "log"
    ).changes
    moment = whole.index("os.mkdir .next/tmp") + 1
    ended = crash_case.audit(*line, watched=out, kill_at=moment, log=out.parent / "log")
    assert ended.code == -signal.SIGKILL
    return ended.changes
