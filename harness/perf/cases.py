"""What `make perf` runs on both engines: random networks in the published layout, and the requests made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from adapters.base import GenerateRequest, LikelihoodRequest, TrainSpec
from adapters.cards import get_card
from adapters.tokenizers import FILE_NAME, Tokenizer, load_tokenizer, word_tokenizer

SEED = 0
GPT2_TOKENS, TEXT8_SYMBOLS = 50257, 27


@dataclass(frozen=True)
class PerfCase:
    """One network and what is asked of it.

    Attributes:
        name: as the table shows it.
        model: whose network.
        vocab_size: tokens V, the mask not included.
        tokenizer: "folder", or another name that `load_tokenizer` knows.
        size: architecture numbers of `TrainSpec`.
        pairs: (native scheduler, upstream scheduler) that do the same work, in the order they are shown.
        estimator: of both engines.
        steps, batch, length, draws: of every run.
        options: of every scheduler, where it has them.
    """

    name: str
    model: str
    vocab_size: int
    tokenizer: str
    size: Mapping[str, Any]
    pairs: tuple[tuple[str, str], ...]
    estimator: str
    steps: int
    batch: int
    length: int = 256
    draws: int = 8
    options: Mapping[str, Any] = field(default_factory=dict)

    def sampling(self, scheduler: str) -> GenerateRequest:
        """The sampling run with one scheduler."""
        known = get_card(self.model).schedulers[scheduler].options
        options = {**known, **{name: value for name, value in self.options.items() if name in known}}
        return GenerateRequest(self.batch, self.length, self.steps, scheduler, options=options, seed=SEED)

    def likelihood(self, texts: tuple[str, ...]) -> LikelihoodRequest:
        """The likelihood evaluation."""
        return LikelihoodRequest(texts, self.estimator, {"draws": self.draws}, SEED)


_BLOCKS = {"hidden": 256, "blocks": 4, "heads": 4, "dropout": 0.0}
_NANODD = {**_BLOCKS, "n_cond": 128, "lambda_ce": 0.05}
_NANODD_PAIRS = (("ancestral", "nanodd_d3pm"), ("nanodd_d3pm", "nanodd_d3pm"))
#: One thread, float32; the stored predictions of RADD's sampler too, so that both sides compute alike.
CASES = (
    PerfCase(
        "radd V=50257",
        "radd",
        GPT2_TOKENS,
        "folder",
        _BLOCKS,
        (("ancestral", "radd_direct"), ("radd_direct", "radd_direct"), ("radd_ordered", "radd_ordered")),
        "lambda_dce",
        steps=8,
        batch=2,
        options={"sampler_dtype": "float32"},
    ),
    PerfCase(
        "nanodd V=50257",
        "nanodd",
        GPT2_TOKENS,
        "folder",
        {**_NANODD, "T": 8},
        _NANODD_PAIRS,
        "d3pm",
        steps=8,
        batch=1,
        draws=4,
    ),
    PerfCase(
        "nanodd text8",
        "nanodd",
        TEXT8_SYMBOLS,
        "text8",
        {**_NANODD, "T": 32},
        _NANODD_PAIRS,
        "d3pm",
        steps=32,
        batch=2,
    ),
)


def write_checkpoint(case: PerfCase, folder: Path) -> None:
    """A random network in the published layout of its model, with a tokenizer where the case wants one."""
    adapter = import_module(get_card(case.model).offer("native").module)
    trainable = adapter.trainable(TrainSpec(case.vocab_size, case.length, case.size))
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for parameter in trainable.module.parameters():
            # Nothing stays at zero: a network that predicts one and the same for all positions draws faster.
            scale = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.1
            parameter.normal_(0 if parameter.ndim > 1 else 1, scale, generator=generator)
    folder.mkdir(parents=True, exist_ok=True)
    trainable.export(folder, {}, {})
    if case.tokenizer == "folder":
        word_tokenizer(f"w{i}" for i in range(case.vocab_size - 1)).save(str(folder / FILE_NAME))


def texts_of(case: PerfCase, folder: Path) -> tuple[str, ...]:
    """Random texts of exactly `length` tokens each."""
    tokenizer: Tokenizer = load_tokenizer(case.tokenizer, folder)
    generator = torch.Generator().manual_seed(SEED)
    ids = torch.randint(1, case.vocab_size, (case.batch, case.length), generator=generator)
    return tuple(tokenizer.decode(row) for row in ids.tolist())
