"""Runs every costly check at its full count and writes the figures to docs/acceptance.md.

With paths, as in `python tests/accept.py tests/hostile`, only those are run: their figures take the place of older
ones, and the document says of each figure which run it is of.
"""

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "acceptance.md"
HEAD = """# Acceptance

Written by `make accept`: every costly check at its full count. Times are CPU seconds on a shared machine of
{cores} cores; ratios are measured side by side in one run.

Python {python}, numpy {numpy}, scikit-learn {sklearn}, WeasyPrint {weasyprint}.

"""
FIGURES = """
| check | figure | setting | run |
|---|---|---|---|
"""
OTHER = ("SKIPPED", "XFAIL", "FAILED", "ERROR")
NO_DUMP = ("-o", "faulthandler_timeout=0")
"""At full count a test may take longer than one that hangs, and the dump of running threads can end the process."""
PASSED_OR_NOT = {0, 1}
"""Exit codes of pytest after all tests were run."""
MISSING = """
## What did not pass, or was not run

"""
RUN = re.compile(r"^(\d+)\. (`.*)$")
ROW = re.compile(r"^\| (.*) \| (.*) \| (.*) \| (\d+) \|$")
LEFT = re.compile(r"^\* `(.*)` \(run (\d+)\)$")

Row = tuple[str, str, str, int]
"""A check, its figure, its setting, and the number of the run."""


def main(words: list[str]) -> int:
    """The exit code of the test run; the document is written either way."""
    paths = [word for word in words if not word.startswith("-") and (ROOT / word.partition("::")[0]).exists()]
    runs, rows, left = _older() if paths else ({}, [], [])
    number = max(runs, default=0) + 1
    code, outcome, figures, other = _measured(words)
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    runs[number] = f"`{' '.join(['python tests/accept.py', *words])}`, {when}: {outcome}"
    new = {row[0] for row in figures}
    rows = [row for row in rows if row[0] not in new] + [(*row, number) for row in figures]
    left = [(line, run) for line, run in left if not any(path in line for path in paths)]
    left += [(line, number) for line in other]
    used = {run for *_, run in rows} | {run for _, run in left} | {number}
    text = HEAD.format(
        cores=os.cpu_count(),
        python=platform.python_version(),
        numpy=version("numpy"),
        sklearn=version("scikit-learn"),
        weasyprint=version("weasyprint"),
    )
    text += "".join(f"{run}. {told}\n" for run, told in runs.items() if run in used) + FIGURES
    text += "".join(f"| {what} | {value} | {setting} | {run} |\n" for what, value, setting, run in rows) + MISSING
    text += "".join(f"* `{line}` (run {run})\n" for line, run in left) or "Nothing.\n"
    TARGET.write_text(text, encoding="utf-8")
    return code


def _older() -> tuple[dict[int, str], list[Row], list[tuple[str, int]]]:
    """The runs, the figures and the rest of the document that is there."""
    lines = TARGET.read_text(encoding="utf-8").splitlines() if TARGET.exists() else []
    runs = {int(found[1]): found[2] for line in lines if (found := RUN.match(line))}
    rows = [(found[1], found[2], found[3], int(found[4])) for line in lines if (found := ROW.match(line))]
    left = [(found[1], int(found[2])) for line in lines if (found := LEFT.match(line))]
    return runs, rows, left


def _measured(words: list[str]) -> tuple[int, str, list[tuple[str, str, str]], list[str]]:
    """The exit code of the tests, their outcome in a line, the figures, and what failed or was skipped."""
    last, other = "", []
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "figures.jsonl"
        target.touch()
        env = {**os.environ, "AUDIT_ACCEPT": "1", "AUDIT_FIGURES": str(target)}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *NO_DUMP, *words]
        with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout or ():
                sys.stdout.write(line)
                last = line.strip() or last
                if line.startswith(OTHER):
                    other.append(line.strip())
        if process.returncode not in PASSED_OR_NOT:
            other.append(f"ERROR the tests ended with code {process.returncode}, and what came after is not here")
        told = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    figures = [(str(row["what"]), str(row["value"]), str(row["setting"])) for row in told]
    return process.returncode, last.strip("= "), figures, other


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
