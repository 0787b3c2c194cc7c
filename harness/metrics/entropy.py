"""Unigram entropy: how varied the tokens of a sequence are.

Low entropy buys low generative perplexity, so the two stand beside each other.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from harness.metrics.base import Metric, SampleValues, Score, ScoreInput
from harness.metrics.ngrams import token_kind, tokens_of
from harness.stats import bootstrap_mean


def entropy(counts: Counter[str]) -> float:
    """Shannon entropy of the empirical distribution, in nats; 0 for no counts."""
    total = sum(counts.values())
    return sum(c / total * math.log(total / c) for c in counts.values())


def unigram_entropy(data: ScoreInput) -> Score:
    """Mean over sequences of the entropy of each sequence's own tokens, in nats.

    It depends on the length of the sequences: compare at equal length (`mean_tokens` in the detail). The entropy of all
    tokens together is in the detail as `corpus_entropy`. An empty text has entropy 0 and is counted as `empty_texts`.
    """
    kind = token_kind(data.facts)
    counts = [Counter(tokens_of(text, kind)) for text in data.texts]
    values = [entropy(c) for c in counts]
    corpus: Counter[str] = sum(counts, Counter())
    detail = {
        "sequences": len(values),
        "empty_texts": sum(not c for c in counts),
        "mean_tokens": sum(c.total() for c in counts) / len(counts),
        "corpus_entropy": entropy(corpus),
        "corpus_types": len(corpus),
    }
    interval = bootstrap_mean(values, data.seed)
    return Score(sum(values) / len(values), *interval, detail=detail, samples=SampleValues.mean(values))


def _settings(data: ScoreInput) -> dict[str, Any]:
    return {"tokens": token_kind(data.facts)}


METRICS = (
    Metric(
        name="unigram_entropy",
        version=1,
        unit="nats/token",
        better="none",
        needs=frozenset(),
        compute=unigram_entropy,
        summary="entropy of the tokens within each sequence, averaged over sequences",
        settings=_settings,
    ),
)
