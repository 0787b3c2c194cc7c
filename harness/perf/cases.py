"""What `make perf` runs on both engines: random networks in the published layout, and the requests made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from adapters.base import GenerateRequest, LikelihoodRequest, Prompt, TrainSpec
from adapters.cards import get_card
from adapters.tokenizers import FILE_NAME, Tokenizer, load_tokenizer, word_tokenizer

SEED = 0
GPT2_TOKENS, PLAID_TOKENS, BERT_TOKENS, TEXT8_SYMBOLS = 50257, 32768, 30522, 27


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
        estimator: of both engines; None where the model has no likelihood.
        steps, batch, length, draws: of every run.
        options: of every scheduler, where it has them.
        task: "unconditional" or "seq2seq", whose sources are random words that fill a third of the length.
    """

    name: str
    model: str
    vocab_size: int
    tokenizer: str
    size: Mapping[str, Any]
    pairs: tuple[tuple[str, str], ...]
    estimator: str | None
    steps: int
    batch: int
    length: int = 256
    draws: int = 8
    options: Mapping[str, Any] = field(default_factory=dict)
    task: str = "unconditional"

    def sampling(self, scheduler: str) -> GenerateRequest:
        """The sampling run with one scheduler."""
        known = get_card(self.model).schedulers[scheduler].options
        options = {**known, **{name: value for name, value in self.options.items() if name in known}}
        prompts = self._sources() if self.task == "seq2seq" else ()
        return GenerateRequest(
            self.batch, self.length, self.steps, scheduler, self.task, options=options, seed=SEED, prompts=prompts
        )

    def _sources(self) -> tuple[Prompt, ...]:
        generator = torch.Generator().manual_seed(SEED)
        ids = torch.randint(self.vocab_size // 2, (self.batch, self.length // 3), generator=generator)
        return tuple(Prompt(source=" ".join(f"w{i}" for i in row)) for row in ids.tolist())

    def likelihood(self, texts: tuple[str, ...]) -> LikelihoodRequest:
        """The likelihood evaluation."""
        assert self.estimator is not None
        return LikelihoodRequest(texts, self.estimator, {"draws": self.draws}, SEED)


_BLOCKS = {"hidden": 256, "blocks": 4, "heads": 4, "dropout": 0.0}
_NANODD = {**_BLOCKS, "n_cond": 128, "lambda_ce": 0.05}
_NANODD_PAIRS = (("ancestral", "nanodd_d3pm"), ("nanodd_d3pm", "nanodd_d3pm"))
_PLAID = {"embed_dim": 16, "heads": 4}
_PLAID_PAIRS = (("ancestral_plaid", "ancestral_plaid"), ("ddim_plaid", "ddim_plaid"))
_DIFFUSEQ = {**_BLOCKS, "embed": 128, "time": 128, "T": 2000, "schedule": "sqrt", "sampler": "uniform"}
_DIFFUSEQ_PAIRS = (("ddpm_diffuseq", "ddpm_diffuseq"), ("ddim_diffuseq", "ddim_diffuseq"))
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
    PerfCase(
        "plaid V=32768",
        "plaid",
        PLAID_TOKENS,
        "folder",
        {**_PLAID, "hidden": 256, "blocks": 4},
        _PLAID_PAIRS,
        "vlb_plaid",
        steps=16,
        batch=2,
        length=128,
    ),
    PerfCase(
        "plaid deep",
        "plaid",
        1000,
        "folder",
        {**_PLAID, "hidden": 512, "blocks": 8},
        _PLAID_PAIRS,
        "vlb_plaid",
        steps=16,
        batch=2,
        length=128,
    ),
    PerfCase(
        "diffuseq V=8192", "diffuseq", 8192, "folder", _DIFFUSEQ, _DIFFUSEQ_PAIRS, None, 50, 8, 64, task="seq2seq"
    ),
    PerfCase(
        "diffuseq V=30522",
        "diffuseq",
        BERT_TOKENS,
        "folder",
        _DIFFUSEQ,
        _DIFFUSEQ_PAIRS,
        None,
        50,
        8,
        64,
        task="seq2seq",
    ),
)


def write_checkpoint(case: PerfCase, folder: Path) -> None:
    """A random network in the published layout of its model, with a tokenizer where the case wants one."""
    adapter = import_module(get_card(case.model).offer("native").module)
    trainable = adapter.trainable(TrainSpec(case.vocab_size, case.length, case.size))
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for parameter in trainable.module.parameters():
            if parameter.ndim == 0:
                continue  # the ends of a learned schedule
            # Nothing stays at zero: a network that predicts one and the same for all positions draws faster.
            scale = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.1
            parameter.normal_(0 if parameter.ndim > 1 else 1, scale, generator=generator)
    folder.mkdir(parents=True, exist_ok=True)
    if case.tokenizer == "folder":
        make = getattr(adapter, "training_tokenizer", word_tokenizer)
        special = make([]).get_vocab_size()
        make([f"w{i}" for i in range(case.vocab_size - special)]).save(str(folder / FILE_NAME))
    trainable.export(folder, {}, {})


def texts_of(case: PerfCase, folder: Path) -> tuple[str, ...]:
    """Random texts of exactly `length` tokens each."""
    tokenizer: Tokenizer = load_tokenizer(case.tokenizer, folder)
    generator = torch.Generator().manual_seed(SEED)
    ids = torch.randint(1, case.vocab_size, (case.batch, case.length), generator=generator)
    return tuple(tokenizer.decode(row) for row in ids.tolist())
