from __future__ import annotations

import pytest
import torch

from adapters.base import AdapterError
from adapters.masked.draws import DrawOptions, draw, falling_values, keep_largest, probabilities

LOGITS = torch.tensor([[2.0, 1.0, 0.0, -1.0], [0.0, 0.0, 3.0, 3.0]])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_plain_probabilities_are_the_softmax_in_float64():
    probs = probabilities(LOGITS, DrawOptions())
    assert probs.dtype == torch.float64
    torch.testing.assert_close(probs, LOGITS.double().softmax(-1))


def test_temperature_zero_takes_the_best():
    assert draw(probabilities(LOGITS, DrawOptions(temperature=0)), generator()).tolist() == [0, 2]


def test_top_k_keeps_the_best_k():
    probs = probabilities(LOGITS, DrawOptions(top_k=2))
    assert (probs[0] > 0).tolist() == [True, True, False, False]
    assert probs.sum(-1).tolist() == pytest.approx([1, 1])


def test_top_p_keeps_the_smallest_set_that_reaches_p():
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    assert (probabilities(logits, DrawOptions(top_p=0.5))[0] > 0).tolist() == [True, False, False, False]
    assert (probabilities(logits, DrawOptions(top_p=0.51))[0] > 0).tolist() == [True, True, False, False]
    assert (probabilities(logits, DrawOptions(top_p=1e-9))[0] > 0).tolist() == [True, False, False, False]


@pytest.mark.parametrize("dtype", ["float64", "native"])
def test_draws_follow_the_probabilities(dtype):
    logits = LOGITS[:1].expand(40_000, 4)
    ids = draw(probabilities(logits, DrawOptions(sampling_dtype=dtype)), generator())
    shares = torch.bincount(ids, minlength=4).double() / len(ids)
    torch.testing.assert_close(shares, LOGITS[0].double().softmax(-1), atol=0.01, rtol=0)


def test_a_token_of_no_probability_is_never_drawn():
    probs = torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64).expand(10_000, 3)
    assert draw(probs, generator()).unique().tolist() == [1]


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -1},
        {"top_p": 0},
        {"top_p": 1.5},
        {"top_k": -1},
        {"top_k": 1.5},
        {"sampling_dtype": "float8"},
        {"top_p": "hot"},
    ],
)
def test_bad_options_are_refused(options):
    with pytest.raises(AdapterError, match=next(iter(options))):
        DrawOptions.of(options)


def test_noise_is_the_same_in_blocks():
    """Samplers work through their rows in pieces; the stream must be that of one draw over all rows."""
    probs = torch.rand(7, 1001)
    whole = draw(probs, generator())
    pieces = generator()
    assert torch.equal(torch.cat([draw(part, pieces) for part in probs.split(3)]), whole)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("stable", [True, False])
def test_the_largest_are_those_that_a_sort_puts_first(dtype, stable):
    """Rounded so coarsely that nearly every cut goes through equal values."""
    probs = (torch.randn(40, 301, generator=generator()).softmax(-1) * 512).round().to(dtype) / 512
    count = torch.randint(1, 302, (40, 1), generator=generator(1))
    kept = keep_largest(probs, falling_values(probs), count, stable=stable)
    order = probs.sort(dim=-1, descending=True, stable=stable).indices
    expected = torch.zeros_like(probs)
    for row in range(40):
        first = order[row, : count[row]]
        expected[row, first] = probs[row, first]
    assert torch.equal(kept, expected)
    assert torch.equal(falling_values(probs), probs.sort(dim=-1, descending=True).values)
