"""The noise levels that a scheduler visits."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from adapters.base import AdapterError
from adapters.gaussian.levels import Level
from adapters.gaussian.process import NoiseSchedule

GRIDS = ("uniform", "quadratic", "karras")
#: rho of EDM (arXiv 2206.00364, equation 5 and table 1).
KARRAS_RHO = 7.0


def levels(schedule: NoiseSchedule, steps: int, grid: str = "uniform") -> list[Level]:
    """Noise levels from t = 1 down to t = 0, one for each step; for one step t = 1 alone.

    A model trained in discrete time is asked about its trained levels only: times are rounded to the nearest index,
    as the respacing of Improved DDPM (arXiv 2102.09672, section 4) does, and kept apart from each other. At T steps
    every grid is all T levels. A fractional index would be a noise the network has never seen, and between the last
    two of the sqrt schedule the ratio rises thirtyfold.

    Args:
        schedule: of the model.
        steps: N, at least 1.
        grid: "uniform" in t; "quadratic" in t, denser at low noise (DDIM, arXiv 2010.02502, appendix D.2); or
            "karras", ratio^(1/7) uniform between the schedule's own ends (EDM, arXiv 2206.00364, equation 5).

    Returns:
        N levels; the last one has `last` set.

    Raises:
        AdapterError: for an unknown grid, no step, or more steps than a discrete-time model has levels.
    """
    if grid not in GRIDS:
        raise AdapterError(f"grid '{grid}' is not one of {', '.join(GRIDS)}")
    most = schedule.max_steps
    if steps < 1 or (most is not None and steps > most):
        raise AdapterError(f"steps {steps} is outside 1..{most or 'any'} for this checkpoint")
    times = _times(schedule, steps, grid)
    if most is not None:
        times = _trained(times, most)
    return levels_at(schedule, times)


def levels_at(schedule: NoiseSchedule, times: Tensor) -> list[Level]:
    """The levels at times [N] that a caller chose, the last one with `last` set."""
    gammas = schedule.gamma(times)
    path = [Level(t, gamma) for t, gamma in zip(times.tolist(), gammas.tolist(), strict=True)]
    return [*path[:-1], dataclasses.replace(path[-1], last=True)]


def _times(schedule: NoiseSchedule, steps: int, grid: str) -> Tensor:
    """Times [N] float64 from 1 to 0."""
    if steps == 1:
        return torch.ones(1, dtype=torch.float64)
    falling = 1 - torch.arange(steps, dtype=torch.float64) / (steps - 1)
    if grid == "uniform":
        return falling
    if grid == "quadratic":
        return falling**2
    low, high = (schedule.gamma(torch.tensor([0.0, 1.0], dtype=torch.float64)) / 2 / KARRAS_RHO).exp()
    times = schedule.time(2 * KARRAS_RHO * torch.log(low + falling * (high - low)))
    # An inverse is only as exact as its arithmetic: the ends are known.
    times[0], times[-1] = 1.0, 0.0
    return times


def _trained(times: Tensor, most: int) -> Tensor:
    """The times of trained indices nearest to times [N], N <= `most`, pushed apart where two share one index."""
    steps = len(times)
    ascending = torch.round(times.flip(0) * (most - 1))
    rank = torch.arange(steps, dtype=torch.float64)
    ascending = torch.cummax(ascending - rank, dim=0).values + rank
    ascending = torch.minimum(ascending, most - steps + rank)
    return ascending.flip(0) / (most - 1)
