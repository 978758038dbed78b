"""The logits of a network and their gradient by its inputs, for searches that ask for both many times.

Columns are the rows of the data here: inputs have shape (m, n), logits (K, n). With few inputs and classes that lets
torch work along the rows, which are many, and is several times faster than the other way round.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Linear, Module


class Pass(Protocol):
    """One way through a network, and back to its inputs."""

    def logits(self, x: "Tensor") -> "Tensor":
        """The logits (K, n) of inputs (m, n), which are left alone and keep no record."""
        ...

    def gradient(self, slope: "Tensor") -> "Tensor":
        """The gradient by the inputs of the last call, shape (m, n); `slope` is that by their logits, (K, n)."""
        ...


def pass_of(network: "Module | Callable[[Tensor], Tensor]", dtype: object) -> Pass:
    """The way through a network: written down where it is a stack of linear layers and ReLUs, else recorded by torch.

    Args:
        network: from (n, m) to (n, K).
        dtype: of the inputs; a stack whose weights have another is recorded, so that torch complains of it.
    """
    layers = _layers(network)
    if layers is None or any(layer is not None and layer.weight.dtype != dtype for layer in layers):
        return _Recorded(network)
    return _Stack(layers)


def _layers(network: object) -> "list[Linear | None] | None":
    """The linear layers of a stack in order, with None for a ReLU; None where it is no such stack.

    Classes are compared by themselves: a derived layer may compute something else, and a hook may change an answer.
    """
    from torch import nn

    if not isinstance(network, nn.Sequential) or not len(network):
        return None
    parts: list[Module] = [network, *network]
    nested = any(isinstance(part, nn.Sequential) for part in network)
    hooked = any(part._forward_hooks or part._forward_pre_hooks or part._backward_hooks for part in parts)  # noqa: SLF001
    if hooked or {type(part) for part in parts} - {nn.Sequential, nn.Linear, nn.ReLU} or nested:
        return None
    return [part if isinstance(part, nn.Linear) else None for part in network]


class _Stack:
    """Linear layers and ReLUs, with the chain rule written down."""

    def __init__(self, layers: "list[Linear | None]") -> None:
        self.layers = [None if layer is None else _values(layer) for layer in layers]
        self.answers: list[Tensor] = []

    def logits(self, x: "Tensor") -> "Tensor":
        import torch

        self.answers = []
        for layer in self.layers:
            if layer is None:
                x = x.relu()
            else:
                weight, bias = layer
                x = weight @ x if bias is None else torch.addmm(bias, weight, x)
            self.answers.append(x)
        return x

    def gradient(self, slope: "Tensor") -> "Tensor":
        import torch

        for layer, answer in zip(reversed(self.layers), reversed(self.answers), strict=True):
            slope = torch.ops.aten.threshold_backward(slope, answer, 0.0) if layer is None else layer[0].T @ slope
        return slope


def _values(layer: "Linear") -> "tuple[Tensor, Tensor | None]":
    """The weights, and the biases as a column, cut off from any record."""
    bias: Tensor | None = layer.bias
    return layer.weight.detach(), None if bias is None else bias.detach()[:, None]


class _Recorded:
    """Any network that torch can differentiate."""

    def __init__(self, network: "Callable[[Tensor], Tensor]") -> None:
        self.network = network
        self.last: tuple[Tensor, Tensor] | None = None

    def logits(self, x: "Tensor") -> "Tensor":
        import torch

        inputs = x.T.contiguous().detach().requires_grad_()
        with torch.enable_grad():
            f = self.network(inputs)
        self.last = inputs, f
        return f.detach().T.contiguous()

    def gradient(self, slope: "Tensor") -> "Tensor":
        import torch

        if self.last is None:
            raise RuntimeError("there is no gradient before the logits")
        inputs, f = self.last
        (gradient,) = torch.autograd.grad(f, inputs, grad_outputs=slope.T)
        return gradient.T.contiguous()
