from __future__ import annotations

import math

import pytest
import torch

from adapters.gaussian.levels import Level
from adapters.gaussian.schedules import TableSchedule, cosine, inverse, linear, of_betas, sqrt

EVENLY = torch.linspace(0, 1, 101, dtype=torch.float64)
SCHEDULES = {"sqrt": sqrt(2000), "linear": linear(1000), "cosine": cosine(1000), "two": sqrt(2)}


def test_sqrt_is_that_of_diffuseq():
    """Figures printed by the authors' code at T = 2000."""
    table = sqrt(2000).alpha_bar
    assert float(1 - table[0]) == pytest.approx(0.0146413, abs=5e-8)
    assert float(table[999]) == pytest.approx(0.2957803, abs=5e-8)
    assert float(table[1998]) == pytest.approx(2.0204e-4, rel=1e-4)
    assert float(table[1999]) == pytest.approx(2.0204e-7, rel=1e-4)


@pytest.mark.parametrize(("schedule", "name"), [(linear(1000), "linear"), (cosine(1000), "squaredcos_cap_v2")])
def test_linear_and_cosine_are_those_of_diffusers(schedule, name):
    """To the rounding of their products, which are float32."""
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.DDPMScheduler(num_train_timesteps=1000, beta_schedule=name)
    torch.testing.assert_close(schedule.alpha_bar.float(), theirs.alphas_cumprod, rtol=2e-4, atol=1e-9)


@pytest.mark.parametrize("name", SCHEDULES)
def test_gamma_is_exact_at_trained_levels_rises_and_inverts(name):
    schedule = SCHEDULES[name]
    count = schedule.max_steps
    trained = torch.arange(count, dtype=torch.float64) / (count - 1)
    alpha_bar = torch.sigmoid(-schedule.gamma(trained))
    torch.testing.assert_close(alpha_bar, schedule.alpha_bar, rtol=1e-10, atol=0)
    gamma = schedule.gamma(EVENLY)
    assert (gamma.diff() > 0).all()
    torch.testing.assert_close(schedule.time(gamma), EVENLY, rtol=0, atol=1e-12)
    torch.testing.assert_close(inverse(schedule.gamma, gamma), EVENLY, rtol=0, atol=1e-12)


def test_log_snr_is_straight_between_levels_and_level_beyond_the_ends():
    schedule = TableSchedule(torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64))
    low, middle, high = schedule.gammas.tolist()
    found = schedule.gamma(torch.tensor([-0.1, 0.25, 0.5, 0.75, 1.2], dtype=torch.float64)).tolist()
    assert found == pytest.approx([low, (low + middle) / 2, middle, (middle + high) / 2, high])
    assert schedule.time(torch.tensor([low - 1, middle, high + 1])).tolist() == [0, 0.5, 1]
    assert inverse(schedule.gamma, torch.tensor([low - 1, high + 1])).tolist() == pytest.approx([0, 1])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (torch.tensor([0.5], dtype=torch.float64), r"T >= 2"),
        (torch.tensor([0.9, 0.5]), "float64"),
        (torch.tensor([0.5, 0.9], dtype=torch.float64), "fall strictly"),
        (torch.tensor([1.0, 0.9], dtype=torch.float64), "from below 1"),
        (torch.tensor([0.9, 0.0], dtype=torch.float64), "to above 0"),
    ],
    ids=["one level", "float32", "rising", "no noise", "no signal"],
)
def test_a_table_that_is_no_schedule_is_refused(table, message):
    with pytest.raises(ValueError, match=message):
        TableSchedule(table)


def test_betas_multiply_up():
    schedule = of_betas(torch.tensor([0.1, 0.5], dtype=torch.float64))
    assert schedule.alpha_bar.tolist() == pytest.approx([0.9, 0.45])


@pytest.mark.parametrize("gamma", [-1000.0, -3.0, 0.0, 15.4, 700.0])
def test_the_two_ways_of_writing_a_level_agree(gamma):
    level = Level(0.5, gamma)
    assert level.alpha**2 + level.sigma**2 == pytest.approx(1, rel=1e-14)
    if abs(gamma) < 100:
        assert level.ratio == pytest.approx(level.sigma / level.alpha, rel=1e-13)
        assert math.log(level.sigma**2 / level.alpha**2) == pytest.approx(gamma, rel=1e-13)
