"""Control models, which stand beside every model's figures: real held-out text, and models that only count.

They read the prepared benchmark (`LoadSpec.data`): train.txt to count in, data.jsonl and prompts.jsonl to give back,
benchmark.json for the tokenizer. None has a network, so their NFE is 0. Asked to continue or infill a prompt they keep
its tokens and write the rest.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from adapters.base import (
    TASKS,
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
from adapters.texts import decode_rows, prompt_rows
from adapters.tokenizers import Tokenizer, load_tokenizer

#: Pseudo-count of each token in the unigram model (Laplace).
UNIGRAM_PRIOR = 1.0
#: Pseudo-counts with which the unigram model enters each row of the bigram model (MacKay & Peto 1995).
BIGRAM_PRIOR = 5.0
#: The sampler of a control that has only one.
SCHEDULER = "control"

Array = NDArray[np.float64]
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class PreparedData:
    """What controls need of a prepared benchmark."""

    folder: Path
    tokenizer: Tokenizer
    length: int
    facts: dict[str, Any]

    def train_ids(self) -> Ids:
        """Ids of train.txt, in order; none where the benchmark has no training text."""
        text = (self.folder / "train.txt").read_text(encoding="utf-8")
        return np.asarray(self.tokenizer.encode(text), dtype=np.int64)

    def windows(self) -> list[list[int]]:
        """Ids of the second held-out set."""
        return [self.tokenizer.encode(text) for text in self.other_texts()]

    def other_texts(self) -> list[str]:
        """The second held-out set: windows, or for each pair another true text."""
        return [line["text"] for line in self._lines("data.jsonl")]

    def prompts(self) -> list[dict[str, Any]]:
        """The benchmark's prompts with what really follows them, where it is known."""
        return self._lines("prompts.jsonl")

    @property
    def train_notes(self) -> list[str]:
        """What the benchmark says of its training text: where it is not what its name says, or why there is none."""
        return [note for note in [self.facts.get("train_note")] if note]

    def no_training_text(self) -> NotAvailable:
        """Why a control cannot count."""
        return NotAvailable(": ".join(["this benchmark has no training text to count in", *self.train_notes]))

    def _lines(self, name: str) -> list[dict[str, Any]]:
        lines = (self.folder / name).read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in lines if line]


def prepared_data(spec: LoadSpec) -> PreparedData:
    """The benchmark in `spec.data`; raises `AdapterError` where there is none."""
    facts_file = spec.data / "benchmark.json" if spec.data else None
    if spec.data is None or facts_file is None or not facts_file.is_file():
        raise AdapterError(f"controls are fitted to a prepared benchmark, and there is none in '{spec.data}'.")
    facts: dict[str, Any] = json.loads(facts_file.read_text(encoding="utf-8"))
    return PreparedData(spec.data, load_tokenizer(facts["tokenizer"], spec.data), int(facts["length"]), facts)


class Control(Model):
    """What all controls share: no network, no likelihood unless a subclass has one.

    Args:
        data: the prepared benchmark.
    """

    #: Names of the samplers.
    schedulers: Sequence[str] = (SCHEDULER,)

    def __init__(self, data: PreparedData) -> None:
        self.data = data
        self.tokenizer = data.tokenizer
        self.default_length = data.length

    @property
    def networks(self) -> list[CountedNetwork]:
        return []

    def check(self, request: GenerateRequest) -> None:
        if request.task not in TASKS:
            raise AdapterError(f"task '{request.task}' is not one of {', '.join(TASKS)}.")
        if request.scheduler not in self.schedulers:
            raise AdapterError(f"scheduler '{request.scheduler}' is not one of {', '.join(self.schedulers)}.")
        if request.count < 1 or request.length < 1:
            raise AdapterError(f"count and length must be at least 1, got {request.count} and {request.length}.")

    def fill(self, request: GenerateRequest, row: int, ids: Ids, blank: Ids, rng: random.Random) -> None:
        """Write one sequence.

        Args:
            request: the batch.
            row: index of the sequence in it.
            ids: the sequence [L] with the given tokens in place; changed in place.
            blank: positions to write, in order; at least one.
            rng: of this batch.
        """
        raise NotImplementedError

    def write(self, request: GenerateRequest, row: int, rng: random.Random) -> str:
        """The text of one sequence of a seq2seq request; arguments as in `fill`."""
        raise AdapterError("this control writes no text from another: it has no task 'seq2seq'.")

    def generate(self, request: GenerateRequest) -> GenerateResult:
        self.check(request)
        if request.task == "seq2seq":
            return self._written(request)
        mask = self.tokenizer.vocab_size
        tokens: Ids = prompt_rows(request, self.tokenizer, mask).numpy()
        written = (tokens == mask).sum(axis=1).tolist()
        rng = random.Random(request.seed)
        for row, ids in enumerate(tokens):
            self.fill(request, row, ids, np.flatnonzero(ids == mask), rng)
        return GenerateResult(
            tokens=tokens.tolist(),
            texts=decode_rows(self.tokenizer, torch.from_numpy(tokens)),
            nfe=[0] * request.count,
            generated_tokens=written,
        )

    def _written(self, request: GenerateRequest) -> GenerateResult:
        """seq2seq works on texts, which the tokenizer may not know: there are no ids, and words are counted."""
        rng = random.Random(request.seed)
        texts = [self.write(request, row, rng) for row in range(request.count)]
        words = [len(text.split()) for text in texts]
        return GenerateResult([[] for _ in texts], texts, nfe=[0] * request.count, generated_tokens=words)

    def likelihood(self, request: LikelihoodRequest) -> LikelihoodResult:
        raise NotAvailable("this control is no probability model: it has no likelihood of its own.")


class DataControl(Control):
    """Gives real text: windows of the second held-out set, or what really follows a prompt. The ceiling, and the noise,
    of every comparison with data.
    """

    def __init__(self, data: PreparedData) -> None:
        super().__init__(data)
        self._prompts = data.prompts()

    @cached_property
    def _windows(self) -> list[list[int]]:
        return self.data.windows()

    def write(self, request: GenerateRequest, row: int, rng: random.Random) -> str:
        """A true text of source number `request.first + row`, and none of those it is compared with.

        Raises:
            AdapterError, NotAvailable: as `fill`.
        """
        index, texts = self._index(request, row), self._other_texts
        if index >= len(texts):
            raise NotAvailable("this benchmark has no true text of its sources beside those it compares with.")
        return texts[index]

    @cached_property
    def _other_texts(self) -> list[str]:
        return self.data.other_texts()

    def _index(self, request: GenerateRequest, row: int) -> int:
        if request.first is None:
            raise AdapterError("real text needs `first`, the index of the batch's first sequence in its point.")
        return request.first + row

    def fill(self, request: GenerateRequest, row: int, ids: Ids, blank: Ids, rng: random.Random) -> None:
        """Text number `request.first + row`, so that a point never repeats one.

        Raises:
            AdapterError: where the request does not say which texts.
            NotAvailable: where there is no such text, or a shorter one.
        """
        index = self._index(request, row)
        if request.task == "unconditional":
            ids[:] = self._window(index, request.length)
        else:
            ids[blank] = self._truth(request, row, index, len(blank))

    def _window(self, index: int, length: int) -> list[int]:
        if index >= len(self._windows):
            raise NotAvailable(
                f"the held-out text has {len(self._windows)} windows to give back, and more samples are asked for: "
                "ask for fewer, or give more held-out text."
            )
        window = self._windows[index]
        if len(window) < length:
            raise NotAvailable(f"window {index} of real text has {len(window)} tokens, {length} are asked for.")
        return window[:length]

    def _truth(self, request: GenerateRequest, row: int, index: int, count: int) -> list[int]:
        """The `count` tokens that really stand in the blank of prompt number `index`."""
        line = self._prompts[index] if index < len(self._prompts) else {}
        reference, prompt = line.get("reference"), request.prompts[row]
        if not reference:
            raise NotAvailable(f"the benchmark does not know what really follows prompt {index}.")
        if not (reference.startswith(prompt.prefix) and reference.endswith(prompt.suffix)):
            raise AdapterError(f"the reference of prompt {index} in prompts.jsonl does not contain its prompt.")
        inside = reference[len(prompt.prefix) : len(reference) - len(prompt.suffix)]
        ids = self.tokenizer.encode(inside)
        if len(ids) < count or (prompt.suffix and len(ids) != count):
            raise NotAvailable(f"the real text of prompt {index} has {len(ids)} tokens for a blank of {count}.")
        return ids[:count]


class CountModel(Control):
    """A model over tokens with exact likelihood: subclasses say how likely each token is behind another.

    Args:
        data: the prepared benchmark, for its tokenizer.
        ids: of the training text; with none there is no model, and every request says so.
    """

    def __init__(self, data: PreparedData, ids: Ids) -> None:
        super().__init__(data)
        self.notes = data.train_notes
        self._counted = len(ids) > 0

    def nats(self, ids: Ids) -> Array:
        """-log p of each of ids [N >= 1] in a window of its own."""
        raise NotImplementedError

    def draw(self, previous: int | None, rng: random.Random) -> int:
        """A token behind `previous`, None at the start of a window."""
        raise NotImplementedError

    def check(self, request: GenerateRequest) -> None:
        super().check(request)
        if not self._counted:
            raise self.data.no_training_text()

    def fill(self, request: GenerateRequest, row: int, ids: Ids, blank: Ids, rng: random.Random) -> None:
        for i in blank:
            ids[i] = self.draw(int(ids[i - 1]) if i else None, rng)

    def likelihood(self, request: LikelihoodRequest) -> LikelihoodResult:
        if request.estimator != "exact":
            raise AdapterError(f"controls have one estimator, 'exact', not '{request.estimator}'.")
        if not self._counted:
            raise self.data.no_training_text()
        return LikelihoodResult(
            texts=[self._score(text) for text in request.texts], kind="exact", nfe=[0] * len(request.texts)
        )

    def _score(self, text: str) -> TextLikelihood:
        ids = np.asarray(self.tokenizer.encode(text), dtype=np.int64)
        return TextLikelihood(float(self.nats(ids).sum()) if len(ids) else 0.0, 0.0, len(ids))


class Unigram(CountModel):
    """Independent tokens: p(w) = (count(w) + k) / (N + k V), k = `UNIGRAM_PRIOR`."""

    def __init__(self, data: PreparedData, ids: Ids) -> None:
        super().__init__(data, ids)
        counts = np.bincount(ids, minlength=self.tokenizer.vocab_size) + UNIGRAM_PRIOR
        self.probabilities: Array = counts / counts.sum()
        self._cumulated: Array = np.cumsum(self.probabilities)
        self.parameter_count = self.tokenizer.vocab_size

    def nats(self, ids: Ids) -> Array:
        return np.asarray(-np.log(self.probabilities[ids]))

    def draw(self, previous: int | None, rng: random.Random) -> int:
        """Inverse CDF in float64."""
        place = np.searchsorted(self._cumulated, rng.random() * self._cumulated[-1], side="right")
        return min(int(place), len(self._cumulated) - 1)


class Bigram(CountModel):
    """A Markov chain: p(w | v) = (count(v, w) + m p(w)) / (count(v) + m), m = `BIGRAM_PRIOR`, p the unigram model.

    A window begins anywhere in running text, so its first token is the unigram model's. Only pairs that occur are
    stored: a table of all pairs would take 20 GB with GPT-2's vocabulary.
    """

    def __init__(self, data: PreparedData, ids: Ids) -> None:
        super().__init__(data, ids)
        size = self.tokenizer.vocab_size
        self._unigram = Unigram(data, ids)
        self._pairs, self._pair_counts = np.unique(ids[:-1] * size + ids[1:], return_counts=True)
        self._followers: Ids = ids[1:][np.argsort(ids[:-1], kind="stable")]
        counts = np.bincount(ids[:-1], minlength=size)
        self._ends: Ids = np.cumsum(counts)
        self._counts = counts
        self.parameter_count = size * size

    def nats(self, ids: Ids) -> Array:
        previous, following = ids[:-1], ids[1:]
        keys = previous * self.tokenizer.vocab_size + following
        places = np.searchsorted(self._pairs, keys)
        found = np.append(self._pairs, -1)[places] == keys
        together = np.where(found, np.append(self._pair_counts, 0)[places], 0)
        mixed = together + BIGRAM_PRIOR * self._unigram.probabilities[following]
        rest = -np.log(mixed / (self._counts[previous] + BIGRAM_PRIOR))
        return np.concatenate([self._unigram.nats(ids[:1]), rest])

    def draw(self, previous: int | None, rng: random.Random) -> int:
        """The formula is a mixture: a unigram draw with probability m / (count(v) + m), else what follows a random
        occurrence of v in the training text."""
        if previous is None:
            return self._unigram.draw(None, rng)
        count = int(self._counts[previous])
        if rng.random() * (count + BIGRAM_PRIOR) < BIGRAM_PRIOR:
            return self._unigram.draw(previous, rng)
        return int(self._followers[self._ends[previous] - count + rng.randrange(count)])


class CopyControl(Control):
    """Gives the source back: what overlap with the references is worth when nothing was done."""

    def write(self, request: GenerateRequest, row: int, rng: random.Random) -> str:
        return request.prompts[row].source


def load_copy(spec: LoadSpec) -> CopyControl:
    """The `copy` control of a prepared benchmark."""
    return CopyControl(prepared_data(spec))


def load_data(spec: LoadSpec) -> DataControl:
    """The `data` control of a prepared benchmark."""
    return DataControl(prepared_data(spec))


def load_unigram(spec: LoadSpec) -> Unigram:
    """The unigram control of a prepared benchmark."""
    data = prepared_data(spec)
    return Unigram(data, data.train_ids())


def load_bigram(spec: LoadSpec) -> Bigram:
    """The bigram control of a prepared benchmark."""
    data = prepared_data(spec)
    return Bigram(data, data.train_ids())
