"""Schedulers on targets known exactly: order of convergence, marginals, ends, and what never changes."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import yaml

from adapters import gaussian
from adapters.base import AdapterError
from adapters.gaussian.convergence import GAUSSIAN, TOKENS, Mixture, StraightGamma, error, predicted_variance, slopes
from adapters.gaussian.grids import GRIDS, levels, levels_at
from adapters.gaussian.levels import Level
from adapters.gaussian.process import Sampling
from adapters.gaussian.samplers import SCHEDULERS, adams_bashforth, check_options, eta_of, grid_of, order_of
from adapters.gaussian.schedules import sqrt

CONTINUOUS = StraightGamma(-3, 6)
DIFFUSEQ = sqrt(2000)
#: Schedulers that draw no noise, with options.
DETERMINISTIC = [("ddim", {}), ("euler", {}), ("heun", {}), ("dpmpp_2m", {}), ("lms", {})]


def noise(count: int = 200, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def run(name, denoise, z, path, options=None, seed=0, on_step=lambda step, z_0: None):
    sampling = Sampling(path, torch.Generator().manual_seed(seed), options or {}, on_step)
    return SCHEDULERS[name](denoise, z, sampling)


@pytest.mark.parametrize(
    ("scheduler", "options", "least", "most"),
    [
        ("ddim", {"eta": 0.0}, 0.97, 1.03),
        ("euler", {}, 0.97, 1.03),
        ("heun", {}, 1.95, 2.05),
        ("dpmpp_2m", {}, 1.9, 2.1),
        ("lms", {"order": 1}, 0.97, 1.03),
        ("lms", {"order": 2}, 1.95, 2.05),
    ],
    ids=lambda value: str(value),
)
@pytest.mark.parametrize(("target", "steps"), [(GAUSSIAN, (257, 513)), (TOKENS, (1025, 2049))], ids=["one", "tokens"])
def test_order_of_convergence(target, steps, scheduler, options, least, most):
    """Error of the last prediction against the exact probability flow, whose every point keeps its rank."""
    found = slopes([error(target, CONTINUOUS, scheduler, options, n, "uniform") for n in steps], steps)
    assert least < found[0] < most


@pytest.mark.parametrize(("target", "steps"), [(GAUSSIAN, (65, 129)), (TOKENS, (257, 513))], ids=["one", "tokens"])
def test_high_orders_of_lms(target, steps):
    """Seen before the error of the start, which is Euler's, is left over: it is of order 2 and below 1e-7."""
    errors = [[error(target, CONTINUOUS, "lms", {"order": order}, n, "uniform") for n in steps] for order in (2, 3, 4)]
    second, third, fourth = (slopes(found, steps)[0] for found in errors)
    assert 1.9 < second < 2.05 < 2.85 < third < 3.05 < 3.4 < fourth < 4.05
    assert errors[2][1] < errors[1][1] / 5 < errors[0][1] / 25


def test_the_exact_flow_of_one_gaussian_has_its_closed_form():
    """x(r) = m + (x(r_1) - m) sqrt((v + r^2) / (v + r_1^2)): the ruler of the test above."""
    start, end = levels(CONTINUOUS, 2)
    z = noise()
    x = GAUSSIAN.mean + (z / start.alpha - GAUSSIAN.mean) * math.sqrt(
        (GAUSSIAN.variance + end.ratio**2) / (GAUSSIAN.variance + start.ratio**2)
    )
    torch.testing.assert_close(GAUSSIAN.flow(z, start, end), end.alpha * x, rtol=0, atol=1e-9)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_point_is_reached_exactly_at_any_number_of_steps(scheduler):
    """One possible text: the prediction is constant, and no scheduler may leave it."""
    point = Mixture((1.0,), (0.37,), (0.0,))
    for steps in (1, 2, 5):
        reached = run(scheduler, point.denoise, noise(), levels(DIFFUSEQ, steps))
        torch.testing.assert_close(reached, torch.full_like(reached, 0.37), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["ancestral", "ddim"])
@pytest.mark.parametrize("steps", [2, 5, 20])
def test_stochastic_steps_have_the_law_of_the_ddpm_posterior(name, steps):
    """A Gaussian target makes each step linear, so the law of the last prediction follows by recursion: here with the
    posterior in DDPM's own variables (arXiv 2006.11239, equation 7, betas between the visited levels)."""
    path = levels(CONTINUOUS, steps)
    mean, variance = 0.0, 1.0
    for at, to in itertools.pairwise(path):
        gain = at.alpha * GAUSSIAN.variance / (at.alpha**2 * GAUSSIAN.variance + at.sigma**2)
        fixed = GAUSSIAN.mean * (1 - gain * at.alpha)
        beta = 1 - at.alpha**2 / to.alpha**2
        on_z_0 = to.alpha * beta / at.sigma**2
        on_z = math.sqrt(1 - beta) * to.sigma**2 / at.sigma**2
        mean = (on_z_0 * gain + on_z) * mean + on_z_0 * fixed
        variance = (on_z_0 * gain + on_z) ** 2 * variance + beta * to.sigma**2 / at.sigma**2
    last = path[-1]
    gain = last.alpha * GAUSSIAN.variance / (last.alpha**2 * GAUSSIAN.variance + last.sigma**2)
    mean, variance = GAUSSIAN.mean * (1 - gain * last.alpha) + gain * mean, gain**2 * variance
    count = 200_000
    reached = run(name, GAUSSIAN.denoise, noise(count), path, {"eta": 1.0}, seed=1)
    assert float(reached.mean()) == pytest.approx(mean, abs=4 * math.sqrt(variance / count))
    assert float(reached.var()) == pytest.approx(variance, rel=4 * math.sqrt(2 / count))


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_many_stochastic_steps_give_the_targets_own_mean_and_variance(eta):
    path = levels(CONTINUOUS, 400)
    start = GAUSSIAN.noisy(40_000, path[0], torch.Generator().manual_seed(0))
    reached = run("ddim", GAUSSIAN.denoise, start, path, {"eta": eta}, seed=1)
    assert float(reached.mean()) == pytest.approx(GAUSSIAN.mean, abs=0.01)
    assert float(reached.var()) == pytest.approx(predicted_variance(GAUSSIAN, path[-1]), rel=0.025)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_tokens_come_as_often_as_they_should(name):
    """Of the sqrt schedule, whose first step goes from ratio 2225 to 20, at its scheduler's own grid."""
    path = levels(DIFFUSEQ, 200, grid_of(name, {}))
    reached = run(name, TOKENS.denoise, noise(20_000), path, seed=1)
    nearest = (reached[:, None] - torch.tensor(TOKENS.means)).abs().argmin(-1)
    shares = torch.bincount(nearest, minlength=3) / len(nearest)
    assert shares.tolist() == pytest.approx(TOKENS.weights, abs=0.015)


def test_names_for_one_algorithm_agree():
    """All are written in sigma space, so what is equal there must come out equal."""
    path, z = levels(DIFFUSEQ, 12), noise()
    first = run("euler", TOKENS.denoise, z, path)
    assert torch.equal(first, run("ddim", TOKENS.denoise, z, path, {"eta": 0}))
    assert torch.equal(first, run("lms", TOKENS.denoise, z, path, {"order": 1}))
    assert not torch.allclose(first, run("ddim", TOKENS.denoise, z, path, {"eta": 0.5}))
    posterior = run("ancestral", TOKENS.denoise, z, path, seed=3)
    assert torch.equal(posterior, run("ddim", TOKENS.denoise, z, path, {"eta": 1}, seed=3))
    assert not torch.allclose(posterior, run("ancestral", TOKENS.denoise, z, path, seed=4))


@pytest.mark.parametrize("schedule", [CONTINUOUS, DIFFUSEQ], ids=["continuous", "sqrt"])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_every_scheduler_visits_every_level_and_reads_out_the_last_prediction(name, grid, schedule, steps):
    path, start = levels(schedule, steps, grid), noise()
    asked: list[Level] = []
    shown: list[tuple[int, torch.Tensor]] = []

    def denoise(z, level):
        if not asked:
            assert torch.equal(z, start)
        asked.append(level)
        assert torch.isfinite(z).all()
        return TOKENS.denoise(z, level)

    before = start.clone()
    reached = run(name, denoise, start, path, on_step=lambda step, z_0: shown.append((step, z_0)))
    assert torch.equal(start, before)
    if name == "heun":
        assert [level.gamma for level in asked[0::2]] == [level.gamma for level in path]
        assert [level.gamma for level in asked[1::2]] == [level.gamma for level in path[1:]]
    else:
        assert asked == path
    assert [level.last for level in asked] == [False] * (len(asked) - 1) + [True]
    assert [step for step, _ in shown] == list(range(steps))
    assert shown[-1][1] is reached
    assert ((reached >= -1) & (reached <= 1)).all()


@pytest.mark.parametrize(("name", "options"), DETERMINISTIC)
def test_single_precision_is_enough_from_a_ratio_of_2225_on(name, options):
    path = levels(DIFFUSEQ, 50, grid_of(name, options))
    z = noise()
    # A smooth target: what is compared is the rounding of the steps, not which token is nearest.
    double = run(name, GAUSSIAN.denoise, z, path, options)
    single = run(name, GAUSSIAN.denoise, z.float(), path, options)
    assert single.dtype == torch.float32
    assert float((single.double() - double).abs().max()) < 1e-5


@pytest.mark.parametrize("name", SCHEDULERS)
def test_given_positions_stay_given(name):
    """`Process.denoise` puts what is given into the state and the prediction; no scheduler can lose it."""
    clean = torch.tensor([0.2, -1.0], dtype=torch.float64)

    def denoise(z, level):
        pasted = torch.cat([clean, z[2:]])
        seen.append(pasted)
        return torch.cat([clean, TOKENS.denoise(pasted, level)[2:]])

    for steps in (1, 2, 7):
        seen: list[torch.Tensor] = []
        reached = run(name, denoise, noise(), levels(DIFFUSEQ, steps))
        assert torch.equal(reached[:2], clean)
        assert all(torch.equal(state[:2], clean) for state in seen)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_multistep_weights_integrate_polynomials_exactly(count):
    nodes, end = [9.0, 4.0, 2.5, 2.0][-count:], 1.2
    weights = adams_bashforth(nodes, end)
    for power in range(count):
        exact = (end ** (power + 1) - nodes[-1] ** (power + 1)) / (power + 1)
        assert math.fsum(w * node**power for w, node in zip(weights, nodes, strict=True)) == pytest.approx(exact)
    assert adams_bashforth([3.0, 2.0], 1.0) == pytest.approx([0.5, -1.5])


def test_levels_of_a_callers_own_are_enough():
    """A sampler that only one model has may walk its own levels with the family's steps."""
    path = levels_at(CONTINUOUS, torch.tensor([0.8, 0.3, 0.1], dtype=torch.float64))
    assert run("dpmpp_2m", TOKENS.denoise, noise(), path).shape == (200,)


def test_defaults_are_those_of_the_card():
    with open(f"{gaussian.__path__[0]}/family.yaml", encoding="utf-8") as file:
        cards = yaml.safe_load(file)["schedulers"]
    assert set(cards) == set(SCHEDULERS)
    for name, card in cards.items():
        options = card["options"]
        assert options.pop("grid") == grid_of(name, {})
        assert options == {"ddim": {"eta": eta_of({})}, "lms": {"order": order_of({})}}.get(name, {})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eta": 1.5}, "eta must be between 0 and 1, got 1.5"),
        ({"eta": -0.1}, "eta must be between 0 and 1"),
        ({"eta": "much"}, "eta must be between 0 and 1, got much"),
        ({"eta": math.nan}, "eta must be between 0 and 1, got nan"),
        ({"order": 0}, "order must be a whole number from 1 to 4, got 0"),
        ({"order": 5}, "order must be a whole number from 1 to 4, got 5"),
        ({"order": 2.5}, "order must be a whole number"),
        ({"order": True}, "order must be a whole number"),
        ({"grid": "cosine"}, "grid 'cosine' is not one of uniform, quadratic, karras"),
    ],
    ids=str,
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(AdapterError, match=message):
        check_options("lms", options)
