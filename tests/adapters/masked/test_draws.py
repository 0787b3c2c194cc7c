from __future__ import annotations

import pytest
import torch

from adapters.base import AdapterError
from adapters.masked.draws import DrawOptions, draw, probabilities

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
