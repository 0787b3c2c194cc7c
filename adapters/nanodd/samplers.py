"""nanoDD's own sampler, arithmetic and quirks included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from adapters.base import AdapterError
from adapters.masked.denoiser import Denoiser
from adapters.masked.samplers import OnStep
from adapters.nanodd.diffusion import log_posterior, process_of


def nanodd_d3pm(
    denoiser: Denoiser,
    tokens: Tensor,
    steps: int,
    options: Mapping[str, Any],
    generator: torch.Generator,
    on_step: OnStep,
) -> Tensor:
    """The authors' sampler (sample.py): for the same seed on the CPU the same tokens.

    All T steps; the mask stays a class of the prediction, so it may be predicted and a few masks may be left; every
    position is drawn anew in each step; the last step draws all of them from the raw logits, written ones too.

    Args:
        denoiser: network with a D3PM schedule.
        tokens: ids [B, L]: given tokens, and the mask elsewhere. Given tokens are put back after each draw, the
            last one included (the authors have no conditional sampling).
        steps: T of the checkpoint; another number is an error.
        options: `given_tokens`, "clamp".
        generator: one `torch.multinomial` draw over all positions a step.
        on_step: called with the step and the ids after it.

    Raises:
        AdapterError: for another number of steps, or an option it does not have.
    """
    process = process_of(denoiser)
    if steps != process.steps:
        raise AdapterError(f"nanodd_d3pm always makes the {process.steps} steps of its checkpoint, got steps {steps}")
    if (choice := options.get("given_tokens", "clamp")) != "clamp":
        raise AdapterError(f"nanodd_d3pm knows given_tokens 'clamp' only, got '{choice}'")
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
        tokens = torch.where(given, start, _categorical(logits, generator))
        on_step(steps - s, tokens)
    return tokens


def _categorical(logits: Tensor, generator: torch.Generator) -> Tensor:
    """One id [B, L] from unnormalised log-probabilities [B, L, K], in float32 (torch's Categorical does the same)."""
    probs = (logits - logits.logsumexp(-1, keepdim=True)).softmax(-1)
    return torch.multinomial(probs.flatten(0, 1), 1, generator=generator).view(logits.shape[:-1])
