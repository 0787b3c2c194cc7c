"""The variational bound against a joint distribution that is known, with the exact denoiser of it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from adapters.gaussian import likelihood as bounds

LOW, HIGH = -3.0, 8.0
TABLE = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-0.6, -0.8]])
#: p(first, second): the second token hangs on the first one.
JOINT = torch.tensor([[0.30, 0.04, 0.01], [0.02, 0.25, 0.08], [0.05, 0.05, 0.20]], dtype=torch.float64)
STATES = torch.tensor(list(itertools.product(range(3), repeat=2)))
ENTROPY = -float((JOINT * JOINT.log()).sum())
#: Sequences in one batch, all the same; each is a sample.
COPIES, DRAWS = 4000, 8


def straight(t: Tensor) -> tuple[Tensor, Tensor]:
    return LOW + (HIGH - LOW) * t, torch.full_like(t, HIGH - LOW)


def bent(t: Tensor) -> tuple[Tensor, Tensor]:
    return LOW + (HIGH - LOW) * (t + t**2) / 2, (HIGH - LOW) * (1 + 2 * t) / 2


@dataclass(frozen=True)
class Exact:
    """E[x_0 | z] and p(x_s | z) of the joint `table` under log-SNR -gamma."""

    table: Tensor
    gamma_and_rate: Callable[[Tensor], tuple[Tensor, Tensor]] = straight

    def embed(self, tokens: Tensor) -> Tensor:
        return TABLE[tokens]

    def marginals(self, z: Tensor, gamma: Tensor) -> Tensor:
        """[B, 2, 3]: p(x_s | z), from the posterior over all nine sequences."""
        alpha, variance = torch.sigmoid(-gamma).sqrt()[:, None], torch.sigmoid(gamma)[:, None]
        clean = TABLE[STATES].double().flatten(1)
        away = (z.double().flatten(1)[:, None] - alpha[..., None] * clean).square().sum(-1)
        posterior = (self.table.flatten().log() - away / (2 * variance)).softmax(-1)
        onehot = torch.nn.functional.one_hot(STATES, 3).double()
        return torch.einsum("bn,nsv->bsv", posterior, onehot)

    def predict(self, z: Tensor, gamma: Tensor) -> Tensor:
        return (self.marginals(z, gamma) @ TABLE.double()).float()

    def reconstruct(self, z: Tensor, gamma: Tensor, tokens: Tensor) -> Tensor:
        return -self.marginals(z, gamma).gather(-1, tokens[..., None]).squeeze(-1).log().sum(-1)


def all_bounds(denoiser: Exact) -> tuple[Tensor, Tensor]:
    """The bound of each of the nine sequences and its standard error over copies."""
    generator = torch.Generator().manual_seed(1)
    rows = STATES.repeat_interleave(COPIES, dim=0)
    nats = bounds.vlb(denoiser, rows, DRAWS, generator).nats.view(9, COPIES)
    return nats.mean(1), nats.std(1) / math.sqrt(COPIES)


@pytest.fixture(scope="module")
def exact() -> tuple[Tensor, Tensor]:
    return all_bounds(Exact(JOINT))


def test_no_sequence_is_likelier_than_it_is(exact: tuple[Tensor, Tensor]) -> None:
    nats, error = exact
    assert (nats >= -JOINT.flatten().log() - 3 * error).all()


def test_the_exact_denoiser_reaches_the_entropy(exact: tuple[Tensor, Tensor]) -> None:
    """In continuous time nothing is lost but the prior term and what two tokens at t = 0 still tell of each other."""
    weights = JOINT.flatten()
    mean, error = float(weights @ exact[0]), float((weights**2 @ exact[1] ** 2).sqrt())
    assert error < 0.015
    assert mean == pytest.approx(ENTROPY, abs=3 * error + 0.003)


def test_a_denoiser_that_knows_less_is_worse_by_what_it_does_not_know(exact: tuple[Tensor, Tensor]) -> None:
    independent = JOINT.sum(1, keepdim=True) * JOINT.sum(0, keepdim=True)
    nats, _ = all_bounds(Exact(independent))
    information = float((JOINT * (JOINT / independent).log()).sum())
    gap = float(JOINT.flatten() @ (nats - exact[0]))
    assert information > 0.3
    assert gap == pytest.approx(information, abs=0.03)


def test_the_bound_does_not_hang_on_how_time_runs(exact: tuple[Tensor, Tensor]) -> None:
    nats, error = all_bounds(Exact(JOINT, bent))
    assert ((nats - exact[0]).abs() < 4 * (error**2 + exact[1] ** 2).sqrt()).all()


def test_prior_is_the_divergence_from_a_standard_normal() -> None:
    wide = replace(Exact(JOINT), gamma_and_rate=lambda t: (-1 + 2 * t, torch.full_like(t, 2.0)))
    got = bounds.prior_nats(wide, STATES)
    alpha, sigma = math.sqrt(1 / (1 + math.e)), math.sqrt(math.e / (1 + math.e))
    mean = alpha * TABLE[STATES].double()
    wanted = kl_divergence(Normal(mean, sigma), Normal(torch.zeros_like(mean), 1.0)).sum((1, 2))
    assert torch.allclose(got, wanted, atol=1e-12)


def test_terms_add_up_and_their_errors_too() -> None:
    terms = bounds.vlb_terms(Exact(JOINT), STATES, 16, torch.Generator().manual_seed(2))
    total = bounds.vlb(Exact(JOINT), STATES, 16, torch.Generator().manual_seed(2))
    assert torch.equal(total.nats, terms.prior + terms.reconstruction.nats + terms.diffusion.nats)
    squares = terms.reconstruction.standard_error**2 + terms.diffusion.standard_error**2
    assert torch.allclose(total.standard_error**2, squares)
    assert (total.standard_error > 0).all()


def test_the_stated_error_is_the_spread(exact: tuple[Tensor, Tensor]) -> None:
    generator = torch.Generator().manual_seed(3)
    estimate = bounds.vlb(Exact(JOINT), STATES[:1].expand(COPIES, -1), 16, generator)
    stated = float(estimate.standard_error.square().mean().sqrt())
    assert stated == pytest.approx(float(estimate.nats.std()), rel=0.2)


def test_one_draw_has_no_error() -> None:
    estimate = bounds.vlb(Exact(JOINT), STATES, 1, torch.Generator().manual_seed(4))
    assert estimate.standard_error.isnan().all()
    assert estimate.nats.isfinite().all()


def test_a_row_is_the_same_alone_or_among_others() -> None:
    noise = torch.randn(9, 2, 2, generator=torch.Generator().manual_seed(5))
    t = torch.linspace(0.05, 0.95, 9, dtype=torch.float64)
    together = bounds.diffusion_nats(Exact(JOINT), STATES, t, noise)
    alone = [bounds.diffusion_nats(Exact(JOINT), STATES[i : i + 1], t[i : i + 1], noise[i : i + 1]) for i in range(9)]
    assert torch.allclose(together, torch.cat(alone), rtol=1e-10)
