"""The PDF is printed in parts: nothing is lost or told twice, and the whole is one file with one structure."""

import contextlib
import gc
import hashlib
import html
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from odd_case import named
from pdf_case import long_html
from pyhanko.pdf_utils.reader import PdfFileReader
from report_case import SPEC, credit_case

from audit.bundle import Bundle
from audit.core.evidence import Result
from audit.report import pdf as writer
from audit.report.blocks import Grid
from audit.report.csv_files import RISKY, harmless, table_csv
from audit.report.finish import attached
from audit.report.html import asset, paged_html, paged_style
from audit.report.parts import parts
from audit.report.press import Press, Setting
from audit.report.source import Source
from audit.report.text import drawable
from audit.report.view import build
from audit.report.xmp import NAMESPACE, PROPERTIES
from audit.resources import folder


def read(data: bytes) -> PdfFileReader:
    return PdfFileReader(BytesIO(data))


@pytest.fixture(scope="module")
def credit(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, bytes]:
    bundle = credit_case(tmp_path_factory.mktemp("credit"))
    return bundle, writer.pdf(bundle)


@pytest.fixture(scope="module")
def long() -> bytes:
    """A report in six parts, with a table that goes on over three pages."""
    rows = "".join(f'<tr><th scope="row">r{i}</th><td>{i}</td></tr>' for i in range(120))
    head = '<thead><tr><th scope="col">A</th><th scope="col">B</th></tr></thead>'
    table = f"<table><caption>Long</caption>{head}<tbody>{rows}</tbody></table>"
    markup = long_html(6).replace("</section>", f"{table}</section>", 1)
    with writer._bundled_fonts(), writer._own_collection():
        return writer.printed(markup, "a-3a", size=200).pdf.finish(b"0" * 32)


# Cutting


def tree(weights: list[list[int]]) -> Any:
    """A report with portions of sections of so many paragraphs."""
    whole = ET.Element("html")
    ET.SubElement(whole, "head")
    body = ET.SubElement(whole, "body")
    ET.SubElement(body, "header", {"class": "cover", "data-report": "R"}).text = "front"
    main = ET.SubElement(body, "main")
    for p, sections in enumerate(weights):
        portion = ET.SubElement(main, "div", {"class": "portion"})
        for s, size in enumerate(sections):
            section = ET.SubElement(portion, "section", {"class": "topic"})
            ET.SubElement(section, "h2").text = f"{p}.{s}"
            for i in range(size):
                ET.SubElement(section, "p").text = f"{p}.{s}.{i}"
    return whole


@given(st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=5), min_size=1, max_size=5), st.integers(3, 40))
def test_parts_hold_everything_once_and_in_order(weights: list[list[int]], size: int) -> None:
    whole = [text for text in tree(weights).itertext() if text.strip()]
    cut = list(parts(tree(weights), size))
    assert [text for part in cut for text in part.tree.itertext()] == whole
    assert [part.front for part in cut] == [True] + [False] * (len(cut) - 1)
    for part in cut[1:]:
        body = part.tree.find("body")
        assert body.get("data-report") == "R"
        for section in body.iter("section"):
            head = section.find("h2")
            assert head is not None or section.get("data-section")


def test_a_report_of_one_piece_is_all_front() -> None:
    whole = ET.fromstring("<html><head/><body><p>x</p></body></html>")
    assert [(part.front, part.tree is whole) for part in parts(whole)] == [(True, True)]


# Printing


def test_the_contents_name_the_pages_and_every_page_has_its_number() -> None:
    weasyprint, fetcher = writer._weasyprint(), writer.deny_all()
    with writer._bundled_fonts():
        page = weasyprint.HTML(string=long_html(9), base_url=writer.BASE, url_fetcher=fetcher)
        style = weasyprint.CSS(string=paged_style())
        numbers = weasyprint.CSS(string=asset("numbers.css"))
        press = Press(Setting(weasyprint, fetcher, style, numbers, writer.BASE, "1.7"))
        cut = list(parts(page.etree_element, 400))
        press.print(cut)
        press.finish()
    assert len(cut) > 3
    told = {a.get("href")[1:]: int(a.get("data-page")) for a in cut[0].tree.iter("a")}
    found = {name: i for i, sheet in reversed(list(enumerate(press.sheets, start=1))) for name in sheet.anchors}
    assert told == {f"s{i}": found[f"s{i}"] for i in range(1, 10)}
    assert sorted(told.values()) == list(told.values())
    assert [len(sheet.page["Contents"]) for sheet in press.sheets] == [1] + [2] * (len(press.sheets) - 1)


def test_the_file_is_sound_and_its_objects_are_all_there(long: bytes) -> None:
    reader = read(long)
    kids = reader.root["/Pages"]["/Kids"]
    assert reader.root["/Pages"]["/Count"] == len(kids) > 6
    assert sum(1 for _ in _structure(reader)) > 400
    first = reader.root["/Outlines"]["/First"].get_object()
    titles = []
    while first is not None:
        titles.append(str(first["/Title"]))
        first = first["/Next"].get_object() if "/Next" in first else None
    assert titles == ["Contents", *(f"Section {i}" for i in range(1, 7))]


def test_what_goes_on_over_pages_is_one_element(long: bytes) -> None:
    """A table of three pages is one table with one head; what is repeated for the eye is not read out again."""
    reader = read(long)
    tables = [element for element in _structure(reader) if element.get("/S") == "/Table"]
    heads = [element for element in _structure(reader) if element.get("/S") == "/THead"]
    rows = [element for element in _structure(reader) if element.get("/S") == "/TR"]
    assert (len(tables), len(heads), len(rows)) == (7, 7, 6 * 23 + 121)


def test_running_heads_and_page_numbers_are_artefacts(long: bytes) -> None:
    reader = read(long)
    for leaf in list(reader.root["/Pages"]["/Kids"])[1:]:
        texts = [content.get_object().data for content in leaf.get_object()["/Contents"]]
        assert b"".join(texts).count(b"/Artifact <</Type/Pagination>> BDC") >= 3
        assert b"MCID" not in texts[1]


def test_every_marked_piece_has_its_element(long: bytes) -> None:
    reader = read(long)
    numbers = list(reader.root["/StructTreeRoot"]["/ParentTree"]["/Nums"])
    owners = dict(zip(numbers[::2], (item.get_object() for item in numbers[1::2]), strict=True))
    assert list(owners) == sorted(owners)
    for leaf in reader.root["/Pages"]["/Kids"]:
        sheet = leaf.get_object()
        pieces = re.findall(rb"/MCID (\d+)", sheet["/Contents"][0].get_object().data)
        held = owners[sheet["/StructParents"]]
        assert all(held[int(piece)].get_object()["/Type"] == "/StructElem" for piece in pieces)


def test_a_figure_is_read_out_with_the_title_of_its_drawing(credit: tuple[Bundle, bytes], long: bytes) -> None:
    """The titles are taken from the HTML by another reader than the one that prints it."""

    def told(data: bytes) -> list[str]:
        figures = [element for element in _structure(read(data)) if element["/S"] == "/Figure"]
        return sorted(" ".join(str(figure["/Alt"]).split()) for figure in figures)

    assert told(long) == sorted(f"Figure of page {i}: ten bars." for i in range(1, 7))
    bundle, data = credit
    source = Source(bundle, paged=True, shown=drawable())
    source = replace(source, files=tuple(attached(source)))
    drawings = re.findall(r"<svg\b.*?</svg>", paged_html(build(source), drawable(), ""), re.DOTALL)
    titles = [re.findall(r"<title[^>]*>(.*?)</title>", drawing, re.DOTALL) for drawing in drawings]
    assert {len(found) for found in titles} == {1}
    expected = sorted(" ".join(html.unescape(found[0]).split()) for found in titles)
    assert told(data) == expected
    assert len(expected) > 3
    assert min(map(len, expected)) > 20, "a title says what there is to see"


def _structure(reader: PdfFileReader) -> Any:
    queue = [reader.root["/StructTreeRoot"]["/K"][0].get_object()]
    while queue:
        element = queue.pop()
        yield element
        kids = element.get("/K", [])
        for kid in kids if isinstance(kids, list) else [kids]:
            found = kid.get_object() if hasattr(kid, "get_object") else kid
            if hasattr(found, "get") and found.get("/Type") == "/StructElem":
                assert found["/P"].get_object()["/S"] == element["/S"]
                queue.append(found)


def test_collecting_garbage_changes_no_byte(credit: tuple[Bundle, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, before = credit
    monkeypatch.setattr(writer, "_own_collection", contextlib.nullcontext)
    assert gc.isenabled()
    assert writer.pdf(bundle) == before


# What travels inside


def test_the_description_names_report_opinion_and_digests(credit: tuple[Bundle, bytes]) -> None:
    bundle, data = credit
    manifest = bundle.manifest()
    packet = read(data).root["/Metadata"].get_object().data.decode("utf-8")
    rdf = ET.fromstring(packet.split("?>", 1)[1].rsplit("<?", 1)[0])
    given = {
        item.tag.removeprefix(f"{{{NAMESPACE}}}"): item
        for item in rdf.iter()
        if item.tag.startswith(f"{{{NAMESPACE}}}")
    }
    assert set(given) == set(PROPERTIES)
    said = {name: " ".join("".join(item.itertext()).split()) for name, item in given.items()}
    inputs = {record.name: record.sha256 for record in manifest.inputs}
    assert said == {
        "reportId": manifest.report_id,
        "opinion": "qualified",
        "payload": manifest.payload,
        "spec": hashlib.sha256(SPEC.encode()).hexdigest(),
        "model": f"model.skops {inputs['model.skops']}",
        "data": f"train.csv {inputs['train.csv']}holdout.csv {inputs['holdout.csv']}",
    }


def test_attached_files_are_those_whose_digests_are_printed(credit: tuple[Bundle, bytes]) -> None:
    bundle, data = credit
    reader = read(data)
    names = list(reader.root["/Names"]["/EmbeddedFiles"]["/Names"])
    files = {}
    for name, spec in zip(names[::2], names[1::2], strict=True):
        entry = spec.get_object()
        files[str(name)] = (str(entry["/AFRelationship"]), entry["/EF"]["/F"].get_object().data)
    assert list(files) == sorted(files)
    assert len(reader.root["/AF"]) == len(files)
    kinds = {name: kind for name, (kind, _) in files.items()}
    assert kinds.items() >= {"spec.yaml": "/Source", "results.json": "/Data", "register.csv": "/Supplement"}.items()
    assert files["results.json"][1] == (bundle.root / "results.json").read_bytes()
    source = Source(bundle, paged=True, files=tuple(attached(Source(bundle))))
    (table,) = (b for s in build(source).sections for b in s.blocks if isinstance(b, Grid) and b.name == "attached")
    printed = {row[0].text: row[3].text for row in table.rows}
    assert printed == {name: hashlib.sha256(content).hexdigest() for name, (_, content) in files.items()}


def test_tables_of_aggregates_are_attached_whole_and_rows_of_people_are_not(
    credit: tuple[Bundle, bytes], tmp_path: Path
) -> None:
    bundle = named(tmp_path, "x")
    files = {file.name: file.data for file in attached(Source(bundle))}
    assert pd.read_csv(BytesIO(files["odd.long.csv"]))["value"].to_list() == list(range(60))
    assert "odd.odd.csv" in files, "printed whole, with fewer digits"
    tables = [data for name, data in files.items() if name.endswith(".csv")]
    assert min(data.count(b"\r\n") for data in tables) > 1, "none is empty"
    assert not [f.name for f in attached(Source(credit[0])) if "counterfactuals" in f.name or "instances" in f.name]


def test_whoever_has_a_row_in_a_table_is_not_attached(tmp_path: Path) -> None:
    from odd_case import _bundle, _facts

    people = pd.DataFrame({"instance": [f"p{i}" for i in range(60)], "gap": range(60)})
    tables = {"people": people, "groups": people.rename(columns={"instance": "group"})}
    bundle = _bundle(tmp_path, {"odd": ("odd", Result(tables=tables))}, (), _facts("x"))
    assert [f.name for f in attached(Source(bundle)) if f.name.startswith("odd")] == ["odd.groups.csv"]


def test_a_long_register_is_cut_on_paper_and_whole_in_the_attachment(tmp_path: Path) -> None:
    from odd_case import register_case

    bundle = register_case(tmp_path, 4000)
    files = tuple(attached(Source(bundle)))
    report = build(Source(bundle, paged=True, files=files))
    (register,) = (b for s in report.sections for b in s.blocks if isinstance(b, Grid) and b.name == "register")
    assert len(register.rows) == 300
    assert [row[0].text.split(": ")[1] for row in register.rows[:3]] == ["M3990", "M3991", "M0000"]
    assert [row[-1].text for row in register.rows[:3]] == ["FAIL", "PASS", "–"]
    assert register.note.startswith("300 of 4,000 rows are shown, what fails or is in doubt first; register.csv")
    (whole,) = (file.data for file in files if file.name == "register.csv")
    frame = pd.read_csv(BytesIO(whole))
    assert len(frame) == 4000
    assert list(frame.loc[3990, ["metric", "value", "required", "result"]]) == ["m3990", 0.9975, "≥ 1.500", "FAIL"]


# CSV


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"), ("@SUM(A1)", "'@SUM(A1)"), ("+a", "'+a"), ("-cmd|' /C calc'!A0", "'-cmd|' /C calc'!A0"),
        ("\tx", "'\tx"), ("\rx", "'\rx"), ("-1.5", "-1.5"), ("+3e5", "+3e5"), (-1.5, "-1.5"), (0.1, "0.1"), (7, "7"),
        (None, ""), (float("nan"), ""), (True, "True"), ("a=b", "a=b"), ("", ""),
        ("\0=1+1", "'=1+1"), ("\0\0@SUM(A1)", "'@SUM(A1)"), ("\0-1.5", "-1.5"), ("a\0b", "ab"),
        ("\uff1d1+1", "'\uff1d1+1"), ("\uff0ba", "'\uff0ba"), ("\uff0da", "'\uff0da"), ("\0\uff20x", "'\uff20x"),
    ],
)  # fmt: skip
def test_no_cell_is_a_program_and_numbers_stay_numbers(value: Any, cell: str) -> None:
    assert harmless(value) == cell
    head = (
        table_csv(pd.DataFrame({value: ["x"]})).decode("utf-8").removesuffix("\r\nx\r\n")
        if isinstance(value, str)
        else cell
    )
    assert head.strip('"') == cell, "the name of a column too"


@given(st.lists(st.text(max_size=8), min_size=1, max_size=4, unique=True), st.text(max_size=12))
def test_a_table_reads_back_without_programs(names: list[str], value: str) -> None:
    import csv

    text = table_csv(pd.DataFrame([[value] * len(names)], columns=names)).decode("utf-8")
    for row in csv.reader(text.splitlines(keepends=True)):
        for cell in row:
            assert not cell.startswith(RISKY) or re.fullmatch(
                r"[+-]?[0-9._]*(e[+-]?[0-9_]+)?(inf(inity)?|nan)?", cell, re.IGNORECASE
            )


# Fonts


def test_fonts_are_the_recorded_ones() -> None:
    place = folder("templates") / "fonts"
    lines = [line.split("  ") for line in (place / "SHA256SUMS").read_text("ascii").splitlines()]
    recorded = {name: digest for digest, name in lines}
    present = {file.name for file in place.iterdir()} - {"SHA256SUMS"}
    assert set(recorded) == present
    assert {name: hashlib.sha256((place / name).read_bytes()).hexdigest() for name in present} == recorded
