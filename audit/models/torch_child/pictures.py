"""Half of a network that looks at pictures, served in the process of a program: tensors of four dimensions, float32."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from audit.models.torch_child.archive import RefusedError
from audit.models.torch_child.exported import Exported

if TYPE_CHECKING:
    from torch import Tensor

SIZES = struct.Struct("<4q")
CLOSE = 1e-3
"""How far an answer may depend on the other pictures of a call."""


@dataclass
class Half:
    """A program that answers tensors (b, channels, h, w) with one tensor for each of the b.

    Attributes:
        least, most: pictures of a call; `most` 0: any.
        believed: it was tried on the first pictures that it was given.
    """

    program: "Callable[[Tensor], Any]"
    least: int = 1
    most: int = 0
    wide: bool = False
    believed: bool = False

    def answer(self, question: bytes) -> bytes:
        """The tensor, its rank and sizes before it, for sizes and numbers of another.

        Raises:
            RefusedError: its answers cannot be relied on, or are no tensor.
        """
        import torch

        start = 1 + SIZES.size
        x = torch.frombuffer(bytearray(question[start:]), dtype=torch.float32).reshape(SIZES.unpack(question[1:start]))
        with torch.no_grad():
            given = self._all(x)
            if not self.believed:
                self._try(x, given)
        sizes = struct.pack(f"<{1 + given.ndim}q", given.ndim, *given.shape)
        return sizes + given.contiguous().numpy().tobytes()

    def _all(self, x: "Tensor") -> "Tensor":
        import torch

        size = self.most or len(x)
        return torch.cat([self._block(x[i : i + size]) for i in range(0, len(x), size)])

    def _block(self, x: "Tensor") -> "Tensor":
        import torch

        n, short = len(x), self.least - len(x)
        if short > 0:
            x = torch.cat([x, x.new_zeros((short, *x.shape[1:]))])
        given = self.program(x)
        if not isinstance(given, torch.Tensor) or not given.is_floating_point():
            raise RefusedError(f"answers with a {type(given).__name__}, and one tensor of numbers is needed")
        if given.ndim == 0 or len(given) != len(x):
            raise RefusedError(f"answers {len(x)} pictures with shape {tuple(given.shape)}")
        return given[:n].float()

    def _try(self, x: "Tensor", given: "Tensor") -> None:
        """Refuses a program that draws lots, or whose answers depend on the other pictures of a call."""
        import torch

        if not torch.equal(given, self._all(x)):
            raise RefusedError("answers the same pictures differently each time; save it after `module.eval()`")
        one = x[:1]
        for others in (self._all(one), self._all(torch.cat([one, 1 - one]))):
            if not torch.allclose(given[:1], others[:1], rtol=CLOSE, atol=CLOSE):
                raise RefusedError("answers a picture differently beside others; save it after `module.eval()`")
        self.believed = True


def half_of(program: Exported) -> Half:
    """An exported program as a half.

    Raises:
        RefusedError: it does not take four dimensions.
    """
    if len(program.sizes) != 4:
        raise RefusedError(
            f"takes tensors of {len(program.sizes)} dimensions, and (pictures, channels, h, w) is needed"
        )
    least, most = program.rows()
    return Half(program, least, most)
