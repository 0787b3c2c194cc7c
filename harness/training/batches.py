"""Batches to train on: windows of running text, or pairs of source and target laid out as the model wants them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adapters.base import AdapterError, Trainable, TrainBatch
from adapters.tokenizers import Tokenizer
from harness.errors import UserError
from harness.training.data import TextPair, TrainingText, blocks


class Examples(Protocol):
    """Something to draw batches from."""

    def draw(self, count: int, generator: torch.Generator) -> TrainBatch:
        """A batch of `count` random examples."""
        ...


@dataclass(frozen=True)
class Windows:
    """Windows of `width` tokens at random places of a stream of ids [N], int32, N >= width."""

    stream: Tensor
    width: int

    def draw(self, count: int, generator: torch.Generator) -> TrainBatch:
        """A batch of windows [count, width], int64."""
        start = torch.randint(self.stream.numel() - self.width + 1, (count,), generator=generator)
        return TrainBatch(self.stream.unfold(0, self.width, 1)[start].long())


@dataclass(frozen=True)
class Rows:
    """Pairs as rows of ids [N, width], int32, and how many of each are given [N], int32."""

    tokens: Tensor
    given: Tensor

    def draw(self, count: int, generator: torch.Generator) -> TrainBatch:
        """A batch of rows [count, width], int64, and where they are given."""
        chosen = torch.randint(len(self.tokens), (count,), generator=generator)
        given = torch.arange(self.tokens.shape[1]) < self.given[chosen][:, None]
        return TrainBatch(self.tokens[chosen].long(), given)


@dataclass(frozen=True)
class Corpus:
    """What a model is trained on.

    Attributes:
        train, heldout: to draw batches from.
        digest: sha256 over vocabulary and ids.
    """

    train: Examples
    heldout: Examples
    digest: str


def make_corpus(text: TrainingText, trainable: Trainable, length: int) -> Corpus:
    """Tokenise a text, or its pairs where the model is trained on those.

    Args:
        text: what was prepared.
        trainable: the model.
        length: of a window or row, without the lookahead.

    Raises:
        UserError: for a text that is shorter than one window, or that has no pairs where the model wants them.
    """
    width = length + trainable.lookahead
    if not trainable.pairs:
        streams = [encode(part, text.tokenizer) for part in text.running()]
        check_enough(streams, width)
        train, heldout = (Windows(torch.from_numpy(stream), width) for stream in streams)
        return Corpus(train, heldout, _digest(text, streams))
    if not text.has_pairs:
        raise UserError(
            f"this model is trained on pairs of source and target, and the benchmark '{text.benchmark}' has running "
            "text alone: benchmark=toy_paraphrase has pairs."
        )
    rows = [_rows(name, part, text.tokenizer, trainable, width) for name, part in zip(PARTS, text.pairs(), strict=True)]
    return Corpus(rows[0], rows[1], _digest(text, [part.numpy() for row in rows for part in (row.tokens, row.given)]))


#: What the two parts of a text are called.
PARTS = ("training", "held-out")


def check_enough(streams: Sequence[NDArray[np.int32]], width: int) -> None:
    """Raise `UserError` where a text is shorter than one window of `width` tokens."""
    for name, stream in zip(PARTS, streams, strict=True):
        if stream.size < width:
            raise UserError(
                f"the {name} text has {stream.size} tokens, less than one window of {width}: give more text, or a "
                "smaller length=."
            )


def encode(text: str, tokenizer: Tokenizer) -> NDArray[np.int32]:
    """Ids of a text [N]."""
    pieces = [np.asarray(tokenizer.encode(block), dtype=np.int32) for block in blocks(text)]
    return np.concatenate([np.empty(0, np.int32), *pieces])


def _rows(name: str, pairs: Sequence[TextPair], tokenizer: Tokenizer, trainable: Trainable, width: int) -> Rows:
    """Pairs as the model lays them out. Raises `ValueError` where it makes a row of another width."""
    if not pairs:
        raise UserError(f"the benchmark has no {name} pairs.")
    tokens = np.empty((len(pairs), width), np.int32)
    given = np.empty(len(pairs), np.int32)
    for i, (source, target) in enumerate(pairs):
        try:
            ids, given[i] = trainable.pair_row(tokenizer.encode(source), tokenizer.encode(target))
        except AdapterError as error:
            raise UserError(f"{name} pair {i + 1}: {error}") from None
        if len(ids) != width:
            raise ValueError(f"pair_row made a row of {len(ids)} ids, not {width}")
        tokens[i] = ids
    return Rows(torch.from_numpy(tokens), torch.from_numpy(given))


def _digest(text: TrainingText, arrays: Sequence[NDArray[Any]]) -> str:
    digest = hashlib.sha256(json.dumps(text.vocabulary, sort_keys=True).encode())
    for array in arrays:
        digest.update(array.tobytes())
    return digest.hexdigest()
