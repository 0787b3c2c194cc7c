"""Noise schedules of absorbing diffusion, and the time grids that samplers walk down.

Time t runs from 0 (clean) to 1 (all masked). A schedule is fixed by sigma(t): a token is masked at t with
probability m(t) = 1 - exp(-sigma(t)).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

GRIDS = ("uniform", "cosine")


def falling(steps: int, shape: str = "uniform") -> Tensor:
    """Points [steps + 1] from 1 down to 0.

    Args:
        steps: at least 1.
        shape: "uniform", or "cosine": cos(pi i / 2n) for i = 0..n (MaskGIT, arXiv 2202.04200).
    """
    i = torch.arange(steps + 1, dtype=torch.float64) / steps
    # sin of the complement, not cos: it ends at exactly 0.
    return 1 - i if shape == "uniform" else torch.sin((1 - i) * math.pi / 2)


class Schedule:
    """A noise schedule. All methods take and return float64 tensors of one shape."""

    name: str
    #: Largest step count that makes sense, None where time is continuous.
    max_steps: int | None = None
    #: Whether m(t) is a straight line: then an Euler step is the exact posterior step.
    linear: bool = False

    def mask_probability(self, t: Tensor) -> Tensor:
        """m(t), the probability that a token is masked at time t."""
        raise NotImplementedError

    def sigma(self, t: Tensor) -> Tensor:
        """Total noise sigma(t) = -log(1 - m(t))."""
        return -torch.log1p(-self.mask_probability(t))

    def slope(self, t: Tensor) -> Tensor:
        """dm/dt."""
        raise NotImplementedError

    def rate(self, t: Tensor) -> Tensor:
        """d sigma / dt = m'(t) / (1 - m(t))."""
        return self.slope(t) / (1 - self.mask_probability(t))

    def time_at(self, mask_probability: Tensor) -> Tensor:
        """The time t at which m(t) has the given value; clamped to [0, 1]."""
        raise NotImplementedError

    def top(self) -> float:
        """m(1), the mask probability at the noisy end."""
        return float(self.mask_probability(torch.ones((), dtype=torch.float64)))

    def network_time(self, t: Tensor) -> Tensor:
        """The number the authors feed to a time-conditioned network at time t."""
        return t

    def grid(self, steps: int, shape: str = "uniform") -> Tensor:
        """Times [steps + 1] from 1 down to 0, of a shape that `falling` knows."""
        return falling(steps, shape)


@dataclass(frozen=True)
class LogLinear(Schedule):
    """m(t) = (1 - eps) t (SEDD, arXiv 2310.16834; RADD noise_lib.py)."""

    eps: float = 1e-3
    name: str = "loglinear"
    linear: bool = True

    def mask_probability(self, t: Tensor) -> Tensor:
        return (1 - self.eps) * t

    def slope(self, t: Tensor) -> Tensor:
        return torch.full_like(t, 1 - self.eps)

    def time_at(self, mask_probability: Tensor) -> Tensor:
        return (mask_probability / (1 - self.eps)).clamp(0, 1)


@dataclass(frozen=True)
class Geometric(Schedule):
    """sigma(t) = sigma_min^(1-t) sigma_max^t (SEDD, arXiv 2310.16834; RADD noise_lib.py)."""

    sigma_min: float = 1e-4
    sigma_max: float = 20.0
    name: str = "geometric"

    def sigma(self, t: Tensor) -> Tensor:
        return self.sigma_min ** (1 - t) * self.sigma_max**t

    def mask_probability(self, t: Tensor) -> Tensor:
        return -torch.expm1(-self.sigma(t))

    def rate(self, t: Tensor) -> Tensor:
        return self.sigma(t) * math.log(self.sigma_max / self.sigma_min)

    def slope(self, t: Tensor) -> Tensor:
        return self.rate(t) * torch.exp(-self.sigma(t))

    def time_at(self, mask_probability: Tensor) -> Tensor:
        sigma = -torch.log1p(-mask_probability)
        span = math.log(self.sigma_max / self.sigma_min)
        return (torch.log(sigma / self.sigma_min) / span).clamp(0, 1)


@dataclass(frozen=True)
class D3PM(Schedule):
    """beta_s = 1/(T - s + 1) for s = 1..T, so m(s/T) = s/T (D3PM, arXiv 2107.03006, absorbing).

    Only times s/T with integer s exist; the network is fed s itself (nanoDD sample.py).
    """

    transitions: int = 1000
    name: str = "d3pm"
    linear: bool = True

    @property
    def max_steps(self) -> int | None:  # type: ignore[override]
        return self.transitions

    def mask_probability(self, t: Tensor) -> Tensor:
        return t

    def slope(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def time_at(self, mask_probability: Tensor) -> Tensor:
        # ceil: a token unmasked inside (s-1, s] was still masked at s, the last time the network can be asked about.
        return (torch.ceil(mask_probability * self.transitions - 1e-9) / self.transitions).clamp(0, 1)

    def top(self) -> float:
        """m(1), the mask probability at the noisy end."""
        return float(self.mask_probability(torch.ones((), dtype=torch.float64)))

    def network_time(self, t: Tensor) -> Tensor:
        return torch.round(t * self.transitions)

    def grid(self, steps: int, shape: str = "uniform") -> Tensor:
        """As `Schedule.grid`, rounded to multiples of 1/T and strictly falling (steps <= T)."""
        s = torch.round(super().grid(steps, shape) * self.transitions)
        # Rounding may merge neighbours where the grid is finer than 1/T: push each time to differ from the next.
        ascending = s.flip(0)
        index = torch.arange(steps + 1, dtype=torch.float64)
        ascending = torch.cummax(ascending - index, dim=0).values + index
        ascending = torch.minimum(ascending, self.transitions - (steps - index))
        return ascending.flip(0) / self.transitions
