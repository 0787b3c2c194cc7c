"""Monte-Carlo estimates of likelihood bounds: how draws are spread, and how they are summed up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Estimate:
    """A Monte-Carlo estimate for each of B sequences.

    Attributes:
        nats: [B] float64, nats a sequence.
        standard_error: [B] float64; NaN where one draw was made.
        terms: parts of `nats` by name, [B] each, where the bound has them.
    """

    nats: Tensor
    standard_error: Tensor
    terms: Mapping[str, Tensor] = field(default_factory=dict)


def low_discrepancy(count: int, draws: int, generator: torch.Generator) -> Tensor:
    """Uniforms [count, draws] in (0, 1], in independent groups of evenly spaced points with one random shift each
    (VDM, arXiv 2107.00630, "vdm" in RADD). Groups follow each other along the last axis; see
    `group_count`."""
    groups = group_count(draws)
    size = draws // groups
    shift = torch.rand(count, groups, 1, generator=generator, device=generator.device, dtype=torch.float64)
    points = (shift + torch.arange(size, device=generator.device, dtype=torch.float64) / size) % 1
    return 1 - points.reshape(count, draws)


def group_count(draws: int) -> int:
    """How many independent groups `low_discrepancy` makes: few, so that each covers the time axis well, but enough for
    a standard error."""
    return next((groups for groups in (4, 3, 2) if draws % groups == 0 and draws > groups), draws)


def summarise(values: Tensor) -> Estimate:
    """The mean of draws [B, M] and its standard error from the spread of the independent groups."""
    groups = group_count(values.shape[1])
    means = values.reshape(values.shape[0], groups, -1).mean(-1)
    error = means.std(dim=-1) / math.sqrt(groups) if groups > 1 else torch.full_like(means[:, 0], torch.nan)
    return Estimate(means.mean(-1), error)
