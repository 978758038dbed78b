"""The view model to HTML: one file that asks the network for nothing."""

import base64
import hashlib
import re
from functools import cache
from typing import Any

from audit.report.blocks import Look, Report
from audit.report.markdown import drawn
from audit.report.source import Source
from audit.report.text import visible
from audit.report.view import build
from audit.resources import folder

FACES = (
    ("IBM Plex Sans", 400, "ibm-plex-sans-latin-400-normal.woff2"),
    ("IBM Plex Sans", 600, "ibm-plex-sans-latin-600-normal.woff2"),
    ("IBM Plex Serif", 600, "ibm-plex-serif-latin-600-normal.woff2"),
    ("IBM Plex Mono", 400, "ibm-plex-mono-latin-400-normal.woff2"),
)


def html(source: Source) -> str:
    """The report of a bundle as one self-contained HTML file."""
    report = build(source)
    style, script = screen_style(report.look), asset("report.js")
    template = environment(source.shown).get_template("report.j2")
    return str(
        template.render(
            report=report,
            paged=False,
            created="",
            style=trusted(style),
            script=trusted(script),
            policy=content_policy(style, script),
        )
    )


def paged_html(report: Report, shown: frozenset[int], created: str) -> str:
    """The report as HTML for paper, without style: the PDF writer brings its own."""
    template = environment(shown).get_template("report.j2")
    return str(template.render(report=report, paged=True, created=created, style="", script="", policy=""))


def screen_style(look: Look | None = None) -> str:
    """All CSS of the HTML file, fonts included; it never holds the end of its own element."""
    faces = "".join(_face(*face) for face in FACES)
    own = look.style if look else ""
    return (faces + asset("report.css") + asset("screen.css") + own).replace("</", "<\\/")


def paged_style(look: Look | None = None) -> str:
    """All CSS of the PDF; its fonts come from the bundled folder by name."""
    widths = "".join(f".w{share} {{ width: {share}%; }}\n" for share in range(1, 101))
    return asset("report.css") + asset("paged.css") + widths + (look.paged_style if look else "")


def content_policy(style: str, script: str) -> str:
    """The policy that lets exactly this style and this script run, and nothing else be loaded."""
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; img-src data:; font-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _face(family: str, weight: int, name: str) -> str:
    data = base64.b64encode((folder("templates") / "fonts" / name).read_bytes()).decode("ascii")
    return (
        f'@font-face {{ font-family: "{family}"; font-weight: {weight}; font-display: block; '
        f'src: url("data:font/woff2;base64,{data}") format("woff2"); }}\n'
    )


def asset(name: str) -> str:
    """A file of the folder of templates, as text."""
    return (folder("templates") / "report" / name).read_text("utf-8")


@cache
def environment(shown: frozenset[int] | None) -> Any:
    """The sandbox of the templates: everything is escaped, the undefined is an error, nothing deceives."""
    from jinja2 import FileSystemLoader, StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from markupsafe import Markup

    def seen(value: Any) -> Any:
        return visible(value, shown) if isinstance(value, str) and not isinstance(value, Markup) else value

    environment = ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(folder("templates") / "report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=seen,
        auto_reload=False,
        trim_blocks=True,
    )
    environment.filters.update(
        kind=lambda block: type(block).__name__,
        slug=slug,
        markup=trusted,
        prose=lambda block: trusted(drawn(block.markdown, block.said, shown)),
    )
    return environment


def slug(text: str) -> str:
    """The text as an anchor or a class: letters, digits, dots and dashes."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", text).strip("-").replace(".", "-")


def trusted(text: str) -> Any:
    """The text as markup that is not escaped."""
    from markupsafe import Markup

    return Markup(text)  # noqa: S704 - our own assets, or Markdown read with HTML switched off
