"""Classifiers of images as networks of torch: weights with an architecture, cut in two at a module."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from audit.core.architecture import architecture_of
from audit.core.convolution import Cnn, ImageArchitecture, SplitNetwork, split
from audit.core.errors import ModelError
from audit.core.labels import model_classes
from audit.core.model import Source
from audit.core.network import fill, run_on_one_thread, weights_of
from audit.models import FileAdapter

GROUP = "audit.image_architectures"


class ImageNetworkAdapter(FileAdapter):
    """A network that looks at pictures: weights as a `.safetensors` file, and an architecture.

    Attributes:
        architecture: `kind: cnn` with `widths` and `kernel`, or a kind that an installed package offers.
        channels: channels of the pictures that it is given.
        cut: the dotted name of the module whose output are the feature maps; what comes behind it is the head.
        classes: the classes in the order of the logits.
    """

    kind: Literal["image_network"] = "image_network"
    architecture: dict[str, Any] = {}
    channels: Literal[1, 3] = 3
    cut: str = "features"
    classes: tuple[str | bool | int | float, ...] = Field(min_length=2)

    uses: ClassVar[tuple[str, ...]] = ("torch", "safetensors")

    def load(self, source: Source) -> SplitNetwork:
        """The two halves; nothing in the file is opened before its digest was compared."""
        if find_spec("torch") is None or find_spec("safetensors") is None:
            raise ModelError("model.kind: torch is not installed here; install it with pip install 'auditspec[torch]'")
        suffix = Path(self.path).suffix.lower()
        if suffix != ".safetensors":
            raise ModelError(
                f"model.path: {self.path} ends in {suffix or 'nothing'!r}; save the weights with safetensors"
            )
        data = self.content(source)
        classes = model_classes(self.classes)
        shape = architecture_of(self.architecture, {"cnn": Cnn}, GROUP, ImageArchitecture)
        try:
            module = shape.build(self.channels, len(classes), 0)
        except Exception as error:  # a builder may be foreign code
            raise ModelError(f"model.architecture: cannot be built: {type(error).__name__}: {error}") from error
        try:
            filled = fill(module, weights_of(data))
        except ModelError as error:
            raise ModelError(f"model.path: {self.path}: {error}") from error
        run_on_one_thread()
        return SplitNetwork(*split(filled, self.cut), classes)
