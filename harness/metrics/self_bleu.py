"""Self-BLEU (Zhu et al. 2018, arXiv 1802.01886): each sample against all others. High means that they are alike."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.metrics.base import Metric, Score, ScoreInput, missing
from harness.metrics.ngrams import Ngram, count_ngrams, tokens_of
from harness.stats import bootstrap_mean

#: Samples compared; the figure grows with the number of references, so it is taken on at most this many.
SUBSET = 256
ORDER = 4
#: Stands for a zero match count (Chen and Cherry 2014, method 1).
FLOOR = 0.1


class _Others:
    """For any n-gram, its highest count in one text other than a given one; two counts a n-gram are enough for that."""

    def __init__(self, counts: Sequence[Counter[Ngram]]) -> None:
        self._best: dict[Ngram, tuple[int, int, int]] = {}  # highest count, whose it is, highest count of the others
        for text, counter in enumerate(counts):
            for gram, count in counter.items():
                first, owner, second = self._best.get(gram, (0, -1, 0))
                if count > first:
                    self._best[gram] = (count, text, first)
                elif count > second:
                    self._best[gram] = (first, owner, count)

    def highest(self, gram: Ngram, text: int) -> int:
        first, owner, second = self._best[gram]
        return second if owner == text else first


def sentence_self_bleu(texts: Sequence[Sequence[str]]) -> list[float]:
    """BLEU-4 in 0..1 of each token list against all others.

    Uniform weights, clipped counts, closest reference length, zero matches floored to `FLOOR`; orders for which a text
    is too short are left out of its mean. Equal to sacrebleu's sentence BLEU with smoothing "floor", effective order
    and no tokenisation.

    Args:
        texts: two token lists or more.
    """
    lengths = sorted(map(len, texts))
    by_order = [[count_ngrams(text, n) for text in texts] for n in range(1, ORDER + 1)]
    others = [_Others(counts) for counts in by_order]
    scores = []
    for i, text in enumerate(texts):
        logs = []
        matched = False
        for counts, rest in zip(by_order, others, strict=True):
            total = counts[i].total()
            if not total:
                break
            correct = sum(min(count, rest.highest(gram, i)) for gram, count in counts[i].items())
            matched = matched or correct > 0
            logs.append(math.log((correct or FLOOR) / total))
        brevity = min(0.0, 1 - _closest_other(lengths, len(text)) / len(text)) if text else 0.0
        scores.append(math.exp(sum(logs) / len(logs) + brevity) if matched else 0.0)
    return scores


def _closest_other(lengths: Sequence[int], own: int) -> int:
    """The length nearest to `own` among the other texts, the shorter of two; `lengths` are sorted and hold `own`."""
    at = bisect_left(lengths, own)
    neighbours = [lengths[i] for i in (at - 1, at + 1) if 0 <= i < len(lengths)]
    return min(neighbours, key=lambda length: (abs(length - own), length))


def self_bleu(data: ScoreInput) -> Score:
    """Mean self-BLEU-4 of a seeded subset of at most `SUBSET` samples, 0..1."""
    if len(data.texts) < 2:
        return missing("self-BLEU needs two samples or more")
    size = min(SUBSET, len(data.texts))
    chosen = np.random.default_rng(data.seed).permutation(len(data.texts))[:size]
    scores = sentence_self_bleu([tokens_of(data.texts[i], "words") for i in chosen])
    interval = bootstrap_mean(scores, data.seed)
    return Score(sum(scores) / size, *interval, detail={"subset": size, "interval": "bootstrap, references held fixed"})


def _settings(_: ScoreInput) -> dict[str, Any]:
    return {"tokens": "words", "order": ORDER, "smoothing": f"floor {FLOOR}", "largest_subset": SUBSET}


METRICS = (
    Metric(
        name="self_bleu",
        version=1,
        unit="BLEU, 0..1",
        better="none",
        needs=frozenset(),
        compute=self_bleu,
        summary=f"BLEU-4 of each sample against the others, on at most {SUBSET} samples",
        settings=_settings,
    ),
)
