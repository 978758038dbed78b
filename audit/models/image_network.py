"""Classifiers of images as networks of torch: weights with an architecture, cut in two at a module."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from audit.core.architecture import architecture_of
from audit.core.convolution import Cnn, ImageArchitecture, SplitNetwork, split
from audit.core.errors import ModelError
from audit.core.labels import class_labels
from audit.core.model import Adapter, Source, refuse_other_digest
from audit.core.network import fill, weights_of

GROUP = "audit.image_architectures"


class ImageNetworkAdapter(Adapter):
    """A network that looks at pictures: weights as a `.safetensors` file, and an architecture.

    Attributes:
        path: the file, relative to the spec.
        sha256: the digest of the file; another one is refused before the file is opened.
        architecture: `kind: cnn` with `widths` and `kernel`, or a kind that an installed package offers.
        channels: channels of the pictures that it is given.
        cut: the dotted name of the module whose output are the feature maps; what comes behind it is the head.
        classes: the classes in the order of the logits.
    """

    kind: Literal["image_network"] = "image_network"
    path: str
    sha256: str | None = Field(default=None, pattern="^[0-9a-fA-F]{64}$")
    architecture: dict[str, Any] = {}
    channels: Literal[1, 3] = 3
    cut: str = "features"
    classes: tuple[str | bool | int | float, ...] = Field(min_length=2)

    uses: ClassVar[tuple[str, ...]] = ("torch", "safetensors")

    @property
    def file(self) -> str | None:
        """The file of the weights."""
        return self.path

    @property
    def expected_sha256(self) -> str | None:
        """The digest that the spec pins, in lower case."""
        return self.sha256 and self.sha256.lower()

    def load(self, source: Source) -> SplitNetwork:
        """The two halves; nothing in the file is opened before its digest was compared."""
        if find_spec("torch") is None or find_spec("safetensors") is None:
            raise ModelError("model.kind: torch is not installed here; install it with pip install 'auditspec[torch]'")
        suffix = Path(self.path).suffix.lower()
        if suffix != ".safetensors":
            raise ModelError(
                f"model.path: {self.path} ends in {suffix or 'nothing'!r}; save the weights with safetensors"
            )
        data = _read(source.path or self.path)
        refuse_other_digest(self.path, data, self.expected_sha256)
        try:
            classes = class_labels(self.classes)
        except ValueError as error:
            raise ModelError(f"model.classes: {error}") from error
        shape = architecture_of(self.architecture, {"cnn": Cnn}, GROUP, ImageArchitecture)
        try:
            module = shape.build(self.channels, len(classes), 0)
        except Exception as error:  # a builder may be foreign code
            raise ModelError(f"model.architecture: cannot be built: {type(error).__name__}: {error}") from error
        try:
            filled = fill(module, weights_of(data))
        except ModelError as error:
            raise ModelError(f"model.path: {self.path}: {error}") from error
        import torch

        torch.set_num_threads(1)  # results and their cost must not depend on the machine
        return SplitNetwork(*split(filled, self.cut), classes)


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ModelError(
            f"model.path: {path} cannot be read: {error.strerror}; check the path and its rights"
        ) from error
