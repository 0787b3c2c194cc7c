"""RADD's own samplers: edges and options. The authors' runs are compared in test_radd_parity.py."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from adapters.base import AdapterError
from adapters.masked.denoiser import seeded
from adapters.masked.draws import draw
from adapters.masked.samplers import Sampling
from adapters.masked.schedules import LogLinear
from adapters.radd.samplers import (
    RaddOptions,
    draw_with_strategy,
    joint_weights,
    leave_chance,
    radd_direct,
    radd_ordered,
)
from tests.adapters.radd_fixtures import denoiser, golden
from tests.goldens.radd_checkpoints import LENGTH, SIZE

MASK = SIZE.tokens


def masks(batch: int, length: int = LENGTH) -> Tensor:
    return torch.full((batch, length), MASK)


@torch.inference_mode()
@pytest.mark.parametrize("name", ["given float16", "top_p 0.8 given float32"])
def test_direct_keeps_its_input_and_shows_every_step(name: str) -> None:
    case, recorded = golden("loglinear")[f"sample {name}"]
    settings, start = case.settings, recorded["in/start"]
    before = start.clone()
    states: list[Tensor] = []
    den = denoiser("loglinear", len(start))
    sampling = Sampling(
        settings["steps"], seeded(settings["seed"], "cpu"), settings["options"], lambda i, x: states.append(x)
    )
    tokens = radd_direct(den, start, sampling)
    assert torch.equal(tokens, recorded["out/tokens"])
    assert torch.equal(start, before)
    assert len(states) == settings["steps"]
    assert torch.equal(states[-1], tokens)
    given = start != MASK
    assert torch.equal(tokens[given], start[given])


@torch.inference_mode()
def test_full_sequences_are_evaluated_once_and_kept() -> None:
    """As the authors' code does: every row counts as changed before the first step."""
    den = denoiser("loglinear", 2)
    start = torch.arange(2 * LENGTH).reshape(2, LENGTH)
    tokens = radd_direct(den, start, Sampling(3, seeded(0, "cpu")))
    assert torch.equal(tokens, start)
    assert den.counted.nfe == [1, 1]


@torch.inference_mode()
def test_ordered_refuses_given_tokens_and_too_many_steps() -> None:
    start = masks(1)
    with pytest.raises(AdapterError, match="more than the length"):
        radd_ordered(denoiser("loglinear", 1), start, Sampling(LENGTH + 1, seeded(0, "cpu")))
    start[0, 2] = 5
    with pytest.raises(AdapterError, match="use 'ordered'"):
        radd_ordered(denoiser("loglinear", 1), start, Sampling(LENGTH, seeded(0, "cpu")))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"method": "heun"}, "method 'heun' is not one of tweedie, euler"),
        ({"strategy": "beam"}, "strategy 'beam'"),
        ({"sampler_dtype": "float64"}, "sampler_dtype 'float64'"),
        ({"order": "inward"}, "order 'inward'"),
        ({"strategy": "top_p", "strategy_para": 0}, "above 0"),
        ({"strategy": "top_p", "strategy_para": 1.5}, "at most 1"),
        ({"strategy": "top_k"}, "whole number"),
        ({"strategy": "top_k", "strategy_para": 2.5}, "whole number"),
    ],
)
def test_bad_options(options: dict[str, Any], says: str) -> None:
    with pytest.raises(AdapterError, match=says):
        RaddOptions.of(options)


def test_other_options_are_not_its_own() -> None:
    assert RaddOptions.of({"temperature": 2.0}) == RaddOptions()


@pytest.mark.parametrize(("dtype", "low", "high"), [(torch.float16, 0, 0), (torch.float32, 60, 200)])
def test_half_precision_cannot_draw_rare_tokens(dtype: torch.dtype, low: int, high: int) -> None:
    """Of 2^19 tokens that leave the mask 128 should be the rare one. At 2^14 steps its weight is 2^-26."""
    count, rare = 1 << 19, 2.0**-12
    probs = torch.tensor([1 - rare, rare, 0.0], dtype=dtype).expand(count, 3)
    weights = joint_weights(probs, leave_chance(LogLinear(), torch.tensor(1.0), 2.0**-14, "tweedie"))
    assert weights[0, 2] == pytest.approx(1 - 2.0**-14, rel=1e-3)
    left = draw(weights[:, :2], seeded(0, "cpu"))
    assert low <= int((left == 1).sum()) <= high


def test_nucleus_keeps_the_class_that_crosses_p() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.2]]).log().expand(4000, 3)
    drawn = draw_with_strategy(logits, "top_p", 0.6, seeded(0, "cpu"))
    assert set(drawn.tolist()) == {0, 1}
    assert float((drawn == 0).float().mean()) == pytest.approx(0.625, abs=0.03)


def test_top_k_keeps_k() -> None:
    logits = torch.tensor([[0.1, 0.5, 0.4]]).log().expand(500, 3)
    assert set(draw_with_strategy(logits, "top_k", 2, seeded(0, "cpu")).tolist()) == {1, 2}
    assert set(draw_with_strategy(logits, "top_k", 1, seeded(0, "cpu")).tolist()) == {1}
