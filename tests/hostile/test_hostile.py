"""Hostile inputs through the real command line, watched: none reads what it should not, reaches out, or runs code."""
# ruff: noqa: E501 - cases read best as one line each

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cases_bundles
import cases_data
import cases_models
import cases_nets
import cases_paths
import cases_spec
import cases_templates
import credit_case
import pandas as pd
import pytest
import skops.io
from hostile_case import CANARY, Case, Stage
from hostile_judge import FILLS_THE_LOG, attached_faults, computes, controls, is_wrong, page_faults
from hostile_kernel import KERNEL, Watch

from audit.bundle import parquet_bytes
from audit.engine.run import Options, run

ALL = [
    *cases_spec.ALL,
    *cases_paths.ALL,
    *cases_models.ALL,
    *cases_data.ALL,
    *cases_nets.ALL,
    *cases_templates.ALL,
    *cases_bundles.ALL,
]
PER_KIND = 2
"""Cases of each kind in every test; all of them where AUDIT_ACCEPT asks for it."""

SPREAD = {"bundles": 12}
"""Kinds of which every so manieth case is run instead, since the same is tried with several commands."""

SECONDS, MEMORY = 60, 8 * 2**30
HERE = Path(__file__).resolve().parent


def chosen() -> list[Case]:
    if os.environ.get("AUDIT_ACCEPT"):
        return ALL
    kinds = {case.kind: [c for c in ALL if c.kind == case.kind] for case in ALL}
    return [
        case for kind, all_ in kinds.items() for case in (all_[:: SPREAD[kind]] if kind in SPREAD else all_[:PER_KIND])
    ]


def stage(folder: Path, good: Path, case: Case) -> Stage:
    """The case, made in a folder of its own."""
    shutil.copytree(good, folder / "case")
    made = Stage(folder / "case", good.parent / "outside", folder / "ran")
    case.make(made)
    for path in (made.folder / "spec.yaml", made.folder / "opinion.md"):
        if path.is_file() and not path.is_symlink():
            path.write_bytes(path.read_bytes().replace(b"MARKER", str(made.marker).encode()))
    return made


Did = list[tuple[Case, Stage, dict[str, Any]]]


@pytest.fixture(scope="module")
def done_all(tmp_path_factory: pytest.TempPathFactory) -> tuple[Did, list[tuple[str, Stage, dict[str, Any]]]]:
    """What every case did, and every control."""
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
    (outside / "secret.parquet").write_bytes(parquet_bytes(secret))
    bundle_of(good, place / "bundle")
    stages = [stage(place / str(i), good, case) for i, case in enumerate(chosen())]
    listed, answers = place / "cases.json", place / "results.json"
    given = [
        {"name": case.tries, "folder": str(made.folder), "args": case.words}
        for case, made in zip(chosen(), stages, strict=True)
    ]
    control = Stage(Path(shutil.copytree(good, place / "control" / "case")), outside, place / "control" / "ran")
    tried = {**controls(control), "fills the log": FILLS_THE_LOG}
    coded = [{"name": name, "folder": str(control.folder), "code": code} for name, code in tried.items()]
    listed.write_text(
        json.dumps({"good": str(good / "spec.yaml"), "outside": str(outside), "cases": given, "controls": coded}),
        encoding="utf-8",
    )
    env = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)])}
    env |= {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, HERE / "hostile_runner.py", listed, answers],
        env=env, capture_output=True, text=True, check=False, timeout=3600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(answers.read_text(encoding="utf-8"))
    did = list(zip(chosen(), stages, told["cases"], strict=True))
    return did, [(name, control, answer) for name, answer in zip(tried, told["controls"], strict=True)]


def bundle_of(good: Path, out: Path) -> None:
    """A good bundle, with what changed since another, here nothing: so that all is computed once."""
    stage = Stage(Path(shutil.copytree(good, out.parent / "made")), out.parent / "outside", out.parent / "ran")
    stage.spec()
    run(stage.folder / "spec.yaml", stage.folder / "before", Options())
    shutil.copytree(stage.folder / "before", out)
    run(stage.folder / "spec.yaml", out, Options(against=stage.folder / "before"))


@pytest.fixture(scope="module")
def results(done_all: tuple[Did, Any]) -> Did:
    """What every case did."""
    return done_all[0]


def faults(case: Case, made: Stage, done: dict[str, Any]) -> list[str]:
    """What a case did that it should not."""
    found = []
    if done["exit"] not in case.codes:
        found.append(f"exit {done['exit']}")
    if not re.search(case.says, done["said"]):
        found.append(f"says nothing of {case.says!r}")
    if "Traceback" in done["said"]:
        found.append("a traceback")
    if done["exit"] in {2, 3} and not re.search(
        r"^(spec\.yaml|opinion\.md|look/|a\.j2|logo\.svg|--|.*exit=3)", done["said"], re.MULTILINE
    ):
        found.append("does not say where")
    if any(done["secrets"]):  # without a name it is the folder that was looked into
        found.append(f"touched {done['secrets']}")
    if made.marker.exists():
        found.append("ran code")
    if CANARY in done["said"] or any(CANARY.encode() in file.read_bytes() for file in written(made)):
        found.append("shows the secret")
    if done["cpu"] > SECONDS or done["memory"] > MEMORY:
        found.append(f"took {done['cpu']:.0f} s and {done['memory'] / 2**30:.1f} GiB")
    found += [f"did more than the log holds: {done['lost']} lines are lost"] if done["lost"] else []
    return [*found, *(shown_faults(made) if done["exit"] in {0, 1} else ()), *_acts(done, made)]


def _acts(done: dict[str, Any], made: Stage) -> list[str]:
    """Events that are not of an audit."""
    return [f"did {line}" for line in done["events"] if is_wrong(json.loads(line), made)]


def shown_faults(made: Stage) -> list[str]:
    """What in the pages and the attached tables of an audit that ran is not harmless."""
    own = made.folder.parent.parent / "bundle" / "report.html"
    drawn = [path for path in written(made) if path.suffix == ".html"]
    pdfs = [path for path in written(made) if path.name == "report.pdf"]
    return [line for path in drawn for line in page_faults(path, own)] + [
        x for path in pdfs for x in attached_faults(path)
    ]


def written(made: Stage) -> list[Path]:
    """What the audit wrote, or has before it."""
    found = [path for out in made.folder.glob("out*") for path in (out, *out.rglob("*"))]
    return [path for path in found if path.is_file() and not path.is_symlink()]


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


def test_the_watch_holds(done_all: tuple[Did, list[tuple[str, Stage, dict[str, Any]]]]) -> None:
    """An audit that runs opens files and the watch sees them; what no audit does is seen and judged, each by a control."""
    ran = [done for case, _, done in done_all[0] if done["exit"] in {0, 1} and not case.command]
    assert ran
    assert any("holdout.csv" in line for line in ran[0]["events"])
    for name, made, done in done_all[1]:
        if name == "fills the log":
            assert done["lost"] > 0
            continue
        assert any(is_wrong(json.loads(line), made) for line in done["events"]), (name, done["events"], done["said"])
        assert not done["lost"], name


def test_the_watch_sees_what_is_made_and_removed_in_the_folder_of_secrets(tmp_path: Path) -> None:
    if not KERNEL:
        pytest.skip("the kernel that watches is Linux on x86-64 or ARM64")
    (tmp_path / "old").write_bytes(b"x")
    watch = Watch(tmp_path)
    (tmp_path / "old").unlink()
    (tmp_path / "new").symlink_to("/etc")
    assert watch.events() == ["new", "old"]


@pytest.mark.parametrize("text", [
    "<script>alert(1)</script>", "<p onclick='x()'>a</p>", "<img src='http://127.0.0.1/x.png'>", "<a href='file:///etc/passwd'>a</a>",
    "<p>\u202egpj.exe</p>", "<p>&#x202e;gpj</p>", "<iframe></iframe>", "<p style='background:url(http://x)'>a</p>",
])  # fmt: skip
def test_a_page_with_something_of_a_stranger_is_seen(text: str, tmp_path: Path) -> None:
    good = "<html><body><script>ours()</script><a href='#a'>a</a></body></html>"
    for name, content in (("good.html", good), ("other.html", good.replace("</body>", f"{text}</body>"))):
        (tmp_path / name).write_text(content, encoding="utf-8")
    assert page_faults(tmp_path / "good.html", tmp_path / "good.html") == []
    assert page_faults(tmp_path / "other.html", tmp_path / "good.html")


def test_formulas_are_told_from_numbers() -> None:
    assert [computes(cell) for cell in ("=1+1", "+1", "-2.5", "@A1", "\0=1", " =1", "'=1", "a=1", "-inf", "")] == [
        True, False, False, True, True, True, False, False, False, False,
    ]  # fmt: skip


def test_there_are_enough_cases() -> None:
    assert len(ALL) >= 150
    assert len({(case.kind, case.tries) for case in ALL}) == len(ALL)
