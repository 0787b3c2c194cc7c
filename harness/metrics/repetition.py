"""Repetition within a sequence: seq-rep-n of Welleck et al. 2020 (arXiv 1908.04319)."""

from __future__ import annotations

from functools import partial
from typing import Any

from harness.metrics.base import Metric, SampleValues, Score, ScoreInput, missing
from harness.metrics.ngrams import ngrams, tokens_of
from harness.stats import bootstrap_mean


def repetition(data: ScoreInput, n: int) -> Score:
    """Mean over sequences of 1 - (distinct word n-grams / word n-grams) of each sequence.

    A text shorter than n words has no such figure: it is left out and counted as `short_texts` in the detail.
    """
    grams = [ngrams(tokens_of(text, "words"), n) for text in data.texts]
    shares = [1 - len(set(found)) / len(found) if found else None for found in grams]
    values = [share for share in shares if share is not None]
    detail = {"sequences": len(values), "short_texts": len(shares) - len(values)}
    if not values:
        return missing(f"no text has {n} words", **detail)
    interval = bootstrap_mean(values, data.seed)
    return Score(sum(values) / len(values), *interval, detail=detail, samples=SampleValues.mean(shares))


def _settings(_: ScoreInput) -> dict[str, Any]:
    return {"tokens": "words", "level": "sequence"}


METRICS = tuple(
    Metric(
        name=f"rep_{n}",
        version=1,
        unit="share",
        better="none",
        needs=frozenset(),
        compute=partial(repetition, n=n),
        summary=f"share of word {n}-grams that repeat an earlier one of the same sequence",
        settings=_settings,
    )
    for n in (2, 3, 4)
)
