"""Data of the benchmark `toy`: windows of an endless stream of independent sentences."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice

from adapters.tokenizers import word_tokenizer
from benchmarks.base import Source, SourceRequest, Window
from benchmarks.toy.rules import toy_grammar

#: Words of the running held-out text.
HELDOUT_TOKENS = 50_000


def sentences(stream: str, seed: int) -> Iterator[list[str]]:
    """Endless independent sentences.

    Args:
        stream: name of the stream; streams of different names are independent for one seed.
        seed: of the benchmark's data.
    """
    grammar = toy_grammar()
    # A text seed is hashed with SHA-512 by `random`, so the stream is the same for every Python version and process.
    rng = random.Random(f"toy/{stream}/{seed}")
    while True:
        yield grammar.sample(rng)


def tokens(stream: str, seed: int) -> Iterator[str]:
    """The same stream, word by word."""
    for sentence in sentences(stream, seed):
        yield from sentence


def windows(stream: str, seed: int, count: int, length: int) -> list[Window]:
    """The first `count` windows of `length` words, cut without regard to sentences."""
    words = tokens(stream, seed)
    # A stream begins at a sentence but its windows must not, or the first would have less entropy than the others.
    next(islice(words, length - 1, None))
    return [_window(list(islice(words, length))) for _ in range(count)]


def _window(words: list[str]) -> Window:
    quarter = len(words) // 4
    return Window(" ".join(words), " ".join(words[:quarter]), " ".join(words[len(words) - quarter :]))


def running_text(stream: str, seed: int, count: int) -> str:
    """Whole sentences of a stream with at least `count` words, one sentence a line."""
    lines = []
    left = count
    for sentence in sentences(stream, seed):
        if left <= 0:
            break
        lines.append(" ".join(sentence))
        left -= len(sentence)
    return "\n".join(lines) + "\n"


def build(request: SourceRequest) -> Source:
    """The data of one seed. Each of its four parts comes from a stream of its own."""
    grammar = toy_grammar()
    return Source(
        train=running_text("train", request.seed, int(request.options["train_tokens"])),
        heldout=running_text("heldout", request.seed, HELDOUT_TOKENS),
        references=windows("references", request.seed, request.samples, request.length),
        data=windows("data", request.seed, request.samples, request.length),
        tokenizer=word_tokenizer(sorted(grammar.words)),
        tokens="words",
        facts={
            "words": len(grammar.words),
            "entropy_rate_nats_per_token": grammar.entropy_rate(),
            "sentence_entropy_nats": grammar.entropy(),
            "mean_sentence_tokens": grammar.mean_length(),
        },
    )
