"""Runs every costly check at its full count and writes the figures to docs/acceptance.md."""

import json
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEAD = """# Acceptance

Written by `make accept`: every costly check at its full count. Times are CPU seconds on a shared machine of
{cores} cores; ratios are measured side by side in one run.

Python {python}, numpy {numpy}, scikit-learn {sklearn}, WeasyPrint {weasyprint}.

Run: `{command}`, outcome: {outcome}

| check | figure | setting |
|---|---|---|
"""
OTHER = ("SKIPPED", "XFAIL", "FAILED", "ERROR")
MISSING = """
## What did not pass, or was not run

"""


def main() -> int:
    """The exit code of the test run; the document is written either way."""
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures.jsonl"
        figures.touch()
        env = {**os.environ, "AUDIT_ACCEPT": "1", "AUDIT_FIGURES": str(figures)}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *sys.argv[1:]]
        with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) as process:
            last, other = "", []
            for line in process.stdout or ():
                sys.stdout.write(line)
                last = line.strip() or last
                if line.startswith(OTHER):
                    other.append(line.strip())
        rows = [json.loads(line) for line in figures.read_text(encoding="utf-8").splitlines()]
    head = HEAD.format(
        cores=os.cpu_count(),
        python=platform.python_version(),
        numpy=version("numpy"),
        sklearn=version("scikit-learn"),
        weasyprint=version("weasyprint"),
        outcome=last.strip("= "),
        command=" ".join(["python tests/accept.py", *sys.argv[1:]]),
    )
    body = "".join(f"| {row['what']} | {row['value']} | {row['setting']} |\n" for row in rows)
    body += MISSING + "".join(f"* `{line}`\n" for line in other or ["nothing"])
    (ROOT / "docs" / "acceptance.md").write_text(head + body, encoding="utf-8")
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
