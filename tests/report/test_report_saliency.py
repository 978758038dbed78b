"""Section S12: pictures with their evidence, maps of cells, and tables that are cut short."""

import base64
import re
from html import unescape
from io import BytesIO

import numpy as np
import page
import pytest
from PIL import Image
from saliency_case import CLASSES, HIGH, KEPT, MISREAD, WIDE, name, picture, saliency_case

from audit.bundle import Bundle
from audit.report import render
from audit.report.blocks import Figure, Grid, Heading, Para
from audit.report.misread import LISTED_PICTURES, PRINTED_PICTURES
from audit.report.panels import Said
from audit.report.pictures import Frame, Misread, Swap, inline, misread_figure
from audit.report.source import Source
from audit.report.view import build


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return saliency_case(tmp_path_factory.mktemp("saliency"))


def blocks(bundle: Bundle, *, paged: bool = False) -> list[object]:
    (section,) = (s for s in build(Source(bundle, paged=paged)).sections if s.id == "S12")
    return list(section.blocks)


def figures(bundle: Bundle, prefix: str, *, paged: bool = False) -> list[Figure]:
    return [b for b in blocks(bundle, paged=paged) if isinstance(b, Figure) and b.name.startswith(prefix)]


def grid(bundle: Bundle, key: str) -> Grid:
    return next(b for b in blocks(bundle) if isinstance(b, Grid) and b.name == key)


def texts(found: Grid) -> list[list[str]]:
    return [[cell.text.replace("\u00a0", " ") for cell in row] for row in found.rows]


def decoded(address: str) -> "np.ndarray":
    return np.asarray(Image.open(BytesIO(base64.b64decode(address.partition(",")[2]))))


def test_the_screen_shows_all_kept_pictures_and_paper_the_first(bundle: Bundle) -> None:
    assert len(figures(bundle, "picture-")) == KEPT
    printed = figures(bundle, "picture-", paged=True)
    assert [f.name for f in printed] == [f"picture-{i}" for i in range(PRINTED_PICTURES)]
    told = [b.text for b in blocks(bundle, paged=True) if isinstance(b, Para)]
    assert any(f"The first 6 of {MISREAD} misread pictures" in t and "report.html shows 8" in t for t in told)


def test_the_picture_stands_there_twice_pixel_by_pixel(bundle: Bundle) -> None:
    figure = figures(bundle, "picture-")[4]
    plain, over = [m for m in figure.marks if m.kind == "image"][:2]
    assert (plain.x, plain.y, plain.x2, plain.y2) == (2, 22, 196, 147)
    assert (over.x, over.y, over.x2, over.y2) == (212, 22, 196, 147)
    assert plain.points == over.points
    # 24 x 18 pixels, each drawn as 15 x 15: 24 * 15 = 360 is the first multiple that is not below 340.
    assert (decoded(plain.points) == np.kron(picture(4), np.ones((15, 15), dtype=np.uint8))).all()


def test_a_swapped_cell_is_outlined_where_it_lies_and_numbered(bundle: Bundle) -> None:
    marks = figures(bundle, "picture-")[4].marks
    # A cell is 49 x 49 here: 196 wide by 4 cells, 147 high by 3. Swaps are in row 0, columns 0 and 1.
    outlines = [m.points for m in marks if m.look == "swap"]
    assert outlines[:2] == ["M212 22H261V71H212Z", "M261 22H310V71H261Z"]
    numbers = [(m.text, m.x, m.y) for m in marks if m.look == "step"]
    assert numbers[:2] == [("1", 236.5, 49.9), ("2", 285.5, 49.9)]


def test_the_patch_beside_it_is_the_cell_with_its_neighbours(bundle: Bundle) -> None:
    figure = figures(bundle, "picture-")[4]
    addresses = [m.points for m in figure.marks if m.kind == "image"][2:]
    assert len(addresses) == 4  # two swaps, each with the own patch and that of the reference
    # Cell (0, 0) of picture 4 and cell (0, 3) of reference 0: three by three cells, as far as the picture goes.
    for address, pixels in zip(addresses, (picture(4)[:, :18], picture(100)[:, 6:]), strict=False):
        times = decoded(address).shape[0] // 18
        assert (decoded(address)[::times, ::times] == pixels).all()
    # In a patch of 66 a cell is 22 wide: the reference's cell is the last of the first row.
    patch = [m for m in figure.marks if m.kind == "image"][3]
    x, y = patch.x, patch.y
    assert [m.points for m in figure.marks if m.look == "swap"][
        3
    ] == f"M{x + 44:g} {y:g}H{x + 66:g}V{y + 22:g}H{x + 44:g}Z"


def test_each_swap_has_the_patch_of_its_own_reference(bundle: Bundle) -> None:
    """Picture 0 takes two cells from each of five references; eight swaps are drawn."""
    addresses = [m.points for m in figures(bundle, "picture-")[0].marks if m.kind == "image"][3::2]
    for step, address in enumerate(addresses):
        times = decoded(address).shape[0] // 18
        assert (decoded(address)[::times, ::times] == picture(100 + step // 2)[:, 6:]).all()
    assert len(addresses) == 8


def test_cells_from_half_on_are_hatched_and_outlined_together(bundle: Bundle) -> None:
    marks = figures(bundle, "picture-")[4].marks
    first = {look: next(m.points for m in marks if m.look == look) for look in ("dominant", "dominant-hatch", "kept")}
    # Cells (2, 0) and (2, 1) are dominant: six of their eight sides are outside. (1, 3), at 0.49, is not.
    assert first["dominant"].count("M") == 6
    assert "M261 120L261 169" not in first["dominant"]
    assert "M212 120L212 169" in first["dominant"]
    assert "M310 120L310 169" in first["dominant"]
    assert first["dominant-hatch"].count("M") == 6  # three lines in each cell
    assert first["kept"].count("M") == 4
    dashes = {"dominant": "", "kept": "4 2"}
    page_text = html(bundle)
    for look, dash in dashes.items():
        (drawn,) = set(
            re.findall(rf'<path class="{look}" [^>]*?stroke-width="[\d.]+"( stroke-dasharray="[^"]*")?/>', page_text)
        )
        assert drawn == (f' stroke-dasharray="{dash}"' if dash else "")


def test_the_alt_text_says_what_is_drawn(bundle: Bundle) -> None:
    title = figures(bundle, "picture-")[4].title.replace("\u00a0", " ")
    assert title.startswith(
        f"Picture p4. True class cat, read as {CLASSES[1]}. Mended by 2 swaps: the probability of cat goes"
    )
    assert "from 10.0 % to 62.5 %" in title
    assert "Dominant cells: row 3, column 1; row 3, column 2. Kept cells: row 3, column 3." in title
    assert title.endswith(
        "Step 2: row 1, column 2 swapped for row 1, column 4 of picture folder/reference0.png, likeness 0.500."
    )


def test_what_could_not_be_mended_is_said(bundle: Bundle) -> None:
    _, failed, without = figures(bundle, "picture-")[:3]
    assert "Not mended by 2 swaps" in failed.title
    assert "reads no reference picture of the true class rightly" in without.title
    assert not {m.look for m in without.marks} & {"swap", "step", "dominant", "kept"}
    captions = [b.caption for b in blocks(bundle) if isinstance(b, Grid)]
    assert "Swaps of picture p1" in captions
    assert "Swaps of picture p2" not in captions


def test_long_logs_and_lists_are_cut_and_say_so(bundle: Bundle) -> None:
    log = next(b for b in blocks(bundle) if isinstance(b, Grid) and b.name == "swaps")
    assert len(log.rows) == 8
    assert log.note == "The first 8 of 10 swaps; the bundle holds the rest."
    first = figures(bundle, "picture-")[0]
    assert len([m for m in first.marks if m.kind == "image"]) == 2 + 2 * 8
    assert first.title.count("Step ") == 10
    for paged in (False, True):
        listed = next(b for b in blocks(bundle, paged=paged) if isinstance(b, Grid) and b.name == "saliency_images")
        assert len(listed.rows) == LISTED_PICTURES
        assert f"The first 20 of {MISREAD} pictures." in listed.note
    assert texts(grid(bundle, "saliency_images"))[2][3:] == ["Without reference", "0", "–", "–", "–"]
    assert texts(grid(bundle, "saliency_images"))[3][6:] == ["80.0 % → 25.0 %", "10.0 % → 62.5 %"]
    assert "only in the bundle" not in html(bundle)


def test_maps_have_a_number_in_each_cell_and_their_n(bundle: Bundle) -> None:
    maps = figures(bundle, "cells-")
    assert [m.caption.partition(":")[0] for m in maps] == [
        "Whole sample", "Region c", "Region a", "Region b", "cat read as fox", f"cat read as {CLASSES[1]}",
    ]  # fmt: skip
    assert maps[0].caption == "Whole sample: 28 mended pictures."
    assert maps[1].caption == "Region c: 9 mended pictures."
    assert any("6 of 7 maps are shown" in b.text for b in blocks(bundle) if isinstance(b, Para))
    numbers = [m.text for m in maps[0].marks if m.look == "value-small"]
    assert numbers == ["100" if c == 5 else "25" if c == 6 else "0" for c in range(HIGH * WIDE)]
    assert [m.text for m in maps[0].marks if m.look == "tick"] == ["1", "2", "3", "4", "1", "2", "3"]
    looks = [m.look for m in maps[0].marks if m.kind == "rect"]
    assert looks == ["heat9" if c == 5 else "heat2" if c == 6 else "heat0" for c in range(HIGH * WIDE)]
    assert "row 2, column 2: 100.0\u00a0% (20.0\u00a0% to 30.0\u00a0%); row 2, column 3: 25.0" in maps[0].title
    rows = texts(grid(bundle, "cells"))
    assert rows[0] == ["Whole sample", "row 2, column 2", "100.0 %", "20.0 % to 30.0 %", "28"]
    assert len(rows) == 2 * 6


def test_named_parts_are_told_by_name_and_beside_chance(tmp_path) -> None:
    bundle = saliency_case(tmp_path, parts=True)
    (figure,) = figures(bundle, "parts")
    assert [m.text for m in figure.marks if m.look == "value"] == ["87.5\u00a0%", "37.5\u00a0%"]
    chance, ends = (
        [m for m in figure.marks if m.look == "limit"],
        [m.x for m in figure.marks if m.text in {"0", "1"}],
    )
    assert [m.x for m in chance] == [sum(ends) / 2] * 2, "in the middle between 0 and 1"
    assert "tail 87.5\u00a0% (25.0\u00a0% to 50.0\u00a0%), by chance 50.0\u00a0%; <i>ear</i> 37.5" in figure.title
    rows = texts(grid(bundle, "parts"))
    assert rows[1] == ["Whole sample", "tail", "87.5 %", "25.0 % to 50.0 %", "50.0 %", "12.5 %", "8", "75.0 %"]
    assert [row[0] for row in rows[::2]] == ["Whole sample", "Region a", f"cat read as {CLASSES[1]}"]
    assert texts(grid(bundle, "swaps"))[0][1] == "row 1, column 1 (tail)"
    assert texts(grid(bundle, "swaps"))[1][1] == "row 1, column 2"
    (first, *_) = figures(bundle, "picture-")
    assert "Step 1: row 1, column 1 (tail) swapped for" in first.title
    assert "<i>ear" not in html(bundle)


def test_without_named_parts_nothing_is_said_of_them(bundle: Bundle) -> None:
    assert figures(bundle, "parts") == []
    assert not any(isinstance(b, Heading) and "named part" in b.text for b in blocks(bundle))


def test_areas_stand_above_those_of_chance(bundle: Bundle) -> None:
    labels = [c.label.replace("\u00a0", " ") for c in grid(bundle, "areas").columns]
    assert labels[2:] == ["Insertion", "95 % interval", "Deletion", "95 % interval"]
    assert texts(grid(bundle, "areas")) == [
        ["P(wrong class)", "Dip", "0.750", "0.688 to 0.812", "0.125", "0.062 to 0.188"],
        ["P(wrong class)", "Random: chance", "0.500", "0.438 to 0.562", "0.250", "0.188 to 0.312"],
        ["P(wrong class) − P(true class)", "Dip", "0.375", "0.312 to 0.438", "−0.250", "−0.312 to −0.188"],
    ]
    assert "Means over 29 pictures" in grid(bundle, "areas").note


def test_the_warnings_are_printed(bundle: Bundle) -> None:
    text = unescape(re.sub(r"<[^>]+>", " ", html(bundle))).replace("\u00a0", " ")
    for said in (
        "lives in the space of features",
        "No picture is generated",
        f"as {HIGH} by {WIDE} cells. A cell depends on far more",
        "suffices for this model, not what caused the error in the world",
        "A dip is no Shapley value",
        "exact Shapley values are the class activation map",
        "the 10 most alike cells of the references are considered, 4.2 % of 240",  # 10 of 20 references with 12 cells
        "4 to 20 for each misread picture. For 1 of them there are fewer than 5",
        "byte for byte",
        "cannot be compared with those of the paper",
    ):
        assert said in text, said


def html(bundle: Bundle) -> str:
    render(bundle, ["html"])
    return (bundle.root / "report.html").read_text("utf-8")


def test_names_that_mean_harm_are_only_text(bundle: Bundle) -> None:
    text = html(bundle)
    assert "<img" not in text
    assert "<b>dog" not in text
    assert " style=" not in text
    addresses = re.findall(r'<image href="([^"]{0,30})', text)
    assert len(addresses) > 2 * KEPT
    assert all(a.startswith("data:image/png;base64,") for a in addresses)
    assert "img-src data:" in text
    assert any(isinstance(b, Heading) and b.text.startswith(f"Picture {name(0)}") for b in blocks(bundle))


def test_large_pictures_are_kept_small(tmp_path) -> None:
    text = html(saliency_case(tmp_path, side=50))
    assert "data:image/jpeg;base64," in text
    assert "data:image/png" not in text
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (224, 224, 3), dtype=np.uint8))
    smooth = Image.fromarray(np.tile(np.arange(224, dtype=np.uint8), (224, 1)))
    assert decoded(inline(noise, small=False)).shape == (224, 224, 3)
    assert np.abs(decoded(inline(smooth, small=False)).astype(int) - np.asarray(smooth)).max() <= 4


def test_a_patch_in_the_middle_has_a_cell_on_each_side() -> None:
    pixels = np.arange(196, dtype=np.uint8).reshape(14, 14)
    reference = Image.fromarray(255 - pixels)
    swap = Swap(1, (3, 2), "r", (4, 5), reference)
    view = Misread(Image.fromarray(pixels), (7, 7), frozenset(), frozenset(), (swap,), ())
    own, other = [m.points for m in misread_figure(Said("x", "x", "x"), view).marks if m.kind == "image"][2:]
    times = decoded(own).shape[0] // 6
    # Two pixels a cell: rows 2 to 4 and columns 1 to 3 of the picture, rows 3 to 5 and columns 4 to 6 of the reference.
    assert (decoded(own)[::times, ::times] == pixels[4:10, 2:8]).all()
    assert (decoded(other)[::times, ::times] == 255 - pixels[6:12, 8:14]).all()


def test_a_cell_of_a_frame() -> None:
    assert Frame(10, 20, 80, 30, (3, 4)).cell((2, 1)) == (30, 40, 50, 50)


def test_the_pdf_is_archivable_and_accessible_with_its_pictures(bundle: Bundle) -> None:
    render(bundle, ["pdf"])
    data = (bundle.root / "report.pdf").read_bytes()
    assert data.count(b"/Subtype /Image") > 2 * PRINTED_PICTURES
    assert b"/Interpolate true" not in data
    for profile in (page.ValidationProfile.PDF_A_3A, page.ValidationProfile.PDF_UA_1):
        found = page.validate_pdf_bytes(data, profile=profile)
        assert [str(f) for f in found.failures if f.rule_id != "PDFA3A-STREAM-LENGTH-001"] == []
