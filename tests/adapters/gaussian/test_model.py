from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from adapters.base import AdapterError, GenerateRequest, LikelihoodRequest, NotAvailable, Prompt
from adapters.estimates import Estimate
from adapters.gaussian.convergence import StraightGamma
from adapters.gaussian.grids import GRIDS, levels, levels_at
from adapters.gaussian.model import GaussianModel
from adapters.gaussian.process import Sampling
from adapters.gaussian.samplers import SCHEDULERS
from adapters.gaussian.schedules import sqrt
from tests.adapters.gaussian.exact import SHARES, ExactProcess, ExactSystem

TASKS = ("unconditional", "prefix", "infill", "seq2seq")
PROMPTS = (Prompt("ab", "c"), Prompt("", "bb"), Prompt("c", ""))


class Watched(ExactSystem):
    """Keeps the process of its latest batch."""

    def begin(self, request):
        self.process = super().begin(request)
        return self.process


def model(own=None, estimators=None, length=6, **system) -> GaussianModel:
    return GaussianModel(Watched(**system), own or {}, estimators or {}, TASKS, length, length)


def request(**changes) -> GenerateRequest:
    return GenerateRequest(**{"count": 3, "length": 6, "steps": 4, "scheduler": "dpmpp_2m", **changes})


def test_generation_reports_what_it_did():
    result = model().generate(request())
    assert [len(ids) for ids in result.tokens] == [6, 6, 6]
    assert result.generated_tokens == [6, 6, 6]
    assert result.nfe == [4, 4, 4]
    assert [len(text) for text in result.texts] == [6, 6, 6]
    assert result.trace is None
    assert result.left_off == []


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_evaluations_are_counted_at_the_network(name, steps):
    result = model().generate(request(scheduler=name, steps=steps))
    assert result.nfe == [2 * steps - 1 if name == "heun" else steps] * 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_start_is_standard_normal_noise_of_the_seed(dtype):
    built = model(dtype=dtype)
    built.generate(request(seed=7))
    level, start = built.system.process.seen[0]
    assert level.t == 1
    expected = torch.randn((3, 6, 2), generator=torch.Generator().manual_seed(7), dtype=dtype)
    assert torch.equal(start, expected)


def test_a_seed_repeats_and_another_does_not():
    first = model().generate(request(scheduler="ancestral", seed=1))
    assert model().generate(request(scheduler="ancestral", seed=1)).tokens == first.tokens
    assert model().generate(request(scheduler="ancestral", seed=2)).tokens != first.tokens


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("steps", [1, 2, 3, 7])
@pytest.mark.parametrize("schedule", [StraightGamma(), sqrt(2000)], ids=["continuous", "sqrt"])
def test_prompts_stand_through_every_scheduler_and_grid(name, grid, steps, schedule):
    built = model(schedule=schedule)
    result = built.generate(
        request(task="infill", scheduler=name, steps=steps, prompts=PROMPTS, options={"grid": grid})
    )
    for text, prompt in zip(result.texts, PROMPTS, strict=True):
        assert text.startswith(prompt.prefix)
        assert text.endswith(prompt.suffix)
    assert result.generated_tokens == [3, 4, 5]
    asked = [level for level, _ in built.system.process.seen]
    path = levels(schedule, steps, grid)
    assert [level.gamma for level in dict.fromkeys(dataclasses.replace(at, last=False) for at in asked)] == [
        level.gamma for level in path
    ]


@pytest.mark.parametrize("name", SCHEDULERS)
def test_tokens_come_as_often_as_they_should(name):
    """End to end, from DiffuSeq's first ratio of 2225 in single precision."""
    built = model(schedule=sqrt(2000), dtype=torch.float32)
    result = built.generate(request(scheduler=name, count=1500, steps=100))
    found = torch.tensor(result.tokens).flatten().bincount(minlength=3) / (1500 * 6)
    assert found.tolist() == pytest.approx(SHARES.tolist(), abs=0.025)


def test_a_source_is_no_part_of_the_text_and_what_it_lost_is_told():
    prompts = (Prompt(source="ab"), Prompt(source="abcabcab"), Prompt(source=""))
    result = model().generate(request(task="seq2seq", prompts=prompts))
    assert [len(text) for text in result.texts] == [4, 1, 6]
    assert [len(ids) for ids in result.tokens] == [6, 6, 6]
    assert result.generated_tokens == [4, 1, 6]
    assert result.left_off == [0, 3, 0]


def test_a_trace_ends_in_the_text():
    result = model().generate(request(trace=True, steps=5, scheduler="heun"))
    assert result.trace.done == [1, 2, 3, 4, 5]
    assert (result.trace.texts[-1], result.trace.tokens[-1]) == (result.texts, result.tokens)
    assert model().generate(request(steps=5, scheduler="heun")).texts == result.texts
    assert len(model().generate(request(trace=True, steps=100)).trace.done) == 32


def test_a_trace_leaves_out_what_is_given():
    result = model().generate(request(trace=True, task="infill", prompts=PROMPTS))
    assert [len(row) for row in result.trace.tokens[0]] == result.generated_tokens == [3, 4, 5]
    assert result.trace.tokens[-1][1] == result.tokens[1][:4]


def test_a_model_may_have_a_sampler_of_its_own():
    def backwards(process, schedule, steps, sampling: Sampling):
        z = torch.randn(process.shape, generator=sampling.generator, dtype=process.dtype)
        assert not sampling.levels
        assert sampling.options == {"quirk": True}
        for step, level in enumerate(levels_at(schedule, torch.linspace(1, 0, steps + 1))):
            z = process.denoise(z, level)
            sampling.on_step(step, z)
        return z

    built = model(own={"backwards": backwards})
    result = built.generate(request(scheduler="backwards", options={"quirk": True}, trace=True))
    assert result.nfe == [5, 5, 5]
    assert result.trace.done == [1, 2, 3, 4]
    assert "backwards" not in model().own_samplers


def test_guidance_may_take_gradients_through_the_network(monkeypatch):
    def guided(self, z, level):
        with torch.enable_grad():
            leaf = z.detach().requires_grad_()
            z_0 = plain(self, leaf, level)
            (slope,) = torch.autograd.grad(z_0[..., 0].sum(), leaf)
        return (z_0 + level.sigma**2 * slope).detach()

    plain = ExactProcess.denoise
    monkeypatch.setattr(ExactProcess, "denoise", guided)
    result = model().generate(request(count=200))
    share = torch.tensor(result.tokens).flatten().bincount(minlength=3)[0] / 1200
    monkeypatch.setattr(ExactProcess, "denoise", plain)
    plainly = torch.tensor(model().generate(request(count=200)).tokens).flatten().bincount(minlength=3)[0] / 1200
    assert share > plainly


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scheduler": "dpm"}, "scheduler 'dpm' is not one of ancestral, ddim, dpmpp_2m, euler, heun, lms"),
        ({"task": "summary"}, "task 'summary' is not one of unconditional, prefix, infill, seq2seq"),
        ({"length": 7}, r"length 7 is outside 1\.\.6"),
        ({"length": 0}, "length 0 is outside"),
        ({"steps": 0}, r"steps 0 is outside 1\.\.2000"),
        ({"steps": 2001}, r"steps 2001 is outside 1\.\.2000"),
        ({"options": {"grid": "cosine"}}, "grid 'cosine' is not one of"),
        ({"options": {"eta": 2}}, "eta must be between 0 and 1, got 2"),
        ({"options": {"order": 9}}, "order must be a whole number"),
        ({"options": {"temperature": -1}}, "temperature must be 0 or more"),
    ],
    ids=str,
)
def test_what_cannot_be_met_is_refused_before_anything_is_computed(changes, message):
    built = model(schedule=sqrt(2000))
    for ask in (built.check, built.generate):
        with pytest.raises(AdapterError, match=message):
            ask(request(**changes))
    assert built.system.counted.calls == 0
    assert not hasattr(built.system, "process")


def test_likelihood_sums_windows_of_the_models_own_estimator():
    def estimator(tokens, draws, generator):
        noise = torch.rand(len(tokens), draws, generator=generator, dtype=torch.float64)
        built.system.counted(list(range(len(tokens))), torch.zeros(len(tokens), 1, 2), 1.0, 1.0)
        return Estimate(tokens.shape[1] * math.log(3) + 0 * noise.sum(-1), noise.mean(-1))

    built = model(estimators={"vlb": estimator})
    scored = LikelihoodRequest(("abcabcabc", "ab", ""), "vlb", {"draws": 4}, seed=3)
    result = built.likelihood(scored)
    assert result.kind == "upper_bound"
    assert [text.tokens for text in result.texts] == [9, 2, 0]
    assert [text.nats for text in result.texts] == pytest.approx([9 * math.log(3), 2 * math.log(3), 0])
    assert result.nfe == [2, 1, 0]
    assert result == built.likelihood(scored)
    with pytest.raises(AdapterError, match="estimator 'elbo' is not one of vlb"):
        built.likelihood(LikelihoodRequest(("ab",), "elbo"))


def test_a_model_without_a_bound_says_so():
    with pytest.raises(NotAvailable, match="no likelihood estimator"):
        model().likelihood(LikelihoodRequest(("ab",), "vlb"))


def test_the_worker_sees_the_network():
    built = model()
    assert built.networks == [built.system.counted]
    assert built.parameter_count == 6
