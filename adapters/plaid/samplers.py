"""The authors' own samplers, on their own grid (upstream sample.py).

T steps visit t = 1 ... 0 evenly, T points with both ends, and go from each to t - 1/T, so that the state lags behind
its time by 1/(T(T-1)): the last update ends at t = 1/(T-1) - 1/T and is evaluated as t = 0. One more
evaluation at t = 0 is read out: T + 1 evaluations and T - 1 updates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from adapters.base import AdapterError
from adapters.gaussian.levels import Level
from adapters.gaussian.process import NoiseSchedule, OwnSampler, Process, Sampling

DEFAULT_NOISE_SCALE = 1.0

#: (state at a level, prediction there, that level, the next one, source of noise) -> the state there.
Update = Callable[[Tensor, Tensor, Level, Level, Callable[[], Tensor]], Tensor]


def ancestral_update(z: Tensor, z_0: Tensor, now: Level, to: Level, noise: Callable[[], Tensor]) -> Tensor:
    """A draw from the posterior (VDM, arXiv 2107.00630, equation 33)."""
    c = -math.expm1(to.gamma - now.gamma)
    z = z * ((1 - c) * to.alpha / now.alpha) + c * (to.alpha * z_0)
    return z + math.sqrt(c) * to.sigma * noise()


def ddim_update(z: Tensor, z_0: Tensor, now: Level, to: Level, noise: Callable[[], Tensor]) -> Tensor:
    """The deterministic step (DDIM, arXiv 2010.02502, eta 0)."""
    return to.alpha * z_0 + to.sigma * ((z - now.alpha * z_0) / now.sigma)


def ancestral_plaid(process: Process, schedule: NoiseSchedule, steps: int, sampling: Sampling) -> Tensor:
    """The authors' default: posterior steps, noise drawn in float64. `initial_noise_scale` multiplies the first one."""
    return _walk(ancestral_update, process, schedule, steps, sampling)


def ddim_plaid(process: Process, schedule: NoiseSchedule, steps: int, sampling: Sampling) -> Tensor:
    """The authors' `ddim_sampler`: the first noise, scaled by `initial_noise_scale`, is all noise there is."""
    return _walk(ddim_update, process, schedule, steps, sampling)


OWN_SAMPLERS: dict[str, OwnSampler] = {"ancestral_plaid": ancestral_plaid, "ddim_plaid": ddim_plaid}
UPDATES: dict[str, Update] = {"ancestral_plaid": ancestral_update, "ddim_plaid": ddim_update}


def grid(schedule: NoiseSchedule, steps: int) -> list[tuple[Level, Level]]:
    """The levels at which the network is asked, each with the one its update goes to. Not for fewer than 2 steps."""
    times = torch.linspace(1.0, 0.0, steps, dtype=torch.float64)
    targets = times - 1 / steps
    pairs = zip(times.tolist(), schedule.gamma(times).tolist(), strict=True)
    goals = zip(targets.tolist(), schedule.gamma(targets).tolist(), strict=True)
    return [(Level(*now), Level(*to)) for now, to in zip(pairs, goals, strict=True)]


def _walk(update: Update, process: Process, schedule: NoiseSchedule, steps: int, sampling: Sampling) -> Tensor:
    """The prediction that is read out."""

    def noise() -> Tensor:
        return torch.randn(process.shape, generator=sampling.generator, dtype=process.dtype, device=process.device)

    z = noise_scale(sampling.options) * noise()
    path = grid(schedule, steps)
    for step, (now, to) in enumerate(path[:-1]):
        z_0 = process.denoise(z, now)
        sampling.on_step(step, z_0)
        z = update(z, z_0, now, to, noise)
    # Twice at t = 0: the first prediction is not used but for the self-conditioning of the second.
    end = Level(path[-1][0].t, path[-1][0].gamma, last=True)
    process.denoise(z, end)
    z_0 = process.denoise(z, end)
    sampling.on_step(steps - 1, z_0)
    return z_0


def noise_scale(options: Mapping[str, Any]) -> float:
    """Option `initial_noise_scale`; raises `AdapterError` where it is no positive number."""
    scale = options.get("initial_noise_scale", DEFAULT_NOISE_SCALE)
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not (math.isfinite(scale) and scale > 0):
        raise AdapterError(f"initial_noise_scale must be a number above 0, got '{scale}'")
    return float(scale)
