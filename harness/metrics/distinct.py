"""Distinct-n: distinct word n-grams over all word n-grams (Li et al. 2016, arXiv 1510.03055).

`distinct_N` counts over the whole sample set, at white space. The papers' own figures stand under names of their own:
`dist_1` is DiffuSeq's mean over sentences (scripts/eval_seq2seq.py), `distinct_N_bridge_gap` is Bridge-Gap's count over
the sample set with punctuation cut off the words (evaluation/eval.py).
"""

from __future__ import annotations

import re
from collections import Counter
from functools import partial
from typing import Any

from harness.metrics.base import Metric, SampleValues, Score, ScoreInput, missing
from harness.metrics.ngrams import Ngram, ngrams, tokens_of
from harness.stats import bootstrap_mean, jackknife_distinct

ORDERS = (1, 2, 3, 4)
#: Runs of word characters and runs of punctuation, as nltk's WordPunctTokenizer cuts.
WORD_PUNCT = re.compile(r"\w+|[^\w\s]+")


def distinct(data: ScoreInput, n: int, punctuation: bool = False) -> Score:
    """Types / tokens of n-grams over all texts together. It falls as texts are added: compare at equal counts.

    Args:
        data: the samples.
        n: words in an n-gram.
        punctuation: whether runs of punctuation are words of their own.
    """
    cut = WORD_PUNCT.findall if punctuation else partial(tokens_of, kind="words")
    grams = [ngrams(cut(text), n) for text in data.texts]
    tokens = sum(map(len, grams))
    if not tokens:
        return missing(f"no text has {n} words")
    per_text = [set(found) for found in grams]
    texts_with: Counter[Ngram] = Counter(gram for types in per_text for gram in types)
    own = [sum(texts_with[gram] == 1 for gram in types) for types in per_text]
    interval = jackknife_distinct(len(texts_with), tokens, own, [len(g) for g in grams])
    detail = {"types": len(texts_with), "tokens": tokens, "sequences": len(grams), "interval": "jackknife"}
    return Score(len(texts_with) / tokens, *interval, detail=detail)


def dist_1(data: ScoreInput) -> Score:
    """Mean over texts of distinct words / words of each text, at white space; an empty text counts as 0."""
    words = [text.split() for text in data.texts]
    values = [len(set(found)) / len(found) if found else 0.0 for found in words]
    detail = {"sequences": len(values), "empty_texts": sum(not found for found in words)}
    interval = bootstrap_mean(values, data.seed)
    return Score(sum(values) / len(values), *interval, detail=detail, samples=SampleValues.mean(values))


def _corpus(name: str, n: int, punctuation: bool, summary: str) -> Metric:
    settings = {"tokens": "words and runs of punctuation" if punctuation else "words", "level": "corpus"}
    return Metric(
        name=name,
        version=1,
        unit="share",
        better="none",
        needs=frozenset(),
        compute=partial(distinct, n=n, punctuation=punctuation),
        summary=summary,
        settings=lambda _: settings,
    )


def _dist_1_settings(_: ScoreInput) -> dict[str, Any]:
    return {"tokens": "words", "level": "sequence"}


METRICS = (
    *(
        _corpus(f"distinct_{n}", n, False, f"distinct word {n}-grams over all word {n}-grams of the sample set")
        for n in ORDERS
    ),
    *(
        _corpus(f"distinct_{n}_bridge_gap", n, True, f"distinct_{n} with punctuation cut off the words (Bridge-Gap)")
        for n in ORDERS
    ),
    Metric(
        name="dist_1",
        version=1,
        unit="share",
        better="none",
        needs=frozenset(),
        compute=dist_1,
        summary="distinct words over words of each text, averaged over texts (DiffuSeq)",
        settings=_dist_1_settings,
    ),
)
