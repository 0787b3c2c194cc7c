"""Our twin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from adapters.base import CountedNetwork, LoadSpec
from adapters.tokenizers import Text8Tokenizer
from adapters.upstream import UpstreamModel


class Twin(UpstreamModel):
    def __init__(self, forward: Callable[[Tensor], Tensor]) -> None:
        super().__init__(
            name="twin",
            tokenizer=Text8Tokenizer(),
            mask_id=27,
            counted=CountedNetwork(forward),
            device="cpu",
            length=12,
            parameter_count=1,
            tasks=["unconditional", "prefix"],
            schedulers=["twin_draw"],
            estimators=["twin_bound"],
            notes=["doubles"],
        )

    def sample(self, tokens: Tensor, steps: int, scheduler: str, options: Mapping[str, Any], seed: int) -> Tensor:
        torch.manual_seed(seed)
        for _ in range(steps):
            factor = self.counted(range(len(tokens)), torch.ones(len(tokens)))[:, None]
        drawn = (torch.rand(tokens.shape) * 13 * factor).long()
        return torch.where(tokens == self.mask_id, drawn, tokens)

    def score(self, tokens: Tensor, estimator: str, draws: int) -> tuple[Tensor, Tensor]:
        nats = self.counted(range(len(tokens)), tokens.double()).sum(-1)
        return nats, torch.full_like(nats, float("nan") if draws == 1 else 0.5)


def load(spec: LoadSpec) -> Twin:
    return Twin(lambda x: 2 * x)
