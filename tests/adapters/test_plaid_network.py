"""Plaid's network, noise schedule and readout; that they are the authors' is `test_plaid_parity`'s to show."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from adapters.base import GenerateRequest, LikelihoodRequest, LoadSpec
from adapters.gaussian.model import GaussianModel
from adapters.plaid import readout as readouts
from adapters.plaid.adapter import load
from adapters.plaid.checkpoint import load_network
from adapters.plaid.layout import PlaidSize
from adapters.plaid.likelihood import PlaidBound
from adapters.plaid.network import PlaidNetwork, prior_scale, sinusoids
from adapters.plaid.readout import Readout
from adapters.plaid.samplers import grid
from adapters.plaid.schedule import PlaidSchedule
from adapters.plaid.system import PlaidSystem
from tests.adapters.plaid_cases import Checkpoint

CASE = Checkpoint(PlaidSize(dim=32, embed_dim=16, n_blocks=2, n_heads=4, vocab_size=37), length=16, seed=21)
TEXTS = ("w1 w2 w3 w4 w5 w6 w7", "w8 w9 w10 w11 w12 w13 w14", "w5 " * 20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return CASE.write(tmp_path_factory.mktemp("plaid") / "small")


@pytest.fixture(scope="module")
def network(folder: Path) -> PlaidNetwork:
    return load_network(folder, {}, "cpu", torch.float32)[0]


@pytest.fixture(scope="module")
def model(folder: Path) -> GaussianModel:
    return load(LoadSpec(folder))


def states(batch: int = 3, length: int = 5, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """z, gamma in float32, and a previous prediction."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(batch, length, 16, generator=generator)
    return z, torch.linspace(-3, 5, batch), 0.2 * torch.randn(z.shape, generator=generator)


def test_a_new_network_knows_nothing_but_the_output_prior() -> None:
    torch.manual_seed(0)
    network = PlaidNetwork(CASE.size)
    z, gamma, previous = states()
    with torch.no_grad():
        logits, z_0 = network(z, gamma, previous)
        table = network.embedding_matrix()
        assert torch.equal(network(z, gamma, previous, bias_scale=0.0)[0], torch.zeros_like(logits))
    alpha, variance = torch.sigmoid(-gamma).sqrt(), torch.sigmoid(gamma)
    # log N(z; alpha E_v, sigma^2) up to a constant, thanks to rows of unit norm.
    distance = (z[:, :, None] - alpha[:, None, None, None] * table).square().sum(-1)
    density = -distance / (2 * variance[:, None, None])
    assert torch.allclose(logits.log_softmax(-1), density.log_softmax(-1), atol=1e-4)
    assert torch.allclose(z_0, density.softmax(-1) @ table, atol=1e-5)
    assert torch.allclose(table.norm(dim=1), torch.ones(37), atol=1e-6)


def test_every_input_counts(network: PlaidNetwork) -> None:
    z, gamma, previous = states()
    with torch.no_grad():
        logits, _ = network(z, gamma, previous)
        for other in ((z + 0.1, gamma, previous), (z, gamma + 0.1, previous), (z, gamma, previous + 0.1)):
            assert (network(*other)[0] - logits).abs().max() > 1e-3
        alone = [network(z[i : i + 1], gamma[i : i + 1], previous[i : i + 1])[0] for i in range(3)]
    assert torch.allclose(torch.cat(alone), logits, atol=1e-5)


def test_sinusoids_are_sines_then_cosines_with_phases_in_float64() -> None:
    gamma = torch.tensor([5.9999], dtype=torch.float64)
    got = sinusoids(gamma)
    rates = [math.exp(-5 + 10 * i / 31) for i in range(32)]
    wanted = [math.sin(r * 5.9999) for r in rates] + [math.cos(r * 5.9999) for r in rates]
    assert torch.allclose(got[0], torch.tensor(wanted), atol=1e-6)


def test_bfloat16_is_near_float32(folder: Path, network: PlaidNetwork) -> None:
    half, _ = load_network(folder, {}, "cpu", torch.bfloat16)
    z, gamma, previous = states()
    with torch.no_grad():
        wanted, got = network(z, gamma, previous)[0], half(z, gamma, previous)[0]
    assert got.dtype == torch.float32
    assert 0 < (got - wanted).abs().mean() < 0.02 * wanted.std()


def test_the_schedule_rises_between_its_bounds_and_knows_its_rate(network: PlaidNetwork) -> None:
    schedule = PlaidSchedule(network)
    t = torch.linspace(0, 1, 33, dtype=torch.float64)
    gamma, rate = schedule.gamma_and_rate(t)
    assert gamma.dtype == torch.float64
    assert schedule.max_steps is None
    assert gamma[0].item() == pytest.approx(schedule.low)
    assert gamma[-1].item() == pytest.approx(schedule.high)
    assert (gamma.diff() > 0).all()
    step = 1e-5
    slope = (schedule.gamma(t + step) - schedule.gamma(t - step)) / (2 * step)
    assert torch.allclose(rate, slope, rtol=1e-6)
    assert torch.allclose(schedule.time(gamma), t, atol=1e-9)


def test_the_authors_grid_lags_behind(network: PlaidNetwork) -> None:
    path = grid(PlaidSchedule(network), 5)
    assert [round(now.t, 12) for now, _ in path] == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert [round(to.t, 12) for _, to in path] == [0.8, 0.55, 0.3, 0.05, -0.2]


@pytest.mark.parametrize("block", [1, 100, 37 * 4, 1 << 22])
def test_the_readout_is_the_network_whatever_the_block(
    monkeypatch: pytest.MonkeyPatch, folder: Path, block: int
) -> None:
    monkeypatch.setattr(readouts, "CPU_BLOCK", block)
    network, _ = load_network(folder, {}, "cpu", torch.float32)
    z, gamma, previous = states()
    tokens = torch.arange(15) % 37
    with torch.no_grad():
        logits, z_0 = network(z, gamma, previous)
        readout = Readout(network)
        ids = torch.empty(15, dtype=torch.int64)
        inputs = readout.inputs(network.model.features(z, gamma, previous), z, gamma)
        assert torch.allclose(readout.predict(inputs, ids).view(z.shape), z_0, atol=1e-6)
        nats = readout.token_nats(inputs, tokens)
    assert torch.equal(ids, logits.flatten(0, 1).argmax(-1))
    assert torch.allclose(nats, -logits.flatten(0, 1).double().log_softmax(-1)[torch.arange(15), tokens], atol=1e-5)
    assert torch.equal(inputs[:, 32:].view(z.shape), prior_scale(gamma)[:, None, None] * z)


def test_the_projection_is_held_once(network: PlaidNetwork, folder: Path) -> None:
    fresh, _ = load_network(folder, {}, "cpu", torch.float32)
    readout = Readout(fresh)
    weight = fresh.model.output_linear.weight
    assert weight.data_ptr() == readout.weight.data_ptr()
    assert torch.equal(weight, network.model.output_linear.weight)


def test_generation_repeats_itself_and_counts(model: GaussianModel) -> None:
    request = GenerateRequest(count=2, length=16, steps=7, scheduler="ancestral_plaid", seed=3, trace=True)
    first, second = model.generate(request), model.generate(request)
    assert first.tokens == second.tokens
    assert first.nfe == [8, 8]
    assert model.networks[0].calls == 8
    assert first.generated_tokens == [16, 16]
    assert first.trace.done == [1, 2, 3, 4, 5, 6, 7]
    assert (first.trace.texts[-1], first.trace.tokens[-1]) == (first.texts, first.tokens)
    assert first.trace.texts[0] != first.trace.texts[-1]
    assert model.parameter_count == sum(p.numel() for p in PlaidNetwork(CASE.size).parameters())
    assert (model.max_length, model.default_length) == (16, 16)


def test_both_estimators_estimate_one_bound(model: GaussianModel) -> None:
    even = model.likelihood(LikelihoodRequest(TEXTS, "vlb", {"draws": 32}, seed=1))
    own = model.likelihood(LikelihoodRequest(TEXTS, "vlb_plaid", {"draws": 64}, seed=2))
    assert even.kind == own.kind == "upper_bound"
    assert [text.tokens for text in even.texts] == [7, 7, 20]
    # The third text has two windows.
    assert even.nfe == [80, 80, 160]
    assert own.nfe == [128, 128, 256]
    for text in even.texts:
        assert list(text.terms) == ["prior", "reconstruction", "diffusion"]
        assert sum(text.terms.values()) == pytest.approx(text.nats)
    for a, b in zip(even.texts, own.texts, strict=True):
        assert a.standard_error is not None
        assert b.standard_error is not None
        assert abs(a.nats - b.nats) < 4 * math.hypot(a.standard_error, b.standard_error)


def test_a_draw_of_theirs_is_one_term_or_the_other(model: GaussianModel) -> None:
    assert isinstance(model.system, PlaidSystem)
    bound = PlaidBound(model.system)
    tokens = torch.arange(18).view(3, 6)
    noise = torch.randn(3, 6, 16, generator=torch.Generator().manual_seed(5))
    t = torch.tensor([0.3, 0.6, 0.9], dtype=torch.float64)
    model.system.counted.reset(3)
    with torch.no_grad():
        none = bound.one_draw(tokens, torch.tensor([False] * 3), t, noise)
        some = bound.one_draw(tokens, torch.tensor([True, False, False]), t, noise)
    assert torch.allclose(none[1:], some[1:], rtol=1e-5)
    assert none[0] != some[0]
    assert model.system.counted.nfe == [4, 4, 4]


def test_the_seed_decides(model: GaussianModel) -> None:
    def nats(seed: int) -> list[float]:
        return [text.nats for text in model.likelihood(LikelihoodRequest(TEXTS, "vlb", {"draws": 2}, seed)).texts]

    assert nats(1) == nats(1)
    assert nats(1) != nats(2)
