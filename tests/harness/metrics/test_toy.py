from __future__ import annotations

import pytest

from benchmarks.toy.rules import toy_grammar
from benchmarks.toy.source import windows
from harness.metrics import ScoreInput, get_metric

NAMES = ("toy_valid_sentences", "toy_valid_tokens", "toy_nll")


def test_real_windows_are_all_valid_and_near_the_true_entropy() -> None:
    texts = [window.text for window in windows("metrics-test", 0, 60, 64)]
    sentences, tokens, nll = (get_metric(name).score(ScoreInput(texts)) for name in NAMES)
    assert (sentences.value, tokens.value) == (1.0, 1.0)
    assert nll.low is not None
    assert nll.high is not None
    assert 1.0 < nll.low < nll.high < 3.0


def test_shares_by_hand() -> None:
    good = ["the", "friends", "eat", "the", "bread", "."]
    log_probability = toy_grammar().log_probability(good)
    assert log_probability is not None
    bad = "bread bread ."  # 3 words
    text = f"cut . {' '.join(good)} {bad} cut"
    data = ScoreInput([text, text])
    sentences, tokens, nll = (get_metric(name).score(data) for name in NAMES)
    assert (sentences.value, sentences.low, sentences.high) == (0.5, 0.5, 0.5)
    assert tokens.value == pytest.approx(6 / 9)
    assert nll.value == pytest.approx(-log_probability / 6)
    assert nll.detail["valid"] == 2


def test_no_valid_sentence_has_no_likelihood() -> None:
    data = ScoreInput(["bread █ bread ."])
    assert get_metric("toy_valid_sentences").score(data).value == 0.0
    assert get_metric("toy_nll").score(data).reason == "no sentence is valid"
    assert get_metric("toy_valid_tokens").score(ScoreInput([""])).reason == "no text has a word"
