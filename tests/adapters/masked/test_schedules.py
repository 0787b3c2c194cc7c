from __future__ import annotations

import math

import pytest
import torch

from adapters.masked.schedules import D3PM, Geometric, LogLinear

TIMES = torch.linspace(0.01, 0.98, 50, dtype=torch.float64)
SCHEDULES = [LogLinear(), Geometric(), D3PM(1000)]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.name)
def test_rate_is_the_derivative_of_sigma(schedule):
    step = 1e-6
    numeric = (schedule.sigma(TIMES + step) - schedule.sigma(TIMES - step)) / (2 * step)
    torch.testing.assert_close(schedule.rate(TIMES), numeric, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.name)
def test_slope_is_the_derivative_of_the_mask_probability(schedule):
    step = 1e-6
    numeric = (schedule.mask_probability(TIMES + step) - schedule.mask_probability(TIMES - step)) / (2 * step)
    torch.testing.assert_close(schedule.slope(TIMES), numeric, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("schedule", SCHEDULES[:2], ids=lambda s: s.name)
def test_time_at_inverts_the_mask_probability(schedule):
    torch.testing.assert_close(schedule.time_at(schedule.mask_probability(TIMES)), TIMES, rtol=1e-6, atol=1e-6)


def test_d3pm_time_is_the_last_transition_at_which_the_mask_was_still_there():
    schedule = D3PM(10)
    levels = torch.tensor([0.1, 0.11, 0.2, 0.95, 1.0], dtype=torch.float64)
    assert schedule.network_time(schedule.time_at(levels)).tolist() == [1, 2, 2, 10, 10]


def test_geometric_never_divides_by_zero_at_the_ends():
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    assert torch.isfinite(Geometric().mask_probability(ends)).all()
    assert Geometric().time_at(torch.ones(1, dtype=torch.float64)).item() == 1


@pytest.mark.parametrize("shape", ["uniform", "cosine"])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.name)
@pytest.mark.parametrize("steps", [1, 2, 7, 999, 1000])
def test_grids_fall_strictly_from_one_to_zero(schedule, steps, shape):
    grid = schedule.grid(steps, shape)
    assert grid.shape == (steps + 1,)
    assert grid[0] == 1
    assert grid[-1] == 0
    assert (grid[:-1] > grid[1:]).all()


def test_d3pm_grid_has_only_existing_times():
    grid = D3PM(50).grid(13, "cosine") * 50
    torch.testing.assert_close(grid, grid.round())
    assert D3PM(1000).grid(1000).mul(1000).round().tolist() == list(range(1000, -1, -1))


def test_cosine_grid_is_the_cosine():
    assert LogLinear().grid(4, "cosine")[1].item() == pytest.approx(math.cos(math.pi / 8))
