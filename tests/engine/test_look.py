# ruff: noqa: E501 - what is wrong and what is said of it read best side by side
"""The folder of a template: nothing out of it is followed, and what is wrong in it is said before the work."""

import os
import re
import sys
from pathlib import Path

import credit_case
import pytest
import yaml

from audit.bundle import Bundle
from audit.core.base import sha256
from audit.core.errors import SpecError
from audit.engine.look import read_look
from audit.engine.run import run
from audit.report import render
from audit.spec.load import load_spec

HEAD = """name: Bank
logo: {file: logo.svg, alt: Bank}
blocks: {cover: a.j2}
"""
SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 10 10"><path d="M0 0"/></svg>'


@pytest.fixture
def brand(tmp_path):
    """A folder with a template that is right, beside a spec that names it."""
    spec = {**credit_case.SPEC, "report": {"formats": ["html"], "template": "brand"}}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    folder = tmp_path / "brand"
    folder.mkdir()
    for name, text in {"template.yaml": HEAD, "logo.svg": SVG, "a.j2": "<p>{{ report.id }}</p>\n"}.items():
        (folder / name).write_text(text)
    return folder


def kept(brand):
    return read_look(load_spec(brand.parent / "spec.yaml"))


def refused(brand):
    with pytest.raises(SpecError) as caught:
        kept(brand)
    assert caught.value.exit_code == 2
    return caught.value.problems


def test_each_file_is_kept_with_its_digest(brand):
    (brand / ".DS_Store").write_bytes(b"\x00")
    facts = kept(brand).facts()
    assert set(facts["files"]) == {"template.yaml", "logo.svg", "a.j2"}
    assert facts["files"]["logo.svg"]["sha256"] == sha256(SVG.encode())
    assert facts["settings"]["name"] == "Bank"


def test_the_standard_look_is_no_folder(brand):
    path = brand.parent / "spec.yaml"
    path.write_text(path.read_text().replace("template: brand", "template: standard"))
    assert kept(brand) is None


def linked_file(brand):
    (brand / "a.j2").unlink()
    (brand / "a.j2").symlink_to("/etc/passwd")


def linked_folder(brand):
    brand.rename(brand.with_name("real"))
    brand.symlink_to(brand.with_name("real"), target_is_directory=True)


def linked_above(brand):
    elsewhere = brand.parent.parent / "elsewhere"
    elsewhere.mkdir()
    brand.rename(elsewhere / "brand")
    (brand.parent / "looks").symlink_to(elsewhere, target_is_directory=True)
    spec = brand.parent / "spec.yaml"
    spec.write_text(spec.read_text().replace("template: brand", "template: looks/brand"))


def pipe(brand):
    os.mkfifo(brand / "b.j2")


def gone(brand):
    brand.rename(brand.with_name("elsewhere"))


WRONG = {
    "a linked file": (linked_file, r"spec\.yaml:\d+: report\.template: brand/a\.j2 is a link, which is not followed"),
    "a linked folder above": (linked_above, r"report\.template: 'looks/brand' .*link"),
    "a linked folder": (linked_folder, r"report\.template: 'brand' is a link"),
    "a pipe": (pipe, r"brand/b\.j2 is no plain file"),
    "no folder": (gone, r"report\.template: 'brand' is not there"),
    "a folder inside": (lambda brand: (brand / "b.j2").mkdir(), r"brand/b\.j2 is no plain file"),
    "another kind": (lambda brand: (brand / "x.py").write_text("import os"), r"brand/x\.py is none of \.j2"),
    "a file too large": (lambda brand: (brand / "b.j2").write_text("a" * 300_000), r"b\.j2 is larger than"),
    "too many files": (lambda brand: [(brand / f"{i}.j2").touch() for i in range(50)], r"holds 53 files"),
    "no text": (lambda brand: (brand / "a.j2").write_bytes(b"<p>\n\xff</p>"), r"^a\.j2:2: not UTF-8"),
    "no head": (lambda brand: (brand / "template.yaml").unlink(), r"holds no template\.yaml"),
    "an empty head": (lambda brand: (brand / "template.yaml").write_text(""), r"^template\.yaml:1: no mapping"),
    "a typo": (lambda brand: head(brand, "logo:", "lgoo:"), r"^template\.yaml:2: lgoo: unknown key; did you mean 'logo'"),
    "a file that is not there": (lambda brand: head(brand, "a.j2", "b.j2"), r"^template\.yaml:3: blocks\.cover: unknown file"),
    "a path": (lambda brand: head(brand, "a.j2", "../a.j2"), r"^template\.yaml:3: blocks\.cover"),
    "a template as a logo": (lambda brand: head(brand, "logo.svg", "a.j2"), r"^template\.yaml:2: logo\.file: found 'a\.j2'"),
    "a place that is none": (lambda brand: head(brand, "cover", "cvoer"), r"^template\.yaml:3: blocks\.cvoer: unknown place"),
    "a faint colour": (
        lambda brand: head(brand, "blocks", 'colours: {light: {brand: "#F0C000"}}\nblocks'),
        r"^template\.yaml:3: colours\.light\.brand: brand #F0C000 on .* contrast of 1\.\d\d; at least 4\.5",
    ),
    "no colour": (
        lambda brand: head(brand, "blocks", "colours: {light: {brand: red}}\nblocks"),
        r"^template\.yaml:3: colours\.light\.brand: found the text 'red'",
    ),
    "a section after none": (
        lambda brand: head(brand, "blocks", "sections: [{id: X1, title: A, after: S99, file: a.j2}]\nblocks"),
        r"^template\.yaml:3: sections\.1\.after: unknown section 'S99'",
    ),
    "two sections of one id": (
        lambda brand: head(brand, "blocks", f"sections: [{', '.join(['{id: X1, title: A, after: S1, file: a.j2}'] * 2)}]\nblocks"),
        r"sections\.2\.id: 'X1' stands here for the second time",
    ),
    "a section of ours": (
        lambda brand: head(brand, "blocks", "sections: [{id: S1, title: A, after: S1, file: a.j2}]\nblocks"),
        r"sections\.1\.id: found the text 'S1'",
    ),
    "aliases": (lambda brand: (brand / "template.yaml").write_text(bomb()), r"^template\.yaml:\d+: "),
    "an escape": (lambda brand: (brand / "a.j2").write_text("<p>\n{{ ''.__class__ }}</p>"), r"^a\.j2:2: access to attribute"),
    "a script": (lambda brand: (brand / "a.j2").write_text("<p>a</p>\n<script>x</script>"), r"^a\.j2:2: <script>"),
    "a script in the logo": (lambda brand: (brand / "logo.svg").write_text(SVG.replace("path", "script")), r"^logo\.svg:1: <script>"),
}  # fmt: skip


def head(brand, old, new):
    path = brand / "template.yaml"
    path.write_text(path.read_text().replace(old, new))


def bomb():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    return "\n".join(lines)


@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes")
@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_folder_is_one_message(brand, change, message):
    change(brand)
    problems = refused(brand)
    assert len(problems) == 1
    assert re.search(message, problems[0]), problems[0]
    assert "Traceback" not in problems[0]


def test_the_report_of_an_audit_bears_the_look(tmp_path):
    spec = yaml.safe_load(yaml.safe_dump(credit_case.SPEC))
    spec |= {"methods": [{"kind": "performance"}], "counterfactuals": {}, "regions": []}
    spec["report"] = {"formats": ["html"], "template": "brand"}
    path = credit_case.make(tmp_path / "case", n=120, spec=spec)
    folder = path.parent / "brand"
    folder.mkdir()
    (folder / "template.yaml").write_text(HEAD)
    (folder / "logo.svg").write_text(SVG)
    (folder / "a.j2").write_text('<p>{{ report.title }}:\n{{ metric("performance.acu") }}</p>')
    with pytest.raises(SpecError, match=r"^a\.j2:2: 'performance' has no metric 'acu'; did you mean 'auc'"):
        run(path, tmp_path / "out")
    (folder / "a.j2").write_text('<p>{{ report.title }}: {{ metric("performance.auc") }}</p>')
    outcome = run(path, tmp_path / "out")
    page = (outcome.out / "report.html").read_text("utf-8")
    (auc,) = [m.value for m in outcome.evidence[2].metrics if m.name == "auc" and m.where.variant is None]
    assert f'<p>Credit case: <a class="from" href="#S7">{auc:.3f}</a></p>' in page
    assert '<title id="logo-title">Bank</title>' in page
    for name in Path(folder).iterdir():
        name.unlink()
    render(Bundle(outcome.out), ["html"])
    assert (outcome.out / "report.html").read_text("utf-8") == page
