"""The variational bound of Gaussian diffusion in continuous time (VDM, arXiv 2107.00630, equations 11 to 15).

-log p(x) <= prior + reconstruction + diffusion, in nats a sequence:

- prior: KL of q(z_1 | x) from a standard normal, exact;
- reconstruction: E over z at t = 0 of -log p(x | z);
- diffusion: E over t and z_t of (1/2) exp(-gamma) dgamma/dt |x_0 - prediction|^2.

Draws [B] differ in time; what is conditional on the draws is a plain function of them, so that the same noise gives the
same number as the authors' code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from adapters.estimates import Estimate, low_discrepancy, summarise

#: Draws of the diffusion term for one of the reconstruction term, which varies less.
DRAWS_PER_RECONSTRUCTION = 4


class Denoiser(Protocol):
    """What the bound needs of a system. gamma is float64 [B] everywhere."""

    def gamma_and_rate(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """-log SNR and its derivative in t, at times [B] float64; on the device."""

    def embed(self, tokens: Tensor) -> Tensor:
        """Clean embeddings [B, L, D] of ids [B, L]."""

    def predict(self, z: Tensor, gamma: Tensor) -> Tensor:
        """The clean embeddings [B, L, D] predicted from z [B, L, D]. May take several evaluations."""

    def reconstruct(self, z: Tensor, gamma: Tensor, tokens: Tensor) -> Tensor:
        """-log p(tokens | z) [B] float64, nats a sequence. May take several evaluations."""


@dataclass(frozen=True)
class Terms:
    """The bound of B sequences in its three parts, each in nats a sequence.

    Attributes:
        prior: [B] float64, exact.
        reconstruction, diffusion: Monte-Carlo estimates.
    """

    prior: Tensor
    reconstruction: Estimate
    diffusion: Estimate

    @property
    def total(self) -> Estimate:
        """Their sum; the estimates are independent."""
        nats = self.prior + self.reconstruction.nats + self.diffusion.nats
        error = (self.reconstruction.standard_error**2 + self.diffusion.standard_error**2).sqrt()
        parts = {"prior": self.prior, "reconstruction": self.reconstruction.nats, "diffusion": self.diffusion.nats}
        return Estimate(nats, error, parts)


def prior_nats(denoiser: Denoiser, tokens: Tensor) -> Tensor:
    """KL(q(z_1 | x) || N(0, 1)) [B] float64."""
    gamma, _ = denoiser.gamma_and_rate(torch.ones(1, dtype=torch.float64, device=tokens.device))
    signal, noise = torch.sigmoid(-gamma), torch.sigmoid(gamma)
    embedded = denoiser.embed(tokens).double()
    each = (noise - 1 - noise.log() + signal * embedded.square()) / 2
    return each.sum((1, 2))


def reconstruction_nats(denoiser: Denoiser, tokens: Tensor, noise: Tensor) -> Tensor:
    """-log p(x | z_0) [B] float64 for noise [B, L, D]: one draw of the reconstruction term."""
    t = torch.zeros(len(tokens), dtype=torch.float64, device=tokens.device)
    gamma, _ = denoiser.gamma_and_rate(t)
    return denoiser.reconstruct(corrupt(denoiser.embed(tokens), gamma, noise), gamma, tokens)


def diffusion_nats(denoiser: Denoiser, tokens: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """One draw [B] float64 of the diffusion term, at times [B] float64 with noise [B, L, D]."""
    gamma, rate = denoiser.gamma_and_rate(t)
    embedded = denoiser.embed(tokens)
    prediction = denoiser.predict(corrupt(embedded, gamma, noise), gamma)
    return distance_nats(embedded, prediction, gamma, rate)


def distance_nats(embedded: Tensor, prediction: Tensor, gamma: Tensor, rate: Tensor) -> Tensor:
    """(1/2) exp(-gamma) dgamma/dt |x_0 - prediction|^2 [B] float64, from gamma and its rate [B], the rest [B, L, D]."""
    distance = (embedded - prediction).square().sum((1, 2), dtype=torch.float64)
    return 0.5 * torch.exp(-gamma) * rate * distance


def corrupt(embedded: Tensor, gamma: Tensor, noise: Tensor) -> Tensor:
    """z = alpha x_0 + sigma noise, in the dtype of the noise; alpha and sigma are float64."""
    alpha, sigma = torch.sigmoid(-gamma).sqrt()[:, None, None], torch.sigmoid(gamma).sqrt()[:, None, None]
    return (noise * sigma).to(noise.dtype).add_(alpha * embedded)


def vlb_terms(denoiser: Denoiser, tokens: Tensor, draws: int, generator: torch.Generator) -> Terms:
    """All three terms for every sequence.

    Args:
        tokens: ids [B, L].
        draws: of the diffusion term for each sequence, their times spread evenly; of the reconstruction term there are
            a quarter as many, but two where there can be.
        generator: on the device.
    """
    times = low_discrepancy(len(tokens), draws, generator)
    diffusion = [diffusion_nats(denoiser, tokens, t, _noise(denoiser, tokens, generator)) for t in times.unbind(1)]
    repeats = max(min(draws, 2), draws // DRAWS_PER_RECONSTRUCTION)
    reconstruction = [
        reconstruction_nats(denoiser, tokens, _noise(denoiser, tokens, generator)) for _ in range(repeats)
    ]
    return Terms(
        prior=prior_nats(denoiser, tokens),
        reconstruction=summarise(torch.stack(reconstruction, dim=1)),
        diffusion=summarise(torch.stack(diffusion, dim=1)),
    )


def vlb(denoiser: Denoiser, tokens: Tensor, draws: int, generator: torch.Generator) -> Estimate:
    """The bound for ids [B, L]: the sum of `vlb_terms`."""
    return vlb_terms(denoiser, tokens, draws, generator).total


def _noise(denoiser: Denoiser, tokens: Tensor, generator: torch.Generator) -> Tensor:
    shape = denoiser.embed(tokens[:, :1]).shape
    size = (len(tokens), tokens.shape[1], shape[-1])
    return torch.randn(size, generator=generator, device=tokens.device)
