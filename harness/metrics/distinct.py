"""Distinct-n: distinct word n-grams over all word n-grams of the sample set (Li et al. 2016, arXiv 1510.03055)."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

from harness.metrics.base import Metric, Score, ScoreInput, missing
from harness.metrics.ngrams import Ngram, ngrams, tokens_of
from harness.stats import jackknife_distinct


def distinct(data: ScoreInput, n: int) -> Score:
    """Types / tokens of n-grams over all texts together. It falls as texts are added: compare at equal counts."""
    grams = [ngrams(tokens_of(text, "words"), n) for text in data.texts]
    tokens = sum(map(len, grams))
    if not tokens:
        return missing(f"no text has {n} words")
    per_text = [set(found) for found in grams]
    texts_with: Counter[Ngram] = Counter(gram for types in per_text for gram in types)
    own = [sum(texts_with[gram] == 1 for gram in types) for types in per_text]
    interval = jackknife_distinct(len(texts_with), tokens, own, [len(g) for g in grams])
    detail = {"types": len(texts_with), "tokens": tokens, "sequences": len(grams), "interval": "jackknife"}
    return Score(len(texts_with) / tokens, *interval, detail=detail)


def _settings(_: ScoreInput) -> dict[str, Any]:
    return {"tokens": "words", "level": "corpus"}


METRICS = tuple(
    Metric(
        name=f"distinct_{n}",
        version=1,
        unit="share",
        better="none",
        needs=frozenset(),
        compute=partial(distinct, n=n),
        summary=f"distinct word {n}-grams over all word {n}-grams of the sample set",
        settings=_settings,
    )
    for n in (1, 2, 3)
)
