"""`Model` for every network of the Gaussian family."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from adapters.base import (
    AdapterError,
    CountedNetwork,
    GenerateRequest,
    GenerateResult,
    LikelihoodRequest,
    LikelihoodResult,
    Model,
)
from adapters.estimates import Estimate
from adapters.gaussian.grids import levels
from adapters.gaussian.process import GaussianSystem, OnStep, OwnSampler, Process, Sampling
from adapters.gaussian.samplers import SCHEDULERS, check_options, grid_of
from adapters.texts import bounds_of_texts
from adapters.traces import Tracer

#: (ids [R, L] on the model's device, draws a sequence, generator) -> bounds in nats a sequence.
Estimator = Callable[[Tensor, int, torch.Generator], Estimate]


class GaussianModel(Model):
    """A Gaussian diffusion model behind the common interface.

    Args:
        system: network, noise schedule, tokenizer and conditioning.
        own_samplers: samplers that only this model has, by name, beside the family's.
        estimators: likelihood estimators by name; the first is the default; empty where the model has no bound.
        tasks: accepted tasks.
        max_length: longest sequence in tokens the network was made for, None where unlimited.
        default_length: tokens to generate when the user names no length.
        notes: remarks for the rows of this checkpoint.
    """

    def __init__(
        self,
        system: GaussianSystem,
        own_samplers: Mapping[str, OwnSampler],
        estimators: Mapping[str, Estimator],
        tasks: Sequence[str],
        max_length: int | None,
        default_length: int,
        notes: Sequence[str] = (),
    ) -> None:
        self.system = system
        self.tokenizer = system.tokenizer
        self.own_samplers = own_samplers
        self.estimators = estimators
        self.tasks = tasks
        self.max_length = max_length
        self.default_length = default_length
        self.parameter_count = system.parameter_count
        self.notes = notes

    @property
    def networks(self) -> list[CountedNetwork]:
        return [self.system.counted]

    def check(self, request: GenerateRequest) -> None:
        names = sorted([*SCHEDULERS, *self.own_samplers])
        if request.task not in self.tasks:
            raise AdapterError(f"task '{request.task}' is not one of {', '.join(self.tasks)}")
        if request.scheduler not in names:
            raise AdapterError(f"scheduler '{request.scheduler}' is not one of {', '.join(names)}")
        if request.length < 1 or (self.max_length is not None and request.length > self.max_length):
            longest = self.max_length or "any"
            raise AdapterError(f"length {request.length} is outside 1..{longest}, what this checkpoint was trained for")
        most = self.system.schedule.max_steps
        if request.steps < 1 or (most is not None and request.steps > most):
            raise AdapterError(f"steps {request.steps} is outside 1..{most or 'any'} for this checkpoint")
        if request.scheduler not in self.own_samplers:
            check_options(request.scheduler, request.options)
        self.system.check(request)

    # Not inference_mode: guidance needs gradients through the network, which that would forbid.
    @torch.no_grad()
    def generate(self, request: GenerateRequest) -> GenerateResult:
        self.check(request)
        self.system.counted.reset(request.count)
        process = self.system.begin(request)
        tracer = Tracer(request.steps if request.trace else 0, process.show)
        written = process.finish(self._sample(process, request, tracer.on_step))
        return GenerateResult(
            tokens=written.tokens,
            texts=written.texts,
            nfe=list(self.system.counted.nfe),
            generated_tokens=written.generated_tokens,
            trace=tracer.result(written.tokens, written.texts, written.own),
            left_off=list(process.left_off),
            prompt_kept=written.prompt_kept,
        )

    def _sample(self, process: Process, request: GenerateRequest, on_step: OnStep) -> Tensor:
        """The last prediction [B, L, D]."""
        generator = torch.Generator(process.device).manual_seed(request.seed)
        schedule = self.system.schedule
        if request.scheduler in self.own_samplers:
            sampling = Sampling((), generator, request.options, on_step)
            return self.own_samplers[request.scheduler](process, schedule, request.steps, sampling)
        path = levels(schedule, request.steps, grid_of(request.scheduler, request.options))
        z = torch.randn(process.shape, generator=generator, dtype=process.dtype, device=process.device)
        sampling = Sampling(path, generator, request.options, on_step)
        return SCHEDULERS[request.scheduler](process.denoise, z, sampling)

    @torch.no_grad()
    def likelihood(self, request: LikelihoodRequest) -> LikelihoodResult:
        generator = torch.Generator(self.system.device).manual_seed(request.seed)

        def score(tokens: Tensor, draws: int) -> tuple[Tensor, Tensor, Mapping[str, Tensor]]:
            estimate = self.estimators[request.estimator](tokens.to(self.system.device), draws, generator)
            return estimate.nats, estimate.standard_error, estimate.terms

        return bounds_of_texts(
            request, list(self.estimators), score, self.system.counted, self.system.tokenizer, self.max_length
        )
