"""Classifiers of images as two programs, features and head, each in a process of its own."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from audit.core.base import Frozen
from audit.core.errors import ModelError
from audit.core.labels import model_classes
from audit.core.model import Capability, Pixels, Source
from audit.models import DIGEST, FileAdapter, pinned
from audit.models.torch_module.program import Child, Form, form_of


class Head(Frozen):
    """The program behind the feature maps.

    Attributes:
        path: the file, relative to the spec.
        sha256: its digest, which is needed: the record of the inputs names the file of the features alone.
    """

    path: str
    sha256: str = Field(pattern=DIGEST)


class ImageProgramsAdapter(FileAdapter):
    """A network that looks at pictures, as two programs: exported ones (.pt2) or TorchScript (.pt, .ts).

    Each runs in a process of its own, in float32. What the second makes of the first is the network.

    Attributes:
        path: the program from pictures (b, channels, h, w) to feature maps (b, d, h', w').
        sha256: the digest of that file; another one is refused before the file is opened.
        head: the program from feature maps to logits (b, classes).
        classes: the classes in the order of the logits.
    """

    kind: Literal["image_programs"] = "image_programs"
    head: Head
    classes: tuple[str | bool | int | float, ...] = Field(min_length=2)

    uses: ClassVar[tuple[str, ...]] = ("torch",)

    def load(self, source: Source) -> "ProgramHalves":
        """The two halves; nothing in a file is opened before its digest was compared."""
        if find_spec("torch") is None:
            raise ModelError("model.kind: torch is not installed here; install it with pip install 'auditspec[torch]'")
        classes = model_classes(self.classes)
        front = _program("path", self.path, self.content(source))
        data = pinned(source.folder, self.head.path, self.head.sha256, "model.head", "model.head.sha256")
        files = [front, _program("head", self.head.path, data)]
        first, second = (Child(name, data, form, (0, 0), None, tensors=True) for name, data, form in files)
        return ProgramHalves(first, second, classes)


@dataclass(frozen=True)
class ProgramHalves:
    """A network in two halves, each a program.

    Attributes:
        first, second: their processes.
    """

    first: Child
    second: Child
    classes: tuple[str, ...]
    capabilities: frozenset[Capability] = frozenset({"split"})

    def features(self, batch: Pixels) -> Pixels:
        """Feature maps (b, d, h, w)."""
        return self.first.tensors(batch)

    def head(self, maps: Pixels) -> Pixels:
        """Logits (b, C)."""
        return self.second.tensors(maps)


def _program(key: str, name: str, data: bytes) -> tuple[str, bytes, Form]:
    """Name, bytes and form of a program."""
    form = form_of(Path(name).suffix.lower(), data)
    if form is None:
        raise ModelError(
            f"model.{key}: {name} is no program; save it with torch.export.save (.pt2), or give weights and an "
            "architecture as `kind: image_network`"
        )
    return name, data, form
