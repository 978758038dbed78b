"""One model adapter per file; here, what those of one file share."""

import importlib
import importlib.util
import inspect
import io
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import Field

from audit.core.base import sha256
from audit.core.errors import ModelError
from audit.core.model import Adapter, Source
from audit.paths import refusal

SMALL, MOST_TIMES = 2**28, 50
"""Bytes to which any archive may unpack, and how many times its own size a larger one."""

DIGEST = "^[0-9a-fA-F]{64}$"
"""What a SHA-256 looks like in a spec."""


class FileAdapter(Adapter):
    """Settings of a model that lies in a file.

    Attributes:
        path: the model file, relative to the spec.
        sha256: the digest of the file; another one is refused before the file is opened.
    """

    path: str
    sha256: str | None = Field(default=None, pattern=DIGEST)

    @property
    def file(self) -> str | None:
        """The model file."""
        return self.path

    @property
    def expected_sha256(self) -> str | None:
        """The digest that the spec pins, in lower case."""
        return self.sha256 and self.sha256.lower()

    def content(self, source: Source) -> bytes:
        """The bytes of the file, of which nothing is looked at before its digest was compared.

        Raises:
            ModelError: it cannot be read, or is not the one that the spec pins.
        """
        if source.content is not None:
            return checked(source.content, self.path, self.expected_sha256)
        path = Path(source.path or Path(source.folder, self.path))
        return pinned(str(path.parent), path.name, self.expected_sha256)


def pinned(
    folder: str, name: str, digest: str | None, path_key: str = "model.path", digest_key: str = "model.sha256"
) -> bytes:
    """The bytes of a file, refused where its digest is not the one that the spec pins.

    Args:
        folder: where the spec lies.
        name: the file as the spec names it.
        path_key, digest_key: where the spec names the file and its digest.

    Raises:
        ModelError: it cannot be read, or the digests differ; the message states both.
    """
    why = refusal(Path(folder), name)
    if why is not None:
        raise ModelError(f"{path_key}: {name} {why}")
    try:
        data = Path(folder, name).read_bytes()
    except OSError as error:
        raise ModelError(
            f"{path_key}: {name} cannot be read: {error.strerror}; check the path and its rights"
        ) from error
    return checked(data, name, digest, digest_key)


def checked(data: bytes, name: str, digest: str | None, digest_key: str = "model.sha256") -> bytes:
    """The bytes, refused where their digest is not the one that the spec pins.

    Raises:
        ModelError: the digests differ; the message states both.
    """
    found = sha256(data)
    if digest is not None and found != digest.lower():
        raise ModelError(
            f"{digest_key}: {name} has the digest {found}, but the spec pins {digest.lower()}; the file was not opened."
            " Audit the file that was approved, or change the digest in the spec."
        )
    return data


class CodeAdapter(Adapter):
    """Settings of a model that is code; it runs only where the person who starts the run allows it.

    Attributes:
        function: `package.module:callable`; the folder of the spec is searched after everything that is installed.
        sha256: the digest of the source file of the function; another one is refused before it is imported.
    """

    function: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")
    sha256: str | None = Field(default=None, pattern=DIGEST)

    @property
    def expected_sha256(self) -> str | None:
        """The digest that the spec pins, in lower case."""
        return self.sha256 and self.sha256.lower()

    def code(self, source: Source) -> tuple[Callable[..., Any], str]:
        """The function, and the digest of its source file; of nothing that this file imports.

        Raises:
            ModelError: code is not allowed, the file is not the one that the spec pins, or there is no such function.
        """
        if not source.allow.code:
            raise ModelError(
                f"model.function: {self.function} is code, so it was not imported. "
                "Run again with --allow-code if you know where it comes from."
            )
        module, _, name = self.function.partition(":")
        if source.folder not in sys.path:
            sys.path.append(source.folder)
        digest = self._digest(module)
        return self._import(module, name), digest

    def _digest(self, module: str) -> str:
        """SHA-256 of the source file, compared with the pinned one before the module runs."""
        try:
            spec = importlib.util.find_spec(module)
        except Exception as error:  # the parent package is foreign code
            raise ModelError(f"model.function: {module} cannot be found: {type(error).__name__}: {error}") from error
        if spec is None:
            raise ModelError(
                f"model.function: there is no module {module!r}; install its package, or put it beside the spec"
            )
        path = Path(spec.origin) if spec.origin else None
        found = sha256(path.read_bytes()) if path and path.is_file() else ""
        if self.expected_sha256 is not None and found != self.expected_sha256:
            raise ModelError(
                f"model.sha256: {module} has the digest {found or '(no file)'}, but the spec pins "
                f"{self.expected_sha256}; it was not imported. Use the code that was approved, or change the digest."
            )
        return found

    def _import(self, module: str, name: str) -> Callable[..., Any]:
        try:
            value: Any = importlib.import_module(module)
        except Exception as error:  # foreign code
            raise ModelError(f"model.function: {module} cannot be imported: {type(error).__name__}: {error}") from error
        for step in name.split("."):
            if not hasattr(value, step):
                known = ", ".join(n for n, f in inspect.getmembers(value, callable) if not n.startswith("_"))
                raise ModelError(f"model.function: {module} has no {name!r}; it has {known or 'no functions'}")
            value = getattr(value, step)
        if not callable(value):
            raise ModelError(f"model.function: {self.function} is a {type(value).__name__}, not a function")
        call: Callable[..., Any] = value
        return call


def refuse_bomb(name: str, data: bytes, path_key: str = "model.path") -> None:
    """Refuses an archive that unpacks to far more than its own size; what is no archive is left to its reader.

    Raises:
        ModelError: it would fill the memory.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            total = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return
    if total > max(SMALL, MOST_TIMES * len(data)):
        raise ModelError(
            f"{path_key}: {name} has {len(data):,} bytes and unpacks to {total:,}, which no model does; "
            "save the model again"
        )
