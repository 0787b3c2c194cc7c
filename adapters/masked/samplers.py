"""Schedulers of the masked family, each a plain function over a `Denoiser`.

All start from tokens [B, L] in which given tokens stand and everything else is the mask, never revise a token that is
no mask, and leave no mask behind. What they share:

- Which positions are revealed is settled first where it does not depend on the prediction; the network is then
  evaluated only for sequences with something to reveal, and the vocabulary projection and the draw are made only at
  those positions. This is exact: q(x_s | x_t, x_0) reveals a position independently of the token behind it.
- A network without time input is therefore never evaluated twice on the same sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from adapters.base import AdapterError
from adapters.masked.denoiser import Denoiser
from adapters.masked.draws import DrawOptions, draw, probabilities
from adapters.masked.schedules import GRIDS, Schedule, falling

OnStep = Callable[[int, Tensor], None]


def ignore(step: int, tokens: Tensor) -> None:
    """An `OnStep` that does nothing."""


@dataclass(frozen=True)
class Sampling:
    """How a scheduler is to sample.

    Attributes:
        steps: the scheduler's own step count.
        generator: source of all randomness, on the tokens' device.
        options: the scheduler's options.
        on_step: called with each step's index and the ids after it.
    """

    steps: int
    generator: torch.Generator
    options: Mapping[str, Any] = field(default_factory=dict)
    on_step: OnStep = ignore

    def choice(self, name: str, known: Sequence[str]) -> str:
        """The option `name`, one of `known`, of which the first is the default.

        Raises:
            AdapterError: for another value.
        """
        value = self.options.get(name, known[0])
        if value not in known:
            raise AdapterError(f"{name} '{value}' is not one of {', '.join(known)}")
        return str(value)

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """float64 uniforms of a shape."""
        return torch.rand(shape, generator=self.generator, device=self.generator.device, dtype=torch.float64)


Scheduler = Callable[[Denoiser, Tensor, Sampling], Tensor]
Score = Callable[[Tensor, Tensor], Tensor]
ORDERS = ("forward", "backward", "random")


def reveal_posterior(schedule: Schedule, t: Tensor, s: Tensor) -> Tensor:
    """Probability that a token masked at t is no mask at s < t: (m(t) - m(s)) / m(t) (posterior of D3PM, arXiv
    2107.03006, with absorbing noise; RADD sampling.py, "tweedie")."""
    m_t = schedule.mask_probability(t)
    return (m_t - schedule.mask_probability(s)) / m_t


def reveal_euler(schedule: Schedule, t: Tensor, s: Tensor) -> Tensor:
    """First-order step of the reverse rate, (t - s) m'(t) / m(t), cut at 1 (SEDD, arXiv 2310.16834; RADD
    sampling.py, "euler")."""
    return ((t - s) * schedule.slope(t) / schedule.mask_probability(t)).clamp(max=1)


def ancestral(denoiser: Denoiser, tokens: Tensor, sampling: Sampling) -> Tensor:
    """The exact posterior step between any two times (D3PM, arXiv 2107.03006; "Tweedie tau-leaping" in RADD)."""
    return _by_rate(reveal_posterior, denoiser, tokens, sampling)


def euler(denoiser: Denoiser, tokens: Tensor, sampling: Sampling) -> Tensor:
    """Euler step of the reverse process (SEDD, arXiv 2310.16834). Under a linear m(t) it is `ancestral` itself."""
    return _by_rate(reveal_euler, denoiser, tokens, sampling)


def _by_rate(
    rate: Callable[[Schedule, Tensor, Tensor], Tensor], denoiser: Denoiser, tokens: Tensor, sampling: Sampling
) -> Tensor:
    times = denoiser.schedule.grid(sampling.steps, sampling.choice("grid", GRIDS))
    for i in range(sampling.steps):
        masked = tokens == denoiser.mask_id
        # The last step ends the chain: a schedule with m(0) > 0 (geometric) would leave masks otherwise.
        chance = 1.0 if i == sampling.steps - 1 else float(rate(denoiser.schedule, times[i], times[i + 1]))
        coin = sampling.uniform(tokens.shape)
        tokens = reveal(denoiser, tokens, masked & (coin < chance), times[i], sampling)
        sampling.on_step(i, tokens)
    return tokens


def ordered(denoiser: Denoiser, tokens: Tensor, sampling: Sampling) -> Tensor:
    """Reveals the masked positions in one order, an equal share a step (RADD OrderedSampler; any-order decoding)."""
    masked = tokens == denoiser.mask_id
    index = torch.arange(tokens.shape[1], device=tokens.device, dtype=torch.float64).expand(tokens.shape)
    noise = sampling.uniform(tokens.shape)
    preference = {"forward": -index, "backward": index, "random": noise}[sampling.choice("order", ORDERS)]
    left = remaining(masked, falling(sampling.steps))
    for i in range(sampling.steps):
        masked = tokens == denoiser.mask_id
        chosen = best(preference, masked, masked.sum(-1) - left[i + 1])
        tokens = reveal(denoiser, tokens, chosen, _time_of(denoiser, masked, left[0]), sampling)
        sampling.on_step(i, tokens)
    return tokens


def first_hitting(denoiser: Denoiser, tokens: Tensor, sampling: Sampling) -> Tensor:
    """Exact simulation in continuous time: with n masks left at level m the next is revealed at level m u^(1/n)
    (first-hitting sampler, arXiv 2409.02908). One token and one evaluation a step."""
    device = tokens.device
    level = torch.full((tokens.shape[0],), denoiser.schedule.top(), dtype=torch.float64, device=device)
    for i in range(sampling.steps):
        masked = tokens == denoiser.mask_id
        u = sampling.uniform(tokens.shape[:1])
        level = level * u ** (1 / masked.sum(-1).clamp(min=1))
        preference = sampling.uniform(tokens.shape)
        chosen = best(preference, masked, torch.ones(tokens.shape[0], device=device, dtype=torch.int64))
        tokens = reveal(denoiser, tokens, chosen, denoiser.schedule.time_at(level), sampling)
        sampling.on_step(i, tokens)
    return tokens


def confidence(denoiser: Denoiser, tokens: Tensor, sampling: Sampling) -> Tensor:
    """Draws every masked token, keeps those of highest probability (MaskGIT, arXiv 2202.04200)."""

    def drawn_probability(probs: Tensor, ids: Tensor) -> Tensor:
        return probs.gather(-1, ids[:, None]).squeeze(-1)

    return _by_score(drawn_probability, denoiser, tokens, sampling)


def margin(denoiser: Denoiser, tokens: Tensor, sampling: Sampling) -> Tensor:
    """Reveals where the best token leads the second best most (top probability margin, arXiv 2502.06768)."""

    def lead(probs: Tensor, ids: Tensor) -> Tensor:
        two = probs.topk(min(2, probs.shape[-1]), dim=-1).values
        return two[:, 0] - two[:, -1] if two.shape[-1] == 2 else two[:, 0]

    return _by_score(lead, denoiser, tokens, sampling)


def entropy(denoiser: Denoiser, tokens: Tensor, sampling: Sampling) -> Tensor:
    """Reveals where the predicted distribution has the least entropy (Dream, arXiv 2508.15487)."""

    def negative_entropy(probs: Tensor, ids: Tensor) -> Tensor:
        return torch.special.entr(probs).sum(-1).neg()

    return _by_score(negative_entropy, denoiser, tokens, sampling)


def _by_score(score: Score, denoiser: Denoiser, tokens: Tensor, sampling: Sampling) -> Tensor:
    left = remaining(tokens == denoiser.mask_id, falling(sampling.steps, sampling.choice("grid", GRIDS)))
    draw_options = DrawOptions.of(sampling.options)
    for i in range(sampling.steps):
        masked = tokens == denoiser.mask_id
        count = masked.sum(-1) - left[i + 1]
        active = (count > 0).nonzero().squeeze(-1)
        if len(active):
            time = _time_of(denoiser, masked, left[0])[active]
            here = masked[active]
            features = denoiser.features(tokens, active, time)[here]
            ids, scores = _propose(denoiser, features, draw_options, sampling.generator, score)
            proposal = tokens[active].masked_scatter(here, ids)
            preference = torch.zeros(here.shape, dtype=scores.dtype, device=here.device).masked_scatter(here, scores)
            chosen = best(preference, here, count[active])
            tokens = tokens.index_copy(0, active, torch.where(chosen, proposal, tokens[active]))
        sampling.on_step(i, tokens)
    return tokens


def _propose(
    denoiser: Denoiser, features: Tensor, options: DrawOptions, generator: torch.Generator, score: Score
) -> tuple[Tensor, Tensor]:
    """A token [N] and its score [N] for features [N, D].

    The score sees the model's own distribution, the draw the shaped one.
    """
    ids, scores = [], []
    plain = DrawOptions(sampling_dtype=options.sampling_dtype)
    for _, logits in denoiser.logits(features):
        shaped = probabilities(logits, options)
        drawn = draw(shaped, generator)
        ids.append(drawn)
        scores.append(score(shaped if options == plain else probabilities(logits, plain), drawn))
    return torch.cat(ids), torch.cat(scores)


def reveal(denoiser: Denoiser, tokens: Tensor, chosen: Tensor, t: Tensor, sampling: Sampling) -> Tensor:
    """Draw the chosen positions from the network's prediction.

    Args:
        tokens: ids [B, L].
        chosen: bool [B, L]; only sequences with a chosen position are evaluated.
        t: time, scalar or [B], float64.

    Returns:
        new ids [B, L].
    """
    rows = chosen.any(dim=-1).nonzero().squeeze(-1)
    if len(rows) == 0:
        return tokens
    features = denoiser.features(tokens, rows, t.to(tokens.device).expand(tokens.shape[0])[rows])[chosen[rows]]
    draw_options = DrawOptions.of(sampling.options)
    ids = [draw(probabilities(logits, draw_options), sampling.generator) for _, logits in denoiser.logits(features)]
    return tokens.masked_scatter(chosen, torch.cat(ids))


def best(preference: Tensor, masked: Tensor, count: Tensor) -> Tensor:
    """The `count` [B] masked positions of highest preference [B, L], as bool [B, L]."""
    ranked = preference.masked_fill(~masked, -torch.inf).argsort(dim=-1, descending=True, stable=True)
    rank = torch.empty_like(ranked).scatter_(
        1, ranked, torch.arange(ranked.shape[1], device=ranked.device).expand_as(ranked)
    )
    return (rank < count[:, None]) & masked


def remaining(masked: Tensor, grid: Tensor) -> Tensor:
    """How many masks [steps + 1, B] are left at each point of a grid [steps + 1] that falls from 1 to 0."""
    return torch.floor(masked.sum(-1)[None] * grid.to(masked.device)[:, None] + 1e-9).long()


def _time_of(denoiser: Denoiser, masked: Tensor, initial: Tensor) -> Tensor:
    """The time [B] at which the share of masks now left would be expected; what a time-conditioned network is told."""
    share = masked.sum(-1).double() / initial.clamp(min=1)
    return denoiser.schedule.time_at(share * denoiser.schedule.top())


SCHEDULERS: dict[str, Scheduler] = {
    f.__name__: f for f in (ancestral, euler, ordered, confidence, margin, entropy, first_hitting)
}
