"""The HTML report in Chromium, under axe-core and under the Nu validator.

Needs node, Chromium, Java and what `scripts/browser-tools` installs; skipped where any of it is absent. `make accept`
installs it and looks at the reports of the worked examples as well.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from look_case import look_case
from report_case import credit_case, empty_case
from saliency_case import saliency_case

from audit.bundle import Bundle
from audit.report import render

ROOT = Path(__file__).resolve().parent.parent.parent
TOOLS = ROOT / "build" / "browser"
VALIDATOR = TOOLS / "node_modules" / "vnu-jar" / "build" / "dist" / "vnu.jar"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SMALL: dict[str, Callable[[Path], Bundle]] = {
    "credit": credit_case,
    "empty": empty_case,
    "pictures": saliency_case,
    "look": look_case,
}
EXAMPLES = ("german_credit", "breast_cancer", "remedy", "digits", "dogs")
CASES = (*SMALL, *EXAMPLES) if os.environ.get("AUDIT_ACCEPT") else ("look",)
DARK_ENOUGH = 60
"""The largest channel of a ground that counts as dark."""


def missing() -> str:
    """What a look at a page needs and this machine lacks."""
    if shutil.which("node") is None or CHROMIUM is None:
        return "node and Chromium are not installed"
    return "" if (TOOLS / "node_modules").is_dir() else "run scripts/browser-tools, which installs axe-core from npm"


@pytest.fixture(scope="module", params=CASES)
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A report by its name, as a file."""
    name = request.param
    if name in SMALL:
        bundle = SMALL[name](tmp_path_factory.mktemp(name))
        render(bundle, ["html"])
        yield name, bundle.root / "report.html"
    else:
        yield name, request.getfixturevalue(name).out / "report.html"


@pytest.fixture(scope="module")
def seen(report: tuple[str, Path]) -> dict[str, Any]:
    """What Chromium and axe-core see of the report."""
    if why := missing():
        pytest.skip(why)
    command = ["node", Path(__file__).with_name("browser.js"), TOOLS, CHROMIUM, report[1]]
    answer = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, check=False)
    assert answer.returncode == 0, answer.stderr
    result: dict[str, Any] = json.loads(answer.stdout)
    return result


def test_the_page_asks_for_nothing_and_breaks_no_rule_of_its_own(seen: dict[str, Any]) -> None:
    """From file://, without a network and with its policy in force: an empty log, no request."""
    assert seen["seen"] == {"console": [], "requests": []}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(seen: dict[str, Any], scheme: str, report: tuple[str, Path], figure: Any) -> None:
    found = seen["axe"][scheme]
    assert found["violations"] == []
    assert found["passes"] > 30
    ground = max(map(int, found["ground"].removeprefix("rgb(").rstrip(")").split(",")))
    assert (ground < DARK_ENOUGH) == (scheme == "dark")
    # What axe leaves to people: marks that are no letters, which have the colour of the word beside them, and links
    # in a heading that a box overlaps.
    assert {rule["id"] for rule in found["incomplete"]} <= {"color-contrast", "link-in-text-block"}
    figure(f"axe-core: violations in {report[0]}, {scheme}", len(found["violations"]), "Chromium; limit 0")


def test_nothing_reaches_over_the_side(seen: dict[str, Any]) -> None:
    """At 1200, 390 and 320 pixels (1280 at 400 %) the page itself never scrolls sideways."""
    for key, width in {"wide": 1200, "wide390": 390, "wide320": 320}.items():
        assert seen[key] == {"scroll": width, "screen": width, "beyond": []}


def test_every_stop_of_the_tab_key_has_a_name_and_is_seen(seen: dict[str, Any]) -> None:
    stops = seen["stops"]
    assert len(stops) == min(60, seen["reachable"])
    assert stops[0] == {"tag": "A", "name": "Skip to the executive summary", "outline": "solid"}
    assert [stop for stop in stops if not stop["name"] or stop["outline"] == "none"] == []


def test_the_register_is_sorted_and_filtered_by_keyboard(seen: dict[str, Any], report: tuple[str, Path]) -> None:
    used = seen["use"]
    if used is None:
        assert report[0] == "empty", "a report in which something was measured has a register"
        return
    up, down = used["up"], used["down"]
    assert (up["state"], down["state"]) == ("ascending", "descending")
    values = [numbers(side["column"]) for side in (up, down)]
    assert values[0] == sorted(values[0])
    assert values[1] == sorted(values[1], reverse=True)
    for side in (up, down):
        absent = [text == "–" for text in side["column"]]
        assert absent == sorted(absent), "what has no number comes last"
    assert sorted(up["column"]) == sorted(down["column"])
    rows = used["before"]["rows"]
    assert 0 < used["filtered"]["shown"] < rows
    assert used["filtered"]["said"] == f"{used['filtered']['shown']} of {rows} rows"
    assert used["results"] or report[0] in {"pictures", "dogs"}, "an audit with gates has results"
    assert (used["selected"] is not None) == (used["results"] > 0), "a choice where there are results to choose"
    assert used["selected"] is None or 0 < used["selected"]["shown"] < rows


def numbers(column: list[str]) -> list[float]:
    return [float(text) for text in column if text != "–"]


def test_it_prints_on_white_without_controls(seen: dict[str, Any]) -> None:
    """Also for a reader whose screen is dark."""
    printed = seen["print"]
    assert printed["ground"] == printed["card"] == "rgb(255, 255, 255)"
    assert max(map(int, printed["ink"].removeprefix("rgb(").rstrip(")").split(","))) < 128
    assert (printed["controls"], printed["cut"]) == (0, 0)


def test_footnotes_are_seen_and_the_tables_are_whole_without_script(seen: dict[str, Any], report: Any) -> None:
    assert seen["footnotes"] == 0
    assert seen["unscripted"] == report[1].read_text("utf-8").count("<tr>") - heads(report[1])


def heads(path: Path) -> int:
    return len(re.findall(r"<thead>\s*<tr>", path.read_text("utf-8")))


def test_the_validator_finds_no_error(report: tuple[str, Path], figure: Any) -> None:
    """Nu reads hashes of a policy wrongly and warns of them (`info`); nothing else may be said."""
    if shutil.which("java") is None or not VALIDATOR.is_file():
        pytest.skip("needs Java, and the validator that scripts/browser-tools installs")
    command = ["java", "-Xss4m", "-jar", str(VALIDATOR), "--format", "json", "--stdout", "--exit-zero-always"]
    answer = subprocess.run([*command, str(report[1])], capture_output=True, timeout=120, check=True)
    messages = json.loads(answer.stdout)["messages"]
    said = [m for m in messages if "violates Content Security Policy" not in m["message"]]
    assert [f"{m['type']} {m.get('lastLine')}: {m['message']}" for m in said] == []
    figure(f"Nu validator: errors in {report[0]}", len(said), "limit 0")


def test_the_validator_notices(tmp_path: Path) -> None:
    """The control: an attribute of style and a heading without text are found."""
    if shutil.which("java") is None or not VALIDATOR.is_file():
        pytest.skip("needs Java, and the validator that scripts/browser-tools installs")
    page = tmp_path / "wrong.html"
    page.write_text('<!DOCTYPE html><html lang="en"><title>t</title><p id="a"><p id="a">x', encoding="utf-8")
    command = ["java", "-jar", str(VALIDATOR), "--format", "json", "--stdout", "--exit-zero-always", str(page)]
    answer = subprocess.run(command, capture_output=True, timeout=120, check=True)
    assert any("Duplicate ID" in message["message"] for message in json.loads(answer.stdout)["messages"])
