"""Noise levels, and the one change of variables between the two ways in which Gaussian diffusion is written.

Variance preserving: z = alpha z_0 + sigma eps with alpha^2 + sigma^2 = 1. Variance exploding: x = z / alpha =
z_0 + ratio eps with ratio = sigma / alpha. The log signal-to-noise ratio is -gamma: alpha^2 = sigmoid(-gamma),
sigma^2 = sigmoid(gamma), ratio^2 = e^gamma (Variational Diffusion Models, arXiv 2107.00630, section 3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Level:
    """One noise level.

    Attributes:
        t: time of the model's own schedule, 1 for noise and 0 for the least noisy level the network was trained at.
        gamma: minus the log signal-to-noise ratio at t.
        last: whether the prediction made here is read out as the text.
    """

    t: float
    gamma: float
    last: bool = False

    @property
    def alpha(self) -> float:
        """Signal scale, variance preserving."""
        return math.sqrt(sigmoid(-self.gamma))

    @property
    def sigma(self) -> float:
        """Noise scale, variance preserving."""
        return math.sqrt(sigmoid(self.gamma))

    @property
    def ratio(self) -> float:
        """Noise scale, variance exploding: sigma / alpha."""
        return math.exp(self.gamma / 2)


def sigmoid(x: float) -> float:
    """1 / (1 + e^-x) without overflow."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
