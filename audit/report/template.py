"""A look of the organisation's own: logo, colours, and what it adds to the pages. Nothing of the audit can be left out.

The templates are filled in another process (`fragment_child`), which may compute a little and nothing else. What they
write is read and written anew (`markup`), and the numbers in it are looked up here.
"""

import base64
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from audit.core.base import Frozen
from audit.core.errors import AuditError, SpecError
from audit.report.blocks import Look
from audit.report.logo import WrongLogoError, logo
from audit.report.markup import WrongMarkupError, cleaned
from audit.report.reference import LEFT_OUT, WrongReferenceError, parse, say
from audit.report.source import Source
from audit.report.text import visible

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9]+)?$", max_length=60)]
Colour = Annotated[str, Field(pattern=r"^#[0-9A-Fa-f]{6}$")]
Short = Annotated[str, Field(min_length=1, max_length=120)]

LINES = ("kicker", "foot", "footer")
"""Places that hold a line, which a template may replace."""

MEMORY = 128 * 2**20
SECONDS = 2
PATIENCE = 120
"""Bytes, seconds of computing and seconds of waiting that the templates of a report may take."""

LEAST_CONTRAST = 4.5


class LogoFile(Frozen):
    """The logo on the cover.

    Attributes:
        file: a .png or .svg in the folder.
        alt: what it says, for those who do not see it.
    """

    file: Name
    alt: Short


class Palette(Frozen):
    """Colours; what is left out stays as it is.

    Attributes:
        brand: heads, edges, links.
        ink: text.
        muted: notes and labels.
        line: rules of tables.
        ground: behind the sections, on screen.
    """

    brand: Colour | None = None
    ink: Colour | None = None
    muted: Colour | None = None
    line: Colour | None = None
    ground: Colour | None = None


class Colours(Frozen):
    """Colours on light screens and paper, and on dark screens."""

    light: Palette = Palette()
    dark: Palette = Palette()


class Extra(Frozen):
    """A section of the organisation's own.

    Attributes:
        id: X1 to X99.
        after: the id of the section that it follows.
        file: the template that writes it.
    """

    id: Annotated[str, Field(pattern=r"^X[1-9][0-9]?$")]
    title: Short
    after: Annotated[str, Field(pattern=r"^(S[0-9]{1,2}|[A-F])$")]
    file: Name


class Settings(Frozen):
    """`template.yaml`.

    Attributes:
        name: whose look it is; printed beside what it adds.
        logo: the logo on the cover.
        colours: the colours.
        blocks: places by name, and the template that fills each.
        sections: sections of its own.
    """

    name: Short
    logo: LogoFile | None = None
    colours: Colours = Colours()
    blocks: dict[str, Name] = {}
    sections: Annotated[tuple[Extra, ...], Field(max_length=20)] = ()

    @property
    def fill(self) -> tuple[str, ...]:
        """The templates that are filled, each once."""
        return tuple(dict.fromkeys([*self.blocks.values(), *(section.file for section in self.sections)]))


# What is on what: each pair of a palette must keep its contrast, or some readers cannot read.
LIGHT = {"brand": "#0F3A5F", "ink": "#14202E", "muted": "#51606F", "ground": "#EDF0F3"}
DARK = {"brand": "#9CC4E8", "ink": "#E6EBF0", "muted": "#A4B1BE", "ground": "#0C131B", "line": "#35424F"}
UNDER: dict[str, dict[str, tuple[str, ...]]] = {
    "light": {
        "brand": ("#FFFFFF",),
        "ink": ("#FFFFFF", "#E4F2EC", "#FFF3DA", "#FBE9E7", "#EDF0F3", "#84ACCD"),
        "muted": ("#FFFFFF", "#E4F2EC", "#FFF3DA", "#FBE9E7", "#EDF0F3"),
    },
    "dark": {
        "brand": ("#16202B",),
        "ink": ("#16202B", "#12342A", "#3A2B0C", "#431915", "#25313D", "#37668D"),
        "muted": ("#16202B", "#12342A", "#3A2B0C", "#431915", "#25313D"),
    },
}
"""What each colour stands on besides the ground: paper, the grounds of the results, the shades of a heat map."""


def contrast(a: str, b: str) -> float:
    """The contrast of two colours after WCAG 2, from 1 to 21."""
    light, dark = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def faint(colours: Colours) -> list[tuple[tuple[str, str], str]]:
    """Colours that cannot be read where they stand: the path of each, and a sentence."""
    found = []
    for scheme, own, ours in (("light", colours.light, LIGHT), ("dark", colours.dark, DARK)):
        ground = own.ground or ours["ground"]
        for name, stands_on in UNDER[scheme].items():
            colour = getattr(own, name) or ours[name]
            worst = min((*stands_on, ground), key=lambda under: contrast(colour, under))
            ratio = contrast(colour, worst)
            if ratio < LEAST_CONTRAST:
                which = name if getattr(own, name) else "ground"
                text = f"{colour} on {worst} has a contrast of {ratio:.2f}; at least {LEAST_CONTRAST} is needed"
                found.append(
                    ((scheme, which), f"{name} {text}; take a {'darker' if scheme == 'light' else 'lighter'} one")
                )
    return found


def look(source: Source) -> Look | None:
    """The look that a bundle holds, with all its templates filled; None where the spec names none.

    Raises:
        SpecError: a template is wrong; the message says where.
    """
    kept = source.facts("template")
    if not kept:
        return None
    settings = Settings.model_validate_json(json.dumps(kept["settings"]))
    files = {name: base64.b64decode(file["base64"]) for name, file in kept["files"].items()}
    return draw(settings, files, context(source), source)


def draw(settings: Settings, files: Mapping[str, bytes], report: Mapping[str, Any], source: Source | None) -> Look:
    """The look made of a folder's files.

    Args:
        source: the evidence that numbers are looked up in; None to try the templates only.

    Raises:
        SpecError: with file and line.
        AuditError: the kernel takes no filter, so that no template is filled.
    """
    if wrong := faint(settings.colours):
        raise SpecError([f"template.yaml:1: colours.{'.'.join(path)}: {text}" for path, text in wrong])
    told = _filled(settings, files, report, source)
    shown = source.shown if source else None

    def place(file: str, kind: Literal["block", "inline"]) -> str:
        try:
            return cleaned(told[file][0], kind, lambda text: _said(text, told[file][1], shown))
        except WrongMarkupError as error:
            raise SpecError(f"{file}:{_line(_text(files, file), error.hint)}: {error}") from error

    return Look(
        name=settings.name,
        logo=_logo(settings, files),
        style=_style(settings.colours),
        paged_style=_paged_style(settings.colours),
        places={where: place(file, "inline" if where in LINES else "block") for where, file in settings.blocks.items()},
        sections=tuple((extra.id, extra.title, extra.after, place(extra.file, "block")) for extra in settings.sections),
    )


def _text(files: Mapping[str, bytes], name: str) -> str:
    return files[name].decode("utf-8-sig").replace("\r\n", "\n")


def _line(template: str, hint: str) -> int:
    """The line of a template on which an element, an attribute or a text stands first; 1 where it is made up."""
    for wanted in (f"<{hint}", f"{hint}=", hint) if hint else ():
        for number, line in enumerate(template.split("\n"), start=1):
            if wanted in line:
                return number
    return 1


def _logo(settings: Settings, files: Mapping[str, bytes]) -> str:
    if settings.logo is None:
        return ""
    try:
        return logo(settings.logo.file, files[settings.logo.file], settings.logo.alt).markup
    except WrongLogoError as error:
        raise SpecError(f"{settings.logo.file}:{error.line}: {error}") from error


def _filled(
    settings: Settings, files: Mapping[str, bytes], report: Mapping[str, Any], source: Source | None
) -> dict[str, tuple[str, list[str]]]:
    """What each template wrote, and the numbers that stand at its marks as HTML."""
    if not settings.fill:
        return {}
    templates = {name: _text(files, name) for name in sorted(files) if name.endswith(".j2")}
    answer = _child({"templates": templates, "fill": settings.fill, "report": report})
    if answer["unconfined"]:
        raise AuditError(f"report.template: no template was filled: {answer['unconfined']}")
    if problem := answer["problem"]:
        raise SpecError(f"{problem['file']}:{problem['line']}: {problem['text']}")
    numbers, wrong = [], []
    for file, line, written in answer["references"]:
        try:
            reference = parse(written)
            said = say(source, reference) if source else None
        except WrongReferenceError as error:
            if source is None or not source.facts("shared"):
                wrong.append(f"{file}:{line}: {error}")
            said = LEFT_OUT
        numbers.append(_link(said.text, said.href, source) if said else "0")
    if wrong:
        raise SpecError(list(dict.fromkeys(wrong)))
    return {name: (text, numbers) for name, text in answer["done"].items()}


def _link(text: str, href: str, source: Source | None) -> str:
    content = escape(visible(text, source.shown if source else None))
    return f'<a class="from" href="{escape(href)}">{content}</a>' if href else f'<span class="from">{content}</span>'


def _said(text: str, numbers: list[str], shown: frozenset[int] | None) -> str:
    """A piece of text as HTML, with the numbers at their marks."""
    parts = re.split(r"\ue000(\d{1,6})\ue001", text)
    marked = [numbers[int(part)] if i % 2 and int(part) < len(numbers) else None for i, part in enumerate(parts)]
    return "".join(number or escape(visible(part, shown)) for part, number in zip(parts, marked, strict=True))


def _child(asked: dict[str, Any]) -> dict[str, Any]:
    """The answer of the process that fills templates."""
    here = Path(__file__)
    asked |= {"memory": MEMORY, "seconds": SECONDS, "confinement": str(here.parent.parent / "confinement.py")}
    command = [sys.executable, "-I", "-B", str(here.with_name("fragment_child.py"))]
    try:
        child = subprocess.run(  # noqa: S603 - our own file, by this interpreter
            command, input=json.dumps(asked).encode("ascii"), capture_output=True, timeout=PATIENCE, check=False,
            env={"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"}, cwd="/",
        )  # fmt: skip
        answer: dict[str, Any] = json.loads(child.stdout)
    except subprocess.TimeoutExpired as error:
        raise SpecError(f"{_last(error.stderr)}:1: the template did not end within {PATIENCE} seconds") from error
    except ValueError as error:
        told = f"the template needs more than {SECONDS} seconds of computing or {MEMORY >> 20} MiB, and was stopped"
        raise SpecError(f"{_last(child.stderr)}:1: {told}") from error
    return answer


def _last(said: bytes | None) -> str:
    """The template that was being filled."""
    lines = (said or b"").decode("utf-8", "replace").split("\n")
    return next((line for line in reversed(lines) if line.endswith(".j2")), "template.yaml")


def _style(colours: Colours) -> str:
    # What is set for light screens would hold for dark ones too, as it stands last.
    set_ = {name: DARK[name] for name, value in colours.light.model_dump().items() if value}
    own = {name: value for name, value in colours.dark.model_dump().items() if value}
    light, dark = _variables(colours.light), _variables(Palette(**set_ | own))
    told = f":root {{ {light} }}\n" if light else ""
    return told + (f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n" if dark else "")


def _paged_style(colours: Colours) -> str:
    """Colours on paper, where the sheet names some of them outright."""
    given = colours.light
    told = f":root {{ {_variables(given)} }}\n" if _variables(given) else ""
    if given.brand:
        told += f".cover {{ border-left-color: {given.brand}; }}\nh2 {{ border-bottom-color: {given.brand}; }}\n"
    return told


def _variables(palette: Palette) -> str:
    return " ".join(f"--{name}: {value};" for name, value in palette.model_dump().items() if value)


def context(source: Source) -> dict[str, Any]:
    """What a template can say of the report besides numbers: plain texts, lists and counts."""
    from audit.report import front
    from audit.report.judged import findings, gates

    manifest, views, raised = source.manifest, gates(source), findings(source)
    word, label, said = front.opinion(source)
    return {
        "id": manifest.report_id,
        "title": front.title(source),
        "as_of": manifest.as_of or "",
        "owner": str(source.facts("audit", "owner") or ""),
        "purpose": str(source.facts("audit", "purpose") or ""),
        "opinion": {"word": word, "label": label, "text": said, "by": str(source.facts("opinion", "by") or "")},
        "gates": [
            _fields(view, "id label scope required measured interval n severity owner") | {"word": view.badge.word}
            for view in views
        ],
        "findings": [_fields(view, "id severity title text action owner") for view in raised],
        "inputs": [
            {"role": r.role, "name": r.name, "rows": r.rows or 0, "sha256": r.sha256} for r in manifest.inputs
        ],
    }  # fmt: skip


def _fields(view: object, names: str) -> dict[str, str]:
    return {name: str(getattr(view, name)) for name in names.split()}


SPECIMEN: dict[str, Any] = {
    "id": "AR-0000000000", "title": "Title", "as_of": "2026-01-01", "owner": "Owner", "purpose": "Purpose",
    "opinion": {"word": "", "label": "No opinion issued", "text": "Text", "by": ""},
    "gates": [dict.fromkeys("id label scope required measured interval n severity owner word".split(), "x")],  # noqa: SIM905
    "findings": [dict.fromkeys("id severity title text action owner".split(), "x")],  # noqa: SIM905
    "inputs": [{"role": "evaluate", "name": "x", "rows": 1, "sha256": "0"}],
}  # fmt: skip
"""A report with one of each, to try a template before anything is measured."""


def allowed_places(sections: Iterable[str]) -> list[str]:
    """The names of all places that a template can fill."""
    return [*LINES, "cover", "contents", *(f"{name}.{end}" for name in sections for end in ("start", "end"))]


__all__ = ["SPECIMEN", "Look", "Settings", "allowed_places", "contrast", "draw", "faint", "look"]
