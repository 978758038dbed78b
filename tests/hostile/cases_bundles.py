"""Bundles of strangers: what `verify`, `render`, `diff` and `run` do with them."""
# ruff: noqa: E501 - cases read best as one line each

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cases_data import FORMULA, SCRIPT, extension, metadata, parquet, repeated
from hostile_case import HARMLESS, Case, Stage

from audit.bundle import Bundle, pretty_json
from audit.core.base import sha256

ALTERED = frozenset({4})
VERIFY, RENDER = ("verify", "--quick", "out"), ("render", "out", "--format", "html")
DIFF, DIFF_PAGE, SHARE = (
    ("diff", "before", "out"),
    ("diff", "out", "before", "-o", "out.html"),
    ("render", "out", "--format", "html", "--share", "out-shared"),
)
RUN, AGAINST = ("run", "spec.yaml", "-o", "out"), ("run", "spec.yaml", "-o", "out-new", "--against", "out")
DEEP = b"[" * 100_000
Listed = tuple[str, Callable[[Stage], None], frozenset[int], str, tuple[tuple[str, ...], ...]]
"""What it tries, what makes it, exit codes, message, and the commands that meet it."""

Make = Callable[[Stage], None]


def forged(change: Callable[[Stage, Bundle], None], *, digests: bool = True) -> Make:
    """A good bundle, changed, its digests written anew."""

    def make(stage: Stage) -> None:
        stage.spec()
        for name in ("out", "before"):
            stage.bundle(name)
        bundle = Bundle(stage.folder / "out")
        change(stage, bundle)
        if digests:
            path = bundle.root / "manifest.json"
            content = json.loads(path.read_bytes())
            content["files"] = bundle.digests()
            path.write_bytes(_text(content))

    return make


def _text(content: Any) -> bytes:
    """JSON as audit spells it, also of what audit never writes."""
    try:
        return pretty_json(content)
    except ValueError:
        return json.dumps(content, sort_keys=True, indent=2).encode()


def edited(name: str, edit: Callable[[Any], Any]) -> Make:
    """A JSON file of the bundle as plain data, changed."""
    return forged(lambda stage, bundle: _edit(bundle, name, edit))


def _edit(bundle: Bundle, name: str, edit: Callable[[Any], Any]) -> None:
    """Changes a JSON file; of `evidence` that of the performance, with its copy in the results."""
    path = bundle.root / (f"{evidence(bundle)}/evidence.json" if name == "evidence" else name)
    content = json.loads(path.read_bytes())
    replaced = edit(content)
    content = content if replaced is None else replaced
    path.write_bytes(_text(content))
    if name == "evidence":
        results = bundle.results()
        results["evidence"] = [content if e["id"] == "performance" else e for e in results["evidence"]]
        (bundle.root / "results.json").write_bytes(_text(results))


def evidence(bundle: Bundle) -> str:
    """The folder of the performance."""
    return next(f"evidence/{record.key}" for record in bundle.records() if record.id == "performance")


def table_at(path: str) -> Make:
    """Every table of the performance lies elsewhere, with the digest of what lies there."""

    def change(stage: Stage, bundle: Bundle) -> None:
        given = path.replace("HOME", evidence(bundle)).replace("OUTSIDE", str(stage.outside))

        def edit(content: Any) -> None:
            for table in content["tables"]:
                table.update(path=given, sha256=sha256(stage.hidden), rows=1)

        _edit(bundle, "evidence", edit)

    return forged(change)


def tables(content: bytes | Callable[[Stage], bytes]) -> Make:
    """Every table of the performance is another file, with its digest in the evidence."""

    def change(stage: Stage, bundle: Bundle) -> None:
        data = content if isinstance(content, bytes) else content(stage)

        def edit(content: Any) -> None:
            for table in content["tables"]:
                (bundle.root / table["path"]).write_bytes(data)
                table["sha256"] = sha256(data)

        _edit(bundle, "evidence", edit)

    return forged(change)


def bytes_of(name: str, data: bytes) -> Make:
    """A file of the bundle with other bytes."""
    digests = name != "manifest.json"

    def change(stage: Stage, bundle: Bundle) -> None:
        path = bundle.root / (f"{evidence(bundle)}/evidence.json" if name == "evidence" else name)
        path.write_bytes(data)

    return forged(change, digests=digests)


def linked(name: str, target: str, *, digests: bool = True) -> Make:
    """A file or folder of the bundle is a link."""

    def change(stage: Stage, bundle: Bundle) -> None:
        path = bundle.root / name.replace("HOME", evidence(bundle))
        if path.is_dir():
            path.rename(stage.folder / "moved")
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target.replace("OUTSIDE", str(stage.outside)))

    return forged(change, digests=digests)


def pipe(stage: Stage, bundle: Bundle) -> None:
    """A pipe in the place of the results."""
    (bundle.root / "results.json").unlink()
    os.mkfifo(bundle.root / "results.json")


def plan(**said: Any) -> Make:
    """What a run was about to do, of a stranger."""

    def change(stage: Stage, bundle: Bundle) -> None:
        folder = bundle.root / ".drawn"
        folder.mkdir()
        (folder / "pending.json").write_text(json.dumps(said).replace("OUTSIDE", str(stage.outside)))

    return forged(change)


def titled(text: str) -> Make:
    """A title and names of groups of a stranger, in all places that repeat them."""

    def change(stage: Stage, bundle: Bundle) -> None:
        home = bundle.root / evidence(bundle) / "evidence.json"
        for path in (bundle.root / "results.json", bundle.root / "manifest.json", home):
            content = json.loads(path.read_bytes())
            for holder in (content, content.get("facts", {})):
                if "audit" in holder:
                    holder["audit"].update(title=text, owner=text, purpose=text)
            for record in (content, *content.get("evidence", ())):
                if record.get("id") == "performance":
                    for metric in record["metrics"]:
                        metric["where"].update(by=text, group=text)
                        metric["interval"] = text
            path.write_bytes(pretty_json(content))

    return forged(change)


def _entry(results: Any, **changes: Any) -> None:
    next(e for e in results["evidence"] if e["id"] == "performance").update(changes)


def _metrics(value: Any) -> Callable[[Any], None]:
    return lambda content: [metric.update(value=value) for metric in content["metrics"]] and None


def _pictured(content: Any) -> None:
    content["artefacts"].append(
        {"name": "x.png", "path": "../../outside/secret.png", "media_type": "image/png", "sha256": ""}
    )


# fmt: off
LOOK, OUT, LINK = (VERIFY, RENDER, DIFF), r"leads out of the bundle|lies outside its folder", "is a (symbolic )?link"
WRONG = r"(results|manifest|evidence|changes)\.json"
BOMB = "".join(f"x{i}: &x{i} [{', '.join([f'*x{i - 1}' if i else 'lol'] * 10)}]\n" for i in range(12))
LISTED: list[Listed] = [
    ("a table that leads out by ..", table_at("HOME/../../../../outside/secret.parquet"), ALTERED, OUT, (*LOOK, SHARE)),
    ("a table by its whole path", table_at("OUTSIDE/secret.parquet"), ALTERED, OUT, LOOK),
    ("a table of another folder", table_at("results.json"), ALTERED, OUT, (VERIFY, RENDER)),
    ("a table that is a link", linked("HOME/roc.parquet", "OUTSIDE/secret.parquet"), ALTERED, LINK, (*LOOK, SHARE)),
    ("a folder of evidence that is a link", linked("HOME", "OUTSIDE"), ALTERED, f"{LINK}|missing", LOOK),
    ("all evidence is a link", linked("evidence", "OUTSIDE"), ALTERED, f"{LINK}|missing", (*LOOK, RUN)),
    ("a key that leads out", edited("results.json", lambda r: _entry(r, key="../../outside")), ALTERED, "a key is a digest", LOOK),
    ("a picture that leads out", edited("evidence", _pictured), ALTERED, OUT, (VERIFY, RENDER)),
    ("results that are a link", linked("results.json", "OUTSIDE/secret.md"), ALTERED, LINK, LOOK),
    ("a manifest that is a link", linked("manifest.json", "OUTSIDE/secret.md", digests=False), ALTERED, LINK, LOOK),
    ("changes that are a link", linked("changes.json", "OUTSIDE/secret.md"), ALTERED, LINK, (VERIFY, RENDER)),
    ("a page that is a link is drawn over a file", linked("report.html", "OUTSIDE/secret.md"), HARMLESS, "", (RENDER,)),
    ("a PDF that is a link", linked("report.pdf", "OUTSIDE/secret.md"), ALTERED, LINK, (VERIFY,)),
    ("results that are a pipe", forged(pipe), ALTERED, "results.json", LOOK),
    ("a spec that lies elsewhere", edited("manifest.json", lambda m: m.update(spec_name="../../outside/spec.yaml")), ALTERED, "spec_name", (VERIFY, ("verify", "--quick", "out", "--rerun", "."))),
    ("clears a folder that a link leads to", linked(".drawn", "OUTSIDE"), ALTERED, "is a link", (RENDER,)),
    ("clears another folder that a link leads to", linked(".next", "OUTSIDE"), ALTERED, "is a link", (RENDER, RUN)),
    ("clears old evidence behind a link", linked(".next/evidence", "OUTSIDE"), ALTERED, "is a link", (RUN,)),
    ("a lock that is a link to a file", linked(".lock", "OUTSIDE/secret.md"), ALTERED, "is a link", (RENDER, RUN)),
    ("a plan to remove a file elsewhere", plan(gone=["OUTSIDE/secret.md", "../../outside/secret.md"], keys=None), ALTERED, "would remove", (RENDER,)),
    ("a plan that is no plan", plan(gone=7, keys={}), ALTERED, "not as audit writes it", (RENDER, RUN)),
    ("a plan 100,000 lists deep", forged(lambda s, b: (_folder(b, ".drawn") / "pending.json").write_bytes(DEEP) and None), ALTERED, "deeper", (RENDER,)),
    ("a spec that fills the memory by aliases", edited("manifest.json", lambda m: m.update(spec=BOMB)), ALTERED | HARMLESS, "", (VERIFY, DIFF)),
    ("a spec of 10,000 lists in one another", edited("manifest.json", lambda m: m.update(spec="a: " + "[" * 10000)), ALTERED | HARMLESS, "", (VERIFY, DIFF)),
    ("tables of sixty million texts", tables(repeated), ALTERED, "memory|rows|not as|holds what", (RENDER, SHARE)),
    ("tables that are noise", tables(b"PAR1" + bytes(range(256)) * 9 + b"PAR1"), ALTERED, "cannot be read as a table", (VERIFY, RENDER, SHARE)),
    ("tables that are unpickled", tables(parquet(extension)), ALTERED | HARMLESS, "", (RENDER,)),
    ("tables with metadata that are code", tables(parquet(metadata)), ALTERED | HARMLESS, "", (RENDER,)),
    ("a previous audit that leads out", table_at("OUTSIDE/secret.parquet"), ALTERED, OUT, (AGAINST,)),
    ("a previous audit of other kinds", edited("results.json", lambda r: r.update(opinion=[], evidence=7)), ALTERED, WRONG, (AGAINST,)),
]
# fmt: on


def _each() -> Iterator[Listed]:
    """Those that are made for several files, values or names."""
    for name in ("results.json", "manifest.json", "evidence", "changes.json"):
        commands = (VERIFY, RENDER) if name == "changes.json" else (VERIFY, RENDER, DIFF)
        yield (
            f"{name} 100,000 lists deep",
            bytes_of(name, DEEP),
            ALTERED,
            r"\.json: .*(deep|recursion|missing|key)",
            commands,
        )
    for tries, name, edit in (
        ("a number of 4,000 digits", "evidence", _metrics(10**3999)),
        ("no number", "evidence", _metrics(float("nan"))),
        ("texts for numbers", "evidence", _metrics("{{ 7 * 7 }}")),
        ("evidence that is a list", "evidence", lambda c: [c]),
        ("evidence twice", "results.json", lambda r: r["evidence"].append(r["evidence"][-1])),
        ("findings that are a text", "results.json", lambda r: r.update(findings="none")),
        ("results that are a list", "results.json", lambda r: [r]),
        ("an opinion without words", "results.json", lambda r: r.update(opinion={})),
        ("facts of other kinds", "manifest.json", lambda m: m["facts"].update(dict.fromkeys(m["facts"], 7))),
        ("facts of nothing", "manifest.json", lambda m: m["facts"].clear()),
        ("a schema of texts", "manifest.json", lambda m: m["facts"].update(schema=["x"])),
        ("a template of a stranger without files", "manifest.json", lambda m: m["facts"].update(template={"settings": {}})),
        ("waivers that are none", "manifest.json", lambda m: m["facts"].update(waivers=[{"finding": 7}])),
        ("a plan without tasks", "manifest.json", lambda m: m.update(plan={})),
    ):  # fmt: skip
        mild = name != "evidence" and any(word in tries for word in ("of nothing", "schema", "template", "opinion"))
        codes, says = (ALTERED | HARMLESS, "") if mild else (ALTERED, WRONG)  # the report says nothing of some
        yield tries, edited(name, edit), codes, says, (VERIFY, RENDER)
    for what, text in {"markup": SCRIPT, "a formula": FORMULA, "a template": "{{ ''.__class__.__mro__ }}{% include '/etc/passwd' %}",
                       "what reads backwards": "\u202egpj.exe\u2066"}.items():  # fmt: skip
        yield f"names that are {what}", titled(text), HARMLESS, "", (RENDER, DIFF_PAGE)


def _folder(bundle: Bundle, name: str) -> Path:
    (bundle.root / name).mkdir()
    return bundle.root / name


ALL = [
    Case(
        "bundles",
        f"{tries} ({' '.join(word for word in command if not word.startswith('-'))})",
        make,
        codes,
        says,
        command=command,
    )
    for tries, make, codes, says, commands in [*LISTED, *_each()]
    for command in commands
]
