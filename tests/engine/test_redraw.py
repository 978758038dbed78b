"""What a PDF is drawn with: recorded by whoever draws it, printed, and said where it is other than here."""

import ctypes
import io
import json
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from ctypes.util import find_library
from pathlib import Path
from typing import Any

import credit_case
import pytest
from tampering_case import in_manifest, pdf_byte

from audit.bundle import Bundle
from audit.cli.main import main
from audit.core.manifest import Manifest
from audit.engine.redraw import redraw
from audit.report.back import integrity
from audit.report.blocks import Grid
from audit.report.drawing import LIBRARIES, libraries
from audit.report.source import Source

SPEC = credit_case.SPEC | {
    "methods": [{"kind": "performance"}], "gates": [], "waivers": [], "regions": [], "report": {"formats": ["html"]}
}  # fmt: skip

HTML_ONLY = (
    "import sys\nfrom pathlib import Path\nfrom audit.engine.run import Options, run\n"
    "if __name__ == '__main__':\n"
    "    run(Path(sys.argv[1]), Path(sys.argv[2]), Options())\n"
    "    print(sorted({'weasyprint', 'pydyf'} & set(sys.modules)))\n"
)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle without a PDF, made by a process that imports nothing that draws one."""
    folder = tmp_path_factory.mktemp("redraw")
    spec = credit_case.make(folder / "case", n=60, spec=SPEC)
    (folder / "script.py").write_text(HTML_ONLY)
    command = [sys.executable, str(folder / "script.py"), str(spec), str(folder / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.stdout == "[]\n", done.stderr
    return folder / "out"


@pytest.fixture(scope="module")
def with_pdf(plain: Path) -> Path:
    """The same bundle, with a PDF that was drawn later."""
    before, page = Bundle(plain).manifest(), (plain / "report.html").read_bytes()
    assert before.drawn_with == {}
    called("render", plain, "--format", "pdf")
    after = Bundle(plain).manifest()
    assert set(LIBRARIES) == set(after.drawn_with)
    assert (after.report_id, after.payload) == (before.report_id, before.payload)
    assert (plain / "report.html").read_bytes() == page
    return plain


def called(*words: object, code: int = 0) -> str:
    """What the command line says."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(said):
        patch.setattr(sys, "argv", ["audit", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == code, said.getvalue()
    return said.getvalue()


def copied(folder: Path, to: Path, change: Callable[[dict[str, Any]], Any]) -> Bundle:
    """A copy with another manifest."""
    bundle = Bundle(shutil.copytree(folder, to / "copy"))
    in_manifest(bundle, change)
    return bundle


def test_versions_are_those_of_the_libraries_that_are_loaded() -> None:
    """The same libraries asked without WeasyPrint."""
    found = dict(libraries())
    pango, harfbuzz, fontconfig = (ctypes.CDLL(find_library(name)) for name in ("pango-1.0", "harfbuzz", "fontconfig"))
    pango.pango_version_string.restype = harfbuzz.hb_version_string.restype = ctypes.c_char_p
    parts = [int(part) for part in found["fontconfig"].split(".")]
    assert parts[0] * 10_000 + parts[1] * 100 + parts[2] == fontconfig.FcGetVersion()
    assert found["pango"] == pango.pango_version_string().decode()
    assert found["harfbuzz"] == harfbuzz.hb_version_string().decode()
    assert found["zlib"] == zlib.ZLIB_RUNTIME_VERSION


def test_the_libraries_stand_in_the_pdf_beside_the_packages_and_not_in_html(with_pdf: Path) -> None:
    def versions(source: Source) -> dict[str, str]:
        grid = next(block for block in integrity(source) if isinstance(block, Grid) and block.name == "packages")
        return {row[0].text: row[1].text for row in grid.rows}

    bundle = Bundle(with_pdf)
    packages = bundle.manifest().packages
    assert versions(Source(bundle)) == packages
    told = {f"{name} (library of the system)": version for name, version in libraries()}
    assert versions(Source(bundle, paged=True)) == packages | told


def test_a_pdf_drawn_with_the_libraries_that_are_here_is_compared_to_the_byte(with_pdf: Path, tmp_path: Path) -> None:
    assert "drawn again, to the byte the same: report.html, report.pdf" in called("verify", with_pdf)
    bundle = copied(with_pdf, tmp_path, lambda manifest: None)
    pdf_byte(bundle)
    bundle.write_manifest(bundle.manifest())
    assert "report.pdf: is not what the bundle draws" in called("verify", bundle.root, code=4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m["drawn_with"].update(pango="1.0.7"), "pango 1.0.7 (here "),
        (lambda m: m["drawn_with"].update(zlib="9.9"), "zlib 9.9 (here "),
        (lambda m: m["drawn_with"].update(weasyprint="1"), "weasyprint 1 (here "),
        (lambda m: m["drawn_with"].update(platform="Plan9 vax"), "platform Plan9 vax (here "),
        (lambda m: m["drawn_with"].update(quill="\x1b[2J3"), "quill \N{MIDDLE DOT}[2J3 (here none)"),
    ],
)
def test_a_pdf_drawn_with_others_is_no_forgery(
    with_pdf: Path, tmp_path: Path, change: Callable[[dict[str, Any]], Any], words: str
) -> None:
    """Bytes of a PDF from elsewhere differ; here a byte was changed, as a stand-in for that."""
    bundle = copied(with_pdf, tmp_path, change)
    pdf_byte(bundle)
    bundle.write_manifest(bundle.manifest())
    said = called("verify", bundle.root)
    assert f"report.pdf was not drawn again: it was drawn with {words}" in said
    assert "drawn again, to the byte the same: report.html, findings" in said


def test_who_draws_a_pdf_again_is_the_one_who_is_recorded(with_pdf: Path, tmp_path: Path) -> None:
    """The run says other versions than there are here: what draws the PDF now is recorded, and the run's are kept."""
    bundle = copied(with_pdf, tmp_path, lambda m: m["packages"].update(pydyf="0.0.1"))
    called("render", bundle.root)
    manifest = bundle.manifest()
    assert manifest.packages["pydyf"] == "0.0.1"
    assert set(manifest.drawn_with) == {*LIBRARIES, "pydyf"}
    assert [one.name for one in redraw(bundle) if one.other or one.why_not] == []


def test_without_a_pdf_nothing_is_recorded_of_one(with_pdf: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    called("render", with_pdf, "--share", shared, "--format", "html")
    assert json.loads((shared / "manifest.json").read_text())["drawn_with"] == {}
    assert isinstance(Bundle(shared).manifest(), Manifest)
