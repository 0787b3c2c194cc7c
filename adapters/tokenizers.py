"""Text to token ids and back.

Ids 0..V-1 are tokens. The mask of a diffusion model is id V, so every decoder shows ids >= V as `MASK_TEXT`.

Written in Python 3.8 syntax, because upstream engines import it inside old images. text8 and word-level tokenizers need
the standard library alone; the package `tokenizers` is imported only where another kind is read, or one is made.
"""

from __future__ import annotations

import json
import string
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterable, Iterator, List, Mapping, Optional, Protocol, Sequence

from adapters.base import AdapterError, CheckpointError
from adapters.traces import MASK_TEXT

if TYPE_CHECKING:
    import tokenizers

#: Id 0 of every tokenizer trained here: the start token of an autoregressive judge.
END_OF_TEXT = "<|endoftext|>"
#: What published tokenizers call their end of text.
_END_NAMES = (END_OF_TEXT, "</s>")
FILE_NAME = "tokenizer.json"
#: What published checkpoints have that have no tokenizer.json.
VOCAB_NAME, MERGES_NAME = "vocab.json", "merges.txt"


class Tokenizer(Protocol):
    """What models and metrics need of a tokenizer."""

    vocab_size: int
    eos_id: Optional[int]

    def encode(self, text: str) -> List[int]:
        """Ids of a text. Raises `AdapterError` naming what cannot be encoded."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids; ids >= vocab_size are shown as `MASK_TEXT`."""
        ...


class Text8Tokenizer:
    """The 27 symbols of text8: space = 0, a..z = 1..26 (nanoDD datasets.py uses the same order)."""

    vocab_size: int = 27
    eos_id: Optional[int] = None
    _symbols = " " + string.ascii_lowercase

    def __init__(self) -> None:
        self._ids = {symbol: i for i, symbol in enumerate(self._symbols)}

    def encode(self, text: str) -> List[int]:
        """One id a character. Raises `AdapterError` for a character outside a-z and space."""
        try:
            return [self._ids[c] for c in text]
        except KeyError as error:
            raise AdapterError(
                f"the character {error.args[0]!r} is not one of text8's 27 symbols (a-z and space): "
                "normalise the text first (normalize=text8)."
            ) from None

    def decode(self, ids: Sequence[int]) -> str:
        """One character an id."""
        return "".join(self._symbols[i] if 0 <= i < self.vocab_size else MASK_TEXT for i in ids)


class WordTokenizer:
    """Words separated by white space, each a whole token.

    `decode` joins with single spaces: it inverts `encode` for text that is spaced so, and `encode` always inverts it.

    Args:
        vocabulary: id of each word; the ids are 0..V-1.
    """

    def __init__(self, vocabulary: Dict[str, int]) -> None:
        self._ids = vocabulary
        self._words = sorted(vocabulary, key=vocabulary.__getitem__)
        self.vocab_size = len(vocabulary)
        self.eos_id = vocabulary.get(END_OF_TEXT)

    def encode(self, text: str) -> List[int]:
        """One id a word. Raises `AdapterError` for a word outside the vocabulary."""
        try:
            return [self._ids[word] for word in text.split()]
        except KeyError as error:
            raise AdapterError(
                f"the word '{error.args[0]}' is not among the {self.vocab_size} words of this tokenizer."
            ) from None

    def decode(self, ids: Sequence[int]) -> str:
        """Words joined with single spaces."""
        return " ".join(self._words[i] if 0 <= i < self.vocab_size else MASK_TEXT for i in ids)


class FileTokenizer:
    """Any tokenizer of the `tokenizers` library but word-level ones, which are `WordTokenizer`.

    Special tokens are neither added while encoding nor dropped while decoding.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.vocab_size = tokenizer.get_vocab_size(with_added_tokens=True)
        self.eos_id = next((i for i in map(tokenizer.token_to_id, _END_NAMES) if i is not None), None)

    def encode(self, text: str) -> List[int]:
        """Ids of a text, no special tokens added."""
        ids: List[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of the ids; each mask cuts it, so a character split by a mask shows as a replacement character."""
        parts = []
        for is_token, run in groupby(ids, key=lambda i: 0 <= i < self.vocab_size):
            piece = list(run)
            text = self._tokenizer.decode(piece, skip_special_tokens=False) if is_token else MASK_TEXT * len(piece)
            parts.append(text)
        return "".join(parts)


def wrap_tokenizer(tokenizer: tokenizers.Tokenizer) -> Tokenizer:
    """The view of a `tokenizers` tokenizer that models use."""
    facts = json.loads(tokenizer.to_str())
    return _word_level(facts) if _is_word_level(facts) else FileTokenizer(tokenizer)


def _is_word_level(facts: Any) -> bool:
    """Whether a parsed tokenizer.json is word-level."""
    model = facts.get("model") if isinstance(facts, dict) else None
    return isinstance(model, dict) and model.get("type") == "WordLevel"


def _word_level(facts: Mapping[str, Any]) -> WordTokenizer:
    """The tokenizer of a parsed word-level tokenizer.json. Raises `ValueError` where its ids are not 0..V-1."""
    added = {token["content"]: token["id"] for token in facts.get("added_tokens") or ()}
    vocabulary = {**facts["model"]["vocab"], **added}
    if sorted(vocabulary.values()) != list(range(len(vocabulary))):
        raise ValueError(f"its {len(vocabulary)} ids are not 0..{len(vocabulary) - 1}")
    return WordTokenizer(vocabulary)


def _library(path: Path) -> Any:
    """The package `tokenizers`, which `path` needs. Raises `AdapterError` where it is not installed."""
    try:
        import tokenizers
    except ImportError:
        raise AdapterError(
            f"{path} needs the package 'tokenizers', which is not installed here: pip install tokenizers"
        ) from None
    return tokenizers


def load_tokenizer_file(path: Path) -> Tokenizer:
    """Read a tokenizer.json; one that is word-level needs no package.

    Raises:
        CheckpointError: where it is missing or no tokenizer.
        AdapterError: where the package `tokenizers` is needed and missing.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} is missing: the checkpoint has no tokenizer.")
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} is not UTF-8 at byte {error.start}.") from None
    try:
        facts = json.loads(text)
        if _is_word_level(facts):
            return _word_level(facts)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is not a tokenizer of the 'tokenizers' library: {error}") from None
    library = _library(path)
    try:
        return FileTokenizer(library.Tokenizer.from_str(text))
    except Exception as error:  # the library raises bare Exception for every malformed file
        raise CheckpointError(f"{path} is not a tokenizer of the 'tokenizers' library: {error}") from None


def load_vocabulary(folder: Path) -> Tokenizer:
    """GPT-2's byte-level BPE from the older pair of files, vocab.json and merges.txt.

    Raises:
        CheckpointError: where they make no tokenizer.
        AdapterError: where the package `tokenizers` is missing.
    """
    library = _library(folder / VOCAB_NAME)
    try:
        model = library.models.BPE.from_file(str(folder / VOCAB_NAME), str(folder / MERGES_NAME))
    except Exception as error:  # as above
        raise CheckpointError(f"{folder / VOCAB_NAME} and {MERGES_NAME} are no tokenizer: {error}") from None
    tokenizer = _byte_level(model)
    ends = [name for name in _END_NAMES if tokenizer.token_to_id(name) is not None]
    tokenizer.add_special_tokens(ends)
    return FileTokenizer(tokenizer)


def _byte_level(model: Any) -> tokenizers.Tokenizer:
    """A tokenizer that reads and writes bytes as GPT-2's does."""
    import tokenizers

    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    return tokenizer


def _hub_tokenizer(name: str) -> Tokenizer:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import HfHubHTTPError, HFValidationError  # before 0.26 not in its module `errors`

    try:
        path = hf_hub_download(name, FILE_NAME)
    except (OSError, HfHubHTTPError, HFValidationError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise AdapterError(
            f"the tokenizer '{name}' is not on this machine and could not be downloaded ({reason}). "
            f"With a network run: hf download {name} {FILE_NAME}"
        ) from None
    return load_tokenizer_file(Path(path))


def load_tokenizer(name: str, folder: Optional[Path]) -> Tokenizer:
    """The tokenizer a card names.

    Args:
        name: "text8", "folder" (tokenizer.json in `folder`, or vocab.json and merges.txt) or a Hub name such as "gpt2".
        folder: the checkpoint folder, used by "folder" only.

    Raises:
        CheckpointError: where the file is missing or malformed.
        AdapterError: where a Hub tokenizer cannot be had.
    """
    if name == "text8":
        return Text8Tokenizer()
    if name == "folder":
        if folder is None:
            raise AdapterError("the tokenizer is said to be in the checkpoint folder, but there is no checkpoint.")
        old = all((folder / file).is_file() for file in (VOCAB_NAME, MERGES_NAME))
        if old and not (folder / FILE_NAME).is_file():
            return load_vocabulary(folder)
        return load_tokenizer_file(folder / FILE_NAME)
    return _hub_tokenizer(name)


def word_tokenizer(words: Iterable[str]) -> tokenizers.Tokenizer:
    """A new word-level tokenizer: "<|endoftext|>" is 0, then the words in their order.

    Raises:
        ValueError: for a word that is empty, holds white space, or occurs twice.
    """
    vocabulary = {END_OF_TEXT: 0}
    for word in words:
        if word.split() != [word] or word in vocabulary:
            raise ValueError(f"{word!r} is empty, holds white space, or occurs twice")
        vocabulary[word] = len(vocabulary)
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel(vocabulary))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


def bpe_tokenizer(texts: Iterable[str], vocab_size: int) -> tokenizers.Tokenizer:
    """Train a byte-level BPE as GPT-2's (every UTF-8 text can be encoded and decoded exactly).

    Args:
        texts: the training text in pieces.
        vocab_size: tokens in all, at least 257 ("<|endoftext|>" = 0 and the 256 bytes).

    Raises:
        ValueError: for a `vocab_size` below 257.
    """
    if vocab_size < 257:
        raise ValueError(f"vocab_size {vocab_size} is less than 257")
    from tokenizers import models, pre_tokenizers, trainers

    tokenizer = _byte_level(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    pieces: Iterator[str] = iter(texts)
    tokenizer.train_from_iterator(pieces, trainer)
    return tokenizer
