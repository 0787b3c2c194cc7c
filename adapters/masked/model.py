"""`Model` for every network of the masked family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from adapters.base import (
    TEXT_TASKS,
    AdapterError,
    CountedNetwork,
    GenerateRequest,
    GenerateResult,
    LikelihoodRequest,
    LikelihoodResult,
    Model,
)
from adapters.masked.denoiser import Denoiser, seeded
from adapters.masked.draws import DrawOptions
from adapters.masked.likelihood import Estimator
from adapters.masked.samplers import SCHEDULERS, Sampling, Scheduler
from adapters.texts import bounds_of_texts, check_vocabulary, decode_rows, prompt_rows
from adapters.tokenizers import Tokenizer
from adapters.traces import Tracer


class MaskedModel(Model):
    """A masked-diffusion model behind the common interface.

    Args:
        denoiser: network and noise schedule.
        tokenizer: ids 0..V-1; the mask is id V.
        schedulers: samplers that only this model has, beside the family's.
        estimators: likelihood estimators by name; the first is the default.
        max_length: longest sequence in tokens the network was made for, None where unlimited.
        default_length: tokens to generate when the user names no length.
        notes: remarks for the rows of this checkpoint.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        tokenizer: Tokenizer,
        schedulers: Mapping[str, Scheduler],
        estimators: Mapping[str, Estimator],
        max_length: int | None,
        default_length: int,
        notes: Sequence[str] = (),
    ) -> None:
        check_vocabulary(tokenizer, denoiser.mask_id)
        self.denoiser = denoiser
        self.tokenizer = tokenizer
        self.schedulers = {**SCHEDULERS, **schedulers}
        self.estimators = estimators
        self.max_length = max_length
        self.default_length = default_length
        self.parameter_count = sum(p.numel() for p in denoiser.network.parameters())
        self.notes = notes

    @property
    def networks(self) -> list[CountedNetwork]:
        return [self.denoiser.counted]

    def same_as(self, scheduler: str) -> str | None:
        """Under a linear schedule Euler and ancestral reveal with the same probability (t - s) / t."""
        return "ancestral" if scheduler == "euler" and self.denoiser.schedule.linear else None

    def check(self, request: GenerateRequest) -> None:
        if request.task not in TEXT_TASKS:
            raise AdapterError(f"task '{request.task}' is not one of {', '.join(TEXT_TASKS)}")
        if request.scheduler not in self.schedulers:
            raise AdapterError(f"scheduler '{request.scheduler}' is not one of {', '.join(sorted(self.schedulers))}")
        if self.max_length and not 1 <= request.length <= self.max_length:
            raise AdapterError(
                f"length {request.length} is outside 1..{self.max_length}, what this checkpoint was trained for"
            )
        most = self.denoiser.schedule.max_steps
        if request.steps < 1 or (most is not None and request.steps > most):
            raise AdapterError(f"steps {request.steps} is outside 1..{most or 'any'} for this checkpoint")
        DrawOptions.of(request.options)

    @torch.inference_mode()
    def generate(self, request: GenerateRequest) -> GenerateResult:
        self.check(request)
        tokens = prompt_rows(request, self.tokenizer, self.denoiser.mask_id).to(self.denoiser.device)
        written = tokens == self.denoiser.mask_id
        self.denoiser.counted.reset(request.count)
        tracer = Tracer(request.steps if request.trace else 0, self._read, self.denoiser.mask_id)
        tracer.start(tokens)
        sampler = self.schedulers[request.scheduler]
        generator = seeded(request.seed, self.denoiser.device)
        sampling = Sampling(request.steps, generator, request.options, tracer.on_step)
        rows, texts = self._read(sampler(self.denoiser, tokens, sampling))
        return GenerateResult(
            tokens=rows,
            texts=texts,
            nfe=list(self.denoiser.counted.nfe),
            generated_tokens=written.sum(-1).tolist(),
            trace=tracer.result(rows, texts, written.tolist()),
        )

    def _read(self, tokens: Tensor) -> tuple[list[list[int]], list[str]]:
        """Rows of ids [B][L] and their texts."""
        return tokens.tolist(), decode_rows(self.tokenizer, tokens)

    @torch.inference_mode()
    def likelihood(self, request: LikelihoodRequest) -> LikelihoodResult:
        generator = seeded(request.seed, self.denoiser.device)

        def score(tokens: Tensor, draws: int) -> tuple[Tensor, Tensor, Mapping[str, Tensor]]:
            estimator = self.estimators[request.estimator]
            estimate = estimator(self.denoiser, tokens.to(self.denoiser.device), draws, generator)
            return estimate.nats, estimate.standard_error, estimate.terms

        return bounds_of_texts(
            request, list(self.estimators), score, self.denoiser.counted, self.tokenizer, self.max_length
        )
