from __future__ import annotations

import pytest
import torch

from adapters.base import AdapterError
from adapters.gaussian.convergence import StraightGamma
from adapters.gaussian.grids import GRIDS, levels, levels_at
from adapters.gaussian.schedules import linear, sqrt

CONTINUOUS = StraightGamma(-3, 6)
DIFFUSEQ = sqrt(2000)


@pytest.mark.parametrize("schedule", [CONTINUOUS, DIFFUSEQ], ids=["continuous", "table"])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 500])
def test_every_grid_falls_from_one_to_zero_and_ends_once(schedule, grid, steps):
    path = levels(schedule, steps, grid)
    assert len(path) == steps
    assert [level.last for level in path] == [False] * (steps - 1) + [True]
    times = [level.t for level in path]
    assert times[0] == 1
    assert times[-1] == (0 if steps > 1 else 1)
    assert times == sorted(set(times), reverse=True)
    gammas = schedule.gamma(torch.tensor(times, dtype=torch.float64)).tolist()
    assert [level.gamma for level in path] == gammas


def test_shapes_in_continuous_time():
    assert [level.t for level in levels(CONTINUOUS, 5, "uniform")] == [1, 0.75, 0.5, 0.25, 0]
    assert [level.t for level in levels(CONTINUOUS, 5, "quadratic")] == [1, 0.5625, 0.25, 0.0625, 0]
    high, low = CONTINUOUS.gamma(torch.tensor([1.0, 0.0], dtype=torch.float64)).div(2).exp().tolist()
    by_hand = [(high ** (1 / 7) + i / 4 * (low ** (1 / 7) - high ** (1 / 7))) ** 7 for i in range(5)]
    assert [level.ratio for level in levels(CONTINUOUS, 5, "karras")] == pytest.approx(by_hand, rel=1e-12)


def test_karras_is_that_of_diffusers():
    """Its own ends, sigma itself: no rounding to trained levels, which diffusers leaves out for sigma."""
    diffusers = pytest.importorskip("diffusers")
    schedule = linear(1000)
    theirs = diffusers.EulerDiscreteScheduler(beta_start=1e-4, beta_end=0.02, use_karras_sigmas=True)
    theirs.set_timesteps(9)
    low, high = schedule.gammas[0].item(), schedule.gammas[-1].item()
    ours = [level.ratio for level in levels(StraightGamma(low, high), 9, "karras")]
    assert ours == pytest.approx(theirs.sigmas[:-1].tolist(), rel=1e-4)


@pytest.mark.parametrize("grid", GRIDS)
def test_a_discrete_model_is_asked_about_trained_levels_only(grid):
    for schedule, steps in ((DIFFUSEQ, 33), (sqrt(10), 9), (sqrt(10), 10)):
        indices = [level.t * (schedule.max_steps - 1) for level in levels(schedule, steps, grid)]
        assert indices == pytest.approx([round(i) for i in indices], abs=1e-9)
        assert len({round(i) for i in indices}) == steps


def test_uniform_respacing_is_the_rounded_line():
    """The kept set of Improved DDPM: round(k (T - 1) / (N - 1))."""
    kept = [round(level.t * 1999) for level in levels(DIFFUSEQ, 10)]
    assert kept == [round(k * 1999 / 9) for k in reversed(range(10))]


@pytest.mark.parametrize("grid", GRIDS)
def test_at_all_steps_every_grid_is_the_whole_table(grid):
    path = levels(linear(50), 50, grid)
    assert [round(level.t * 49) for level in path] == list(range(49, -1, -1))


def test_levels_of_a_callers_own_choice():
    path = levels_at(CONTINUOUS, torch.tensor([0.9, 0.3], dtype=torch.float64))
    assert [(level.t, level.last) for level in path] == [(0.9, False), (0.3, True)]
    assert [level.gamma for level in path] == pytest.approx([5.1, -0.3])


@pytest.mark.parametrize(
    ("schedule", "steps", "grid", "message"),
    [
        (CONTINUOUS, 4, "cosine", "grid 'cosine' is not one of uniform, quadratic, karras"),
        (CONTINUOUS, 0, "uniform", r"steps 0 is outside 1\.\.any"),
        (sqrt(10), 11, "uniform", r"steps 11 is outside 1\.\.10"),
    ],
)
def test_what_has_no_levels_is_refused(schedule, steps, grid, message):
    with pytest.raises(AdapterError, match=message):
        levels(schedule, steps, grid)
