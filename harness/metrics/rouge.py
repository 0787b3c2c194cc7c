"""ROUGE (Lin 2004): mean over samples of the F-measure, without stemming.

Words are runs of a-z and 0-9 of the lower-cased text, as in the package rouge-score (the tests compare) and in
torchmetrics' ROUGEScore, which DiffuSeq and Bridge-Gap use. Letters outside a-z are lost in all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from harness.metrics.base import Metric, Score, ScoreInput
from harness.metrics.ngrams import count_ngrams
from harness.stats import bootstrap_mean

WORD = re.compile(r"[a-z0-9]+")

Words = Sequence[str]


def rouge_n(written: Words, true: Words, n: int) -> float:
    """F-measure of the n-grams that two texts have in common, 0..1."""
    mine, theirs = count_ngrams(written, n), count_ngrams(true, n)
    return _f_measure((mine & theirs).total(), mine.total(), theirs.total())


def rouge_l(written: Words, true: Words) -> float:
    """F-measure of the longest common subsequence of two texts, 0..1."""
    return _f_measure(common_subsequence(written, true), len(written), len(true))


def common_subsequence(first: Words, second: Words) -> int:
    """Length of the longest common subsequence, by whole rows of bits (Crochemore et al. 2001, IPL 80).

    Bit i of `row` is 0 where the table of lengths grows at word i of `first`.
    """
    places: dict[str, int] = {}
    for i, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << i
    full = (1 << len(first)) - 1
    row = full
    for word in second:
        met = row & places.get(word, 0)
        row = (row + met | row - met) & full
    return len(first) - row.bit_count()


def _f_measure(common: int, written: int, true: int) -> float:
    precision, recall = common / max(written, 1), common / max(true, 1)
    return 2 * precision * recall / (precision + recall) if common else 0.0


def rouge(data: ScoreInput, measure: Callable[[Words, Words], float]) -> Score:
    """Mean of a measure. Of several true texts the best one counts, for each figure its own."""
    values = []
    for text, references in zip(data.texts, data.paired_references or (), strict=True):
        words = _words(text)
        values.append(max(measure(words, _words(reference)) for reference in references))
    return Score(sum(values) / len(values), *bootstrap_mean(values, data.seed), detail={"samples": len(values)})


def _words(text: str) -> list[str]:
    return WORD.findall(text.lower())


def _settings(_: ScoreInput) -> dict[str, Any]:
    return {"tokens": "a-z0-9, lower case", "stemmer": False, "references": "best"}


METRICS = tuple(
    Metric(
        name=name,
        version=1,
        unit="F-measure, 0..1",
        better="higher",
        needs=frozenset({"paired_references"}),
        compute=partial(rouge, measure=measure),
        summary=f"{name.replace('_', '-').upper()} F-measure against the true texts, mean over samples",
        settings=_settings,
    )
    for name, measure in (
        ("rouge_1", partial(rouge_n, n=1)),
        ("rouge_2", partial(rouge_n, n=2)),
        ("rouge_l", rouge_l),
    )
)
