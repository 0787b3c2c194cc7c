"""RADD's own samplers (upstream sampling.py and catsample.py), arithmetic and quirks included.

For the same random stream they give the authors' tokens. The family's `ancestral` and `ordered` are the sound versions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from adapters.base import AdapterError
from adapters.masked.denoiser import Denoiser
from adapters.masked.draws import draw, falling_values, keep_largest
from adapters.masked.samplers import ORDERS, Sampling
from adapters.masked.schedules import Schedule

METHODS = ("tweedie", "euler")
STRATEGIES = ("direct", "top_p", "top_k")
DTYPES = {"float16": torch.float16, "float32": torch.float32}
#: The authors' grid ends here instead of at 0.
TIME_END = 1e-5
#: Chance of leaving the mask in the last step. Above 1, so that the mask's own weight is negative and never wins.
LAST_CHANCE = 1 + 1e-3


@dataclass(frozen=True)
class RaddOptions:
    """Options of the two samplers.

    Attributes:
        strategy: "direct", "top_p" or "top_k".
        strategy_para: p of top_p (0 < p <= 1), or k of top_k (a whole number); unused by "direct".
        sampler_dtype: arithmetic of the stored predictions. "float16" is what the authors run: entries below 2^-25
            vanish, so rare tokens cannot be drawn (more so with more steps). "float32" keeps them.
        method: "tweedie" or "euler"; `radd_direct` only.
        order: "forward", "backward" or "random"; `radd_ordered` only.
    """

    strategy: str = "direct"
    strategy_para: float = 0.8
    sampler_dtype: str = "float16"
    method: str = "tweedie"
    order: str = "forward"

    def __post_init__(self) -> None:
        choices = (
            ("strategy", self.strategy, STRATEGIES),
            ("sampler_dtype", self.sampler_dtype, tuple(DTYPES)),
            ("method", self.method, METHODS),
            ("order", self.order, ORDERS),
        )
        for name, value, known in choices:
            if value not in known:
                raise AdapterError(f"{name} '{value}' is not one of {', '.join(known)}")
        para = self.strategy_para
        if self.strategy == "top_p" and not 0 < para <= 1:
            raise AdapterError(f"strategy_para is p for top_p and must be above 0 and at most 1, got {para}")
        if self.strategy == "top_k" and (para < 1 or para != int(para)):
            raise AdapterError(f"strategy_para is k for top_k and must be a whole number of at least 1, got {para}")

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> RaddOptions:
        """These options among all of a request's."""
        return cls(**{name: options[name] for name in cls.__dataclass_fields__ if name in options})


def leave_chance(schedule: Schedule, t: Tensor, dt: float, method: str) -> Tensor:
    """Probability that a masked position leaves the mask in the step from t to t - dt.

    Args:
        schedule: the noise.
        t: time, any shape, in the dtype to compute in (the authors use float32).
        dt: step size.
        method: "tweedie" gives (e^-sigma(t-dt) - e^-sigma(t)) / (1 - e^-sigma(t)); "euler" gives
            dt sigma'(t) e^-sigma(t) / (1 - e^-sigma(t)), which may exceed 1 (upstream sampling.py, get_update_rate).
    """
    kept = torch.exp(-schedule.sigma(t))
    if method == "euler":
        return dt * schedule.rate(t) * kept / (1 - kept)
    return (torch.exp(-schedule.sigma(t - dt)) - kept) / (1 - kept)


def joint_weights(probs: Tensor, chance: Tensor | float) -> Tensor:
    """Unnormalised weights of one step: each token by its probability times the chance, the mask by the rest.

    Args:
        probs: token probabilities [N, V + 1] in the sampler's dtype; the last column, the mask's, is ignored.
        chance: of leaving the mask; a number or a 0-dim tensor, so the product is rounded to the dtype of `probs`.

    Returns:
        [N, V + 1] float32.
    """
    weights = probs * chance
    weights[:, -1] = 1 - chance
    return weights.float()


def draw_with_strategy(logits: Tensor, strategy: str, para: float, generator: torch.Generator) -> Tensor:
    """One class [N] a row of logits [N, C], computed in the dtype of the logits (upstream catsample.py).

    top_p keeps the classes whose predecessors in falling order sum to at most p; ties fall as `torch.sort` leaves them.
    """
    if strategy == "top_k":
        # The authors' k may exceed the number of classes nowhere but here, where vocabularies are small.
        best, classes = logits.topk(min(int(para), logits.shape[-1]), dim=-1)
        winner = draw(best.softmax(-1).float(), generator)
        return classes.gather(-1, winner[:, None]).squeeze(-1)
    probs = logits.softmax(-1)
    if strategy == "top_p":
        ranked = falling_values(probs)
        beyond = ranked.cumsum(-1)[:, :-1] > para
        probs = keep_largest(probs, ranked, 1 + (~beyond).sum(-1, keepdim=True), stable=False)
        probs = probs / probs.sum(-1, keepdim=True)
    return draw(probs.float(), generator)


def radd_direct(denoiser: Denoiser, tokens: Tensor, sampling: Sampling) -> Tensor:
    """The authors' DiffusionSampler: every masked position leaves the mask independently in each step.

    A sequence is evaluated again only after it changed, so evaluations are 1 + its changes before the last step. With
    the strategies "top_p" and "top_k" the mask can be drawn, in the last step too, so masks may be left over.

    Args:
        denoiser: the network with its schedule.
        tokens: ids [B, L]; what is no mask stays.
        sampling: with N steps the grid has N + 1 times from 1 to 1e-5; options see `RaddOptions`. "direct" draws
            [masks, V + 1] uniforms a step, the other strategies [B, L], then the race.

    Raises:
        AdapterError: for an option it does not have.
    """
    chosen = RaddOptions.of(sampling.options)
    if chosen.strategy == "direct":
        return _leave_jointly(denoiser, tokens, chosen, sampling)
    return _leave_then_draw(denoiser, tokens, chosen, sampling)


def _leave_jointly(denoiser: Denoiser, tokens: Tensor, options: RaddOptions, sampling: Sampling) -> Tensor:
    """One race a masked position between all tokens and staying masked."""
    changes = _Changes(tokens)
    # Probabilities of the masked positions; rows of what was written in the meantime are left as they are.
    shape = (tokens.numel(), denoiser.mask_id + 1)
    probs = torch.empty(shape, dtype=DTYPES[options.sampler_dtype], device=tokens.device)
    times, dt = _grid(sampling.steps, tokens.device)
    for i in range(sampling.steps):
        chance = (
            leave_chance(denoiser.schedule, times[i], dt, options.method) if i < sampling.steps - 1 else LAST_CHANCE
        )
        masked = tokens == denoiser.mask_id
        rows = changes.rows(tokens)
        if len(rows):
            stale = torch.zeros_like(masked).index_fill(0, rows, True) & masked
            features = _features(denoiser, tokens, rows, times[i])[masked[rows]]
            _store_probabilities(denoiser, features, probs, stale.flatten().nonzero().squeeze(-1))
        positions = masked.flatten().nonzero().squeeze(-1)
        ids = torch.empty_like(positions)
        for piece in denoiser.pieces(len(positions)):
            ids[piece] = draw(joint_weights(probs[positions[piece]], chance), sampling.generator)
        tokens = tokens.masked_scatter(masked, ids)
        sampling.on_step(i, tokens)
    return tokens


def _store_probabilities(denoiser: Denoiser, features: Tensor, probs: Tensor, positions: Tensor) -> None:
    """Write the token probabilities at features [N, D] into the rows `positions` [N] of probs [., V + 1]. The mask
    column is meaningless."""
    for piece, logits in denoiser.logits(features, denoiser.mask_id + 1):
        # The rounding of the log-probabilities, before the exponential, is the authors' too.
        logits[:, :-1] = logits[:, :-1].log_softmax(-1)
        probs[positions[piece]] = logits.to(probs.dtype).exp_()


def _leave_then_draw(denoiser: Denoiser, tokens: Tensor, options: RaddOptions, sampling: Sampling) -> Tensor:
    """First which positions leave the mask, then their class, the mask being one."""
    changes = _Changes(tokens)
    features: Tensor | None = None
    times, dt = _grid(sampling.steps, tokens.device)
    for i in range(sampling.steps):
        chance = leave_chance(denoiser.schedule, times[i], dt, options.method)
        rows = changes.rows(tokens)
        if features is None:
            features = _features(denoiser, tokens, rows, times[i])
        elif len(rows):
            features[rows] = _features(denoiser, tokens, rows, times[i])
        leaving = tokens == denoiser.mask_id
        if i < sampling.steps - 1:
            leaving &= torch.rand(tokens.shape, generator=sampling.generator, device=tokens.device) < chance
        ids = _draw_pieces(denoiser, features[leaving], denoiser.mask_id + 1, options, sampling.generator)
        tokens = tokens.masked_scatter(leaving, ids)
        sampling.on_step(i, tokens)
    return tokens


def _draw_pieces(
    denoiser: Denoiser, features: Tensor, classes: int, options: RaddOptions, generator: torch.Generator
) -> Tensor:
    """One class [N] at each of the features [N, D], in the sampler's dtype."""
    ids = torch.empty(len(features), dtype=torch.int64, device=features.device)
    for piece, logits in denoiser.logits(features, classes):
        logits = logits.to(DTYPES[options.sampler_dtype])
        ids[piece] = draw_with_strategy(logits, options.strategy, options.strategy_para, generator)
    return ids


def radd_ordered(denoiser: Denoiser, tokens: Tensor, sampling: Sampling) -> Tensor:
    """The authors' OrderedSampler: one position a step, one evaluation a step, nothing reused, the mask never drawn.

    Args:
        denoiser: the network with its schedule.
        tokens: ids [B, L], all masks.
        sampling: at most L steps (with fewer, masks are left); options see `RaddOptions`, where the order "random" is
            drawn once for the whole batch.

    Raises:
        AdapterError: for given tokens (the authors' code overwrites them), more steps than tokens, or a bad option.
    """
    chosen = RaddOptions.of(sampling.options)
    batch, length = tokens.shape
    if sampling.steps > length:
        raise AdapterError(
            f"radd_ordered writes one token a step: steps {sampling.steps} is more than the length {length}"
        )
    if (tokens != denoiser.mask_id).any():
        raise AdapterError("radd_ordered overwrites given tokens, so it has no prefix or infill task: use 'ordered'")
    order = _order(chosen.order, length, sampling.generator)
    rows = torch.arange(batch, device=tokens.device)
    time = torch.ones(batch, dtype=torch.float64, device=tokens.device)
    tokens = tokens.clone()
    for i in range(sampling.steps):
        features = denoiser.features(tokens, rows, time)[:, order[i]]
        tokens[:, order[i]] = _draw_pieces(denoiser, features, denoiser.mask_id, chosen, sampling.generator)
        sampling.on_step(i, tokens)
    return tokens


def _order(name: str, length: int, generator: torch.Generator) -> Tensor:
    if name == "random":
        return torch.randperm(length, generator=generator, device=generator.device)
    order = torch.arange(length)
    return order if name == "forward" else order.flip(0)


def _grid(steps: int, device: torch.device) -> tuple[Tensor, float]:
    """The authors' N + 1 times in float32, and the step size."""
    return torch.linspace(1, TIME_END, steps + 1, device=device), (1 - TIME_END) / steps


def _features(denoiser: Denoiser, tokens: Tensor, rows: Tensor, t: Tensor) -> Tensor:
    return denoiser.features(tokens, rows, t.double().expand(len(rows)))


class _Changes:
    """Which sequences changed since they were last evaluated; at first all of them."""

    def __init__(self, tokens: Tensor) -> None:
        self._seen = torch.full_like(tokens, -1)

    def rows(self, tokens: Tensor) -> Tensor:
        """Indices of the changed sequences of ids [B, L], which count as evaluated from here on."""
        changed = (tokens != self._seen).any(dim=-1)
        self._seen = tokens
        return changed.nonzero().squeeze(-1)
