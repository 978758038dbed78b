"""With what a report is drawn: versions of packages, and for the PDF of libraries of the system as well.

The bytes of a PDF rest on libraries that no package manager of Python knows. Their versions are recorded where a PDF is
drawn, by whoever draws it: `audit render` may do so on another machine than the run.
"""

from functools import cache

from audit.core.integrity import PDF
from audit.core.manifest import Manifest
from audit.installed import package_version, system

TEXT_WITH = ("auditspec", "jinja2", "markdown-it-py", "numpy", "pandas", "pillow", "pyarrow")
PDF_WITH = (*TEXT_WITH, "pydyf", "weasyprint")
"""Packages on whose versions the bytes of a text, or of the PDF, depend."""

LIBRARIES = ("fontconfig", "harfbuzz", "pango", "zlib")
"""Libraries of the system on which the bytes of the PDF depend."""


def here(name: str) -> dict[str, str]:
    """With what a file would be drawn now.

    Raises:
        AuditError: the PDF cannot be made on this machine; the message says what to install.
    """
    if name != PDF:
        return {package: package_version(package) for package in TEXT_WITH}
    return {package: package_version(package) for package in PDF_WITH} | {"platform": system()} | dict(libraries())


def then(manifest: Manifest, name: str) -> dict[str, str]:
    """With what a file was drawn, as far as it is recorded."""
    known = _of_the_run(manifest, TEXT_WITH if name != PDF else PDF_WITH)
    if name != PDF:
        return known
    return known | ({"platform": manifest.platform} if manifest.platform else {}) | manifest.drawn_with


def to_record(manifest: Manifest) -> dict[str, str]:
    """With what a PDF is drawn now, where the record of the run does not say so already.

    Raises:
        AuditError: as `here`.
    """
    run = _of_the_run(manifest, PDF_WITH) | {"platform": manifest.platform}
    return {name: version for name, version in sorted(here(PDF).items()) if run.get(name) != version}


def _of_the_run(manifest: Manifest, packages: tuple[str, ...]) -> dict[str, str]:
    return {name: manifest.packages[name] for name in packages if name in manifest.packages}


@cache
def libraries() -> tuple[tuple[str, str], ...]:
    """The versions of `LIBRARIES` that are loaded, by name.

    Raises:
        AuditError: as `here`.
    """
    import zlib

    from audit.report.pdf import drawing_library

    with drawing_library():
        from weasyprint.text.ffi import ffi, fontconfig, harfbuzz, pango

    ffi.cdef("const char *pango_version_string(void); const char *hb_version_string(void); int FcGetVersion(void);")
    number = fontconfig.FcGetVersion()
    found = {
        "fontconfig": f"{number // 10_000}.{number // 100 % 100}.{number % 100}",
        "harfbuzz": ffi.string(harfbuzz.hb_version_string()).decode(),
        "pango": ffi.string(pango.pango_version_string()).decode(),
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
    }
    return tuple((name, found[name]) for name in LIBRARIES)
