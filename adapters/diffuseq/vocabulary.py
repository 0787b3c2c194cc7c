"""Words and rows of DiffuSeq: which ids a text has, how source and target make one row, and what a row says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from adapters.base import AdapterError, CheckpointError
from adapters.diffuseq.layout import OWN_VOCABULARY, TrainingArgs
from adapters.diffuseq.texts import clean_up
from adapters.tokenizers import FILE_NAME, Tokenizer, load_tokenizer

#: What BERT's tokenizer has instead of tokenizer.json where that is missing.
WORD_PIECES = "vocab.txt"
#: With these an own vocabulary begins, ids 0..3 (upstream basic_utils.py).
OWN_SPECIAL = ("[START]", "[END]", "[UNK]", "[PAD]")
#: What join the pieces of a word in an own vocabulary.
_JOINTS = ("__ ", "@@ ")


class Vocabulary(Protocol):
    """A tokenizer with the ids that rows are made of.

    Attributes:
        start, end: around each text.
        separator: between source and target, behind the source's own end.
        pad: behind the target.
    """

    vocab_size: int
    eos_id: int | None
    start: int
    end: int
    separator: int
    pad: int

    def encode(self, text: str) -> list[int]:
        """Ids of a text without start and end."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """What the authors print of some ids: padding at the end is dropped, other special tokens are shown."""
        ...


class OwnVocabulary:
    """Words separated by white space, from the authors' vocab.json: other words are [UNK].

    Args:
        ids: id of each word, 0..V-1, `OWN_SPECIAL` first.
    """

    start, end, unknown, pad = range(len(OWN_SPECIAL))
    separator = end
    eos_id: int | None = None

    def __init__(self, ids: Mapping[str, int]) -> None:
        self._ids = dict(ids)
        self._words = sorted(self._ids, key=self._ids.__getitem__)
        self.vocab_size = len(self._words)

    def encode(self, text: str) -> list[int]:
        """One id a word."""
        return [self._ids.get(word, self.unknown) for word in text.split()]

    def decode(self, ids: Sequence[int]) -> str:
        """Words joined with single spaces."""
        text = " ".join(self._words[i] for i in without_padding(ids, self.pad))
        for joint in _JOINTS:
            text = text.replace(joint, "")
        return text


class BertVocabulary:
    """BERT's word pieces, text tidied as the authors' library version did it.

    Args:
        tokenizer: of the `tokenizers` library.
        source: for messages.

    Raises:
        AdapterError: where it lacks a token that rows are made of.
    """

    eos_id: int | None = None

    def __init__(self, tokenizer: Tokenizer, source: str) -> None:
        self._tokenizer = tokenizer
        self.vocab_size = tokenizer.vocab_size
        ids = {}
        for name in ("[PAD]", "[CLS]", "[SEP]"):
            found = tokenizer.encode(name)
            if len(found) != 1:
                raise AdapterError(f"{source} has no token {name}, so it is no tokenizer of a DiffuSeq checkpoint.")
            ids[name] = found[0]
        self.pad, self.start, self.end = ids["[PAD]"], ids["[CLS]"], ids["[SEP]"]
        self.separator = self.end

    def encode(self, text: str) -> list[int]:
        """Word pieces."""
        return self._tokenizer.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        """Pieces joined and tidied."""
        return clean_up(self._tokenizer.decode(without_padding(ids, self.pad)))


def without_padding(ids: Sequence[int], pad: int) -> list[int]:
    """Ids without the padding at their end."""
    end = len(ids)
    while end and ids[end - 1] == pad:
        end -= 1
    return list(ids[:end])


def load_vocabulary(name: str, folder: Path, args: TrainingArgs) -> Vocabulary:
    """The vocabulary of a model folder.

    Args:
        name: what the card says: "folder", or a Hub name.
        folder: the model folder.
        args: its settings: `vocab` says which kind it is.

    Raises:
        CheckpointError: where the files are missing or damaged.
        AdapterError: for a tokenizer that is not one of a DiffuSeq checkpoint.
    """
    if args.vocab != "bert":
        return OwnVocabulary(_own_ids(folder / OWN_VOCABULARY))
    if name == "folder" and not (folder / FILE_NAME).is_file() and (folder / WORD_PIECES).is_file():
        return BertVocabulary(_word_pieces(folder / WORD_PIECES), str(folder / WORD_PIECES))
    where = str(folder / FILE_NAME) if name == "folder" else f"the tokenizer '{name}'"
    return BertVocabulary(load_tokenizer(name, folder), where)


def _own_ids(file: Path) -> dict[str, int]:
    if not file.is_file():
        raise CheckpointError(f"{file} is missing: the checkpoint was trained with a vocabulary of its own.")
    try:
        ids: Any = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{file} is not JSON ({error}): get it again.") from None
    if not isinstance(ids, dict) or any(not isinstance(i, int) or isinstance(i, bool) for i in ids.values()):
        raise CheckpointError(f"{file} is no vocabulary: it must give an id for each word.")
    if sorted(ids.values()) != list(range(len(ids))) or any(ids.get(w) != i for i, w in enumerate(OWN_SPECIAL)):
        raise CheckpointError(f"{file} is no vocabulary: its ids must be 0..V-1 with {', '.join(OWN_SPECIAL)} first.")
    return ids


def _word_pieces(file: Path) -> Tokenizer:
    """bert-base-uncased's tokenizer from its word list alone."""
    from tokenizers.implementations import BertWordPieceTokenizer

    from adapters.tokenizers import FileTokenizer

    return FileTokenizer(BertWordPieceTokenizer(str(file), lowercase=True)._tokenizer)


def pair_row(source: Sequence[int], target: Sequence[int], length: int, words: Vocabulary) -> tuple[list[int], int]:
    """A pair as one row: start, source, end, separator, start, target, end, padding (upstream text_datasets.py).

    Where both do not fit, the longer one loses its last token, both where they are equally long, until they do.

    Args:
        source, target: ids without start and end.
        length: L of the row.
        words: gives the other ids.

    Returns:
        ids [L], and how many of them at the start are given.
    """
    first, second = [words.start, *source], [words.start, *target]
    while len(first) + len(second) > length - 3:
        most = max(len(first), len(second))
        first, second = (part[:-1] if len(part) == most else part for part in (first, second))
    given = [*first, words.end, words.separator]
    row = [*given, *second, words.end]
    return row + [words.pad] * (length - len(row)), len(given)


def source_row(source: Sequence[int], length: int, room: int, words: Vocabulary) -> tuple[list[int], int, int]:
    """The start of a row whose target is to be written: start, source, end, separator.

    Args:
        source: ids without start and end; its last ones are left off where it is too long.
        length: L of the row.
        room: positions that stay free for the target, its start and end included.
        words: gives the other ids.

    Returns:
        ids [L] with padding where the target is to be, how many are given, and how many were left off.
    """
    kept = list(source[: max(0, length - room - 3)])
    given = [words.start, *kept, words.end, words.separator]
    return given + [words.pad] * (length - len(given)), len(given), len(source) - len(kept)
