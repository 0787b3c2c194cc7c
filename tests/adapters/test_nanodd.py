"""nanoDD's native engine against what the authors' code computed (tests/goldens/record_nanodd.py)."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from adapters.base import AdapterError
from adapters.masked.likelihood import Estimate
from adapters.masked.samplers import Sampling
from adapters.nanodd.diffusion import (
    Absorbing,
    absorbing,
    corrupt,
    d3pm,
    d3pm_carry_over,
    log_posterior,
    losses,
    process_of,
    step_bound,
    training_loss,
)
from adapters.nanodd.network import ModelArgs, NanoddNetwork
from adapters.nanodd.samplers import nanodd_d3pm
from tests.goldens.nanodd_cases import BY_NAME, CASES, SAMPLE_BATCH, SAMPLE_SEEDS, Case

GOLDENS = np.load(Path(__file__).parents[1] / "goldens" / "nanodd.npz")
#: Largest difference allowed, as a share of the largest golden value: float32 rounding on another processor.
TOLERANCE = 1e-5
BATCHES = ("mixed", "positive", "first", "row0", "row1", "row2")

pytestmark = pytest.mark.filterwarnings("error")
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def golden(case: Case, key: str) -> Tensor:
    return torch.from_numpy(GOLDENS[f"{case.name}/{key}"])


def assert_close(got: Tensor, expected: Tensor) -> None:
    scale = float(expected.abs().max())
    assert float((got - expected).abs().max()) <= TOLERANCE * scale


def process(case: Case) -> Absorbing:
    return absorbing(case.args.T, case.args.vocab_size + 1)


@every_case
def test_logits_equal_the_authors(case: Case) -> None:
    network = case.network()
    with torch.no_grad():
        logits = network(golden(case, "network/tokens"), golden(case, "network/times").float())
    assert logits.dtype == torch.float32
    assert_close(logits, golden(case, "network/logits"))


def test_head_of_some_positions_equals_the_whole() -> None:
    network = BY_NAME["text8"].network()
    tokens = torch.arange(16)[None] % 28
    with torch.no_grad():
        whole = network(tokens, torch.tensor([3.0]))
        some = network.head(network.features(tokens, torch.tensor([3.0]))[0, [2, 5]])
    assert_close(some, whole[0, [2, 5]])


def test_network_wants_a_time() -> None:
    with pytest.raises(ValueError, match="time"):
        BY_NAME["small"].network().features(torch.zeros(1, 3, dtype=torch.int64))


@pytest.mark.parametrize(("vocab", "parameters"), [(27, 92_402_176), (50257, 130_978_816)])
def test_published_sizes_have_the_published_parameter_count(vocab: int, parameters: int) -> None:
    with torch.device("meta"):
        network = NanoddNetwork(ModelArgs(vocab, 768, 12, 12, 128, 0.0, 1000, 0.05))
    assert sum(p.numel() for p in network.parameters()) == parameters


def test_a_new_network_starts_as_the_authors_start_theirs() -> None:
    torch.manual_seed(0)
    network = NanoddNetwork(ModelArgs(200, 64, 4, 2, 8, 0.0, 10, 0.05))
    std = 1 / math.sqrt(64)
    embedding = network.vocab_embed.weight.detach()
    assert float(embedding.abs().max()) <= 3 * std
    assert float(embedding.std()) == pytest.approx(std, rel=0.05)
    zero = [name for name, p in network.named_parameters() if not p.any()]
    assert sorted(zero) == sorted(name for name, _ in network.named_parameters() if "adaLN" in name)


def test_bfloat16_rounds_the_matrix_products_and_nothing_else() -> None:
    case = BY_NAME["text8"]
    half = NanoddNetwork(case.args, torch.bfloat16)
    half.load_state_dict(case.network().state_dict())
    with torch.no_grad():
        logits = half.eval()(golden(case, "network/tokens"), golden(case, "network/times").float())
    difference = float((logits - golden(case, "network/logits")).abs().max())
    assert logits.dtype == torch.float32
    assert 1e-4 < difference < 0.1 * float(golden(case, "network/logits").abs().max())


@every_case
def test_noise_schedule_equals_the_authors(case: Case) -> None:
    assert_close(process(case).betas, golden(case, "network/betas"))
    assert_close(process(case).alpha_bars, golden(case, "network/alpha_bars"))


@every_case
def test_log_posterior_equals_the_authors(case: Case) -> None:
    clean, noisy, t = (golden(case, f"posterior/{key}") for key in ("clean", "noisy", "t"))
    truth = torch.nn.functional.one_hot(clean, case.args.vocab_size + 1).float()
    assert_close(log_posterior(process(case), truth, t[:, None], noisy), golden(case, "posterior/log_posterior_clean"))
    probs = golden(case, "posterior/probs")
    assert_close(log_posterior(process(case), probs, t[:, None], noisy), golden(case, "posterior/log_posterior_probs"))


def test_a_mask_is_revealed_with_probability_one_in_s() -> None:
    case, vocab = BY_NAME["text8"], 27
    probs = torch.full((vocab + 1,), 1 / vocab).index_fill(0, torch.tensor([vocab]), 0.0)
    for s in range(2, case.args.T + 1):
        step = log_posterior(process(case), probs[None], torch.tensor([s - 1]), torch.tensor([vocab])).softmax(-1)
        assert float(step[0, :vocab].sum()) == pytest.approx(1 / s, abs=1e-6)


@every_case
@pytest.mark.parametrize("batch", BATCHES)
def test_losses_equal_the_authors_for_the_same_noise(case: Case, batch: str) -> None:
    data, noisy, t = (golden(case, f"loss/{batch}/{key}") for key in ("data", "noisy", "t"))
    with torch.no_grad():
        logits = case.network()(noisy, (t + 1).float())
    kl, ce = losses(process(case), logits, data, t[:, None], noisy)
    bound = step_bound(kl, ce, t, case.args.T)
    figures = [training_loss(kl, ce, t, case.args.lambda_ce), kl[t > 0].mean(), ce.mean(), bound, bound / math.log(2)]
    expected = golden(case, f"loss/{batch}/figures").tolist()
    # A KL near 1/T is a difference of logarithms near 10: float32 leaves it six digits less the ratio.
    assert [float(f) for f in figures] == pytest.approx(expected, rel=TOLERANCE, abs=1e-7 * case.args.T, nan_ok=True)


def test_without_a_positive_time_the_kl_is_unknown() -> None:
    expected = golden(BY_NAME["small"], "loss/first/figures")
    assert expected.isnan().tolist() == [False, True, False, True, True]


@pytest.mark.parametrize("name", ["small", "text8"])
def test_bits_equal_evaluate_py_for_the_same_crops_and_noise(name: str) -> None:
    case = BY_NAME[name]
    network = case.network()
    kls, ces = [], []
    runs = zip(*(golden(case, f"evaluate/{key}") for key in ("crops", "t", "noisy")), strict=True)
    for crops, t, noisy in runs:
        with torch.no_grad():
            kl, ce = losses(process(case), network(noisy, (t + 1).float()), crops, t[:, None], noisy)
        if bool((t > 0).all()):
            kls.append(float(kl.mean()))
        else:
            assert not t.any()
            ces.append(float(ce.mean()))
    assert (len(kls), len(ces)) == (8, 4)
    kl_bits, ce_bits = np.mean(kls) / math.log(2), np.mean(ces) / math.log(2)
    got = [kl_bits, ce_bits, kl_bits * (case.args.T - 1) + ce_bits]
    assert got == pytest.approx(golden(case, "evaluate/figures").tolist(), rel=TOLERANCE)


@every_case
@pytest.mark.parametrize("seed", SAMPLE_SEEDS)
def test_sampler_draws_the_authors_tokens(case: Case, seed: int) -> None:
    denoiser = case.denoiser()
    denoiser.counted.reset(SAMPLE_BATCH)
    start = torch.full((SAMPLE_BATCH, case.length), denoiser.mask_id)
    states = [start]
    with torch.no_grad():
        generator = torch.Generator().manual_seed(seed)
        final = nanodd_d3pm(denoiser, start, Sampling(case.args.T, generator, {}, lambda i, x: states.append(x)))
    assert len(states) == case.args.T + 1
    assert torch.equal(final, states[-1])
    kept = golden(case, f"sample/{seed}/kept")
    assert torch.equal(torch.stack(states)[kept], golden(case, f"sample/{seed}/states").long())
    assert denoiser.counted.nfe == [int(golden(case, f"sample/{seed}/nfe"))] * SAMPLE_BATCH


def test_the_recorded_samples_show_the_quirks() -> None:
    """The last draw changes tokens that were already written; otherwise the test above proves less than it says."""
    states = golden(BY_NAME["text8"], "sample/0/states").long()
    before, after = states[-2], states[-1]
    assert bool(((before != 27) & (before != after)).any())


def test_sampler_keeps_given_tokens() -> None:
    case = BY_NAME["text8"]
    denoiser = case.denoiser()
    denoiser.counted.reset(2)
    start = torch.full((2, 10), denoiser.mask_id)
    start[0, :3] = torch.tensor([1, 2, 3])
    start[1, 8:] = torch.tensor([4, 0])
    given = start != denoiser.mask_id
    seen: list[Tensor] = []
    with torch.no_grad():
        options = {"given_tokens": "clamp"}
        nanodd_d3pm(denoiser, start, Sampling(12, torch.Generator(), options, lambda i, x: seen.append(x)))
    assert all(torch.equal(state[given], start[given]) for state in seen)
    assert not torch.equal(seen[-1], start)


@pytest.mark.parametrize(
    ("steps", "options", "text"), [(11, {}, "12 steps"), (12, {"given_tokens": "free"}, "given_tokens 'free'")]
)
def test_sampler_refuses_what_it_does_not_do(steps: int, options: dict[str, str], text: str) -> None:
    denoiser = BY_NAME["text8"].denoiser()
    with pytest.raises(AdapterError, match=text):
        nanodd_d3pm(denoiser, torch.zeros(1, 4).long(), Sampling(steps, torch.Generator(), options))


def test_corrupt_masks_at_the_scheduled_rate() -> None:
    case = BY_NAME["text8"]
    tokens = torch.arange(27).repeat(400)[None].expand(13, -1)
    noisy = corrupt(process(case), tokens, torch.arange(13), torch.Generator().manual_seed(0))
    share = (noisy == 27).double().mean(-1)
    assert share.tolist() == pytest.approx([s / 12 for s in range(13)], abs=0.02)
    assert float(share[0]) == 0
    assert float(share[-1]) == 1
    assert torch.equal(noisy[noisy != 27], tokens[noisy != 27])


def exact_sum(case: Case, tokens: Tensor, carry_over: bool) -> float:
    """The bound of one text [L] summed over every time and every set of masks."""
    denoiser = case.denoiser()
    total = 0.0
    for s in range(1, case.args.T + 1):
        for hidden in itertools.product((False, True), repeat=len(tokens)):
            mask = torch.tensor(hidden)
            chance = math.prod(s / case.args.T if h else 1 - s / case.args.T for h in hidden)
            noisy = tokens.masked_fill(mask, denoiser.mask_id)
            with torch.no_grad():
                logits = denoiser.network(noisy[None], torch.tensor([float(s)]))[0]
            if carry_over:
                nll = -logits[:, :-1].double().log_softmax(-1).gather(-1, tokens[:, None])[:, 0]
                total += chance * float(nll[mask].sum()) / s
            else:
                kl, ce = losses(process_of(denoiser), logits, tokens, torch.full_like(tokens, s - 1), noisy)
                total += chance * float((ce if s == 1 else kl).sum())
    return total


@pytest.mark.parametrize("carry_over", [False, True], ids=["d3pm", "d3pm_carry_over"])
def test_estimators_are_unbiased(carry_over: bool) -> None:
    case = BY_NAME["small"]
    tokens = torch.tensor([3, 0, 10])
    expected = exact_sum(case, tokens, carry_over)
    denoiser = case.denoiser()
    denoiser.counted.reset(400)
    estimator = d3pm_carry_over if carry_over else d3pm
    with torch.no_grad():
        estimate = estimator(denoiser, tokens.expand(400, 3), 16, torch.Generator().manual_seed(0))
    error = float(estimate.nats.std()) / math.sqrt(400)
    assert error < 0.02 * expected
    assert float(estimate.nats.mean()) == pytest.approx(expected, abs=4 * error)
    # What each text is told of its own error is right on average.
    told = float(estimate.standard_error.square().mean().sqrt())
    assert told == pytest.approx(float(estimate.nats.std()), rel=0.15)
    assert denoiser.counted.nfe == [16 if carry_over else 16 + 4] * 400


def test_the_two_bounds_differ_by_copying_in_the_last_step() -> None:
    """Carry-over charges nothing for it; for all else the two cost the same."""
    case = BY_NAME["small"]
    token, chance = torch.tensor([5]), 1 - 1 / case.args.T
    with torch.no_grad():
        logits = case.network()(token[None], torch.tensor([1.0]))[0, :, :-1]
    copying = chance * float(torch.nn.functional.cross_entropy(logits, token))
    difference = exact_sum(case, token, carry_over=False) - exact_sum(case, token, carry_over=True)
    assert difference == pytest.approx(copying, rel=1e-4)


def test_a_single_draw_has_no_standard_error() -> None:
    denoiser = BY_NAME["small"].denoiser()
    denoiser.counted.reset(2)
    with torch.no_grad():
        estimate = d3pm(denoiser, torch.zeros(2, 4).long(), 1, torch.Generator().manual_seed(0))
    assert bool(estimate.nats.isfinite().all())
    assert bool(estimate.standard_error.isnan().all())


@pytest.mark.parametrize("estimator", [d3pm, d3pm_carry_over])
def test_estimators_give_the_same_for_the_same_seed_and_any_block_size(
    estimator: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = BY_NAME["text8"]
    tokens = torch.arange(12).view(2, 6)

    def run() -> Estimate:
        denoiser = case.denoiser()
        denoiser.counted.reset(2)
        with torch.no_grad():
            return estimator(denoiser, tokens, 8, torch.Generator().manual_seed(3))  # type: ignore[operator]

    first = run()
    monkeypatch.setattr("adapters.masked.denoiser.LOGIT_BLOCK", 28 * 5)
    second = run()
    assert torch.allclose(first.nats, second.nats, rtol=1e-6)
    assert first.nats.dtype == torch.float64


def test_one_step_has_the_reconstruction_alone() -> None:
    case = Case("one", ModelArgs(5, 8, 2, 1, 4, 0.0, 1, 0.05), seed=4, length=3)
    tokens = torch.tensor([1, 2, 3])
    denoiser = case.denoiser()
    denoiser.counted.reset(1)
    with torch.no_grad():
        estimate = d3pm(denoiser, tokens[None], 8, torch.Generator().manual_seed(0))
    assert float(estimate.nats[0]) == pytest.approx(exact_sum(case, tokens, carry_over=False), rel=1e-5)
