"""The view model to PDF: A4, tagged, archivable, the same bytes every time.

WeasyPrint asks the network and the disk for nothing: its fetcher answers no address but pictures that stand in the
address itself, and its fonts are the bundled ones only.
"""

import base64
import gc
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from audit.bundle import Bundle
from audit.core.errors import AuditError
from audit.report.blocks import Look
from audit.report.finish import attached, complete
from audit.report.html import asset, paged_html, paged_style
from audit.report.parts import PART, parts
from audit.report.press import Press, Setting
from audit.report.source import Source
from audit.report.text import drawable
from audit.report.view import build
from audit.report.xmp import Variant
from audit.resources import folder

BASE = "audit-report:///"
"""The address of the document: a scheme of our own, at which nothing can be fetched."""

VERSIONS: dict[Variant, str] = {"a-3a": "1.7", "a-4f": "2.0"}
"""The version of the file format of each variant."""

INLINE = {f"data:{kind};base64": kind for kind in ("image/png", "image/jpeg")}
"""How the address of a picture begins that holds the picture itself."""

_FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{fonts}</dir><cachedir>{cache}</cachedir></fontconfig>
"""


def pdf(bundle: Bundle) -> bytes:
    """The report of a bundle as a tagged file that is archivable (PDF/A) and accessible (PDF/UA).

    Raises:
        AuditError: a library that draws text is missing; the message names the packages.
    """
    source = Source(bundle, paged=True, shown=drawable())
    source = replace(source, files=tuple(attached(source)))
    report = build(source)
    as_of = source.manifest.as_of
    markup = paged_html(report, drawable(), f"{as_of}T00:00:00Z" if as_of else "")
    with _bundled_fonts(), _own_collection():
        press = printed(markup, variant_of(source), look=report.look)
        complete(press, report, source, variant_of(source))
        return press.pdf.finish(report.payload[:32].encode("ascii"))


def printed(markup: str, variant: Variant, size: int = PART, look: Look | None = None) -> Press:
    """The pages of some HTML, drawn.

    Args:
        size: elements of a part; see `parts`.
        look: the look of the organisation, which brings its colours.
    """
    weasyprint, fetcher = _weasyprint(), deny_all()
    page = weasyprint.HTML(string=markup, base_url=BASE, url_fetcher=fetcher)
    style, numbers = (
        weasyprint.CSS(string=css, base_url=BASE, url_fetcher=fetcher)
        for css in (paged_style(look), asset("numbers.css"))
    )
    press = Press(Setting(weasyprint, fetcher, style, numbers, BASE, VERSIONS[variant]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # WeasyPrint leaves the file of its colour profile open
        press.print(list(parts(page.etree_element, size)))
        press.finish()
    return press


def variant_of(source: Source) -> Variant:
    """The format that the spec asks for."""
    return "a-4f" if source.facts("report", "pdf") == "a-4f" else "a-3a"


def deny_all() -> Any:
    """A fetcher without a single handler: all is refused but a picture whose bytes are the address itself."""
    from weasyprint.urls import URLFetcher, URLFetcherResponse

    class DenyAll(URLFetcher):  # type: ignore[misc]
        def fetch(self, url: str, headers: Any = None) -> Any:
            start, _, content = url.partition(",")
            if start in INLINE:
                return URLFetcherResponse(url, base64.b64decode(content), {"Content-Type": INLINE[start]})
            raise ValueError(f"a report loads nothing: {url[:80]}")

    return DenyAll(allowed_protocols=(), allow_redirects=False)


@contextmanager
def _bundled_fonts() -> Iterator[None]:
    """Fonts are the bundled ones only while this holds: fontconfig reads its file at import and at each render."""
    with tempfile.TemporaryDirectory(prefix="audit-fonts-") as scratch:
        config = Path(scratch) / "fonts.conf"
        cache = Path(scratch) / "cache"
        config.write_text(
            _FONTS.format(fonts=escape(str(folder("templates") / "fonts")), cache=cache), encoding="utf-8"
        )
        ours = {"FONTCONFIG_FILE": str(config), "FONTCONFIG_PATH": scratch}
        before = {name: os.environ.get(name) for name in ours}
        os.environ.update(ours)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


@contextmanager
def drawing_library() -> Iterator[None]:
    """While this holds, WeasyPrint can be imported as it is when it draws: with the bundled fonts only.

    Raises:
        AuditError: a library that draws text is missing; the message names the packages.
    """
    with _bundled_fonts():
        _weasyprint()
        yield


@contextmanager
def _own_collection() -> Iterator[None]:
    """Garbage is collected between two parts and at no other time: looking for it costs a third of the time."""
    running = gc.isenabled()
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        if running:
            gc.enable()


def _weasyprint() -> Any:
    """The library, if it and all that it draws text with are there.

    Raises:
        AuditError: pango or the subsetter of harfbuzz is missing.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            import weasyprint
            from weasyprint.text.ffi import harfbuzz_subset
    except OSError as error:
        raise AuditError(_missing(str(error).strip().splitlines()[0][:120])) from error
    if harfbuzz_subset is None:
        # Without it fontTools cuts the fonts, slowly and with the present time in them.
        raise AuditError(_missing("libharfbuzz-subset cannot be loaded"))
    return weasyprint


def _missing(what: str) -> str:
    return (
        f"report.pdf: a system library is missing ({what}); install the Debian packages libpango-1.0-0, "
        "libpangoft2-1.0-0 and libharfbuzz-subset0, or ask for `formats: [html]`, which needs none of them"
    )
