"""veraPDF, where the shared tool and Java are there."""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from example_case import ROOT

TOOL = ROOT.parent / "shared" / "tools" / "pdf-conformance"
LINE = re.compile(r"^(\S+\.pdf)\s+(\w+)\s+(PASS|FAIL)\s+checks=(\d+) rules=(\d+) failedRules=(\d+)")
RULE = re.compile(r"^\s+\[(\S+)\]")
PREPARED = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pdf-conformance" / "VeraCheck.class"


def failed_rules(files: Sequence[Path], profiles: str) -> dict[tuple[str, str], list[str]]:
    """The rules that each file breaks, by its name and the profile.

    Skips the test where the validator cannot be had.
    """
    if not TOOL.is_file():
        pytest.skip("the shared tool pdf-conformance is not beside this checkout")
    if shutil.which("java") is None or not (PREPARED.is_file() or shutil.which("javac")):
        pytest.skip("veraPDF needs Java 17: install openjdk-17-jdk-headless")
    done = subprocess.run([TOOL, profiles, *files], capture_output=True, text=True, timeout=3000, check=False)
    found: dict[tuple[str, str], list[str]] = {}
    rules: list[str] = []
    for line in done.stdout.splitlines():
        if head := LINE.match(line):
            rules = found[Path(head.group(1)).name, head.group(2)] = []
            assert (head.group(3) == "PASS") == (head.group(6) == "0")
            assert head.group(3) == "FAIL" or int(head.group(4)) > 1000, "next to nothing was checked"
        elif rule := RULE.match(line):
            rules.append(rule.group(1))
    if not found and not PREPARED.is_file():
        pytest.skip(f"veraPDF could not be fetched: {done.stderr.strip().splitlines()[-1:]}")
    assert set(found) == {(file.name, name) for file in files for name in profiles.split(",")}, done.stderr[-500:]
    assert (done.returncode == 0) == (not any(found.values()))
    return found
