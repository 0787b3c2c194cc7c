"""Tokens and n-grams of texts, shared by the metrics that count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from harness.errors import UserError

Ngram = tuple[str, ...]


def token_kind(facts: Mapping[str, Any]) -> str:
    """How a benchmark's texts are cut: "words" (white space) or "text8" (characters). The default is words.

    Raises:
        UserError: for a benchmark that says anything else.
    """
    kind = facts.get("tokens", "words")
    if kind not in ("words", "text8"):
        raise UserError(f"the benchmark says tokens: '{kind}'. Known: words, text8.")
    return str(kind)


def tokens_of(text: str, kind: str) -> list[str]:
    """The tokens of one text."""
    return list(text) if kind == "text8" else text.split()


def ngrams(tokens: Sequence[str], n: int) -> list[Ngram]:
    """All n-grams in order; [] for a text shorter than n."""
    return list(zip(*(tokens[i:] for i in range(n)), strict=False))


def count_ngrams(tokens: Sequence[str], n: int) -> Counter[Ngram]:
    return Counter(ngrams(tokens, n))
