"""DiffuSeq's words, rows and decoded text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapters.base import AdapterError, CheckpointError
from adapters.diffuseq.layout import read_args
from adapters.diffuseq.vocabulary import OwnVocabulary, Vocabulary, load_vocabulary, pair_row, source_row
from adapters.tokenizers import word_tokenizer
from tests.adapters.diffuseq_checkpoints import SHAPES, write

WORDS = OwnVocabulary({w: i for i, w in enumerate(["[START]", "[END]", "[UNK]", "[PAD]", "a", "b", "c@@", "d", "e__"])})
START, END, PAD = 0, 1, 3


def vocabulary(folder: Path) -> Vocabulary:
    return load_vocabulary("folder", folder, read_args(folder))


def test_a_row_of_a_pair_has_two_ends_behind_the_source() -> None:
    ids, given = pair_row([4, 5], [7], 12, WORDS)
    assert ids == [START, 4, 5, END, END, START, 7, END, PAD, PAD, PAD, PAD]
    assert given == 5


@pytest.mark.parametrize(
    ("source", "target", "kept"),
    [(10, 2, (4, 2)), (2, 10, (2, 4)), (10, 10, (3, 3)), (4, 3, (3, 3)), (0, 20, (0, 6)), (20, 0, (6, 0))],
)
def test_the_longer_one_is_cut_both_where_equal(source: int, target: int, kept: tuple[int, int]) -> None:
    ids, given = pair_row([4] * source, [5] * target, 11, WORDS)
    assert len(ids) == 11
    assert (ids.count(4), ids.count(5)) == kept
    assert given == kept[0] + 3


def test_a_source_is_cut_for_the_targets_room() -> None:
    ids, given, left_off = source_row([4, 5, 7, 4], 10, 4, WORDS)
    assert (ids, given, left_off) == ([START, 4, 5, 7, END, END] + [PAD] * 4, 6, 1)
    assert source_row([], 10, 4, WORDS) == ([START, END, END] + [PAD] * 7, 3, 0)
    assert source_row([4] * 9, 10, 7, WORDS)[2] == 9


def test_half_a_row_is_what_the_authors_leave_a_target_that_is_too_long() -> None:
    for length in (8, 64, 128):
        _, given = pair_row([4] * 200, [5] * 200, length, WORDS)
        assert source_row([4] * 200, length, length // 2, WORDS)[1] == given


def test_own_words() -> None:
    assert WORDS.encode("a zebra  b") == [4, 2, 5]
    assert WORDS.decode([0, 4, 6, 7, 8, 5, 3, 1, 3, 3]) == "[START] a cd eb [PAD] [END]"


def test_bert_pieces_are_tidied_as_the_authors_version_did(tmp_path: Path) -> None:
    words = vocabulary(write(tmp_path / "small", SHAPES["small"]))
    ids = words.encode("how  CAN i ' m do not , the cat ' s ?")
    assert words.decode([words.start, *ids, words.end, words.pad]) == "[CLS] how can i'm don't, the cat's? [SEP]"
    assert words.decode([words.pad, *ids[:1], words.pad, *ids[:1], words.pad]) == "[PAD] how [PAD] how"
    assert words.separator == words.end


def test_word_pieces_alone_are_enough(tmp_path: Path) -> None:
    folder = write(tmp_path / "small", SHAPES["small"])
    whole = vocabulary(folder)
    (folder / "tokenizer.json").unlink()
    alone = vocabulary(folder)
    text = "how can it do nothing ? The dogs"
    assert alone.encode(text) == whole.encode(text)
    assert alone.vocab_size == whole.vocab_size
    assert alone.decode(alone.encode(text)) == whole.decode(whole.encode(text))


def test_own_vocabulary_of_a_folder(tmp_path: Path) -> None:
    folder = write(tmp_path / "words", SHAPES["words"])
    words = vocabulary(folder)
    assert words.decode(words.encode("why ? cat")) == "[UNK] ? cat"
    assert words.decode(words.encode("wh@@ y")) == "why"
    (folder / "vocab.json").unlink()
    with pytest.raises(CheckpointError, match="missing"):
        vocabulary(folder)


@pytest.mark.parametrize(
    "ids",
    [
        ["a"],
        {"a": 0},
        {"[START]": 0, "[END]": 1, "[UNK]": 2, "[PAD]": 3, "a": 5},
        {"[END]": 0, "[START]": 1, "[UNK]": 2, "[PAD]": 3},
        {"[START]": 0, "[END]": True, "[UNK]": 2, "[PAD]": 3},
    ],
)
def test_a_vocabulary_that_is_none(tmp_path: Path, ids: object) -> None:
    folder = write(tmp_path / "words", SHAPES["words"])
    (folder / "vocab.json").write_text(json.dumps(ids), encoding="utf-8")
    with pytest.raises(CheckpointError, match="no vocabulary"):
        vocabulary(folder)


def test_a_tokenizer_without_the_special_tokens(tmp_path: Path) -> None:
    folder = write(tmp_path / "small", SHAPES["small"])
    word_tokenizer(["a", "b"]).save(str(folder / "tokenizer.json"))
    with pytest.raises(AdapterError, match=r"\[PAD\]"):
        vocabulary(folder)
