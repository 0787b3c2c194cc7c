"""Noise schedules of Gaussian diffusion as log-SNR: gamma = -log SNR = log(sigma^2 / alpha^2), float64 on the CPU.

A model trained in discrete time has a table of abar_i = alpha_i^2 at indices i = 0..T-1, and t = i / (T - 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

#: Largest beta of schedules made from a function abar(u) (Improved DDPM, arXiv 2102.09672, section 3.2).
MAX_BETA = 0.999
#: Halvings of an interval of length 1 after which nothing of float64 is left to gain.
_HALVINGS = 60


@dataclass(frozen=True)
class TableSchedule:
    """Noise of a model trained in discrete time, gamma linear in the index between its levels.

    Args:
        alpha_bar: alpha^2 at the trained indices, [T] float64 on the CPU, T >= 2, falling, inside (0, 1).

    Raises:
        ValueError: for another table.
    """

    alpha_bar: Tensor

    def __post_init__(self) -> None:
        table = self.alpha_bar
        if table.dim() != 1 or len(table) < 2 or table.dtype != torch.float64:
            raise ValueError(f"alpha_bar must be [T >= 2] float64, got {tuple(table.shape)} {table.dtype}")
        if not (table[0] < 1 and table[-1] > 0 and (table.diff() < 0).all()):
            raise ValueError("alpha_bar must fall strictly, from below 1 to above 0")

    @property
    def max_steps(self) -> int | None:
        """T: there are no more levels."""
        return len(self.alpha_bar)

    @property
    def gammas(self) -> Tensor:
        """gamma [T] at the trained indices."""
        return torch.log1p(-self.alpha_bar) - torch.log(self.alpha_bar)

    def gamma(self, t: Tensor) -> Tensor:
        """-log SNR at times [N] in 0..1; exact at trained levels."""
        index = t.double() * (len(self.alpha_bar) - 1)
        return _interpolate(index, torch.arange(len(self.alpha_bar), dtype=torch.float64), self.gammas)

    def time(self, gamma: Tensor) -> Tensor:
        """Inverse of `gamma`; 0 or 1 beyond the ends."""
        index = torch.arange(len(self.alpha_bar), dtype=torch.float64)
        return _interpolate(gamma.double(), self.gammas, index) / (len(self.alpha_bar) - 1)


def _interpolate(x: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """The piecewise linear function through (knots, values), both rising [T], at x [N]; level beyond the ends."""
    x = x.clamp(knots[0], knots[-1])
    left = torch.searchsorted(knots, x, right=True).sub(1).clamp(0, len(knots) - 2)
    share = (x - knots[left]) / (knots[left + 1] - knots[left])
    # lerp gives the knots' own values at share 0 and 1.
    return torch.lerp(values[left], values[left + 1], share)


def of_betas(betas: Tensor) -> TableSchedule:
    """The schedule with abar_i = prod_{j <= i} (1 - beta_j) (DDPM, arXiv 2006.11239, section 2); betas [T] float64."""
    return TableSchedule(torch.cumprod(1 - betas, dim=0))


def sqrt(steps: int) -> TableSchedule:
    """abar(u) = 1 - sqrt(u + 1e-4) (Diffusion-LM, arXiv 2205.14217, appendix A; DiffuSeq gaussian_diffusion.py)."""
    return of_betas(betas_of(lambda u: 1 - math.sqrt(u + 1e-4), steps))


def cosine(steps: int) -> TableSchedule:
    """abar(u) = cos^2((u + 0.008) / 1.008 * pi / 2) (Improved DDPM, arXiv 2102.09672, equation 17)."""
    return of_betas(betas_of(lambda u: math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2, steps))


def linear(steps: int) -> TableSchedule:
    """beta_i evenly spaced from 0.1 / T to 20 / T (DDPM, arXiv 2006.11239, section 4, which has T = 1000).

    T must be above 20, where beta reaches 1."""
    return of_betas(torch.linspace(0.1 / steps, 20 / steps, steps, dtype=torch.float64))


def betas_of(alpha_bar: Callable[[float], float], steps: int) -> Tensor:
    """beta_i = min(1 - abar((i+1)/T) / abar(i/T), 0.999), [T] float64 (Improved DDPM, arXiv 2102.09672, section 3.2).

    abar itself is not met: its value at 0 divides all of the table.
    """
    values = [min(1 - alpha_bar((i + 1) / steps) / alpha_bar(i / steps), MAX_BETA) for i in range(steps)]
    return torch.tensor(values, dtype=torch.float64)


def inverse(gamma: Callable[[Tensor], Tensor], wanted: Tensor) -> Tensor:
    """The times [N] in 0..1 at which a rising function of time has the wanted values [N], by bisection.

    A value beyond the ends gives the nearer end. Serves schedules without a closed inverse, such as a learned one.
    """
    wanted = wanted.double()
    low, high = torch.zeros_like(wanted), torch.ones_like(wanted)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        below = gamma(middle) < wanted
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2
