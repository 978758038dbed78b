"""Which files a spec may name."""

import os
from pathlib import Path

import pytest

from audit.paths import refusal


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The folder of a spec, with a file in it and one beside it."""
    (tmp_path / "specs" / "data").mkdir(parents=True)
    (tmp_path / "specs" / "data" / "a.csv").write_text("x\n", encoding="utf-8")
    (tmp_path / "other.csv").write_text("x\n", encoding="utf-8")
    return tmp_path / "specs"


def test_what_is_written_and_no_link_is_read_wherever_it_lies(home: Path) -> None:
    for name in (
        "data/a.csv",
        "./data/../data/a.csv",
        "../other.csv",
        str(home.parent / "other.csv"),
        "data",
        "gone.csv",
    ):
        assert refusal(home, name) is None, name


def test_a_link_is_followed_inside_the_folder_and_not_out_of_it(home: Path) -> None:
    (home / "inside.csv").symlink_to("data/a.csv")
    (home / "out.csv").symlink_to(home.parent / "other.csv")
    (home / "up").symlink_to(home.parent)
    (home.parent / "beside.csv").symlink_to(home.parent / "other.csv")
    assert refusal(home, "inside.csv") is None
    for name in ("out.csv", "up/other.csv", "../beside.csv", str(home / "out.csv")):
        assert f"leads over a link to {home.parent / 'other.csv'}" in str(refusal(home, name)), name


def test_the_folder_of_the_spec_may_itself_be_reached_over_a_link(home: Path) -> None:
    (home.parent / "short").symlink_to(home)
    assert refusal(home.parent / "short", "data/a.csv") is None


def test_what_is_no_file_is_refused(home: Path) -> None:
    os.mkfifo(home / "pipe.csv")
    with (home / "huge.csv").open("wb") as file:
        file.truncate(2**37)
    for name, why in {
        "pipe.csv": "is a pipe",
        "huge.csv": "bytes, and at most",
        "/dev/null": "device",
        "/proc/self/environ": "kernel",
        "a\0b": "cannot be seen",
        "\u202ea.csv": "cannot be seen",
        "a" * 5000: "too long",
        "a" * 300: "cannot be reached",
    }.items():
        assert why in str(refusal(home, name)), name
