"""The interface between the worker and a model.

A model folder has a ``card.yaml`` (read by `adapters.cards`, no torch) and an ``adapter.py`` with one function::

    def load(spec: LoadSpec) -> Model

`Model.generate` and `Model.likelihood` handle ONE batch. The worker cuts a point into batches, seeds each batch and
measures it. Written in Python 3.8 syntax with torch alone, because it is also imported inside old images.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import torch

from adapters.traces import Trace

#: Tasks on running text.
TEXT_TASKS = ("unconditional", "prefix", "infill")
#: All tasks; "seq2seq" writes one text from another.
TASKS = (*TEXT_TASKS, "seq2seq")


class AdapterError(Exception):
    """The request cannot be met by this model as given; its text is one line for a person."""


class CheckpointError(AdapterError):
    """The checkpoint is missing, truncated, of another model, wrongly shaped, or holds more than tensors."""


class NotAvailable(AdapterError):
    """The model has no such figure (for instance no likelihood); the text is the reason. Never replaced by a number."""


@dataclass(frozen=True)
class LoadSpec:
    """What `load` is given.

    Attributes:
        checkpoint: folder (or file) in the authors' published layout; None for controls, which are fitted to `data`.
        device: torch device name, already resolved ("cpu", "cuda", "cuda:0").
        dtype: network arithmetic, "float32", "bfloat16" or "float16".
        tokenizer: what the card says: "text8", a Hub name, or "folder" (a tokenizer.json inside the checkpoint).
        data: folder of the prepared benchmark (train.txt, references.jsonl); only controls read it.
        options: model options from the card and the checkpoint's entry in it.
        upstream: checkout of the authors' repository; only the upstream engine reads it.
    """

    checkpoint: Optional[Path]
    device: str = "cpu"
    dtype: str = "float32"
    tokenizer: str = "folder"
    data: Optional[Path] = None
    options: Mapping[str, Any] = field(default_factory=dict)
    upstream: Optional[Path] = None


@dataclass(frozen=True)
class Prompt:
    """What is given of a text: `prefix` at its start, `suffix` at its end, either may be empty; for "seq2seq" the
    `source`, which is no part of the text that is written."""

    prefix: str = ""
    suffix: str = ""
    source: str = ""


@dataclass(frozen=True)
class GenerateRequest:
    """One batch to generate.

    Attributes:
        task: one of `TASKS`.
        count: number of sequences B; equals len(prompts) when there are prompts.
        length: tokens per sequence L, given tokens (a source included) included.
        steps: the scheduler's own step count.
        scheduler: name of the sampling algorithm.
        options: scheduler options (temperature, top_p, top_k, grid, sampling_dtype, ...).
        seed: seed of this batch; the same seed gives the same tokens on the same device and versions.
        prompts: one a sequence, or empty.
        trace: also return intermediate states.
        first: index in its point of the batch's first sequence; only the `data` control needs it, so as to repeat
            nothing.
    """

    count: int
    length: int
    steps: int
    scheduler: str
    task: str = "unconditional"
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    prompts: Tuple[Prompt, ...] = ()
    trace: bool = False
    first: Optional[int] = None


@dataclass(frozen=True)
class GenerateResult:
    """One generated batch.

    Attributes:
        tokens: B lists of L token ids, given ones included.
        texts: B decoded texts; a mask left over by a sampler is shown as `MASK_TEXT`. For "seq2seq" the written text
            alone, without special tokens.
        nfe: network function evaluations of each sequence, counted at the network, discarded work included.
        generated_tokens: tokens of each sequence which the model wrote (prompt and padding excluded).
        trace: intermediate states, None where none were asked for.
        left_off: tokens of each prompt that the model has no room for, so that it did not see them; empty where all
            prompts were seen whole.
        prompt_kept: for each sequence the share of its given tokens that the model wrote by itself, None where nothing
            was given; empty for models that cannot write anything else there.
    """

    tokens: List[List[int]]
    texts: List[str]
    nfe: List[int]
    generated_tokens: List[int]
    trace: Optional[Trace] = None
    left_off: List[int] = field(default_factory=list)
    prompt_kept: List[Optional[float]] = field(default_factory=list)


@dataclass(frozen=True)
class LikelihoodRequest:
    """One batch of texts to score.

    Attributes:
        texts: B texts, each scored whole (cut into windows of the model's length where longer).
        estimator: name of the bound or exact rule, as the card lists it.
        options: estimator options (`draws`: Monte-Carlo draws a text, ...).
        seed: seed of this batch.
    """

    texts: Tuple[str, ...]
    estimator: str
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0


@dataclass(frozen=True)
class TextLikelihood:
    """The figure of one text.

    Attributes:
        nats: negative log-likelihood of the whole text, or its bound, in nats.
        standard_error: Monte-Carlo standard error of `nats`; 0.0 only for an exact figure, None where unknown.
        tokens: tokens scored.
        terms: parts of `nats` by name, where the bound has them.
    """

    nats: float
    standard_error: Optional[float]
    tokens: int
    terms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class LikelihoodResult:
    """Figures for one batch of texts, in request order.

    Attributes:
        texts: one `TextLikelihood` a text.
        kind: "exact" or "upper_bound".
        nfe: network evaluations spent on each text.
    """

    texts: List[TextLikelihood]
    kind: str
    nfe: List[int]


class Model:
    """What `load` returns. Families (`adapters.masked.model`) implement it once for all their models."""

    #: Number of trained parameters.
    parameter_count: int = 0
    #: Longest sequence in tokens, None where unlimited.
    max_length: Optional[int] = None
    #: Length to generate when the user names none.
    default_length: int = 0
    #: Notes for the rows of this checkpoint (for instance a tolerated oddity found while loading).
    notes: Sequence[str] = ()

    @property
    def networks(self) -> List["CountedNetwork"]:
        """Every counted network of this model; the worker reads time and NFE from them."""
        raise NotImplementedError

    def same_as(self, scheduler: str) -> Optional[str]:
        """Name of a scheduler that is provably the same algorithm on this checkpoint, or None."""
        return None

    def check(self, request: GenerateRequest) -> None:
        """Raise `AdapterError` where `generate(request)` could not be met; computes nothing."""
        raise NotImplementedError

    def generate(self, request: GenerateRequest) -> GenerateResult:
        """Generate one batch. Raises `AdapterError` for a request outside the card's capabilities."""
        raise NotImplementedError

    def likelihood(self, request: LikelihoodRequest) -> LikelihoodResult:
        """Score one batch of texts. Raises `NotAvailable` where the model has no such figure."""
        raise NotImplementedError


class CountedNetwork:
    """The only way to a network: counts evaluations per sequence and the seconds spent inside.

    Args:
        module: called as ``module(*args)``; its first argument has the batch in dimension 0.
        device: torch device name; on CUDA each call is synchronised on both sides so that seconds are true.
    """

    def __init__(self, module: Callable[..., Any], device: str = "cpu") -> None:
        self.module = module
        self._cuda = device.startswith("cuda")
        self.reset(0)

    def reset(self, sequences: int) -> None:
        """Start counting anew for a batch of `sequences` sequences."""
        self.nfe: List[int] = [0] * sequences
        self.calls = 0
        self.seconds = 0.0

    @property
    def evaluations(self) -> int:
        """Sequence-evaluations since `reset`: the sum of `nfe`."""
        return sum(self.nfe)

    def __call__(self, rows: Sequence[int], *args: Any) -> Any:
        """Evaluate the network once for the sequences `rows` (indices in the batch, one per row of the first argument).

        Raises:
            ValueError: when `rows` does not name each row of the input, so no evaluation goes uncounted.
        """
        if len(rows) != len(args[0]):
            raise ValueError(f"{len(rows)} sequences named for {len(args[0])} rows")
        with self.timed():
            out = self.module(*args)
        self.calls += 1
        for row in rows:
            self.nfe[row] += 1
        return out

    def timed(self) -> "_Timed":
        """Context manager that adds its time to `seconds`, for network parts that are no evaluation of their own."""
        return _Timed(self)

    def synchronise(self) -> None:
        if self._cuda:
            torch.cuda.synchronize()


class _Timed:
    def __init__(self, network: CountedNetwork) -> None:
        self._network = network

    def __enter__(self) -> None:
        self._network.synchronise()
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._network.synchronise()
        self._network.seconds += time.perf_counter() - self._start


@dataclass(frozen=True)
class TrainSpec:
    """What `adapter.trainable` is given.

    Attributes:
        vocab_size: number of tokenizer ids V, the mask not included.
        length: window length L in tokens.
        size: architecture numbers (hidden, blocks, heads, ...), with the card's `train.size` as default.
        eos_id: id of the tokenizer's end of text, where an autoregressive model starts from; None where it has none.
    """

    vocab_size: int
    length: int
    size: Mapping[str, Any] = field(default_factory=dict)
    eos_id: Optional[int] = None


@dataclass(frozen=True)
class TrainBatch:
    """A batch to train on.

    Attributes:
        tokens: ids [B, L + lookahead] int64: windows of running text, or pairs as `Trainable.pair_row` lays them out.
        given: [B, L + lookahead] bool: what a pair's source takes; None for running text.
    """

    tokens: torch.Tensor
    given: Optional[torch.Tensor] = None

    def to(self, device: str) -> "TrainBatch":
        """The same batch on a device."""
        return TrainBatch(self.tokens.to(device), None if self.given is None else self.given.to(device))


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that are optimised alike.

    Attributes:
        parameters: at least one.
        rate: factor on the learning rate.
        weight_decay: AdamW's decay; None for the recipe's.
    """

    parameters: List[torch.nn.Parameter]
    rate: float = 1.0
    weight_decay: Optional[float] = None


class Trainable:
    """A fresh network with its own loss and export, as `tdbench train` needs it. Adapters offer
    ``trainable(spec: TrainSpec) -> Trainable`` where the model can be trained here."""

    #: The network; its parameters are optimised and averaged (EMA).
    module: torch.nn.Module
    #: Tokens that `loss` wants behind each window of L.
    lookahead: int = 0
    #: Whether it is trained on pairs of source and target instead of running text.
    pairs: bool = False
    #: Unit of `loss`, for people.
    loss_unit: str = "nats per token"

    def loss(self, batch: TrainBatch, generator: torch.Generator) -> torch.Tensor:
        """The authors' training loss on a batch (scalar), in `loss_unit`."""
        raise NotImplementedError

    def pair_row(self, source: List[int], target: List[int]) -> Tuple[List[int], int]:
        """A pair as one row of L ids, padding included, and how many of them at its start are given.

        Args:
            source, target: ids without special tokens.
        """
        raise NotImplementedError

    def parameter_groups(self) -> List[ParameterGroup]:
        """How the parameters are optimised; by default matrices decay and vectors do not."""
        trained = [p for p in self.module.parameters() if p.requires_grad]
        matrices, vectors = [p for p in trained if p.ndim >= 2], [p for p in trained if p.ndim < 2]
        return [ParameterGroup(matrices), ParameterGroup(vectors, weight_decay=0.0)]

    def export(self, folder: Path, ema: Dict[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
        """Write the authors' published layout: `module` holds the raw weights, `ema` the averaged state dict.
        `facts` (steps, seed, ...) go where the layout has room for them."""
        raise NotImplementedError
