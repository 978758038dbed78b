"""Hostile inputs through the real command line, watched: none reads what it should not, reaches out, or runs code."""
# ruff: noqa: E501 - cases read best as one line each

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cases_data
import cases_models
import cases_nets
import cases_paths
import cases_spec
import credit_case
import pandas as pd
import pytest
import skops.io
from hostile_case import CANARY, Case, Stage
from hostile_kernel import KERNEL

ALL = [*cases_spec.ALL, *cases_paths.ALL, *cases_models.ALL, *cases_data.ALL, *cases_nets.ALL]
PER_KIND = 2
"""Cases of each kind in every test; all of them where AUDIT_ACCEPT asks for it."""

SECONDS, MEMORY = 60, 8 * 2**30
HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
READ = tuple(
    {str(Path(place).resolve()) for place in (sys.prefix, sys.base_prefix, *sysconfig.get_paths().values(), str(ROOT))}
    | {"/usr/lib", "/usr/share", "/lib", "/etc/ld.so.cache", "/etc/localtime", "/etc/mime.types", "/etc/fonts",
       "/proc/self/", "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system", "/sys/fs/cgroup", "/dev/null", "/dev/urandom"}
)  # fmt: skip
"""Where an audit may read beside its own folder: packages, fonts, and what the system says of the machine."""

PROGRAMS = {"git", "uname", "ldconfig", "gcc", "cc", "ld", "objdump"}
"""Of the system: the revision of the spec, and where libraries lie, which Python asks for the PDF."""

FORBIDDEN = ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostby", "socket.sendto", "subprocess.",
             "os.system", "os.exec", "os.posix_spawn", "os.spawn", "urllib.", "ftplib.", "webbrowser.")  # fmt: skip


def chosen() -> list[Case]:
    if os.environ.get("AUDIT_ACCEPT"):
        return ALL
    return [case for case in ALL if [c for c in ALL if c.kind == case.kind].index(case) < PER_KIND]


def stage(folder: Path, good: Path, case: Case) -> Stage:
    """The case, made in a folder of its own."""
    shutil.copytree(good, folder / "case")
    made = Stage(folder / "case", good.parent / "outside", folder / "ran")
    case.make(made)
    for path in (made.folder / "spec.yaml", made.folder / "opinion.md"):
        if path.is_file() and not path.is_symlink():
            path.write_bytes(path.read_bytes().replace(b"MARKER", str(made.marker).encode()))
    return made


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Case, Stage, dict[str, Any]]]:
    """What every case did."""
    if not KERNEL:
        pytest.skip("the kernel that watches is Linux on x86-64 or ARM64")
    place = tmp_path_factory.mktemp("hostile")
    good, outside = place / "good", place / "outside"
    credit_case.make(good)
    outside.mkdir()
    secret = pd.read_csv(good / "holdout.csv").assign(housing=CANARY)
    secret.to_csv(outside / "secret.csv", index=False)
    (outside / "secret.md").write_text(f"# {CANARY}\n", encoding="utf-8")
    (outside / "secret.png").write_bytes(cases_nets.png(8, 8))
    (outside / "secret.skops").write_bytes(skops.io.dumps([CANARY]))
    stages = [stage(place / str(i), good, case) for i, case in enumerate(chosen())]
    listed, answers = place / "cases.json", place / "results.json"
    given = [
        {"name": case.tries, "folder": str(made.folder), "args": ["run", "spec.yaml", "-o", "out", *case.args]}
        for case, made in zip(chosen(), stages, strict=True)
    ]
    listed.write_text(
        json.dumps({"good": str(good / "spec.yaml"), "outside": str(outside), "cases": given}), encoding="utf-8"
    )
    env = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)])}
    env |= {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, HERE / "hostile_runner.py", listed, answers],
        env=env, capture_output=True, text=True, check=False, timeout=3600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return list(zip(chosen(), stages, json.loads(answers.read_text(encoding="utf-8")), strict=True))


def faults(case: Case, made: Stage, done: dict[str, Any]) -> list[str]:
    """What a case did that it should not."""
    found = []
    if done["exit"] not in case.codes:
        found.append(f"exit {done['exit']}")
    if not re.search(case.says, done["said"]):
        found.append(f"says nothing of {case.says!r}")
    if "Traceback" in done["said"]:
        found.append("a traceback")
    if done["exit"] in {2, 3} and not re.search(r"^(spec\.yaml|opinion\.md|--|.*exit=3)", done["said"], re.MULTILINE):
        found.append("does not say where")
    if any(done["secrets"]):  # without a name it is the folder that was looked into
        found.append(f"touched {done['secrets']}")
    if made.marker.exists():
        found.append("ran code")
    if CANARY in done["said"] or any(CANARY.encode() in file.read_bytes() for file in written(made)):
        found.append("shows the secret")
    if done["cpu"] > SECONDS or done["memory"] > MEMORY:
        found.append(f"took {done['cpu']:.0f} s and {done['memory'] / 2**30:.1f} GiB")
    return found + [f"did {line}" for line in done["events"] if is_wrong(json.loads(line), made)]


def written(made: Stage) -> list[Path]:
    """What the audit wrote."""
    return [file for file in (made.folder / "out").rglob("*") if file.is_file()]


def is_wrong(event: list[Any], made: Stage) -> bool:
    """Whether an audit has no need of what it did."""
    name, args = event
    if name == "pickle.find_class":
        return True
    if name == "subprocess.Popen":
        return Path(args[0]).name not in PROGRAMS and args[0] != sys.executable
    if name != "open":
        return name.startswith(FORBIDDEN)
    path = f"{made.folder / args[0]}" if not args[0].isdigit() else ""
    itself = args[2].isdigit() and int(args[2]) & os.O_NOFOLLOW  # the kernel refuses a link in the last place
    path = path if path.startswith("/proc/self/") or not path or itself else os.path.realpath(path)
    writes = "w" in args[1] or "a" in args[1] or "+" in args[1] or "x" in args[1]
    if path.startswith(tempfile.gettempdir()) and not path.startswith(str(made.folder.parent.parent)):
        return False  # scratch, whose names nobody knows
    inside = path.startswith(f"{made.folder}/out") or (path.startswith(str(made.folder)) and not writes)
    if inside:
        return path.endswith(".py")
    return bool(path) and (not path.startswith(READ) or (writes and path != os.devnull))


def test_no_hostile_input_gets_anywhere(
    results: list[tuple[Case, Stage, dict[str, Any]]], figure: Callable[..., None]
) -> None:
    wrong = {f"{case.kind}: {case.tries}": faults(case, made, done) for case, made, done in results}
    shown = [
        f"{name}: {'; '.join(bad)[:600]}\n    {done['said'].strip()[-500:]}"
        for (name, bad), (_, _, done) in zip(wrong.items(), results, strict=True)
        if bad
    ]
    assert not shown, f"{len(shown)} of {len(wrong)}\n" + "\n".join(shown)
    figure(
        "hostile inputs, each stopped or shown harmless", len(wrong), "through the command line, watched by the kernel"
    )
    slowest = max(done["cpu"] for _, _, done in results)
    figure("CPU seconds of the slowest hostile input", round(slowest, 1), f"limit {SECONDS}")


def test_the_watch_holds(results: list[tuple[Case, Stage, dict[str, Any]]]) -> None:
    """An audit that runs opens files and the watch sees them; what a case must not do would be noticed."""
    ran = [(made, done) for case, made, done in results if done["exit"] in {0, 1}]
    assert ran
    made, done = ran[0]
    assert any("holdout.csv" in line for line in done["events"])
    secret = str(made.outside / "secret.csv")
    for event in (["open", [secret, "r", "0"]], ["subprocess.Popen", ["sh"]], ["socket.connect", ["x"]],
                  ["open", [str(made.folder / "evil.py"), "r", "0"]], ["pickle.find_class", ["os", "system"]]):  # fmt: skip
        assert is_wrong(event, made)


def test_there_are_enough_cases() -> None:
    assert len(ALL) >= 150
    assert len({(case.kind, case.tries) for case in ALL}) == len(ALL)
