"""`audit init`."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import pandas as pd

LEFT_OUT = frozenset({"__pycache__", "out"})
NO_SCHEMA = "# yaml-language-server: $schema="


@click.command("init")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--example", metavar="NAME", help="Copy this worked example.")
@click.option(
    "--from", "data", type=click.Path(path_type=Path, dir_okay=False), help="Scaffold from this .csv or .parquet."
)
@click.option("--model", type=click.Path(path_type=Path, dir_okay=False), help="The model file, with --from.")
@click.option("--target", metavar="COLUMN", help="The column of true classes, with --from.")
@click.option(
    "--favourable", metavar="CLASS", multiple=True, help="A class that is good for the person; may be repeated."
)
@click.option("--score", metavar="COLUMN", help="The column of stored scores where there is no model, with --from.")
def command(
    folder: Path,
    example: str | None,
    data: Path | None,
    model: Path | None,
    target: str | None,
    favourable: tuple[str, ...],
    score: str | None,
) -> int:
    """Make the folder DIR with a spec to start from; no file that is there is ever overwritten.

    Either a worked example, or a commented spec for your own data and model, which are copied into the folder.
    """
    from audit.core.errors import SpecError

    if (example is None) == (data is None):
        raise SpecError(f"audit init: give either --example ({', '.join(sorted(_examples()))}) or --from FILE")
    if example is not None:
        if model or target or favourable or score:
            raise SpecError("audit init: --model, --target, --favourable and --score belong to --from; remove them")
        files = _example_files(example)
    else:
        files = _scaffold_files(folder, Path(str(data)), model, target, favourable, score)
    _write(folder, files)
    for name in sorted(files):
        click.echo(str(folder / name))
    click.echo(f"next: audit validate {folder / 'spec.yaml'}")
    return 0


def _examples() -> dict[str, Path]:
    """The worked examples by name."""
    from audit.resources import folder

    return {path.parent.name: path.parent for path in folder("examples").glob("*/spec.yaml")}


def _example_files(name: str) -> dict[str, bytes]:
    """The files of an example, by relative name; its spec finds the schema beside it."""
    from audit.core.errors import SpecError
    from audit.spec.messages import unknown

    examples = _examples()
    if name not in examples:
        raise SpecError(f"audit init --example: {unknown('example', name, sorted(examples))}")
    root = examples[name]
    files = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not LEFT_OUT & set(path.relative_to(root).parts)
    }
    lines = files["spec.yaml"].decode("utf-8").splitlines(keepends=True)
    if lines[0].startswith(NO_SCHEMA):
        lines[0] = f"{NO_SCHEMA}spec.schema.json\n"
    return {**files, "spec.yaml": "".join(lines).encode("utf-8"), "spec.schema.json": _schema()}


def _scaffold_files(
    folder: Path, data: Path, model: Path | None, target: str | None, favourable: tuple[str, ...], score: str | None
) -> dict[str, bytes]:
    """A spec for the user's files, and copies of them."""
    from audit.core.errors import SpecError
    from audit.spec.scaffold import Draft, scaffold

    if (model is None) == (score is None):
        raise SpecError("audit init --from: give either --model FILE or, where there is none, --score COLUMN")
    if score is not None and (target is None or len(favourable) != 1):
        raise SpecError(
            "audit init --score: a score is the probability of a class; name it by --target and --favourable"
        )
    if favourable and target is None:
        raise SpecError("audit init --favourable: add --target, the column in which these classes stand")
    content = _read("--from", data)
    model_content = None if model is None else _read("--model", model)
    frame = _frame(data)
    draft = Draft(
        name=folder.resolve().name,
        data=data.name,
        model=None if model is None else model.name,
        sha256=None if model_content is None else hashlib.sha256(model_content).hexdigest(),
        target=target,
        score=score,
        favourable=favourable,
        **({} if model is None or model_content is None else _known(model, model_content, frame)),
    )
    text = scaffold(frame, draft)
    files = {"spec.yaml": text.encode("utf-8"), "spec.schema.json": _schema(), data.name: content}
    return files if model is None or model_content is None else {**files, model.name: model_content}


def _known(model: Path, content: bytes, frame: "pd.DataFrame") -> dict[str, Any]:
    """What the model file says of itself, as fields of a draft."""
    from audit.core.errors import ModelError, SpecError
    from audit.core.network import about, hidden_of
    from audit.spec.scaffold import NETWORKS

    suffix = model.suffix.lower()
    if suffix not in NETWORKS:
        return {"features": _known_features(model, content, frame)}
    if suffix != ".safetensors":
        return {}
    try:
        said = about(content)
        hidden = hidden_of(content)
    except ModelError as error:
        raise SpecError(f"audit init --model {model}: {error}") from error
    return {"hidden": hidden} if said is None else {"features": said.prepare.features.names, "says_all": True}


def _known_features(model: Path, content: bytes, frame: "pd.DataFrame") -> tuple[str, ...] | None:
    """What the model says that it was fitted on; None where it cannot be asked without running its code."""
    from audit.core.errors import ModelError
    from audit.core.model import ADAPTERS, Allow, Source
    from audit.engine.apart import names_apart

    adapter = ADAPTERS.classes()["sklearn"].model_validate({"kind": "sklearn", "path": model.name})
    source = Source(
        path=str(model), folder=str(model.parent), allow=Allow(), evaluate=frame, favourable=(), content=content
    )
    try:
        return names_apart(adapter, source)
    except ModelError:
        return None


def _read(option: str, path: Path) -> bytes:
    from audit.core.errors import SpecError

    try:
        return path.read_bytes()
    except OSError as error:
        raise SpecError(f"audit init {option} {path}: cannot be read: {error.strerror}") from error


def _frame(path: Path) -> "pd.DataFrame":
    """The rows of the user's data, read as a run reads them."""
    import pandas as pd

    from audit.core.errors import SpecError

    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        if path.suffix == ".csv" or path.name.endswith(".csv.gz"):
            return pd.read_csv(path, low_memory=False)
    except Exception as error:  # the file is foreign: whatever its reader raises is a fault of the file
        why = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        raise SpecError(f"audit init --from {path}: cannot be read: {why}") from error
    raise SpecError(f"audit init --from {path}: use .csv, .csv.gz or .parquet")


def _schema() -> bytes:
    """The JSON Schema with what is installed, for the editor."""
    from audit.spec.schema import spec_schema

    return (json.dumps(spec_schema(), indent=2, ensure_ascii=False) + "\n").encode("utf-8")


def _write(folder: Path, files: dict[str, bytes]) -> None:
    """Writes the files, all or none.

    Raises:
        SpecError: one of them is there with another content.
        WriteError: the disk refuses.
    """
    from audit.core.errors import SpecError
    from audit.disk import faults

    with faults(folder):
        there = [name for name, data in files.items() if (folder / name).exists() and _differs(folder / name, data)]
    if there:
        raise SpecError(f"audit init {folder}: {', '.join(sorted(there))} is already there; name another folder")
    for name, content in files.items():
        path = folder / name
        with faults(path):
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)


def _differs(path: Path, content: bytes) -> bool:
    return not path.is_file() or path.read_bytes() != content
