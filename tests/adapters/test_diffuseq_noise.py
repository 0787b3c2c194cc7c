"""DiffuSeq's noise tables, by the figures of the authors' schedule."""

from __future__ import annotations

import pytest
import torch

from adapters.base import AdapterError, CheckpointError
from adapters.diffuseq.layout import TrainingArgs
from adapters.diffuseq.noise import SCHEDULES, make_chain, make_schedule, spaced, warmup_decay


def args(steps: int = 2000, schedule: str = "sqrt") -> TrainingArgs:
    return TrainingArgs(16, 16, 32, steps, schedule)


def test_the_published_schedule() -> None:
    bar = make_schedule(args()).alpha_bar
    wanted = {0: 0.9853587, 999: 0.2957803, 1998: 2.0204e-4, 1999: 2.0204e-7}
    for index, value in wanted.items():
        assert float(bar[index]) == pytest.approx(value, rel=5e-5)


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_every_schedule_falls(name: str) -> None:
    bar = make_schedule(args(200, name)).alpha_bar
    assert bar.dtype == torch.float64
    assert (bar.diff() < 0).all()


def test_warmup_decay_is_sqrt_with_another_end() -> None:
    bar, tail = make_schedule(args(100)).alpha_bar, warmup_decay(100).alpha_bar
    assert torch.equal(bar[:90], tail[:90])
    assert float(1 - tail[-1] / tail[-2]) == pytest.approx(1e-4, rel=1e-6)


@pytest.mark.parametrize(("steps", "name"), [(2000, "exp"), (5, "pw_lin")])
def test_a_schedule_that_is_none(steps: int, name: str) -> None:
    with pytest.raises(CheckpointError, match=name):
        make_schedule(args(steps, name))


@pytest.mark.parametrize(
    ("total", "respacing", "kept"),
    [
        (40, "5", {0, 10, 20, 29, 39}),
        (10, "10", set(range(10))),
        (10, "3,2", {0, 2, 4, 5, 9}),
        (10, "ddim5", {0, 2, 4, 6, 8}),
        (7, "1", {0}),
    ],
)
def test_respacing_keeps_the_authors_levels(total: int, respacing: str, kept: set[int]) -> None:
    assert spaced(total, respacing) == kept


@pytest.mark.parametrize("respacing", ["11", "6,6", "ddim7", "", "a", "0", "-3", "ddim", "5,"])
def test_respacing_that_cannot_be(respacing: str) -> None:
    with pytest.raises(AdapterError, match="timestep_respacing"):
        spaced(10, respacing)


def test_a_respaced_chain_has_the_noise_of_its_levels() -> None:
    schedule = make_schedule(args(100))
    chain = make_chain(schedule, "8")
    assert len(chain.index) == 8
    assert torch.allclose(chain.alpha_bar, schedule.alpha_bar[chain.index], rtol=1e-12)
    first, second = chain.posterior()
    # The mean of q(z_{t-1} | z_t, z_0) at the noiseless z_t = alpha_t z_0 is alpha_{t-1} z_0.
    assert torch.allclose(first + second * chain.alpha_bar.sqrt(), chain.before.sqrt())
    assert (float(first[0]), float(second[0])) == (1.0, 0.0)
    assert torch.allclose(chain.deviation()[1:].double() ** 2, chain.betas[1:], rtol=1e-5)
    posterior = chain.betas[1] * (1 - chain.before[1]) / (1 - chain.alpha_bar[1])
    assert float(chain.deviation()[0]) ** 2 == pytest.approx(float(posterior), rel=1e-5)
