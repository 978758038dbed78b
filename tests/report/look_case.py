# ruff: noqa: E501 - templates read best as they are
"""A template of an organisation with all that one can hold, and the credit case in its look."""

import base64
import json
import struct
import zlib
from pathlib import Path

import yaml
from report_case import credit_case

from audit.bundle import Bundle
from audit.core.base import sha256
from audit.report.template import Settings

HEAD = """name: Harbour Bank
logo: {file: logo.svg, alt: Harbour Bank}
colours:
  light: {brand: "#5B1A4C", ink: "#1B1420", muted: "#5A4F5E"}
  dark: {brand: "#E2A9D3"}
blocks:
  kicker: kicker.j2
  foot: foot.j2
  footer: foot.j2
  cover: cover.j2
  contents: cover.j2
  S7.start: committee.j2
  S7.end: cover.j2
  S12.start: cover.j2
sections:
  - {id: X1, title: Approvals, after: S1, file: approvals.j2}
  - {id: X2, title: After the end, after: F, file: cover.j2}
"""
SVG = b"""<?xml version="1.0" encoding="utf-8"?>
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 240 60">
  <title>not this</title>
  <defs><linearGradient id="a" gradientUnits="userSpaceOnUse" x1="10" x2="70" y1="0" y2="0">
    <stop offset="0" stop-color="#5B1A4C"/><stop offset="1" stop-color="#B04A93"/></linearGradient></defs>
  <path d="M10 50 L40 8 L70 50 Z" fill="url(#a)"/><rect x="84" y="18" width="140" height="8" fill="#5B1A4C"/>
</svg>"""
FILES = {
    "logo.svg": SVG,
    "kicker.j2": b"Harbour Bank &middot; validation",
    "foot.j2": b"Internal, for {{ report.owner }}.",
    "cover.j2": b"<p><strong>Internal.</strong> {{ report.title }} &lt;{{ report.id }}&gt;</p>\n",
    "committee.j2": b'<p>First the AUC: {{ metric("performance.auc", interval=True) }}.</p>\n',
    "approvals.j2": b"""{% include "intro.j2" %}
<table><caption>Gates</caption>
<thead><tr><th scope="col">Gate</th><th scope="col" class="number">Required</th><th scope="col">Result</th></tr></thead>
<tbody>
{% for gate in report.gates %}
<tr><th scope="row">{{ gate.label }}</th><td class="number">{{ gate.required }}</td><td>{{ gate.word }}</td></tr>
{% endfor %}
</tbody></table>
<h3>Findings</h3>
<ul>{% for finding in report.findings %}<li><a href="#S17">{{ finding.id }}</a> {{ finding.title }}</li>{% endfor %}</ul>
<dl><dt>Owner</dt><dd>{{ report.owner }}</dd></dl>
<p class="signature">Head of Model Risk</p>
""",
    "intro.j2": b"<p>AUC {{ metric('performance.auc') }}, {{ gate('performance.auc') }}.<br>Rows: \xe2\x80\xae{{ report.inputs | length }}</p>",
}  # fmt: skip
"""The folder besides `template.yaml`; a text holds an override of the direction of writing."""


def settings() -> Settings:
    """The settings as the bundle keeps them."""
    return Settings.model_validate_json(json.dumps(yaml.safe_load(HEAD)))


def written(folder: Path) -> Path:
    """The template as a folder."""
    folder.mkdir(parents=True)
    for name, data in {"template.yaml": HEAD.encode(), **FILES}.items():
        (folder / name).write_bytes(data)
    return folder


def look_case(root: Path) -> Bundle:
    """The credit case in that look, with a text of the organisation."""
    bundle = credit_case(root)
    manifest = bundle.manifest()
    files = {n: {"sha256": sha256(d), "base64": base64.b64encode(d).decode()} for n, d in FILES.items()}
    template = {"folder": "brand", "settings": settings().model_dump(mode="json"), "files": files}
    text = "**Affected** are applicants.\n\n| a | b |\n|---|---|\n| 1 | {{ metric('performance.auc') }} |\n"
    told = {"S2": {"file": "scope.md", "sha256": sha256(text.encode()), "text": text}}
    facts = manifest.facts | {"template": template, "narrative": told}
    bundle.write_manifest(manifest.model_copy(update={"facts": facts}))
    return bundle


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int = 8, height: int = 4, data: bytes | None = None, more: bytes = b"", colour: int = 2) -> bytes:
    """A PNG of one colour, with other chunks before its end."""
    rows = b"".join(b"\x00" + b"\x5b\x1a\x4c" * width for _ in range(height)) if data is None else data
    head = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    packed = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + packed + more + chunk(b"IEND", b"")
