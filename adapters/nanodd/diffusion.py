"""nanoDD's discrete diffusion: posterior, loss, and the T-step bound.

Everything follows D3PM (arXiv 2107.03006, sections 3 and 3.3) as d3pm_absorbing.py of the authors computes it, in
float32 with 1e-20 inside each logarithm. Two indices are in use: the state at s = 1..T is noisy, and t = s - 1 is the
state that is predicted from it; the network is told s.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from adapters.estimates import Estimate, low_discrepancy, summarise
from adapters.masked.denoiser import Denoiser
from adapters.masked.likelihood import lambda_dce, token_nll
from adapters.nanodd.layout import DRAWS_PER_RECONSTRUCTION

#: What the authors add inside each logarithm (d3pm_absorbing.py, eps).
EPS = 1e-20


@dataclass(frozen=True)
class Absorbing:
    """The forward process over K classes, the mask being the last.

    Attributes:
        betas: float32 [T + 1], chance to be masked in step s; index 0 is unused and 0.
        alpha_bars: float32 [T + 1], chance to be still clean after step s.
        classes: K, mask included.
    """

    betas: Tensor
    alpha_bars: Tensor
    classes: int

    @property
    def steps(self) -> int:
        """T."""
        return self.betas.shape[0] - 1

    @property
    def mask_id(self) -> int:
        """K - 1."""
        return self.classes - 1


def absorbing(steps: int, classes: int, device: str | torch.device = "cpu") -> Absorbing:
    """beta_s = 1/(T - s + 1) and its float32 cumulative product, with alpha_bar_T = 0."""
    betas = torch.reciprocal(steps + 1 - torch.arange(steps + 1))
    betas[0] = 0.0
    alpha_bars = torch.cumprod(1.0 - betas, dim=0)
    alpha_bars[-1] = 0.0
    return Absorbing(betas.to(device), alpha_bars.to(device), classes)


def process_of(denoiser: Denoiser) -> Absorbing:
    """The process that belongs to a denoiser with a D3PM schedule."""
    steps = denoiser.schedule.max_steps
    if steps is None:
        raise ValueError(f"schedule {denoiser.schedule.name} has no fixed number of steps")
    return absorbing(steps, denoiser.mask_id + 1, denoiser.device)


def corrupt(process: Absorbing, tokens: Tensor, s: Tensor, generator: torch.Generator) -> Tensor:
    """Draw x_s: each token of [B, L] is masked with probability 1 - alpha_bar_s, s [B] in 0..T."""
    coin = torch.rand(tokens.shape, generator=generator, device=tokens.device)
    return tokens.masked_fill(coin >= process.alpha_bars[s][:, None], process.mask_id)


def log_posterior(process: Absorbing, clean: Tensor, t: Tensor, noisy: Tensor) -> Tensor:
    """Unnormalised log q(x_t | x_{t+1}, x_0) (D3PM, eq. 3); for t = 0, log of the clean distribution itself.

    Args:
        clean: probabilities of x_0, float32 [..., K].
        t: int64 0..T-1, broadcast against `noisy`.
        noisy: ids x_{t+1} [...].

    Returns:
        [..., K] float32.
    """
    beta = process.betas[t + 1]
    alpha_bar = process.alpha_bars[t]
    absorbed = beta * (noisy == process.mask_id)
    # log q(x_{t+1} | x_t) is one number for the class x_{t+1} itself and another for all the rest. At t = 0 it is left
    # out, and what remains is the log of `clean`, because alpha_bar_0 is exactly 1.
    held = torch.where(t == 0, 0.0, torch.log((1 - beta) + absorbed + EPS))[..., None]
    moved = torch.where(t == 0, 0.0, torch.log(absorbed + EPS))[..., None]
    marginal = clean * alpha_bar[..., None]
    marginal[..., -1] += 1 - alpha_bar
    posterior = torch.log(marginal.add_(EPS))
    own = posterior.gather(-1, noisy[..., None]) + held
    return (posterior + moved).scatter_(-1, noisy[..., None], own)


def losses(process: Absorbing, logits: Tensor, tokens: Tensor, t: Tensor, noisy: Tensor) -> tuple[Tensor, Tensor]:
    """KL(q(x_t | x_{t+1}, x_0) || p(x_t | x_{t+1})) and cross-entropy against x_0, a position each, in nats.

    The mask is no candidate for x_0. The KL is clamped at 0, as the authors do.

    Args:
        logits: raw network output for (noisy, t + 1), float32 [..., K].
        tokens: clean ids [...].
        t: int64 0..T-1, broadcast against `tokens`.
        noisy: ids x_{t+1} [...].

    Returns:
        kl [...], ce [...], float32.
    """
    banned = functional.one_hot(torch.tensor(process.mask_id, device=logits.device), process.classes).bool()
    logits = logits.masked_fill(banned, -torch.inf)
    truth = functional.one_hot(tokens, process.classes).float()
    log_q = log_posterior(process, truth, t, noisy)
    log_p = log_posterior(process, logits.softmax(-1), t, noisy)
    kl = (log_q.softmax(-1) * (log_q.log_softmax(-1) - log_p.log_softmax(-1))).sum(-1).relu()
    ce = functional.cross_entropy(logits.flatten(0, -2), tokens.flatten(), reduction="none").view_as(tokens)
    return kl, ce


def training_loss(kl: Tensor, ce: Tensor, t: Tensor, lambda_ce: float) -> Tensor:
    """KL + lambda_ce CE where t > 0, CE alone where t = 0, mean over [B, L]; t [B] (D3PM, eq. 5)."""
    return torch.where(t[:, None] == 0, ce, kl + lambda_ce * ce).mean()


def step_bound(kl: Tensor, ce: Tensor, t: Tensor, steps: int) -> Tensor:
    """The authors' training metric l_T, nats a token: T - 1 times the mean KL plus the mean CE of the rows with t = 0;
    T times the mean KL in a batch that has no such row. kl, ce [B, L], t [B]."""
    first = t == 0
    mean_kl = kl[~first].mean()
    return mean_kl * (steps - 1) + ce[first].mean() if bool(first.any()) else mean_kl * steps


def kl_of_nll(process: Absorbing, nll: Tensor, t: Tensor, masked: Tensor) -> Tensor:
    """The KL of `losses` from -log p(x_0) alone, exact to about 1e-19 nats (what EPS adds beyond what is kept here).

    A masked position becomes its clean token (with probability beta alpha_bar) or stays masked (1 - alpha_bar); the
    latter costs nothing, as p and q have one normaliser. A position that is not masked keeps its token against a weight
    of EPS for all other classes together, which shows where p(x_0) is itself that small.

    Args:
        nll: -log p(x_0) without the mask as a candidate, float64 [...].
        t: int64 1..T-1, broadcast against `nll`.
        masked: bool [...], whether x_{t+1} is the mask; where not it is x_0.

    Returns:
        nats, float64 [...].
    """
    beta, alpha_bar = process.betas[t + 1].double(), process.alpha_bars[t].double()
    clean = alpha_bar * torch.exp(-nll) + EPS
    revealed = beta * alpha_bar / (beta * alpha_bar + 1 - alpha_bar)
    of_masked = revealed * torch.log(alpha_bar / clean)
    others = EPS * (1 - alpha_bar * torch.exp(-nll))
    of_kept = torch.log1p(others / ((1 - beta + EPS) * clean))
    return torch.where(masked, of_masked, of_kept).relu()


def _nll(denoiser: Denoiser, process: Absorbing, tokens: Tensor, t: Tensor, noisy: Tensor) -> Tensor:
    """-log p(x_0) at every position [B, L] from one evaluation a sequence, float64."""
    rows = torch.arange(tokens.shape[0], device=tokens.device)
    features = denoiser.features(noisy, rows, (t + 1).double() / process.steps)
    return token_nll(denoiser, features.flatten(0, 1), tokens.flatten()).view_as(tokens)


def d3pm(denoiser: Denoiser, tokens: Tensor, draws: int, generator: torch.Generator) -> Estimate:
    """The authors' bound on -log p (evaluate.py): sum over t = 1..T-1 of the KL, plus the cross-entropy at t = 0.

    It is the bound of a model that predicts every position anew, also those not masked, and never the mask; the sampler
    `nanodd_d3pm` keeps the mask as a class and so draws from a slightly different one.

    Args:
        denoiser: network with a D3PM schedule.
        tokens: ids [B, L].
        draws: evaluations a sequence for the KL term; a quarter as many more (at least 1) go to the cross-entropy.
        generator: on the device of `tokens`.

    Returns:
        nats a sequence, with the standard error of both terms together.
    """
    process = process_of(denoiser)

    def cross_entropy() -> Tensor:
        t = torch.zeros(tokens.shape[0], dtype=torch.int64, device=tokens.device)
        return _nll(denoiser, process, tokens, t, corrupt(process, tokens, t + 1, generator)).sum(-1)

    def divergence(t: Tensor) -> Tensor:
        noisy = corrupt(process, tokens, t + 1, generator)
        nll = _nll(denoiser, process, tokens, t, noisy)
        return kl_of_nll(process, nll, t[:, None], noisy == process.mask_id).sum(-1)

    count = max(1, draws // DRAWS_PER_RECONSTRUCTION)
    reconstruction = summarise(torch.stack([cross_entropy() for _ in range(count)], dim=1))
    if process.steps == 1:
        return reconstruction
    uniform = low_discrepancy(tokens.shape[0], draws, generator)
    times = torch.ceil(uniform * (process.steps - 1)).long().clamp(min=1)
    kl = summarise(torch.stack([divergence(t) for t in times.unbind(1)], dim=1) * (process.steps - 1))
    return Estimate(kl.nats + reconstruction.nats, torch.hypot(kl.standard_error, reconstruction.standard_error))


def d3pm_carry_over(denoiser: Denoiser, tokens: Tensor, draws: int, generator: torch.Generator) -> Estimate:
    """The bound of the model that the scheduler `ancestral` samples from at T steps: what is not masked is copied, a
    masked token is revealed with probability 1/s, so the KL at s is 1/s times -log p0(x_0) at a mask and 0 elsewhere.

    Args:
        denoiser: network with a D3PM schedule.
        tokens: ids [B, L].
        draws: evaluations a sequence.
        generator: on the device of `tokens`.
    """
    process = process_of(denoiser)
    uniform = low_discrepancy(tokens.shape[0], draws, generator)
    times = torch.ceil(uniform * process.steps).long().clamp(min=1)
    values = []
    for s in times.unbind(1):
        mask = corrupt(process, tokens, s, generator) == process.mask_id
        # T/s times the masked sum: the mean over s of T * (1/s) * sum.
        values.append(lambda_dce(denoiser, tokens, s.double() / process.steps, mask))
    return summarise(torch.stack(values, dim=1))
