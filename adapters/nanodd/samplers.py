"""nanoDD's own sampler, arithmetic and quirks included."""

from __future__ import annotations

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
        features = denoiser.features(tokens, rows, time.double() / steps)
        with denoiser.counted.timed():
            logits = denoiser.network.head(features)
        if s > 1:
            logits = log_posterior(process, logits.softmax(-1), time[:, None] - 1, tokens)
        tokens = torch.where(given, start, _categorical(logits, sampling.generator))
        sampling.on_step(steps - s, tokens)
    return tokens


def _categorical(logits: Tensor, generator: torch.Generator) -> Tensor:
    """One id [B, L] from unnormalised log-probabilities [B, L, K], in float32 (torch's Categorical does the same)."""
    probs = (logits - logits.logsumexp(-1, keepdim=True)).softmax(-1)
    return torch.multinomial(probs.flatten(0, 1), 1, generator=generator).view(logits.shape[:-1])
