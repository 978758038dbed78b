"""`make setup` and `make demo` say exactly what is missing and what to type (scripts/setup, scripts/demo)."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

# A python that is 3.12 and finds no shared library: it fails on a program from standard input, which is that check.
NO_LIBRARIES = '#!/bin/sh\n[ "$1" = - ] && exit 1\nexit 0\n'
TOO_OLD = '#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 && exit 0\nexit 1\n'
NO_VENV = '#!/bin/sh\ncase "$2" in *ensurepip*) exit 1 ;; esac\nexit 0\n'
NOBODY = "#!/bin/sh\necho 1000\n"


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder with the few programs that the scripts use; what is not in it does not exist."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bash", "dirname", "env", "grep", "sh", "touch"):
        found = shutil.which(name)
        assert found
        (folder / name).symlink_to(found)
    write(folder / "id", NOBODY)
    return folder


@pytest.fixture
def checkout(root: Path, tmp_path: Path) -> Path:
    """What the scripts need of a checkout."""
    folder = tmp_path / "checkout"
    shutil.copytree(root / "scripts", folder / "scripts")
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(root / name, folder)
    return folder


def write(path: Path, text: str) -> None:
    """Writes an executable."""
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def start(script: Path, *words: str, path: Path, **env: str) -> "subprocess.CompletedProcess[str]":
    """A script where only the programs of `path` exist."""
    return subprocess.run(
        [str(script), *words],
        env={"PATH": str(path), "HOME": str(path), **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize(
    ("python", "said"),
    [
        (None, ["python3 was not found", "3.11 or later", "make PYTHON="]),
        (TOO_OLD, ["Python 3.9.2 is too old", "3.11 or later is needed"]),
        (
            NO_LIBRARIES,
            [
                "sudo apt-get install --no-install-recommends libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0",
                "sudo dnf install pango harfbuzz",
                "brew install pango harfbuzz",
            ],
        ),
        (NO_VENV, ["has no venv module", "sudo apt-get install python3-venv"]),
    ],
    ids=["no python", "old python", "no libraries", "no venv"],
)
def test_setup_stops_and_says_what_to_type(checkout: Path, tools: Path, python: str | None, said: list[str]) -> None:
    if python is not None:
        write(tools / "python3", python)
    done = start(checkout / "scripts" / "setup", path=tools)
    assert done.returncode == 1, done.stdout + done.stderr
    for words in said:
        assert words in done.stderr
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize("sudo", [False, True], ids=["as root", "by sudo"])
def test_setup_installs_the_libraries_where_it_may(checkout: Path, tools: Path, *, sudo: bool) -> None:
    log = checkout / "log"
    # The libraries are there once apt-get has been asked to install them.
    write(tools / "python3", f'#!/bin/sh\n[ "$1" = - ] && {{ [ -f "{log}" ]; exit $?; }}\nexit 1\n')
    write(tools / "apt-get", f'#!/bin/sh\n[ "$1" = update ] || echo "$@" >"{log}"\n')
    if sudo:
        write(tools / "sudo", '#!/bin/sh\n[ "$2" = true ] && exit 0\nshift\nexec "$@"\n')
        write(tools / "true", "#!/bin/sh\n")
    else:
        write(tools / "id", "#!/bin/sh\necho 0\n")
    write(tools / "python", (tools / "python3").read_text(encoding="utf-8").replace("exit 1\n", "exit 0\n"))
    done = start(checkout / "scripts" / "setup", path=tools, PYTHON="python")
    asked = log.read_text(encoding="utf-8")
    assert asked.split()[-3:] == ["libpango-1.0-0", "libpangoft2-1.0-0", "libharfbuzz-subset0"]
    assert "cannot be installed" not in done.stderr


def test_setup_has_nothing_to_do_twice(checkout: Path, tools: Path) -> None:
    write(tools / "python3", "#!/bin/sh\nexit 0\n")
    (checkout / ".venv").mkdir()
    stamp = checkout / ".venv" / ".installed"
    stamp.touch()
    newer = stamp.stat().st_mtime + 10
    os.utime(stamp, (newer, newer))
    done = start(checkout / "scripts" / "setup", path=tools)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(("code", "ends"), [(0, 0), (1, 0), (5, 0), (2, 2), (3, 3), (4, 4)])
def test_the_demo_ends_with_both_paths_or_with_the_failure(checkout: Path, tools: Path, code: int, ends: int) -> None:
    write(
        tools / "audit",
        f'#!/bin/sh\n/bin/mkdir -p "$4"\necho x >"$4/report.pdf"\necho x >"$4/report.html"\nexit {code}\n',
    )
    out = checkout / "out"
    done = subprocess.run(
        [str(checkout / "scripts" / "demo"), str(tools / "audit"), "spec.yaml", "out"],
        cwd=checkout, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == ends
    last = [f"PDF   {out}/report.pdf", f"HTML  {out}/report.html"]
    assert (done.stdout.splitlines()[-2:] == last) is (ends == 0)


def test_the_demo_notices_a_report_that_was_not_written(checkout: Path, tools: Path) -> None:
    write(tools / "audit", "#!/bin/sh\nexit 0\n")
    done = subprocess.run(
        [str(checkout / "scripts" / "demo"), str(tools / "audit"), "spec.yaml", "out"],
        cwd=checkout, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 3
    assert "out/report.pdf was not written" in done.stderr
