"""Attacks on a network within a box around each row: the fast gradient sign, and projected gradient descent."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, Tensor
    from torch.nn import Module


@dataclass(frozen=True)
class Attack:
    """An untargeted attack in the infinity norm, in the units of the scaled inputs; no domain is respected.

    Attributes:
        eps: half the side of the box.
        steps, rate: signed gradient steps and their size.
        random_start: whether it begins anywhere in the box.

    Reference: Goodfellow et al., arXiv 1412.6572 (one step); Madry et al., arXiv 1706.06083 (several); Wong et al.,
    arXiv 2001.03994 (one step of 1.25 eps from a random start).
    """

    eps: float
    steps: int
    rate: float
    random_start: bool

    def __call__(self, module: "Module", x: "Tensor", y: "Tensor", generator: "Generator") -> "Tensor":
        """Rows of shape (n, m) within eps of x, moved to raise the loss; the parameters are left alone."""
        import torch

        moved = x.detach().clone()
        if self.random_start:
            moved += self.eps * (2 * torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype) - 1)
        low, high, label = x - self.eps, x + self.eps, y[:, None]
        minus = torch.full(label.shape, -1.0, dtype=x.dtype, device=x.device)
        for _ in range(self.steps):
            moved.requires_grad_()
            with torch.enable_grad():
                f = module(moved)
            # The gradient of the cross-entropy by the logits, written down: softmax minus one at the label.
            slope = f.detach().softmax(dim=1).scatter_add_(1, label, minus)
            (gradient,) = torch.autograd.grad(f, moved, grad_outputs=slope)
            moved = torch.minimum(torch.maximum(moved.detach() + self.rate * gradient.sign(), low), high)
        return moved.detach()


def fgsm(eps: float) -> Attack:
    """One step of eps from the row itself."""
    return Attack(eps, 1, eps, random_start=False)


def fgsm_rs(eps: float) -> Attack:
    """One step of 1.25 eps from a random start."""
    return Attack(eps, 1, 1.25 * eps, random_start=True)


def pgd(eps: float, steps: int, rate: float | None = None) -> Attack:
    """Several steps from a random start; their size is 2.5 eps / steps unless said otherwise."""
    return Attack(eps, steps, 2.5 * eps / steps if rate is None else rate, random_start=True)
