"""Same spec, same bytes: whatever folder, time zone, hash seed and number of workers, and after a kill."""

import getpass
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from itertools import product

import credit_case
import pytest

ACCEPT = bool(os.environ.get("AUDIT_ACCEPT"))
FOLDERS = ("folder", "another folder/dêeper")
ASCII = {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
"""A host whose locale knows no letter beyond ASCII."""

CELLS = (
    [(*cell, {}) for cell in product(FOLDERS, ("UTC", "Pacific/Auckland"), ("0", "1", "4711"), (1, 4))]
    + [(FOLDERS[0], "UTC", "1", 2, ASCII)]
    if ACCEPT
    else [
        (FOLDERS[1], "Pacific/Auckland", "1", 1, {}),
        (FOLDERS[0], "Asia/Kolkata", "4711", 2, ASCII),
    ]
)
KILLS = 20 if ACCEPT else 2
SPEC = credit_case.SPEC | {"report": {"formats": ["html", "pdf"]}}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A bundle and the spec it came from."""
    spec = credit_case.make(tmp_path_factory.mktemp("here"), spec=SPEC)
    out = tmp_path_factory.mktemp("first") / "out"
    done = credit_case.command("run", spec, "-o", out, "-q")
    assert done.returncode in {0, 1}, done.stderr
    return credit_case.contents(out), spec


def test_folders_time_zones_hash_seeds_locales_and_workers_give_the_same_bytes(undisturbed, tmp_path, figure):
    expected, original = undisturbed
    for number, (folder, zone, seed, workers, locale) in enumerate(CELLS):
        spec = shutil.copytree(original.parent, tmp_path / str(number) / folder) / original.name
        out = spec.parent / "out"
        env = {**locale, "TZ": zone, "PYTHONHASHSEED": seed}
        done = credit_case.command("run", spec, "-o", out, "-q", "--workers", workers, **env)
        assert done.returncode in {0, 1}, done.stderr
        found = credit_case.contents(out)
        assert sorted(found) == sorted(expected)
        assert [name for name in found if found[name] != expected[name]] == []
    figure("byte-identical bundles", len(CELLS) + 1, f"{len(expected)} files each, HTML and PDF among them")


def test_a_killed_run_that_is_run_again_ends_with_the_same_bundle(undisturbed, tmp_path, figure):
    expected, spec = undisturbed
    moments, killed = random.Random(5), 0
    for number in range(KILLS):
        out = tmp_path / f"killed-{number}"
        line = [sys.executable, "-m", "audit", "run", str(spec), "-o", str(out), "-q", "--workers", str(1 + number % 2)]
        process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        tasks, later = moments.randint(0, 8), moments.uniform(0, 0.4)
        while process.poll() is None and len(list(out.glob(".next/evidence/*/evidence.json"))) < tasks:
            time.sleep(0.01)
        time.sleep(later)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            killed += 1
        process.wait()
        done = credit_case.command("run", spec, "-o", out, "-q")
        assert done.returncode in {0, 1}, done.stderr
        found = credit_case.contents(out)
        assert sorted(found) == sorted(expected)
        assert [name for name in found if found[name] != expected[name]] == []
    assert killed, "no run lived long enough to be killed"
    figure("runs killed and run again", KILLS, f"{killed} of them killed before they ended; same bundle each time")


@pytest.mark.parametrize("workers", [1, 2] if ACCEPT else [2])
def test_an_interrupt_ends_with_130_and_a_word_and_the_next_run_goes_on(undisturbed, tmp_path, workers):
    expected, spec = undisturbed
    out = tmp_path / "out"
    line = [sys.executable, "-m", "audit", "run", str(spec), "-o", str(out), "-q", "--workers", str(workers)]
    heard = signal.signal(signal.SIGINT, signal.default_int_handler)  # who tests in the background ignores Ctrl-C
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    signal.signal(signal.SIGINT, heard)
    while process.poll() is None and not (out / ".next" / "evidence").is_dir():
        time.sleep(0.02)
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert said.splitlines()[-1] == "interrupted; run the same command again to go on"
    assert credit_case.command("run", spec, "-o", out, "-q").returncode in {0, 1}
    assert credit_case.contents(out) == expected


def test_nothing_in_the_bundle_tells_folder_user_or_host(undisturbed):
    expected, spec = undisturbed
    words = [str(spec.parent), socket.gethostname(), f"/{getpass.getuser()}/"]
    for name, data in expected.items():
        if not name.endswith((".json", ".html")):
            continue
        shown = re.sub(r"base64,[A-Za-z0-9+/=]+", "", data.decode("utf-8"))
        told = [word for word in words if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", shown)]
        assert told == [], name
