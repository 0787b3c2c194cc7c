"""The data and the exact verdicts of the benchmark `toy`."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from benchmarks.base import SourceRequest
from benchmarks.toy.exact import WindowVerdict, judge_window, judge_windows
from benchmarks.toy.rules import toy_grammar
from benchmarks.toy.source import build, tokens, windows

#: sha256 of the first 10,000 words of the training stream of seed 0. Another value means another benchmark: raise its
#: version, and train the tiny checkpoints again.
FIRST_WORDS = "3d6b1de2a2dd6bd4d4b6d905a61c2d5e05cc8ce862941049b0ac3de57a10adec"
ROOT = Path(__file__).resolve().parents[2]
SMALL = {"train_tokens": 3000}


def digest(stream: str, seed: int) -> str:
    return hashlib.sha256(" ".join(islice(tokens(stream, seed), 10_000)).encode()).hexdigest()


def test_stream_is_the_recorded_one() -> None:
    assert digest("train", 0) == FIRST_WORDS


def test_streams_differ_by_name_and_seed() -> None:
    assert len({digest(stream, seed) for stream in ("train", "heldout", "references", "data") for seed in (0, 1)}) == 8


def test_stream_does_not_depend_on_hash_randomisation() -> None:
    code = "import itertools, benchmarks.toy.source as s; print(*itertools.islice(s.tokens('data', 3), 200))"
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == list(islice(tokens("data", 3), 200))


def test_windows_are_cut_from_one_stream_without_regard_to_sentences() -> None:
    found = windows("data", 0, 50, 64)
    words = list(islice(tokens("data", 0), 64 + 50 * 64))[64:]
    assert " ".join(w.text for w in found).split() == words
    assert any(w.text.split()[0] not in {"the", "“", "a"} for w in found)
    for window in found:
        assert window.text.split()[:16] == window.prefix.split()
        assert window.text.split()[-16:] == window.suffix.split()


def test_build_gives_what_was_asked_for() -> None:
    source = build(SourceRequest(seed=4, samples=7, length=32, options=SMALL))
    assert len(source.references) == len(source.data) == 7
    assert all(len(window.text.split()) == 32 for window in [*source.references, *source.data])
    assert 3000 <= len(source.train.split()) < 3200
    assert {w.text for w in source.references}.isdisjoint(w.text for w in source.data)
    vocabulary = json.loads(source.tokenizer.to_str())["model"]["vocab"]  # type: ignore[union-attr]
    assert vocabulary == {"<|endoftext|>": 0} | {word: i + 1 for i, word in enumerate(sorted(toy_grammar().words))}


def test_training_text_holds_every_word() -> None:
    source = build(SourceRequest(seed=0, samples=1, length=64, options={"train_tokens": 200_000}))
    assert set(source.train.split()) == set(toy_grammar().words)


def test_verdict_leaves_out_what_the_window_cuts() -> None:
    valid, wrong = "the dog sleeps .", "the dog sleep ."
    verdict = judge_window(f"sleep . {valid} {wrong} {valid} the queen who")
    value = toy_grammar().log_probability(valid.split())
    assert value is not None
    assert verdict == WindowVerdict(3, 2, 12, 8, -2 * value)


@pytest.mark.parametrize("text", ["", "dog", "the dog sleeps", "the dog sleeps .", "█ █"])
def test_text_without_a_complete_sentence_counts_as_one_invalid(text: str) -> None:
    assert judge_window(text) == WindowVerdict(1, 0, len(text.split()), 0, 0.0)


def test_empty_sentences_and_foreign_words_are_invalid() -> None:
    assert judge_window(". . █ . <|endoftext|> .") == WindowVerdict(3, 0, 5, 0, 0.0)


def test_real_text_is_valid_and_costs_about_its_entropy() -> None:
    verdicts = judge_windows([window.text for window in windows("data", 1, 500, 64)])
    assert all((v.sentences, v.tokens_in_sentences) == (v.valid, v.tokens_in_valid) for v in verdicts)
    rate = sum(v.nll_valid_nats for v in verdicts) / sum(v.tokens_in_valid for v in verdicts)
    assert rate == pytest.approx(toy_grammar().entropy_rate(), rel=0.03)


def test_one_wrong_word_makes_one_sentence_invalid() -> None:
    text = windows("data", 2, 1, 64)[0].text
    ends = [i for i, word in enumerate(text.split()) if word == "."]
    words = text.split()
    words[ends[0] + 1] = "zebra"
    before, after = judge_window(text), judge_window(" ".join(words))
    assert after.sentences == before.sentences
    assert after.valid == before.valid - 1
