"""Tokenizers: exact round trips, masks shown, unknown input named."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

import huggingface_hub
import pytest
import tokenizers
from huggingface_hub.errors import LocalEntryNotFoundError

from adapters import tokenizers as module
from adapters.base import AdapterError, CheckpointError
from adapters.tokenizers import (
    Text8Tokenizer,
    WordTokenizer,
    bpe_tokenizer,
    load_tokenizer,
    load_tokenizer_file,
    word_tokenizer,
    wrap_tokenizer,
)
from adapters.traces import MASK_TEXT

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


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"type": "WordLevel"}, "vocab"),
        ({"type": "WordLevel", "vocab": {"a": 0, "b": 2}}, r"its 2 ids are not 0\.\.1"),
        ({"type": "WordLevel", "vocab": ["a"]}, "is not a tokenizer"),
        ({"type": "Unheard"}, "is not a tokenizer"),
        (None, "is not a tokenizer"),
    ],
    ids=str,
)
def test_malformed_models_are_one_line(tmp_path: Path, model: object, message: str) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": model}), encoding="utf-8")
    with pytest.raises(CheckpointError, match=message) as caught:
        load_tokenizer("folder", tmp_path)
    assert "\n" not in str(caught.value)


def test_added_tokens_of_a_word_level_file_count(tmp_path: Path) -> None:
    library = word_tokenizer(["dog"])
    library.add_special_tokens(["<|endoftext|>", "[PAD]"])
    library.save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_tokenizer("folder", tmp_path)
    assert isinstance(tokenizer, WordTokenizer)
    assert (tokenizer.vocab_size, tokenizer.encode("dog [PAD]")) == (3, [1, 2])


def save_pair(folder: Path) -> tokenizers.Tokenizer:
    """A tokenizer as the older pair of files; "<|endoftext|>" is id 0 there."""
    trained = bpe_tokenizer(["hello world, hello there"] * 20, 270)
    trained.model.save(str(folder))
    return trained


def test_the_older_pair_of_files(tmp_path: Path) -> None:
    trained = save_pair(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"vocab.json", "merges.txt"}
    tokenizer, same = load_tokenizer("folder", tmp_path), wrap_tokenizer(trained)
    assert (tokenizer.vocab_size, tokenizer.eos_id) == (same.vocab_size, 0)
    for text in TEXTS:
        assert tokenizer.encode(text) == same.encode(text)
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode("<|endoftext|>") == [0]


def test_tokenizer_json_goes_before_the_older_pair(tmp_path: Path) -> None:
    save_pair(tmp_path)
    word_tokenizer(["dog"]).save(str(tmp_path / "tokenizer.json"))
    assert load_tokenizer("folder", tmp_path).vocab_size == 2


def test_a_broken_pair_is_one_line(tmp_path: Path) -> None:
    save_pair(tmp_path)
    (tmp_path / "vocab.json").write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"vocab.json and merges.txt are no tokenizer"):
        load_tokenizer("folder", tmp_path)


def test_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    word_tokenizer(["dog"]).save(str(tmp_path / "tokenizer.json"))
    bpe_tokenizer(["dog"], 257).save(str(tmp_path / "bpe.json"))
    (tmp_path / "pair").mkdir()
    save_pair(tmp_path / "pair")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    assert load_tokenizer("text8", None).encode("a") == [1]
    assert load_tokenizer("folder", tmp_path).encode("dog") == [1]
    with pytest.raises(AdapterError, match=r"needs the package 'tokenizers', which is not installed.*pip install"):
        load_tokenizer_file(tmp_path / "bpe.json")
    with pytest.raises(AdapterError, match="needs the package 'tokenizers'"):
        load_tokenizer("folder", tmp_path / "pair")


def test_the_module_is_written_in_python_3_8() -> None:
    ast.parse(Path(module.__file__).read_text(encoding="utf-8"), feature_version=(3, 8))


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
