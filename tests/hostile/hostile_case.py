"""What a hostile case is, and the folder in which it is made: a good audit, with a secret outside of it."""

import copy
import io
import shutil
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import credit_case
import yaml

CANARY = "canary-5e1f0c77"
"""What stands in every file that no case may read, and nowhere else."""

REFUSED = frozenset({2, 3})
"""Exit codes of an input that is not used."""

HARMLESS = frozenset({0, 1})
"""Exit codes of an audit that ran, the hostile part of it shown and nothing more."""


@dataclass(frozen=True)
class Stage:
    """Where a case is made.

    Attributes:
        folder: of the spec, with a good audit in it.
        outside: a folder beside it whose files no case may read.
        marker: a file that exists when code of the case ran.
    """

    folder: Path
    outside: Path
    marker: Path

    def spec(self, **sections: Any) -> None:
        """Writes the spec with sections replaced, or merged where both are mappings."""
        given = copy.deepcopy(SPEC)
        for name, value in sections.items():
            given[name] = {**given[name], **value} if isinstance(value, dict) and name in given else value
        self.write("spec.yaml", yaml.safe_dump(given, sort_keys=False, allow_unicode=True))

    def write(self, name: str, content: bytes | str) -> Path:
        """Writes a file into the folder of the spec."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode("utf-8", errors="surrogatepass") if isinstance(content, str) else content)
        return path

    def read(self, name: str) -> bytes:
        """A file of the good audit."""
        return (self.folder / name).read_bytes()

    def bundle(self, name: str) -> Path:
        """A good bundle, in the folder of the spec, and where it is."""
        return Path(shutil.copytree(self.folder.parent.parent / "bundle", self.folder / name))

    @property
    def hidden(self) -> bytes:
        """The secret table, which whoever forges a bundle may know."""
        return (self.outside / "secret.parquet").read_bytes()

    def link(self, name: str, target: Path | str) -> None:
        """Puts a link in the place of a file."""
        (self.folder / name).unlink(missing_ok=True)
        (self.folder / name).symlink_to(target)

    @property
    def code(self) -> str:
        """Python that leaves the marker."""
        return f"open({str(self.marker)!r}, 'w').close()"


@dataclass(frozen=True)
class Case:
    """One hostile input.

    Attributes:
        kind: what sort of attack it is; one of each kind is run at every test.
        tries: what the one who wrote it wants.
        make: writes it into a stage.
        codes: the exit codes that are right.
        says: what the messages must match.
        args: of the command line behind `run spec.yaml`.
        command: the whole command line, where it is another.
    """

    kind: str
    tries: str
    make: Callable[[Stage], None]
    codes: frozenset[int] = REFUSED
    says: str = ""
    args: tuple[str, ...] = ()
    command: tuple[str, ...] = ()

    @property
    def words(self) -> list[str]:
        """The command line."""
        return list(self.command) or ["run", "spec.yaml", "-o", "out", *self.args]


SPEC: dict[str, Any] = {
    **{name: credit_case.SPEC[name] for name in ("spec_version", "audit", "model", "run", "report")},
    "data": {**credit_case.SPEC["data"], "sample": {"rows": 12, "stratify": "decision"}},
    "mutability": credit_case.SPEC["mutability"],
    "regions": credit_case.SPEC["regions"][:1],
    "methods": [{"kind": "performance"}],
}


def cases(kind: str, listed: dict[str, Any], **common: Any) -> Iterator[Case]:
    """Cases from what they try to what makes them, or to that, a message, and exit codes."""
    for tries, given in listed.items():
        make, *rest = given if isinstance(given, tuple) else (given,)
        more = dict(zip(("says", "codes"), rest, strict=False))
        yield Case(kind, tries, make, **(common | more))


def zipped(entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive."""
    answer = io.BytesIO()
    with zipfile.ZipFile(answer, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, content in entries.items():
            archive.writestr(name, content)
    return answer.getvalue()


def lying(entries: dict[str, bytes]) -> bytes:
    """A zip archive that says of each of its entries that it has almost 4 GiB."""
    data = zipped(entries)
    parts = data.split(b"PK\x01\x02")
    return b"PK\x01\x02".join([parts[0], *(part[:20] + b"\xfe\xff\xff\xff" + part[24:] for part in parts[1:])])
