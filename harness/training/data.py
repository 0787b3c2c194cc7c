"""The text of a training and its tokenizer."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import tokenizers

from adapters.cards import Card
from adapters.tokenizers import (
    END_OF_TEXT,
    FILE_NAME,
    Text8Tokenizer,
    Tokenizer,
    bpe_tokenizer,
    word_tokenizer,
    wrap_tokenizer,
)
from harness.benchmark_files import HELDOUT_PAIRS, TRAIN_PAIRS
from harness.benchmarks import get_benchmark, prepare_as_set
from harness.errors import UserError
from harness.training.config import TrainConfig
from harness.worker.jsonl import read_lines

#: Characters of a piece of text that is encoded at once, so that a large text needs no list of all its ids.
BLOCK = 1 << 20
#: Where a piece may end: before white space, which no tokenizer here joins to the word in front of it.
_BREAK = re.compile(r"(?<=\S)(?=\s)")
#: Source and target of a pair.
TextPair = tuple[str, str]


@dataclass(frozen=True)
class TrainingText:
    """What a model is trained on, before it is made into batches.

    Attributes:
        benchmark: its name.
        folder: of the prepared benchmark.
        has_pairs: whether there are pairs of source and target; running text there always is, for pairs their targets.
        tokenizer: as models see it.
        file: what goes into tokenizer.json, None for text8.
    """

    benchmark: str
    folder: Path
    has_pairs: bool
    tokenizer: Tokenizer
    file: tokenizers.Tokenizer | None

    @property
    def tokenizer_name(self) -> str:
        """What `adapters.tokenizers.load_tokenizer` calls it."""
        return "text8" if self.file is None else "folder"

    @property
    def vocabulary(self) -> dict[str, int] | str:
        """Ids by token."""
        return self.file.get_vocab() if self.file else "text8"

    def save_tokenizer(self, target: Path) -> None:
        """Write tokenizer.json into a folder; nothing for text8, which needs no file."""
        if self.file is not None:
            self.file.save(str(target / FILE_NAME))

    def running(self) -> tuple[str, str]:
        """Training and held-out text."""
        return _running(self.folder)

    def pairs(self) -> tuple[list[TextPair], list[TextPair]]:
        """Training and held-out pairs."""
        return _pairs(self.folder / TRAIN_PAIRS), _pairs(self.folder / HELDOUT_PAIRS)


def load_text(config: TrainConfig, card: Card, target: Path) -> TrainingText:
    """Prepare the benchmark's text and find or make its tokenizer.

    Args:
        config: the training.
        card: of the model.
        target: folder for the prepared text.

    Raises:
        UserError: for a text that is missing, empty or not UTF-8, or a tokenizer that the model cannot use.
    """
    data = prepare_as_set(get_benchmark(config.benchmark), config, target, samples=1, length=config.length)
    has_pairs = bool(data.facts["pairs"])
    kind = data.facts["tokenizer"] if config.tokenizer == "auto" else config.tokenizer
    own = getattr(importlib.import_module(f"{card.module}.adapter"), "training_tokenizer", None)
    if own is None:
        file = _find_tokenizer(kind, target, has_pairs)
    elif config.tokenizer in ("auto", "words"):
        file = own(_words(kind, target, has_pairs))
    else:
        raise UserError(f"{card.name} makes a tokenizer of its own from words: tokenizer=auto or words.")
    tokenizer = Text8Tokenizer() if file is None else wrap_tokenizer(file)
    return TrainingText(config.benchmark, target, has_pairs, tokenizer, file)


def _find_tokenizer(kind: str, target: Path, has_pairs: bool) -> tokenizers.Tokenizer | None:
    """The benchmark's own ("folder"), None for "text8", all words ("words"), or a new "bpe:SIZE"."""
    if kind == "text8":
        return None
    if kind == "folder":
        return tokenizers.Tokenizer.from_file(str(target / FILE_NAME))
    if kind == "words":
        return word_tokenizer(_words(kind, target, has_pairs))
    return bpe_tokenizer((block for text in _training_texts(target, has_pairs) for block in blocks(text)), _size(kind))


def _size(kind: str) -> int:
    return int(kind.partition(":")[2])


def _words(kind: str, target: Path, has_pairs: bool) -> Sequence[str]:
    """The words of the benchmark's own word-level tokenizer, else all words of its texts, in alphabetical order."""
    if kind == "folder":
        facts = json.loads((target / FILE_NAME).read_text(encoding="utf-8"))
        if facts["model"]["type"] == "WordLevel":
            return sorted(set(facts["model"]["vocab"]) - {END_OF_TEXT})
    texts = [*_training_texts(target, has_pairs), _running(target)[1]]
    texts += [source for source, _ in _pairs(target / HELDOUT_PAIRS)] if has_pairs else []
    return sorted({word for text in texts for word in text.split()})


def _training_texts(target: Path, has_pairs: bool) -> list[str]:
    """The running training text, and the sources of training pairs."""
    sources = [source for source, _ in _pairs(target / TRAIN_PAIRS)] if has_pairs else []
    return [_running(target)[0], *(["\n".join(sources)] if sources else [])]


def _running(folder: Path) -> tuple[str, str]:
    train, heldout = ((folder / name).read_text(encoding="utf-8") for name in ("train.txt", "heldout.txt"))
    return train, heldout


def _pairs(file: Path) -> list[TextPair]:
    return [(line["source"], line["target"]) for line in read_lines(file)]


def blocks(text: str) -> Iterator[str]:
    """Pieces of about `BLOCK` characters that end before white space; joined they are the text."""
    start = 0
    while start < len(text):
        found = _BREAK.search(text, min(start + BLOCK, len(text)))
        end = found.start() if found else len(text)
        yield text[start:end]
        start = end
