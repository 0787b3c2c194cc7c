"""Plaid's options, its token guidance against automatic differentiation, and what becomes of prompts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from adapters.base import AdapterError, GenerateRequest, LoadSpec, Prompt
from adapters.gaussian.levels import Level
from adapters.gaussian.model import GaussianModel
from adapters.gaussian.samplers import SCHEDULERS
from adapters.plaid import guidance as module
from adapters.plaid.adapter import load
from adapters.plaid.guidance import guide, log_one_minus_exp
from adapters.plaid.layout import PlaidSize
from adapters.plaid.network import PlaidNetwork
from adapters.plaid.readout import Readout
from adapters.plaid.samplers import OWN_SAMPLERS
from adapters.plaid.system import PlaidOptions, PlaidProcess, PlaidSystem
from adapters.plaid.wishes import Wish
from tests.adapters.plaid_cases import Checkpoint

CASE = Checkpoint(PlaidSize(dim=32, embed_dim=16, n_blocks=2, n_heads=4, vocab_size=37), length=16, seed=21)
BATCH, LENGTH, TOKENS = 2, 6, CASE.size.vocab_size
GAMMA = 0.4


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> GaussianModel:
    return load(LoadSpec(CASE.write(tmp_path_factory.mktemp("plaid") / "small")))


@pytest.fixture(scope="module")
def system(model: GaussianModel) -> PlaidSystem:
    assert isinstance(model.system, PlaidSystem)
    return model.system


def request(**changes: Any) -> GenerateRequest:
    return GenerateRequest(**{"count": BATCH, "length": LENGTH, "steps": 4, "scheduler": "ancestral", **changes})


PROMPTS = (Prompt(prefix="w3 w5", suffix="w7"), Prompt(prefix="w4", suffix="w9 w3"))
WISHES: dict[str, list[dict[str, Any]]] = {
    "nothing more": [],
    "a weight": [{"token": 4, "weight": 10.0, "position": 3}],
    "not at a place": [{"word": "w3", "weight": 2.0, "position": 3, "complement": True}],
    "anywhere": [{"token": 5, "weight": 3.0, "position": "any"}],
    "everywhere": [{"token": 5, "weight": 0.5, "position": "all"}],
    "nowhere": [{"token": 2, "weight": 10.0, "position": "all", "complement": True}],
    "two unwanted": [
        {"token": 2, "weight": 10.0, "position": "all", "complement": True},
        {"token": 3, "weight": 4.0, "position": "all", "complement": True},
    ],
    "anywhere, not elsewhere": [
        {"token": 5, "weight": 3.0, "position": "any"},
        {"token": 5, "weight": 1.0, "position": 0, "complement": True},
    ],
    "not anywhere": [{"token": 2, "weight": 5.0, "position": "any", "complement": True}],
}


def differentiated(system: PlaidSystem, process: PlaidProcess, z: Tensor, authors: bool) -> tuple[Tensor, Tensor]:
    """Prediction and gradient from the whole table of log-probabilities and autograd, in float64 where it helps."""
    guidance = process._guidance
    assert guidance is not None
    with torch.enable_grad():
        z = z.float().requires_grad_()
        gamma = torch.full((BATCH,), GAMMA)
        features = system.features(z, gamma, torch.zeros_like(z))
        readout = system.readout
        inputs = readout.inputs(features, z, gamma)
        log_p = (inputs @ readout.weight.T + readout.bias).double().log_softmax(-1)
        z_0 = log_p.exp().float() @ readout.table
        chosen = log_p[guidance.positions]
        log_not = torch.stack(
            [torch.cat((chosen[:, :k], chosen[:, k + 1 :]), dim=1).logsumexp(-1) for k in guidance.negated.tolist()]
            or [chosen.new_zeros(len(chosen))],
            dim=1,
        )
        total = guidance.total(chosen[:, guidance.tokens], log_not)
        return z_0.detach().view(z.shape), torch.autograd.grad(total, z)[0]


@pytest.mark.parametrize("scheduler", ["ancestral", "ancestral_plaid"])
@pytest.mark.parametrize("prompts", [(), PROMPTS], ids=["free", "prompts"])
@pytest.mark.parametrize("name", list(WISHES))
def test_the_gradient_in_closed_form_is_that_of_autograd(
    system: PlaidSystem, name: str, prompts: tuple[Prompt, ...], scheduler: str
) -> None:
    if not prompts and not WISHES[name]:
        pytest.skip("nothing is wanted")
    task = "infill" if prompts else "unconditional"
    asked = request(prompts=prompts, task=task, scheduler=scheduler, options={"guidance": WISHES[name]})
    process = system.begin(asked)
    z = torch.randn(process.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    system.counted.reset(BATCH)
    prediction, push = process.guided(z.float(), torch.full((BATCH,), GAMMA))
    wanted, gradient = differentiated(system, process, z, scheduler in OWN_SAMPLERS)
    assert torch.allclose(prediction, wanted, atol=1e-6)
    assert gradient.abs().max() > 0 or (name == "not anywhere" and scheduler in OWN_SAMPLERS)
    assert torch.allclose(push, gradient, atol=2e-5 * float(gradient.abs().max()) + 1e-9)


def test_a_step_is_tempered_then_pushed(system: PlaidSystem) -> None:
    """x_0 + sigma^2 / alpha * gradient, with the noise divided by the temperature (upstream sample.py)."""
    asked = request(prompts=PROMPTS, task="infill", options={"score_temp": 0.8})
    z = torch.randn(BATCH, LENGTH, 16, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    level = Level(0.5, GAMMA)
    raw, push = system.begin(asked).guided(z.float(), torch.full((BATCH,), GAMMA))
    got = system.begin(asked).denoise(z, level)
    noise = (z - level.alpha * raw.double()) / level.sigma / 0.8
    wanted = (z - level.sigma * noise) / level.alpha + push.double() * level.sigma**2 / level.alpha
    assert torch.allclose(got, wanted, rtol=1e-12)
    assert got.dtype == torch.float64


def test_the_network_is_told_its_own_prediction_neither_tempered_nor_pushed(system: PlaidSystem) -> None:
    asked = request(prompts=PROMPTS, task="infill")
    process = system.begin(asked)
    z = torch.randn(process.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    process.denoise(z, Level(0.5, GAMMA))
    raw, _ = system.begin(asked).guided(z.float(), torch.full((BATCH,), GAMMA))
    assert torch.equal(process.previous, raw)


def certain(system: PlaidSystem) -> Readout:
    """A readout that is quite sure of token 1."""
    network = PlaidNetwork(CASE.size)
    with torch.no_grad():
        network.model.output_linear.bias[1] = 200.0
    return Readout(network.requires_grad_(False))


@torch.no_grad()
@pytest.mark.parametrize("authors", [False, True])
def test_not_writing_a_certain_token(system: PlaidSystem, authors: bool) -> None:
    """Where p rounds to 1 the authors' formula has no gradient left but NaN; ours is the true one."""
    readout = certain(system)
    inputs = torch.randn(LENGTH, readout.weight.shape[1], generator=torch.Generator().manual_seed(4))
    rows = torch.zeros(1, LENGTH, dtype=torch.int64)
    wish = Wish(1, 1.0, "all", True)
    made = guide(rows, torch.zeros_like(rows, dtype=torch.bool), 2.0, [wish], authors)
    assert made is not None
    gradient, prediction = made.pull(readout, inputs)
    assert torch.allclose(prediction, readout.table[1].expand_as(prediction), atol=1e-6)
    if authors:
        assert gradient.isnan().all()
        return
    with torch.enable_grad():
        leaf = inputs.double().requires_grad_()
        logits = leaf @ readout.weight.double().T + readout.bias.double()
        rest = torch.cat((logits[:, :1], logits[:, 2:]), dim=1).logsumexp(-1) - logits.logsumexp(-1)
        wanted = torch.autograd.grad(rest.sum(), leaf)[0].float()
    assert torch.allclose(gradient, wanted, atol=1e-5)


def test_log_one_minus_exp() -> None:
    x = torch.tensor([-1e-3, -0.5, -0.7, -30.0], dtype=torch.float64)
    assert torch.allclose(log_one_minus_exp(x), torch.log(1 - x.exp()), rtol=1e-9)


def test_only_positions_that_matter_are_read(system: PlaidSystem) -> None:
    process = system.begin(request(prompts=PROMPTS, task="infill"))
    assert process._guidance is not None
    assert process._guidance.positions.tolist() == [0, 1, 5, 6, 10, 11]
    everywhere = system.begin(request(options={"guidance": WISHES["anywhere"]}))
    assert everywhere._guidance is not None
    assert len(everywhere._guidance.positions) == BATCH * LENGTH


def test_nothing_wanted_costs_no_gradient(system: PlaidSystem) -> None:
    assert system.begin(request())._guidance is None
    assert system.begin(request(prompts=(Prompt(), Prompt()), task="prefix"))._guidance is None


@pytest.mark.parametrize("scheduler", [*SCHEDULERS, *OWN_SAMPLERS])
def test_every_scheduler_follows_a_strong_prompt(model: GaussianModel, scheduler: str) -> None:
    asked = request(
        prompts=PROMPTS, task="infill", scheduler=scheduler, steps=12, options={"guidance_weight": 40.0}, seed=5
    )
    result = model.generate(asked)
    free = model.generate(replace(asked, options={"guidance_weight": 0.0}))
    assert sum(result.prompt_kept) > 1.2 > 0.7 > sum(free.prompt_kept)
    assert result.generated_tokens == [3, 3]
    assert result.tokens == model.generate(asked).tokens
    extra = {"heun": 11, "ancestral_plaid": 1, "ddim_plaid": 1}.get(scheduler, 0)
    assert result.nfe == [12 + extra] * BATCH


def test_a_wish_comes_true_and_an_unwanted_token_stays_away(model: GaussianModel) -> None:
    free = model.generate(request(steps=12, seed=6))
    often = max(range(TOKENS), key=lambda token: sum(row.count(token) for row in free.tokens))
    nowhere = [{"token": often, "weight": 30.0, "position": "all", "complement": True}]
    assert all(
        often not in row for row in model.generate(request(steps=12, seed=6, options={"guidance": nowhere})).tokens
    )
    absent = next(token for token in range(TOKENS) if all(token not in row for row in free.tokens))
    wish = [{"token": absent, "weight": 60.0, "position": "any"}]
    assert all(absent in row for row in model.generate(request(steps=12, seed=6, options={"guidance": wish})).tokens)


def test_a_prompt_that_did_not_come_out_is_reported_and_put_in_where_asked(model: GaussianModel) -> None:
    options = {"guidance_weight": 0.0}
    raw = model.generate(request(prompts=PROMPTS, task="infill", options=options, seed=7))
    forced = model.generate(request(prompts=PROMPTS, task="infill", options={**options, "force_prompt": True}, seed=7))
    assert raw.prompt_kept == forced.prompt_kept
    assert min(raw.prompt_kept) < 1
    assert raw.tokens != forced.tokens
    assert forced.texts[0].startswith("w3 w5 ")
    assert forced.texts[0].endswith(" w7")
    assert [row[2:5] for row in raw.tokens[:1]] == [row[2:5] for row in forced.tokens[:1]]
    assert model.generate(request()).prompt_kept == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"score_temp": 0}, "score_temp must be above 0"),
        ({"score_temp": "hot"}, "score_temp must be a number, got 'hot'"),
        ({"guidance_weight": True}, "guidance_weight must be a number"),
        ({"force_prompt": 1}, "force_prompt must be true or false"),
        ({"guidance": "w3"}, "guidance must be a list"),
        ({"guidance": [3]}, "guidance entry 1 must be a mapping"),
        (
            {"guidance": [{"token": 1, "position": 0}, {"token": 1, "position": 6}]},
            "entry 2: position 6 is outside the text of 6",
        ),
        ({"guidance": [{"token": 1, "position": -1}]}, "position -1 is outside"),
        ({"guidance": [{"token": 1}]}, "position is 'None'"),
        ({"guidance": [{"token": 37, "position": 0}]}, "token 37 is outside 0..36"),
        ({"guidance": [{"word": "w3 w4", "position": 0}]}, "'w3 w4' is not one token but 2: 'w3' = 3, 'w4' = 4"),
        ({"guidance": [{"word": "", "position": 0}]}, "'' is not one token but 0: none"),
        ({"guidance": [{"word": "law", "position": 0}]}, "the word 'law' is not among the 37 words"),
        ({"guidance": [{"word": "w3", "token": 3, "position": 0}]}, "either a word or a token"),
        ({"guidance": [{"token": 3, "position": 0, "wight": 1}]}, "has no key 'wight'"),
        ({"guidance": [{"token": 3, "position": 0, "weight": float("inf")}]}, "weight is 'inf'"),
        ({"guidance": [{"token": 3, "position": 0, "complement": "no"}]}, "complement is 'no'"),
    ],
)
def test_a_bad_option_is_refused_before_anything_is_computed(
    model: GaussianModel, options: dict[str, Any], words: str
) -> None:
    model.networks[0].reset(0)
    with pytest.raises(AdapterError) as caught:
        model.check(request(options=options))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert model.networks[0].calls == 0


def test_own_samplers_have_bounds_of_their_own(model: GaussianModel) -> None:
    with pytest.raises(AdapterError, match="ancestral_plaid needs at least 2 steps"):
        model.check(request(scheduler="ancestral_plaid", steps=1))
    with pytest.raises(AdapterError, match="initial_noise_scale must be a number above 0"):
        model.check(request(scheduler="ddim_plaid", options={"initial_noise_scale": 0}))
    with pytest.raises(AdapterError, match="leaves nothing to write"):
        model.check(request(prompts=(Prompt("w1 w2 w3"), Prompt("w1 w2 w3 w4 w5 w6")), task="prefix"))


def test_options_have_the_authors_defaults() -> None:
    assert PlaidOptions.of({"grid": "uniform"}) == PlaidOptions(0.9, 2.0, (), False)
    assert module.ANY == "any"
