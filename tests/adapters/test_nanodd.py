"""nanoDD's native engine against what the authors' code computed (tests/goldens/nanodd*.json, *.npz)."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from adapters.base import AdapterError
from adapters.estimates import Estimate
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
)
from adapters.nanodd.network import ModelArgs, NanoddNetwork
from adapters.nanodd.parity import cases, replay
from adapters.nanodd.samplers import nanodd_d3pm
from adapters.parity import Recording, compare
from harness.parity import read_golden
from tests.goldens.nanodd_cases import BY_NAME, CASES, Case

GOLDENS = Path(__file__).parents[1] / "goldens"
RECORDED = {case.name: read_golden(GOLDENS / f"nanodd-{case.name}.json") for case in CASES}
ABOUT = json.loads((GOLDENS / "nanodd.json").read_text(encoding="utf-8"))
#: Largest difference allowed of single figures, as a share of the largest: float32 rounding on another processor.
TOLERANCE = 1e-5

pytestmark = pytest.mark.filterwarnings("error")
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def golden(name: str, kind: str) -> Recording:
    """What the authors computed with the checkpoint's own weights."""
    return next(recorded for case, recorded in RECORDED[name] if case.kind == kind)


def assert_close(got: Tensor, expected: Tensor) -> None:
    scale = float(expected.abs().max())
    assert float((got - expected).abs().max()) <= TOLERANCE * scale


def process(case: Case) -> Absorbing:
    return absorbing(case.args.T, case.args.vocab_size + 1)


@pytest.mark.parametrize(
    ("name", "index"), [(name, i) for name, cases in RECORDED.items() for i in range(len(cases))], ids=str
)
def test_the_authors_figures(name: str, index: int, tmp_path: Path) -> None:
    """Network, steps, losses and whole runs, as `tdbench parity` compares them."""
    case, recorded = RECORDED[name][index]
    replayed = replay(BY_NAME[name].model(tmp_path), case, recorded)
    assert [d for d in compare(case, recorded, replayed) if not d.passed] == []


@every_case
def test_all_that_is_compared_is_recorded(case: Case, tmp_path: Path) -> None:
    assert [recorded for recorded, _ in RECORDED[case.name]] == cases(case.model(tmp_path))
    files = [file for file in GOLDENS.glob("nanodd*") if file.suffix in (".json", ".npz")]
    assert sum(file.stat().st_size for file in files) < 200_000


def test_the_record_shows_what_it_is_to_show() -> None:
    """Otherwise the tests above prove less than they say."""
    states = golden("text8", "sample")["out/states"]
    before, after = states[-2], states[-1]
    assert bool(((before != 27) & (before != after)).any()), "the last draw changes no written token"
    loss = golden("text8", "loss")
    assert bool(loss["out/l_T/zero"].isnan()), "a batch without a positive time has a KL"
    assert loss["in/t/all"].tolist() == [0, 1, 5, 11]
    assert bool((loss["in/noisy/all"][-1] == 27).all())
    tokens = golden("text8", "network")["in/tokens/16"]
    assert [int((row == 27).sum()) for row in tokens] == [0, pytest.approx(8, abs=4), 16]


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
    case, recorded = BY_NAME["text8"], golden("text8", "network")
    half = NanoddNetwork(case.args, torch.bfloat16)
    half.load_state_dict(case.network().state_dict())
    with torch.no_grad():
        logits = half.eval()(recorded["in/tokens/16"], recorded["in/times"].float())
    difference = float((logits - recorded["out/logits/16"]).abs().max())
    assert logits.dtype == torch.float32
    assert 1e-4 < difference < 0.1 * float(recorded["out/logits/16"].abs().max())


@every_case
def test_noise_schedule_equals_the_authors(case: Case) -> None:
    expected = ABOUT["schedule"][case.name]
    assert expected["index"][-1] == case.args.T
    assert_close(process(case).betas[expected["index"]], torch.tensor(expected["betas"]))
    assert_close(process(case).alpha_bars[expected["index"]], torch.tensor(expected["alpha_bars"]))


def test_log_posterior_equals_the_authors() -> None:
    case = BY_NAME["small"]
    given = {name: torch.tensor(values) for name, values in ABOUT["posterior"].items()}
    truth = torch.nn.functional.one_hot(given["clean"], case.args.vocab_size + 1).float()
    t, noisy = given["t"][:, None], given["noisy"]
    assert_close(log_posterior(process(case), truth, t, noisy), given["of_clean"])
    assert_close(log_posterior(process(case), given["probs"], t, noisy), given["of_probs"])


def test_a_mask_is_revealed_with_probability_one_in_s() -> None:
    case, vocab = BY_NAME["text8"], 27
    probs = torch.full((vocab + 1,), 1 / vocab).index_fill(0, torch.tensor([vocab]), 0.0)
    for s in range(2, case.args.T + 1):
        step = log_posterior(process(case), probs[None], torch.tensor([s - 1]), torch.tensor([vocab])).softmax(-1)
        assert float(step[0, :vocab].sum()) == pytest.approx(1 / s, abs=1e-6)


def test_bits_equal_evaluate_py_for_the_same_crops_and_noise() -> None:
    case = BY_NAME["small"]
    network = case.network()
    kls, ces = [], []
    for batch in ABOUT["evaluate"]["batches"]:
        crops, t, noisy = (torch.tensor(batch[key]) for key in ("crops", "t", "noisy"))
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
    assert got == pytest.approx(ABOUT["evaluate"]["figures"], rel=TOLERANCE)


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
