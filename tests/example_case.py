"""The worked examples, scaffolded and run as a user does, without a network."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

from credit_case import command

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Audited:
    """A worked example after `audit init` and `audit run`.

    Attributes:
        seconds: CPU time of the commands and of the script; the machine of the tests may be shared.
    """

    folder: Path
    out: Path
    init: CompletedProcess[str]
    run: CompletedProcess[str]
    seconds: float


def audited(
    name: str,
    folder: Path,
    env: dict[str, str],
    *settings: str,
    given: Callable[[Path], None] | None = None,
    script: str = "",
) -> Audited:
    """Scaffolds and runs an example.

    Args:
        settings: overrides of its spec, as `--set` takes them.
        given: puts into its folder what a person has.
        script: what makes the files that the example does not hold.
    """
    start = _children()
    init = command("init", folder / name, "--example", name, **env)
    if given is not None:
        given(folder / name)
    if script:
        subprocess.run([sys.executable, folder / name / script], check=True, timeout=300, env=os.environ | env)
    run = command(
        "run", folder / name / "spec.yaml", "-o", folder / "out", *(w for s in settings for w in ("--set", s)), **env
    )
    return Audited(folder / name, folder / "out", init, run, _children() - start)


def _children() -> float:
    """CPU seconds of all processes that this one started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
