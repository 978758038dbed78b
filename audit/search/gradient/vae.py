"""A small variational autoencoder: the latent space that REVISE searches in."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field

from audit.core.base import Frozen
from audit.core.network import Mlp

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


class VaeSettings(Frozen):
    """How the autoencoder is fitted.

    Attributes:
        latent: numbers that a row is pressed into.
        hidden: units of the hidden layer of either half.
        epochs: passes over the rows.
        batch: rows per step.
        rate: step size of Adam.
        kl: weight of the divergence from a standard normal.
        rows: of more rows than this, so many are drawn.
        seed: of weights, order and noise; every part fits the same one.
    """

    latent: int = Field(default=2, ge=1)
    hidden: int = Field(default=32, ge=1)
    epochs: int = Field(default=100, ge=1)
    batch: int = Field(default=50, ge=1)
    rate: float = Field(default=1e-3, gt=0)
    kl: float = Field(default=0.01, ge=0)
    rows: int = Field(default=5_000, ge=1)
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True)
class Vae:
    """A fitted autoencoder between inputs (n, m) and latent points (n, latent), in float64."""

    encoder: "Module"
    decoder: "Module"
    latent: int

    def encode(self, points: "Tensor") -> "Tensor":
        """The means of the latent points."""
        import torch

        with torch.no_grad():
            means: Tensor = self.encoder(points)[:, : self.latent]
        return means

    def decode(self, latent: "Tensor") -> "Tensor":
        """The points that latent points stand for; differentiable."""
        points: Tensor = self.decoder(latent)
        return points


def fit_vae(points: "Tensor", settings: VaeSettings) -> Vae:
    """The autoencoder of these rows, shape (n, m): mean squared error plus the weighted divergence, by Adam.

    The error is the mean over rows and columns; the divergence the sum over latent numbers, the mean over rows. The
    same rows and settings give the same weights; no global state of torch is read or moved.
    """
    import torch

    generator = torch.Generator().manual_seed(settings.seed)
    order = torch.randperm(len(points), generator=generator)[: settings.rows]
    rows = points[order].float()
    m, k = rows.shape[1], settings.latent
    shape = Mlp(hidden=(settings.hidden,))
    encoder, decoder = shape.build(m, 2 * k, settings.seed), shape.build(k, m, settings.seed + 1)
    weights = [*encoder.parameters(), *decoder.parameters()]
    adam = torch.optim.Adam(weights, lr=settings.rate)
    for _ in range(settings.epochs):
        for chosen in torch.split(torch.randperm(len(rows), generator=generator), settings.batch):
            x = rows[chosen]
            halves = encoder(x)
            mean, log_variance = halves[:, :k], halves[:, k:]
            noise = torch.randn(mean.shape, generator=generator)
            error = torch.nn.functional.mse_loss(decoder(mean + noise * torch.exp(log_variance / 2)), x)
            divergence = (torch.exp(log_variance) + mean**2 - 1 - log_variance).sum(dim=1).mean() / 2
            grads = torch.autograd.grad(error + settings.kl * divergence, weights)
            for weight, grad in zip(weights, grads, strict=True):
                weight.grad = grad
            adam.step()
    for module in (encoder, decoder):
        module.requires_grad_(requires_grad=False)
    return Vae(encoder.double(), decoder.double(), k)
