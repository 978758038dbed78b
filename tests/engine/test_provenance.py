"""The revision of a spec's repository is told without a word of the repository's own settings."""

import subprocess
from pathlib import Path

import pytest

from audit.engine.provenance import repository


def git(folder: Path, *words: str) -> str:
    line = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@example.org", *words]
    return subprocess.run(line, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with a file in a folder."""
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "spec.yaml").write_text("a: 1\n", encoding="utf-8")
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("detached", [False, True])
def test_the_revision_and_whether_a_file_differs(checkout: Path, packed: bool, detached: bool) -> None:
    if packed:
        git(checkout, "pack-refs", "--all")
    if detached:
        git(checkout, "checkout", "-q", "--detach")
    revision = git(checkout, "rev-parse", "HEAD")
    assert repository(checkout / "specs") == {"revision": revision, "dirty": False}
    (checkout / "untracked").write_text("b", encoding="utf-8")
    assert repository(checkout / "specs") == {"revision": revision, "dirty": False}
    (checkout / "specs" / "spec.yaml").write_text("a: 2\n", encoding="utf-8")
    assert repository(checkout / "specs") == {"revision": revision, "dirty": True}
    git(checkout, "add", ".")
    assert repository(checkout / "specs") == {"revision": revision, "dirty": True}, "staged is not committed"


def test_nothing_that_a_repository_names_is_run_or_read(checkout: Path) -> None:
    ran = checkout.parent / f"{checkout.name}-ran"
    hostile = f'[core]\n\tfsmonitor = "touch {ran}; false"\n[filter "x"]\n\tclean = touch {ran}\n'
    with (checkout / ".git" / "config").open("a", encoding="utf-8") as file:
        file.write(hostile)
    (checkout / ".gitattributes").write_text("* filter=x\n", encoding="utf-8")
    (checkout / "specs" / "spec.yaml").write_text("a: 2\n", encoding="utf-8")
    found = repository(checkout)
    assert found is not None
    assert found["dirty"] is True
    assert not ran.exists()
    git(checkout, "status")
    assert ran.exists(), "git itself, asked in the repository, would have run it"


def test_a_repository_that_stands_nowhere_is_none(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert repository(tmp_path_factory.mktemp("outside")) is None
    for head in ("", "ref: ../../secret", "ref: refs/heads/../../x", "ref: refs/heads/gone", "deadbeef", "x" * 40):
        (checkout / ".git" / "HEAD").write_text(head, encoding="utf-8")
        assert repository(checkout) is None
