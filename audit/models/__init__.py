"""One model adapter per file; here, what those of one file share."""

from pathlib import Path

from pydantic import Field

from audit.core.base import sha256
from audit.core.errors import ModelError
from audit.core.model import Adapter, Source

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
        return pinned(Path(source.path or self.path), self.path, self.expected_sha256)


def pinned(
    path: Path, name: str, digest: str | None, path_key: str = "model.path", digest_key: str = "model.sha256"
) -> bytes:
    """The bytes of a file, refused where its digest is not the one that the spec pins.

    Args:
        name: the file as the spec names it.
        path_key, digest_key: where the spec names the file and its digest.

    Raises:
        ModelError: it cannot be read, or the digests differ; the message states both.
    """
    try:
        data = path.read_bytes()
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
