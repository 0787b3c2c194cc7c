"""Tokenizers: exact round trips, masks shown, unknown input named."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from adapters.base import MASK_TEXT, AdapterError, CheckpointError
from adapters.tokenizers import (
    Text8Tokenizer,
    WordTokenizer,
    bpe_tokenizer,
    load_tokenizer,
    word_tokenizer,
    wrap_tokenizer,
)

TEXTS = ["hello world", "Ünï — 世界 🙂", "  two  spaces\n\nlines\t", "<|endoftext|>x", ""]


def test_text8_ids_are_the_published_ones() -> None:
    tokenizer = Text8Tokenizer()
    assert tokenizer.encode(" az") == [0, 1, 26]
    assert (tokenizer.vocab_size, tokenizer.eos_id) == (27, None)
    assert tokenizer.decode(range(29)) == " abcdefghijklmnopqrstuvwxyz" + 2 * MASK_TEXT


@pytest.mark.parametrize("text", ["Hello", "tab\t", "é", "3"])
def test_text8_names_what_it_cannot_encode(text: str) -> None:
    with pytest.raises(AdapterError, match="is not one of text8's 27 symbols") as caught:
        Text8Tokenizer().encode(text)
    assert repr(next(c for c in text if c not in "abcdefghijklmnopqrstuvwxyz ")) in str(caught.value)


def test_words_round_trip_through_a_file(tmp_path: Path) -> None:
    word_tokenizer(["the", "dog", "“", "."]).save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_tokenizer("folder", tmp_path)
    assert isinstance(tokenizer, WordTokenizer)
    assert (tokenizer.vocab_size, tokenizer.eos_id) == (5, 0)
    ids = tokenizer.encode("“ the dog .")
    assert ids == [3, 1, 2, 4]
    assert tokenizer.decode(ids) == "“ the dog ."
    assert tokenizer.encode(tokenizer.decode([0, 1, 2, 3, 4])) == [0, 1, 2, 3, 4]
    assert tokenizer.decode([1, 5, 2]) == f"the {MASK_TEXT} dog"


def test_words_names_the_unknown_word() -> None:
    tokenizer = wrap_tokenizer(word_tokenizer(["the", "dog"]))
    with pytest.raises(AdapterError, match="the word 'cat' is not among the 3 words"):
        tokenizer.encode("the cat dog")


def test_word_file_agrees_with_the_library_and_never_guesses() -> None:
    library = word_tokenizer(["the", "dog"])
    assert library.encode("dog the").ids == wrap_tokenizer(library).encode("dog the")
    with pytest.raises(Exception, match="UNK"):
        library.encode("cat")


@pytest.mark.parametrize("words", [["a", "a"], ["a b"], [""], ["<|endoftext|>"]])
def test_bad_words_are_rejected(words: list[str]) -> None:
    with pytest.raises(ValueError, match="empty, holds white space, or occurs twice"):
        word_tokenizer(words)


@pytest.mark.parametrize("size", [257, 300])
def test_bytes_round_trip(size: int) -> None:
    tokenizer = wrap_tokenizer(bpe_tokenizer(["hello world, hello there"] * 20, size))
    assert tokenizer.vocab_size <= size
    assert tokenizer.eos_id == 0
    for text in TEXTS:
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_bpe_learns_and_repeats_itself() -> None:
    corpus = ["hello world, hello there"] * 20
    trained, again = bpe_tokenizer(corpus, 270), bpe_tokenizer(iter(corpus), 270)
    assert trained.to_str() == again.to_str()
    assert len(trained.encode("hello").ids) < 5
    with pytest.raises(ValueError, match="256 is less than 257"):
        bpe_tokenizer(corpus, 256)


def test_masks_are_shown_between_pieces() -> None:
    tokenizer = wrap_tokenizer(bpe_tokenizer(["ab"], 257))
    ids = tokenizer.encode("ab")
    masked = [ids[0], 257, 300, ids[1], 257]
    assert tokenizer.decode(masked) == f"a{MASK_TEXT}{MASK_TEXT}b{MASK_TEXT}"


def test_bad_tokenizer_files(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="missing"):
        load_tokenizer("folder", tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(CheckpointError, match="is not a tokenizer"):
        load_tokenizer("folder", tmp_path)
    (tmp_path / "tokenizer.json").write_bytes(b"{\xff")
    with pytest.raises(CheckpointError, match="not UTF-8 at byte 1"):
        load_tokenizer("folder", tmp_path)
    with pytest.raises(AdapterError, match="no checkpoint"):
        load_tokenizer("folder", None)


def test_hub_tokenizer_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object) -> str:
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with pytest.raises(AdapterError, match=r"'gpt2' is not on this machine.*offline.*hf download gpt2 tokenizer.json"):
        load_tokenizer("gpt2", None)


def test_hub_tokenizer_from_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    word_tokenizer(["dog"]).save(str(tmp_path / "tokenizer.json"))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_: str(tmp_path / "tokenizer.json"))
    assert load_tokenizer("some/name", None).encode("dog") == [1]
