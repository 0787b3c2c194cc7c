"""GPT-2 behind the common interface, and its training loss."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import DynamicCache, GPT2LMHeadModel

from adapters.base import (
    AdapterError,
    CountedNetwork,
    GenerateRequest,
    GenerateResult,
    LikelihoodRequest,
    LikelihoodResult,
    LoadSpec,
    Model,
    Trainable,
    TrainBatch,
    TrainSpec,
)
from adapters.gpt2.checkpoint import DTYPES, fresh_network, load_network, save_folder, start_token
from adapters.masked.denoiser import LOGIT_BLOCK, seeded
from adapters.masked.draws import DrawOptions, draw, probabilities
from adapters.texts import WindowSums, decode_rows, prompt_rows, windows_of
from adapters.tokenizers import Tokenizer, load_tokenizer
from adapters.traces import Tracer

SCHEDULER = "autoregressive"
ESTIMATOR = "exact"
TASKS = ("unconditional", "prefix")


def load(spec: LoadSpec) -> Model:
    """Load a checkpoint. Raises `CheckpointError` for a bad one, `AdapterError` for a tokenizer that is not its own."""
    if spec.checkpoint is None:
        raise AdapterError("gpt2 needs a checkpoint: name one, or give a folder.")
    if spec.dtype not in DTYPES:
        raise AdapterError(f"gpt2 computes in {', '.join(DTYPES)}, not in '{spec.dtype}'.")
    network = load_network(spec.checkpoint, spec.device, spec.dtype)
    tokenizer = load_tokenizer(spec.tokenizer, spec.checkpoint)
    return Gpt2Model(network, tokenizer, start_token(network, spec.checkpoint), spec.device)


class Gpt2Model(Model):
    """An autoregressive model behind the common interface.

    Args:
        network: in eval mode, on its device.
        tokenizer: ids 0..V-1; further ids of the network (a start token of its own) are never drawn.
        bos: id in front of every sequence.
        device: torch device name.
    """

    def __init__(self, network: GPT2LMHeadModel, tokenizer: Tokenizer, bos: int, device: str = "cpu") -> None:
        size = int(network.config.vocab_size)
        if not size - 1 <= tokenizer.vocab_size <= size:
            raise AdapterError(
                f"the tokenizer has {tokenizer.vocab_size} ids but the network knows {size}; name the right one"
            )
        self._network = network
        self._tokenizer = tokenizer
        self._bos = bos
        self._device = device
        self._counted = CountedNetwork(self._logits, device)
        self._window = int(network.config.n_positions)
        self.max_length = self.default_length = self._window
        self.parameter_count = sum(p.numel() for p in network.parameters())

    @property
    def networks(self) -> list[CountedNetwork]:
        return [self._counted]

    def _logits(self, ids: Tensor, cache: DynamicCache | None, keep: int) -> Tensor:
        """Logits [B, keep or all, V] behind the last `keep` (0: all) of ids [B, L]."""
        out = self._network(input_ids=ids, past_key_values=cache, use_cache=cache is not None, logits_to_keep=keep)
        return cast(Tensor, out.logits)[..., : self._tokenizer.vocab_size]

    def check(self, request: GenerateRequest) -> None:
        """Raise `AdapterError` where `generate(request)` could not be met."""
        if request.task not in TASKS:
            raise AdapterError(
                f"task '{request.task}' is not one of {', '.join(TASKS)}: this model writes left to right"
            )
        if request.scheduler != SCHEDULER:
            raise AdapterError(f"scheduler '{request.scheduler}' is not one of {SCHEDULER}")
        if not 1 <= request.length <= self._window:
            raise AdapterError(
                f"length {request.length} is outside 1..{self._window}, what this checkpoint was made for"
            )
        DrawOptions.of(request.options)

    @torch.inference_mode()
    def generate(self, request: GenerateRequest) -> GenerateResult:
        """One batch, left to right. Prompts of different length share calls: a given token overrules a drawn one."""
        self.check(request)
        tokens, given = self._start(request)
        options = DrawOptions.of(request.options)
        generator = seeded(request.seed, self._device)
        tracer = Tracer(request.length if request.trace else 0, self._read, self._tokenizer.vocab_size)
        tracer.start(tokens)
        self._counted.reset(request.count)
        cache = DynamicCache(config=self._network.config)
        shared = int(given.min()) if request.count else 0
        bos = torch.full((request.count, 1), self._bos, device=self._device)
        unread = torch.cat([bos, tokens[:, :shared]], dim=1)
        for position in range(shared, request.length):
            logits = self._counted(range(request.count), unread, cache, 1)[:, 0]
            drawn = draw(probabilities(logits, options), generator)
            tokens[:, position] = torch.where(given > position, tokens[:, position], drawn)
            unread = tokens[:, position : position + 1]
            tracer.on_step(position, tokens)
        rows, texts = self._read(tokens)
        written = [[i >= first for i in range(request.length)] for first in given.tolist()]
        return GenerateResult(
            tokens=rows,
            texts=texts,
            nfe=list(self._counted.nfe),
            generated_tokens=(request.length - given).tolist(),
            trace=tracer.result(rows, texts, written),
        )

    def _read(self, tokens: Tensor) -> tuple[list[list[int]], list[str]]:
        """Rows of ids [B][L] and their texts."""
        return tokens.tolist(), decode_rows(self._tokenizer, tokens)

    def _start(self, request: GenerateRequest) -> tuple[Tensor, Tensor]:
        """Ids [B, L] with the prompts in place (V, which decodes as a mask, elsewhere), and prompt lengths [B]."""
        for row, prompt in enumerate(request.prompts):
            if prompt.suffix:
                raise AdapterError(f"prompt {row} has a suffix, but this model writes left to right")
        tokens = prompt_rows(request, self._tokenizer, self._tokenizer.vocab_size).to(self._device)
        return tokens, (tokens != self._tokenizer.vocab_size).sum(-1)

    @torch.inference_mode()
    def likelihood(self, request: LikelihoodRequest) -> LikelihoodResult:
        """-log p by the chain rule, in nats.

        A text longer than the model's window is read in windows side by side, each from the start token on.
        """
        if request.estimator != ESTIMATOR:
            raise AdapterError(f"estimator '{request.estimator}' is not one of {ESTIMATOR}")
        sums = WindowSums(len(request.texts))
        for windows in windows_of(request.texts, self._tokenizer, self._window):
            self._counted.reset(len(windows.texts))
            nats = self._window_nats(windows.tokens.to(self._device))
            sums.add(windows, nats, [0.0] * len(nats), self._counted.nfe)
        return sums.result("exact")

    def _window_nats(self, tokens: Tensor) -> list[float]:
        """-log p of windows [R, L], a few rows at a time so that the logits stay small; summed in float64."""
        bos = torch.full_like(tokens[:, :1], self._bos)
        inputs = torch.cat([bos, tokens[:, :-1]], dim=1)
        at_once = max(1, LOGIT_BLOCK // (tokens.shape[1] * self._tokenizer.vocab_size))
        values: list[float] = []
        for rows in torch.arange(len(tokens)).split(at_once):
            logits = self._counted(rows.tolist(), inputs[rows], None, 0).float()
            nats = cross_entropy(logits.transpose(1, 2), tokens[rows], reduction="none")
            values += nats.double().sum(dim=1).tolist()
        return values


class Gpt2Trainable(Trainable):
    """A fresh GPT-2 with its loss and export.

    Its start token is the tokenizer's end of text, or an id V of its own where there is none. One token beyond the
    window is predicted too, so that a judge may read the start token and a whole window at once.

    Args:
        spec: `size` holds n_embd, n_layer, n_head.
    """

    module: GPT2LMHeadModel
    lookahead = 1

    def __init__(self, spec: TrainSpec) -> None:
        if int(spec.size["n_embd"]) % int(spec.size["n_head"]):
            raise AdapterError(f"n_embd {spec.size['n_embd']} must be a multiple of n_head {spec.size['n_head']}")
        self._own_start = spec.eos_id is None
        self._bos = spec.vocab_size if spec.eos_id is None else spec.eos_id
        self.module = fresh_network(spec.size, spec.vocab_size + self._own_start, spec.length + 1, self._bos)

    def loss(self, batch: TrainBatch, generator: torch.Generator) -> Tensor:
        """Mean negative log-likelihood of windows [B, L + 1], nats per token. Draws nothing."""
        tokens = batch.tokens
        bos = torch.full_like(tokens[:, :1], self._bos)
        logits = self.module(input_ids=torch.cat([bos, tokens[:, :-1]], dim=1), use_cache=False).logits
        return cross_entropy(logits.flatten(0, 1), tokens.flatten())

    def export(self, folder: Path, ema: dict[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Hugging Face's folder with the averaged weights; `facts` have no place in it."""
        save_folder(folder, self.module, ema, words=not self._own_start)


def trainable(spec: TrainSpec) -> Trainable:
    """A fresh network to train."""
    return Gpt2Trainable(spec)
