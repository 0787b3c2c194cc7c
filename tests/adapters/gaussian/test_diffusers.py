"""Our schedulers beside those of diffusers at the same levels, conventions converted.

What differs, and how it is converted:

- EulerDiscrete, HeunDiscrete and LMSDiscrete hold x = z / alpha; `scale_model_input` divides by sqrt(1 + ratio^2),
  which gives z. Their `init_noise_sigma` on "linspace" is the largest ratio alone; here the start is z = noise, so
  x = z / alpha.
- Theirs append a ratio of 0, to which a last update goes. It puts out the last prediction, as we do, but for LMS, which
  extrapolates once more; there the predictions before it are compared.
- HeunDiscrete takes no predicted z_0, so it is handed the noise that belongs to it.
- DDIM's step always goes down by T // N, whatever the spacing: only "leading" is consistent.
- Their tables of ratios are float32. The tests give them float64 ones, so that what is left is their arithmetic:
  EulerDiscrete and DPMSolverMultistep work in float32 whatever they are given.
"""

from __future__ import annotations

import math

import pytest
import torch

from adapters.gaussian.convergence import Mixture
from adapters.gaussian.grids import levels, levels_at
from adapters.gaussian.levels import Level
from adapters.gaussian.process import Sampling
from adapters.gaussian.samplers import SCHEDULERS
from adapters.gaussian.schedules import TableSchedule, linear, sqrt

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

#: Broad, so that the last prediction is not simply the nearest token, which hides differences.
TARGET = Mixture((0.5, 0.3, 0.2), (-1.0, 0.2, 1.0), (0.3, 0.4, 0.2))
T = 1000
SCHEDULES = {"linear": linear(T), "sqrt": sqrt(T)}
#: T - 1 = 999 is 9 times 111, so that all of these are trained levels.
STEPS = 10
#: Largest difference of the last predictions, which are of order 1.
DOUBLE, SINGLE = 1e-10, 1e-6


def noise() -> torch.Tensor:
    return torch.randn(10, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def settings(schedule: TableSchedule) -> dict:
    shares = torch.cat([torch.ones(1, dtype=torch.float64), schedule.alpha_bar])
    return {"num_train_timesteps": T, "trained_betas": (1 - shares[1:] / shares[:-1]).tolist()}


def ours(name, path, options=None):
    sampling = Sampling(path, torch.Generator().manual_seed(1), options or {})
    return SCHEDULERS[name](TARGET.denoise, noise(), sampling)


def check(reached, expected, tolerance):
    assert float((reached - expected).abs().max()) < tolerance


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    [
        ("euler", {}, SINGLE),
        ("heun", {}, DOUBLE),
        ("lms", {"order": 1}, DOUBLE),
        ("lms", {"order": 2}, DOUBLE),
        ("lms", {"order": 4}, DOUBLE),
    ],
    ids=str,
)
def test_schedulers_in_sigma_space(schedule, name, options, tolerance):
    kind = {
        "euler": diffusers.EulerDiscreteScheduler,
        "heun": diffusers.HeunDiscreteScheduler,
        "lms": diffusers.LMSDiscreteScheduler,
    }[name]
    prediction = "epsilon" if name == "heun" else "sample"
    theirs = kind(**settings(schedule), prediction_type=prediction, timestep_spacing="linspace")
    path = levels(schedule, STEPS)
    theirs.set_timesteps(STEPS)
    ratios = torch.tensor([level.ratio for level in path] + [0.0], dtype=torch.float64)
    theirs.sigmas = (
        ratios if name != "heun" else torch.cat([ratios[:1], ratios[1:-1].repeat_interleave(2), ratios[-1:]])
    )
    x = noise() / path[0].alpha
    for t in theirs.timesteps:
        z = theirs.scale_model_input(x, t)
        level = Level(float(t) / (T - 1), 2 * math.log(theirs.sigmas[theirs.step_index]))
        z_0 = TARGET.denoise(z, level)
        output = (z - level.alpha * z_0) / level.sigma if name == "heun" else z_0
        x = theirs.step(output, t, x, **options).prev_sample
    check(ours(name, path, options), z_0, tolerance)
    if name != "lms":
        check(z_0, x, tolerance)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_dpm_solver_multistep(schedule):
    theirs = diffusers.DPMSolverMultistepScheduler(
        **settings(schedule),
        prediction_type="sample",
        algorithm_type="dpmsolver++",
        solver_order=2,
        solver_type="midpoint",
        final_sigmas_type="zero",
    )
    path = levels(schedule, STEPS)
    theirs.set_timesteps(timesteps=[round(level.t * (T - 1)) for level in path])
    theirs.sigmas = torch.tensor([level.ratio for level in path] + [0.0], dtype=torch.float64)
    z = noise()
    for t, level in zip(theirs.timesteps, path, strict=True):
        z = theirs.step(TARGET.denoise(z, level), t, z).prev_sample
    check(ours("dpmpp_2m", path), z, SINGLE)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_ddpm(schedule):
    """With "fixed_small", the variance of the posterior, and the same draws."""
    theirs = diffusers.DDPMScheduler(
        **settings(schedule), prediction_type="sample", variance_type="fixed_small", clip_sample=False
    )
    theirs.alphas_cumprod = schedule.alpha_bar
    path = levels(schedule, STEPS)
    theirs.set_timesteps(timesteps=[round(level.t * (T - 1)) for level in path])
    generator, z = torch.Generator().manual_seed(1), noise()
    for t, level in zip(theirs.timesteps, path, strict=True):
        z = theirs.step(TARGET.denoise(z, level), t, z, generator=generator).prev_sample
    check(ours("ancestral", path), z, DOUBLE)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_ddim(schedule, eta):
    theirs = diffusers.DDIMScheduler(
        **settings(schedule), prediction_type="sample", clip_sample=False, timestep_spacing="leading"
    )
    theirs.alphas_cumprod = schedule.alpha_bar
    theirs.set_timesteps(STEPS)
    path = levels_at(schedule, theirs.timesteps.double() / (T - 1))
    generator, z = torch.Generator().manual_seed(1), noise()
    for t, level in zip(theirs.timesteps, path, strict=True):
        z = theirs.step(TARGET.denoise(z, level), t, z, eta=eta, generator=generator).prev_sample
    check(ours("ddim", path, {"eta": eta}), z, DOUBLE)
