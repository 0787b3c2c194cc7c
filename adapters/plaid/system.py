"""Plaid as a Gaussian system: one evaluation with self-conditioning, score temperature and token guidance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from adapters.base import AdapterError, CountedNetwork, GenerateRequest
from adapters.gaussian.levels import Level
from adapters.gaussian.process import NoiseSchedule, Written
from adapters.plaid.guidance import Guidance, guide
from adapters.plaid.network import PlaidNetwork, prior_scale
from adapters.plaid.readout import Readout
from adapters.plaid.samplers import OWN_SAMPLERS, noise_scale
from adapters.plaid.schedule import PlaidSchedule
from adapters.plaid.wishes import Wish, prompt_shares, read_wishes
from adapters.texts import decode_rows, prompt_rows
from adapters.tokenizers import Tokenizer

#: The authors' own samplers need a state before the last one.
LEAST_OWN_STEPS = 2


@dataclass(frozen=True)
class PlaidOptions:
    """Options of Plaid itself, which every scheduler takes.

    Attributes:
        score_temp: the predicted noise is divided by it; below 1 texts are more typical (upstream sample.py).
        guidance_weight: of each token of a prompt, and of a wish that names none.
        guidance: further wishes, see `adapters.plaid.wishes.read_wishes`.
        force_prompt: put the given tokens into the finished text where others came out.
    """

    score_temp: float = 0.9
    guidance_weight: float = 2.0
    guidance: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    force_prompt: bool = False

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> PlaidOptions:
        """Those among a request's options. Raises `AdapterError` for a value out of range."""
        named = {name: options[name] for name in cls.__dataclass_fields__ if name in options}
        for name in ("score_temp", "guidance_weight"):
            number = named.get(name, 1.0)
            if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
                raise AdapterError(f"{name} must be a number, got '{number}'")
        if named.get("score_temp", 1.0) <= 0:
            raise AdapterError(f"score_temp must be above 0, got {named['score_temp']}")
        if not isinstance(named.get("force_prompt", False), bool):
            raise AdapterError(f"force_prompt must be true or false, got '{named['force_prompt']}'")
        return cls(**named)


class PlaidSystem:
    """A loaded network with its schedule and tokenizer.

    Args:
        network: in eval mode, on its device.
        tokenizer: of as many ids as the network has.
        device: torch device name.
    """

    def __init__(self, network: PlaidNetwork, tokenizer: Tokenizer, device: str) -> None:
        self.network = network
        self.parameter_count = sum(p.numel() for p in network.parameters())
        self.size = network.size
        self.tokenizer = tokenizer
        self.device = device
        self.learned = PlaidSchedule(network)
        self.schedule: NoiseSchedule = self.learned
        self.counted = CountedNetwork(network.model.features, device)
        self.readout = Readout(network)

    def check(self, request: GenerateRequest) -> None:
        """Raise `AdapterError` for an option, a wish or a prompt that cannot be met; computes nothing."""
        options = PlaidOptions.of(request.options)
        self._wishes(options, request.length)
        prompt_rows(request, self.tokenizer, self.size.vocab_size)
        noise_scale(request.options)
        if request.scheduler in OWN_SAMPLERS and request.steps < LEAST_OWN_STEPS:
            raise AdapterError(
                f"{request.scheduler} needs at least {LEAST_OWN_STEPS} steps: with one, the text would be read out of "
                "a state at t = 0 by a network that is told t = 1"
            )

    def begin(self, request: GenerateRequest) -> PlaidProcess:
        """Start a batch."""
        options = PlaidOptions.of(request.options)
        rows = prompt_rows(request, self.tokenizer, self.size.vocab_size).to(self.device)
        given = rows != self.size.vocab_size
        authors = request.scheduler in OWN_SAMPLERS
        wishes = self._wishes(options, request.length)
        guidance = guide(rows, given, float(options.guidance_weight), wishes, authors)
        return PlaidProcess(self, Prompted(rows, given, options.force_prompt), guidance, options, request.trace)

    def _wishes(self, options: PlaidOptions, length: int) -> list[Wish]:
        return read_wishes(options.guidance, self.tokenizer, options.guidance_weight, length)

    def features(self, z: Tensor, gamma: Tensor, previous: Tensor) -> Tensor:
        """One counted evaluation of the whole batch: see `PlaidTransformer.features`."""
        out: Tensor = self.counted(range(len(z)), z, gamma, previous)
        return out


@dataclass(frozen=True)
class Prompted:
    """The prompts of a batch.

    Attributes:
        rows: ids [B, L] on the device, the vocabulary size where nothing is given.
        given: bool [B, L].
        force: put them into the finished text.
    """

    rows: Tensor
    given: Tensor
    force: bool


class PlaidProcess:
    """Generation of one batch.

    Args:
        system: the model.
        prompted: its prompts.
        guidance: what is wanted, None where nothing is.
        options: of this request.
        trace: whether `show` will be called.
    """

    dtype = torch.float64
    left_off: Sequence[int] = ()

    def __init__(
        self,
        system: PlaidSystem,
        prompted: Prompted,
        guidance: Guidance | None,
        options: PlaidOptions,
        trace: bool = False,
    ) -> None:
        batch, length = prompted.rows.shape
        self.shape = (batch, length, system.size.embed_dim)
        self.device = system.device
        self._system = system
        self._prompted = prompted
        self._guidance = guidance
        self._temperature = float(options.score_temp)
        self._trace = trace
        self.previous = torch.zeros(self.shape, device=self.device)
        self._ids = torch.zeros(batch * length, dtype=torch.int64, device=self.device)

    def denoise(self, z: Tensor, level: Level) -> Tensor:
        """The clean embeddings [B, L, e] as the score tempered and guided says, float64; where `last` is set those of
        the network itself, whose likeliest tokens become the text.

        What the network is told of its previous prediction is that prediction, neither tempered nor guided.
        """
        state = z.float()
        # The authors round gamma to float32 in sampling; the fastest sinusoid shows it.
        gamma = torch.full((len(z),), level.gamma, dtype=torch.float32, device=z.device)
        push = None
        if self._guidance is not None and not level.last:
            prediction, push = self.guided(state, gamma)
        else:
            prediction = self._plain(state, gamma, level.last or self._trace)
        self.previous = prediction
        z_0 = prediction.to(z.dtype)
        if level.last:
            return z_0
        noise = (z - level.alpha * z_0) / level.sigma / self._temperature
        z_0 = (z - level.sigma * noise) / level.alpha
        return z_0 if push is None else z_0 + push.to(z.dtype) * (level.sigma**2 / level.alpha)

    def _plain(self, state: Tensor, gamma: Tensor, decode: bool) -> Tensor:
        features = self._system.features(state, gamma, self.previous)
        with self._system.counted.timed():
            inputs = self._system.readout.inputs(features, state, gamma)
            return self._system.readout.predict(inputs, self._ids if decode else None).view(self.shape)

    def guided(self, state: Tensor, gamma: Tensor) -> tuple[Tensor, Tensor]:
        """The prediction, and the gradient of the guidance with respect to the state [B, L, e], float32."""
        guidance, readout = self._guidance, self._system.readout
        assert guidance is not None
        with torch.enable_grad():
            state = state.requires_grad_()
            features = self._system.features(state, gamma, self.previous)
        with self._system.counted.timed():
            inputs = readout.inputs(features.detach(), state.detach(), gamma)
            gradient, there = guidance.pull(readout, inputs[guidance.positions])
            onto = torch.zeros_like(inputs).index_copy_(0, guidance.positions, gradient).view(*self.shape[:2], -1)
            prediction = self._predict_beside(inputs, guidance.positions, there)
            through = torch.autograd.grad(features, state, onto[..., : readout.width])[0]
        prior = prior_scale(gamma)[:, None, None] * onto[..., readout.width :]
        return prediction.view(self.shape), through + prior

    def _predict_beside(self, inputs: Tensor, positions: Tensor, there: Tensor) -> Tensor:
        """The prediction [B * L, e]: `there` [N, e] at some positions [N], computed at the others."""
        readout = self._system.readout
        if self._trace:
            return readout.predict(inputs, self._ids)
        prediction = torch.empty(len(inputs), there.shape[1], device=inputs.device)
        prediction[positions] = there
        elsewhere = torch.ones(len(inputs), dtype=torch.bool, device=inputs.device)
        elsewhere[positions] = False
        if elsewhere.any():
            prediction[elsewhere] = readout.predict(inputs[elsewhere])
        return prediction

    @property
    def _tokens(self) -> Tensor:
        return self._ids.view(self.shape[:2])

    def show(self, z_0: Tensor) -> tuple[list[list[int]], list[str]]:
        """Ids and texts of the latest prediction."""
        return self._tokens.tolist(), decode_rows(self._system.tokenizer, self._tokens)

    def finish(self, z_0: Tensor) -> Written:
        """The likeliest tokens of the last evaluation."""
        rows, given = self._prompted.rows, self._prompted.given
        tokens = torch.where(given, rows, self._tokens) if self._prompted.force else self._tokens
        return Written(
            tokens=tokens.tolist(),
            texts=decode_rows(self._system.tokenizer, tokens),
            own=(~given).tolist(),
            prompt_kept=prompt_shares(self._tokens, rows, given),
        )
