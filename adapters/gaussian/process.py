"""The one view that schedulers have of a Gaussian model: a denoiser over states of one batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from adapters.base import CountedNetwork, GenerateRequest
from adapters.gaussian.levels import Level
from adapters.tokenizers import Tokenizer

#: z_0 predicted from a state at a level: (z [B, L, D], level) -> [B, L, D] of the same dtype. z is variance preserving.
Denoise = Callable[[Tensor, Level], Tensor]
#: Called with the index of a step and the prediction made in it.
OnStep = Callable[[int, Tensor], None]


class NoiseSchedule(Protocol):
    """Noise as log-SNR. t = 1 is pure noise, t = 0 the least noisy level the network was trained at."""

    @property
    def max_steps(self) -> int | None:
        """Number of levels of a model trained in discrete time; None for continuous time."""

    def gamma(self, t: Tensor) -> Tensor:
        """-log SNR at times [N]; float64 on the CPU, increasing in t."""

    def time(self, gamma: Tensor) -> Tensor:
        """Inverse of `gamma`."""


@dataclass(frozen=True)
class Written:
    """A finished batch.

    Attributes:
        tokens: B lists of L ids, given ones included.
        texts: B texts; for seq2seq the written text alone, without special tokens.
        own: B lists of L, which positions the model wrote; prompt, source and padding excluded.
        prompt_kept: see `GenerateResult`; of models whose prompts are soft.
    """

    tokens: list[list[int]]
    texts: list[str]
    own: list[list[bool]]
    prompt_kept: list[float | None] = field(default_factory=list)

    @property
    def generated_tokens(self) -> list[int]:
        """How many tokens of each sequence the model wrote."""
        return [sum(row) for row in self.own]


class Process(Protocol):
    """Generation of one batch: what is given of it, and whatever the model remembers between steps.

    `denoise` does all that concerns the model: it puts given positions (clean source embeddings) into the state before
    the network and into the prediction after it, feeds and keeps the self-conditioning, applies score temperature,
    guidance and rounding. So every scheduler works for every model and every task.
    """

    @property
    def shape(self) -> tuple[int, int, int]:
        """B, L, D of the state."""

    @property
    def dtype(self) -> torch.dtype:
        """Of the state."""

    @property
    def device(self) -> str:
        """Of the state, and of the generator that draws noise."""

    @property
    def left_off(self) -> Sequence[int]:
        """Tokens of each prompt that there was no room for; empty where there are none."""

    def denoise(self, z: Tensor, level: Level) -> Tensor:
        """One evaluation of the network: z_0 [B, L, D] in the dtype of the state, nothing of `z` changed."""

    def show(self, z_0: Tensor) -> tuple[list[list[int]], list[str]]:
        """The latest prediction as rows of ids [B][L] and their texts, for a trace."""

    def finish(self, z_0: Tensor) -> Written:
        """The texts of the last prediction, made at a level with `last` set."""


class GaussianSystem(Protocol):
    """What a model folder implements: a network with its schedule, tokenizer and conditioning."""

    @property
    def schedule(self) -> NoiseSchedule: ...

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def counted(self) -> CountedNetwork: ...

    @property
    def device(self) -> str: ...

    @property
    def parameter_count(self) -> int: ...

    def check(self, request: GenerateRequest) -> None:
        """Raise `AdapterError` for what the model cannot meet of its own options, its own samplers' and the prompts.

        Task, scheduler, length, steps and the family's options are checked already. Computes nothing.
        """

    def begin(self, request: GenerateRequest) -> Process:
        """Start a batch. Called in `torch.no_grad`, as is all that follows: guidance may turn gradients on."""


@dataclass(frozen=True)
class Sampling:
    """How a scheduler is to sample.

    Attributes:
        levels: falling noise levels, one for each step; the last one has `last` set. Empty for an `OwnSampler`.
        generator: source of all randomness, on the state's device.
        options: the scheduler's options.
        on_step: called with the index of each level and the prediction made there.
    """

    levels: Sequence[Level]
    generator: torch.Generator
    options: Mapping[str, Any] = field(default_factory=dict)
    on_step: OnStep = lambda step, z_0: None


#: (denoise, z at levels[0], sampling) -> the prediction made at the last level.
Scheduler = Callable[[Denoise, Tensor, Sampling], Tensor]
#: (process, schedule, steps, sampling) -> the prediction that `Process.finish` reads out. A sampler that only one model
#: has: it makes its own noise and its own levels, and may use all that the model's own kind of `Process` has.
OwnSampler = Callable[[Any, NoiseSchedule, int, Sampling], Tensor]
