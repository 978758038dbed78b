"""Paths that lead where no spec may lead."""

import os
import socket
from collections.abc import Callable

from hostile_case import HARMLESS, SPEC, Case, Stage, cases

TABLES = {"data": {**SPEC["data"]}}


def named(key: str, value: str) -> Callable[[Stage], None]:
    """A path in the spec; OUTSIDE is the folder of secrets."""

    def make(stage: Stage) -> None:
        section, _, name = key.partition(".")
        stage.spec(**{section: {name: value.replace("OUTSIDE", str(stage.outside))}})

    return make


def linked(name: str, target: str) -> Callable[[Stage], None]:
    """A file of the audit that is a link."""

    def make(stage: Stage) -> None:
        stage.spec()
        stage.link(name, target.replace("OUTSIDE", str(stage.outside)))

    return make


def opinion(text: str, target: str = "") -> Callable[[Stage], None]:
    """An opinion whose text lies elsewhere."""

    def make(stage: Stage) -> None:
        given = {"word": "qualified", "by": "A", "text": text.replace("OUTSIDE", str(stage.outside))}
        stage.spec(report={"formats": ["html"], "opinion": given})
        if target:
            stage.link(text, target.replace("OUTSIDE", str(stage.outside)))

    return make


def pipe(stage: Stage) -> None:
    """A pipe that nobody writes into."""
    stage.spec(data={"evaluate": "pipe.csv"})
    os.mkfifo(stage.folder / "pipe.csv")


def plug(stage: Stage) -> None:
    """A socket."""
    stage.spec(data={"evaluate": "plug.csv"})
    here = os.open(".", os.O_RDONLY)
    os.chdir(stage.folder)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("plug.csv")
    finally:
        os.fchdir(here)
        os.close(here)


def huge(name: str) -> Callable[[Stage], None]:
    """A file of a tebibyte that takes no room."""

    def make(stage: Stage) -> None:
        stage.spec()
        with (stage.folder / name).open("wb") as file:
            file.truncate(2**40)

    return make


def circle(stage: Stage) -> None:
    """Two links to one another."""
    stage.spec()
    stage.link("holdout.csv", "other.csv")
    stage.link("other.csv", "holdout.csv")


def folder_link(stage: Stage) -> None:
    """A folder that is a link."""
    stage.spec(data={"evaluate": "data/secret.csv"})
    stage.link("data", stage.outside)


def given(stage: Stage) -> None:
    """A file of counterfactuals that is a link."""
    search = {"search": "given", "path": "moves.csv", "for": "each", "constraints": "domain"}
    stage.spec(counterfactuals={"theirs": search})
    stage.link("moves.csv", stage.outside / "secret.csv")


def look(stage: Stage, *, whole: bool) -> None:
    """A folder of templates that is a link, or holds one."""
    stage.spec(report={"formats": ["html"], "template": "look"})
    if whole:
        return stage.link("look", stage.outside)
    stage.write("look/template.yaml", "logo: logo.png\n")
    return stage.link("look/logo.png", stage.outside / "secret.png")


LINK = "leads over a link"
LINKS = cases(
    "links",
    {
        "the rows are a link to a secret": (linked("holdout.csv", "OUTSIDE/secret.csv"), LINK),
        "the training rows are a link": (linked("train.csv", "../../outside/secret.csv"), LINK),
        "the model is a link": (linked("model.skops", "OUTSIDE/secret.skops"), LINK),
        "a folder is a link": (folder_link, LINK),
        "counterfactuals are a link": (given, LINK),
        "a link to a device": (linked("holdout.csv", "/dev/zero"), "kernel"),
        "a link to an answer of the kernel": (linked("holdout.csv", "/proc/self/environ"), "link|kernel"),
        "links in a circle": (circle, "cannot be reached"),
        "a link to nothing": (linked("holdout.csv", "nowhere.csv"), "there is no file"),
        "the templates are a link": (lambda s: look(s, whole=True), "link|outside|template"),
        "a logo is a link": (lambda s: look(s, whole=False), "link|outside|template"),
        "the opinion is a link": (opinion("opinion.md", "OUTSIDE/secret.md"), LINK),
    },
)  # fmt: skip

OUT = "lies outside the folder of the spec"
PATHS = cases(
    "paths",
    {
        "quotes a secret as the opinion": (opinion("../../outside/secret.md"), OUT),
        "quotes a secret by its whole path": (opinion("OUTSIDE/secret.md"), OUT),
        "quotes the passwords": (opinion("/etc/passwd"), OUT),
        "quotes the environment": (opinion("/proc/self/environ"), "kernel"),
        "reads a device without end": (named("data.evaluate", "/dev/zero"), "device"),
        "waits for a keyboard": (named("data.evaluate", "/dev/stdin"), "device|pipe|cannot be reached|no file"),
        "reads its own memory": (named("data.evaluate", "/proc/self/mem"), "kernel"),
        "waits for a pipe": (pipe, "a pipe"),
        "waits for a socket": (plug, "a socket"),
        "a folder for rows": (named("data.evaluate", ".."), "is a folder"),
        "a model that is a folder": (named("model.path", "."), "is a folder"),
        "a NUL in a path": (named("data.evaluate", "holdout.csv\0.png"), "seen|character"),
        "a path that reads backwards": (named("data.evaluate", "\u202evsc.tuodloh"), "cannot be seen"),
        "a path of 100,000 characters": (named("data.evaluate", "a/" * 50_000), "too long"),
        "a part of a path that is too long": (named("data.evaluate", "a" * 300 + ".csv"), "cannot be reached"),
        "a URL of a file": (named("data.evaluate", "file://OUTSIDE/secret.csv"), "there is no file"),
        "a URL": (named("data.evaluate", "http://127.0.0.1:9/x.csv"), "there is no file"),
        "a URL of a bucket": (named("data.train", "s3://bucket/x.parquet"), "there is no file"),
        "a home": (named("data.evaluate", "~/secret.csv"), "there is no file"),
        "a variable": (named("data.evaluate", "$HOME/secret.csv"), "there is no file"),
        "a pattern": (named("data.evaluate", "*.csv"), "there is no file"),
        "a file inside a zip": (named("data.evaluate", "x.zip!/holdout.csv"), "there is no file"),
        "a tebibyte of rows": (huge("holdout.csv"), "at most"),
        "a tebibyte of model": (huge("model.skops"), "at most"),
        "a template from elsewhere": (named("report.template", "../../outside"), "template|folder|report"),
    },
)  # fmt: skip

FOUND = cases(
    "paths that are allowed",
    {"rows in a folder beside that of the spec": (
        lambda stage: (stage.spec(data={"evaluate": f"../{stage.folder.name}/holdout.csv"}), None)[1], "", HARMLESS)},
)  # fmt: skip

ALL: list[Case] = [*LINKS, *PATHS, *FOUND]
