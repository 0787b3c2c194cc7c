"""Plaid's learned noise schedule as the family wants it."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from adapters.gaussian.schedules import inverse
from adapters.plaid.network import PlaidNetwork


class PlaidSchedule:
    """gamma(t) = gamma_0 + (gamma_1 - gamma_0) u(t) with a learned u, float64 on the CPU; continuous time.

    Args:
        network: whose schedule is copied.
    """

    def __init__(self, network: PlaidNetwork) -> None:
        self._warp = copy.deepcopy(network.noise_schedule).to("cpu", torch.float64)
        bounds = network.gamma_bounds
        self.low, self.high = float(bounds.gamma_0), float(bounds.gamma_1)

    @property
    def max_steps(self) -> int | None:
        """None: any number of steps."""
        return None

    def gamma(self, t: Tensor) -> Tensor:
        """-log SNR at times [N], which may lie somewhat below 0, as the authors' last step does."""
        return self.gamma_and_rate(t)[0]

    def gamma_and_rate(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """gamma and its derivative at times [N], float64 on the CPU."""
        with torch.no_grad():
            warped, rate = self._warp(t.to("cpu", torch.float64))
        span = self.high - self.low
        return self.low + span * warped, span * rate

    def time(self, gamma: Tensor) -> Tensor:
        """Inverse of `gamma`; 0 or 1 beyond the ends."""
        return inverse(self.gamma, gamma)
