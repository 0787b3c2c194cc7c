from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from adapters.base import AdapterError, GenerateRequest, LikelihoodRequest, NotAvailable, Prompt
from adapters.masked.likelihood import estimate_k_dce
from adapters.masked.model import MaskedModel
from adapters.masked.schedules import D3PM, Geometric, LogLinear
from adapters.traces import TRACE_STATES
from tests.adapters.masked.exact import denoiser, joint


class Letters:
    """Ids 0, 1 as the letters a, b."""

    vocab_size = 2
    eos_id = None

    def encode(self, text):
        return [ord(letter) - ord("a") for letter in text]

    def decode(self, ids):
        return "".join("ab#"[i] for i in ids)


def model(length=4, schedule=None, estimators=None) -> MaskedModel:
    table = joint(length=length)
    found = {"k_dce": estimate_k_dce} if estimators is None else estimators
    return MaskedModel(denoiser(table, schedule or LogLinear()), Letters(), {}, found, length, length)


def request(**changes) -> GenerateRequest:
    return GenerateRequest(**{"count": 3, "length": 4, "steps": 2, "scheduler": "ancestral", **changes})


def test_generation_reports_what_it_did():
    result = model().generate(request())
    assert [len(ids) for ids in result.tokens] == [4, 4, 4]
    assert result.generated_tokens == [4, 4, 4]
    assert all(1 <= nfe <= 2 for nfe in result.nfe)
    assert result.texts == [Letters().decode(ids) for ids in result.tokens]
    assert result.trace is None


def test_prompts_stand_and_are_not_counted_as_generated():
    prompts = (Prompt("ab", "a"), Prompt("", "b"), Prompt("b", ""))
    result = model().generate(request(task="infill", prompts=prompts))
    assert result.generated_tokens == [1, 3, 3]
    for text, prompt in zip(result.texts, prompts, strict=True):
        assert text.startswith(prompt.prefix)
        assert text.endswith(prompt.suffix)


def test_a_trace_shows_every_step_of_a_short_run_and_at_most_so_many_of_a_long_one():
    short = model().generate(request(steps=3, trace=True))
    assert short.trace.done == [0, 1, 2, 3]
    assert (short.trace.texts[-1], short.trace.tokens[-1]) == (short.texts, short.tokens)
    masks = [sum(text.count("#") for text in state) for state in short.trace.texts]
    assert masks[0] == 12
    assert masks == sorted(masks, reverse=True)
    assert masks == [sum(row.count(None) for row in state) for state in short.trace.tokens]
    long = model().generate(request(steps=500, trace=True))
    assert len(long.trace.done) == TRACE_STATES + 1
    assert (long.trace.done[:2], long.trace.done[-1]) == ([0, 1], 500)
    assert long.trace.texts[-1] == long.texts


def test_a_trace_changes_nothing_and_holds_the_ids_of_what_is_written():
    prompts = (Prompt("ab", "a"), Prompt("", "b"), Prompt("b", ""))
    asked = request(task="infill", prompts=prompts, steps=4)
    plain, traced = (model().generate(dataclasses.replace(asked, trace=on)) for on in (False, True))
    assert traced.texts == plain.texts
    assert [len(row) for row in traced.trace.tokens[0]] == plain.generated_tokens
    assert traced.trace.tokens[0] == [[None], [None] * 3, [None] * 3]
    assert traced.trace.tokens[-1] == [plain.tokens[0][2:3], plain.tokens[1][:3], plain.tokens[2][1:]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scheduler": "dpm"}, "scheduler 'dpm' is not one of"),
        ({"task": "summary"}, "task 'summary' is not one of"),
        ({"length": 5}, r"length 5 is outside 1\.\.4"),
        ({"length": 0}, "length 0 is outside"),
        ({"steps": 0}, "steps 0 is outside"),
        ({"options": {"temperature": -1}}, "temperature must be 0 or more"),
        ({"task": "prefix", "prompts": (Prompt("abab"),) * 3}, "leaves nothing to write"),
        ({"task": "infill", "prompts": (Prompt("ab", "ab"),) * 3}, "leaves nothing to write"),
    ],
    ids=str,
)
def test_a_request_that_cannot_be_met_is_refused(changes, message):
    with pytest.raises(AdapterError, match=message):
        model().generate(request(**changes))


def test_steps_beyond_a_discrete_schedule_are_refused():
    with pytest.raises(AdapterError, match=r"steps 11 is outside 1\.\.10"):
        model(schedule=D3PM(10)).generate(request(steps=11))


def test_the_wrong_tokenizer_is_refused():
    with pytest.raises(AdapterError, match="2 ids but the network was trained on 3"):
        MaskedModel(denoiser(joint(vocab=3)), Letters(), {}, {}, 3, 3)


@pytest.mark.parametrize(
    ("schedule", "twin"), [(LogLinear(), "ancestral"), (D3PM(10), "ancestral"), (Geometric(), None)]
)
def test_euler_says_when_it_is_ancestral(schedule, twin):
    assert model(schedule=schedule).same_as("euler") == twin
    assert model(schedule=schedule).same_as("ancestral") is None


def test_long_texts_are_scored_window_by_window():
    scored = model()
    options = {"draws": 64}
    whole = scored.likelihood(LikelihoodRequest(("abba" * 3,), "k_dce", options))
    figure = whole.texts[0]
    assert figure.tokens == 12
    assert whole.nfe == [3 * 64]
    assert whole.kind == "upper_bound"
    # The same windows as texts of their own cost the same within their errors.
    parts = scored.likelihood(LikelihoodRequest(("abba", "abba", "abba"), "k_dce", options, seed=1))
    assert parts.nfe == [64] * 3
    total = math.fsum(part.nats for part in parts.texts)
    error = math.sqrt(sum(part.standard_error**2 for part in parts.texts) + figure.standard_error**2)
    assert abs(total - figure.nats) < 5 * error


def test_one_draw_has_an_unknown_error():
    result = model().likelihood(LikelihoodRequest(("abba",), "k_dce", {"draws": 1}))
    assert result.texts[0].standard_error is None


def test_likelihood_that_is_not_there():
    with pytest.raises(NotAvailable):
        model(estimators={}).likelihood(LikelihoodRequest(("ab",), "k_dce"))
    with pytest.raises(AdapterError, match="estimator 'elbo' is not one of k_dce"):
        model().likelihood(LikelihoodRequest(("ab",), "elbo"))


def test_the_network_is_counted_by_an_independent_hook():
    counted = model(length=6)
    seen = []
    network = counted.denoiser.network
    inner = network.features
    counted.denoiser.counted.module = lambda tokens, time=None: seen.append(len(tokens)) or inner(tokens, time)
    result = counted.generate(request(count=50, length=6, steps=5))
    assert sum(result.nfe) == sum(seen)
    assert counted.denoiser.counted.calls == len(seen)
    with pytest.raises(ValueError, match="2 sequences named for 3 rows"):
        counted.denoiser.counted([0, 1], torch.zeros(3, 6, dtype=torch.int64))
