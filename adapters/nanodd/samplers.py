"""nanoDD's own sampler, arithmetic and quirks included."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from adapters.base import AdapterError
from adapters.masked.denoiser import Denoiser
from adapters.masked.samplers import Sampling
from adapters.nanodd.diffusion import log_posterior, process_of


def nanodd_d3pm(denoiser: Denoiser, tokens: Tensor, sampling: Sampling) -> Tensor:
    """The authors' sampler (sample.py): for the same seed on the CPU the same tokens.

    All T steps; the mask stays a class of the prediction, so it may be predicted and a few masks may be left; every
    position is drawn anew in each step; the last step draws all of them from the raw logits, written ones too.

    Args:
        denoiser: network with a D3PM schedule.
        tokens: ids [B, L]: given tokens, and the mask elsewhere. Given tokens are put back after each draw, the
            last one included (the authors have no conditional sampling).
        sampling: steps must be T of the checkpoint; option `given_tokens`, "clamp"; the generator makes one
            `torch.multinomial` draw over all positions a step.

    Raises:
        AdapterError: for another number of steps, or an option it does not have.
    """
    process = process_of(denoiser)
    steps = sampling.steps
    if steps != process.steps:
        raise AdapterError(f"nanodd_d3pm always makes the {process.steps} steps of its checkpoint, got steps {steps}")
    sampling.choice("given_tokens", ("clamp",))
    given = tokens != process.mask_id
    start = tokens
    rows = torch.arange(tokens.shape[0], device=tokens.device)
    for s in range(steps, 0, -1):
        time = torch.full((tokens.shape[0],), s, dtype=torch.int64, device=tokens.device)
        features = denoiser.features(tokens, rows, time.double() / steps).flatten(0, 1)
        noisy = tokens.flatten()
        drawn = torch.empty_like(noisy)
        for piece, logits in denoiser.logits(features, process.classes):
            if s > 1:
                logits = log_posterior(process, logits.softmax(-1), time[:1] - 1, noisy[piece])
            drawn[piece] = categorical(logits, sampling.generator)
        tokens = torch.where(given, start, drawn.view_as(tokens))
        sampling.on_step(steps - s, tokens)
    return tokens


def categorical(logits: Tensor, generator: torch.Generator) -> Tensor:
    """One id [N] a row of unnormalised log-probabilities [N, K], with the arithmetic and the stream of torch's
    Categorical: it normalises twice, then races exponentials (torch.multinomial, one draw). Overwrites the logits."""
    probs = logits.sub_(logits.logsumexp(-1, keepdim=True)).softmax(-1)
    return probs.div_(exponential(probs, generator)).argmax(-1)


def exponential(like: Tensor, generator: torch.Generator) -> Tensor:
    """What `torch.empty_like(like).exponential_(generator=generator)` gives, float32.

    torch computes it one element after the other, except on Intel's processors and on GPUs.
    """
    if like.device.type != "cpu" or not _is_inverse_of_uniform():
        return torch.empty_like(like).exponential_(generator=generator)
    return _inverse_of_uniform(like.shape, generator)


def _inverse_of_uniform(shape: torch.Size, generator: torch.Generator) -> Tensor:
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
    return uniform.neg_().log1p_().neg_().float()


@cache
def _is_inverse_of_uniform() -> bool:
    """Whether torch draws an exponential by inversion of one float64 uniform on this processor; found by a trial."""
    ours, theirs = torch.Generator().manual_seed(0), torch.Generator().manual_seed(0)
    expected = torch.empty(1000).exponential_(generator=theirs)
    same = torch.equal(_inverse_of_uniform(expected.shape, ours), expected)
    return same and torch.equal(ours.get_state(), theirs.get_state())
