"""Exact verdicts on texts of the benchmark `toy`: its language and its true probabilities are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from benchmarks.toy.rules import toy_grammar

END = "."


@dataclass(frozen=True)
class WindowVerdict:
    """What is known of one text.

    A text is cut at its full stops. What stands before the first and after the last may be part of a sentence that the
    window cuts, so it is not judged. A text with no complete sentence counts as one invalid sentence of all its words.

    Attributes:
        sentences: complete sentences.
        valid: those in the language.
        tokens_in_sentences: words of complete sentences, full stops included.
        tokens_in_valid: words of the valid ones.
        nll_valid_nats: total -ln p of the valid sentences under the true grammar, in nats. Short sentences fit into a
            window more often than long ones, so compare nats per token with the figure of real windows, not with the
            entropy rate.
    """

    sentences: int
    valid: int
    tokens_in_sentences: int
    tokens_in_valid: int
    nll_valid_nats: float


def complete_sentences(text: str) -> list[list[str]]:
    """The sentences of a text which lie whole between two full stops, each with the one that ends it."""
    words = text.split()
    ends = [i for i, word in enumerate(words) if word == END]
    return [words[before + 1 : end + 1] for before, end in pairwise(ends)]


def judge_window(text: str) -> WindowVerdict:
    """The verdict on one text."""
    grammar = toy_grammar()
    found = complete_sentences(text)
    if not found:
        return WindowVerdict(1, 0, len(text.split()), 0, 0.0)
    scored = [(sentence, grammar.log_probability(sentence)) for sentence in found]
    valid = [(sentence, value) for sentence, value in scored if value is not None]
    return WindowVerdict(
        sentences=len(found),
        valid=len(valid),
        tokens_in_sentences=sum(map(len, found)),
        tokens_in_valid=sum(len(sentence) for sentence, _ in valid),
        nll_valid_nats=-sum(value for _, value in valid),
    )


def judge_windows(texts: Sequence[str]) -> list[WindowVerdict]:
    """The verdict on each text."""
    return [judge_window(text) for text in texts]
