"""Control models, which stand beside every model's figures: real held-out text, and two models that only count.

They read the prepared benchmark (`LoadSpec.data`): train.txt to count in, data.jsonl to give back, benchmark.json for
the tokenizer. None has a network, so their NFE is 0.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.base import (
    AdapterError,
    CountedNetwork,
    GenerateRequest,
    GenerateResult,
    LikelihoodRequest,
    LikelihoodResult,
    LoadSpec,
    Model,
    NotAvailable,
    TextLikelihood,
)
from adapters.tokenizers import Tokenizer, load_tokenizer

#: Pseudo-count of each token in the unigram model (Laplace).
UNIGRAM_PRIOR = 1.0
#: Pseudo-counts with which the unigram model enters each row of the bigram model (MacKay & Peto 1995).
BIGRAM_PRIOR = 5.0

Array = NDArray[np.float64]
_Counts = NDArray[np.int64]


@dataclass(frozen=True)
class PreparedData:
    """What controls need of a prepared benchmark."""

    folder: Path
    tokenizer: Tokenizer
    length: int

    def train_ids(self) -> _Counts:
        """Ids of train.txt, in order."""
        text = (self.folder / "train.txt").read_text(encoding="utf-8")
        return np.asarray(self.tokenizer.encode(text), dtype=np.int64)


def prepared_data(spec: LoadSpec) -> PreparedData:
    """The benchmark in `spec.data`; raises `AdapterError` where there is none."""
    facts_file = spec.data / "benchmark.json" if spec.data else None
    if spec.data is None or facts_file is None or not facts_file.is_file():
        raise AdapterError(f"controls are fitted to a prepared benchmark, and there is none in '{spec.data}'.")
    facts: dict[str, Any] = json.loads(facts_file.read_text(encoding="utf-8"))
    return PreparedData(spec.data, load_tokenizer(facts["tokenizer"], spec.data), int(facts["length"]))


class Control(Model):
    """What all controls share: no network, unconditional text only."""

    def __init__(self, tokenizer: Tokenizer, length: int) -> None:
        self.tokenizer = tokenizer
        self.default_length = length

    @property
    def networks(self) -> list[CountedNetwork]:
        return []

    def check(self, request: GenerateRequest) -> None:
        if request.task != "unconditional":
            raise AdapterError(f"controls only write unconditional text, not '{request.task}'.")
        if request.scheduler != "control":
            raise AdapterError(f"controls have one scheduler, 'control', not '{request.scheduler}'.")
        if request.count < 1 or request.length < 1:
            raise AdapterError(f"count and length must be at least 1, got {request.count} and {request.length}.")

    def draw(self, request: GenerateRequest) -> list[list[int]]:
        """The ids of one batch."""
        raise NotImplementedError

    def generate(self, request: GenerateRequest) -> GenerateResult:
        self.check(request)
        tokens = self.draw(request)
        return GenerateResult(
            tokens=tokens,
            texts=[self.tokenizer.decode(ids) for ids in tokens],
            nfe=[0] * request.count,
            generated_tokens=[len(ids) for ids in tokens],
        )


class DataControl(Control):
    """Gives real windows of the second held-out set: the ceiling, and the noise, of every comparison with data.

    Args:
        windows: ids of the windows.
    """

    def __init__(self, tokenizer: Tokenizer, length: int, windows: Sequence[list[int]]) -> None:
        super().__init__(tokenizer, length)
        self._windows = windows

    def draw(self, request: GenerateRequest) -> list[list[int]]:
        """Windows `request.first` and on, so that a point never repeats one.

        Raises:
            AdapterError: where the request does not say which windows.
            NotAvailable: where the set has fewer windows, or shorter ones.
        """
        if request.first is None:
            raise AdapterError("the data control needs `first`, the index of the batch's first sequence in its point.")
        end = request.first + request.count
        if end > len(self._windows):
            raise NotAvailable(
                f"the held-out text has {len(self._windows)} windows for the data control, and {end} samples are "
                "asked for: ask for fewer, or give more held-out text."
            )
        chosen = self._windows[request.first : end]
        shortest = min(map(len, chosen))
        if shortest < request.length:
            raise NotAvailable(f"real windows have {shortest} tokens, and a length of {request.length} is asked for.")
        return [ids[: request.length] for ids in chosen]

    def likelihood(self, request: LikelihoodRequest) -> LikelihoodResult:
        raise NotAvailable("real text is no model: it has no likelihood of its own.")


class CountModel(Control):
    """A model over tokens with exact likelihood: subclasses say how likely each token is behind another."""

    def initial(self) -> Array:
        """Probabilities [V] of a window's first token."""
        raise NotImplementedError

    def following(self, previous: _Counts) -> Array:
        """Probabilities [N, V] of the token behind each of `previous` [N]."""
        raise NotImplementedError

    def draw(self, request: GenerateRequest) -> list[list[int]]:
        rng = random.Random(request.seed)
        uniforms = np.array([[rng.random() for _ in range(request.length)] for _ in range(request.count)])
        tokens = np.zeros((request.count, request.length), dtype=np.int64)
        tokens[:, 0] = _inverse(np.tile(self.initial(), (request.count, 1)), uniforms[:, 0])
        for i in range(1, request.length):
            tokens[:, i] = _inverse(self.following(tokens[:, i - 1]), uniforms[:, i])
        rows: list[list[int]] = tokens.tolist()
        return rows

    def likelihood(self, request: LikelihoodRequest) -> LikelihoodResult:
        if request.estimator != "exact":
            raise AdapterError(f"controls have one estimator, 'exact', not '{request.estimator}'.")
        return LikelihoodResult(
            texts=[self._score(text) for text in request.texts], kind="exact", nfe=[0] * len(request.texts)
        )

    def _score(self, text: str) -> TextLikelihood:
        ids = np.asarray(self.tokenizer.encode(text), dtype=np.int64)
        if len(ids) == 0:
            return TextLikelihood(0.0, 0.0, 0)
        first = np.log(self.initial()[ids[0]])
        rest = np.log(self.following(ids[:-1])[np.arange(len(ids) - 1), ids[1:]])
        return TextLikelihood(float(-first - rest.sum()), 0.0, len(ids))


class Unigram(CountModel):
    """Independent tokens: p(w) = (count(w) + k) / (N + k V), k = `UNIGRAM_PRIOR`.

    Args:
        ids: of the training text.
    """

    def __init__(self, tokenizer: Tokenizer, length: int, ids: _Counts) -> None:
        super().__init__(tokenizer, length)
        counts = np.bincount(ids, minlength=tokenizer.vocab_size) + UNIGRAM_PRIOR
        self._probabilities: Array = counts / counts.sum()
        self.parameter_count = tokenizer.vocab_size

    def initial(self) -> Array:
        return self._probabilities

    def following(self, previous: _Counts) -> Array:
        return np.broadcast_to(self._probabilities, (len(previous), len(self._probabilities)))


class Bigram(CountModel):
    """A Markov chain: p(w | v) = (count(v, w) + m p(w)) / (count(v) + m), m = `BIGRAM_PRIOR`, p the unigram model.

    A window begins anywhere in running text, so its first token is the unigram model's.

    Args:
        ids: of the training text.
    """

    def __init__(self, tokenizer: Tokenizer, length: int, ids: _Counts) -> None:
        super().__init__(tokenizer, length)
        size = tokenizer.vocab_size
        self._first = Unigram(tokenizer, length, ids).initial()
        pairs = np.bincount(ids[:-1] * size + ids[1:], minlength=size * size).reshape(size, size)
        smoothed = pairs + BIGRAM_PRIOR * self._first
        self._rows: Array = smoothed / smoothed.sum(axis=1, keepdims=True)
        self.parameter_count = size * size

    def initial(self) -> Array:
        return self._first

    def following(self, previous: _Counts) -> Array:
        rows: Array = self._rows[previous]
        return rows


def _inverse(probabilities: Array, uniforms: Array) -> _Counts:
    """For each row of probabilities [N, V] the token at which its cumulated sum passes the uniform number [N]."""
    cumulated = np.cumsum(probabilities, axis=1)
    chosen = (cumulated <= uniforms[:, None] * cumulated[:, -1:]).sum(axis=1)
    return np.asarray(np.minimum(chosen, probabilities.shape[1] - 1), dtype=np.int64)


def load_data(spec: LoadSpec) -> DataControl:
    """The `data` control of a prepared benchmark."""
    prepared = prepared_data(spec)
    lines = (prepared.folder / "data.jsonl").read_text(encoding="utf-8").split("\n")
    windows = [prepared.tokenizer.encode(json.loads(line)["text"]) for line in lines if line]
    return DataControl(prepared.tokenizer, prepared.length, windows)


def load_unigram(spec: LoadSpec) -> Unigram:
    """The unigram control of a prepared benchmark."""
    prepared = prepared_data(spec)
    return Unigram(prepared.tokenizer, prepared.length, prepared.train_ids())


def load_bigram(spec: LoadSpec) -> Bigram:
    """The bigram control of a prepared benchmark."""
    prepared = prepared_data(spec)
    return Bigram(prepared.tokenizer, prepared.length, prepared.train_ids())
