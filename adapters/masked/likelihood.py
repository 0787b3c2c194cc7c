"""Likelihood bounds of absorbing diffusion: the losses for given noise, and their Monte-Carlo estimators.

Every bound is -log p(x) <= E[loss], in nats a sequence. The losses are those of RADD (arXiv 2406.03736; upstream
losses.py); for the same noise they give the same number as the authors' code.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from adapters.estimates import Estimate, low_discrepancy, summarise
from adapters.masked.denoiser import Denoiser

#: RADD integrates t from here to 1 (losses.py, sampling_eps), and its log-linear noise masks 99.9 % at t = 1: 0.1 % of
#: the noise levels is missing at either end, which makes t_* estimates a few tenths of a percent low.
TIME_FLOOR = 1e-3

Loss = Callable[[Denoiser, Tensor, Tensor, Tensor], Tensor]
Estimator = Callable[[Denoiser, Tensor, int, torch.Generator], Estimate]


def masked_nll(denoiser: Denoiser, tokens: Tensor, mask: Tensor, t: Tensor) -> Tensor:
    """Sum of -log p(x_0) over masked positions, one evaluation a sequence.

    Args:
        tokens: clean ids [B, L].
        mask: bool [B, L], positions to hide and to score.
        t: [B] float64 time, for networks that take it.

    Returns:
        [B] float64 nats.
    """
    noisy = tokens.masked_fill(mask, denoiser.mask_id)
    rows = torch.arange(tokens.shape[0], device=tokens.device)
    losses = token_nll(denoiser, denoiser.features(noisy, rows, t)[mask], tokens[mask])
    return torch.zeros(mask.shape, dtype=torch.float64, device=tokens.device).masked_scatter(mask, losses).sum(-1)


def token_nll(denoiser: Denoiser, features: Tensor, tokens: Tensor) -> Tensor:
    """-log p(token) at each position, the mask being no candidate.

    Args:
        features: [N, D] of the positions to score.
        tokens: their clean ids [N].

    Returns:
        [N] float64 nats. Exponentials are taken in the dtype of the logits and summed in float64.
    """
    nats = torch.empty(len(tokens), dtype=torch.float64, device=tokens.device)
    for rows, logits in denoiser.logits(features):
        peak = logits.amax(-1, keepdim=True)
        behind = (peak.double() - logits.gather(-1, tokens[rows, None]).double()).squeeze(-1)
        nats[rows] = logits.sub_(peak).exp_().sum(-1, dtype=torch.float64).log() + behind
    return nats


def lambda_dce(denoiser: Denoiser, tokens: Tensor, level: Tensor, mask: Tensor) -> Tensor:
    """Sum over masks of -log p, divided by lambda; `level` [B] is lambda, the mask probability (RADD, lambda-DCE)."""
    return masked_nll(denoiser, tokens, mask, denoiser.schedule.time_at(level)) / level


def t_dse(denoiser: Denoiser, tokens: Tensor, level: Tensor, mask: Tensor) -> Tensor:
    """sigma'(t) / (e^sigma - 1) times the masked sum; `level` [B] is t (denoising score entropy, arXiv 2310.16834;
    t_DSE of RADD losses.py)."""
    weight = denoiser.schedule.rate(level) / torch.expm1(denoiser.schedule.sigma(level))
    return weight * masked_nll(denoiser, tokens, mask, level)


def t_dce(denoiser: Denoiser, tokens: Tensor, level: Tensor, mask: Tensor) -> Tensor:
    """As the authors compute t-DCE: `t_dse` plus sigma'(t) n log(e^sigma - 1) / (e^sigma - 1), n masks.

    The extra term knows nothing of the network and has expectation near zero; it only adds variance.
    """
    odds = torch.expm1(denoiser.schedule.sigma(level))
    constant = denoiser.schedule.rate(level) * mask.sum(-1) * torch.log(odds) / odds
    return t_dse(denoiser, tokens, level, mask) + constant


def k_dce(denoiser: Denoiser, tokens: Tensor, level: Tensor, mask: Tensor) -> Tensor:
    """(L / k) times the masked sum; `level` [B] is k, exactly k positions are masked (any-order bound; RADD k-DCE)."""
    share = level.double() / tokens.shape[1]
    time = denoiser.schedule.time_at(share * denoiser.schedule.top())
    return masked_nll(denoiser, tokens, mask, time) / share


def _bernoulli(tokens: Tensor, chance: Tensor, generator: torch.Generator) -> Tensor:
    coin = torch.rand(tokens.shape, generator=generator, device=tokens.device, dtype=torch.float64)
    return coin < chance[:, None]


def _exactly(tokens: Tensor, k: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.rand(tokens.shape, generator=generator, device=tokens.device, dtype=torch.float64)
    return noise.argsort(-1).argsort(-1) < k[:, None]


def estimate_lambda_dce(denoiser: Denoiser, tokens: Tensor, draws: int, generator: torch.Generator) -> Estimate:
    """E over lambda ~ U(0, 1) of `lambda_dce`. tokens [B, L]; `draws` evaluations a sequence."""
    levels = low_discrepancy(tokens.shape[0], draws, generator)
    losses = [lambda_dce(denoiser, tokens, u, _bernoulli(tokens, u, generator)) for u in levels.unbind(1)]
    return summarise(torch.stack(losses, dim=1))


def _estimate_in_time(loss: Loss) -> Estimator:
    def estimate(denoiser: Denoiser, tokens: Tensor, draws: int, generator: torch.Generator) -> Estimate:
        times = TIME_FLOOR + (1 - TIME_FLOOR) * low_discrepancy(tokens.shape[0], draws, generator)
        losses = [
            loss(denoiser, tokens, t, _bernoulli(tokens, denoiser.schedule.mask_probability(t), generator))
            for t in times.unbind(1)
        ]
        return summarise(torch.stack(losses, dim=1))

    return estimate


#: E over t ~ U(0.001, 1) of the loss of the same name. tokens [B, L]; `draws` evaluations a sequence.
estimate_t_dce = _estimate_in_time(t_dce)
estimate_t_dse = _estimate_in_time(t_dse)


def estimate_k_dce(denoiser: Denoiser, tokens: Tensor, draws: int, generator: torch.Generator) -> Estimate:
    """E over k uniform in 1..L of `k_dce`. tokens [B, L]; `draws` evaluations a sequence."""
    counts = torch.ceil(low_discrepancy(tokens.shape[0], draws, generator) * tokens.shape[1]).clamp(min=1)
    losses = [k_dce(denoiser, tokens, k, _exactly(tokens, k, generator)) for k in counts.unbind(1)]
    return summarise(torch.stack(losses, dim=1))
