"""Diversity of candidates against DiffuSeq's definitions, computed with nltk."""

from __future__ import annotations

from itertools import combinations

import pytest
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

from harness.metrics import ScoreInput, get_metric

SETS = [["a b c d e", "a b c d f", "x y"], ["a b c d", "a b c d", "a b c d"], ["a", "b", ""]]


def make(candidates: list[list[str]] | None) -> ScoreInput:
    return ScoreInput(["t"] * 3, candidates=candidates, task="seq2seq")


def test_self_bleu_is_the_mean_over_pairs_and_sources() -> None:
    smoothing = SmoothingFunction().method4
    means = []
    for texts in SETS:
        pairs = [
            float(sentence_bleu([b.split()], a.split(), smoothing_function=smoothing))
            for a, b in combinations(texts, 2)
        ]
        means.append(sum(pairs) / len(pairs))
    score = get_metric("self_bleu_candidates").score(make(SETS))
    assert score.value == pytest.approx(sum(means) / 3, abs=1e-15)
    assert score.detail == {"sources": 3, "candidates": 3}
    assert score.low is not None


def test_div_4_by_hand() -> None:
    # abcd bcde | abcd bcdf -> 3 of 4; three times abcd -> 1 of 3; no 4-gram -> 0
    assert get_metric("div_4").score(make(SETS)).value == pytest.approx((3 / 4 + 1 / 3 + 0) / 3)


@pytest.mark.parametrize("name", ["self_bleu_candidates", "div_4"])
def test_without_candidates(name: str) -> None:
    assert "candidates come from several seeds" in str(get_metric(name).score(make(None)).reason)
    assert get_metric(name).score(make([["a"]] * 3)).reason == "a source has fewer than two candidates"


def test_the_number_of_candidates_stands_in_the_settings() -> None:
    assert get_metric("div_4").settings(make(SETS))["candidates"] == [3]
    assert get_metric("div_4").settings(make(None))["candidates"] is None
