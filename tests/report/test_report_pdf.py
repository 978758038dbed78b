"""The PDF report: archivable and accessible by a validator, closed to the world, honest where it is cut."""

import json
import mimetypes
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import page
import pytest
from report_case import SPEC, credit_case, empty_case

from audit.bundle import Bundle
from audit.core.errors import AuditError
from audit.report import render
from audit.report.text import drawable
from audit.resources import folder


@pytest.fixture(scope="module")
def credit(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    bundle = credit_case(tmp_path_factory.mktemp("credit"))
    assert render(bundle, ["pdf"]) == ["report.pdf"]
    return bundle


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    bundle = empty_case(tmp_path_factory.mktemp("empty"))
    render(bundle, ["pdf"])
    return bundle


def content(bundle: Bundle) -> bytes:
    return (bundle.root / "report.pdf").read_bytes()


@pytest.mark.parametrize("case", ["credit", "empty"])
@pytest.mark.parametrize("profile", ["PDF_A_3A", "PDF_UA_1"])
def test_a_validator_finds_nothing(case: str, profile: str, request: pytest.FixtureRequest) -> None:
    data = content(request.getfixturevalue(case))
    report = page.validate_pdf_bytes(data, profile=getattr(page.ValidationProfile, profile))
    # The validator takes a stream whose last byte is a line break for one byte short; veraPDF reads its length, as
    # the test below does.
    failures = [str(f) for f in report.failures if f.rule_id != "PDFA3A-STREAM-LENGTH-001"]
    assert failures == []


def test_streams_are_as_long_as_they_say(credit: Bundle) -> None:
    data = content(credit)
    heads = list(re.finditer(rb"/Length (\d+)[^>]*>>\s*stream\r?\n", data))
    assert len(heads) == data.count(b"endstream")
    for head in heads:
        end = head.end() + int(head.group(1))
        assert re.match(rb"\r?\nendstream", data[end : end + 11]), data[head.start() : head.start() + 80]


def test_the_validator_sees_what_is_wrong() -> None:
    """The negative control: the same kind of file without tags and metadata."""
    import weasyprint

    plain = weasyprint.HTML(string="<title>t</title><p>x").write_pdf()
    for profile in (page.ValidationProfile.PDF_A_3A, page.ValidationProfile.PDF_UA_1):
        assert page.validate_pdf_bytes(plain, profile=profile).failures


def test_spec_and_results_travel_inside(credit: Bundle) -> None:
    """The attached files are the ones of the bundle, byte for byte."""
    import zlib

    streams = []
    for raw in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content(credit), re.DOTALL):
        try:
            streams.append(zlib.decompress(raw))
        except zlib.error:
            streams.append(raw)
    assert SPEC.encode("utf-8") in streams
    assert (credit.root / "results.json").read_bytes() in streams


def test_no_clock_and_no_folder(credit: Bundle) -> None:
    data = content(credit)
    assert str(credit.root).encode() not in data
    assert set(re.findall(rb"D:(\d{8})", data)) == {b"20261101"}


PACKAGES = {sys.prefix, sys.base_prefix, *sysconfig.get_paths().values(), str(Path(__file__).resolve().parents[2])}
SYSTEM = ("/usr/share/zoneinfo", "/usr/share/fonts", "/usr/share/fontconfig", "/etc/fonts", "/proc/self/")
READ = tuple(f"{os.path.realpath(place)}/" for place in PACKAGES) + SYSTEM + tuple(mimetypes.knownfiles)
"""Where drawing may read beside the bundle: packages, fonts, and what Python asks the system when it is imported."""

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

WATCHED = """
import json, os, sys
from pathlib import Path
seen = []
def hook(event, args):
    if event == "open" and not isinstance(args[0], int):
        seen.append([event, os.fsdecode(args[0]), args[2]])
    elif event.startswith("socket."):
        seen.append([event, str(args), 0])
{first}
sys.addaudithook(hook)
{deed}
print(json.dumps(seen))
"""
DRAWS = """
from audit.bundle import Bundle
from audit.report import render
render(Bundle(Path(sys.argv[1])), ["pdf", "html"])
"""


def events(deed: str, bundle: Path, scratch: Path, first: str = "") -> list[tuple[str, str, int]]:
    """What a process opens while it does something, not before; its temporary files lie in a folder."""
    scratch.mkdir()
    env = os.environ | {"TMPDIR": str(scratch), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        WATCHED.replace("{deed}", deed).replace("{first}", first),
        str(bundle),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=env, cwd=scratch)
    assert done.returncode == 0, done.stderr
    return [(event, path, flags) for event, path, flags in json.loads(done.stdout)]


def is_astray(event: tuple[str, str, int], bundle: Path, scratch: Path) -> bool:
    """Whether drawing has no need of it."""
    name, path, flags = event
    if name != "open":
        return True
    real = os.path.realpath(scratch / path)
    if any(real == str(place) or real.startswith(f"{place}/") for place in (bundle.resolve(), scratch.resolve())):
        return False
    if flags & WRITING:
        return real != os.devnull
    return not path.startswith("/proc/self/") and not real.startswith(READ) and real != os.devnull


def test_rendering_opens_no_socket_and_reads_only_its_own_files(credit: Bundle, tmp_path: Path) -> None:
    """Hostile text asks for files and addresses in the spec, the names and the opinion; nothing is opened for it."""
    scratch = tmp_path / "scratch"
    found = events(DRAWS, credit.root, scratch, "import weasyprint")
    assert [event for event in found if is_astray(event, credit.root, scratch)] == []
    places = [path for _, path, _ in found]
    for seen in ("results.json", "report.j2", "fonts.conf"):
        assert any(seen in path for path in places), seen


@pytest.mark.parametrize(
    "deed",
    [
        "open('/etc/passwd').close()",
        "open(b'/etc/passwd').close()",
        "os.close(os.open('/etc/passwd', os.O_RDONLY))",
        "open(os.path.relpath('/etc/passwd')).close()",
        "os.symlink('/etc/passwd', 'linked'); open('linked').close()",
        "open(Path(sys.argv[1]).parent / 'beside.txt', 'w').close()",
        "open(str(Path(sys.argv[1])) + '-not', 'w').close()",
        "\ntry:\n    open(Path(json.__file__).parent / 'no-such-folder' / 'x', 'w')\nexcept OSError:\n    pass",
        "import socket; socket.socket().close()",
    ],
)
def test_the_watch_over_files_sees_what_is_wrong(deed: str, tmp_path: Path) -> None:
    """The negative control: what drawing never does, each alone."""
    bundle, scratch = tmp_path / "bundle", tmp_path / "scratch"
    bundle.mkdir()
    assert any(is_astray(event, bundle, scratch) for event in events(deed, bundle, scratch))


def test_the_fetcher_refuses_every_address() -> None:
    from audit.report.pdf import deny_all

    fetcher = deny_all()
    for address in (
        "file:///etc/passwd",
        "http://127.0.0.1/",
        "ftp://x",
        "data:text/css,a",
        "data:image/svg+xml;base64,PHN2Zy8+",
        "audit-report:///x",
        "//x",
    ):
        with pytest.raises(ValueError, match="loads nothing"):
            fetcher(address)


def test_a_picture_whose_bytes_are_its_address_needs_no_fetching() -> None:
    from audit.report.pdf import deny_all

    answer = deny_all()("data:image/png;base64,UE5H")
    assert (answer.read(), answer.content_type) == (b"PNG", "image/png")


def test_a_missing_library_is_named(credit: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    import weasyprint.text.ffi as ffi

    monkeypatch.setattr(ffi, "harfbuzz_subset", None)
    with pytest.raises(AuditError, match=r"libpango-1\.0-0, libpangoft2-1\.0-0 and libharfbuzz-subset0") as caught:
        render(credit, ["pdf"])
    assert "html" in str(caught.value)


def test_coverage_is_that_of_the_bundled_fonts() -> None:
    """What counts as drawable is the intersection of the character maps of all faces used on paper."""
    from fontTools.ttLib import TTFont

    faces = sorted((folder("templates") / "fonts").glob("*.ttf"))
    maps = [set(TTFont(face).getBestCmap()) for face in faces]
    assert len(faces) >= 4
    assert set.intersection(*maps) == drawable()
    assert all("fvar" not in TTFont(face) for face in faces)


def test_long_tables_are_cut_and_say_where_the_rest_is(tmp_path: Path) -> None:
    from audit.report.blocks import Cell, Column, Grid
    from audit.report.source import Source
    from audit.report.tables import PRINTED_ROWS, cut

    grid = Grid("c", (Column("a"),), tuple((Cell(str(i)),) for i in range(PRINTED_ROWS + 1)))
    shown = cut(Source(Bundle(tmp_path), paged=True), grid, "evidence/k/t.parquet")
    assert len(shown.rows) == PRINTED_ROWS
    cut_at, total = PRINTED_ROWS, PRINTED_ROWS + 1
    rest = "the whole table is in the bundle: evidence/k/t.parquet."
    assert shown.note == f"The first {cut_at} of {total} rows are shown; {rest}"
