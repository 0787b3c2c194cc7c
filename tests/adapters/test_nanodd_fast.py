"""nanoDD's short cuts against the long way: the KL from -log p(x_0) alone, and the race drawn by inversion."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from adapters.masked.denoiser import Denoiser
from adapters.masked.samplers import Sampling
from adapters.masked.schedules import D3PM
from adapters.nanodd import samplers
from adapters.nanodd.diffusion import Absorbing, absorbing, corrupt, kl_of_nll, log_posterior, losses
from adapters.nanodd.network import ModelArgs, NanoddNetwork

CLASSES, LENGTH, BATCH = 41, 64, 6


def example(steps: int, scale: float) -> tuple[Absorbing, Tensor, Tensor, Tensor, Tensor]:
    """The process, logits with standard deviation `scale`, clean ids, times 1..T-1 with both ends, and noisy ids."""
    generator = torch.Generator().manual_seed(steps)
    process = absorbing(steps, CLASSES)
    t = torch.randint(1, steps, (BATCH,), generator=generator)
    t[0], t[1] = 1, steps - 1
    clean = torch.randint(0, CLASSES - 1, (BATCH, LENGTH), generator=generator)
    logits = torch.randn(BATCH, LENGTH, CLASSES, generator=generator) * scale
    return process, logits, clean, t[:, None], corrupt(process, clean, t + 1, generator)


def fast_kl(process: Absorbing, logits: Tensor, clean: Tensor, t: Tensor, noisy: Tensor) -> Tensor:
    flat = logits[..., :-1].double().flatten(0, 1)
    nll = torch.nn.functional.cross_entropy(flat, clean.flatten(), reduction="none").view_as(clean)
    return kl_of_nll(process, nll, t, noisy == process.mask_id)


@pytest.mark.parametrize("steps", [2, 5, 50, 1000])
@pytest.mark.parametrize("scale", [1, 10, 20])
def test_kl_is_that_of_the_authors_float32_posteriors(steps: int, scale: float) -> None:
    """From a scale of 10 on some positions that are not masked cost up to a nat, by the 1e-20 in the logarithms."""
    case = example(steps, scale)
    kl, _ = losses(*case)
    assert float(fast_kl(*case).mean()) == pytest.approx(float(kl.double().mean()), rel=2e-6)


def test_kl_of_each_position_in_float64() -> None:
    process, logits, clean, t, noisy = example(20, 10.0)
    exact = Absorbing(process.betas.double(), process.alpha_bars.double(), CLASSES)
    truth = torch.nn.functional.one_hot(clean, CLASSES).double()
    predicted = logits.double().index_fill(-1, torch.tensor(CLASSES - 1), -torch.inf).softmax(-1)
    log_q, log_p = (log_posterior(exact, x, t, noisy).log_softmax(-1) for x in (truth, predicted))
    kl = (log_q.exp() * (log_q - log_p)).sum(-1)
    torch.testing.assert_close(fast_kl(process, logits, clean, t, noisy), kl, rtol=1e-9, atol=1e-12)
    kept = noisy != CLASSES - 1
    assert float(kl[kept].max()) > 0.1, "no position shows what the 1e-20 does"


def test_exponential_is_torchs_own() -> None:
    ours, theirs = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
    like = torch.empty(300, 1001)
    assert torch.equal(samplers.exponential(like, ours), torch.empty_like(like).exponential_(generator=theirs))
    assert torch.equal(ours.get_state(), theirs.get_state())


@pytest.mark.parametrize("inverse", [True, False])
@pytest.mark.parametrize("scale", [1, 10])
def test_categorical_draws_what_torchs_categorical_draws(
    inverse: bool, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In pieces too, and also where the processor has another way to draw an exponential."""
    if not inverse:
        monkeypatch.setattr(samplers, "_is_inverse_of_uniform", lambda: False)
    logits = torch.randn(500, 77, generator=torch.Generator().manual_seed(1)) * scale
    torch.manual_seed(9)
    expected = torch.distributions.Categorical(logits=logits.clone()).sample()
    generator = torch.Generator().manual_seed(9)
    drawn = [samplers.categorical(part.clone(), generator) for part in logits.split(33)]
    assert torch.equal(torch.cat(drawn), expected)


def test_the_sampler_draws_the_same_in_any_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = NanoddNetwork(ModelArgs(CLASSES - 1, 16, 2, 1, 4, 0.0, 9, 0.05)).eval()
    runs = []
    for piece in (1, CLASSES * 5, 1 << 18):
        monkeypatch.setattr("adapters.masked.denoiser.CACHED_PIECE", piece)
        denoiser = Denoiser(network, D3PM(transitions=9))
        denoiser.counted.reset(3)
        start = torch.full((3, 12), denoiser.mask_id)
        with torch.no_grad():
            runs.append(samplers.nanodd_d3pm(denoiser, start, Sampling(9, torch.Generator().manual_seed(2))))
    assert torch.equal(runs[0], runs[1])
    assert torch.equal(runs[0], runs[2])
