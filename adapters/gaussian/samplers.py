"""Schedulers of the Gaussian family, each a plain function over `denoise(z, level)`.

Their sources write them in different variables. Here all are steps of one path in sigma space, x = z / alpha, along
which x = z_0 + ratio * slope at every level: z_0 is predicted, and slope = (x - z_0) / ratio = (z - alpha z_0) / sigma
is dx/dratio of the probability-flow ODE (EDM, arXiv 2206.00364, equation 3 with sigma(t) = t) and the predicted noise.
A step to a lower ratio r is

    x_r = z_0 + r slope + correction, in variance-preserving terms z_r = alpha_r (z_0 + correction) + sigma_r slope,

and schedulers differ in the correction (Euler has none) and in noise drawn anew. `look` and `move` are the only two
places where the variables change.

Precision: x itself is never formed. It is as large as the ratio (2225 at the noisy end of DiffuSeq's schedule), so that
x + (r - ratio) slope would lose four digits. alpha, sigma, z, z_0 and slope are all of order 1. Scalars are float64;
tensors keep the dtype of the state.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from adapters.base import AdapterError
from adapters.gaussian.grids import GRIDS
from adapters.gaussian.levels import Level
from adapters.gaussian.process import Denoise, Sampling, Scheduler

#: The grid of a scheduler where a request names none; the others' is uniform. The mean of two slopes over a step from
#: ratio 2225 to 4 (DiffuSeq's sqrt schedule on a uniform grid of ten) is far from the path.
DEFAULT_GRIDS = {"heun": "karras"}
DEFAULT_ETA = 0.0
DEFAULT_ORDER = 4
MAX_ORDER = 4


@dataclass(frozen=True)
class Point:
    """What the network said at one level: the state there is x = z_0 + ratio * slope.

    Attributes:
        level: where it was asked.
        z_0: predicted clean embeddings [B, L, D].
        slope: predicted noise [B, L, D], dx/dratio.
    """

    level: Level
    z_0: Tensor
    slope: Tensor


#: (points so far, the latest last; the next level) -> the state there, variance preserving.
Update = Callable[[Sequence[Point], Level], Tensor]


def look(denoise: Denoise, z: Tensor, level: Level) -> Point:
    """Evaluate at a variance-preserving state, and see it in sigma space."""
    z_0 = denoise(z, level)
    return Point(level, z_0, (z - level.alpha * z_0) / level.sigma)


def move(point: Point, to: Level, correction: Tensor | None = None) -> Tensor:
    """The variance-preserving state at a level on the line through a point, plus a correction in units of x."""
    target = point.z_0 if correction is None else point.z_0 + correction
    return to.alpha * target + to.sigma * point.slope


def ancestral(denoise: Denoise, z: Tensor, sampling: Sampling) -> Tensor:
    """A draw from the posterior q(z_s | z_t, z_0) with z_0 as predicted (DDPM, arXiv 2006.11239, equation 7; for any
    two levels VDM, arXiv 2107.00630, equation 33). It is DDIM with eta 1."""
    return _stochastic(denoise, z, sampling, eta=1.0)


def ddim(denoise: Denoise, z: Tensor, sampling: Sampling) -> Tensor:
    """DDIM (arXiv 2010.02502, equations 12 and 16) with option `eta` in 0..1: 0 draws no noise and is `euler`, 1 is
    `ancestral`."""
    return _stochastic(denoise, z, sampling, eta_of(sampling.options))


def _stochastic(denoise: Denoise, z: Tensor, sampling: Sampling, eta: float) -> Tensor:
    """Of the noise due at the next ratio r, the share `up` is drawn anew: up = eta r sqrt(1 - r^2 / ratio^2). This is
    equation 16 of DDIM divided by alpha."""

    def update(points: Sequence[Point], to: Level) -> Tensor:
        point = points[-1]
        if eta == 0:
            return move(point, to)
        # 1 - r^2 / ratio^2 by expm1, which keeps its digits where two levels are close.
        renewed = -(eta**2) * math.expm1(to.gamma - point.level.gamma)
        kept = replace(point, slope=point.slope * math.sqrt(1 - renewed))
        noise = torch.randn(point.slope.shape, generator=sampling.generator, dtype=z.dtype, device=z.device)
        return move(kept, to) + to.sigma * math.sqrt(renewed) * noise

    return _walk(update, denoise, z, sampling)


def euler(denoise: Denoise, z: Tensor, sampling: Sampling) -> Tensor:
    """Euler's step of dx/dratio = slope (EDM, arXiv 2206.00364, algorithm 1 without its correction). It is DDIM with
    eta 0."""
    return _walk(lambda points, to: move(points[-1], to), denoise, z, sampling)


def heun(denoise: Denoise, z: Tensor, sampling: Sampling) -> Tensor:
    """The mean of the slopes at both ends of a step (EDM, arXiv 2206.00364, algorithm 1, S_churn = 0): two evaluations
    a step but the last one, 2 N - 1 in all."""

    def update(points: Sequence[Point], to: Level) -> Tensor:
        point = points[-1]
        # Nothing is read out of this evaluation, not even at the last level.
        end = look(denoise, move(point, to), replace(to, last=False))
        return move(point, to, (to.ratio - point.level.ratio) / 2 * (end.slope - point.slope))

    return _walk(update, denoise, z, sampling)


def dpmpp_2m(denoise: Denoise, z: Tensor, sampling: Sampling) -> Tensor:
    """DPM-Solver++(2M) (arXiv 2211.01095, algorithm 2): z_0 extrapolated in log-SNR from the two latest predictions;
    the first step is Euler's."""

    def update(points: Sequence[Point], to: Level) -> Tensor:
        point = points[-1]
        if len(points) == 1:
            return move(point, to)
        # Steps in lambda = -gamma / 2, the half log-SNR of the paper.
        step = (point.level.gamma - to.gamma) / 2
        step_before = (points[-2].level.gamma - point.level.gamma) / 2
        factor = -math.expm1(-step) * step / step_before / 2
        return move(point, to, factor * (point.z_0 - points[-2].z_0))

    return _walk(update, denoise, z, sampling, keep=2)


def lms(denoise: Denoise, z: Tensor, sampling: Sampling) -> Tensor:
    """Linear multistep (Adams-Bashforth on uneven steps) of dx/dratio = slope, with option `order` in 1..4: the
    polynomial through the latest slopes is integrated exactly (k-diffusion, sampling.py, sample_lms). The order is
    built up from Euler's first step."""

    def update(points: Sequence[Point], to: Level) -> Tensor:
        point = points[-1]
        if len(points) == 1:
            return move(point, to)
        weights = adams_bashforth([p.level.ratio for p in points], to.ratio)
        # The weights sum to the step, so that the latest slope's share is that of `move` and differences are left.
        parts = (w * (p.slope - point.slope) for w, p in zip(weights[:-1], points[:-1], strict=True))
        return move(point, to, torch.stack(list(parts)).sum(0))

    return _walk(update, denoise, z, sampling, keep=order_of(sampling.options))


def adams_bashforth(nodes: Sequence[float], end: float) -> list[float]:
    """Weights of values at distinct nodes, at most four: the integral from the last node to `end` of the polynomial
    through the values. Two Gauss-Legendre points are exact up to degree three."""
    middle, half = (nodes[-1] + end) / 2, (end - nodes[-1]) / 2
    points = (middle - half / math.sqrt(3), middle + half / math.sqrt(3))
    weights = []
    for j, node in enumerate(nodes):
        others = [*nodes[:j], *nodes[j + 1 :]]
        weights.append(half * sum(math.prod((x - o) / (node - o) for o in others) for x in points))
    return weights


def _walk(update: Update, denoise: Denoise, z: Tensor, sampling: Sampling, keep: int = 1) -> Tensor:
    """Predict at each level, and go to the next one by `update`, which sees the latest `keep` points."""
    points: list[Point] = []
    for step, (level, to) in enumerate(itertools.pairwise(sampling.levels)):
        point = look(denoise, z, level)
        sampling.on_step(step, point.z_0)
        points = [*points, point][-keep:]
        z = update(points, to)
    z_0 = denoise(z, sampling.levels[-1])
    sampling.on_step(len(sampling.levels) - 1, z_0)
    return z_0


def eta_of(options: Mapping[str, Any]) -> float:
    """Option `eta`; raises `AdapterError` outside 0..1."""
    eta = options.get("eta", DEFAULT_ETA)
    if not _is_number(eta) or not 0 <= eta <= 1:
        raise AdapterError(f"eta must be between 0 and 1, got {eta}")
    return float(eta)


def order_of(options: Mapping[str, Any]) -> int:
    """Option `order`; raises `AdapterError` where it is no whole number in 1..4."""
    order = options.get("order", DEFAULT_ORDER)
    if not _is_number(order) or order != int(order) or not 1 <= order <= MAX_ORDER:
        raise AdapterError(f"order must be a whole number from 1 to {MAX_ORDER}, got {order}")
    return int(order)


def grid_of(scheduler: str, options: Mapping[str, Any]) -> str:
    """Option `grid` of a scheduler; raises `AdapterError` for an unknown one."""
    grid = options.get("grid", DEFAULT_GRIDS.get(scheduler, GRIDS[0]))
    if grid not in GRIDS:
        raise AdapterError(f"grid '{grid}' is not one of {', '.join(GRIDS)}")
    return str(grid)


def check_options(scheduler: str, options: Mapping[str, Any]) -> None:
    """Raise `AdapterError` for a value that no scheduler of the family could use; computes nothing."""
    grid_of(scheduler, options)
    eta_of(options)
    order_of(options)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


SCHEDULERS: dict[str, Scheduler] = {f.__name__: f for f in (ancestral, ddim, dpmpp_2m, euler, heun, lms)}
