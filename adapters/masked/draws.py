"""Categorical draws: temperature, top-k, top-p, and the arithmetic they are made in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adapters.base import AdapterError

SAMPLING_DTYPES = ("float64", "native")


@dataclass(frozen=True)
class DrawOptions:
    """How a token is drawn from logits.

    Attributes:
        temperature: logits are divided by it; 0 means the most probable token.
        top_p: smallest set of tokens whose probability reaches this (nucleus sampling, arXiv 1904.09751); 1 keeps all.
        top_k: keep the k most probable tokens; 0 keeps all.
        sampling_dtype: "float64" draws by inverse CDF in float64; "native" races Gumbel noise in the network's own
            dtype, as SEDD, MDLM and RADD do, which loses rare tokens (arXiv 2409.02908).
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    sampling_dtype: str = "float64"

    def __post_init__(self) -> None:
        for name in ("temperature", "top_p", "top_k"):
            if isinstance(getattr(self, name), bool) or not isinstance(getattr(self, name), (int, float)):
                raise AdapterError(f"{name} must be a number, got '{getattr(self, name)}'")
        if self.temperature < 0:
            raise AdapterError(f"temperature must be 0 or more, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise AdapterError(f"top_p must be above 0 and at most 1, got {self.top_p}")
        if self.top_k < 0 or self.top_k != int(self.top_k):
            raise AdapterError(f"top_k must be a whole number, 0 or more, got {self.top_k}")
        if self.sampling_dtype not in SAMPLING_DTYPES:
            raise AdapterError(f"sampling_dtype must be one of {', '.join(SAMPLING_DTYPES)}, got {self.sampling_dtype}")

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> DrawOptions:
        """The draw options among a scheduler's options."""
        return cls(**{name: options[name] for name in cls.__dataclass_fields__ if name in options})


def probabilities(logits: Tensor, options: DrawOptions) -> Tensor:
    """Token probabilities [N, V] from logits [N, V] after temperature, top-k and top-p, in the sampling dtype."""
    if options.sampling_dtype == "float64":
        logits = logits.double()
    if options.temperature == 0:
        return torch.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype)
    if options.temperature != 1:
        logits = logits / options.temperature
    if 0 < options.top_k < logits.shape[-1]:
        threshold = logits.topk(options.top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < threshold, -torch.inf)
    probs = logits.softmax(dim=-1)
    return _nucleus(probs, options.top_p) if options.top_p < 1 else probs


def _nucleus(probs: Tensor, top_p: float) -> Tensor:
    ranked = falling_values(probs)
    before = ranked.cumsum(dim=-1) - ranked
    kept = keep_largest(probs, ranked, (before < top_p).sum(-1, keepdim=True))
    return kept / kept.sum(dim=-1, keepdim=True)


def falling_values(probs: Tensor) -> Tensor:
    """Each row of [N, V] sorted from the largest down, without the order, which is what takes the time: on a CPU torch
    needs some 30 times as long for both as numpy for the values."""
    if probs.device.type != "cpu":
        return probs.sort(dim=-1, descending=True).values
    known = probs if probs.dtype == torch.float64 else probs.float()
    return torch.from_numpy(np.sort(known.numpy(), axis=-1)).flip(-1).to(probs.dtype)


def keep_largest(probs: Tensor, ranked: Tensor, count: Tensor, stable: bool = True) -> Tensor:
    """Rows [N, V] with all but the `count` [N, 1] largest set to 0.

    Args:
        probs: [N, V].
        ranked: `falling_values(probs)`.
        count: int64, at least 1.
        stable: which of equal ones are kept where not all are: the first, or those that torch's unstable sort puts
            first. Only rows with such a tie are sorted with their order.
    """
    kept = probs >= ranked.gather(-1, count - 1)
    tied = (kept.sum(-1, keepdim=True) > count).flatten().nonzero().squeeze(-1)
    if len(tied):
        order = probs[tied].sort(dim=-1, descending=True, stable=stable).indices
        within = torch.arange(order.shape[-1], device=order.device) < count[tied]
        kept[tied] = torch.zeros_like(within).scatter(-1, order, within)
    return probs.masked_fill(~kept, 0)


def draw(probs: Tensor, generator: torch.Generator) -> Tensor:
    """One token [N] a row of probabilities [N, V]: inverse CDF in float64, a Gumbel race in any other dtype."""
    if probs.dtype != torch.float64:
        noise = torch.rand(probs.shape, generator=generator, device=probs.device, dtype=probs.dtype)
        gumbel = noise.add_(1e-10).log_().neg_().add_(1e-10)
        return torch.div(probs, gumbel, out=gumbel).argmax(dim=-1)
    cdf = probs.cumsum(dim=-1)
    total = cdf[..., -1:]
    u = torch.rand(total.shape, generator=generator, device=probs.device, dtype=torch.float64) * total
    # u * total may round up to total itself, which would fall behind the last token with any probability.
    u = torch.minimum(u, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cdf, u, right=True).squeeze(-1)
