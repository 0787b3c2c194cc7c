"""Training text as one long stream of token ids, and windows drawn from it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tokenizers
import torch
from torch import Tensor

from adapters.tokenizers import FILE_NAME, Text8Tokenizer, Tokenizer, bpe_tokenizer, word_tokenizer, wrap_tokenizer
from harness.benchmarks import prepare_as_set
from harness.errors import UserError
from harness.training.config import TrainConfig

#: Characters encoded at once, so that a large text needs no list of all its ids.
BLOCK = 1 << 20
#: Where a block may end: before white space, which no tokenizer here joins to the word in front of it.
_BREAK = re.compile(r"(?<=\S)(?=\s)")


@dataclass(frozen=True)
class Corpus:
    """What a model is trained on.

    Attributes:
        train, heldout: token ids [N], int32.
        tokenizer: as models see it.
        file: what goes into tokenizer.json, None for text8.
        digest: sha256 over ids and vocabulary.
    """

    train: Tensor
    heldout: Tensor
    tokenizer: Tokenizer
    file: tokenizers.Tokenizer | None
    digest: str

    @property
    def tokenizer_name(self) -> str:
        """What `adapters.tokenizers.load_tokenizer` calls it."""
        return "text8" if self.file is None else "folder"

    def save_tokenizer(self, target: Path) -> None:
        """Write tokenizer.json into a folder; nothing for text8, which needs no file."""
        if self.file is not None:
            self.file.save(str(target / FILE_NAME))


def load_corpus(config: TrainConfig, target: Path) -> Corpus:
    """Prepare the benchmark's text and tokenise it.

    Args:
        config: the training.
        target: folder for the prepared text.

    Raises:
        UserError: for a text that is missing, empty or not UTF-8.
    """
    data = prepare_as_set(config, target, samples=1, length=config.length)
    train, heldout = ((target / name).read_text(encoding="utf-8") for name in ("train.txt", "heldout.txt"))
    kind = data.facts["tokenizer"] if config.tokenizer == "auto" else config.tokenizer
    return make_corpus(train, heldout, _find_tokenizer(kind, target, train, heldout))


def make_corpus(train: str, heldout: str, file: tokenizers.Tokenizer | None) -> Corpus:
    """Tokenise two texts; `file` is None for text8."""
    tokenizer = Text8Tokenizer() if file is None else wrap_tokenizer(file)
    streams = [_encode(text, tokenizer) for text in (train, heldout)]
    digest = hashlib.sha256(json.dumps(file.get_vocab() if file else "text8", sort_keys=True).encode())
    for stream in streams:
        digest.update(stream.tobytes())
    ids = [torch.from_numpy(stream) for stream in streams]
    return Corpus(ids[0], ids[1], tokenizer, file, digest.hexdigest())


def check_enough(corpus: Corpus, width: int) -> None:
    """Raise `UserError` where a text is shorter than one window of `width` tokens."""
    for name, stream in (("training", corpus.train), ("held-out", corpus.heldout)):
        if stream.numel() < width:
            raise UserError(
                f"the {name} text has {stream.numel()} tokens, less than one window of {width}: give more text, or a "
                "smaller length=."
            )


def draw_windows(stream: Tensor, count: int, width: int, generator: torch.Generator) -> Tensor:
    """Windows [count, width], int64, at random places of a stream that has at least `width` ids."""
    start = torch.randint(stream.numel() - width + 1, (count,), generator=generator)
    return stream.unfold(0, width, 1)[start].long()


def _find_tokenizer(kind: str, target: Path, train: str, heldout: str) -> tokenizers.Tokenizer | None:
    """The benchmark's own ("folder"), None for "text8", all words of both texts ("words"), or a new "bpe:SIZE"."""
    if kind == "text8":
        return None
    if kind == "folder":
        return tokenizers.Tokenizer.from_file(str(target / FILE_NAME))
    if kind == "words":
        return word_tokenizer(sorted({*train.split(), *heldout.split()}))
    return bpe_tokenizer(_blocks(train), int(kind.partition(":")[2]))


def _blocks(text: str) -> Iterator[str]:
    """Pieces of about `BLOCK` characters that end before white space; joined they are the text."""
    start = 0
    while start < len(text):
        found = _BREAK.search(text, min(start + BLOCK, len(text)))
        end = found.start() if found else len(text)
        yield text[start:end]
        start = end


def _encode(text: str, tokenizer: Tokenizer) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    pieces = [np.asarray(tokenizer.encode(block), dtype=np.int32) for block in _blocks(text)]
    return np.concatenate([np.empty(0, np.int32), *pieces])
